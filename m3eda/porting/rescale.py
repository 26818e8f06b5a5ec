"""Sizes of another technology at which each transistor keeps its current and its gm/Id.

A transistor in saturation gets the width at which the current of before gives the gm/Id of before,
by the tables of both technologies. What a width is made of is traced by decks with one parameter
moved. Of all parameters together the change is found that comes nearest to the widths wanted, in
logarithms. Ratios come before all else: those of a current mirror, which set the currents, and
those of devices alike that work alike, on which balance rests, as of the mirror load and the output
device of a two-stage amplifier. A transistor in triode or off keeps its W/L.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from m3eda.design.space import Axis, FloatArray
from m3eda.design.types import Parameter, Sizing, Technology, Value
from m3eda.porting.devices import Traced, Transistor
from m3eda.porting.tables import Table

VALUES = ("gm", "id", "vds", "vdsat")
"""Of the operating point, read of each transistor."""
MIRROR = 10.0
"""Weight of the ratio of a mirror beside that of a width."""
ALIKE = 0.05
"""Difference of gm/Id, relative, of devices that work alike."""
KEEPING = 0.05
"""Weight of leaving a parameter as it is, where no transistor asks for anything."""
DIGITS = 4
"""Of a start where its range has no grid."""
_ROUNDS = 30
_SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Of the change that is best without grids: few units have few ratios, so others are tried."""


@dataclass(frozen=True)
class Point:
    """Where a transistor works; nan for what the simulator does not give."""

    gm: float
    current: float
    vds: float
    vdsat: float

    @property
    def efficiency(self) -> float:
        """gm/Id in 1/V."""
        return abs(self.gm / self.current) if self.current else math.nan

    @property
    def saturated(self) -> bool:
        return abs(self.vds) > abs(self.vdsat) and math.isfinite(self.efficiency)


@dataclass(frozen=True)
class Wanted:
    """A transistor of the new technology, before its width is changed."""

    name: str
    width: float
    """As it stands, m."""
    target: float
    """As it should be, m; nan where nothing is known."""
    gate: tuple[str, ...]
    why: str = ""
    """Why it does not follow its gm/Id; empty where it does."""
    kind: tuple[object, ...] = ()
    """Model and length of before: devices that are alike in them may work alike."""
    efficiency: float = math.nan
    """gm/Id of before, 1/V."""

    def goes_with(self, other: Wanted) -> bool:
        """True where the ratio of both widths is to be kept."""
        if self.gate == other.gate:
            return True
        alike = self.kind == other.kind and not self.why and not other.why
        return alike and abs(math.log(self.efficiency / other.efficiency)) < ALIKE


def device_of(technology: Technology, model: str) -> str:
    """The name of the device of `technology` whose model is `model`; empty where there is none."""
    for name, entry in (technology.data.get("devices") or {}).items():
        if isinstance(entry, Mapping) and str(entry.get("model", "")).lower() == model.lower():
            return str(name)
    return ""


def wanted(
    pair: tuple[Transistor, Transistor],
    point: Point | None,
    devices: tuple[str, str],
    tables: tuple[Mapping[str, Table], Mapping[str, Table]],
) -> Wanted:
    """The width that the new one of `pair` should have for the old one's current and gm/Id.

    `devices` names both in their technologies, `tables` are those of the two technologies.
    """
    old, new = pair
    kept = old.width * new.sizes["l"] / old.sizes["l"]
    made = (new.name, new.width)
    if not math.isfinite(kept):
        return Wanted(*made, math.nan, new.gate, "its sizes are no plain numbers")
    one, other = (own.get(name) for own, name in zip(tables, devices, strict=True))
    if one is None or other is None:
        return Wanted(*made, kept, new.gate, "no device of the technology: W/L kept")
    if point is None or not 0.0 < point.efficiency < math.inf:
        return Wanted(*made, kept, new.gate, "off: W/L kept")
    if not point.saturated:
        return Wanted(*made, kept, new.gate, "in triode: W/L kept")
    before = one.density_at(point.efficiency, old.sizes["l"])
    after = other.density_at(point.efficiency, new.sizes["l"])
    target = old.width * before / after
    kind = (old.model, f"{old.sizes['l']:.4g}")
    return Wanted(*made, target, new.gate, "", kind, point.efficiency)


def sized(
    parameters: Sequence[Parameter], begun: Sizing, devices: Sequence[Wanted], slopes: Traced
) -> Sizing:
    """`begun` with the parameters of widths and multipliers changed towards the widths wanted.

    Parameters that decide a length stay, as do those that decide no width. Values are on the grids.
    """
    free = [p for p in parameters if p.free and _decides_width(slopes.get(p.name, ()))]
    if not free:
        return dict(begun)
    goal = _Goal(devices, [_widths(slopes[p.name]) for p in free])
    axes = [Axis(p) for p in free]
    values = np.array([float(begun[p.name]) for p in free])
    low, high = np.array([_ends(axis) for axis in axes]).T
    moves = goal.best(np.log(low / values), np.log(high / values))
    found = []
    for share in _SHARES:
        factors = np.exp(share * moves)
        rounded = [_snapped(a, v) for a, v in zip(axes, values * factors, strict=True)]
        found.append(_refined(goal, axes, values, rounded))
    chosen = min(found, key=lambda each: goal.cost(np.log(np.array(each) / values)))
    return {**begun, **dict(zip((p.name for p in free), chosen, strict=True))}


def _decides_width(slopes: Sequence[Mapping[str, float]]) -> bool:
    keys = {key for each in slopes for key in each}
    return bool(keys & {"w", "m"}) and "l" not in keys


def _widths(slopes: Sequence[Mapping[str, float]]) -> list[float]:
    return [each.get("w", 0.0) + each.get("m", 0.0) for each in slopes]


class _Goal:
    """Weighted squares of what the widths miss, in logarithms of the parameters' factors."""

    def __init__(self, devices: Sequence[Wanted], columns: Sequence[Sequence[float]]) -> None:
        table = np.array(columns, dtype=float).T
        rows, goals = [], []
        known = [i for i, each in enumerate(devices) if math.isfinite(each.target)]
        for i in known:
            follows = 1.0 if not devices[i].why else 0.3
            rows.append(follows * table[i])
            goals.append(follows * math.log(devices[i].target / devices[i].width))
        for place, i in enumerate(known):
            for j in known[place + 1 :]:
                if devices[i].goes_with(devices[j]):
                    rows.append(MIRROR * (table[i] - table[j]))
                    goals.append(0.0)
        rows += list(KEEPING * np.eye(table.shape[1]))
        goals += [0.0] * table.shape[1]
        self._rows, self._goals = np.array(rows), np.array(goals)

    def best(self, low: FloatArray, high: FloatArray) -> FloatArray:
        """The best factors' logarithms between `low` and `high`."""
        from scipy.optimize import lsq_linear

        found: FloatArray = lsq_linear(self._rows, self._goals, (low - 1e-9, high + 1e-9)).x
        return found

    def cost(self, moves: FloatArray) -> float:
        return float(((self._rows @ moves - self._goals) ** 2).sum())


def _refined(
    goal: _Goal, axes: Sequence[Axis], begun: FloatArray, chosen: list[float]
) -> list[float]:
    """`chosen` with single grid values moved while the mirrors and widths gain by it."""

    def cost(values: Sequence[float]) -> float:
        return goal.cost(np.log(np.array(values) / begun))

    best = cost(chosen)
    for _ in range(_ROUNDS):
        moved = False
        for place, axis in enumerate(axes):
            for value in _neighbours(axis, chosen[place]):
                trial = [*chosen[:place], value, *chosen[place + 1 :]]
                if (found := cost(trial)) < best - 1e-12:
                    chosen, best, moved = trial, found, True
        if not moved:
            break
    return chosen


def _neighbours(axis: Axis, value: float) -> list[float]:
    if axis.choices:
        place = axis.choices.index(value)
        near = axis.choices[max(place - 1, 0) : place + 2]
        return [float(each) for each in near if each != value]
    step = axis.parameter.step
    low, high = _ends(axis)
    near_by = [_snapped(axis, value + sign * step) for sign in (-1.0, 1.0)] if step else []
    return [each for each in near_by if each != value and low <= each <= high]


def _ends(axis: Axis) -> tuple[float, float]:
    if axis.choices:
        return float(axis.choices[0]), float(axis.choices[-1])
    parameter = axis.parameter
    assert parameter.minimum is not None
    assert parameter.maximum is not None
    return parameter.minimum, parameter.maximum


def _snapped(axis: Axis, value: float) -> float:
    return float(snapped(axis, value))


def snapped(axis: Axis, value: float) -> Value:
    """The value nearest to `value` that `axis` has; of a continuous range in a few digits."""
    if axis.choices or axis.on_grid:
        return axis.value(axis.unit(value))
    low, high = _ends(axis)
    return min(max(float(f"{value:.{DIGITS}g}"), low), high)
