"""Files of arrays with a head: npz without pickle, a version and a checksum in the head."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from m3eda.errors import StorageError
from m3eda.report.atomic import write_atomic

Arrays = Mapping[str, NDArray[Any]]
WEIGHTS = "weights."
"""Before the names of arrays that must be numbers."""


@dataclass(frozen=True)
class Kind:
    """One kind of such files."""

    version: int
    words: str
    """What its files are: `nothing that `m3eda learn` wrote` where they are not."""
    remedy: str


def write_arrays(path: Path, kind: Kind, head: Mapping[str, Any], arrays: Arrays) -> None:
    """Put a file in the place of what `path` holds. Raises StorageError."""
    whole = {**head, "version": kind.version, "checksum": _checksum(arrays)}
    file, words = io.BytesIO(), np.frombuffer(json.dumps(whole).encode(), np.uint8)
    np.savez_compressed(file, head=words, **arrays)  # type: ignore[arg-type]
    write_atomic(path, file.getvalue())


def read_arrays(path: Path, kind: Kind) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The head and the arrays of a file. Raises StorageError where it is damaged or another's."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        head = json.loads(arrays.pop("head").tobytes())
        version = head.get("version")
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise StorageError(f"{path}: is damaged or {kind.words} ({error})") from error
    if version != kind.version:
        text = f"{path}: is of version {version}, this m3eda reads {kind.version}; {kind.remedy}"
        raise StorageError(text)
    if head.get("checksum") != _checksum(arrays):
        raise StorageError(f"{path}: its numbers are not those that were written; {kind.remedy}")
    weights = [array for name, array in arrays.items() if name.startswith(WEIGHTS)]
    if not all(np.isfinite(array).all() for array in weights):
        raise StorageError(f"{path}: has weights that are no numbers; {kind.remedy}")
    return head, arrays


def starting(arrays: Arrays, start: str) -> dict[str, NDArray[Any]]:
    """Those whose names begin with `start`, by the rest of their names."""
    return {name[len(start) :]: a for name, a in arrays.items() if name.startswith(start)}


def _checksum(arrays: Arrays) -> str:
    found = hashlib.sha256()
    for name in sorted(arrays):
        found.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        found.update(np.ascontiguousarray(arrays[name]).tobytes())
    return found.hexdigest()
