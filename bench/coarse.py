"""What the equations of a circuit foretell of its measures, beside ngspice, over random sizings.

    python -m bench.coarse                          # circuits that no network has learnt
    python -m bench.coarse ldo_pmos --technology generic45 --points 100

Of each measure with a spec: the rank correlation of both, the median of the relative difference,
and how many sizings have it in both, in the equations alone and in ngspice alone. Milliseconds a
sizing are those of the equations, a batch of all sizings, and of ngspice in one process, as one
sizing after the other; those to make the equations ready, the transistors simulated, come before.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from m3eda.agents.bo import one_thread
from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.coarse.model import Coarse
from m3eda.design.ranges import FloatArray
from m3eda.errors import M3edaError
from m3eda.flow import Execution, Project
from m3eda.plugins import version_of
from m3eda.policy.pretrained import FOLDER
from m3eda.policy.transistors import SimulatedTransistors
from m3eda.report.atomic import write_atomic

FEWEST = 5
"""Sizings that a rank correlation takes."""


@dataclass(frozen=True)
class Agreement:
    """Of one measure."""

    measure: str
    ranks: float
    """Spearman's correlation; nan of few sizings, or where the simulator gives one value."""
    error: float
    """Median of the relative differences."""
    both: int
    ours: int
    theirs: int
    """Sizings that have it in both, in the equations alone, in the simulator alone."""


@dataclass(frozen=True)
class Compared:
    """Of one circuit in one technology."""

    circuit: str
    technology: str
    ready: float
    """Seconds until the equations are ready."""
    equations: float
    simulator: float
    """Milliseconds a sizing."""
    unsupported: Mapping[str, str]
    agreements: Sequence[Agreement]


def unknown_circuits() -> list[str]:
    """Those that no networks have learnt."""
    known = {path.stem for path in FOLDER.glob("*.npz")}
    return [name for name in catalogue().names() if name not in known]


def compared(project: Project, count: int, seed: int = 1) -> Compared:
    """`count` random sizings by equations and by the design's simulator."""
    design = project.design
    simulator = project.simulator()
    transistors = SimulatedTransistors(simulator, version_of(simulator, design.simulator.name))
    begun = time.perf_counter()
    with one_thread(), np.errstate(all="ignore"):
        coarse = Coarse(design, project.plugins.measures, transistors)
        ready = time.perf_counter() - begun
        rng = np.random.default_rng(seed)
        points = coarse.space.snap(rng.random((count, coarse.space.dimension)))
        begun = time.perf_counter()
        known = [name for stage in coarse.stages() for name in stage]
        ours = coarse.measures(points, known)
        equations = time.perf_counter() - begun
    evaluator = project.evaluator(Execution(cache=False))
    try:
        sizings = [evaluator.complete(coarse.space.sizing(point)) for point in points]
        list(evaluator.evaluate(sizings[:1]))
        begun = time.perf_counter()
        theirs = [result["nominal"].measures for result in evaluator.evaluate(sizings)]
        simulated = time.perf_counter() - begun
    finally:
        evaluator.close()
    technology = design.technology.name if design.technology else ""
    found = [agreement(name, _column(ours, name), _column(theirs, name)) for name in design.specs]
    return Compared(design.name, technology, ready, 1e3 * equations / count,
                    1e3 * simulated / count, coarse.unsupported, found)  # fmt: skip


def _column(rows: Sequence[Mapping[str, float]], name: str) -> FloatArray:
    return np.array([row.get(name, np.nan) for row in rows])


def agreement(name: str, ours: FloatArray, theirs: FloatArray) -> Agreement:
    """Of a measure's values, shape (n,), nan where there is none."""
    from scipy.stats import spearmanr

    here, there = np.isfinite(ours), np.isfinite(theirs)
    both = here & there
    ranks = error = float("nan")
    if both.any():
        gaps = np.abs(ours - theirs)[both] / np.maximum(np.abs(theirs[both]), 1e-30)
        error = float(np.median(gaps))
    if both.sum() >= FEWEST and np.ptp(ours[both]) > 0.0 and np.ptp(theirs[both]) > 0.0:
        ranks = float(spearmanr(ours[both], theirs[both]).statistic)
    return Agreement(name, ranks, error, int(both.sum()), int((here & ~there).sum()),
                     int((there & ~here).sum()))  # fmt: skip


def show(found: Compared) -> None:
    print(f"\n{found.circuit}, {found.technology}: ready after {found.ready:.1f} s; ms a sizing "
          f"{found.equations:.1f}, ngspice {found.simulator:.1f}")  # fmt: skip
    for name, why in found.unsupported.items():
        print(f"{name} is left out: {why}")
    print("| measure | rank correlation | median error | both | equations alone | ngspice alone |")
    print("|---|---:|---:|---:|---:|---:|")
    for each in found.agreements:
        print(f"| {each.measure} | {each.ranks:.3f} | {each.error:.2%} | {each.both} | "
              f"{each.ours} | {each.theirs} |", flush=True)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("circuits", nargs="*", metavar="CIRCUIT",
                        help="else those that no network has learnt")  # fmt: skip
    parser.add_argument("--technology", default="", help="else where each is at home")
    parser.add_argument("--points", type=int, default=50, help="random sizings")
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    parser.add_argument("--smallest", action="store_true")
    options = parser.parse_args(arguments)
    if options.smallest:
        options.circuits, options.points = options.circuits or ["multiple_feedback_filter"], 5
    rows = []
    for name in options.circuits or unknown_circuits():
        try:
            found = compared(open_circuit(name, options.technology), options.points)
        except M3edaError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        show(found)
        rows.append(asdict(found))
    if options.json:
        write_atomic(options.json, json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
