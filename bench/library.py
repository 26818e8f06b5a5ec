"""The circuit library measured: a row a circuit and technology.

    python -m bench.library                                   # every calibrated list
    python -m bench.library --every --points 50               # rates in each technology claimed
    python -m bench.library --agents search,cma --targets 10  # and sizings (hours; resumes)
    python -m bench.library --agents auto --held-out          # for what no network has learnt

Simulations a second and the share of simulations that fail are those of random sizings, simulated
here. The best single sizing and the thousand random ones are those of the calibration: the share of
the targets that they meet. Success and ERT (simulations spent over targets met) are those of whole
sizings with a budget, on targets spread evenly over the list, from the easiest to the hardest, or
on those that the networks that come with m3eda were not fitted to. Each sizing that has ended is
kept in bench/results/library.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from m3eda import library
from m3eda.circuits.catalogue import Circuit
from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.circuits.targets import TargetList, targets_of
from m3eda.design.space import Space
from m3eda.design.types import Design
from m3eda.errors import M3edaError
from m3eda.flow import Execution, Project
from m3eda.learning.settings import HELD_OUT
from m3eda.learning.splits import TECHNOLOGIES
from m3eda.report.atomic import write_atomic
from m3eda.simulate.types import State

KEPT = Path(__file__).resolve().parent / "results" / "library.json"


@dataclass(frozen=True)
class Rates:
    """Random sizings, simulated side by side with nothing else of ours."""

    a_second: float
    failed: float
    """Share of sizings with a simulation that did not complete."""
    missing: float
    """Share of sizings without one of the measures that specs are on."""

    def short(self) -> str:
        digits = 0 if self.a_second >= 10.0 else 1
        return f"{self.a_second:.{digits}f}, {self.failed:.0%}, {self.missing:.0%}"


def rates(project: Project, count: int, jobs: int) -> Rates:
    """What `count` random sizings take, after a few that open the sessions."""
    space, rng = Space(project.design), np.random.default_rng(1)
    evaluator = project.evaluator(Execution(jobs=jobs, cache=False))
    points = space.snap(rng.random((count + 5, space.dimension)))
    sizings = [evaluator.complete(space.sizing(point)) for point in points]
    try:
        list(evaluator.evaluate(sizings[:5]))
        begun = time.perf_counter()
        results = [result["nominal"] for result in evaluator.evaluate(sizings[5:])]
        seconds = time.perf_counter() - begun
    finally:
        evaluator.close()
    failed = [result.state is not State.COMPLETE for result in results]
    missing = [not all(np.isfinite(result.measures[name]) for name in project.design.specs)
               for result in results]  # fmt: skip
    return Rates(count / seconds, float(np.mean(failed)), float(np.mean(missing)))


def unchanged(design: Design) -> Design:
    return design


class Runs:
    """Sizings that have ended, kept on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, Any]] = {}
        if path.is_file():
            self.rows = json.loads(path.read_text(encoding="utf-8"))

    def sized(
        self, circuit: Circuit, targets: TargetList, number: int, agent: str, budget: int,
        note: str = "", changed: Callable[[Design], Design] = unchanged,
    ) -> dict[str, Any]:  # fmt: skip
        """One sizing: `met`, `simulations`, `seconds`; run where it is not kept. `note` stands in
        for the agent's name where that does not say enough, as for a design that is `changed`."""
        limits = targets.limits(number)
        key = json.dumps([circuit.name, targets.technology, limits, note or agent, budget])
        if key not in self.rows:
            project = open_circuit(circuit, targets.technology, limits)
            begun = time.perf_counter()
            result = library.size(changed(project.design), agent=agent, budget=budget, seed=1,
                                  execution=Execution(cache=False))  # fmt: skip
            self.rows[key] = {
                "met": result.met,
                "simulations": len(result.trials),
                "seconds": round(time.perf_counter() - begun, 2),
            }
            self.path.parent.mkdir(exist_ok=True)
            write_atomic(self.path, json.dumps(self.rows, indent=1))
        return self.rows[key]


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """`met/of ERT median seconds`."""
    met = [row["simulations"] for row in rows if row["met"]]
    spent = sum(row["simulations"] for row in rows)
    ert = f"{spent / len(met):.0f}" if met else "-"
    middle = f"{np.median(met):.0f}" if met else "-"
    seconds = float(np.median([row["seconds"] for row in rows]))
    return f"{len(met)}/{len(rows)} | {ert} | {middle} | {seconds:.1f}"


def chosen(targets: TargetList, count: int) -> list[int]:
    """`count` numbers spread over the list."""
    return sorted({int(n) for n in np.linspace(0, len(targets.targets) - 1, count).round()})


def held_out(targets: TargetList, count: int) -> list[int]:
    """The first `count` numbers that the networks that come with m3eda were not fitted to."""
    return list(range(HELD_OUT - 1, len(targets.targets), HELD_OUT))[:count]


def row_of(
    circuit: Circuit, targets: TargetList, options: argparse.Namespace, runs: Runs
) -> tuple[list[str], dict[str, Any]]:
    project = open_circuit(circuit, targets.technology, timeout=20.0)
    measured = rates(project, options.points, options.jobs)
    figures = targets.figures
    cells = [
        circuit.name, targets.technology, circuit.file.split,
        str(len(project.design.free)), str(len(targets.order)), str(len(targets.targets)),
        f"{measured.a_second:.0f}", f"{measured.failed:.1%}", f"{measured.missing:.1%}",
        f"{figures['best_single_sizing']:.0%}", f"{figures['thousand_random_sizings']:.0%}",
    ]  # fmt: skip
    data: dict[str, Any] = {"circuit": circuit.name, **vars(measured), **figures}
    take = held_out if options.held_out else chosen
    for agent in options.agents:
        rows = [runs.sized(circuit, targets, number, agent, options.budget)
                for number in take(targets, options.targets)]  # fmt: skip
        cells.append(summary(rows))
        data[agent] = rows
    return cells, data


def every(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Print a row a circuit, with a cell for each technology that it claims."""
    known, rows = catalogue(), []
    heads = ["circuit", "parameters", "specs", *TECHNOLOGIES]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for name in options.circuits or known.names():
        circuit = known.circuit(name)
        free = len(open_circuit(circuit).design.free)
        cells = [name, str(free), str(len(circuit.sides))]
        for technology in TECHNOLOGIES:
            if technology not in circuit.technologies:
                cells.append("")
                continue
            try:
                project = open_circuit(circuit, technology, timeout=20.0)
                found = rates(project, options.points, options.jobs)
            except M3edaError as error:
                print(f"{name} in {technology}: {error}", file=sys.stderr)
                cells.append("?")
                continue
            cells.append(found.short())
            rows.append({"circuit": name, "technology": technology, **vars(found)})
        print(f"| {' | '.join(cells)} |", flush=True)
    return rows


def lists(options: argparse.Namespace, runs: Runs) -> list[dict[str, Any]]:
    """Print a row a calibrated list."""
    known = catalogue()
    heads = ["circuit", "technology", "split", "parameters", "specs", "targets", "sizings/s",
             "failed", "a measure missing", "best single", "1000 random"]  # fmt: skip
    heads += [f"{agent}: met | ERT | median | s" for agent in options.agents]
    print(f"| {' | '.join(heads)} |\n|{'---|' * (len(heads) + 3 * len(options.agents))}")
    rows = []
    for name in options.circuits or known.names():
        circuit = known.circuit(name)
        for technology in circuit.technologies:
            targets = targets_of(circuit, technology)
            if targets is None:
                continue
            try:
                cells, data = row_of(circuit, targets, options, runs)
            except M3edaError as error:
                print(f"{name} in {technology}: {error}", file=sys.stderr)
                continue
            print(f"| {' | '.join(cells)} |", flush=True)
            rows.append(data)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("circuits", nargs="*", metavar="CIRCUIT", help="else every calibrated one")
    parser.add_argument("--every", action="store_true", help="rates in each technology claimed")
    parser.add_argument("--agents", default="", help="names with commas")
    parser.add_argument("--held-out", action="store_true",
                        help="size for targets that no network was fitted to")  # fmt: skip
    parser.add_argument("--targets", type=int, default=10, help="of each list, for the agents")
    parser.add_argument("--budget", type=int, default=500, help="simulations of one sizing")
    parser.add_argument("--points", type=int, default=200, help="random sizings for the rates")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    parser.add_argument("--smallest", action="store_true")
    options = parser.parse_args(arguments)
    options.agents = [name for name in options.agents.split(",") if name]
    kept = KEPT
    if options.smallest:
        options.circuits = options.circuits or ["five_transistor_ota"]
        options.agents, options.targets, options.budget, options.points = ["random"], 2, 5, 20
        kept = KEPT.with_name("library_smallest.json")
    rows = every(options) if options.every else lists(options, Runs(kept))
    if options.json:
        write_atomic(options.json, json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
