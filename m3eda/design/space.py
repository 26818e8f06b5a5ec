"""The free parameters of a design as a unit cube.

Every agent works on points x in [0, 1]^d, one coordinate a free parameter in file order: linear or
logarithmic in the range, grids and choices snapped to their nearest value. Ordered choices (all
numbers) are spread evenly by rank, so an E-series is logarithmic by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from m3eda.design.types import Design, Parameter, Sizing, Value

FloatArray = NDArray[np.float64]


_DIGITS = 9
"""Decimals of a continuous unit coordinate by which two points are told apart."""


def tidy(value: float) -> float:
    """`value` rounded to 12 significant digits, so that 37 steps of 0.1p read 3.7e-12."""
    return float(f"{value:.12g}")


class Axis:
    """One free parameter: unit interval <-> values."""

    def __init__(self, parameter: Parameter) -> None:
        self.parameter = parameter
        self.name = parameter.name
        self.categorical = any(isinstance(choice, str) for choice in parameter.choices)
        """True where neighbours in the unit interval need not be alike (words, not numbers)."""
        self.plain = not parameter.choices and not parameter.step and parameter.start is None
        """True for a range without a grid, on which many axes are snapped at once."""
        self._choices: tuple[Value, ...] = ()
        if parameter.choices:
            ordered = parameter.choices if self.categorical else sorted(parameter.choices)
            self._choices = tuple(ordered)
            self.levels: float = len(self._choices)
            return
        assert parameter.minimum is not None
        assert parameter.maximum is not None
        self._low, self._high = parameter.minimum, parameter.maximum
        self._log = parameter.scale == "log"
        self._step = parameter.step or 0.0
        self.levels = math.inf if self._high > self._low else 1
        if self._step:
            # a range that is no whole number of steps ends at the last grid point inside it
            self.levels = math.floor((self._high - self._low) / self._step + 1e-9) + 1
        self.plain = self.plain and self.levels == math.inf

    def value(self, x: float) -> Value:
        """The value nearest to unit coordinate `x`, on the grid."""
        x = min(max(float(x), 0.0), 1.0)
        if self._choices:
            return self._choices[min(int(x * len(self._choices)), len(self._choices) - 1)]
        return tidy(float(self._numbers(np.array([x]))[0]))

    def unit(self, value: Value) -> float:
        """The unit coordinate of `value`; the centre of its cell for a choice.

        Raises ValueError for a word that is not among the choices.
        """
        if self._choices:
            if self.categorical:
                index = self._choices.index(value)
            else:
                gaps = [abs(float(choice) - float(value)) for choice in self._choices]
                index = int(np.argmin(gaps))
            return (index + 0.5) / len(self._choices)
        return float(self._units(np.array([float(value)]))[0])

    def snap(self, x: FloatArray) -> FloatArray:
        """Unit coordinates, shape (n,), moved to the nearest value on the grid."""
        x = np.clip(x, 0.0, 1.0)
        if self._choices:
            last = len(self._choices) - 1
            return (np.minimum(np.floor(x * (last + 1)), last) + 0.5) / (last + 1)
        if self._step or self.levels == 1:
            return self._units(self._numbers(x))
        # the middle of a label's cell: the rounding of values must not lead to another label
        middle = np.round(x, _DIGITS) + 0.0
        if self.parameter.start is None:
            return middle
        start = self.unit(self.parameter.start)  # the designer's own number, to its last digit
        return np.where(middle == np.round(start, _DIGITS), start, middle)

    def label(self, x: FloatArray) -> FloatArray:
        """A number for each unit coordinate, shape (n,): equal where the values are equal."""
        if self._choices:
            return np.minimum(np.floor(x * len(self._choices)), len(self._choices) - 1)
        if self._step:
            return self._index(self._raw(x))
        return np.round(x, _DIGITS) + 0.0  # no negative zero

    def _raw(self, x: FloatArray) -> FloatArray:
        if self._log:
            return self._low * (self._high / self._low) ** x
        return self._low + x * (self._high - self._low)

    def _index(self, raw: FloatArray) -> FloatArray:
        return np.clip(np.rint((raw - self._low) / self._step), 0.0, self.levels - 1)

    def _numbers(self, x: FloatArray) -> FloatArray:
        """Values in SI units at unit coordinates in [0, 1], on the grid."""
        raw = self._raw(x)
        if self._step:
            raw = self._low + self._index(raw) * self._step
        return np.clip(raw, self._low, self._high)

    def _units(self, numbers: FloatArray) -> FloatArray:
        """Unit coordinates of values, clipped to the range."""
        numbers = np.clip(numbers, self._low, self._high)
        if self._high == self._low:
            return np.full(numbers.shape, 0.5)
        if self._log:
            return np.log(numbers / self._low) / math.log(self._high / self._low)
        return (numbers - self._low) / (self._high - self._low)


class Space:
    """The search space of a design: `dimension` axes, one a free parameter."""

    def __init__(self, design: Design) -> None:
        self.axes = tuple(Axis(parameter) for parameter in design.free)
        self.names = tuple(axis.name for axis in self.axes)
        self.dimension = len(self.axes)
        self.levels = np.array([axis.levels for axis in self.axes], dtype=float)
        """Number of distinct values an axis has, shape (d,); inf where continuous."""
        self._plain = np.array([axis.plain for axis in self.axes], dtype=bool)
        self._others = [(k, axis) for k, axis in enumerate(self.axes) if not axis.plain]
        self.size = float(np.prod(self.levels)) if self.dimension else 1.0
        """Number of distinct points, inf where an axis is continuous."""

    def sizing(self, x: ArrayLike) -> Sizing:
        """The free parameters at unit point `x`, shape (d,), on their grids."""
        return {a.name: a.value(u) for a, u in zip(self.axes, np.asarray(x).ravel(), strict=True)}

    def unit(self, sizing: Mapping[str, Value]) -> FloatArray:
        """The unit point of a sizing, shape (d,); parameters that are not free are ignored."""
        return np.array([axis.unit(sizing[axis.name]) for axis in self.axes], dtype=float)

    def snap(self, points: ArrayLike) -> FloatArray:
        """Unit points, shape (n, d), moved to their nearest grid values, shape (n, d)."""
        rows = np.array(points, dtype=float, ndmin=2)
        plain = self._plain
        rows[:, plain] = np.round(np.clip(rows[:, plain], 0.0, 1.0), _DIGITS) + 0.0
        for column, axis in self._others:
            rows[:, column] = axis.snap(rows[:, column])
        return rows

    def keys(self, points: ArrayLike) -> list[bytes]:
        """One key a unit point, shape (n, d); equal where the points give the same sizing."""
        rows = np.clip(np.array(points, dtype=float, ndmin=2), 0.0, 1.0)
        rows[:, self._plain] = np.round(rows[:, self._plain], _DIGITS) + 0.0
        for column, axis in self._others:
            rows[:, column] = axis.label(rows[:, column])
        return [row.tobytes() for row in rows]

    def features(self, points: ArrayLike) -> FloatArray:
        """Snapped unit points, shape (n, d), as inputs of a model, shape (n, f).

        Words have no order: each becomes a column of its own, one word a unit distance from any
        other. All other columns are the unit coordinates.
        """
        rows = np.array(points, dtype=float, ndmin=2)
        if not any(axis.categorical for axis in self.axes):
            return rows
        columns = []
        for column, axis in zip(rows.T, self.axes, strict=True):
            if axis.categorical:
                words = np.arange(axis.levels)
                columns.append((axis.label(column)[:, None] == words) * math.sqrt(0.5))
            else:
                columns.append(column[:, None])
        return np.hstack(columns)

    def start(self) -> FloatArray | None:
        """The designer's own start as a unit point, shape (d,), or None where none is given.

        Parameters without a `start` of their own sit at their centre.
        """
        given = [axis.parameter.start is not None for axis in self.axes]
        if not any(given):
            return None
        rows = self.snap(
            [
                axis.unit(axis.parameter.start) if axis.parameter.start is not None else 0.5
                for axis in self.axes
            ]
        )
        point: FloatArray = rows[0]
        return point

    def centre(self) -> FloatArray:
        """The designer's start, or the centre of the cube, shape (d,)."""
        start = self.start()
        return self.snap(np.full(self.dimension, 0.5))[0] if start is None else start
