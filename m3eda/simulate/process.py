"""Runs a simulator's program: a process group of its own, a deadline, bounded output.

A group is killed at its deadline, on Ctrl-C, by `kill_running`, and when this process dies without
a word (kill -9): a shell started once per process waits for a pipe to close, then kills the groups
that still stand in a shared file. `preexec_fn` with PR_SET_PDEATHSIG would reach the direct child
only, and runs Python after fork in a process that has threads, which may deadlock.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from m3eda.units import NumberError, parse

TAIL = 1 << 20
"""Bytes kept from the end of each output stream."""

_LEAST_MEMORY = 10_000_000

_GRACE = 0.5  # seconds between SIGTERM and SIGKILL
_LONGEST = 1e6  # seconds, about what fits the milliseconds of poll()

_SLOT = 12  # bytes a group's number takes in the watchdog's file

_WATCHDOG = """
trap '' HUP INT TERM
read -r nothing
while read -r group; do
    [ "$group" -gt 1 ] && kill -9 "-$group"
done <&1
"""


def address_space(given: str | float) -> int:
    """Bytes that a simulator's option `memory` asks for, such as `2g`. Raises NumberError."""
    size = parse(given)
    if size < _LEAST_MEMORY:
        raise NumberError(f"memory: {given} is too little: write 2g, or 500meg")
    return int(size)


@dataclass(frozen=True)
class Completed:
    """How a program ended."""

    returncode: int
    """Negative where it died of a signal, as in `subprocess`."""
    stdout: str
    """At most the last `TAIL` bytes."""
    stderr: str
    seconds: float
    timed_out: bool = False
    cpu_seconds: float = 0.0
    """Processor time, by `wait4`; 0 where the system does not tell."""

    @property
    def signal(self) -> str:
        """Name of the signal it died of, such as `SIGSEGV`; empty where it exited."""
        if self.returncode >= 0:
            return ""
        try:
            return signal.Signals(-self.returncode).name
        except ValueError:  # a real-time signal has no name
            return f"signal {-self.returncode}"


def answer_of(
    command: Sequence[str],
    timeout: float,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """What a program says at once, such as its version. Raises OSError, TimeoutError among it."""
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(str(error)) from error


def run_process(
    argv: Sequence[str],
    cwd: Path,
    timeout: float,
    env: Mapping[str, str] | None = None,
    *,
    stem: str = "process",
    memory: int = 0,
    file_size: int = 0,
) -> Completed:
    """Run `argv` in `cwd` within `timeout` seconds; output goes to `{stem}.out` and `{stem}.err`.

    `memory` (address space) and `file_size` (of each file written) are limits in bytes, 0 for
    none; they hold on Linux. Whatever is left of the process group is killed when the program
    ends. Raises OSError where the program cannot be started.
    """
    outputs = (cwd / f"{stem}.out", cwd / f"{stem}.err")
    start = time.monotonic()
    with _lock:
        _watchdog.start()
    with outputs[0].open("w+b") as out, outputs[1].open("w+b") as err:
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        with _guarded(process) as used:
            _limit(process.pid, memory, file_size)
            timed_out = not _ended(process, timeout - (time.monotonic() - start))
            if timed_out:
                _kill_group(process.pid, signal.SIGTERM)
                _ended(process, _GRACE)
        seconds = time.monotonic() - start
        code, cpu = process.returncode, sum(used)
        return Completed(code, _tail(out), _tail(err), seconds, timed_out, cpu)


def kill_running(threads: Container[int] | None = None) -> None:
    """Kill every program that `run_process` runs, or those of `threads` (their idents) alone.

    The calls then return.
    """
    with _lock:
        for group, thread in _running.items():
            if threads is None or thread in threads:
                _kill_group(group, signal.SIGKILL)


_running: dict[int, int] = {}
"""Process group -> ident of the thread that waits for it."""
_lock = threading.Lock()


@contextlib.contextmanager
def _guarded(process: subprocess.Popen[bytes]) -> Iterator[list[float]]:
    """Kills what is left of the group on the way out, whatever the way, and reaps the leader.

    Seconds of processor time that it took are then in the list.
    """
    slot, used = -1, [0.0]
    try:
        with _lock:
            _running[process.pid] = threading.get_ident()
            slot = _watchdog.enter(process.pid)
        yield used
    finally:
        # killed before it is reaped: until then the group's number cannot be given to others
        with _lock:
            _running.pop(process.pid, None)
            _kill_group(process.pid, signal.SIGKILL)
            _watchdog.leave(slot)
        used.append(_reap(process))


def _reap(process: subprocess.Popen[bytes]) -> float:
    """Wait for the leader, and give the seconds of processor time that it took."""
    with contextlib.suppress(AttributeError, ChildProcessError):
        if process.returncode is None:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage.ru_utime + usage.ru_stime
    process.wait()
    return 0.0


def _ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the leader to end, without reaping it where the system allows."""
    seconds = min(max(0.0, seconds), _LONGEST)
    with contextlib.suppress(AttributeError, OSError):
        # Popen.wait(timeout) sleeps up to 50 ms between looks, longer than a small simulation
        descriptor = os.pidfd_open(process.pid)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(round(seconds * 1e3)))
        finally:
            os.close(descriptor)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.returncode is not None


def _kill_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _limit(pid: int, memory: int, file_size: int) -> None:
    if sys.platform != "linux":
        return
    import resource

    for kind, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, file_size)):
        if value:
            # set from outside, after exec: a preexec_fn is not safe in a process with threads
            with contextlib.suppress(ProcessLookupError, ValueError, PermissionError):
                resource.prlimit(pid, kind, (value, value))


def _tail(file: BinaryIO) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - TAIL))
    return file.read(TAIL).decode("utf-8", errors="replace")


class _Watchdog:
    """The shell that outlives this process for a moment, to kill the groups it leaves.

    Groups stand in a nameless file, one line each, and the shell sleeps until it is needed: to
    wake it for every start and end would cost a simulation of a few milliseconds a tenth of it.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._file: BinaryIO | None = None
        self._taken: set[int] = set()

    def start(self) -> None:
        """Start the shell unless it runs; before the program, so that little time is unguarded."""
        if self._process is not None:
            return
        with contextlib.suppress(OSError):  # no shell: then only kill -9 leaves something running
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  open as long as we live
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _WATCHDOG],
                cwd="/",
                stdin=subprocess.PIPE,
                stdout=self._file,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def enter(self, group: int) -> int:
        """Guard `group`; gives the slot to `leave`, -1 where no shell can be had."""
        if self._process is None:
            return -1
        with contextlib.suppress(OSError):
            slot = next(i for i in range(len(self._taken) + 1) if i not in self._taken)
            self._write(slot, group)
            self._taken.add(slot)
            return slot
        return -1

    def leave(self, slot: int) -> None:
        if slot in self._taken:
            self._taken.discard(slot)
            with contextlib.suppress(OSError):
                self._write(slot, 0)

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                process.stdin.close()
                process.wait(1.0)
        file, self._file, self._taken = self._file, None, set()
        if file is not None:
            file.close()

    def forget(self) -> None:
        """In a forked child: the parent's watchdog must not wait for the child's end too."""
        process, self._process, self._file, self._taken = self._process, None, None, set()
        if process is not None and process.stdin is not None:
            process.stdin.close()
            process.returncode = 0  # not this process's child: nothing to wait for

    def _write(self, slot: int, group: int) -> None:
        assert self._file is not None
        os.pwrite(self._file.fileno(), b"%*d\n" % (_SLOT - 1, group), slot * _SLOT)


_watchdog = _Watchdog()
atexit.register(_watchdog.close)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _running.clear()
    _watchdog.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
