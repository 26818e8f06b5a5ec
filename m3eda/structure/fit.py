"""From the parameters of one design to those of another one of the same circuit, by the sizes that
both decide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from m3eda.design.ranges import FloatArray
from m3eda.structure.cell import LENGTH, SOURCE, WIDTH, Cell
from m3eda.structure.elements import NMOS, VALUE
from m3eda.structure.sizes import Sized

KEEPING = 1e-4
"""Weight of leaving a parameter as it stands, where no size asks for anything."""
STEEP = 5.0
"""Exponent of a transistor's current in its gate voltage, from 2 V/(V - Vt) at an overdrive of two
thirds of the threshold."""
FOLLOWED = 0.5
"""Of the squares of a parameter's exponents: what the other design has to follow of them."""


@dataclass(frozen=True)
class Fit:
    """The logarithms of both designs' sizes, row by row."""

    own: Sized
    other: Sized
    own_rows: FloatArray
    """Exponents of the design's own parameters, shape (k, p)."""
    other_rows: FloatArray
    """Of the other design's, shape (k, r)."""
    gaps: FloatArray
    """By how much the own sizes are larger where both were looked at, shape (k,)."""
    guessed: NDArray[np.bool_]
    """Of each of the other's parameters: whether only its changes are known, as of a current that
    the own design makes by a voltage, shape (r,)."""

    @classmethod
    def of(cls, own: Sized, other: Sized, overlay: Mapping[int, int]) -> Fit:
        """`overlay` has the place of a part of `other` -> that of `own`."""
        places = {key: row for row, key in enumerate(own.keys)}
        pairs = [(places[overlay[part], size], row) for row, (part, size) in enumerate(other.keys)
                 if part in overlay and (overlay[part], size) in places]  # fmt: skip
        mine, theirs = ([pair[k] for pair in pairs] for k in (0, 1))
        gaps = own.logs[mine] - other.logs[theirs]
        own_rows, other_rows = [own.slopes[mine]], [other.slopes[theirs]]
        guessed = np.zeros(len(other.parameters), dtype=bool)
        for source, driven in _voltages_for_currents(other.cell, overlay):
            row = other.slopes[other.keys.index((source, VALUE))]
            own_rows.append(_current_of(own, driven)[None])
            other_rows.append(row[None])
            guessed |= row != 0.0
        gaps = np.concatenate([gaps, np.zeros(len(own_rows) - 1)])
        return cls(own, other, np.vstack(own_rows), np.vstack(other_rows), gaps, guessed)

    @cached_property
    def _there(self) -> FloatArray:
        return _inverse(self.other_rows)

    @cached_property
    def _back(self) -> FloatArray:
        return _inverse(self.own_rows)

    @property
    def known(self) -> tuple[bool, ...]:
        """Of each own parameter: whether the other design can follow what it does to sizes."""
        asked = (self.own_rows**2).sum(axis=0)
        rest = self.own_rows - self.other_rows @ (self._there @ self.own_rows)
        return tuple(((asked > 0.0) & ((rest**2).sum(axis=0) < FOLLOWED * asked)).tolist())

    @property
    def reached(self) -> tuple[bool, ...]:
        """Of each of the other's parameters: whether it decides a size that both have."""
        return tuple((((self.other_rows**2).sum(axis=0) > 0.0) & ~self.guessed).tolist())

    @property
    def miss(self) -> float:
        """By how much sizes differ that no parameter of either makes equal: root of the mean
        square, of logarithms."""
        both = np.hstack([self.own_rows, self.other_rows])
        rest = self.gaps - both @ (_inverse(both) @ self.gaps)
        return float(np.sqrt((rest**2).mean())) if len(rest) else np.inf

    def there(self, logs: FloatArray) -> FloatArray:
        """Logarithms of own values, shape (n, p), as those of the other's, shape (n, r)."""
        wanted = self.gaps + (logs - self.own.at) @ self.own_rows.T
        return np.asarray(self.other.at + wanted @ self._there.T)

    def back(self, logs: FloatArray) -> FloatArray:
        """Logarithms of the other's values, shape (n, r), as own ones, shape (n, p)."""
        wanted = (logs - self.other.at) @ self.other_rows.T - self.gaps
        return np.asarray(self.own.at + wanted @ self._back.T)


def _voltages_for_currents(other: Cell, overlay: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Current sources of `other` that feed a diode which nothing lies over, each with the own
    transistor that this diode would drive."""
    for source, part in enumerate(other.parts):
        if part.kind != SOURCE or source in overlay or VALUE not in part.sizes:
            continue
        for diode in other.references - overlay.keys():
            net = other.parts[diode].nets[0]
            gates = [place for place, each in enumerate(other.parts)
                     if each.is_transistor and each.nets[1] == net]  # fmt: skip
            driven = [overlay[place] for place in gates if place in overlay]
            if net in part.nets and driven:
                yield source, driven[0]
                break


def _current_of(own: Sized, place: int) -> FloatArray:
    """Exponents of the current of a transistor whose gate is held: those of its W/L and of the
    voltage, as of a square law at moderate overdrive, shape (p,)."""
    rows = dict(zip(own.keys, own.slopes, strict=True))
    nothing = np.zeros(len(own.parameters))
    found = rows.get((place, WIDTH), nothing) - rows.get((place, LENGTH), nothing)
    gate = own.cell.parts[place]
    for number, each in enumerate(own.cell.parts):
        if each.kind == "v" and gate.nets[1] in each.nets:
            sign = 1.0 if gate.kind == NMOS else -1.0
            found = found + sign * STEEP * rows.get((number, VALUE), nothing)
    return np.asarray(found)


def _inverse(rows: FloatArray) -> FloatArray:
    """From sizes, shape (k,), to the parameters nearest to them, shape (p,)."""
    return np.asarray(np.linalg.solve(rows.T @ rows + KEEPING * np.eye(rows.shape[1]), rows.T))
