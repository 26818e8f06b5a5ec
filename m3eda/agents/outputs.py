"""What an agent models: one output a spec, on a scale where Gaussian processes fit well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from m3eda.design.scoring import bounds
from m3eda.design.space import FloatArray
from m3eda.design.types import Design
from m3eda.simulate.trial import Trial

TAIL = 1.0
"""Interquartile ranges after which an output is compressed."""


@dataclass(frozen=True)
class Output:
    """One row to model: a measure and the interval that meets its spec, in SI units."""

    measure: str
    low: float
    high: float

    def value(self, trial: Trial) -> float:
        """What `trial` gave at worst; nan where the measure does not exist or is not finite."""
        value = trial.worst.get(self.measure, math.nan)
        return value if math.isfinite(value) else math.nan


@dataclass(frozen=True)
class Scaled:
    """Values of an output in standardised units, and its interval in the same units."""

    values: FloatArray
    low: float
    high: float


def outputs(design: Design) -> tuple[Output, ...]:
    return tuple(Output(spec.measure, *bounds(spec.limits)) for spec in design.specs.values())


def table(rows: Sequence[Output], trial: Trial) -> FloatArray:
    """The outputs of one trial, shape (len(rows),)."""
    return np.array([row.value(trial) for row in rows], dtype=float)


def scaled(values: FloatArray, low: float, high: float) -> Scaled:
    """Finite `values` on the scale to model: logarithmic where all are positive, tails compressed.

    Values further than `TAIL` interquartile ranges beyond both the median and the limits grow as a
    logarithm only: a dead circuit or a wrapped phase must not bend the model where it matters. The
    map is the identity around the limits, so what meets the spec stays exactly so.
    """
    if values.min() > 0.0 and high > 0.0:
        values = np.log(values)
        low = math.log(low) if low > 0.0 else -math.inf
        high = math.log(high)
    lower, median, upper = np.percentile(values, [25, 50, 75])
    width = TAIL * max(upper - lower, 1e-9)
    values = _compress(values, min(low, median) if low > -math.inf else median, -width)
    values = _compress(values, max(high, median) if high < math.inf else median, width)
    middle, spread = float(values.mean()), float(values.std()) or 1.0
    return Scaled((values - middle) / spread, (low - middle) / spread, (high - middle) / spread)


def _compress(values: FloatArray, edge: float, width: float) -> FloatArray:
    """Values beyond `edge + width`, away from `edge`, compressed logarithmically."""
    excess = np.maximum((values - edge) / width - 1.0, 0.0)
    return np.where(excess > 0.0, edge + width * (1.0 + np.log1p(excess)), values)
