"""Many sizings of one deck at once: operating points, small signals, noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3eda.coarse.behaviour import Behaviours
from m3eda.coarse.junctions import Junctions
from m3eda.coarse.kernel import Compiled, compiled
from m3eda.coarse.netlist import TEMPERATURE, Branch, Netlist
from m3eda.coarse.transistor import KELVIN, THERMAL, Kind, Numbers, Point, point
from m3eda.design.ranges import FloatArray
from m3eda.structure.elements import PMOS

ROOM = KELVIN + 27.0
"""Where resistors have their values, K."""
GMIN = 1e-16
"""Of every net to ground, S."""
STEP = 0.5
"""Largest change of a voltage in one step of Newton's method, V."""
HELD, LEAST_HELD = 1e-2, 1e-9
"""Conductance that holds each net where it was, S: at first, and the least, below which it is
none."""
RAMPS = ((HELD, 10.0 ** (-1 / 3), 30), (HELD, 10.0**-0.1, 100), (HELD, 0.0, 150),
         (1e-4, 10.0**-0.05, 150))  # fmt: skip
"""How it falls, one way after the other for what has not converged: `_newton`."""
AGAIN = (1e-6, 0.1, 4)
"""Near a solution that is known."""
FREE = 15
"""Steps behind a ramp."""
NEAR, TOO_FAR = 0.05, 0.35
"""Changes that are little, and jumps, V."""
BEYOND = 0.4
"""How far beyond the supplies voltages of transistors are looked for, V."""
CLOSE = 1e-6
"""Change of voltages below which an operating point is found, V."""

FAINT = 1e-8
"""Current of a square below which there is hardly a channel, A."""
TRIODE = 0.05
"""Drain voltage that a channel is asked for its current at, where it has none, V."""

IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]


@dataclass
class Batch:
    """Sizings of one deck, n of them."""

    netlist: Netlist
    fills: FloatArray
    """What fills the deck's holes, shape (n, holes)."""
    kinds: Mapping[str, Kind]
    """Model -> what its transistors do."""
    overrides: Mapping[str, FloatArray] = field(default_factory=dict)
    """Voltage or current source -> its DC value, shape (n,), where it is swept; the temperature in
    degrees Celsius, one for all."""

    numpy: bool = False
    """NumPy is to do the work: as it must where there is what the kernel does not know."""

    def __post_init__(self) -> None:
        net, n = self.netlist, len(self.fills)
        self.count = n
        swept = self.overrides.get(TEMPERATURE)
        self.kelvin = KELVIN + (net.temperature if swept is None else float(swept[0]))
        size = net.size
        self.conductance = np.zeros((n, size + 1, size + 1))
        """What is linear; the last row and column are ground's."""
        self.storage = np.zeros((n, size + 1, size + 1))
        self.forced = np.zeros((n, size + 1))
        self.small = np.zeros((n, size + 1))
        """Right-hand side for small signals."""
        for place in net.nets.values():
            self.conductance[:, place, place] += GMIN
        self.resistors: list[tuple[int, int, FloatArray]] = []
        for each in net.branches:
            self._stamp(each)
        self._transistors()
        self.junctions = Junctions(net.junctions, self.fills, self.kelvin)
        self.behaviours = Behaviours(net.behaviours, self.fills)
        self.shot: list[tuple[int, int, FloatArray]] = []
        """Shot noise at the operating point that small signals were taken at."""

    def add_others(self, x: FloatArray, rows: IntArray, jacobian: FloatArray | None,
                   residual: FloatArray | None) -> None:  # fmt: skip
        """Add derivatives and currents of what is neither linear nor a field-effect transistor."""
        self.junctions.add(x, rows, jacobian, residual)
        self.behaviours.add(x, rows, jacobian, residual)

    @cached_property
    def compiled(self) -> Compiled | None:
        """What does the work in C; None where NumPy does it."""
        return None if self.numpy or not self.netlist.plain else compiled(self)

    def _stamp(self, each: Branch) -> None:
        (a, b), value = each.ends, each.value.of(self.fills)
        g, c = self.conductance, self.storage
        if each.kind == "r":
            warmer = self.kelvin - ROOM
            value = value * (1.0 + each.drift[0] * warmer + each.drift[1] * warmer**2)
        if each.kind in "rc":
            with np.errstate(divide="ignore"):
                amount = 1.0 / np.where(value == 0.0, 1e-3, value) if each.kind == "r" else value
            into = g if each.kind == "r" else c
            for row, column, sign in ((a, a, 1.0), (b, b, 1.0), (a, b, -1.0), (b, a, -1.0)):
                into[:, row, column] += sign * amount
            if each.kind == "r":
                self.resistors.append((a, b, amount))
            return
        k = each.place
        if k >= 0:
            g[:, a, k] += 1.0
            g[:, b, k] -= 1.0
            g[:, k, a] += 1.0
            g[:, k, b] -= 1.0
        c1, c2 = each.control
        if each.kind == "l":
            c[:, k, k] -= value
        elif each.kind in "vi":
            if each.impedance is not None:
                g[:, k, k] -= each.impedance.of(self.fills)
            value = self.overrides.get(each.name, value)
            small = each.ac.of(self.fills) if each.ac else np.zeros(self.count)
            for vector, level in ((self.forced, value), (self.small, small)):
                if each.kind == "v":
                    vector[:, k] += level
                else:
                    vector[:, a] -= level
                    vector[:, b] += level
        elif each.kind == "e":
            g[:, k, c1] -= value
            g[:, k, c2] += value
        elif each.kind == "h":
            g[:, k, c1] -= value
        else:  # a current from a to b
            for row, sign in ((a, 1.0), (b, -1.0)):
                g[:, row, c1] += sign * value
                if each.kind == "g":
                    g[:, row, c2] -= sign * value

    def sweep(self, name: str, level: FloatArray) -> None:
        """A voltage or current source gets another DC value, shape (n,)."""
        each = next(each for each in self.netlist.branches if each.name == name)
        more = level - self.overrides.get(name, each.value.of(self.fills))
        self.overrides = {**self.overrides, name: level}
        if each.kind == "v":
            self.forced[:, each.place] = level
        else:
            self.forced[:, each.ends[0]] -= more
            self.forced[:, each.ends[1]] += more

    def _transistors(self) -> None:
        """Everything about transistors, of shape (n, m) or, of places, (m,)."""
        given = self.netlist.transistors
        self.places = np.array([each.places for each in given], dtype=int).reshape(-1, 4)
        self.sign = np.array([-1.0 if each.kind == PMOS else 1.0 for each in given])
        shape = (self.count, len(given))
        columns = Numbers(*(np.empty(shape) for _ in Numbers._fields))
        self.width, self.length = np.empty(shape), np.empty(shape)
        self.gate, self.overlap, self.junction, self.flicker = (np.empty(shape) for _ in range(4))
        self.fluctuation = np.empty(shape)
        known: dict[str, Kind] = {}
        for k, each in enumerate(given):
            if each.model not in known:
                known[each.model] = self.kinds[each.model].heated(self.kelvin)
            kind = known[each.model]
            length = each.length.of(self.fills)
            width = each.width.of(self.fills) * each.count.of(self.fills)
            self.width[:, k], self.length[:, k] = width, length
            for column, row in zip(columns, kind.at(width, length), strict=True):
                column[:, k] = row
            self.gate[:, k] = kind.oxide * width * length
            self.overlap[:, k] = kind.overlap * width
            self.junction[:, k] = kind.junction * width
            self.flicker[:, k] = kind.flicker / (width * length)
            self.fluctuation[:, k] = kind.fluctuation
        self.numbers = columns
        self.thermal = THERMAL * self.kelvin
        self.faint = FAINT * self.width / self.length
        self.triode = TRIODE

    def devices_at(self, x: FloatArray, rows: IntArray) -> Point:
        """Of the sizings `rows` at unknowns `x`, shape (r, size + 1), ground's the last, 0."""
        v = x[:, self.places] * self.sign[None, :, None]
        source = v[..., 2]
        numbers = Numbers(*(each[rows] for each in self.numbers))
        return point(numbers, v[..., 1] - source, v[..., 0] - source, v[..., 3] - source,
                     self.kelvin)  # fmt: skip

    def operating_point(self, near: FloatArray | None = None) -> tuple[FloatArray, BoolArray]:
        """Unknowns, shape (n, size + 1), nan where not converged, and which have, shape (n,).

        `near`, of the same shape, are solutions of sizings like these.
        """
        x = np.zeros((self.count, self.netlist.size + 1))
        done = np.zeros(self.count, dtype=bool)
        if near is not None:
            x, done = self._newton(near.copy(), np.arange(self.count), *AGAIN)
        for ramp in RAMPS:
            rows = np.flatnonzero(~done)
            if not len(rows):
                break
            x[rows], done[rows] = self._newton(np.zeros_like(x[rows]), rows, *ramp)
        x[~done] = np.nan
        return x, done

    def next_point(self, x: FloatArray, alive: BoolArray) -> tuple[FloatArray, BoolArray]:
        """As `operating_point`, near unknowns `x`, of the sizings that are `alive`."""
        found, done = x.copy(), np.zeros(self.count, dtype=bool)
        for ramp in (AGAIN, RAMPS[0]):
            rows = np.flatnonzero(alive & ~done)
            if not len(rows):
                break
            found[rows], done[rows] = self._newton(x[rows].copy(), rows, *ramp)
        return found, done

    def _newton(
        self, x: FloatArray, rows: IntArray, held: float, fall: float, steps: int
    ) -> tuple[FloatArray, BoolArray]:
        """From `x` of the sizings `rows`; nets are held where they were by a conductance that falls
        by `fall` in each of `steps` and then is none; 0 for one that falls while voltages hardly
        move and grows where they jump."""
        if self.compiled:
            return self.compiled.newton(
                x, rows, self._bounds(), held=held, fall=fall, steps=steps, free=FREE, step=STEP,
                close=CLOSE, near=NEAR, too_far=TOO_FAR, least_held=LEAST_HELD,
            )  # fmt: skip
        size = self.netlist.size
        nets = np.array(sorted(self.netlist.nets.values()), dtype=int)
        inner = np.union1d(self.places, self.junctions.places)
        inner = inner[inner >= 0].astype(int)
        outer, low, high = self._bounds()
        done = np.zeros(len(rows), dtype=bool)
        hold = np.full(len(rows), held)
        for step in range(steps + FREE):
            left = np.flatnonzero(~done)
            if not len(left):
                break
            some = rows[left]
            jacobian, residual = self._linearised(x[left], some)
            jacobian[:, nets, nets] += hold[left, None]
            change = solved(jacobian[:, :size, :size], -residual[:, :size])
            largest = np.abs(change[:, inner]).max(axis=1, initial=0.0)
            factor = np.minimum(1.0, STEP / np.maximum(largest, 1e-30))
            x[left, :size] += factor[:, None] * change
            x[left[:, None], outer] = np.clip(x[left[:, None], outer], low[some], high[some])
            done[left] = (hold[left] == 0.0) & (largest < CLOSE)
            if fall:
                hold[:] = held * fall**step if step < steps else 0.0
            else:
                grown = np.where(largest > TOO_FAR, 4.0, np.where(largest < NEAR, 0.1, 0.5))
                hold[left] = np.minimum(hold[left] * grown, held)
                hold[hold < LEAST_HELD] = 0.0
        return x, done & np.isfinite(x).all(axis=1)

    def _bounds(self) -> tuple[IntArray, FloatArray, FloatArray]:
        """Nets of drains and sources, and voltages between which theirs are looked for, (n, 1)
        each."""
        inner = np.union1d(self.places[:, ::2], self.junctions.places)
        inner = inner[inner >= 0].astype(int)
        levels = [np.zeros(self.count)]
        levels += [self.overrides.get(each.name, each.value.of(self.fills))
                   for each in self.netlist.branches if each.kind == "v"]  # fmt: skip
        every = np.stack(levels, axis=1)
        return inner, every.min(axis=1)[:, None] - BEYOND, every.max(axis=1)[:, None] + BEYOND

    def _linearised(self, x: FloatArray, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        jacobian = self.conductance[rows]
        residual = np.matmul(jacobian, x[..., None])[..., 0] - self.forced[rows]
        if len(self.places):
            at = self.devices_at(x, rows)
            self._stamp_transistors(jacobian, at)
            into = at.current * self.sign
            for k, (d, _, s, _) in enumerate(self.places):
                residual[:, d] += into[:, k]
                residual[:, s] -= into[:, k]
        if not self.netlist.plain:
            self.add_others(x, rows, jacobian, residual)
        return jacobian, residual

    def _stamp_transistors(self, jacobian: FloatArray, at: Point) -> None:
        for k, (d, g, s, b) in enumerate(self.places):
            gm, gds, gmb = at.gm[:, k], at.gds[:, k], at.gmb[:, k]
            total = gm + gds + gmb
            for row, sign in ((d, 1.0), (s, -1.0)):
                jacobian[:, row, g] += sign * gm
                jacobian[:, row, d] += sign * gds
                jacobian[:, row, b] += sign * gmb
                jacobian[:, row, s] -= sign * total

    def small_signal(
        self, x: FloatArray, rows: IntArray | None = None
    ) -> tuple[FloatArray, FloatArray, Point]:
        """Conductances and capacitances at `x` of the sizings `rows`, each (r, size, size)."""
        size = self.netlist.size
        rows = np.arange(self.count) if rows is None else rows
        if self.compiled:
            return self.compiled.small_signal(x, rows)
        at = self.devices_at(x, rows)
        conductance = self.conductance[rows]
        self._stamp_transistors(conductance, at)
        if not self.netlist.plain:
            self.add_others(x, rows, conductance, None)
            self.shot = self.junctions.noise(x, rows)
        storage = self._capacitances(at, rows)
        return conductance[:, :size, :size], storage[:, :size, :size], at

    def _capacitances(self, at: Point, rows: IntArray) -> FloatArray:
        """Of the sizings `rows`, shape (r, size + 1, size + 1)."""
        storage = self.storage[rows]
        gate, overlap = self.gate[rows], self.overlap[rows]
        share = np.clip(at.pinched, 0.0, 1.0)
        flow = np.abs(at.current) + TRIODE * np.abs(at.gds)
        on = flow / (flow + self.faint[rows])
        cgs = gate * on * (2.0 / 3.0 - share / 6.0) + overlap
        cgd = gate * on * 0.5 * share + overlap
        cgb = gate * (0.5 * (1.0 - on) + 0.08)
        junction = self.junction[rows]
        for k, (d, g, s, b) in enumerate(self.places):
            for one, other, value in ((g, s, cgs), (g, d, cgd), (g, b, cgb), (d, b, junction),
                                      (s, b, junction)):  # fmt: skip
                c = value[:, k]
                storage[:, one, one] += c
                storage[:, other, other] += c
                storage[:, one, other] -= c
                storage[:, other, one] -= c
        return storage


def solved(matrices: NDArray[Any], given: NDArray[Any]) -> NDArray[Any]:
    """Solutions, shape (n, k); nan where a matrix is singular."""
    try:
        return np.asarray(np.linalg.solve(matrices, given[..., None])[..., 0])
    except np.linalg.LinAlgError:
        found = np.full(given.shape, np.nan, dtype=given.dtype)
        for k, (matrix, row) in enumerate(zip(matrices, given, strict=True)):
            try:
                found[k] = np.linalg.solve(matrix, row)
            except np.linalg.LinAlgError:
                continue
        return found
