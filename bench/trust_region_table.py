"""Table I of the trust-region paper: agents on a target that random search rarely hits.

    python -m bench.trust_region_table --seeds 10        # resumes; --methods for some of them
    python -m bench.trust_region_table --hits 100000     # the target's random hit rate, resumes

Yang et al., Trust-Region Method with Deep Reinforcement Learning in Analog Design Space
Exploration, section V-B. The circuit is AutoCkt's two-stage op amp at 45 nm on its grid of 1e14
sizings. The paper does not publish its specs; the target is the first that the library draws from
the ranges of the M3 paper. No method is told the designer's start. A simulation is one sizing. A2C,
PPO and TRPO walk from the centre, one simulation a step and 30 steps an episode; their count ends
at the first success, in training. Success is strict. Each finished search is kept in
bench/results/.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from bench.agents import RESULTS, Checkpoint, Outcome, Task, build, run_all, within
from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.design.types import NOMINAL, Design, Sizing
from m3eda.flow import Project
from m3eda.learning.ranges import drawn_targets, range_settings
from m3eda.learning.settings import Setting
from m3eda.learning.simulations import Request, Simulations
from m3eda.learning.tasks import TaskGenerator
from m3eda.report.atomic import write_atomic
from m3eda.simulate.trial import Trial, score

CIRCUIT, TECHNOLOGY, LIST, TARGET = "m3_2soa", "generic45", "m3_2soa ranges", 0
LEARNERS = ("a2c", "ppo", "trpo")
PAPER: Mapping[str, tuple[str, str]] = {
    "random": ("100 %", "8565"),
    "bo": ("100 %", "330"),
    "a2c": ("90 %", "34797"),
    "ppo": ("40 %", "31503"),
    "trpo": ("20 %", "16350"),
    "trust-region": ("100 %", "36"),
    "search": ("", ""),
}
"""Method -> success rate and mean simulations that the paper gives: Table I."""
CHUNK = 1000


@cache
def problem() -> Setting:
    """The circuit with its one target, and without the designer's start."""
    circuit = catalogue().circuit(CIRCUIT)
    specs = drawn_targets(circuit, TARGET + 1)[TARGET]
    design = open_circuit(circuit, TECHNOLOGY).design
    parameters = {name: replace(each, start=None) for name, each in design.parameters.items()}
    project = Project.of(replace(design, parameters=parameters, specs=dict(specs)))
    (scales,) = (each.scales for each in range_settings([CIRCUIT], [TECHNOLOGY], count=1))
    return Setting(CIRCUIT, TECHNOLOGY, (specs,), lambda: project, scales=scales)


def trials(simulations: Simulations, sizings: Sequence[Sizing]) -> Iterator[Trial]:
    setting = problem()
    design = setting.project.design
    requests = [Request(setting, design.nominal, sizing) for sizing in sizings]
    for request, result in zip(requests, simulations.run(requests), strict=True):
        yield score(0, request.sizing, {NOMINAL: result}, design.specs)


def searched(task: Task, simulations: Simulations) -> tuple[bool, int, float]:
    """An agent of the library: success, simulations, and the agent's CPU seconds."""
    design: Design = within(problem().project.design, task)
    began = time.process_time()
    agent, count, cpu = build(task.agent, design, task.seed), 0, 0.0
    cpu += time.process_time() - began
    while count < task.budget:
        began = time.process_time()
        sizings = agent.ask(min(task.batch, task.budget - count))
        cpu += time.process_time() - began
        if not sizings:
            break
        told = list(trials(simulations, sizings))
        for trial in told:
            count += 1
            if trial.met:
                return True, count, cpu
        began = time.process_time()
        agent.tell(told)
        cpu += time.process_time() - began
    return False, count, cpu


def learnt(task: Task, simulations: Simulations) -> tuple[bool, int, float]:
    """An algorithm of Stable-Baselines3 with all its defaults, until an episode succeeds."""
    import torch
    from sb3_contrib import TRPO
    from stable_baselines3 import A2C, PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.logger import Logger

    from m3eda.learning.environment import SizingEnv

    class Success(BaseCallback):
        """Stops at the first."""

        met = False

        def _on_step(self) -> bool:
            self.met = bool(self.locals["infos"][0]["met"])
            return not self.met and self.num_timesteps < task.budget

    torch.set_num_threads(1)
    tasks = TaskGenerator(seed=task.seed, settings=[problem()])
    env = SizingEnv(tasks=tasks, simulations=simulations, tolerance=0.0)
    methods: dict[str, Any] = {"a2c": A2C, "ppo": PPO, "trpo": TRPO}
    began, success = time.process_time(), Success()
    model = methods[task.agent]("MlpPolicy", env, seed=task.seed, device="cpu")
    model.set_logger(Logger(folder=None, output_formats=[]))  # else a folder in /tmp
    model.learn(task.budget, success)
    return success.met, model.num_timesteps, time.process_time() - began


def search(task: Task, simulations: Simulations) -> Outcome:
    began = time.perf_counter()
    how: Callable[[Task, Simulations], tuple[bool, int, float]]
    how = learnt if task.agent in LEARNERS else searched
    met, count, cpu = how(task, simulations)
    return Outcome(task, met, count, cpu, time.perf_counter() - began)


def hit_rate(path: Path, count: int, simulations: Simulations) -> dict[str, int]:
    """How many of so many uniformly random sizings meet the target; goes on where it was."""
    kept = json.loads(path.read_text()) if path.is_file() else {"sizings": 0, "hits": 0}
    space, rng = problem().space, np.random.default_rng(1)
    for number in range(math.ceil(count / CHUNK)):
        points = rng.random((CHUNK, space.dimension))
        if (number + 1) * CHUNK > kept["sizings"]:
            sizings = [space.sizing(point) for point in points]
            met = sum(trial.met for trial in trials(simulations, sizings))
            kept = {"sizings": kept["sizings"] + CHUNK, "hits": kept["hits"] + met}
            write_atomic(path, json.dumps(kept) + "\n")
    return dict(kept)


def row(method: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    met = [each.simulations for each in outcomes if each.met]
    return {
        "method": method,
        "seeds": len(outcomes),
        "met": len(met),
        "mean": statistics.fmean(met) if met else math.nan,
        "deviation": statistics.stdev(met) if len(met) > 1 else math.nan,
        "ert": sum(each.simulations for each in outcomes) / len(met) if met else math.inf,
        "wall": statistics.fmean(each.wall for each in outcomes),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| method | seeds | success rate | mean simulations | standard deviation | spent for "
             "each success | wall s | the paper: success rate | mean |",
             "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for each in rows:
        numbers = [each["mean"], each["deviation"], each["ert"]]
        shown = [f"{number:.0f}" if math.isfinite(number) else "" for number in numbers]
        rate = f"{each['met'] / each['seeds']:.0%} ({each['met']})".replace("%", " %")
        cells = [each["method"], str(each["seeds"]), rate, *shown, f"{each['wall']:.0f}"]
        lines.append(f"| {' | '.join([*cells, *PAPER[each['method']]])} |")
    return "\n".join(lines)


def usable(methods: Sequence[str]) -> list[str]:
    """Those whose packages are installed."""
    if find_spec("sb3_contrib") is not None and find_spec("stable_baselines3") is not None:
        return list(methods)
    if missing := [method for method in methods if method in LEARNERS]:
        print(f"skipped: {', '.join(missing)}: pip install 'm3eda[baselines]'")
    return [method for method in methods if method not in LEARNERS]


def plan(options: argparse.Namespace) -> list[Task]:
    """Seed by seed, so that a partial table compares like with like."""
    return [
        Task(method, LIST, TARGET, seed, options.budget, 100 if method == "random" else 1)
        for seed in range(1, options.seeds + 1)
        for method in usable(options.methods)
    ]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--methods", type=lambda text: text.split(","), default=list(PAPER))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=10_000, help="simulations (the paper's)")
    parser.add_argument("--hits", type=int, default=0, help="random sizings for the hit rate")
    parser.add_argument("--table", action="store_true", help="run nothing, print what was run")
    parser.add_argument("--smallest", action="store_true", help="one seed, few simulations")
    parser.add_argument("--results", type=Path, default=RESULTS / "trust_region_table.jsonl")
    options = parser.parse_args(arguments)
    if options.smallest:
        options.seeds, options.budget, options.hits = 1, 10, 0
        options.results = RESULTS / "trust_region_table_smallest.jsonl"
        options.results.unlink(missing_ok=True)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    checkpoint = Checkpoint(options.results)
    tasks = plan(options)
    with Simulations() as simulations:
        if options.hits:
            path = options.results.with_suffix(".hits.json")
            found = hit_rate(path, options.hits, simulations)
            print(f"{found['hits']} of {found['sizings']} random sizings meet the target")
            return 0
        if not options.table:
            run_all(tasks, checkpoint, 1, partial(search, simulations=simulations))
    ran = [each for each in checkpoint.outcomes.values() if each.task.budget == options.budget]
    groups = {method: [each for each in ran if each.task.agent == method] for method in PAPER}
    rows = [row(method, group) for method, group in groups.items() if group]
    print(table(rows))
    limits = {name: str(spec.limits) for name, spec in problem().targets[0].items()}
    report = {"budget": options.budget, "target": limits, "rows": rows}
    write_atomic(options.results.with_suffix(".json"), json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
