"""Tables of specs, parameters and measures as rows of text, and these as plain text or Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from m3eda.design.scoring import margin, met
from m3eda.design.types import NOMINAL, Design, Limits, Measure, Parameter, Spec, Value
from m3eda.objective.values import Aim, aims
from m3eda.simulate.trial import CornerResult, Trial
from m3eda.units import format_engineering

NOTHING = "-"
"""Stands where there is no number."""

_ASCII = str.maketrans(
    {
        "Ω": "Ohm",
        "\u2126": "Ohm",
        "µ": "u",
        "μ": "u",
        "√": "sqrt",
        "°": "deg",
        "²": "^2",
        "³": "^3",
        "·": "*",
        "±": "+-",
        "≥": ">=",
        "≤": "<=",
        "–": "-",  # noqa: RUF001  EN DASH
        "−": "-",  # noqa: RUF001  MINUS SIGN
        "’": "'",  # noqa: RUF001  RIGHT SINGLE QUOTATION MARK
    }
)


def one_line(text: str) -> str:
    """`text` on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def ascii_safe(text: str) -> str:
    """`text` in ASCII alone: signs of the trade are spelled out, other letters become `?`."""
    return text.translate(_ASCII).encode("ascii", "replace").decode("ascii")


@dataclass(frozen=True)
class Table:
    """Cells as text; `right` names the columns whose cells end flush right."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[str, ...] = ()


def table_of(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> Table:
    """A table without the columns that are empty in every row."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    kept = [i for i in range(len(headers)) if i == 0 or any(row[i] for row in cells)]
    return Table(
        tuple(headers[i] for i in kept),
        tuple(tuple(row[i] for i in kept) for row in cells),
        tuple(right),
    )


@dataclass(frozen=True)
class SpecRow:
    """One spec, or one measure of the objective, against a trial at its worst corner."""

    name: str
    wanted: str
    measured: str = NOTHING
    margin: str = NOTHING
    met: bool | None = None
    """None for an objective without a limit, and before any trial."""
    corner: str = ""
    """The worst corner, where there are several."""
    reason: str = ""
    """Why there is no number."""

    @property
    def mark(self) -> str:
        return "" if self.met is None else ("yes" if self.met else "NO")


def spec_met(spec: Spec, trial: Trial) -> bool:
    """True where `spec` holds at every corner, strictly."""
    results = trial.results.items()
    return all(met(r.worst(spec.measure, spec.at(c)), spec.at(c)) for c, r in results)


def spec_rows(design: Design, trial: Trial | None) -> list[SpecRow]:
    """A row for each spec, then for each measure of the objective that has no spec."""
    rows = [_spec_row(design, spec, trial) for spec in design.specs.values()]
    wanted = [aim for aim in aims(design.objective) if aim.measure not in design.specs]
    rows += [_aim_row(design, aim, trial) for aim in wanted]
    return rows


def spec_table(design: Design, trial: Trial | None) -> Table:
    headers = ("spec", "wanted", "measured", "margin", "met", "corner", "note")
    rows = [
        (r.name, r.wanted, r.measured, r.margin, r.mark, r.corner, r.reason)
        for r in spec_rows(design, trial)
    ]
    return table_of(headers, rows, ("measured", "margin"))


def measure_table(design: Design, trial: Trial) -> Table:
    """Every measure of the design and what it gave at the nominal corner (else the first)."""
    result = trial.results.get(NOMINAL) or next(iter(trial.results.values()))
    rows = []
    for name, measure in design.measures.items():
        value = result.measures.get(name, math.nan)
        note = _reason(result, name) if name in result.reasons else _measure_note(result, measure)
        rows.append((name, quantity(value, measure.unit), note))
    return table_of(("measure", "value", "note"), rows, ("value",))


def parameter_table(design: Design, trial: Trial) -> Table:
    """Every parameter, its value, what it may be, and where it sits at a limit."""
    rows = []
    for parameter in design.parameters.values():
        value = trial.sizing.get(parameter.name)
        shown = NOTHING if value is None else quantity(value, parameter.unit)
        rows.append((parameter.name, shown, allowed(parameter), _note(parameter, value)))
    return table_of(("parameter", "value", "allowed", "note"), rows, ("value",))


def pareto_table(design: Design, front: Sequence[Trial], chosen: Trial | None) -> Table:
    """The objective's measures, at their worst, of every trial on the front."""
    wanted = aims(design.objective)
    rows = [
        (
            str(trial.number),
            *(aim_text(design, aim, trial) for aim in wanted),
            "handed over" if chosen is not None and trial.number == chosen.number else "",
        )
        for trial in front
    ]
    names = tuple(aim.measure for aim in wanted)
    return table_of(("trial", *names, "note"), rows, ("trial", *names))


def aim_text(design: Design, aim: Aim, trial: Trial) -> str:
    """The objective's measure at its worst corner and point."""
    return quantity(aim.value(aim.cost(trial)), unit_of(design, aim.measure))


def count_text(number: int, noun: str) -> str:
    """`1 simulation`, `2 simulations`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def quantity(value: Value, unit: str) -> str:
    """A value as engineers write it; words as they are, `-` for nan."""
    if isinstance(value, str):
        return value
    return NOTHING if math.isnan(value) else format_engineering(value, unit)


def wanted_text(limits: Limits, unit: str) -> str:
    """The limits of a spec in words: `>= 10 MHz`, `1 V to 2 V`, `0.6 V +- 50 mV`."""
    parts = []
    low, high = limits.minimum, limits.maximum
    if low is not None and high is not None:
        parts.append(f"{quantity(low, unit)} to {quantity(high, unit)}")
    elif low is not None:
        parts.append(f">= {quantity(low, unit)}")
    elif high is not None:
        parts.append(f"<= {quantity(high, unit)}")
    if limits.target is not None and limits.tolerance is not None:
        parts.append(f"{quantity(limits.target, unit)} +- {quantity(limits.tolerance, unit)}")
    return ", ".join(parts)


def margin_text(value: float, limits: Limits, unit: str) -> str:
    """The margin in per cent of the limit; in the measure's unit where the limit is 0."""
    share = margin(value, limits)
    if math.isnan(share):
        return NOTHING
    gaps = {
        limit: gap
        for limit, gap in (
            (limits.minimum, value - (limits.minimum or 0.0)),
            (limits.maximum, (limits.maximum or 0.0) - value),
        )
        if limit is not None
    }
    if gaps.get(0.0) == share:
        return f"{'+' if share >= 0 else ''}{quantity(share, unit)}"
    percent = 100.0 * share
    return f"{percent:+.0f} %" if abs(percent) >= 1000 else f"{percent:+.3g} %"


def _spec_row(design: Design, spec: Spec, trial: Trial | None) -> SpecRow:
    unit = unit_of(design, spec.measure)
    wanted = {aim.measure: f", then {aim.word}" for aim in aims(design.objective)}
    aim = wanted.get(spec.measure, "")
    if trial is None:
        return SpecRow(spec.measure, wanted_text(spec.limits, unit) + aim)
    corner = _worst_corner(spec, trial)
    limits, result = spec.at(corner), trial.results[corner]
    value = result.worst(spec.measure, limits)
    return SpecRow(
        name=spec.measure,
        wanted=wanted_text(limits, unit) + aim,
        measured=quantity(value, unit),
        margin=margin_text(value, limits, unit),
        met=spec_met(spec, trial),
        corner=corner if len(trial.results) > 1 else "",
        reason=_spec_note(result, spec.measure, value),
    )


def _aim_row(design: Design, aim: Aim, trial: Trial | None) -> SpecRow:
    if trial is None:
        return SpecRow(aim.measure, aim.word)
    value, results = aim.value(aim.cost(trial)), trial.results.values()
    if math.isnan(value):
        result = next((r for r in results if aim.measure in r.reasons), trial.nominal)
    else:
        result = next((r for r in results if value in r.values(aim.measure)), trial.nominal)
    shown = quantity(value, unit_of(design, aim.measure))
    return SpecRow(aim.measure, aim.word, shown, reason=_spec_note(result, aim.measure, value))


def _worst_corner(spec: Spec, trial: Trial) -> str:
    """The corner with the smallest margin, one without a number before all others."""

    def key(corner: str) -> float:
        limits = spec.at(corner)
        share = margin(trial.results[corner].worst(spec.measure, limits), limits)
        return -math.inf if math.isnan(share) else share

    return min(trial.results, key=key)


def unit_of(design: Design, measure: str) -> str:
    """The unit of a measure, as its spec has it, else as the measure has."""
    spec, known = design.specs.get(measure), design.measures.get(measure)
    return (spec.unit if spec else "") or (known.unit if known else "")


def _spec_note(result: CornerResult, measure: str, value: float) -> str:
    """Why there is no number; of a swept measure, where its worst value is."""
    if math.isnan(value):
        return _reason(result, measure)
    sweep = result.swept.get(measure)
    if sweep is None:
        return ""
    return f"at {sweep.condition} = {sweep.points[sweep.values.index(value)]:g}"


def _measure_note(result: CornerResult, measure: Measure) -> str:
    """What a measure is; of a swept one, its range first."""
    sweep = result.swept.get(measure.name)
    if sweep is None:
        return measure.description
    low, high = (quantity(end(sweep.values), measure.unit) for end in (min, max))
    where = f"{sweep.condition} = {sweep.points[0]:g} to {sweep.points[-1]:g}"
    return f"{low} to {high} over {where}"


def _reason(result: CornerResult, measure: str) -> str:
    """Why `measure` has no number."""
    if measure in result.reasons:
        return result.reasons[measure]
    return result.reason or result.state.value


def allowed(parameter: Parameter) -> str:
    """What the parameter may be, in words."""
    if parameter.tied:
        return f"= {parameter.expression}"
    if parameter.series:
        return f"{parameter.series} series"
    if parameter.choices:
        return ", ".join(quantity(choice, parameter.unit) for choice in parameter.choices)
    if parameter.minimum is None or parameter.maximum is None:
        return ""
    low, high = (quantity(v, parameter.unit) for v in (parameter.minimum, parameter.maximum))
    step = f", step {quantity(parameter.step, parameter.unit)}" if parameter.step else ""
    return f"{low} to {high}{step}"


def _note(parameter: Parameter, value: Value | None) -> str:
    if parameter.frozen:
        return "frozen"
    if parameter.tied:
        return "tied"
    if parameter.minimum == parameter.maximum or value is None:
        return ""
    if value == parameter.minimum:
        return "at its minimum"
    return "at its maximum" if value == parameter.maximum else ""


def plain_text(table: Table) -> str:
    """Aligned ASCII text, one line a row under the headers and a rule; ends with a newline."""
    lines = [[ascii_safe(cell) for cell in row] for row in (table.headers, *table.rows)]
    widths = [max(len(row[i]) for row in lines) for i in range(len(table.headers))]
    lines.insert(1, ["-" * width for width in widths])
    right = [header in table.right for header in table.headers]
    text = ""
    for row in lines:
        cells = [
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        ]
        text += "  ".join(cells).rstrip() + "\n"
    return text


def markdown(table: Table) -> str:
    """A Markdown table; ends with a newline."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n"

    rule = ["---:" if header in table.right else "---" for header in table.headers]
    return line(table.headers) + line(rule) + "".join(line(row) for row in table.rows)
