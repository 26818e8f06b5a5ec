"""`m3eda verify`: one sizing at every corner, against every spec; nothing is searched."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from m3eda.crosscheck.tables import finite
from m3eda.design.scoring import margin, met
from m3eda.design.types import ALL_CORNERS, Corner, Design, Limits, Sizing
from m3eda.errors import ExitCode, SimulatorMissing
from m3eda.flow import Execution, Project, check_corners
from m3eda.ledger import Ledger
from m3eda.report.tables import Table, count_text, markdown, plain_text, spec_table, table_of
from m3eda.simulate.trial import Trial, score
from m3eda.simulate.types import State

FORMAT, VERSION = "m3eda/verify", 1
LISTED = 20
"""Failing corners that a report for people lists at most."""


@dataclass(frozen=True)
class Miss:
    """A spec that does not hold at a corner."""

    corner: str
    measure: str
    value: float
    """SI units; nan where there is none."""
    limits: Limits
    reason: str = ""
    """Why there is no value."""


def chosen_corners(design: Design, names: Sequence[str] = ()) -> tuple[Corner, ...]:
    """The nominal corner and those of the design, or those of `names`. Raises DesignError."""
    check_corners(design, names)
    known = {corner.name: corner for corner in (design.nominal, *design.corners)}
    if not names or ALL_CORNERS in names:
        return tuple(known.values())
    return tuple(known[name] for name in dict.fromkeys(names))


def verify(
    project: Project, sizing: Sizing, corners: Sequence[Corner], execution: Execution, run_dir: Path
) -> Trial:
    """`sizing` at every one of `corners`; what is simulated is kept in the ledger of `run_dir`, so
    that the same call goes on where it was interrupted.

    Raises SimulatorMissing, StorageError.
    """
    evaluator = project.evaluator(execution)
    with contextlib.closing(Ledger(run_dir)) as ledger, contextlib.closing(evaluator):
        evaluator.store = ledger
        whole = evaluator.complete(sizing)
        with contextlib.closing(evaluator.evaluate([whole], corners, once=True)) as results:
            found = next(results)
    for result in found.values():
        if result.state is State.SIMULATOR_MISSING:
            raise SimulatorMissing(result.reason)
    return score(0, whole, found, project.design.specs)


def misses(design: Design, trial: Trial) -> list[Miss]:
    """Every spec at every corner where it does not hold, the worst corner of each first."""
    found: list[tuple[float, Miss]] = []
    for spec in design.specs.values():
        own = []
        for corner, result in trial.results.items():
            limits = spec.at(corner)
            value = result.worst(spec.measure, limits)
            if not met(value, limits):
                reason = result.reasons.get(spec.measure, result.reason)
                share = margin(value, limits)
                own.append((-math.inf if math.isnan(share) else share,
                            Miss(corner, spec.measure, value, limits, reason)))  # fmt: skip
        found += sorted(own, key=lambda pair: pair[0])
    return [miss for _, miss in found]


def verify_command(
    project: Project, sizing: Sizing, corners: Sequence[Corner], execution: Execution,
    run_dir: Path, form: str, out: IO[str],
) -> ExitCode:  # fmt: skip
    """Sign `sizing` off, print how it went, and give what `make` goes by. Raises as `verify`."""
    trial = verify(project, sizing, corners, execution, run_dir)
    if form == "json":
        out.write(json.dumps(_json(project.design, trial), indent=2) + "\n")
    else:
        out.write(_text(project.design, trial, marked=form == "markdown"))
    return ExitCode.SPECS_MET if trial.met else ExitCode.SPECS_NOT_MET


def _text(design: Design, trial: Trial, *, marked: bool) -> str:
    write = markdown if marked else plain_text
    missed = misses(design, trial)
    bad = len({miss.corner for miss in missed})
    count = count_text(len(trial.results), "corner")
    head = (f"{design.name}: every spec holds at {count}" if trial.met
            else f"{design.name}: fails at {bad} of {count}")  # fmt: skip
    parts = [head + "\n", write(spec_table(design, trial))]
    if missed:
        parts.append(write(_failing(missed)))
        if bad > LISTED:
            parts.append(f"and {bad - LISTED} more; --format json has all\n")
    if not design.corners:
        parts.append("the design has no corners: this is the nominal one alone\n")
    return "\n".join(parts)


def _failing(missed: Sequence[Miss]) -> Table:
    """A row for each corner that fails, those first where most specs do."""
    by_corner: dict[str, list[str]] = {}
    for miss in missed:
        by_corner.setdefault(miss.corner, []).append(miss.measure)
    order = sorted(by_corner, key=lambda corner: -len(by_corner[corner]))
    rows = [(corner, ", ".join(by_corner[corner])) for corner in order[:LISTED]]
    return table_of(("corner", "fails"), rows, ())


def _json(design: Design, trial: Trial) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "design": design.name,
        "met": trial.met,
        "sizing": dict(trial.sizing),
        "corners": {
            name: {
                "state": result.state.value,
                "reason": result.reason,
                "measures": {key: finite(value) for key, value in result.measures.items()},
            }
            for name, result in trial.results.items()
        },
        "misses": [
            {"corner": miss.corner, "measure": miss.measure, "value": finite(miss.value),
             "reason": miss.reason}
            for miss in misses(design, trial)
        ],
    }  # fmt: skip
