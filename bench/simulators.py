"""How many sizings a second each simulator gives, and how far they are apart.

    python -m bench.simulators [--smallest] [--xyce PROGRAM] [--rounds N] [--json FILE]

The circuit is AutoCkt's two-stage op amp at the hundred sizings of which the shared folder has
Xyce's answers, else the two-stage op amp of examples/ at random sizings. All ways take turns within
a round. A simulator that is not installed is left out, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from bench import hundred_sizings
from bench.circuits import MissingFile
from bench.engine import machine
from bench.engine_circuits import OP_AMP, reduced
from bench.engine_process import tree_seconds
from m3eda.crosscheck.command import rules_of
from m3eda.crosscheck.comparison import Comparison, Results, compare
from m3eda.crosscheck.sides import on, simulated
from m3eda.crosscheck.sizings import random_sizings
from m3eda.crosscheck.tables import finite
from m3eda.design.types import Sizing, Value
from m3eda.errors import PluginError, SimulatorMissing
from m3eda.flow import Execution, Project
from m3eda.simulate.evaluator import Evaluator

REFERENCE = "ngspice-batch"
"""What the others are compared with where Xyce's answers are not there."""


@dataclass(frozen=True)
class Way:
    """A simulator, and how it is run."""

    name: str
    simulator: str
    cold: bool
    share: float
    """Sizings a turn, of those of a turn; a slow way takes fewer."""


WAYS = (
    Way("ngspice, warm", "ngspice", False, 1.0),
    Way("ngspice, a process a run", "ngspice-batch", True, 0.2),
    Way("xyce, batched", "xyce", False, 1.0),
    Way("xyce, a process a run", "xyce", True, 0.2),
)


@dataclass(frozen=True)
class Rate:
    """What one way takes for a sizing, medians over the rounds."""

    way: str
    version: str
    milliseconds: float
    processor: float
    """Processor time in ms, of all processes."""

    @property
    def per_second(self) -> float:
        return 1e3 / self.milliseconds


@dataclass(frozen=True)
class Task:
    """The circuit, and the sizings to simulate."""

    title: str
    project: Project
    sizings: Sequence[Sizing]
    right: Sequence[Results] | None
    """Xyce's answers, where they are known."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    report: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        task = chosen_task(Path(folder), 10 if options.smallest else 100)
        given: Mapping[str, Value] = {"program": options.xyce} if options.xyce else {}
        usable, missing = found_ways(task.project, given)
        print(f"{task.title}, {len(task.sizings)} sizings; load {report['machine']['load']}")
        rounds = options.rounds or (1 if options.smallest else 5)
        measured = rates(task, usable, given, rounds)
        print(rates_table(measured, missing), flush=True)
        compared = agreement(task, usable, given)
        print(f"\n{agreement_table(compared, task)}")
    report |= {
        "circuit": task.title,
        "sizings": len(task.sizings),
        "rates": [{**asdict(rate), "per_second": rate.per_second} for rate in measured],
        "missing": missing,
        "agreement": {name: _comparison_json(each) for name, each in compared.items()},
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--smallest", action="store_true", help="ten sizings, one round")
    parser.add_argument("--xyce", metavar="PROGRAM", help="path of Xyce, where not on PATH")
    parser.add_argument("--rounds", type=int, help="turns that each way takes")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args(arguments)


def chosen_task(folder: Path, count: int) -> Task:
    """The hundred sizings where they are there, `count` of them; else random ones of examples/."""
    try:
        project = Project.load(hundred_sizings.write_design(folder))
        sizings = hundred_sizings.sizings()[:count]
        return Task(hundred_sizings.NAME, project, sizings, hundred_sizings.of_xyce()[:count])
    except MissingFile:
        project = reduced(Project.load(OP_AMP), ["open_loop"])
        sizings = random_sizings(project, count, seed=1)
        return Task("two-stage op amp of examples/, AC", project, sizings, None)


def found_ways(
    project: Project, given: Mapping[str, Value]
) -> tuple[dict[Way, str], dict[str, str]]:
    """The ways that work here with the simulator's version, and why the other simulators do not."""
    usable, missing = {}, {}
    for way in WAYS:
        try:
            usable[way] = _on(project, way, given).simulator().available()
        except (PluginError, SimulatorMissing) as error:
            missing[way.simulator] = str(error)
    return usable, missing


def _on(project: Project, way: Way, given: Mapping[str, Value]) -> Project:
    return on(project, way.simulator, given if way.simulator == "xyce" else {})


@contextmanager
def _opened(project: Project, way: Way, given: Mapping[str, Value]) -> Iterator[Evaluator]:
    """With nothing stored, so that each sizing is simulated."""
    execution = Execution(cold=way.cold, cache=False)
    evaluator = _on(project, way, given).evaluator(execution)
    try:
        yield evaluator
    finally:
        evaluator.close()


def rates(
    task: Task, usable: Mapping[Way, str], given: Mapping[str, Value], rounds: int
) -> list[Rate]:
    """Every way in turn, round by round."""
    times: dict[Way, list[tuple[float, float]]] = {way: [] for way in usable}
    with ExitStack() as stack:
        opened = {way: stack.enter_context(_opened(task.project, way, given)) for way in usable}
        supply = {way: cycle(task.sizings) for way in usable}
        for evaluator in opened.values():
            _turn(evaluator, task.sizings[:2])  # circuits loaded, ways proved
        for _ in range(rounds):
            for way, evaluator in opened.items():
                count = max(round(way.share * len(task.sizings)), 1)
                wall, cpu = _turn(evaluator, list(islice(supply[way], count)))
                times[way].append((wall / count, cpu / count))
    return [
        Rate(
            way.name,
            usable[way],
            1e3 * statistics.median(wall for wall, _ in each),
            1e3 * statistics.median(cpu for _, cpu in each),
        )
        for way, each in times.items()
    ]


def _turn(evaluator: Evaluator, sizings: Sequence[Sizing]) -> tuple[float, float]:
    """Seconds of wall and of processor time for all of `sizings`."""
    whole = [evaluator.complete(sizing) for sizing in sizings]
    began, before = time.perf_counter(), tree_seconds(os.getpid())
    list(evaluator.evaluate(whole))
    return time.perf_counter() - began, tree_seconds(os.getpid()) - before


def rates_table(measured: Sequence[Rate], missing: Mapping[str, str]) -> str:
    lines = [f"{'way':26} {'version':30} {'ms':>8} {'ms cpu':>8} {'sizings/s':>10}"]
    lines += [
        f"{rate.way:26} {rate.version:30} {rate.milliseconds:8.2f} {rate.processor:8.2f} "
        f"{rate.per_second:10.0f}"
        for rate in measured
    ]
    return "\n".join([*lines, *(f"{name}: not installed: {why}" for name, why in missing.items())])


def agreement(
    task: Task, usable: Mapping[Way, str], given: Mapping[str, Value]
) -> dict[str, Comparison]:
    """By way, how far each is from Xyce's answers, else from the reference."""
    found: dict[str, Sequence[Results]] = {}
    for way in usable:
        with _opened(task.project, way, given) as evaluator:
            found[way.name] = simulated(evaluator, task.sizings).results
    referee = next(way.name for way in WAYS if way.simulator == REFERENCE)
    right = found.pop(referee) if task.right is None else task.right
    rules = rules_of(task.project, task.project.evaluator().complete(task.sizings[0]))
    return {name: compare(rules, results, right) for name, results in found.items()}


def agreement_table(compared: Mapping[str, Comparison], task: Task) -> str:
    beside = "Xyce's stored answers" if task.right is not None else REFERENCE
    lines = [f"agreement with {beside}".ljust(38) + "   both neither  worst  tolerance  agrees"]
    for name, comparison in compared.items():
        for row in comparison.rows:
            tolerance, worst = row.rule.tolerance, row.worst
            apart = 0.0 if worst is None else worst.relative
            if tolerance.absolute and not tolerance.relative and worst is not None:
                apart = worst.absolute
            lines.append(
                f"{name:26} {row.measure:12} {row.compared:6} {row.absent:7} {apart:7.1e} "
                f"{tolerance.relative or tolerance.absolute:9g} {'yes' if row.agrees else 'NO':>7}"
            )
    return "\n".join(lines)


def _comparison_json(comparison: Comparison) -> dict[str, Any]:
    return {
        row.measure: {
            "compared": row.compared,
            "absent": row.absent,
            "relative": finite(row.relative),
            "absolute": None if row.worst is None else finite(row.worst.absolute),
            "tolerance": asdict(row.rule.tolerance),
            "agrees": row.agrees,
        }
        for row in comparison.rows
    }


if __name__ == "__main__":
    raise SystemExit(main())
