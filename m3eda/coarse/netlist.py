"""The equations of a deck: its devices by the places of their nets, its values by the holes that
sizes fill, its analyses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from m3eda.coarse.behaviour import Behaviour, behaviour_of
from m3eda.coarse.junctions import Junction, junction_of, models_of
from m3eda.coarse.quantities import Quantity, Unsupported, Values, number
from m3eda.design.ranges import FloatArray
from m3eda.design.types import Technology
from m3eda.importing.cards import Card, spice_number
from m3eda.importing.devices import Circuit
from m3eda.structure.elements import GROUND, Devices, Element

Array = np.ndarray
ANALYSES = (".op", ".ac", ".dc", ".noise", ".sp", ".tran")
UNREAD = frozenset({".ic", ".nodeset", ".if", ".func", ".step", ".data"})
"""Cards that change what a deck means."""
PASSIVE = frozenset({"r", "c", "l", "value", "m", "ac", "noisy", "ic", "tc1", "tc2"})
"""Keys of resistors, capacitors and inductors that are read, or do not matter."""
TEMPERATURE = "temp"
"""What is swept where it is no source."""
_SEPARATORS = re.compile(r"[(),\s]+")


@dataclass(frozen=True)
class Branch:
    """An element other than a transistor, by the places of its nets; -1 is ground."""

    kind: str
    """Its letter."""
    name: str
    ends: tuple[int, int]
    value: Quantity
    """R, C, L, the gain of a controlled source, the DC value of another."""
    place: int = -1
    """Of its current among the unknowns, where that is one."""
    control: tuple[int, int] = (-1, -1)
    """Places of the nets that control it, or of the current and -1."""
    ac: Quantity | None = None
    """Magnitude for small signals."""
    shape: str = ""
    """Of a source that changes in time: pulse, pwl, sin or exp."""
    times: tuple[Quantity, ...] = ()
    """The numbers of its shape, in the order of SPICE."""
    port: int = 0
    """Its number, where it is a port."""
    impedance: Quantity | None = None
    """Of a port, in series with it, Ohm."""
    drift: tuple[float, float] = (0.0, 0.0)
    """Of a resistor, what its share of change is by the degrees above 27, and by their square."""


@dataclass(frozen=True)
class Transistor:
    """A field-effect transistor by the places of drain, gate, source and bulk."""

    name: str
    kind: str
    model: str
    places: tuple[int, int, int, int]
    width: Quantity
    """m, of one of `count`."""
    length: Quantity
    count: Quantity


@dataclass(frozen=True)
class Analysis:
    """What a deck asks for."""

    kind: str
    """op, ac, dc, noise, sp or tran."""
    card: Card
    steps: str = ""
    """Of frequencies: dec, oct or lin."""
    numbers: tuple[Quantity, ...] = ()
    """Points, first and last frequency; of a sweep first and last value and the step; of a
    transient as SPICE has them: step, end, first time that is kept, largest step."""
    source: str = ""
    """The source that is swept, or whose noise stands for all."""
    output: tuple[str, ...] = ()
    """The nets between which noise is looked at."""


@dataclass
class Netlist:
    """A deck ready for equations."""

    nets: dict[str, int] = field(default_factory=dict)
    """Net -> its place among the unknowns; ground is none."""
    branches: list[Branch] = field(default_factory=list)
    transistors: list[Transistor] = field(default_factory=list)
    junctions: list[Junction] = field(default_factory=list)
    behaviours: list[Behaviour] = field(default_factory=list)
    analyses: list[Analysis] = field(default_factory=list)
    size: int = 0
    """How many unknowns there are: voltages of nets, and currents."""
    temperature: float = 27.0
    """Degrees Celsius."""

    @property
    def plain(self) -> bool:
        """Whether field-effect transistors are all that is not linear."""
        return not self.junctions and not self.behaviours

    def place(self, net: str) -> int:
        """Of a net among the unknowns; -1 of ground. Raises Unsupported."""
        if net == GROUND:
            return -1
        if net not in self.nets:
            raise Unsupported(f"there is no net {net}")
        return self.nets[net]


Reader = Callable[[str], Circuit]
"""The circuit of a deck's text."""


def netlist_of(
    skeleton: Callable[[Sequence[str]], str], holes: int, read: Reader,
    technology: Technology | None = None,
) -> Netlist:  # fmt: skip
    """The netlist of a deck with `holes` holes. Raises Unsupported, DesignError.

    Which hole fills which value is found by decks filled with numbers that occur nowhere else.
    """
    marks = [1.0 + (k + 1) / 7919.0 for k in range(holes)], [
        1.0 + ((k * 3571 + 1234) % 7907 + 1) / 7919.0 for k in range(holes)
    ]  # fmt: skip
    try:
        first, second = (
            _Built(read(skeleton([repr(mark) for mark in each])), technology) for each in marks
        )
        return _joined(first, second, *(np.array(each) for each in marks))
    except (IndexError, KeyError, ValueError, TypeError) as error:  # cards that are cut short
        raise Unsupported("it has a card that is not read") from error


class _Built:
    """A deck's elements with plain numbers."""

    def __init__(self, circuit: Circuit, technology: Technology | None) -> None:
        for card in circuit.cards:
            if card.head in UNREAD:
                raise Unsupported(f"{card.head} is not read")
        for device in circuit.all_devices:
            calls = device.letter == "x" and device.model.lower() in circuit.subcircuits
            if calls and "m" in device.card.assigned:
                raise Unsupported(f"{device.name} stands for several subcircuits")
        self.models = models_of(circuit)
        self.elements = list(Devices(circuit, technology).elements())
        self.cards = [
            card for card in circuit.cards if card.head.startswith(".") and not card.scope
        ]


def _joined(one: _Built, other: _Built, first: FloatArray, second: FloatArray) -> Netlist:
    if len(one.elements) != len(other.elements) or len(one.cards) != len(other.cards):
        raise Unsupported("which devices there are depends on sizes")
    values = Values(first, second)
    found = Netlist()
    for element in one.elements:
        for net in element.nets[: 4 if element.is_transistor else 3 if element.kind == "q" else 2]:
            if net != GROUND and net not in found.nets:
                found.nets[net] = len(found.nets)
    found.size = len(found.nets)
    places: dict[str, int] = {}
    for each in one.elements:
        if each.kind in "vleh":
            places[each.name] = found.size
            found.size += 1
    for each, twin in zip(one.elements, other.elements, strict=True):
        if each.kind in "dq":
            ends = [found.place(net) for net in each.nets[:3]]
            count = values.of(_area(each), _area(twin), each.name)
            own = junction_of(each.name, each.kind, each.model, ends, count, one.models)
            found.junctions.append(own)
        elif each.kind == "b" and each.written and twin.written:
            two = found.place(each.nets[0]), found.place(each.nets[1])
            texts = each.written.text, twin.written.text
            source = behaviour_of(each.name, two, texts, found.place, values)
            found.behaviours.append(source)
        else:
            _add(found, each, twin, values, places)
    for card, twin_card in zip(one.cards, other.cards, strict=True):
        if card.head == ".temp":
            found.temperature = _constant(values.words(card.words[1], twin_card.words[1]))
        elif card.head in ANALYSES:
            analysis = _analysis(card, twin_card, values)
            sources = {each.name for each in found.branches if each.kind in "vi"}
            if analysis.source and analysis.source not in sources | {TEMPERATURE}:
                raise Unsupported(f"{analysis.source} is no source that is swept")
            found.analyses.append(analysis)
    return found


def _constant(quantity: Quantity) -> float:
    if quantity.hole >= 0:
        raise Unsupported("the temperature depends on sizes")
    return quantity.factor


def _add(found: Netlist, each: Element, twin: Element, values: Values,
         places: Mapping[str, int]) -> None:  # fmt: skip
    name = each.name
    if each.is_transistor:
        nets = [found.place(net) for net in each.nets]
        if len(nets) != 4:
            raise Unsupported(f"{name} has no four nets")
        d, g, s, b = nets
        sizes = [values.of(each.sizes[key], twin.sizes[key], name) for key in ("w", "l")]
        sizes.append(values.of(_count(each), _count(twin), name))
        found.transistors.append(Transistor(name, each.kind, each.model, (d, g, s, b), *sizes))
        return
    ends = (found.place(each.nets[0]), found.place(each.nets[1]))
    place = places.get(name, -1)
    if each.kind in "rcl":
        value = _passive(each, twin, values)
        found.branches.append(Branch(each.kind, name, ends, value, place, drift=_drift(each)))
    elif each.kind in "vi":
        given = _levels(each, twin, values)
        found.branches.append(Branch(each.kind, name, ends, place=place, **given))
    elif each.kind in "egfh" and each.control and each.written and twin.written:
        words = each.written.words[3 + len(each.control) :]
        others = twin.written.words[3 + len(each.control) :]
        if len(words) != 1:
            raise Unsupported(f"{name} is no plain controlled source")
        gain = values.words(words[0], others[0])
        if each.kind in "eg":
            first, second = (found.place(net) for net in each.control)
            control = (first, second)
        elif each.control[0] in places:
            control = (places[each.control[0]], -1)
        else:
            raise Unsupported(f"{name} goes by {each.control[0]}, which is no voltage source")
        found.branches.append(Branch(each.kind, name, ends, gain, place, control))
    else:
        raise Unsupported(f"{name} is no device that the coarse model knows")


def _passive(each: Element, twin: Element, values: Values) -> Quantity:
    """Of a resistor, capacitor or inductor, of all that `m` says are in parallel."""
    assert each.written is not None
    assert twin.written is not None
    words, assigned = each.written.words[3:], each.written.assigned
    named = {each.kind, "value"} & assigned.keys()
    if len(words) > (0 if named else 1) or set(assigned) - PASSIVE:
        raise Unsupported(f"{each.name} is more than a plain value")
    found = values.of(each.sizes["value"], twin.sizes["value"], each.name)
    if "m" not in assigned:
        return found
    count = values.words(assigned["m"], twin.written.assigned["m"])
    if count.hole >= 0 or not count.factor:
        raise Unsupported(f"how many {each.name} stands for is no plain number")
    share = count.factor if each.kind == "c" else 1.0 / count.factor
    return Quantity(found.factor * share, found.hole)


def _drift(each: Element) -> tuple[float, float]:
    assert each.written is not None
    assigned = each.written.assigned
    if each.kind != "r" and {"tc1", "tc2"} & assigned.keys():
        raise Unsupported(f"{each.name} goes with the temperature")
    first, second = (number(assigned[key]) if key in assigned else 0.0 for key in ("tc1", "tc2"))
    if not np.isfinite([first, second]).all():
        raise Unsupported(f"{each.name} has no plain temperature coefficient")
    return first, second


def _area(each: Element) -> float:
    """Of a diode or bipolar transistor, of all that are in parallel."""
    assert each.written is not None
    assigned = each.written.assigned
    words = each.written.words[len(each.nets) + 2 :]
    if set(assigned) - {"area", "m"} or len(words) > ("area" not in assigned):
        raise Unsupported(f"{each.name} is more than an area and how many there are")
    found = 1.0 if not words else number(words[0])
    for key in ("area", "m"):
        found *= number(assigned[key]) if key in assigned else 1.0
    return found


def _count(each: Element) -> float:
    """Transistors in parallel; fingers share the width that is written."""
    assert each.written is not None
    return each.sizes["m"] if {"m", "mult"} & each.written.assigned.keys() else 1.0


SHAPES = ("pulse", "pwl", "sin", "exp")


def _levels(each: Element, twin: Element, values: Values) -> dict[str, Any]:
    """Of a source the DC value, its first one in time where there is none; its magnitude for small
    signals; its shape in time and that one's numbers; its port."""
    assert each.written is not None
    assert twin.written is not None
    pairs = list(zip(_words(each.written), _words(twin.written), strict=True))
    dc, ac, index = None, None, 0
    shape, times = "", list[Quantity]()
    found: dict[str, Any] = {}
    while index < len(pairs):
        key = pairs[index][0].lower()
        numbers = index + 1
        while numbers < len(pairs) and spice_number(pairs[numbers][0]) is not None:
            numbers += 1
        given = [_quantity(pair, values) for pair in pairs[index + 1 : numbers]]
        if key == "dc" and given:
            dc = given[0]
        elif key == "ac":
            ac = given[0] if given else Quantity(1.0)
        elif key in SHAPES and given:
            shape, times = key, given
        elif index == 0 and spice_number(key) is not None:
            dc = _quantity(pairs[0], values)
        elif key == "portnum" and given:
            found["port"] = int(given[0].factor)
            found.setdefault("impedance", Quantity(50.0))
        elif key == "z0" and given:
            found["impedance"] = given[0]
        elif key not in ("distof1", "distof2"):
            raise Unsupported(f"{each.name} is a source of another kind: {key}")
        index = numbers
    if dc is None:
        dc = times[1 if shape == "pwl" else 0] if times else Quantity(0.0)
    return found | {"value": dc, "ac": ac, "shape": shape, "times": tuple(times)}


def _quantity(pair: tuple[str, str], values: Values) -> Quantity:
    one, other = (spice_number(text) for text in pair)
    if one is None or other is None:
        raise Unsupported(f"{pair[0]} is no plain number")
    return values.of(one, other, pair[0])


def _words(card: Card) -> Iterator[str]:
    """Those behind the nets."""
    pieces = [piece for piece in _SEPARATORS.split(card.text.replace("=", " ")) if piece]
    return iter(pieces[3:])


def _analysis(card: Card, twin: Card, values: Values) -> Analysis:
    kind = card.head[1:]
    words = [piece for piece in _SEPARATORS.split(card.text.lower()) if piece][1:]
    others = [piece for piece in _SEPARATORS.split(twin.text.lower()) if piece][1:]
    pairs = list(zip(words, others, strict=True))
    if kind in ("ac", "sp") and len(words) == 4:
        return Analysis(kind, card, words[0], tuple(_quantity(each, values) for each in pairs[1:]))
    if kind == "dc" and len(words) == 4:
        numbers = tuple(_quantity(each, values) for each in pairs[1:])
        return Analysis(kind, card, numbers=numbers, source=words[0])
    if kind == "noise" and "v" in words[:1]:
        steps = next((k for k, word in enumerate(words) if word in ("dec", "oct", "lin")), -1)
        if steps in (3, 4) and len(words) >= steps + 4:
            numbers = tuple(_quantity(each, values) for each in pairs[steps + 1 : steps + 4])
            output = tuple(words[1 : steps - 1])
            return Analysis(kind, card, words[steps], numbers, words[steps - 1], output)
    if kind == "tran" and len(words) >= 2 and "uic" not in words:
        return Analysis(kind, card, numbers=tuple(_quantity(each, values) for each in pairs))
    if kind == "op":
        return Analysis(kind, card)
    raise Unsupported(f"{card.text} is not read")
