"""The transistors of a rendered deck: their sizes, and which parameter decides which size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from m3eda.design.types import Design, Sizing
from m3eda.errors import DesignError
from m3eda.importing.devices import circuit_of
from m3eda.simulate.render import Renderer
from m3eda.structure.elements import Devices, Element
from m3eda.structure.sizes import moved

SIZES = ("w", "l", "m")


@dataclass(frozen=True)
class Transistor(Element):
    """One transistor of a deck, once for each way to it."""

    testbench: str = ""

    @property
    def gate(self) -> tuple[str, ...]:
        """Gate and source net: equal for the devices of a current mirror."""
        return self.nets[1:3]

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
            circuit = circuit_of(testbench.template, deck.text)
            every = list(Devices(circuit, design.technology).elements())
        except (DesignError, IndexError):
            continue
        for each in every:
            if each.is_transistor:
                found.setdefault(each.name, Transistor(**vars(each), testbench=testbench.name))
    return list(found.values())


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
        other = moved(parameter, value)
        if other == value:
            continue
        there = transistors(design, renderer, complete({**sizing, parameter.name: other}))
        if len(there) != len(here):
            continue  # it decides which devices there are, and not how large
        scale = math.log(other / value)
        slopes: list[Mapping[str, float]]
        slopes = [_slopes(one, other, scale) for one, other in zip(here, there, strict=True)]
        if any(slopes):
            found[parameter.name] = slopes
    return found


def _slopes(one: Transistor, other: Transistor, scale: float) -> dict[str, float]:
    slopes = {}
    for size in SIZES:
        ratio = other.sizes[size] / one.sizes[size] if one.sizes[size] else math.nan
        slope = math.log(ratio) / scale if ratio > 0.0 else 0.0
        if abs(slope) > 1e-3:
            slopes[size] = slope
    return slopes
