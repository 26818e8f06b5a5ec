"""Compare agents on circuit-like test spaces without a simulator: how each copes, and in what time.

    python -m bench.spaces --agents 'random;cma;bo;search' --spaces seven,sixty --targets 6

The spaces are those of `bench/synthetic.py`: few and many parameters, numerical noise, jumps, a
circuit that seldom works, words and E24 values. Wall time to a target met is given for assumed
times of a simulation: all simulations times that, and the agent's CPU, over targets met. Searches
are kept in bench/results/ as by `bench/agents.py`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import agents as bench
from bench.agents import RESULTS, Checkpoint, Outcome, Task
from bench.synthetic import KINDS, synthetic, target

ASSUMED = {"0.5 ms": 5e-4, "10 ms": 1e-2, "1 s": 1.0, "5 min": 300.0}
"""Times of one simulation."""
TARGETS = 8


class Search(bench.Search):
    """One agent on one target of a synthetic space."""

    def problem(self) -> tuple[bench.Problem, Sequence[float]]:
        space = self._task.list
        return synthetic(space), target(space, self._task.target)


def search(task: Task) -> Outcome:
    return Search(task).run()


@dataclass(frozen=True)
class Row:
    """One line of the table: an agent on a space, over all targets and seeds."""

    agent: str
    space: str
    runs: int
    met: int
    median: float
    ert: float
    cpu: float
    """Agent's CPU seconds a search."""
    walls: dict[str, float]
    """Seconds to a target met by assumed time of a simulation."""


def summarise(agent: str, space: str, outcomes: Sequence[Outcome]) -> Row:
    row = bench.summarise(agent, space, outcomes)
    cpu = sum(outcome.cpu for outcome in outcomes) / row.met if row.met else math.inf
    walls = {name: row.ert * seconds + cpu for name, seconds in ASSUMED.items()}
    return Row(agent, space, row.runs, row.met, row.median, row.ert, row.cpu, walls)


def table(rows: Iterable[Row]) -> str:
    lines = [
        "| space | agent | met | median of the met | ERT | CPU s a search | s to a target at "
        + " | ".join(ASSUMED)
        + " a simulation |",
        "|---" * (6 + len(ASSUMED)) + "|",
    ]
    for row in rows:
        walls = " | ".join(f"{seconds:.3g}" for seconds in row.walls.values())
        lines.append(
            f"| {row.space} | {row.agent} | {row.met} of {row.runs} | {row.median:.0f} "
            f"| {row.ert:.3g} | {row.cpu:.2f} | {walls} |"
        )
    return "\n".join(lines)


def plan(options: argparse.Namespace) -> list[Task]:
    """Every search, agents innermost so that a partial table compares like with like."""
    return [
        Task(agent, space, index, seed, options.budget, options.batch)
        for space in options.spaces
        for seed in range(1, options.seeds + 1)
        for index in range(options.targets)
        for agent in options.agents
    ]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--agents",
        type=bench.words,
        default=["random", "cma", "bo", "search"],
        help="names by comma; by semicolon where options follow: 'cma:population=8;random'",
    )
    parser.add_argument("--spaces", type=lambda text: text.split(","), default=list(KINDS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--targets", type=int, default=TARGETS, help="first N of each space")
    parser.add_argument("--budget", type=int, default=300)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--smallest", action="store_true", help="one target, few simulations")
    parser.add_argument("--checkpoint", type=Path, default=RESULTS / "spaces.jsonl")
    parser.add_argument("--json", type=Path, default=RESULTS / "spaces.json")
    options = parser.parse_args(arguments)
    if options.smallest:
        options.seeds, options.targets, options.budget = 1, 1, 12
        options.spaces = ["few", "seven"]
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    checkpoint = Checkpoint(options.checkpoint)
    tasks = plan(options)
    bench.run_all(tasks, checkpoint, options.processes, search)
    rows = []
    for space in options.spaces:
        for agent in options.agents:
            mine = [task for task in tasks if (task.list, task.agent) == (space, agent)]
            rows.append(summarise(agent, space, [checkpoint.outcomes[task] for task in mine]))
    print(table(rows))
    report = {"budget": options.budget, "seeds": options.seeds, "rows": [asdict(r) for r in rows]}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
