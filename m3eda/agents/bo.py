"""Bayesian sizing: a Gaussian process a measure; next, the point likeliest to meet every spec."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3eda.agents import gp
from m3eda.agents.acquisition import AllSpecs, Model, Search, expected_miss
from m3eda.agents.history import History, take_options
from m3eda.agents.outputs import Output, outputs, scaled, table
from m3eda.agents.start import start_points
from m3eda.design.space import FloatArray
from m3eda.design.types import Design, Sizing
from m3eda.simulate.trial import Trial

OPTIONS: Mapping[str, Any] = {"start": 0}
"""start: points before the first model; 0 takes half the dimension, 4 to 16."""
MEASURE_PRIOR = gp.Prior()
VALIDITY_PRIOR = gp.Prior(noise=-3.0, noise_spread=1.0)
VALIDITY_DOUBT = 0.1
LEAST_VALUES = 3
"""Values of a measure below which it is not modelled."""
MOST_POINTS = 200
"""Points a model holds; the nearest to the best trials are kept."""
MOST_FITTED = 200
"""Points that hyperparameters are fitted on."""
REFIT = 1.1
"""Growth in points after which hyperparameters are fitted again."""
ANCHORS = 12
VALIDITY = -1

Indices = NDArray[np.intp]


@dataclass
class _Data:
    """What one process is conditioned on."""

    x: FloatArray
    y: FloatArray
    hyper: gp.Hyper
    prior: gp.Prior
    low: float
    high: float
    doubt: float = 0.0

    def model(self) -> Model:
        process = gp.GaussianProcess(self.x, self.y, self.hyper, self.prior)
        return Model(process, self.low, self.high, self.doubt)

    def add(self, inputs: FloatArray, value: float) -> None:
        self.x, self.y = np.vstack([self.x, inputs]), np.append(self.y, value)


class Bo:
    """Asks for the point with the largest probability that all specs hold.

    A proposal depends on the design, the seed, the options, the trials told so far and the points
    asked but not yet told, on nothing else.
    """

    def __init__(self, design: Design, seed: int, options: Mapping[str, Any] | None = None) -> None:
        chosen = take_options("bo", options or {}, OPTIONS)
        self._history = History(design, seed)
        self._space = self._history.space
        count = int(chosen["start"]) or min(max(math.ceil(self._space.dimension / 2), 4), 16)
        self._starts = start_points(self._space, count, seed)
        self._rows: tuple[Output, ...] = outputs(design)
        self._values: list[FloatArray] = []
        self._hyper: dict[int, tuple[int, gp.Hyper]] = {}
        self._pending: dict[bytes, FloatArray] = {}

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial, point in self._history.tell(trials):
            self._values.append(table(self._rows, trial))
            self._pending.pop(self._space.keys(point)[0], None)

    def ask(self, n: int) -> list[Sizing]:
        points = self._history.new_of(self._starts)
        if len(self._history.trials) >= len(self._starts) or not len(points):
            points = self._proposals(max(n, 1))
        elif len(points) < n:
            points = self._history.new_of(np.vstack([points, self._history.draw(n)]))[:n]
        self._pending.update(zip(self._space.keys(points), points, strict=True))
        return self._history.propose(points)

    def _proposals(self, n: int) -> FloatArray:
        history = self._history
        if not history.trials or history.exhausted:
            return history.draw(n)
        with _one_thread():
            return self._likeliest(n)

    def _likeliest(self, n: int) -> FloatArray:
        history = self._history
        order = np.argsort([-trial.reward for trial in history.trials], kind="stable")
        anchors = history.points[order[:ANCHORS]]
        measures, validity = self._data(anchors)
        for point in self._pending.values():
            _believe_missed(measures, self._space.features(point))
        chosen = np.empty((0, self._space.dimension))
        while len(chosen) < n:
            score = AllSpecs(self._space, [data.model() for data in (*measures, *validity)])
            found, _ = Search(self._space, history.rng(1, len(chosen))).best(score, anchors)
            fresh = history.new_of(np.vstack([chosen, found]))[len(chosen) :][:1]
            if not len(fresh):
                return history.draw(n) if not len(chosen) else chosen
            chosen = np.vstack([chosen, fresh])
            if len(chosen) < n:
                _believe_missed(measures, self._space.features(fresh))
        return chosen

    def _data(self, anchors: FloatArray) -> tuple[list[_Data], list[_Data]]:
        """What the process of each output, and that of validity where one is needed, hold.

        Validity is +1 where every measure exists and -1 where one does not.
        """
        x = self._space.features(self._history.points)
        near = _nearest(self._history.points, anchors, MOST_POINTS)
        y = np.array(self._values)
        measures = []
        for index, row in enumerate(self._rows):
            exists = ~np.isnan(y[:, index])
            if exists.sum() < LEAST_VALUES:
                continue
            hyper = self._fitted(index, x, y[:, index], MEASURE_PRIOR)
            known = near[exists[near]]
            output = scaled(y[known, index], row.low, row.high)
            data = _Data(x[known], output.values, hyper, MEASURE_PRIOR, output.low, output.high)
            measures.append(data)
        valid = np.asarray(~np.isnan(y).any(axis=1))
        if valid.all():
            return measures, []
        labels = np.where(valid, 1.0, -1.0)
        hyper = self._fitted(VALIDITY, x, labels, VALIDITY_PRIOR)
        data = _Data(x[near], labels[near], hyper, VALIDITY_PRIOR, 0.0, math.inf, VALIDITY_DOUBT)
        return measures, [data]

    def _fitted(self, index: int, x: FloatArray, y: FloatArray, prior: gp.Prior) -> gp.Hyper:
        """Hyperparameters fitted at the last number of trials on the schedule of refits.

        From the trials before it alone, so that they do not depend on when they are asked for.
        """
        due = _last_refit(len(y))
        if self._hyper.get(index, (0, None))[0] != due:
            known = np.flatnonzero(~np.isnan(y[:due]))[-MOST_FITTED:]
            if index != VALIDITY and len(known) >= LEAST_VALUES:
                row = self._rows[index]
                hyper = gp.fit(x[known], scaled(y[known], row.low, row.high).values, prior)
            elif index == VALIDITY:
                hyper = gp.fit(x[known], y[known], prior)
            else:
                hyper = gp.prior_mode(x.shape[1], prior)
            self._hyper[index] = due, hyper
        return self._hyper[index][1]


def _believe_missed(measures: Sequence[_Data], inputs: FloatArray) -> None:
    """Condition on a point not simulated yet as if it had missed: only then is another needed.

    The spec in most doubt takes its expected value where missed, the others their means.
    """
    beliefs = []
    for data in measures:
        model = data.model()
        mean, deviation = (float(a[0]) for a in model.process.predict(inputs))
        doubt = float(model.log_probability(inputs)[0])
        miss = expected_miss(mean, deviation, data.low, data.high)
        beliefs.append((doubt, mean, miss))
    worst = min(range(len(beliefs)), key=lambda k: beliefs[k][0], default=-1)
    for k, (data, (_, mean, miss)) in enumerate(zip(measures, beliefs, strict=True)):
        data.add(inputs, miss if k == worst else mean)


def _nearest(x: FloatArray, anchors: FloatArray, count: int) -> Indices:
    """Indices, ascending, of the `count` rows of `x` nearest to any of the anchors."""
    if len(x) <= count:
        return np.arange(len(x))
    gaps = ((x[:, None, :] - anchors[None, :, :]) ** 2).sum(axis=2).min(axis=1)
    nearest: Indices = np.sort(np.argsort(gaps, kind="stable")[:count])
    return nearest


def _last_refit(trials: int) -> int:
    """The largest number on the schedule of refits that is not above `trials`."""
    due = 1
    while (later := max(due + 1, math.ceil(due * REFIT))) <= trials:
        due = later
    return due


@cache
def _pools() -> Any:
    from scipy.linalg import lapack  # noqa: F401  its BLAS must be loaded to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _one_thread() -> Any:
    """BLAS threads spin while simulators need the cores: up to a hundredfold slower than one."""
    return _pools().limit(limits=1, user_api="blas")
