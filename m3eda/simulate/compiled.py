"""C sources that are compiled where they run, once, and kept in the cache folder.

A library lies there under a hash of all that decides it. Where there is no compiler, or it fails,
`library` raises, and what calls it goes its way without.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from m3eda.simulate.cache_place import KERNELS, cache_folder

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-O3", "-std=gnu11", "-ffp-contract=fast", "-fPIC", "-shared")
TUNED = (("-march=native",), ("-mcpu=native",), ())
"""Flags for this very processor, tried in turn: compilers differ in them."""
TIMEOUT = 120.0
"""Seconds of one compilation."""
FAILURES = (OSError, subprocess.SubprocessError, AttributeError)
"""What loading a library, and looking for its functions, may raise."""
_log = logging.getLogger(__name__)


def library(source: Path, headers: Sequence[str], flags: Sequence[str] = ()) -> ctypes.CDLL:
    """That of `source`, which includes `headers` beside it, compiled where it is not there yet.

    Raises OSError, subprocess.SubprocessError.
    """
    compiler, files = _compiler(), [source, *map(source.with_name, headers)]
    deciding = repr((compiler, FLAGS, TUNED, tuple(flags))).encode()
    parts = [*(each.read_bytes() for each in files), deciding, _processor(), b"%d" % os.getuid()]
    name = f"{source.stem}-{hashlib.sha256(b'|'.join(parts)).hexdigest()[:24]}.so"
    folder = cache_folder(os.environ)
    kept = folder / KERNELS / name if folder else None
    if kept is not None and _own(kept):
        try:
            return ctypes.CDLL(str(kept))
        except OSError:  # damaged: made anew
            pass
    with tempfile.TemporaryDirectory() as made:
        built = Path(made) / name
        _compile(compiler, source, flags, built)
        if kept is not None:
            _keep(built, kept)
        # a loaded library outlives its file
        return ctypes.CDLL(str(built))


def _own(kept: Path) -> bool:
    """True where the user made `kept` and nobody else may write it: a cache folder may be shared,
    and what is loaded runs."""
    try:
        found = kept.lstat()
    except OSError:
        return False
    others = stat.S_IWGRP | stat.S_IWOTH
    return (
        stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & others
    )


def _keep(built: Path, kept: Path) -> None:
    """Copy to the cache by a rename, which another process sees whole or not at all."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as beside:
            copied = Path(shutil.copy(built, beside))
            copied.chmod(0o755)  # whatever the umask: see `_own`
            os.replace(copied, kept)
    except OSError as error:
        _log.debug("%s is not kept: %s", kept.name, error)


def _compiler() -> str:
    names = (os.environ["CC"],) if os.environ.get("CC") else COMPILERS
    for name in names:
        if found := shutil.which(name):
            return found
    raise OSError(f"no C compiler ({', '.join(names)})")


def _compile(compiler: str, source: Path, flags: Sequence[str], built: Path) -> None:
    for tuned in TUNED:
        done = subprocess.run(
            [compiler, *FLAGS, *tuned, *flags, str(source), "-lm", "-o", str(built)],
            capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            return
    raise OSError(f"{compiler} fails: {done.stderr.strip()[-500:]}")


def _processor() -> bytes:
    """What tells this processor's instructions: the folder may be shared with other machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    known = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    return "|".join([platform.machine(), platform.processor(), *known[:2]]).encode()
