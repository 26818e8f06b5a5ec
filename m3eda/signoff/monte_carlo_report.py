"""`m3eda verify --monte-carlo`: the yield of a sizing, how its measures spread, and by what."""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from os import environ
from pathlib import Path
from typing import IO, Any

import numpy as np

from m3eda.crosscheck.tables import finite
from m3eda.design.types import Corner, Design, Sizing
from m3eda.design.variation import check_variation
from m3eda.errors import DesignError, ExitCode, Mistake
from m3eda.flow import Execution, Project
from m3eda.ledger import Ledger
from m3eda.pvt.intervals import percent
from m3eda.report.progress import ProgressDisplay
from m3eda.report.tables import (
    Table,
    markdown,
    plain_text,
    quantity,
    spec_table,
    table_of,
    unit_of,
    wanted_text,
)
from m3eda.signoff.monte_carlo import (
    Outcome,
    Plan,
    Spread,
    make_plan,
    monte_carlo,
    spreads,
)
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.trial import Trial, score

FORMAT, VERSION = "m3eda/monte-carlo", 1
LISTED = 10
"""Failing samples that a report for people lists at most."""
BINS = 20


class SamplesDisplay(ProgressDisplay):
    """How many samples are simulated, and how many of them are good."""

    outcome: Outcome | None = None

    def hear(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._refresh()

    def progress(self) -> str:
        if self.outcome is None:
            return "no sample yet"
        good = sum(trial.met for trial in self.outcome.trials)
        return f"{len(self.outcome.trials)} samples, {good} pass"

    def _done(self) -> tuple[int, int]:
        if self.outcome is None:
            return 0, 1
        return len(self.outcome.trials), self.outcome.plan.samples.count


def monte_carlo_command(
    project: Project, sizing: Sizing, corners: Sequence[Corner], execution: Execution,
    run_dir: Path, form: str, out: IO[str], number: int | None = None,
) -> ExitCode:  # fmt: skip
    """Draw samples of `sizing`, or sample `number` alone, and print what they say.

    What is simulated is kept in the ledger of `run_dir`. Exit code 0 where the wanted yield is
    shown, or without one where every sample is good. Raises DesignError, SimulatorMissing,
    StorageError.
    """
    design = project.design
    check_variation(design)
    evaluator = project.evaluator(execution)
    with contextlib.closing(Ledger(run_dir)) as ledger, contextlib.closing(evaluator):
        evaluator.store = ledger
        whole = evaluator.complete(sizing)
        plan = make_plan(design, evaluator, whole, corners)
        if number is not None:
            trial = _one(design, evaluator, whole, plan, number)
            out.write(_one_text(design, trial, plan, form))
            return ExitCode.SPECS_MET if trial.met else ExitCode.SPECS_NOT_MET
        display = SamplesDisplay("samples", sys.stderr, environ)
        with display:
            outcome = monte_carlo(design, evaluator, whole, plan, display.hear)
    if form == "json":
        out.write(json.dumps(outcome_json(outcome), indent=2) + "\n")
    else:
        out.write(_text(outcome, marked=form == "markdown"))
    return ExitCode.SPECS_MET if passed(outcome) else ExitCode.SPECS_NOT_MET


def passed(outcome: Outcome) -> bool:
    """True where the wanted yield is shown; without one, where every sample is good."""
    if outcome.plan.target is None:
        return not outcome.failing
    return outcome.estimate.verdict == "met"


def _one(design: Design, evaluator: Evaluator, sizing: Sizing, plan: Plan, number: int) -> Trial:
    try:
        at = [plan.samples.at(number, corner) for corner in plan.corners]
    except ValueError as error:
        raise DesignError([Mistake(str(error), design.path)]) from None
    with contextlib.closing(evaluator.evaluate([sizing], at)) as found:
        results = next(found)
    own = {c.name: results[each.name] for c, each in zip(plan.corners, at, strict=True)}
    return score(number, sizing, own, design.specs)


def _one_text(design: Design, trial: Trial, plan: Plan, form: str) -> str:
    deviations = plan.samples.deviations(trial.number)
    if form == "json":
        return json.dumps({**_sample_json(trial), "deviations": deviations}, indent=2) + "\n"
    write = markdown if form == "markdown" else plain_text
    far = sorted(deviations, key=lambda name: -abs(deviations[name]))[:LISTED]
    rows = [(name, f"{deviations[name]:+.2f}") for name in far]
    head = f"{design.name}: sample {trial.number}" + ("" if trial.met else " fails")
    tables = [write(spec_table(design, trial))]
    if rows:
        tables.append(write(table_of(("deviation", "sigma"), rows, ("sigma",))))
    return "\n".join([head + "\n", *tables])


def said(outcome: Outcome) -> str:
    """What the samples say of the yield, in a line."""
    found, plan = outcome.estimate, outcome.plan
    share = f"{found.good} of {found.count} samples pass"
    sure = f"with {percent(plan.confidence)} confidence"
    if plan.target is None:
        return f"{share}: yield {percent(found.low)} to {percent(found.high)} {sure}"
    if found.verdict == "met":
        return f"{share}: yield at least {percent(plan.target)} {sure}"
    if found.verdict == "missed":
        return f"{share}: yield below {percent(plan.target)} {sure}"
    return (
        f"{share}: not enough to tell whether the yield is {percent(plan.target)}; "
        f"it is between {percent(found.low)} and {percent(found.high)}, each {sure}"
    )


def _text(outcome: Outcome, *, marked: bool) -> str:
    write = markdown if marked else plain_text
    design, plan = outcome.design, outcome.plan
    found = spreads(outcome)
    parts = [f"{design.name}: {said(outcome)}\n", write(_spread_table(design, found))]
    by = [(each.measure, name, f"{share:.0%}") for each in found for name, share in each.by]
    if by:
        parts.append(write(table_of(("spec", "correlates with", "r^2"), by, ("r^2",))))
    failing = outcome.failing
    if failing:
        parts.append(write(_failing(outcome)))
        if len(failing) > LISTED:
            parts.append(f"and {len(failing) - LISTED} more; --format json has all\n")
        parts.append(f"the worst one again: {_again(outcome, failing[0].number)}\n")
    if plan.target is not None and outcome.estimate.verdict == "open":
        parts.append(f"--samples {5 * plan.samples.count} may tell\n")
    if design.variation is not None and design.variation.sampling != "random":
        parts.append(f"the interval is that of independent samples; {design.variation.sampling} "
                     "spreads them more evenly\n")  # fmt: skip
    return "\n".join(parts)


def _again(outcome: Outcome, number: int) -> str:
    """The options that give sample `number` again, whatever the design says."""
    plan, variation = outcome.plan, outcome.design.variation
    corners = "".join(f" --corner {corner.name}" for corner in plan.corners)
    seed = variation.seed if variation else 1
    return f"--sample {number} --samples {plan.samples.count} --seed {seed}{corners}"


def _spread_table(design: Design, found: Sequence[Spread]) -> Table:
    headers = ("spec", "wanted", "mean", "sigma", "min", "max", "Cpk", "fails", "worst sample")
    rows = []
    for each in found:
        unit = unit_of(design, each.measure)
        numbers = [quantity(v, unit) for v in (each.mean, each.sigma, each.least, each.most)]
        cpk = f"{each.cpk:.2f}" if np.isfinite(each.cpk) else ""
        rows.append((each.measure, wanted_text(each.limits, unit), *numbers, cpk, str(each.failed),
                     str(each.worst)))  # fmt: skip
    return table_of(headers, rows, headers[2:])


def _failing(outcome: Outcome) -> Table:
    rows = []
    for trial in outcome.failing[:LISTED]:
        missed = [n for n, m in trial.margins.items() if not m > 0.0]
        rows.append((str(trial.number), ", ".join(missed), trial.reason))
    return table_of(("failing sample", "fails", "note"), rows, ())


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """Everything, for programs: numbers in SI units, null where there is none."""
    found, plan, variation = outcome.estimate, outcome.plan, outcome.design.variation
    failed = Counter(name for t in outcome.failing for name, m in t.margins.items() if not m > 0.0)
    return {
        "format": FORMAT,
        "version": VERSION,
        "design": outcome.design.name,
        "passed": passed(outcome),
        "yield": {
            "good": found.good, "samples": found.count, "share": found.share, "low": found.low,
            "high": found.high, "confidence": plan.confidence, "target": plan.target,
            "verdict": found.verdict,
        },
        "seed": variation.seed if variation else 0,
        "corners": [corner.name for corner in plan.corners],
        "sizing": dict(outcome.trials[0].sizing) if outcome.trials else {},
        "specs": {each.measure: _spread_json(outcome, each) for each in spreads(outcome)},
        "failed": dict(failed),
        "samples": [_sample_json(trial) for trial in outcome.trials],
    }  # fmt: skip


def _spread_json(outcome: Outcome, each: Spread) -> dict[str, Any]:
    values = outcome.values(each.measure)
    counts, edges = np.histogram(values[np.isfinite(values)], bins=BINS)
    return {
        "mean": finite(each.mean), "sigma": finite(each.sigma), "min": finite(each.least),
        "max": finite(each.most), "cpk": finite(each.cpk), "failed": each.failed,
        "worst_sample": each.worst, "correlates_with": dict(each.by),
        "histogram": {"counts": counts.tolist(), "edges": edges.tolist()},
    }  # fmt: skip


def _sample_json(trial: Trial) -> Mapping[str, Any]:
    return {
        "number": trial.number,
        "met": trial.met,
        "reason": trial.reason,
        "measures": {name: finite(value) for name, value in trial.worst.items()},
    }
