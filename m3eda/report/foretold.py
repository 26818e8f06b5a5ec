"""What an agent foretold of a sizing, beside what was simulated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from m3eda.design.types import Design
from m3eda.simulate.trial import Trial
from m3eda.units import format_engineering

Foretold = Mapping[str, tuple[float, float, float]]
"""Measure -> what was expected, and the ends between which it is as often as not; SI units."""
DIGITS = 4


def foretold_lines(design: Design, trial: Trial, foretold: Foretold) -> Iterator[str]:
    """A line a measure: `trial 2 gain: foretold 31 dB (30.2 dB to 31.7 dB), simulated 30.9 dB`."""
    if not foretold:
        yield f"trial {trial.number}: nothing was foretold"
    for name, (middle, low, high) in foretold.items():
        unit = design.measures[name].unit if name in design.measures else ""
        value = trial.worst.get(name, math.nan)
        there = _text(value, unit) if math.isfinite(value) else "no value"
        ends = f"{_text(low, unit)} to {_text(high, unit)}"
        yield (f"trial {trial.number} {name}: foretold {_text(middle, unit)} ({ends}), "
               f"simulated {there}")  # fmt: skip


def _text(value: float, unit: str) -> str:
    return format_engineering(value, unit, DIGITS)
