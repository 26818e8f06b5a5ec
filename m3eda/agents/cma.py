"""CMA-ES on the unit cube with restarts of growing population.

Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772, as implemented by the package
cmaes; restarts after Auger and Hansen, "A restart CMA evolution strategy with increasing
population size", CEC 2005.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m3eda.agents.history import Cost, History, take_options
from m3eda.design.space import FloatArray
from m3eda.design.types import Design, Sizing
from m3eda.simulate.trial import Trial

_SEPARABLE_FROM = 40
"""Dimensions from which a full covariance learns too slowly for the usual budgets."""
_STALE_GENERATIONS = 15
"""Generations without a better point before a restart."""
_KNOWN_GENERATIONS = 3
"""Generations in a row without a new point before a restart: a grid has been worked out."""

OPTIONS: Mapping[str, Any] = {"population": 0, "sigma": 0.25, "growth": 2.0}
"""`population` 0 is 1.5 (4 + 3 ln d), half more than usual, as measured; `sigma` is the first step
on the unit cube; `growth` multiplies the population at each restart."""


class Cma:
    """Follows one scalar, the weighted sum of shortfalls; a missing measure costs the most.

    Points that snap to a known sizing are answered from memory. A better trial that it did not ask
    for becomes the centre of a restart.
    """

    def __init__(self, design: Design, seed: int, options: Mapping[str, Any]) -> None:
        chosen = take_options("cma", options, OPTIONS)
        self._history = History(design, seed)
        self._cost = Cost(design)
        self._seed = seed
        self._sigma = float(chosen["sigma"])
        self._growth = float(chosen["growth"])
        # the package wants two dimensions at least: a dummy one stands in
        self._dimension = max(self._history.space.dimension, 2)
        usual = int(1.5 * (4.0 + 3.0 * np.log(self._dimension)))
        self._population = max(int(chosen["population"]) or usual, design.agent.batch)
        self._costs: dict[bytes, float] = {}
        self._best = np.inf
        self._foreign: FloatArray | None = None
        self._restarts = 0
        self._stale = self._known = 0
        self._begin(np.full(self._dimension, 0.5), self._sigma)

    def ask(self, n: int) -> list[Sizing]:
        points = self._history.start()
        while len(points) < n and not self._history.exhausted:
            if self._foreign is not None:
                self._begin(self._foreign, self._sigma / 2)
            points = self._history.new_of(np.vstack([points, self._snapped]))
            if len(points) >= n:
                break
            if self._finished:
                self._advance()
            else:
                # waiting for results: more is asked than a generation holds
                points = self._history.new_of(np.vstack([points, self._history.draw(n)]))
                break
        return self._history.propose(points[:n])

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial, point in self._history.tell(trials):
            key = self._history.space.keys(point)[0]
            cost = self._costs[key] = self._cost(trial)
            if cost < self._best:
                self._best, self._stale = cost, 0
                if key not in self._keys:
                    self._foreign = np.resize(point, self._dimension)
            if self._finished and self._foreign is None:
                self._advance()

    @property
    def _finished(self) -> bool:
        return all(key in self._costs for key in self._keys)

    def _advance(self) -> None:
        """Tell a finished generation and sample the next one, or restart."""
        costs = [self._costs[key] for key in self._keys]
        self._cma.tell(list(zip(self._samples, costs, strict=True)))
        self._stale += 1
        worn = self._stale > _STALE_GENERATIONS or self._known > _KNOWN_GENERATIONS
        if worn or self._cma.should_stop():
            self._population = int(self._population * self._growth)
            self._begin(self._rng.random(self._dimension), self._sigma)
        else:
            self._sample()

    def _begin(self, mean: FloatArray, sigma: float) -> None:
        """A new CMA around `mean`, shape (dimension,)."""
        self._restarts += 1
        self._foreign = None
        self._stale = self._known = 0
        self._rng = np.random.default_rng([self._seed, self._restarts])
        import cmaes  # it brings scipy.stats, a second that an agent beside it need not wait for

        kind = cmaes.SepCMA if self._dimension >= _SEPARABLE_FROM else cmaes.CMA
        self._cma = kind(
            mean=mean,
            sigma=sigma,
            bounds=np.tile([0.0, 1.0], (self._dimension, 1)),
            seed=int(self._rng.integers(2**31)),
            population_size=self._population,
        )
        self._sample()

    def _sample(self) -> None:
        self._samples = [self._cma.ask() for _ in range(self._population)]
        real = np.array(self._samples)[:, : self._history.space.dimension]
        self._snapped = self._history.space.snap(real)
        self._keys = self._history.space.keys(self._snapped)
        new = len(self._history.new_of(self._snapped))
        self._known = 0 if new else self._known + 1
