"""ngspice in process with a deck that stays loaded, for benchmarks: about a millisecond a point.

A deck is loaded once; each point sends `alterparam` for its values, `reset` and `run`, which equals
a fresh `ngspice -b` bit for bit. `reset` reads the deck that was loaded last whatever circuit is
set, so where decks take turns each is loaded again, its values written into it. Judged by the
vectors that arrived: libngspice returns 0 for broken decks too.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from m3eda_plugins.ngspice_deck import Card, cards, expected_points, stop_time
from numpy.typing import NDArray

from m3eda.design.types import Value
from m3eda.simulate.types import Analysis, AnalysisKind, SimulationFailed, State, Waveforms

_KINDS: Mapping[str, AnalysisKind] = {"op": "op", "dc": "dc", "ac": "ac", "tran": "tran"}
_SCALES = ("frequency", "time", "sweep")
_GIVEN = re.compile(r"(\w+)=(\S+)")
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

    def clear(self) -> None:
        """Take the circuit away, if there is one: another beside it would pile up."""
        self.owner = None
        if self._runs:
            self.command("remcirc")
            self.log.clear()

    def load(self, lines: Iterable[str]) -> None:
        encoded = [line.encode() for line in lines]
        array = (ctypes.c_char_p * (len(encoded) + 1))(*encoded, None)
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
    if name.endswith("-sweep"):
        return "sweep"
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
        self._lines = [lines[0], extra, *lines[1:]]
        self._cards = [card for card in cards("\n".join(lines)) if card.kind]

    def run(self, values: Mapping[str, Value]) -> Waveforms:
        """Simulate with `values` for the deck's `.param` names.

        Raises SimulationFailed where no result arrived, and where the library gave up.
        """
        library = _shared()
        began = time.perf_counter()
        library.command("destroy all")
        library.log.clear()
        if library.owner is self:
            for name, value in values.items():
                library.command(f"alterparam {name}={value:.15g}")
            library.command("reset")
        else:
            self._load(library, values)
        self._refuse_errors(library)
        library.command("run")
        library.flush_history()
        analyses = tuple(_analyses(library))
        short = next(filter(None, (_shortfall(card, analyses) for card in self._cards)), "")
        if library.dead or short:
            library.owner = None
            state = State.CRASH if library.dead else State.NO_CONVERGENCE
            raise SimulationFailed(state, short or "ngspice gave up", "\n".join(library.log))
        return Waveforms(analyses, seconds=time.perf_counter() - began)

    def _load(self, library: _Library, values: Mapping[str, Value]) -> None:
        def given(match: re.Match[str]) -> str:
            name = match[1]
            return f"{name}={values[name]:.15g}" if name in values else match[0]

        library.clear()
        library.load(
            _GIVEN.sub(given, line) if line.startswith(".param") else line for line in self._lines
        )
        library.owner = self

    def _refuse_errors(self, library: _Library) -> None:
        """A deck that does not load leaves an earlier one in its place, whose results would lie."""
        errors = [line for line in library.log if line.startswith("stderr Error")]
        if errors or library.dead:
            library.owner = None
            state = State.CRASH if library.dead else State.PARSE_ERROR
            raise SimulationFailed(
                state, (errors or ["ngspice gave up"])[0], "\n".join(library.log)
            )


def _shortfall(card: Card, analyses: Iterable[Analysis]) -> str:
    """What the analysis of `card` did not give, in words; empty where it is whole."""
    found = [each for each in analyses if each.kind == card.kind]
    if not found:
        return f"no vector arrived for {card.text}"
    stop = stop_time(card) if card.kind == "tran" else None
    last = float(found[0].vectors[found[0].scale][-1]) if found[0].scale else 0.0
    if stop is not None and last < stop * (1.0 - 1e-6):
        return f"the transient stopped at t = {last:.4g} s of {stop:.4g} s"
    points = expected_points(card) if card.kind == "ac" else None
    if points is not None and len(found[0].vectors[found[0].scale]) < points - 1:
        return f"not every point arrived for {card.text}"
    return ""


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
