"""From the parameters of one design to those of another one of the same circuit, by the sizes that
both decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from m3eda.design.ranges import FloatArray
from m3eda.structure.sizes import Sized

KEEPING = 1e-4
"""Weight of leaving a parameter as it stands, where no size asks for anything."""
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

    @classmethod
    def of(cls, own: Sized, other: Sized, overlay: Mapping[int, int]) -> Fit:
        """`overlay` has the place of a part of `other` -> that of `own`."""
        places = {key: row for row, key in enumerate(own.keys)}
        pairs = [(places[overlay[part], size], row) for row, (part, size) in enumerate(other.keys)
                 if part in overlay and (overlay[part], size) in places]  # fmt: skip
        mine, theirs = ([pair[k] for pair in pairs] for k in (0, 1))
        gaps = own.logs[mine] - other.logs[theirs]
        return cls(own, other, own.slopes[mine], other.slopes[theirs], gaps)

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
        return tuple((self.other_rows**2).sum(axis=0) > 0.0)

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


def _inverse(rows: FloatArray) -> FloatArray:
    """From sizes, shape (k,), to the parameters nearest to them, shape (p,)."""
    return np.asarray(np.linalg.solve(rows.T @ rows + KEEPING * np.eye(rows.shape[1]), rows.T))
