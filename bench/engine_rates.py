"""Simulations a second, by every way of running them, on one circuit.

All ways take turns round by round, and ratios are taken within a round: what else the machine does
then disturbs them least.
"""

from __future__ import annotations

import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from m3eda_plugins.ngspice.names import canonical

from bench.engine_circuits import Circuit, Point, any_points, plain_deck, points
from bench.engine_loops import Arrays, Batch, Binding, LoopProcess, Way, split
from bench.engine_process import descendants, processor_seconds
from bench.ngspice_overhead import bare
from m3eda.flow import Execution
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.rawfile import read_raw
from m3eda.simulate.types import State

SUBPROCESS = "ngspice -b -r raw"
_POINTS = 40
_AGREE = {"reset": 1e-12, "alter": 1e-6, "load": 1e-12}
"""Largest difference of a loop from `ngspice -b`, relative to a vector's largest value."""
_MEASURES_AGREE = {"strict": 1e-9, "default": 1e-4}
"""The same of a measure of the engine, which may magnify it."""


@dataclass(frozen=True)
class Bars:
    """What the engine is to reach on a circuit, as ratios; 0 where nothing is asked."""

    strict: float = 0.0
    """Strict, one worker, over the subprocess."""
    default: float = 0.0
    bare: float = 0.75
    """One worker, over the bare loop of the same kind."""
    side_by_side: float = 0.85
    """Two workers, over two bare loops of the same kind side by side."""


@dataclass(frozen=True)
class Effort:
    """How much is simulated."""

    rounds: int
    slow: int
    """Sizings a turn of the subprocess."""
    fast: int
    """Sizings a turn of the other ways; two at once get twice as many."""
    pairs: bool = True
    """Whether what two do side by side is measured too."""


@dataclass(frozen=True)
class Row:
    """One way on one circuit."""

    way: str
    milliseconds: float
    """Wall time a simulation, median over the rounds."""
    processor: float
    """Processor time a simulation in ms, of all processes, median over the rounds."""
    over_subprocess: float
    """Times as many simulations a second, median of the rounds' ratios."""
    of_bare: float | None = None
    """The same against the bare loop of the same kind."""
    bar_subprocess: float = 0.0
    bar_bare: float = 0.0

    @property
    def per_second(self) -> float:
        return 1e3 / self.milliseconds

    @property
    def met(self) -> bool:
        bare = self.of_bare is None or self.of_bare >= self.bar_bare
        return bare and self.over_subprocess >= self.bar_subprocess


Times = tuple[float, float]
"""Seconds of wall and of processor time."""


@dataclass(frozen=True)
class Turn:
    """A way of running points, and how many of them at a time."""

    name: str
    run: Callable[[Sequence[Point]], Times]
    """Runs all simulations of some points."""
    count: int
    bare: str = ""
    """The way whose bare loop it is compared with."""
    bar_subprocess: float = 0.0
    bar_bare: float = 0.0


def rows(circuit: Circuit, bars: Bars, effort: Effort) -> list[Row]:
    """Every way, in turn.

    Raises RuntimeError where a way does not give what `ngspice -b` gives.
    """
    chosen = points(circuit, max(_POINTS, effort.fast), seed=1)
    with ExitStack() as stack:
        turns = list(_turns(circuit, bars, effort, stack, chosen))
        for turn in turns:
            turn.run(chosen[:2])  # circuits loaded, ways proved
        times: dict[str, list[Times]] = {turn.name: [] for turn in turns}
        supply = cycle(chosen)
        for number in range(effort.rounds):
            for turn in turns[number % len(turns) :] + turns[: number % len(turns)]:
                some = list(islice(supply, turn.count))
                runs = len(some) * len(circuit.loops)
                wall, cpu = turn.run(some)
                times[turn.name].append((wall / runs, cpu / runs))
    return [_row(turn, times) for turn in turns]


def _row(turn: Turn, times: Mapping[str, list[Times]]) -> Row:
    def ratio(other: str) -> float:
        pairs = zip(times[other], times[turn.name], strict=True)
        return statistics.median(theirs / ours for (theirs, _), (ours, _) in pairs)

    return Row(
        turn.name,
        1e3 * statistics.median(wall for wall, _ in times[turn.name]),
        1e3 * statistics.median(cpu for _, cpu in times[turn.name]),
        ratio(SUBPROCESS),
        ratio(turn.bare) if turn.bare else None,
        turn.bar_subprocess,
        turn.bar_bare,
    )


def _turns(
    circuit: Circuit, bars: Bars, effort: Effort, stack: ExitStack, chosen: Sequence[Point]
) -> Iterator[Turn]:
    fast = effort.fast
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    yield Turn(SUBPROCESS, lambda some: _by_subprocess(some, folder), effort.slow)
    ways: list[Way] = ["reset", "alter"] if circuit.alters else ["reset"]
    bare = stack.enter_context(_loops(circuit, "cffi", 2 if effort.pairs else 1))
    loaded: Way = "load"
    for way in [*ways, loaded]:
        _check(circuit, bare[0], way, chosen[0], folder)
        count = effort.slow if way == "load" else fast  # a PDK's models take a second to read
        yield Turn(f"bare {way}", _by_loops(bare[:1], way), count)
    if find_spec("PySpice") is not None:
        shared = stack.enter_context(_loops(circuit, "pyspice", 1))
        for way in ways:
            _check(circuit, shared[0], way, chosen[0], folder)
            yield Turn(f"PySpice {way}", _by_loops(shared, way), fast, f"bare {way}")
    kinds: list[tuple[str, bool, Way, float]] = [
        ("strict", True, "reset", bars.strict),
        ("default", False, ways[-1], bars.default),
    ]
    cold = stack.enter_context(opened(circuit, strict=True, jobs=1, cold=True))
    for kind, strict, way, bar in kinds:
        engine = stack.enter_context(opened(circuit, strict, 1))
        _check_engine(engine, cold, chosen[0], _MEASURES_AGREE[kind])
        run = _by_engine(engine)
        yield Turn(f"engine {kind}", run, fast, f"bare {way}", bar, bars.bare)
    if circuit.varied:
        engine = stack.enter_context(opened(circuit, False, 1))
        run = _of_any(circuit, engine, fast)
        yield Turn("engine, any structure", run, fast, "", bars.default)
    if not effort.pairs:
        return
    for way in ways:
        yield Turn(f"2 bare {way}", _by_loops(bare, way), 2 * fast)
    for kind, strict, way, _ in kinds:
        engine = stack.enter_context(opened(circuit, strict, 2))
        run = _by_engine(engine)
        side_by_side = f"2 bare {way}"
        yield Turn(f"engine {kind}, 2", run, 2 * fast, side_by_side, 0.0, bars.side_by_side)


@contextmanager
def opened(circuit: Circuit, strict: bool, jobs: int, cold: bool = False) -> Iterator[Evaluator]:
    """The engine by its public door, with nothing stored; `cold` starts a process each time."""
    execution = Execution(jobs=jobs, strict=strict, cold=cold, cache=False)
    evaluator = circuit.project.evaluator(execution)
    try:
        yield evaluator
    finally:
        evaluator.close()


Loops = list[dict[str, LoopProcess]]
"""Processes by testbench: `reset` reads the deck that was loaded last, so each has its own."""


@contextmanager
def _loops(circuit: Circuit, binding: Binding, width: int) -> Iterator[Loops]:
    made = [{name: LoopProcess(binding) for name in circuit.loops} for _ in range(width)]
    try:
        for each in made:
            for name, process in each.items():
                process.load(circuit.loops[name])
        yield made
    finally:
        for each in made:
            for process in each.values():
                process.close()


def _by_loops(loops: Loops, way: Way) -> Callable[[Sequence[Point]], Times]:
    def run(some: Sequence[Point]) -> Times:
        wall = cpu = 0.0
        for name in loops[0]:
            shares = split([point.values[name] for point in some], len(loops))
            began = time.perf_counter()
            for each, share in zip(loops, shares, strict=True):
                each[name].start(Batch(way, share))
            cpu += sum(each[name].finish().cpu for each in loops)
            wall += time.perf_counter() - began
        return wall, cpu

    return run


def _by_engine(evaluator: Evaluator) -> Callable[[Sequence[Point]], Times]:
    def run(some: Sequence[Point]) -> Times:
        pids = [os.getpid(), *descendants(os.getpid())]
        began, before = time.perf_counter(), processor_seconds(pids)
        results = list(evaluator.evaluate([point.sizing for point in some]))
        spent = time.perf_counter() - began, processor_seconds(pids) - before
        failed = [r for each in results for r in each.values() if r.state is not State.COMPLETE]
        if failed:
            raise RuntimeError(f"a simulation failed: {failed[0].reason}")
        return spent

    return run


def _of_any(
    circuit: Circuit, evaluator: Evaluator, count: int
) -> Callable[[Sequence[Point]], Times]:
    """Sizings as they come, those among them whose decks have another structure."""
    run = _by_engine(evaluator)
    supply = cycle(any_points(circuit, max(_POINTS, count), seed=3))
    return lambda some: run(list(islice(supply, len(some))))


def _by_subprocess(some: Sequence[Point], folder: Path) -> Times:
    decks = [plain_deck(deck) for point in some for deck in point.decks.values()]
    began, before = time.perf_counter(), _children_seconds()
    for text in decks:
        bare(text, folder)
    return time.perf_counter() - began, _children_seconds() - before


def _children_seconds() -> float:
    """Processor time of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _check(
    circuit: Circuit, loops: Mapping[str, LoopProcess], way: Way, point: Point, folder: Path
) -> None:
    """Raises RuntimeError where the loops do not give what `ngspice -b` gives."""
    for name, process in loops.items():
        (folder / "out.raw").unlink(missing_ok=True)
        _by_subprocess([Point(point.sizing, {name: point.decks[name]}, {})], folder)
        expected = _raw(folder / "out.raw")
        found = process.run(Batch(way, (point.values[name],))).last
        for vector, values in expected.items():
            if found[vector].shape != values.shape and way == "alter":
                continue  # one time step more or less
            apart = np.abs(found[vector] - values).max() / np.abs(values).max()
            if not apart <= _AGREE[way]:
                raise RuntimeError(f"{circuit.name}: {way} gives another {vector}: {apart:.1g}")


def _check_engine(engine: Evaluator, cold: Evaluator, point: Point, agree: float) -> None:
    """Raises RuntimeError where the engine's measures are not those of `ngspice -b`."""
    [expected], [found] = (list(each.evaluate([point.sizing])) for each in (cold, engine))
    for corner, result in expected.items():
        for name, value in result.measures.items():
            measured = found[corner].measures[name]
            if not np.isclose(measured, value, rtol=agree, atol=0.0, equal_nan=True):
                raise RuntimeError(f"the engine gives {name} = {measured:.15g}, not {value:.15g}")


def _raw(path: Path) -> Arrays:
    """The vectors of a raw file, by the names of a loop."""
    kinds = {"AC Operating Point": "op", "AC Analysis": "ac", "Transient Analysis": "tran"}
    found: Arrays = {}
    for plot in read_raw(path):
        kind = kinds[plot.name]
        for column, written in enumerate(plot.names):
            name, values = canonical(written), plot.data[:, column]
            if name.startswith("@") and kind == "ac":
                continue  # it has none there, and what is written in its place is no number
            if name == "frequency":
                values = values.real  # the imaginary part is what the memory held
            if name.startswith("i("):
                name = f"{name[2:-1]}#branch"
            elif name.startswith("v("):
                name = name[2:-1]
            found[f"{kind}.{name}"] = values
    return found
