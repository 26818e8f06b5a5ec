"""Monte Carlo: which share of chips meets every spec, and with what confidence that is known."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from m3eda.design.scoring import margin
from m3eda.design.space import FloatArray
from m3eda.design.types import Corner, Design, Limits, Sizing, Spec, Variation
from m3eda.errors import DesignError, Mistake, SimulatorMissing
from m3eda.pvt.intervals import Sequential, Verdict, clopper_pearson
from m3eda.pvt.samples import Samples, sample_name, samples_of
from m3eda.report.tables import spec_met
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.trial import CornerResult, Trial, order, score
from m3eda.simulate.types import State

ROUNDING = 1e-12
AT_ONCE = 16
"""Samples that are asked for at once; more where more are simulated at once."""


@dataclass(frozen=True)
class Plan:
    """How many samples of a sizing, and what they are to show."""

    samples: Samples
    corners: Sequence[Corner]
    """A sample passes where every spec holds at each of them."""
    target: float | None = None
    """The wanted yield: sampling ends as soon as it is shown or refuted."""
    confidence: float = 0.95
    first: int = 1
    """Number of the first sample."""

    @property
    def last(self) -> int:
        return self.first + self.samples.count - 1


@dataclass(frozen=True)
class Estimate:
    """What is known of a yield."""

    good: int
    count: int
    low: float
    high: float
    """With a target each of the bounds holds with the confidence, whenever sampling ended; without
    one both together do."""
    verdict: Verdict
    """`open` where there is no target, or where the samples did not decide."""

    @property
    def share(self) -> float:
        return self.good / self.count if self.count else math.nan


@dataclass
class Outcome:
    """The samples of one sizing."""

    design: Design
    plan: Plan
    trials: list[Trial] = field(default_factory=list)
    """A trial for each sample, by its number."""

    @property
    def estimate(self) -> Estimate:
        good, count = sum(trial.met for trial in self.trials), len(self.trials)
        if self.plan.target is None:
            return Estimate(
                good, count, *clopper_pearson(good, count, self.plan.confidence), "open"
            )
        tests = Sequential(self.plan.confidence)
        verdict = tests.verdict(good, count, self.plan.target)
        return Estimate(good, count, *tests.bounds(good, count), verdict)

    @property
    def failing(self) -> list[Trial]:
        """Samples that are not good, the worst first."""
        return sorted((trial for trial in self.trials if not trial.met), key=lambda t: t.reward)

    def values(self, measure: str) -> FloatArray:
        """Of each sample the worst value of a measure with a spec, nan where it does not exist at
        some corner; shape (samples,)."""
        return np.array([_worst(trial, self.design.specs[measure]) for trial in self.trials])


@dataclass(frozen=True)
class Spread:
    """How one spec's measure is distributed, in its unit; nan where that is not known."""

    measure: str
    limits: Limits
    mean: float
    sigma: float
    least: float
    most: float
    cpk: float
    """Distance of the mean from the nearer limit in units of three standard deviations."""
    failed: int
    """Samples in which the spec does not hold."""
    worst: int
    """Number of the sample with the worst value."""
    by: Sequence[tuple[str, float]] = ()
    """What it varies by most: names of deviations with the squares of their correlations."""


def make_plan(
    design: Design, evaluator: Evaluator, sizing: Sizing, corners: Sequence[Corner], first: int = 1
) -> Plan:
    """What the design's `variation` asks of `sizing`, which is whole.

    Raises DesignError where nothing can be drawn.
    """
    variation = design.variation or Variation()
    names = evaluator.renderer.deviations(sizing)
    own = evaluator.renderer.draws_by_itself
    if (
        variation.mismatch
        and not own
        and not any(name.endswith((":vt", ":beta")) for name in names)
    ):
        text = "no transistor of the decks is one that the technology has mismatch of"
        hint = "`m3eda render` prints the decks; their models must be those under devices"
        raise DesignError([Mistake(text, design.path, key="variation.mismatch", hint=hint)])
    nominal = design.technology.nominal if design.technology else ""
    for corner in corners:
        if own and (corner.process or nominal) not in own:
            text = f"corner {corner.name}: no section draws mismatch at {corner.process or nominal}"
            hint = f"mismatch.sections has {', '.join(own)}"
            raise DesignError([Mistake(text, design.path, key="variation", hint=hint)])
    target = variation.yield_target
    return Plan(samples_of(design, names), corners, target, variation.confidence, first)


def monte_carlo(
    design: Design,
    evaluator: Evaluator,
    sizing: Sizing,
    plan: Plan,
    heard: Callable[[Outcome], object] = lambda outcome: None,
) -> Outcome:
    """Simulate the samples of `plan` in the order of their numbers, until they decide.

    With the same plan the outcome is the same for any number of jobs; `heard` is called with what
    is known after each sample. Raises DesignError where all samples are alike, SimulatorMissing.
    """
    outcome = Outcome(design, plan)
    tests = Sequential(plan.confidence)
    good = 0
    with contextlib.closing(_trials(design, evaluator, sizing, plan)) as trials:
        for trial in trials:
            outcome.trials.append(trial)
            good += trial.met
            heard(outcome)
            if len(outcome.trials) == AT_ONCE:
                _check_alike(outcome, evaluator)
            if plan.target is None:
                continue
            if tests.verdict(good, len(outcome.trials), plan.target) != "open":
                break
    _check_alike(outcome, evaluator)
    return outcome


def _trials(
    design: Design, evaluator: Evaluator, sizing: Sizing, plan: Plan
) -> Generator[Trial, None, None]:
    at_once = max(AT_ONCE, 2 * evaluator.executor.width)
    for first in range(plan.first, plan.last + 1, at_once):
        numbers = range(first, min(first + at_once, plan.last + 1))
        at = [plan.samples.at(number, corner) for number in numbers for corner in plan.corners]
        with contextlib.closing(evaluator.evaluate([sizing], at)) as found:
            results = next(found)
        for number in numbers:
            own = {c.name: results[sample_name(c.name, number)] for c in plan.corners}
            _check_simulator(own.values())
            yield score(number, sizing, own, design.specs)


def _check_simulator(results: Iterable[CornerResult]) -> None:
    for result in results:
        if result.state is State.SIMULATOR_MISSING:
            raise SimulatorMissing(result.reason)


def _check_alike(outcome: Outcome, evaluator: Evaluator) -> None:
    """Raises DesignError where several samples gave one value of every measure."""
    found = [
        tuple((name, tuple(result.measures.items())) for name, result in trial.results.items())
        for trial in outcome.trials
        if trial.state is State.COMPLETE
    ]
    if len(found) < 2 or any(each != found[0] for each in found):
        return
    sections = evaluator.renderer.draws_by_itself
    if sections:
        text = f"section {', '.join(dict.fromkeys(sections.values()))} draws nothing"
        hint = "name the section with mismatch under mismatch.sections of the technology"
    else:
        text = "nothing that varies reaches a measure"
        hint = f"it varies {', '.join(outcome.plan.samples.names[:5])} ..."
    text = f"{len(found)} samples are all alike: {text}"
    raise DesignError([Mistake(text, outcome.design.path, key="variation", hint=hint)])


def spreads(outcome: Outcome) -> list[Spread]:
    """How each spec's measure is distributed over the samples."""
    names = outcome.plan.samples.names
    deviations = np.array(
        [list(outcome.plan.samples.deviations(trial.number).values()) for trial in outcome.trials]
    )
    return [_spread(outcome, measure, names, deviations) for measure in outcome.design.specs]


def _spread(outcome: Outcome, measure: str, names: Sequence[str], deviations: FloatArray) -> Spread:
    spec, trials = outcome.design.specs[measure], outcome.trials
    values = outcome.values(measure)
    known = np.isfinite(values)
    worst = min(trials, key=lambda trial: order(trial.margins.get(measure, math.nan)))
    some = values[known]
    mean = float(some.mean()) if some.size else math.nan
    sigma = float(some.std(ddof=1)) if some.size > 1 else math.nan
    if sigma <= ROUNDING * abs(mean):
        sigma = 0.0
    return Spread(
        measure,
        spec.limits,
        mean,
        sigma,
        float(some.min()) if some.size else math.nan,
        float(some.max()) if some.size else math.nan,
        _cpk(mean, sigma, spec.limits),
        sum(not spec_met(spec, trial) for trial in trials),
        worst.number,
        _shares(names, deviations[known], some),
    )


def _worst(trial: Trial, spec: Spec) -> float:
    """The value with the smallest margin over a trial's corners, nan where there is none at one."""
    found = [
        (margin(value, spec.at(corner)), value)
        for corner, result in trial.results.items()
        for value in result.values(spec.measure)
    ]
    return min(found, key=lambda pair: order(pair[0]))[1]


def _cpk(mean: float, sigma: float, limits: Limits) -> float:
    """Process capability; nan without a spread."""
    low, high = limits.minimum, limits.maximum
    if limits.target is not None and limits.tolerance is not None:
        low, high = limits.target - limits.tolerance, limits.target + limits.tolerance
    ends = [
        *([mean - low] if low is not None else []),
        *([high - mean] if high is not None else []),
    ]
    if not ends or not sigma > 0.0:
        return math.nan
    return min(ends) / (3.0 * sigma)


def _shares(
    names: Sequence[str], deviations: FloatArray, values: FloatArray, most: int = 3
) -> list[tuple[str, float]]:
    """The deviations that `values` go with most, whichever way they go or by how far: squares of
    correlations, where they are more than chance."""
    if len(values) < 20 or not names or np.ptp(values) <= ROUNDING * np.abs(values).max():
        return []
    shares = np.maximum(_correlated(deviations, values), _correlated(np.abs(deviations), values))
    largest = np.argsort(-shares)[:most]
    return [(names[i], float(shares[i])) for i in largest if shares[i] > 9.0 / len(values)]


def _correlated(columns: FloatArray, values: FloatArray) -> FloatArray:
    """The square of the correlation of each column with `values`."""
    centred, spread = columns - columns.mean(axis=0), values - values.mean()
    scale = np.sqrt((centred**2).sum(axis=0) * (spread**2).sum())
    found: FloatArray = (centred.T @ spread / np.where(scale > 0.0, scale, np.inf)) ** 2
    return found
