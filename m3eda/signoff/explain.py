"""`m3eda explain`: which spec binds, what it depends on, what betters it, in words and tables."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from m3eda.crosscheck.tables import finite
from m3eda.design.ties import complete
from m3eda.design.types import Design, Sizing
from m3eda.errors import DesignError, Mistake
from m3eda.flow import Execution, Project
from m3eda.ledger import Ledger
from m3eda.report.tables import Table, markdown, plain_text, quantity, spec_table, table_of
from m3eda.signoff.sensitivity import (
    SHOWN,
    TRIALS_A_PARAMETER,
    Effect,
    Move,
    Sensitivity,
    cheapest,
    one_at_a_time,
    regression,
)
from m3eda.simulate.trial import score

FORMAT, VERSION = "m3eda/explain", 1
MOVES = 3
"""Moves that are named in words at most."""
LEAST = 5e-5
"""Of a margin; smaller changes are shown as none."""
PERCENT = 100.0 * (SHOWN - 1.0)


def explain_command(
    project: Project, sizing: Sizing, execution: Execution, run_dir: Path, method: str, form: str,
    out: IO[str],
) -> None:  # fmt: skip
    """Print what the specs of `sizing` depend on. Raises DesignError where the design has no specs
    or the run too few trials, SimulatorMissing, StorageError."""
    design = project.design
    if not design.specs:
        text, hint = f"{design.name} has no specs to explain", "add `specs:`"
        raise DesignError([Mistake(text, design.path, hint=hint)])
    found = (
        one_at_a_time(project, sizing, execution, run_dir)
        if method == "moves"
        else _regression(project, sizing, run_dir)
    )
    if form == "json":
        out.write(json.dumps(_json(design, found, method), indent=2) + "\n")
    else:
        out.write(_text(design, found, marked=form == "markdown"))


def _regression(project: Project, sizing: Sizing, run_dir: Path) -> Sensitivity:
    design = project.design
    with Ledger(run_dir, read_only=True) as ledger:
        segments = ledger.segments()
        # an edited netlist is another circuit
        same = [each.id for each in segments if each.circuit == segments[-1].circuit]
        trials = [each for number in same for each in ledger.trials(number)]
    names = set(design.parameters)
    own = [each for each in trials if set(each.sizing) == names]
    whole = complete(design, sizing)
    there = [each for each in own if each.sizing == whole and design.nominal.name in each.results]
    found = None
    if there:
        nominal = {design.nominal.name: there[-1].results[design.nominal.name]}
        found = regression(design, score(0, whole, nominal, design.specs), own)
    if found is None:
        count = TRIALS_A_PARAMETER * len(design.free)
        text = f"{run_dir} holds no {count} trials of this design, the sizing among them"
        raise DesignError([Mistake(text, design.path, hint="--method moves simulates a few")])
    return found


def _text(design: Design, found: Sensitivity, *, marked: bool) -> str:
    write = markdown if marked else plain_text
    parts = ["\n".join(words(design, found)) + "\n", write(spec_table(design, found.trial))]
    head = f"change of each margin where a parameter grows by {PERCENT:.0f} %"
    parts.append(f"{head}:\n\n{write(_effects(design, 'parameter', found.parameters, found))}")
    if found.corners:
        table = write(_effects(design, "moved to", found.corners, found))
        parts.append(f"change of each margin at other conditions:\n\n{table}")
    if found.fit:
        fits = ", ".join(f"{name} {share:.0%}" for name, share in found.fit.items())
        parts.append(f"explained by the regression: {fits}\n")
    return "\n".join(parts)


def words(design: Design, found: Sensitivity) -> list[str]:
    """What a designer would say of it first."""
    spec = found.binding(design)
    if spec is None:
        return [f"{design.name}: no spec has a value at this sizing"]
    share = found.trial.margins[spec.measure]
    verb = "binds" if share >= 0.0 else "fails"
    lines = [f"{design.name}: {spec.measure} {verb}, with a margin of {100.0 * share:+.3g} %"]
    strongest = max(found.parameters, key=lambda each: _size(each, spec.measure), default=None)
    if strongest is not None and _size(strongest, spec.measure) > 0.0:
        change = 100.0 * strongest.margins[spec.measure]
        lines.append(f"it depends on {strongest.name} most: {PERCENT:.0f} % more of it change the "
                     f"margin by {change:+.2g} %")  # fmt: skip
    worst = min(found.corners, key=lambda each: _drop(each, spec.measure), default=None)
    if worst is not None and _drop(worst, spec.measure) < 0.0:
        change = 100.0 * worst.margins[spec.measure]
        lines.append(f"of the corner variables {worst.name} takes most of it: {change:+.2g} %")
    moves = cheapest(found, spec.measure)[:MOVES]
    if moves:
        lines.append(f"margin is had most cheaply by: {'; '.join(map(_move, moves))}")
    return lines


def _move(move: Move) -> str:
    text = f"{move.parameter} {'up' if move.up else 'down'} ({100.0 * move.gain:+.2g} %"
    if not move.payer:
        return f"{text}, no spec loses)"
    return f"{text}, takes {move.price:.0%} of the margin of {move.payer})"


def _size(effect: Effect, measure: str) -> float:
    change = effect.margins[measure]
    return 0.0 if math.isnan(change) else abs(change)


def _drop(effect: Effect, measure: str) -> float:
    change = effect.margins[measure]
    return -math.inf if math.isnan(change) else change


def _effects(design: Design, header: str, effects: Sequence[Effect], found: Sensitivity) -> Table:
    names = list(design.specs)
    rows = []
    for effect in effects:
        value = found.trial.sizing.get(effect.name)
        unit = design.parameters[effect.name].unit if effect.name in design.parameters else ""
        shown = "" if value is None else quantity(value, unit)
        rows.append([effect.name, shown, *(_percent(effect.margins[name]) for name in names)])
    return table_of([header, "value", *names], rows, ["value", *names])


def _percent(share: float) -> str:
    if math.isnan(share):
        return "lost"
    return "0 %" if abs(share) < LEAST else f"{100.0 * share:+.2g} %"


def _json(design: Design, found: Sensitivity, method: str) -> dict[str, Any]:
    spec = found.binding(design)
    return {
        "format": FORMAT,
        "version": VERSION,
        "design": design.name,
        "method": method,
        "sizing": dict(found.trial.sizing),
        "margins": {name: finite(share) for name, share in found.trial.margins.items()},
        "binding": None if spec is None else spec.measure,
        "moves": [] if spec is None else [vars(each) for each in cheapest(found, spec.measure)],
        "factor": SHOWN,
        "parameters": {each.name: _effect(each) for each in found.parameters},
        "corners": {each.name: _effect(each) for each in found.corners},
        "explained": dict(found.fit),
        "simulations": found.simulations,
    }


def _effect(effect: Effect) -> dict[str, Any]:
    return {
        "change": {name: finite(value) for name, value in effect.values.items()},
        "margin": {name: finite(value) for name, value in effect.margins.items()},
        "elasticity": {name: finite(value) for name, value in effect.elasticity.items()},
    }
