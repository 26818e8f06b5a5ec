"""Which earlier trials are sizings of a design, and how they count there."""

from __future__ import annotations

import math
from dataclasses import replace

from m3eda.agents.guard import allowed
from m3eda.design.ties import complete
from m3eda.design.types import Design, Sizing
from m3eda.simulate.trial import Trial, score


def key_of(sizing: Sizing) -> tuple[object, ...]:
    """The same for equal sizings, whatever their order."""
    return tuple(sorted(sizing.items()))


def anew(trial: Trial, design: Design) -> Trial:
    """`trial` scored by a changed `design`; behind all others where it is no sizing of it."""
    scored = score(trial.number, trial.sizing, trial.results, design.specs, design.required)
    if belongs(design, trial.sizing):
        whole = complete(design, trial.sizing)
        if key_of(whole) == key_of(trial.sizing):
            return scored
    return replace(scored, met=False, held=-1, reward=-math.inf)


def belongs(design: Design, sizing: Sizing) -> bool:
    """True where every free value of `sizing` is one that the design's space has."""
    return all(allowed(parameter, sizing.get(parameter.name)) for parameter in design.free)
