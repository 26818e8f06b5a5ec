"""What an objective makes of a trial: one cost a measure, at its worst, lower is better."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from m3eda.design.types import Limits, Objective, Spec
from m3eda.simulate.trial import Trial, score


@dataclass(frozen=True)
class Aim:
    """One measure of an objective; `sign` is 1.0 where it is minimised, -1.0 where maximised."""

    measure: str
    sign: float

    def cost(self, trial: Trial) -> float:
        """`sign` times the worst value of all corners; nan where one of them has none."""
        # the margin to a limit of 0 is the value itself, and `score` knows which is the worst
        limits = Limits(maximum=0.0) if self.sign > 0.0 else Limits(minimum=0.0)
        spec = {self.measure: Spec(self.measure, limits)}
        return -score(trial.number, trial.sizing, trial.results, spec).margins[self.measure]

    def value(self, cost: float) -> float:
        """The measure's own value, in its unit, at `cost`."""
        return self.sign * cost

    @property
    def word(self) -> str:
        return "smallest" if self.sign > 0.0 else "largest"


def aims(objective: Objective) -> tuple[Aim, ...]:
    """The objective's measures, those to minimise first, in file order."""
    return (
        *(Aim(name, 1.0) for name in objective.minimize),
        *(Aim(name, -1.0) for name in objective.maximize),
    )


@dataclass(frozen=True)
class Scale:
    """One aim's costs on a scale where the best is 0 and equal steps matter equally.

    Logarithmic where every value is positive, else linear; in units of `width`.
    """

    sign: float
    log: bool
    origin: float
    width: float

    @classmethod
    def of(cls, aim: Aim, costs: Iterable[float], usual: float = 0.1) -> Scale:
        """0 at the best of `costs`, which are finite, and 1 at the worst.

        Where all are the same, 1 lies a factor of exp(`usual`) away, or this share of the value.
        """
        given = list(costs)
        log = all(aim.value(cost) > 0.0 for cost in given)
        flat = cls(aim.sign, log, 0.0, 1.0)
        places = [flat.unit(cost) for cost in given]
        best, width = min(places), max(places) - min(places)
        if width <= 1e-12 * abs(best):
            width = usual if log else usual * (abs(best) or 1.0)
        return cls(aim.sign, log, best, width)

    def unit(self, cost: float) -> float:
        """Where `cost` lies; infinite for a value that a logarithmic scale does not have."""
        if not self.log:
            return (cost - self.origin) / self.width
        value = self.sign * cost
        if value <= 0.0:
            return -self.sign * math.inf
        return (self.sign * math.log(value) - self.origin) / self.width

    def cost(self, unit: float) -> float:
        """The cost that lies at `unit`."""
        place = self.origin + unit * self.width
        if not self.log:
            return place
        return self.sign * math.exp(min(self.sign * place, 700.0))
