"""The built-in measures, registered as any plugin's are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from m3eda.hookspecs import hookimpl
from m3eda.simulate import ac, operating_point, transient

MEASURES = (
    ac.dc_gain,
    ac.gain_at,
    ac.peak_gain,
    ac.unity_gain_frequency,
    ac.bandwidth_3db,
    ac.phase_margin,
    ac.gain_margin,
    ac.integrated_noise,
    transient.slew_rate,
    transient.rise_time,
    transient.fall_time,
    transient.settling_time,
    transient.delay,
    transient.overshoot,
    transient.average,
    transient.rms,
    transient.peak_to_peak,
    transient.minimum,
    transient.maximum,
    transient.value_at,
    transient.crossing,
    transient.frequency,
    operating_point.op,
    operating_point.power,
    operating_point.saturation_margin,
)


@hookimpl
def register_measures(register: Callable[[str, Callable[..., Any]], None]) -> None:
    for function in MEASURES:
        register(function.name, function)
