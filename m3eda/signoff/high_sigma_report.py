"""`m3eda verify --high-sigma`: how seldom a sizing fails, and in which way it would."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from m3eda.crosscheck.tables import finite
from m3eda.design.space import FloatArray
from m3eda.design.types import Corner, Design, Sample, Sizing
from m3eda.design.variation import check_variation
from m3eda.errors import DesignError, ExitCode, Mistake, SimulatorMissing
from m3eda.flow import Execution, Project
from m3eda.ledger import Ledger
from m3eda.pvt.intervals import percent
from m3eda.pvt.samples import sample_name
from m3eda.report.tables import markdown, plain_text, table_of
from m3eda.signoff.high_sigma import BEYOND, Margins, Rare, TooFew, distances, rare_failures
from m3eda.signoff.monte_carlo import make_plan
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.trial import score
from m3eda.simulate.types import State

FORMAT, VERSION = "m3eda/high-sigma", 1
SHOWN = 3
"""Deviations that are listed of each way to fail."""


def high_sigma_command(
    project: Project, sizing: Sizing, corner: Corner, execution: Execution, run_dir: Path,
    form: str, out: IO[str], most: int,
) -> ExitCode:  # fmt: skip
    """Estimate how seldom `sizing` fails at `corner` by `most` simulations at most; print it.

    Exit code 0 where the wanted yield is met, without one where it fails more seldom than three
    standard deviations tell; also where no way to fail is found. Raises DesignError,
    SimulatorMissing, StorageError.
    """
    design = project.design
    check_variation(design)
    evaluator = project.evaluator(execution)
    with contextlib.closing(Ledger(run_dir)) as ledger, contextlib.closing(evaluator):
        evaluator.store = ledger
        whole = evaluator.complete(sizing)
        plan = make_plan(design, evaluator, whole, [corner])
        if evaluator.renderer.draws_by_itself:
            text = "models that draw by themselves cannot be drawn where they fail"
            hint = "give mismatch.a_vt of the technology without sections"
            raise DesignError([Mistake(text, design.path, key="variation", hint=hint)])
        names = plan.samples.names
        ask = _margins(design, evaluator, whole, corner, names)
        centre = ask(np.zeros((1, len(names))))[0]
        if failing := [name for name, each in zip(design.specs, centre, strict=True)
                       if not each > 0.0]:  # fmt: skip
            out.write(f"{design.name}: misses {', '.join(failing)} without any deviation\n")
            return ExitCode.SPECS_NOT_MET
        seed = design.variation.seed if design.variation else 1
        try:
            found = rare_failures(ask, len(names), seed, most=most)
        except TooFew as few:
            text = f"{most} simulations are too few for {len(names)} deviations"
            hint = f"--samples {few.needed} at the least"
            raise DesignError([Mistake(text, design.path, key="variation", hint=hint)]) from None
    sure = plan.confidence
    met = not found.ways or (
        found.interval(sure)[1] <= 1.0 - plan.target if plan.target else _three(found)
    )
    if form == "json":
        out.write(json.dumps({**_json(design, names, found, sure), "passed": met}, indent=2) + "\n")
    else:
        out.write(_text(design, names, found, sure, marked=form == "markdown"))
    return ExitCode.SPECS_MET if met else ExitCode.SPECS_NOT_MET


def _three(found: Rare) -> bool:
    return found.sigma >= 3.0


def _margins(
    design: Design, evaluator: Evaluator, sizing: Sizing, corner: Corner, names: Sequence[str]
) -> Margins:
    """Margins of every spec by simulation."""
    specs = list(design.specs)

    def margins(points: FloatArray) -> FloatArray:
        at = [
            Corner(sample_name(corner.name, number), corner.process, corner.conditions,
                   Sample(number, corner.name, dict(zip(names, map(float, row), strict=True))))
            for number, row in enumerate(points, 1)
        ]  # fmt: skip
        with contextlib.closing(evaluator.evaluate([sizing], at)) as results:
            found = next(results)
        rows = []
        for each in at:
            result = found[each.name]
            if result.state is State.SIMULATOR_MISSING:
                raise SimulatorMissing(result.reason)
            trial = score(0, sizing, {corner.name: result}, design.specs)
            rows.append([trial.margins[name] for name in specs])
        return np.array(rows)

    return margins


def said(found: Rare, confidence: float) -> str:
    """What is known of the probability to fail, in a line."""
    spent = f"{found.simulations} simulations"
    if not found.ways:
        return f"no way to fail within {BEYOND:g} standard deviations found by {spent}"
    low, high = found.interval(confidence)
    return (
        f"fails with a probability of {found.probability:.2g} ({low:.2g} to {high:.2g} with "
        f"{percent(confidence)} confidence), {found.sigma:.2f} sigma, by {spent}"
    )


def _text(
    design: Design, names: Sequence[str], found: Rare, confidence: float, *, marked: bool
) -> str:
    write = markdown if marked else plain_text
    specs = list(design.specs)
    rows = [
        (name, f"{distance:.2f}" if math.isfinite(distance) else f"over {BEYOND:g}",
         f"{found.by_spec[number]:.2g}" if found.by_spec.size else "",
         _way(found, number, names))
        for number, (name, distance) in enumerate(distances(found, specs).items())
    ]  # fmt: skip
    headers = ("spec", "worst-case distance", "fails", "by")
    head = f"{design.name}: {said(found, confidence)}\n"
    return "\n".join([head, write(table_of(headers, rows, headers[1:3]))])


def _way(found: Rare, spec: int, names: Sequence[str]) -> str:
    """The largest deviations of the likeliest way in which a spec fails."""
    own = [way for way in found.ways if way.spec == spec]
    if not own:
        return ""
    point = own[0].point
    largest = np.argsort(-np.abs(point))[:SHOWN]
    return ", ".join(f"{names[i]} {point[i]:+.1f}" for i in largest)


def _json(design: Design, names: Sequence[str], found: Rare, confidence: float) -> dict[str, Any]:
    specs = list(design.specs)
    low, high = found.interval(confidence)
    return {
        "format": FORMAT,
        "version": VERSION,
        "design": design.name,
        "probability": finite(found.probability),
        "low": finite(low),
        "high": finite(high),
        "confidence": confidence,
        "sigma": finite(found.sigma),
        "simulations": found.simulations,
        "worst_case_distance": {n: finite(d) for n, d in distances(found, specs).items()},
        "ways": [
            {"spec": specs[way.spec], "distance": way.distance,
             "deviations": dict(zip(names, way.point.tolist(), strict=True))}
            for way in found.ways
        ],
    }  # fmt: skip
