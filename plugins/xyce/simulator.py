"""Xyce by subprocess: one analysis a process, results from its CSV files.

Three steps apart, as with ngspice: the netlist is translated and divided into passes, `run_process`
runs them, and their tables are read and judged by rows and columns; a batch of sizings shares the
first and the last.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from m3eda_plugins.xyce.deck import Pass, option_lines
from m3eda_plugins.xyce.log import diagnose, read_log, tail, undefined
from m3eda_plugins.xyce.measure import PREFIX
from m3eda_plugins.xyce.plan import prepare
from m3eda_plugins.xyce.results import noise_totals, read_measures
from m3eda_plugins.xyce.waves import Incomplete, analyses, names_in, outputs, reached

from m3eda.design.types import Value
from m3eda.errors import DesignError, Mistake, SimulatorMissing
from m3eda.simulate.nearest import not_given
from m3eda.simulate.process import Completed, address_space, answer_of, run_process
from m3eda.simulate.types import (
    Analysis,
    Deck,
    OnlyCold,
    Session,
    SimulationFailed,
    State,
    Waveforms,
)

INSTALL = "get it from https://xyce.sandia.gov (no Debian release has it)"
OLDEST = (7, 4)
"""The first release with `-hspice-ext separator`, for `v(x1.net)` (Release Notes 7.4)."""
STEPPED = (7, 7)
"""The first release with `.options diagnostic`, to tell rows that gmin stepping spoilt (Release
Notes 7.7)."""
FLAGS = ("-hspice-ext", "all", "-quiet")
"""ngspice's meaning of units, functions and names in hierarchies; no dump of every parameter."""

_VERSION_TIMEOUT = 20.0
_LARGEST_FILE = 8_000_000_000  # bytes a run may write into one file, so that none fills the disk
_ATTEMPTS = 3
_OWN_OPTIONS = ("program", "prefix", "memory")
_VERSION = re.compile(
    r"Xyce (?:Release |DEVELOPMENT-(?P<built>\w+)-\((?:Release-)?)(?P<release>\d[\d.]*|[\w]*)"
)


@dataclass
class Gathered:
    """What the passes of a deck have given so far."""

    analyses: list[Analysis] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    meas: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    log: str = ""


class Xyce:
    """A simulator that starts one process a pass; its options are those of the plugin."""

    name = "xyce"
    ahead = 32
    """Sizings of one run at most; see `WarmSimulator`."""

    def __init__(self, options: Mapping[str, Value] | None = None) -> None:
        given = dict(options or {})
        own = {key: given.pop(key) for key in _OWN_OPTIONS if key in given}
        self._program = str(own.get("program", "Xyce"))
        self.options = given
        try:
            option_lines(given)
            self._prefix = shlex.split(str(own.get("prefix", "")))
            self._memory = address_space(own["memory"]) if "memory" in own else 0
        except ValueError as error:  # a NumberError too
            raise DesignError([Mistake(str(error), key="simulator.options")]) from error
        self._lock = threading.Lock()
        self._found: tuple[str, str] | None = None

    def available(self) -> str:
        """The version, such as `xyce-7.8`; asked of the program once."""
        with self._lock:
            if self._found is None:
                path = shutil.which(os.path.expanduser(self._program))
                if path is None:
                    raise SimulatorMissing(f"there is no program '{self._program}'; {INSTALL}")
                if self._prefix and shutil.which(self._prefix[0]) is None:
                    raise SimulatorMissing(
                        f"there is no program '{self._prefix[0]}', which simulator.options.prefix "
                        "starts Xyce with"
                    )
                self._found = os.path.abspath(path), _version(path)
            return self._found[1]

    @property
    def command(self) -> tuple[str, ...]:
        """What starts Xyce, its flags included; the log file and the deck come behind it."""
        self.available()
        assert self._found is not None
        return (*self._prefix, self._found[0], *FLAGS)

    def run(self, deck: Deck, rundir: Path, timeout: float) -> Waveforms:
        """Run the deck's passes one after the other; all its files stay in `rundir`."""
        self.available()
        given = Gathered()
        for one in prepare(deck, self.options, rundir):
            self._patiently(one, deck, rundir, timeout, given)
        if lost := not_given(deck, given.analyses, given.known):
            raise SimulationFailed(State.VECTOR_MISSING, lost, given.log, rundir)
        return Waveforms(
            tuple(given.analyses), given.meas, given.seconds, given.log, given.cpu_seconds
        )

    def open(self, rundir: Path, *, strict: bool) -> Session:
        """See `WarmSimulator.open`. Raises OnlyCold, SimulatorMissing."""
        from m3eda_plugins.xyce.session import XyceSession  # it imports this module

        release = re.match(r"xyce-(\d+)\.(\d+)", self.available())
        if release and tuple(map(int, release.groups())) < STEPPED:
            raise OnlyCold(f"Xyce runs many sizings at once from {'.'.join(map(str, STEPPED))} on")
        if self._prefix:
            raise OnlyCold("simulator.options.prefix starts Xyce for every simulation")
        session: Session = XyceSession(self, rundir, strict=strict)
        return session

    def _patiently(
        self, one: Pass, deck: Deck, rundir: Path, timeout: float, given: Gathered
    ) -> None:
        """Run one pass, once more for what it gives where not all that it was to print is there.

        Xyce looks for nodes first, and only then for values of devices.
        """
        for _ in range(_ATTEMPTS):
            try:
                return self._pass(one, deck, rundir, timeout, given)
            except _Undefined as error:
                one = one.without(error.names)
        self._pass(one, deck, rundir, timeout, given)
        return None

    def _pass(self, one: Pass, deck: Deck, rundir: Path, timeout: float, given: Gathered) -> None:
        """Run one pass and add what it gives. Raises SimulationFailed, and _Undefined."""
        for name in (one.table_file, one.op_file, one.measure_file, one.log_file):
            (rundir / name).unlink(missing_ok=True)  # else an old one may pass for a result
        (rundir / one.deck_file).write_text(one.text, encoding="utf-8", newline="\n")
        completed = self.process(one.deck_file, one.log_file, rundir, timeout - given.seconds)
        given.seconds += completed.seconds
        given.cpu_seconds += completed.cpu_seconds
        log = read_log(rundir / one.log_file)
        given.log = tail(log, completed.stdout, completed.stderr)
        if completed.timed_out:
            at = reached(one, rundir)
            progress = "" if at is None else f": the transient had reached t = {at:.4g} s"
            reason = f"no result within {timeout:g} s{progress}"
            raise SimulationFailed(State.TIMEOUT, reason, given.log, rundir)
        try:
            tables = outputs(one, rundir)
            given.analyses += analyses(one, tables, noise_totals(log))
            given.known |= names_in(tables)
            shortfall = ""
        except Incomplete as reason:
            shortfall = str(reason)
        if shortfall or completed.returncode:
            failure = self._failure(one, completed, deck, log, shortfall)
            failure.log, failure.rundir = given.log, rundir
            raise failure
        if one.meas:
            text = read_log(rundir / one.measure_file)
            names = [name for name in deck.meas if name.lower() in one.meas]
            given.meas.update(read_measures(text, names, PREFIX))

    def process(self, deck_file: str, log_file: str, rundir: Path, timeout: float) -> Completed:
        """Run Xyce on a deck in `rundir`. Raises SimulatorMissing where the program is gone."""
        command = self.command
        try:
            return run_process(
                [*command, "-l", log_file, deck_file],
                rundir,
                timeout,
                {**os.environ, "LC_ALL": "C", "OMP_NUM_THREADS": "1"},
                stem=Path(deck_file).stem,
                memory=self._memory,
                file_size=_LARGEST_FILE,
            )
        except OSError as error:
            if os.access(command[0], os.X_OK):
                raise
            raise SimulatorMissing(f"{command[0]} is gone; {INSTALL}") from error

    def _failure(
        self, one: Pass, completed: Completed, deck: Deck, log: str, shortfall: str
    ) -> SimulationFailed:
        printed = f"{completed.stdout}\n{completed.stderr}"
        gone = f": {shortfall}" if shortfall else ""
        if completed.signal:
            died = f"Xyce died of {completed.signal}"
            if completed.signal == "SIGXFSZ":
                died = f"Xyce wrote a file of more than {_LARGEST_FILE / 1e9:g} GB"
            return SimulationFailed(State.CRASH, f"{died}{gone}")
        if names := undefined(f"{log}\n{printed}"):
            if one.card is not None and one.swept in names:
                reason = f"line {one.card.first + 1}: there is no {one.swept} to sweep"
                return SimulationFailed(State.PARSE_ERROR, f"{reason}: {one.card.text}")
            return _Undefined(names)
        said = diagnose(log, printed, deck.text, one.deck_file)
        if said is None:
            ended = shortfall or f"exit code {completed.returncode}"
            return SimulationFailed(State.CRASH, f"{ended}, and Xyce did not say why")
        state, reason = said
        if "out of memory" in reason and self._memory:
            reason += f" (simulator.options.memory is {self._memory / 1e9:g} GB)"
        if state is State.NO_CONVERGENCE and shortfall:
            reason = f"{reason} ({shortfall})"
        return SimulationFailed(state, reason)


class _Undefined(SimulationFailed):
    """Some of what was to be printed is not there."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(State.VECTOR_MISSING, f"the netlist gives no {', '.join(names)}")
        self.names = names


def _version(path: str) -> str:
    """`xyce-7.8`, of a program that is new enough. Raises SimulatorMissing."""
    try:
        told = answer_of([path, "-v"], _VERSION_TIMEOUT)
    except OSError as error:
        raise SimulatorMissing(f"{path} does not run ({error}); {INSTALL}") from error
    match = _VERSION.search(told.stdout + told.stderr)
    if match is None:
        raise SimulatorMissing(f"{path} is not Xyce: it does not tell its version; {INSTALL}")
    told_release = match["release"].strip(".")
    numbers = re.findall(r"\d+", told_release)
    if numbers and tuple(map(int, numbers)) < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise SimulatorMissing(
            f"{path} is Xyce {told_release}; m3eda needs {needed} or later, which names nodes in "
            f"subcircuits as v(x1.net); {INSTALL}"
        )
    # the version before a build from source, and when it was built
    built = f"development-{match['built']}" if match["built"] else ""
    return "-".join(filter(None, ("xyce", told_release if numbers else "", built)))
