"""Start designs: the first points, chosen before anything is known."""

from __future__ import annotations

import numpy as np

from m3eda.design.space import FloatArray, Space

DRAWS = 64
"""Latin hypercubes drawn; the one with the widest gaps is taken."""


def latin_hypercube(count: int, dimension: int, rng: np.random.Generator) -> FloatArray:
    """Unit points, shape (count, dimension): one in each of `count` slices of every axis.

    The best of several draws by the smallest distance between two points (maximin).
    """
    best, widest = np.empty((count, dimension)), -1.0
    for _ in range(DRAWS):
        slices = rng.permuted(np.tile(np.arange(count), (dimension, 1)), axis=1).T
        points = (slices + rng.random((count, dimension))) / count
        gaps = ((points[:, None, :] - points[None, :, :]) ** 2).sum(2)
        np.fill_diagonal(gaps, np.inf)
        gap = float(gaps.min()) if count > 1 else 0.0
        if gap > widest:
            best, widest = points, gap
    return best


def start_points(space: Space, count: int, seed: int) -> FloatArray:
    """At most `count` distinct unit points on the grid, shape (n, d), spread over each axis.

    The designer's own start, where there is one, comes first. Fewer than `count` where the space
    is small or its grids make points fall together.
    """
    rng = np.random.default_rng([seed, 0])
    given = space.start()
    spread = space.snap(latin_hypercube(count, space.dimension, rng))
    rows = spread if given is None else np.vstack([given, spread])
    distinct: dict[bytes, FloatArray] = {}
    for row, key in zip(rows, space.keys(rows), strict=True):
        distinct.setdefault(key, row)
    return np.array(list(distinct.values())[:count]).reshape(-1, space.dimension)
