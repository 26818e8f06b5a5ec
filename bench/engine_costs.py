"""What the engine costs beside the simulator: a trial, memory, and growth with the circuit."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from bench.engine_circuits import Circuit, bank, points
from bench.engine_process import descendants, processor_seconds, resident_bytes
from bench.engine_rates import Bars, Effort, Row, opened, rows
from m3eda.design.types import Limits, Spec
from m3eda.flow import Execution, Project, prepare
from m3eda.loop import size

TRIAL_BAR = 0.2
"""ms a trial outside the simulator."""
_WARM_UP = 20
_CHUNK = 500


@dataclass(frozen=True)
class TrialCost:
    """Where the time of a trial goes, ms each; one simulation a trial."""

    trials: int
    wall: float
    simulator_wall: float
    processor: float
    """Of this process and of its worker."""
    simulator_processor: float
    spent: dict[str, float]
    """What the run itself counted, by what it went to."""

    @property
    def outside_wall(self) -> float:
        return self.wall - self.simulator_wall

    @property
    def outside_processor(self) -> float:
        return self.processor - self.simulator_processor


def trial_cost(circuit: Circuit, trials: int) -> TrialCost:
    """`m3eda.loop.size` with agent `random`, one worker, its ledger on, specs never met."""
    design = circuit.project.design
    first = next(iter(design.specs))
    design = design.with_spec(Spec(first, Limits(minimum=1e30)))
    project = Project.of(design, agent="random", seed=1, budget=trials + _WARM_UP)
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(project, Path(folder), execution=Execution(cache=False))
        try:
            run = size(prepared.run)
            for _ in islice(run, _WARM_UP):
                pass
            spent = prepared.run.evaluator.spent.seconds
            before, pids = dict(spent), [os.getpid(), *descendants(os.getpid())]
            cpu, wall = processor_seconds(pids), time.perf_counter()
            count = sum(1 for _ in run)
            wall, cpu = time.perf_counter() - wall, processor_seconds(pids) - cpu
            parts = {name: 1e3 * (spent[name] - before[name]) / count for name in spent}
        finally:
            prepared.close()
    return TrialCost(
        count,
        1e3 * wall / count,
        parts["simulator"],
        1e3 * cpu / count,
        parts["analysis"],
        parts,
    )


@dataclass(frozen=True)
class Memory:
    """Resident memory of all processes of the engine over many simulations."""

    way: str
    simulations: int
    first: float
    """MB after a tenth of them."""
    last: float
    largest: float
    slope: float
    """kB a simulation, a straight line through the last nine tenths."""


def memory(circuit: Circuit, strict: bool, simulations: int) -> Memory:
    """Simulate on one worker, and look at the memory of all processes now and then."""
    chosen = [point.sizing for point in points(circuit, 40, seed=2)]
    supply = cycle(chosen)
    counts, sizes = [], []
    done = 0
    chunk = min(_CHUNK, max(simulations // 20, 1))
    with opened(circuit, strict, 1) as evaluator:
        while done < simulations:
            done += sum(1 for _ in evaluator.evaluate(list(islice(supply, chunk))))
            pids = [os.getpid(), *descendants(os.getpid())]
            counts.append(done)
            sizes.append(resident_bytes(pids) / 1e6)
    start = len(counts) // 10
    slope = np.polyfit(counts[start:], sizes[start:], 1)[0] * 1e3
    way = "strict" if strict else "default"
    return Memory(way, done, sizes[start], sizes[-1], max(sizes), float(slope))


@dataclass(frozen=True)
class Growth:
    """Rates on one bank."""

    devices: int
    parameters: int
    rows: list[Row]


def growth(shapes: Sequence[tuple[int, int]], effort: Effort) -> Iterator[Growth]:
    """Rates against the numbers of devices and parameters of a bank."""
    nothing = Bars(bare=0.0, side_by_side=0.0)
    for devices, parameters in shapes:
        with tempfile.TemporaryDirectory() as folder:
            made = bank(Path(folder), devices, parameters)
            found = rows(made, nothing, effort)
        yield Growth(devices, parameters, found)
