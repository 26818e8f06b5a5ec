"""`m3`: proposes sizings by networks that have learnt the circuit, corrected by the trials told.

`m3eda learn` makes such networks for a design. Without them, or where they have not led to the
specs, the best search from scratch goes on from what is known (`auto`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from m3eda.agents.acquisition import AllSpecs, Score, Search
from m3eda.agents.auto import Auto
from m3eda.agents.bo import one_thread
from m3eda.agents.history import History, take_options
from m3eda.agents.options import whole
from m3eda.agents.outputs import outputs
from m3eda.design.space import FloatArray, Space
from m3eda.design.types import Design, Sizing
from m3eda.policy.beliefs import ASTRAY_FOR, Beliefs
from m3eda.policy.known import OWN, knowledge_of
from m3eda.policy.response import Costly, Networks
from m3eda.policy.shipped import SHARE
from m3eda.simulate.trial import Trial

OPTIONS: Mapping[str, Any] = {"policy": OWN, "alone": 10, "patience": 30}
"""policy: a file of `m3eda learn`, relative to the design; `own` is that of its run folder, else
the networks that come with m3eda, where they know the circuit; `none` searches from scratch.
alone: trials from which on every second proposal is that of `auto`, as networks may err alike all
around; `TEACHING` times as many where they know a part of the design. patience: trials after which
networks that have not led to the specs are left."""
QUICK, COSTLY, HEAVY = (600, 900, 10, 150), (96, 192, 8, 96), (48, 80, 4, 48)
"""How thorough a search is: random points, such around good ones, generations and their size."""
ROUNDS, LIKELY, EARLY = {COSTLY: 3, HEAVY: 1}, math.log(0.3), 4
"""How often a search goes on from what it found, the log of the chance at which it does not, and
the proposals after which it goes on once at most: what is hard to find takes its time then."""
TEACHING = 2
"""Factor on `alone` where networks know a part of measures or parameters: trials teach the rest."""
HOPELESS, HOPELESS_FOR = 1e-8, 5
"""Chance of the first proposal below which a target is called doubtful, once so many have failed:
later chances grow, as each miss makes the networks less sure of themselves."""
HARDLY = 2.0
"""Of the logarithm of a probability."""


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
        wide = QUICK
        if isinstance(self._networks, Costly):
            wide = HEAVY if self._networks.heavy else COSTLY
        search.wide, search.near, search.generations, search.children = wide
        search.elite = max(24, 4 * n)
        anchors = beliefs.anchors(self._history)
        score: Score = beliefs
        if self._unknown:
            others = self._search.models(self._unknown)
            score = Joined([beliefs, AllSpecs(self._history.space, others)])
        found, scores = search.best(score, anchors)
        rounds = ROUNDS.get(wide, 0)
        for _ in range(rounds if self._asked < EARLY else min(rounds, 1)):
            if scores[0] > LIKELY:
                break
            found, scores = search.best(score, found)
        return found, scores

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
        source = "equations" if isinstance(self._networks, Costly) else "networks"
        return f"{self._patience} trials by {source} led nowhere: {self._search.describe()}"

    def doubt(self) -> str:
        """A word on a target that looks out of reach, else an empty string."""
        # equations may be less sure at first than they should be
        told = self._outlook and not isinstance(self._networks, Costly)
        if self._asked >= HOPELESS_FOR and told:
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
