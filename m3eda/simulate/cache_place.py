"""Where the cache of simulations lies, how large it may grow, and its files there."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path

DEFAULT_SIZE = 10**9
"""Bytes."""
TABLES = "technologies"
"""Folder within the cache's, with what is known of the transistors of each technology."""
KERNELS = "kernels"
"""Folder within the cache's, with what was compiled."""
_FORMAT = 1
_FILE = re.compile(rf"simulations-{_FORMAT}\.(\d+)(@.*)?\.sqlite")
_NETWORK = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "lustre", "gpfs", "beegfs", "ceph", "9p",
    "glusterfs", "panfs", "fuse.sshfs", "fuse.glusterfs",
}  # fmt: skip


def cache_folder(environment: Mapping[str, str]) -> Path | None:
    """$M3EDA_CACHE, else $XDG_CACHE_HOME/m3eda, else ~/.cache/m3eda; None without a HOME."""
    if environment.get("M3EDA_CACHE"):
        return Path(environment["M3EDA_CACHE"]).absolute()
    shared = environment.get("XDG_CACHE_HOME", "")
    if os.path.isabs(shared):  # a relative one is to be ignored, says its specification
        return Path(shared) / "m3eda"
    home = environment.get("HOME", "")
    return Path(home) / ".cache" / "m3eda" if os.path.isabs(home) else None


def parse_size(text: str) -> int:
    """Bytes of `800k`, `500M`, `1.5G` or a plain number; factors of 1000. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?", text.strip(), re.IGNORECASE)
    if found is None:
        raise ValueError(f"'{text}' is no size (expected bytes, or 800k, 500M, 2G)")
    return int(float(found[1]) * 1000 ** " KMGT".index(found[2].upper() or " "))


def size_text(size: int) -> str:
    """Bytes as a person reads them: `4.9 MB`."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= 0.9995 * factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"


def cache_file(folder: Path) -> Path:
    """The file in use, which need not be there yet: that of the latest generation.

    A damaged file is never renamed, only left behind for the next generation: processes that
    still have it open would remove the journal of a new file of its name.
    """
    return _named(folder, max(_generations(folder), default=1))


def next_file(damaged: Path) -> Path:
    """The file to use in place of `damaged`: another process may have begun it already."""
    found, folder = _FILE.fullmatch(damaged.name), damaged.parent
    return _named(folder, max([*_generations(folder), int(found[1]) + 1 if found else 1]))


def set_aside(folder: Path) -> list[Path]:
    """Files of earlier generations, with their journals."""
    latest = cache_file(folder)
    return [
        path
        for path in sorted(folder.glob("simulations-*.sqlite*"))
        if not path.name.startswith(latest.name) and _of_this_host(path)
    ]


def _generations(folder: Path) -> list[int]:
    found = (_FILE.fullmatch(path.name) for path in folder.glob("simulations-*.sqlite"))
    return [int(each[1]) for each in found if each and (each[2] or "") == _host(folder)]


def _of_this_host(path: Path) -> bool:
    found = _FILE.match(path.name)
    return found is not None and (found[2] or "") == _host(path.parent)


def _named(folder: Path, generation: int) -> Path:
    return folder / f"simulations-{_FORMAT}.{generation}{_host(folder)}.sqlite"


def _host(folder: Path) -> str:
    """On a network file system each host has a file of its own: SQLite's journal needs memory
    that its users share."""
    return f"@{socket.gethostname()}" if _on_network(folder) else ""


def _on_network(folder: Path) -> bool:
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # another system: it is not known, and rare
        return False
    kinds = {fields[1]: fields[2] for fields in map(str.split, lines) if len(fields) > 2}
    place = os.path.realpath(folder)
    while place not in kinds and place != "/":
        place = os.path.dirname(place)
    return kinds.get(place, "") in _NETWORK
