"""libngspice through PySpice's NgSpiceShared, mended where it misjudges ngspice 37 and later.

PySpice 1.5 knows ngspice up to version 34, looks for `libngspice.so`, which distributions ship for
development alone, and takes every line on standard error for a failure, notes of BSIM4 included.
Imports PySpice: only in processes of its own, since it changes the locale and loads libngspice.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from m3eda_plugins.ngspice.library import Library, LibraryMissing, library_path
from PySpice.Spice.NgSpice.Shared import NgSpiceShared, ffi
from PySpice.Spice.NgSpice.SimulationType import SIMULATION_TYPE

_RELEASED_EVERY = 2000
"""Commands; each is kept by ngspice until its history is released."""
_LINES = 5000  # a run that prints without end must not fill the memory


class MendedNgSpiceShared(NgSpiceShared):  # type: ignore[misc]  # PySpice has no types
    """NgSpiceShared that judges nothing: whether a run is good is told by its vectors."""

    NUMBER_OF_EXEC_CALLS_TO_RELEASE_MEMORY = _RELEASED_EVERY

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        """What ngspice printed, oldest first, each behind `stdout ` or `stderr `."""
        self.exited = False
        """True where ngspice asked for the end of the process."""
        self.ffi = ffi
        super().__init__()

    @property
    def handle(self) -> Any:
        """libngspice's own functions."""
        return self._ngspice_shared

    @property
    def library_path(self) -> str:
        path: str = library_path()
        return path

    @staticmethod
    def _send_char(message: Any, _ident: int, user: Any) -> int:
        self = ffi.from_handle(user)
        line: bytes = ffi.string(message)
        if len(self.lines) >= _LINES:
            del self.lines[_LINES // 2 : -_LINES // 4]
        self.lines.append(line)
        if line.startswith(b"stdout ") and len(self._stdout) < _LINES:
            self._stdout.append(line[7:].decode(errors="replace"))
        return 0

    @staticmethod
    def _send_stat(_message: Any, _ident: int, _user: Any) -> int:
        return 0

    @staticmethod
    def _exit(status: int, _at_once: bool, _quit: bool, _ident: int, user: Any) -> int:
        ffi.from_handle(user).exited = True
        return status

    def _get_version(self) -> None:
        super()._get_version()
        # numbers of vector types have not changed since
        SIMULATION_TYPE.setdefault(self._ngspice_version, SIMULATION_TYPE["last"])


class PySpiceLibrary(Library):  # type: ignore[misc]  # Any to mypy, as all of plugins/
    """The library of `NgspiceSession`, its commands and circuits sent by PySpice."""

    def _initialise(self) -> None:
        try:
            self._shared = MendedNgSpiceShared()
        except (OSError, AttributeError) as error:
            raise LibraryMissing(f"libngspice does not load ({error})") from error
        self._ffi = ffi
        self._lib = self._shared.handle
        self._lines = self._shared.lines

    def command(self, text: str) -> None:
        with suppress(NameError):  # how PySpice says that ngspice refused; the vectors will tell
            self._shared.exec_command(text)
        self.exited |= self._shared.exited

    def load(self, lines: Iterable[str]) -> None:
        # PySpice drops empty lines, and a title may be one
        with suppress(NameError):
            self._shared.load_circuit("\n".join(line or "*" for line in lines))
        self.exited |= self._shared.exited
