"""The MOS transistor's square law, as SPICE's level 1 has it without body effect.

Shichman and Hodges, IEEE J. Solid-State Circuits 3 (1968), 285; Allen and Holberg, CMOS Analog
Circuit Design, section 3.1. Charges after Meyer, RCA Review 32 (1971), 42. Voltages and currents
are those of an n-channel device; those of a p-channel one are turned by the caller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PERMITTIVITY = 3.9 * 8.854214871e-12
"""Of silicon dioxide, in F/m."""
GMIN = 1e-12
"""S, from drain to source, as SPICE has it."""


@dataclass(frozen=True)
class Device:
    """A transistor: sizes in m, `kp` in A/V^2, `vt` in V, `clm` (lambda) in 1/V, capacitances in
    F/m^2 of the oxide and F/m of the overlap."""

    w: float
    l: float  # noqa: E741  the field's own word
    kp: float
    vt: float
    clm: float
    oxide: float = 0.0
    overlap: float = 0.0

    @property
    def beta(self) -> float:
        return self.kp * self.w / self.l

    def current(self, vgs: float, vds: float) -> float:
        """The drain's current in A; `vds` is not negative."""
        vov = vgs - self.vt
        if vov <= 0.0:
            return 0.0
        driven = vov if vds >= vov else vds
        return self.beta * (vov - 0.5 * driven) * driven * (1.0 + self.clm * vds)

    def diode(self, current: float) -> float:
        """`vgs` of the device with its drain at its gate, an upper bound exact for no `clm`."""
        return self.vt + math.sqrt(2.0 * current / self.beta)

    def at(self, vgs: float, vds: float) -> Point:
        """The operating point."""
        vov, slope = max(0.0, vgs - self.vt), 1.0 + self.clm * vds
        saturated = vds >= vov
        driven = vov if saturated else vds
        gm = self.beta * driven * slope
        gds = self.beta * (vov - 0.5 * driven) * driven * self.clm
        if not saturated:
            gds += self.beta * (vov - vds) * slope
        cgs, cgd, cgb = self._capacitances(vov, vds)
        id_ = self.current(vgs, vds)
        return Point(vgs, vds, vov, self.vt, id_, gm, gds + GMIN, cgs, cgd, cgb)

    def _capacitances(self, vov: float, vds: float) -> tuple[float, float, float]:
        """Of gate to source, drain and bulk, in F."""
        gate, edge = self.oxide * self.w * self.l, self.overlap * self.w
        if vov <= 0.0:
            return edge, edge, gate
        driven = min(vds, vov)
        both = 2.0 * vov - driven
        source = 2.0 / 3.0 * gate * (1.0 - ((vov - driven) / both) ** 2)
        drain = 2.0 / 3.0 * gate * (1.0 - (vov / both) ** 2)
        return source + edge, drain + edge, 0.0


@dataclass(frozen=True)
class Point:
    """A transistor at its operating point, in SI units."""

    vgs: float
    vds: float
    vdsat: float
    vth: float
    id: float
    gm: float
    gds: float
    cgs: float
    cgd: float
    cgb: float

    @property
    def saturated(self) -> bool:
        return self.vds >= self.vdsat
