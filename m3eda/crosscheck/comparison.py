"""Results of the same sizings from two simulators, compared measure by measure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from m3eda.crosscheck.tolerances import Rule, relative_difference
from m3eda.simulate.trial import CornerResult
from m3eda.simulate.types import State

Results = Mapping[str, CornerResult]
"""What one sizing gave, by corner."""


@dataclass(frozen=True)
class Pair:
    """The values that a measure has in both, at one sizing."""

    values: tuple[float, float]
    """The second is the right one; nan where the measure does not exist."""
    sizing: int
    """Its number, from 0."""
    corner: str
    at: str = ""
    """The point of a sweep, as `temp = 125`."""
    reasons: tuple[str, str] = ("", "")
    """Why a value is nan."""

    @property
    def relative(self) -> float:
        return relative_difference(*self.values)

    @property
    def absolute(self) -> float:
        """In the measure's unit; infinite where only one value exists."""
        value, right = self.values
        return self.relative if math.isnan(value) or math.isnan(right) else abs(value - right)


@dataclass(frozen=True)
class Row:
    """One measure over all sizings."""

    measure: str
    rule: Rule
    worst: Pair | None
    """The pair that is farthest apart for its tolerance; None where none has a value."""
    share: float
    """Its difference over what is allowed there."""
    pairs: int
    """Over all sizings, corners and points of a sweep."""
    compared: int
    """Pairs with a value in both."""
    absent: int
    """Pairs with a value in neither."""
    beyond: int
    """Pairs that do not agree, such as those with a value in one alone."""

    @property
    def agrees(self) -> bool:
        return not self.beyond

    @property
    def relative(self) -> float:
        """The relative difference of the worst pair."""
        return 0.0 if self.worst is None else self.worst.relative


@dataclass(frozen=True)
class Failure:
    """A sizing whose simulations end in another way in one than in the other."""

    sizing: int
    corner: str
    states: tuple[State, State]
    reasons: tuple[str, str]


@dataclass(frozen=True)
class Comparison:
    """Everything that two simulators gave, side by side."""

    rows: tuple[Row, ...]
    failures: tuple[Failure, ...]
    sizings: int
    failed_alike: int
    """Sizings that failed in both with the same state."""

    @property
    def agrees(self) -> bool:
        return not self.failures and all(row.agrees for row in self.rows)

    @property
    def compared(self) -> int:
        """Pairs of values, of all measures."""
        return sum(row.compared for row in self.rows)

    @property
    def suspects(self) -> list[int]:
        """The sizings at which to look, by number."""
        at = {failure.sizing for failure in self.failures}
        at |= {row.worst.sizing for row in self.rows if row.worst is not None and row.beyond}
        return sorted(at)


def compare(
    rules: Mapping[str, Rule], found: Sequence[Results], right: Sequence[Results]
) -> Comparison:
    """Compare the measures of `rules` at every sizing, corner and point of a sweep.

    `found` and `right` hold the results of the same sizings in the same order.
    """
    ends = list(_ends(found, right))
    failures = tuple(
        Failure(number, corner, (one.state, other.state), (one.reason, other.reason))
        for number, corner, one, other in ends
        if one.state is not other.state
    )
    alike = {
        number
        for number, _, one, other in ends
        if one.state is other.state and one.state is not State.COMPLETE
    }
    rows = tuple(_row(name, rule, list(_pairs(name, ends))) for name, rule in rules.items())
    return Comparison(rows, failures, len(found), len(alike))


Ends = tuple[int, str, CornerResult, CornerResult]
"""Number of the sizing, corner, and what both gave there."""


def _ends(found: Sequence[Results], right: Sequence[Results]) -> Iterator[Ends]:
    for number, (one, other) in enumerate(zip(found, right, strict=True)):
        for corner in one:
            yield number, corner, one[corner], other[corner]


def _pairs(name: str, ends: Sequence[Ends]) -> Iterator[Pair]:
    for number, corner, one, other in ends:
        sweep = one.swept.get(name) or other.swept.get(name)
        places = [f"{sweep.condition} = {point:g}" for point in sweep.points] if sweep else [""]
        reasons = _why(name, one), _why(name, other)
        sides = (_values(name, each, len(places)) for each in (one, other))
        for at, values in zip(places, zip(*sides, strict=True), strict=True):
            yield Pair(values, number, corner, at, reasons)


def _values(name: str, result: CornerResult, count: int) -> tuple[float, ...]:
    """As many as the sweep has points, though the simulation may have failed before it."""
    values = result.values(name)
    return values if len(values) == count else (math.nan,) * count


def _why(name: str, result: CornerResult) -> str:
    return result.reasons.get(name, "") or result.reason


def _row(name: str, rule: Rule, pairs: Sequence[Pair]) -> Row:
    shares = [rule.tolerance.share(*pair.values) for pair in pairs]
    absent = [all(map(math.isnan, pair.values)) for pair in pairs]
    there = [index for index, gone in enumerate(absent) if not gone]
    worst = max(there, key=shares.__getitem__, default=None)
    return Row(
        measure=name,
        rule=rule,
        worst=None if worst is None else pairs[worst],
        share=0.0 if worst is None else shares[worst],
        pairs=len(pairs),
        compared=sum(not any(map(math.isnan, pair.values)) for pair in pairs),
        absent=sum(absent),
        beyond=sum(share > 1.0 for share in shares),
    )
