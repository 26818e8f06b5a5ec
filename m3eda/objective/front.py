"""The Pareto front of a run: the feasible trials that no other one beats in every measure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from m3eda.design.types import Objective
from m3eda.objective.values import Aim, Scale, aims
from m3eda.simulate.trial import Trial

Costs = tuple[float, ...]


def dominates(one: Costs, other: Costs) -> bool:
    """True where `one` is nowhere worse than `other` and differs from it; lower is better."""
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


class Front:
    """Feasible trials of a run that no other feasible one dominates, at their worst corners.

    With one measure it holds the best trial alone. A trial without a number for one of the
    measures is never on it; of equal ones the first is.
    """

    def __init__(self, objective: Objective, trials: Iterable[Trial] = ()) -> None:
        self.aims: tuple[Aim, ...] = aims(objective)
        self._members: list[tuple[Costs, Trial]] = []
        for trial in trials:
            self.add(trial)

    def __len__(self) -> int:
        return len(self._members)

    @property
    def trials(self) -> list[Trial]:
        """Best in the first measure first."""
        return [trial for _, trial in self._members]

    @property
    def costs(self) -> list[Costs]:
        """One cost a measure for each of `trials`."""
        return [costs for costs, _ in self._members]

    def costs_of(self, trial: Trial) -> Costs | None:
        """The costs of a feasible trial with finite measures; None for any other."""
        if not self.aims or not trial.met:
            return None
        costs = tuple(aim.cost(trial) for aim in self.aims)
        return costs if all(map(math.isfinite, costs)) else None

    def add(self, trial: Trial) -> bool:
        """Hear one trial; True where it joins the front."""
        costs = self.costs_of(trial)
        if costs is None:
            return False
        if any(costs == known or dominates(known, costs) for known in self.costs):
            return False
        kept = [member for member in self._members if not dominates(costs, member[0])]
        self._members = sorted([*kept, (costs, trial)], key=lambda m: (m[0], m[1].number))
        return True

    def scales(self) -> tuple[Scale, ...]:
        """One a measure: 0 at the best of the front and 1 at the worst."""
        columns = zip(*self.costs, strict=True)
        return tuple(Scale.of(aim, column) for aim, column in zip(self.aims, columns, strict=True))

    def units(self) -> list[Costs]:
        """`costs` on `scales`, shape (trials, measures), each column from 0 to 1."""
        scales = self.scales()
        return [tuple(s.unit(c) for s, c in zip(scales, row, strict=True)) for row in self.costs]

    def knee(self) -> Trial | None:
        """The trial nearest to having the best of every measure at once.

        By Euclidean distance on `scales`; of equal ones the lower number. None for an empty front.
        """
        distances = [
            (math.hypot(*row), trial.number, trial)
            for row, trial in zip(self.units(), self.trials, strict=True)
        ]
        return min(distances, key=lambda entry: entry[:2])[2] if distances else None


def hypervolume(points: Iterable[Sequence[float]], reference: Sequence[float]) -> float:
    """Volume between `points`, lower is better, and a `reference` that is worse than them.

    By slices along the last coordinate (Zitzler and Thiele, PPSN 1998, define the measure). What
    is not better than `reference` in every coordinate adds nothing.
    """
    inside = [tuple(p) for p in points if all(a < b for a, b in zip(p, reference, strict=True))]
    if not inside:
        return 0.0
    if len(reference) == 1:
        return reference[0] - min(point[0] for point in inside)
    inside.sort(key=lambda point: point[-1])
    edges = [*(point[-1] for point in inside[1:]), reference[-1]]
    total = 0.0
    for count, (point, edge) in enumerate(zip(inside, edges, strict=True), start=1):
        if edge > point[-1]:
            part = hypervolume((p[:-1] for p in inside[:count]), reference[:-1])
            total += (edge - point[-1]) * part
    return total
