"""The templates of a design: the netlist as it is, with `{{ }}` where a number was."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from m3eda.importing.cards import Card, Place
from m3eda.importing.control import cards_of
from m3eda.importing.devices import Circuit
from m3eda.importing.reader import NetlistFile, Reference

MODELS = "{{ technology.include }}"
_JINJA = re.compile(r"\{[{%#]")
_CDL = re.compile(r"(?:\s+\$(?:\[[^\]]*\]|\.\w+|\w+(?:\s*=\s*\S+)?))+\s*$")
_SLASH = re.compile(r"\s/(?=\s)")
_SWEPT = (".step", ".mc", ".wcase")
_DATA = re.compile(r"^\s*\.data\b", re.IGNORECASE)
_END = re.compile(r"\s*\.end\s*$", re.IGNORECASE)
_END_DATA = re.compile(r"^\s*\.enddata\b", re.IGNORECASE)


@dataclass(frozen=True)
class Writing:
    """What the templates of a circuit are written from."""

    circuit: Circuit
    folder: Path
    """Where the design will lie."""
    edits: Sequence[tuple[Place, str]]
    names: Mapping[Path, str]
    """Names of the templates by the files that they come from."""
    models: Sequence[Reference] = ()
    """References in place of which the technology stands."""
    add_models: bool = False
    """Whether the technology is loaded though the netlist loads no models."""
    add_point: bool = False
    """Whether an operating point is asked for, since the netlist asks for nothing."""

    def template(self, file: NetlistFile) -> str:
        """The template of a file of the circuit."""
        lines = self._edited(file)
        for control in file.controls:
            self._without(control.first, control.last, lines, cards_of(control, file))
        self._without_sweeps(file, lines)
        if file.end is not None:
            del lines[file.end + 1 :]
        if file is not self.circuit.main:
            return "\n".join(lines).rstrip() + "\n"
        head = [] if self._has_title(file) else [f"* {file.path.stem}"]
        if not head and file.title and not file.title.lower().startswith(".title"):
            head, lines = [f"* {escaped(file.title).lstrip('*. ')}"], lines[1:]
        if self.add_models:
            at = 0 if head else 1
            lines[at:at] = [MODELS]
        if self.add_point:
            end = next((i for i, line in enumerate(lines) if _END.match(line)), len(lines))
            lines[end:end] = [".op"]
        return "\n".join([*head, *lines]).rstrip() + "\n"

    def _has_title(self, file: NetlistFile) -> bool:
        return bool(file.title) or file.lines[0].lstrip().startswith("*")

    def _edited(self, file: NetlistFile) -> list[str]:
        """The lines with what is put in, and Jinja's own signs made harmless."""
        changes: dict[int, list[tuple[int, int, str]]] = {}
        for place, text in (*self.edits, *self._references(file)):
            if place.file == file.path:
                changes.setdefault(place.line, []).append((place.start, place.end, text))
        lines = []
        for index, line in enumerate(file.lines):
            made, end = "", 0
            for start, stop, text in sorted(changes.get(index, [])):
                if start >= end:
                    made += escaped(line[end:start]) + text
                    end = stop
            lines.append(_simulated(made + escaped(line[end:]), file))
        return lines

    def _references(self, file: NetlistFile) -> Iterator[tuple[Place, str]]:
        """Paths of includes, which the design's folder reaches otherwise."""
        replaced = [id(reference.card) for reference in self.models]
        for reference in file.references:
            card = reference.card
            if reference.path in self.circuit.parts:
                yield _whole(card), f'{{% include "{self.names[reference.path]}" %}}'
            elif id(card) in replaced:
                yield _whole(card), MODELS if id(card) == replaced[0] else "* " + card.text.strip()
            elif not reference.written.startswith(("/", "~", "$")):
                path = os.path.relpath(reference.path, self.folder.resolve())
                yield card.place(card.words[1]), f'"{escaped(path)}"'

    def _without(self, first: int, last: int, lines: list[str], cards: Iterable[Card]) -> None:
        """Makes comments of lines, and puts cards behind them."""
        for index in range(first, min(last + 1, len(lines))):
            bare = lines[index].strip()
            lines[index] = bare if bare.startswith("*") else f"* {bare}".rstrip()
        if last < len(lines):
            lines[last] = "\n".join([lines[last], *(escaped(card.text) for card in cards)])

    def _without_sweeps(self, file: NetlistFile, lines: list[str]) -> None:
        """Makes comments of sweeps, which m3eda makes itself."""
        for card in file.cards:
            if card.head in _SWEPT:
                self._without(card.first, card.last, lines, ())
        open_at: int | None = None
        for index, line in enumerate(file.lines):
            if _DATA.match(line):
                open_at = index
            elif _END_DATA.match(line) and open_at is not None:
                self._without(open_at, index, lines, ())
                open_at = None


def _whole(card: Card) -> Place:
    """The place of a card that stands on one line."""
    _, line, column = card.pieces[0]
    end = column + (len(card.text) if len(card.pieces) == 1 else card.pieces[1][0] - 1)
    return Place(card.file, line, column, end)


def escaped(text: str) -> str:
    """`text` as a Jinja template that gives it."""
    return _JINJA.sub(lambda match: f"{{{{ '{match[0]}' }}}}", text)


def _simulated(line: str, file: NetlistFile) -> str:
    """`line` without what Cadence writes for layout checks and simulators misread."""
    if not file.cdl or line.lstrip()[:1] in ("*", ""):
        return line
    line = _CDL.sub("", line)
    return _SLASH.sub("", line) if line.lstrip()[:1].lower() == "x" else line
