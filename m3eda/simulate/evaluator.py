"""Sizings in, raw results per corner out: renders, simulates, measures, stores."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from m3eda import __version__
from m3eda.design.functions import FunctionTable
from m3eda.design.ties import complete
from m3eda.design.types import Corner, Design, Sizing, Testbench
from m3eda.errors import M3edaError, StorageError, cause
from m3eda.simulate.failures import kept_name
from m3eda.simulate.files import content_hash
from m3eda.simulate.measurer import Measured, Measurer
from m3eda.simulate.process import kill_running
from m3eda.simulate.render import Renderer
from m3eda.simulate.signals import VectorMissing
from m3eda.simulate.trial import CornerResult
from m3eda.simulate.types import Deck, SimulationFailed, Simulator, State, Waveforms

LADDER: Mapping[str, str] = {
    "gmin": "gmin=1e-10",
    "reltol": "reltol=1e-2",
    "gear": "method=gear",
    "itl": "itl1=1000 itl2=500 itl4=100",
}
"""Relaxed options of `failures.ladder`, as `.option` text, tried in order on non-convergence."""

_RELAXED = {State.NO_CONVERGENCE, State.CRASH}
_LEAST_ROOM = 1 << 14
"""Bytes free on a disk below which it counts as full: simulators do not say why they stop."""


class Store(Protocol):
    """Where finished simulations are kept, and asked for before one is paid for again."""

    def simulation(self, key: str) -> CornerResult | None: ...

    def add_simulation(
        self, key: str, testbench: str, corner: str, result: CornerResult
    ) -> None: ...


@dataclass
class Evaluator:
    """Evaluates sizings of one design on one simulator.

    `jobs` simulations run at once, each in a directory of its own below the system's temporary
    directory. The first failed deck of each kind is kept in `keep_failed`.
    """

    design: Design
    simulator: Simulator
    functions: FunctionTable
    store: Store | None = None
    jobs: int = 1
    keep_failed: Path | None = None
    version: str = ""
    """The simulator's version, part of the key of a stored simulation."""

    def __post_init__(self) -> None:
        self._measurer = Measurer(self.design, self.functions)
        self._renderer = Renderer(self.design, self._measurer.wanted)
        self._testbenches = tuple(
            point for each in self.design.testbenches.values() for point in each.at_points()
        )
        """Every run of the simulator that one corner takes."""
        self._recipe = json.dumps(
            [
                __version__,  # another version may measure otherwise
                self.design.simulator.name,
                self.version,
                sorted(self.design.simulator.options.items()),
                [content_hash(path) for path in self.design.plugins],
            ]
        )
        policy = self.design.failures
        self._policy = json.dumps(
            [self.design.simulator.timeout, policy.retries, list(policy.ladder)]
        )

    @property
    def corners(self) -> tuple[Corner, ...]:
        return (self.design.nominal,)

    @property
    def runs(self) -> int:
        """Simulations that one sizing takes."""
        return len(self.corners) * len(self._testbenches)

    @property
    def renderer(self) -> Renderer:
        return self._renderer

    def for_design(self, design: Design) -> Evaluator:
        """The same evaluator for a changed design."""
        return replace(self, design=design)

    def complete(self, sizing: Sizing) -> Sizing:
        """`sizing` with frozen and tied parameters added, in file order."""
        return complete(self.design, sizing)

    def decks(self, sizing: Sizing, corner: Corner | None = None) -> dict[str, Deck]:
        """The rendered deck of every testbench, at every point of a sweep, by its label."""
        corner = corner or self.design.nominal
        whole = self.complete(sizing)
        return {
            testbench.label: self._renderer.deck(testbench, corner, whole)
            for testbench in self._testbenches
        }

    def evaluate(self, sizings: Sequence[Sizing]) -> Generator[dict[str, CornerResult], None, None]:
        """Results by corner name for each sizing, in order, `jobs` simulations at once.

        With one job nothing runs ahead of what has been asked for.
        """
        if self.jobs == 1:
            for sizing in sizings:
                yield self._gather(sizing, [self._simulate(*job) for job in self._jobs(sizing)])
            return
        abandoned = threading.Event()
        threads: set[int] = set()  # another run of this process may have simulations of its own
        with ThreadPoolExecutor(
            self.jobs, "m3eda", initializer=lambda: threads.add(threading.get_ident())
        ) as pool:
            ahead: deque[tuple[Sizing, list[Future[CornerResult]]]] = deque()
            waiting = iter(sizings)
            try:
                while True:
                    self._fill(pool, waiting, ahead, abandoned)
                    if not ahead:
                        return
                    sizing, futures = ahead.popleft()
                    yield self._gather(sizing, [future.result() for future in futures])
            except BaseException:
                # interrupted, or enough is known: what still runs is neither wanted nor stored
                abandoned.set()
                pool.shutdown(wait=False, cancel_futures=True)
                kill_running(threads)
                raise

    def _fill(
        self,
        pool: ThreadPoolExecutor,
        waiting: Iterator[Sizing],
        ahead: deque[tuple[Sizing, list[Future[CornerResult]]]],
        abandoned: threading.Event,
    ) -> None:
        """Keep as many simulations submitted as there are jobs, and one sizing at the least."""
        while not ahead or sum(len(futures) for _, futures in ahead) < self.jobs:
            sizing = next(waiting, None)
            if sizing is None:
                return
            jobs = self._jobs(sizing)
            ahead.append((sizing, [pool.submit(self._simulate, *j, abandoned) for j in jobs]))

    def _jobs(self, sizing: Sizing) -> list[tuple[Testbench, Corner, Sizing]]:
        return [
            (testbench, corner, sizing)
            for corner in self.corners
            for testbench in self._testbenches
        ]

    def _gather(self, sizing: Sizing, parts: list[CornerResult]) -> dict[str, CornerResult]:
        """One result a corner from those of its testbenches."""
        width = len(self._testbenches)
        return {
            corner.name: self._merge(corner, sizing, parts[i * width : (i + 1) * width])
            for i, corner in enumerate(self.corners)
        }

    def _merge(self, corner: Corner, sizing: Sizing, parts: list[CornerResult]) -> CornerResult:
        taken = Measured()
        sweeps: dict[tuple[str, str], dict[float, CornerResult]] = {}
        for testbench, part in zip(self._testbenches, parts, strict=True):
            for condition, value in testbench.point.items():
                sweeps.setdefault((testbench.name, condition), {})[value] = part
            if not testbench.point:
                taken.measures.update(part.measures)
                taken.reasons.update(part.reasons)
        for (_, condition), points in sweeps.items():
            taken.add_points(condition, points, self.design)
        self._measurer.derive(corner, sizing, taken)
        failed, reason = self._failure(parts)
        return CornerResult(
            measures={name: taken.measures[name] for name in self.design.measures},
            reasons=taken.reasons,
            state=failed.state,
            reason=reason,
            log=failed.log,
            seconds=sum(part.seconds for part in parts),
            runs=sum(part.runs for part in parts),
            swept=taken.swept,
        )

    def _failure(self, parts: list[CornerResult]) -> tuple[CornerResult, str]:
        """The first of `parts` that failed, else the first, and why: at which point of a sweep,
        where it holds at others."""
        for testbench, part in zip(self._testbenches, parts, strict=True):
            if part.state is State.COMPLETE:
                continue
            alike = [
                other.state is part.state
                for each, other in zip(self._testbenches, parts, strict=True)
                if each.name == testbench.name
            ]
            at = "".join(f" (at {name} = {value:g})" for name, value in testbench.point.items())
            return part, part.reason if all(alike) else f"{part.reason}{at}"
        return parts[0], parts[0].reason

    def _simulate(
        self,
        testbench: Testbench,
        corner: Corner,
        sizing: Sizing,
        abandoned: threading.Event | None = None,
    ) -> CornerResult:
        """One testbench at one corner: from the store, or simulated and stored."""
        deck = self._renderer.deck(testbench, corner, sizing)
        key = self._key(deck)
        # what a longer time or other retries might change is kept apart
        policy_key = f"{key}+{hashlib.sha256(self._policy.encode()).hexdigest()[:16]}"
        for known in (key, policy_key) if self.store else ():
            stored = self.store.simulation(known) if self.store else None
            if stored is not None:
                return replace(stored, runs=0)
        result = self._with_retries(deck)
        if self.store and not (abandoned is not None and abandoned.is_set()):
            fixed = result.runs == 1 and result.state not in _RELAXED | {State.TIMEOUT}
            where = key if fixed else policy_key
            self.store.add_simulation(where, testbench.name, corner.name, result)
        return result

    def _with_retries(self, deck: Deck) -> CornerResult:
        """Run `deck`, and again with the ladder's options where it does not converge."""
        policy = self.design.failures
        ladder = (policy.ladder or tuple(LADDER))[: policy.retries]
        options: list[str] = []
        for attempt in range(len(ladder) + 1):
            result = self._run(_relaxed(deck, options))
            if result.state not in _RELAXED or attempt == len(ladder):
                break
            options.append(LADDER[ladder[attempt]])
        return replace(result, runs=attempt + 1)

    def _run(self, deck: Deck) -> CornerResult:
        rundir = _run_directory()
        try:
            return self._measured(deck, self._simulated(deck, rundir))
        except SimulationFailed as failure:
            _check_room(rundir)
            self._keep(rundir, deck.testbench, failure)
            return self._failed(deck, failure)
        finally:
            shutil.rmtree(rundir, ignore_errors=True)

    def _simulated(self, deck: Deck, rundir: Path) -> Waveforms:
        """Run the simulator; what its code raises against the contract is a crash of its own."""
        name = self.design.simulator.name
        try:
            waveforms: Any = self.simulator.run(deck, rundir, self.design.simulator.timeout)
        except (SimulationFailed, M3edaError):
            raise
        except OSError as error:
            where = error.filename or rundir
            text = f"{where}: simulator {name} stopped: {error.strerror or error}"
            raise StorageError(text) from error
        except Exception as error:  # a stranger's code may raise anything
            reason = f"simulator {name} raised {cause(error)}"
            raise SimulationFailed(State.CRASH, reason, rundir=rundir) from error
        if not isinstance(waveforms, Waveforms):
            kind = type(waveforms).__name__
            raise SimulationFailed(State.CRASH, f"simulator {name} gave a {kind}, not Waveforms")
        return waveforms

    def _measured(self, deck: Deck, waveforms: Waveforms) -> CornerResult:
        measures, reasons = self._measurer.measure(deck.testbench, deck.values, waveforms)
        return CornerResult(measures, reasons, seconds=waveforms.seconds)

    def _failed(self, deck: Deck, failure: SimulationFailed) -> CornerResult:
        """The result of a failed run: what could be measured all the same, and why it failed."""
        names = self._measurer.names(deck.testbench)
        known, why = failure.measured if isinstance(failure, VectorMissing) else ({}, {})
        text = f"{failure.state.value}: {failure.reason}"
        return CornerResult(
            measures={**dict.fromkeys(names, float("nan")), **known},
            reasons={**dict.fromkeys((n for n in names if n not in known), text), **why},
            state=failure.state,
            reason=f"{deck.testbench}: {failure.reason}",
            log=failure.log,
        )

    def _keep(self, rundir: Path, testbench: str, failure: SimulationFailed) -> None:
        """Keep the first failed deck and log of each kind, for the user to look at."""
        if self.keep_failed is None:
            return
        place = self.keep_failed / kept_name(testbench, failure.state)
        if place.exists():
            return
        small = shutil.ignore_patterns("*.raw")
        try:
            shutil.copytree(rundir, place, ignore=small)
        except OSError:  # a second thread was faster, or the disk is full: only a convenience
            return

    def _key(self, deck: Deck) -> str:
        """Hash of all that decides what `deck` gives."""
        digest = hashlib.sha256(self._recipe.encode())
        wanted = [deck.vectors, deck.device_values, deck.meas]
        digest.update(json.dumps([deck.text, wanted]).encode())
        digest.update(self._measurer.fingerprint(deck.testbench).encode())
        for path in deck.files:
            digest.update(content_hash(path).encode())
        return digest.hexdigest()


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
    return replace(deck, text=f"{head}\n.option {' '.join(options)}\n{rest}")
