"""Reads tables of numbers with a head line, such as CSV, and HSPICE's `.measure` files."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3eda.units import parse

_DELIMITERS = ",;\t"
_RECTANGULAR = ("re({}) im({})", "real({}) imag({})", "{}.re {}.im", "{}_re {}_im",
                "{}_real {}_imag", "vr({}) vi({})", "ir({}) ii({})")  # fmt: skip
_POLAR = ("mag({}) phase({})", "mag({}) ph({})", "vm({}) vp({})", "im({}) ip({})",
          "{}_mag {}_phase")  # fmt: skip
_SPICE = {"vr": "v", "vm": "v", "ir": "i", "im": "i"}
"""HSPICE's words for a part of a voltage or current, and those of the whole."""
_ASSIGNMENT = re.compile(r"^\s*([A-Za-z_]\w*)\s*=\s*([-+]?[\d.]\S*)", re.MULTILINE)


class CsvError(ValueError):
    """The file is not a table of numbers, or was cut off; one line."""


@dataclass(frozen=True)
class Parts:
    """How the two columns of a complex quantity are called, such as `re({})` and `im({})`."""

    first: str
    second: str
    polar: bool = False
    """True where they are magnitude and phase in degrees."""

    @classmethod
    def of(cls, words: str, polar: bool = False) -> Parts:
        """From two words that each have `{}` for the quantity. Raises ValueError."""
        both = words.lower().split()
        if len(both) != 2 or any(word.count("{}") != 1 for word in both):
            raise ValueError(
                f"'{words}' is not two words with {{}} in each, such as re({{}}) im({{}})"
            )
        return cls(both[0], both[1], polar)

    def quantity(self, name: str) -> str:
        """The quantity whose first part the column `name` is; empty where it is none."""
        before, _, after = self.first.partition("{}")
        fits = name.startswith(before) and name.endswith(after)
        return name[len(before) : len(name) - len(after)] if fits else ""

    def whole(self, quantity: str) -> str:
        """The quantity's own name: vr(out) and vi(out) are those of v(out)."""
        letter = _SPICE.get(self.first.partition("(")[0])
        return f"{letter}({quantity})" if letter else quantity


CONVENTIONS = (*map(Parts.of, _RECTANGULAR), *(Parts.of(words, True) for words in _POLAR))


def read_csv(path: Path, conventions: Sequence[Parts] = CONVENTIONS) -> dict[str, NDArray[Any]]:
    """The columns of the table in `path` by the names of its head line, shape (rows,).

    Names are in lower case without blanks. Two columns that `conventions` pair become one complex
    column. Columns are separated by commas, semicolons, tabs or blanks; lines that begin with `#`,
    `*` or `$` and empty ones are left out. Raises CsvError, and OSError where it cannot be read.
    """
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        lines = [line.strip() for line in file if line.strip() and line.lstrip()[0] not in "#*$"]
    if not lines:
        raise CsvError(f"{path.name} is empty")
    delimiter = max(_DELIMITERS, key=lines[0].count)
    if delimiter not in lines[0]:
        lines, delimiter = [" ".join(line.split()) for line in lines], " "
    head, *rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    names = [name.lower().replace(" ", "") for name in head]
    names = names if names[-1] else names[:-1]
    if any(_is_number(name) for name in names):
        raise CsvError(f"{path.name} has no line of names at its head")
    columns = dict(zip(names, _columns(path, names, rows), strict=True))
    return _joined(columns, conventions)


def read_meas(path: Path) -> dict[str, float]:
    """Results of `.measure` lines in `path` by name, in lower case; one that failed is absent.

    Either HSPICE's table (`.mt0`, `.ma0`, `.ms0`: names up to `alter#`, then as many values), or
    lines `name = value`. Raises OSError.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if not re.match(r"\s*(\$|\.title)", line, re.I)]
    words = " ".join(lines).replace(",", " ").lower().split()
    pairs: Iterable[tuple[str, str]] = _ASSIGNMENT.findall(text)
    if "alter#" in words:
        count = words.index("alter#") + 1
        pairs = zip(words[:count], words[count : 2 * count], strict=False)
    found: dict[str, float] = {}
    for name, value in pairs:
        with suppress(ValueError):
            found[name.lower()] = _number(value.rstrip(",;"))
    return found


def _columns(path: Path, names: Sequence[str], rows: Iterable[Sequence[str]]) -> list[NDArray[Any]]:
    cells = []
    for number, row in enumerate(rows, 1):
        while len(row) > len(names) and not row[-1]:
            row = row[:-1]
        if len(row) != len(names):
            text = f"{path.name}: row {number} has {len(row)} of {len(names)} values"
            raise CsvError(f"{text}: it was cut off, or is no table")
        cells.append(row)
    if not cells:
        raise CsvError(f"{path.name} has no row below its head line")
    turned = zip(*cells, strict=True)
    return [_column(path, name, column) for name, column in zip(names, turned, strict=True)]


def _column(path: Path, name: str, cells: Sequence[str]) -> NDArray[Any]:
    try:
        return np.array(cells, dtype=float)
    except ValueError:
        pass
    try:
        return np.array([_number(cell) for cell in cells])
    except ValueError:
        pass
    try:
        return np.array([_complex(cell) for cell in cells])
    except ValueError as error:
        raise CsvError(f"{path.name}: column {name}: {error}") from error


def _number(word: str) -> float:
    """A number, with a scale factor of SPICE (`1.2n`) where it has one. Raises ValueError."""
    try:
        return float(word)
    except ValueError:
        value: float = parse(word)
        return value


def _complex(cell: str) -> complex:
    text = cell.replace(" ", "").strip("()").replace("i", "j")
    if "," in text:
        text = f"{text.replace(',', '+')}j".replace("+-", "-").replace("++", "+")
    try:
        return complex(text)
    except ValueError:
        raise ValueError(f"'{cell}' is not a number") from None


def _joined(
    columns: Mapping[str, NDArray[Any]], conventions: Sequence[Parts]
) -> dict[str, NDArray[Any]]:
    """`columns` with the two parts of a complex quantity in one, in the first one's place."""
    used: set[str] = set()
    found: dict[str, NDArray[Any]] = {}
    for name, column in columns.items():
        if name in used:
            continue
        for parts in conventions:
            quantity = parts.quantity(name)
            other = parts.second.replace("{}", quantity)
            if quantity and other != name and other in columns:
                used.add(other)
                turned = np.exp(1j * np.radians(columns[other])) if parts.polar else 0.0
                rectangular = column + 1j * columns[other]
                found[parts.whole(quantity)] = column * turned if parts.polar else rectangular
                break
        else:
            found[name] = column
    return {name: column for name, column in found.items() if name not in used}


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
