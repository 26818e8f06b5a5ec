"""A waveform of one analysis, as the functions of measures are given it."""

from __future__ import annotations

import cmath
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

LOGARITHMIC = frozenset({"ac", "noise", "sp"})
"""Analyses whose points lie on decades of frequency."""

T = TypeVar("T")


class MeasureUndefined(Exception):
    """The measure does not exist in these waveforms: it becomes nan, with this one-line reason."""


@dataclass(frozen=True, init=False)
class Trace:
    """One waveform of one analysis.

    `x`, shape (n,), ascending: frequency in Hz, time in s, or the swept quantity; a single 0 for an
    operating point. `y`, shape (n,): complex in an AC analysis, real otherwise; SI units. Several
    measures are given the same trace: neither array may be written to.
    """

    x: NDArray[np.float64]
    y: NDArray[Any]
    kind: str = ""
    name: str = ""

    def __init__(
        self, x: NDArray[np.float64], y: NDArray[Any], kind: str = "", name: str = ""
    ) -> None:
        # the one that dataclass makes takes three times as long
        known = self.__dict__
        known["x"], known["y"], known["kind"], known["name"] = x, y, kind, name

    def window(self, start: float | None, stop: float | None) -> Trace:
        """The part between `start` and `stop`, with interpolated end points.

        Interpolates linearly in x, in log x for frequency sweeps. Raises MeasureUndefined where the
        window is empty or leaves the data.
        """
        first, last = float(self.x[0]), float(self.x[-1])
        low = first if start is None else self.at_end(float(start))
        high = last if stop is None else self.at_end(float(stop))
        if not first <= low < high <= last:
            raise MeasureUndefined(
                f"the window {low:.4g} to {high:.4g} is empty or not within "
                f"{first:.4g} to {last:.4g}, where {self.name} is known"
            )
        begin = int(self.x.searchsorted(low, "right"))
        end = int(self.x.searchsorted(high, "left")) if high < last else self._last()
        x = np.empty(end - begin + 2)
        y = np.empty(x.size, complex if is_complex(self.y) else float)
        x[0], x[-1] = low, high
        y[0] = self._between(begin - 1, low)
        y[-1] = self._between(end if self.x[end] <= high else end - 1, high)
        x[1:-1], y[1:-1] = self.x[begin:end], self.y[begin:end]
        return Trace(x, y, self.kind, self.name)

    def _last(self) -> int:
        """The first of the points that stand at the end."""
        if self.x[-2] < self.x[-1]:
            return self.x.size - 1
        return int(self.x.searchsorted(self.x[-1], "left"))

    def at_end(self, x: float) -> float:
        """`x`, or the first or last point where it misses that by rounding alone.

        A simulator adds up its steps: a sweep to 1.4 ends at 1.3999999999999997.
        """
        first, last = float(self.x[0]), float(self.x[-1])
        for end in (first, last):
            # over decades of frequency the span says nothing about the first point
            if abs(x - end) <= 1e-9 * (abs(end) if first > 0.0 else last - first):
                return end
        return x

    def _between(self, i: int, at: float) -> Any:
        """The value at `at`, from point `i` to the next."""
        # a simulator may give a time twice: the last of those counts, but the end has none after
        while i < self.x.size - 2 and self.x[i + 1] <= at:
            i += 1
        i = min(i, self.x.size - 2)
        low, high = float(self.x[i]), float(self.x[i + 1])
        if self.kind in LOGARITHMIC and self.x[0] > 0.0:
            at, low, high = math.log(at), math.log(low), math.log(high)
        # the last point may be there twice
        part = (at - low) / (high - low) if high > low else math.nan
        before, after = self.y[i], self.y[i + 1]
        if not is_complex(self.y):
            return float(before) + part * (float(after) - float(before))
        # log magnitude and phase on straight lines, as every AC measure takes them
        with np.errstate(all="ignore"):
            spiral = before * (after / before) ** part
            return spiral if np.isfinite(spiral) else before + part * (after - before)


def once_per_trace(function: Callable[[Trace], T]) -> Callable[[Trace], T]:
    """Keep in each trace what `function` makes of it: measures of one waveform share it.

    An array it gives may not be written to.
    """
    key = f"{function.__module__}.{function.__qualname__}"

    @functools.wraps(function)
    def kept(trace: Trace) -> T:
        known = trace.__dict__
        if key in known:
            value: T = known[key]
        else:
            value = known[key] = function(trace)
        return value

    return kept


def is_complex(values: NDArray[Any]) -> bool:
    return values.dtype.kind == "c"


def is_finite(values: NDArray[Any]) -> bool:
    """True where every one of `values`, shape (n,), is finite."""
    if values.size == 1:
        return cmath.isfinite(values[0])
    # infinities and nan come through a sum of squares; so does overflow, which is looked into
    return cmath.isfinite(values.dot(values)) or bool(np.isfinite(values).all())


def real_values(wave: Trace) -> FloatArray:
    """Values of `wave`, shape (n,); magnitudes where they are complex."""
    y = wave.y
    return y if y.dtype.kind == "f" else magnitudes(wave) if is_complex(y) else y


@once_per_trace
def magnitudes(wave: Trace) -> FloatArray:
    """Magnitudes of `wave`, shape (n,)."""
    found: FloatArray = np.abs(wave.y)
    return found
