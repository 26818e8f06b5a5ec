"""A design and its trials, made by hand, for the tests of what a run puts out."""

from __future__ import annotations

import math
from pathlib import Path

from m3eda.design.types import NOMINAL, Design, Limits, Measure, Objective, Parameter, Spec
from m3eda.report.summary import Summary, summarize
from m3eda.simulate.trial import CornerResult, Trial, score
from m3eda.simulate.types import State

GOOD = {"gain": 412.0, "ugbw": 1.234e7, "pm": 63.21, "ibias": 4.2e-4, "vout": 0.612, "fom": 2.9e5}
NETLIST = "two-stage op amp\nm1 a b 0 0 nch w=1.2e-06\n.end\n"


def sample_design(**changes: object) -> Design:
    units = {"gain": "V/V", "ugbw": "Hz", "pm": "deg", "ibias": "A", "vout": "V", "fom": "Hz/A"}
    specs = (
        Spec("gain", Limits(minimum=300.0)),
        Spec("ugbw", Limits(minimum=1e7), weight=2.0),
        Spec("pm", Limits(minimum=60.0, maximum=90.0)),
        Spec("ibias", Limits(maximum=1e-3)),
        Spec("vout", Limits(target=0.6, tolerance=0.05)),
    )
    parameters = (
        Parameter("m_pair", minimum=1.0, maximum=100.0, step=1.0),
        Parameter("w_in", minimum=0.5e-6, maximum=50e-6, scale="log", unit="m"),
        Parameter("rz", choices=(1000.0, 1100.0), series="E24", unit="ohm"),
        Parameter("flavour", choices=("lvt", "hvt")),
        Parameter("l_in", value=90e-9, unit="m"),
        Parameter("m_load", expression="2 * m_pair"),
    )
    fields: dict[str, object] = {
        "name": "two_stage",
        "path": Path("two_stage.yaml"),
        "testbenches": {},
        "parameters": {p.name: p for p in parameters},
        "measures": {name: Measure(name, unit=unit) for name, unit in units.items()},
        "specs": {spec.measure: spec for spec in specs},
        "objective": Objective(minimize=("ibias",), maximize=("fom",)),
        "description": "Miller-compensated two-stage op amp",
    }
    return Design(**{**fields, **changes})  # type: ignore[arg-type]


def sample_sizing(m_pair: float = 18.0) -> dict[str, float | str]:
    return {
        "m_pair": m_pair, "w_in": 1.2e-6, "rz": 1100.0, "flavour": "lvt", "l_in": 90e-9,
        "m_load": 2 * m_pair,
    }  # fmt: skip


def good_trial(number: int = 0, design: Design | None = None, **measures: float) -> Trial:
    results = {NOMINAL: CornerResult({**GOOD, **measures}, seconds=0.01, runs=1)}
    return score(number, sample_sizing(), results, (design or sample_design()).specs)


def failed_trial(
    number: int = 0,
    state: State = State.NO_CONVERGENCE,
    reason: str = "singular matrix: check node net3",
) -> Trial:
    results = {NOMINAL: CornerResult({}, state=state, reason=reason, runs=2)}
    return score(number, sample_sizing(1.0), results, sample_design().specs)


def missing_measure_trial(number: int = 0) -> Trial:
    measures = {**GOOD, "gain": 0.4, "ugbw": math.nan, "pm": math.nan}
    reasons = dict.fromkeys(("ugbw", "pm"), "gain is below 1 at every frequency")
    results = {NOMINAL: CornerResult(measures, reasons, runs=1)}
    return score(number, sample_sizing(1.0), results, sample_design().specs)


def sample_summary(*trials: Trial, design: Design | None = None, **fields: object) -> Summary:
    given: dict[str, object] = {
        "agent": "bo", "seed": 7, "simulator": "ngspice-39.3", "design_hash": "3f2a9c",
        "simulations": len(trials), "seconds": 4.2,
    }  # fmt: skip
    return summarize(design or sample_design(), trials, **{**given, **fields})  # type: ignore[arg-type]
