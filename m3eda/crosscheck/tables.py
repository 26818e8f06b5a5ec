"""A comparison of two simulators as a table, and as JSON."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from m3eda.crosscheck.comparison import Comparison, Failure, Pair, Results, Row
from m3eda.design.types import Design, Sizing, Value
from m3eda.report.tables import NOTHING, Table, count_text, one_line, plain_text, quantity, unit_of
from m3eda.simulate.encoding import encode_result
from m3eda.simulate.types import State
from m3eda.units import format_engineering

_MOST = 5
"""Kinds of failures, and sizings at fault, that are told; JSON has all."""
_NOTE, _LINE = 60, 300
"""Longest text of a reason in the table and below it; JSON has the whole."""


@dataclass(frozen=True)
class Side:
    """One simulator, and what it gave at every sizing."""

    name: str
    version: str
    results: Sequence[Results]
    options: Mapping[str, Value]

    @property
    def runs(self) -> int:
        """Simulations that were not known already."""
        return sum(result.runs for each in self.results for result in each.values())


@dataclass(frozen=True)
class Outcome:
    """A finished crosscheck."""

    design: Design
    sizings: Sequence[Sizing]
    sides: tuple[Side, Side]
    comparison: Comparison


def outcome_text(outcome: Outcome) -> str:
    """The table with what is to be known beside it; ends with a newline."""
    one, other = outcome.sides
    head = (
        f"{outcome.design.name}: {count_text(len(outcome.sizings), 'sizing')} on {one.name} "
        f"({one.version}) and {other.name} ({other.version}), "
        f"{count_text(one.runs + other.runs, 'new simulation')}"
    )
    below = _below(outcome)
    parts = [head, plain_text(_table(outcome)).rstrip("\n"), "\n".join(below), verdict(outcome)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _below(outcome: Outcome) -> list[str]:
    """Lines on what failed, and on how to look at it again."""
    comparison = outcome.comparison
    kinds: dict[tuple[Any, ...], list[Failure]] = {}
    for failure in comparison.failures:
        kinds.setdefault((failure.states, failure.reasons), []).append(failure)
    lines = [_failure_line(outcome, alike) for alike in list(kinds.values())[:_MOST]]
    if len(kinds) > _MOST:
        lines.append(f"and {len(kinds) - _MOST} more ways to end otherwise")
    if comparison.failed_alike:
        count = count_text(comparison.failed_alike, "sizing")
        lines.append(f"{count} failed in the same way in both")
    return lines + [_sizing_line(outcome, number) for number in comparison.suspects[:_MOST]]


def verdict(outcome: Outcome) -> str:
    """Whether they agree, on one line."""
    comparison = outcome.comparison
    names = f"{outcome.sides[0].name} and {outcome.sides[1].name}"
    if comparison.agrees:
        return f"{names} agree in {count_text(len(comparison.rows), 'measure')}"
    wrong = [row.measure for row in comparison.rows if not row.agrees]
    if comparison.failures:
        wrong.append(count_text(len(comparison.failures), "failed simulation"))
    return f"{names} do not agree: {', '.join(wrong)}"


def _table(outcome: Outcome) -> Table:
    names = tuple(side.name for side in outcome.sides)
    right = (*names, "difference", "tolerance", "sizing")
    headers = ("measure", *right, "agrees", "note")
    return Table(headers, tuple(_cells(outcome, row) for row in outcome.comparison.rows), right)


def _cells(outcome: Outcome, row: Row) -> tuple[str, ...]:
    unit, tolerance = unit_of(outcome.design, row.measure), row.rule.tolerance
    agrees = "yes" if row.agrees else "NO"
    worst = row.worst
    if worst is None:
        return (row.measure, *[NOTHING] * 2, "", tolerance.text(unit), "", agrees, _note(row))
    return (
        row.measure,
        *(_precise(value, unit) for value in worst.values),
        _difference(row, worst, unit),
        tolerance.text(unit),
        str(worst.sizing) if row.share else "",
        agrees,
        _note(row),
    )


def _precise(value: float, unit: str) -> str:
    return NOTHING if math.isnan(value) else format_engineering(value, unit, 7)


def _difference(row: Row, worst: Pair, unit: str) -> str:
    """In the form of the tolerance that counts there: relative, or in the measure's unit."""
    if math.isinf(worst.relative):
        return NOTHING
    if not row.share:
        return "0"
    tolerance, right = row.rule.tolerance, worst.values[1]
    if tolerance.absolute and tolerance.absolute >= tolerance.relative * abs(right):
        return quantity(float(f"{worst.absolute:.2g}"), unit)
    return f"{worst.relative:.1e}" if right else quantity(worst.absolute, unit)


def _note(row: Row) -> str:
    worst = row.worst
    if worst is None:
        return "in neither at any sizing"
    parts = [worst.at]
    if math.isinf(row.share):
        parts += [f"none: {_shortened(reason, _NOTE)}" for reason in worst.reasons if reason]
    parts += [f"beyond in {row.beyond} of {row.pairs}"] if row.beyond > 1 else []
    parts += [f"in neither at {row.absent}"] if row.absent else []
    return "; ".join(filter(None, parts))


def _failure_line(outcome: Outcome, alike: Sequence[Failure]) -> str:
    """Sizings that end in the same two ways."""
    first = alike[0]
    ends = [
        f"{side.name} {state.value}{f': {reason}' if state is not State.COMPLETE else ''}"
        for side, state, reason in zip(outcome.sides, first.states, first.reasons, strict=True)
    ]
    which = f"sizing {first.sizing}"
    if len(alike) > 1:
        which += f" and {count_text(len(alike) - 1, 'other')}"
    return _shortened(f"{which}: {'; '.join(ends)}", _LINE)


def _shortened(text: str, length: int) -> str:
    return textwrap.shorten(one_line(text), length, placeholder=" ...")


def _sizing_line(outcome: Outcome, number: int) -> str:
    """How to look at one sizing again."""
    sizing = outcome.sizings[number]
    given = [
        f"--set {parameter.name}={value if isinstance(value, str) else f'{value:.12g}'}"
        for parameter in outcome.design.free
        for value in [sizing[parameter.name]]
    ]
    return f"sizing {number}: {' '.join(given)}"


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """Everything, ready for JSON; what is not finite becomes null."""
    design, comparison, sides = outcome.design, outcome.comparison, outcome.sides
    return {
        "design": design.name,
        "agree": comparison.agrees,
        "verdict": verdict(outcome),
        "simulators": [
            {
                "name": side.name,
                "version": side.version,
                "options": dict(side.options),
                "runs": side.runs,
            }
            for side in sides
        ],
        "measures": {row.measure: _row_json(design, row) for row in comparison.rows},
        "failures": [_failure_json(failure) for failure in comparison.failures],
        "failed_alike": comparison.failed_alike,
        "points": [
            {
                "sizing": dict(sizing),
                "results": {side.name: _results_json(side.results[number]) for side in sides},
            }
            for number, sizing in enumerate(outcome.sizings)
        ],
    }


def _row_json(design: Design, row: Row) -> dict[str, Any]:
    tolerance, worst = row.rule.tolerance, row.worst
    return {
        "unit": unit_of(design, row.measure),
        "analysis": row.rule.analysis,
        "tolerance": {
            "relative": tolerance.relative,
            "absolute": tolerance.absolute,
            "given": row.rule.given,
        },
        "agrees": row.agrees,
        "pairs": row.pairs,
        "compared": row.compared,
        "absent": row.absent,
        "beyond": row.beyond,
        "worst": None
        if worst is None
        else {
            "sizing": worst.sizing,
            "corner": worst.corner,
            "at": worst.at,
            "values": [finite(value) for value in worst.values],
            "relative": finite(worst.relative),
            "absolute": finite(worst.absolute),
            "of_tolerance": finite(row.share),
        },
    }


def _failure_json(failure: Failure) -> dict[str, Any]:
    return {
        "sizing": failure.sizing,
        "corner": failure.corner,
        "states": [state.value for state in failure.states],
        "reasons": list(failure.reasons),
    }


def _results_json(results: Results) -> dict[str, Any]:
    return {corner: encode_result(result) for corner, result in results.items()}


def finite(value: float) -> float | None:
    """For JSON, which knows no nan and no infinity."""
    return value if math.isfinite(value) else None
