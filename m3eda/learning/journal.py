"""Rows of a shard that is not full yet: appended one by one, each whole or not there.

Killed at any moment, what was written is there the next time: a row at the end that is torn, or
whose checksum is wrong, is dropped. Texts of reasons stand in a file beside it, a line each.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from m3eda.report.atomic import storing

Values = tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """One simulated point."""

    values: Values
    """Free parameters, then measures; a word by its place among the choices."""
    corner: int
    """Its place among the corners of the manifest."""
    state: int
    """Its place among the states of the manifest."""
    reason: str = ""
    """Why it failed, or why the first measure that is nan does not exist."""


@dataclass(frozen=True)
class Columns:
    """Rows side by side."""

    values: NDArray[np.float64]
    """Shape (n, parameters + measures)."""
    corner: NDArray[np.uint16]
    state: NDArray[np.uint8]
    reason: NDArray[np.uint16]
    """0 for none, else the number of its text, counted from 1."""
    reasons: Sequence[str]

    def __len__(self) -> int:
        return len(self.state)


class Journal:
    """The rows of one shard, `width` values each, in a file that is created or gone on with."""

    def __init__(self, path: Path, first: int, width: int) -> None:
        """`first` is the number of the shard's first point. Raises StorageError."""
        self.path = path
        self._first = first
        self._width = width
        # number of the point, values, corner, state, number of the reason; then the checksum
        self._row = struct.Struct(f"<Q{width}dHBH")
        self._size = self._row.size + 4
        self._reasons: dict[str, int] = {}
        with storing(path):
            self._reasons = {text: n for n, text in enumerate(self._read_reasons(), 1)}
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._rows = self._whole_rows()
            os.ftruncate(self._file, self._rows * self._size)
            os.lseek(self._file, 0, os.SEEK_END)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._texts = os.open(self.texts, flags, 0o666)

    def __len__(self) -> int:
        return self._rows

    @property
    def texts(self) -> Path:
        return self.path.with_suffix(".reasons")

    def append(self, row: Row) -> None:
        """Raises StorageError; what was appended before is there."""
        with storing(self.path):
            number = self._number(row.reason) if row.reason else 0
            packed = self._row.pack(
                self._first + self._rows, *row.values, row.corner, row.state, number
            )
            _write(self._file, packed + zlib.crc32(packed).to_bytes(4, "little"))
        self._rows += 1

    def columns(self) -> Columns:
        """Every row. Raises StorageError."""
        with storing(self.path):
            data = self.path.read_bytes()[: self._rows * self._size]
        rows = np.frombuffer(data, self._type())
        return Columns(
            np.ascontiguousarray(rows["values"]),
            np.ascontiguousarray(rows["corner"]),
            np.ascontiguousarray(rows["state"]),
            np.ascontiguousarray(rows["reason"]),
            list(self._reasons),
        )

    def close(self) -> None:
        os.close(self._file)
        os.close(self._texts)

    def remove(self) -> None:
        """Close it, and delete its files. Raises StorageError."""
        self.close()
        remove_journal(self.path)

    def _type(self) -> np.dtype[np.void]:
        return np.dtype(
            [
                ("number", "<u8"),
                ("values", "<f8", (self._width,)),
                ("corner", "<u2"),
                ("state", "u1"),
                ("reason", "<u2"),
                ("checksum", "<u4"),
            ]
        )

    def _whole_rows(self) -> int:
        data = self.path.read_bytes()
        count = 0
        while (count + 1) * self._size <= len(data):
            row = data[count * self._size : (count + 1) * self._size]
            packed, checksum = row[:-4], int.from_bytes(row[-4:], "little")
            if zlib.crc32(packed) != checksum:
                break
            number, *_, reason = self._row.unpack(packed)
            if number != self._first + count or reason > len(self._reasons):
                break
            count += 1
        return count

    def _read_reasons(self) -> list[str]:
        if not self.texts.exists():
            return []
        data = self.texts.read_bytes()
        whole, found = 0, []
        for line in data.splitlines(keepends=True):
            try:
                text = str(json.loads(line))
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            found.append(text)
            whole += len(line)
        os.truncate(self.texts, whole)
        return found

    def _number(self, reason: str) -> int:
        known = self._reasons.get(reason)
        if known is None:
            _write(self._texts, (json.dumps(reason) + "\n").encode())
            known = self._reasons[reason] = len(self._reasons) + 1
        return known


def remove_journal(path: Path) -> None:
    """Raises StorageError."""
    with storing(path):
        path.unlink(missing_ok=True)
        path.with_suffix(".reasons").unlink(missing_ok=True)


def _write(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    if written < len(data):
        os.write(descriptor, data[written:])  # says why there is no room for all of it
