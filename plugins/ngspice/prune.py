"""Takes out of a process design kit what a netlist uses, so that loading it takes milliseconds.

ngspice reads a kit's whole library, and copies every bin of a model into every subcircuit that
holds one. Here the `.lib` and `.include` lines of a netlist are replaced by the cards that it can
reach, as they stand: subcircuits and models by their names, parameters by the names in expressions,
and of binned models those bins that the sizes on the X lines can fall into. Whatever is not plain
is kept; a bin too few makes the run fail, never another result.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from m3eda.units import NumberError, parse

_REFERENCE = re.compile(
    r"""^\s*\.(?P<what>include|inc|lib)\s+["']?(?P<path>[^"'\s]+)["']?(?:\s+(?P<section>\S+))?\s*$""",
    re.IGNORECASE,
)
_WORD = re.compile(r"[a-z_][\w.]*")
_NAME = re.compile(r"[a-z_]\w*")
_LIMITS = re.compile(r"\b([lw]m(?:in|ax))\s*=\s*([\d.e+-]+)(?=\s|$)")
_GIVEN = re.compile(r"\b(\w+)\s*=\s*(\{[^}]*\}|'[^']*'|\S+)")
_REFUSED = (".if", ".elseif", ".else", ".endif", ".control", ".prot", ".unprot", ".del")
_BOUNDS = ("lmin", "lmax", "wmin", "wmax")
_WIDER = 1e-3
_SCALES = (1.0, 1e-6)
"""What sizes may be multiplied by: `.option scale=1u` is common in kits."""


class NotPruned(Exception):
    """Why a netlist is left as it is."""


@dataclass(frozen=True)
class _Card:
    lines: tuple[str, ...]
    """As they stand, continuation lines too."""

    @cached_property
    def text(self) -> str:
        """In lower case, on one line, without comments."""
        plain = (re.split(r"\s\$|;|//", line, maxsplit=1)[0] for line in self.lines)
        return " ".join(line.lstrip(" \t+") for line in plain).lower().strip()

    @property
    def key(self) -> str:
        return self.text.split(maxsplit=1)[0] if self.text else ""

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(_NAME.findall(self.text)) | frozenset(_WORD.findall(self.text))

    @property
    def defines(self) -> list[str]:
        """Names of parameters on a `.param` card."""
        return re.findall(r"(\w+)\s*=(?!=)", self.text)


@dataclass(frozen=True)
class _Bin:
    """Limits of a model in m, a little wider than they are."""

    lmin: float
    lmax: float
    wmin: float
    wmax: float

    def fits(self, width: float, length: float, fingers: float) -> bool:
        for scale in _SCALES:
            if self.lmin <= length * scale <= self.lmax:
                widths = (width * scale, width * scale / max(fingers, 1.0))
                return any(self.wmin <= each <= self.wmax for each in widths)
        return False


@dataclass
class _Block:
    """A subcircuit: its first and last card, and all between."""

    cards: list[_Card] = field(default_factory=list)

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset().union(*(card.words for card in self.cards))

    @cached_property
    def bins(self) -> dict[int, _Bin]:
        """Limits of the models that have them, by their place among the cards."""
        found = {}
        for index, card in enumerate(self.cards):
            limits = dict(_LIMITS.findall(card.text)) if card.key == ".model" else {}
            if len(limits) == len(_BOUNDS):
                numbers = [float(limits[key]) for key in _BOUNDS]
                wider = zip(numbers, (1.0 - _WIDER, 1.0 + _WIDER) * 2, strict=True)
                found[index] = _Bin(*(number * factor for number, factor in wider))
        return found

    @cached_property
    def defaults(self) -> dict[str, str]:
        cards = [card for card in self.cards if card.key in (".subckt", ".param")]
        return {name: value for card in cards for name, value in _GIVEN.findall(card.text)}

    @cached_property
    def sizes(self) -> dict[str, str] | None:
        """What the line of its one transistor says of its size; None where there are others."""
        transistors = [card for card in self.cards if card.key[:1] == "m"]
        if len(transistors) != 1 or any(card.key[:1] == "x" for card in self.cards):
            return None
        given = dict(_GIVEN.findall(transistors[0].text))
        return {name: given.get(name, "1").strip("{}' ") for name in ("w", "l", "nf")}

    def chosen(self, call: _Card) -> tuple[int, ...]:
        """The bins that a call's transistor can fall into; all of them where that is not plain."""
        every = tuple(self.bins)
        if self.sizes is None or len(every) < 2:
            return every
        values = {**self.defaults, **dict(_GIVEN.findall(call.text))}
        try:
            size = [parse(values.get(text, text)) for text in self.sizes.values()]
        except NumberError:
            return every
        return tuple(n for n, each in self.bins.items() if each.fits(*size)) or every

    def lines(self, name: str, bins: Sequence[int]) -> Iterator[str]:
        """Its lines with these bins only, under another name."""
        for index, card in enumerate(self.cards):
            if index == 0:
                yield re.sub(r"(?i)^(\s*\.subckt\s+)\S+", rf"\g<1>{name}", card.lines[0])
                yield from card.lines[1:]
            elif index == len(self.cards) - 1:
                yield ".ends"
            elif index not in self.bins or index in bins:
                yield from card.lines


@dataclass(frozen=True)
class _Library:
    """What the files of a kit hold."""

    cards: tuple[_Card, ...]
    """In order, those of subcircuits apart."""
    blocks: Mapping[str, _Block]
    doubled: frozenset[str]
    """Subcircuits that are defined twice."""
    lines: int


class Pruner:
    """Prunes the netlists of one skeleton: what they reach is the same, but for bins."""

    def __init__(self, text: str) -> None:
        """`text` is one of the netlists. Raises NotPruned."""
        cards = list(_cards(text.splitlines()[1:]))
        places = [n for n, card in enumerate(cards) if _REFERENCE.match(card.text)]
        if not places or places[-1] - places[0] >= len(places):
            raise NotPruned("its libraries are not all in one place")
        self._library = _library(tuple(cards[place].lines[0] for place in places))
        own = [card for card in cards if not _REFERENCE.match(card.text)]
        self._kept, self._blocks = _reached(self._library, own)
        mine = {card.text.split()[1] for card in own if card.key == ".subckt"}
        if doubtful := self._blocks.keys() & (mine | self._library.doubled):
            raise NotPruned(f"there are two subcircuits {min(doubtful)}")
        called = {word for block in self._blocks.values() for card in block.cards
                  if card.key[:1] == "x" for word in card.words}  # fmt: skip
        # those that other subcircuits of the library call stay whole
        self._binned = [n for n, b in self._blocks.items() if len(b.bins) > 1 and n not in called]
        self._fixed = [line for card in self._kept for line in card.lines]
        for name, block in self._blocks.items():
            if name not in self._binned:
                self._fixed += [line for card in block.cards for line in card.lines]

    @property
    def saves(self) -> float:
        """How many times fewer lines are left, with all bins."""
        blocks = [len(card.lines) for block in self._blocks.values() for card in block.cards]
        left = sum(len(card.lines) for card in self._kept) + sum(blocks)
        return self._library.lines / max(left, 1)

    @property
    def lines(self) -> int:
        """Lines of the whole library."""
        return self._library.lines

    def netlist(self, text: str) -> list[str]:
        """`text` with what it needs in the place of its references.

        Calls of a subcircuit with bins call a copy of it that has theirs.
        """
        before: list[str] = []
        after: list[str] = []
        copies: dict[tuple[str, tuple[int, ...]], str] = {}
        title, *lines = text.splitlines()
        body = before
        for card in _cards(lines):
            if _REFERENCE.match(card.text):
                body = after
            else:
                body += self._called(card, copies) if card.key[:1] == "x" else card.lines
        copied = [
            line for (n, bins), c in copies.items() for line in self._blocks[n].lines(c, bins)
        ]
        return [title, *before, *self._fixed, *copied, *after]

    def _called(self, card: _Card, copies: dict[tuple[str, tuple[int, ...]], str]) -> list[str]:
        name = next((name for name in self._binned if name in card.words), None)
        if name is None:
            return [*card.lines]
        key = name, self._blocks[name].chosen(card)
        copy = copies.setdefault(key, f"{name}_m3_{len(copies)}")
        word = re.compile(rf"(?<=[ \t+]){re.escape(name)}(?=\s|$)", re.IGNORECASE)
        return [word.sub(copy, line) for line in card.lines]


def _cards(lines: Iterable[str]) -> Iterator[_Card]:
    current: list[str] = []
    for line in lines:
        start = line.lstrip()
        if not start or start[0] == "*":
            continue
        if start[0] == "+" and current:
            current.append(line)
            continue
        if current:
            yield _Card(tuple(current))
        current = [line]
    if current:
        yield _Card(tuple(current))


def _library(references: tuple[str, ...]) -> _Library:
    stamps = []
    for path, _ in map(_target, references):
        if not path.is_absolute() or not path.is_file():
            raise NotPruned(f"there is no {path}")
        stat = path.stat()
        stamps.append((stat.st_mtime_ns, stat.st_size))
    return _read(references, tuple(stamps))


@lru_cache(maxsize=8)
def _read(references: tuple[str, ...], _stamps: tuple[tuple[int, int], ...]) -> _Library:
    lines = [line for reference in references for line in _expanded(*_target(reference), 0)]
    top: list[_Card] = []
    blocks: dict[str, _Block] = {}
    doubled: set[str] = set()
    block, depth = _Block(), 0
    for card in _cards(lines):
        key = card.key
        if key.startswith(_REFUSED):
            raise NotPruned(f"the library has {key} cards")
        if key == ".subckt":
            depth += 1
            if depth == 1:
                block = _Block()
                name = card.text.split()[1]
                doubled |= {name} & blocks.keys()
                blocks[name] = block
        (block.cards if depth else top).append(card)
        if key == ".ends":
            depth -= 1
    if depth:
        raise NotPruned("a subcircuit has no end")
    return _Library(tuple(top), blocks, frozenset(doubled), len(lines))


def _target(line: str, folder: Path | None = None) -> tuple[Path, str]:
    match = _REFERENCE.match(line)
    assert match is not None
    path = Path(match["path"])
    section = match["section"] if match["what"].lower() == "lib" else ""
    return path if folder is None else folder / path, (section or "").lower()


def _expanded(path: Path, section: str, depth: int) -> Iterator[str]:
    """The lines of a file or of one of its sections, what it includes among them."""
    if depth > 20 or not path.is_file():
        raise NotPruned(f"there is no {path}")
    inside = not section
    found = inside
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        word = line.lstrip()[:6].lower()
        if word.startswith(".lib") and len(line.split()) == 2 and section:
            inside = line.split()[1].lower() == section
            found = found or inside
        elif word.startswith(".endl"):
            inside = inside and not section
        elif inside and _REFERENCE.match(line) and word[:4] in (".inc", ".lib"):
            yield from _expanded(*_target(line, path.parent), depth + 1)
        elif inside:
            yield line
    if not found:
        raise NotPruned(f"{path} has no section {section}")


def _reached(library: _Library, own: Sequence[_Card]) -> tuple[list[_Card], dict[str, _Block]]:
    """The library's cards and subcircuits that a netlist can reach, in the library's order."""
    optional = (".param", ".model")
    words: set[str] = set()
    for card in (*own, *(c for c in library.cards if c.key not in optional)):
        words |= card.words
    reached: set[str] = set()
    waiting = [card for card in library.cards if card.key in optional]
    kept: set[int] = set()
    while True:
        before = len(words), len(reached), len(kept)
        for name in library.blocks.keys() & words - reached:
            reached.add(name)
            words |= library.blocks[name].words
        left = []
        for card in waiting:
            names = card.defines if card.key == ".param" else [card.text.split()[1].split(".")[0]]
            if words.isdisjoint(names):
                left.append(card)
            else:
                kept.add(id(card))
                words |= card.words
        waiting = left
        if before == (len(words), len(reached), len(kept)):
            break
    cards = [c for c in library.cards if c.key not in optional or id(c) in kept]
    return cards, {name: block for name, block in library.blocks.items() if name in reached}
