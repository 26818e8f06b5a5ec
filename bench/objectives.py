"""Compare rules of demanding better objective values: one objective, and a Pareto front of two.

    python -m bench.objectives --problems closed_form,closed_form_front --agents random,search

`closed_form` is a Miller op amp by the square law, `autockt_opamp` and `folded_cascode` run on
ngspice. With one objective the figure is the simulations until the best known value is reached
within 5 %; with two it is the hypervolume, as a share of that of a reference front from a long
search. The best known value is the best of all runs and, for a closed form, of the long search.
Rules: `new` is the one of m3eda; `old` demands 1 % more than the best of every measure.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np

from bench.agents import build
from bench.circuits import MissingFile, circuit
from m3eda.design.space import Space
from m3eda.design.ties import complete
from m3eda.design.types import (
    NOMINAL,
    AgentChoice,
    Design,
    Limits,
    Measure,
    Objective,
    Parameter,
    Sizing,
    Spec,
)
from m3eda.loop import Run, size
from m3eda.objective.demand import Demand, Levels
from m3eda.objective.front import Front, hypervolume
from m3eda.objective.search import make_demand
from m3eda.simulate.spent import Spent
from m3eda.simulate.trial import CornerResult, Trial, score

RESULTS = Path(__file__).resolve().parent / "results"
Measures = dict[str, float]


class AllBetter(Demand):
    """The old rule: 1 % better than the best so far in every measure, after each better trial."""

    patience = sys.maxsize

    def hear(self, trials: Sequence[Trial]) -> bool:
        """As before, but a trial that betters one measure alone moves the demand too."""
        for trial in trials:
            self.front.add(trial)
        before = self._levels
        if len(self.front):
            self._demand(self._first())
        return self._levels != before

    def _first(self) -> Levels:
        columns = zip(*self.front.costs, strict=True)
        return {k: min(column) - 0.01 * abs(min(column)) for k, column in enumerate(columns)}

    def _next(self, success: bool) -> Levels:
        return self._first()


RULES: Mapping[str, Callable[[Design], Demand | None]] = {"new": make_demand, "old": AllBetter}


def miller_amplifier(sizing: Sizing) -> Measures:
    """A two-stage Miller op amp by the square law, 5 pF load, 1.8 V; SI units, degrees."""
    i5, i7, s1, s6, length, cc = (float(sizing[n]) for n in ("i5", "i7", "s1", "s6", "l", "cc"))
    kn, kp, load, cox = 200e-6, 80e-6, 5e-12, 8e-3
    slope = 0.05 / (length / 1e-6)
    gm1, gm6 = math.sqrt(kn * s1 * i5), math.sqrt(2.0 * kp * s6 * i7)
    gate = 2.0 / 3.0 * cox * s6 * length**2
    gbw = gm1 / (2.0 * math.pi * cc)
    second = gm6 * cc / (2.0 * math.pi * (cc * load + gate * (cc + load)))
    zero = gm6 / (2.0 * math.pi * cc)
    return {
        "gain": gm1 / (slope * i5) * gm6 / (2.0 * slope * i7),
        "gbw": gbw,
        "pm": 90.0 - math.degrees(math.atan(gbw / second) + math.atan(gbw / zero)),
        "slew": min(i5 / cc, i7 / (load + cc)),
        "vov1": math.sqrt(i5 / (kn * s1)),
        "vov6": math.sqrt(2.0 * i7 / (kp * s6)),
        "power": 1.8 * (i5 + i7),
        "area": length**2 * (2.0 * s1 + 2.0 * s6) + cc / 1e-3,
    }


def closed_form(objective: Objective) -> Design:
    ranges = {
        "i5": (1e-6, 1e-3), "i7": (1e-6, 5e-3), "s1": (1.0, 500.0), "s6": (1.0, 1000.0),
        "l": (0.18e-6, 2e-6), "cc": (0.1e-12, 10e-12),
    }  # fmt: skip
    limits = {
        "gain": Limits(minimum=300.0), "gbw": Limits(minimum=5e6), "pm": Limits(minimum=55.0),
        "slew": Limits(minimum=2e6), "vov1": Limits(minimum=0.05),
        "vov6": Limits(minimum=0.05, maximum=0.5),
    }  # fmt: skip
    names = (*limits, "power", "area")
    return Design(
        name="closed_form",
        path=Path("closed_form.yaml"),
        testbenches={},
        parameters={n: Parameter(n, low, high, scale="log") for n, (low, high) in ranges.items()},
        measures={name: Measure(name) for name in names},
        specs={name: Spec(name, limit) for name, limit in limits.items()},
        objective=objective,
    )


@dataclass(frozen=True)
class Problem:
    """A design with an objective, and what a sizing gives."""

    design: Design
    evaluate: Callable[[Sizing], Measures]
    long_search: bool = False
    """True where a long search is affordable."""


def problem(name: str) -> Problem:
    """The problem of that name. Raises MissingFile."""
    if name.startswith("closed_form"):
        two = name.endswith("front")
        objective = Objective(minimize=("power", "area") if two else ("power",))
        return Problem(closed_form(objective), miller_amplifier, long_search=True)
    kind, front = name.removesuffix("_front"), name.endswith("_front")
    found = circuit(kind)
    target = {
        "autockt_opamp": (200.0, 1e7, 60.0, 1e-3),
        "folded_cascode": (1000.0, 2e7, 60.0, 1e-3, 0.05, 1e-8),
    }[kind]
    objective = Objective(("ibias",), ("ugbw",) if front else ())
    return Problem(replace(found.targeted(target), objective=objective), found.evaluate)


class Evaluator:
    """What `size` needs of an evaluator, around a function."""

    def __init__(self, given: Problem) -> None:
        self.given = given
        self.spent = Spent()

    def complete(self, sizing: Sizing) -> Sizing:
        return complete(self.given.design, sizing)

    def evaluate(
        self, sizings: Sequence[Sizing], corners: object = None
    ) -> Iterator[dict[str, CornerResult]]:
        """At the one corner there is."""

        def results() -> Iterator[dict[str, CornerResult]]:
            for sizing in sizings:
                yield {NOMINAL: CornerResult(self.given.evaluate(sizing), runs=1)}

        return (result for result in results())


def search(given: Problem, agent: str, rule: str, budget: int, seed: int) -> list[Trial]:
    """Every trial of one run."""
    choice = AgentChoice(agent, budget=budget, seed=seed)
    design = replace(given.design, agent=choice)
    run = Run(
        design,
        Evaluator(given),  # type: ignore[arg-type]
        lambda wanted: build(agent, wanted, seed),
        make_demand=RULES[rule],
    )
    return list(size(run))


@cache
def reference(name: str, rounds: int = 150, children: int = 200) -> Front:
    """The front of a long search: mutations of what is on the front so far."""
    given, rng = problem(name), np.random.default_rng(0)
    space, front = Space(given.design), Front(given.design.objective)
    points = rng.random((5_000, space.dimension))
    for _ in range(rounds):
        for sizing in map(space.sizing, space.snap(points)):
            results = {NOMINAL: CornerResult(given.evaluate(sizing))}
            front.add(score(len(front), sizing, results, given.design.specs))
        units = np.array([space.unit(trial.sizing) for trial in front.trials])
        steps = np.exp(rng.uniform(math.log(1e-4), math.log(0.2), (children, 1)))
        one, other = (units[rng.integers(len(units), size=children)] for _ in range(2))
        mixed = one + rng.random((children, 1)) * (other - one)
        points = np.clip(mixed + steps * rng.normal(size=mixed.shape), 0.0, 1.0)
    return front


def share(front: Front, known: Front) -> float:
    """Hypervolume of `front` over that of `known`, on the scales of `known`, 1.1 from its best."""
    scales, corner = known.scales(), [1.1] * len(known.aims)

    def volume(of: Front) -> float:
        rows = ([s.unit(c) for s, c in zip(scales, row, strict=True)] for row in of.costs)
        return hypervolume(rows, corner)

    return volume(front) / volume(known)


@dataclass(frozen=True)
class Row:
    """One line of the table: an agent under a rule, over all seeds."""

    problem: str
    agent: str
    rule: str
    objectives: int
    figure: float
    """Median: simulations to within 5 % of the best known, or the share of hypervolume."""
    each: tuple[float, ...]
    """By seed."""
    points: float
    """Median number of points of the front."""
    seconds: float
    """Median time of a run."""


def compare(name: str, options: argparse.Namespace) -> list[Row]:
    """A row for each agent and rule on the problem of that name."""
    given = problem(name)
    runs: dict[tuple[str, str], list[tuple[list[Trial], float]]] = {}
    for agent, rule in product(options.agents.split(","), options.rules.split(",")):
        for seed in range(1, options.seeds + 1):
            began = time.perf_counter()
            trials = search(given, agent, rule, options.budget, seed)
            runs.setdefault((agent, rule), []).append((trials, time.perf_counter() - began))
    known = reference(name, options.rounds) if given.long_search else Front(given.design.objective)
    for trial in (t for each in runs.values() for trials, _ in each for t in trials):
        known.add(trial)
    return [row(given, key, each, known) for key, each in runs.items()]


def row(
    given: Problem, key: tuple[str, str], runs: Sequence[tuple[list[Trial], float]], known: Front
) -> Row:
    figures = tuple(figure(given, trials, known) for trials, _ in runs)
    points = [len(Front(given.design.objective, trials)) for trials, _ in runs]
    return Row(
        given.design.name, *key, len(known.aims), statistics.median(figures), figures,
        statistics.median(points), statistics.median(seconds for _, seconds in runs),
    )  # fmt: skip


def figure(given: Problem, trials: Sequence[Trial], known: Front) -> float:
    """Share of hypervolume, or simulations to within 5 % of the best known; inf if never."""
    if len(known.aims) > 1:
        return share(Front(given.design.objective, trials), known)
    best, front = known.costs[0][0], Front(given.design.objective)
    for count, trial in enumerate(trials, start=1):
        front.add(trial)
        if len(front) and front.costs[0][0] <= best + 0.05 * abs(best):
            return float(count)
    return math.inf


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| problem | objectives | agent | rule | figure | by seed | points | seconds |",
        "|---|---:|---|---|---:|---|---:|---:|",
    ]
    for r in rows:
        each = ", ".join(f"{value:.3g}" for value in r.each)
        lines.append(
            f"| {r.problem} | {r.objectives} | {r.agent} | {r.rule} | {r.figure:.3g} | {each} "
            f"| {r.points:g} | {r.seconds:.1f} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--problems", default="closed_form,closed_form_front")
    parser.add_argument("--agents", default="random,cma,search")
    parser.add_argument("--rules", default="old,new")
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=150, help="Of the long search.")
    parser.add_argument("--smallest", action="store_true", help="one run of few simulations")
    parser.add_argument("--output", type=Path, default=RESULTS / "objectives.json")
    options = parser.parse_args(arguments)
    if options.smallest:
        options.problems, options.agents = "closed_form_front", "random"
        options.budget, options.seeds, options.rounds = 20, 1, 2
    rows: list[Row] = []
    for name in options.problems.split(","):
        try:
            rows += compare(name, options)
        except MissingFile as error:
            print(f"{name} is skipped: {error}", file=sys.stderr)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps([asdict(r) for r in rows], indent=2) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
