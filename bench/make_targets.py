"""Make a list of hard, feasible targets for a circuit from its Pareto front.

    python -m bench.make_targets folded_cascode --evaluations 100000

Random sizings, then an evolution of the non-dominated ones; points spread over the front, relaxed
by 5 to 10 %, each with the sizing that meets it. No sizing seen meets more than 15 % of the list.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.circuits import Circuit, circuit
from bench.targets import FOLDER, write_list
from m3eda.design.space import Space
from m3eda.design.types import Sizing

FloatArray = NDArray[np.float64]

FIXED: Mapping[str, Mapping[str, float]] = {
    "autockt_opamp": {"pm": 60.0},
    "folded_cascode": {"pm": 60.0, "sat": 0.05},
    "five_transistor_ota": {"pm": 60.0, "sat": 0.05},
    "comparator": {"decision": 1.1, "reset": 0.05},
    "ldo": {"pm": 50.0},
}
"""Specs with the same limit in every target; the others trade against each other."""
FLOORS: Mapping[str, Mapping[str, float]] = {
    "folded_cascode": {"gain": 200.0, "ugbw": 5e6},
    "five_transistor_ota": {"gain": 15.0, "ugbw": 5e6},
    "comparator": {"delay": 350e-12, "power": 1e-3, "kickback": 20e-3, "offset": 20e-3},
    "ldo": {"iq": 500e-6, "error": 0.05, "psrr": 20.0, "deviation": 0.2, "recovery": 0.8e-6},
}
"""Points of the front that miss these are nothing anybody wants."""

_RANDOM_SHARE = 0.3
_OFFSPRING = 200
_FRONT_SIZE = 600
_LARGEST_SHARE = 0.15


@dataclass
class Samples:
    """Everything evaluated: unit points (n, d) and measures (n, specs), lower limits turned so that
    larger is better in every column."""

    points: FloatArray
    raw: FloatArray

    def joined(self, other: Samples) -> Samples:
        return Samples(np.vstack([self.points, other.points]), np.vstack([self.raw, other.raw]))


class Maker:
    def __init__(self, name: str, seed: int, checkpoint: Path | None = None) -> None:
        self.name = name
        self.seed = seed
        self.checkpoint = checkpoint
        self.circuit: Circuit = circuit(name)
        self.space = Space(self.circuit.design)
        self.signs = np.array([1.0 if s == "min" else -1.0 for s in self.circuit.order.values()])
        names = list(self.circuit.order)
        self.fixed = {names.index(k): v for k, v in FIXED[name].items()}
        self.floors = {names.index(k): v for k, v in FLOORS.get(name, {}).items()}
        self.traded = [i for i in range(len(names)) if i not in self.fixed]
        self.rng = np.random.default_rng(seed)

    def evaluate(self, points: FloatArray) -> Samples:
        rows = []
        for point in points:
            measures = self.circuit.evaluate(self.space.sizing(point))
            rows.append([measures[name] for name in self.circuit.order])
        return Samples(points, np.array(rows).reshape(len(points), -1))

    def feasible(self, raw: FloatArray) -> NDArray[np.bool_]:
        good = np.isfinite(raw).all(axis=1) & (raw[:, self.traded] > 0.0).all(axis=1)
        for column, limit in {**self.fixed, **self.floors}.items():
            good &= raw[:, column] * self.signs[column] >= limit * self.signs[column]
        return np.asarray(good)

    def goals(self, raw: FloatArray) -> FloatArray:
        """Logarithms of the traded measures, larger is better, shape (n, traded)."""
        logs: FloatArray = self.signs[self.traded] * np.log(raw[:, self.traded])
        return logs

    def search(self, evaluations: int) -> tuple[Samples, Samples]:
        """All samples, and those on the front."""
        first = int(evaluations * _RANDOM_SHARE)
        samples = self.restored()
        while len(samples.points) < first:
            count = min(_OFFSPRING, first - len(samples.points))
            points = self.rng.random((count, self.space.dimension))
            samples = samples.joined(self.evaluate(self.space.snap(points)))
            self.keep(samples)
        front = self.front(samples)
        if not len(front.points):
            raise SystemExit(f"none of {first} random sizings meets FIXED and FLOORS: try more")
        while len(samples.points) < evaluations:
            new = self.evaluate(self.offspring(front.points))
            samples = samples.joined(new)
            front = self.front(front.joined(new))
            self.keep(samples)
            print(f"{len(samples.points)} evaluated, {len(front.points)} kept", file=sys.stderr)
        return samples, front

    def restored(self) -> Samples:
        """What an interrupted search has evaluated, none where there is none."""
        if self.checkpoint is None or not self.checkpoint.exists():
            return Samples(np.empty((0, self.space.dimension)), np.empty((0, len(self.signs))))
        with np.load(self.checkpoint) as kept:
            # another stream of random numbers: the first would give the known points again
            self.rng = np.random.default_rng([self.seed, len(kept["points"])])
            return Samples(kept["points"], kept["raw"])

    def keep(self, samples: Samples) -> None:
        if self.checkpoint is not None:
            written = self.checkpoint.with_suffix(".part.npz")
            np.savez(written, points=samples.points, raw=samples.raw)
            written.replace(self.checkpoint)

    def offspring(self, parents: FloatArray) -> FloatArray:
        """Differential moves and small steps from random members of the front."""
        n = len(parents)
        one, two, three = (self.rng.integers(n, size=_OFFSPRING) for _ in range(3))
        shape = (_OFFSPRING, self.space.dimension)
        moved = 0.7 * self.rng.random((_OFFSPRING, 1)) * (parents[two] - parents[three])
        stepped = self.rng.normal(0.0, 1.0, shape) * 10.0 ** self.rng.uniform(
            -3, -0.7, (shape[0], 1)
        )
        kept = self.rng.random(shape) < self.rng.uniform(0.1, 1.0, (shape[0], 1))
        moves = np.clip(parents[one] + np.where(kept, moved + stepped, 0.0), 0, 1)
        return np.asarray(self.space.snap(moves))

    def front(self, samples: Samples) -> Samples:
        """The non-dominated feasible samples, thinned to the most spread."""
        good = self.feasible(samples.raw)
        points, raw = samples.points[good], samples.raw[good]
        goals = self.goals(raw)
        best = [
            not np.any(np.all(goals >= row, axis=1) & np.any(goals > row, axis=1)) for row in goals
        ]
        points, raw = points[best], raw[best]
        chosen = spread(self.goals(raw), min(_FRONT_SIZE, len(raw)), self.rng)
        return Samples(points[chosen], raw[chosen])

    def relaxed(self, raw: FloatArray) -> FloatArray:
        """A target that a point on the front meets with 5 to 10 % to spare."""
        target: FloatArray = np.array(raw)
        slack = self.rng.uniform(0.05, 0.10, len(self.traded))
        target[self.traded] *= 1.0 - self.signs[self.traded] * slack
        for column, limit in self.fixed.items():
            target[column] = limit
        return target

    def met(self, raw: FloatArray, target: FloatArray) -> NDArray[np.bool_]:
        with np.errstate(invalid="ignore"):
            good: NDArray[np.bool_] = np.all(self.signs * raw >= self.signs * target, axis=1)
        return good

    def choose(self, samples: Samples, front: Samples, count: int) -> tuple[list[Any], list[int]]:
        """`count` targets far apart that no sample meets too many of, with their rows of the
        front."""
        # farthest first over a part of the front: over all of it, only its corners would be taken
        part = self.rng.permutation(len(front.raw))[: 4 * count]
        order = part[spread(self.goals(front.raw[part]), len(part), self.rng)]
        hits = np.zeros(len(samples.raw), dtype=int)
        allowed = int(_LARGEST_SHARE * count)
        targets: list[FloatArray] = []
        rows: list[int] = []
        for row in order:
            target = self.relaxed(front.raw[row])
            more = self.met(samples.raw, target)
            if (hits + more).max() <= allowed:
                hits += more
                targets.append(target)
                rows.append(int(row))
            if len(targets) == count:
                break
        self.best_constant = self.space.sizing(samples.points[int(np.argmax(hits))])
        return targets, rows


def spread(goals: FloatArray, count: int, rng: np.random.Generator) -> list[int]:
    """Row numbers, the farthest from those already taken first."""
    if not len(goals):
        return []
    scaled = (goals - goals.min(axis=0)) / np.maximum(np.ptp(goals, axis=0), 1e-12)
    taken = [int(rng.integers(len(goals)))]
    distance = np.full(len(goals), np.inf)
    while len(taken) < count:
        distance = np.minimum(distance, np.linalg.norm(scaled - scaled[taken[-1]], axis=1))
        distance[taken] = -1.0
        taken.append(int(np.argmax(distance)))
    return taken


def make(
    name: str, evaluations: int, count: int, seed: int, checkpoint: Path | None = None
) -> dict[str, Any]:
    maker = Maker(name, seed, checkpoint)
    samples, front = maker.search(evaluations)
    targets, rows = maker.choose(samples, front, count)
    witnesses: list[Sizing] = [maker.space.sizing(front.points[row]) for row in rows]
    first = samples.raw[: int(evaluations * _RANDOM_SHARE)]
    share = float(np.mean([maker.met(first, target).mean() for target in targets]))
    note = (
        f"feasible targets from the Pareto front of {len(samples.points)} evaluations, relaxed by "
        f"5 to 10 %; a random sizing meets one with probability {share:.1e} on average"
    )
    return {
        "circuit": name,
        "note": note,
        "order": [f"{measure}_{side}" for measure, side in maker.circuit.order.items()],
        "constants": [maker.best_constant],
        "targets": [[float(f"{value:.6g}") for value in target] for target in targets],
        "witnesses": witnesses,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("circuit", choices=list(FIXED), nargs="?", default="folded_cascode")
    parser.add_argument("--evaluations", type=int, default=100_000)
    parser.add_argument("--count", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--name", help="file name without .json, <circuit>_pareto by default")
    parser.add_argument(
        "--checkpoint", type=Path, help="file.npz to go on from after an interruption"
    )
    parser.add_argument("--smallest", action="store_true", help="few of both, into bench/results/")
    options = parser.parse_args(arguments)
    folder = FOLDER
    if options.smallest:
        options.evaluations, options.count, folder = 5000, 8, FOLDER.parent / "results"
        folder.mkdir(exist_ok=True)
    made = make(
        options.circuit, options.evaluations, options.count, options.seed, options.checkpoint
    )
    path = folder / f"{options.name or options.circuit + '_pareto'}.json"
    write_list(path, made)
    print(f"{path}: {len(made['targets'])} targets; {made['note']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
