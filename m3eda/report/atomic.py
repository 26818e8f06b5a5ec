"""Files that are whole or not there, and left alone where nothing changed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from m3eda.errors import DesignError, Mistake, StorageError


def write_atomic(path: Path, content: str | bytes) -> bool:
    """Make `content` (text in UTF-8) the content of `path`; True where the file changed.

    Another process sees the old file or the new one, never a part, whenever this one dies. A file
    that holds `content` already keeps its modification time. Symbolic links are followed, and
    devices and pipes are written to directly. Raises StorageError that names the path and cause.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    with storing(path):
        target = Path(os.path.realpath(path))
        try:
            mode = os.stat(path).st_mode  # of a pipe, `target` is only a description
        except FileNotFoundError:
            _replace(target, data, None)
            return True
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "it is a directory")
        if not stat.S_ISREG(mode):
            path.write_bytes(data)
            return True
        if _holds(target, data):
            return False
        if not os.access(target, os.W_OK):
            # os.replace would take the place even of a file that its owner made read-only
            raise PermissionError(errno.EACCES, "it is read-only")
        _replace(target, data, stat.S_IMODE(mode))
        return True


def make_directory(path: Path) -> Path:
    """`path`, made with its parents where it is not there. Raises StorageError."""
    with storing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def check_new(folder: Path, names: Iterable[str]) -> None:
    """Raise DesignError where one of the files `names` is in `folder` already."""
    if folder.exists() and not folder.is_dir():
        raise DesignError([Mistake("is a file, not a folder; nothing was written", folder)])
    for name in names:
        if (folder / name).exists():
            message = "is there already; nothing was written"
            raise DesignError([Mistake(message, folder / name, hint="choose another folder")])


def write_new(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write each text to its name in `folder`, in order; gives the files.

    Raises DesignError where one of them is there already, with nothing written, and StorageError
    with the files written so far taken away again.
    """
    check_new(folder, texts)
    written: list[Path] = []
    try:
        make_directory(folder)
        for name, text in texts.items():
            make_directory((folder / name).parent)
            write_atomic(folder / name, text)
            written.append(folder / name)
    except StorageError:
        # what is left would stand in the way of the same command once there is room
        for path in written:
            with contextlib.suppress(OSError):
                path.unlink()
        raise
    return written


def check_writable(path: Path) -> None:
    """Raise StorageError where `write_atomic` could not write `path`, without touching it."""
    with storing(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            return  # a device or a pipe
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a directory")
        target.parent.stat()
        if not target.parent.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory")
        if not os.access(target if target.exists() else target.parent, os.W_OK):
            raise PermissionError(errno.EACCES, "it is read-only")


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Every OSError of the body as one StorageError that names `path`."""
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(f"{path}: cannot be written: no directory {path.parent}") from error
    except OSError as error:
        cause = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            cause = "the disk is full" if error.errno == errno.ENOSPC else "the quota is used up"
        raise StorageError(f"{path}: cannot be written: {cause}") from error


def silence(stream: TextIO) -> None:
    """Send what `stream` still holds, and what follows, to nowhere: its reader has gone.

    Without this Python would fail to flush it on the way out, and exit with 120.
    """
    with contextlib.suppress(OSError, ValueError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except PermissionError:
        return False


def _replace(target: Path, data: bytes, mode: int | None) -> None:
    """Write beside `target` and rename over it; `mode` None leaves the mode to the umask."""
    # the name's length is bounded: a long target name must not make this one too long
    temporary = target.parent / f".{target.name[:100]}.{secrets.token_hex(4)}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_directory(target.parent)


def _sync_directory(folder: Path) -> None:
    """Make a rename outlive a power cut, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
