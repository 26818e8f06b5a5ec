"""Sizings in, raw results per corner out: renders, looks up, has simulated, gathers, stores."""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from m3eda import __version__
from m3eda.design.functions import FunctionTable
from m3eda.design.ties import complete
from m3eda.design.types import Corner, Design, Sizing
from m3eda.simulate.executor import Executor, Outcome, Task
from m3eda.simulate.files import content_hash
from m3eda.simulate.measurer import Measured, Measurer
from m3eda.simulate.render import Renderer
from m3eda.simulate.runner import LADDER, RELAXED, Runner, keep, steps
from m3eda.simulate.spent import Spent
from m3eda.simulate.threads import Threads
from m3eda.simulate.trial import CornerResult
from m3eda.simulate.types import Deck, SimulationFailed, Simulator, State

__all__ = ["LADDER", "Evaluator", "Store"]


class Store(Protocol):
    """Where finished simulations are kept, and asked for before one is paid for again."""

    def simulation(self, key: str) -> CornerResult | None: ...

    def add_simulation(
        self, key: str, testbench: str, corner: str, result: CornerResult
    ) -> None: ...

    def flush(self) -> None:
        """Write what was added; called before waiting, so that it costs no time."""
        ...


class SharedStore(Protocol):
    """A store that runs share; what it holds may be gone at any time."""

    def get(self, key: str) -> CornerResult | None: ...

    def add(self, key: str, testbench: str, corner: str, result: CornerResult) -> None: ...


@dataclass
class _Part:
    """One simulation of a sizing."""

    deck: Deck
    label: str
    """Of its testbench."""
    key: str
    result: CornerResult | None = None


@dataclass
class _Pending:
    """A sizing on its way: at each corner a part for each testbench."""

    sizing: Sizing
    corners: Sequence[Corner]
    parts: list[_Part]

    @property
    def ready(self) -> bool:
        return all(part.result is not None for part in self.parts)


@dataclass
class Evaluator:
    """Evaluates sizings of one design on one simulator.

    Simulations run where `make_executor` puts them; without one, in `jobs` threads of this process,
    each in a directory of its own below the system's temporary directory. The first failed deck of
    each kind is kept in `keep_failed`. Used from one thread.
    """

    design: Design
    simulator: Simulator
    functions: FunctionTable
    store: Store | None = None
    jobs: int = 1
    keep_failed: Path | None = None
    version: str = ""
    """The simulator's version, part of the key of a stored simulation."""
    cache: SharedStore | None = None
    make_executor: Callable[[Design], Executor] | None = None
    setup: str = ""
    """What the simulator reads besides decks, such as a start file; part of the key."""
    mode: str = ""
    """The way of simulating, where two ways differ in the last digits; part of the key."""
    spent: Spent = field(default_factory=Spent)

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
                self.mode,
                *([self.setup] if self.setup else []),
                sorted(self.design.simulator.options.items()),
                [content_hash(path) for path in self.design.plugins],
            ]
        )
        policy = self.design.failures
        self._policy = json.dumps(
            [self.design.simulator.timeout, policy.retries, list(policy.ladder)]
        )
        self._policy_hash = hashlib.sha256(self._policy.encode()).hexdigest()[:16]
        self._values_used = {
            name: self._measurer.values_used(name) for name in self.design.testbenches
        }
        self._reads_values = bool(getattr(self.simulator, "reads_values", False))
        """True where the simulator goes by `deck.values`, and not by the text alone."""
        self._digests = {name: self._begun_digest(name) for name in ("", *self.design.testbenches)}
        self._executor: Executor | None = None
        self._tasks: dict[int, _Part] = {}
        self._number = 0

    @property
    def runs(self) -> int:
        """Simulations that one sizing takes at one corner."""
        return len(self._testbenches)

    @property
    def renderer(self) -> Renderer:
        return self._renderer

    @property
    def executor(self) -> Executor:
        """Where simulations run; made when first asked for, ended by `close`."""
        if self._executor is None:
            if self.make_executor is not None:
                self._executor = self.make_executor(self.design)
            else:
                runner = Runner(self.design, self.simulator, self.functions, self.keep_failed)
                self._executor = Threads(runner, self.jobs)
        return self._executor

    @property
    def note(self) -> str:
        """What the user should know of how simulations run; empty where all is as it should be."""
        told = [getattr(self._executor, "note", "")]
        if self.design.failures.retries and not steps(self.design, self.simulator):
            name = self.design.simulator.name
            told.append(f"failures.retries: nothing is tried again, as {name} has no such options")
        return "; ".join(filter(None, told))

    def close(self) -> None:
        """End every process that simulates for this evaluator."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.close()

    def for_design(self, design: Design) -> Evaluator:
        """An evaluator for a changed design; this one is closed."""
        self.close()
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

    def evaluate(
        self,
        sizings: Iterable[Sizing],
        corners: Sequence[Corner] | None = None,
        *,
        once: bool = False,
    ) -> Generator[dict[str, CornerResult], None, None]:
        """Results by corner name for each sizing, in order, at `corners`, else at the nominal one.
        One call must have ended before the next begins. `once` says that these corners are seldom
        simulated at: their circuits are not kept loaded, which takes longer to begin with.

        An executor that is one simulation wide runs nothing ahead of what has been asked for,
        unless it waits in a queue of the simulator's process.
        """
        executor = self.executor
        at = [self.design.nominal] if corners is None else corners
        waiting = (_Pending(sizing, at, self._parts(sizing, at, once)) for sizing in sizings)
        ahead: deque[_Pending] = deque()
        try:
            while self._fill(executor, waiting, ahead):
                while not ahead[0].ready:
                    self._wait(executor)
                    self._fill(executor, waiting, ahead)
                yield self._gather(ahead.popleft())
        finally:
            # interrupted, or enough is known: what still runs is neither wanted nor stored
            if self._tasks:
                self._tasks.clear()
                executor.cancel()

    def _fill(
        self, executor: Executor, waiting: Iterator[_Pending], ahead: deque[_Pending]
    ) -> bool:
        """Keep the executor busy, with one sizing at the least; True while any is on its way."""
        room = executor.width * executor.depth
        while not ahead or len(self._tasks) < room:
            pending = next(waiting, None)
            if pending is None:
                break
            ahead.append(pending)
            for part in pending.parts:
                if part.result is None:
                    self._number += 1
                    self._tasks[self._number] = part
                    circuit = f"{part.label}@{part.deck.corner}"
                    executor.submit(Task(self._number, part.deck, circuit))
        return bool(ahead)

    def _parts(self, sizing: Sizing, corners: Sequence[Corner], once: bool) -> list[_Part]:
        """The simulations of `sizing`, those that are known with their results."""
        start = time.perf_counter()
        parts = []
        for corner in corners:
            for testbench in self._testbenches:
                deck = self._renderer.deck(testbench, corner, sizing)
                if once and corner.sample is None:
                    deck = replace(deck, skeleton=None, fills=())
                parts.append(_Part(deck, testbench.label, self._key(deck)))
        self.spent.add("rendering", time.perf_counter() - start)
        with self.spent.time("storing"):
            for part in parts:
                self._look_up(part)
        return parts

    def _look_up(self, part: _Part) -> None:
        """Give `part` its result, where it is known."""
        key, store = part.key, self.store
        found = None
        if store is not None:
            found = store.simulation(key) or store.simulation(f"{key}+{self._policy_hash}")
        if found is None and self.cache is not None:
            found = self.cache.get(key)
            if found is not None and store is not None:
                known = replace(found, runs=0)
                store.add_simulation(key, part.deck.testbench, part.deck.corner, known)
        if found is not None:
            part.result = replace(found, runs=0)
            if found.state is not State.COMPLETE:
                failure = SimulationFailed(found.state, found.reason, found.log)
                keep(self.keep_failed, part.deck, failure)

    def _wait(self, executor: Executor) -> None:
        """Wait for outcomes, and keep them."""
        with self.spent.time("storing"):
            if self.store is not None:
                self.store.flush()
        with self.spent.time("waiting"):
            outcomes = executor.completed()
        for number, outcome in outcomes:
            part = self._tasks.pop(number, None)
            if part is not None:
                part.result = outcome.result
                self._keep(part, outcome)

    def _keep(self, part: _Part, outcome: Outcome) -> None:
        self.spent.simulated(outcome)
        result, deck = outcome.result, part.deck
        with self.spent.time("storing"):
            if not self._renderer.is_current(deck):
                return  # which contents the simulator has read is not known
        # what a longer time or other retries might change is kept apart
        fixed = result.runs == 1 and result.state not in RELAXED | {State.TIMEOUT}
        key = part.key if fixed else f"{part.key}+{self._policy_hash}"
        with self.spent.time("storing"):
            for add in (
                self.store.add_simulation if self.store is not None else None,
                self.cache.add if self.cache is not None and fixed else None,
            ):
                if add is not None:
                    add(key, deck.testbench, deck.corner, result)

    def _gather(self, pending: _Pending) -> dict[str, CornerResult]:
        """One result a corner from those of its testbenches."""
        width = len(self._testbenches)
        parts = [part.result for part in pending.parts if part.result is not None]
        return {
            corner.name: self._merge(corner, pending.sizing, parts[i * width : (i + 1) * width])
            for i, corner in enumerate(pending.corners)
        }

    def _merge(self, corner: Corner, sizing: Sizing, parts: list[CornerResult]) -> CornerResult:
        if len(parts) == 1 and not self._measurer.names("") and not self._testbenches[0].point:
            return parts[0]
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

    def _key(self, deck: Deck) -> str:
        """Hash of all that decides what `deck` gives."""
        digest = self._digests[deck.testbench].copy()
        digest.update(deck.text.encode())
        digest.update(b"\0")
        digest.update(deck.contents.encode())
        # two sizings may have the same deck, and not these
        used = deck.values if self._reads_values else self._values_used[deck.testbench]
        for name in used:
            if name in deck.values:
                digest.update(f"\0{name}={deck.values[name]!r}".encode())
        if self.mode and deck.skeleton is not None:
            # what is loaded decides the last digits
            digest.update(deck.skeleton.key.encode())
        return digest.hexdigest()

    def _begun_digest(self, testbench: str) -> hashlib._Hash:
        """A hash begun with what all decks of `testbench` share."""
        wanted = self._measurer.wanted.get(testbench)
        parts = [] if wanted is None else [wanted.vectors, wanted.device_values, wanted.meas]
        text = json.dumps([self._recipe, parts, self._measurer.fingerprint(testbench)])
        return hashlib.sha256(text.encode())
