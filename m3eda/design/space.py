"""The free parameters of a design as a unit cube.

Every agent works on points x in [0, 1]^d, one coordinate a free parameter in file order: linear or
logarithmic in the range, grids and choices snapped to their nearest value. Ordered choices (all
numbers) are spread evenly by rank, so an E-series is logarithmic by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from m3eda.design.ranges import FloatArray, Ranges, levels
from m3eda.design.types import Design, Parameter, Sizing, Value

__all__ = ["Axis", "FloatArray", "Space", "tidy"]

_DIGITS = 9
"""Decimals of a continuous unit coordinate by which two points are told apart."""
_KEPT = 100_000
"""Values of one grid that are kept at most."""


def tidy(value: float) -> float:
    """`value` rounded to 12 significant digits, so that 37 steps of 0.1p read 3.7e-12."""
    return float(f"{value:.12g}")


class _Grid(dict[float, float]):
    """Steps from the minimum of a range -> values, kept from the first use on."""

    def __init__(self, parameter: Parameter) -> None:
        super().__init__()
        self._parameter = parameter

    def __missing__(self, index: float) -> float:
        low, high = self._parameter.minimum, self._parameter.maximum
        step = self._parameter.step
        assert low is not None
        assert high is not None
        assert step is not None
        value = tidy(min(max(low + index * step, low), high))
        if len(self) < _KEPT:
            self[index] = value
        return value


class Axis:
    """One free parameter: unit interval <-> values."""

    def __init__(self, parameter: Parameter) -> None:
        self.parameter = parameter
        self.name = parameter.name
        self.categorical = any(isinstance(choice, str) for choice in parameter.choices)
        """True where neighbours in the unit interval need not be alike (words, not numbers)."""
        ordered = parameter.choices if self.categorical else sorted(parameter.choices)
        self.choices: tuple[Value, ...] = tuple(ordered)
        """Its choices as they lie in the unit interval; none for a range."""
        self.levels: float = len(self.choices) if self.choices else levels(parameter)
        self.on_grid = not self.choices and (bool(parameter.step) or self.levels == 1)
        """True for a range that is not continuous."""
        if self.choices:
            # of equal choices the first
            self._indices = {choice: k for k, choice in reversed(list(enumerate(self.choices)))}
        else:
            self._range = Ranges([parameter])
            self.grid = _Grid(parameter)

    def value(self, x: float) -> Value:
        """The value nearest to unit coordinate `x`, on the grid."""
        x = min(max(float(x), 0.0), 1.0)
        if self.choices:
            return self.choices[min(int(x * len(self.choices)), len(self.choices) - 1)]
        return tidy(float(self._range.numbers(np.array([[x]]))[0, 0]))

    def unit(self, value: Value) -> float:
        """The unit coordinate of `value`; the centre of its cell for a choice.

        Raises ValueError for a word that is not among the choices.
        """
        if not self.choices:
            return float(self._range.units(np.array([[float(value)]]))[0, 0])
        index = self._indices.get(value)
        if index is None and self.categorical:
            index = self.choices.index(value)
        elif index is None:
            index = int(np.argmin([abs(float(each) - float(value)) for each in self.choices]))
        return (index + 0.5) / len(self.choices)

    def snap(self, x: FloatArray) -> FloatArray:
        """Unit coordinates, shape (n,), moved to the nearest value on the grid."""
        x = np.clip(x, 0.0, 1.0)
        if self.choices:
            return _centres(x, np.array(self.levels))
        if self.on_grid:
            units: FloatArray = self._range.units(self._range.numbers(x[:, None]))[:, 0]
            return units
        # the middle of a label's cell: the rounding of values must not lead to another label
        middle = _middle(x)
        if self.parameter.start is None:
            return middle
        start = self.unit(self.parameter.start)  # the designer's own number, to its last digit
        return np.where(middle == np.round(start, _DIGITS), start, middle)

    def label(self, x: FloatArray) -> FloatArray:
        """A number for each unit coordinate, shape (n,): equal where the values are equal."""
        if self.choices:
            return _cells(x, np.array(self.levels))
        if self.parameter.step:
            steps: FloatArray = self._range.index(x[:, None])[:, 0]
            return steps
        return _middle(x)


def _middle(x: FloatArray) -> FloatArray:
    return np.round(x, _DIGITS) + 0.0  # no negative zero


def _cells(x: FloatArray, counts: FloatArray) -> FloatArray:
    """The index of the choice at unit coordinates, of `counts` choices."""
    cells: FloatArray = np.minimum(np.floor(x * counts), counts - 1.0) + 0.0
    return cells


def _centres(x: FloatArray, counts: FloatArray) -> FloatArray:
    return (_cells(x, counts) + 0.5) / counts


class Space:
    """The search space of a design: `dimension` axes, one a free parameter."""

    def __init__(self, design: Design) -> None:
        self.axes = tuple(Axis(parameter) for parameter in design.free)
        self.names = tuple(axis.name for axis in self.axes)
        self.dimension = len(self.axes)
        self.levels = np.array([axis.levels for axis in self.axes], dtype=float)
        """Number of distinct values an axis has, shape (d,); inf where continuous."""
        self.size = float(np.prod(self.levels)) if self.dimension else 1.0
        """Number of distinct points, inf where an axis is continuous."""
        self._chosen = _Columns(self.axes, lambda axis: bool(axis.choices))
        self._ranged = _Columns(self.axes, lambda axis: not axis.choices)
        self._grid = _Columns(self.axes, lambda axis: axis.on_grid)
        self._stepped = _Columns(self.axes, lambda axis: bool(axis.parameter.step))
        self._loose = _Columns(self.axes, lambda axis: not axis.choices and not axis.on_grid)
        self._rounded = _Columns(
            self.axes, lambda axis: not axis.choices and not axis.parameter.step
        )
        self._starts = [
            (column, axis) for column, axis in self._loose.pairs if axis.parameter.start is not None
        ]
        self._given = self._start()
        self._known = self._known_starts(design.starts)

    def sizing(self, x: ArrayLike) -> Sizing:
        """The free parameters at unit point `x`, shape (d,), on their grids."""
        return self.sizings(np.asarray(x, dtype=float).reshape(1, -1))[0]

    def sizings(self, points: ArrayLike) -> list[Sizing]:
        """The free parameters at unit points, shape (n, d), on their grids."""
        rows = np.array(points, dtype=float, ndmin=2)
        if rows.shape[1] != self.dimension:
            raise ValueError(f"points have {rows.shape[1]} coordinates, not {self.dimension}")
        if not self.dimension:
            return [{} for _ in rows]
        rows = np.minimum(np.maximum(rows, 0.0), 1.0)
        columns: list[list[Value]] = [[]] * self.dimension
        if self._stepped.pairs:
            steps = self._stepped.ranges.index(rows[:, self._stepped.index]).T.tolist()
            for (column, axis), indices in zip(self._stepped.pairs, steps, strict=True):
                grid = axis.grid
                columns[column] = [grid[index] for index in indices]
        if self._rounded.pairs:
            numbers = self._rounded.ranges.numbers(rows[:, self._rounded.index]).T.tolist()
            for (column, _), values in zip(self._rounded.pairs, numbers, strict=True):
                columns[column] = [float(f"{value:.12g}") for value in values]
        for column, axis in self._chosen.pairs:
            cells = np.minimum((rows[:, column] * axis.levels).astype(int), int(axis.levels) - 1)
            columns[column] = [axis.choices[cell] for cell in cells.tolist()]
        names = self.names
        return [dict(zip(names, row)) for row in zip(*columns)]  # noqa: B905  # all alike in length

    def unit(self, sizing: Mapping[str, Value]) -> FloatArray:
        """The unit point of a sizing, shape (d,); parameters that are not free are ignored."""
        point = np.empty(self.dimension)
        if self._ranged.pairs:
            numbers = [float(sizing[axis.name]) for _, axis in self._ranged.pairs]
            point[self._ranged.index] = self._ranged.ranges.units(np.array([numbers]))[0]
        for column, axis in self._chosen.pairs:
            point[column] = axis.unit(sizing[axis.name])
        return point

    def snap(self, points: ArrayLike) -> FloatArray:
        """Unit points, shape (n, d), moved to their nearest grid values, shape (n, d)."""
        rows: FloatArray = np.array(points, dtype=float, ndmin=2)
        rows = np.minimum(np.maximum(rows, 0.0), 1.0)
        loose, grid, chosen = self._loose, self._grid, self._chosen
        if loose.pairs:
            rows[:, loose.index] = _middle(rows[:, loose.index])
        for column, axis in self._starts:
            rows[:, column] = axis.snap(rows[:, column])
        if grid.pairs:
            numbers = grid.ranges.numbers(rows[:, grid.index])
            rows[:, grid.index] = grid.ranges.units(numbers)
        if chosen.pairs:
            rows[:, chosen.index] = _centres(rows[:, chosen.index], chosen.levels)
        return rows

    def keys(self, points: ArrayLike) -> list[bytes]:
        """One key a unit point, shape (n, d); equal where the points give the same sizing."""
        rows = np.array(points, dtype=float, ndmin=2)
        rows = np.minimum(np.maximum(rows, 0.0), 1.0)
        rounded, stepped, chosen = self._rounded, self._stepped, self._chosen
        if rounded.pairs:
            rows[:, rounded.index] = _middle(rows[:, rounded.index])
        if stepped.pairs:
            rows[:, stepped.index] = stepped.ranges.index(rows[:, stepped.index])
        if chosen.pairs:
            rows[:, chosen.index] = _cells(rows[:, chosen.index], chosen.levels)
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
        return None if self._given is None else self._given.copy()

    def _start(self) -> FloatArray | None:
        given = [axis.parameter.start is not None for axis in self.axes]
        if not any(given):
            return None
        rows = self.snap(
            [
                axis.unit(axis.parameter.start) if axis.parameter.start is not None else 0.5
                for axis in self.axes
            ]
        )
        first: FloatArray = rows[0]
        return first

    def starts(self) -> FloatArray:
        """The designer's start, then the design's `starts`, as unit points, shape (n, d)."""
        given = np.empty((0, self.dimension)) if self._given is None else self._given[None, :]
        return np.vstack([given, self._known])

    @property
    def ported(self) -> bool:
        """True where the design has `starts`: it is known where to search."""
        return len(self._known) > 0

    def _known_starts(self, starts: Sequence[Sizing]) -> FloatArray:
        middle = self.sizing(self.centre()) if starts and self.dimension else {}
        rows = [self.unit({**middle, **each}) for each in starts]
        return self.snap(rows) if rows else np.empty((0, self.dimension))

    def centre(self) -> FloatArray:
        """The designer's start, or the centre of the cube, shape (d,)."""
        start = self.start()
        return self.snap(np.full(self.dimension, 0.5))[0] if start is None else start


class _Columns:
    """The axes of one kind, and where they stand among all."""

    def __init__(self, axes: Sequence[Axis], of_kind: Callable[[Axis], bool]) -> None:
        self.pairs = [(column, axis) for column, axis in enumerate(axes) if of_kind(axis)]
        every = len(self.pairs) == len(axes)
        # a slice of all columns is a view, where an index copies
        self.index: slice | NDArray[np.intp] = slice(None)
        if not every:
            self.index = np.array([column for column, _ in self.pairs], dtype=np.intp)
        self.levels = np.array([axis.levels for _, axis in self.pairs], dtype=float)
        ranged = [axis.parameter for _, axis in self.pairs if not axis.choices]
        self.ranges = Ranges(ranged)
