"""Targets drawn from the ranges that a publication gives, as its authors draw them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m3eda.circuits.catalogue import Catalogue, Circuit
from m3eda.circuits.opening import catalogue as shipped
from m3eda.circuits.opening import open_circuit
from m3eda.errors import DesignError, Mistake
from m3eda.learning.settings import Setting, Specs, design_specs
from m3eda.units import parse

COUNT = 1000
"""Targets a circuit: enough that none is learnt by heart."""


def published_ranges(circuit: Circuit) -> dict[str, tuple[float, float]]:
    """Measure -> smallest and largest target, SI units, in the circuit's own order.

    Those of its section `paper`, with the ranges found by simulation over the published ones.
    Raises DesignError where it has no such section.
    """
    paper = circuit.file.paper
    if paper is None:
        text = f"{circuit.name} has no section `paper` to draw targets from"
        raise DesignError([Mistake(text, circuit.path, hint="take its list of targets")])
    words = {**paper.specs, **paper.found}
    return {
        measure: (parse(words[measure][0]), parse(words[measure][-1]))
        for measure in circuit.sides
        if measure in words
    }


def drawn_targets(circuit: Circuit, count: int = COUNT, seed: int = 0) -> tuple[Specs, ...]:
    """`count` targets, each limit drawn uniformly from its range. Raises DesignError."""
    ranges = published_ranges(circuit)
    draws = np.random.default_rng(seed).random((count, len(ranges)))
    found = []
    for row in draws:
        limits = {
            measure: {circuit.sides[measure]: low + (high - low) * float(share)}
            for (measure, (low, high)), share in zip(ranges.items(), row, strict=True)
        }
        found.append(design_specs(limits))
    return tuple(found)


def range_settings(
    circuits: Sequence[str],
    technologies: Sequence[str] = (),
    *,
    count: int = COUNT,
    seed: int = 0,
    catalogue: Catalogue | None = None,
) -> list[Setting]:
    """Each circuit in each of `technologies`, its own where none are given, with drawn targets.

    Measures are normalised by the middle of their ranges. Raises DesignError.
    """
    known = catalogue or shipped()
    return [
        _setting(circuit, technology, drawn_targets(circuit, count, seed))
        for circuit in map(known.circuit, circuits)
        for technology in (technologies or circuit.technologies[:1])
    ]


def _setting(circuit: Circuit, technology: str, targets: tuple[Specs, ...]) -> Setting:
    scales = {name: (low + high) / 2.0 for name, (low, high) in published_ranges(circuit).items()}
    return Setting(
        circuit.name,
        technology,
        targets,
        lambda: open_circuit(circuit, technology),
        scales=scales,
    )
