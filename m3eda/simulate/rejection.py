"""Rejection ratios: the gain for the signal over the gain for what must not come through.

Both gains may be measures (numbers, from two testbenches), or waveforms of one testbench that
holds the circuit twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from m3eda.design.functions import MeasureFunction
from m3eda.simulate.ac import RESPONSES, gain_at
from m3eda.simulate.signals import MeasureUndefined, Signal, Swept, Trace


def _rejection(function: Callable[..., Any]) -> MeasureFunction:
    # `measure` would refuse numbers for waveforms
    return MeasureFunction(function.__name__, function, "", "V/V", analyses=RESPONSES)


@_rejection
def psrr(
    gain: Any,
    supply_gain: Any,
    frequency: float | None = None,
    start: float | None = None,
    stop: float | None = None,
) -> Any:
    """Power supply rejection: the gain from the input over the gain from the supply.

    Of waveforms, at `frequency` (Hz), the smallest from `start` to `stop`, or that at the lowest
    frequency. Raises MeasureUndefined where the supply gain is 0.
    """
    return _ratio(gain, supply_gain, "supply", frequency, start, stop)


@_rejection
def cmrr(
    gain: Any,
    common_gain: Any,
    frequency: float | None = None,
    start: float | None = None,
    stop: float | None = None,
) -> Any:
    """Common-mode rejection: the differential gain over the common-mode gain.

    As `psrr`, with the gain from the common mode in place of that from the supply.
    """
    return _ratio(gain, common_gain, "common-mode", frequency, start, stop)


def _ratio(
    gain: Any,
    unwanted: Any,
    word: str,
    frequency: float | None,
    start: float | None,
    stop: float | None,
) -> Any:
    gain, unwanted = _signal(gain), _signal(unwanted)
    windowed = start is not None or stop is not None
    if not isinstance(unwanted, Signal) and unwanted == 0.0:
        raise MeasureUndefined(f"the {word} gain is 0: its rejection is infinite")
    ratio = abs(gain / unwanted)
    if isinstance(ratio, Swept) or not isinstance(ratio, Signal):
        if windowed or frequency is not None:
            raise MeasureUndefined("frequency, start and stop want waveforms, not measures")
        return ratio
    if (
        isinstance(unwanted, Signal)
        and not unwanted.trace(*RESPONSES, start=start, stop=stop).y.all()
    ):
        raise MeasureUndefined(f"the {word} gain is 0 at a frequency: its rejection is infinite")
    trace = (gain / unwanted).trace(*RESPONSES, start=start, stop=stop)
    if frequency is not None:
        return gain_at.function(trace, frequency)
    magnitude = np.abs(trace.y)
    return float(magnitude.min() if windowed else magnitude[0])


def _signal(given: Any) -> Any:
    """A number, or a Signal that arithmetic can be done with."""
    if isinstance(given, Trace):
        return Signal(given.name, lambda kind: given)
    if not isinstance(given, (int, float, Signal)):
        raise MeasureUndefined(f"wants a gain or a waveform such as v(out), and got {given!r}")
    return given
