"""A field-effect transistor in a few numbers: current, conductances, capacitances.

The charge-based long-channel current of EKV (Enz and Vittoz, "Charge-based MOS transistor
modeling", 2006, chapter 4) with what short channels add as in BSIM3: mobility that falls with the
vertical field, velocity saturation, the drain's effect on the threshold, and an Early voltage.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from m3eda.design.ranges import FloatArray

KELVIN = 273.15
THERMAL = 1.380649e-23 / 1.602176634e-19
"""Boltzmann's constant over the elementary charge, V/K."""
SURFACE = 0.85
"""Potential of the surface in strong inversion, V."""
LOGARITHMS = frozenset({"current", "field", "roughness", "drain", "knee", "edge", "curve"})
"""Of `Numbers`, those that are fitted, and interpolated between lengths, as logarithms."""

DOUBTS = np.array([0.005, 0.01, 0.02, 0.04, 0.05, 0.05, 0.1, 0.05, 0.1, 0.05, 0.2, 0.1])
"""Standard deviations of what fits miss of `Numbers`, as they are fitted."""
DOUBTFUL = np.array([0.03, 0.15, 0.15, 0.4])
"""Of the logarithms of a kind's oxide, overlap and junction capacitance and of its noise."""


class Numbers(NamedTuple):
    """What transistors of one width and length are; arrays of any one shape."""

    threshold: FloatArray
    """V, at no drain voltage, the bulk at the source."""
    slope: FloatArray
    """Slope factor n, above 1."""
    body: FloatArray
    """Body effect coefficient, square root of V."""
    current: FloatArray
    """2 n mu C (kT/q)^2 W / L, A."""
    field: FloatArray
    """Voltage along the channel at which the velocity saturates, V."""
    roughness: FloatArray
    """Loss of mobility with the overdrive, 1/V."""
    early: FloatArray
    """Logarithm of the Early voltage in V."""
    rise: FloatArray
    """By how much the logarithm of the Early voltage grows with the overdrive, 1/V."""
    drain: FloatArray
    """Fall of the threshold with the drain's voltage, V/V."""
    knee: FloatArray
    """Voltage over the drain at which it is saturated in weak inversion, in kT/q."""
    edge: FloatArray
    """Width of the bend between triode region and saturation, V."""
    curve: FloatArray
    """How soon the current behind saturation rises less: 0 for a straight line."""

    @classmethod
    def of(cls, fitted: Iterable[FloatArray]) -> Numbers:
        """From what a fit moves: some of them as logarithms."""
        return cls(*(np.exp(np.clip(row, -30.0, 30.0)) if name in LOGARITHMS else np.asarray(row)
                     for name, row in zip(cls._fields, fitted, strict=True)))  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A model's transistors at one temperature: numbers at some lengths, and capacitances."""

    sign: float
    """1 for electrons, -1 for holes."""
    lengths: FloatArray
    """Logarithms of lengths in m, ascending, shape (k,)."""
    numbers: FloatArray
    """As they were fitted, shape (k, len(Numbers)), of a width of `width`."""
    width: float
    """m."""
    oxide: float
    """Capacitance of gate to channel, F/m^2."""
    overlap: float
    """Capacitance of gate to drain beyond the channel, F/m."""
    junction: float
    """Capacitance of drain to bulk, F/m."""
    flicker: float
    """Of the gate's noise: V^2 m^2 at 1 Hz, for W L = 1 m^2, in weak inversion."""
    fluctuation: float
    """By how much its voltage grows with the current over gm, 1/V: carriers that are trapped change
    the mobility of others too (Hung et al., IEEE Trans. Electron Devices 37(3), 1990)."""
    kelvin: float
    """Temperature, K."""
    kelvins: FloatArray = field(default_factory=lambda: np.empty(0))
    """Other temperatures, K, ascending, shape (t,)."""
    drifts: FloatArray = field(default_factory=lambda: np.empty(0))
    """What the numbers change by until there, shape (t, k, 9)."""

    def beside(self, other: Kind) -> Kind:
        """The same that knows what it is at the temperature of `other` too."""
        places = np.append(self.kelvins, other.kelvin)
        drifts = [*self.drifts, other.numbers - self.numbers]
        order = np.argsort(places)
        return replace(self, kelvins=places[order], drifts=np.array(drifts)[order])

    def heated(self, kelvin: float) -> Kind:
        """What it is at `kelvin`, between and beyond the temperatures known in straight lines."""
        if not len(self.kelvins) or kelvin == self.kelvin:
            return replace(self, kelvin=kelvin)
        places = np.append(self.kelvins, self.kelvin)
        order = np.argsort(places)
        drifts = np.array([*self.drifts, np.zeros_like(self.numbers)])[order]
        places = places[order]
        k = int(np.clip(np.searchsorted(places, kelvin), 1, len(places) - 1))
        share = (kelvin - places[k - 1]) / (places[k] - places[k - 1])
        drift = drifts[k - 1] + share * (drifts[k] - drifts[k - 1])
        return replace(self, kelvin=kelvin, numbers=self.numbers + drift)

    def at(self, width: FloatArray, length: FloatArray) -> Numbers:
        """The numbers of transistors of `width` and `length` in m, arrays of one shape."""
        place = np.log(length)
        rows = [np.interp(place, self.lengths, row) for row in self.numbers.T]
        rows[Numbers._fields.index("current")] += np.log(width / self.width)
        return Numbers.of(rows)

    def perturbed(self, rng: np.random.Generator) -> Kind:
        """One that is otherwise by about as much as a fit misses."""
        moved = rng.normal(size=len(DOUBTS)) * DOUBTS
        tilt = np.linspace(-1.0, 1.0, len(self.lengths))[:, None] * rng.normal(size=len(DOUBTS))
        numbers = self.numbers + moved + 0.5 * tilt * DOUBTS
        a, b, c, d = np.exp(rng.normal(size=4) * DOUBTFUL)
        return replace(self, numbers=numbers, oxide=self.oxide * a, overlap=self.overlap * b,
                       junction=self.junction * c, flicker=self.flicker * d)  # fmt: skip


class Point(NamedTuple):
    """Of transistors at an operating point, arrays of one shape."""

    current: FloatArray
    """Into the drain, A, as for electrons."""
    gm: FloatArray
    gds: FloatArray
    gmb: FloatArray
    """Derivatives by the voltages of gate, drain and bulk over that of the source, S."""
    saturation: FloatArray
    """Drain voltage from which it is saturated, V, about as BSIM reckons it: before the current
    hardly rises any more."""
    pinched: FloatArray
    """Share of the channel's charge at the drain, 1 with no drain voltage, 0 in saturation."""
    overdrive: FloatArray
    """Gate voltage above the threshold, V."""


def point(numbers: Numbers, vgs: FloatArray, vds: FloatArray, vbs: FloatArray,
          kelvin: float) -> Point:  # fmt: skip
    """What transistors do; where the drain lies below the source the two are exchanged."""
    back = vds < 0.0
    if not back.any():
        return _forward(numbers, vgs, vds, vbs, kelvin)
    shift = np.minimum(vds, 0.0)
    at = _forward(numbers, vgs - shift, np.abs(vds), vbs - shift, kelvin)
    sign = np.where(back, -1.0, 1.0)
    # i(vgs, vds, vbs) = -f(vgs - vds, -vds, vbs - vds) below: derivatives follow
    gds = np.where(back, at.gm + at.gds + at.gmb, at.gds)
    return Point(sign * at.current, sign * at.gm, gds, sign * at.gmb, *at[4:])


def _forward(numbers: Numbers, vgs: FloatArray, vds: FloatArray, vbs: FloatArray,
             kelvin: float) -> Point:  # fmt: skip
    """`vds` not negative. `_o` are derivatives by the overdrive in units of n kT/q, `_v` by `vds`
    where the overdrive stays."""
    ut = THERMAL * kelvin
    depth = SURFACE - vbs
    root = np.sqrt(depth * depth + 0.01)
    depth = np.sqrt(0.5 * (depth + root))
    over = vgs - numbers.threshold - numbers.body * (depth - SURFACE**0.5) + numbers.drain * vds
    unit = 1.0 / (numbers.slope * ut)
    over = over * unit
    source, source_o = _charge(0.5 * over)
    source_o = 0.5 * source_o
    drive, drive_o = 2.0 * ut * source, 2.0 * ut * source_o
    share = numbers.field / (numbers.field + drive)
    saturation, saturation_o = share * drive + numbers.knee * ut, share * share * drive_o
    edge = numbers.edge
    gap = saturation - vds - edge
    bend = 1.0 / np.sqrt(gap * gap + 4.0 * edge * saturation)
    reached = saturation - 0.5 * (gap + 1.0 / bend)
    reached_o = (0.5 - 0.5 * (gap + 2.0 * edge) * bend) * saturation_o
    reached_v = 0.5 + 0.5 * gap * bend
    drain, slope = _charge(0.5 * (over - reached / ut))
    drain_o, drain_v = slope * (0.5 - 0.5 * reached_o / ut), slope * (-0.5 / ut) * reached_v
    charge = (source - drain) * (source + drain)
    charge_o = 2.0 * (source * source_o - drain * drain_o)
    early = np.exp(-numbers.early - numbers.rise * drive)
    behind = (vds - reached) * early
    flat = 1.0 / (1.0 + numbers.curve * behind)
    longer = 1.0 - np.log(flat) / numbers.curve
    longer_o = -flat * (early * reached_o + behind * numbers.rise * drive_o)
    straight = 1.0 / (1.0 + reached / numbers.field)
    smooth = 1.0 / (1.0 + numbers.roughness * drive)
    factor = numbers.current * straight * smooth
    here = factor * charge * longer
    by_o = factor * (charge_o * longer + charge * longer_o) - here * (
        straight * reached_o / numbers.field + smooth * numbers.roughness * drive_o
    )
    by_v = factor * (-2.0 * drain * drain_v * longer + charge * flat * early * (1.0 - reached_v))
    by_v = by_v - here * straight * reached_v / numbers.field
    gm = by_o * unit
    gmb = gm * numbers.body * 0.5 * depth / root
    reckoned = saturation - (numbers.knee - 1.0) * ut
    return Point(here, gm, by_v + gm * numbers.drain, gmb, reckoned, drain / source, over / unit)


def _charge(half: FloatArray) -> tuple[FloatArray, FloatArray]:
    """log(1 + exp(x)) and its derivative."""
    small = np.exp(-np.abs(half))
    found = np.log1p(small) + np.maximum(half, 0.0)
    return found, -np.expm1(-found)
