"""What the agent is asked for once the specs are met: a box of better objective values.

An agent looks for points that meet specs. A demand adds a limit on the measures of the objective to
them, so that any agent betters an objective, and extends a Pareto front, without knowing of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

from m3eda.design.scoring import bounds
from m3eda.design.types import Design, Limits, Spec
from m3eda.objective.front import Costs, Front
from m3eda.objective.values import Aim
from m3eda.simulate.trial import Trial

Levels = Mapping[int, float]
"""Index of an aim -> the cost that it must not exceed."""


class Demand(ABC):
    """The specs that the agent hears, as trials come in. It depends on the trials alone."""

    patience: int
    """Trials without success after which another demand is made."""

    def __init__(self, design: Design) -> None:
        self._design = design
        self.front = Front(design.objective)
        self.worst: Costs = ()
        """The largest cost of any feasible trial, by measure; empty before the first."""
        self._levels: Levels = {}
        self._tried = 0

    @property
    def specs(self) -> Mapping[str, Spec]:
        """The design's specs and the demand; the design's own object where there is none."""
        if not self._levels:
            return self._design.specs
        specs = dict(self._design.specs)
        for index, cost in self._levels.items():
            aim = self.front.aims[index]
            specs[aim.measure] = held(specs.get(aim.measure), aim, cost)
        return specs

    def begin(self, trials: Sequence[Trial]) -> None:
        """Hear the trials of before, as if none had been asked for."""
        for trial in trials:
            self._heard(trial)
        if len(self.front):
            self._demand(self._first())

    def hear(self, trials: Sequence[Trial]) -> bool:
        """Hear trials scored by the design's specs; True where the demand is another one now."""
        success = False
        for trial in trials:
            costs = self._heard(trial)
            success = success or (costs is not None and self._met(costs))
        self._tried += len(trials)
        if not len(self.front):
            return False
        before = self._levels
        if not before:
            self._demand(self._first())
        elif success or self._tried >= self.patience:
            self._demand(self._next(success))
        return self._levels != before

    def _heard(self, trial: Trial) -> Costs | None:
        costs = self.front.costs_of(trial)
        if costs is not None:
            self.front.add(trial)
            self.worst = tuple(map(max, costs, self.worst)) if self.worst else costs
        return costs

    def _met(self, costs: Costs) -> bool:
        return all(costs[index] <= level for index, level in self._levels.items())

    def _demand(self, levels: Levels) -> None:
        self._levels = {index: self._possible(index, level) for index, level in levels.items()}
        self._tried = 0

    def _possible(self, index: int, level: float) -> float:
        """`level`, or half of the way to what a spec on the measure itself allows."""
        aim = self.front.aims[index]
        if aim.measure not in self._design.specs:
            return level
        low, high = bounds(self._design.specs[aim.measure].limits)
        end = low if aim.sign > 0.0 else -high
        best = min(costs[index] for costs in self.front.costs)
        return max(level, end + 0.5 * max(best - end, 0.0)) if abs(end) < float("inf") else level

    @abstractmethod
    def _first(self) -> Levels:
        """The first demand; the front is not empty."""

    @abstractmethod
    def _next(self, success: bool) -> Levels:
        """The demand after one that was met, or that was not for `patience` trials."""


def held(spec: Spec | None, aim: Aim, cost: float) -> Spec:
    """`spec` on the measure of `aim`, at every corner, with `cost` as one limit more."""
    limit = aim.value(cost)
    if spec is None:
        spec = Spec(aim.measure, Limits())
    corners = {name: _within(limits, aim, limit) for name, limits in spec.corners.items()}
    return replace(spec, limits=_within(spec.limits, aim, limit), corners=corners)


def _within(limits: Limits, aim: Aim, limit: float) -> Limits:
    if aim.sign > 0.0:
        known = limits.maximum
        return replace(limits, maximum=limit if known is None else min(limit, known))
    known = limits.minimum
    return replace(limits, minimum=limit if known is None else max(limit, known))
