"""Where to simulate next: the probability that every spec holds, and the search for its maximum."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from m3eda.agents.gp import GaussianProcess
from m3eda.design.space import FloatArray, Space

Score = Callable[[FloatArray, float], FloatArray]
"""Unit points, shape (n, d), and a floor to a score each, shape (n,), larger is better; -inf is
allowed where the score lies below the floor."""

_LOG_ROOT_2PI = 0.5 * math.log(2.0 * math.pi)


def log_interval(
    mean: FloatArray, deviation: FloatArray, low: float, high: float,
    given: Callable[[FloatArray], FloatArray] | None = None,
) -> FloatArray:  # fmt: skip
    """log P(low <= y <= high) for normal y, exact far into the tails.

    `given` stands in for SciPy's `log_ndtr`; `m3eda.agents.normal` has one.
    """
    log_ndtr = given
    if log_ndtr is None:
        from scipy import special

        log_ndtr = special.log_ndtr
    below = (low - mean) / deviation
    above = (high - mean) / deviation
    if high == math.inf:
        return np.asarray(log_ndtr(-below))
    if low == -math.inf:
        return np.asarray(log_ndtr(above))
    # mirrored so that both ends lie in the lower tail where the interval lies in the upper one
    flip = below > 0.0
    below, above = np.where(flip, -above, below), np.where(flip, -below, above)
    outer, inner = log_ndtr(above), log_ndtr(below)
    return np.asarray(outer + np.log1p(-np.exp(np.minimum(inner - outer, -1e-12))))


def expected_miss(mean: float, deviation: float, low: float, high: float) -> float:
    """E[y | y misses the interval] for normal y, at the side more likely to be missed."""
    from scipy.special import log_ndtr

    below, above = (low - mean) / deviation, (mean - high) / deviation
    z, side = (below, -1.0) if below > above else (above, 1.0)
    hazard = math.exp(-0.5 * z * z - _LOG_ROOT_2PI - float(log_ndtr(z)))
    return mean + side * deviation * hazard


@dataclass(frozen=True)
class Model:
    """The process of one output and the interval that meets its spec, in the same units."""

    process: GaussianProcess
    low: float
    high: float
    doubt: float = 0.0
    """Variance added to the process's own."""
    weight: float = 1.0
    """Factor on the logarithm of the probability."""

    def log_probability(self, inputs: FloatArray) -> FloatArray:
        """log P(the spec holds) at inputs of shape (n, f), shape (n,)."""
        mean, deviation = self.process.predict(inputs)
        deviation = np.sqrt(deviation**2 + self.doubt)
        return self.weight * log_interval(mean, deviation, self.low, self.high)


class AllSpecs:
    """log P(all specs hold), the outputs taken as independent of each other."""

    def __init__(self, space: Space, models: Sequence[Model]) -> None:
        self._space, self._models = space, list(models)

    def __call__(self, points: FloatArray, floor: float) -> FloatArray:
        inputs = self._space.features(points)
        if floor == -math.inf:
            return self._complete(inputs)
        total = np.zeros(len(points))
        for model in self._models:
            # every term is at most 0: what is below the floor already stays below
            alive = np.flatnonzero(total > floor)
            if len(alive):
                total[alive] += model.log_probability(inputs[alive])
        return np.where(total > floor, total, -np.inf)

    def _complete(self, inputs: FloatArray) -> FloatArray:
        """Every term of every point; models that rule out most go first from here on."""
        terms = [model.log_probability(inputs) for model in self._models]
        order = sorted(range(len(terms)), key=lambda k: float(terms[k].mean()))
        self._models = [self._models[k] for k in order]
        return np.sum(terms, axis=0) if terms else np.zeros(len(inputs))


class Search:
    """Maximises a score over the grid: random points, then an evolutionary search.

    Half of the points come from around good trials, and the search is short on purpose: a more
    exact maximum lies far out, where the models know nothing, and took more simulations.
    """

    wide = 400
    near = 400
    generations = 6
    children = 150
    elite = 24

    def __init__(self, space: Space, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng
        self._box: tuple[FloatArray, FloatArray] | None = None

    def ranked(self, score: Score, points: FloatArray) -> FloatArray:
        """The best of given points, best first."""
        return points[np.argsort(-score(points, -math.inf), kind="stable")[: self.elite]]

    def best(
        self, score: Score, anchors: FloatArray, box: tuple[FloatArray, FloatArray] | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """The best distinct points found, best first, shape (elite, d), and their scores.

        `anchors`, shape (k, d), are known good points to look around; `box` holds the lowest and
        the highest coordinates, each of shape (d,).
        """
        self._box = box
        rng, d = self.rng, self.space.dimension
        points, scores = np.empty((0, d)), np.empty(0)
        near = anchors[rng.integers(len(anchors), size=self.near)]
        near = self._mutate(near, np.exp(rng.uniform(math.log(0.01), math.log(0.3), self.near)))
        wide = rng.random((self.wide, d))
        if box is not None:
            wide = box[0] + (box[1] - box[0]) * wide
        for rows in (near, wide):
            points, scores = self._merge(score, points, scores, rows)
        for generation in range(self.generations):
            rows = self._children(points, 0.2 * 0.7**generation)
            points, scores = self._merge(score, points, scores, rows)
        return points, scores

    def _merge(
        self, score: Score, points: FloatArray, scores: FloatArray, rows: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """The elite of the points so far and of new `rows`, best first."""
        floor = float(scores[-1]) if len(scores) == self.elite else -math.inf
        rows = self.space.snap(rows if self._box is None else np.clip(rows, *self._box))
        points = np.vstack([points, rows])
        scores = np.concatenate([scores, score(rows, floor)])
        order = np.argsort(-scores, kind="stable")[: 4 * self.elite]
        distinct: dict[bytes, int] = {}
        for index, key in zip(order, self.space.keys(points[order]), strict=True):
            distinct.setdefault(key, index)
        kept = list(distinct.values())[: self.elite]
        return points[kept], scores[kept]

    def _children(self, parents: FloatArray, reach: float) -> FloatArray:
        rng, k = self.rng, self.children
        a, b, c = (parents[rng.integers(len(parents), size=k)] for _ in range(3))
        mutants = self._mutate(a, np.exp(rng.uniform(math.log(0.003), math.log(reach), k)))
        differential = a + rng.random((k, 1)) * (b - c)
        return np.where(rng.random((k, 1)) < 0.5, differential, mutants)

    def _mutate(self, points: FloatArray, steps: FloatArray) -> FloatArray:
        """Normal steps of the given sizes, shape (n,), along some of the axes, one at least."""
        rng, (n, d) = self.rng, points.shape
        chosen = rng.random((n, d)) < np.maximum(1.5 / d, rng.random((n, 1)))
        chosen[np.arange(n), rng.integers(d, size=n)] = True
        moved: FloatArray = points + chosen * rng.normal(size=(n, d)) * steps[:, None]
        return moved
