"""Where to simulate next: the probability that every spec holds, and the search for its maximum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from m3eda.agents.gp import GaussianProcess
from m3eda.design.space import FloatArray, Space

_LOG_ROOT_2PI = 0.5 * math.log(2.0 * math.pi)


def log_interval(mean: FloatArray, deviation: FloatArray, low: float, high: float) -> FloatArray:
    """log P(low <= y <= high) for normal y, exact far into the tails."""
    from scipy.special import log_ndtr

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

    def log_probability(self, inputs: FloatArray) -> FloatArray:
        """log P(the spec holds) at inputs of shape (n, f), shape (n,)."""
        mean, deviation = self.process.predict(inputs)
        return log_interval(mean, np.sqrt(deviation**2 + self.doubt), self.low, self.high)

    def slopes(self, inputs: FloatArray) -> tuple[FloatArray, FloatArray]:
        """log P, shape (n,), and its slopes by the inputs, shape (n, f)."""
        mean, own, carry = self.process.predict_with_slopes(inputs)
        deviation = np.sqrt(own**2 + self.doubt)
        value = log_interval(mean, deviation, self.low, self.high)
        by_mean, by_deviation = np.zeros_like(mean), np.zeros_like(mean)
        for bound, sign in ((self.low, 1.0), (self.high, -1.0)):
            if math.isfinite(bound):
                z = (bound - mean) / deviation
                ratio = sign * np.exp(-0.5 * z * z - _LOG_ROOT_2PI - value) / deviation
                by_mean += ratio
                by_deviation += z * ratio
        return value, carry(by_mean, by_deviation * own / deviation)


class Score(Protocol):
    """What `Search` maximises."""

    def __call__(self, points: FloatArray, floor: float) -> FloatArray:
        """A score each of (n, d) unit points, larger is better; -inf is allowed below `floor`."""
        ...

    def slopes(self, points: FloatArray) -> FloatArray:
        """Slopes of the score by the unit points, shape (n, d)."""
        ...


class AllSpecs:
    """log P(all specs hold), the outputs taken as independent of each other."""

    def __init__(self, space: Space, models: Sequence[Model]) -> None:
        self._space, self._models = space, models

    def __call__(self, points: FloatArray, floor: float) -> FloatArray:
        inputs = self._space.features(points)
        total = np.zeros(len(points))
        for model in self._models:
            # every term is at most 0: what is below the floor already stays below
            alive = np.flatnonzero(total > floor)
            if len(alive):
                total[alive] += model.log_probability(inputs[alive])
        return np.where(total > floor, total, -np.inf)

    def slopes(self, points: FloatArray) -> FloatArray:
        inputs = self._space.features(points)
        total = np.zeros_like(inputs)
        for model in self._models:
            total += model.slopes(inputs)[1]
        return self._space.unit_slopes(total)


class Search:
    """Maximises a score over the grid: random points, an evolutionary search, steepest ascent."""

    wide = 200
    near = 200
    children = 100
    before = 3
    """Generations before the ascent."""
    after = 3
    elite = 24
    climbers = 12
    climbs = 25

    def __init__(self, space: Space, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng

    def best(self, score: Score, anchors: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The best distinct points found, best first, shape (elite, d), and their scores.

        `anchors`, shape (k, d), are known good points to look around.
        """
        rng, d = self.rng, self.space.dimension
        points, scores = np.empty((0, d)), np.empty(0)
        near = anchors[rng.integers(len(anchors), size=self.near)]
        near = self._mutate(near, np.exp(rng.uniform(math.log(0.01), math.log(0.3), self.near)))
        for rows in (near, rng.random((self.wide, d))):
            points, scores = self._merge(score, points, scores, rows)
        for generation in range(self.before):
            rows = self._children(points, 0.2 * 0.7**generation)
            points, scores = self._merge(score, points, scores, rows)
        rows = self._climb(score, points[: self.climbers])
        points, scores = self._merge(score, points, scores, rows)
        for _ in range(self.after):
            points, scores = self._merge(score, points, scores, self._children(points, 0.02))
        return points, scores

    def _merge(
        self, score: Score, points: FloatArray, scores: FloatArray, rows: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """The elite of the points so far and of new `rows`, best first."""
        floor = float(scores[-1]) if len(scores) == self.elite else -math.inf
        rows = self.space.snap(rows)
        points = np.vstack([points, rows])
        scores = np.concatenate([scores, score(rows, floor)])
        order = np.argsort(-scores, kind="stable")[: 4 * self.elite]
        distinct: dict[bytes, int] = {}
        for index, key in zip(order, self.space.keys(points[order]), strict=True):
            distinct.setdefault(key, index)
        kept = list(distinct.values())[: self.elite]
        return points[kept], scores[kept]

    def _climb(self, score: Score, points: FloatArray) -> FloatArray:
        """Points after ascent within the cube, grids left aside; step sizes as in Adam."""
        mean, square = np.zeros_like(points), np.zeros_like(points)
        for step in range(self.climbs):
            slope = score.slopes(points)
            mean = 0.8 * mean + 0.2 * slope
            square = 0.9 * square + 0.1 * slope * slope
            size = 0.1 * 0.9**step
            scaled = (mean / (1.0 - 0.8 ** (step + 1))) / (
                np.sqrt(square / (1.0 - 0.9 ** (step + 1))) + 1e-9
            )
            points = np.clip(points + size * scaled, 0.0, 1.0)
        return points

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
