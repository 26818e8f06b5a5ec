"""ngspice by subprocess: `ngspice -b` on a deck of its own, results from its raw file; and the
same with sessions in libngspice, where that is installed.

Three steps apart: `ngspice_deck.prepare` writes decks, `run_process` runs them, `ngspice_results`
reads what they gave; another way of running shares the first and the last.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from m3eda_plugins.ngspice.deck import Pass, option_text, prepare
from m3eda_plugins.ngspice.log import meas_results, tail, unrecognized
from m3eda_plugins.ngspice.multipliers import check_multipliers
from m3eda_plugins.ngspice.results import Result, analyses, invented, missing, results
from m3eda_plugins.ngspice.verdict import judge

from m3eda.design.types import Value
from m3eda.errors import DesignError, Mistake, SimulatorMissing
from m3eda.simulate.process import Completed, address_space, answer_of, run_process
from m3eda.simulate.rawfile import RawFileError, read_raw
from m3eda.simulate.types import Deck, OnlyCold, Session, SimulationFailed, State, Waveforms

INSTALL = (
    "install it: `apt install ngspice` (Debian, Ubuntu), `dnf install ngspice` (Fedora), "
    "`brew install ngspice` (macOS)"
)
_VERSION_TIMEOUT = 20.0
_LARGEST_FILE = 8_000_000_000  # bytes a run may write into one file, so that none fills the disk
_COLD = (
    ": every simulation starts a process of its own (libngspice of the same version, such as that "
    "of `apt install libngspice0`, makes them several times faster)"
)
_OWN_OPTIONS = ("program", "spiceinit", "memory")


class NgspiceBatch:
    """A simulator that starts one process a pass; its options are those of the plugin."""

    name = "ngspice"

    def __init__(self, options: Mapping[str, Value] | None = None) -> None:
        given = dict(options or {})
        own = {key: given.pop(key) for key in _OWN_OPTIONS if key in given}
        self._program = str(own.get("program", "ngspice"))
        self._spiceinit = str(own.get("spiceinit", ""))
        if self._spiceinit not in ("", "none"):  # a worker has a working directory of its own
            self._spiceinit = str(Path(self._spiceinit).absolute())
        self.options = given
        try:
            option_text(given)
            self._memory = address_space(own["memory"]) if "memory" in own else 0
        except ValueError as error:  # a NumberError too
            raise DesignError([Mistake(str(error), key="simulator.options")]) from error
        if self._spiceinit not in ("", "none") and not Path(self._spiceinit).is_file():
            raise DesignError(
                [Mistake(f"there is no file {self._spiceinit}", key="simulator.options.spiceinit")]
            )
        self._lock = threading.Lock()
        self._found: tuple[str, str] | None = None

    def available(self) -> str:
        """The version, such as `ngspice-39`; asked of the program once."""
        with self._lock:
            if self._found is None:
                path = shutil.which(os.path.expanduser(self._program))
                if path is None:
                    raise SimulatorMissing(f"there is no program '{self._program}'; {INSTALL}")
                self._found = os.path.abspath(path), _version(path)
            return self._found[1]

    @property
    def path(self) -> str:
        """The program that is started."""
        self.available()
        assert self._found is not None
        return self._found[0]

    def run(self, deck: Deck, rundir: Path, timeout: float) -> Waveforms:
        """Run the deck's passes one after the other; all its files stay in `rundir`."""
        self.available()
        check_multipliers(deck, self.start_file())
        passes = prepare(deck, self.options)
        environment = self._environment(rundir)
        found: list[Result] = []
        bad: set[str] = set()
        meas: dict[str, float] = {}
        seconds, cpu, log = 0.0, 0.0, ""
        for one in passes:
            (rundir / one.deck_file).write_text(one.text, encoding="utf-8", newline="\n")
            completed = self._process(one, rundir, timeout - seconds, environment)
            seconds += completed.seconds
            cpu += completed.cpu_seconds
            log = tail(completed.stdout, completed.stderr)
            part = _judged(one, completed, deck, rundir, timeout)
            found += part
            bad |= invented(part, unrecognized(completed.stderr))
            meas.update(meas_results(completed.stdout, [name.lower() for name in deck.meas]))
        made = analyses(found, deck, bad)
        if lost := missing(deck, made, found):
            raise SimulationFailed(State.VECTOR_MISSING, lost, log, rundir)
        named = {name: meas[name.lower()] for name in deck.meas if name.lower() in meas}
        return Waveforms(tuple(made), named, seconds, log, cpu)

    def _process(
        self, one: Pass, rundir: Path, timeout: float, environment: Mapping[str, str]
    ) -> Completed:
        program = self.path
        flags = ["-n"] if self._spiceinit == "none" else []
        try:
            return run_process(
                [program, *flags, "-b", one.deck_file],
                rundir,
                timeout,
                environment,
                stem=one.stem,
                memory=self._memory,
                file_size=_LARGEST_FILE,
            )
        except OSError as error:
            if os.access(program, os.X_OK):
                raise
            raise SimulatorMissing(f"{program} is gone; {INSTALL}") from error

    def start_file(self) -> str:
        """What stands in the `.spiceinit` that a run in an empty directory reads."""
        if self._spiceinit == "none":
            return ""
        if self._spiceinit:
            candidates = [Path(self._spiceinit)]
        else:
            folders = [os.environ.get(name) for name in ("SPICE_USERINIT_DIR", "HOME")]
            names = (".spiceinit", "spice.rc")
            candidates = [Path(folder, name) for folder in folders if folder for name in names]
        found = next((path for path in candidates if os.access(path, os.R_OK)), None)
        return found.read_text(encoding="utf-8", errors="surrogateescape") if found else ""

    def _environment(self, rundir: Path) -> dict[str, str]:
        added = {"NGSPICE_MEAS_PRECISION": "16", "OMP_THREAD_LIMIT": "1", "LC_NUMERIC": "C"}
        if "HOME" not in os.environ:
            added["HOME"] = str(rundir)  # ngspice 39 dies of SIGSEGV without one
        if self._spiceinit not in ("", "none"):
            shutil.copyfile(self._spiceinit, rundir / ".spiceinit")
            added["SPICE_USERINIT_DIR"] = str(rundir)
        return {**os.environ, **added}


class Ngspice(NgspiceBatch):
    """A `WarmSimulator`: `run` starts a process, `open` keeps circuits loaded in this one."""

    name = "ngspice"

    def open(self, rundir: Path, *, strict: bool) -> Session:
        """See `WarmSimulator.open`. Raises OnlyCold where there is no libngspice to use."""
        if _is_script(self.path):
            # it may set licences, paths, a container: the library would go past all that
            raise OnlyCold(f"{self.path} is a script: it is started for every simulation")
        try:
            from m3eda_plugins.ngspice.library import LibraryMissing, shared
            from m3eda_plugins.ngspice.session import NgspiceSession
        except ImportError as error:
            raise OnlyCold(f"{error}{_COLD}") from error
        try:
            library = shared(rundir, self.start_file())
        except LibraryMissing as error:
            raise OnlyCold(f"{error}{_COLD}") from error
        if library.version != self.available():
            raise OnlyCold(
                f"libngspice is {library.version} and the program {self.available()}{_COLD}"
            )
        _limit_growth(self._memory)
        session: Session = NgspiceSession(library, self.options, strict=strict)
        return session


def _limit_growth(memory: int) -> None:
    """Let this process take `memory` bytes of address space beyond what it has; 0 for no limit."""
    if not memory or sys.platform != "linux":
        return
    import resource

    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    with suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (now + memory, resource.RLIM_INFINITY))


def _is_script(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def _version(path: str) -> str:
    try:
        told = answer_of([path, "--version"], _VERSION_TIMEOUT)
    except OSError as error:
        raise SimulatorMissing(f"{path} does not run ({error}); {INSTALL}") from error
    match = re.search(r"ngspice-[\w.+-]+", told.stdout + told.stderr)
    if match is None:
        raise SimulatorMissing(f"{path} is not ngspice: it does not tell its version; {INSTALL}")
    return match[0]


def _judged(
    one: Pass, completed: Completed, deck: Deck, rundir: Path, timeout: float
) -> list[Result]:
    """The results of a pass. Raises SimulationFailed where not all that it had to give is there."""
    log = tail(completed.stdout, completed.stderr)
    found = _read(rundir / one.raw_file)
    if completed.timed_out:
        reason = f"no result within {timeout:g} s{_progress(found)}"
        raise SimulationFailed(State.TIMEOUT, reason, log, rundir)
    died = ""
    if completed.signal:
        died = f"ngspice died of {completed.signal}"
        if completed.signal == "SIGXFSZ":
            died = f"ngspice wrote a file of more than {_LARGEST_FILE / 1e9:g} GB"
    try:
        judge(one, found, deck.text, completed.stdout, completed.stderr, died)
    except SimulationFailed as failure:
        failure.log, failure.rundir = log, rundir
        raise
    return found


def _read(path: Path) -> list[Result]:
    try:
        found: list[Result] = results(read_raw(path))
    except (FileNotFoundError, RawFileError):
        return []
    return found


def _progress(found: list[Result]) -> str:
    last = found[-1] if found else None
    if last is None or last.kind != "tran" or not last.points:
        return ""
    return f": the transient had reached t = {float(last.plot.data[-1, 0]):.4g} s"
