"""What the decks of one testbench at one corner have in common, and where their sizes stand.

A skeleton follows from the design and from the structure of a deck alone. The structure is the
deck's text without its numbers, together with the words among its parameters. Decks are rendered
at a fixed row of sizings, the probes; those with the structure in question show which numbers
change. A deck that differs elsewhere has no skeleton.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from m3eda.design.space import Axis
from m3eda.design.ties import completion
from m3eda.design.types import Design, Parameter, Sizing, Value
from m3eda.errors import DesignError
from m3eda.simulate.types import Skeleton

Rendered = tuple[str, tuple[Path, ...]]
"""A deck's text, and the files behind it."""
Render = Callable[[Mapping[str, Any]], Rendered]
"""Sizing -> deck. Raises DesignError."""

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
# no part of a word (2.5u, net5), of a node's name (d[5], a-5), of a difference (v(a)-5)
_TOKEN = re.compile(
    rf"(?<![\w.$#@!:%&\\<)}}\]+-])(?<!\w\[){_NUMBER.pattern}(?![\w.$#@!:%&\\>({{\[+-])"
)

_FAR = ((0.35, 0.65), (0.15, 0.85), (0.0, 1.0))
"""Unit coordinates of the first two probes; further apart where the values would be the same."""
_GROUP = 4
"""Probes of one structure that show which numbers change."""
JINJA_PROBES = 64
STRUCTURES_KEPT = 64
_SIZINGS_KEPT = 4096


class Probes:
    """A fixed row of sizings of one design, by number: every free parameter at other values."""

    def __init__(self, design: Design, varies: Sequence[str] = ()) -> None:
        """`varies` names what is drawn besides, in standard deviations."""
        self._complete = completion(design)
        axes = [Axis(parameter) for parameter in design.free]
        self.words = tuple(axis.name for axis in axes if axis.categorical)
        """Parameters that may be words: part of a deck's structure."""
        self._drawn = [Axis(Parameter(name, minimum=-3.0, maximum=3.0)) for name in varies]
        self._axes = [*(axis for axis in axes if not axis.categorical), *self._drawn]
        tied = [parameter.name for parameter in design.parameters.values() if parameter.tied]
        self.numbers = (*(axis.name for axis in self._axes), *tied)
        """Parameters that are numbers and may change from one sizing to the next."""
        self.fixed = tuple(self._complete.frozen)
        self._known: dict[tuple[Value, ...], Sizing | None] = {}

    def at(self, probe: int, words: Sequence[Value]) -> Sizing | None:
        """The sizing of number `probe` with these words; None where a tied value does not exist."""
        key = (probe, *words)
        if key not in self._known:
            if len(self._known) >= _SIZINGS_KEPT:
                self._known.clear()
            self._known[key] = self._made(probe, words)
        return self._known[key]

    def _made(self, probe: int, words: Sequence[Value]) -> Sizing | None:
        sizing = {axis.name: _coordinate(axis, probe) for axis in self._axes}
        chosen = {axis.name: axis.value(sizing[axis.name]) for axis in self._axes}
        try:
            whole = self._complete({**chosen, **dict(zip(self.words, words, strict=True))})
            return {**whole, **{axis.name: chosen[axis.name] for axis in self._drawn}}
        except (ValueError, ArithmeticError):
            return None


def _coordinate(axis: Axis, probe: int) -> float:
    if probe > 1:
        return 0.05 + 0.9 * Random(f"{axis.name} {probe}").random()
    # not the same for all: the difference of two parameters is to change as well
    shift = 0.1 * (Random(axis.name).random() - 0.5)
    pairs = [(low + shift, high + shift) for low, high in _FAR]
    apart = [pair for pair in pairs if axis.value(pair[0]) != axis.value(pair[1])]
    return (apart or pairs)[0][probe]


def far_apart(fills: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """The first two of `fills` that differ in every place; none where no two do."""
    for one, other in itertools.combinations(fills, 2):
        if all(a != b for a, b in zip(one, other, strict=True)):
            return one, other
    return ()


def fills_of(skeleton: Skeleton, text: str) -> tuple[str, ...] | None:
    """What stands in the holes of `skeleton` where it gives `text`, else None."""
    parts = skeleton.parts
    if not text.startswith(parts[0]):
        return None
    at = len(parts[0])
    fills = []
    for part in parts[1:]:
        number = _NUMBER.match(text, at)
        if number is None or not text.startswith(part, number.end()):
            return None
        fills.append(number[0])
        at = number.end() + len(part)
    return tuple(fills) if at == len(text) else None


class Structures:
    """Skeletons of the decks that one template gives with the same words."""

    def __init__(self, probes: Probes, words: Sequence[Value], render: Render, most: int) -> None:
        self._probes = probes
        self._words = tuple(words)
        self._render = render
        self._most = most
        """Decks rendered at the most to find probes of one structure."""
        self._decks: dict[int, tuple[str | None, list[str]]] = {}
        """Of each probe the structure, None where it cannot be rendered, and the numbers."""
        self._known: dict[str, Skeleton | None] = {}
        self._last: Skeleton | None = None

    def find(self, text: str) -> tuple[Skeleton | None, tuple[str, ...]]:
        """The skeleton of the deck `text` and its fills; None where it has none."""
        # only to save time: no other skeleton fits where this one does
        skeleton = self._last
        fills = fills_of(skeleton, text) if skeleton else None
        if fills is not None:
            return skeleton, fills
        structure = _structure(text)
        if structure is None:
            return None, ()
        if structure not in self._known:
            found = self._made(structure)
            if len(self._known) >= STRUCTURES_KEPT:
                self._known.clear()
            self._known[structure] = found
        skeleton = self._known[structure]
        fills = fills_of(skeleton, text) if skeleton else None
        if fills is None:
            return None, ()
        self._last = skeleton
        return skeleton, fills

    def _made(self, structure: str) -> Skeleton | None:
        group: list[list[str]] = []
        for probe in range(self._most):
            its_structure, numbers = self._deck(probe)
            if its_structure == structure:
                group.append(numbers)
            if len(group) == _GROUP:
                break
        if len(group) < 2:
            return None
        columns = list(zip(*group, strict=True))
        changing = [len(set(column)) > 1 for column in columns]
        pieces = structure.split("\0")
        parts = [pieces[0]]
        for column, changes, piece in zip(columns, changing, pieces[1:], strict=True):
            if changes:
                parts.append(piece)
            else:
                parts[-1] += column[0] + piece
        fills = [tuple(itertools.compress(numbers, changing)) for numbers in group]
        return Skeleton(tuple(parts), far_apart(fills))

    def _deck(self, probe: int) -> tuple[str | None, list[str]]:
        if probe not in self._decks:
            sizing = self._probes.at(probe, self._words)
            try:
                text = self._render(sizing)[0] if sizing is not None else ""
            except DesignError:  # a probe nobody asked for; the deck in question was rendered
                text = ""
            self._decks[probe] = (_structure(text) if text else None, _TOKEN.findall(text))
        return self._decks[probe]


def _structure(text: str) -> str | None:
    """`text` with a null character for each number; None for a text that holds some already."""
    return None if "\0" in text else _TOKEN.sub("\0", text)


def number_spans(text: str) -> set[tuple[int, int]]:
    """Where the numbers of `text` begin and end."""
    return {match.span() for match in _TOKEN.finditer(text)}
