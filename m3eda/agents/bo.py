"""Bayesian sizing: a Gaussian process a measure; next, the point likeliest to meet every spec."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from m3eda.agents import gp
from m3eda.agents.acquisition import Score, Search, log_interval, log_valid
from m3eda.agents.history import History
from m3eda.agents.outputs import Output, outputs, scaled, table
from m3eda.agents.start import start_points
from m3eda.design.space import FloatArray
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


class Bo:
    """Asks for the point with the largest probability that all specs hold.

    A proposal depends on the design, the seed and the trials told so far, on nothing else.
    """

    def __init__(self, design: Design, seed: int, options: Mapping[str, Any] | None = None) -> None:
        self._seed = seed
        self._history = History(design, seed)
        self._space = self._history.space
        count = min(max(math.ceil(self._space.dimension / 2), 4), 16)
        self._starts = start_points(self._space, count, seed)
        self._rows: tuple[Output, ...] = outputs(design)
        self._hyper: dict[int, tuple[int, gp.Hyper]] = {}

    def tell(self, trials: Sequence[Trial]) -> None:
        self._history.tell(trials)

    def ask(self, n: int) -> list[Sizing]:
        points = self._history.new_of(self._starts)
        told = len(self._history.trials)
        if told >= len(self._starts) or not len(points):
            points = self._proposals(max(n, 1))
        return self._history.propose(points)

    def _proposals(self, n: int) -> FloatArray:
        history = self._history
        if not history.trials:
            return history.draw(n)
        rng = history.rng(1)
        features = self._space.features(history.points)
        values = np.array([table(self._rows, trial) for trial in history.trials])
        score = self._score(features, values)
        order = np.argsort([-trial.reward for trial in history.trials], kind="stable")[:12]
        points, _ = Search(self._space, rng).best(score, history.points[order])
        points = history.new_of(points)[:n]
        return points if len(points) else history.draw(n)

    def _score(self, x: FloatArray, y: FloatArray) -> Score:
        models = self._models(x, y)
        valid = ~np.isnan(y).any(axis=1)
        validity = None
        if not valid.all():
            validity = self._process(-1, x, np.where(valid, 1.0, -1.0), VALIDITY_PRIOR)

        def score(points: FloatArray) -> FloatArray:
            features = self._space.features(points)
            total = np.zeros(len(points))
            for model in models:
                mean, deviation = model.process.predict(features)
                total += log_interval(mean, deviation, model.low, model.high)
            return total if validity is None else total + log_valid(validity, features)

        return score

    def _models(self, x: FloatArray, y: FloatArray) -> list[_Model]:
        models = []
        for index, row in enumerate(self._rows):
            known = ~np.isnan(y[:, index])
            if known.sum() < LEAST_VALUES:
                continue
            output = scaled(y[known, index], row.low, row.high)
            process = self._process(index, x[known], output.values, MEASURE_PRIOR)
            models.append(_Model(process, output.low, output.high))
        return models

    def _process(
        self, key: int, x: FloatArray, y: FloatArray, prior: gp.Prior
    ) -> gp.GaussianProcess:
        count, hyper = self._hyper.get(key, (0, gp.initial(x.shape[1], prior)))
        if len(y) >= 1.1 * count:
            hyper = gp.fit(x, y, gp.initial(x.shape[1], prior), prior)
            self._hyper[key] = len(y), hyper
        return gp.GaussianProcess(x, y, hyper)
