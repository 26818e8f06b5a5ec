"""Measures over a DC sweep, or over a condition that a testbench is simulated at several values of.

x is the swept quantity, ascending, y the measured one; between two points the waveform is a
straight line.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from m3eda.simulate.measures import measure
from m3eda.simulate.oscillation import LEAST_SWING
from m3eda.simulate.signals import MeasureUndefined, Trace
from m3eda.simulate.traces import real_values
from m3eda.simulate.transient import crossing_times, never_crosses

FloatArray = NDArray[np.float64]

HALF_POWER = 0.7071
BOUNDS = ("width", "low", "high")
METHODS = ("end_points", "worst")


def _slopes(wave: Trace) -> FloatArray:
    """dy/dx at each point, shape (n,): the parabola through it and its neighbours."""
    _needs_two(wave)
    y = real_values(wave)
    slopes: FloatArray = np.gradient(y, wave.x, edge_order=2 if y.size > 2 else 1)
    return slopes


def _needs_two(wave: Trace) -> None:
    if wave.x.size < 2:
        raise MeasureUndefined(f"{wave.name} has one point: a sweep of two or more is needed")


def _range(low: float, high: float, bound: str) -> float:
    if bound not in BOUNDS:
        raise MeasureUndefined(f"no bound is called {bound!r} (known: {', '.join(BOUNDS)})")
    return {"width": high - low, "low": low, "high": high}[bound]


def _stretch(wave: Trace, height: FloatArray, at: int) -> tuple[float, float]:
    """Ends in x of the stretch around point `at` in which `height` stays at 0 or above."""
    below = np.flatnonzero(height < 0.0)
    ends: list[float] = []
    for outside, step, edge in (
        (below[below < at][-1:], 1, 0),
        (below[below > at][:1], -1, wave.x.size - 1),
    ):
        if not outside.size:
            ends.append(float(wave.x[edge]))
            continue
        i = int(outside[0])
        part = height[i] / (height[i] - height[i + step])
        ends.append(float(wave.x[i] + part * (wave.x[i + step] - wave.x[i])))
    return ends[0], ends[1]


@measure(analysis="dc")
def offset(response: Trace, level: float | None = None, center: float = 0.0) -> float:
    """Swept input at which the output crosses `level`, less `center`."""
    y = real_values(response)
    if level is None and np.ptp(y) <= LEAST_SWING * np.abs(y).max():
        # of a stuck output any point is half way, and mostly the centre of the sweep
        raise MeasureUndefined(
            f"{response.name} is stuck: it covers {y.min():.4g} to {y.max():.4g}"
        )
    at = 0.5 * float(y.max() + y.min()) if level is None else level
    times = crossing_times(response, at)
    if not times.size:
        raise never_crosses(response, at)
    if times.size > 1:
        raise MeasureUndefined(
            f"{response.name} crosses {at:.4g} {times.size} times, so no offset is clear "
            "(choose one by start and stop)"
        )
    return float(times[0]) - center


@measure(analysis="dc")
def incremental_gain(response: Trace, at: float | None = None) -> float:
    """Slope at the swept value `at`, with its sign; where none is given, the steepest slope."""
    slopes = _slopes(response)
    if at is None:
        return float(slopes[np.argmax(np.abs(slopes))])
    at = response.at_end(at)
    if not response.x[0] <= at <= response.x[-1]:
        raise MeasureUndefined(
            f"{at:.4g} is outside the sweep, {response.x[0]:.4g} to {response.x[-1]:.4g}"
        )
    return float(np.interp(at, response.x, slopes))


@measure(analysis="dc")
def output_swing(response: Trace, fraction: float = HALF_POWER, bound: str = "width") -> float:
    """Range of output around the steepest point in which the slope keeps `fraction` of it."""
    steepness = np.abs(_slopes(response))
    peak = int(np.argmax(steepness))
    if steepness[peak] == 0.0:
        raise MeasureUndefined(f"{response.name} does not move")
    ends = _stretch(response, steepness - fraction * steepness[peak], peak)
    outputs = np.interp(ends, response.x, real_values(response))
    return _range(float(outputs.min()), float(outputs.max()), bound)


@measure(analysis="dc")
def input_range(
    error: Trace, tolerance: float, reference: float = 0.0, bound: str = "width"
) -> float:
    """Widest range of the swept input in which the waveform stays near `reference`."""
    height = tolerance - np.abs(real_values(error) - reference)
    inside = np.flatnonzero(height >= 0.0)
    if not inside.size:
        y = real_values(error)
        raise MeasureUndefined(
            f"{error.name} is nowhere within {tolerance:.4g} of {reference:.4g}: it covers "
            f"{y.min():.4g} to {y.max():.4g}"
        )
    firsts = inside[np.flatnonzero(np.diff(inside, prepend=-2) > 1)]
    low, high = max((_stretch(error, height, int(i)) for i in firsts), key=lambda e: e[1] - e[0])
    return _range(low, high, bound)


def _regulation(output: Trace, method: str) -> float:
    _needs_two(output)
    y = real_values(output)
    if method == "end_points":
        return float(abs((y[-1] - y[0]) / (output.x[-1] - output.x[0])))
    if method == "worst":
        return float(np.max(np.abs(np.diff(y) / np.diff(output.x))))
    raise MeasureUndefined(f"no method is called {method!r} (known: {', '.join(METHODS)})")


@measure(analysis="dc")
def line_regulation(output: Trace, method: str = "end_points") -> float:
    """Change of the output per change of the swept supply, without its sign."""
    return _regulation(output, method)


@measure(analysis="dc")
def load_regulation(output: Trace, method: str = "end_points") -> float:
    """Change of the output per change of the swept load current, without its sign."""
    return _regulation(output, method)


@measure(analysis="dc", unit="1/K")
def temperature_coefficient(wave: Trace, at: float = 25.0) -> float:
    """Box method, 1/K: the range of values over the value at `at` and the range of temperature."""
    if wave.x.size < 3:
        # a bandgap's curve has the same value at both ends
        raise MeasureUndefined(f"{wave.name} has {wave.x.size} points: the box needs three or more")
    y = real_values(wave)
    at = wave.at_end(at)
    if not wave.x[0] <= at <= wave.x[-1]:
        raise MeasureUndefined(
            f"{at:.4g} is outside the sweep, {wave.x[0]:.4g} to {wave.x[-1]:.4g} "
            "(give at, the temperature of the nominal value)"
        )
    nominal = float(np.interp(at, wave.x, y))
    if nominal == 0.0:
        raise MeasureUndefined(f"{wave.name} is 0 at {at:.4g}, so nothing is relative to it")
    return float(np.ptp(y) / abs(nominal) / (wave.x[-1] - wave.x[0]))


@measure(analysis="dc", unit="V")
def dropout_voltage(output: Trace, supply: Trace, tolerance: float = 0.02) -> float:
    """Smallest supply less output at which the output is still near its value at full supply."""
    _needs_two(output)
    if not np.array_equal(output.x, supply.x):
        raise MeasureUndefined(f"{output.name} and {supply.name} come from different sweeps")
    out, vin = real_values(output), real_values(supply)
    full = int(np.argmax(vin))
    if full not in (0, vin.size - 1):
        raise MeasureUndefined(
            f"{supply.name} has its largest value within the sweep, not at its end"
        )
    near = full - 1 if full else 1
    if abs(out[full] - out[near]) > 0.5 * (vin[full] - vin[near]):
        raise MeasureUndefined(
            f"{output.name} follows {supply.name} at its largest value, {vin[full]:.4g}: "
            "nothing is regulated there"
        )
    height = tolerance * abs(out[full]) - np.abs(out - out[full])
    low, high = _stretch(output, height, full)
    edge = low if full else high
    dropout = float(np.interp(edge, supply.x, vin) - np.interp(edge, output.x, out))
    if dropout < 0.0:
        raise MeasureUndefined(
            f"{output.name} stays at {out[full]:.4g} down to a {supply.name} below it: "
            "that is no regulated output"
        )
    return dropout
