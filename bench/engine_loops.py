"""Bare libngspice loops, as reference for the engine: each in a process of its own.

No part of m3eda runs in them. A circuit is loaded once; each point changes its values, runs, and
reads the saved vectors as numpy arrays. Ways: `reset` (`alterparam` of each value, then `reset`,
as `ngspice -b` would read the deck), `alter` (of each device, where the deck allows it) and `load`
(the whole deck anew).
"""

from __future__ import annotations

import ctypes.util
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Way = Literal["reset", "alter", "load"]
Binding = Literal["cffi", "pyspice"]
Arrays = dict[str, NDArray[Any]]
"""Vectors by kind of analysis and name, such as `ac.out`."""

_ROOT = Path(__file__).resolve().parent.parent
_RUNS_PER_FLUSH = 200
_PATIENCE = 600.0
_HOLE = re.compile(r"\{(bench_\d+)\}")
_DECLARATIONS = """
typedef struct {
    char *v_name; int v_type; short v_flags; double *v_realdata; void *v_compdata; int v_length;
} vector_info;
int ngSpice_Init(int (*)(char *, int, void *), void *, int (*)(int, bool, bool, int, void *),
                 void *, void *, void *, void *);
int ngSpice_Command(char *);
int ngSpice_Circ(char **);
vector_info *ngGet_Vec_Info(char *);
char **ngSpice_AllPlots(void);
char **ngSpice_AllVecs(char *);
"""


@dataclass(frozen=True)
class LoopDeck:
    """A deck for a loop, its values in `.param` lines."""

    lines: tuple[str, ...]
    parameters: tuple[str, ...]
    """Names of the `.param` lines, in the order of a point's values."""
    devices: tuple[tuple[str, ...], ...] = ()
    """What `alter` sets for each parameter, such as `@m.x1.mn1[m]`; empty where it cannot."""


@dataclass(frozen=True)
class Batch:
    """Points to simulate one after the other; values as they are written into decks."""

    way: Way
    points: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Timing:
    """What a loop took for a batch."""

    wall: float
    cpu: float
    last: Arrays
    """The vectors of its last point."""


class BareLibrary:
    """libngspice by cffi, with nothing around it."""

    def __init__(self) -> None:
        import cffi

        self.ffi = cffi.FFI()
        self.ffi.cdef(_DECLARATIONS)
        path = ctypes.util.find_library("ngspice") or "libngspice.so.0"
        self.handle: Any = self.ffi.dlopen(path)
        self.printed: list[Any] = []
        # kept: ngspice calls them as long as the process lives
        self._print = self.ffi.callback("int(char *, int, void *)", self._prints)
        self._exit = self.ffi.callback("int(int, bool, bool, int, void *)", lambda *_: 0)
        null = self.ffi.NULL
        self.handle.ngSpice_Init(self._print, null, self._exit, null, null, null, null)

    def _prints(self, text: Any, _ident: int, _user: Any) -> int:
        self.printed.append(self.ffi.string(text))
        return 0

    def command(self, text: str) -> None:
        self.handle.ngSpice_Command(text.encode())

    def load(self, lines: Iterable[str]) -> None:
        kept = [self.ffi.new("char[]", line.encode()) for line in lines]
        self.handle.ngSpice_Circ([*kept, self.ffi.NULL])

    def flush(self) -> None:
        """Forget the history of commands, which grows by 2.5 kB a run."""
        self.handle.ngSpice_Command(self.ffi.NULL)
        self.printed.clear()


class PySpiceLibrary(BareLibrary):
    """The same through PySpice's own NgSpiceShared, as the plugin `pyspice` mends it."""

    def __init__(self) -> None:
        from m3eda_plugins.pyspice.library import MendedNgSpiceShared

        self.shared = MendedNgSpiceShared()
        self.ffi = self.shared.ffi
        self.handle = self.shared.handle
        self.printed = self.shared.lines

    def command(self, text: str) -> None:
        self.shared.exec_command(text)

    def load(self, lines: Iterable[str]) -> None:
        self.shared.load_circuit("\n".join(lines))


class Loop:
    """One loaded deck."""

    def __init__(self, binding: Binding) -> None:
        self.library = BareLibrary() if binding == "cffi" else PySpiceLibrary()
        self.library.command("set num_threads=1")
        self._deck = LoopDeck((), ())
        self._pieces: list[str] = []
        self._current: Way | None = None
        self._names: dict[str, list[str]] = {}
        self._runs = 0

    def load(self, deck: LoopDeck) -> None:
        if self._deck.lines:
            self.library.command("remcirc")
        self.library.load(deck.lines)
        self._deck, self._current = deck, None
        plain = [line for line in deck.lines if not line.startswith(".param bench_")]
        self._pieces = _HOLE.split("\n".join(plain))
        self._names.clear()

    def run(self, batch: Batch) -> Timing:
        if self._current == "load" and batch.way != "load":
            self.load(self._deck)  # the one that is loaded has no parameters
        self._current = batch.way
        found: Arrays = {}
        wall, cpu = time.perf_counter(), time.process_time()
        for point in batch.points:
            self._set(batch.way, point)
            self.library.command("run")
            found = self._read()
            self.library.command("destroy all")
            self._runs += 1
            if self._runs % _RUNS_PER_FLUSH == 0:
                self.library.flush()
        return Timing(time.perf_counter() - wall, time.process_time() - cpu, found)

    def _set(self, way: Way, point: Sequence[str]) -> None:
        command = self.library.command
        if way == "reset":
            for name, value in zip(self._deck.parameters, point, strict=True):
                command(f"alterparam {name}={value}")
            command("reset")
        elif way == "alter":
            for devices, value in zip(self._deck.devices, point, strict=True):
                for device in devices:
                    command(f"alter {device}={value}")
        else:
            values = dict(zip(self._deck.parameters, point, strict=True))
            pieces = list(self._pieces)
            pieces[1::2] = [values[name] for name in pieces[1::2]]
            command("remcirc")
            self.library.load("".join(pieces).splitlines())

    def _read(self) -> Arrays:
        found: Arrays = {}
        for plot in self._strings(self.library.handle.ngSpice_AllPlots()):
            if plot == "const":
                continue
            kind = plot.rstrip("0123456789")
            if kind not in self._names:
                vectors = self.library.handle.ngSpice_AllVecs(plot.encode())
                self._names[kind] = self._strings(vectors)
            for name in self._names[kind]:
                found[f"{kind}.{name}"] = self._vector(f"{plot}.{name}")
        return found

    def _vector(self, name: str) -> NDArray[Any]:
        ffi = self.library.ffi
        info = self.library.handle.ngGet_Vec_Info(name.encode())
        length = info.v_length
        found: NDArray[Any] = np.empty(0)
        if info.v_compdata:
            found = np.frombuffer(ffi.buffer(info.v_compdata, 16 * length), np.complex128).copy()
        elif length:
            found = np.frombuffer(ffi.buffer(info.v_realdata, 8 * length), np.float64).copy()
        return found

    def _strings(self, array: Any) -> list[str]:
        found: list[str] = []
        while array[len(found)]:
            found.append(self.library.ffi.string(array[len(found)]).decode())
        return found


def serve(descriptor: int, binding: Binding) -> None:
    """A child's life: decks to load and batches to run, until its parent is gone."""
    connection = Connection(descriptor)
    with tempfile.TemporaryDirectory() as folder, suppress(EOFError, KeyboardInterrupt):
        os.chdir(folder)
        loop = Loop(binding)
        while True:
            asked = connection.recv()
            if isinstance(asked, LoopDeck):
                loop.load(asked)
                connection.send(None)
            else:
                connection.send(loop.run(asked))


class LoopProcess:
    """A loop in a child process."""

    def __init__(self, binding: Binding = "cffi") -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            code = f"from bench.engine_loops import serve; serve({number}, {binding!r})"
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), *sys.path])},
                pass_fds=[number],
                stdin=subprocess.DEVNULL,
            )
        self._connection = Connection(ours.detach())

    def load(self, deck: LoopDeck) -> None:
        self._connection.send(deck)
        self._answer()

    def start(self, batch: Batch) -> None:
        self._connection.send(batch)

    def finish(self) -> Timing:
        """What the batch took. Raises RuntimeError where the child died or does not answer."""
        timing: Timing = self._answer()
        return timing

    def run(self, batch: Batch) -> Timing:
        self.start(batch)
        return self.finish()

    def _answer(self) -> Any:
        if not self._connection.poll(_PATIENCE):
            raise RuntimeError(f"a bare loop gave no answer within {_PATIENCE:g} s")
        try:
            return self._connection.recv()
        except EOFError as error:
            raise RuntimeError("a bare loop died") from error

    def close(self) -> None:
        self._connection.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)


def split(points: Sequence[tuple[str, ...]], parts: int) -> list[tuple[tuple[str, ...], ...]]:
    """`points` dealt out to `parts` loops."""
    return [tuple(points[part::parts]) for part in range(parts)]
