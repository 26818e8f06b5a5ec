"""Numbers of a deck: plain ones, and those that go with what fills a hole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m3eda.design.ranges import FloatArray
from m3eda.importing.cards import Word


class Unsupported(Exception):
    """The coarse model does not know what the deck holds; the message says what."""


@dataclass(frozen=True)
class Quantity:
    """A number of a deck: `factor` times what fills a hole, or `factor` alone."""

    factor: float
    hole: int = -1

    def of(self, fills: FloatArray) -> FloatArray:
        """Of the fills of n decks, shape (n, holes): shape (n,)."""
        if self.hole < 0:
            return np.full(len(fills), self.factor)
        return self.factor * fills[:, self.hole]


class Values:
    """From the numbers of two decks to quantities."""

    def __init__(self, first: FloatArray, second: FloatArray) -> None:
        self._first, self._second = first, second

    def of(self, one: float, other: float, what: str) -> Quantity:
        """Raises Unsupported where the numbers are none or do not go with one hole."""
        if not (np.isfinite(one) and np.isfinite(other)):
            raise Unsupported(f"{what} is no plain number")
        if one == other:
            return Quantity(one)
        factors = one / self._first
        hits = np.flatnonzero(np.abs(factors * self._second - other) <= 1e-9 * abs(other))
        powers = np.log10(np.abs(factors[hits]))
        plain = hits[np.abs(powers - np.round(powers)) < 1e-7]
        if not len(plain):
            raise Unsupported(f"{what} is an expression")
        return Quantity(float(f"{factors[plain[0]]:.9g}"), int(plain[0]))

    def words(self, one: Word, other: Word) -> Quantity:
        return self.of(number(one), number(other), one.text)


def number(word: Word) -> float:
    return np.nan if word.value is None else word.value
