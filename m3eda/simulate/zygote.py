"""The parent's side of workers: the zygote that forks them, and one worker process."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path

from m3eda.errors import M3edaError, PluginError, StorageError
from m3eda.simulate.executor import Task
from m3eda.simulate.runner import Recipe
from m3eda.simulate.worker import FORK, READY, REAP, Reply, Request, unpack

_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from m3eda.simulate.worker import boot; boot(sys.argv)"
)
_TAIL = 2000
_START_TIMEOUT = 120.0
"""Seconds a zygote may take to import plugins, on a machine that is busy."""

ENVIRONMENT = {
    # one worker a core: threads within one only spin
    "OMP_THREAD_LIMIT": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "LC_NUMERIC": "C",
}


class Zygote:
    """A process that forks workers; started at once, waited for when the first is asked for."""

    def __init__(self, recipe: Recipe, memory: int = 0) -> None:
        self._recipe = recipe
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._start()

    def fork(self, folder: Path) -> tuple[int, Connection]:
        """A new worker's process id and the connection to it.

        Raises PluginError where the runner cannot be made there.
        """
        for attempt in (1, 2):
            self._wait_until_ready()
            ours, theirs = socket.socketpair()
            with theirs:
                try:
                    socket.send_fds(self._control, [FORK + str(folder).encode()], [theirs.fileno()])
                    answer = self._control.recv(8)
                except OSError:
                    answer = b""
            if len(answer) == 8:
                return int.from_bytes(answer, "little"), Connection(ours.detach())
            ours.close()
            if attempt == 1:  # somebody killed it
                self.close()
                self._start()
        raise PluginError("workers cannot be started: their parent process dies")

    def reap(self, pid: int) -> int:
        """Kill a worker's process group; how it ended, as in `subprocess`: negative of a signal."""
        try:
            self._control.sendall(REAP + pid.to_bytes(8, "little"))
            answer = self._control.recv(8)
        except OSError:
            answer = b""
        if len(answer) < 8:  # the zygote is gone
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
            return -signal.SIGKILL
        return int.from_bytes(answer, "little", signed=True)

    def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self._control.close()
        ready, self._ready = self._ready, False
        try:
            # one that still imports has no workers, and hears nothing yet
            _wait(process, 2.0 if ready else 0.0)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, json.dumps(sys.path), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, **ENVIRONMENT},
                start_new_session=True,
            )
        self._control = ours
        with contextlib.suppress(OSError), Connection(os.dup(ours.fileno())) as connection:
            connection.send_bytes(pickle.dumps((self._recipe, self._memory)))

    def _wait_until_ready(self) -> None:
        if self._ready:
            return
        answer = b""
        with (
            contextlib.suppress(OSError, EOFError),
            Connection(os.dup(self._control.fileno())) as connection,
        ):
            if connection.poll(_START_TIMEOUT):
                answer = connection.recv_bytes()
        if answer == READY:
            self._ready = True
            return
        error = pickle.loads(answer) if answer else None
        self.close()
        if isinstance(error, M3edaError):
            raise error
        raise PluginError("workers cannot be started: a fresh Python process fails to load them")


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Raises TimeoutExpired. `Popen.wait` looks again and again, at last every 50 ms."""
    with contextlib.suppress(OSError, AttributeError):  # not on Linux, or an old one
        descriptor = os.pidfd_open(process.pid)
        try:
            ended = select.poll()
            ended.register(descriptor, select.POLLIN)
            ended.poll(1000.0 * seconds)
            seconds = 0.0
        finally:
            os.close(descriptor)
    process.wait(seconds)


@dataclass
class Attempt:
    """A task on its way, and how often it has killed a worker."""

    task: Task
    deaths: int = 0
    cold: bool = False
    """A deck that killed the session's process is run in one of its own."""
    late: bool = False
    """True where a session took longer than it may, perhaps to make the circuit ready."""

    @property
    def skeleton(self) -> str:
        """The key of what a session makes ready for it; empty where that is nothing."""
        skeleton = self.task.deck.skeleton
        return skeleton.key if skeleton is not None and skeleton.probes else ""


@dataclass
class Worker:
    """One worker process: what it has been asked, in order, and what it has loaded."""

    pid: int
    connection: Connection
    folder: Path
    circuit: str = ""
    asked: deque[Attempt] = field(default_factory=deque)
    began: float = 0.0
    """When the first of `asked` began, by `time.monotonic`."""
    used: float = 0.0
    ready: set[str] = field(default_factory=set)
    """Skeletons of decks it has answered."""
    _heads: dict[tuple[str, str, str], int] = field(default_factory=dict)

    @classmethod
    def start(cls, zygote: Zygote) -> Worker:
        """Raises StorageError where no directory can be made for it, PluginError."""
        try:
            folder = Path(tempfile.mkdtemp(prefix="m3eda-"))
        except OSError as error:
            where = error.filename or "the directory for temporary files (TMPDIR)"
            raise StorageError(f"{where}: cannot be written: {error.strerror}") from error
        try:
            pid, connection = zygote.fork(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return cls(pid, connection, folder)

    def ask(self, attempt: Attempt) -> None:
        """Send a deck; it begins when those before it have ended. Raises OSError if it is dead."""
        if not self.asked:
            self.began = time.monotonic()
        self.asked.append(attempt)
        self.circuit = attempt.task.circuit
        request = self._request(attempt)
        self.connection.send_bytes(pickle.dumps(request, -1))

    def _request(self, attempt: Attempt) -> Request:
        task, deck = attempt.task, attempt.task.deck
        key = (task.circuit, deck.skeleton.key if deck.skeleton else "", deck.contents)
        new = key not in self._heads
        head = self._heads.setdefault(key, len(self._heads))
        constant = replace(deck, text="", fills=(), values={}, contents="") if new else None
        text = "" if deck.skeleton else deck.text
        return Request(
            task.number, head, constant, text, deck.fills, deck.values, deck.contents, attempt.cold
        )

    def hear(self) -> Reply | None:
        """The next reply; None where the worker is dead."""
        try:
            reply = unpack(self.connection.recv_bytes())
        except (EOFError, OSError):
            return None
        self.began = time.monotonic()
        return reply

    def log(self) -> str:
        """The end of what was printed in the worker past every callback."""
        with contextlib.suppress(OSError):
            data = (self.folder / "worker.log").read_bytes()[-_TAIL:]
            return data.decode("utf-8", errors="replace").strip()
        return ""

    def close(self, zygote: Zygote) -> int:
        """End it, and clear up behind it; its exit code, negative of a signal."""
        code = zygote.reap(self.pid)
        self.connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return code
