"""How far measures move from corner to corner, by the sizings that tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from m3eda.design.scoring import counted
from m3eda.design.space import FloatArray, Space
from m3eda.design.types import Design, Sizing, Spec
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
            self._tables[key] = _Table.of(values)
        return self._tables[key]


@dataclass(frozen=True)
class _Table:
    """How one measure has moved."""

    log: bool
    """True where values are logarithms."""
    values: FloatArray
    """Shape (looks, corners); nan where a look does not tell."""

    @classmethod
    def of(cls, values: FloatArray) -> _Table:
        log = not np.any(values <= 0.0)
        return cls(log, np.log(values) if log else values)

    def mean(self, weights: FloatArray, first: int) -> FloatArray:
        """The move from corner number `first` to each, shape (corners,), by looks of `weights`,
        shape (looks,); nan where none tells."""
        with np.errstate(invalid="ignore", divide="ignore"):
            moves = self.values - self.values[:, first : first + 1]
            known = ~np.isnan(moves)
            shares = np.where(known, weights[:, None], 0.0)
            found: FloatArray = (shares * np.where(known, moves, 0.0)).sum(axis=0)
            return np.asarray(found / shares.sum(axis=0))

    def moved(self, weights: FloatArray, first: int, here: float) -> FloatArray:
        """`here`, at corner number `first`, moved to each, shape (corners,), SI units."""
        moves = self.mean(weights, first)
        # where all looks are positive, what is not lies below them all
        return np.asarray(np.maximum(here, TINY) * np.exp(moves) if self.log else here + moves)


def value_of(result: CornerResult, spec: Spec, corner: str) -> float:
    """What `spec` counts at `corner`: the worst point of a sweep; nan where there is none."""
    return counted(result.worst(spec.measure, spec.at(corner)), spec.failed)
