"""Bayesian sizing: a Gaussian process a measure; next, the point likeliest to meet every spec."""

from __future__ import annotations

import itertools
import math
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from m3eda.agents import gp
from m3eda.agents.acquisition import AllSpecs, Model, Search
from m3eda.agents.history import History, grid, take_options
from m3eda.agents.options import whole, word
from m3eda.agents.outputs import Output, outputs, scaled, table
from m3eda.agents.start import DESIGNS, start_points
from m3eda.agents.surrogate import (
    THOROUGH,
    THRIFTY,
    Belief,
    believe_missed,
    burst,
    caution,
    nearest,
)
from m3eda.design.space import FloatArray
from m3eda.design.types import Design, Sizing
from m3eda.simulate.trial import Trial

OPTIONS: Mapping[str, Any] = {"start": 0, "start_design": "latin-hypercube", "burst": 1}
"""start: points before the first model; 0 takes half the dimension, 4 to 16. start_design: how they
are spread. burst: points that one search of the models yields."""
MEASURE_PRIOR = gp.Prior()
VALIDITY_PRIOR = gp.Prior(noise=-3.0, noise_spread=1.0)
VALIDITY_DOUBT = 0.1
LEAST_VALUES = 3
"""Values of a measure below which it is not modelled."""
MOST_POINTS = 200
"""Points a model holds; the nearest to the best trials are kept."""
MOST_FITTED = 200
"""Points that hyperparameters are fitted on."""
ANCHORS = 12
STALLED = 60
"""Proposals without a better trial after which every third one looks near the best trial only, and
every third one with little trust in the models."""
NEAR = 0.1
"""Half width of the box around the best trial."""
DISTRUST = 2.0
"""Factor on the deviations of models that are trusted little."""
HOPELESS, HOPELESS_FOR = 1e-30, 80
"""Chance and number of proposals from which a target is called doubtful."""
LISTED = 1000
"""Sizes of a space up to which all of it is scored."""
VALIDITY = ""


class Bo:
    """Asks for the point with the largest probability that all specs hold.

    A proposal depends on the design, the seed, the options, the trials told so far and the points
    asked but not yet told, on nothing else.
    """

    def __init__(self, design: Design, seed: int, options: Mapping[str, Any] | None = None) -> None:
        chosen = take_options("bo", options or {}, OPTIONS)
        self._seed, self._history = seed, History(design, seed)
        self._space = self._history.space
        self.burst = whole(chosen, "burst", 1)
        count = whole(chosen, "start") or min(max(math.ceil(self._space.dimension / 2), 4), 16)
        spread = word(chosen, "start_design", DESIGNS)
        self._starts = start_points(self._space, count, seed, spread)
        self._rows: tuple[Output, ...] = outputs(design)
        self._values: list[FloatArray] = []
        self._hyper: dict[str, tuple[int, gp.Hyper]] = {}
        self._pending: dict[bytes, FloatArray] = {}
        self._outlook: list[tuple[float, str]] = []

    @property
    def started(self) -> bool:
        """True where the start design has been simulated, or as many trials told."""
        return len(self._history.trials) >= len(self._starts)

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial, point in self._history.tell(trials):
            self._values.append(table(self._rows, trial))
            self._pending.pop(self._space.keys(point)[0], None)

    def retarget(self, design: Design, trials: Sequence[Trial]) -> bool:
        """Go on with other specs: `trials` replace those told, length scales are kept."""
        self._history = History(design, self._seed)
        self._rows, self._values, self._outlook = outputs(design), [], []
        self.tell(trials)
        waiting = np.array(list(self._pending.values())).reshape(-1, self._space.dimension)
        self._history.propose(waiting)
        return True

    def ask(self, n: int) -> list[Sizing]:
        points = self._history.new_of(self._starts)
        if not self._history.trials:
            gp.load()  # now that the simulator starts, which takes as long
        if self.started or not len(points):
            points = self._proposals(max(n, 1))
        elif len(points) < n:
            points = self._history.new_of(np.vstack([points, self._history.draw(n)]))[:n]
        self._pending.update(zip(self._space.keys(points), points, strict=True))
        return self._history.propose(points)

    @property
    def stalled(self) -> int:
        """Trials since the best one, by the sum of shortfalls."""
        rewards = [trial.reward for trial in self._history.trials]
        return len(rewards) - 1 - rewards.index(max(rewards)) if rewards else 0

    @property
    def start_count(self) -> int:
        """Points of the start design."""
        return len(self._starts)

    def models(self, measures: Collection[str]) -> list[Model]:
        """What is believed of some measures, those without values aside, and of the validity of
        all."""
        if not self._history.trials:
            return []
        found, validity = self._beliefs(self._anchors())
        return [each.model() for each in found if each.name in measures] + [
            each.model() for each in validity
        ]

    def doubt(self) -> str:
        """A word on a target that looks out of reach, else an empty string.

        Said where none of the last `HOPELESS_FOR` proposals had more than `HOPELESS` of a chance by
        the models that chose it, and where that does not grow. It names the spec that they most
        often doubted most.
        """
        last = self._outlook[-HOPELESS_FOR:]
        chances = [chance for chance, _ in last]
        half = HOPELESS_FOR // 2
        if len(last) < HOPELESS_FOR or max(chances) > HOPELESS:
            return ""
        if max(chances[half:]) > max(chances[:half]):
            return ""
        name, _ = Counter(name for _, name in last).most_common(1)[0]
        what = f"most of all {name}" if name else "most of all that every measure exists"
        return (
            f"the last {HOPELESS_FOR} proposals had a chance of less than {HOPELESS:g} to meet "
            f"every spec, {what}"
        )

    def _proposals(self, n: int) -> FloatArray:
        history = self._history
        if not history.trials or history.exhausted:
            return history.draw(n)
        with one_thread():
            return self._likeliest(n)

    def _likeliest(self, n: int) -> FloatArray:
        history, anchors = self._history, self._anchors()
        measures, validity = self._beliefs(anchors)
        for point in self._pending.values():
            believe_missed(measures, self._space.features(point))
        chosen = np.empty((0, self._space.dimension))
        while len(chosen) < n:
            fresh = self._searched([*measures, *validity], anchors, chosen, n)
            if not len(fresh):
                return history.draw(n) if not len(chosen) else chosen
            chosen = np.vstack([chosen, fresh])
            if len(chosen) < n:
                for point in fresh:
                    believe_missed(measures, self._space.features(point))
        return chosen

    def _anchors(self) -> FloatArray:
        """Points of the best trials, best first, shape (k, d)."""
        order = np.argsort([-trial.reward for trial in self._history.trials], kind="stable")
        return self._history.points[order[:ANCHORS]]

    def _searched(
        self, beliefs: Sequence[Belief], anchors: FloatArray, chosen: FloatArray, n: int
    ) -> FloatArray:
        """The new points of one search, shape (k, d): `burst` where there are as many."""
        history, space = self._history, self._space
        models = [belief.model() for belief in beliefs]
        turn = history.known % 3 if self.stalled >= STALLED else 0
        if turn == 1:
            for model in models:
                model.process.distrust(DISTRUST)
        score = AllSpecs(space, models)
        search = Search(space, history.rng(1, len(chosen)))
        search.elite = max(search.elite, 6 * self.burst)
        if space.size <= LISTED:
            every = list(itertools.product(*(grid(axis) for axis in space.axes)))
            found = search.ranked(score, history.new_of(every))
        else:
            box = (anchors[0] - NEAR, anchors[0] + NEAR) if turn == 2 else None
            found, _ = search.best(score, anchors, box)
        fresh = history.new_of(np.vstack([chosen, found]))[len(chosen) :]
        if turn == 0 and not len(chosen):
            self._look(beliefs, models, fresh[:1])
        if self.burst == 1 or len(fresh) <= 1:
            return fresh[:1]
        return fresh[burst(models, space.features(fresh), self.burst)]

    def _look(self, beliefs: Sequence[Belief], models: Sequence[Model], point: FloatArray) -> None:
        """Note how likely the models hold a proposal to be good, and what they doubt most."""
        inputs = self._space.features(point)
        terms = [
            float(model.log_probability(inputs)[0]) / model.weight
            for model in models
            if len(inputs)
        ]
        if terms:
            doubted = beliefs[int(np.argmin(terms))].name
            self._outlook.append((math.exp(sum(terms)), doubted))

    def _beliefs(self, anchors: FloatArray) -> tuple[list[Belief], list[Belief]]:
        """What the process of each output, and that of validity where one is needed, hold.

        Validity is +1 where every measure exists and -1 where one does not.
        """
        x = self._space.features(self._history.points)
        near = nearest(self._history.points, anchors, MOST_POINTS)
        y = np.array(self._values)
        measures = []
        for index, row in enumerate(self._rows):
            exists = ~np.isnan(y[:, index])
            if exists.sum() < LEAST_VALUES:
                continue
            hyper = self._fitted(row.measure, x, y[:, index], MEASURE_PRIOR, row)
            known = near[exists[near]]
            output = scaled(y[known, index], row.low, row.high)
            interval = output.low, output.high
            belief = Belief(row.measure, x[known], output.values, hyper, MEASURE_PRIOR, *interval)
            measures.append(belief)
        valid = np.asarray(~np.isnan(y).any(axis=1))
        if valid.all():
            return measures, []
        labels = np.where(valid, 1.0, -1.0)
        hyper = self._fitted(VALIDITY, x, labels, VALIDITY_PRIOR, None)
        weight = caution(valid[len(self._starts) :])
        given = VALIDITY, x[near], labels[near], hyper, VALIDITY_PRIOR, 0.0, math.inf
        return measures, [Belief(*given, VALIDITY_DOUBT, weight)]

    def _fitted(
        self, name: str, x: FloatArray, y: FloatArray, prior: gp.Prior, row: Output | None
    ) -> gp.Hyper:
        """Hyperparameters fitted at the last number of trials on the schedule of refits.

        From the trials before it alone, so that they do not depend on when they are asked for.
        """
        schedule = THOROUGH if self.burst == 1 else THRIFTY
        due = schedule.last(len(y))
        if self._hyper.get(name, (0, None))[0] != due:
            known = np.flatnonzero(~np.isnan(y[:due]))[-MOST_FITTED:]
            if row is None:
                hyper = gp.fit(x[known], y[known], prior, schedule.steps)
            elif len(known) >= LEAST_VALUES:
                values = scaled(y[known], row.low, row.high).values
                hyper = gp.fit(x[known], values, prior, schedule.steps)
            else:
                hyper = gp.prior_mode(x.shape[1], prior)
            self._hyper[name] = due, hyper
        return self._hyper[name][1]


@cache
def _pools(scipy: bool) -> Any:
    if scipy:
        from scipy.linalg import lapack  # noqa: F401  its BLAS must be loaded to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_thread(scipy: bool = True) -> Any:
    """BLAS threads spin while simulators need the cores: up to a hundredfold slower than one.

    `scipy` says whether SciPy's linear algebra, which takes long to load, is used besides NumPy's.
    """
    return _pools(scipy or "scipy.linalg" in sys.modules).limit(limits=1, user_api="blas")
