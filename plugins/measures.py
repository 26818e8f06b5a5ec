"""The built-in measures, registered as any plugin's are."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from m3eda.hookspecs import hookimpl

MEASURES = {
    "ac": (
        "dc_gain",
        "gain_at",
        "peak_gain",
        "lowest_gain",
        "peaking",
        "unity_gain_frequency",
        "bandwidth_3db",
        "lower_corner_3db",
        "upper_corner_3db",
        "phase_margin",
        "gain_margin",
    ),
    "stability": ("loop_gain",),
    "rejection": (
        "psrr",
        "cmrr",
    ),
    "noise": (
        "integrated_noise",
        "noise_density",
        "noise_figure",
        "noise_corner",
        "noise_bandwidth",
    ),
    "sparameters": (
        "return_loss",
        "vswr",
        "stability_factor",
        "stability_mu",
    ),
    "transient": (
        "slew_rate",
        "rise_time",
        "fall_time",
        "settling_time",
        "delay",
        "overshoot",
        "undershoot",
        "average",
        "rms",
        "peak_to_peak",
        "minimum",
        "maximum",
        "value_at",
        "crossing",
    ),
    "oscillation": (
        "frequency",
        "period",
        "jitter",
        "duty_cycle",
        "ripple",
    ),
    "distortion": (
        "thd",
        "sfdr",
    ),
    "sweeps": (
        "offset",
        "incremental_gain",
        "output_swing",
        "input_range",
        "line_regulation",
        "load_regulation",
        "temperature_coefficient",
        "dropout_voltage",
    ),
    "operating_point": (
        "op",
        "power",
        "efficiency",
        "saturation_margin",
        "triode_margin",
        "gate_area",
    ),
}
"""Module in `m3eda.simulate` -> its functions."""


@hookimpl
def register_measures(register: Callable[[str, Callable[..., Any]], None]) -> None:
    for module, names in MEASURES.items():
        # imported here, not at the top: the help of the command line must not wait for numpy
        functions = import_module(f"m3eda.simulate.{module}")
        for name in names:
            register(name, getattr(functions, name))
