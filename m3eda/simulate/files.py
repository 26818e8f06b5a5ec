"""The files behind a deck: what it includes at any depth, and a hash of their contents."""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path


def content_hash(path: Path) -> str:
    """Hash of a file and of every file it includes; read again only where it changed."""
    digest = hashlib.sha256()
    for file in included_files(path):
        stat = file.stat()
        digest.update(_file_hash(file, stat.st_mtime_ns, stat.st_size).encode())
    return digest.hexdigest()


def included_files(path: Path) -> tuple[Path, ...]:
    """`path` and what it includes by `.include` and `.lib` lines, at any depth."""
    found: dict[Path, None] = {}
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file in found or not file.is_file():
            continue
        found[file] = None
        stat = file.stat()
        waiting += _direct_includes(file, stat.st_mtime_ns, stat.st_size)
    return tuple(found)


_RARELY = 100.0
"""Time between two looks, in times of what a look takes."""


class Contents:
    """Hashes of what sets of files hold, looked at anew once in `seconds` at the least, and as
    often as looking takes a hundredth of the time at the most."""

    def __init__(self, seconds: float = 0.5, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._known: dict[tuple[Path, ...], tuple[float, str]] = {}
        """Of each set when it is to be looked at again, and the hash."""

    def of(self, files: tuple[Path, ...]) -> str:
        """Hash of what `files`, and all that these include, hold."""
        now = self._clock()
        due, known = self._known.get(files, (-math.inf, ""))
        if now < due:
            return known
        digest = hashlib.sha256("".join(map(content_hash, files)).encode()).hexdigest()
        took = self._clock() - now
        self._known[files] = (now + min(self._seconds, _RARELY * took), digest)
        return digest


_REFERENCE = re.compile(
    r"""^\s*\.(?:include|inc)\s+["']?([^"'\s]+)|^\s*\.lib\s+["']?([^"'\s]+)["']?\s+\S+"""
    r"""|^[ \t]*(?:ahdl_)?include[ \t]+"([^"\n]+)\"""",
    re.IGNORECASE | re.MULTILINE,
)


@lru_cache(maxsize=4096)
def _direct_includes(file: Path, _mtime: int, _size: int) -> tuple[Path, ...]:
    text = file.read_text(encoding="utf-8", errors="replace")
    names = (match[1] or match[2] or match[3] for match in _REFERENCE.finditer(text))
    return tuple(file.parent / name for name in names)


@lru_cache(maxsize=4096)
def _file_hash(file: Path, _mtime: int, _size: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
