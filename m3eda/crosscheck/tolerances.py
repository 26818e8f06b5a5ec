"""How far two simulators may differ in a measure and still agree.

A default follows from the analysis that a measure is taken from and from its unit. What each is
owed to is in docs/simulators.md, "Two simulators side by side".
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from m3eda.design.expressions import Expression
from m3eda.design.functions import FunctionTable
from m3eda.design.types import Design, Measure
from m3eda.design.yamlfile import nearest
from m3eda.errors import DesignError, Mistake
from m3eda.report.tables import quantity, unit_of
from m3eda.simulate.cards import Card, cards
from m3eda.simulate.measures import ANY_ANALYSIS
from m3eda.units import NumberError, parse_quantity, same_unit


def relative_difference(value: float, right: float) -> float:
    """Relative to `right`; 0 where both do not exist, infinite where one does not; the value itself
    where `right` is 0."""
    if math.isnan(value) or math.isnan(right):
        return 0.0 if math.isnan(value) and math.isnan(right) else math.inf
    return abs(value - right) / abs(right) if right else abs(value)


@dataclass(frozen=True)
class Tolerance:
    """The larger of both is allowed."""

    relative: float = 0.0
    """Of the right value."""
    absolute: float = 0.0
    """In the measure's unit."""

    def allowed(self, right: float) -> float:
        """The largest difference from `right`, in the measure's unit."""
        return max(self.absolute, self.relative * abs(right))

    def share(self, value: float, right: float) -> float:
        """The difference over what is allowed: they agree up to 1. As nan and numbers go, see
        `relative_difference`."""
        if math.isnan(value) or math.isnan(right):
            return relative_difference(value, right)
        difference, allowed = abs(value - right), self.allowed(right)
        if not difference:
            return 0.0
        return difference / allowed if allowed else math.inf

    def text(self, unit: str) -> str:
        """`0.002`, `0.1 deg`, or `1e-05 or 1 uV`."""
        parts = [f"{self.relative:g}"] if self.relative or not self.absolute else []
        parts += [quantity(self.absolute, unit)] if self.absolute else []
        return " or ".join(parts)


@dataclass(frozen=True)
class _Kind:
    """What is right for the measures of one analysis."""

    relative: float
    absolute: Mapping[str, float]
    """Differences by unit that are noise of the simulators, whatever the value."""
    decibels: float


KINDS: Mapping[str, _Kind] = {
    "op": _Kind(1e-5, {"V": 1e-6, "A": 1e-12, "W": 1e-12, "1/K": 1e-7}, 1e-4),
    "noise": _Kind(1e-3, {}, 0.01),
    "dc": _Kind(1e-3, {"V": 2e-4, "A": 1e-12, "W": 1e-12, "1/K": 1e-7}, 0.01),
    "ac": _Kind(2e-3, {}, 0.02),
    "sp": _Kind(2e-3, {}, 0.02),
    "tran": _Kind(2e-2, {"V": 1e-3, "A": 1e-9, "W": 1e-9, "V/V": 1e-3}, 0.2),
}
"""By analysis, the tightest first."""

_ANGLES = {"deg": Tolerance(absolute=0.1), "rad": Tolerance(absolute=math.radians(0.1))}
_VALUES_OF = {"op", "value_at", "average", "rms", "minimum", "maximum", "peak_to_peak"}
"""Functions that give what has the unit of their waveform."""
_RATIOS = {"duty_cycle", "overshoot", "undershoot", "efficiency", "thd"}
_CAPACITANCE = Tolerance(1e-2)
"""Charge models are what simulators share least."""


@dataclass(frozen=True)
class Rule:
    """The tolerance of one measure, and what it is owed to."""

    tolerance: Tolerance
    analysis: str = ""
    """The analysis the measure is taken from."""
    given: bool = False
    """Whether the user has said it."""


@dataclass
class _Analyses:
    """The analysis each measure of a design is taken from, the least exact of several."""

    design: Design
    functions: FunctionTable
    cards: Mapping[str, list[Card]]
    """Of each testbench's netlist."""
    _underway: set[str] = field(default_factory=set)

    def of(self, name: str) -> str:
        measure = self.design.measures[name]
        if name in self._underway:
            return "op"
        self._underway.add(name)
        try:
            found = {self._of_meas(measure)} if measure.meas else self._of_expression(measure)
        finally:
            self._underway.discard(name)
        return max(found, key=list(KINDS).index)

    def _of_meas(self, measure: Measure) -> str:
        for card in self.cards.get(measure.testbench, ()):
            words = card.text.lower().replace("=", " ").split()
            if words[0] in (".meas", ".measure") and words[2:3] == [measure.meas.lower()]:
                return words[1] if words[1] in KINDS else "tran"
        return "tran"

    def _of_expression(self, measure: Measure) -> set[str]:
        expression = Expression.parse(measure.expression, self.functions)
        calls = [self.functions[name] for name in expression.calls if name in self.functions]
        present = {card.kind for card in self.cards.get(measure.testbench, ())}
        found = {"op"}
        for call in calls:
            kinds = call.analyses or ((call.analysis,) if call.analysis else ANY_ANALYSIS)
            # of several, a function takes the first that is there; see `measure`
            found.add(next((kind for kind in kinds if kind in present), kinds[0]))
        found |= {self.of(used) for used in expression.names if used in self.design.measures}
        return found


def default_rules(
    design: Design, functions: FunctionTable, decks: Mapping[str, str]
) -> dict[str, Rule]:
    """The tolerance of every measure; `decks` are the netlists by testbench, at any sizing."""
    read = {name: list(cards(text)) for name, text in decks.items()}
    analyses, found = _Analyses(design, functions, read), {}
    for name in design.measures:
        analysis = analyses.of(name)
        found[name] = Rule(_default(analysis, _unit(design, name, functions)), analysis)
    return found


def _unit(design: Design, name: str, functions: FunctionTable) -> str:
    """The unit of a measure; where nobody has said it, that of waveforms it is a value of."""
    unit, measure = unit_of(design, name), design.measures[name]
    if unit or not measure.expression:
        return unit
    expression = Expression.parse(measure.expression, functions)
    vectors = expression.vectors
    called = [call for call in expression.calls if call in functions]
    if _is_ratio(measure.expression, called, functions):
        return "V/V"
    if {*called} - _VALUES_OF or {*measure.expression} & {*"*/"}:
        return ""  # such as a time, for which 1 mV says nothing
    for start, of_all in (("v(", "V"), ("i(", "A")):
        if vectors and all(vector.startswith(start) for vector in vectors):
            return of_all
    return ""


def _is_ratio(text: str, called: Sequence[str], functions: FunctionTable) -> bool:
    """Whether an expression is a plain number for sure, such as a duty cycle or jitter / period."""
    if called and {*called} <= _RATIOS:
        return True
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:  # such as @m1[gm]
        return False
    if not isinstance(tree, ast.BinOp) or not isinstance(tree.op, ast.Div):
        return False
    sides = (ast.unparse(side).partition("(")[0] for side in (tree.left, tree.right))
    above, below = (functions[name].unit if name in functions else "" for name in sides)
    return bool(above) and above == below


def _default(analysis: str, unit: str) -> Tolerance:
    kind = KINDS[analysis]
    if unit.startswith("dB"):
        return Tolerance(absolute=kind.decibels)
    for angle, tolerance in _ANGLES.items():
        if unit and same_unit(unit, angle):
            return tolerance
    if unit and same_unit(unit, "F"):
        return _CAPACITANCE
    absolute = (size for known, size in kind.absolute.items() if unit and same_unit(unit, known))
    return Tolerance(kind.relative, next(absolute, 0.0))


def with_given(design: Design, rules: Mapping[str, Rule], given: Iterable[str]) -> dict[str, Rule]:
    """`rules` with those of `--tolerance` in their place: `NAME=1e-3` is relative, `NAME=0.1deg`
    absolute, and without a name it is for every measure; given twice, the larger counts.

    Raises DesignError.
    """
    found: dict[str, Tolerance] = {}
    for text in given:
        name, equals, written = text.rpartition("=")
        if equals and name not in design.measures:
            hint = nearest(name, design.measures) or f"measures: {', '.join(design.measures)}"
            raise _mistake(text, f"no measure is called '{name}'", hint)
        for each in [name] if equals else list(design.measures):
            more, known = _given(design, text, written, each), found.get(each, Tolerance())
            found[each] = Tolerance(
                max(known.relative, more.relative), max(known.absolute, more.absolute)
            )
    given = {name: Rule(each, rules[name].analysis, given=True) for name, each in found.items()}
    return {**rules, **given}


def _given(design: Design, text: str, written: str, name: str) -> Tolerance:
    try:
        size, of = parse_quantity(written)
    except NumberError as error:
        raise _mistake(text, str(error), error.hint) from error
    if size < 0.0:
        raise _mistake(text, "is negative", "such as 1e-3, 1% or 0.1deg")
    if of in ("", "%", "ppm"):
        return Tolerance(relative=size)
    unit = unit_of(design, name)
    if not same_unit(of, unit or "1"):
        what = f"is in {unit}" if unit else "has no unit"
        hint = "a plain number is relative" + ("" if unit else ", such as 0.01 V/V absolute")
        raise _mistake(text, f"is in {of}, but {name} {what}", hint)
    return Tolerance(absolute=size)


def _mistake(text: str, what: str, hint: str) -> DesignError:
    return DesignError([Mistake(f"--tolerance {text}: {what}", hint=hint)])
