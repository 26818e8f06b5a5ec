"""A process of its own for what may end it, or may be done once in a process."""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from m3eda.errors import cause

T = TypeVar("T")

_CHUNK = 1 << 20


class ChildDied(AssertionError):
    """The process ended, or was ended at its deadline, before it had done its task."""


def in_child(task: Callable[[], T], folder: Path, seconds: float = 60.0) -> T:
    """What `task` gives, run in a fork of this process whose working directory is `folder`.

    What it prints goes to a file beside the folder, with `.log` after its name. Raises ChildDied
    where the process dies or does not end within `seconds`; AssertionError where the task raises,
    with what it raised and the traceback.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python warns of threads, such as those of a BLAS, which a child does not have
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(reading)
        _live(task, folder, writing)
    os.close(writing)
    data, status = b"", 0
    try:
        data = _read(reading, time.monotonic() + seconds)
    finally:
        os.close(reading)
        if not data:
            _kill(pid)
        _, status = os.waitpid(pid, 0)
    if not data:
        log = Path(f"{folder}.log").read_text(encoding="utf-8", errors="replace")
        end = f"was ended by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "exited"
        raise ChildDied(f"the process {end} within {seconds:g} s, without an answer\n{log[-2000:]}")
    done, answer = pickle.loads(data)
    if not done:
        raise AssertionError(answer)
    found: T = answer
    return found


def _live(task: Callable[[], Any], folder: Path, writing: int) -> NoReturn:
    """The child's whole life."""
    try:
        os.setsid()
        os.chdir(folder)
        log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(log, stream)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(pickle.dumps(_answer(task)))
    finally:
        os._exit(0)


def _answer(task: Callable[[], Any]) -> tuple[bool, Any]:
    try:
        return True, task()
    except BaseException as error:  # noqa: BLE001  the parent raises it, whatever it is
        told = str(error) if isinstance(error, AssertionError) else ""
        return False, f"{told or cause(error)}\n{traceback.format_exc()}"


def _read(descriptor: int, deadline: float) -> bytes:
    """All that comes before the other end closes; nothing where that is after the deadline."""
    pieces: list[bytes] = []
    while select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
        piece = os.read(descriptor, _CHUNK)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
    return b""


def _kill(pid: int) -> None:
    """As the engine ends a worker: without a word, its process group with it."""
    for end in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            end(pid, signal.SIGKILL)
