"""Measures of the operating point: values, power, saturation."""

from __future__ import annotations

import numpy as np

from m3eda.simulate.measures import measure
from m3eda.simulate.signals import Device, MeasureUndefined, Trace


@measure(analysis="op")
def op(value: Trace) -> float:
    """Value at the operating point."""
    return float(np.real(value.y[0]))


@measure(analysis=("tran", "op"), unit="W")
def power(product: Trace) -> float:
    """Mean of a product of voltage and current: over the transient, else at the operating point."""
    y = np.real(product.y)
    if product.x.size == 1:
        return float(y[0])
    area = 0.5 * (y[1:] + y[:-1]) @ np.diff(product.x)
    return float(area / (product.x[-1] - product.x[0]))


@measure(device_values=("vds", "vdsat"), unit="V")
def saturation_margin(*devices: Device) -> float:
    """Smallest |vds| - |vdsat| of the transistors named, at the operating point."""
    if not devices:
        raise MeasureUndefined("saturation_margin names no device")
    return min(abs(each.value("vds")) - abs(each.value("vdsat")) for each in devices)
