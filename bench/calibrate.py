"""Calibrate the targets of the circuit library by simulation, and write them into templates/.

    python -m bench.calibrate two_stage_miller                 # in its own technology
    python -m bench.calibrate five_transistor_ota --technology generic45,generic65
    python -m bench.calibrate --all                            # what has no targets yet

Random sizings (20,000, or what circuit.yaml says), then a quarter as many bred from the Pareto
front. A checkpoint in bench/results/calibration/ lets an interrupted search go on. Each witness is
simulated anew, by a simulator process of its own, before its target is published.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3eda.circuits.calibration import SLACK, Calibration, Chosen, Samples, goals_of, limits_of
from m3eda.circuits.catalogue import Circuit
from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.circuits.targets import TargetList, targets_text
from m3eda.design.snapshot import circuit_hash
from m3eda.design.space import Space
from m3eda.design.types import Sizing
from m3eda.errors import M3edaError
from m3eda.flow import Execution, Project
from m3eda.report.atomic import write_atomic
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.files import content_hash

FloatArray = NDArray[np.float64]

CHECKPOINTS = Path(__file__).resolve().parent / "results" / "calibration"
EVOLVED_SHARE = 0.25
"""Bred sizings for each random one."""
COUNT = 50
TIMEOUT = 20.0
"""Seconds for one run of the simulator."""


def simulator_of(
    project: Project, evaluator: Evaluator, names: Sequence[str]
) -> Callable[[FloatArray], FloatArray]:
    """A function from unit points (n, d) to measures (n, specs)."""
    space = Space(project.design)

    def simulate(points: FloatArray) -> FloatArray:
        sizings = [evaluator.complete(space.sizing(point)) for point in points]
        rows = [[result["nominal"].measures[name] for name in names]
                for result in evaluator.evaluate(sizings)]  # fmt: skip
        return np.array(rows, dtype=float).reshape(len(points), len(names))

    return simulate


class Checkpoint:
    """The samples of a search, on disk from time to time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds = 0.0
        """That earlier parts of the search took."""
        self._written = self._begun = time.monotonic()

    def known(self, names: Sequence[str]) -> Samples | None:
        """What was kept; None where nothing was, or of other measures."""
        if not self.path.exists():
            return None
        with np.load(self.path) as kept:
            if list(kept["names"]) != list(names):
                return None
            self.seconds = float(kept["seconds"])
            return Samples(kept["points"], kept["raw"])

    def keep(self, samples: Samples, names: Sequence[str], *, now: bool = False) -> None:
        if not now and time.monotonic() - self._written < 10.0:
            return
        self._written = time.monotonic()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part.npz")
        seconds = self.spent()
        np.savez(part, points=samples.points, raw=samples.raw, names=list(names), seconds=seconds)
        part.replace(self.path)

    def spent(self) -> float:
        return self.seconds + time.monotonic() - self._begun


def calibrate(
    circuit: Circuit, technology: str, options: argparse.Namespace
) -> tuple[TargetList, str]:
    """The targets of `circuit` in `technology`, and a line about them. Raises M3edaError."""
    project = open_circuit(circuit, technology, timeout=TIMEOUT)
    design = project.design
    traded, fixed = circuit.file.targets.traded, circuit.file.targets.fixed
    goals = goals_of(limits_of(design, list(traded)), limits_of(design, list(fixed)))
    random = options.points or circuit.file.targets.samples
    evolved = options.bred or int(random * EVOLVED_SHARE)
    checkpoint = Checkpoint(options.folder / f"{circuit.name}_{technology}_{options.seed}.npz")
    # samples of the circuit as it was before an edit are no samples of it
    files = [content_hash(path) for path in project.files(project.nominal_sizing())]
    labels = (*goals.names, circuit_hash(design, files))
    known = checkpoint.known(labels)
    evaluator = project.evaluator(Execution(jobs=options.jobs, cache=False))
    space = Space(design)
    search = Calibration(
        space,
        goals,
        simulator_of(project, evaluator, goals.names),
        options.seed,
        lambda samples: checkpoint.keep(samples, labels),
    )
    try:
        samples = search.search(random, evolved, known)
    finally:
        evaluator.close()
    checkpoint.keep(samples, labels, now=True)
    chosen = search.chosen(samples, random, options.count)
    good = confirmed(project, goals.names, chosen)
    rate = len(samples) / checkpoint.spent()
    figures = figures_of(chosen, samples, random, search)
    found = TargetList(
        circuit=circuit.name,
        technology=technology,
        order={name: circuit.sides[name] for name in goals.names},
        targets=tuple(tuple(map(float, chosen.targets[row])) for row in good),
        witnesses=tuple(rounded(space.sizing(chosen.witnesses[row])) for row in good),
        constants=(rounded(space.sizing(chosen.best)),),
        figures=figures,
    )
    return found, f"{rate:.0f} simulated sizings a second, {len(good)} targets, {figures}"


def confirmed(project: Project, names: Sequence[str], chosen: Chosen) -> list[int]:
    """Rows whose witness meets its target in a simulator process of its own as well."""
    space = Space(project.design)
    sides = [limits.minimum is not None for limits in
             (project.design.specs[name].limits for name in names)]  # fmt: skip
    signs = np.where(sides, 1.0, -1.0)
    evaluator = project.evaluator()
    sizings = [evaluator.complete(rounded(space.sizing(point))) for point in chosen.witnesses]
    good = []
    for row, result in enumerate(evaluator.evaluate(sizings)):
        raw = np.array([result["nominal"].measures[name] for name in names])
        if np.all(signs * raw >= signs * chosen.targets[row]):
            good.append(row)
    return good


def rounded(sizing: Sizing) -> Sizing:
    """`sizing` in nine digits, which JSON then holds exactly."""
    return {
        name: float(f"{value:.9g}") if isinstance(value, float) else value
        for name, value in sizing.items()
    }


def figures_of(
    chosen: Chosen, samples: Samples, random: int, search: Calibration
) -> dict[str, Any]:
    first = samples.rows(np.arange(random))
    return {
        "random_sizings": random,
        "bred_sizings": len(samples) - random,
        "seed": search.seed,
        "slack": list(SLACK),
        "incomplete_share": round(float(np.mean(~np.isfinite(first.raw).all(axis=1))), 4),
        "feasible_share": round(float(search.goals.feasible(first.raw).mean()), 5),
        "best_single_sizing": round(chosen.constant_share, 3),
        "thousand_random_sizings": round(chosen.random_share, 3),
        "probability": float(f"{chosen.probability:.2e}"),
    }


def wanted(options: argparse.Namespace) -> list[tuple[Circuit, str]]:
    """Circuits and technologies to calibrate, in order."""
    known = catalogue()
    names = options.circuits or (known.names() if options.all else [])
    found = []
    for circuit in map(known.circuit, names):
        chosen = options.technology.split(",") if options.technology else circuit.technologies[:1]
        found += [(circuit, name) for name in chosen if name in circuit.technologies]
    if options.all:
        found = [each for each in found if not each[0].targets_file(each[1]).exists()]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("circuits", nargs="*", metavar="CIRCUIT")
    parser.add_argument("--all", action="store_true", help="every circuit that has no targets yet")
    parser.add_argument("--technology", default="", help="names with commas; else its own")
    parser.add_argument("--points", type=int, default=0, help="random sizings")
    parser.add_argument("--bred", type=int, default=0, help="bred sizings")
    parser.add_argument("--count", type=int, default=COUNT, help="targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=CHECKPOINTS, help="for checkpoints")
    parser.add_argument("--smallest", action="store_true", help="one circuit, a few, not written")
    options = parser.parse_args(arguments)
    if options.smallest:
        options.circuits, options.points, options.count = ["five_transistor_ota"], 300, 5
        options.folder = CHECKPOINTS.parent / "calibration_smallest"
    status = 0
    for circuit, technology in wanted(options):
        print(f"{circuit.name} in {technology}", flush=True)
        try:
            found, line = calibrate(circuit, technology, options)
        except M3edaError as error:
            print(f"  {error}", file=sys.stderr, flush=True)
            status = 2
            continue
        print(f"  {line}", flush=True)
        if found.targets and not options.smallest:
            path = circuit.targets_file(technology)
            path.parent.mkdir(exist_ok=True)
            write_atomic(path, targets_text(found))
    return status


if __name__ == "__main__":
    sys.exit(main())
