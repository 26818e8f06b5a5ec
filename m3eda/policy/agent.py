"""`m3`: proposes sizings by networks that have learnt the circuit, corrected by the trials told.

`m3eda learn` makes such networks for a design. Without them, or where they have not led to the
specs, the best search from scratch goes on from what is known (`auto`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from m3eda.agents import gp
from m3eda.agents.acquisition import AllSpecs, Score, Search, log_interval
from m3eda.agents.auto import Auto
from m3eda.agents.bo import one_thread
from m3eda.agents.history import History, take_options
from m3eda.agents.normal import log_ndtr
from m3eda.agents.options import whole
from m3eda.agents.outputs import Output, outputs
from m3eda.agents.surrogate import THOROUGH
from m3eda.design.space import FloatArray, Space
from m3eda.design.types import Design, Sizing
from m3eda.policy.known import OWN, knowledge_of, translated
from m3eda.policy.response import Answer, Networks
from m3eda.policy.shipped import SHARE
from m3eda.simulate.trial import Trial

OPTIONS: Mapping[str, Any] = {"policy": OWN, "alone": 10, "patience": 30}
"""policy: a file of `m3eda learn`, relative to the design; `own` is that of its run folder, else
the networks that come with m3eda, where they know the circuit; `none` searches from scratch.
alone: trials from which on every second proposal is that of `auto`, as networks may err alike all
around; `TEACHING` times as many where they know a part of the design. patience: trials after which
networks that have not led to the specs are left."""
ANCHORS = 48
REACH = 0.15
"""How far a trial's correction reaches: length scale, in units of the root of the dimension."""
TEACHING = 2
"""Factor on `alone` where networks know a part of measures or parameters: trials teach the rest."""
ASTRAY, ASTRAY_FOR = 30.0, 3
"""Median of what networks miss of a measure, in units of their error, from which it is another than
the one that they have learnt, once there are so many trials."""
HOPELESS, HOPELESS_FOR = 1e-8, 5
"""Chance of the first proposal below which a target is called doubtful, once so many have failed:
later chances grow, as each miss makes the networks less sure of themselves."""
HARDLY = 2.0
"""Of the logarithm of a probability."""
QUARTILE = 0.6745
"""Standard deviations of a normal number's quartiles."""
FITTED = 4
"""Trials from which on their reach is fitted."""
CORRECTION = gp.Prior(noise=-7.0, points=4.0)


class M3:
    """Asks for the point likeliest to meet every spec by what the networks have learnt.

    A proposal depends on the design, the seed, the options, the learnt file and the trials told.
    Raises DesignError for an option that is none, or where `policy` has learnt another circuit,
    and StorageError where its file is damaged.
    """

    def __init__(
        self, design: Design, seed: int, options: Mapping[str, Any] | None = None,
        networks: Networks | None = None,
    ) -> None:  # fmt: skip
        chosen = take_options("m3", options or {}, OPTIONS)
        self._alone, self._patience = whole(chosen, "alone"), whole(chosen, "patience")
        self._seed = seed
        known = None if networks else knowledge_of(design, str(chosen["policy"]))
        self._networks = known.networks if known else networks
        self._words = known.words if known else "networks that were given"
        self._others = known.others if known else ()
        self._search = Auto(design, seed, {})
        self._begin(design)

    def _begin(self, design: Design) -> None:
        self._design, self._history = design, History(design, self._seed)
        self._asked = 0
        """Sizings asked for since these specs were given."""
        self._outlook: list[tuple[float, str]] = []
        """Of each first proposal of the networks: log of its chance, the measure most in doubt."""
        self._late = 0
        """Times asked since the networks are not alone any more."""
        self._astray: list[str] = []
        """Measures that are not what the networks have learnt."""
        self._believe()

    def _believe(self) -> None:
        """Begin to believe the networks, as far as they know the design."""
        self._beliefs: Beliefs | None = None
        self._unknown: set[str] = set()
        """Measures with a spec that the networks do not know."""
        self._teaching = False
        """True where there are such, or parameters that the networks do not read."""
        networks, rows = self._networks, outputs(self._design)
        if networks is None:
            return
        names = set(networks.measures).difference(self._astray, self._others)
        known = [row for row in rows if row.measure in names]
        self._unknown = {row.measure for row in rows if row.measure not in names}
        read = {axis.name for axis in networks.axes}
        self._teaching = bool(self._unknown) or any(p.name not in read for p in self._design.free)
        if known and len(known) >= SHARE * len(rows):
            self._beliefs = Beliefs(networks, Space(self._design), known)

    @property
    def relying(self) -> bool:
        """True while the networks propose."""
        return self._beliefs is not None and self._asked < self._patience

    def ask(self, n: int) -> list[Sizing]:
        asked = self._given(max(n, 1))
        if not asked and self._is_turn_of_networks():
            asked = self._proposals(max(n, 1))
        asked = asked or self._search.ask(n)
        self._late += self._asked >= self._trusted
        self._asked += len(asked)
        return asked

    def _given(self, n: int) -> list[Sizing]:
        """What the design's `starts` are, while they are new: networks need not find those."""
        history = self._history
        return history.propose(history.start()[:n]) if history.space.ported else []

    @property
    def _trusted(self) -> int:
        """Sizings that the networks ask for before `search` takes turns."""
        teaching = self._teaching and not self._astray
        return TEACHING * self._alone if teaching else self._alone

    def _is_turn_of_networks(self) -> bool:
        return self.relying and (self._asked < self._trusted or self._late % 2 == 1)

    def _proposals(self, n: int) -> list[Sizing]:
        """The likeliest new sizings, at most `n`; none where there is none left."""
        history = self._history
        if self._beliefs is None or history.exhausted:
            return []
        with one_thread(scipy=False):  # a correction has loaded it before
            found, scores = self._found(self._beliefs, n)
            chance = float(self._beliefs(found[:1], -math.inf)[0])
            self._outlook.append((chance, self._beliefs.doubted(found[0])))
        fresh = history.new_of(found)
        if n > 1 and len(fresh):
            keys = history.space.keys(found)
            places = [keys.index(key) for key in history.space.keys(fresh)]
            fresh = apart(fresh, scores[places], n)
        return history.propose(fresh[:n])

    def _found(self, beliefs: Beliefs, n: int) -> tuple[FloatArray, FloatArray]:
        """The likeliest points, best first, and their scores."""
        search = Search(self._history.space, self._history.rng(1))
        search.wide, search.near, search.generations = 600, 900, 10
        search.elite = max(24, 4 * n)
        anchors = beliefs.anchors(self._history)
        if not self._unknown:
            return search.best(beliefs, anchors)
        others = self._search.models(self._unknown)
        return search.best(Joined([beliefs, AllSpecs(self._history.space, others)]), anchors)

    def tell(self, trials: Sequence[Trial]) -> None:
        self._correct(self._history.tell(trials))
        self._search.tell(trials)

    def retarget(self, design: Design, trials: Sequence[Trial]) -> bool:
        """Go on with other specs: `trials` replace those told."""
        self._begin(design)
        self._correct(self._history.tell(trials))
        return self._search.retarget(design, trials)

    def _correct(self, taken: Sequence[tuple[Trial, FloatArray]]) -> None:
        """Correct the networks, without the measures that turn out to be others."""
        if self._beliefs is None:
            return
        self._beliefs.correct(taken)
        history = self._history
        if len(history.trials) >= ASTRAY_FOR and (astray := self._beliefs.astray):
            self._astray += astray
            self._outlook.clear()  # what was foretold of another measure
            self._believe()
            if self._beliefs is not None:
                self._beliefs.correct(list(zip(history.trials, history.points, strict=True)))

    def foretell(self, sizing: Sizing) -> dict[str, tuple[float, float, float]]:
        """What is believed of a sizing: measure -> expected, and ends of its middle half."""
        if self._beliefs is None:
            return {}
        return self._beliefs.of(self._history.space.unit(sizing))

    def describe(self) -> str:
        """What it does and why, in one line."""
        if self._networks is None:
            return f"new circuit: {self._search.describe()} (`m3eda learn` would learn it)"
        if self._beliefs is None:
            return f"networks know too few of the measures: {self._search.describe()}"
        if self.relying:
            others = f"; {', '.join(self._astray)} not as they know it" if self._astray else ""
            return self._words + others
        return f"{self._patience} trials by networks led nowhere: {self._search.describe()}"

    def doubt(self) -> str:
        """A word on a target that looks out of reach, else an empty string."""
        if self._asked >= HOPELESS_FOR and self._outlook:
            chance, name = self._outlook[0]
            if chance < math.log(HOPELESS):
                return (f"the networks gave their best sizing a chance of less than {HOPELESS:g} "
                        f"to meet every spec, most of all {name}")  # fmt: skip
        return "" if self.relying else self._search.doubt()


@dataclass(frozen=True)
class Joined:
    """The sum of several scores."""

    scores: Sequence[Score]

    def __call__(self, points: FloatArray, floor: float) -> FloatArray:
        return np.sum([score(points, -math.inf) for score in self.scores], axis=0)


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
        answer = self._answer(points)
        total = answer.exists.sum(axis=1)
        rows = self._expected(answer, self._space.features(points))
        for (mean, deviation), row in zip(rows, self._rows, strict=True):
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
        self, answer: Answer, features: FloatArray
    ) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Of each measure mean and deviation on its scale, each of shape (n,)."""
        for k, row in enumerate(self._rows):
            mean, deviation = answer.mean[:, k], np.hypot(row.error, answer.spread[:, k])
            correction = self._corrections[k]
            if correction is not None:
                shift, doubt = correction.predict(features)
                mean = mean + row.error * shift
                deviation = np.hypot(row.error * doubt, answer.spread[:, k])
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

    def _answer(self, points: FloatArray) -> Answer:
        x = translated(points, self._space.axes, self._networks.axes)
        return self._networks.answer(x, self._measures)

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


def apart(points: FloatArray, scores: FloatArray, count: int) -> FloatArray:
    """`count` of `points`, shape (n, d), to simulate at once: the first of the best, then always
    the one farthest from those chosen, of those hardly less likely than the best."""
    likely = points[scores >= scores[0] - HARDLY]
    chosen = likely[:1]
    while len(chosen) < min(count, len(likely)):
        gaps = ((likely[:, None, :] - chosen[None, :, :]) ** 2).sum(axis=2).min(axis=1)
        chosen = np.vstack([chosen, likely[int(gaps.argmax())]])
    rest = points[scores < scores[0] - HARDLY]
    return np.vstack([chosen, rest])[:count]


def _short(dimension: int) -> gp.Hyper:
    """A correction that does not reach far."""
    mixing = np.eye(dimension) / (REACH * math.sqrt(dimension))
    return gp.Hyper(mixing, math.exp(CORRECTION.noise))
