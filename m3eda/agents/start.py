"""Start designs: the first points, chosen before anything is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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


def sobol(count: int, dimension: int, rng: np.random.Generator) -> FloatArray:
    """The first `count` points of a Sobol sequence, shape (count, dimension), scrambled by `rng`.

    Owen, "Scrambling Sobol' and Niederreiter-Xing points", J. Complexity 14, 1998; by scipy.
    """
    from scipy.stats import qmc

    # whole powers of two keep the sequence's balance; scipy warns of any other number
    points = qmc.Sobol(dimension, scramble=True, seed=rng).random_base2((count - 1).bit_length())
    first: FloatArray = points[:count]
    return first


DESIGNS: Mapping[str, Callable[[int, int, np.random.Generator], FloatArray]] = {
    "latin-hypercube": latin_hypercube,
    "sobol": sobol,
}
"""Name of a start design -> its points."""


NEAR = 0.1
"""Deviation, on the unit cube, of points around a known start."""


def start_points(
    space: Space, count: int, seed: int, design: str = "latin-hypercube", *, near: bool = True
) -> FloatArray:
    """At most `count` distinct unit points on the grid, shape (n, d), spread over each axis.

    The designer's own start and the design's `starts`, where there are any, come first; with
    `starts` and `near` the others lie around those. Fewer than `count` where the space is small or
    its grids make points fall together. `design` is a name in `DESIGNS`.
    """
    rng = np.random.default_rng([seed, 0])
    spread = DESIGNS[design](count, space.dimension, rng)
    if near and space.ported:
        around = np.resize(space.starts(), spread.shape)
        spread = around + NEAR * rng.standard_normal(spread.shape)
    rows = np.vstack([space.starts(), space.snap(spread)])
    distinct: dict[bytes, FloatArray] = {}
    for row, key in zip(rows, space.keys(rows), strict=True):
        distinct.setdefault(key, row)
    return np.array(list(distinct.values())[:count]).reshape(-1, space.dimension)
