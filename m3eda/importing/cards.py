"""Cards of a netlist that know where they stand, and their words with places.

What is replaced in a template is replaced at these places, so that all else stays as written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

_WORD = re.compile(
    r"(?:'[^']*'|\"[^\"]*\"|\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}|[^\s=,'\"{}]|['\"{}])+|="
)
_NUMBER = re.compile(
    r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,3})?)(meg|mil|[tgkmuµμnpfa])?[a-zµμ%]*", re.IGNORECASE
)
_SCALES = {"t": 12, "g": 9, "meg": 6, "k": 3, "": 0, "m": -3, "u": -6, "µ": -6, "μ": -6, "n": -9,
           "p": -12, "f": -15, "a": -18}  # fmt: skip
_MIL = Decimal("25.4e-6")
_NAME = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*")


@dataclass(frozen=True)
class Place:
    """Part of a line of a netlist."""

    file: Path
    line: int
    """Index of the line, from 0."""
    start: int
    end: int


@dataclass(frozen=True)
class Word:
    """A word of a card and the offsets of its ends in the card's text."""

    text: str
    start: int
    end: int

    @property
    def value(self) -> float | None:
        """Its number, None where it is none."""
        return spice_number(self.text)


@dataclass(frozen=True)
class Card:
    """A card, its continuation lines joined and its comments cut off."""

    text: str
    file: Path
    pieces: tuple[tuple[int, int, int], ...]
    """(offset in text, index of the line, column in the line) of each line's share."""
    scope: str = ""
    """Lower-case name of the subcircuit that it stands in; empty at the top."""
    words: tuple[Word, ...] = field(init=False, compare=False)
    """Those before the first assignment."""
    assigned: Mapping[str, Word] = field(init=False, compare=False)
    """`key=value`, the key in lower case; of a key that is given twice the last one."""

    def __post_init__(self) -> None:
        words, assigned = _divided(self.text)
        object.__setattr__(self, "words", words)
        object.__setattr__(self, "assigned", assigned)

    @property
    def first(self) -> int:
        """Index of its first line, from 0."""
        return self.pieces[0][1]

    @property
    def last(self) -> int:
        return self.pieces[-1][1]

    @property
    def head(self) -> str:
        """Its first word in lower case: a device's name or a dot command."""
        return self.words[0].text.lower() if self.words else ""

    def place(self, word: Word) -> Place:
        """Where `word` stands in the file."""
        offset, line, column = next(
            piece for piece in reversed(self.pieces) if piece[0] <= word.start
        )
        start = column + word.start - offset
        return Place(self.file, line, start, start + word.end - word.start)

    def names(self) -> Iterator[str]:
        """Every identifier in it, in lower case; strings in double quotes too."""
        return names_in(self.text)


def names_in(text: str) -> Iterator[str]:
    """Every identifier in an expression, in lower case."""
    return (match.lower() for match in _NAME.findall(text))


def bare(text: str) -> str:
    """An expression without the quotes or braces around it."""
    text = text.strip()
    while len(text) >= 2 and (text[0], text[-1]) in (("{", "}"), ("'", "'"), ('"', '"')):
        text = text[1:-1].strip()
    return text


def spice_number(text: str) -> float | None:
    """The number `text` by SPICE's own rules (`1M` is a milli, letters behind are ignored).

    None where it is an expression, a name, or too large.
    """
    text = bare(text)
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    scale = (match[2] or "").lower()
    factor = _MIL if scale == "mil" else Decimal(10) ** _SCALES[scale]
    value = float(Decimal(match[1]) * factor)
    return value if abs(value) < 1e300 else None


def _divided(text: str) -> tuple[tuple[Word, ...], dict[str, Word]]:
    """The words before the first assignment, and the assignments."""
    found = [Word(match[0], match.start(), match.end()) for match in _WORD.finditer(text)]
    words: list[Word] = []
    assigned: dict[str, Word] = {}
    index = 0
    while index < len(found):
        if index + 2 < len(found) and found[index + 1].text == "=" and found[index].text != "=":
            assigned[found[index].text.lower()] = found[index + 2]
            index += 3
            continue
        if not assigned and found[index].text != "=":
            words.append(found[index])
        index += 1
    return tuple(words), assigned
