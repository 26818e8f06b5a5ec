"""What a circuit is, however its deck writes it: transistors in parallel are one, dummies none, and
what a subcircuit holds stands by itself."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from m3eda.structure.elements import GROUND, NMOS, PMOS, VALUE, Devices, Element, Instance

WIDTH, LENGTH = "width", "length"
"""Sizes of a transistor: of all fingers and copies, and of its channel, m."""
SOURCE = "i"
_PASSIVES = frozenset("rcl")
_COMPLEMENTS = {NMOS: PMOS, PMOS: NMOS}


@dataclass(frozen=True)
class Part:
    """A device, or transistors in parallel."""

    kind: str
    """nmos or pmos, else the letter of its card; of passives in series all their letters."""
    nets: tuple[str, ...]
    """Of a transistor drain, gate and source."""
    sizes: Mapping[str, float]
    """`WIDTH` and `LENGTH` of a transistor, of passives by their letters, `VALUE` of others; where
    it is a positive number."""
    name: str

    @property
    def is_transistor(self) -> bool:
        """A field-effect transistor."""
        return self.kind in _COMPLEMENTS

    @property
    def is_passive(self) -> bool:
        """Whether both ends are alike."""
        return _PASSIVES.issuperset(self.kind)


@dataclass(frozen=True)
class Cell:
    """A circuit: the inside of a subcircuit, or a whole deck."""

    parts: tuple[Part, ...]
    steady: frozenset[str]
    """Nets that ground or a voltage source holds."""
    instance: Instance
    """What it is the inside of."""

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """Kind -> how many there are."""
        return Counter(part.kind for part in self.parts)

    @cached_property
    def nets(self) -> Mapping[str, int]:
        """Net -> its number behind those of the parts, for graphs: sets of names have another
        order in each process."""
        every = dict.fromkeys(net for part in self.parts for net in part.nets)
        return {net: len(self.parts) + number for number, net in enumerate(every)}

    def only(self, places: Sequence[int]) -> Cell:
        """With the parts at `places` alone."""
        return replace(self, parts=tuple(self.parts[place] for place in places))

    @cached_property
    def references(self) -> frozenset[int]:
        """Places of the diodes that give others their gate voltage and carry no current of theirs:
        what generates a bias, where another circuit may have a source."""
        on: dict[str, list[tuple[int, int]]] = {}
        for place, part in enumerate(self.parts):
            for end, net in enumerate(part.nets if part.is_transistor else ()):
                on.setdefault(net, []).append((place, end))
        diodes = [place for place, part in enumerate(self.parts)
                  if part.is_transistor and part.nets[0] == part.nets[1]]  # fmt: skip
        return frozenset(
            place for place in diodes
            if all(end == 1 or other == place for other, end in on[self.parts[place].nets[0]])
        )  # fmt: skip

    @cached_property
    def bare_counts(self) -> Mapping[str, int]:
        """Kind -> how many there are, without `references`."""
        return Counter(part.kind for place, part in enumerate(self.parts)
                       if place not in self.references)  # fmt: skip

    @cached_property
    def complement(self) -> Cell:
        """The same with transistors of holes for those of electrons and the other way round."""
        parts = tuple(replace(part, kind=_COMPLEMENTS.get(part.kind, part.kind))
                      for part in self.parts)  # fmt: skip
        return replace(self, parts=parts)

    @property
    def transistors(self) -> tuple[int, int]:
        """How many of electrons and of holes."""
        return self.counts.get(NMOS, 0), self.counts.get(PMOS, 0)

    @property
    def logs(self) -> dict[tuple[int, str], float]:
        """(part, size) -> its logarithm."""
        return {(place, key): math.log(value) for place, part in enumerate(self.parts)
                for key, value in part.sizes.items()}  # fmt: skip


def cells(devices: Devices) -> list[Cell]:
    """The smallest subcircuit that holds every transistor, those around it, and the whole deck."""
    whole = Instance()
    found = [_cell(devices, whole, {GROUND})]
    many = sum(found[0].transistors)
    while many:
        around = found[-1]
        open_ = {each.instance.scope for each in found}
        inner = (
            _cell(devices, each, {GROUND, *_held_pins(each, around.steady)})
            for each in devices.instances(around.instance)
            if each.scope not in open_
        )
        holding = next((each for each in inner if sum(each.transistors) == many), None)
        if holding is None:
            break
        found.append(holding)
    return found[::-1]


def _held_pins(instance: Instance, steady: frozenset[str]) -> set[str]:
    """The pins of `instance`, as nets inside of it, that are held outside."""
    return {pin for pin, net in instance.pins if net in steady}


def _cell(devices: Devices, instance: Instance, steady: set[str]) -> Cell:
    elements = _wired(list(devices.elements(instance)))
    parts, ends = list(_parts(elements)), {GROUND, *(pin for pin, _ in instance.pins)}
    return Cell(tuple(_joined(parts, ends)), frozenset(_held(elements, steady)), instance)


def _wired(elements: Sequence[Element]) -> list[Element]:
    """With the nets that wires connect as one: ground, where it is one of them and a transistor's
    drain or source the other. An input that stands at 0 V is a net of its own."""
    names: dict[str, str] = {}

    def name(net: str) -> str:
        while net in names:
            net = names[net]
        return net

    def join(one: str, other: str) -> None:
        kept, gone = sorted((name(one), name(other)), key=lambda net: net != GROUND)
        if kept != gone:
            names[gone] = kept

    wires = [each for each in elements if each.is_wire]
    grounded = [each for each in wires if GROUND in each.nets]
    for each in wires:
        if each not in grounded:
            join(*each.nets)
    carrying = {name(net) for each in elements if each.is_transistor
                for net in (each.nets[0], each.nets[2])}  # fmt: skip
    kept = [each for each in grounded if not carrying & {*map(name, each.nets)} - {GROUND}]
    for each in grounded:
        if each not in kept:
            join(*each.nets)
    return [replace(each, nets=tuple(map(name, each.nets)))
            for each in elements if not each.is_wire or each in kept]  # fmt: skip


def _held(elements: Sequence[Element], held: set[str]) -> set[str]:
    """The nets that voltage sources hold, from those that something holds already."""
    sources = [each.nets for each in elements if each.kind == "v" and len(each.nets) == 2]
    found = set(held)
    while grown := {net for nets in sources if found & set(nets) for net in nets} - found:
        found |= grown
    return found


def _parts(elements: Sequence[Element]) -> Iterator[Part]:
    """Without transistors that are off or capacitors, their source at their gate or drain: dummies
    and decoupling, which are no part of what a circuit is."""
    groups: dict[tuple[object, ...], list[Element]] = {}
    for number, each in enumerate(elements):
        if each.is_transistor and each.nets[2] in each.nets[:2]:
            continue
        key = (each.kind, each.model, each.nets[:3]) if each.is_transistor else (number,)
        groups.setdefault(key, []).append(each)
    for group in groups.values():
        first = group[0]
        nets = first.nets[:3] if first.is_transistor else first.nets
        sizes = {key: value for key, value in _sizes(group).items()
                 if math.isfinite(value) and value > 0.0}  # fmt: skip
        yield Part(first.kind, nets, sizes, first.name)


def _joined(parts: list[Part], ends: set[str]) -> list[Part]:
    """With passives in series as one, which may be written in either order: two of different kinds
    on a net that is none of `ends` and holds nothing else."""
    found, on = dict(enumerate(parts)), dict[str, list[int]]()
    for place, part in found.items():
        for net in part.nets:
            on.setdefault(net, []).append(place)
    pairs = [net for net, places in on.items() if len(places) == 2 and net not in ends]
    for net in sorted(pairs, key=lambda net: on[net]):
        first, second = on[net]
        one, other = found[first], found[second]
        both = one.is_passive and other.is_passive and len(one.nets) == len(other.nets) == 2
        if not both or {*one.kind} & {*other.kind}:
            continue
        found[first] = _in_series(one, found.pop(second), net)
        for end in other.nets:
            on[end] = [first if place == second else place for place in on[end]]
    return list(found.values())


def _in_series(one: Part, other: Part, net: str) -> Part:
    nets = tuple(each for part in (one, other) for each in part.nets if each != net)
    kind = "".join(sorted(one.kind + other.kind))
    return Part(kind, nets, {**one.sizes, **other.sizes}, one.name)


def _sizes(group: Sequence[Element]) -> Mapping[str, float]:
    first = group[0]
    if not first.is_transistor:
        value = first.sizes.get(VALUE)
        key = first.kind if first.kind in _PASSIVES else VALUE
        return {} if value is None else {key: abs(value)}
    width = sum(each.sizes["w"] * each.sizes["m"] for each in group)
    return {WIDTH: width, LENGTH: first.sizes["l"]}
