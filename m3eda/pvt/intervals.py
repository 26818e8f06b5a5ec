"""What a count of good samples says of a yield, and when it is enough."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np

from m3eda.design.space import FloatArray

_MIXED = 256
"""Alternatives that a sequential test weighs."""
_LEAST = 1e-9
Verdict = Literal["met", "missed", "open"]


def clopper_pearson(good: int, count: int, confidence: float) -> tuple[float, float]:
    """The interval that holds the yield with at least `confidence`, where `count` was fixed before
    (Clopper and Pearson, Biometrika 1934)."""
    from scipy.special import betaincinv

    rest = 0.5 * (1.0 - confidence)
    low = 0.0 if good == 0 else float(betaincinv(good, count - good + 1, rest))
    high = 1.0 if good == count else float(betaincinv(good + 1, count - good, 1.0 - rest))
    return low, high


class Sequential:
    """Tests that may be looked at after every sample: none is wrong more often than its level.

    For a yield Y the likelihood of the samples is compared with a mixture of likelihoods on either
    side of it. Each ratio is a supermartingale where the other side is true, so that the chance
    that it ever reaches 1 / level is at most the level (Ville, 1939; Robbins, Annals of
    Mathematical Statistics 1970).
    """

    def __init__(self, confidence: float) -> None:
        self._most = -math.log(1.0 - confidence)
        """The logarithm of the ratio that decides."""

    def verdict(self, good: int, count: int, target: float) -> Verdict:
        """`met` where the yield is at least `target` with the confidence, `missed` where it is
        less with the confidence."""
        if _for_more(good, count, target) >= self._most:
            return "met"
        return "missed" if _for_less(good, count, target) >= self._most else "open"

    def bounds(self, good: int, count: int) -> tuple[float, float]:
        """The largest yield that is exceeded, and the least that is not reached, each of them with
        the confidence."""
        low = _crossing(lambda at: _for_more(good, count, at) - self._most, falls=True)
        high = _crossing(lambda at: _for_less(good, count, at) - self._most, falls=False)
        return low, high


@lru_cache(maxsize=64)
def _below(failing: float) -> FloatArray:
    """Shares of failing samples below `failing`, dense towards 0."""
    steps: FloatArray = (np.arange(_MIXED) + 0.5) / _MIXED
    return np.maximum(failing * steps**2, 1e-300)


@lru_cache(maxsize=64)
def _above(failing: float) -> FloatArray:
    """Shares of failing samples above `failing`, evenly spread on a logarithmic scale."""
    steps: FloatArray = (np.arange(_MIXED) + 0.5) / _MIXED
    found: FloatArray = failing ** (1.0 - steps)
    return found


def _for_more(good: int, count: int, target: float) -> float:
    """How much the samples speak for a yield of more than `target`: logarithm of a ratio."""
    return _ratio(good, count, 1.0 - target, _below(1.0 - target))


def _for_less(good: int, count: int, target: float) -> float:
    return _ratio(good, count, 1.0 - target, _above(1.0 - target))


def _ratio(good: int, count: int, failing: float, others: FloatArray) -> float:
    logs = (count - good) * np.log(others / failing) + good * (
        np.log1p(-others) - math.log1p(-failing)
    )
    most = float(logs.max())
    return most + math.log(float(np.exp(logs - most).mean()))


def _crossing(excess: Callable[[float], float], *, falls: bool) -> float:
    """The yield at which `excess`, which falls or grows with it, is 0; the end of the scale where
    it is nowhere above 0."""
    low, high = _LEAST, 1.0 - _LEAST
    if falls and excess(low) < 0.0:
        return 0.0
    if not falls and excess(high) < 0.0:
        return 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if (excess(middle) >= 0.0) == falls:
            low = middle
        else:
            high = middle
    return low if falls else high


def percent(share: float) -> str:
    """A share in percent, in as many digits as tell it from 0 and from 100 %."""
    text = ""
    for digits in range(3, 12):
        text = f"{100.0 * share:.{digits}g}"
        if share in (0.0, 1.0) or float(text) not in (0.0, 100.0):
            break
    return f"{text} %"
