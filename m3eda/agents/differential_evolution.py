"""Differential evolution with success-history adaptation: a global method for cheap simulations.

Tanabe and Fukunaga, "Success-History Based Parameter Adaptation for Differential Evolution", CEC
2013 (SHADE): current-to-pbest/1 with an archive of replaced parents, from JADE (Zhang and
Sanderson, IEEE Trans. Evolutionary Computation 13, 2009), binomial crossover, both factors drawn
around a memory of those that succeeded. Selection follows `Cost`: specs before the objective, a
smaller weighted shortfall before a larger one (Deb, CMAME 186, 2000). Restarts are our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from m3eda.agents.history import Cost, History, take_options
from m3eda.agents.options import real, whole, word
from m3eda.agents.start import DESIGNS, start_points
from m3eda.design.space import FloatArray
from m3eda.design.types import Design, Sizing
from m3eda.simulate.trial import Trial

OPTIONS: Mapping[str, Any] = {
    "population": 0,
    "greed": 0.2,
    "patience": 8,
    "growth": 1.5,
    "start_design": "latin-hypercube",
}
_MEMORY = 5
"""Pairs of factors remembered (H of SHADE)."""
_KNOWN_WAVES = 10
"""Waves that hold known points only after which a population is given up."""
_COLLAPSED = 1e-5
"""Largest width of a population, on the unit cube, that is worn out."""


@dataclass(frozen=True)
class _Child:
    """Where a trial vector came from: its parent's row, and the factors that made it."""

    parent: int
    step: float = 0.5
    crossover: float = 0.5


class DifferentialEvolution:
    """A wave is one child a parent; a child takes its parent's place when it is no worse.

    The next wave begins once as many results came as there are parents. Results that come later
    still compete with their parents; while results are awaited, more children are made from the
    population as it stands. Foreign trials take the place of the worst where they are better.
    """

    def __init__(self, design: Design, seed: int, options: Mapping[str, Any]) -> None:
        chosen = take_options("differential-evolution", options, OPTIONS)
        self._history = History(design, seed)
        self._space = self._history.space
        self._cost = Cost(design)
        usual = 8 + self._space.dimension // 2
        self._size = max(whole(chosen, "population") or usual, 5)
        self._greed = real(chosen, "greed")
        self._patience = real(chosen, "patience", 1.0)
        self._growth = real(chosen, "growth", 1.0)
        self._start_design = word(chosen, "start_design", DESIGNS)
        self._seed = seed
        self._words = np.array([axis.categorical for axis in self._space.axes], dtype=bool)
        self._known: dict[bytes, float] = {}
        self._restarts = -1
        self._waves = self._heard = self._stale = 0
        self._wave = self._points = np.empty((0, self._space.dimension))
        self._costs = np.empty(0)
        self._archive: list[FloatArray] = []
        self._successes: list[tuple[float, float, float]] = []
        self._children: dict[bytes, _Child] = {}
        self._begin()

    def ask(self, n: int) -> list[Sizing]:
        points = self._history.start()
        for _ in range(_KNOWN_WAVES):
            points = self._history.new_of(np.vstack([points, self._wave]))
            if len(points) >= n or self._history.exhausted:
                break
            self._breed()  # waiting for results: more is asked than a wave holds
        if len(points) < n:
            points = self._history.new_of(np.vstack([points, self._history.draw(n)]))
        return self._history.propose(points[:n])

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial, point in self._history.tell(trials):
            [key] = self._space.keys(point)
            self._known[key] = cost = self._cost(trial)
            self._stale = 0 if cost < self._costs.min() else self._stale + 1
            self._hear(key, point, cost)
            self._advance()

    def _hear(self, key: bytes, point: FloatArray, cost: float) -> None:
        child = self._children.pop(key, None)
        if child is None:
            parent = int(np.argmax(self._costs))
        else:
            parent = child.parent
            self._heard += 1
        before = self._costs[parent]
        if cost > before or (child is None and cost == before):
            return
        if child is not None and cost < before < np.inf:
            self._archive.append(self._points[parent].copy())
            self._successes.append((child.step, child.crossover, before - cost))
        self._points[parent], self._costs[parent] = point, cost

    def _advance(self) -> None:
        """Make the next wave, or begin anew, where this one is done."""
        for _ in range(_KNOWN_WAVES):
            if self._heard < self._size:
                return
            self._remember()
            self._heard = 0
            width = float(np.ptp(self._points, axis=0).max())
            if self._stale > self._patience * self._size or width < _COLLAPSED:
                self._size = int(np.ceil(self._size * self._growth))
                self._begin()
            else:
                self._breed()
        if self._heard >= self._size:
            self._begin()

    def _begin(self) -> None:
        """A new population from a start design."""
        self._restarts += 1
        self._waves = self._heard = self._stale = 0
        rng = np.random.default_rng([self._seed, self._restarts])
        seed = int(rng.integers(2**31)) if self._restarts else self._seed
        self._wave = start_points(
            self._space, self._size, seed, self._start_design, near=not self._restarts
        )
        rest = rng.random((self._size - len(self._wave), self._space.dimension))
        self._points = np.vstack([self._wave, self._space.snap(rest)])
        self._costs = np.full(self._size, np.inf)
        self._heard = self._size - len(self._wave)
        self._archive = []
        self._successes = []
        self._memory = np.full((_MEMORY, 2), 0.5)
        self._oldest = 0
        self._children = {}
        self._expect([_Child(parent) for parent in range(len(self._wave))])

    def _expect(self, children: Sequence[_Child]) -> None:
        """Await the results of a wave; those of known points are heard at once."""
        keys = self._space.keys(self._wave) if len(self._wave) else []
        for key, point, child in zip(keys, self._wave, children, strict=True):
            if key in self._children:
                self._heard += 1  # twins: one result is all that comes
                continue
            self._children[key] = child
            if key in self._known:
                self._hear(key, point, self._known[key])

    def _remember(self) -> None:
        """Move the memory by the factors of this wave's successes, weighted by their gains."""
        if self._successes:
            steps, crossovers, gains = np.array(self._successes).T
            weights = gains / gains.sum()
            lehmer = (weights @ steps**2) / (weights @ steps)
            self._memory[self._oldest] = lehmer, weights @ crossovers
            self._oldest = (self._oldest + 1) % _MEMORY
        self._successes = []
        del self._archive[: -self._size]

    def _breed(self) -> None:
        """One child a parent by current-to-pbest/1/bin, with binomial crossover."""
        self._waves += 1
        rng = np.random.default_rng([self._seed, self._restarts, self._waves])
        size, d = self._points.shape
        around = self._memory[rng.integers(_MEMORY, size=size)]
        steps = np.clip(around[:, 0] + 0.1 * rng.standard_cauchy(size), 0.1, 1.0)
        crossovers = np.clip(around[:, 1] + 0.1 * rng.standard_normal(size), 0.0, 1.0)
        mutants = self._mutants(steps[:, None], rng)
        crossed = rng.random((size, d)) < crossovers[:, None]
        crossed[np.arange(size), rng.integers(d, size=size)] = True
        self._wave = self._space.snap(np.where(crossed, mutants, self._points))
        self._expect(
            [
                _Child(parent, float(step), float(crossover))
                for parent, (step, crossover) in enumerate(zip(steps, crossovers, strict=True))
            ]
        )

    def _mutants(self, steps: FloatArray, rng: np.random.Generator) -> FloatArray:
        """x + F (x_pbest - x) + F (x_r1 - x_r2), kept inside half-way to the bounds."""
        x, (size, _) = self._points, self._points.shape
        order = np.argsort(self._costs, kind="stable")
        best = x[order[rng.integers(max(2, int(self._greed * size)), size=size)]]
        first = x[(np.arange(size) + rng.integers(1, size, size)) % size]
        others = np.vstack([x, *self._archive])
        second = others[rng.integers(len(others), size=size)]
        mutants: FloatArray = x + steps * (best - x) + steps * (first - second)
        mutants = np.where(mutants < 0.0, 0.5 * x, mutants)
        mutants = np.where(mutants > 1.0, 0.5 * (1.0 + x), mutants)
        # words have no differences: they come from one of the two donors
        words = np.where(rng.random(mutants.shape) < 0.5, best, first)
        return np.where(self._words, words, mutants)
