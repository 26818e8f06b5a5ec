"""Runs a simulator's program: a process group of its own, a deadline, bounded output.

A group is killed at its deadline, on Ctrl-C, by `kill_running`, and when this process dies without
a word (kill -9): a shell started once per process reads the running groups from a pipe and kills
those that are left when the pipe closes. `preexec_fn` with PR_SET_PDEATHSIG would do the last for
the direct child only, but runs Python after fork in a process that has threads, which may
deadlock, and rules out vfork.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TAIL = 1 << 20
"""Bytes kept from the end of each output stream."""

_GRACE = 0.5  # seconds between SIGTERM and SIGKILL
_LONGEST = 1e6  # seconds, about what fits the milliseconds of poll()

_WATCHDOG = """
trap '' HUP INT TERM
while read -r sign group; do
    rest=
    for each in $groups; do [ "$each" = "$group" ] || rest="$rest $each"; done
    if [ "$sign" = + ]; then groups="$rest $group"; else groups=$rest; fi
done
for each in $groups; do kill -9 "-$each" 2>/dev/null; done
"""


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

    @property
    def signal(self) -> str:
        """Name of the signal it died of, such as `SIGSEGV`; empty where it exited."""
        if self.returncode >= 0:
            return ""
        try:
            return signal.Signals(-self.returncode).name
        except ValueError:  # a real-time signal has no name
            return f"signal {-self.returncode}"


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
    with outputs[0].open("wb") as out, outputs[1].open("wb") as err:
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        with _guarded(process):
            _limit(process.pid, memory, file_size)
            timed_out = not _ended(process, timeout - (time.monotonic() - start))
            if timed_out:
                _kill_group(process.pid, signal.SIGTERM)
                _ended(process, _GRACE)
    seconds = time.monotonic() - start
    return Completed(process.returncode, _tail(outputs[0]), _tail(outputs[1]), seconds, timed_out)


def kill_running() -> None:
    """Kill every program that `run_process` runs in other threads; their calls then return."""
    with _lock:
        for group in _running:
            _kill_group(group, signal.SIGKILL)


_running: set[int] = set()
_lock = threading.Lock()


@contextlib.contextmanager
def _guarded(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kills what is left of the group on the way out, whatever the way, and reaps the leader."""
    try:
        with _lock:
            _running.add(process.pid)
        _watchdog.tell("+", process.pid)
        yield
    finally:
        # killed before it is reaped: until then the group's number cannot be given to others
        with _lock:
            _running.discard(process.pid)
            _kill_group(process.pid, signal.SIGKILL)
        process.wait()
        _watchdog.tell("-", process.pid)


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


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        return file.read(TAIL).decode("utf-8", errors="replace")


class _Watchdog:
    """The shell that outlives this process for a moment, to kill the groups it leaves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def tell(self, sign: str, group: int) -> None:
        with self._lock, contextlib.suppress(OSError):  # no shell: then only kill -9 leaks
            if self._process is None or self._process.poll() is not None:
                self._process = self._start()
            assert self._process.stdin is not None
            self._process.stdin.write(f"{sign} {group}\n".encode())

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                process.stdin.close()
                process.wait(1.0)

    def forget(self) -> None:
        """In a forked child: the parent's watchdog must not wait for the child's end too."""
        process, self._process, self._lock = self._process, None, threading.Lock()
        if process is not None and process.stdin is not None:
            process.stdin.close()
            process.returncode = 0  # not this process's child: nothing to wait for

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )


_watchdog = _Watchdog()
atexit.register(_watchdog.close)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _running.clear()
    _watchdog.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
