"""What stands in a deck and in the files it includes, at any depth."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from m3eda.simulate.files import included_files
from m3eda.simulate.types import Deck

_REFERENCE = re.compile(
    r"""^[ \t]*\.(?:include|inc|lib)[ \t]+(?:"([^"\n]+)"|'([^'\n]+)'|([^\s"']+))""",
    re.IGNORECASE | re.MULTILINE,
)
_STAYS = re.compile(
    r"^\s*(?:\.opt\w*\s.*\binterp\b|\*#|\.if\b|\.model\s+\S+\s+ltra\b)",
    re.IGNORECASE | re.MULTILINE,
)
_CONTROL = re.compile(r"^\s*\.control\b", re.IGNORECASE | re.MULTILINE)
_RANDOM = re.compile(
    r"\b(?:a?gauss|a?unif|rnd|[su]nif|poisson)\s*\(|\btr(?:noise|random)\b"
    r"|^(?!\s*\.model\b).*\blimit\s*\(",
    re.IGNORECASE | re.MULTILINE,
)
_RANDOM_WORDS = ("gauss", "nif", "rnd", "poisson", "trnoise", "trrandom", "limit")
_BIN = re.compile(r"^\s*\.model\s+\S+\.\d+\s", re.IGNORECASE | re.MULTILINE)
_COMMENT = re.compile(r"^\s*\*.*|\s\$.*|;.*|//.*", re.MULTILINE)
_VALUES = re.compile(r"\{([^{}]*)\}|'([^'\n]*)'|=\s*([a-z_]\w*)")
_NAME = re.compile(r"(?<![\w.])[a-z_]\w*")
_KEPT = 64


def stays(deck: Deck) -> bool:
    """Whether it has what would stay on in the simulator for other decks.

    `.option interp`; commands, in control blocks of its files or behind `*#`; `.if`, after which
    ngspice 39 keeps what later netlists do not use; lossy lines (LTRA), of which it reads memory
    that it freed with the circuit before.
    """
    return bool(_STAYS.search(deck.text)) or any(
        _found(pattern.search, _references(deck), deck.contents) for pattern in (_STAYS, _CONTROL)
    )


def is_random(deck: Deck) -> bool:
    """Whether its own text speaks of random numbers; they may come to nothing."""
    return _speaks_of_random(deck.text)


def includes_random(deck: Deck) -> bool:
    """Whether a file it includes speaks of random numbers."""
    return _found(_speaks_of_random, _references(deck), deck.contents)


def has_bins(deck: Deck) -> bool:
    """Whether it, or a file it includes, has a model for a part of all sizes only."""
    return bool(_BIN.search(deck.text)) or _found(_BIN.search, _references(deck), deck.contents)


def included(deck: Deck, check: Callable[[str], object]) -> bool:
    """Whether `check` holds for the text of a file that the deck includes, at any depth."""
    return _found(check, _references(deck), deck.contents)


def included_names(deck: Deck) -> frozenset[str]:
    """Names that values in its included files may follow from."""
    return _names(_references(deck), deck.contents)


def _speaks_of_random(text: str) -> bool:
    # plain words first: the pattern takes long on a large netlist
    lower = text.lower()
    return any(word in lower for word in _RANDOM_WORDS) and bool(_RANDOM.search(text))


def _references(deck: Deck) -> tuple[str, ...]:
    return tuple("".join(found) for found in _REFERENCE.findall(deck.text))


def _texts(references: tuple[str, ...]) -> Iterator[str]:
    files = dict.fromkeys(inner for path in references for inner in included_files(Path(path)))
    return (path.read_text(encoding="utf-8", errors="replace") for path in files if path.is_file())


@lru_cache(maxsize=_KEPT)
def _found(check: Callable[[str], object], references: tuple[str, ...], contents: str) -> bool:
    """Whether `check` holds for one of the files; `contents` is a hash of what they hold."""
    return any(map(check, _texts(references)))


@lru_cache(maxsize=_KEPT)
def _names(references: tuple[str, ...], contents: str) -> frozenset[str]:
    found: set[str] = set()
    for text in _texts(references):
        for values in _VALUES.findall(_COMMENT.sub("", text.lower())):
            found.update(_NAME.findall(" ".join(values)))
    return frozenset(found)
