"""Measures of a sine test: harmonics of the transient's last whole periods."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from m3eda.simulate.measures import measure
from m3eda.simulate.oscillation import mean_period, rising_passages
from m3eda.simulate.signals import MeasureUndefined, Trace
from m3eda.simulate.traces import real_values
from m3eda.simulate.transient import duration

FloatArray = NDArray[np.float64]

MOST_POINTS = 2**22
"""Points of the uniform grid at most: 32 MB."""
SMOOTH = 0.01
"""Two interpolations this near, relative to the peak-to-peak value, show a smooth waveform."""


def _resampled(wave: Trace, at: FloatArray) -> FloatArray:
    """`wave` at the times `at`: by a cubic spline where it is smooth, else by Akima's method.

    The spline leaves 3e-7 of distortion in a sine of 100 uneven points a period, where Akima's
    and straight lines leave 1e-5, but it overshoots without bound beside fast edges.
    """
    # imported here: only designs with a sine test wait for it
    from scipy.interpolate import Akima1DInterpolator, CubicSpline

    y = real_values(wave)
    later = np.concatenate([[True], np.diff(wave.x) > 0.0])
    x, y = wave.x[later], y[later]
    robust = np.asarray(Akima1DInterpolator(x, y)(at))
    smooth = np.asarray(CubicSpline(x, y)(at))
    near = np.max(np.abs(smooth - robust)) <= SMOOTH * np.ptp(y)
    return smooth if near else robust


def _spectrum(
    wave: Trace, fundamental: float | None, harmonics: int, periods: int | None
) -> tuple[FloatArray, int]:
    """Amplitudes of the last whole periods from DC on, and the index of the fundamental.

    That index is the number of periods. Raises MeasureUndefined where there is no whole period, or
    too few points in one for `harmonics`.
    """
    if fundamental is None:
        times = rising_passages(wave)
        cycle = mean_period(times)
    elif fundamental > 0.0:
        cycle = 1.0 / fundamental
    else:
        raise MeasureUndefined(f"no sine has the frequency {fundamental:.4g} Hz")
    whole = int(duration(wave) / cycle * (1.0 + 1e-9))
    count = whole if periods is None else int(periods)
    if not 1 <= count <= whole:
        raise MeasureUndefined(
            f"{wave.name} lasts {duration(wave):.4g} s: {whole} whole periods of {cycle:.4g} s, "
            f"not {max(count, 1)}"
        )
    begin = float(wave.x[-1]) - count * cycle
    points = np.count_nonzero(wave.x > begin) / count
    if points <= 2 * harmonics:
        raise MeasureUndefined(
            f"{wave.name} has {points:.3g} points a period, too few for {harmonics} harmonics "
            "(lessen the largest time step)"
        )
    size = min(2 ** int(np.ceil(np.log2(max(1024.0, 2.0 * points)))), MOST_POINTS // count)
    grid = begin + np.arange(count * size) * (cycle / size)
    values = _resampled(wave, np.clip(grid, wave.x[0], wave.x[-1]))
    amplitudes = np.abs(np.fft.rfft(values)) * (2.0 / values.size)
    if amplitudes[count] <= 1e-12 * np.max(np.abs(values)):
        raise MeasureUndefined(f"{wave.name} has nothing at {1.0 / cycle:.4g} Hz")
    return amplitudes, count


@measure(analysis="tran")
def thd(
    wave: Trace, fundamental: float | None = None, harmonics: int = 9, periods: int = 1
) -> float:
    """Total harmonic distortion: rms of the harmonics from the second, over the fundamental."""
    last = int(harmonics)
    if last < 2:
        raise MeasureUndefined(f"harmonics={last} leaves out the second")
    amplitudes, base = _spectrum(wave, fundamental, last, periods)
    return float(np.linalg.norm(amplitudes[2 * base : last * base + 1 : base]) / amplitudes[base])


@measure(analysis="tran")
def sfdr(wave: Trace, fundamental: float | None = None, periods: int | None = None) -> float:
    """Spurious-free dynamic range: the fundamental over the largest other line, DC apart."""
    amplitudes, base = _spectrum(wave, fundamental, 2, periods)
    others = np.delete(amplitudes, [0, base])
    return float(amplitudes[base] / max(float(others.max()), 1e-300))
