"""Bayesian sizing with extremely randomised trees in the place of Gaussian processes.

The baseline of Yang et al., DAC 2021 (arXiv 2009.13772, section IV-B): "The customized BO utilizes
dynamic balancing of exploration & exploitation, and also substitutes Gaussian Process with
extra-tree regressor". The paper says no more. The forest is that of Geurts, Ernst and Wehenkel,
"Extremely randomized trees", Machine Learning 63, 2006, by scikit-learn; the rest is our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m3eda.agents.history import History, take_options
from m3eda.agents.margins import Margins
from m3eda.agents.options import extra, real, whole, word
from m3eda.agents.start import DESIGNS, start_points
from m3eda.design.space import FloatArray
from m3eda.design.types import Design, Sizing
from m3eda.simulate.trial import Trial

OPTIONS: Mapping[str, Any] = {
    "start": 0,
    "start_design": "latin-hypercube",
    "groups": 8,
    "trees": 6,
    "candidates": 400,
    "least": 0.0,
    "most": 1.0,
    "patience": 20,
}
_ANCHORS = 8
"""Best trials that half of the candidates lie around."""
_REFINED = 10
"""Best candidates that more are drawn around."""
_WIDE, _NARROW, _SHORTEST = 0.3, 0.1, 0.06
"""Longest step from an anchor, from one of the best candidates, and the shortest from either, on
the unit cube. Trees are constant from point to point: a shorter step promises nothing new."""
_LEAST = 2
"""Trials below which nothing is modelled."""


class ExtraTrees:
    """Asks for the candidate with the best optimistic value over a forest of all margins at once.

    The optimistic margin is the mean over the trees plus a weight times their spread. The weight is
    `least` just after a better trial and grows linearly to `most` over `patience` trials without
    one: exploitation while it pays, exploration once it does not. A forest is several groups of
    trees; each trial told refits the group whose turn it is, so that a proposal costs a part of a
    forest, and always the same part.
    """

    def __init__(self, design: Design, seed: int, options: Mapping[str, Any]) -> None:
        chosen = take_options("extra-trees", options, OPTIONS)
        self._groups, self._trees = whole(chosen, "groups", 1), whole(chosen, "trees", 1)
        self._candidates = whole(chosen, "candidates", 2)
        self._least, self._most = real(chosen, "least"), real(chosen, "most")
        self._patience = whole(chosen, "patience", 1)
        self._ensemble = extra("extra-trees", "sklearn.ensemble", "scikit-learn")
        self._design, self._seed = design, seed
        self._history = History(design, seed)
        self._space = self._history.space
        count = whole(chosen, "start") or self._space.dimension + 2
        name = word(chosen, "start_design", DESIGNS)
        self._starts = start_points(self._space, count, seed, name)
        self._fitted: dict[int, tuple[int, Any]] = {}

    def tell(self, trials: Sequence[Trial]) -> None:
        self._history.tell(trials)

    def ask(self, n: int) -> list[Sizing]:
        history = self._history
        points = history.new_of(self._starts)
        if len(history.trials) >= len(self._starts) or not len(points):
            points = self._planned(n)
        if len(points) < n:
            points = history.new_of(np.vstack([points, history.draw(n)]))
        return history.propose(points[:n])

    def _planned(self, n: int) -> FloatArray:
        """The best new candidates, shape (up to n, d); each of a batch by half of the groups."""
        history, told = self._history, len(self._history.trials)
        margins = self._margins(told)
        planned = np.empty((0, self._space.dimension))
        if told < _LEAST or not margins.outputs or history.exhausted:
            return planned
        values = margins.values()
        weight = self._weight(told - 1 - int(np.argmax(values)))
        anchors = history.points[np.argsort(-values, kind="stable")[:_ANCHORS]]
        groups = [self._group(group) for group in range(self._groups)]
        for place in range(n):
            rng = history.rng(1, place)
            half = rng.permutation(self._groups)[: (self._groups + 1) // 2]
            used = groups if n == 1 else [groups[group] for group in half]
            trees = [tree for group in used for tree in group.estimators_]
            found = self._ranked(trees, margins, weight, anchors, rng)
            planned = history.new_of(np.vstack([planned, found]))[: place + 1]
        return planned

    def _weight(self, stalled: int) -> float:
        """Weight of the spread `stalled` trials after the best one."""
        return self._least + (self._most - self._least) * min(stalled / self._patience, 1.0)

    def _ranked(
        self,
        trees: Sequence[Any],
        margins: Margins,
        weight: float,
        anchors: FloatArray,
        rng: np.random.Generator,
    ) -> FloatArray:
        """Candidates, best optimistic value first, shape (1.5 times as many as asked, d)."""

        def scores(points: FloatArray) -> FloatArray:
            inputs = self._space.features(points).astype(np.float32)
            rows = [tree.predict(inputs, check_input=False) for tree in trees]
            outputs = np.stack(rows).reshape(len(rows), len(points), -1)
            optimistic = outputs.mean(axis=0) + weight * outputs.std(axis=0)
            return margins.predicted_values(optimistic)

        half, d = self._candidates // 2, self._space.dimension
        first = np.vstack([_around(anchors, half, _WIDE, rng), rng.random((half, d))])
        first = self._space.snap(first)
        values = scores(first)
        best = first[np.argsort(-values, kind="stable")[:_REFINED]]
        more = self._space.snap(_around(best, half, _NARROW, rng))
        order = np.argsort(-np.concatenate([values, scores(more)]), kind="stable")
        ranked: FloatArray = np.vstack([first, more])[order]
        return ranked

    def _group(self, group: int) -> Any:
        """The trees of one group, fitted at its last turn, from the trials before it alone."""
        told = len(self._history.trials)
        due = told - (told - group) % self._groups
        if due < len(self._starts):
            due = told
        if self._fitted.get(group, (0, None))[0] != due:
            seeds = np.random.SeedSequence([self._seed, group, due])
            forest = self._ensemble.ExtraTreesRegressor(
                self._trees, random_state=int(seeds.generate_state(1)[0])
            )
            x = self._space.features(self._history.points[:due])
            forest.fit(x, self._margins(due).targets())
            self._fitted[group] = due, forest
        return self._fitted[group][1]

    def _margins(self, told: int) -> Margins:
        """The margins of the first `told` trials."""
        margins = Margins(self._design, log=True, validity=False)
        for trial in self._history.trials[:told]:
            margins.add(trial)
        return margins


def _around(points: FloatArray, count: int, reach: float, rng: np.random.Generator) -> FloatArray:
    """Points around some, shape (count, d): normal steps up to `reach` on some of the axes."""
    d = points.shape[1]
    steps = np.exp(rng.uniform(np.log(_SHORTEST), np.log(reach), (count, 1)))
    moved = rng.random((count, d)) < np.maximum(1.5 / d, rng.random((count, 1)))
    moved[np.arange(count), rng.integers(d, size=count)] = True
    chosen = points[rng.integers(len(points), size=count)]
    around: FloatArray = chosen + moved * rng.normal(size=(count, d)) * steps
    return around
