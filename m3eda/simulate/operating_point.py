"""Measures of the operating point: values, power, efficiency, saturation, gate area."""

from __future__ import annotations

import numpy as np

from m3eda.simulate.measures import measure
from m3eda.simulate.signals import ELEMENTS, Device, MeasureUndefined, Trace, VectorMissing
from m3eda.simulate.transient import mean_value

STEADY = 0.01
"""Efficiency above 1 that the time steps may leave in a lossless converter."""


def _mean(wave: Trace) -> float:
    return float(np.real(wave.y[0])) if wave.x.size == 1 else mean_value(wave)


@measure(analysis="op")
def op(value: Trace) -> float:
    """Value at the operating point."""
    return float(np.real(value.y[0]))


@measure(analysis=("tran", "op"), unit="W")
def power(product: Trace) -> float:
    """Mean of a product of voltage and current: over the transient, else at the operating point."""
    return _mean(product)


@measure(analysis=("tran", "dc", "op"))
def efficiency(output: Trace, supply: Trace) -> float:
    """Mean of the power that comes out over the mean of the power that goes in."""
    if output.kind != supply.kind or not np.array_equal(output.x, supply.x):
        raise MeasureUndefined(f"{output.name} and {supply.name} come from different analyses")
    given, taken = _mean(output), _mean(supply)
    if taken <= 0.0:
        raise MeasureUndefined(
            f"{supply.name} is {taken:.4g} W on average, and must be above 0: the current of a "
            "source that delivers is negative"
        )
    if given > taken * (1.0 + STEADY):
        raise MeasureUndefined(
            f"more power comes out, {given:.4g} W, than goes in, {taken:.4g} W: what was stored at "
            "the start (begin later by start, and take whole periods) or a source left out"
        )
    return given / taken


def _named(devices: tuple[Device, ...], function: str) -> tuple[Device, ...]:
    if not devices:
        raise MeasureUndefined(f"{function} names no device")
    return devices


@measure(device_values=("vds", "vdsat"), unit="V")
def saturation_margin(*devices: Device) -> float:
    """Smallest |vds| - |vdsat| of the MOSFETs named, at the operating point."""
    named = _named(devices, "saturation_margin")
    return min(abs(each.value("vds")) - abs(each.value("vdsat")) for each in named)


@measure(device_values=("vds", "vdsat"), unit="V")
def triode_margin(*devices: Device) -> float:
    """Smallest |vdsat| - |vds| of the MOSFETs named, at the operating point."""
    named = _named(devices, "triode_margin")
    return min(abs(each.value("vdsat")) - abs(each.value("vds")) for each in named)


@measure(device_values=("w", "l", "m"), unit="m^2")
def gate_area(*devices: Device) -> float:
    """Sum of W * L * m of the MOSFETs named, as drawn."""
    named = _named(devices, "gate_area")
    for each in named:
        # ngspice knows a width and a length of resistors and capacitors too
        kind = ELEMENTS.get(each.name.rpartition(".")[2][:1].lower(), "MOSFET")
        if kind != "MOSFET":
            width = f"@{each.name}[w]"
            raise VectorMissing(f"{width} is no width of a gate: {each.name} is a {kind}", True)
    return sum(each.value("w") * each.value("l") * each.value("m") for each in named)
