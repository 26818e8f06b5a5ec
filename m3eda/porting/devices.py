"""The transistors of a rendered deck: their sizes, and which parameter decides which size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from m3eda.design.types import Design, Parameter, Sizing, Technology
from m3eda.errors import DesignError
from m3eda.importing.devices import Circuit, device_of
from m3eda.importing.devices import Device as Card
from m3eda.importing.reader import netlist_of
from m3eda.importing.slots import Slots, find_slots
from m3eda.simulate.render import Renderer
from m3eda.units import parse

SIZES = ("w", "l", "m")
_COUNTS = ("m", "mult", "nf", "ng", "mf")
_STEP = 1.25
"""Factor by which a parameter moves to see what it sizes."""
_DEEPEST = 20


@dataclass(frozen=True)
class Transistor:
    """One transistor of a deck, once for each way to it."""

    name: str
    """As measures call it, the subcircuits around it first: `x1.mn3`."""
    testbench: str
    model: str
    """In lower case."""
    gate: tuple[str, ...]
    """Subcircuit, gate and source net: equal for the devices of a current mirror."""
    sizes: Mapping[str, float]
    """w and l in m, and the multiplier m, fingers included; nan for what is no plain number."""
    card: tuple[str, str]
    """Subcircuit and card: the same for the same transistor of two instances."""

    @property
    def width(self) -> float:
        """Of all fingers and copies, m."""
        return self.sizes["w"] * self.sizes["m"]


def transistors(design: Design, renderer: Renderer, sizing: Sizing) -> list[Transistor]:
    """The transistors of every testbench at `sizing`, each where it is met first.

    Empty for decks that are no SPICE netlists. Raises DesignError where a template fails.
    """
    found: dict[str, Transistor] = {}
    for testbench in design.testbenches.values():
        at = testbench.at_points()[0]
        deck = renderer.deck(at, design.nominal, sizing)
        try:
            circuit = Circuit(netlist_of(testbench.template, deck.text))
            every = list(_walk(circuit, testbench.name, design.technology))
        except (DesignError, IndexError):
            continue
        for each in every:
            found.setdefault(each.name, each)
    return list(found.values())


def _walk(circuit: Circuit, testbench: str, technology: Technology | None) -> Iterator[Transistor]:
    by_scope: dict[str, list[Card]] = {}
    for card in circuit.cards:
        if not card.head.startswith("."):
            by_scope.setdefault(card.scope, []).append(device_of(card, circuit.subcircuits))
    slots = find_slots(circuit)
    unit = _unit(technology)

    def inside(scope: str, around: tuple[str, ...]) -> Iterator[Transistor]:
        for device in by_scope.get(scope, ()):
            model = device.model.lower()
            if device.letter == "x" and model in circuit.subcircuits:
                if len(around) < _DEEPEST:
                    yield from inside(model, (*around, device.name))
            elif device.is_transistor:
                inner = (f"m{model}",) if device.letter == "x" else ()
                yield Transistor(
                    ".".join((*around, device.name, *inner)), testbench, model,
                    (".".join(around), device.gate, device.source),
                    _sizes(device, slots, unit), (device.scope, device.name),
                )  # fmt: skip

    return inside("", ())


def _unit(technology: Technology | None) -> float:
    """The length in m that `w=1` stands for."""
    instance = technology.data.get("instance", {}) if technology else {}
    return parse(str(instance.get("unit", 1)))


def _sizes(device: Card, slots: Slots, unit: float) -> dict[str, float]:
    found = {key: _value(device, key, slots) * unit for key in ("w", "l")}
    counts = [_value(device, key, slots) for key in _COUNTS if key in device.card.assigned]
    # fingers share the width that is written
    return {**found, "m": math.prod(counts[:1]) if counts else 1.0}


def _value(device: Card, key: str, slots: Slots) -> float:
    word = device.card.assigned.get(key)
    if word is None:
        return math.nan
    if word.value is not None:
        return word.value
    slot = slots.at(device, key)
    return math.nan if slot is None else slot.value / slot.written_in


def distinct(found: Sequence[Transistor]) -> list[int]:
    """Places of those that are no second instance of the same card with the same sizes."""
    places: dict[tuple[object, ...], int] = {}
    for place, each in enumerate(found):
        places.setdefault((each.card, *map(str, each.sizes.values())), place)
    return list(places.values())


Traced = Mapping[str, Sequence[Mapping[str, float]]]
"""Parameter -> for each transistor: size -> its exponent in the parameter."""


def traced(design: Design, sizing: Sizing, complete: Callable[[Sizing], Sizing]) -> Traced:
    """How each free number decides the sizes of `transistors(design, ..., sizing)`, in order, by
    decks with the number moved; parameters that decide none are left out."""
    renderer = Renderer(design)
    here = transistors(design, renderer, sizing)
    found: dict[str, list[Mapping[str, float]]] = {}
    for parameter in design.free:
        value = sizing[parameter.name]
        if isinstance(value, str) or not value > 0.0:
            continue
        moved = _moved(parameter, value)
        if moved == value:
            continue
        there = transistors(design, renderer, complete({**sizing, parameter.name: moved}))
        if len(there) != len(here):
            continue  # it decides which devices there are, and not how large
        scale = math.log(moved / value)
        slopes: list[Mapping[str, float]]
        slopes = [_slopes(one, other, scale) for one, other in zip(here, there, strict=True)]
        if any(slopes):
            found[parameter.name] = slopes
    return found


def _moved(parameter: Parameter, value: float) -> float:
    """Another value, which need not be in the range."""
    if parameter.choices:
        others = [float(each) for each in parameter.choices if each != value]
        return min(others, key=lambda each: abs(each - value), default=value)
    step = parameter.step or 0.0
    return value + max(step, round((_STEP - 1.0) * value / step) * step) if step else _STEP * value


def _slopes(one: Transistor, other: Transistor, scale: float) -> dict[str, float]:
    slopes = {}
    for size in SIZES:
        ratio = other.sizes[size] / one.sizes[size] if one.sizes[size] else math.nan
        slope = math.log(ratio) / scale if ratio > 0.0 else 0.0
        if abs(slope) > 1e-3:
            slopes[size] = slope
    return slopes
