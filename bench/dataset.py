"""How fast `m3eda dataset` is, beside the engine that it drives: points a second of both.

    python -m bench.dataset [--smallest] [--points N] [--rounds N] [--json FILE]

Both simulate the same points of a circuit on warm workers of their own, in turn within a round; a
ratio is the median of the rounds' ratios. The engine has its sizings ready and drops its results,
as in `bench.engine`; a dataset draws its points, journals each, and ends with a compressed shard
and its manifest. `cpu` is the same ratio in processor time of all processes, which another load of
the machine disturbs less. A ratio below the bar is marked with `<`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.engine import machine
from bench.engine_circuits import op_amp
from bench.engine_process import descendants, processor_seconds
from m3eda.circuits.opening import open_circuit
from m3eda.design.space import Space
from m3eda.flow import Execution, Project
from m3eda.learning.making import Maker, Plan, unheard
from m3eda.learning.sampling import Sampler
from m3eda.simulate.evaluator import Evaluator

BAR = 0.8
"""Points a second of a dataset over those of the engine alone, at least."""


@dataclass(frozen=True)
class Row:
    """One circuit with so many jobs."""

    circuit: str
    jobs: int
    points: int
    engine: float
    """Points a second, median over the rounds."""
    dataset: float
    ratio: float
    processor: float
    """Processor time of the engine over that of the dataset, all processes."""
    bytes_a_point: float
    """On disk, manifest included."""

    @property
    def met(self) -> bool:
        return self.ratio >= BAR


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    points, rounds = (100, 1) if options.smallest else (options.points, options.rounds)
    head = f"{'circuit':24} {'jobs':>4} {'points':>7} {'engine 1/s':>11} {'dataset 1/s':>12}"
    print(f"{head} {'ratio':>13} {'cpu':>5} {'bytes/point':>12}")
    rows = []
    for name, project in _circuits(smallest=options.smallest):
        for jobs in (1, 2):
            row = measured(name, project, jobs, points, rounds)
            sign = ">=" if row.met else "<"
            print(
                f"{row.circuit:24} {row.jobs:4} {row.points:7} {row.engine:11.1f} "
                f"{row.dataset:12.1f} {row.ratio:6.2f} {sign:>2} {BAR} {row.processor:5.2f} "
                f"{row.bytes_a_point:12.1f}",
                flush=True,
            )
            rows.append(row)
    if options.json:
        data = {"machine": machine(), "rows": [{**asdict(r), "met": r.met} for r in rows]}
        options.json.write_text(json.dumps(data, indent=2) + "\n")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--smallest", action="store_true", help="one circuit, in a few seconds")
    parser.add_argument("--points", type=int, default=2000, help="points of a turn")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args(arguments)


def _circuits(smallest: bool) -> Iterator[tuple[str, Project]]:
    yield "two_stage_opamp (AC)", op_amp(["open_loop"]).project
    if not smallest:
        yield "five_transistor_ota", open_circuit("five_transistor_ota", "generic45")


def measured(name: str, project: Project, jobs: int, points: int, rounds: int) -> Row:
    """Both in turn, on workers that have the circuit loaded."""
    execution = Execution(jobs=jobs, cache=False)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = stack.enter_context(closing(project.evaluator(execution)))
        ours = stack.enter_context(closing(project.evaluator(execution)))
        _engine(project, engine, 20 * jobs, seed=0)
        _dataset(project, ours, folder / "first", 20 * jobs, seed=0)
        times = []
        for number in range(rounds):
            made = folder / str(number)
            both = [
                lambda: _engine(project, engine, points, number + 1),  # noqa: B023  called here
                lambda: _dataset(project, ours, made, points, number + 1),  # noqa: B023
            ]
            order = (0, 1) if number % 2 else (1, 0)
            spent = {index: both[index]() for index in order}
            times.append((spent[0], spent[1]))
        size = sum(path.stat().st_size for path in (folder / "0").iterdir())
    return Row(
        name,
        jobs,
        points,
        points / statistics.median(bare for (bare, _), _ in times),
        points / statistics.median(ours for _, (ours, _) in times),
        statistics.median(bare / ours for (bare, _), (ours, _) in times),
        statistics.median(bare / ours for (_, bare), (_, ours) in times),
        size / points,
    )


Times = tuple[float, float]
"""Seconds of wall and of processor time."""


def _clocks() -> Times:
    every = [os.getpid(), *descendants(os.getpid())]
    return time.perf_counter(), processor_seconds(every)


def _since(before: Times) -> Times:
    now = _clocks()
    return now[0] - before[0], now[1] - before[1]


def _engine(project: Project, evaluator: Evaluator, points: int, seed: int) -> Times:
    """What `points` whose sizings are ready take."""
    design = project.design
    sampler = Sampler(Space(design), (design.nominal,), "sobol", seed)
    sizings = [evaluator.complete(sampler.sizing(number)) for number in range(points)]
    began = _clocks()
    count = sum(1 for _ in evaluator.evaluate(sizings))
    assert count == points
    return _since(began)


def _dataset(project: Project, evaluator: Evaluator, folder: Path, points: int, seed: int) -> Times:
    """What it takes from an empty folder to a whole dataset."""
    folder.mkdir()
    began = _clocks()
    maker = Maker(project, folder, Plan(points, seed), evaluator, unheard)
    maker.prepare()
    maker.simulate()
    spent = _since(began)
    assert maker.manifest.points == points
    return spent


if __name__ == "__main__":
    raise SystemExit(main())
