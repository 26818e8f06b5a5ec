"""Decks of one template without the template engine, wherever its way through them is known."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from m3eda.design.types import Sizing, Value
from m3eda.errors import DesignError
from m3eda.simulate.skeletons import (
    JINJA_PROBES,
    STRUCTURES_KEPT,
    Probes,
    Render,
    Rendered,
    far_apart,
    number_spans,
)
from m3eda.simulate.templates import number
from m3eda.simulate.tracing import MARK, Steps, Trace, getter
from m3eda.simulate.types import Skeleton

_PROVED = 16
"""Probes that are searched for two that differ in every number."""


class Program:
    """Decks made without a template engine: the steps that the template took once.

    Good for sizings that lead to the same decisions; see `traced`.
    """

    def __init__(
        self,
        parts: Sequence[str],
        steps: Steps,
        order: Sequence[int],
        files: tuple[Path, ...],
        tokens: bool,
    ) -> None:
        self.files = files
        self._tokens = tokens
        self.parts = tuple(parts)
        self.skeleton: Skeleton | None = None
        """None where a number is part of a word."""
        self._steps = steps
        self._order = getter(order)
        self._pieces = _woven(parts, [""] * (len(parts) - 1))

    def fills(self, sizing: Sizing) -> tuple[str, ...] | None:
        """What stands between the parts; None where this sizing goes another way."""
        try:
            results = self._steps(sizing)
            if results is None:
                return None
            return self._order([_written(value) for value in results])
        except (KeyError, TypeError, ValueError, ArithmeticError, _NotPlain):
            return None

    def text(self, fills: tuple[str, ...]) -> str:
        pieces = self._pieces.copy()
        pieces[1::2] = fills
        return "".join(pieces)

    def prove(self, probes: Iterable[Sizing], render: Render) -> bool:
        """Compare with the template engine at the first two of `probes` that go this way, and
        make the skeleton. False where anything differs."""
        fills: list[tuple[str, ...]] = []
        for sizing in probes:
            found = self.fills(sizing)
            if found is None:
                continue
            if len(fills) < 2 and render(sizing) != (self.text(found), self.files):
                return False
            fills.append(found)
            if len(fills) == _PROVED:
                break
        if self._tokens:
            self.skeleton = Skeleton(self.parts, far_apart(fills))
        return True


class _NotPlain(Exception):
    """A value that the template engine must write."""


_TEXTS: dict[float, str] = {}
"""How numbers are written: one sizing is rendered for many testbenches and corners."""
_TEXTS_KEPT = 10_000


def _written(value: Any) -> str:
    """As `templates.number` writes it."""
    if type(value) is int:
        return str(value)
    if type(value) is not float:  # an equal number of another type is written otherwise
        raise _NotPlain
    text = _TEXTS.get(value)
    if text is None:
        if value - value != 0.0:
            raise _NotPlain
        text = str(number(value))
        if len(_TEXTS) >= _TEXTS_KEPT:
            _TEXTS.clear()
        _TEXTS[value] = text
    return text


class Programs:
    """The programs of one template with the same words, one for each way through it."""

    def __init__(
        self, probes: Probes, words: Sequence[Value], used: Collection[str], render: Render
    ) -> None:
        self._render = render
        self._probes = [
            sizing
            for probe in range(JINJA_PROBES)
            if (sizing := probes.at(probe, words)) is not None
        ]
        ends = self._probes[:_PROVED]
        moving = [n for n in probes.numbers if len({sizing[n] for sizing in ends}) > 1]
        self._moving = tuple(moving)
        fixed = [n for n in (*probes.fixed, *probes.numbers) if n in used and n not in moving]
        self._fixed = getter(fixed)
        self._at = self._fixed(self._probes[0]) if self._probes else None
        first = self._traced(ends[0]) if ends else None
        self._known = [first] if first else []
        self.usable = first is not None
        """True where the template can be traced."""

    def find(self, sizing: Sizing) -> tuple[Program, tuple[str, ...]] | None:
        """The program that gives the deck of `sizing`, and its fills; None where there is none."""
        try:
            if self._fixed(sizing) != self._at:
                return None
        except KeyError:
            return None
        for program in self._known:
            fills = program.fills(sizing)
            if fills is not None:
                return program, fills
        return None

    def add(self, sizing: Sizing, rendered: Rendered) -> None:
        """Trace the way that `sizing` takes, where it gives what was `rendered`."""
        if self._fixed(sizing) != self._at:
            return
        program = self._traced(sizing)
        fills = program.fills(sizing) if program else None
        if program is None or fills is None or (program.text(fills), program.files) != rendered:
            return
        if len(self._known) >= STRUCTURES_KEPT:
            self._known.clear()
        self._known.append(program)

    def _traced(self, sizing: Sizing) -> Program | None:
        # an agent may give whole numbers as integers: which kind of number must decide nothing
        numbers = {name: _float(sizing[name]) for name in self._moving}
        trace = Trace(numbers)
        try:
            text, files = self._render({**sizing, **trace.symbols()})
            program = _program(trace, MARK.split(text), files)
            good = program is not None and program.prove(self._probes, self._render)
        except DesignError:
            return None
        return program if good and not trace.lost else None


def _float(value: Value) -> Value:
    return float(value) if type(value) is int else value


def _program(trace: Trace, pieces: list[str], files: tuple[Path, ...]) -> Program | None:
    """The program of a text cut at its marks: texts, and places in the trace between them."""
    places = [int(place) for place in pieces[1::2]]
    try:
        texts = [_text(trace.values[place]) for place in places]
    except _NotPlain:
        return None
    known = number_spans("".join(_woven(pieces[::2], texts)))
    parts, kept, at, tokens = [pieces[0]], [], len(pieces[0]), True
    for place, text, piece in zip(places, texts, pieces[2::2], strict=True):
        value = trace.values[place]
        whole = (at, at + len(text)) in known
        at += len(text) + len(piece)
        if isinstance(value, (str, bool)) or (type(value) is int and not whole):
            trace.decisions[place] = value  # a word, the number of a node or a device: structure
            parts[-1] += text + piece
            continue
        tokens &= whole
        kept.append(place)
        parts.append(piece)
    results = list(dict.fromkeys(kept))
    order = [results.index(place) for place in kept]
    return Program(parts, Steps(trace, results), order, files, tokens)


def _text(value: Any) -> str:
    return str(value) if isinstance(value, (str, bool)) else _written(value)


def _woven(parts: Sequence[str], fills: Iterable[str]) -> list[str]:
    """`parts` with `fills` between them."""
    pieces = [piece for part in parts for piece in (part, "")][:-1]
    pieces[1::2] = fills
    return pieces
