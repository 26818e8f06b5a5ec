"""A trial: one sizing, simulated and scored."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from m3eda.design.scoring import Judge, counted, judge, margin
from m3eda.design.types import NOMINAL, Corner, Limits, Sizing, Spec
from m3eda.simulate.types import State


@dataclass(frozen=True)
class Sweep:
    """The values of one measure over a condition of its testbench."""

    condition: str
    points: tuple[float, ...]
    """Values of the condition in SI units, ascending; degrees Celsius for `temp`."""
    values: tuple[float, ...]
    """The measure at each point; nan where it does not exist."""


@dataclass(frozen=True)
class CornerResult:
    """What one corner gave, raw: specs are applied later, so changed ones score old trials anew."""

    measures: Mapping[str, float]
    """SI units; nan where the measure does not exist; of one that is swept, the value at the point
    nearest to the design's own conditions."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why a measure is nan, by measure."""
    state: State = State.COMPLETE
    """The worst state among the testbenches."""
    reason: str = ""
    log: str = ""
    seconds: float = 0.0
    """Wall time in the simulator, summed over the testbenches."""
    runs: int = 0
    """Simulator runs spent, retries included."""
    swept: Mapping[str, Sweep] = field(default_factory=dict)
    """Measures of testbenches that are simulated over a condition."""

    def values(self, measure: str) -> tuple[float, ...]:
        """Every value that a spec on `measure` must hold for: one, or one a point of its sweep."""
        sweep = self.swept.get(measure)
        return sweep.values if sweep else (self.measures.get(measure, math.nan),)

    def worst(self, measure: str, limits: Limits) -> float:
        """The value with the smallest margin; nan where it does not exist at some point."""
        return min(self.values(measure), key=lambda value: order(margin(value, limits)))


@dataclass(frozen=True)
class Trial:
    """One simulated sizing. A failed one is a trial like any other, with its state and reason."""

    number: int
    """From 0, in the order told to the agent."""
    sizing: Sizing
    """Every parameter, frozen and tied ones too."""
    results: Mapping[str, CornerResult]
    """By corner name."""
    margins: Mapping[str, float]
    """By measure, the smallest over corners and points; nan where it does not exist at some, and
    its spec does not say what it counts as then."""
    reward: float
    """FOM of the M3 paper, the worst corner's; 0 where every spec is met."""
    met: bool
    """True where every spec holds at every corner that is required and at every point of a sweep,
    strictly."""
    worst: Mapping[str, float] = field(default_factory=dict)
    """By measure, of all corners and points of a sweep the value with the smallest margin, as it
    is scored."""
    held: int = 0
    """Corners at which every spec holds."""

    @property
    def measures(self) -> Mapping[str, float]:
        """The measures at the nominal corner (else the first)."""
        return self.nominal.measures

    @property
    def state(self) -> State:
        states = [result.state for result in self.results.values()]
        return next((state for state in states if state is not State.COMPLETE), State.COMPLETE)

    @property
    def reason(self) -> str:
        return next((r.reason for r in self.results.values() if r.reason), "")

    @property
    def nominal(self) -> CornerResult:
        """The result at the nominal corner (else the first)."""
        return self.results.get(NOMINAL) or next(iter(self.results.values()))


def score(
    number: int,
    sizing: Sizing,
    results: Mapping[str, CornerResult],
    specs: Mapping[str, Spec],
    required: Sequence[Corner] = (),
) -> Trial:
    """Apply `specs` to raw `results` (by corner name). Where one of `required` is not among them
    the trial is not met, whatever the others say."""
    margins: dict[str, float] = {}
    worst: dict[str, float] = {}
    rewards: list[float] = []
    held = 0
    rules = _rules(tuple(specs.values()), tuple(results))
    for result, at_corner in zip(results.values(), rules, strict=True):
        total, good = 0.0, True
        for name, weight, failed, judged in at_corner:
            value = result.measures.get(name, math.nan)
            if name in result.swept:
                value, known = _worst(result.swept[name].values, failed, judged)
            else:
                known = value == value  # nan differs from itself
                if not known and failed is not None:
                    value = failed
            here, holds, short = judged(value)
            good = good and holds and known
            total += weight * (short if short > -1.0 else -1.0)
            if name not in margins or order(here) < order(margins[name]):
                margins[name], worst[name] = here, value
        rewards.append(total)
        held += good
    good = held == len(results) and all(corner.name in results for corner in required)
    return Trial(number, sizing, results, margins, min(rewards), good, worst, held)


Rule = tuple[str, float, float | None, Judge]
"""A spec at one corner: measure, weight, what a missing value counts as, and its limits."""


Rules = tuple[tuple[Rule, ...], ...]

_LATEST: tuple[tuple[Spec, ...], tuple[str, ...], Rules] = ((), (), ())
"""Specs, corners and their rules as made last: from trial to trial they are the same."""


def _rules(specs: tuple[Spec, ...], corners: tuple[str, ...]) -> Rules:
    """The rules at each corner."""
    global _LATEST
    known = _LATEST
    if known[0] == specs and known[1] == corners:
        return known[2]
    rules = tuple(
        tuple((spec.measure, spec.weight, spec.failed, judge(spec.at(corner))) for spec in specs)
        for corner in corners
    )
    _LATEST = specs, corners, rules
    return rules


def _worst(values: tuple[float, ...], failed: float | None, judged: Judge) -> tuple[float, bool]:
    """Of `values` as they count the one with the smallest margin, and whether all are known."""
    scored = [counted(value, failed) for value in values]
    worst = min(scored, key=lambda value: order(judged(value)[0]))
    return worst, not any(map(math.isnan, values))


def order(margin: float) -> float:
    """A margin as it is compared: one that does not exist is worse than any."""
    return -math.inf if math.isnan(margin) else margin


def looked_again(earlier: Trial, trial: Trial) -> bool:
    """True where `trial` is the sizing of `earlier`, simulated at more corners."""
    return trial.sizing == earlier.sizing and len(trial.results) > len(earlier.results)


def better_of(best: Trial, trial: Trial) -> Trial:
    """The better one of the best so far and a later trial; what was looked at again counts by
    that."""
    if looked_again(best, trial):
        return trial
    return trial if rank(trial) > rank(best) else best


def rank(trial: Trial) -> tuple[Any, ...]:
    """A key that grows with how good a trial is; no two trials of a run have the same.

    Trials that meet every spec come first, then those that hold at more corners, then the reward,
    the worst margin, and the lower number.
    """
    margins = [-math.inf if math.isnan(m) else m for m in trial.margins.values()]
    return (
        trial.met,
        trial.held,
        trial.reward,
        min(margins, default=0.0),
        trial.state is State.COMPLETE,
        -trial.number,
    )
