"""What networks and the trials told say of a design's sizings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from m3eda.agents import gp
from m3eda.agents.acquisition import log_interval
from m3eda.agents.history import History
from m3eda.agents.normal import log_ndtr
from m3eda.agents.outputs import Output
from m3eda.agents.surrogate import THOROUGH
from m3eda.design.space import FloatArray, Space
from m3eda.policy.known import translated
from m3eda.policy.response import Answer, Costly, Networks
from m3eda.simulate.trial import Trial

ANCHORS = 48
REACH = 0.15
"""How far a trial's correction reaches: length scale, in units of the root of the dimension."""
ASTRAY, ASTRAY_FOR = 30.0, 3
"""Median of what networks miss of a measure, in units of their error, from which it is another than
the one that they have learnt, once there are so many trials."""
SURE = 24
"""Points that are judged by every measure, whatever the first ones say of the others."""
QUARTILE = 0.6745
"""Standard deviations of a normal number's quartiles."""
FITTED = 4
"""Trials from which on their reach is fitted."""
CORRECTION = gp.Prior(noise=-7.0, points=4.0)


@dataclass(frozen=True)
class _Row:
    """A spec on the scale of its measure."""

    low: float
    high: float
    error: float


class Beliefs:
    """log P(every spec holds) at points of a design's space, shape (n, d)."""

    def __init__(self, networks: Networks, space: Space, rows: Sequence[Output]) -> None:
        self._networks, self._space = networks, space
        self._measures = [row.measure for row in rows]
        places = [networks.measures.index(name) for name in self._measures]
        self._scales = [networks.scales[k] for k in places]
        ends = [[float(scale.forward(np.array(end))) for end in (row.low, row.high)]
                for row, scale in zip(rows, self._scales, strict=True)]  # fmt: skip
        self._rows = [_Row(low, high, float(networks.errors[k]))
                      for (low, high), k in zip(ends, places, strict=True)]  # fmt: skip
        self._points = np.empty((0, space.dimension))
        self._seen = np.empty((0, len(rows)))
        """What was simulated, on the scales of the measures; nan where no value."""
        self._fitted: dict[int, tuple[int, gp.Hyper]] = {}
        self.astray: list[str] = []
        """Measures of which the networks miss the trials told by far."""
        networks.learn(self._points, self._seen, self._measures)
        self._corrections: list[Correction | None] = [None] * len(rows)

    def correct(self, taken: Sequence[tuple[Trial, FloatArray]]) -> None:
        """Learn from trials and their points."""
        if not taken:
            return
        points = np.array([point for _, point in taken])
        values = np.array([[trial.worst.get(name, math.nan) for name in self._measures]
                           for trial, _ in taken])  # fmt: skip
        on_scales = [scale.forward(column)
                     for scale, column in zip(self._scales, values.T, strict=True)]  # fmt: skip
        seen = np.stack(on_scales, axis=1)
        self._points = np.vstack([self._points, points])
        self._seen = np.vstack([self._seen, np.where(np.isfinite(seen), seen, np.nan)])
        x = translated(self._points, self._space.axes, self._networks.axes)
        self._networks.learn(x, self._seen, self._measures)
        said = self._networks.answer(x, self._measures).mean
        missed = (self._seen - said) / np.array([row.error for row in self._rows])
        far = [_median(column) >= ASTRAY for column in np.abs(missed).T]
        self.astray = list(dict.fromkeys(itertools.compress(self._measures, far)))
        self._corrections = [self._corrected(k, column) for k, column in enumerate(missed.T)]

    def __call__(self, points: FloatArray, floor: float) -> FloatArray:
        networks, names = self._networks, self._measures
        stages = networks.stages(names) if isinstance(networks, Costly) else [range(len(names))]
        first, *later = stages
        total = self._chance(points, first)
        for places in later:
            # every term is at most 0: what is below the floor already stays below
            if floor == -math.inf:
                best = np.argsort(-total, kind="stable")[:SURE]
                floor = float((total[best] + self._chance(points[best], places)).min())
            alive = np.flatnonzero(total > floor)
            whole = np.full(len(points), -math.inf)
            whole[alive] = total[alive] + self._chance(points[alive], places)
            total = whole
        return total

    def _chance(self, points: FloatArray, places: Sequence[int]) -> FloatArray:
        """log P(the specs at `places` hold), shape (n,)."""
        answer = self._answer(points, places)
        total = answer.exists.sum(axis=1)
        rows = self._expected(answer, self._space.features(points), places)
        for (mean, deviation), place in zip(rows, places, strict=True):
            row = self._rows[place]
            total = total + log_interval(mean, deviation, row.low, row.high, log_ndtr)
        return np.asarray(total)

    def of(self, point: FloatArray) -> dict[str, tuple[float, float, float]]:
        """Of a unit point, shape (d,): measure -> mean and ends of its middle half, SI units."""
        found = {}
        rows = self._expected(self._answer(point[None]), self._space.features(point[None]))
        for name, scale, (mean, deviation) in zip(self._measures, self._scales, rows, strict=True):
            ends = mean[0] + np.array([0.0, -QUARTILE, QUARTILE]) * deviation[0]
            middle, low, high = scale.backward(ends).tolist()
            found[name] = middle, low, high
        return found

    def doubted(self, point: FloatArray) -> str:
        """The measure of a unit point, shape (d,), that is least likely to meet its spec."""
        answer = self._answer(point[None])
        rows = self._expected(answer, self._space.features(point[None]))
        chances = [
            float(log_interval(mean, deviation, row.low, row.high, log_ndtr)[0]) + float(exists)
            for (mean, deviation), row, exists
            in zip(rows, self._rows, answer.exists[0], strict=True)
        ]  # fmt: skip
        return self._measures[int(np.argmin(chances))]

    def _expected(
        self, answer: Answer, features: FloatArray, places: Sequence[int] | None = None
    ) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Of each measure, of those at `places`, mean and deviation on its scale, of shape (n,)."""
        for column, k in enumerate(range(len(self._rows)) if places is None else places):
            row, spread = self._rows[k], answer.spread[:, column]
            mean, deviation = answer.mean[:, column], np.hypot(row.error, spread)
            correction = self._corrections[k]
            if correction is not None:
                shift, doubt = correction.predict(features)
                mean = mean + row.error * shift
                deviation = np.hypot(row.error * doubt, spread)
            yield mean, deviation

    def anchors(self, history: History) -> FloatArray:
        """Good points to search around: of those learnt from and of the trials."""
        networks = self._networks
        ends = [(row.low, row.high) for row in self._rows]
        known = networks.good(ends, self._measures)[:ANCHORS]
        known = translated(known, networks.axes, self._space.axes, networks.usual)
        order = np.argsort([-trial.reward for trial in history.trials], kind="stable")
        own = history.points[order[: ANCHORS // 4]]
        return self._space.snap(np.vstack([known, own]))

    def _answer(self, points: FloatArray, places: Sequence[int] | None = None) -> Answer:
        """Of the measures at `places`, of all without them."""
        x = translated(points, self._space.axes, self._networks.axes)
        names = self._measures if places is None else [self._measures[k] for k in places]
        return self._networks.answer(x, names)

    def _corrected(self, k: int, missed: FloatArray) -> Correction | None:
        there = np.flatnonzero(np.isfinite(missed))
        if not len(there):
            return None
        given, own = self._space.features(self._points[there]), missed[there]
        due = THOROUGH.last(len(there))
        if self._networks.local or due < FITTED:
            return Correction(given, own, _short(given.shape[1]), not self._networks.local)
        known = self._fitted.get(k)
        if known is None or known[0] != due:
            middle = own[:due].sum() / (due + 1.0)
            self._fitted[k] = due, gp.fit(given[:due], own[:due] - middle, CORRECTION)
        return Correction(given, own, self._fitted[k][1])


class Correction:
    """What networks miss, in units of their error, by a Gaussian process on what they missed."""

    def __init__(
        self, given: FloatArray, missed: FloatArray, hyper: gp.Hyper, shifted: bool = True
    ) -> None:
        """`shifted` where they may be off everywhere by about as much."""
        self._middle = float(missed.sum()) / (len(missed) + 1.0) if shifted else 0.0
        self._process = gp.GaussianProcess(given, missed - self._middle, hyper, CORRECTION)

    def predict(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and deviation, each of shape (n,)."""
        mean, deviation = self._process.predict(features)
        return mean + self._middle, deviation


def _median(values: FloatArray) -> float:
    """Of those that are numbers; 0 where none is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else 0.0


def _short(dimension: int) -> gp.Hyper:
    """A correction that does not reach far."""
    mixing = np.eye(dimension) / (REACH * math.sqrt(dimension))
    return gp.Hyper(mixing, math.exp(CORRECTION.noise))
