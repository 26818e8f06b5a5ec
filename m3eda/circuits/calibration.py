"""Targets that are hard and known to be feasible, from simulations of a circuit.

Random sizings first; then an evolution of those that no other one beats; of their Pareto front,
points far apart, relaxed by a slack. No single sizing seen may meet more than a share of the list,
and a thousand random sizings no more than another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from m3eda.design.space import Space
from m3eda.design.types import Design

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

SLACK = (0.05, 0.10)
"""How far a target lies from its witness, relative to each traded measure: from, to."""
LARGEST_CONSTANT_SHARE = 0.15
"""Of the targets, that any single sizing may meet."""
LARGEST_RANDOM_SHARE = 0.30
"""Of the targets, that the first RANDOM_COUNT random sizings may meet between them."""
RANDOM_COUNT = 1000
BATCH = 200
_FRONT_SIZE = 600
_PARENTS = 100
_ROUNDS = 4
_CANDIDATES = 8
"""Points of the front looked at for each target wanted."""


@dataclass(frozen=True)
class Goals:
    """What the columns of measures mean; built by `goals_of`."""

    names: tuple[str, ...]
    signs: FloatArray
    """(specs,): 1 for a lower limit, -1 for an upper one."""
    least: FloatArray
    """(specs,): the limits that anybody wants at least, those of fixed measures being exact."""
    traded: NDArray[np.intp]
    """Columns that trade against each other."""

    def shortfall(self, raw: FloatArray) -> FloatArray:
        """(n,): the sum of what each row misses of the least limits, each relative to its limit
        and at most 1; a measure that does not exist misses all of its limit."""
        scale = np.maximum(np.abs(self.least), 1e-30)
        missed = np.clip(self.signs * (self.least - raw) / scale, 0.0, 1.0)
        missed[~np.isfinite(raw)] = 1.0
        return np.asarray(missed.sum(axis=1))

    def heights(self, raw: FloatArray) -> FloatArray:
        """(n, traded): logarithms of the traded measures, larger is better."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.signs[self.traded] * np.log(raw[:, self.traded]))

    def feasible(self, raw: FloatArray) -> BoolArray:
        """(n,): rows that meet the least limits, their traded measures above 0."""
        with np.errstate(invalid="ignore"):
            positive = (raw[:, self.traded] > 0.0).all(axis=1)
        return np.asarray((self.shortfall(raw) == 0.0) & positive)

    def met(self, raw: FloatArray, target: FloatArray) -> BoolArray:
        """(n,): rows that meet `target` strictly."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.all(self.signs * raw >= self.signs * target, axis=1))


def limits_of(design: Design, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """{measure: {side: limit}} of the specs of `names`."""
    found = {}
    for name in names:
        limits = design.specs[name].limits
        side = "min" if limits.minimum is not None else "max"
        found[name] = {side: getattr(limits, f"{side}imum")}
    return found


def goals_of(
    traded: Mapping[str, Mapping[str, float]], fixed: Mapping[str, Mapping[str, float]]
) -> Goals:
    """The goals of `targets:` in a circuit.yaml, its formulas being numbers."""
    limits = {**traded, **fixed}
    sides = [next(iter(limit)) for limit in limits.values()]
    return Goals(
        names=tuple(limits),
        signs=np.array([1.0 if side == "min" else -1.0 for side in sides]),
        least=np.array([next(iter(limit.values())) for limit in limits.values()]),
        traded=np.arange(len(traded)),
    )


@dataclass
class Samples:
    """Everything simulated: unit points (n, d) and measures (n, specs)."""

    points: FloatArray
    raw: FloatArray

    def joined(self, other: Samples) -> Samples:
        return Samples(np.vstack([self.points, other.points]), np.vstack([self.raw, other.raw]))

    def rows(self, chosen: NDArray[np.intp] | BoolArray | list[int]) -> Samples:
        return Samples(self.points[chosen], self.raw[chosen])

    def __len__(self) -> int:
        return len(self.points)


@dataclass
class Calibration:
    """The search for the front of one circuit; `simulate` gives measures (n, specs) of points."""

    space: Space
    goals: Goals
    simulate: Callable[[FloatArray], FloatArray]
    seed: int = 1
    keep: Callable[[Samples], None] = field(default=lambda samples: None)
    """Called after each batch with all samples, for a checkpoint."""

    def search(self, random: int, evolved: int, known: Samples | None = None) -> Samples:
        """`random` random samples, then `evolved` bred ones; `known` is a checkpoint's.

        Each batch depends on the seed and on the samples before it, so that an interrupted search
        goes on as it would have.
        """
        samples = known or Samples(
            np.empty((0, self.space.dimension)), np.empty((0, len(self.goals.names)))
        )
        while len(samples) < random + evolved:
            rng = np.random.default_rng([self.seed, len(samples)])
            if len(samples) < random:
                count = min(BATCH, random - len(samples))
                points = rng.random((count, self.space.dimension))
            else:
                count = min(BATCH, random + evolved - len(samples))
                points = self._bred(self._parents(samples).points, count, rng)
            points = self.space.snap(points)
            samples = samples.joined(Samples(points, self.simulate(points)))
            self.keep(samples)
        return samples

    def _parents(self, samples: Samples) -> Samples:
        """The front, spread; where too few samples are feasible, those that miss least as well."""
        front = self.front(samples)
        if len(front) >= _PARENTS // 4:
            return front
        short = self.goals.shortfall(samples.raw)
        return front.joined(samples.rows(np.argsort(short, kind="stable")[:_PARENTS]))

    def _bred(self, parents: FloatArray, count: int, rng: np.random.Generator) -> FloatArray:
        """Differential moves and small steps from random parents, shape (count, d)."""
        one, two, three = (rng.integers(len(parents), size=count) for _ in range(3))
        shape = (count, self.space.dimension)
        moved = 0.7 * rng.random((count, 1)) * (parents[two] - parents[three])
        stepped = rng.normal(0.0, 1.0, shape) * 10.0 ** rng.uniform(-3, -0.7, (count, 1))
        taken = rng.random(shape) < rng.uniform(0.1, 1.0, (count, 1))
        return np.clip(parents[one] + np.where(taken, moved + stepped, 0.0), 0.0, 1.0)

    def front(self, samples: Samples) -> Samples:
        """The feasible samples that no other one beats, thinned to the most spread."""
        good = samples.rows(self.goals.feasible(samples.raw))
        best = good.rows(non_dominated(self.goals.heights(good.raw)))
        rng = np.random.default_rng([self.seed, len(best)])
        return best.rows(spread(self.goals.heights(best.raw), min(_FRONT_SIZE, len(best)), rng))

    def chosen(self, samples: Samples, random: int, count: int) -> Chosen:
        """At most `count` targets, the easiest first; `random` samples of all were random."""
        rng = np.random.default_rng([self.seed, count])
        front = self.front(samples)
        chooser = _Chooser(self.goals, samples, min(random, RANDOM_COUNT), count)
        # a front of two measures has few points: each is then relaxed more than once
        for _ in range(_ROUNDS):
            order = rng.permutation(len(front))
            # farthest first over a part of the front: over all, only its corners would be taken
            for start in range(0, len(front), _CANDIDATES * count):
                part = order[start : start + _CANDIDATES * count]
                for row in part[spread(self.goals.heights(front.raw[part]), len(part), rng)]:
                    chooser.offer(self._relaxed(front.raw[row], rng), front.points[row])
        chooser.trim()
        return Chosen.ordered(chooser, samples.rows(np.arange(min(random, len(samples)))))

    def _relaxed(self, raw: FloatArray, rng: np.random.Generator) -> FloatArray:
        """A target that `raw` meets with some percent to spare, in six digits."""
        goals, target = self.goals, self.goals.least.copy()
        traded = goals.traded
        slack = rng.uniform(*SLACK, len(traded))
        target[traded] = raw[traded] * (1.0 - goals.signs[traded] * slack)
        return np.array([float(f"{value:.6g}") for value in target])


@dataclass
class _Chooser:
    """Takes targets as long as they leave the list hard."""

    goals: Goals
    samples: Samples
    random: int
    count: int
    targets: list[FloatArray] = field(default_factory=list)
    witnesses: list[FloatArray] = field(default_factory=list)
    by_random: int = 0
    """Targets that one of the first random samples meets."""

    @cached_property
    def hits(self) -> NDArray[np.intp]:
        """(n,): targets that each sample meets."""
        return np.zeros(len(self.samples), dtype=np.intp)

    def offer(self, target: FloatArray, witness: FloatArray) -> None:
        if len(self.targets) == self.count:
            return
        met = self.goals.met(self.samples.raw, target)
        easy = bool(met[: self.random].any())
        if self.by_random + easy > max(1.0, LARGEST_RANDOM_SHARE * self.count):
            return
        if (self.hits + met).max() > max(1.0, LARGEST_CONSTANT_SHARE * self.count):
            return
        self.hits += met
        self.by_random += easy
        self.targets.append(target)
        self.witnesses.append(witness)

    def trim(self) -> None:
        """Drop targets while one sample meets too many of those there are: where there are fewer
        than wanted, what was allowed is too much."""
        while len(self.targets) > 1:
            most = int(np.argmax(self.hits))
            if self.hits[most] <= max(1.0, LARGEST_CONSTANT_SHARE * len(self.targets)):
                return
            met = [self.goals.met(self.samples.raw, target) for target in self.targets]
            row = max((i for i, each in enumerate(met) if each[most]), key=lambda i: met[i].sum())
            self.hits -= met[row]
            self.by_random -= bool(met[row][: self.random].any())
            del self.targets[row], self.witnesses[row]


@dataclass(frozen=True)
class Chosen:
    """A list of targets (t, specs) with their witnesses (t, d), the easiest first."""

    targets: FloatArray
    witnesses: FloatArray
    best: FloatArray
    """(d,): the sample that meets most of them."""
    constant_share: float
    """Of the targets, that it meets."""
    random_share: float
    """Of the targets, that the first thousand random samples meet between them."""
    probability: float
    """With which a random sizing meets a target, on average."""

    @classmethod
    def ordered(cls, chooser: _Chooser, random: Samples) -> Chosen:
        count, goals = len(chooser.targets), chooser.goals
        chances = np.array([goals.met(random.raw, each).mean() for each in chooser.targets])
        targets = np.array(chooser.targets).reshape(count, len(goals.names))
        witnesses = np.array(chooser.witnesses).reshape(count, random.points.shape[1])
        heights = goals.heights(targets)
        order = np.lexsort((heights.sum(axis=1), -chances)) if count else np.arange(0)
        return cls(
            targets=targets[order],
            witnesses=witnesses[order],
            best=chooser.samples.points[int(np.argmax(chooser.hits))],
            constant_share=float(chooser.hits.max()) / max(count, 1),
            random_share=chooser.by_random / max(count, 1),
            probability=float(chances.mean()) if count else 0.0,
        )


def non_dominated(heights: FloatArray) -> BoolArray:
    """(n,): rows that no other row beats, larger being better."""
    alive = np.ones(len(heights), dtype=bool)
    for row in np.argsort(-heights.sum(axis=1)):
        if alive[row]:
            beaten = np.all(heights <= heights[row], axis=1)
            alive[beaten] = False
            alive[row] = True
    return alive


def spread(heights: FloatArray, count: int, rng: np.random.Generator) -> list[int]:
    """`count` row numbers, the farthest from those already taken first."""
    if not len(heights):
        return []
    scaled = (heights - heights.min(axis=0)) / np.maximum(np.ptp(heights, axis=0), 1e-12)
    taken = [int(rng.integers(len(heights)))]
    distance = np.full(len(heights), np.inf)
    while len(taken) < count:
        distance = np.minimum(distance, np.linalg.norm(scaled - scaled[taken[-1]], axis=1))
        distance[taken] = -1.0
        taken.append(int(np.argmax(distance)))
    return taken
