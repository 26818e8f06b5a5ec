"""Bayesian sizing: one Gaussian process a measure, next the point most likely to meet every spec."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from m3eda.agents import gp
from m3eda.agents.acquisition import Search, log_interval, log_valid
from m3eda.agents.outputs import Output, outputs, scaled, table
from m3eda.agents.start import start_points
from m3eda.design.space import FloatArray, Space
from m3eda.design.types import Design, Sizing
from m3eda.simulate.trial import Trial

MEASURE_PRIOR = gp.Prior()
VALIDITY_PRIOR = gp.Prior(noise=-3.0, noise_spread=1.0)
LEAST_VALUES = 3
"""Values of a measure below which it is not modelled."""


@dataclass(frozen=True)
class _Model:
    """A measure's process with its spec in the same units."""

    process: gp.GaussianProcess
    low: float
    high: float


class BoAgent:
    """Asks for the point with the largest probability that all specs hold.

    A proposal depends on the design, the seed and the trials told so far, on nothing else.
    """

    def __init__(self, design: Design, seed: int, options: Mapping[str, Any] | None = None) -> None:
        self._design, self._seed = design, seed
        self._space = Space(design)
        count = min(max(math.ceil(self._space.dimension / 2), 4), 16)
        self._starts = start_points(self._space, count, seed)
        self._rows: tuple[Output, ...] = outputs(design)
        self._x = np.empty((0, self._space.dimension))
        self._y = np.empty((0, len(self._rows)))
        self._rewards: list[float] = []
        self._seen: set[bytes] = set()
        self._pending: dict[bytes, FloatArray] = {}
        self._hyper: dict[int, tuple[int, gp.Hyper]] = {}

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            try:
                x = self._space.unit(trial.sizing)
            except (KeyError, ValueError):  # of another design: a parameter or word is not here
                continue
            key = self._space.keys(x)[0]
            self._pending.pop(key, None)
            self._seen.add(key)
            self._x = np.vstack([self._x, x])
            self._y = np.vstack([self._y, table(self._rows, trial)])
            self._rewards.append(trial.reward)

    def ask(self, n: int) -> list[Sizing]:
        chosen = self._start() or self._proposals(max(n, 1))
        for point in chosen:
            self._pending[self._space.keys(point)[0]] = point
        return [self._space.sizing(point) for point in chosen]

    def _start(self) -> list[FloatArray]:
        if len(self._x) >= len(self._starts):
            return []
        return [point for point in self._starts if self._fresh(point)]

    def _fresh(self, point: FloatArray) -> bool:
        key = self._space.keys(point)[0]
        return key not in self._seen and key not in self._pending

    def _proposals(self, n: int) -> list[FloatArray]:
        if len(self._seen) + len(self._pending) >= self._space.size:
            return []
        rng = np.random.default_rng([self._seed, 1, len(self._x), len(self._pending)])
        search = Search(self._space, rng)
        score = self._score()
        order = np.argsort(-np.array(self._rewards), kind="stable")[:12]
        points, _ = search.best(score, self._x[order])
        return [point for point in points if self._fresh(point)][:n] or [self._any(rng)]

    def _any(self, rng: np.random.Generator) -> FloatArray:
        for _ in range(1000):
            point = self._space.snap(rng.random(self._space.dimension))[0]
            if self._fresh(point):
                return point
        return point

    def _score(self):
        models = self._models()
        valid = ~np.isnan(self._y).any(axis=1)
        validity = None
        if not valid.all():
            validity = self._process(-1, self._x, np.where(valid, 1.0, -1.0), VALIDITY_PRIOR)

        def score(points: FloatArray) -> FloatArray:
            total = np.zeros(len(points))
            for model in models:
                mean, deviation = model.process.predict(points)
                total += log_interval(mean, deviation, model.low, model.high)
            return total if validity is None else total + log_valid(validity, points)

        return score

    def _models(self) -> list[_Model]:
        models = []
        for index, row in enumerate(self._rows):
            known = ~np.isnan(self._y[:, index])
            if known.sum() < LEAST_VALUES:
                continue
            output = scaled(self._y[known, index], row.low, row.high)
            process = self._process(index, self._x[known], output.values, MEASURE_PRIOR)
            models.append(_Model(process, output.low, output.high))
        return models

    def _process(self, key: int, x: FloatArray, y: FloatArray, prior: gp.Prior):
        count, hyper = self._hyper.get(key, (0, gp.initial(x.shape[1], prior)))
        if len(y) >= 1.1 * count:
            hyper = gp.fit(x, y, gp.initial(x.shape[1], prior), prior)
            self._hyper[key] = len(y), hyper
        return gp.GaussianProcess(x, y, hyper)
