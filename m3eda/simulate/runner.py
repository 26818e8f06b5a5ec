"""Decks in, outcomes out, within one process: simulates, tries again, measures.

A runner is made from a `Recipe`, which travels to wherever simulations run.
"""

from __future__ import annotations

import errno
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from m3eda.design.functions import FunctionTable
from m3eda.design.types import Design
from m3eda.errors import M3edaError, PluginError, StorageError, cause
from m3eda.simulate.executor import Outcome
from m3eda.simulate.failures import kept_name
from m3eda.simulate.measurer import Measurer
from m3eda.simulate.signals import VectorMissing
from m3eda.simulate.trial import CornerResult
from m3eda.simulate.types import (
    BatchSession,
    Deck,
    OnlyCold,
    Session,
    SimulationFailed,
    Simulator,
    State,
    WarmSimulator,
    Waveforms,
)
from m3eda.simulate.wellformed import flaw

LADDER: Mapping[str, str] = {
    "gmin": "gmin=1e-10",
    "reltol": "reltol=1e-2",
    "gear": "method=gear",
    "itl": "itl1=1000 itl2=500 itl4=100",
}
"""Relaxed options of `failures.ladder`, as `.option` text, tried in order on non-convergence."""

RELAXED = {State.NO_CONVERGENCE, State.CRASH}
"""States in which relaxed options may help."""

_LEAST_ROOM = 1 << 14
"""Bytes free on a disk below which it counts as full: simulators do not say why they stop."""

Tools = Callable[[Design], tuple[Simulator, FunctionTable]]
"""What builds a design's simulator and the functions of its measures, from its plugins."""


class GivenUp(BaseException):
    """Raised in a thread whose simulation nobody waits for any more: it is not to go on."""


@dataclass(frozen=True)
class Recipe:
    """All that makes a runner, ready to be pickled."""

    design: Design
    tools: Tools
    """A function of a module, so that another process finds it by its name."""
    strict: bool = False
    cold: bool = False
    """Open no session."""
    keep_failed: Path | None = None
    """Where the first failed deck of each kind is kept."""
    ahead: int = 0
    """Decks that a session of the simulator makes use of hearing of early; 0 for none."""

    def build(self) -> Runner:
        """The runner, in this process. Raises PluginError, SimulatorMissing."""
        simulator, functions = self.tools(self.design)
        return Runner(self.design, simulator, functions, self.keep_failed, self.strict, self.cold)


@dataclass
class Runner:
    """Runs decks of one design, one at a time in a session, from several threads without one."""

    design: Design
    simulator: Simulator
    functions: FunctionTable
    keep_failed: Path | None = None
    strict: bool = False
    cold: bool = False
    session: Session | None = None
    """A session of the simulator, where one was opened in this process."""
    attempt_begins: Callable[[], None] = lambda: None
    """Called before every attempt but the first, for who watches over the time."""
    note: str = ""
    """Why simulations do not run in a session, where one was to be opened."""

    @cached_property
    def measurer(self) -> Measurer:
        return Measurer(self.design, self.functions)

    def open(self, rundir: Path) -> None:
        """Open a session, its files in `rundir`; without one every deck is run cold.

        Raises StorageError, PluginError.
        """
        if self.cold or not isinstance(self.simulator, WarmSimulator):
            return
        name = self.design.simulator.name
        try:
            session: Any = self.simulator.open(rundir, strict=self.strict)
        except OnlyCold as reason:
            self.note = str(reason)
            return
        except (M3edaError, KeyboardInterrupt):
            raise
        except OSError as error:
            where = error.filename or rundir
            raise StorageError(f"{where}: cannot be written: {error.strerror or error}") from error
        except BaseException as error:  # a stranger's code may raise anything
            raise PluginError(f"simulator {name}: open() raised {cause(error)}") from error
        if not isinstance(session, Session):
            kind = type(session).__name__
            text = f"simulator {name}: open() gave a {kind} (expected run, close and broken)"
            raise PluginError(text)
        self.session = session

    @property
    def broken(self) -> bool:
        """True where this process must be given up."""
        return self.session is not None and self.session.broken

    def run(self, deck: Deck, *, cold: bool = False) -> Outcome:
        """Run `deck`, and again with the ladder's options where it does not converge.

        `cold` keeps away from the session. Raises StorageError and SimulatorMissing; any other
        failure is in the outcome's result.
        """
        spent = dict.fromkeys(("simulator", "analysis", "measuring"), 0.0)
        ladder = steps(self.design, self.simulator)
        options: list[str] = []
        for attempt in range(len(ladder) + 1):
            if attempt:
                self.attempt_begins()
            result = self._attempt(_relaxed(deck, options), cold or bool(attempt), spent)
            if result.state not in RELAXED or attempt == len(ladder):
                break
            options.append(LADDER[ladder[attempt]])
        return Outcome(replace(result, runs=attempt + 1), spent)

    def _attempt(self, deck: Deck, cold: bool, spent: dict[str, float]) -> CornerResult:
        try:
            waveforms = None if cold else self._warm(deck, spent)
            if waveforms is not None:
                return self._measured(deck, waveforms, spent)
        except SimulationFailed as failure:
            if failure.state is not State.CRASH or not self.broken:
                keep(self.keep_failed, deck, failure)
                return failed_result(self.design, deck, failure)
            # a session that died of the deck may know no more; a process of its own says why
            self.attempt_begins()
        return self._cold(deck, spent)

    def expect(self, decks: Sequence[Deck]) -> None:
        """Tell the session of decks to come, where that is of use to it."""
        if not isinstance(self.session, BatchSession):
            return
        try:
            self.session.expect(decks)
        except Exception as error:  # noqa: BLE001  a stranger's code; each deck is asked for anyway
            self.note = f"simulator {self.design.simulator.name}: expect() raised {cause(error)}"

    def _warm(self, deck: Deck, spent: dict[str, float]) -> Waveforms | None:
        """What the session gives; None where there is none or it does not take the deck."""
        if self.session is None:
            return None
        start = time.perf_counter()
        try:
            return self._called(lambda session: session.run(deck), self.session)
        except OnlyCold:
            self.attempt_begins()
            return None
        except SimulationFailed:
            spent["simulator"] += time.perf_counter() - start
            raise

    def _cold(self, deck: Deck, spent: dict[str, float]) -> CornerResult:
        # to make and remove a directory may take longer than a closed form
        needed = getattr(self.simulator, "needs_rundir", True)
        rundir = _run_directory() if needed else Path(tempfile.gettempdir())
        start = time.perf_counter()
        timeout = self.design.simulator.timeout
        try:
            waveforms = self._called(lambda it: it.run(deck, rundir, timeout), self.simulator)
            return self._measured(deck, waveforms, spent)
        except SimulationFailed as failure:
            spent["simulator"] += time.perf_counter() - start
            _check_room(rundir)
            keep(self.keep_failed, deck, failure, rundir if needed else None)
            return failed_result(self.design, deck, failure)
        finally:
            if needed:
                shutil.rmtree(rundir, ignore_errors=True)

    def _called(self, run: Callable[[Any], Any], simulator: Any) -> Waveforms:
        """What the simulator gives; what its code raises against the contract is its crash."""
        name = self.design.simulator.name
        try:
            waveforms: Waveforms = run(simulator)
        except SimulationFailed as failure:
            failure.reason = " ".join(str(failure.reason or "it gives no reason").split())
            if failure.state is State.COMPLETE:
                failure.state = State.CRASH
            raise
        except (M3edaError, OnlyCold, KeyboardInterrupt, GivenUp):
            raise
        except (MemoryError, OSError) as error:
            if isinstance(error, MemoryError) or error.errno == errno.ENOMEM:
                # what this deck takes is more than a worker may have: not a fault of the disk
                reason = f"simulator {name}: not enough memory"
                raise SimulationFailed(State.CRASH, reason) from error
            where = error.filename or tempfile.gettempdir()
            text = f"{where}: simulator {name} stopped: {error.strerror or error}"
            raise StorageError(text) from error
        except BaseException as error:  # a stranger's code may raise anything
            reason = f"simulator {name} raised {cause(error)}"
            raise SimulationFailed(State.CRASH, reason) from error
        if words := flaw(waveforms):
            raise SimulationFailed(State.CRASH, f"simulator {name} gave {words}")
        return waveforms

    def _measured(self, deck: Deck, waveforms: Waveforms, spent: dict[str, float]) -> CornerResult:
        spent["simulator"] += waveforms.seconds
        spent["analysis"] += waveforms.cpu_seconds
        start = time.perf_counter()
        try:
            measures, reasons = self.measurer.measure(deck.testbench, deck.values, waveforms)
        finally:
            spent["measuring"] += time.perf_counter() - start
        return CornerResult(measures, reasons, seconds=waveforms.seconds)


def steps(design: Design, simulator: Simulator) -> tuple[str, ...]:
    """The steps of the ladder that a failed run is tried again with."""
    policy = design.failures
    takes = getattr(simulator, "takes_options", True)
    return (policy.ladder or tuple(LADDER))[: policy.retries] if takes else ()


def decks_ahead(simulator: Simulator, design: Design) -> int:
    """How many decks a session of `simulator` likes to hear of early. Raises PluginError."""
    ahead: object = getattr(simulator, "ahead", 0)
    if not isinstance(ahead, int):
        name = design.simulator.name
        raise PluginError(f"simulator {name}: ahead is {ahead!r} (expected a whole number)")
    return ahead


def failed_result(design: Design, deck: Deck, failure: SimulationFailed) -> CornerResult:
    """The result of a failed run: what could be measured all the same, and why it failed."""
    names = [m.name for m in design.measures.values() if m.testbench == deck.testbench]
    known, why = failure.measured if isinstance(failure, VectorMissing) else ({}, {})
    text = f"{failure.state.value}: {failure.reason}"
    return CornerResult(
        measures={**dict.fromkeys(names, math.nan), **known},
        reasons={**dict.fromkeys((n for n in names if n not in known), text), **why},
        state=failure.state,
        reason=f"{deck.testbench}: {failure.reason}",
        log=failure.log,
    )


def keep(
    folder: Path | None, deck: Deck, failure: SimulationFailed, rundir: Path | None = None
) -> None:
    """Keep the first failed deck and log of each kind in `folder`, for the user to look at."""
    if folder is None:
        return
    place = folder / kept_name(deck.testbench, failure.state)
    # only a convenience: another worker was faster, or the disk is full
    with suppress(OSError):
        if place.exists():
            return
        if rundir is not None:
            shutil.copytree(rundir, place, ignore=shutil.ignore_patterns("*.raw"))
            return
        place.mkdir(parents=True)
        (place / "deck.cir").write_text(deck.text, encoding="utf-8")
        (place / "log").write_text(f"{failure.reason}\n\n{failure.log}\n", encoding="utf-8")


def _run_directory() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="m3eda-"))
    except OSError as error:
        where = error.filename or "the directory for temporary files (TMPDIR)"
        raise StorageError(f"{where}: cannot be written: {error.strerror}") from error


def _check_room(rundir: Path) -> None:
    """A run that fails on a full disk says nothing about its sizing. Raises StorageError."""
    if shutil.disk_usage(rundir).free < _LEAST_ROOM:
        raise StorageError(
            f"{rundir.parent}: the disk is full; free some room, or set TMPDIR to another place, "
            "and run the same command again to go on"
        )


def _relaxed(deck: Deck, options: Sequence[str]) -> Deck:
    if not options:
        return deck
    head, _, rest = deck.text.partition("\n")
    text = f"{head}\n.option {' '.join(options)}\n{rest}"
    return replace(deck, text=text, skeleton=None, fills=())
