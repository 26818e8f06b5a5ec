"""Decks as a text with holes and the numbers that fill them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from m3eda.coarse.quantities import Unsupported
from m3eda.design.ranges import FloatArray
from m3eda.simulate.types import Deck, Skeleton

_NUMBER = re.compile(r"(?<![\w.])([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)", re.IGNORECASE)


class Holes:
    """What some decks have in common, and where they differ."""

    def __init__(self, decks: Sequence[Deck]) -> None:
        """Goes by the first of `decks`. Raises Unsupported where they differ by more than numbers.

        Where the renderer knows no skeleton, as of `w={{ w }}u`, every number may be a hole.
        """
        first = decks[0]
        self._own = first.skeleton is None
        self._varies: list[bool] = []
        if first.skeleton is not None:
            self.skeleton = first.skeleton
            return
        rows = [_NUMBER.split(each.text) for each in decks]
        alike = [row for row in rows if row[::2] == rows[0][::2]]
        if 2 * len(alike) < len(rows):
            raise Unsupported("its deck depends on sizes by more than numbers")
        self._between = rows[0][::2]
        self._numbers = rows[0][1::2]
        self._varies = [len(set(column)) > 1
                        for column in zip(*(row[1::2] for row in alike), strict=True)]  # fmt: skip
        parts = [self._between[0]]
        for number, varies, text in zip(
            self._numbers, self._varies, self._between[1:], strict=True
        ):
            if varies:
                parts.append(text)
            else:
                parts[-1] += number + text
        self.skeleton = Skeleton(tuple(parts))

    def fills(self, decks: Sequence[Deck]) -> tuple[list[int], FloatArray]:
        """Which of `decks` are of this form, and what fills their holes, shape (n, holes)."""
        found = [self._fills(deck) for deck in decks]
        places = [k for k, fills in enumerate(found) if fills is not None]
        rows = [fills for fills in found if fills is not None]
        return places, np.array([[float(text) for text in fills] for fills in rows])

    def _fills(self, deck: Deck) -> Sequence[str] | None:
        if not self._own:
            return deck.fills if deck.skeleton == self.skeleton else None
        row = _NUMBER.split(deck.text)
        numbers = row[1::2]
        if row[::2] != self._between or any(
            number != own for number, own, varies
            in zip(numbers, self._numbers, self._varies, strict=True) if not varies
        ):  # fmt: skip
            return None
        return [number for number, varies in zip(numbers, self._varies, strict=True) if varies]
