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
from m3eda.design.types import Design, Sizing, Value
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
        self._known: set[bytes] = set()
        """Keys of the points told or asked."""
        self._proposed: set[tuple[Value, ...]] = set()
        """The values of sizings asked: their keys are known without a closer look."""

    @property
    def points(self) -> FloatArray:
        """Unit points of `trials`, shape (n, d)."""
        return np.array(self._rows).reshape(len(self._rows), self.space.dimension)

    @property
    def known(self) -> int:
        """Number of distinct points told or asked."""
        return len(self._known)

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
            self.trials.append(trial)
            taken.append((trial, point))
        if taken:
            self._known.update(self.space.keys([point for _, point in taken]))
        return taken

    def hear(self, trials: Sequence[Trial]) -> None:
        """Remember which sizings `trials` had and nothing else: for agents that need no points."""
        names = self.space.names
        for trial in trials:
            try:
                values = tuple([trial.sizing[name] for name in names])
                if values not in self._proposed:
                    self._known.update(self.space.keys(self.space.unit(trial.sizing)))
            except (KeyError, ValueError):
                continue  # from a design with other parameters or choices

    def new_of(self, points: ArrayLike) -> FloatArray:
        """The rows of `points`, shape (n, d), that are neither known nor repeated, snapped."""
        rows = self.space.snap(points)
        seen: set[bytes] = set()
        kept = []
        for row, key in zip(rows, self.space.keys(rows), strict=True):
            if key not in self._known and key not in seen:
                seen.add(key)
                kept.append(row)
        return np.array(kept).reshape(len(kept), self.space.dimension)

    def propose(self, points: FloatArray) -> list[Sizing]:
        """Mark snapped unit points, shape (n, d), as asked and turn them into sizings."""
        return self.mark(self.space.keys(points), self.space.sizings(points))

    def mark(self, keys: Sequence[bytes], sizings: list[Sizing]) -> list[Sizing]:
        """Mark `sizings`, with their keys, as asked."""
        self._known.update(keys)
        self._proposed.update(tuple(sizing.values()) for sizing in sizings)
        return sizings

    def are_new(self, keys: Sequence[bytes]) -> bool:
        """True where no key is known or repeated."""
        return self._known.isdisjoint(keys) and len(set(keys)) == len(keys)

    def rng(self, *more: int) -> np.random.Generator:
        """A generator that depends on the seed, the points known and `more`."""
        return self.rng_at(self.known, *more)

    def rng_at(self, known: int, *more: int) -> np.random.Generator:
        """As `rng` will be once `known` points are."""
        return np.random.default_rng([self._seed, known, *more])

    def start(self) -> FloatArray:
        """The designer's own start and the design's `starts`, those that are new, shape (n, d)."""
        starts = self.space.starts()
        return self.new_of(starts) if len(starts) else starts

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
