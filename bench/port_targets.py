"""Targets that are known to be feasible in two technologies, and write them down.

    python -m bench.port_targets                        # m3_2soa in generic45 and generic22

Each technology is sampled as by `bench.calibrate`: random sizings, then some bred from the Pareto
front. A point of the front in the new technology is paired with the point of the front in the old
one that falls short of it least; the worse of the two in each traded measure is eased, all by the
same factor, until it is as hard as the target of the trust-region paper (arXiv 2009.13772, table
I), which random search met after 8,565 simulations in the mean: until two of 20,000 random sizings
meet it in each technology. Both witnesses are simulated again, by a simulator process of its own,
before a target is published.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.calibrate import CHECKPOINTS, Checkpoint, rounded, simulator_of
from bench.targets import write_list
from m3eda.circuits.calibration import Calibration, Goals, Samples, goals_of, limits_of, spread
from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.design.space import Space
from m3eda.design.types import Limits, Sizing, Spec
from m3eda.flow import Execution, Project

FloatArray = NDArray[np.float64]
FOLDER = Path(__file__).resolve().parent / "port_targets"
CIRCUIT, OLD, NEW = "m3_2soa", "generic45", "generic22"
HITS = 1e-4
"""Share of random sizings that meet a target at the least: 1 / 8565 is that of the paper's."""
SLACKS = np.linspace(0.05, 1.0, 96)
"""Logarithms of the factors by which the traded measures are eased."""


@dataclass(frozen=True)
class PortTargets:
    """Targets met by a sizing of each technology."""

    order: dict[str, str]
    """Measure -> `min` or `max`, in the order of a target's numbers."""
    targets: tuple[tuple[float, ...], ...]
    """(targets, specs), SI units."""
    witnesses: tuple[tuple[Sizing, Sizing], ...]
    """A sizing of the old technology and one of the new that meet each target."""

    def specs(self, number: int) -> dict[str, Spec]:
        """The specs of target `number`, from 0."""
        pairs = zip(self.order.items(), self.targets[number], strict=True)
        return {
            name: Spec(name, Limits(minimum=value) if side == "min" else Limits(maximum=value))
            for (name, side), value in pairs
        }


@cache
def port_targets(name: str = f"{CIRCUIT}_{OLD}_{NEW}") -> PortTargets:
    """The list bench/port_targets/<name>.json. Raises FileNotFoundError."""
    data = json.loads((FOLDER / f"{name}.json").read_text())
    pairs = zip(data["old_witnesses"], data["new_witnesses"], strict=True)
    return PortTargets(data["order"], tuple(map(tuple, data["targets"])), tuple(pairs))


@dataclass(frozen=True)
class Sampled:
    """The circuit in one technology, with all that was simulated."""

    project: Project
    search: Calibration
    samples: Samples

    def sizing(self, point: FloatArray) -> Sizing:
        return rounded(Space(self.project.design).sizing(point))

    def met(self, point: FloatArray, target: FloatArray) -> bool:
        """True where the sizing at `point` meets `target` in a process of its own."""
        evaluator = self.project.evaluator()
        whole = evaluator.complete(self.sizing(point))
        [results] = evaluator.evaluate([whole])
        measures = results["nominal"].measures
        raw = np.array([[measures[name] for name in self.search.goals.names]])
        return bool(self.search.goals.met(raw, target)[0])


def sampled(technology: str, options: argparse.Namespace) -> Sampled:
    """Random and bred sizings of the circuit in `technology`; an interrupted search goes on."""
    circuit = catalogue().circuit(CIRCUIT)
    project = open_circuit(circuit, technology)
    given = circuit.file.targets
    goals = goals_of(
        limits_of(project.design, list(given.traded)), limits_of(project.design, list(given.fixed))
    )
    checkpoint = Checkpoint(options.folder / f"port_{CIRCUIT}_{technology}_{options.seed}.npz")
    evaluator = project.evaluator(Execution(jobs=options.jobs, cache=False))
    search = Calibration(
        Space(project.design), goals, simulator_of(project, evaluator, goals.names), options.seed,
        lambda samples: checkpoint.keep(samples, goals.names),
    )  # fmt: skip
    try:
        known = checkpoint.known(goals.names)
        samples = search.search(options.points, options.points // 4, known)
    finally:
        evaluator.close()
    checkpoint.keep(samples, goals.names, now=True)
    return Sampled(project, search, samples)


def made(
    old: Sampled, new: Sampled, count: int, seed: int, first: int
) -> list[tuple[FloatArray, ...]]:
    """At most `count` targets, far apart: limits, shape (specs,), and both witnesses' points. The
    `first` samples of each technology are random."""
    random = [each.samples.raw[:first] for each in (old, new)]
    goals, rng = new.search.goals, np.random.default_rng(seed)
    there, here = old.search.front(old.samples), new.search.front(new.samples)
    common, partner = [], []
    for heights in goals.heights(here.raw):
        both = np.minimum(goals.heights(there.raw), heights)
        best = int(np.argmin((heights - both).max(axis=1)))
        partner.append(best)
        common.append(both[best])
    found: list[tuple[FloatArray, ...]] = []
    for row in spread(np.array(common), len(common), rng):
        target = eased(goals, common[row], random)
        pair = there.points[partner[row]], here.points[row]
        if target is not None and old.met(pair[0], target) and new.met(pair[1], target):
            found.append((target, *pair))
        if len(found) == count:
            break
    return found


def eased(goals: Goals, heights: FloatArray, random: Sequence[FloatArray]) -> FloatArray | None:
    """The hardest target below `heights` that `random` sizings of each technology meet as often as
    `HITS` asks for; None where it is eased beyond what anybody wants at the least."""
    signs = goals.signs[goals.traded]
    for slack in SLACKS:
        target = goals.least.copy()
        target[goals.traded] = np.exp(signs * (heights - slack))
        target = np.array([float(f"{value:.6g}") for value in target])
        if np.any(goals.signs * target < goals.signs * goals.least):
            return None
        if min(goals.met(raw, target).sum() / len(raw) for raw in random) >= HITS:
            return target
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--points", type=int, default=20_000, help="random sizings")
    parser.add_argument("--count", type=int, default=20, help="targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=CHECKPOINTS, help="for checkpoints")
    options = parser.parse_args(arguments)
    old, new = sampled(OLD, options), sampled(NEW, options)
    found = made(old, new, options.count, options.seed, options.points)
    random = [each.samples.raw[: options.points] for each in (old, new)]
    hits = [
        [int(new.search.goals.met(raw, target).sum()) for target, *_ in found] for raw in random
    ]
    circuit = catalogue().circuit(CIRCUIT)
    FOLDER.mkdir(exist_ok=True)
    data = {
        "circuit": CIRCUIT,
        "technologies": [OLD, NEW],
        "figures": {"random_sizings": options.points, "seed": options.seed, "least_share": HITS},
        "random_hits_old": hits[0],
        "random_hits_new": hits[1],
        "order": {name: circuit.sides[name] for name in new.search.goals.names},
        "targets": [list(map(float, target)) for target, *_ in found],
        "old_witnesses": [old.sizing(point) for _, point, _ in found],
        "new_witnesses": [new.sizing(point) for _, _, point in found],
    }
    write_list(FOLDER / f"{CIRCUIT}_{OLD}_{NEW}.json", data)
    print(f"{len(found)} targets; random sizings that meet each: old {hits[0]}, new {hits[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
