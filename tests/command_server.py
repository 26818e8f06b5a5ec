"""`m3eda` in processes of its own, forked from one that has imported it already.

The imports take longer than most of what a test asks of the command line. A fork has its own
arguments, working directory, environment and standard streams, and ends as a program ends.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from m3eda.simulate import zygote
from tests import forked_zygote

ROOT = Path(__file__).resolve().parent.parent
AT_START = ("PYTHON", "LANG", "LC_", "LD_", "MALLOC_")
"""Beginnings of the names of variables that Python and its libraries read when they start.

All others are read when a command runs, and those of threads are the same for every command.
"""
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Made 1 by m3eda before it imports what reads them."""
LEFT_BEHIND = "LC_NUMERIC"
"""Set by the plugin of libngspice in a process that has loaded it, this one too."""
LAZY = (
    "cmaes", "quantiphy", "rich.console", "rich.live", "rich.progress", "rich.table",
    "scipy.interpolate", "scipy.linalg.lapack", "scipy.optimize", "scipy.special", "scipy.stats",
)  # fmt: skip
"""What commands import where they come to need it, and many do."""


class Server:
    """Forks `m3eda` for this process, one at a time."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control, self._lock = ours, threading.Lock()
        self._at_start = _at_start(os.environ)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.command_server", str(theirs.fileno())],
                cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),),
                env={**os.environ, **dict.fromkeys(THREADS, "1")},
            )  # fmt: skip

    def serves(self, environment: Mapping[str, str]) -> bool:
        """Whether a fork behaves in `environment` as a program that is started there."""
        return self._at_start == _at_start(environment)

    def run(
        self, arguments: list[str], cwd: Path, environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` with pipes; TimeoutExpired after `timeout` seconds."""
        request = json.dumps([arguments, str(cwd), dict(environment)]).encode()
        with self._lock, ExitStack() as stack:
            readers, writers = zip(os.pipe(), os.pipe(), strict=True)
            for reader in readers:
                stack.callback(os.close, reader)
            try:
                socket.send_fds(self._control, [request], writers)
            finally:
                for writer in writers:
                    os.close(writer)
            pid = int(self._control.recv(64))
            texts = _read(readers, time.monotonic() + timeout)
            if texts is None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            code = int(self._control.recv(64))
        if texts is None:
            raise subprocess.TimeoutExpired(["m3eda", *arguments], timeout)
        return subprocess.CompletedProcess(["m3eda", *arguments], code, *texts)

    def close(self) -> None:
        self._control.close()
        self._process.wait(10)


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items()
        if name.startswith(AT_START) and name != LEFT_BEHIND
    }  # fmt: skip


def _read(readers: tuple[int, ...], ends: float) -> list[str] | None:
    """What comes out of pipes until all are closed; None if that takes too long."""
    texts = {reader: bytearray() for reader in readers}
    with selectors.DefaultSelector() as selector:
        for reader in readers:
            selector.register(reader, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, ends - time.monotonic()))
            if not ready:
                return None
            for key, _ in ready:
                piece = os.read(key.fd, 1 << 16)
                texts[key.fd] += piece
                if not piece:
                    selector.unregister(key.fd)
    return [text.decode().replace("\r\n", "\n") for text in texts.values()]


# ---- the server ----------------------------------------------------------------------------


def _import() -> None:
    """What most commands import when they begin."""
    for name in ("m3eda", "m3eda.report", "m3eda.agents", "m3eda_plugins"):
        for found in pkgutil.iter_modules(importlib.import_module(name).__path__):
            if found.name not in ("__main__", "testing"):
                importlib.import_module(f"{name}.{found.name}")
    for name in LAZY:
        importlib.import_module(name)


def _become(request: bytes, streams: list[int]) -> None:
    """Make this fork the program that was asked for."""
    arguments, cwd, environment = json.loads(request)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for place, stream in enumerate((os.open(os.devnull, os.O_RDONLY), *streams)):
        os.dup2(stream, place)
        os.close(stream)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  for as long as the process lives
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["m3eda", *arguments]
    sys.path[0] = cwd


def serve(control: socket.socket) -> bool:
    """Fork for each request; True in a fork, False where no more can come."""
    while True:
        request, streams, _, _ = socket.recv_fds(control, 1 << 18, 2)
        if not request:
            return False
        pid = os.fork()
        if pid == 0:
            control.close()
            _become(request, streams)
            return True
        for stream in streams:
            os.close(stream)
        control.send(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        control.send(str(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _import()
    zygote.Zygote._start = forked_zygote.start
    gc.freeze()
    if serve(socket.socket(fileno=int(sys.argv[1]))):
        # as Python does for `-m m3eda`, so that the fork's traces and exit are those of a program
        runpy.run_module("m3eda", run_name="__main__", alter_sys=True)
