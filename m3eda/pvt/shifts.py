"""How far measures move from corner to corner, by the sizings that tell."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from m3eda.design.scoring import bounds, counted
from m3eda.design.space import FloatArray, Space
from m3eda.design.types import Design, Limits, Sizing, Spec
from m3eda.simulate.trial import CornerResult

NEAR = 1e-4
"""Squared distance on the unit cube below which sizings count as one."""
TINY = 1e-300


@dataclass(frozen=True)
class Look:
    """A sizing that was simulated at several corners."""

    sizing: Sizing
    results: Mapping[str, CornerResult]


class Shifts:
    """What is known of how measures move from corner to corner.

    Each look tells by which factor a measure moves where it is positive, else by which amount.
    Between looks the logarithm of the factor, or the amount, is the mean of all looks weighted by
    the inverse fourth power of their distance on the unit cube (Shepard, 1968).
    """

    def __init__(self, design: Design) -> None:
        self._space = Space(design)
        self.corners = [corner.name for corner in design.required]
        self._points: list[FloatArray] = []
        self._tables: dict[tuple[object, ...], _Table] = {}
        self.looks: list[Look] = []

    def add(self, sizing: Sizing, results: Mapping[str, CornerResult]) -> None:
        """Hear of a look."""
        self.looks.append(Look(sizing, results))
        self._points.append(self._space.unit(sizing))
        self._tables.clear()

    def values(self, sizing: Sizing, results: Mapping[str, CornerResult], spec: Spec) -> FloatArray:
        """What `spec` measures at each corner, shape (corners,), SI units: as simulated, else as
        believed from the first of `results`; nan where neither is known."""
        first = next(iter(results))
        here = value_of(results[first], spec, first)
        found = self._table(spec).moved(self._weights(sizing), self.corners.index(first), here)
        for place, name in enumerate(self.corners):
            if name in results:
                found[place] = value_of(results[name], spec, name)
        return found

    def drawn_in(self, sizing: Sizing, spec: Spec, corner: str, others: Collection[str]) -> DrawnIn:
        """`spec` at `others` as limits at `corner`, by the moves around `sizing`."""
        table, place = self._table(spec), self.corners.index(corner)
        chosen = np.array([name == corner or name in others for name in self.corners])
        moves = np.where(chosen, table.mean(self._weights(sizing), place), np.nan)
        moves[place] = 0.0  # also where no look has a value there
        return DrawnIn(table, moves, spec.at(corner))

    def _weights(self, sizing: Sizing) -> FloatArray:
        """Of each look, shape (looks,)."""
        gaps = np.array(self._points).reshape(len(self._points), -1) - self._space.unit(sizing)
        weights: FloatArray = 1.0 / ((gaps**2).sum(axis=1) + NEAR) ** 2
        return weights

    def _table(self, spec: Spec) -> _Table:
        limits = [spec.at(name) for name in self.corners]
        key = spec.measure, spec.failed, *limits
        if key not in self._tables:
            values = np.array(
                [
                    [
                        value_of(look.results[name], spec, name) if name in look.results else np.nan
                        for name in self.corners
                    ]
                    for look in self.looks
                ]
            ).reshape(len(self.looks), len(self.corners))
            sides = np.array([bounds(each) for each in limits]).T
            self._tables[key] = _Table.of(values, sides)
        return self._tables[key]


@dataclass(frozen=True)
class _Table:
    """One spec: its limits, and how its measure has moved."""

    log: bool
    """True where limits and values are logarithms."""
    low: FloatArray
    """Shape (corners,)."""
    high: FloatArray
    values: FloatArray
    """Shape (looks, corners); nan where a look does not tell."""

    @classmethod
    def of(cls, values: FloatArray, limits: FloatArray) -> _Table:
        every = np.concatenate([values.ravel(), limits.ravel()])
        log = bool(np.all(every[np.isfinite(every)] > 0.0))
        with np.errstate(invalid="ignore", divide="ignore"):
            if log:
                values, limits = np.log(values), np.log(np.where(limits < 0.0, 0.0, limits))
            return cls(log, limits[0], limits[1], values)

    def mean(self, weights: FloatArray, first: int) -> FloatArray:
        """The move from corner number `first` to each, shape (corners,), by looks of `weights`,
        shape (looks,); nan where none tells."""
        moves = self.values - self.values[:, first : first + 1]
        known = ~np.isnan(moves)
        shares = np.where(known, weights[:, None], 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            found: FloatArray = (shares * np.where(known, moves, 0.0)).sum(axis=0)
            return np.asarray(found / shares.sum(axis=0))

    def moved(self, weights: FloatArray, first: int, here: float) -> FloatArray:
        """`here`, at corner number `first`, moved to each, shape (corners,), SI units."""
        return self.back(self.scaled(np.array([here])) + self.mean(weights, first))

    def scaled(self, values: FloatArray) -> FloatArray:
        """Values on the scale of the limits. Where that is logarithmic, one that is not positive
        lies below all."""
        return np.log(np.maximum(values, TINY)) if self.log else np.asarray(values, dtype=float)

    def back(self, scaled: FloatArray) -> FloatArray:
        return np.exp(scaled) if self.log else scaled


class DrawnIn:
    """A spec at several corners, as limits at one.

    A measure is taken to move as it did at one place. A sizing elsewhere has the value that meets
    these limits, or misses them, by as much as its worst corner does those there.
    """

    def __init__(self, table: _Table, moves: FloatArray, own: Limits) -> None:
        self._table = table
        self._low, self._high = table.low - moves, table.high - moves
        """What each corner asks of the value at the one, shape (corners,); nan where not known."""
        self._moves = moves
        self._floor = float(np.nanmax(self._low))
        self._ceiling = float(np.nanmin(self._high))
        if self._floor > self._ceiling:  # no value at this place meets all: leave the limits
            low, high = bounds(own)
            self._floor, self._ceiling = (
                float(table.scaled(np.array([end]))[0]) if math.isfinite(end) else end
                for end in (low, high)
            )

    @property
    def limits(self) -> Limits:
        low, high = self._table.back(np.array([self._floor, self._ceiling]))
        return Limits(
            float(low) if math.isfinite(self._floor) else None,
            float(high) if math.isfinite(self._ceiling) else None,
        )

    def value(self, values: FloatArray) -> float:
        """What a sizing with `values` at the corners, shape (corners,), counts as."""
        there = self._table.scaled(values) - self._moves
        with np.errstate(invalid="ignore"):
            above = np.nanmin(np.append(there - self._low, math.inf))
            below = np.nanmin(np.append(self._high - there, math.inf))
        place = self._floor + above if above <= below else self._ceiling - below
        return float(self._table.back(np.array([place]))[0])


def value_of(result: CornerResult, spec: Spec, corner: str) -> float:
    """What `spec` counts at `corner`: the worst point of a sweep; nan where there is none."""
    return counted(result.worst(spec.measure, spec.at(corner)), spec.failed)
