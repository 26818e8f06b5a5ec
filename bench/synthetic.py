"""Circuit-like test spaces in closed form, each with targets that are known to be feasible.

The measures are those of an amplifier whose every quantity is a product of powers of the sizes:
gain of two stages with two output resistances each, bandwidth as a transconductance over a sum of
capacitances, phase lost at three poles, supply current, area, noise, and the smallest headroom.
Which size enters where, and with which power, is drawn once for each space.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from bench.circuits import Side
from m3eda.design.space import FloatArray, Space
from m3eda.design.types import (
    NOMINAL,
    AgentChoice,
    Design,
    Limits,
    Measure,
    Parameter,
    Sizing,
    Spec,
)
from m3eda.simulate.trial import CornerResult, Trial, score

ORDER: Mapping[str, Side] = {
    "gain": "min", "ugbw": "min", "pm": "min", "power": "max", "area": "max", "noise": "max",
    "headroom": "min",
}  # fmt: skip
DECADES = 2.0
"""Range of every size."""
POWERS = (-1.0, -0.5, 0.5, 1.0)
_E24 = (
    1.0, 1.1, 1.2, 1.3, 1.5, 1.6, 1.8, 2.0, 2.2, 2.4, 2.7, 3.0,
    3.3, 3.6, 3.9, 4.3, 4.7, 5.1, 5.6, 6.2, 6.8, 7.5, 8.2, 9.1,
)  # fmt: skip
_BINS = 5
"""Bins of a size in a binned space."""


@dataclass(frozen=True)
class Kind:
    """One space: its number of parameters and what makes it awkward."""

    name: str
    dimension: int
    words: int = 0
    """Parameters that are one of four words."""
    series: bool = False
    """Every other parameter takes E24 values only, two decades of them."""
    levels: int = 0
    """Values a parameter has, 0 for a continuous one."""
    noise: float = 0.0
    """Relative numerical noise of every measure."""
    jump: float = 0.0
    """Relative jump of a device at the border of a bin."""
    ridge: float = 0.0
    """Relative mismatch of the bias that halves the gain, as in an amplifier without feedback."""
    valid: float = 1.0
    """Share of the space in which the circuit works at all."""


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("few", 2, levels=7),
        Kind("three", 3),
        Kind("seven", 7),
        Kind("fifteen", 15),
        Kind("thirty", 30),
        Kind("sixty", 60),
        Kind("rough", 12, noise=0.01),
        Kind("binned", 12, jump=0.1),
        Kind("invalid", 22, valid=0.18),
        Kind("ridge", 13, ridge=0.1),
        Kind("series", 12, words=3, series=True),
    )
}


def parameters(kind: Kind) -> dict[str, Parameter]:
    """The parameters of a space, two decades each."""
    made = []
    for i in range(kind.dimension):
        name = f"p{i}"
        if i < kind.words:
            made.append(Parameter(name, choices=("lvt", "svt", "hvt", "thick")))
        elif kind.series:
            values = (*_E24, *(10.0 * value for value in _E24), 100.0)
            made.append(Parameter(name, choices=values, series="E24"))
        elif kind.levels:
            values = tuple(10.0 ** (DECADES * k / (kind.levels - 1)) for k in range(kind.levels))
            made.append(Parameter(name, choices=values))
        else:
            made.append(Parameter(name, minimum=1.0, maximum=10.0**DECADES, scale="log"))
    return {parameter.name: parameter for parameter in made}


class Amplifier:
    """The closed form of one space: natural logarithms of sizes in, measures out."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._rng = np.random.default_rng([kind.dimension, len(kind.name), *kind.name.encode()])
        d = kind.dimension
        self._gain, self._pole = self._forms(4), self._forms(3)
        self._transconductance, self._load = self._forms(1), self._forms(2)
        self._load_at_pole = self._forms(3)
        self._power, self._area = self._positive(max(d // 3, 1)), self._positive(d)
        self._noise, self._headroom = self._forms(2), self._forms(max(d // 3, 2))
        self._works, self._balance = self._forms(2), self._forms(1)
        self._edges = np.full(2, -math.inf)
        self._jumps = kind.jump * self._rng.normal(size=(d, _BINS))
        if kind.valid < 1.0:
            drawn = (self._rng.random((20_000, d)) - 0.5) * DECADES * math.log(10.0)
            share = math.sqrt(kind.valid)
            self._edges = np.quantile(drawn @ self._works.T, 1.0 - share, axis=0)

    def _forms(self, count: int) -> FloatArray:
        """Powers of the sizes in `count` products, shape (count, d): two to four sizes each."""
        d = self.kind.dimension
        forms = np.zeros((count, d))
        for row in forms:
            chosen = self._rng.permutation(d)[: self._rng.integers(2, 5)]
            row[chosen] = self._rng.choice(POWERS, size=len(chosen))
        return forms

    def _positive(self, count: int) -> FloatArray:
        """One or two sizes a product, with powers of 1: currents and areas."""
        d = self.kind.dimension
        forms = np.zeros((count, d))
        for index, row in enumerate(forms):
            row[index % d] = 1.0
            row[self._rng.integers(d)] = 1.0
        return forms

    def __call__(self, logs: FloatArray) -> FloatArray:
        """Measures in the order of `ORDER`, shape (n, 7), at logarithms of sizes over their
        geometric middle, shape (n, d). nan where the circuit does not work."""
        u = self._binned(logs)
        g = u @ self._gain.T
        gain = 200.0 / (np.exp(-g[:, 0]) + np.exp(-g[:, 1])) / (np.exp(-g[:, 2]) + np.exp(-g[:, 3]))
        mismatch = (u @ self._balance.T)[:, 0] if self.kind.ridge else np.zeros(len(u))
        gain = gain / (1.0 + (mismatch / (self.kind.ridge or 1.0)) ** 2)
        load = np.exp(u @ self._load.T).sum(axis=1) + 0.2
        ugbw = np.exp(u @ self._transconductance.T)[:, 0] / load
        poles = 5.0 * np.exp(u @ self._pole.T) / (0.3 + np.exp(u @ self._load_at_pole.T))
        pm = 90.0 - np.degrees(np.arctan(ugbw[:, None] / poles)).sum(axis=1)
        headroom = 0.3 + 0.06 * (u @ self._headroom.T).min(axis=1) - 0.1 * np.abs(mismatch)
        sums = [np.exp(u @ forms.T).sum(axis=1) for forms in (self._power, self._area, self._noise)]
        rows = np.stack([gain, 1e6 * ugbw, pm, *sums, headroom], axis=1)
        if self.kind.noise:
            phase = 1e4 * (logs @ (1.0 + np.arange(logs.shape[1])))
            rows = rows * (1.0 + self.kind.noise * np.sin(phase[:, None] + np.arange(7.0)))
        rows[gain <= 1.0, 1:3] = np.nan
        rows[~((u @ self._works.T) >= self._edges).all(axis=1)] = np.nan
        return rows

    def _binned(self, logs: FloatArray) -> FloatArray:
        if not self.kind.jump:
            return logs
        share = logs / (DECADES * math.log(10.0)) + 0.5
        bins = np.clip((share * _BINS).astype(int), 0, _BINS - 1)
        jumps: FloatArray = self._jumps[np.arange(logs.shape[1]), bins]
        return logs + jumps


@dataclass(frozen=True)
class Synthetic:
    """A space with its closed form, in the place of a `bench.circuits.Circuit`."""

    kind: Kind
    design: Design
    amplifier: Amplifier
    words: FloatArray
    """What each word counts as, shape (words, 4), as the logarithm of a size."""

    def logs(self, points: FloatArray) -> FloatArray:
        """Logarithms of the sizes at snapped unit points, shape (n, d)."""
        logs = (points - 0.5) * DECADES * math.log(10.0)
        for column in range(self.kind.words):
            logs[:, column] = self.words[column][(4.0 * points[:, column]).astype(int)]
        return logs

    def evaluate(self, points: FloatArray) -> FloatArray:
        return self.amplifier(self.logs(points))

    def trial(self, number: int, sizing: Sizing, specs: Mapping[str, Spec]) -> Trial:
        """Evaluate and score one sizing."""
        values = self.evaluate(Space(self.design).unit(sizing)[None, :])[0]
        measures = dict(zip(ORDER, map(float, values), strict=True))
        return score(number, sizing, {NOMINAL: CornerResult(measures, runs=1)}, specs)

    def targeted(self, target: Sequence[float]) -> Design:
        design = self.design
        for (name, side), value in zip(ORDER.items(), target, strict=True):
            limits = Limits(minimum=value) if side == "min" else Limits(maximum=value)
            design = design.with_spec(Spec(name, limits))
        return design


@cache
def synthetic(name: str) -> Synthetic:
    """The space of that name. Raises KeyError."""
    kind = KINDS[name]
    design = Design(
        name=name,
        path=Path(f"{name}.yaml"),
        testbenches={},
        parameters=parameters(kind),
        measures={measure: Measure(measure) for measure in ORDER},
        specs={},
        agent=AgentChoice(),
    )
    words = np.random.default_rng(7).uniform(-2.0, 2.0, size=(kind.words, 4))
    return Synthetic(kind, design, Amplifier(kind), words)


@cache
def witness(name: str, index: int, generations: int = 60) -> tuple[float, ...]:
    """The unit point that target `index` of a space was made from: climbed towards random wishes
    by an evolutionary search over tens of thousands of sizings."""
    made, rng = synthetic(name), np.random.default_rng([11, index])
    space = Space(made.design)
    wish = rng.dirichlet(np.full(len(ORDER), 1.5))
    points = space.snap(rng.random((4000, space.dimension)))
    for generation in range(generations):
        points = points[np.argsort(-_merit(made, points, wish), kind="stable")[:60]]
        parents = points[rng.integers(len(points), size=300)]
        others = points[rng.integers(len(points), size=(2, 300))]
        steps = rng.normal(size=parents.shape) * 0.2 * 0.93**generation
        steps *= rng.random(parents.shape) < max(0.3, 1.5 / space.dimension)
        moved = parents + 0.5 * (others[0] - others[1]) + steps
        points = np.vstack([points, space.snap(moved)])
    return tuple(points[np.argmax(_merit(made, points, wish))])


@cache
def target(name: str, index: int) -> tuple[float, ...]:
    """One limit a measure in the order of `ORDER`: those of the witness, relaxed by 5 to 10 %."""
    made = synthetic(name)
    values = made.evaluate(np.array([witness(name, index)]))[0]
    share = np.random.default_rng([12, index]).uniform(0.05, 0.10, len(values))
    relaxed = values - _signs() * np.abs(values) * share
    return tuple(float(f"{value:.4g}") for value in relaxed)


def _signs() -> FloatArray:
    return np.array([1.0 if side == "min" else -1.0 for side in ORDER.values()])


def _merit(made: Synthetic, points: FloatArray, wish: FloatArray) -> FloatArray:
    """The wish for each measure times its logarithm; what no circuit needs counts no further."""
    values = made.evaluate(points)
    unstable = 3.0 * np.maximum(55.0 - values[:, 2], 0.0) / 10.0
    values[:, 2] = np.exp((np.minimum(values[:, 2], 70.0) - 60.0) / 10.0)
    values[:, 6] = np.exp((np.minimum(values[:, 6], 0.3) - 0.2) / 0.05)
    merit = (_signs() * wish * np.log(np.maximum(values, 1e-12))).sum(axis=1) - unstable
    return np.where(np.isnan(merit), -np.inf, merit)
