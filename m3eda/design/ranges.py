"""Ranges of numbers, many at once: unit coordinates <-> values in SI units.

Columns are parameters, rows are points. Each number comes out the same, bit for bit, however many
are computed at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from m3eda.design.types import Parameter

FloatArray = NDArray[np.float64]


def levels(parameter: Parameter) -> float:
    """Number of distinct values of a range; inf where it is continuous."""
    low, high = _ends(parameter)
    if parameter.step:
        # a range that is no whole number of steps ends at the last grid point inside it
        return math.floor((high - low) / parameter.step + 1e-9) + 1
    return math.inf if high > low else 1


class Ranges:
    """Parameters with a `minimum` and a `maximum`; arrays have the shape (n, r)."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        ends = [_ends(parameter) for parameter in parameters]
        log = [parameter.scale == "log" for parameter in parameters]
        spans = [high - low for low, high in ends]
        self._low = np.array([low for low, _ in ends])
        self._high = np.array([high for _, high in ends])
        self._span = np.array(spans)
        self._log = np.array(log, dtype=bool)
        self._any_log, self._all_log = any(log), all(log)
        # a linear range gets a ratio of 1: its power costs nothing and is not used
        ratios = [
            high / low if is_log else 1.0 for (low, high), is_log in zip(ends, log, strict=True)
        ]
        self._ratio = np.array(ratios)
        steps = [parameter.step or 0.0 for parameter in parameters]
        self._stepped = np.array(steps) > 0.0
        self._any_step, self._all_step = any(steps), all(steps)
        self._step = np.array([step or 1.0 for step in steps])
        self._last = np.array([levels(parameter) - 1.0 for parameter in parameters])
        self._single = np.array([not span for span in spans], dtype=bool)
        self._any_single = bool(self._single.any())
        self._divisor = np.array([span or 1.0 for span in spans])
        self._log_columns = np.flatnonzero(self._log & ~self._single)
        self._log_low = self._low[self._log_columns]
        self._log_ratio = np.array([math.log(ratios[column]) for column in self._log_columns])

    def numbers(self, x: FloatArray) -> FloatArray:
        """Values at unit coordinates in [0, 1], on the grid."""
        raw = self._raw(x)
        if self._any_step:
            grid = self._low + self._index(raw) * self._step
            raw = grid if self._all_step else np.where(self._stepped, grid, raw)
        inside: FloatArray = np.minimum(np.maximum(raw, self._low), self._high)
        return inside

    def index(self, x: FloatArray) -> FloatArray:
        """Steps from the minimum at unit coordinates in [0, 1]; only for ranges with a step."""
        return self._index(self._raw(x))

    def units(self, numbers: FloatArray) -> FloatArray:
        """Unit coordinates of values, clipped to the range; 0.5 where it is a single value."""
        numbers = np.minimum(np.maximum(numbers, self._low), self._high)
        units: FloatArray = (numbers - self._low) / self._divisor
        if self._log_columns.size:
            ratio = numbers[:, self._log_columns] / self._log_low
            units[:, self._log_columns] = np.log(ratio) / self._log_ratio
        if self._any_single:
            units[:, self._single] = 0.5
        return units

    def _raw(self, x: FloatArray) -> FloatArray:
        if not self._any_log:
            linear: FloatArray = self._low + x * self._span
            return linear
        powers: FloatArray = self._low * self._ratio**x
        if self._all_log:
            return powers
        return np.where(self._log, powers, self._low + x * self._span)

    def _index(self, raw: FloatArray) -> FloatArray:
        steps = np.rint((raw - self._low) / self._step)
        index: FloatArray = np.minimum(np.maximum(steps, 0.0), self._last) + 0.0  # no negative zero
        return index


def _ends(parameter: Parameter) -> tuple[float, float]:
    assert parameter.minimum is not None
    assert parameter.maximum is not None
    return parameter.minimum, parameter.maximum
