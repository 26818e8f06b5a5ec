"""Circuits of the library at sizings near their own, simulated."""

from __future__ import annotations

from m3eda.circuits.opening import open_circuit
from m3eda.flow import Execution


def measured(circuit: str, *changes: dict[str, float]) -> list[dict[str, float]]:
    """The measures of the default sizing with each of `changes` made to it, SI units."""
    project = open_circuit(circuit)
    start = project.nominal_sizing()
    evaluator = project.evaluator(Execution(cache=False))
    try:
        sizings = [evaluator.complete({**start, **change}) for change in changes]
        return [dict(each["nominal"].measures) for each in evaluator.evaluate(sizings)]
    finally:
        evaluator.close()
