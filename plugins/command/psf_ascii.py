"""Reads PSF ASCII, the results that Spectre writes with `-format psfascii`.

A file has the sections HEADER, TYPE, SWEEP, TRACE and VALUE and the word END; SWEEP and TRACE are
left out where nothing is swept. In a sweep each point gives the swept quantity and every trace in
the order of TRACE; the members of a structure and the parts of a complex number stand in
parentheses, those of a group do not.

The library psf-utils reads the same and is not used: it pins a version of PLY that PySpice refuses,
needs matplotlib to read text, and gives nothing of a file that a killed run left.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STRING = r'"(?:[^"\\]|\\.)*"'
_TOKEN = re.compile(rf'{_STRING}|[()]|[^\s()"]+', re.DOTALL)
_QUOTED = re.compile(_STRING, re.DOTALL)
_PROPERTIES = re.compile(rf'\bPROP\s*\((?:{_STRING}|[^()"])*\)', re.DOTALL)
_VALUES = re.compile(r"^VALUE[ \t\r]*$", re.MULTILINE)
_END = re.compile(r"^END\s*\Z", re.MULTILINE)
_SECTIONS = ("HEADER", "TYPE", "SWEEP", "TRACE", "VALUE", "END", "")

Columns = dict[str, NDArray[Any]]


class PsfError(ValueError):
    """The file is not PSF ASCII, or contradicts itself; one line."""


@dataclass(frozen=True)
class Kind:
    """A type of the TYPE section."""

    words: tuple[str, ...]
    """Such as FLOAT DOUBLE."""
    units: str = ""
    members: Mapping[str, Kind] = field(default_factory=dict)
    """Of a structure, by name."""

    @property
    def numbers(self) -> int:
        """How many a value takes."""
        if self.members:
            return sum(member.numbers for member in self.members.values())
        return 1 + ("COMPLEX" in self.words)

    @property
    def is_text(self) -> bool:
        return "STRING" in self.words

    def flat(self, name: str) -> Iterator[tuple[str, Kind]]:
        """The columns of a value called `name`: a member of a structure is `M1:gm`."""
        if not self.members:
            yield name, self
        for member, kind in self.members.items():
            yield from kind.flat(f"{name}:{member}")


@dataclass(frozen=True)
class Psf:
    """The content of one file."""

    header: Mapping[str, str]
    columns: Mapping[str, NDArray[Any]]
    """Shape (points,), complex or real, the swept quantity first; one point where nothing is swept.
    A member of a structure is called `M1:gm`."""
    units: Mapping[str, str]
    """As written in the file; empty where it tells none."""
    sweep: str = ""
    """Name of the swept quantity, empty where nothing is swept."""
    complete: bool = True
    """False where the writer was stopped: the whole points are there."""


def is_psf(path: Path) -> bool:
    """Whether `path` begins as PSF ASCII does. Raises OSError."""
    with path.open("rb") as file:
        return file.read(64).lstrip().startswith(b"HEADER")


def read_psf(path: Path) -> Psf:
    """Read the file `path`. Raises PsfError, and OSError where it cannot be read."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text.lstrip().startswith("HEADER"):
        raise PsfError(f"{path.name} is not PSF ASCII: it does not begin with HEADER")
    start, end = _VALUES.search(text), _END.search(text)
    try:
        head = _Head(text[: start.start()] if start else text)
        body = _PROPERTIES.sub(
            " ", text[start.end() : end.start() if end else None] if start else ""
        )
        if head.sweep:
            columns = _swept(body, head.points, complete=end is not None)
            kinds = dict(pair for label in head.points for pair in label[1])
        else:
            columns, kinds = _single(body, head.types)
    except (ValueError, IndexError, KeyError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise PsfError(f"{path.name}: PSF ASCII that cannot be read: {reason}") from error
    units = {name: kinds[name].units for name in columns}
    return Psf(head.header, columns, units, head.sweep, end is not None)


class _Head:
    """The sections before VALUE."""

    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._at = 0
        self.header: dict[str, str] = {}
        self.types: dict[str, Kind] = {}
        self.sweep = ""
        self.points: list[tuple[str, list[tuple[str, Kind]]]] = []
        """What stands in a point, in order: a label, and the columns whose numbers follow it."""
        readers = {"HEADER": self._read_header, "TYPE": self._read_types,
                   "SWEEP": self._read_sweep, "TRACE": self._read_traces}  # fmt: skip
        while self._next in readers:
            readers[self._take()]()
        if self._next not in ("END", ""):
            raise ValueError(f"'{self._next}' where a section was expected")

    @property
    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        if self._at == len(self._tokens):
            raise ValueError("it ends within a section")
        self._at += 1
        return str(self._tokens[self._at - 1])

    def _read_header(self) -> None:
        self.header = self._pairs(_SECTIONS)

    def _read_types(self) -> None:
        self.types = self._kinds(_SECTIONS)

    def _read_sweep(self) -> None:
        while self._next not in _SECTIONS:
            name, kind = _plain(self._take()), self.types[_plain(self._take())]
            units = self._properties().get("units", "")
            if self.sweep:
                raise ValueError("more than one quantity is swept")
            self.sweep = name
            self.points.append((name, [(name, Kind(kind.words, units))]))

    def _read_traces(self) -> None:
        waiting = 0
        while self._next not in _SECTIONS:
            name = _plain(self._take())
            if self._next == "GROUP":
                self._take()
                waiting = int(self._take())
                self.points.append((name, []))
                continue
            flat = self.types[_plain(self._take())].flat(name)
            self._properties()
            if waiting:
                self.points[-1][1].extend(flat)
                waiting -= 1
            else:
                self.points.append((name, list(flat)))

    def _kinds(self, stops: Container[str]) -> dict[str, Kind]:
        """Names and types until one of `stops`, which is left."""
        found: dict[str, Kind] = {}
        while self._next not in stops:
            name = _plain(self._take())
            found[name] = self._kind(stops)
        return found

    def _kind(self, stops: Container[str]) -> Kind:
        words: list[str] = []
        members: dict[str, Kind] = {}
        units = ""
        while self._next not in stops and not self._next.startswith('"'):
            if self._next == "PROP":
                units = self._properties().get("units", "")
                continue
            words.append(self._take())
            if self._next == "(":
                self._take()
                if words[-1] == "STRUCT":
                    members = self._kinds((")", ""))
                while self._take() != ")":
                    pass
        return Kind(tuple(words), units, members)

    def _properties(self) -> dict[str, str]:
        """What a PROP(...) holds, where one is next."""
        if self._next != "PROP":
            return {}
        self._at += 2
        found = self._pairs((")", ""))
        self._take()
        return found

    def _pairs(self, stops: Container[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        while self._next not in stops:
            name = _plain(self._take())
            found[name] = _plain(self._take())
        return found


def _swept(
    body: str, points: list[tuple[str, list[tuple[str, Kind]]]], *, complete: bool
) -> Columns:
    """The columns of a sweep; of one that was cut off, the points that are whole."""
    columns = [pair for _, members in points for pair in members]
    if any(kind.is_text for _, kind in columns):
        raise ValueError("words are swept")
    labels = _QUOTED.findall(body)
    expected = [label for label, _ in points]
    if [_plain(label) for label in labels[: len(expected)]] != expected[: len(labels)]:
        raise ValueError("a point does not hold what TRACE announces")
    numbers = _QUOTED.sub(" ", body).translate(_BLANK).split()
    width = sum(kind.numbers for _, kind in columns)
    count = len(numbers) // width
    if complete and (len(numbers) != count * width or len(labels) != count * len(expected)):
        raise ValueError(f"{len(numbers)} numbers for points of {width}")
    if not complete and numbers:
        # the last number may have been cut in its middle
        count = (len(numbers) - 1) // width
    data = np.array(numbers[: count * width], dtype=float).reshape(count, width)
    found: Columns = {}
    at = 0
    for name, kind in columns:
        part = data[:, at]
        found[name] = part + 1j * data[:, at + 1] if kind.numbers == 2 else part.copy()
        at += kind.numbers
    return found


_BLANK = str.maketrans("()", "  ")


def _single(body: str, types: Mapping[str, Kind]) -> tuple[Columns, dict[str, Kind]]:
    """The columns of one point, and their types; words are left out."""
    tokens = [token for token in _TOKEN.findall(body) if token not in "()"]
    found: Columns = {}
    kinds: dict[str, Kind] = {}
    at = 0
    while at + 2 < len(tokens):
        name, at = _plain(tokens[at]), at + 1
        kind, at = types[_plain(tokens[at])], at + 1
        for column, member in kind.flat(name):
            values = tokens[at : at + member.numbers]
            at += member.numbers
            if not member.is_text and len(values) == member.numbers:
                parts = [float(value) for value in values]
                found[column] = np.array([complex(*parts) if len(parts) == 2 else parts[0]])
                kinds[column] = member
    return found, kinds


def _plain(token: str) -> str:
    """A name without its quotes and its backslashes."""
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token.startswith('"') else token
