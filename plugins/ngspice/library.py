"""libngspice in this process, by its C interface: commands, circuits, vectors, what it prints.

Binds the functions of `ngspice/sharedspice.h` (ngspice manual, "ngspice as shared library"). There
is one library a process, and it holds one circuit of ours at a time. It never says in a return
value whether a circuit or a run is any good: judge by the vectors that arrive.
"""

from __future__ import annotations

import ctypes.util
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cffi
import numpy as np
from numpy.typing import NDArray

_DECLARATIONS = """
typedef struct { double cx_real; double cx_imag; } ngcomplex_t;
typedef struct {
    char *v_name; int v_type; short v_flags;
    double *v_realdata; ngcomplex_t *v_compdata; int v_length;
} vector_info;
typedef int (SendChar)(char *, int, void *);
typedef int (ControlledExit)(int, _Bool, _Bool, int, void *);
int ngSpice_Init(SendChar *, void *, ControlledExit *, void *, void *, void *, void *);
int ngSpice_Command(char *);
int ngSpice_Circ(char **);
vector_info *ngGet_Vec_Info(char *);
char **ngSpice_AllPlots(void);
char **ngSpice_AllVecs(char *);
"""
_TYPES = ("notype", "time", "frequency", "voltage", "current", "voltage-density",
          "current-density", "voltage^2-density", "current^2-density", "voltage^2", "current^2",
          "pole", "zero", "s-param", "temp-sweep", "res-sweep", "impedance", "admittance", "power",
          "phase", "decibel", "capacitance", "charge")  # fmt: skip
_RUNS_A_FLUSH = 200  # the command history grows by 2.5 kB a run
_LINES = 5000  # a run that prints without end must not fill the memory
_SETTINGS = {"NGSPICE_MEAS_PRECISION": "16", "OMP_THREAD_LIMIT": "1", "LC_NUMERIC": "C"}


class LibraryMissing(Exception):
    """There is no libngspice, or it does not load; the reason in one line."""


@dataclass(frozen=True)
class Vector:
    """A vector of a plot, by ngspice's own name, such as `out`, `vdd#branch` or `@m1[gm]`."""

    name: str
    type: str
    """Such as voltage, current, frequency."""
    data: NDArray[Any]
    """Shape (n,), complex or real; a copy."""


def library_path() -> str:
    """What to load: NGSPICE_LIBRARY_PATH, else the one the system finds."""
    named = os.environ.get("NGSPICE_LIBRARY_PATH")
    return named or ctypes.util.find_library("ngspice") or "libngspice.so.0"


class Library:
    """The one libngspice of this process. Get it by `shared`."""

    def __init__(self, rundir: Path, spiceinit: str) -> None:
        self.spiceinit = spiceinit
        self.exited = False
        """True where ngspice asked for the end of the process: it cannot be used any more."""
        self._lines: list[bytes] = []
        self._runs = 0
        with _start(rundir, spiceinit):
            self._initialise()
        match = re.search(r"ngspice-[\w.+-]+", self.log()[0])
        self.version = match[0] if match else ""
        """Such as `ngspice-39`."""
        self.command("set num_threads=1")
        self.seed = self._random_seed()
        """What the random numbers of every run start from, as in a process of its own."""
        self.clear_log()

    def _initialise(self) -> None:
        """Load libngspice and set its callbacks. Raises LibraryMissing."""
        self._ffi: Any = cffi.FFI()
        self._ffi.cdef(_DECLARATIONS)
        try:
            self._lib: Any = self._ffi.dlopen(library_path())
            init = self._lib.ngSpice_Init
        except (OSError, AttributeError) as error:
            raise LibraryMissing(f"libngspice does not load ({error})") from error
        # kept: ngspice calls them as long as the process lives
        self._print = self._ffi.callback("SendChar", self._printed)
        self._exit = self._ffi.callback("ControlledExit", self._exits)
        null = self._ffi.NULL
        init(self._print, null, self._exit, null, null, null, null)

    def _printed(self, text: Any, _ident: int, _user: Any) -> int:
        if len(self._lines) >= _LINES:
            del self._lines[_LINES // 2 : -_LINES // 4]
        self._lines.append(self._ffi.string(text))
        return 0

    def _exits(self, *_: Any) -> int:
        self.exited = True
        return 0

    def _random_seed(self) -> int:
        self.clear_log()
        self.command("echo $rndseed")
        match = re.search(r"\d+", self.log()[0])
        return int(match[0]) if match else 1

    def command(self, text: str) -> None:
        self._lib.ngSpice_Command(text.encode())

    def load(self, lines: Iterable[str]) -> None:
        """Make `lines`, a whole netlist with title and `.end`, the circuit."""
        kept = [self._ffi.new("char[]", line.encode()) for line in lines]
        self._lib.ngSpice_Circ([*kept, self._ffi.NULL])

    def run(self) -> None:
        """Run the circuit's analyses; their plots are then there."""
        self.command("run")
        self._runs += 1
        if self._runs % _RUNS_A_FLUSH == 0:
            self._lib.ngSpice_Command(self._ffi.NULL)

    def plots(self) -> list[str]:
        """Names of the plots, such as `ac1`, in the order in which they were made."""
        return [name for name in self._strings(self._lib.ngSpice_AllPlots()) if name != "const"][
            ::-1
        ]

    def plot_list(self) -> list[bytes]:
        """The same as it is, `const` last: to compare with another time."""
        array = self._lib.ngSpice_AllPlots()
        found: list[bytes] = []
        while array[len(found)]:
            found.append(self._ffi.string(array[len(found)]))
        return found

    def vectors(self, plot: str) -> list[str]:
        """ngspice's names of a plot's vectors, the scale among them."""
        return list(self._strings(self._lib.ngSpice_AllVecs(plot.encode())))

    def vector(self, plot: str, name: str) -> Vector | None:
        """A vector of a plot, None where it is not there."""
        info = self._lib.ngGet_Vec_Info(f"{plot}.{name}".encode())
        if not info:
            return None
        kind = _TYPES[info.v_type] if 0 <= info.v_type < len(_TYPES) else "notype"
        return Vector(name, kind, self._array(info))

    def data(self, name: bytes) -> NDArray[Any] | None:
        """The data of the vector of this whole name, `ac1.out`; None where it is not there."""
        info = self._lib.ngGet_Vec_Info(name)
        return self._array(info) if info else None

    def _array(self, info: Any) -> NDArray[Any]:
        kind: Any = np.complex128 if info.v_compdata else np.float64
        pointer = info.v_compdata or info.v_realdata
        if not pointer or not info.v_length:
            return np.empty(0)
        size = info.v_length * np.dtype(kind).itemsize
        data: NDArray[Any] = np.frombuffer(self._ffi.buffer(pointer, size), kind).copy()
        return data

    def _strings(self, array: Any) -> Iterator[str]:
        index = 0
        while array and array[index]:
            yield self._ffi.string(array[index]).decode(errors="replace")
            index += 1

    def clear_log(self) -> None:
        self._lines.clear()

    def lines(self) -> tuple[bytes, ...]:
        """What was printed since `clear_log`, each line behind `stdout ` or `stderr `."""
        return tuple(self._lines)

    def log(self) -> tuple[str, str]:
        """What was printed since `clear_log`: standard output and standard error."""
        out, err = [], []
        for line in self._lines:
            text = line.decode(errors="replace")
            if text.startswith("stderr "):
                err.append(text[7:])
            else:
                out.append(text.removeprefix("stdout "))
        return "\n".join(out), "\n".join(err)


@contextmanager
def _start(rundir: Path, spiceinit: str) -> Iterator[None]:
    """The surroundings in which libngspice reads `spiceinit` as its start file, and no other.

    It looks into the working directory first, some builds into SPICE_USERINIT_DIR before.
    """
    before, folder = Path.cwd(), os.environ.get("SPICE_USERINIT_DIR")
    os.environ.update(_SETTINGS)
    os.environ.setdefault("HOME", str(rundir))
    (rundir / ".spiceinit").write_text(spiceinit, encoding="utf-8")
    os.environ["SPICE_USERINIT_DIR"] = str(rundir)
    os.chdir(rundir)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.pop("SPICE_USERINIT_DIR")
        if folder is not None:
            os.environ["SPICE_USERINIT_DIR"] = folder


_library: Library | None = None


def shared(rundir: Path, spiceinit: str) -> Library:
    """The library, started at the first call, with files of its own in `rundir`.

    Raises LibraryMissing, also where it runs already with another start file.
    """
    global _library
    if _library is None:
        _library = Library(rundir, spiceinit)
    if _library.spiceinit != spiceinit:
        raise LibraryMissing("libngspice runs in this process with another .spiceinit")
    return _library
