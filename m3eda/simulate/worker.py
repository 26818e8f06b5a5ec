"""A process that simulates and may die of it: a zygote that forks workers, and what a worker does.

The zygote imports what workers need, once, and stays single-threaded, so that a fork of it takes
milliseconds. It ends when its parent does, and takes every worker with it.

Messages between parent and worker are pickles on a socket pair: a `Request`, answered by a `Reply`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import shutil
import signal
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from m3eda.design.types import Value
from m3eda.errors import M3edaError, PluginError, cause
from m3eda.simulate.executor import Outcome
from m3eda.simulate.runner import Recipe, Runner
from m3eda.simulate.trial import CornerResult
from m3eda.simulate.types import Deck, State

READY = b"ready"
FORK, REAP = b"f", b"r"


@dataclass(frozen=True)
class Request:
    """A deck to run. What stays the same between decks travels once, as `head`."""

    number: int
    head: int
    """Number of the deck this one is made from."""
    new_head: Deck | None
    """That deck, where this worker has not heard of it."""
    text: str
    """The netlist; empty where `fills` give it."""
    fills: tuple[str, ...]
    values: Mapping[str, Value]
    contents: str
    cold: bool


@dataclass(frozen=True)
class Reply:
    """What became of a request; without an outcome, that another attempt begins."""

    number: int
    outcome: Outcome | None = None
    error: M3edaError | None = None
    """What ends the whole run."""
    broken: bool = False
    """True where the worker ends now."""
    note: str = ""


def pack(reply: Reply) -> bytes:
    """A reply as bytes. The usual one, whose simulation is complete, is packed without the names of
    classes: pickling those takes several times as long as sending it."""
    outcome = reply.outcome
    if outcome is None or outcome.result.state is not State.COMPLETE or reply.note or reply.broken:
        return pickle.dumps(reply, -1)
    result = outcome.result
    short = (reply.number, result.measures, result.reasons, result.seconds, result.runs)
    return pickle.dumps((*short, outcome.spent), -1)


def unpack(data: bytes) -> Reply:
    """The reply that `pack` made bytes of."""
    read = pickle.loads(data)
    if isinstance(read, Reply):
        return read
    number, measures, reasons, seconds, runs, spent = read
    result = CornerResult(measures, reasons, seconds=seconds, runs=runs)
    return Reply(number, Outcome(result, spent))


def deck_of(request: Request, heads: dict[int, Deck]) -> Deck:
    """The deck that `request` stands for; remembers its head."""
    if request.new_head is not None:
        heads[request.head] = request.new_head
    head = heads[request.head]
    text = request.text or (head.skeleton.text(request.fills) if head.skeleton else "")
    return replace(
        head, text=text, fills=request.fills, values=request.values, contents=request.contents
    )


def work(connection: Connection, runner: Runner, memory: int) -> None:
    """Answer requests until nobody asks any more, or the session is broken."""
    _limit_memory(memory)
    current = -1

    def begins() -> None:
        connection.send_bytes(pack(Reply(current)))

    runner.attempt_begins = begins
    fault: M3edaError | None = None
    try:
        runner.open(Path.cwd())
    except M3edaError as error:
        fault = error
    queue = _Queue(connection, runner)
    while (following := queue.next()) is not None:
        request, deck = following
        current = request.number
        reply = Reply(current, error=fault) if fault else _answer(request, deck, runner)
        connection.send_bytes(pack(reply))
        if runner.broken:
            return


class _Queue:
    """What a worker has been asked and not yet done."""

    def __init__(self, connection: Connection, runner: Runner) -> None:
        self._connection = connection
        self._runner = runner
        self._heads: dict[int, Deck] = {}
        self._waiting: deque[tuple[Request, Deck]] = deque()

    def next(self) -> tuple[Request, Deck] | None:
        """The next request and its deck; None where nobody asks any more.

        The session hears of all that have come.
        """
        new: list[Deck] = []
        try:
            while not self._waiting or self._connection.poll(0):
                request: Request = pickle.loads(self._connection.recv_bytes())
                deck = deck_of(request, self._heads)
                self._waiting.append((request, deck))
                if not request.cold:
                    new.append(deck)
        except (EOFError, OSError):
            return None
        if new:
            self._runner.expect(new)
        return self._waiting.popleft()


def _answer(request: Request, deck: Deck, runner: Runner) -> Reply:
    try:
        outcome = runner.run(deck, cold=request.cold)
    except M3edaError as error:
        return Reply(request.number, error=error)
    except Exception as error:  # noqa: BLE001  a defect must reach the parent, whatever it is
        told = PluginError(f"a worker failed: {cause(error)}")
        return Reply(request.number, error=told, broken=True)
    return Reply(request.number, outcome, broken=runner.broken, note=runner.note)


def _limit_memory(memory: int) -> None:
    """Let this process, and what it starts, take `memory` bytes of address space at most."""
    if not memory or sys.platform != "linux":
        return
    import resource

    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (memory, resource.RLIM_INFINITY))


def zygote(descriptor: int) -> None:
    """Serve forks over the socket `descriptor` until its other end is closed."""
    control = socket.socket(fileno=descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # closed before the first fork: held by a worker, it would hide this process's death
    with Connection(os.dup(descriptor)) as connection:
        recipe, memory = pickle.loads(connection.recv_bytes())
        try:
            runner = _prepared(recipe)
        except M3edaError as error:
            connection.send_bytes(pickle.dumps(error))
            return
        connection.send_bytes(READY)
    gc.freeze()  # what is there now is shared with every fork, and never garbage
    folders: dict[int, str] = {}
    try:
        _serve(control, runner, memory, folders)
    finally:
        for child, folder in folders.items():
            _kill(child)
            os.waitpid(child, 0)
            shutil.rmtree(folder, ignore_errors=True)


def _prepared(recipe: Recipe) -> Runner:
    """The runner that every worker starts with."""
    try:
        runner = recipe.build()
        runner.measurer  # noqa: B018  parsed once, here
    except M3edaError:
        raise
    except Exception as error:
        raise PluginError(f"a worker cannot be made: {cause(error)}") from error
    return runner


def _serve(control: socket.socket, runner: Runner, memory: int, folders: dict[int, str]) -> None:
    """Fork and reap as asked; `folders` are those of the workers that live, by process id."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 4096, 1)
        if not message:
            return
        if message[:1] == FORK:
            pid = os.fork()
            if pid == 0:
                control.close()
                _child(descriptors[0], message[1:].decode(), runner, memory)
            os.close(descriptors[0])
            folders[pid] = message[1:].decode()
            control.sendall(pid.to_bytes(8, "little"))
        else:
            pid = int.from_bytes(message[1:9], "little")
            _kill(pid)
            folders.pop(pid, None)
            code = -int(signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):  # a child of a zygote before this one
                _, status = os.waitpid(pid, 0)
                code = os.waitstatus_to_exitcode(status)
            control.sendall(code.to_bytes(8, "little", signed=True))


def _child(descriptor: int, folder: str, runner: Runner, memory: int) -> None:
    """A worker's whole life."""
    code = 0
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        tempfile.tempdir = folder
        os.chdir(folder)
        _to_file(folder)
        work(Connection(descriptor), runner, memory)
    except BaseException:  # noqa: BLE001  never back into the zygote's own code
        code = 1
    finally:
        os._exit(code)


def _to_file(folder: str) -> None:
    """What is printed past every callback goes to a file, for who asks why a worker died."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        output = os.open(os.path.join(folder, "worker.log"), flags)
    except OSError:  # the disk is full: what needs a file there will say so
        output = os.open(os.devnull, flags)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)  # its group may not be made yet


def boot(arguments: Any) -> None:
    """Entry point of the zygote's program: the parent's `sys.path` and the socket's number."""
    zygote(int(arguments[-1]))
    os._exit(0)  # whoever waits for it need not wait for Python to take itself apart
