"""How far two runs of one deck lie apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3eda.simulate.types import Waveforms

_SMALL = {"V": 1e-6, "A": 1e-9}
"""Voltages and currents below count as this large: they may be nothing but round-off."""


def difference(one: Waveforms, other: Waveforms) -> float:
    """The largest difference of two runs' vectors and `.meas` results, each relative to the
    largest value of its vector, or to 1 uV and 1 nA; infinite where not the same things are there.
    """
    kinds = [[(a.kind, a.scale, set(a.vectors)) for a in each.analyses] for each in (one, other)]
    if kinds[0] != kinds[1] or one.meas.keys() != other.meas.keys():
        return np.inf
    largest = 0.0
    for here, there in zip(one.analyses, other.analyses, strict=True):
        for name, vector in here.vectors.items():
            small = _SMALL.get(here.units.get(name, ""), 0.0)
            largest = max(largest, _distance(vector, there.vectors[name], small))
    for name, value in one.meas.items():
        largest = max(largest, _distance(np.array([value]), np.array([other.meas[name]]), 0.0))
    return largest


def _distance(one: NDArray[Any], other: NDArray[Any], small: float) -> float:
    if one.shape != other.shape or not (np.isfinite(one) == np.isfinite(other)).all():
        return np.inf
    kept = np.isfinite(one)
    if not kept.any():
        return 0.0
    largest = max(float(np.abs(one[kept]).max()), small)
    apart = float(np.abs(one[kept] - other[kept]).max())
    return apart / largest if largest else (np.inf if apart else 0.0)
