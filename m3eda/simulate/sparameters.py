"""Measures of S-parameters, as `s(2,1)`, all for the impedances of the ports.

Each takes the value at `frequency`, on straight lines over the logarithm of frequency, or else the
worst among the points of the window.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from m3eda.simulate.measures import measure
from m3eda.simulate.noise import at_frequency
from m3eda.simulate.signals import MeasureUndefined, Trace

FloatArray = NDArray[np.float64]


def _reflected(reflection: Trace, frequency: float | None) -> float:
    """Magnitude of a reflection coefficient, the largest where no frequency is given."""
    magnitude = np.abs(reflection.y)
    if frequency is None:
        return float(magnitude.max())
    log_m = np.log(np.maximum(magnitude, 1e-300))
    return float(np.exp(at_frequency(reflection.x, log_m, frequency)))


@measure(analysis="sp", unit="dB")
def return_loss(reflection: Trace, frequency: float | None = None) -> float:
    """-20 log10 of a reflection coefficient such as s(1,1), at `frequency` (Hz) or the worst."""
    magnitude = _reflected(reflection, frequency)
    if magnitude < 1e-300:
        raise MeasureUndefined(f"{reflection.name} is 0: the return loss is infinite")
    return -20.0 * float(np.log10(magnitude))


@measure(analysis="sp")
def vswr(reflection: Trace, frequency: float | None = None) -> float:
    """Voltage standing wave ratio of a reflection coefficient, at `frequency` (Hz) or the worst."""
    magnitude = _reflected(reflection, frequency)
    if magnitude >= 1.0:
        raise MeasureUndefined(f"{reflection.name} reflects all or more: {magnitude:.4g}")
    return (1.0 + magnitude) / (1.0 - magnitude)


@measure(analysis="sp")
def stability_factor(
    s11: Trace, s12: Trace, s21: Trace, s22: Trace, frequency: float | None = None
) -> float:
    """Rollett's K of a two-port, at `frequency` (Hz) or the smallest.

    K = (1 - |s11|^2 - |s22|^2 + |d|^2) / (2 |s12 s21|), d = s11 s22 - s12 s21: unconditionally
    stable where K > 1 and |d| < 1 (J. M. Rollett, Stability and Power-Gain Invariants of Linear
    Twoports, IRE Transactions on Circuit Theory 9(1), 1962). Raises MeasureUndefined where nothing
    comes back, and K is infinite.
    """
    both = np.abs(s12.y * s21.y)
    if not both.all():
        raise MeasureUndefined("nothing passes one way, so K is infinite: stability_mu is not")
    determinant = np.abs(s11.y * s22.y - s12.y * s21.y)
    factor = 1.0 - np.abs(s11.y) ** 2 - np.abs(s22.y) ** 2 + determinant**2
    return _worst(s11, factor / (2.0 * both), frequency)


@measure(analysis="sp")
def stability_mu(
    s11: Trace, s12: Trace, s21: Trace, s22: Trace, frequency: float | None = None
) -> float:
    """Distance of the nearest unstable load from the Smith chart's centre, smallest or at a point.

    mu = (1 - |s11|^2) / (|s22 - d s11*| + |s12 s21|), d = s11 s22 - s12 s21; unconditionally
    stable where above 1 (M. L. Edwards and J. H. Sinsky, A New Criterion for Linear 2-Port
    Stability Using a Single Geometrically Derived Parameter, IEEE Transactions on Microwave Theory
    and Techniques 40(12), 1992). Raises MeasureUndefined where it is infinite.
    """
    determinant = s11.y * s22.y - s12.y * s21.y
    below = np.abs(s22.y - determinant * np.conj(s11.y)) + np.abs(s12.y * s21.y)
    if not below.all():
        raise MeasureUndefined("the output is matched and nothing comes back: mu is infinite")
    return _worst(s11, (1.0 - np.abs(s11.y) ** 2) / below, frequency)


def _worst(s11: Trace, values: FloatArray, frequency: float | None) -> float:
    if frequency is None:
        return float(values.min())
    return at_frequency(s11.x, values, frequency)
