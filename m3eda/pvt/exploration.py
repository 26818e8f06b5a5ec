"""Which corners a sizing is simulated at while sizing, and what the agent hears of it.

The strategies of Yang et al., "Trust-Region Method with Deep Reinforcement Learning in Analog
Design Space Exploration", DAC 2021 (arXiv 2009.13772), section IV-E and table III, and `auto`. None
of them calls a sizing good that was not simulated at every corner that the design requires.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from m3eda.design.scoring import margin
from m3eda.design.types import NOMINAL, Corner, Design, Sizing, Spec
from m3eda.pvt.shifts import Shifts, value_of
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

    def seen(self, design: Design) -> Design:
        """What the agent is to size, where `design` is to hold at every corner."""
        return design

    def more(self, sizing: Sizing, results: Results, wanted: Specs) -> list[Corner]:
        """Where to simulate `sizing` besides, having seen `results`; empty where nowhere."""
        return []

    def kept(self, results: Results) -> dict[str, CornerResult]:
        """Of all that a sizing was simulated at, what its trial is to hold."""
        return {name: results[name] for name in self.corners if name in results}

    def hear(self, trials: Sequence[Trial], wanted: Specs) -> bool:
        """Hear whole trials; True where the agent is to hear all trials anew."""
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

    def seen(self, design: Design) -> Design:
        """The design with the limits of the active corners alone: the agent hears of no other."""
        if not any(spec.corners for spec in design.specs.values()):
            return design
        return replace(design, specs={
            name: at_corners(spec, self.active) for name, spec in design.specs.items()
        })  # fmt: skip

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
        """Take up the corner at which a sizing that is good at the active ones fails worst."""
        results = self.kept(trial.results)
        near = {name: results[name] for name in self.active if name in results}
        good = bool(near) and score(0, trial.sizing, near, wanted).met
        if good and not score(0, trial.sizing, results, wanted).met:
            self.active = (*self.active, worst_of(trial.sizing, results, wanted))


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
        known = [trial for trial in trials if self.kept(trial.results)]
        if self._chosen or not known:
            return super().hear(trials, wanted)
        self._chosen = True
        first, *others = known
        self.active = (worst_of(first.sizing, self.kept(first.results), wanted),)
        super().hear(others, wanted)
        return True


class Auto(Progressive):
    """`auto`: the hardest corners alone, and the others where a sizing holds, the doubtful first.

    The agent sizes at the nominal corner. The first sizing that is good there is simulated at every
    corner; where it does worst the search goes on. A sizing that is good at the active corners is
    looked at: simulated where each spec is expected to be worst, and while all hold at the other
    corners, the worst first. Where it fails worst is simulated with each sizing from then on.

    Each look tells how far measures move from corner to corner. That gives the order, and what the
    agent hears of sizings that were simulated before a corner was active.
    """

    def __init__(self, design: Design) -> None:
        self._chunk = max(design.agent.batch, 1)
        self._shifts = Shifts(design)
        super().__init__(design)

    def _first(self, design: Design) -> str:
        return NOMINAL

    def seen(self, design: Design) -> Design:
        """The design as it stands at the first active corner, which is the agent's nominal one."""
        design, corner = super().seen(design), self.corners[self.active[0]]
        if corner.name == NOMINAL:
            return design
        technology = design.technology
        if technology is not None and corner.process:
            technology = replace(technology, nominal=corner.process)
        conditions = {**design.conditions, **corner.conditions}
        return replace(design, conditions=conditions, technology=technology)

    def more(self, sizing: Sizing, results: Results, wanted: Specs) -> list[Corner]:
        missing = super().more(sizing, results, wanted)
        if not missing or not self._shifts.looks:
            return missing
        whole = self._believed(sizing, results, wanted)
        least = {
            name: min((_margin(whole, spec, name) for spec in wanted.values()), default=0.0)
            for name in whole
        }
        missing.sort(key=lambda corner: least.get(corner.name, -math.inf))
        if set(results) <= set(self.active):
            worst = {
                min(whole, key=lambda name: _margin(whole, spec, name)) for spec in wanted.values()
            }
            if first := [corner for corner in missing if corner.name in worst]:
                return first
        return missing[: self._chunk]

    def hear(self, trials: Sequence[Trial], wanted: Specs) -> bool:
        before = len(self._shifts.looks), self.active
        for trial in trials:
            if len(self.kept(trial.results)) > len(self.active):
                self._look(trial, wanted)
        return before != (len(self._shifts.looks), self.active)

    def _look(self, trial: Trial, wanted: Specs) -> None:
        """Hear of a sizing that was simulated at several corners."""
        if not self._shifts.looks:
            self.active = (worst_of(trial.sizing, self.kept(trial.results), wanted),)
        self._shifts.add(trial.sizing, trial.results)
        self._take_worst(trial, wanted)

    def heard(self, sizing: Sizing, results: Results, wanted: Specs) -> Results:
        """Results at the active corners, as simulated, else as believed where that is known."""
        results = self.kept(results)
        if results and self._shifts.looks:
            results = self._believed(sizing, results, wanted)
        return {name: results[name] for name in self.active if name in results}

    def _believed(self, sizing: Sizing, results: Results, wanted: Specs) -> dict[str, CornerResult]:
        """What every corner gives: as simulated, else as believed where each measure is known."""
        first = [name for name in self.active if name in results]
        ordered = {name: results[name] for name in dict.fromkeys([*first, *results])}
        values = {name: self._shifts.values(sizing, ordered, s) for name, s in wanted.items()}
        found = dict(results)
        for place, corner in enumerate(self._shifts.corners):
            measures = {name: float(values[name][place]) for name in wanted}
            if corner not in results and not any(map(math.isnan, measures.values())):
                found[corner] = CornerResult(measures)
        return found


def _margin(results: Results, spec: Spec, corner: str) -> float:
    """The margin of `spec` at `corner`; minus infinity where the measure does not exist."""
    found = margin(value_of(results[corner], spec, corner), spec.at(corner))
    return -math.inf if math.isnan(found) else found


def at_corners(spec: Spec, corners: Sequence[str]) -> Spec:
    """`spec` with its limits at `corners`; those at the first of them hold elsewhere too."""
    first = spec.at(corners[0])
    own = {name: limits for name in corners if (limits := spec.at(name)) != first}
    return replace(spec, limits=first, corners=own)


def worst_of(sizing: Sizing, results: Results, specs: Specs) -> str:
    """The corner at which a sizing does worst."""
    rewards = {
        name: score(0, sizing, {name: result}, specs).reward for name, result in results.items()
    }
    return min(rewards, key=rewards.__getitem__)


EXPLORATIONS = {
    "auto": Auto,
    "brute-force": Exploration,
    "progressive-hardest": ProgressiveHardest,
    "progressive-random": ProgressiveRandom,
}
