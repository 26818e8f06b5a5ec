"""What is known of a design in the technology it comes from: its best sizings, and where its
transistors work."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from m3eda.agents.guard import allowed
from m3eda.design.ties import nominal_point
from m3eda.design.types import Design, Measure, Objective, Sizing, Testbench
from m3eda.flow import Project
from m3eda.ledger import Ledger, StoredTrial
from m3eda.porting.devices import Transistor
from m3eda.porting.rescale import VALUES, Point
from m3eda.simulate.trial import Trial, score

STARTS = 5
"""Sizings of a run that are carried over."""


def kept_trials(design: Design, run_dir: Path) -> list[Trial]:
    """Trials of the run in `run_dir` that are sizings of `design`, in order, by today's specs.

    Those of the last netlist alone; none where there is no ledger. Raises StorageError.
    """
    if not (run_dir / "ledger.sqlite").is_file():
        return []
    with contextlib.closing(Ledger(run_dir, read_only=True)) as ledger:
        segments = ledger.segments()
        # an edited netlist is another circuit
        same = [each.id for each in segments if each.circuit == segments[-1].circuit]
        stored = [trial for number in same for trial in ledger.trials(number)]
    return [_scored(design, each) for each in stored if _is_of(design, each)]


def _is_of(design: Design, trial: StoredTrial) -> bool:
    return set(trial.sizing) == set(design.parameters) and all(
        allowed(parameter, trial.sizing[parameter.name]) for parameter in design.free
    )


def _scored(design: Design, trial: StoredTrial) -> Trial:
    return score(trial.number, trial.sizing, trial.results, design.specs, design.required)


def best_sizings(trials: Sequence[Trial], count: int) -> list[Sizing]:
    """At most `count` distinct sizings of `trials`, the best first; those with every measure."""
    order = sorted(trials, key=lambda each: (not each.met, -each.reward))
    distinct: dict[tuple[object, ...], Sizing] = {}
    for trial in order:
        if math.isfinite(trial.reward) and not any(map(math.isnan, trial.margins.values())):
            distinct.setdefault(tuple(sorted(trial.sizing.items())), trial.sizing)
    return list(distinct.values())[:count]


def operating_points(
    project: Project, devices: Sequence[Transistor], sizings: Sequence[Sizing]
) -> list[dict[str, Point]]:
    """For each of `sizings`, whole ones, where each of `devices` works at the nominal corner.

    One whose simulation gives nothing is left out. Raises SimulatorMissing.
    """
    design = project.design
    benches = {each.testbench for each in devices}
    if not benches:
        return [{} for _ in sizings]
    names = {(device.name, value): f"d{place}_{value}"
             for place, device in enumerate(devices) for value in VALUES}  # fmt: skip
    measures = {
        names[device.name, value]: Measure(
            names[device.name, value], device.testbench, f"op(@{device.name}[{value}])"
        )
        for device in devices
        for value in VALUES
    }
    alone = replace(
        design,
        testbenches={n: _unswept(design, t) for n, t in design.testbenches.items() if n in benches},
        measures=measures,
        specs={},
        objective=Objective(),
    )
    with contextlib.closing(replace(project, design=alone).evaluator()) as evaluator:
        found = [each[design.nominal.name].measures for each in evaluator.evaluate(sizings)]
    points = [
        {device.name: Point(*(values[names[device.name, value]] for value in VALUES))
         for device in devices}
        for values in found
    ]  # fmt: skip
    return [{name: each for name, each in own.items() if math.isfinite(each.gm)} for own in points]


def _unswept(design: Design, testbench: Testbench) -> Testbench:
    """`testbench` at the nominal point of its sweep, as a testbench without one."""
    if not testbench.sweep:
        return testbench
    chosen = nominal_point(design, testbench.sweep, testbench.points)
    conditions = {**testbench.conditions, testbench.sweep: chosen}
    return replace(testbench, sweep="", points=(), conditions=conditions)
