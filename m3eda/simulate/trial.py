"""A trial: one sizing, simulated and scored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from m3eda.design.scoring import margin, met, reward
from m3eda.design.types import NOMINAL, Sizing, Spec
from m3eda.simulate.types import State


@dataclass(frozen=True)
class CornerResult:
    """What one corner gave, raw: specs are applied later, so changed ones score old trials anew."""

    measures: Mapping[str, float]
    """SI units; nan where the measure does not exist."""
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
    """By measure, the worst corner's; nan where it does not exist at some corner."""
    reward: float
    """FOM of the M3 paper, the worst corner's; 0 where every spec is met."""
    met: bool
    """True where every spec holds at every corner, strictly."""

    @property
    def measures(self) -> Mapping[str, float]:
        """The measures at the nominal corner (else the first)."""
        return self._result.measures

    @property
    def state(self) -> State:
        states = [result.state for result in self.results.values()]
        return next((state for state in states if state is not State.COMPLETE), State.COMPLETE)

    @property
    def reason(self) -> str:
        return next((r.reason for r in self.results.values() if r.reason), "")

    @property
    def _result(self) -> CornerResult:
        return self.results.get(NOMINAL) or next(iter(self.results.values()))


def score(
    number: int, sizing: Sizing, results: Mapping[str, CornerResult], specs: Mapping[str, Spec]
) -> Trial:
    """Apply `specs` to raw `results` (by corner name)."""
    margins: dict[str, float] = {}
    good = True
    for spec in specs.values():
        values = {c: r.measures.get(spec.measure, math.nan) for c, r in results.items()}
        each = [margin(value, spec.at(corner)) for corner, value in values.items()]
        margins[spec.measure] = math.nan if any(map(math.isnan, each)) else min(each)
        good = good and all(met(value, spec.at(corner)) for corner, value in values.items())
    worst = min(reward(result.measures, specs, corner) for corner, result in results.items())
    return Trial(number, sizing, results, margins, worst, good)
