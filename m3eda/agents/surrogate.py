"""What `bo` believes of a circuit: a process for each spec and one for validity.

Beside the processes themselves: when they are fitted, which trials they hold, and how several
points are chosen at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m3eda.agents import gp
from m3eda.agents.acquisition import Model, expected_miss, log_interval
from m3eda.agents.gp import FloatArray


@dataclass(frozen=True)
class Schedule:
    """How much is spent on hyperparameters. Each fit begins at the prior: fits that went on from
    the last one stayed in its traps."""

    steps: int
    """Of one fit."""
    growth: float
    """In points after which they are fitted again."""

    def last(self, trials: int) -> int:
        """The largest number of trials at which a fit is due that is not above `trials`."""
        due = 1
        while (later := max(due + 1, math.ceil(due * self.growth))) <= trials:
            due = later
        return due


THOROUGH = Schedule(steps=40, growth=1.1)
THRIFTY = Schedule(steps=15, growth=1.4)
"""For simulations that are cheaper than a fit."""
MOST_DOUBLINGS = 12.0
"""Of the weight of validity."""

Indices = NDArray[np.intp]


@dataclass
class Belief:
    """What one process is conditioned on, and the interval that meets its spec."""

    name: str
    x: FloatArray
    y: FloatArray
    hyper: gp.Hyper
    prior: gp.Prior
    low: float
    high: float
    doubt: float = 0.0
    weight: float = 1.0

    def model(self) -> Model:
        process = gp.GaussianProcess(self.x, self.y, self.hyper, self.prior)
        return Model(process, self.low, self.high, self.doubt, self.weight)

    def add(self, inputs: FloatArray, value: float) -> None:
        self.x, self.y = np.vstack([self.x, inputs]), np.append(self.y, value)


def caution(valid: NDArray[np.bool_]) -> float:
    """The weight of validity after proposals that were valid or not, oldest first.

    Far from the specs their probabilities are so small that any hope outweighs a point without
    measures, which teaches nothing. The weight doubles with each of those, and falls with each
    valid point, so that it settles where five of six proposals are valid.
    """
    doublings = 0.0
    for good in valid:
        doublings = min(max(doublings + (-0.2 if good else 1.0), 0.0), MOST_DOUBLINGS)
    return float(2.0**doublings)


def believe_missed(beliefs: Sequence[Belief], inputs: FloatArray) -> None:
    """Condition on a point not simulated yet as if it had missed: only then is another needed.

    The spec in most doubt takes its expected value where missed, the others their means.
    """
    found = []
    for belief in beliefs:
        model = belief.model()
        mean, deviation = (float(a[0]) for a in model.process.predict(inputs))
        doubt = float(model.log_probability(inputs)[0])
        found.append((doubt, mean, expected_miss(mean, deviation, belief.low, belief.high)))
    worst = min(range(len(found)), key=lambda k: found[k][0], default=-1)
    for k, (belief, (_, mean, miss)) in enumerate(zip(beliefs, found, strict=True)):
        belief.add(inputs, miss if k == worst else mean)


def burst(models: Sequence[Model], inputs: FloatArray, count: int) -> list[int]:
    """Indices of `count` rows of `inputs`, shape (m, f), best first and each another hope.

    As `believe_missed`, but among given points, whose joint distribution is conditioned in place:
    no model is built anew and nothing searched again.
    """
    joint = [model.process.joint(inputs) for model in models]
    chosen: list[int] = []
    while len(chosen) < min(count, len(inputs)):
        terms = np.array(
            [
                _log_probability(model, mean, np.diagonal(covariance))
                for model, (mean, covariance) in zip(models, joint, strict=True)
            ]
        ).reshape(len(models), len(inputs))
        total = terms.sum(axis=0)
        total[chosen] = -np.inf
        pick = int(np.argmax(total))
        chosen.append(pick)
        worst = int(np.argmin(terms[:, pick])) if len(models) else -1
        for k, (model, (mean, covariance)) in enumerate(zip(models, joint, strict=True)):
            variance = max(float(covariance[pick, pick]), 1e-12)
            if k == worst:
                centre = float(mean[pick])
                miss = expected_miss(centre, math.sqrt(variance), model.low, model.high)
                mean += covariance[pick] * ((miss - centre) / variance)
            covariance -= np.outer(covariance[pick], covariance[pick]) / variance
    return chosen


def _log_probability(model: Model, mean: FloatArray, variance: FloatArray) -> FloatArray:
    deviation = np.sqrt(np.maximum(variance, 1e-12) + model.doubt)
    return model.weight * log_interval(mean, deviation, model.low, model.high)


def nearest(x: FloatArray, anchors: FloatArray, count: int) -> Indices:
    """Indices, ascending, of the `count` rows of `x` nearest to any of the anchors."""
    if len(x) <= count:
        return np.arange(len(x))
    gaps = ((x[:, None, :] - anchors[None, :, :]) ** 2).sum(axis=2).min(axis=1)
    near: Indices = np.sort(np.argsort(gaps, kind="stable")[:count])
    return near
