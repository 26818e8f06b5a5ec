"""Specs to margins, and margins to the reward of the M3 paper.

A margin is 0 where the spec is met exactly, positive inside and negative outside; nan where the
measure does not exist. The reward is the figure of merit of the M3 paper (arXiv 2411.16019,
section III-A): FOM = sum_i w_i min(d(m_i, n_i), 0), with d(m, n) = (m - n) / (|m| + |n|), its sign
turned for an upper limit. Success is strict: every margin at least 0, whatever the FOM. Where a
spec has a value for `failed`, a missing measure has the margin and FOM of that, and is never met.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache

from m3eda.design.types import Limits, Spec


def relative_difference(measured: float, limit: float) -> float:
    """d(m, n) of the M3 paper, in [-1, 1]; guarded where both are 0 or the signs differ."""
    total = abs(measured) + abs(limit)
    return (measured - limit) / total if total > 0.0 else 0.0


def margin(value: float, limits: Limits) -> float:
    """Normalised margin of a measured `value`; the smallest where several limits are set.

    Relative to the limit for `minimum` and `maximum` (0.1 is 10 % inside; absolute where the limit
    is 0), to the tolerance for a `target`. nan for a nan value.
    """
    if math.isnan(value):
        return math.nan
    margins = []
    if limits.minimum is not None:
        margins.append((value - limits.minimum) / (abs(limits.minimum) or 1.0))
    if limits.maximum is not None:
        margins.append((limits.maximum - value) / (abs(limits.maximum) or 1.0))
    if limits.target is not None and limits.tolerance is not None:
        margins.append((limits.tolerance - abs(value - limits.target)) / limits.tolerance)
    return min(margins)


def bounds(limits: Limits) -> tuple[float, float]:
    """The interval of values that meet `limits`, with infinities where it is open."""
    low, high = -math.inf, math.inf
    if limits.minimum is not None:
        low = limits.minimum
    if limits.maximum is not None:
        high = limits.maximum
    if limits.target is not None and limits.tolerance is not None:
        low = max(low, limits.target - limits.tolerance)
        high = min(high, limits.target + limits.tolerance)
    return low, high


def met(value: float, limits: Limits) -> bool:
    """Strict: the value lies within the limits, compared without any tolerance."""
    low, high = bounds(limits)
    return low <= value <= high


def shortfall(value: float, limits: Limits) -> float:
    """min(d(m, n), 0) over the limits: 0 where met, down to -1; -1 for nan."""
    if math.isnan(value):
        return -1.0
    low, high = bounds(limits)
    if value < low:
        return relative_difference(value, low)
    if value > high:
        return -relative_difference(value, high)
    return 0.0


def reward(measures: Mapping[str, float], specs: Mapping[str, Spec], corner: str) -> float:
    """FOM of the M3 paper: 0 where every spec is met, -weight for each that is wholly missed."""
    total = 0.0
    for spec in specs.values():
        value = counted(measures.get(spec.measure, math.nan), spec.failed)
        total += spec.weight * max(shortfall(value, spec.at(corner)), -1.0)
    return total


def counted(value: float, failed: float | None) -> float:
    """`value` as it is scored: where it is nan, what the spec says that counts as, if it does."""
    return failed if failed is not None and math.isnan(value) else value


Judge = Callable[[float], tuple[float, bool, float]]


@lru_cache(maxsize=4096)
def judge(limits: Limits) -> Judge:
    """A function from a value to its `margin`, whether it is `met`, and its `shortfall`."""
    if limits.target is None and limits.maximum is None and limits.minimum is not None:
        return _one_sided(limits.minimum, upper=False)
    if limits.target is None and limits.minimum is None and limits.maximum is not None:
        return _one_sided(limits.maximum, upper=True)

    def judged(value: float) -> tuple[float, bool, float]:
        return margin(value, limits), met(value, limits), shortfall(value, limits)

    return judged


def _one_sided(limit: float, upper: bool) -> Judge:
    """`judge` for a lower limit or an upper one alone."""
    size = abs(limit)
    scale = size or 1.0

    def judged(value: float) -> tuple[float, bool, float]:
        inside = limit - value if upper else value - limit
        if inside >= 0.0:
            return inside / scale, True, 0.0
        if math.isnan(value):
            return math.nan, False, -1.0
        return inside / scale, False, inside / (abs(value) + size)

    return judged
