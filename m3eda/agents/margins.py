"""Trials as a network sees them, and the one number that says how good each is."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from m3eda.design.space import FloatArray
from m3eda.design.types import Design, Limits
from m3eda.simulate.trial import Trial

_DECADES = 8.0
"""A measure whose largest value is this many times its smallest is taken as a logarithm."""


def signed_log(value: float) -> float:
    """Monotone, a logarithm on either side of 0 for quantities of any unit."""
    return math.copysign(math.log1p(abs(value) * 1e15), value)


class Margins:
    """One column a spec: its margin at the worst corner, 0 where just met, scaled by its spread.

    Then one column a measure of the objective, larger is better, standardised.
    """

    def __init__(self, design: Design, log: bool, validity: bool) -> None:
        """`log` takes logarithms where a measure spans decades; `validity` adds an output a column
        for whether the measure exists."""
        self._log = log
        self._validity = validity
        self._specs = list(design.specs.values())
        self._weights = np.array([spec.weight for spec in self._specs])
        self._goals = {
            **dict.fromkeys(design.objective.minimize, -1.0),
            **dict.fromkeys(design.objective.maximize, 1.0),
        }
        self._columns = len(self._specs) + len(self._goals)
        self._raw: list[list[float]] = []

    @property
    def outputs(self) -> int:
        """Number of outputs a network needs."""
        return self._columns * (2 if self._validity else 1)

    def add(self, trial: Trial) -> None:
        row = [trial.margins.get(spec.measure, math.nan) for spec in self._specs]
        measures: Mapping[str, float] = trial.measures
        row += [
            sign * signed_log(measures.get(name, math.nan)) for name, sign in self._goals.items()
        ]
        self._raw.append(row)

    def targets(self) -> FloatArray:
        """What a network learns, shape (n, outputs)."""
        scaled = self._scaled()
        if self._validity:
            return np.hstack([scaled, np.where(np.isnan(scaled), -1.0, 1.0)])
        return np.where(np.isnan(scaled), self._worst(scaled), scaled)

    def values(self) -> FloatArray:
        """Value of every trial told, shape (n,): below 0 where a spec is missed."""
        scaled = self._scaled()
        return self._value(np.where(np.isnan(scaled), self._worst(scaled), scaled))

    def predicted_values(self, outputs: FloatArray) -> FloatArray:
        """Values of network outputs, shape (n, outputs): shape (n,)."""
        if not self._validity:
            return self._value(outputs)
        valid = np.clip(0.5 + 0.5 * outputs[:, self._columns :], 0.0, 1.0)
        worst = self._worst(self._scaled())
        return self._value(valid * outputs[:, : self._columns] + (1.0 - valid) * worst)

    def _scaled(self) -> FloatArray:
        """Shape (n, columns); nan where there is no measure."""
        raw = np.array(self._raw).reshape(len(self._raw), self._columns)
        columns = [self._margin(raw[:, i], spec.limits) for i, spec in enumerate(self._specs)]
        columns += [_standardised(column) for column in raw[:, len(self._specs) :].T]
        table: FloatArray = np.array(columns).T
        return table

    def _margin(self, margins: FloatArray, limits: Limits) -> FloatArray:
        known = margins[np.isfinite(margins)]
        sign = _single_sided(limits)
        if self._log and sign and known.size:
            ratio = 1.0 + sign * known
            if ratio.min() > 0.0 and ratio.max() > _DECADES * ratio.min():
                margins = sign * np.log(1.0 + sign * margins)
                known = sign * np.log(ratio)
        return margins / _spread(known)

    @staticmethod
    def _worst(scaled: FloatArray) -> FloatArray:
        """What stands for a measure that does not exist, shape (columns,): below all seen."""
        lowest = np.where(np.isnan(scaled), 0.0, scaled).min(axis=0)
        worst: FloatArray = np.minimum(lowest, -2.0) - 1.0
        return worst

    def _value(self, scaled: FloatArray) -> FloatArray:
        margins, goals = np.split(scaled, [len(self._specs)], axis=1)
        shortfalls = np.minimum(margins, 0.0)
        if self._log:
            # the specs that are nearly met weigh most
            shortfalls = -np.log1p(-shortfalls)
        total: FloatArray = shortfalls @ self._weights
        if self._goals:
            bonus = 0.5 + 0.5 * np.tanh(0.5 * goals.mean(axis=1))
        else:
            bonus = 0.1 * np.clip(margins.min(axis=1), 0.0, 1.0)
        return np.where(total < 0.0, total, bonus)


def _spread(known: FloatArray) -> float:
    return (float(np.std(known)) if known.size > 1 else 1.0) or 1.0


def _standardised(column: FloatArray) -> FloatArray:
    known = column[np.isfinite(column)]
    centre = float(known.mean()) if known.size else 0.0
    return (column - centre) / _spread(known)


def _single_sided(limits: Limits) -> int:
    """-1 for an upper limit alone, 1 for a lower one, above 0; 0 for anything else."""
    if limits.target is not None or (limits.minimum is None) == (limits.maximum is None):
        return 0
    limit = limits.maximum if limits.minimum is None else limits.minimum
    assert limit is not None
    return (1 if limits.maximum is None else -1) if limit > 0.0 else 0
