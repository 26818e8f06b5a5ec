"""`m3`: proposes sizings by networks that have learnt the circuit, corrected by the trials told.

`m3eda learn` makes such networks for a design. Without them, or where they have not led to the
specs, the best search from scratch goes on from what is known (`auto`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from m3eda.agents import gp
from m3eda.agents.acquisition import Search, log_interval
from m3eda.agents.auto import Auto
from m3eda.agents.history import History, take_options
from m3eda.agents.options import whole
from m3eda.agents.outputs import Output, outputs
from m3eda.design.space import FloatArray, Space
from m3eda.design.types import Design, Sizing
from m3eda.errors import DesignError, Mistake
from m3eda.loop import learnt_file
from m3eda.policy.known import same_circuit, translated
from m3eda.policy.response import Response, read_response
from m3eda.simulate.trial import Trial

OWN = "own"
OPTIONS: Mapping[str, Any] = {"policy": OWN, "alone": 5, "patience": 30}
"""policy: a file of `m3eda learn`, relative to the design; `own` is that of its run folder.
alone: trials from which on every second proposal is that of `auto`, as networks may err alike all
around. patience: trials after which networks that have not led to the specs are left."""
ANCHORS = 48
REACH = 0.15
"""How far a trial's correction reaches: length scale, in units of the root of the dimension."""
CORRECTION = gp.Prior(noise=-7.0, points=4.0)


class M3:
    """Asks for the point likeliest to meet every spec by what the networks have learnt.

    A proposal depends on the design, the seed, the options, the learnt file and the trials told.
    Raises DesignError for an option that is none, or where `policy` has learnt another circuit,
    and StorageError where its file is damaged.
    """

    def __init__(
        self, design: Design, seed: int, options: Mapping[str, Any] | None = None,
        response: Response | None = None,
    ) -> None:  # fmt: skip
        chosen = take_options("m3", options or {}, OPTIONS)
        self._alone, self._patience = whole(chosen, "alone"), whole(chosen, "patience")
        self._seed = seed
        self._response = response or _response_of(design, str(chosen["policy"]))
        self._search = Auto(design, seed, {})
        self._begin(design)

    def _begin(self, design: Design) -> None:
        self._history = History(design, self._seed)
        self._asked = 0
        """Sizings asked for since these specs were given."""
        self._late = 0
        """Times asked since the networks are not alone any more."""
        rows = outputs(design)
        self._beliefs: Beliefs | None = None
        response = self._response
        if response is not None and all(row.measure in response.measures for row in rows):
            self._beliefs = Beliefs(response, Space(design), rows)

    @property
    def relying(self) -> bool:
        """True while the networks propose."""
        return self._beliefs is not None and self._asked < self._patience

    def ask(self, n: int) -> list[Sizing]:
        asked = self._proposals(max(n, 1)) if self._is_turn_of_networks() else []
        asked = asked or self._search.ask(n)
        self._late += self._asked >= self._alone
        self._asked += len(asked)
        return asked

    def _is_turn_of_networks(self) -> bool:
        return self.relying and (self._asked < self._alone or self._late % 2 == 1)

    def _proposals(self, n: int) -> list[Sizing]:
        """The likeliest new sizings, at most `n`; none where there is none left."""
        history = self._history
        if self._beliefs is None or history.exhausted:
            return []
        search = Search(history.space, history.rng(1))
        search.wide, search.near, search.generations = 600, 900, 10
        search.elite = max(24, 4 * n)
        found, _ = search.best(self._beliefs, self._beliefs.anchors(history))
        return history.propose(history.new_of(found)[:n])

    def tell(self, trials: Sequence[Trial]) -> None:
        taken = self._history.tell(trials)
        if self._beliefs is not None:
            self._beliefs.correct(taken)
        self._search.tell(trials)

    def retarget(self, design: Design, trials: Sequence[Trial]) -> bool:
        """Go on with other specs: `trials` replace those told."""
        self._begin(design)
        taken = self._history.tell(trials)
        if self._beliefs is not None:
            self._beliefs.correct(taken)
        return self._search.retarget(design, trials)

    def describe(self) -> str:
        """What it does and why, in one line."""
        if self._response is None:
            return f"new circuit: {self._search.describe()} (`m3eda learn` would learn it)"
        if self._beliefs is None:
            return f"networks have not learnt every measure: {self._search.describe()}"
        count = len(self._response.x)
        if self.relying:
            return f"known circuit: networks that have learnt {count} simulations of it"
        return f"{self._patience} trials by networks led nowhere: {self._search.describe()}"

    def doubt(self) -> str:
        """A word on a target that looks out of reach, else an empty string."""
        return "" if self.relying else self._search.doubt()


@dataclass(frozen=True)
class _Row:
    """A spec on the scale of its measure."""

    low: float
    high: float
    error: float


class Beliefs:
    """log P(every spec holds) at points of a design's space, shape (n, d)."""

    def __init__(self, response: Response, space: Space, rows: Sequence[Output]) -> None:
        self._response, self._space = response, space
        self._measures = [row.measure for row in rows]
        places = [response.measures.index(name) for name in self._measures]
        self._scales = [response.scales[k] for k in places]
        ends = [[float(scale.forward(np.array(end))) for end in (row.low, row.high)]
                for row, scale in zip(rows, self._scales, strict=True)]  # fmt: skip
        self._rows = [_Row(low, high, float(response.errors[k]))
                      for (low, high), k in zip(ends, places, strict=True)]  # fmt: skip
        self._points = np.empty((0, space.dimension))
        self._missed = np.empty((0, len(rows)))
        """What was simulated less what was answered, in units of each error; nan where no value."""

    def correct(self, taken: Sequence[tuple[Trial, FloatArray]]) -> None:
        """Learn from trials and their points."""
        if not taken:
            return
        points = np.array([point for _, point in taken])
        values = np.array([[trial.worst.get(name, math.nan) for name in self._measures]
                           for trial, _ in taken])  # fmt: skip
        mean = self._answer(points).mean
        missed = [
            (scale.forward(column) - said) / row.error
            for scale, column, said, row in zip(
                self._scales, values.T, mean.T, self._rows, strict=True
            )
        ]
        self._points = np.vstack([self._points, points])
        rows = np.stack(missed, axis=1)
        self._missed = np.vstack([self._missed, np.where(np.isfinite(rows), rows, np.nan)])

    def __call__(self, points: FloatArray, floor: float) -> FloatArray:
        answer = self._answer(points)
        total = answer.exists.sum(axis=1)
        features = self._space.features(points)
        for k, row in enumerate(self._rows):
            shift, doubt = self._correction(k, features)
            mean = answer.mean[:, k] + row.error * shift
            deviation = np.hypot(row.error * doubt, answer.spread[:, k])
            total = total + log_interval(mean, deviation, row.low, row.high)
        return np.asarray(total)

    def anchors(self, history: History) -> FloatArray:
        """Good points to search around: of those learnt from and of the trials."""
        response = self._response
        places = [response.measures.index(name) for name in self._measures]
        short = np.zeros(len(response.x))
        for k, row, scale in zip(places, self._rows, self._scales, strict=True):
            z = scale.forward(response.values[:, k].astype(float))
            gap = np.maximum(np.maximum(row.low - z, z - row.high), 0.0)
            short += np.where(np.isfinite(gap), np.minimum(gap, 10.0), 10.0)
        best = np.argsort(short, kind="stable")[:ANCHORS]
        known = translated(response.x[best].astype(float), response.axes, self._space.axes)
        order = np.argsort([-trial.reward for trial in history.trials], kind="stable")
        own = history.points[order[: ANCHORS // 4]]
        return self._space.snap(np.vstack([known, own]))

    def _answer(self, points: FloatArray) -> Any:
        x = translated(points, self._space.axes, self._response.axes)
        return self._response.answer(x, self._measures)

    def _correction(self, k: int, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and deviation of what the networks miss at `features`, in units of the error."""
        there = np.isfinite(self._missed[:, k])
        if not there.any():
            return np.zeros(len(features)), np.ones(len(features))
        mixing = np.eye(features.shape[1]) / (REACH * math.sqrt(features.shape[1]))
        hyper = gp.Hyper(mixing, math.exp(CORRECTION.noise))
        given = self._space.features(self._points[there])
        process = gp.GaussianProcess(given, self._missed[there, k], hyper, CORRECTION)
        mean, deviation = process.predict(features)
        return mean, deviation


def _response_of(design: Design, policy: str) -> Response | None:
    """What the networks of the design's own circuit have learnt, where there are any."""
    named = policy != OWN
    path = design.path.parent / policy if named else learnt_file(design)
    if not path.is_file():
        if named:
            raise _wrong(f"there is no {path}", "`m3eda learn` writes one")
        return None
    response = read_response(path)
    if not same_circuit(response, design):
        if named:
            text = f"{Path(policy).name} has learnt another circuit, or this one before it changed"
            raise _wrong(text, "learn it anew")
        return None
    return response


def _wrong(text: str, hint: str) -> DesignError:
    return DesignError([Mistake(text, key="agent.options.policy", hint=hint)])
