"""Which corners a sizing is simulated at while sizing, and what the agent hears of it.

The strategies of Yang et al., "Trust-Region Method with Deep Reinforcement Learning in Analog
Design Space Exploration", DAC 2021 (arXiv 2009.13772), section IV-E and table III, and `auto`. None
of them calls a sizing good that was not simulated at every corner that the design requires.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from m3eda.design.scoring import margin
from m3eda.design.types import NOMINAL, Corner, Design, Sizing, Spec
from m3eda.pvt.shifts import DrawnIn, Shifts, value_of
from m3eda.simulate.trial import CornerResult, Trial, score

Results = Mapping[str, CornerResult]
Specs = Mapping[str, Spec]


class Exploration:
    """`brute-force`: every corner of every sizing. What it has, the others have too."""

    said = ""
    """What the last sizing kept was found to be, besides its trial."""
    widens = False
    """True where a sizing may be simulated at more corners than the active ones."""

    def __init__(self, design: Design) -> None:
        self.corners = {corner.name: corner for corner in design.required}
        self.active: tuple[str, ...] = tuple(self.corners)
        """Where a sizing is simulated as soon as it is asked for."""

    @property
    def at(self) -> list[Corner]:
        """The corners of `active`."""
        return [self.corners[name] for name in self.active]

    def specs(self, wanted: Specs) -> Specs:
        """What the agent is to reach at the active corners, where a sizing must reach `wanted`."""
        return wanted

    def seen(self, design: Design) -> Design:
        """What the agent is to size, where `design` is to hold at every corner."""
        specs = self.specs(design.specs)
        return design if specs is design.specs else replace(design, specs=specs)

    def more(self, sizing: Sizing, results: Results, wanted: Specs) -> list[Corner]:
        """Where to simulate `sizing` besides, having seen `results`; empty where nowhere."""
        return []

    def kept(self, results: Results) -> dict[str, CornerResult]:
        """Of all that a sizing was simulated at, what its trial is to hold."""
        return {name: results[name] for name in self.corners if name in results}

    def hear(self, trials: Sequence[Trial], wanted: Specs) -> bool:
        """Hear whole trials; True where `active` or `specs` is another now."""
        return False

    def heard(self, sizing: Sizing, results: Results, wanted: Specs) -> Results:
        """What the agent is to hear: results at the active corners; empty where it is nothing."""
        if set(results) == set(self.active):
            return results
        return {name: results[name] for name in self.active if name in results}

    def _missing(self, results: Results) -> list[Corner]:
        return [corner for name, corner in self.corners.items() if name not in results]


class Progressive(Exploration):
    """One corner, and with each sizing that is good there and bad elsewhere the worst one more."""

    widens = True

    def __init__(self, design: Design) -> None:
        super().__init__(design)
        self.active = (self._first(design),)

    def _first(self, design: Design) -> str:
        raise NotImplementedError

    def more(self, sizing: Sizing, results: Results, wanted: Specs) -> list[Corner]:
        good = score(0, sizing, results, wanted).met
        return self._missing(results) if good else []

    def hear(self, trials: Sequence[Trial], wanted: Specs) -> bool:
        before = self.active
        for trial in trials:
            if not self._missing(trial.results):
                self._take_worst(trial, wanted)
        return self.active != before

    def _take_worst(self, trial: Trial, wanted: Specs) -> None:
        rewards = rewards_of(trial, wanted)
        if not score(0, trial.sizing, trial.results, wanted).met:
            worst = min(rewards, key=lambda name: rewards[name])
            if worst not in self.active:
                self.active = (*self.active, worst)


class ProgressiveRandom(Progressive):
    """`progressive-random`: begins at a corner drawn by the agent's seed."""

    def _first(self, design: Design) -> str:
        rng = np.random.default_rng([design.agent.seed, len(self.corners)])
        return str(rng.choice(list(self.corners)))


class ProgressiveHardest(Progressive):
    """`progressive-hardest`: begins at the corner that the first sizing, simulated at every one,
    does worst at."""

    def _first(self, design: Design) -> str:
        self._chosen = False
        return NOMINAL

    def more(self, sizing: Sizing, results: Results, wanted: Specs) -> list[Corner]:
        return super().more(sizing, results, wanted) if self._chosen else self._missing(results)

    def hear(self, trials: Sequence[Trial], wanted: Specs) -> bool:
        if self._chosen or not trials:
            return super().hear(trials, wanted)
        self._chosen = True
        rewards = rewards_of(trials[0], wanted)
        self.active = (min(rewards, key=lambda name: rewards[name]),)
        super().hear(trials[1:], wanted)
        return True


class Auto(Exploration):
    """`auto`: the agent sizes at the hardest corner, for limits that leave room for the others.

    The first promising sizing is simulated at every corner; where it does worst the search goes on.
    How far measures move from corner to corner is learnt from that and from each later look: it
    says by how much limits are drawn in, and what other sizings would give at corners that they
    were not simulated at. One that is expected to be better at its worst corner than any other is
    looked at: simulated where each spec is expected to be worst, and while all hold at the other
    corners, the worst first. A corner that fails again and again where it should not is simulated
    with each sizing.
    """

    TELLING = -0.7
    """Reward at the worst corner below which a look tells nothing of how measures move: what a
    circuit does that is far from working is not what one does that works."""
    widens = True
    PATIENCE = 2
    """Surprises at a corner until it is simulated with each sizing."""

    def __init__(self, design: Design) -> None:
        super().__init__(design)
        self.active = (NOMINAL,)
        self._chunk = max(design.agent.batch, 1)
        self._shifts = Shifts(design)
        self._begun = False
        """True from the first look on."""
        self._surprises: Counter[str] = Counter()
        self._state: tuple[int, Specs, _Aim] | None = None

    def specs(self, wanted: Specs) -> Specs:
        if not self._shifts.looks:
            return wanted
        drawn = self._aim(wanted).drawn
        own = self.active[1:]
        return {
            name: replace(
                spec, limits=drawn[name].limits, corners={each: spec.at(each) for each in own}
            )
            for name, spec in wanted.items()
        }

    def seen(self, design: Design) -> Design:
        """The design as it stands at the first active corner, which is the agent's nominal one."""
        found, corner = super().seen(design), self.corners[self.active[0]]
        if corner.name == NOMINAL:
            return found
        technology = found.technology
        if technology is not None and corner.process:
            technology = replace(technology, nominal=corner.process)
        conditions = {**found.conditions, **corner.conditions}
        return replace(found, conditions=conditions, technology=technology)

    def more(self, sizing: Sizing, results: Results, wanted: Specs) -> list[Corner]:
        missing = self._missing(results)
        if not self._shifts.looks:
            return missing if score(0, sizing, results, wanted).met else []
        whole = self._believed(sizing, results, wanted)
        expected = score(0, sizing, whole, wanted)
        if not (expected.met or expected.reward > self._aim(wanted).reward):
            return []
        if set(results) <= set(self.active):
            worst = {
                min(whole, key=lambda name: _margin(whole, spec, name)) for spec in wanted.values()
            }
            if first := [corner for corner in missing if corner.name in worst]:
                return first
        if not score(0, sizing, results, wanted).met:
            return []
        least = {
            corner.name: min((_margin(whole, s, corner.name) for s in wanted.values()), default=0.0)
            for corner in missing
        }
        missing.sort(key=lambda corner: least[corner.name])
        return missing[: self._chunk]

    def hear(self, trials: Sequence[Trial], wanted: Specs) -> bool:
        before = len(self._shifts.looks), self.active
        for trial in trials:
            if len(trial.results) > len(self.active):
                self._look(trial, wanted)
        return before != (len(self._shifts.looks), self.active)

    def heard(self, sizing: Sizing, results: Results, wanted: Specs) -> Results:
        if not self._shifts.looks:
            return super().heard(sizing, results, wanted)
        ordered = self._ordered(results)
        drawn, first = self._aim(wanted).drawn, next(iter(ordered.values()))
        found = {name: dict(first.measures) for name in self.active}
        for name, spec in wanted.items():
            values = self._shifts.values(sizing, ordered, spec)
            lost = any(np.isnan(values[self._shifts.corners.index(each)]) for each in ordered)
            for corner in self.active[1:]:
                found[corner][spec.measure] = float(values[self._shifts.corners.index(corner)])
            value = math.nan if lost else drawn[name].value(values)
            found[self.active[0]][spec.measure] = value
        return {name: replace(first, measures=each, swept={}) for name, each in found.items()}

    def _look(self, trial: Trial, wanted: Specs) -> None:
        """Hear of a sizing that was simulated at more corners than the active ones."""
        rewards = rewards_of(trial, wanted)
        worst = min(rewards, key=lambda name: rewards[name])
        near = {name: trial.results[name] for name in self.active if name in trial.results}
        hoped = False
        if near and self._shifts.looks:
            told = self.heard(trial.sizing, near, wanted)
            hoped = score(0, trial.sizing, told, self.specs(wanted)).met
        good = score(0, trial.sizing, trial.results, wanted).met
        telling = good or rewards[worst] >= self.TELLING
        if not self._begun:
            self._begun, self.active = True, (worst,)
        elif not telling and not self._shifts.looks and worst not in self.active:
            self.active = (*self.active, worst)
        if telling:
            self._shifts.add(trial.sizing, trial.results)
        if hoped and not good:
            self._surprises[worst] += 1
            if self._surprises[worst] >= self.PATIENCE and worst not in self.active:
                self.active = (*self.active, worst)
                self._state = None

    def _ordered(self, results: Results) -> Results:
        """`results`, those at the active corners first."""
        first = [name for name in self.active if name in results]
        return {name: results[name] for name in dict.fromkeys([*first, *results])}

    def _believed(self, sizing: Sizing, results: Results, wanted: Specs) -> dict[str, CornerResult]:
        """What every corner gives: as simulated, else as believed."""
        ordered = self._ordered(results)
        values = {name: self._shifts.values(sizing, ordered, s) for name, s in wanted.items()}
        found = dict(results)
        for place, corner in enumerate(self._shifts.corners):
            if corner not in results:
                found[corner] = CornerResult({n: float(values[n][place]) for n in wanted})
        return found

    def _aim(self, wanted: Specs) -> _Aim:
        """What is to be bettered; made anew after each look, and for other specs."""
        count = len(self._shifts.looks)
        if self._state is None or self._state[0] != count or self._state[1] != wanted:
            rewards = [
                score(0, each.sizing, self._believed(each.sizing, each.results, wanted),
                      wanted).reward
                for each in self._shifts.looks
            ]  # fmt: skip
            best = int(np.argmax(rewards))
            place, first = self._shifts.looks[best].sizing, self.active[0]
            others = [name for name in self.corners if name not in self.active]
            drawn = {
                name: self._shifts.drawn_in(place, spec, first, others)
                for name, spec in wanted.items()
            }
            self._state = count, wanted, _Aim(rewards[best], drawn)
        return self._state[2]


@dataclass(frozen=True)
class _Aim:
    """The best of the sizings looked at."""

    reward: float
    """At its worst corner."""
    drawn: Mapping[str, DrawnIn]
    """Each spec as limits at the first active corner, for sizings like it."""


def _margin(results: Results, spec: Spec, corner: str) -> float:
    """The margin of `spec` at `corner`; minus infinity where the measure does not exist."""
    found = margin(value_of(results[corner], spec, corner), spec.at(corner))
    return -math.inf if math.isnan(found) else found


def rewards_of(trial: Trial, specs: Specs) -> dict[str, float]:
    """The reward at each corner that `trial` was simulated at."""
    return {
        name: score(0, trial.sizing, {name: result}, specs).reward
        for name, result in trial.results.items()
    }


EXPLORATIONS = {
    "auto": Auto,
    "brute-force": Exploration,
    "progressive-hardest": ProgressiveHardest,
    "progressive-random": ProgressiveRandom,
}
