"""Files that a deck includes, in Xyce's words.

A file, or a section of a library, that means the same to Xyce is included as it is. Of any other a
translated copy is written, with the line numbers of its own, for the section alone. What became of
a file is kept in the process for as long as it, and all that it includes, stays what it was.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from m3eda_plugins.xyce.cards import Cards, Surroundings
from m3eda_plugins.xyce.expressions import Scope
from m3eda_plugins.xyce.text import Refused, Statement, put, statements

from m3eda.simulate.types import State

_CONDITION = re.compile(r"^\s*\.if\b", re.IGNORECASE | re.MULTILINE)
_KEPT = 512
_DEEPEST = 40

Stamp = tuple[Path, int, int]
"""A file with its time of change and its size."""


@dataclass(frozen=True)
class Part:
    """A file, or one section of it."""

    path: Path
    section: str = ""
    """Lower case; '' is the whole file."""

    def stamp(self) -> Stamp:
        """Raises Refused where the file cannot be read."""
        try:
            stat = self.path.stat()
        except OSError as error:
            reason = f"{self.path} cannot be read: {error.strerror}"
            raise Refused(reason, state=State.MODEL_MISSING) from error
        return self.path, stat.st_mtime_ns, stat.st_size


@dataclass(frozen=True)
class Unit:
    """A part, translated but for the paths of what it includes itself."""

    text: str
    digest: str
    """Of its text; '' where paths are to be put into it."""
    changed: bool
    references: tuple[tuple[Statement, str, str, str], ...]
    """Of each file it includes: the card, its words before the path, the path, the section."""
    options: tuple[str, ...]
    switches: frozenset[tuple[str, frozenset[str]]]
    unusable: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Included:
    """What became of a part."""

    path: str
    """Where Xyce reads it."""
    stamps: frozenset[Stamp]
    """The files that it follows from."""
    written: tuple[Path, ...] = ()
    """Translated copies, its own and those of what it includes."""
    options: tuple[str, ...] = ()
    """`.options` that are asked for in it."""
    switches: frozenset[tuple[str, frozenset[str]]] = frozenset()
    """Of each random number where it stands and the parameters that it is multiplied by."""
    unusable: frozenset[tuple[str, str]] = frozenset()
    """Models that Xyce cannot be told, lower case, and why: `models.lib line 7: ...`."""

    @property
    def holds(self) -> bool:
        try:
            same = all(Part(stamp[0]).stamp() == stamp for stamp in self.stamps)
            return same and all(path.is_file() for path in self.written)
        except Refused:
            return False


_KNOWN: dict[tuple[object, ...], Included] = {}
_UNITS: dict[tuple[object, ...], Unit] = {}


def included(part: Part, folder: Path, around: Surroundings) -> Included:
    """A part in Xyce's words, copies written into `folder`.

    Raises SimulationFailed, `models.lib line 7: ...`; Refused where the part itself is not there.
    """
    key = (part, folder, *_decisive(around))
    known = _KNOWN.get(key)
    if known is None or not known.holds:
        known = _Tree(folder, around).included(part)
        if not any(_has_conditions(stamp) for stamp in known.stamps):
            _keep(_KNOWN, key, known)
    return known


def _decisive(around: Surroundings) -> tuple[object, ...]:
    """What the translation of a file depends on besides the file."""
    return around.functions, around.times, around.multiplied, around.declared


def _keep(known: dict[tuple[object, ...], Any], key: tuple[object, ...], value: object) -> None:
    if len(known) > _KEPT:
        known.clear()
    known[key] = value


class _Tree:
    """A part and all that it includes, each once."""

    def __init__(self, folder: Path, around: Surroundings) -> None:
        self._folder = folder
        self._around = around
        self._done: dict[Part, Included] = {}
        self._open: list[Part] = []

    def included(self, part: Part) -> Included:
        if part in self._done:
            return self._done[part]
        if part in self._open or len(self._open) > _DEEPEST:
            raise Refused(f"{part.path} includes itself")
        self._open.append(part)
        stamp = part.stamp()
        unit = self._unit(part, stamp)
        changed, text, inner = unit.changed, unit.text, list[Included]()
        lines = text.splitlines() if unit.references else []
        for statement, head, written, section in unit.references:
            other = Part(part.path.parent / written, section.lower())
            try:
                inner.append(self.included(other))
            except Refused as reason:
                at = Refused(reason.reason, statement.first, reason.state)
                raise at.failure(part.path.name) from reason
            changed |= inner[-1].path != str(other.path)
            # in a copy elsewhere a relative path would lead nowhere
            put(lines, statement, f'{head}"{inner[-1].path}" {section}'.rstrip())
        self._open.pop()
        text = "\n".join([*lines, ""]) if lines else text
        path = self._write(part, text, unit.digest) if changed else part.path
        found = Included(
            str(path),
            frozenset({stamp}).union(*(other.stamps for other in inner)),
            (*(p for other in inner for p in other.written), *((path,) if changed else ())),
            (*(o for other in inner for o in other.options), *unit.options),
            unit.switches.union(*(other.switches for other in inner)),
            unit.unusable.union(*(other.unusable for other in inner)),
        )
        self._done[part] = found
        return found

    def _unit(self, part: Part, stamp: Stamp) -> Unit:
        key = (part, stamp, *_decisive(self._around))
        unit = _UNITS.get(key)
        if unit is None:
            unit = _translated(part, text_of(*stamp), self._around)
            if not _has_conditions(stamp):
                _keep(_UNITS, key, unit)
        return unit

    def _write(self, part: Part, text: str, digest: str) -> Path:
        if not digest:
            digest = _digest(text)
        ending = f".{part.section}" if part.section else ""
        path = self._folder / f"{part.path.name}{ending}.{digest}"
        if not path.is_file():
            self._folder.mkdir(parents=True, exist_ok=True)
            # another process may write the same: the name appears with the whole text only
            beside = path.with_name(f"{path.name}.{os.getpid()}")
            beside.write_text(text, encoding="utf-8")
            beside.replace(path)
        return path


def _translated(part: Part, text: str, around: Surroundings) -> Unit:
    scope = Scope(around.scope.functions, [])
    before = text.splitlines()
    cards = Cards(list(before), replace(around, scope=scope), part.section or None, included=True)
    try:
        cards.translate(start=0)
    except Refused as reason:
        raise reason.failure(part.path.name) from reason
    if part.section and part.section not in _sections(before):
        missing = f"{part.path} has no section {part.section}"
        raise Refused(missing, state=State.MODEL_MISSING)
    made = "\n".join([*cards.lines, ""])
    return Unit(
        made,
        "" if cards.references else _digest(made),
        _differ(before, cards.lines, part.section),
        tuple(cards.references),
        (*(option for _, option in cards.options), *cards.temperatures),
        frozenset(
            (f"{part.path.name} line {line + 1}", names)
            for line, names in zip(cards.drawn, scope.switches or (), strict=True)
        ),
        frozenset(
            (name, f"{part.path.name} line {line + 1}: {reason}")
            for name, (line, reason) in cards.unusable.items()
        ),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _differ(lines: list[str], made: list[str], section: str) -> bool:
    """Whether Xyce reads the lines otherwise than what was made of them."""
    inside = not section
    for before, after in zip(lines, made, strict=True):
        name = _opened(before) if section else ""
        inside = name == section if name else inside
        if inside and before != after and not (_is_comment(before) and _is_comment(after)):
            return True
        if section and before.lstrip().lower().startswith(".endl"):
            inside = False
            if len(before.split()) == 1:
                return True  # Xyce wants the name, of sections that are not asked for too
    return False


def _opened(line: str) -> str:
    """The name of the section that a `.lib` line begins; '' where it begins none."""
    taken = line.split()
    if len(taken) != 2 or taken[0].lower() != ".lib":
        return ""
    return taken[1].strip("\"'").lower()


def _sections(lines: list[str]) -> set[str]:
    return {_opened(statement.text) for statement in statements(lines, 0)}


def _is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip()[0] in "*;"


@lru_cache(maxsize=_KEPT)
def text_of(path: Path, _mtime: int, _size: int) -> str:
    """What a file holds, by its stamp."""
    return path.read_text(encoding="utf-8", errors="replace")


@lru_cache(maxsize=_KEPT)
def _has_conditions(stamp: Stamp) -> bool:
    return bool(_CONDITION.search(text_of(*stamp)))
