"""What it costs to size a circuit at every corner, by each strategy.

    python -m bench.signoff                     # every strategy, both technologies, 20 seeds

Table III of the trust-region paper (arXiv 2009.13772) on the op amp m3_2soa: 45 corners (five
processes, three supplies, three temperatures) and the nominal one, targets that are met at all of
them by a known sizing (`bench.corner_targets`), the same agent and seeds for every strategy. A
simulation is one sizing at one corner; those of the final sweep are among them. One at which a
sizing held that failed at another corner has decided nothing. Each finished
search is kept in bench/results/, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path

from bench.agents import Checkpoint, Outcome, Task, build, run_all
from bench.corner_targets import CIRCUIT, FOLDER, TECHNOLOGIES
from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.circuits.targets import TargetList, read_targets
from m3eda.design.types import AgentChoice, Design, Limits, Signoff, Spec
from m3eda.flow import Execution, Project
from m3eda.loop import Run, size
from m3eda.simulate.trial import Trial, score

RESULTS = Path(__file__).resolve().parent / "results"
METHODS = (
    "m3/auto",
    "m3/progressive-hardest",
    "search/auto",
    "search/progressive-hardest",
    "search/brute-force",
    "trust-region/auto",
    "trust-region/progressive-hardest",
    "trust-region/progressive-random",
    "trust-region/brute-force",
    "random/brute-force",
)
"""Agent and strategy."""
BASES = {"m3": "search"}
"""Whose brute force an agent is compared with, where not its own."""


@cache
def listed(technology: str) -> TargetList:
    return read_targets(FOLDER / f"{CIRCUIT}_{technology}.json")


@cache
def opened(technology: str) -> Project:
    return open_circuit(catalogue().circuit(CIRCUIT), technology)


def design_of(task: Task) -> Design:
    """The op amp with the specs of a target, to be signed off at every corner."""
    design = opened(task.list).design
    for name, limit in listed(task.list).limits(task.target).items():
        design = design.with_spec(Spec(name, Limits(limit.get("min"), limit.get("max"))))
    agent, _, strategy = task.agent.partition("/")
    return replace(
        design,
        agent=AgentChoice(agent, budget=task.budget, seed=task.seed, batch=1),
        signoff=Signoff(tuple(corner.name for corner in design.corners), strategy),
    )


def search(task: Task) -> Outcome:
    """One run. What it has found is simulated at every corner once more, by fresh simulators."""
    design = design_of(task)
    project = replace(opened(task.list), design=design)
    began, start = time.perf_counter(), time.process_time()
    with closing(project.evaluator(Execution(cache=False))) as evaluator:
        run = Run(design, evaluator, lambda wanted: build(design.agent.name, wanted, task.seed))
        trials = list(size(run))
    wall, cpu = time.perf_counter() - began, time.process_time() - start
    met = bool(trials) and trials[-1].met
    if met:
        with closing(project.evaluator()) as fresh:
            [results] = fresh.evaluate([trials[-1].sizing], design.required)
        met = score(0, trials[-1].sizing, results, design.specs, design.required).met
    spent = sum(result.runs for trial in trials for result in trial.results.values())
    idle = sum(held_in_vain(design, trial) for trial in trials)
    return Outcome(task, met, spent, cpu, wall, idle)


def held_in_vain(design: Design, trial: Trial) -> int:
    """Corners at which a sizing that fails elsewhere was simulated and held."""
    if trial.met or len(trial.results) == 1:
        return 0
    return sum(
        score(0, trial.sizing, {name: result}, design.specs).met
        for name, result in trial.results.items()
    )


def table(tasks: Iterable[Task], outcomes: dict[Task, Outcome]) -> str:
    """A row a technology and method, of the searches that have ended."""
    rows: dict[tuple[str, str], list[Outcome]] = {}
    for task in tasks:
        if task in outcomes:
            rows.setdefault((task.list, task.agent), []).append(outcomes[task])
    lines = [
        "| technology | agent / strategy | signed off | simulations: median | mean of all "
        "| decided nothing | of brute force (pairs) |",
        "|---|---|---|---|---|---|---|",
    ]
    for (technology, method), found in rows.items():
        spent = [outcome.simulations for outcome in found]
        agent = method.partition("/")[0]
        base = rows.get((technology, f"{BASES.get(agent, agent)}/brute-force"), [])
        share = ratio(found, base)
        lines.append(
            f"| {technology} | {method.replace('/', ' / ')} "
            f"| {sum(outcome.met for outcome in found)} of {len(found)} "
            f"| {statistics.median(spent):.0f} | {statistics.fmean(spent):.0f} "
            f"| {sum(outcome.idle for outcome in found) / sum(spent):.0%} | {share} |"
        )
    return "\n".join(lines)


def ratio(found: Sequence[Outcome], base: Sequence[Outcome]) -> str:
    """All simulations over those that brute force spent on the same targets."""
    by_target = {(each.task.target, each.task.seed): each.simulations for each in base}
    pairs = [
        (each.simulations, by_target[each.task.target, each.task.seed])
        for each in found
        if (each.task.target, each.task.seed) in by_target
    ]
    if not pairs:
        return ""
    return f"1 / {sum(b for _, b in pairs) / sum(a for a, _ in pairs):.1f} ({len(pairs)})"


def plan(options: argparse.Namespace) -> list[Task]:
    """Every search: seed k sizes target k."""
    return [
        Task(method, technology, seed % len(listed(technology).targets), seed, options.budget)
        for technology in options.technologies.split(",")
        for seed in range(options.first_seed, options.first_seed + options.seeds)
        for method in options.methods.split(",")
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--methods", default=",".join(METHODS), help="agent/strategy, by comma")
    parser.add_argument("--technologies", default=",".join(TECHNOLOGIES))
    parser.add_argument("--first-seed", type=int, default=1, help="1 to 20 are the table's")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budget", type=int, default=500, help="sizings")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS / "signoff.jsonl")
    parser.add_argument("--smallest", action="store_true", help="one seed, few methods, kept apart")
    options = parser.parse_args(arguments)
    if options.smallest:
        options.methods, options.technologies, options.seeds = "m3/auto", TECHNOLOGIES[0], 1
        options.results = RESULTS / "signoff_smallest.jsonl"
    tasks = plan(options)
    checkpoint = Checkpoint(options.results)
    run_all(tasks, checkpoint, options.processes, search)
    print(table(tasks, checkpoint.outcomes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
