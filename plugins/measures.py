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
        "unity_gain_frequency",
        "bandwidth_3db",
        "phase_margin",
        "gain_margin",
        "integrated_noise",
    ),
    "transient": (
        "slew_rate",
        "rise_time",
        "fall_time",
        "settling_time",
        "delay",
        "overshoot",
        "average",
        "rms",
        "peak_to_peak",
        "minimum",
        "maximum",
        "value_at",
        "crossing",
        "frequency",
    ),
    "operating_point": (
        "op",
        "power",
        "saturation_margin",
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
