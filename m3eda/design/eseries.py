"""Preferred values of resistors and capacitors: the E-series of IEC 60063."""

from __future__ import annotations

import math

_E24 = (100, 110, 120, 130, 150, 160, 180, 200, 220, 240, 270, 300,
        330, 360, 390, 430, 470, 510, 560, 620, 680, 750, 820, 910)  # fmt: skip

SERIES = ("E6", "E12", "E24", "E48", "E96", "E192")


def mantissas(series: str) -> tuple[int, ...]:
    """The values of one decade, times 100: E6 gives (100, 150, 220, 330, 470, 680).

    E6 to E24 are the standard's historic table. From E48 on the values are 10^(i/n) in three
    digits, but for 920 in E192, where rounding gives 919. Raises KeyError for an unknown series.
    """
    if series not in SERIES:
        raise KeyError(series)
    count = int(series[1:])
    if count <= 24:
        return _E24[:: 24 // count]
    values = [round(100.0 * 10.0 ** (index / count)) for index in range(count)]
    return tuple(920 if value == 919 else value for value in values)


def values_between(series: str, minimum: float, maximum: float) -> tuple[float, ...]:
    """The values of `series` within [minimum, maximum], both positive, rising.

    A bound that misses a value by rounding alone (1e-9 relative) includes it.
    """
    low, high = minimum * (1.0 - 1e-9), maximum * (1.0 + 1e-9)
    decades = range(math.floor(math.log10(low)) - 1, math.floor(math.log10(high)) + 1)
    values = (float(f"{m}e{decade - 2}") for decade in decades for m in mantissas(series))
    return tuple(value for value in values if low <= value <= high)
