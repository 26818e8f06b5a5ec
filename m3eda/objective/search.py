"""Which demand comes next: a tighter one, or another part of the Pareto front."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from m3eda.design.types import Design
from m3eda.objective.demand import Demand, Levels
from m3eda.objective.front import Costs
from m3eda.objective.values import Scale


def make_demand(design: Design) -> Demand | None:
    """The rule that suits the design's objective; None where it has none."""
    measures = len(design.objective.minimize) + len(design.objective.maximize)
    if measures < 2:
        return Tighter(design) if measures else None
    return Gaps(design) if measures == 2 else Directions(design)


class Tighter(Demand):
    """One measure: each demand is a step better than the best trial.

    The step is a share of the value, or of the range seen where that holds 0; it grows where a
    demand is met and shrinks where a few trials miss it. Both extremes waste simulations: small
    steps succeed and lead nowhere, large ones send the agent where its models know nothing.
    """

    patience = 3
    first, least, most = 0.02, 0.01, 0.1
    growth, decline = 2.0, 0.25

    def __init__(self, design: Design) -> None:
        super().__init__(design)
        self._step = self.first

    def _first(self) -> Levels:
        return self._level()

    def _next(self, success: bool) -> Levels:
        self._step *= self.growth if success else self.decline
        self._step = min(max(self._step, self.least), self.most)
        return self._level()

    def _level(self) -> Levels:
        scale = value_scale(self, 0)
        best = scale.unit(self.front.costs[0][0])
        return {0: scale.cost(best - self._step)}


def value_scale(demand: Demand, index: int) -> Scale:
    """In shares of the value where all that was seen is positive, else of the range seen."""
    costs = [costs[index] for costs in demand.front.costs]
    scale = Scale.of(demand.front.aims[index], (min(costs), demand.worst[index]))
    return replace(scale, width=1.0) if scale.log else scale


class Spreading(Demand):
    """Several measures: advance in all of them at once, then spread over the front.

    At first the demand is to beat the knee of the front in every measure, by a step that grows and
    shrinks as with one measure. Once that fails the front is spread, and the knee is tried again
    now and then.
    """

    patience = 3
    again = 8
    """Demands after which the knee is tried again."""

    def __init__(self, design: Design) -> None:
        super().__init__(design)
        self._step = Tighter.first
        self._advancing = True
        self._made = 0

    def _first(self) -> Levels:
        return self._advance() if self._advancing else self._spread()

    def _next(self, success: bool) -> Levels:
        self._made += 1
        if self._advancing:
            self._step = min(self._step * (Tighter.growth if success else Tighter.decline),
                             Tighter.most)  # fmt: skip
            self._advancing = self._step >= Tighter.least
        else:
            self._learn(success)
            if self._made % self.again == 0:
                self._advancing, self._step = True, Tighter.least
        return self._first()

    def _advance(self) -> Levels:
        knee = self.front.knee()
        costs = self.front.costs[self.front.trials.index(knee)] if knee else ()
        scales = [value_scale(self, index) for index in range(len(costs))]
        return _levels(
            [s.unit(cost) - self._step for s, cost in zip(scales, costs, strict=True)], scales
        )

    @abstractmethod
    def _spread(self) -> Levels:
        """A demand that fills or extends the front."""

    @abstractmethod
    def _learn(self, success: bool) -> None:
        """Whether the last demand of `_spread` was met."""


@dataclass(frozen=True)
class Place:
    """A part of the front that a demand can be made for."""

    key: tuple[int, ...]
    """Index of the measure whose end it is, or numbers of the trials on either side of a gap."""
    worth: float
    """What it may add to the hypervolume of the front, whose ranges are 1."""
    levels: Levels


class Gaps(Spreading):
    """Two measures: fill the largest gap of the front, or extend one of its ends.

    Between neighbours the demand is a box that beats both of them, each in the measure where it is
    the weaker one. A place where demands fail is asked for less, and loses its turn.
    """

    inside = 0.1
    """Share of a gap's sides by which the box lies inside: a half would ask for more than a front
    that is a straight line can give."""
    beyond = 0.2
    """Share of the front's range by which an end is to be extended."""
    least, most = 0.01, 1.0
    """Limits of that share as it is doubled where an end gives way and halved where it does not."""

    def __init__(self, design: Design) -> None:
        super().__init__(design)
        self._beyond = dict.fromkeys(range(len(self.front.aims)), self.beyond)
        self._failures: dict[tuple[int, ...], int] = {}
        self._at: tuple[int, ...] = ()

    def _spread(self) -> Levels:
        best = max([*self._ends(), *self._gaps()], key=lambda place: place.worth)
        self._at = best.key
        return best.levels

    def _learn(self, success: bool) -> None:
        if len(self._at) == 1:
            step = self._beyond[self._at[0]] * (2.0 if success else 0.5)
            self._beyond[self._at[0]] = min(max(step, self.least), self.most)
        elif not success:
            self._failures[self._at] = self._failures.get(self._at, 0) + 1

    def _ends(self) -> Iterator[Place]:
        for index, scale in enumerate(self.front.scales()):
            level = self._possible(index, scale.cost(-self._beyond[index]))
            yield Place((index,), -scale.unit(level), {index: level})

    def _gaps(self) -> Iterator[Place]:
        trials, scales = self.front.trials, self.front.scales()
        for k, (one, other) in enumerate(pairwise(self.front.units())):
            key = (trials[k].number, trials[k + 1].number)
            depth = 0.5 ** self._failures.get(key, 0)
            wide, high = other[0] - one[0], one[1] - other[1]
            share = self.inside * depth
            corner = (other[0] - share * wide, one[1] - share * high)
            yield Place(key, wide * high * depth, _levels(corner, scales))


class Directions(Spreading):
    """Three measures or more: an end of the front, then directions spread over all trade-offs.

    A direction shares out the way from the best of each measure; the demand is to come nearer on
    it than any trial has (the weighted Chebyshev distance: Bowman, "On the relationship of the
    Tchebycheff norm and the efficient frontier", 1976).
    """

    beyond = 0.1
    least = 0.05
    """Smallest share of a direction."""
    per_end = 3
    """Directions tried between ends."""

    def __init__(self, design: Design) -> None:
        super().__init__(design)
        self._turn = 0
        self._steps: dict[str, float] = {}
        self._at = ""

    def _spread(self) -> Levels:
        turn, number = self._turn, len(self.front.aims)
        end = (turn // (self.per_end + 1)) % number if turn % (self.per_end + 1) == 0 else None
        scales = self.front.scales()
        self._at = "direction" if end is None else self.front.aims[end].measure
        step = self._steps.setdefault(self._at, self.beyond)
        if end is not None:
            return {end: scales[end].cost(-step)}
        shares = direction(turn, number, self.least)
        nearest = min(
            max(unit / share for unit, share in zip(row, shares, strict=True))
            for row in self.front.units()
        )
        return _levels([nearest * (1.0 - step) * share for share in shares], scales)

    def _learn(self, success: bool) -> None:
        step = self._steps[self._at] * (2.0 if success else 0.5)
        self._steps[self._at] = min(max(step, 0.01), 0.5)
        self._turn += 1


def direction(number: int, size: int, least: float) -> Costs:
    """The `number`-th of evenly spread directions: shares of at least `least` that sum to 1.

    The Kronecker sequence of the generalised golden ratio, mapped to the simplex by sorting.
    """
    ratio = 2.0
    for _ in range(50):
        ratio = (1.0 + ratio) ** (1.0 / size)
    cuts = sorted((0.5 + (number + 1) * ratio ** -(k + 1)) % 1.0 for k in range(size - 1))
    edges = [0.0, *cuts, 1.0]
    parts = [high - low for low, high in pairwise(edges)]
    return tuple(least + (1.0 - size * least) * part for part in parts)


def _levels(units: Sequence[float], scales: Sequence[Scale]) -> Levels:
    pairs = enumerate(zip(units, scales, strict=True))
    return {index: scale.cost(unit) for index, (unit, scale) in pairs if math.isfinite(unit)}
