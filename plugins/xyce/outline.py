"""What a deck and the files it includes declare, read before any of it is translated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from m3eda_plugins.xyce.cards import Cards, Surroundings
from m3eda_plugins.xyce.devices import called, has_multiplier
from m3eda_plugins.xyce.includes import Part, Stamp, text_of
from m3eda_plugins.xyce.text import Refused, Statement, statements, words

_SINGLE = ("i", "j", "z")
_KEPT = 512


@dataclass(frozen=True)
class Call:
    """An X card, or a device that Xyce does not multiply with its subcircuit."""

    inside: str
    """The subcircuit that it stands in, lower case; '' outside of any."""
    name: str
    """The subcircuit that is called, lower case; the device."""
    many: bool
    """Whether it has `m=`."""
    line: int
    """Index."""


@dataclass(frozen=True)
class Outline:
    """What a part declares, and what it includes."""

    functions: list[str] = field(default_factory=list)
    """Names, lower case."""
    parameters: list[str] = field(default_factory=list)
    """Its `.param` cards."""
    calls: list[Call] = field(default_factory=list)
    single: list[Call] = field(default_factory=list)
    """Devices that Xyce does not multiply with their subcircuit."""
    declared: list[str] = field(default_factory=list)
    """Subcircuits with a parameter `m` of their own."""
    inner: list[tuple[str, str]] = field(default_factory=list)
    """Path and section of each file."""


def outlines(lines: list[str]) -> Iterator[Outline]:
    """Of a deck and of all parts that it includes, in order of their cards."""
    seen: set[Part] = set()
    waiting = [(Path(), _outline(lines, 1, None))]
    while waiting:
        folder, outline = waiting.pop(0)
        yield outline
        for path, section in outline.inner:
            part = Part(folder / path, section.lower())
            if part not in seen and part.path.is_file():
                seen.add(part)
                waiting.append((part.path.parent, _outline_of(part, part.stamp())))


@lru_cache(maxsize=_KEPT)
def _outline_of(part: Part, stamp: Stamp) -> Outline:
    return _outline(text_of(*stamp).splitlines(), 0, part.section or None)


def _outline(lines: list[str], start: int, section: str | None) -> Outline:
    cards = Cards(lines, Surroundings(), section)
    found = Outline()
    inside: list[str] = []
    for statement in statements(lines, start):
        if cards.is_in_section(statement):
            _note(statement, found, inside, cards)
    found.inner.extend((path, name) for _, _, path, name in cards.references)
    return found


def _note(statement: Statement, found: Outline, inside: list[str], cards: Cards) -> None:
    """Take down what a card declares; `inside` are the subcircuits that are open."""
    word, text = statement.word, " ".join(statement.text.split())
    if word == ".subckt" and len(text.split()) > 1:
        inside.append(text.split()[1].lower())
        found.declared.extend(inside[-1:] if has_multiplier(text) else ())
    elif word == ".ends" and inside:
        inside.pop()
    elif word == ".func" and len(words(text)) > 1:
        found.functions.append(words(text)[1].lower())
    elif word == ".param" and not inside:
        found.parameters.append(text)
    elif word in (".include", ".inc", ".incl", ".lib"):
        with suppress(Refused):  # said where it is translated, with its line
            cards.refer(statement)
    elif word[0] in _SINGLE or word[0] == "x":
        outer = inside[-1] if inside else ""
        name = called(text) if word[0] == "x" else word
        call = Call(outer, name, has_multiplier(text), statement.first)
        (found.calls if word[0] == "x" else found.single).append(call)


def multiplied(declared: Sequence[Outline]) -> bool:
    """Whether a subcircuit is called with `m=`.

    Raises Refused where Xyce would not multiply all that is in it.
    """
    calls = [call for outline in declared for call in outline.calls]
    many = {call.name for call in calls if call.many}
    waiting = list(many)
    while waiting:
        outer = waiting.pop()
        inner = {call.name for call in calls if call.inside == outer} - many
        many |= inner
        waiting += inner
    for outline in declared:
        for device in outline.single:
            if device.inside in many:
                line = device.line if outline is declared[0] else -1
                raise Refused(
                    f"Xyce does not multiply {device.name} with its subcircuit {device.inside}, "
                    "which is called with m=: write several calls",
                    line if line >= 0 else calls[0].line,
                )
    return bool(many)
