"""What `Batch` and transients do most of, in C, compiled where it runs.

`kernel.c` holds it: the same equations and rules, one sizing after the other without a matrix of
NumPy for each step. Where there is no compiler, or it fails, `compiled` gives None and NumPy does
the work.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3eda.coarse.transistor import SURFACE, Numbers, Point
from m3eda.design.ranges import FloatArray
from m3eda.simulate.compiled import FAILURES, library

if TYPE_CHECKING:
    from m3eda.coarse.solve import Batch, BoolArray, IntArray

SOURCE = Path(__file__).with_name("kernel.c")
HEADERS = ("kernel_transistor.h", "kernel_lu.h", "kernel_batch.h", "kernel_frequencies.h",
           "kernel_time.h")  # fmt: skip
FLAGS = ("-fno-math-errno", "-fno-trapping-math", f"-DSURFACE={SURFACE!r}")
LONG = np.dtype(ctypes.c_long)
_log = logging.getLogger(__name__)

_long, _double, _pointer = ctypes.c_long, ctypes.c_double, ctypes.c_void_p


class _Batch(ctypes.Structure):
    """`batch_t` of kernel_batch.h."""

    _fields_ = [
        *((name, _long) for name in ("size", "nets", "inner", "outer", "transistors", "sources")),
        *((name, _pointer) for name in (
            "net_places", "inner_places", "outer_places", "places", "sign", "conductance",
            "storage", "forced")),
        ("numbers", _pointer * len(Numbers._fields)),
        *((name, _pointer) for name in ("gate", "overlap", "junction", "faint", "low", "high")),
        ("thermal", _double), ("triode", _double),
        *((name, _pointer) for name in ("moved", "plus", "minus")),
    ]  # fmt: skip


class _Ramp(ctypes.Structure):
    """`ramp_t` of kernel.c."""

    _fields_ = [
        *((name, _double) for name in (
            "step", "close", "near", "too_far", "least_held", "held", "fall")),
        ("steps", _long), ("free", _long),
    ]  # fmt: skip


class _Stepping(ctypes.Structure):
    """`stepping_t` of kernel_time.h."""

    _fields_ = [
        *((name, _double) for name in ("weight", "close", "same", "step", "shortest")),
        ("rounds", _long), ("tired", _long), ("fresh", _pointer),
    ]  # fmt: skip


_ARGUMENTS = {
    "newton": [_pointer, _pointer, _long, _pointer, _pointer, _pointer],
    "small_signal": [_pointer, _long, *[_pointer] * 5],
    "response": [*[_long] * 3, *[_pointer] * 5],
    "noise": [*[_long] * 4, *[_pointer] * 7, _long, *[_pointer] * 2],
    "transient": [_pointer, _pointer, _long, _long, _pointer, _pointer],
}


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        loaded = library(SOURCE, HEADERS, FLAGS)
        for name, arguments in _ARGUMENTS.items():
            getattr(loaded, name).argtypes = arguments
    except FAILURES as error:
        _log.debug("no kernel, NumPy takes its place: %s", error)
        return None
    return loaded


def is_compiled() -> bool:
    """Whether there is a kernel here."""
    return _library() is not None


def compiled(batch: Batch) -> Compiled | None:
    """`batch` for C; None where that cannot be."""
    loaded = _library()
    return Compiled(loaded, batch) if loaded else None


class Compiled:
    """A batch as C sees it. Arrays that it names are the batch's own, and may change in place."""

    def __init__(self, loaded: ctypes.CDLL, batch: Batch) -> None:
        self._c, self._batch = loaded, batch
        nets = np.array(sorted(batch.netlist.nets.values()), dtype=LONG)
        inner = np.unique(batch.places[batch.places >= 0])
        self._kept: dict[str, NDArray[Any]] = {}
        self._of = _Batch(
            size=batch.netlist.size, transistors=len(batch.places), nets=len(nets),
            inner=len(inner), thermal=batch.thermal, triode=batch.triode,
            numbers=(_pointer * len(batch.numbers))(*(own.ctypes.data for own in batch.numbers)),
        )  # fmt: skip
        self._set(
            net_places=nets, inner_places=inner.astype(LONG), places=batch.places.astype(LONG),
            sign=batch.sign, conductance=batch.conductance, storage=batch.storage,
            forced=batch.forced, gate=batch.gate, overlap=batch.overlap, junction=batch.junction,
            faint=batch.faint,
        )  # fmt: skip

    def _set(self, **arrays: NDArray[Any]) -> None:
        for name, array in arrays.items():
            own = self._kept[name] = np.ascontiguousarray(array)
            setattr(self._of, name, own.ctypes.data)

    def _call(self, name: str, *arguments: Any) -> None:
        """With pointers to arrays, which C does not change the shape of."""
        given = [each.ctypes.data if isinstance(each, np.ndarray)
                 else ctypes.addressof(each) if isinstance(each, ctypes.Structure) else each
                 for each in arguments]  # fmt: skip
        if getattr(self._c, name)(*given):
            raise MemoryError("no memory for the kernel")

    def newton(
        self, x: FloatArray, rows: IntArray, bounds: tuple[IntArray, FloatArray, FloatArray],
        **ramp: float,
    ) -> tuple[FloatArray, BoolArray]:  # fmt: skip
        """As `Batch._newton`; nan where it does not converge."""
        outer, low, high = bounds
        self._of.outer = len(outer)
        self._set(outer_places=outer.astype(LONG), low=low, high=high)
        x, done = np.array(x, dtype=float, order="C"), np.zeros(len(rows), dtype=bool)
        self._call("newton", self._of, _Ramp(**ramp), len(rows), rows.astype(LONG), x, done)
        return x, done

    def small_signal(
        self, x: FloatArray, rows: IntArray
    ) -> tuple[FloatArray, FloatArray, Point]:  # fmt: skip
        """As `Batch.small_signal`."""
        size, r = self._of.size, len(rows)
        conductance, storage = np.empty((r, size, size)), np.empty((r, size, size))
        points = np.empty((len(Point._fields), r, self._of.transistors))
        self._call("small_signal", self._of, r, rows.astype(LONG), np.ascontiguousarray(x),
                   conductance, storage, points)  # fmt: skip
        return conductance, storage, Point(*points)

    def response(
        self, conductance: FloatArray, storage: FloatArray, omega: FloatArray, small: FloatArray
    ) -> NDArray[Any]:
        """As `Batch.response`, of frequencies in radians a second, shape (n, f)."""
        size, omega = self._of.size, np.ascontiguousarray(omega)
        found = np.empty((*omega.shape, size + 1), dtype=complex)
        given = [np.ascontiguousarray(each) for each in (conductance, storage, small)]
        self._call("response", size, *omega.shape, *given, omega, found)
        return found

    def noise(
        self, conductance: FloatArray, storage: FloatArray, omega: FloatArray, pick: FloatArray,
        ends: Sequence[tuple[int, int]], white: FloatArray, flicker: FloatArray, source: int,
    ) -> tuple[FloatArray, FloatArray]:  # fmt: skip
        """Density at the output `pick` (size + 1), and gain from the input, each shape (n, f).

        Currents between `ends` have densities `white` + `flicker` / omega, each (n, p), A^2/Hz.
        """
        omega = np.ascontiguousarray(omega)
        out, gain = np.empty(omega.shape), np.empty(omega.shape)
        self._call(
            "noise", self._of.size, *omega.shape, len(ends), np.ascontiguousarray(conductance),
            np.ascontiguousarray(storage), omega, pick, np.array(ends, dtype=LONG),
            np.ascontiguousarray(white), np.ascontiguousarray(flicker), source, out, gain,
        )  # fmt: skip
        return out, gain

    def transient(
        self, x: FloatArray, times: FloatArray, moved: FloatArray, plus: Sequence[int],
        minus: Sequence[int], fresh: Collection[int], **settings: float,
    ) -> FloatArray:  # fmt: skip
        """Unknowns at `times`, as of `transient`; sources are `moved` (s, n, t) from their DC
        values, which goes to the residuals at `plus` and, negative, at `minus`."""
        rounds = np.zeros(int(settings["rounds"]), dtype=bool)
        rounds[list(fresh)] = True
        times = np.ascontiguousarray(times)
        self._of.sources = len(moved)
        self._set(moved=moved, plus=np.array(plus, dtype=LONG), minus=np.array(minus, dtype=LONG))
        found = np.full((*times.shape, x.shape[1]), np.nan)
        found[:, 0] = x
        settled = _Stepping(fresh=rounds.ctypes.data, **settings)
        self._call("transient", self._of, settled, *times.shape, times, found)
        return found
