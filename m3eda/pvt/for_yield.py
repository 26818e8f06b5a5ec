"""Sizing for a yield: Monte Carlo as the last look at a sizing, and its worst samples as corners.

A sizing that holds at every corner is drawn samples of, until its yield is shown or refuted. Where
it is refuted the worst samples stay with its trial and become corners for the search: the same
deviations, in standard deviations, at any sizing. What is drawn next was never seen by the search,
so that the yield shown at the end is that of chips which had no part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from m3eda.design.types import Corner, Design, Sizing, Variation
from m3eda.design.variation import check_variation
from m3eda.errors import DesignError, Mistake
from m3eda.pvt.exploration import Exploration, Results, Specs
from m3eda.pvt.intervals import Sequential, Verdict, percent
from m3eda.pvt.samples import Samples, is_sample, sample_number, samples_of
from m3eda.simulate.trial import CornerResult, Trial, order, score

AT_ONCE = 16
"""Samples simulated before it is asked whether they are enough."""
TAKEN = 3
"""Worst samples of a refuted sizing that become corners."""

Names = Callable[[Sizing], Sequence[str]]
"""What varies in the decks of a whole sizing."""


@dataclass
class _Attempt:
    """The samples of one sizing."""

    sizing: Sizing
    samples: Samples
    first: int
    """Number of its first sample."""
    most: int
    """Samples that may be drawn."""
    tests: Sequential
    good: int = 0
    count: int = 0
    verdict: Verdict = "open"
    futile: bool = False
    """True where no samples that are allowed still could show the yield."""


class ForYield(Exploration):
    """Goes through an inner strategy's corners, then through samples at the nominal corner."""

    widens = True

    def __init__(self, design: Design, names: Names, make: Callable[[Design], Exploration]) -> None:
        """Raises DesignError where nothing can be drawn, or too little to show the yield."""
        check_variation(design)
        check_enough(design)
        super().__init__(design)
        self._design, self._names, self._make = design, names, make
        self._variation = design.variation or Variation()
        self._inner = make(design)
        self._taken: dict[str, Corner] = {}
        """Samples that have become corners, by name."""
        self._heard: list[Trial] = []
        self._attempts = 0
        """Sizings that samples were drawn of."""
        self._attempt: _Attempt | None = None
        self._samples: Samples | None = None
        self.active = self._inner.active

    @property
    def at(self) -> list[Corner]:
        return self._inner.at

    def seen(self, design: Design) -> Design:
        return self._inner.seen(design)

    def heard(self, sizing: Sizing, results: Results, wanted: Specs) -> Results:
        return self._inner.heard(sizing, results, wanted)

    def more(self, sizing: Sizing, results: Results, wanted: Specs) -> list[Corner]:
        attempt = self._attempt
        if attempt is None or attempt.sizing != sizing:
            own = {name: each for name, each in results.items() if name in self._known}
            if found := self._inner.more(sizing, own, wanted):
                return found
            if not score(0, sizing, own, wanted, self._design.required).met:
                return []
            # where it would hold, so that no sizing counts as good that fails at one of these
            if missing := [c for name, c in self._taken.items() if name not in own]:
                return missing
            attempt = self._attempt = self._begun(sizing)
        self._count(attempt, results, wanted)
        if attempt.verdict != "open" or attempt.futile:
            return []
        numbers = range(attempt.count, min(attempt.count + AT_ONCE, attempt.most))
        nominal = self._design.nominal
        return [attempt.samples.at(attempt.first + number, nominal) for number in numbers]

    def kept(self, results: Results) -> dict[str, CornerResult]:
        attempt, self._attempt = self._attempt, None
        self.said = self._told(attempt)
        own = {name: results[name] for name in self._known if name in results}
        if attempt is None or attempt.verdict == "met":
            return own
        drawn = {name: each for name, each in results.items() if name not in own}
        return {**own, **self._worst(attempt.sizing, drawn)}

    def hear(self, trials: Sequence[Trial], wanted: Specs) -> bool:
        changed = False
        for trial in trials:
            self._heard.append(trial)
            fresh = [n for n in trial.results if is_sample(n) and n not in self._taken]
            if fresh or (all(name in trial.results for name in self._known) and trial.met):
                self._attempts += 1
            if fresh:
                self._take(fresh, trial.sizing, wanted)
                changed = True
            else:
                changed |= self._inner.hear([trial], wanted)
        self.active = self._inner.active
        return changed

    def _told(self, attempt: _Attempt | None) -> str:
        """What samples said of a sizing; empty where none were drawn."""
        if attempt is None:
            return ""
        target = self._variation.yield_target or 0.0
        counts = f"{attempt.good} of {attempt.count} samples pass"
        if attempt.verdict == "open":
            return f"{counts}: not enough to show a yield of {percent(target)}"
        word = "at least" if attempt.verdict == "met" else "below"
        return f"{counts}: yield {word} {percent(target)}"

    @property
    def _known(self) -> tuple[str, ...]:
        """Names of all corners that are simulated as such."""
        return (*self.corners, *self._taken)

    def _drawn(self, sizing: Sizing) -> Samples:
        if self._samples is None:
            self._samples = samples_of(self._design, self._names(sizing))
        return self._samples

    def _begun(self, sizing: Sizing) -> _Attempt:
        number = self._attempts + 1
        first = 1 + sum(self._most(earlier) for earlier in range(1, number))
        level = attempt_confidence(self._variation.confidence, number)
        return _Attempt(sizing, self._drawn(sizing), first, self._most(number), Sequential(level))

    def _most(self, number: int) -> int:
        """Samples of attempt `number`: enough to show the yield where all of them pass."""
        of = self._variation
        level = attempt_confidence(of.confidence, number)
        return max(of.samples, least_samples(of.yield_target or 0.0, level))

    def _count(self, attempt: _Attempt, results: Results, wanted: Specs) -> None:
        """Take the samples among `results` into account that are not yet."""
        target, most = self._variation.yield_target or 0.0, attempt.most
        while attempt.verdict == "open" and not attempt.futile:
            name = attempt.samples.name(attempt.first + attempt.count, self._design.nominal)
            if name not in results:
                return
            attempt.count += 1
            good = score(0, attempt.sizing, {name: results[name]}, wanted).met
            attempt.good += good
            attempt.verdict = attempt.tests.verdict(attempt.good, attempt.count, target)
            if not good or attempt.count == most:
                hoped = attempt.good + most - attempt.count
                attempt.futile = attempt.tests.verdict(hoped, most, target) != "met"

    def _worst(self, sizing: Sizing, drawn: Results) -> dict[str, CornerResult]:
        """Of all specs together, and of each, the worst failing sample but for half of those that
        the wanted yield lets fail; `TAKEN` at the most."""
        specs = self._design.specs
        trials = {name: score(0, sizing, {name: each}, specs) for name, each in drawn.items()}
        bad = {name: trial for name, trial in trials.items() if not trial.met}
        allowed = int(0.5 * (1.0 - (self._variation.yield_target or 0.0)) * len(trials))
        shortfalls = [{name: trial.reward for name, trial in bad.items()}]
        for measure in specs:
            margins = {name: trial.margins[measure] for name, trial in bad.items()}
            shortfalls.append({name: order(m) for name, m in margins.items() if not m > 0.0})
        chosen = []
        for each in filter(None, shortfalls):
            ranked = sorted(each, key=each.__getitem__)
            chosen.append(ranked[min(allowed, len(ranked) - 1)])
        return {name: drawn[name] for name in list(dict.fromkeys(chosen))[:TAKEN]}

    def _take(self, names: Sequence[str], sizing: Sizing, wanted: Specs) -> None:
        """Make the samples of these names corners; the inner strategy begins anew with them."""
        samples = self._drawn(sizing)
        nominal = self._design.nominal
        self._taken |= {name: samples.at(sample_number(name), nominal) for name in names}
        corners = (*self._design.corners, *self._taken.values())
        signoff = replace(
            self._design.signoff, corners=(*self._design.signoff.corners, *self._taken)
        )
        design = replace(self._design, corners=corners, signoff=signoff)
        # few samples, which move measures by jumps: the agent is told each of them
        alone = not self._design.signoff.corners
        self._inner = Exploration(design) if alone else self._make(design)
        self._inner.hear(self._heard, wanted)


def attempt_confidence(confidence: float, number: int) -> float:
    """Of attempt `number`, from 1, such that all of them together are wrong no more often than
    `confidence` allows."""
    return 1.0 - (1.0 - confidence) / (number * (number + 1))


@lru_cache(maxsize=256)
def least_samples(target: float, confidence: float) -> int:
    """Samples that show a yield of `target` where all of them pass."""
    tests, low, high = Sequential(confidence), 1, 1
    while tests.verdict(high, high, target) != "met":
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if tests.verdict(middle, middle, target) == "met" else (
            middle, high)  # fmt: skip
    return high


def check_enough(design: Design) -> None:
    """Raises DesignError where `variation.samples` could never show its yield."""
    variation = design.variation
    if variation is None or variation.yield_target is None:
        return
    if design.objective.minimize or design.objective.maximize:
        text = "a yield is not shown while an objective is bettered"
        hint = "leave one of them out; `m3eda verify --monte-carlo` shows the yield of a sizing"
        raise DesignError([Mistake(text, design.path, key="variation.yield", hint=hint)])
    least = least_samples(variation.yield_target, attempt_confidence(variation.confidence, 1))
    if variation.samples < least:
        text = (
            f"{variation.samples} samples cannot show a yield of {variation.yield_target:.6g} with "
            f"a confidence of {variation.confidence:.6g}"
        )
        hint = f"at least {least} are needed, all of them passing; three times as many leave room"
        raise DesignError([Mistake(text, design.path, key="variation.samples", hint=hint)])
