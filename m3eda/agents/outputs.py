"""What an agent models: one output a spec, on a scale where Gaussian processes fit well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from m3eda.design.scoring import bounds
from m3eda.design.space import FloatArray
from m3eda.design.types import Design, Limits, Spec
from m3eda.simulate.trial import Trial, score

TAIL = 1.0
"""Interquartile ranges after which an output is compressed."""


@dataclass(frozen=True)
class Output:
    """One row to model: a measure and the interval that meets its spec, in SI units."""

    measure: str
    low: float
    high: float
    specs: Mapping[str, Spec] = field(default_factory=dict, compare=False)
    """Where limits differ from corner to corner: the spec alone, for each corner of the row."""

    def value(self, trial: Trial) -> float:
        """What `trial` gave at worst; nan where the measure does not exist or is not finite."""
        worst = trial.worst
        known = {name: trial.results[name] for name in self.specs if name in trial.results}
        if known:
            spec = next(iter(self.specs.values()))
            worst = score(0, trial.sizing, known, {self.measure: spec}).worst
        value = worst.get(self.measure, math.nan)
        return value if math.isfinite(value) else math.nan


@dataclass(frozen=True)
class Scaled:
    """Values of an output in standardised units, and its interval in the same units."""

    values: FloatArray
    low: float
    high: float


def outputs(design: Design) -> tuple[Output, ...]:
    """A row a spec; of one whose limits differ from corner to corner one for each set of limits."""
    rows = []
    for spec in design.specs.values():
        corners: dict[Limits, dict[str, Spec]] = {}
        for corner in design.required:
            corners.setdefault(spec.at(corner.name), {})[corner.name] = spec
        apart = len(corners) > 1
        rows += [
            Output(spec.measure, *bounds(limits), specs if apart else {})
            for limits, specs in corners.items()
        ]
    return tuple(rows)


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
