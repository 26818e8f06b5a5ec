"""Reads a SPICE netlist as xschem, KiCad, Cadence and others write it.

Every mistake is told with its file and line. Nothing is expanded: the reader finds cards and their
places, subcircuits, control blocks and the files that are included.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from m3eda.errors import DesignError, Mistake
from m3eda.importing.cards import Card

LARGEST = 5_000_000
"""Bytes of a netlist; what is larger is a layout's extraction, which nobody sizes."""
_MOST = 20
"""Mistakes that are told at once."""
_LEAST_WORDS = {"r": 4, "c": 4, "l": 4, "v": 3, "i": 3, "d": 4, "m": 5, "q": 5, "j": 5, "x": 2,
                "e": 4, "g": 4, "f": 4, "h": 4, "b": 3, "k": 4, "s": 4, "w": 4, "t": 5, "z": 5,
                "u": 4, "o": 5, "n": 3, "p": 3, "y": 3, "a": 3}  # fmt: skip
"""Words of a device's card, its name among them, with which it could be whole."""
_FORMS = {"m": "drain gate source bulk model", "q": "collector base emitter model",
          "r": "node node value", "c": "node node value", "l": "node node value",
          "d": "anode cathode model", "v": "node node value", "i": "node node value"}  # fmt: skip
_COMMENT = re.compile(r"(?<=[\s,])\$.*|\s//.*|;.*")
_COMMENT_BEHIND_PATH = re.compile(r"\s\$\s.*|;.*")
_PATH = re.compile(r"\s*\.(?:inc|lib)", re.IGNORECASE)
_TEMPLATE = re.compile(r"\{\{\s*\w+[^{}]*\}\}|\{%.*%\}")
_CDL = re.compile(r"\s\$(?:\[|\w+=)")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0e-\x1f]")
_UNSET = re.compile(r"\$\{?(\w+)")


@dataclass(frozen=True)
class Subcircuit:
    """A `.subckt` of the netlist."""

    name: str
    """As written."""
    pins: tuple[str, ...]
    card: Card
    directions: dict[str, str] = field(default_factory=dict, compare=False)
    """Pin in lower case -> I, O or B, from a `*.PININFO`."""


@dataclass(frozen=True)
class Control:
    """A `.control` block: its commands with the index of their lines."""

    first: int
    last: int
    commands: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Reference:
    """An `.include` or a `.lib` with a section."""

    card: Card
    written: str
    path: Path
    section: str = ""


@dataclass
class NetlistFile:
    """One file of a netlist."""

    path: Path
    lines: list[str]
    title: str = ""
    encoding: str = "utf-8"
    cards: list[Card] = field(default_factory=list)
    subcircuits: dict[str, Subcircuit] = field(default_factory=dict)
    """By lower-case name."""
    controls: list[Control] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    end: int | None = None
    """Index of the line with `.end`, behind which nothing is read."""
    sections: bool = False
    """Whether it is a library with `.lib` sections."""
    cdl: bool = False
    """Whether it has Cadence's `$[model]` or `$W=1u`, which simulators take for comments."""


def read_netlist(path: Path, *, included: bool = False) -> NetlistFile:
    """Read the netlist at `path`; an included one has no title line.

    Raises DesignError with every mistake, each with its line.
    """
    text, encoding = text_of(path)
    file = netlist_of(path, text, included=included)
    file.encoding = encoding
    return file


def netlist_of(path: Path, text: str, *, included: bool = False) -> NetlistFile:
    """The netlist `text` as if it stood at `path`. Raises DesignError."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return _Reader(path, lines, included).read()


def text_of(path: Path) -> tuple[str, str]:
    """The text of `path` and its encoding. Raises DesignError where it is no text."""
    try:
        if path.stat().st_size > LARGEST:
            hint = "give the schematic's netlist, not the layout's"
            raise DesignError([Mistake(f"is larger than {LARGEST // 10**6} MB", path, hint=hint)])
        data = path.read_bytes()
    except OSError as error:
        raise DesignError([Mistake(f"cannot be read: {error.strerror}", path)]) from error
    if not data.strip(b" \t\r\n\x1a\x00\xef\xbb\xbf"):
        raise DesignError([Mistake("is empty", path, 1, hint="expected a SPICE netlist")])
    for encoding in _encodings(data):
        try:
            text = data.decode(encoding).lstrip("\ufeff").rstrip("\x1a\x00")
        except UnicodeDecodeError:
            continue
        if match := _CONTROL_CHARACTER.search(text):
            line = text.count("\n", 0, match.start()) + 1
            raise DesignError([Mistake("is a binary file, not a netlist", path, line)])
        return text, encoding
    raise DesignError([Mistake("is neither UTF-8, UTF-16 nor Latin-1 text", path)])


def _encodings(data: bytes) -> tuple[str, ...]:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return ("utf-16",)
    head = data[:200]
    if len(head) > 3 and head[1::2].count(0) > 0.9 * len(head[1::2]) and 0 not in head[::2]:
        return ("utf-16-le",)
    return ("utf-8-sig", "latin-1")


class _Reader:
    """Goes through the lines once; mistakes are collected and raised at the end."""

    def __init__(self, path: Path, lines: list[str], included: bool) -> None:
        self.file = NetlistFile(path, lines)
        self.included = included
        self.mistakes: list[Mistake] = []
        self.open: list[tuple[str, int]] = []
        """Subcircuits that are open: name and index of the line."""

    def read(self) -> NetlistFile:
        for card in self._scoped(self._joined()):
            if len(self.mistakes) >= _MOST:
                break
            self._take(card)
        for name, line in self.open:
            self._wrong(line, f".subckt {name} has no .ends", "write .ends behind its last device")
        if not self.file.cards and not self.mistakes:
            self._wrong(0, "holds no device", "expected a SPICE netlist")
        if self.mistakes:
            raise DesignError(self.mistakes[:_MOST])
        return self.file

    def _wrong(self, line: int, message: str, hint: str = "") -> None:
        self.mistakes.append(Mistake(message, self.file.path, line + 1, hint=hint))

    def _joined(self) -> Iterator[Card]:
        """Cards with their continuation lines; control blocks and the title are put aside."""
        text, pieces = "", list[tuple[int, int, int]]()
        start = self._behind_title()
        index = start
        while index < len(self.file.lines):
            line = self.file.lines[index]
            bare = line.strip()
            self._look(index, line)
            if bare.lower().startswith(".control"):
                index = self._control(index) + 1
                continue
            code = self._code(line)
            stripped = code.strip()
            if stripped.startswith("+"):
                if not pieces:
                    self._wrong(index, "a continuation line (+) without a card before it")
                column = code.index("+") + 1
                text += " "
                pieces.append((len(text), index, column))
                text += code[column:]
            elif stripped:
                if text.strip():
                    yield Card(text, self.file.path, tuple(pieces))
                text, pieces = code, [(0, index, 0)]
            index += 1
        if text.strip():
            yield Card(text, self.file.path, tuple(pieces))

    def _behind_title(self) -> int:
        first = self.file.lines[0].strip()
        if first.startswith("+"):
            return 0
        if self.included or first.startswith("*") or first.lower().startswith(".subckt"):
            return 0
        self.file.title = first
        return 1

    def _code(self, line: str) -> str:
        """`line` without comments."""
        if line.lstrip()[:1] in ("*", "#", "$", ";", ""):
            return ""
        # a path may begin with a variable
        return (_COMMENT_BEHIND_PATH if _PATH.match(line) else _COMMENT).sub("", line)

    def _look(self, index: int, line: str) -> None:
        """Notes what a whole line tells, comments too."""
        if _TEMPLATE.search(line):
            self._wrong(index, "is a Jinja template already",
                        "give the netlist itself, or what `m3eda render` prints")  # fmt: skip
        if line.lstrip()[:1] != "*" and _CDL.search(line):
            self.file.cdl = True
        if line.strip().lower().startswith("*.pininfo") and self.open:
            known = self.file.subcircuits.get(self.open[-1][0].lower())
            for word in line.split()[1:] if known else []:
                pin, colon, direction = word.rpartition(":")
                if colon and known:
                    known.directions[pin.lower()] = direction.upper()

    def _control(self, first: int) -> int:
        """Reads the control block that begins at `first`; the index of its last line."""
        commands: list[tuple[int, str]] = []
        for index in range(first + 1, len(self.file.lines)):
            line = self.file.lines[index].strip()
            if line.lower().startswith(".endc"):
                self.file.controls.append(Control(first, index, tuple(commands)))
                return index
            if line and line[0] not in "*#":
                commands.append((index, line))
        self._wrong(first, ".control has no .endc")
        return len(self.file.lines)

    def _scoped(self, cards: Iterator[Card]) -> Iterator[Card]:
        """The cards with the subcircuit they stand in; those of library sections are left out."""
        section = ""
        for card in cards:
            scope = self.open[-1][0].lower() if self.open else ""
            head = card.head
            if head.startswith(".endl"):
                section = ""
            elif head == ".lib" and len(card.words) == 2 and not card.assigned and not section:
                section = card.words[1].text
                self.file.sections = True
            elif not section:
                yield Card(card.text, card.file, card.pieces, scope)
            if head == ".end":
                self.file.end = card.first
                return

    def _take(self, card: Card) -> None:
        head = card.head
        if not head:
            self._wrong(card.first, f"'{card.text.strip()[:40]}' is no card of SPICE")
        elif head in (".subckt", ".macro"):
            self._begin(card)
        elif head in (".ends", ".eom"):
            self._end(card)
        elif head in (".include", ".inc", ".incl", ".lib"):
            self._reference(card)
        elif card.text.lower().split()[0] == "simulator" and "spectre" in card.text.lower():
            self._wrong(card.first, "is in Spectre's language", "expected a SPICE netlist")
        elif not head.startswith(".") and not self._is_device(card):
            return
        self.file.cards.append(card)

    def _begin(self, card: Card) -> None:
        words = [word.text for word in card.words[1:] if word.text.lower() != "params:"]
        if not words:
            self._wrong(card.first, ".subckt has no name", "expected .subckt name pins")
            return
        name, pins = words[0], tuple(word for word in words[1:] if word != "/")
        if name.lower() in self.file.subcircuits:
            before = self.file.subcircuits[name.lower()].card.first + 1
            self._wrong(card.first, f"the subcircuit {name} is there twice, first on line {before}")
        self.open.append((name, card.first))
        self.file.subcircuits[name.lower()] = Subcircuit(name, pins, card)

    def _end(self, card: Card) -> None:
        if not self.open:
            self._wrong(card.first, f"{card.head} without a .subckt before it")
            return
        name, line = self.open.pop()
        given = card.words[1].text if len(card.words) > 1 else name
        if given.lower() != name.lower():
            self._wrong(card.first, f".ends {given} ends .subckt {name}, of line {line + 1}")

    def _reference(self, card: Card) -> None:
        words = [word.text for word in card.words]
        if len(words) < 2:
            self._wrong(card.first, f"{words[0]} names no file")
            return
        written = words[1].strip("\"'")
        expanded = os.path.expanduser(os.path.expandvars(written))
        if unset := _UNSET.search(expanded):
            self._wrong(card.first, f"'{written}' uses ${unset[1]}, which is not set in the "
                        "environment", f"export {unset[1]}=...")  # fmt: skip
            return
        path = Path(os.path.normpath(self.file.path.resolve().parent / expanded))
        if not _is_file(path):
            self._wrong(card.first, f"includes '{written}', which is not there",
                        f"looked for {path}")  # fmt: skip
            return
        section = words[2] if words[0].lower() == ".lib" and len(words) > 2 else ""
        self.file.references.append(Reference(card, written, path, section))

    def _is_device(self, card: Card) -> bool:
        """False, with a mistake noted, where the card names no device that is whole."""
        name, letter = card.words[0].text, card.head[0]
        if letter not in _LEAST_WORDS:
            self._wrong(card.first, f"'{name[:30]}' begins with '{letter}', which is no kind of "
                        "device in SPICE", "a letter such as m, r, c, v or x")  # fmt: skip
            return False
        count = len(card.words) + len(card.assigned)
        if count < _LEAST_WORDS[letter]:
            form = _FORMS.get(letter)
            self._wrong(card.first, f"'{card.text.strip()[:40]}' is no whole device",
                        f"expected {name} {form}" if form else "")  # fmt: skip
            return False
        return True


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
