"""What `m3eda cache` does: shows the cache of simulations, and makes room."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import IO

from m3eda.errors import ExitCode, StorageError
from m3eda.simulate.cache import Cache, CacheStats
from m3eda.simulate.cache_place import KERNELS, TABLES, cache_folder, size_text


def cache_command(
    out: IO[str],
    *,
    prune: int | None = None,
    clear: bool = False,
    as_json: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> ExitCode:
    """Print what the user's cache holds, once it was made smaller where that was asked for.

    `prune` is what may be left, in bytes. Raises StorageError.
    """
    cache = Cache.of_user(environment)
    limit = cache.limit
    if not limit:  # turned off, it may hold something all the same
        cache = Cache(cache_folder(environment))
    try:
        if clear:
            cache.clear()
            for name in (TABLES, KERNELS):
                shutil.rmtree((cache_folder(environment) or Path()) / name, ignore_errors=True)
        elif prune is not None:
            cache.prune(prune)
        stats = cache.stats()
    finally:
        cache.close()
    if stats is None:
        raise StorageError(cache.note or "no cache of simulations: HOME is not set")
    if as_json:
        data = {**asdict(stats), "path": str(stats.path), "limit": limit, "note": cache.note}
        out.write(json.dumps(data, indent=2) + "\n")
    else:
        out.write("".join(f"{name:<9}{text}\n" for name, text in _lines(stats, limit, cache.note)))
    return ExitCode.SPECS_MET


def _lines(stats: CacheStats, limit: int, note: str) -> list[tuple[str, str]]:
    most = f"of {size_text(limit)} at most" if limit else "turned off (M3EDA_CACHE_SIZE is 0)"
    lines = [
        ("place", str(stats.path)),
        ("entries", str(stats.entries)),
        ("size", f"{size_text(stats.bytes)} {most}"),
    ]
    if stats.oldest is not None and stats.newest is not None:
        lines.append(("used", f"{_time(stats.oldest)} to {_time(stats.newest)}"))
    lines.append(("hits", f"{stats.hits} and {stats.misses} misses since {_time(stats.since)}"))
    if stats.aside:
        lines.append(("damaged", f"{size_text(stats.aside)} set aside; --prune removes it"))
    if note:
        lines.append(("note", note))
    return lines


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
