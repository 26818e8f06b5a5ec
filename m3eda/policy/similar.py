"""Designs that are a circuit of the library under other names: the same devices, connected alike.

What networks know is asked for the sizes of the devices, whatever the parameters that decide them
are called: width or multiplier, one for each device or one for all, with a length that is fixed.
Measures are known by what they are (`m3eda.design.quantities`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from m3eda.circuits.catalogue import Circuit
from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.circuits.technology import entry_of, technology_of
from m3eda.design.quantities import quantity_of
from m3eda.design.ranges import FloatArray, Ranges
from m3eda.design.space import Axis, Space
from m3eda.design.types import Design, Measure, Spec, Testbench, Value
from m3eda.errors import M3edaError
from m3eda.plugins import Plugins
from m3eda.policy.pretrained import SUPPLY_NAME, Placed
from m3eda.policy.response import Answer, Scale
from m3eda.structure.alike import may_hold, may_hold_bare, overlays
from m3eda.structure.cell import LENGTH, Cell
from m3eda.structure.fit import Fit
from m3eda.structure.sizes import Decks, Sized
from m3eda.units import parse

FAR_OFF = math.log(4.0)
"""Of sizes that no parameter decides: from this on circuits are not alike (`Fit.miss`)."""
LEAST = 1e-30
"""Taken for values that have no logarithm: a range may begin at zero or below."""


@dataclass(frozen=True)
class Laid:
    """A circuit of the library, laid over a design."""

    library: Design
    """In the design's technology, or in the one nearest to it."""
    here: bool
    """True where it is the design's own."""
    mirrored: bool
    """True where the design has transistors of holes for those of electrons, and conversely."""
    bare: bool
    """True where the transistors alone are connected as in the library."""
    fit: Fit
    names: Mapping[str, str]
    """Measures of the design with a spec -> those that the networks know."""
    parameters: tuple[str, ...]
    """The free ones of the design that decide what those of the library do."""


def devices_of(design: Design) -> dict[str, Any]:
    """Of a library's circuit: `counts`, how many devices of each kind it has, `bare_counts`, those
    without what generates a bias, and `core`, which of its cells it is: the testbench, the place
    among its cells, and the `loads` in it, which are outside of the subcircuit that holds the
    transistors and are decided by no parameter. Empty where no deck tells."""
    decks = Decks(design)
    every = list(decks.cells())
    least = min((sum(c.transistors) for *_, c in every if sum(c.transistors)), default=0)
    few = [each[:2] for each in every if sum(each[2].transistors) == least]
    if not few:
        return {}

    def worth(where: tuple[Testbench, int]) -> tuple[int, int]:
        """Parameters that decide a size there, and few parts."""
        found = decks.sized(*where)
        alive = np.abs(found.slopes).max(axis=0, initial=0.0) > 0.0
        return int(alive.sum()), -len(found.cell.parts)

    bench, place = max(few, key=worth)
    sized, inner = decks.sized(bench, place), decks.cell(bench, 0)
    decided = {part for (part, _), row in zip(sized.keys, sized.slopes, strict=True) if row.any()}
    inside = {part.name for part in inner.parts if sum(inner.transistors)}
    loads = [part.name for number, part in enumerate(sized.cell.parts)
             if number not in decided and part.name not in inside]  # fmt: skip
    core = {"testbench": bench.name, "place": place, "loads": loads}
    cell = Core(design, core).cell
    counts, bare = ({kind: each[kind] for kind in sorted(each)}
                    for each in (cell.counts, cell.bare_counts))  # fmt: skip
    return {"counts": counts, "bare_counts": bare, "core": core}


class Core:
    """The circuit proper of a library's design, as `devices_of` tells."""

    def __init__(self, library: Design, core: Mapping[str, Any]) -> None:
        self.library, self._loads = library, set(core["loads"])
        self._decks, self._place = Decks(library), int(core["place"])
        self._testbench = library.testbenches[core["testbench"]]

    @cached_property
    def cell(self) -> Cell:
        """Without its sizes traced."""
        whole = self._decks.cell(self._testbench, self._place)
        return whole.only(self._kept(whole))

    @cached_property
    def sized(self) -> Sized:
        """The same with its sizes."""
        whole = self._decks.sized(self._testbench, self._place)
        return whole.only(self._kept(whole.cell))

    def _kept(self, cell: Cell) -> list[int]:
        return [place for place, part in enumerate(cell.parts) if part.name not in self._loads]


def laid(design: Design, index: Mapping[str, Any]) -> Iterator[list[tuple[str, Laid]]]:
    """The circuits of the `index` that lie over `design`, each in its best way: first those with
    all devices connected as in the design, then those with n for p, then by transistors alone."""
    looked = _Looked(design)
    for bare, mirrored in itertools.product((False, True), repeat=2):
        found = [(name, looked.at(name, entry, mirrored, bare), entry["measures"])
                 for name, entry in index.items() if entry.get("counts")]  # fmt: skip
        yield [(name, replace(over, names=names_of(design, measures)))
               for name, over, measures in found if over is not None]  # fmt: skip


class _Looked:
    """A design as it is held against circuits of the library."""

    def __init__(self, design: Design) -> None:
        self._design, self._decks = design, Decks(design)
        # testbenches mostly have the same circuit, and one look at it is enough
        self._cells = {tuple((part.kind, part.nets) for part in each[2].parts): each
                       for each in reversed(list(self._decks.cells()))}  # fmt: skip
        self._sizes: dict[tuple[str, int], Sized] = {}
        self._cores: dict[str, tuple[Core, bool] | None] = {}

    def at(self, name: str, entry: Mapping[str, Any], mirrored: bool, bare: bool) -> Laid | None:
        """The library's circuit `name` laid over the design in its best way; None where it is
        another circuit."""
        likely = [(bench, place, cell.complement if mirrored else cell)
                  for bench, place, cell in reversed(self._cells.values())]  # fmt: skip
        if bare:
            likely = [e for e in likely if may_hold_bare(e[2].bare_counts, entry["bare_counts"])]
        else:
            likely = [each for each in likely if may_hold(each[2].counts, entry["counts"])]
        there = self._core(name, entry) if likely else None
        if there is None:
            return None
        core, here = there
        ways = [(bench, place, overlay) for bench, place, cell in likely
                for overlay in overlays(core.cell, cell, bare)]  # fmt: skip
        fits = [Fit.of(self._sized(bench, place), core.sized, overlay)
                for bench, place, overlay in ways]  # fmt: skip
        best = max(fits, key=lambda fit: (sum(fit.known), -fit.miss), default=None)
        if best is None or best.miss > FAR_OFF:
            return None
        both = zip(best.own.parameters, best.known, strict=True)
        known = tuple(each for each, yes in both if yes)
        return Laid(core.library, here, mirrored, bare, best, {}, known)

    def _core(self, name: str, entry: Mapping[str, Any]) -> tuple[Core, bool] | None:
        if name not in self._cores:
            lengths = [part.sizes[LENGTH] for *_, cell in self._cells.values()
                       for part in cell.parts if LENGTH in part.sizes]  # fmt: skip
            found = opened(name, self._design, min(lengths, default=0.0))
            same = found is not None and _is_as_learnt(found[0], entry)
            self._cores[name] = (
                (Core(found[0], entry["core"]), found[1]) if found and same else None
            )
        return self._cores[name]

    def _sized(self, bench: Testbench, place: int) -> Sized:
        key = bench.name, place
        if key not in self._sizes:
            self._sizes[key] = self._decks.sized(bench, place)
        return self._sizes[key]


def _is_as_learnt(library: Design, entry: Mapping[str, Any]) -> bool:
    """False where a plugin has another circuit of this name."""
    free = {each.name for each in library.free}
    there = entry["core"]["testbench"] in library.testbenches
    return there and set(entry["axes"]) <= free and set(entry["measures"]) <= set(library.measures)


def opened(name: str, design: Design, shortest: float) -> tuple[Design, bool] | None:
    """A library's circuit in the design's technology, and True; else in the one whose shortest
    channel is nearest to `shortest`, m (0 where that is not known), and False. None where the
    library has no such circuit."""
    plugins = Plugins(silent=True)  # what there is to tell was told when the design was loaded
    try:
        circuit = catalogue(plugins).circuit(name)
        own = design.technology.name if design.technology else ""
        here = own in circuit.technologies
        technology = own if here else _nearest(circuit, shortest, plugins)
        return open_circuit(circuit, technology, plugins=plugins).design, here
    except M3edaError:
        return None


def _nearest(circuit: Circuit, shortest: float, plugins: Plugins) -> str:
    def distance(name: str) -> float:
        length = parse(str(entry_of(technology_of(name, plugins), "sizes", "l_min")))
        return abs(math.log(shortest / length))

    return min(circuit.technologies, key=distance) if shortest else circuit.technologies[0]


def names_of(design: Design, known: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Measures of `design` with a spec -> those `known` (name -> unit, log and expr) that are the
    same quantity in a unit that can be read, by name where several are; of those that are left
    and do not tell what they are, the only ones of a unit."""
    theirs = {name: Measure(name, expression=about["expr"], unit=about["unit"])
              for name, about in known.items()}  # fmt: skip
    own = {name: design.measures[name] for name in design.specs}
    found = _paired(own, theirs, known, lambda measure: _kind(quantity_of(measure) or measure.name))
    own = {name: each for name, each in own.items()
           if name not in found and each.unit and not quantity_of(each)}  # fmt: skip
    theirs = {name: each for name, each in theirs.items() if name not in found.values()}
    found |= _paired(own, theirs, known, lambda measure: measure.unit)
    return {name: other for name, other in found.items()
            if not (known[other]["log"] and _is_negative(design.specs[name]))}  # fmt: skip


def _is_negative(spec: Spec) -> bool:
    """True where a limit is below zero: a current counted into the supply is."""
    limits = spec.limits
    return any(each is not None and each < 0.0
               for each in (limits.minimum, limits.maximum, limits.target))  # fmt: skip


def _paired(
    own: Mapping[str, Measure], theirs: Mapping[str, Measure],
    known: Mapping[str, Mapping[str, Any]], label: Callable[[Measure], str],
) -> dict[str, str]:  # fmt: skip
    """Those of one label, where both have only one of it or one of the same name."""
    found = {}
    for name, measure in own.items():
        alike = [
            other
            for other, each in theirs.items()
            if label(each) == label(measure)
            and scale_in(Scale(known[other]["log"], 0.0, 1.0), each.unit, unit_of(measure), 1.0)
        ]
        if name in alike or len(alike) == 1:
            found[name] = name if name in alike else alike[0]
    taken = list(found.values())
    return {each: other for each, other in found.items()
            if each == other or taken.count(other) == 1}  # fmt: skip


def unit_of(measure: Measure) -> str:
    """As it says, else decibels where its formula gives those."""
    return measure.unit or ("dB" if measure.expression.startswith("db(") else "")


def _kind(quantity: str) -> str:
    """Supply current and power are the same but for the supply."""
    return "supply current" if quantity == "power" else quantity


def scale_in(scale: Scale, unit: str, own: str, supply: float) -> Scale | None:
    """`scale`, of values in `unit`, for values in the unit `own`: as `Scale.read_in`, and a power
    for a current of the `supply`, V, or the other way round; what has no unit is in `unit`, or a
    ratio for decibels. None where there is none."""
    if {unit, own} == {"A", "W"} and scale.log:
        factor = supply if own == "W" else 1.0 / supply
        return Scale(True, scale.middle + math.log(factor), scale.spread)
    if not own:
        return scale.read_in(unit, "V/V") if unit == "dB" else scale
    return scale.read_in(unit, own)


class Overlaid:
    """Networks of a circuit that is laid over a design; what the agent `m3` asks.

    Its parameters and measures are those of the design.
    """

    def __init__(self, placed: Placed, found: Laid, design: Design) -> None:
        """`placed` has all parameters of the library, none of them fixed."""
        self._placed, self._fit = placed, found.fit
        known = dict(zip(found.fit.own.parameters, range(len(found.fit.own.at)), strict=True))
        self.axes = tuple(axis for axis in Space(design).axes if axis.name in found.parameters)
        self._columns = [known[axis.name] for axis in self.axes]
        self._names = dict(found.names)
        self.measures = tuple(found.names)
        places = [placed.measures.index(name) for name in found.names.values()]
        supply = supply_of(design, found.library)
        scales = []
        for own, place in zip(found.names, places, strict=True):
            units = (
                found.library.measures[placed.measures[place]].unit,
                unit_of(design.measures[own]),
            )
            scales.append(scale_in(placed.scales[place], *units, supply) or placed.scales[place])
        self.scales = tuple(scales)
        self.errors = placed.errors[places]
        self.facts: Mapping[str, Any] = placed.facts
        self.usual: Mapping[str, Value] = {}

    local = False

    def answer(self, x: FloatArray, measures: Sequence[str]) -> Answer:
        """For unit points of these axes, shape (n, d)."""
        return self._placed.answer(self._there(x), [self._names[name] for name in measures])

    def learn(self, x: FloatArray, values: FloatArray, measures: Sequence[str]) -> None:
        """As `Placed.learn`."""
        points = self._there(x) if len(x) else np.empty((0, len(self._placed.axes)))
        self._placed.learn(points, values, [self._names[name] for name in measures])

    def good(self, ends: Sequence[tuple[float, float]], measures: Sequence[str]) -> FloatArray:
        """Unit points to search around, shape (n, d)."""
        points = self._placed.good(ends, [self._names[name] for name in measures])
        theirs = np.tile(self._fit.other.at, (len(points), 1))
        names = self._fit.other.parameters
        for column, axis in zip(points.T, self._placed.axes, strict=True):
            if axis.name in names:
                theirs[:, names.index(axis.name)] = _logs(axis, column)
        own = np.exp(self._fit.back(theirs))[:, self._columns]
        columns = [_units(axis, column) for axis, column in zip(self.axes, own.T, strict=True)]
        return np.stack(columns, axis=1)

    def _there(self, x: FloatArray) -> FloatArray:
        """Unit points of the networks' parameters."""
        own = np.tile(self._fit.own.at, (len(x), 1))
        for place, axis, column in zip(self._columns, self.axes, x.T, strict=True):
            own[:, place] = _logs(axis, column)
        values = np.exp(self._fit.there(own))
        found = np.full((len(x), len(self._placed.axes)), 0.5)
        names = self._fit.other.parameters
        for place, axis in enumerate(self._placed.axes):
            if axis.name in names:
                found[:, place] = _units(axis, values[:, names.index(axis.name)])
            elif axis.parameter.start is not None:
                found[:, place] = axis.unit(axis.parameter.start)
        return found


def _logs(axis: Axis, units: FloatArray) -> FloatArray:
    """Logarithms of values at unit coordinates, shape (n,)."""
    if axis.choices:
        values = np.array([float(axis.value(each)) for each in units])
    else:
        values = Ranges([axis.parameter]).numbers(units[:, None])[:, 0]
    return np.asarray(np.log(np.maximum(values, LEAST)))


def _units(axis: Axis, values: FloatArray) -> FloatArray:
    """Unit coordinates of values, shape (n,), within the range."""
    if axis.choices:
        return np.array([axis.unit(each) for each in values.tolist()])
    return Ranges([axis.parameter]).units(values[:, None])[:, 0]


def supply_of(design: Design, library: Design) -> float:
    """The supply of `design`, V, by its name, else that of the library's circuit."""
    for conditions in (design.conditions, library.conditions):
        value = conditions.get(SUPPLY_NAME)
        if isinstance(value, int | float) and value > 0.0:
            return float(value)
    return 1.0
