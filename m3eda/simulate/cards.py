"""Cards of a SPICE netlist: lines with their continuations joined; what analyses ask for."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from m3eda.simulate.types import AnalysisKind
from m3eda.units import NumberError, parse

_ANALYSIS = re.compile(r"\.(op|dc|ac|tran|noise|sp)(?:\s|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Card:
    """A card of the netlist, its continuation lines joined."""

    text: str
    first: int
    """Index of its first line, from 0."""
    last: int

    @property
    def kind(self) -> AnalysisKind | None:
        match = _ANALYSIS.match(self.text)
        return cast(AnalysisKind, match.group(1).lower()) if match else None


def cards(text: str) -> Iterator[Card]:
    """The cards of a netlist, without its title, comments and blank lines."""
    current: Card | None = None
    for index, line in enumerate(text.splitlines()):
        line = line.strip()
        if index == 0 or not line or line.startswith("*"):
            continue
        if line.startswith("+") and current is not None:
            current = Card(f"{current.text} {line[1:].strip()}", current.first, index)
            continue
        if current is not None:
            yield current
        current = Card(line, index, index)
    if current is not None:
        yield current


def expected_points(card: Card) -> int | None:
    """Points that an `.ac`, `.noise` or `.sp` card asks for, None where not in plain numbers."""
    words = card.text.split()
    scales = {"dec": 10.0, "oct": 2.0, "lin": 0.0}
    at = next((i for i, word in enumerate(words) if word.lower() in scales), 0)
    try:
        number, low, high = (parse(word) for word in words[at + 1 : at + 4])
        base = scales[words[at].lower()]
        if not base:
            return int(number)
        return math.floor(number * math.log(high / low, base) + 1e-6) + 1
    except (KeyError, NumberError, ValueError, ZeroDivisionError):
        return None


def stop_time(card: Card) -> float | None:
    """Stop time of a `.tran` card in s, None where it is not a plain number."""
    try:
        return parse(card.text.split()[2])
    except (IndexError, NumberError):
        return None
