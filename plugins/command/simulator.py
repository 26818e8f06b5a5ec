"""Any simulator that reads a netlist and writes CSV or PSF ASCII, started by a command template."""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from m3eda_plugins.command.options import PLACEHOLDERS, PYTHON, filled, read_options
from m3eda_plugins.command.results import (
    Unusable,
    analyses,
    missing,
    read_meas_files,
    read_results,
)

from m3eda.design.types import Value
from m3eda.errors import SimulatorMissing
from m3eda.simulate.process import Completed, answer_of, run_process
from m3eda.simulate.types import Deck, SimulationFailed, State, Waveforms

_VERSION_TIMEOUT = 60.0
_LARGEST_FILE = 8_000_000_000  # bytes a run may write into one file, so that none fills the disk
_LARGEST_SCRIPT = 1 << 20  # bytes of one that are looked at
_TAIL = 2000  # characters of a log
_VERSION = re.compile(r"[A-Z]-\d{4}\.\d{2}[\w.-]*|\d+(?:\.\w+)+")
_ERRORS = [re.compile(text, re.IGNORECASE) for text in (r"\b(error|fatal)\s*[(:*]", r"\berror\b")]
"""How a line begins that says what is wrong, and how one that may."""


class CommandSimulator:
    """A simulator that starts a process a run; its options are those of the plugin."""

    name = "command"
    takes_options = False
    """Its dialect is not known: `.option` lines may mean nothing in it."""

    def __init__(self, options: Mapping[str, Value] | None = None) -> None:
        self._options = read_options(options or {})
        self._lock = threading.Lock()
        self._found: tuple[str, str] | None = None

    def available(self) -> str:
        """Such as `command spectre 21.1.0`: the program is asked once, by the option `version`."""
        with self._lock:
            if self._found is None:
                path = _program(self._options.command[0])
                label = Path(path).name
                if self._options.version:
                    label = f"{label} {_version(self._options.version)}"
                self._found = path, f"{self.name} {label}"
            return self._found[1]

    def start_file(self) -> str:
        """The scripts that the command names, and size and date of a program that tells no version:
        results of others are not theirs."""
        self.available()
        assert self._found is not None
        program = Path(self._found[0])
        files = [program, *map(Path, self._options.command[1:])]
        texts = [_script(path) for path in files if path.is_absolute()]
        if not self._options.version and not texts[0] and self._options.command[0] != PYTHON:
            status = program.stat()
            texts[0] = f"{status.st_size} {status.st_mtime_ns}"
        return "\0".join(texts)

    def run(self, deck: Deck, rundir: Path, timeout: float) -> Waveforms:
        """Run the command in `rundir` on the deck as it is; its files stay there."""
        self.available()
        options = self._options
        (rundir / options.deck_name).write_text(deck.text, encoding="utf-8", newline="\n")
        values = self._values(deck, rundir, timeout)
        completed = self._process([filled(word, values) for word in options.command[1:]],
                                  rundir, timeout)  # fmt: skip
        log = self._log(completed, rundir, values)
        tail = log[-_TAIL:]
        if completed.timed_out:
            raise SimulationFailed(State.TIMEOUT, f"no result within {timeout:g} s", tail, rundir)
        try:
            if bad := self._bad_end(completed):
                raise Unusable(bad)
            found = read_results(options, rundir, values)
        except Unusable as error:
            state, reason = self._why(log, str(error), completed)
            raise SimulationFailed(state, reason, tail, rundir) from error
        made = analyses(found, deck, options)
        if lost := missing(deck, made, found):
            raise SimulationFailed(State.VECTOR_MISSING, lost, tail, rundir)
        meas = read_meas_files(options, rundir, values) if deck.meas else {}
        named = {name: meas[name.lower()] for name in deck.meas if name.lower() in meas}
        return Waveforms(tuple(made), named, completed.seconds, tail, completed.cpu_seconds)

    def _values(self, deck: Deck, rundir: Path, timeout: float) -> dict[str, str]:
        given = (self._options.deck_name, rundir, deck.testbench, deck.corner,
                 f"{timeout:g}", sys.executable)  # fmt: skip
        return dict(zip(PLACEHOLDERS, map(str, given), strict=True))

    def _process(self, words: list[str], rundir: Path, timeout: float) -> Completed:
        assert self._found is not None
        program = self._found[0]
        try:
            return run_process(
                [program, *words], rundir, timeout, stem="command", file_size=_LARGEST_FILE
            )
        except OSError as error:
            if os.access(program, os.X_OK) and error.filename != program:
                raise
            reason = error.strerror or str(error)
            raise SimulatorMissing(f"{program} does not start: {reason}") from error

    def _log(self, completed: Completed, rundir: Path, values: Mapping[str, str]) -> str:
        text = f"{completed.stdout}\n{completed.stderr}".strip()
        if not self._options.log:
            return text
        path = rundir / filled(self._options.log, values)
        try:
            return f"{text}\n{path.read_text(encoding='utf-8', errors='replace')}".strip()
        except OSError:
            return text

    def _bad_end(self, completed: Completed) -> str:
        assert self._found is not None
        name = Path(self._found[0]).name
        if completed.signal:
            return f"{name} died of {completed.signal}"
        if completed.returncode not in self._options.exit_codes:
            return f"{name} ended with exit code {completed.returncode}"
        return ""

    def _why(self, log: str, problem: str, completed: Completed) -> tuple[State, str]:
        """State and reason of a run that gave not all that it had to, by what its log says."""
        if completed.signal:
            return State.CRASH, problem
        lines = [line.strip() for line in log.splitlines()]
        for state, pattern in self._options.patterns.items():
            line = next((line for line in lines if pattern.search(line)), "")
            if line:
                return state, line
        line = next((line for error in _ERRORS for line in lines if error.search(line)), "")
        return State.CRASH, f"{problem}: {line}" if line else problem


def _program(word: str) -> str:
    """The absolute path of the program. Raises SimulatorMissing."""
    if word == PYTHON:
        return sys.executable
    path = shutil.which(os.path.expandvars(os.path.expanduser(word)))
    if path is None:
        hint = "it is the first word of simulator.options.command"
        raise SimulatorMissing(f"there is no program '{word}' ({hint})")
    return os.path.abspath(path)


def _script(path: Path) -> str:
    """The text of a script, empty where `path` is a program or no file."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_SCRIPT)
    except OSError:
        return ""
    return "" if b"\0" in content else content.decode("utf-8", errors="replace")


def _version(words: tuple[str, ...]) -> str:
    """What the version command tells: a version number in it, else its first line.

    Raises SimulatorMissing.
    """
    try:
        told = answer_of([_program(words[0]), *words[1:]], _VERSION_TIMEOUT)
    except OSError as error:
        raise SimulatorMissing(f"`{' '.join(words)}` does not run: {error}") from error
    text = f"{told.stdout}\n{told.stderr}".strip()
    if not text:
        raise SimulatorMissing(f"`{' '.join(words)}` tells no version")
    match = _VERSION.search(text)
    return match[0] if match else text.splitlines()[0].strip()
