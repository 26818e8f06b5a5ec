"""ngspice in process with a deck that stays loaded, for benchmarks: about a millisecond a point.

A deck is loaded once; each point sends `alterparam` for its values, `reset` and `run`, which equals
a fresh `ngspice -b` bit for bit. Judged by the vectors that arrived: libngspice returns 0 for
broken decks too.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import time
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from m3eda.design.types import Value
from m3eda.simulate.types import Analysis, AnalysisKind, SimulationFailed, State, Waveforms

_KINDS: Mapping[str, AnalysisKind] = {"op": "op", "dc": "dc", "ac": "ac", "tran": "tran"}
_SCALES = ("frequency", "time")
_RUNS_PER_FLUSH = 200
"""The command history grows by 2.5 kB a run until it is cleared."""


class _Complex(ctypes.Structure):
    _fields_: ClassVar = [("real", ctypes.c_double), ("imag", ctypes.c_double)]


class _VectorInfo(ctypes.Structure):
    """`vector_info` of ngspice/sharedspice.h."""

    _fields_: ClassVar = [
        ("name", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("flags", ctypes.c_short),
        ("real", ctypes.POINTER(ctypes.c_double)),
        ("complex", ctypes.POINTER(_Complex)),
        ("length", ctypes.c_int),
    ]


_Print = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p)
_Exit = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.c_bool, ctypes.c_bool, ctypes.c_int, ctypes.c_void_p
)


class _Library:
    """The one libngspice of this process."""

    def __init__(self) -> None:
        lib = ctypes.CDLL(ctypes.util.find_library("ngspice") or "libngspice.so.0")
        lib.ngGet_Vec_Info.restype = ctypes.POINTER(_VectorInfo)
        lib.ngSpice_AllPlots.restype = ctypes.POINTER(ctypes.c_char_p)
        lib.ngSpice_AllVecs.restype = ctypes.POINTER(ctypes.c_char_p)
        self._lib = lib
        self.log: list[str] = []
        self.dead = False
        self.owner: WarmNgspice | None = None
        self._runs = 0
        # kept: ngspice calls them as long as the process lives
        self._print = _Print(self._printed)
        self._exit = _Exit(self._exited)
        lib.ngSpice_Init(self._print, None, self._exit, None, None, None, None)
        self.command("set num_threads=1")

    def _printed(self, text: bytes, _ident: int, _user: Any) -> int:
        self.log.append(text.decode(errors="replace"))
        del self.log[:-50]
        return 0

    def _exited(self, *_: Any) -> int:
        self.dead = True
        return 0

    def command(self, text: str) -> None:
        self._lib.ngSpice_Command(text.encode())

    def flush_history(self) -> None:
        self._runs += 1
        if self._runs % _RUNS_PER_FLUSH == 0:
            self._lib.ngSpice_Command(None)

    def load(self, deck: str) -> None:
        lines = [line.encode() for line in deck.strip().splitlines()]
        array = (ctypes.c_char_p * (len(lines) + 1))(*lines, None)
        self._lib.ngSpice_Circ(array)

    def plots(self) -> list[str]:
        return [name for name in _strings(self._lib.ngSpice_AllPlots()) if name != "const"]

    def vectors(self, plot: str) -> Iterator[tuple[str, NDArray[Any]]]:
        for name in _strings(self._lib.ngSpice_AllVecs(plot.encode())):
            info = self._lib.ngGet_Vec_Info(f"{plot}.{name}".encode())
            if info and info.contents.length:
                yield _canonical(name), _array(info.contents)


def _strings(array: Any) -> list[str]:
    names = []
    for item in array or ():
        if item is None:
            break
        names.append(item.decode())
    return names


def _array(info: _VectorInfo) -> NDArray[Any]:
    if info.complex:
        flat = ctypes.cast(info.complex, ctypes.POINTER(ctypes.c_double))
        return np.array(np.ctypeslib.as_array(flat, (2 * info.length,))).view(np.complex128)
    return np.array(np.ctypeslib.as_array(info.real, (info.length,)))


def _canonical(name: str) -> str:
    """ngspice's name of a vector in the words of `m3eda.simulate.types`: `v(out)`, `i(vdd)`."""
    name = name.lower()
    if name.endswith("#branch"):
        return f"i({name[: -len('#branch')]})"
    if "(" in name or name.startswith("@") or name in _SCALES:
        return name
    return f"v({name})"


_library: _Library | None = None


def _shared() -> _Library:
    global _library
    if _library is None:
        _library = _Library()
    return _library


class WarmNgspice:
    """A deck kept loaded. One process holds one circuit at a time; others are loaded anew in turn.

    `deck` is a whole netlist with `.param` lines for what changes, its analyses as dot commands
    and `.save` lines for the vectors wanted; a first line `title` and `.end` included.
    """

    def __init__(self, deck: str) -> None:
        lines = deck.strip().splitlines()
        extra = ".option keepopinfo num_threads=1"
        self._deck = "\n".join([lines[0], extra, *lines[1:]])
        self._loaded = False

    def run(self, values: Mapping[str, Value]) -> Waveforms:
        """Simulate with `values` for the deck's `.param` names.

        Raises SimulationFailed where no result arrived, and where the library gave up.
        """
        library = _shared()
        began = time.perf_counter()
        self._load(library)
        library.command("destroy all")
        for name, value in values.items():
            library.command(f"alterparam {name}={value:.15g}")
        library.log.clear()
        library.command("reset")
        self._refuse_errors(library)
        library.command("run")
        library.flush_history()
        analyses = tuple(_analyses(library))
        if library.dead or not analyses:
            library.owner = None
            state = State.CRASH if library.dead else State.NO_CONVERGENCE
            raise SimulationFailed(state, "no vector arrived", "\n".join(library.log))
        return Waveforms(analyses, seconds=time.perf_counter() - began)

    def _load(self, library: _Library) -> None:
        if library.owner is self:
            return
        if library.owner is not None:
            library.command("destroy all")
            library.command("remcirc")
        library.log.clear()
        library.load(self._deck)
        library.owner = self
        self._refuse_errors(library)

    def _refuse_errors(self, library: _Library) -> None:
        """A deck that does not load leaves an earlier one in its place, whose results would lie."""
        errors = [line for line in library.log if line.startswith("stderr Error")]
        if errors or library.dead:
            library.owner = None
            state = State.CRASH if library.dead else State.PARSE_ERROR
            raise SimulationFailed(
                state, (errors or ["ngspice gave up"])[0], "\n".join(library.log)
            )


def _analyses(library: _Library) -> Iterator[Analysis]:
    for plot in library.plots():
        kind = _KINDS.get(plot.rstrip("0123456789"))
        if kind is None:
            continue
        vectors = dict(library.vectors(plot))
        scale = next((name for name in _SCALES if name in vectors), "")
        if scale:
            vectors[scale] = vectors[scale].real
        if vectors:
            yield Analysis(kind, vectors, scale)
