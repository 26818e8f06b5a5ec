"""From Xyce's CSV files and measure files to named columns.

A table holds one block of rows after the other where the run had a `.step`. Nothing here is judged
by what Xyce says of itself: a file that was cut off, or has other columns than were asked for, is
told by its rows and columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PART = re.compile(r"(re|im)\((.+)\)")
_MEASURE = re.compile(r"^\s*(\S+)\s*=\s*(\S+)", re.MULTILINE)
_TOTAL = re.compile(r"^Total (Output|Input) Noise = (\S+)", re.MULTILINE)


class BadTable(Exception):
    """The file is not a table of numbers; the one-line reason."""


@dataclass(frozen=True)
class Table:
    """A CSV file of Xyce."""

    names: tuple[str, ...]
    """Of the columns, in lower case; the halves of a complex quantity are `re(x)` and `im(x)`."""
    data: NDArray[np.float64]
    """Shape (rows, columns)."""
    cut: bool = False
    """Whether its last line was not finished."""

    @property
    def rows(self) -> int:
        return int(self.data.shape[0])

    def vectors(self) -> dict[str, NDArray[Any]]:
        """The quantities by name, shape (rows,), the two halves of a complex one joined."""
        found: dict[str, NDArray[Any]] = {}
        for index, name in enumerate(self.names):
            part = _PART.fullmatch(name)
            if part is None:
                found[name] = np.ascontiguousarray(self.data[:, index])
                continue
            whole = found.setdefault(part[2], np.zeros(self.rows, dtype=complex))
            (whole.real if part[1] == "re" else whole.imag)[:] = self.data[:, index]
        return found

    def blocks(self) -> list[Table]:
        """The steps of a `.step`: the first column starts over where one begins."""
        first = self.data[:, 0]
        starts = np.flatnonzero(np.diff(first) <= 0.0) + 1
        parts = np.split(self.data, starts)
        last = len(parts) - 1
        return [Table(self.names, part, self.cut and i == last) for i, part in enumerate(parts)]


def read_table(path: Path) -> Table:
    """The table in `path`, what is left of it where its writer died. Raises BadTable, OSError."""
    text = path.read_text(encoding="utf-8", errors="replace")
    whole, _, rest = text.rpartition("\n")
    header, _, body = whole.partition("\n")
    names = header_names(header)
    if not whole or not all(names):
        raise BadTable(f"{path.name} has no header")
    if not body.strip():
        return Table(names, np.empty((0, len(names))), bool(rest))
    try:
        data = np.loadtxt(StringIO(body), delimiter=",", ndmin=2, comments=None)
    except ValueError as error:
        raise BadTable(f"{path.name} holds no table of numbers ({error})") from error
    if data.shape[1] != len(names):
        raise BadTable(f"{path.name} has {data.shape[1]} columns under {len(names)} names")
    return Table(names, data, bool(rest))


def header_names(line: str) -> tuple[str, ...]:
    """The names in a header, in lower case: `Re(V(A,B))` is one, and some files quote them."""
    names, depth, start = [], 0, 0
    for at, character in enumerate(f"{line.strip()},"):
        if character in "({":
            depth += 1
        elif character in ")}":
            depth -= 1
        elif character == "," and depth == 0:
            names.append(line.strip()[start:at])
            start = at + 1
    return tuple("".join(name.strip().strip('"').lower().split()) for name in names)


def read_measures(text: str, wanted: Iterable[str], prefix: str = "") -> dict[str, float]:
    """The results of `.measure` by the names they are wanted by; one that failed is absent.

    Xyce knows them by these names with `prefix`.
    """
    values: dict[str, float] = {}
    for name, number in _MEASURE.findall(text):
        try:
            values[name.lower()] = float(number)
        except ValueError:  # FAILED
            values.pop(name.lower(), None)
    found = ((name, values.get(f"{prefix}{name}".lower())) for name in wanted)
    return {name: value for name, value in found if value is not None}


def noise_totals(log: str) -> Mapping[str, float]:
    """Noise integrated over the sweep, in V, by name; the log has its square."""
    names = {"Output": "onoise_total", "Input": "inoise_total"}
    found: dict[str, float] = {}
    for which, square in _TOTAL.findall(log):
        try:
            found[names[which]] = float(np.sqrt(float(square)))
        except ValueError:
            continue
    return found
