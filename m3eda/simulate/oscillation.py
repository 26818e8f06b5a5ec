"""Measures of what repeats: frequency, period, its jitter, duty cycle, ripple.

A period runs from one rising passage of a level to the next. The passage is found on the straight
line between two time points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from m3eda.simulate.measures import measure
from m3eda.simulate.signals import MeasureUndefined, Trace
from m3eda.simulate.traces import real_values
from m3eda.simulate.transient import average, crossing_times, duration

FloatArray = NDArray[np.float64]

LEAST_SWING = 1e-3
"""An oscillation's least peak-to-peak value, relative to the largest magnitude: below is noise."""
LEAST_LEFT = 0.5
"""Share of its largest swing that an oscillation has in its last periods at least."""
STATISTICS = ("rms", "peak_to_peak")


def rising_passages(wave: Trace, level: float | None = None) -> FloatArray:
    """Times in s, three or more, at which an oscillation rises through `level`.

    Where `level` is None, that is half way between the extremes. Raises MeasureUndefined where the
    waveform does not oscillate, stops before its end or dies away.
    """
    y = real_values(wave)
    middle = 0.5 * float(y.max() + y.min()) if level is None else level
    if np.ptp(y) <= LEAST_SWING * np.abs(y).max():
        raise MeasureUndefined(f"{wave.name} does not oscillate: it moves by {np.ptp(y):.4g} only")
    times = crossing_times(wave, middle, "rise")
    if times.size < 3:
        raise MeasureUndefined(
            f"{wave.name} rises through {middle:.4g} {times.size} times; two periods need three "
            f"(it covers {y.min():.4g} to {y.max():.4g})"
        )
    if wave.x[-1] - times[-1] > 1.5 * mean_period(times):
        raise MeasureUndefined(f"{wave.name} stops oscillating at {times[-1]:.4g} s")
    _refuse_decay(wave, times)
    return times


def mean_period(times: FloatArray) -> float:
    """Mean of the periods between passages at `times`, in s."""
    return float(times[-1] - times[0]) / (times.size - 1)


def _refuse_decay(wave: Trace, times: FloatArray) -> None:
    """A circuit that rings down passes its final value to the end, however small its swing."""
    y = real_values(wave)
    begins = np.searchsorted(wave.x, times)
    held, begins = y[: begins[-1]], begins[:-1]
    swings = np.maximum.reduceat(held, begins) - np.minimum.reduceat(held, begins)
    last = float(swings[-2:].max())
    if last < LEAST_LEFT * float(swings.max()):
        raise MeasureUndefined(
            f"{wave.name} dies away: it moves by {swings.max():.4g} in one period and by "
            f"{last:.4g} in the last (leave out the start-up by start)"
        )


@measure(analysis="tran", unit="Hz")
def frequency(wave: Trace, level: float | None = None) -> float:
    """Frequency of an oscillation that lasts to the end, from its rising crossings."""
    return 1.0 / mean_period(rising_passages(wave, level))


@measure(analysis="tran", unit="s")
def period(wave: Trace, level: float | None = None) -> float:
    """Mean period of an oscillation that lasts to the end, from its rising crossings."""
    return mean_period(rising_passages(wave, level))


@measure(analysis="tran", unit="s")
def jitter(wave: Trace, level: float | None = None, statistic: str = "rms") -> float:
    """Standard deviation of the periods, or their range: `statistic` is rms or peak_to_peak."""
    if statistic not in STATISTICS:
        raise MeasureUndefined(
            f"no statistic is called {statistic!r} (known: {', '.join(STATISTICS)})"
        )
    periods = np.diff(rising_passages(wave, level))
    return float(np.ptp(periods) if statistic == "peak_to_peak" else np.std(periods, ddof=1))


@measure(analysis="tran")
def duty_cycle(wave: Trace, level: float | None = None) -> float:
    """Share of the time that the waveform is above `level`, over whole periods."""
    y = real_values(wave)
    middle = 0.5 * float(y.max() + y.min()) if level is None else level
    rises = rising_passages(wave, middle)
    whole = wave.window(float(rises[0]), float(rises[-1]))
    height = real_values(whole) - middle
    above = np.maximum(height, 0.0)
    size = np.abs(height[:-1]) + np.abs(height[1:])
    # on a straight line the time above is as the height above
    share = (above[:-1] + above[1:]) / np.where(size > 0.0, size, 1.0)
    return float(share @ np.diff(whole.x)) / duration(whole)


@measure(analysis="tran")
def ripple(wave: Trace, frequency: float | None = None, tolerance: float = 0.1) -> float:
    """Peak-to-peak value over the last period, once the waveform repeats itself."""
    if frequency is None:
        times = rising_passages(wave.window(float(wave.x[-1]) - 0.5 * duration(wave), None))
        cycle = mean_period(times)
    else:
        cycle = 1.0 / frequency if frequency > 0.0 else np.inf
    end = float(wave.x[-1])
    if duration(wave) < 2.0 * cycle:
        raise MeasureUndefined(
            f"{wave.name} lasts {duration(wave):.4g} s, and two periods need {2.0 * cycle:.4g} s"
        )
    last, before = wave.window(end - cycle, None), wave.window(end - 2.0 * cycle, end - cycle)
    height = float(np.ptp(real_values(last)))
    drift = abs(average.function(last) - average.function(before))
    if drift > tolerance * height:
        raise MeasureUndefined(
            f"{wave.name} is not steady: its mean moves by {drift:.4g} from the last period but "
            f"one to the last, whose ripple is {height:.4g} (simulate longer)"
        )
    return height
