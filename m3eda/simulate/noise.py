"""Measures of noise spectra: spot and integrated noise, noise figure, corner of the 1/f noise.

Between two points a density is a power law of frequency: white and flicker noise are exact.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from m3eda.simulate.ac import RESPONSES, log_within
from m3eda.simulate.measures import measure
from m3eda.simulate.signals import MeasureUndefined, Trace

FloatArray = NDArray[np.float64]

BOLTZMANN = 1.380649e-23
"""J/K."""
REFERENCE = 290.0
"""K; temperature of the source in the definition of the noise figure (IEEE Std 686, IRE 1957)."""


def at_frequency(x: FloatArray, y: FloatArray, frequency: float) -> float:
    """`y` at `frequency` (Hz), on straight lines over log x. Raises MeasureUndefined outside."""
    if x.size < 2 or x[0] <= 0.0:
        raise MeasureUndefined("the sweep needs two points or more, all above 0 Hz")
    return float(np.interp(log_within(x, frequency), np.log(x), y))


def _log_density(density: Trace) -> FloatArray:
    return np.asarray(np.log(np.maximum(np.abs(density.y), 1e-150)))


def _area(x: FloatArray, power: FloatArray) -> float:
    """Integral of `power` over `x` (Hz), a power law between two points."""
    if x.size < 2 or x[0] <= 0.0:
        raise MeasureUndefined("the sweep needs two points or more, all above 0 Hz")
    # power per unit of log frequency
    power = power * x
    growth = np.diff(np.log(power))
    small = np.abs(growth) < 1e-6
    safe = np.where(small, 1.0, growth)
    mean = np.where(small, 0.5 * (power[1:] + power[:-1]), np.diff(power) / safe)
    return float(np.sum(mean * np.diff(np.log(x))))


@measure(analysis="noise", unit="V")
def integrated_noise(density: Trace) -> float:
    """RMS noise: root of the integral of the squared density over frequency."""
    return math.sqrt(_area(density.x, np.maximum(np.abs(density.y), 1e-150) ** 2))


@measure(analysis="noise")
def noise_density(density: Trace, frequency: float) -> float:
    """Noise density at `frequency` (Hz), in V/sqrt(Hz)."""
    return math.exp(at_frequency(density.x, _log_density(density), frequency))


@measure(analysis="noise", unit="Hz")
def noise_corner(density: Trace) -> float:
    """Frequency where the 1/f noise equals the white noise."""
    x, log_d = density.x, _log_density(density)
    lowest = int(np.argmin(log_d))
    if lowest == 0:
        raise MeasureUndefined("the density is lowest where the sweep begins: no 1/f noise")
    slope = (log_d[lowest] - log_d[lowest - 1]) / math.log(x[lowest] / x[lowest - 1])
    if lowest == x.size - 1 and slope < -0.025:
        raise MeasureUndefined(f"the density still falls at {x[-1]:.4g} Hz: no white noise to see")
    height = log_d - log_d[lowest] - 0.5 * math.log(2.0)
    above = np.flatnonzero(height[:lowest] > 0.0)
    if not above.size:
        raise MeasureUndefined(f"the 1/f noise is below the white noise from {x[0]:.4g} Hz on")
    i = int(above[-1])
    part = height[i] / (height[i] - height[i + 1])
    return float(x[i] * (x[i + 1] / x[i]) ** part)


@measure(analysis="noise", unit="dB")
def noise_figure(
    density: Trace,
    source_resistance: float,
    temperature: float,
    frequency: float | None = None,
) -> float:
    """Noise figure of input-referred noise, at `frequency` (Hz) or the worst of the window.

    `density` in V/sqrt(Hz) holds the noise of the source resistor (ohm), simulated at
    `temperature` (degrees C). That share is replaced by the resistor's noise at 290 K:
    F = 1 + (density^2 - 4 k T R) / (4 k 290 K R). Raises MeasureUndefined where the density is
    below that of the resistor alone.
    """
    if source_resistance <= 0.0 or temperature <= -273.15:
        raise MeasureUndefined("the source resistance and its temperature in kelvin must exceed 0")
    per_kelvin = 4.0 * BOLTZMANN * source_resistance
    log_power = 2.0 * _log_density(density)
    if frequency is None:
        power = math.exp(float(log_power.max()))
    else:
        power = math.exp(at_frequency(density.x, log_power, frequency))
    own = per_kelvin * (temperature + 273.15)
    if power < own * (1.0 - 1e-4):
        raise MeasureUndefined(
            f"the input-referred noise, {math.sqrt(power):.4g} V/sqrt(Hz), is below "
            f"{math.sqrt(own):.4g} of the source resistor alone at {temperature:.4g} degrees C: is "
            "it in the netlist, noisy, and simulated at that temperature (temperature=temp)?"
        )
    return 10.0 * math.log10(1.0 + max(power - own, 0.0) / (per_kelvin * REFERENCE))


@measure(analysis=RESPONSES, unit="Hz")
def noise_bandwidth(response: Trace) -> float:
    """Width of the ideal filter with the same peak that passes as much white noise."""
    if not np.any(response.y):
        raise MeasureUndefined(f"{response.name} is 0 at every frequency")
    power = np.maximum(np.abs(response.y), 1e-150) ** 2
    return _area(response.x, power) / float(power.max())
