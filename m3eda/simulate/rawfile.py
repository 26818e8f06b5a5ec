"""Reads SPICE raw files: binary and ASCII, real and complex, several plots in one file.

The format is that of Spice3 (Nutmeg User's Manual, "Rawfile Format") as ngspice and Xyce write it.
"""

from __future__ import annotations

import math
import mmap
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DATA = re.compile(rb"^(Binary|Values):[ \t]*\r?\n", re.MULTILINE)
_FIELD = re.compile(r"^([A-Za-z][\w. ]*?):[ \t]*(.*?)\s*$", re.MULTILINE)
_NEXT_PLOT = re.compile(rb"Title:[^\n]*\n(?:Date|Command|Plotname):")
_MAPPED_FROM = 1 << 28  # bytes: larger files are mapped, so that memory need not hold them

Buffer = bytes | mmap.mmap


class RawFileError(ValueError):
    """The file is not a raw file; one line."""


@dataclass(frozen=True)
class Plot:
    """One plot of a raw file. `data` has shape (points, variables), complex or real."""

    title: str
    name: str
    """Such as `AC Analysis`."""
    names: tuple[str, ...]
    types: tuple[str, ...]
    """Such as voltage, current, time, frequency."""
    data: NDArray[Any]
    """Points a shorter vector does not have are nan."""
    complete: bool
    """False where the writer died or gave up: `data` holds the points that are there."""


def read_raw(path: Path) -> list[Plot]:
    """Every plot of the raw file `path`, in order; none where it is empty or cut in its header.

    Raises RawFileError where it is something else, OSError where it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        large = size >= _MAPPED_FROM
        buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if large else file.read()
    plots: list[Plot] = []
    position = 0
    while match := _DATA.search(buffer, position):
        header = buffer[position : match.start()].decode("utf-8", errors="replace")
        header = header.replace("\r\n", "\n")
        try:
            plot, position = _plot(header, match, buffer)
        except (KeyError, ValueError, IndexError) as error:
            raise RawFileError(f"{path}: not a SPICE raw file: {error!r}") from error
        plots.append(plot)
    if not plots and size and buffer[:6].lower() != b"title:":
        raise RawFileError(f"{path}: not a SPICE raw file: it begins with {bytes(buffer[:20])!r}")
    return plots


def _plot(header: str, data: re.Match[bytes], buffer: Buffer) -> tuple[Plot, int]:
    """The plot of `header` whose data start at the end of the match, and where they end."""
    head, _, table = header.rpartition("Variables:")
    fields = {key.lower(): value for key, value in _FIELD.findall(head)}
    flags = fields["flags"].lower().split()
    kind = np.dtype(np.complex128 if "complex" in flags else np.float64)
    count, claimed = int(fields["no. variables"]), int(fields["no. points"])
    rows = [line.split() for line in table.splitlines() if line.strip()]
    if len(rows) != count:
        raise ValueError(f"{count} variables announced and {len(rows)} named")
    lengths = np.array([_length(row[3:], claimed) for row in rows])
    mask = np.arange(claimed)[:, None] < lengths if (lengths != claimed).any() else None
    stored = int(lengths.sum()) if mask is not None and "unpadded" in flags else claimed * count
    if data.group(1) == b"Binary":
        values, end = _binary(buffer, data.end(), kind, stored, count)
    else:
        values, end = _ascii(buffer, data.end(), kind, mask if "unpadded" in flags else None, count)
    array, complete = _shaped(values, count, stored, mask, "unpadded" in flags)
    names, types = tuple(row[1] for row in rows), tuple(row[2] for row in rows)
    plot = Plot(fields.get("title", ""), fields["plotname"], names, types, array, complete)
    return plot, end


def _length(extras: list[str], claimed: int) -> int:
    """A vector's number of points: that of the plot, or its own `dims=`."""
    dims = next((word[5:] for word in extras if word.startswith("dims=")), "")
    return math.prod(map(int, re.split("[,x]", dims))) if dims else claimed


def _binary(
    buffer: Buffer, start: int, kind: np.dtype[Any], stored: int, count: int
) -> tuple[NDArray[Any], int]:
    """The values from `start` on, shape (n,), and where they end."""
    there = (len(buffer) - start) // kind.itemsize
    if stored == 0:
        # ngspice writes the number of points last: here it never came to that
        following = (
            match.start()
            for match in _NEXT_PLOT.finditer(buffer, start)
            if (match.start() - start) % (kind.itemsize * count or 1) == 0
        )
        there = min(there, (next(following, len(buffer)) - start) // kind.itemsize)
    else:
        there = min(there, stored)
    values = np.frombuffer(buffer, kind, there, start) if there else np.empty(0, kind)
    return values, start + there * kind.itemsize


def _ascii(
    buffer: Buffer, start: int, kind: np.dtype[Any], mask: NDArray[Any] | None, count: int
) -> tuple[NDArray[Any], int]:
    """The same for a `Values:` section, where each point starts with its number."""
    following = _NEXT_PLOT.search(buffer, start)
    end = following.start() if following else len(buffer)
    words = buffer[start:end].split()
    if mask is None:
        numbers = np.arange(len(words)) % (count + 1) == 0
    else:
        starts = np.concatenate([[0], np.cumsum(1 + mask.sum(axis=1))])
        numbers = np.isin(np.arange(len(words)), starts)
    chosen = [word for word, number in zip(words, numbers, strict=True) if not number]
    if kind.kind != "c":
        return np.array(chosen, dtype=float), end
    pairs = [word.partition(b",") for word in chosen]
    return np.array([complex(float(re), float(im or 0)) for re, _, im in pairs], kind), end


def _shaped(
    values: NDArray[Any], count: int, stored: int, mask: NDArray[Any] | None, unpadded: bool
) -> tuple[NDArray[Any], bool]:
    """`values` as (points, variables), and whether all that was announced is there."""
    complete = 0 < stored <= values.size
    if mask is None or not complete:
        points = values.size // count if count else 0
        return values[: points * count].reshape(points, count), complete
    array = np.full(mask.shape, np.nan, values.dtype)
    values = values[:stored]
    array[mask] = values if unpadded else values.reshape(mask.shape)[mask]
    return array, complete
