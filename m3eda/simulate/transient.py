"""Measures of transient waveforms: levels, edges, settling, averages.

Between two time points a waveform is a straight line; time steps may be uneven.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3eda.simulate.measures import measure
from m3eda.simulate.signals import MeasureUndefined, Trace
from m3eda.simulate.traces import once_per_trace, real_values

FloatArray = NDArray[np.float64]

EDGES = ("any", "fall", "rise")
FEW = 8
"""Crossings up to which each is computed by itself."""


def crossing_times(wave: Trace, level: float, edge: str = "any") -> FloatArray:
    """Every x, ascending, where `wave` passes `level`; `edge` is rise, fall or any.

    A point that lies exactly on the level belongs to the line that arrives there.
    """
    return np.array(_crossings(wave, level, edge))


def _crossings(wave: Trace, level: float, edge: str) -> list[float]:
    """As `crossing_times`: NumPy's overhead on a number or two is larger than Python's."""
    if edge not in EDGES:
        raise MeasureUndefined(f"no edge is called {edge!r} (known: any, fall, rise)")
    x, y = wave.x, real_values(wave)
    at = _passages(y, level, edge)
    if at.size > FEW:
        before, since = y[at], x[at]
        part = (level - before) / (y[at + 1] - before)
        many: list[float] = (since + part * (x[at + 1] - since)).tolist()
        return many
    times: list[float] = []
    for i in at.tolist():
        value, begin = float(y[i]), float(x[i])
        share = (level - value) / (float(y[i + 1]) - value)
        times.append(begin + share * (float(x[i + 1]) - begin))
    return times


def _passages(y: FloatArray, level: float, edge: str) -> NDArray[np.intp]:
    """Indices i where `y` arrives at `level` or beyond at i + 1, from one side of it at i."""
    if edge != "fall":
        below = y < level
        passes = below[:-1] > below[1:]
    if edge != "rise":
        above = y > level
        falls = above[:-1] > above[1:]
        passes = falls if edge == "fall" else passes | falls
    found: NDArray[np.intp] = passes.nonzero()[0]
    return found


def never_crosses(
    wave: Trace, level: float, edge: str = "any", after: str = ""
) -> MeasureUndefined:
    """The reason for a passage that is not there, with the range that `wave` covers."""
    y = real_values(wave)
    verb = {"rise": "rises through", "fall": "falls through"}.get(edge, "crosses")
    return MeasureUndefined(
        f"{wave.name} never {verb} {level:.4g}{after}: it covers {y.min():.4g} to {y.max():.4g}"
    )


@once_per_trace
def extremes(wave: Trace) -> tuple[float, float]:
    """The smallest value of `wave` and the largest."""
    y = real_values(wave)
    return float(y[y.argmin()]), float(y[y.argmax()])


@once_per_trace
def step_levels(wave: Trace) -> tuple[float, float]:
    """The two levels an edge runs between: the first value, and the level it steps to.

    That is the last value, or where the waveform comes back (a pulse), the median over time of
    what lies beyond half way to the extreme. Raises MeasureUndefined for a constant waveform.
    """
    y = real_values(wave)
    low, high = extremes(wave)
    swing = high - low
    if swing == 0.0:
        raise MeasureUndefined(f"{wave.name} does not move")
    first, last = float(y[0]), float(y[-1])
    if abs(last - first) >= 0.5 * swing:
        return first, last
    # where both are as far, the one that comes first
    extreme = float(y[np.abs(y - first).argmax()])
    beyond = np.abs(y[:-1] - first) > 0.5 * abs(extreme - first)
    values, weights = y[:-1][beyond], np.diff(wave.x)[beyond]
    if not values.size:
        return first, extreme
    order = np.argsort(values)
    share = np.cumsum(weights[order])
    return first, float(values[order][np.searchsorted(share, 0.5 * share[-1])])


def _step_to(wave: Trace, final: float | None) -> tuple[float, float]:
    """`step_levels`, or from the first value to `final`, which the waveform must come half way to.

    A dead output shows no overshoot of a step that it does not make.
    """
    first, other = step_levels(wave)
    if final is None:
        return first, other
    if final == first or np.max(np.sign(final - first) * (real_values(wave) - first)) < 0.5 * abs(
        final - first
    ):
        raise MeasureUndefined(
            f"{wave.name} makes no step to {final:.4g}: it begins at {first:.4g} and covers "
            f"{real_values(wave).min():.4g} to {real_values(wave).max():.4g}"
        )
    return first, final


def _edges(wave: Trace, lower: float, upper: float, sign: int) -> tuple[list[float], float]:
    """Durations of the rising (`sign` 1) or falling (-1) edges, and the height they climb."""
    low, high = sorted(step_levels(wave))
    height = high - low
    start, edge = (low, "rise") if sign > 0 else (high, "fall")
    durations: list[float] = []
    ends = _crossings(wave, start + sign * (upper * height), edge)
    starts = _crossings(wave, start + sign * (lower * height), edge) if ends else []
    earlier = 0
    for end in ends:
        begun = bisect_right(starts, end)
        # ringing passes the upper level again without a new start
        if begun > earlier:
            durations.append(end - starts[begun - 1])
            earlier = begun
    return durations, (upper - lower) * height


def _first_edge(wave: Trace, lower: float, upper: float, sign: int) -> float:
    durations, _ = _edges(wave, lower, upper, sign)
    if not durations:
        word = "rising" if sign > 0 else "falling"
        raise MeasureUndefined(
            f"{wave.name} has no {word} edge from {lower:.0%} to {upper:.0%} of its step"
        )
    return durations[0]


def duration(wave: Trace) -> float:
    """Length of `wave` in x. Raises MeasureUndefined for a single point."""
    span = float(wave.x[-1] - wave.x[0])
    if span <= 0.0:
        raise MeasureUndefined(f"{wave.name} has no duration: only one point")
    return span


@measure(analysis="tran", unit="V/s")
def slew_rate(wave: Trace, edge: str = "any", lower: float = 0.1, upper: float = 0.9) -> float:
    """Mean slope between 10 % and 90 % of the step; the slowest of the edges asked for."""
    if edge not in EDGES:
        raise MeasureUndefined(f"no edge is called {edge!r} (known: any, fall, rise)")
    slopes: list[float] = []
    for sign in {"any": (1, -1), "rise": (1,), "fall": (-1,)}[edge]:
        durations, height = _edges(wave, lower, upper, sign)
        slopes.extend(height / time for time in durations if time > 0.0)
    if not slopes:
        raise MeasureUndefined(
            f"{wave.name} has no edge from {lower:.0%} to {upper:.0%} of its step"
        )
    return min(slopes)


@measure(analysis="tran", unit="s")
def rise_time(wave: Trace, lower: float = 0.1, upper: float = 0.9) -> float:
    """Time the first rising edge takes from 10 % to 90 % of the step."""
    return _first_edge(wave, lower, upper, 1)


@measure(analysis="tran", unit="s")
def fall_time(wave: Trace, lower: float = 0.1, upper: float = 0.9) -> float:
    """Time the first falling edge takes from 90 % to 10 % of the step."""
    return _first_edge(wave, lower, upper, -1)


@measure(analysis="tran", unit="s")
def settling_time(
    wave: Trace, tolerance: float = 0.01, final: float | None = None, band: float | None = None
) -> float:
    """Time from `start` until the waveform enters the band around its end and stays there."""
    y = real_values(wave)
    span = duration(wave)
    end = float(y[-1]) if final is None else final
    band = tolerance * abs(end - float(y[0])) if band is None else abs(band)
    if band == 0.0:
        raise MeasureUndefined(f"{wave.name} ends where it began: there is no step to settle from")
    error = y - end
    i = (np.abs(error) > band).tobytes().rfind(b"\1")
    if i < 0:
        return 0.0
    if wave.x[min(i + 1, y.size - 1)] > wave.x[-1] - 0.1 * span or i == y.size - 1:
        raise MeasureUndefined(
            f"{wave.name} is not settled: outside the band of {band:.4g} around {end:.4g} "
            f"at {wave.x[i]:.4g} s, in the last tenth of the window"
        )
    before, after = float(error[i]), float(error[i + 1])
    part = (math.copysign(band, before) - before) / (after - before)
    since = float(wave.x[i])
    return since + part * (float(wave.x[i + 1]) - since) - float(wave.x[0])


@measure(analysis="tran", unit="s")
def delay(
    source: Trace,
    response: Trace,
    source_level: float | None = None,
    response_level: float | None = None,
    source_edge: str = "any",
    response_edge: str = "any",
) -> float:
    """Time from the first crossing of the first waveform to the next one of the second."""
    pairs = ((source, source_level, source_edge), (response, response_level, response_edge))
    since = -np.inf
    found: list[float] = []
    for wave, level, edge in pairs:
        at = sum(step_levels(wave)) / 2.0 if level is None else level
        times = crossing_times(wave, at, edge)
        times = times[times >= since]
        if not times.size:
            raise never_crosses(wave, at, edge, " afterwards" if found else "")
        since = float(times[0])
        found.append(since)
    return found[1] - found[0]


@measure(analysis="tran")
def overshoot(wave: Trace, final: float | None = None) -> float:
    """How far the waveform passes the level it steps to, as a fraction of the step."""
    first, other = _step_to(wave, final)
    direction = np.sign(other - first)
    beyond = float(np.max(direction * (real_values(wave) - other)))
    return max(beyond, 0.0) / abs(other - first)


@measure(analysis="tran")
def undershoot(wave: Trace, final: float | None = None) -> float:
    """How far the waveform swings back past the level it steps to, as a fraction of the step."""
    first, other = _step_to(wave, final)
    height = np.sign(other - first) * (real_values(wave) - first)
    step = abs(other - first)
    arrived = np.flatnonzero(height >= step)
    if not arrived.size:
        return 0.0
    held = height[arrived[0] :]
    left = np.flatnonzero(held < 0.5 * step)
    if left.size and held[-1] < 0.5 * step:
        # a pulse: what comes after its last moment at the top is its end, no undershoot
        top = np.flatnonzero(held[: left[0]] >= step)
        held = held[: top[-1] + 1]
    return max(float(step - held.min()), 0.0) / step


def mean_value(wave: Trace) -> float:
    """Mean over x of what lies between its points as straight lines."""
    y = real_values(wave)
    return float(0.5 * (y[1:] + y[:-1]) @ (wave.x[1:] - wave.x[:-1])) / duration(wave)


@measure(analysis=("tran", "dc"))
def average(wave: Trace) -> float:
    """Mean over time, by trapezoids."""
    return mean_value(wave)


@measure(analysis=("tran", "dc"))
def rms(wave: Trace) -> float:
    """Root of the mean square over time."""
    y = real_values(wave)
    a, b = y[:-1], y[1:]
    area = ((a * a + a * b + b * b) / 3.0) @ (wave.x[1:] - wave.x[:-1])
    return float(np.sqrt(area / duration(wave)))


@measure(analysis=("tran", "dc"))
def peak_to_peak(wave: Trace) -> float:
    """Largest value less the smallest."""
    low, high = extremes(wave)
    return high - low


@measure(analysis=("tran", "dc"))
def minimum(wave: Trace) -> float:
    """Smallest value."""
    return extremes(wave)[0]


@measure(analysis=("tran", "dc"))
def maximum(wave: Trace) -> float:
    """Largest value."""
    return extremes(wave)[1]


@measure(analysis=("tran", "dc", "ac", "noise"))
def value_at(wave: Trace, x: float) -> float:
    """Value at a time, a swept value or a frequency; the magnitude in an AC analysis."""
    x = wave.at_end(x)
    if not wave.x[0] <= x <= wave.x[-1]:
        raise MeasureUndefined(
            f"{x:.4g} is outside {wave.x[0]:.4g} to {wave.x[-1]:.4g}, where {wave.name} is known"
        )
    at: Any = x
    grid = wave.x
    if wave.kind in ("ac", "noise") and grid[0] > 0.0:
        at, grid = np.log(x), np.log(grid)
    return float(np.interp(at, grid, real_values(wave)))


@measure(analysis=("tran", "dc"))
def crossing(wave: Trace, level: float, n: int = 1, edge: str = "any") -> float:
    """Time, or swept value, of the n-th passage through `level`."""
    found = crossing_times(wave, level, edge)
    n = int(n)
    if not found.size:
        raise never_crosses(wave, level, edge)
    if not 1 <= n <= found.size:
        raise MeasureUndefined(f"{wave.name} crosses {level:.4g} {found.size} times, not {n}")
    return float(found[n - 1])
