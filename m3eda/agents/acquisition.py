"""Where to simulate next: the probability that every spec holds, and the search for its maximum."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from m3eda.agents.gp import GaussianProcess
from m3eda.design.space import FloatArray, Space

Score = Callable[[FloatArray], FloatArray]
"""Unit points, shape (n, d), to a score each, shape (n,); larger is better."""


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


def log_valid(validity: GaussianProcess, points: FloatArray) -> FloatArray:
    """log P(every measure exists), from a process on labels +1 and -1."""
    from scipy.special import log_ndtr

    mean, deviation = validity.predict(points)
    return np.asarray(log_ndtr(mean / np.sqrt(deviation**2 + 0.1)))


class Search:
    """Maximises a score over the grid: wide random points, then an evolutionary search."""

    wide = 400
    near = 400
    generations = 6
    children = 150
    elite = 24

    def __init__(self, space: Space, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng

    def best(self, score: Score, anchors: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The best distinct points found, best first, shape (elite, d), and their scores.

        `anchors`, shape (k, d), are known good points to look around.
        """
        rng, d = self.rng, self.space.dimension
        near = anchors[rng.integers(len(anchors), size=self.near)]
        near = self._mutate(near, np.exp(rng.uniform(math.log(0.01), math.log(0.3), self.near)))
        points = self.space.snap(np.vstack([rng.random((self.wide, d)), near]))
        points, scores = self._select(points, score(points))
        for generation in range(self.generations):
            children = self.space.snap(self._children(points, 0.2 * 0.7**generation))
            points, scores = self._select(
                np.vstack([points, children]), np.concatenate([scores, score(children)])
            )
        return points, scores

    def _select(self, points: FloatArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
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
        return points + chosen * rng.normal(size=(n, d)) * steps[:, None]
