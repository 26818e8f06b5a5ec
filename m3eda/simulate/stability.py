"""The loop gain of a closed feedback loop, from the two injections of a probe."""

from __future__ import annotations

from typing import Any

import numpy as np

from m3eda.simulate.measures import measure
from m3eda.simulate.signals import MeasureUndefined, Signal, Trace


@measure(analysis="ac", unit="V/V")
def loop_gain(voltage_v: Trace, current_v: Trace, voltage_i: Trace, current_i: Trace) -> Any:
    """The loop gain as a waveform, positive at DC where the feedback is negative.

    `voltage_v` and `current_v`: the voltage of the probe's plus end (V) and the current through
    the probe from plus to minus (A) where a voltage of 1 V is injected, plus over minus;
    `voltage_i` and `current_i` the same where a current of 1 A is injected into the plus end and
    the probe is a short. Exact for loops that conduct in both directions and load each other:
    M. Tian, V. Visvanathan, J. Hantgan and K. Kundert, Striving for Small-Signal Stability, IEEE
    Circuits and Devices Magazine 17(1), 2001, pages 31 to 41; for a network cut into the two-port
    Y it is (Y12 + Y21) / (Y11 + Y22).

    Raises MeasureUndefined where the loop gain is not finite, and where the feedback at DC is
    positive with a loop gain above 1, since such a loop latches whatever its phase margin.
    """
    traces = (voltage_v, current_v, voltage_i, current_i)
    if any(not np.array_equal(trace.x, voltage_v.x) for trace in traces):
        raise MeasureUndefined("the probe's four waveforms come from different analyses")
    v_v, i_v, v_i, i_i = (trace.y for trace in traces)
    share = 2.0 * (i_v * v_i - v_v * i_i) + v_v + i_i
    with np.errstate(all="ignore"):
        loop = share / (1.0 - share)
    if not np.isfinite(loop).all():
        raise MeasureUndefined("the loop gain is not finite: is the probe in a loop, with ac 1?")
    trace = Trace(voltage_v.x, loop, "ac", "loop_gain")
    _refuse_latch(trace)
    return Signal(trace.name, lambda kind: trace)


def _refuse_latch(loop: Trace) -> None:
    first = complex(loop.y[0])
    if loop.y.size < 2 or abs(first) < 1.0 or abs(np.angle(-first)) > np.radians(30.0):
        return
    # two integrators are at -180 degrees too, but fall from there
    slope = np.log(abs(loop.y[1] / first)) / np.log(loop.x[1] / loop.x[0])
    if abs(slope) < 0.5:
        raise MeasureUndefined(
            f"the feedback is positive: the loop gain is {first.real:.4g} at {loop.x[0]:.4g} Hz"
        )
