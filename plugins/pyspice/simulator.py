"""ngspice through PySpice: a session in each worker, and a process of its own for a cold run."""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from m3eda_plugins.ngspice.deck import option_text
from m3eda_plugins.pyspice.child import ANSWER, TASK, Answer, Task

from m3eda.design.types import Value
from m3eda.errors import DesignError, Mistake, SimulatorMissing
from m3eda.simulate.process import Completed, answer_of, run_process
from m3eda.simulate.types import Deck, Session, SimulationFailed, State, Waveforms

NO_PYSPICE = "the simulator pyspice needs PySpice: pip install 'm3eda[pyspice]'"
NO_LIBRARY = (
    "the simulator pyspice needs libngspice: `apt install libngspice0` (Debian, Ubuntu), "
    "`dnf install libngspice` (Fedora), `brew install libngspice` (macOS)"
)
_CHILD = (sys.executable, "-c", "from m3eda_plugins.pyspice.child import main; main()")
_VERSION_TIMEOUT = 60.0
_NOT_HERE = ("program", "memory")


class PySpiceNgspice:
    """A `WarmSimulator`; its options are those of the plugin."""

    name = "pyspice"

    def __init__(self, options: Mapping[str, Value] | None = None) -> None:
        given = dict(options or {})
        spiceinit = str(given.pop("spiceinit", ""))
        for key in _NOT_HERE:
            if key in given:
                text = f"pyspice has no option '{key}'"
                raise DesignError(
                    [Mistake(text, key=f"simulator.options.{key}", hint="ngspice has")]
                )
        try:
            option_text(given)
            self._spiceinit = _start_file(spiceinit)
        except ValueError as error:
            raise DesignError([Mistake(str(error), key="simulator.options")]) from error
        self._options = given
        self._lock = threading.Lock()
        self._version = ""

    def available(self) -> str:
        """The versions, such as `pyspice-1.5/ngspice-39.3`; found out once."""
        with self._lock:
            self._version = self._version or _version()
            return self._version

    def open(self, rundir: Path, *, strict: bool) -> Session:
        """A session on the libngspice of this process. Raises SimulatorMissing."""
        _look_for_pyspice()
        from m3eda_plugins.ngspice.library import LibraryMissing
        from m3eda_plugins.ngspice.session import NgspiceSession
        from m3eda_plugins.pyspice.library import PySpiceLibrary

        try:
            library = PySpiceLibrary(rundir, self._spiceinit)
        except LibraryMissing as error:
            raise SimulatorMissing(f"{error}; {NO_LIBRARY}") from error
        session: Session = NgspiceSession(library, self._options, strict=strict)
        return session

    def run(self, deck: Deck, rundir: Path, timeout: float) -> Waveforms:
        """Run `deck` in a process that ends with it."""
        self.available()
        (rundir / "deck.cir").write_text(deck.text, encoding="utf-8", newline="\n")
        plain = replace(deck, skeleton=None, fills=())
        task = Task(plain, self._options, self._spiceinit)
        (rundir / TASK).write_bytes(pickle.dumps(task))
        completed = run_process(_CHILD, rundir, timeout, _environment(), stem="deck")
        return _result(completed, rundir, timeout)


def _result(completed: Completed, rundir: Path, timeout: float) -> Waveforms:
    """What the child left. Raises SimulationFailed."""
    log = completed.stderr[-2000:]
    if completed.timed_out:
        raise SimulationFailed(State.TIMEOUT, f"no result within {timeout:g} s", log, rundir)
    if completed.signal:
        raise SimulationFailed(State.CRASH, f"ngspice died of {completed.signal}", log, rundir)
    try:
        answer: Answer = pickle.loads((rundir / ANSWER).read_bytes())
    except (OSError, EOFError, pickle.UnpicklingError) as error:
        last = (completed.stderr.strip().splitlines() or ["and said nothing"])[-1]
        raise SimulationFailed(State.CRASH, f"PySpice stopped: {last}", log, rundir) from error
    finally:
        for name in (TASK, ANSWER):
            (rundir / name).unlink(missing_ok=True)
    if answer.waveforms is None:
        raise SimulationFailed(answer.state, answer.reason, answer.log, rundir)
    waveforms: Waveforms = replace(answer.waveforms, seconds=completed.seconds)
    return waveforms


def _start_file(option: str) -> str:
    """The text that `spiceinit` stands for, the user's own `~/.spiceinit` where it is left out.

    Raises ValueError.
    """
    if option == "none":
        return ""
    path = Path(option) if option else Path.home() / ".spiceinit"
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        if not option:
            return ""
        raise ValueError(f"there is no file {option}") from error


def _look_for_pyspice() -> None:
    if find_spec("PySpice") is None:
        raise SimulatorMissing(NO_PYSPICE)


def _version() -> str:
    _look_for_pyspice()
    with tempfile.TemporaryDirectory(prefix="m3eda-") as folder:
        try:
            told = answer_of(
                [*_CHILD, "version"],
                _VERSION_TIMEOUT,
                folder=Path(folder),
                environment=_environment(),
            )
        except OSError as error:
            raise SimulatorMissing(f"PySpice does not start ({error}); {NO_PYSPICE}") from error
    if told.returncode == 0 and told.stdout.startswith("pyspice-"):
        return told.stdout.strip()
    last = (told.stderr.strip().splitlines() or ["it said nothing"])[-1]
    raise SimulatorMissing(f"PySpice does not start ({last}); {NO_LIBRARY}")


def _environment() -> dict[str, str]:
    """A child's: it finds modules where this process does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
