"""A coarse model of a design: its circuit's equations, with transistors in a few numbers.

Space mapping (Bandler et al., 1994): the coarse model is solved instead of simulated, thousands of
times, and corrected by the few simulations there are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from m3eda.coarse import characterise, limits
from m3eda.coarse.holes import Holes
from m3eda.coarse.kernel import is_compiled
from m3eda.coarse.netlist import TEMPERATURE, Netlist, netlist_of
from m3eda.coarse.quantities import Unsupported
from m3eda.coarse.transistor import Kind
from m3eda.coarse.waves import simulated
from m3eda.design.functions import FunctionTable
from m3eda.design.ranges import FloatArray
from m3eda.design.space import Space
from m3eda.design.ties import complete, testbenches_of
from m3eda.design.types import Design, Sizing, Testbench
from m3eda.errors import DesignError
from m3eda.importing.devices import Circuit, circuit_of
from m3eda.simulate.measurer import Measured, Measurer
from m3eda.simulate.render import Renderer
from m3eda.simulate.signals import VectorMissing
from m3eda.simulate.trial import CornerResult
from m3eda.simulate.types import Deck, Waveforms
from m3eda.structure.elements import Devices

ENOUGH = 50
"""Operating points from which on others begin with the nearest of them."""
ROOM = 27.0
"""Degrees Celsius where a design names none."""
SAMPLED = 64
"""Sizings by whose decks, beside the two in which all is least or most, the lengths of transistors
are known."""


class Solved:
    """Operating points that are known, to begin others with."""

    def __init__(self) -> None:
        self._points: list[FloatArray] = []
        self._solutions: list[FloatArray] = []

    def add(self, points: FloatArray, x: FloatArray) -> None:
        """Of unit points, shape (n, d), what was found, shape (n, k), nan where nothing was."""
        good = np.isfinite(x).all(axis=1)
        self._points.append(points[good])
        self._solutions.append(x[good])

    def near(self, points: FloatArray) -> FloatArray | None:
        """The solutions of the points nearest to `points`; None where few are known."""
        if sum(map(len, self._points)) < ENOUGH:
            return None
        known, x = np.vstack(self._points), np.vstack(self._solutions)
        gaps = (points**2).sum(axis=1)[:, None] + (known**2).sum(axis=1) - 2.0 * points @ known.T
        return np.asarray(x[gaps.argmin(axis=1)])


class Transistors(Protocol):
    """Who tells what transistors do."""

    def __call__(
        self, wanted: Sequence[characterise.Wanted], circuit: Circuit, supply: float, celsius: float
    ) -> Mapping[str, Kind]:
        """Of each model: of the supply in V and the temperature in degrees Celsius.

        Raises Unsupported, SimulationFailed.
        """
        ...


@dataclass(frozen=True)
class Bench:
    """A testbench as equations."""

    label: str
    testbench: Testbench
    holes: Holes
    netlist: Netlist
    solved: Solved = field(default_factory=Solved)

    @property
    def slow(self) -> bool:
        """True where it takes many times what others take."""
        return any(each.kind == "tran" for each in self.netlist.analyses)


@dataclass(frozen=True)
class _Read:
    """A testbench, and what it takes to know its transistors."""

    bench: Bench
    wanted: Sequence[characterise.Wanted]
    circuit: Circuit
    supply: float
    """V."""
    celsius: set[float]


class Coarse:
    """What the equations of a design's decks give for its sizings."""

    def __init__(self, design: Design, functions: FunctionTable, transistors: Transistors) -> None:
        """Raises SimulationFailed where `transistors` does."""
        self.design, self.space = design, Space(design)
        self._measurer = Measurer(design, functions)
        self._renderer = Renderer(design, self._measurer.wanted)
        rng = np.random.default_rng(0)
        inside = rng.random((SAMPLED, self.space.dimension))
        points = self.space.snap(
            np.vstack([inside, np.zeros_like(inside[:1]), np.ones_like(inside[:1])])
        )
        self._sizings = [complete(design, self.space.sizing(point)) for point in points]
        self.benches: list[Bench] = []
        self.unsupported: dict[str, str] = {}
        """Testbench -> why it is left out."""
        self.kinds: dict[str, Kind] = {}
        """Model -> what its transistors do."""
        self._unknown: dict[str, str] = {}
        """Model -> why that is not known."""
        read = []
        for testbench in design.testbenches.values():
            for at in testbench.at_points():
                try:
                    read.append(self._read(at))
                except (Unsupported, DesignError) as error:
                    self.unsupported[at.name] = str(error)
        self._characterise(read, transistors)
        for each in read:
            unknown = [own.model for own in each.wanted if own.model not in self.kinds]
            if unknown:
                why = self._unknown.get(unknown[0], f"{unknown[0]} is not known")
                self.unsupported[each.bench.testbench.name] = why
            else:
                self.benches.append(each.bench)

    def _read(self, testbench: Testbench) -> _Read:
        decks = [self._deck(testbench, each) for each in self._sizings]
        holes = Holes(decks)

        def read(text: str) -> Circuit:
            return circuit_of(testbench.template, text)

        technology = self.design.technology
        count = len(holes.skeleton.parts) - 1
        netlist = netlist_of(holes.skeleton.text, count, read, technology)
        _, fills = holes.fills(decks)
        limits.check(netlist, fills)
        circuit = read(decks[0].text)
        wanted = characterise.wanted_of(netlist, Devices(circuit, technology), fills)
        bench = Bench(testbench.label, testbench, holes, netlist)
        return _Read(bench, wanted, circuit, _supply(netlist, fills), _celsius(netlist, fills))

    def _characterise(self, read: Sequence[_Read], transistors: Transistors) -> None:
        """Learn what the transistors of every deck do, at the temperatures that they have."""
        every: dict[str, characterise.Wanted] = {}
        circuits: dict[str, Circuit] = {}
        for each in read:
            for own in each.wanted:
                every[own.model] = own.joined(every.get(own.model, own))
                circuits.setdefault(own.model, each.circuit)
        if not every:
            return
        degrees = sorted({own for each in read if each.wanted for own in each.celsius})
        usual = float(self.design.conditions.get("temp", ROOM))
        first = min(degrees, key=lambda own: abs(own - usual))
        supply = max(each.supply for each in read)
        if not supply:
            self._unknown = dict.fromkeys(every, "it has no supply")
            return
        for circuit in {id(own): own for own in circuits.values()}.values():
            wanted = [own for name, own in every.items() if circuits[name] is circuit]
            try:
                kinds = dict(transistors(wanted, circuit, supply, first))
                for other in {degrees[0], degrees[-1]} - {first}:
                    beside = transistors(wanted, circuit, supply, other)
                    kinds = {name: kind.beside(beside[name]) for name, kind in kinds.items()}
                self.kinds |= kinds
            except Unsupported as error:
                self._unknown |= {own.model: str(error) for own in wanted}

    def _deck(self, testbench: Testbench, sizing: Sizing) -> Deck:
        return self._renderer.deck(testbench, self.design.nominal, sizing)

    @property
    def heavy(self) -> bool:
        """True where a transient is not for the kernel, or there is no kernel."""
        return any(
            each.slow and not (each.netlist.plain and is_compiled()) for each in self.benches
        )

    def stages(self) -> tuple[list[str], list[str]]:
        """Measures that are quickly found, and those that take transients as well."""
        slow = {bench.testbench.name for bench in self.benches if bench.slow}
        there = {bench.testbench.name for bench in self.benches}
        first: list[str] = []
        second: list[str] = []
        for name in self.design.measures:
            needed = testbenches_of(self.design, [name])
            if needed <= there - set(self.unsupported):
                (second if needed & slow else first).append(name)
        return first, second

    def measures(
        self, points: FloatArray, names: Sequence[str], kinds: Mapping[str, Kind] | None = None
    ) -> list[dict[str, float]]:
        """Those called `names`, and what they are made of, of unit points, shape (n, d); with
        other transistors than those of the design where `kinds` tells."""
        sizings = [complete(self.design, self.space.sizing(point)) for point in points]
        taken = [Measured() for _ in sizings]
        needed = testbenches_of(self.design, names)
        sweeps: list[dict[str, dict[float, CornerResult]]] = [{} for _ in sizings]
        for bench in self.benches:
            name, at = bench.testbench.name, bench.testbench.point
            if name in needed:
                found = self._simulate(bench, sizings, points, kinds or self.kinds)
                for own, swept, each in zip(taken, sweeps, found, strict=True):
                    if not at:
                        own.measures |= each
                    for condition, value in at.items():
                        parts = swept.setdefault(f"{name} {condition}", {})
                        parts[value] = CornerResult(each, {})
        for sizing, own, swept in zip(sizings, taken, sweeps, strict=True):
            for key, parts in swept.items():
                own.add_points(key.split()[1], parts, self.design)
            with np.errstate(all="ignore"):
                self._measurer.derive(self.design.nominal, sizing, own)
        return [each.measures for each in taken]

    def _simulate(self, bench: Bench, sizings: Sequence[Sizing], points: FloatArray,
                  kinds: Mapping[str, Kind]) -> list[dict[str, float]]:  # fmt: skip
        """Measures of a testbench, nan where there are none."""
        decks = [self._deck(bench.testbench, each) for each in sizings]
        rows, fills = bench.holes.fills(decks)
        found = [dict.fromkeys(self._measurer.names(bench.testbench.name), math.nan) for _ in decks]
        if not rows:
            return found
        first = decks[rows[0]]
        with np.errstate(all="ignore"):
            near = bench.solved.near(points[rows])
            waves, x = simulated(bench.netlist, fills, kinds,
                                 first.vectors, first.device_values, near)  # fmt: skip
            bench.solved.add(points[rows], x)
            for k, own in zip(rows, waves, strict=True):
                if own is not None:
                    found[k] |= self._measured(bench.testbench.name, decks[k], own)
        return found

    def _measured(self, name: str, deck: Deck, waves: Waveforms) -> dict[str, float]:
        try:
            return self._measurer.measure(name, deck.values, waves)[0]
        except VectorMissing as error:
            return error.measured[0]


def _supply(netlist: Netlist, fills: FloatArray) -> float:
    """The largest voltage of a source at a transistor, V; 0 where there is none."""
    levels = [0.0]
    held = {place for each in netlist.transistors for place in each.places} - {-1}
    for each in netlist.branches:
        if each.kind == "v" and held & set(each.ends):
            places = {"pulse": slice(0, 2), "exp": slice(0, 2), "sin": slice(0, 1),
                      "pwl": slice(1, None, 2)}  # fmt: skip
            numbers = [each.value, *each.times[places.get(each.shape, slice(0, 0))]]
            levels += [abs(float(number.of(fills).mean())) for number in numbers]
    return max(levels)


def _celsius(netlist: Netlist, fills: FloatArray) -> set[float]:
    """The temperatures of a deck, of a sweep its ends, in degrees Celsius."""
    found = {netlist.temperature}
    for each in netlist.analyses:
        if each.kind == "dc" and each.source == TEMPERATURE:
            found |= {float(number.of(fills[:1])[0]) for number in each.numbers[:2]}
    return found
