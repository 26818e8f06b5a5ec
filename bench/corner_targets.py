"""Targets that one sizing meets at every corner of a technology, and write them down.

    python -m bench.corner_targets                      # m3_2soa in generic45 and generic22

As `bench.calibrate`, but a measure is what the worst of all corners gives: random sizings, then
some bred from the Pareto front, then targets from points of the front, each limit eased by the
slack of the library's lists. A sizing that fails a least limit at the nominal corner is not
simulated at the others. Each witness is simulated again before its target is published.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.calibrate import CHECKPOINTS, Checkpoint, figures_of, rounded
from m3eda.circuits.calibration import Calibration, Goals, goals_of, limits_of
from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.circuits.targets import TargetList, targets_text
from m3eda.design.space import Space
from m3eda.design.types import Corner, Design, Sizing
from m3eda.flow import Execution
from m3eda.report.atomic import write_atomic
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.trial import CornerResult

FloatArray = NDArray[np.float64]
FOLDER = Path(__file__).resolve().parent / "corner_targets"
CIRCUIT, TECHNOLOGIES = "m3_2soa", ("generic45", "generic22")


def every_corner(design: Design) -> list[Corner]:
    return [design.nominal, *design.corners]


def worst_of(results: dict[str, CornerResult], goals: Goals) -> list[float]:
    """The worst value of each measure over the corners; nan where one has none."""
    rows = np.array([[r.measures[name] for name in goals.names] for r in results.values()])
    return [float(x) for x in goals.signs * (goals.signs * rows).min(axis=0)]


def simulator_of(
    evaluator: Evaluator, design: Design, goals: Goals
) -> Callable[[FloatArray], FloatArray]:
    """A function from unit points (n, d) to measures (n, specs), each at its worst corner."""
    space = Space(design)

    def simulate(points: FloatArray) -> FloatArray:
        sizings = [evaluator.complete(space.sizing(point)) for point in points]
        raw = np.array(
            [worst_of(r, goals) for r in evaluator.evaluate(sizings, [design.nominal])]
        ).reshape(len(points), len(goals.names))
        good = np.flatnonzero(goals.feasible(raw))
        everywhere = evaluator.evaluate([sizings[row] for row in good], every_corner(design))
        for row, results in zip(good, everywhere, strict=True):
            raw[row] = worst_of(results, goals)
        return raw

    return simulate


def made(technology: str, options: argparse.Namespace) -> TargetList:
    """The list of `technology`."""
    circuit = catalogue().circuit(CIRCUIT)
    project = open_circuit(circuit, technology)
    design = project.design
    given = circuit.file.targets
    goals = goals_of(limits_of(design, list(given.traded)), limits_of(design, list(given.fixed)))
    evaluator = project.evaluator(Execution(jobs=options.jobs, cache=False))
    checkpoint = Checkpoint(options.folder / f"corners_{technology}_{options.seed}.npz")
    space = Space(design)
    search = Calibration(
        space,
        goals,
        simulator_of(evaluator, design, goals),
        options.seed,
        lambda samples: checkpoint.keep(samples, goals.names),
    )
    try:
        known = checkpoint.known(goals.names)
        samples = search.search(options.points, options.points // 4, known)
        checkpoint.keep(samples, goals.names, now=True)
        chosen = search.chosen(samples, options.points, options.count)
        witnesses: list[Sizing] = [rounded(space.sizing(point)) for point in chosen.witnesses]
        again = evaluator.evaluate(map(evaluator.complete, witnesses), every_corner(design))
        raw = np.array([worst_of(results, goals) for results in again])
    finally:
        evaluator.close()
    good = [
        row
        for row, target in enumerate(chosen.targets)
        if goals.met(raw[row : row + 1], np.asarray(target))[0]
    ]
    return TargetList(
        circuit=circuit.name,
        technology=technology,
        order={name: circuit.sides[name] for name in goals.names},
        targets=tuple(tuple(map(float, chosen.targets[row])) for row in good),
        witnesses=tuple(witnesses[row] for row in good),
        constants=(rounded(space.sizing(chosen.best)),),
        figures=figures_of(chosen, samples, options.points, search),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--technology", default=",".join(TECHNOLOGIES), help="names with commas")
    parser.add_argument("--points", type=int, default=20_000, help="random sizings")
    parser.add_argument("--count", type=int, default=20, help="targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=CHECKPOINTS, help="for checkpoints")
    options = parser.parse_args(arguments)
    for technology in options.technology.split(","):
        found = made(technology, options)
        FOLDER.mkdir(exist_ok=True)
        write_atomic(FOLDER / f"{CIRCUIT}_{technology}.json", targets_text(found))
        print(f"{technology}: {len(found.targets)} targets, {found.figures}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
