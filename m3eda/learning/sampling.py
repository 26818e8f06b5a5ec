"""The points of a dataset: a function of seed and number alone, however many are drawn, and where.

`sobol` and `random` fill each parameter's own scale; `log` is `sobol` on a logarithmic scale for
every range that allows one, so that small values are as frequent as large ones.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from m3eda.design.space import Axis, FloatArray, Space
from m3eda.design.types import Corner, Sizing

Sampling = Literal["sobol", "random", "log"]
SAMPLINGS: tuple[Sampling, ...] = get_args(Sampling)
MOST = 1 << 30
"""Points that a Sobol sequence of scipy has."""
_BLOCK = 1024
_AT_A_CORNER = 64
"""Points in a row at one corner: each change has workers load circuits."""
_CHECKED = 16


class Sampler:
    """Sizings and corners by number."""

    def __init__(
        self, space: Space, corners: Sequence[Corner], sampling: Sampling, seed: int
    ) -> None:
        self.space = space
        self._corners = corners
        self._sampling = sampling
        self._seed = seed
        self._engine: Any = None
        self._next = 0
        """The block that the Sobol sequence stands at."""
        self._sizings: list[Sizing] = []
        self._block = -1
        self._stretch, self._corner = -1, 0

    def sizing(self, number: int) -> Sizing:
        """The free parameters of a point; quick where numbers come in order."""
        block, place = divmod(number, _BLOCK)
        if block != self._block:
            self._sizings, self._block = self.space.sizings(self._points(block)), block
        return self._sizings[place]

    def corner(self, number: int) -> int:
        """The place of a point's corner among the corners; each comes as often as any other."""
        if len(self._corners) == 1:
            return 0
        stretch = number // _AT_A_CORNER
        if stretch != self._stretch:
            turn, place = divmod(stretch, len(self._corners))
            rng = np.random.default_rng([self._seed, 1, turn])
            self._corner, self._stretch = int(rng.permutation(len(self._corners))[place]), stretch
        return self._corner

    def fingerprint(self) -> str:
        """Hash of the first points: another release of the libraries may draw others."""
        first = [list(self.sizing(number).values()) for number in range(_CHECKED)]
        corners = [self.corner(number * _AT_A_CORNER) for number in range(_CHECKED)]
        return hashlib.sha256(repr((first, corners)).encode()).hexdigest()[:16]

    def _points(self, block: int) -> FloatArray:
        """The unit points of a block, shape (_BLOCK, d)."""
        dimension = self.space.dimension
        if self._sampling == "random":
            return np.random.default_rng([self._seed, 0, block]).random((_BLOCK, dimension))
        points = self._sobol(block)
        if self._sampling == "log":
            for column, axis in enumerate(self.space.axes):
                points[:, column] = on_log_scale(axis, points[:, column])
        return points

    def _sobol(self, block: int) -> FloatArray:
        """Owen, "Scrambling Sobol' and Niederreiter-Xing points", J. Complexity 14, 1998."""
        from scipy.stats import qmc

        if self._engine is None or block < self._next:
            rng = np.random.default_rng([self._seed, 0])
            self._engine = qmc.Sobol(self.space.dimension, scramble=True, seed=rng)
            self._next = 0
        if block > self._next:
            self._engine.fast_forward((block - self._next) * _BLOCK)
        self._next = block + 1
        points: FloatArray = self._engine.random(_BLOCK)
        return points


def on_log_scale(axis: Axis, x: FloatArray) -> FloatArray:
    """Unit coordinates of values that are logarithmically uniform at unit coordinates `x`."""
    low, high = axis.parameter.minimum, axis.parameter.maximum
    if axis.choices or axis.parameter.scale == "log" or low is None or high is None:
        return x
    if not 0.0 < low < high:
        return x
    moved: FloatArray = (low * np.exp(x * math.log(high / low)) - low) / (high - low)
    return moved
