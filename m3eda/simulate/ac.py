"""Measures of frequency responses: gain, bandwidth, stability margins.

Between two points the logarithm of the magnitude and the phase are taken as straight lines over
the logarithm of frequency: local, and exact for a power law.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from m3eda.simulate.measures import measure
from m3eda.simulate.signals import MeasureUndefined, Trace
from m3eda.simulate.traces import magnitudes, once_per_trace
from m3eda.simulate.types import AnalysisKind

FloatArray = NDArray[np.float64]

RESPONSES: tuple[AnalysisKind, ...] = ("ac", "sp")
"""Analyses that give complex responses."""

OTHER = {b"\0": b"\1", b"\1": b"\0"}
"""False for True and the other way round, as NumPy stores them."""

LEAD_LIMIT = 60.0
"""Degrees by which phase may lead what the magnitude allows before poles count as unstable."""


class Bode:
    """A response over logarithmic axes, and what measures share of it."""

    __slots__ = ("grid", "log_f", "log_m", "phase", "unity")

    def __init__(self, response: Trace) -> None:
        if response.x.size < 2 or response.x[0] <= 0.0:
            raise MeasureUndefined("the AC sweep needs two points or more, all above 0 Hz")
        self.grid = _grid_of(response.x.tobytes())
        self.log_f = self.grid.log_f
        """Natural logarithm of the frequency in Hz, shape (n,)."""
        self.log_m: FloatArray = np.log(np.maximum(_magnitude(response), 1e-300))
        """Natural logarithm of the magnitude, shape (n,)."""
        self.unity: list[int] | None = None
        """Indices i where the magnitude passes 1 between i and i + 1, once looked for."""
        self.phase: FloatArray | None = None
        """Relative to DC in degrees, shape (n,), once computed."""


@once_per_trace
def _bode(response: Trace) -> Bode:
    return Bode(response)


def _magnitude(response: Trace) -> FloatArray:
    if response.y.dtype.kind != "c":
        raise _is_real(response)
    return magnitudes(response)


def _is_real(response: Trace) -> MeasureUndefined:
    return MeasureUndefined(
        f"{response.name} is real, and an AC measure wants the complex response: "
        "write db(dc_gain(v(out))), not dc_gain(db(v(out)))"
    )


def log_within(x: FloatArray, frequency: float) -> float:
    """Logarithm of `frequency` (Hz). Raises MeasureUndefined where it is outside the sweep `x`."""
    # ngspice multiplies its steps: a sweep to 1 GHz ends at 999999999.9
    if not x[0] * (1.0 - 1e-9) <= frequency <= x[-1] * (1.0 + 1e-9):
        raise MeasureUndefined(
            f"{frequency:.4g} Hz is outside the sweep, {x[0]:.4g} to {x[-1]:.4g}"
        )
    return math.log(frequency)


def _turns(height: FloatArray) -> list[int]:
    """Indices i where `height` changes sign between i and i + 1, either way, ascending."""
    above = (height >= 0.0).tobytes()
    turns: list[int] = []
    # to look for a byte takes a tenth of what comparing arrays does
    i = above.find(OTHER[above[:1]])
    while i > 0:
        turns.append(i - 1)
        i = above.find(OTHER[above[i : i + 1]], i)
    return turns


def _first_fall(height: FloatArray, turns: list[int]) -> int | None:
    """The first of `turns` where `height` goes from 0 or above to below 0."""
    for i in turns[:2]:  # up and down take turns: it is the first one or the second
        if height[i] >= 0.0:
            return i
    return None


def _unity(response: Trace, bode: Bode) -> list[int]:
    """Indices i where the magnitude passes 1 between i and i + 1; once at least it falls."""
    if bode.unity is None:
        bode.unity = _turns(bode.log_m)
    if _first_fall(bode.log_m, bode.unity) is None:
        raise _no_crossing(response)
    return bode.unity


def _between(values: FloatArray, height: FloatArray, i: int) -> float:
    """`values` where the line of `height` from point i to i + 1 is 0."""
    low, high = float(height[i]), float(height[i + 1])
    before = float(values[i])
    return before + low / (low - high) * (float(values[i + 1]) - before)


def unwrapped_phase(response: Trace) -> FloatArray:
    """Phase in degrees, shape (n,), each step from point to point within (-270, 90].

    A plain unwrap, with steps within 180 either way, turns a sharp pole pair on a coarse grid from
    a drop of 200 degrees into a lead of 160.
    """
    phase: FloatArray = np.arctan2(response.y.imag, response.y.real)
    phase *= 180.0 / math.pi
    steps = phase[1:] - phase[:-1]
    first = int(steps.argmax())
    if steps[first] > 90.0:  # most responses pass -180 degrees, and once
        phase[first + 1 :] -= 360.0
        steps[first] -= 360.0
        first = int(steps.argmax())
    if steps[first] > 90.0 or steps[steps.argmin()] <= -270.0:
        for i in ((steps > 90.0) | (steps <= -270.0)).nonzero()[0].tolist():
            phase[i + 1 :] -= math.copysign(360.0, steps[i])
    return phase


def _relative_phase(response: Trace, bode: Bode) -> FloatArray:
    """Unwrapped phase relative to the phase at DC, a multiple of 180 degrees.

    Raises MeasureUndefined where the response has poles in the right half plane.
    """
    if bode.phase is not None:
        return bode.phase
    log_f, log_m = bode.log_f, bode.log_m
    phase = unwrapped_phase(response)
    # -90 degrees at the first point is an integrator's lag where the magnitude falls, and a
    # coupling capacitor's lead on an inverting amplifier where it rises; -180 is the lag of two
    # integrators where it falls as theirs does
    slope = float(log_m[1] - log_m[0]) / float(log_f[1] - log_f[0])
    lowest = -45.0 if slope > 0.0 else -135.0 if slope > -1.5 else -225.0
    turns = math.ceil((float(phase[0]) - lowest) / 180.0) - 1
    if turns:
        phase = phase - 180.0 * turns
    _refuse_unstable(phase, bode.grid, log_m)
    bode.phase = phase
    return phase


def _refuse_unstable(phase: FloatArray, grid: Grid, log_m: FloatArray) -> None:
    """Bode's relation gives the phase of the minimum-phase network with this magnitude.

    Zeros in the right half plane and delays make the true phase lag behind it; only poles in the
    right half plane make it lead, by 180 degrees each above them (H. W. Bode, Network Analysis
    and Feedback Amplifier Design, 1945, chapter 14).
    """
    if grid.looked_at < 3:
        return
    if grid.thinning > 1:
        log_m, phase = log_m[:: grid.thinning], phase[:: grid.thinning]
    # nearly all responses stay below the limit wherever they are looked at
    lead = phase[1 : grid.looked_at : 3] - grid.every_third.dot(log_m)
    if lead[lead.argmax()] <= LEAD_LIMIT - 1e-6:
        return
    slopes = np.diff(log_m) / np.diff(grid.thinned)
    lead = (phase - np.degrees(grid.weights @ slopes))[: grid.looked_at]
    # an undersampled resonance disturbs one or two points, a pole all that follow
    steady = np.minimum(np.minimum(lead[:-2], lead[1:-1]), lead[2:])
    worst = float(steady.max())
    if worst > LEAD_LIMIT:
        raise MeasureUndefined(
            f"unstable: the phase leads by {worst:.0f} degrees what the gain allows, which only "
            "poles in the right half plane do"
        )


@lru_cache(maxsize=16)
def _grid_of(frequencies: bytes) -> Grid:
    return Grid(np.log(np.frombuffer(frequencies)))


@dataclass(frozen=True)
class Grid:
    """What measures need of the frequencies alone, kept from one run to the next."""

    log_f: FloatArray
    """Natural logarithms of the frequencies in Hz, shape (n,)."""

    @cached_property
    def thinning(self) -> int:
        """Bode's relation is taken at every so-manieth point."""
        return self.log_f.size // 400 + 1

    @cached_property
    def thinned(self) -> FloatArray:
        return self.log_f[:: self.thinning]

    @cached_property
    def looked_at(self) -> int:
        """Thinned points below the top, where the integral misses what lies beyond the sweep."""
        return int(np.count_nonzero(self.thinned <= self.thinned[-1] - math.log(3.0)))

    @cached_property
    def weights(self) -> FloatArray:
        """W, shape (m, m - 1): minimum phase in rad = W @ slopes of log magnitude over log f.

        The first and last slopes go on beyond the sweep.
        """
        distance = self.thinned[None, :] - self.thinned[:, None]
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

    @cached_property
    def every_third(self) -> FloatArray:
        """M: minimum phase in degrees at points 1, 4, 7... of those looked at = M @ log_m.

        Of three points in a row one is among them.
        """
        per_step = np.degrees(self.weights[1 : self.looked_at : 3]) / np.diff(self.thinned)
        minimum = np.zeros((per_step.shape[0], self.thinned.size))
        minimum[:, 1:] += per_step
        minimum[:, :-1] -= per_step
        return minimum


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
    if response.y.dtype.kind != "c":
        raise _is_real(response)
    return float(np.abs(response.y[0]))


@measure(analysis=RESPONSES, unit="V/V")
def gain_at(response: Trace, frequency: float) -> float:
    """Magnitude at `frequency` (Hz)."""
    bode = _bode(response)
    log_f, log_m = bode.log_f, bode.log_m
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
    bode = _bode(response)
    log_f, log_m = bode.log_f, bode.log_m
    if not response.y[0]:
        raise MeasureUndefined(f"{response.name} is 0 at {response.x[0]:.4g} Hz")
    peak = int(log_m.argmax())
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
    bode = _bode(response)
    turns = _unity(response, bode)
    first = turns[0] if bode.log_m[turns[0]] >= 0.0 else turns[1]
    return math.exp(_between(bode.log_f, bode.log_m, first))


@measure(analysis=RESPONSES, unit="Hz")
def bandwidth_3db(response: Trace) -> float:
    """Frequency where the magnitude first falls to 1/sqrt(2) of that at the lowest frequency."""
    bode = _bode(response)
    log_f, log_m = bode.log_f, bode.log_m
    height = log_m - log_m[0] + 0.5 * math.log(2.0)
    first = _first_fall(height, _turns(height))
    if first is None:
        raise MeasureUndefined(f"the gain does not fall by 3 dB up to {response.x[-1]:.4g} Hz")
    return math.exp(_between(log_f, height, first))


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
    bode = _bode(response)
    log_f, log_m = bode.log_f, bode.log_m
    peak = int(log_m.argmax())
    height = log_m - log_m[peak] + 0.5 * math.log(2.0)
    turns = _turns(height)
    near = [i for i in turns if i < peak][-1:] if up else [i for i in turns if i >= peak][:1]
    if not near:
        end = response.x[0] if up else response.x[-1]
        raise MeasureUndefined(
            f"the gain does not fall 3 dB below its peak {'down' if up else 'up'} to {end:.4g} Hz"
        )
    return math.exp(_between(log_f, height, near[0]))


@measure(analysis=RESPONSES, unit="deg")
def phase_margin(response: Trace) -> float:
    """180 degrees less the phase shift where the magnitude crosses 1; the worst crossing."""
    bode = _bode(response)
    crossings = _unity(response, bode)
    phase = _relative_phase(response, bode)
    worst = 0.0
    for i in crossings:
        worst = max(worst, abs(_between(phase, bode.log_m, i)))
    return 180.0 - worst


@measure(analysis=RESPONSES, unit="V/V")
def gain_margin(response: Trace) -> float:
    """1 / magnitude where the phase shift crosses 180 degrees; the worst crossing."""
    bode = _bode(response)
    log_m = bode.log_m
    _unity(response, bode)
    phase = _relative_phase(response, bode)
    losses: list[float] = []
    for half_turns in range(math.floor(phase.min() / 180.0), math.ceil(phase.max() / 180.0) + 1):
        if half_turns % 2:
            height = phase - 180.0 * half_turns
            losses.extend(-_between(log_m, height, i) for i in _turns(height))
    return math.exp(min(losses, default=-float(log_m[-1])))
