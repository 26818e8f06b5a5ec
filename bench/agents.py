"""Compare agents: targets met within a budget of simulations, and what they cost.

    python -m bench.agents --agents random,cma,trust-region,search --lists autockt_pareto --seeds 3

All agents see the same circuits, targets and seeds. A simulation is one distinct sizing; a target
is met when every spec holds, without tolerance. ERT is all simulations spent over targets met. Each
finished target is kept in bench/results/, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

from bench.circuits import MissingFile, circuit
from bench.targets import known_lists, target_list
from m3eda.agents.types import Agent, AgentFactory
from m3eda.design.types import Design, Sizing, Spec
from m3eda.plugins import Plugins
from m3eda.simulate.trial import Trial

AGENTS = ["random", "cma", "differential-evolution", "trust-region", "extra-trees", "turbo", "bo",
          "search"]  # fmt: skip
RESULTS = Path(__file__).resolve().parent / "results"
_ASKED_PER_SIMULATION = 4
"""An agent that keeps proposing points it already knows is stopped."""


class Problem(Protocol):
    """A circuit, or what stands for one."""

    def targeted(self, target: Sequence[float]) -> Design: ...

    def trial(self, number: int, sizing: Sizing, specs: Mapping[str, Spec]) -> Trial: ...


@dataclass(frozen=True)
class Task:
    """One search: `agent` is a name, or name:option=value,option=value."""

    agent: str
    list: str
    target: int
    seed: int
    budget: int
    batch: int = 1


@dataclass(frozen=True)
class Outcome:
    """What one search gave. Times in seconds; `cpu` is the agent's own, without simulations."""

    task: Task
    met: bool
    simulations: int
    cpu: float
    wall: float
    idle: int = 0
    """Simulations that decided nothing, where that is counted."""


def build(name: str, design: Design, seed: int) -> Agent:
    """The agent of that name, with the options written after a colon."""
    name, _, text = name.partition(":")
    options = dict(pair.split("=", 1) for pair in text.split(",") if pair)
    factory: AgentFactory = _agents()[name]
    return factory(design, seed, {key: _number(value) for key, value in options.items()})


@cache
def _agents() -> Mapping[str, AgentFactory]:
    return Plugins().agents


def _number(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def within(design: Design, task: Task) -> Design:
    """The design as the agent would get it in a run of this budget and batch."""
    chosen = replace(design.agent, budget=task.budget, batch=task.batch, seed=task.seed)
    return replace(design, agent=chosen)


class Search:
    """One agent on one target, until it is met or the budget is spent."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._circuit, limits = self.problem()
        self._design = within(self._circuit.targeted(limits), task)
        self._known: dict[tuple[Any, ...], Trial] = {}
        self._asked = 0
        self._cpu = 0.0

    def problem(self) -> tuple[Problem, Sequence[float]]:
        """What to size, and the target's limits."""
        chosen = target_list(self._task.list)
        return circuit(chosen.circuit), chosen.targets[self._task.target]

    def run(self) -> Outcome:
        began = time.perf_counter()
        start = time.process_time()
        agent = build(self._task.agent, self._design, self._task.seed)
        self._cpu += time.process_time() - start
        met = any(trial.met for trial in self._trials(agent))
        wall = time.perf_counter() - began
        return Outcome(self._task, met, len(self._known), self._cpu, wall)

    def _trials(self, agent: Agent) -> Iterator[Trial]:
        budget = self._task.budget
        while len(self._known) < budget and self._asked < _ASKED_PER_SIMULATION * budget:
            start = time.process_time()
            sizings = agent.ask(self._task.batch)
            self._cpu += time.process_time() - start
            if not sizings:
                return
            told = []
            for sizing in sizings[: budget - len(self._known)]:
                told.append(self._trial(sizing))
                yield told[-1]
            start = time.process_time()
            agent.tell(told)
            self._cpu += time.process_time() - start

    def _trial(self, sizing: Sizing) -> Trial:
        key = tuple(sizing.values())
        self._asked += 1
        if key not in self._known:
            trial = self._circuit.trial(len(self._known), sizing, self._design.specs)
            self._known[key] = trial
        return self._known[key]


def search(task: Task) -> Outcome:
    return Search(task).run()


@dataclass(frozen=True)
class Row:
    """One line of the table: an agent on a list, over all targets and seeds."""

    agent: str
    list: str
    runs: int
    met: int
    median: float
    """Median simulations of the searches that met their target."""
    ert: float
    """All simulations spent over targets met."""
    cpu: float
    """Agent's CPU seconds a target."""
    wall: float
    """Wall seconds a target, simulations included."""


def summarise(agent: str, name: str, outcomes: Sequence[Outcome]) -> Row:
    spent = [outcome.simulations for outcome in outcomes]
    met = [outcome.simulations for outcome in outcomes if outcome.met]
    return Row(
        agent=agent,
        list=name,
        runs=len(outcomes),
        met=len(met),
        median=statistics.median(met) if met else math.nan,
        ert=sum(spent) / len(met) if met else math.inf,
        cpu=statistics.fmean(outcome.cpu for outcome in outcomes),
        wall=statistics.fmean(outcome.wall for outcome in outcomes),
    )


def constant_row(name: str) -> Row:
    """The best constant design of a list: one simulation, whatever the target."""
    chosen = target_list(name)
    _, met = chosen.best_constant()
    runs = len(chosen.targets)
    return Row("one constant design", name, runs, met, 1.0, runs / met if met else math.inf, 0, 0)


def table(rows: Iterable[Row]) -> str:
    lines = [
        "| list | agent | met | median of the met | ERT | CPU s a target | wall s a target |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.list} | {row.agent} | {row.met} of {row.runs} | {row.median:.0f} "
            f"| {row.ert:.3g} | {row.cpu:.2f} | {row.wall:.2f} |"
        )
    return "\n".join(lines)


class Checkpoint:
    """Finished searches, one JSON line each; a line cut off by a crash is ignored."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self.outcomes: dict[Task, Outcome] = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            outcome = Outcome(**{**record, "task": Task(**record["task"])})
            self.outcomes[outcome.task] = outcome

    def add(self, outcome: Outcome) -> None:
        self.outcomes[outcome.task] = outcome
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")


def plan(options: argparse.Namespace) -> list[Task]:
    """Every search, agents innermost so that a partial table compares like with like."""
    tasks = []
    for name in options.lists:
        count = len(target_list(name).targets)
        for seed in range(1, options.seeds + 1):
            for target in range(min(options.targets or count, count)):
                tasks += [
                    Task(agent, name, target, seed, options.budget, options.batch)
                    for agent in options.agents
                ]
    return tasks


def run_all(
    tasks: Sequence[Task],
    checkpoint: Checkpoint,
    processes: int,
    search: Callable[[Task], Outcome] = search,
) -> None:
    todo = [task for task in tasks if task not in checkpoint.outcomes]
    if processes == 1:
        _collect(map(search, todo), checkpoint, len(todo))
        return
    # spawned: a libngspice must not be inherited half used
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        _collect(pool.map(search, todo), checkpoint, len(todo))


def _collect(outcomes: Iterable[Outcome], checkpoint: Checkpoint, count: int) -> None:
    for done, outcome in enumerate(outcomes, start=1):
        checkpoint.add(outcome)
        task = outcome.task
        print(
            f"[{done}/{count}] {task.list} target {task.target} seed {task.seed} {task.agent}: "
            f"{'met' if outcome.met else 'not met'} after {outcome.simulations}",
            file=sys.stderr,
        )


def words(text: str) -> list[str]:
    """Names by comma, or by semicolon where options follow a name."""
    return text.split(";") if ":" in text else text.split(",")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--agents",
        type=words,
        default=AGENTS,
        help="names by comma; by semicolon where options follow: 'cma:population=8;random'",
    )
    parser.add_argument("--lists", type=words, default=known_lists())
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--targets", type=int, default=0, help="first N of each list; 0 is all")
    parser.add_argument("--budget", type=int, default=500)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--smallest", action="store_true", help="one target, few simulations")
    parser.add_argument("--checkpoint", type=Path, default=RESULTS / "agents.jsonl")
    parser.add_argument("--json", type=Path, default=RESULTS / "agents.json")
    options = parser.parse_args(arguments)
    if options.smallest:
        options.seeds, options.targets, options.budget = 1, 1, 20
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        rows = [constant_row(name) for name in options.lists]
    except MissingFile as missing:
        print(f"skipped: {missing}")
        return 0
    checkpoint = Checkpoint(options.checkpoint)
    tasks = plan(options)
    run_all(tasks, checkpoint, options.processes)
    for name in options.lists:
        for agent in options.agents:
            mine = [task for task in tasks if (task.list, task.agent) == (name, agent)]
            rows.append(summarise(agent, name, [checkpoint.outcomes[task] for task in mine]))
    rows.sort(key=lambda row: row.list)
    print(table(rows))
    report = {"budget": options.budget, "seeds": options.seeds, "rows": [asdict(r) for r in rows]}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
