"""What a sizing in one technology is worth in the next: simulations until a target is met there.

    python -m bench.porting                     # every strategy, 20 seeds; resumes

Table II of the trust-region paper (arXiv 2009.13772, section V-C): the op amp m3_2soa is sized in
generic45 by the agent trust-region, then in generic22 for the same target, three times: from
nothing (baseline), from what `m3eda port` makes of the run's best sizings (start), and from these
with the weights of its networks (weights). The same for the agent search. Targets are met by a
known sizing in both technologies (`bench.port_targets`); seed k sizes target k, and nobody is told
the designer's start. A simulation is one sizing in generic22; those of the run in generic45, which
is there already, and the few that a port takes, do not count. Each finished search is kept in
bench/results/.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from bench.agents import Checkpoint, Outcome, Task, run_all
from bench.port_targets import CIRCUIT, NEW, OLD, port_targets
from m3eda.circuits.copying import DESIGN, copy_of
from m3eda.circuits.opening import catalogue
from m3eda.circuits.writing import design_text
from m3eda.design.extends import load_yaml
from m3eda.design.types import AgentChoice
from m3eda.flow import Execution, Project
from m3eda.loop import Run, size
from m3eda.plugins import Plugins
from m3eda.porting.before import STARTS, best_sizings
from m3eda.porting.port import port
from m3eda.porting.weights import AGENT, learnt_weights
from m3eda.porting.writing import files_of, folder_for, write_files
from m3eda.report.atomic import write_new
from m3eda.simulate.trial import Trial, score

RESULTS = Path(__file__).resolve().parent / "results"
METHODS = (
    "trust-region/before",
    "trust-region/baseline",
    "trust-region/start",
    "trust-region/weights",
    "trust-region/unscaled",
    "search/baseline",
    "search/start",
)
"""Agent and strategy; `before` is the run in the old technology, `unscaled` is `start` with the
sizes as they were."""
PAPER = {
    "trust-region/baseline": "50.2 (15 to 191)",
    "trust-region/start": "20.7 (2 to 88)",
    "trust-region/weights": "29.2 (3 to 310)",
}
"""Mean steps, and the least and the most: Table II."""


def old_project(folder: Path, target: int) -> Project:
    """The op amp in the old technology, its specs those of a target, in `folder`: as a designer has
    it, but for a start."""
    circuit, plugins = catalogue().circuit(CIRCUIT), Plugins()
    write_new(folder, copy_of(circuit, OLD, folder, plugins).texts)
    data = load_yaml(folder / DESIGN).data
    for entry in data["parameters"].values():
        entry.pop("start", None)
    targets = port_targets()
    sides = zip(targets.order.items(), targets.targets[target], strict=True)
    data["specs"] = {name: {side: f"{value:.9g}"} for (name, side), value in sides}
    (folder / DESIGN).write_text(design_text(data))
    return Project.load(folder / DESIGN)


def sized(project: Project, agent: str, task: Task) -> list[Trial]:
    """A run of `agent` to the end; the design's own options where it is the design's agent."""
    design = project.design
    options = design.agent.options if design.agent.name == agent else {}
    choice = AgentChoice(agent, budget=task.budget, seed=task.seed, batch=1, options=options)
    design = replace(design, agent=choice)
    factory = project.plugins.look_up("agents", agent)
    with closing(replace(project, design=design).evaluator(Execution(cache=False))) as evaluator:
        run = Run(design, evaluator, lambda wanted: factory(wanted, task.seed, options))
        return list(size(run))


@lru_cache(maxsize=2)
def before(target: int, seed: int, budget: int) -> tuple[Trial, ...]:
    """The run in the old technology."""
    with tempfile.TemporaryDirectory() as folder:
        project = old_project(Path(folder) / CIRCUIT, target)
        return tuple(sized(project, AGENT, Task(AGENT, OLD, target, seed, budget)))


def search(task: Task) -> Outcome:
    """One run in the new technology. What it found is simulated once more by a fresh process."""
    agent, _, strategy = task.agent.partition("/")
    trials = before(task.target, task.seed, task.budget)
    if strategy == "before":
        return Outcome(task, trials[-1].met, len(trials), 0.0, 0.0)
    began, start = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        old = old_project(Path(folder) / CIRCUIT, task.target)
        sizings = [] if strategy == "baseline" else best_sizings(trials, STARTS)
        ported = port(old, NEW, sizings)
        if strategy == "unscaled":
            names = [parameter.name for parameter in ported.new.design.free]
            ported.starts = [{name: sizing[name] for name in names} for sizing in sizings]
        weights = learnt_weights(old.design, trials) if strategy == "weights" else b""
        place = folder_for(old.design, NEW)
        write_files(place, files_of(ported, strategy, weights), force=False)
        project = Project.load(place / DESIGN)
        found = sized(project, agent, task)
        met = bool(found) and found[-1].met
        if met:
            with closing(project.evaluator()) as fresh:
                [results] = fresh.evaluate([found[-1].sizing])
            met = score(0, found[-1].sizing, results, project.design.specs).met
    wall, cpu = time.perf_counter() - began, time.process_time() - start
    return Outcome(task, met, len(found), cpu, wall)


def table(tasks: Iterable[Task], outcomes: dict[Task, Outcome]) -> str:
    """A row a method, of the searches that have ended."""
    rows: dict[str, list[Outcome]] = {}
    for task in tasks:
        if task in outcomes:
            rows.setdefault(task.agent, []).append(outcomes[task])
    lines = [
        "| agent / strategy | met | simulations: mean | median | least to most | of the baseline "
        "| the paper's steps |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, found in rows.items():
        spent = [outcome.simulations for outcome in found]
        base = rows.get(f"{method.partition('/')[0]}/baseline", [])
        lines.append(
            f"| {method.replace('/', ' / ')} | {sum(each.met for each in found)} of {len(found)} "
            f"| {statistics.fmean(spent):.1f} | {statistics.median(spent):.0f} "
            f"| {min(spent)} to {max(spent)} | {ratio(found, base)} | {PAPER.get(method, '')} |"
        )
    return "\n".join(lines)


def ratio(found: Sequence[Outcome], base: Sequence[Outcome]) -> str:
    """All simulations over those of the baseline on the same targets and seeds; empty for the run
    in the old technology, of which there is no baseline."""
    if found[0].task.agent.endswith("/before"):
        return ""
    known = {(each.task.target, each.task.seed): each.simulations for each in base}
    pairs = [(each.simulations, known[key]) for each in found
             if (key := (each.task.target, each.task.seed)) in known]  # fmt: skip
    return f"{sum(a for a, _ in pairs) / sum(b for _, b in pairs):.2f}" if pairs else ""


def plan(options: argparse.Namespace) -> list[Task]:
    """Every search: seed k sizes target k."""
    count = len(port_targets().targets)
    return [
        Task(method, NEW, seed % count, seed, options.budget)
        for seed in range(1, options.seeds + 1)
        for method in options.methods.split(",")
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--methods", default=",".join(METHODS), help="agent/strategy, by comma")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budget", type=int, default=500, help="sizings in each technology")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS / "porting.jsonl")
    parser.add_argument("--smallest", action="store_true", help="one seed, few sizings, kept apart")
    options = parser.parse_args(arguments)
    if options.smallest:
        options.seeds, options.budget = 1, 20
        options.results = RESULTS / "porting_smallest.jsonl"
    tasks = plan(options)
    checkpoint = Checkpoint(options.results)
    run_all(tasks, checkpoint, options.processes, search)
    print(table(tasks, checkpoint.outcomes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
