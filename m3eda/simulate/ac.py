"""Measures of frequency responses: gain, bandwidth, stability margins.

Between two points the logarithm of the magnitude and the phase are taken as straight lines over
the logarithm of frequency: local, and exact for a power law.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3eda.simulate.measures import measure
from m3eda.simulate.signals import MeasureUndefined, Trace
from m3eda.simulate.types import AnalysisKind

FloatArray = NDArray[np.float64]

RESPONSES: tuple[AnalysisKind, ...] = ("ac", "sp")
"""Analyses that give complex responses."""

LEAD_LIMIT = 60.0
"""Degrees by which phase may lead what the magnitude allows before poles count as unstable."""


def _bode(response: Trace) -> tuple[FloatArray, FloatArray]:
    """Natural logarithms of frequency and magnitude, shape (n,) each."""
    if response.x.size < 2 or response.x[0] <= 0.0:
        raise MeasureUndefined("the AC sweep needs two points or more, all above 0 Hz")
    return np.log(response.x), np.log(np.maximum(_magnitude(response), 1e-300))


def _magnitude(response: Trace) -> FloatArray:
    if not np.iscomplexobj(response.y):
        raise MeasureUndefined(
            f"{response.name} is real, and an AC measure wants the complex response: "
            "write db(dc_gain(v(out))), not dc_gain(db(v(out)))"
        )
    return np.asarray(np.abs(response.y))


def log_within(x: FloatArray, frequency: float) -> float:
    """Logarithm of `frequency` (Hz). Raises MeasureUndefined where it is outside the sweep `x`."""
    # ngspice multiplies its steps: a sweep to 1 GHz ends at 999999999.9
    if not x[0] * (1.0 - 1e-9) <= frequency <= x[-1] * (1.0 + 1e-9):
        raise MeasureUndefined(
            f"{frequency:.4g} Hz is outside the sweep, {x[0]:.4g} to {x[-1]:.4g}"
        )
    return math.log(frequency)


def _falls(height: FloatArray) -> NDArray[np.intp]:
    """Indices i where `height` goes from 0 or above at i to below 0 at i + 1."""
    return np.flatnonzero((height[:-1] >= 0.0) & (height[1:] < 0.0))


def _turns(height: FloatArray) -> NDArray[np.intp]:
    """Indices i where `height` changes sign between i and i + 1, either way."""
    above = height >= 0.0
    return np.flatnonzero(above[:-1] != above[1:])


def _between(values: FloatArray, height: FloatArray, i: Any) -> Any:
    """`values` where the line of `height` from point i to i + 1 is 0; vectorised over i."""
    part = height[i] / (height[i] - height[i + 1])
    return values[i] + part * (values[i + 1] - values[i])


def unwrapped_phase(response: Trace) -> FloatArray:
    """Phase in degrees, shape (n,), each step from point to point within (-270, 90].

    A plain unwrap, with steps within 180 either way, turns a sharp pole pair on a coarse grid from
    a drop of 200 degrees into a lead of 160.
    """
    angle = np.degrees(np.angle(response.y))
    steps = 90.0 - np.mod(90.0 - np.diff(angle), 360.0)
    return np.asarray(angle[0] + np.concatenate([[0.0], np.cumsum(steps)]))


def _relative_phase(response: Trace, log_f: FloatArray, log_m: FloatArray) -> FloatArray:
    """Unwrapped phase relative to the phase at DC, a multiple of 180 degrees.

    Raises MeasureUndefined where the response has poles in the right half plane.
    """
    phase = unwrapped_phase(response)
    # -90 degrees at the first point is an integrator's lag where the magnitude falls, and a
    # coupling capacitor's lead on an inverting amplifier where it rises; -180 is the lag of two
    # integrators where it falls as theirs does
    slope = (log_m[1] - log_m[0]) / (log_f[1] - log_f[0])
    lowest = -45.0 if slope > 0.0 else -135.0 if slope > -1.5 else -225.0
    phase -= 180.0 * (math.ceil((phase[0] - lowest) / 180.0) - 1)
    _refuse_unstable(phase, log_f, log_m)
    return phase


def _refuse_unstable(phase: FloatArray, log_f: FloatArray, log_m: FloatArray) -> None:
    """Bode's relation gives the phase of the minimum-phase network with this magnitude.

    Zeros in the right half plane and delays make the true phase lag behind it; only poles in the
    right half plane make it lead, by 180 degrees each above them (H. W. Bode, Network Analysis
    and Feedback Amplifier Design, 1945, chapter 14).
    """
    thin = slice(None, None, log_f.size // 400 + 1)
    phase, log_f, log_m = phase[thin], log_f[thin], log_m[thin]
    slopes = np.diff(log_m) / np.diff(log_f)
    lead = phase - np.degrees(_bode_weights(log_f.tobytes()) @ slopes)
    # near the top the integral misses what lies beyond the sweep
    lead = lead[log_f <= log_f[-1] - math.log(3.0)]
    if lead.size < 3:
        return
    # an undersampled resonance disturbs one or two points, a pole all that follow
    steady = np.minimum(np.minimum(lead[:-2], lead[1:-1]), lead[2:])
    worst = float(steady.max())
    if worst > LEAD_LIMIT:
        raise MeasureUndefined(
            f"unstable: the phase leads by {worst:.0f} degrees what the gain allows, which only "
            "poles in the right half plane do"
        )


@lru_cache(maxsize=16)
def _bode_weights(grid: bytes) -> FloatArray:
    """W, shape (n, n - 1): minimum phase in rad = W @ slopes of log magnitude over log frequency.

    The first and last slopes go on beyond the sweep. `grid` is the bytes of log frequency.
    """
    log_f = np.frombuffer(grid)
    distance = log_f[None, :] - log_f[:, None]
    # the integral of ln coth(u/2) from 0, by its series in odd powers of exp(-u)
    decay = np.exp(-np.abs(distance))
    power, total, whole = decay, np.zeros_like(decay), 0.0
    for odd in range(1, 80, 2):
        total += (1.0 - power) / odd**2
        whole += 1.0 / odd**2
        power = power * decay**2
    integral = (np.pi**2 / 4.0) * np.sign(distance) * total / whole
    integral[:, 0], integral[:, -1] = -(np.pi**2) / 4.0, np.pi**2 / 4.0
    weights: FloatArray = np.diff(integral, axis=1) / np.pi
    return weights


def _no_crossing(response: Trace) -> MeasureUndefined:
    magnitude = _magnitude(response)
    peak = int(np.argmax(magnitude))
    if magnitude[peak] < 1.0:
        return MeasureUndefined(
            f"the gain never reaches 1: at most {magnitude[peak]:.4g} at {response.x[peak]:.4g} Hz"
        )
    return MeasureUndefined(
        f"the gain is still {magnitude[-1]:.4g} at {response.x[-1]:.4g} Hz, where the sweep ends"
    )


@measure(analysis=RESPONSES, unit="V/V")
def dc_gain(response: Trace) -> float:
    """Magnitude at the lowest frequency of the AC sweep."""
    return float(_magnitude(response)[0])


@measure(analysis=RESPONSES, unit="V/V")
def gain_at(response: Trace, frequency: float) -> float:
    """Magnitude at `frequency` (Hz)."""
    log_f, log_m = _bode(response)
    at = log_within(response.x, frequency)
    if not np.any(response.y):
        return 0.0
    return float(np.exp(np.interp(at, log_f, log_m)))


@measure(analysis=RESPONSES, unit="V/V")
def peak_gain(response: Trace) -> float:
    """Largest magnitude in the AC sweep."""
    return float(_magnitude(response).max())


@measure(analysis=RESPONSES, unit="V/V")
def lowest_gain(response: Trace) -> float:
    """Smallest magnitude in the AC sweep."""
    return float(_magnitude(response).min())


@measure(analysis=RESPONSES, unit="V/V")
def peaking(response: Trace) -> float:
    """Largest magnitude over that at the lowest frequency; 1 where nothing exceeds it."""
    log_f, log_m = _bode(response)
    if not response.y[0]:
        raise MeasureUndefined(f"{response.name} is 0 at {response.x[0]:.4g} Hz")
    peak = int(np.argmax(log_m))
    if peak == 0:
        return 1.0
    if peak == log_m.size - 1:
        raise MeasureUndefined(f"the gain still rises at {response.x[-1]:.4g} Hz: no peak")
    # the top of the parabola through the largest point and its neighbours
    left, right = log_f[peak - 1] - log_f[peak], log_f[peak + 1] - log_f[peak]
    down, up = log_m[peak - 1] - log_m[peak], log_m[peak + 1] - log_m[peak]
    slope = (down * right**2 - up * left**2) / (left * right * (right - left))
    bend = (up * left - down * right) / (left * right * (right - left))
    above = 0.0 if bend == 0.0 else -(slope**2) / (4.0 * bend)
    return float(np.exp(log_m[peak] + above - log_m[0]))


@measure(analysis=RESPONSES, unit="Hz")
def unity_gain_frequency(response: Trace) -> float:
    """Frequency where the magnitude first falls through 1."""
    log_f, log_m = _bode(response)
    falls = _falls(log_m)
    if not falls.size:
        raise _no_crossing(response)
    return float(np.exp(_between(log_f, log_m, falls[0])))


@measure(analysis=RESPONSES, unit="Hz")
def bandwidth_3db(response: Trace) -> float:
    """Frequency where the magnitude first falls to 1/sqrt(2) of that at the lowest frequency."""
    log_f, log_m = _bode(response)
    height = log_m - log_m[0] + 0.5 * math.log(2.0)
    falls = _falls(height)
    if not falls.size:
        raise MeasureUndefined(f"the gain does not fall by 3 dB up to {response.x[-1]:.4g} Hz")
    return float(np.exp(_between(log_f, height, falls[0])))


@measure(analysis=RESPONSES, unit="Hz")
def lower_corner_3db(response: Trace) -> float:
    """Frequency below the peak where the magnitude is 1/sqrt(2) of the peak."""
    return _corner(response, up=True)


@measure(analysis=RESPONSES, unit="Hz")
def upper_corner_3db(response: Trace) -> float:
    """Frequency above the peak where the magnitude is 1/sqrt(2) of the peak."""
    return _corner(response, up=False)


def _corner(response: Trace, up: bool) -> float:
    """Where the magnitude last rises to, or first falls from, the half power of its peak."""
    log_f, log_m = _bode(response)
    peak = int(np.argmax(log_m))
    height = log_m - log_m[peak] + 0.5 * math.log(2.0)
    turns = _turns(height)
    near = turns[turns < peak][-1:] if up else turns[turns >= peak][:1]
    if not near.size:
        end = response.x[0] if up else response.x[-1]
        raise MeasureUndefined(
            f"the gain does not fall 3 dB below its peak {'down' if up else 'up'} to {end:.4g} Hz"
        )
    return float(np.exp(_between(log_f, height, near[0])))


@measure(analysis=RESPONSES, unit="deg")
def phase_margin(response: Trace) -> float:
    """180 degrees less the phase shift where the magnitude crosses 1; the worst crossing."""
    log_f, log_m = _bode(response)
    crossings = _turns(log_m)
    if not _falls(log_m).size:
        raise _no_crossing(response)
    phase = _relative_phase(response, log_f, log_m)
    return float(np.min(180.0 - np.abs(_between(phase, log_m, crossings))))


@measure(analysis=RESPONSES, unit="V/V")
def gain_margin(response: Trace) -> float:
    """1 / magnitude where the phase shift crosses 180 degrees; the worst crossing."""
    log_f, log_m = _bode(response)
    if not _falls(log_m).size:
        raise _no_crossing(response)
    phase = _relative_phase(response, log_f, log_m)
    losses: list[float] = []
    for half_turns in range(math.floor(phase.min() / 180.0), math.ceil(phase.max() / 180.0) + 1):
        if half_turns % 2:
            height = phase - 180.0 * half_turns
            losses.extend(-_between(log_m, height, _turns(height)))
    return float(np.exp(min(losses, default=-log_m[-1])))
