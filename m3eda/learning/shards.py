"""A shard: some thousand points in one compressed npz file, a column each.

The same rows give the same bytes: nothing of the clock is in them.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3eda.errors import StorageError
from m3eda.learning.journal import Columns
from m3eda.report.atomic import storing, write_atomic

_LEVEL = 6
"""Of zlib. Digits of measures are noise to it: higher levels cost time and win nothing."""


@dataclass(frozen=True)
class ShardEntry:
    """A shard as the manifest lists it."""

    number: int
    first: int
    """Number of its first point."""
    rows: int
    sha256: str
    states: dict[str, int]
    """Points by what became of them."""

    @property
    def file(self) -> str:
        return shard_file(self.number)


def shard_file(number: int) -> str:
    return f"shard-{number:05d}.npz"


def write_shard(
    folder: Path,
    number: int,
    first: int,
    names: tuple[Sequence[str], Sequence[str]],
    rows: Columns,
    states: Sequence[str],
) -> ShardEntry:
    """Write `rows`, the columns of `names` (parameters, measures), whole or not at all.

    Raises StorageError.
    """
    data = _packed(first, names, rows)
    path = folder / shard_file(number)
    with storing(path):
        write_atomic(path, data)
    counts = np.bincount(rows.state, minlength=len(states))
    found = {state: int(count) for state, count in zip(states, counts, strict=True) if count}
    return ShardEntry(number, first, len(rows), hashlib.sha256(data).hexdigest(), found)


def read_shard(folder: Path, entry: ShardEntry, wanted: Iterable[str] = ()) -> dict[str, Any]:
    """Arrays by column: `parameter.NAME`, `measure.NAME`, `corner`, `state`, `reason` with the
    texts in `reasons`, and `first`; only those `wanted`, where any are named.

    Raises StorageError where the file is missing, cut short or changed.
    """
    data = checked_bytes(folder, entry)
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in (tuple(wanted) or arrays.files)}


def checked_bytes(folder: Path, entry: ShardEntry) -> bytes:
    """What the file of `entry` holds. Raises StorageError where it is not what was written."""
    path = folder / entry.file
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise StorageError(f"{path}: is missing; {_REPAIR}") from error
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise StorageError(f"{path}: is damaged: its checksum is another; {_REPAIR}")
    return data


_REPAIR = "`m3eda dataset` with --repair simulates its points anew"


def columns_of(arrays: dict[str, Any], names: tuple[Sequence[str], Sequence[str]]) -> Columns:
    """The rows of a shard that was read."""
    columns: list[NDArray[np.float64]] = [
        *(arrays[f"parameter.{name}"] for name in names[0]),
        *(arrays[f"measure.{name}"] for name in names[1]),
    ]
    values = np.stack(columns, axis=1) if columns else np.empty((len(arrays["state"]), 0))
    reasons = [str(text) for text in arrays["reasons"]]
    return Columns(values, arrays["corner"], arrays["state"], arrays["reason"], reasons)


def _packed(first: int, names: tuple[Sequence[str], Sequence[str]], rows: Columns) -> bytes:
    parameters, measures = names
    arrays: dict[str, NDArray[Any]] = {"first": np.array(first, dtype="<i8")}
    for column, name in enumerate(parameters):
        arrays[f"parameter.{name}"] = rows.values[:, column]
    for column, name in enumerate(measures, len(parameters)):
        arrays[f"measure.{name}"] = rows.values[:, column]
    arrays["corner"], arrays["state"] = rows.corner, rows.state
    arrays["reason"] = rows.reason
    arrays["reasons"] = np.array(list(rows.reasons), dtype="<U" if rows.reasons else "<U1")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as file:
        for name, array in arrays.items():
            # an entry without a date of its own gets the one that every other has
            info = zipfile.ZipInfo(f"{name}.npy")
            info.compress_type = zipfile.ZIP_DEFLATED
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)
            file.writestr(info, member.getvalue(), compresslevel=_LEVEL)
    return buffer.getvalue()
