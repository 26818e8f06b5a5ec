"""What every agent needs to remember: the trials told, the points asked, and what is still new."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from m3eda.agents.margins import signed_log
from m3eda.design.space import Axis, FloatArray, Space
from m3eda.design.types import Design, Sizing
from m3eda.errors import DesignError, Mistake
from m3eda.simulate.trial import Trial

_LISTABLE = 100_000
"""A finite space up to this size is listed once random draws find nothing new."""
_DRAWS = 20


def take_options(
    agent: str, given: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """`defaults` with what is `given` over them. Raises DesignError for an unknown option."""
    mistakes = []
    for key in given:
        if key not in defaults:
            near = difflib.get_close_matches(str(key), defaults, n=1)
            known = ", ".join(defaults) or "it has none"
            hint = f"did you mean {near[0]}?" if near else f"known: {known}"
            text = f"agent {agent} has no such option"
            mistakes.append(Mistake(text, key=f"agent.options.{key}", hint=hint))
    if mistakes:
        raise DesignError(mistakes)
    return {**defaults, **given}


def grid(axis: Axis) -> list[float]:
    """Unit coordinates of every value of an axis with finitely many."""
    parameter = axis.parameter
    if parameter.choices:
        return [(index + 0.5) / axis.levels for index in range(int(axis.levels))]
    assert parameter.minimum is not None
    step = parameter.step or 0.0
    return [axis.unit(parameter.minimum + index * step) for index in range(int(axis.levels))]


class History:
    """Trials told and points asked. Never hands out the same sizing twice.

    Random numbers depend on the seed and on how many points are known, so a resumed run goes on
    as the first one would have.
    """

    def __init__(self, design: Design, seed: int) -> None:
        self.space = Space(design)
        self.trials: list[Trial] = []
        """Trials told, except those whose sizing does not belong to this space."""
        self._seed = seed
        self._rows: list[FloatArray] = []
        self._told: set[bytes] = set()
        self._asked: set[bytes] = set()

    @property
    def points(self) -> FloatArray:
        """Unit points of `trials`, shape (n, d)."""
        return np.array(self._rows).reshape(len(self._rows), self.space.dimension)

    @property
    def known(self) -> int:
        """Number of distinct points told or asked."""
        return len(self._told | self._asked)

    @property
    def exhausted(self) -> bool:
        """True where every sizing of a finite space is known."""
        return self.known >= self.space.size

    def tell(self, trials: Sequence[Trial]) -> list[tuple[Trial, FloatArray]]:
        """Remember `trials`; returns those that belong to this space, with their unit points."""
        taken = []
        for trial in trials:
            try:
                point = self.space.unit(trial.sizing)
            except (KeyError, ValueError):
                continue  # from a design with other parameters or choices
            self._rows.append(point)
            self._told.update(self.space.keys(point))
            self.trials.append(trial)
            taken.append((trial, point))
        return taken

    def new_of(self, points: ArrayLike) -> FloatArray:
        """The rows of `points`, shape (n, d), that are neither known nor repeated, snapped."""
        rows = self.space.snap(points)
        seen: set[bytes] = set()
        kept = []
        for row, key in zip(rows, self.space.keys(rows), strict=True):
            if key not in self._told and key not in self._asked and key not in seen:
                seen.add(key)
                kept.append(row)
        return np.array(kept).reshape(len(kept), self.space.dimension)

    def propose(self, points: FloatArray) -> list[Sizing]:
        """Mark snapped unit points, shape (n, d), as asked and turn them into sizings."""
        self._asked.update(self.space.keys(points))
        return [self.space.sizing(point) for point in points]

    def rng(self, *more: int) -> np.random.Generator:
        """A generator that depends on the seed, the points known and `more`."""
        return np.random.default_rng([self._seed, self.known, *more])

    def start(self) -> FloatArray:
        """The designer's own start while it is new, shape (1, d), else shape (0, d)."""
        start = self.space.start()
        return self.new_of(np.empty((0, self.space.dimension)) if start is None else start)

    def draw(self, n: int) -> FloatArray:
        """Up to `n` distinct new points, uniform in the cube; fewer where the space runs out."""
        drawn = np.empty((0, self.space.dimension))
        for attempt in range(_DRAWS):
            rows = self.rng(attempt, n).random((2 * n, self.space.dimension))
            drawn = self.new_of(np.vstack([drawn, rows]))[:n]
            if len(drawn) == n:
                return drawn
        if self.space.size <= _LISTABLE:
            every = list(itertools.product(*(grid(axis) for axis in self.space.axes)))
            return self.rng(n).permutation(self.new_of(every))[:n]
        return drawn


class Cost:
    """One number a trial for agents that follow a scalar: lower is better, specs before objective.

    Above 0 while a spec is missed: the sum over specs of the weighted shortfall, 1 for a measure
    that does not exist. Within (-1, 0] once all are met: the objective, squashed.
    """

    def __init__(self, design: Design) -> None:
        self._signs = {
            **dict.fromkeys(design.objective.minimize, 1.0),
            **dict.fromkeys(design.objective.maximize, -1.0),
        }

    def __call__(self, trial: Trial) -> float:
        if not trial.met:
            # a spec missed by less than the last digit may still have a reward of 0
            return max(-trial.reward, math.ulp(0.0))
        total = sum(self._terms(trial.measures))
        return -0.5 + math.atan(total) / math.pi if self._signs else 0.0

    def _terms(self, measures: Mapping[str, float]) -> Iterator[float]:
        for name, sign in self._signs.items():
            value = measures.get(name, math.nan)
            if math.isnan(value):
                yield math.inf
            else:
                yield sign * signed_log(value)

    def of(self, trials: Iterable[Trial]) -> FloatArray:
        return np.array([self(trial) for trial in trials])
