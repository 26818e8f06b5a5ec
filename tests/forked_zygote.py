"""The zygote of a forked `m3eda`: a fork once more, in place of a program that imports all anew."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import socket
import subprocess
import time
from contextlib import suppress
from multiprocessing.connection import Connection

from m3eda.simulate import worker
from m3eda.simulate.zygote import ENVIRONMENT, Zygote

FRESH = Zygote._start
"""Starts a program, as m3eda does."""


class Forked:
    """As much of `subprocess.Popen` as a zygote's owner needs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended = False

    def wait(self, timeout: float | None = None) -> None:
        end = None if timeout is None else time.monotonic() + timeout
        while not self._ended:
            self._ended = os.waitpid(self.pid, os.WNOHANG)[0] == self.pid
            if self._ended:
                return
            if end is not None and time.monotonic() >= end:
                raise subprocess.TimeoutExpired("zygote", timeout or 0.0)
            time.sleep(0.001)


def start(zygote: Zygote) -> None:
    """In place of `Zygote._start`."""
    if len(os.listdir("/proc/self/task")) > 1:  # no thread but this one would live on
        FRESH(zygote)
        return
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        _be_zygote(theirs.fileno())
    theirs.close()
    zygote._process = Forked(pid)  # type: ignore[assignment]
    zygote._control = ours
    with suppress(OSError), Connection(os.dup(ours.fileno())) as connection:
        connection.send_bytes(pickle.dumps((zygote._recipe, zygote._memory)))


def _be_zygote(descriptor: int) -> None:
    """A zygote's whole life: with a session, streams and signals as if it had been started."""
    code = 1
    try:
        gc.disable()  # what owns a descriptor that is closed below must not close it again
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.closerange(3, descriptor)
        os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))
        os.environ.update(ENVIRONMENT)
        gc.freeze()
        gc.enable()
        worker.zygote(descriptor)
        code = 0
    finally:
        os._exit(code)
