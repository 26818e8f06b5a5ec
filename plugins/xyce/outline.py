"""What a deck and the files it includes declare, read before any of it is translated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from m3eda_plugins.xyce.cards import Cards, Surroundings
from m3eda_plugins.xyce.devices import called, has_multiplier
from m3eda_plugins.xyce.includes import Part, Stamp, text_of
from m3eda_plugins.xyce.text import Refused, Statement, first_key, statements, words

_SINGLE = ("i", "j", "z")
_WITH_MODEL = ("d", "q", "j", "z", "m", "r", "c", "l")
_KEPT = 512
_ONE = re.compile(r"(?<![\w.])m\s*=\s*['{]?\s*1(?:\.0*)?\s*['}]?(?=\s|$)", re.IGNORECASE)
_HANDED_ON = re.compile(r"(?<![\w.])m\s*=\s*(?:m|\{\s*m\s*\}|'\s*m\s*')(?=\s|$)", re.IGNORECASE)
_M = re.compile(r"(?<![\w.])m(?!\w|\.|\s*=)", re.IGNORECASE)


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
    own_rule: list[str] = field(default_factory=list)
    """Those of them whose `m` is not just that of all their devices."""
    devices: list[tuple[str, str]] = field(default_factory=list)
    """Cards of other devices that may have a model, each with the subcircuit it stands in."""
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
    if inside and inside[-1] in found.declared and (word[0].isalpha() or word == ".param"):
        rest = _HANDED_ON.sub(" ", text, count=1)
        if (rest == text and word[0] != ".") or _M.search(rest):
            found.own_rule.append(inside[-1])
    if word == ".subckt" and len(text.split()) > 1:
        inside.append(text.split()[1].lower())
        if has_multiplier(text):
            found.declared.append(inside[-1])
            found.own_rule.extend(() if _ONE.search(text) else inside[-1:])
    elif word == ".ends" and inside:
        inside.pop()
    elif word == ".func" and len(words(text)) > 1:
        found.functions.append(words(text)[1].lower())
    elif word == ".param" and not inside:
        found.parameters.append(text)
    elif word in (".include", ".inc", ".incl", ".lib"):
        with suppress(Refused):  # said where it is translated, with its line
            cards.refer(statement)
    elif word[0] in _SINGLE or word[0] == "x" or word[0] in _WITH_MODEL:
        outer = inside[-1] if inside else ""
        if word[0] in _WITH_MODEL:
            found.devices.append((outer, text))
        if word[0] != "x" and word[0] not in _SINGLE:
            return
        name = called(text) if word[0] == "x" else word
        call = Call(outer, name, has_multiplier(text), statement.first)
        (found.calls if word[0] == "x" else found.single).append(call)


def multiplied(declared: Sequence[Outline]) -> bool:
    """Whether a subcircuit is called with `m=`.

    Raises Refused where Xyce would not multiply all that is in it.
    """
    calls = [call for outline in declared for call in outline.calls]
    own_rule = {name for outline in declared for name in outline.own_rule}
    for call in calls:
        if call.many and call.name in own_rule:
            line = call.line if call in declared[0].calls else calls[0].line
            raise Refused(
                f"{call.name} makes its own use of m, which Xyce only multiplies with: "
                "call its parameter otherwise",
                line,
            )
    many = _within(calls, {call.name for call in calls if call.many})
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


def words_in_use(declared: Sequence[Outline]) -> set[str]:
    """All words, lower case, of devices that may have a model and that the netlist has at last;
    a model in bins, `nch.1`, is used as `nch` and stands for itself."""
    calls = [call for outline in declared for call in outline.calls]
    reached = _within(calls, {""})
    cards = (text for outline in declared for inside, text in outline.devices if inside in reached)
    return {word for text in cards for word in text[: first_key(text)].lower().split()}


def _within(calls: Sequence[Call], names: Iterable[str]) -> set[str]:
    """Subcircuits of these names, and all that are called in them."""
    found, waiting = set(names), list(names)
    while waiting:
        outer = waiting.pop()
        inner = {call.name for call in calls if call.inside == outer} - found
        found |= inner
        waiting += inner
    return found
