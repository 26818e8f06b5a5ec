"""A two-stage Miller op amp in closed form: square-law transistors, poles and zeros.

M1 and M2 are the n-channel pair, M3 and M4 its p-channel mirror load, M5 the tail; M6 is the
p-channel second stage and M7 its load; M8 takes the reference current; `cc` and `rz` go from the
first stage's output to the second's. The circuit, and the names of its transistors, are those of
Allen and Holberg, CMOS Analog Circuit Design, chapter 6 (two-stage op amps); see also Gray, Hurst,
Lewis and Meyer, Analysis and Design of Analog Integrated Circuits, chapters 6 and 9, and Razavi,
Design of Analog CMOS Integrated Circuits, chapters 9 and 10.

The operating point follows from Kirchhoff's current law at each node, both inputs at `vcm`: a tail
without headroom, or a second stage that does not carry the current of its load, leaves little gain.
There is no body effect, no subthreshold current and no junction capacitance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from m3eda_plugins.analytic.square_law import PERMITTIVITY, Device, Point
from numpy.typing import NDArray
from scipy.optimize import brentq

BOLTZMANN = 1.380649e-23
REQUIRED = ("w1", "w3", "w5", "w6", "w7", "w8", "l", "cc", "iref", "vdd", "vcm", "cload")
"""Widths and length in m, F, A, V, V, F."""
DEFAULTS: Mapping[str, float] = {
    "rz": 0.0, "temp": 27.0,
    "kpn": 180e-6, "kpp": 60e-6, "vtn": 0.45, "vtp": -0.45,
    "lambda_n": 0.08, "lambda_p": 0.10, "tox": 4e-9, "cov": 3e-10,
}  # fmt: skip
"""ohm and degrees Celsius; A/V^2; V; 1/V at a length of 1 um, falling as 1/length; m; F/m."""


DRAWN: Mapping[str, str] = {"m1": "n", "m3": "p", "m5": "n", "m6": "p", "m7": "n", "m8": "n"}
"""Transistors of which each has its own width, and their channels; M2 and M4 are like M1 and M3."""


@dataclass(frozen=True)
class TwoStage:
    """An op amp at its operating point."""

    devices: Mapping[str, Point]
    """By name, m1 to m8; voltages and currents of p-channel devices are positive."""
    nodes: Mapping[str, float]
    """V."""
    supply: float
    """Current out of the supply, A."""
    cc: float
    rz: float
    cload: float
    temp: float

    @classmethod
    def of(cls, values: Mapping[str, float]) -> TwoStage:
        """From values of `REQUIRED` and `DEFAULTS`, each of which must be there."""
        drawn = _devices(values)
        vdd, vcm = values["vdd"], values["vcm"]
        m1, m3, m5, m6, m7, m8 = (drawn[name] for name in DRAWN)
        bias = _bias(m8, values["iref"])

        def at_tail(v: float) -> float:
            return 2.0 * _pair(m1, m3, vdd, vcm, v)[0] - float(m5.current(bias, v))

        def at_output(v: float) -> float:
            return float(m6.current(vdd - first, vdd - v) - m7.current(bias, v))

        tail = _root(at_tail, 0.0, max(0.0, vcm - m1.vt))
        half, first = _pair(m1, m3, vdd, vcm, tail)
        out = _root(at_output, 0.0, vdd)
        pair, load = m1.at(vcm - tail, first - tail), m3.at(vdd - first, vdd - first)
        second, sink = m6.at(vdd - first, vdd - out), m7.at(bias, out)
        points = (pair, pair, load, load, m5.at(bias, tail), second, sink, m8.at(bias, bias))
        nodes = {"vdd": vdd, "inp": vcm, "inn": vcm, "bias": bias, "tail": tail,
                 "d1": first, "d2": first, "out": out}  # fmt: skip
        devices = {f"m{number}": point for number, point in enumerate(points, 1)}
        supply = values["iref"] + 2.0 * half + second.id
        rest = (values[name] for name in ("cc", "rz", "cload", "temp"))
        return cls(devices, nodes, supply, *rest)

    def gain(self, frequency: NDArray[np.float64]) -> NDArray[np.complex128]:
        """From the differential input to the output, shape of `frequency` (Hz).

        The two node equations of Allen and Holberg, section 6.2 (two stages with Cc and Rz between
        them, of which their third-order polynomial is the solution), with the gate-drain
        capacitance of M6 beside the branch of Cc and Rz.
        """
        first, across, _, both = self._network(2j * np.pi * frequency)
        gain: NDArray[np.complex128] = first * (self.devices["m6"].gm - across) / both
        return gain

    def output_noise(self, frequency: NDArray[np.float64]) -> NDArray[np.float64]:
        """Thermal noise of the transistors at the output in V/sqrt(Hz), shape of `frequency` (Hz).

        4 k T (2/3) gm for each, in the stage it belongs to; Gray and others, section 11.3.
        """
        at = self.devices
        _, across, input_side, both = self._network(2j * np.pi * frequency)
        from_first = np.abs((at["m6"].gm - across) / both) ** 2
        from_second = np.abs(input_side / both) ** 2
        density = 4.0 * BOLTZMANN * (self.temp + 273.15) * 2.0 / 3.0
        power = 2.0 * (at["m1"].gm + at["m3"].gm) * from_first
        power += (at["m6"].gm + at["m7"].gm) * from_second
        noise: NDArray[np.float64] = np.sqrt(density * power)
        return noise

    def _network(self, s: Any) -> tuple[Any, Any, Any, Any]:
        """Transconductance of the first stage; admittance between the stages' outputs; that of the
        first stage's output to ground; determinant of both nodes.

        Half of the signal current goes through the mirror, with its pole: together a zero at twice
        that frequency.
        """
        at = self.devices
        mirror = at["m3"].gm + at["m1"].gds + at["m3"].gds
        held = at["m3"].cgs + at["m4"].cgs + at["m3"].cgb + at["m4"].cgb + at["m1"].cgd
        first = 0.5 * at["m1"].gm * (1.0 + at["m4"].gm / (mirror + s * (held + at["m4"].cgd)))
        gate = at["m6"].cgs + at["m6"].cgb + at["m2"].cgd + at["m4"].cgd
        across = s * at["m6"].cgd + s * self.cc / (1.0 + s * self.rz * self.cc)
        input_side = at["m2"].gds + at["m4"].gds + s * gate + across
        output_side = at["m6"].gds + at["m7"].gds + s * (self.cload + at["m7"].cgd) + across
        return first, across, input_side, input_side * output_side + across * (at["m6"].gm - across)


def _devices(values: Mapping[str, float]) -> dict[str, Device]:
    length = values["l"]
    oxide = PERMITTIVITY / values["tox"]

    def device(name: str, kind: str) -> Device:
        short = values[f"lambda_{kind}"] * 1e-6 / length
        threshold = abs(values[f"vt{kind}"])
        return Device(
            values[name], length, values[f"kp{kind}"], threshold, short, oxide, values["cov"]
        )

    return {name: device(f"w{name[1]}", kind) for name, kind in DRAWN.items()}


def _bias(diode: Device, current: float) -> float:
    return _root(lambda v: diode.current(v, v) - current, diode.vt, diode.diode(current))


def _pair(pair: Device, load: Device, vdd: float, vcm: float, tail: float) -> tuple[float, float]:
    """Current of one side of the pair in A, and the voltage at its drain."""

    def excess(v: float) -> float:
        return float(pair.current(vcm - tail, v - tail) - load.current(vdd - v, vdd - v))

    drain = _root(excess, min(tail, vdd), vdd)
    return pair.current(vcm - tail, max(0.0, drain - tail)), drain


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    """Where the monotonic `f` is 0 between `low` and `high`; the end nearer to that where it does
    not change its sign between them."""
    at_low, at_high = f(low), f(high)
    if at_low * at_high >= 0.0:
        return low if abs(at_low) <= abs(at_high) else high
    found: float = brentq(f, low, high, xtol=1e-11, rtol=1e-12)
    return found
