"""What the coarse model leaves to a simulator, as it would take too long or be too crude."""

from __future__ import annotations

import numpy as np

from m3eda.coarse.netlist import Analysis, Netlist
from m3eda.coarse.quantities import Unsupported
from m3eda.design.ranges import FloatArray

UNKNOWNS = 120
"""Voltages and currents; a sizing of so many takes 10 to 30 ms an analysis, and more by the third
power."""
VALUES = 400
"""Of a sweep."""
PERIODS = {"pulse": 20.0, "sin": 10.0}
"""Of a source in a transient."""


def check(netlist: Netlist, fills: FloatArray) -> None:
    """Raises Unsupported where decks with `fills`, shape (n, holes), are beyond the limits."""
    if netlist.size > UNKNOWNS:
        raise Unsupported(f"its {netlist.size} unknowns are too many")
    for each in netlist.analyses:
        if each.kind == "dc":
            first, last, step = (number.of(fills) for number in each.numbers)
            with np.errstate(all="ignore"):
                values = (last - first) / step
            if not (values >= 0.0).all() or values.max() > VALUES:
                raise Unsupported(f"{each.card.text} has too many values, or none")
        elif each.kind == "tran":
            _check_transient(netlist, each, fills)
        elif each.kind in ("ac", "sp", "noise"):
            _check_frequencies(each, fills)


def _check_frequencies(each: Analysis, fills: FloatArray) -> None:
    count, first, last = (number.of(fills) for number in each.numbers)
    least = 0.0 if each.steps == "lin" else np.finfo(float).tiny
    if (
        each.steps not in ("dec", "oct", "lin")
        or not ((count >= 1.0) & (first >= least) & (last >= first) & np.isfinite(last)).all()
    ):
        raise Unsupported(f"{each.card.text} has no frequencies")


def _check_transient(netlist: Netlist, each: Analysis, fills: FloatArray) -> None:
    end = each.numbers[1].of(fills)
    if not (end > 0.0).all():
        raise Unsupported(f"{each.card.text} has no end")
    for source in netlist.branches:
        if source.shape == "pwl" and (len(source.times) < 2 or len(source.times) % 2):
            raise Unsupported(f"{source.name} has a time without a value")
        if source.shape == "pulse" and len(source.times) > 6:
            length = source.times[6].of(fills)
            often = np.where(length > 0.0, end / np.where(length > 0.0, length, 1.0), 0.0)
        elif source.shape == "sin" and len(source.times) > 2:
            often = end * source.times[2].of(fills)
        else:
            continue
        if often.max() > PERIODS[source.shape]:
            raise Unsupported(f"{source.name} has too many periods")
