"""The kinds of errors a user can meet, each with what one needs to act on it.

Every error derives from `M3edaError` and carries the exit code documented in docs/exit_codes.md.
They are caught in one place only, `m3eda.cli`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from traceback import extract_tb


class ExitCode(IntEnum):
    """Exit codes of the command line, worst wins when several apply."""

    SPECS_MET = 0
    SPECS_NOT_MET = 1
    BAD_INPUT = 2
    SIMULATOR = 3
    STORAGE = 4
    INTERNAL = 70
    INTERRUPTED = 130


class M3edaError(Exception):
    """Base of every error that is shown to the user as text, without a traceback."""

    exit_code = ExitCode.BAD_INPUT


@dataclass(frozen=True)
class Mistake:
    """One thing wrong in an input file: where it is, what is wrong and what would be right."""

    message: str
    file: Path | None = None
    line: int | None = None
    """1-based."""
    column: int | None = None
    """1-based."""
    key: str = ""
    """Dotted path of the key, such as `parameters.w_in.min`."""
    hint: str = ""
    """What would be right: the nearest known word, the allowed range."""

    def __str__(self) -> str:
        parts = [str(self.file)] if self.file else []
        parts += [str(n) for n in (self.line, self.column) if n is not None]
        where = ":".join(parts)
        text = f"{self.key}: {self.message}" if self.key else self.message
        if self.hint:
            text = f"{text} ({self.hint})"
        return f"{where}: {text}" if where else text


_LOADERS = re.compile(r"^<frozen |[/\\]importlib[/\\]")
"""Files of Python that import for others."""
_SILENT = {"", "plugin_sources.py"}
_LONGEST = 500
"""Characters of what was raised that are told."""


def cause(error: BaseException) -> str:
    """What a stranger's code raised, and where, on one line: `KeyError: 'r' (plug.py:6)`."""
    frames = extract_tb(error.__traceback__)
    while frames and _LOADERS.search(frames[-1].filename):
        frames.pop()
    at = Path(frames[-1].filename) if frames else Path()
    where = f" ({at.name}:{frames[-1].lineno})" if at.name not in _SILENT else ""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001  its own __str__ fails too
        text = ""
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(words) > _LONGEST:
        words = f"{words[:_LONGEST]}..."
    return f"{type(error).__name__}{f': {words}' if words else ''}{where}"


class DesignError(M3edaError):
    """The design file, or a file it names, is wrong. Carries every mistake found at once."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))

    def __reduce__(self) -> tuple[type[DesignError], tuple[tuple[Mistake, ...]]]:
        """From one process to another with its mistakes."""
        return type(self), (self.mistakes,)


class PluginError(M3edaError):
    """A plugin does not load, breaks the contract or claims a name that is taken."""


class PluginWarning(UserWarning):
    """A plugin that failed, or is odd, in one line; what does not need it goes on."""


class SimulatorMissing(M3edaError):
    """The simulator's program is not installed, or is too old to be used."""

    exit_code = ExitCode.SIMULATOR


class SimulatorBroken(M3edaError):
    """The simulator fails in the same way at every point, so going on would burn the budget."""

    exit_code = ExitCode.SIMULATOR


class ClusterError(M3edaError):
    """A cluster cannot be reached, is lost in mid-run, or its workers lack what they need."""

    exit_code = ExitCode.SIMULATOR


class StorageError(M3edaError):
    """A run directory, ledger or output cannot be written, is damaged or in use by another run."""

    exit_code = ExitCode.STORAGE
