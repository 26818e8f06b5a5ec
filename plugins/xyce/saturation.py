"""The saturation voltage of BSIM models, which Xyce otherwise overwrites before it can be printed.

`n(m1:vdsat)` shows what the noise equations leave of it where `tnoimod=0`, the default of BSIM4
(N_DEV_MOSFET_B4p82.C: `Vdsat = Vgsteff / Abulk`), and what the charge equations leave where
`capmod=0`. With `tnoimod=1` it is that of the I-V equations, as ngspice gives it. That bears on
noise alone, so decks of other analyses read models which say so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from m3eda_plugins.xyce.text import BREAK, Statement, put, statements

from m3eda.simulate.types import SimulationFailed, State

_MODEL = re.compile(r"\.model\s+\S+\s+[np]mos\b[ \t]*\(?", re.IGNORECASE)
_LEVEL = re.compile(r"\blevel\s*=\s*(?:14|54)\b", re.IGNORECASE)
_NOISE = re.compile(r"\btnoimod\s*=\s*[^\s)]+", re.IGNORECASE)
_CHARGE = re.compile(r"\bcapmod\s*=\s*0(?:\.0*)?\b(?![.\d])", re.IGNORECASE)
_REFERENCE = re.compile(
    r"(\.(?:inc|include|incl|lib)\s+)(?:\"([^\"]+)\"|'([^']+)'|(\S+))(?=\s|$)", re.IGNORECASE
)
_CONCERNED = re.compile(r"^\s*\.(?:model|inc|lib)", re.IGNORECASE | re.MULTILINE)


def with_saturation_voltages(lines: Sequence[str], folder: Path) -> tuple[str, ...]:
    """The deck with models that keep it; changed copies of included files go to `folder`.

    Paths are those that the deck names, from `folder`. Raises SimulationFailed.
    """
    return _Tree(folder).changed(lines, folder, 1)


class _Tree:
    """A deck and all that it includes, each file once: a library may include itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._copies: dict[Path, Path] = {}

    def changed(self, lines: Sequence[str], place: Path, start: int = 0) -> tuple[str, ...]:
        """The lines of a file in `place`."""
        made = list(lines)
        for statement in statements(lines, start):
            if statement.word == ".model":
                _keep(made, statement)
            match = _REFERENCE.match(statement.text)
            rest = statement.text[match.end() :] if match else ""
            # `.lib tt` begins a section, and names no file
            if match and (statement.word != ".lib" or rest.strip()):
                named = next(filter(None, match.groups()[1:]))
                put(made, statement, f'{match[1]}"{self._copy(place / named)}"{rest}')
        return tuple(made)

    def _copy(self, path: Path) -> Path:
        """A changed copy of a file; the file itself where it has nothing to change."""
        if path in self._copies:
            return self._copies[path]
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return path  # Xyce says so
        if not _CONCERNED.search(text):
            return path
        key = hashlib.sha256(f"{path}\0{text}".encode()).hexdigest()[:12]
        copy = self._copies[path] = self._folder / f"{path.name}.{key}"
        lines = self.changed(text.splitlines(), path.parent)
        copy.write_text("\n".join([*lines, ""]), encoding="utf-8")
        return copy


def _keep(lines: list[str], statement: Statement) -> None:
    text = statement.text
    match = _MODEL.match(text)
    if match is None:
        return
    if _CHARGE.search(text):
        name = text.split()[1]
        raise SimulationFailed(
            State.VECTOR_MISSING,
            f"the netlist gives no vdsat of model {name}: Xyce overwrites it where capmod=0",
        )
    if not _LEVEL.search(text):
        return
    if _NOISE.search(text):
        put(lines, statement, _NOISE.sub("tnoimod=1", text))
    else:
        head, body = text[: match.end()].rstrip(), text[match.end() :]
        space = "" if body[:1] == BREAK else " "
        put(lines, statement, f"{head} tnoimod=1{space}{body.lstrip(' ')}")
