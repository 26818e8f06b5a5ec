"""The devices of a rendered deck, subcircuits opened: what each is, where it hangs, how large."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from m3eda.design.types import Technology
from m3eda.importing.cards import Card, Word
from m3eda.importing.devices import Circuit, Device, device_of
from m3eda.importing.slots import dc_of, find_slots, metres, value_of
from m3eda.units import parse

NMOS, PMOS = "nmos", "pmos"
VALUE = "value"
_COUNTS = ("m", "mult", "nf", "ng", "mf")
_PASSIVES = frozenset("rcl")
_SOURCES = frozenset("iv")
GROUND = "0"
_GROUNDS = frozenset({GROUND, "gnd"})
"""What simulators take for ground."""


@dataclass(frozen=True)
class Element:
    """A device, once for each way to it."""

    name: str
    """As measures call it, the subcircuits around it first: `x1.mn3`."""
    kind: str
    """nmos or pmos; else the letter that its card begins with."""
    model: str
    """In lower case."""
    nets: tuple[str, ...]
    """In the order of SPICE; those inside a subcircuit behind the names around it: `x1.tail`."""
    sizes: Mapping[str, float]
    """Of a transistor w and l in m, and the multiplier m, fingers included; `value` of a passive,
    of a source and of the area of a bipolar transistor; nan for what is no plain number."""
    card: tuple[str, str]
    """Subcircuit and card: the same for the same device of two instances."""
    is_wire: bool = False
    """A voltage source of zero and nothing else, as to measure a current."""
    written: Card | None = field(default=None, compare=False)
    """As the netlist has it."""
    control: tuple[str, ...] = ()
    """The two nets that control a source by voltage, `e` or `g`; the voltage source whose current
    controls one, `f` or `h`."""

    @property
    def is_transistor(self) -> bool:
        """A field-effect transistor."""
        return self.kind in (NMOS, PMOS)


@dataclass(frozen=True)
class Instance:
    """A subcircuit where it is called, or the whole deck."""

    scope: str = ""
    """The subcircuit's name in lower case; empty for the deck."""
    around: tuple[str, ...] = ()
    """The names of the instances around it and its own."""
    pins: tuple[tuple[str, str], ...] = ()
    """Each pin, as a net of its inside, and the net that it is connected to."""


class Devices:
    """The devices of a circuit."""

    def __init__(self, circuit: Circuit, technology: Technology | None = None) -> None:
        self._circuit = circuit
        self._scopes: dict[str, list[Device]] = {}
        for card in circuit.cards:
            if not card.head.startswith("."):
                device = device_of(card, circuit.subcircuits)
                self._scopes.setdefault(card.scope, []).append(device)
        self._slots = find_slots(circuit)
        self._unit = _unit(technology)
        self._types = {**_written_types(circuit), **_types(technology)}
        self._shared = {word.text.lower() for card in circuit.cards if card.head == ".global"
                        for word in card.words[1:]}  # fmt: skip

    def elements(self, of: Instance | None = None) -> Iterator[Element]:
        """The devices inside `of`, those of its own subcircuits too; of the whole deck without
        it. Pins of `of` are nets of its own, whatever connects them outside."""
        start = of or Instance()
        return self._inside(start.scope, start.around, {}, (start.scope,))

    def instances(self, of: Instance) -> Iterator[Instance]:
        """The subcircuits that are called in `of` itself; the nets are those of its inside."""
        for device in self._scopes.get(of.scope, ()):
            if self._is_call(device):
                around = (*of.around, device.name)
                inside = [self._net(pin, around, {}) for pin in self._pins(device)]
                outside = [self._net(node, of.around, {}) for node in device.nodes]
                pins = tuple(zip(inside, outside, strict=False))
                yield Instance(device.model.lower(), around, pins)

    def metre(self, element: Element) -> float:
        """What 1 stands for in the lengths on a transistor's card, m."""
        if self._unit is not None or element.written is None:
            return self._unit or 1.0
        device = device_of(element.written, self._circuit.subcircuits)
        return metres(self._circuit, device, element.written.assigned["l"])

    def _is_call(self, device: Device) -> bool:
        return device.letter == "x" and device.model.lower() in self._circuit.subcircuits

    def _pins(self, device: Device) -> list[str]:
        return [pin.lower() for pin in self._circuit.subcircuits[device.model.lower()].pins]

    def _net(self, node: str, around: tuple[str, ...], pins: Mapping[str, str]) -> str:
        if node in _GROUNDS and node not in pins:
            return GROUND
        if node in self._shared:
            return node
        return pins.get(node) or ".".join((*around, node))

    def _inside(
        self, scope: str, around: tuple[str, ...], pins: Mapping[str, str], open_: tuple[str, ...]
    ) -> Iterator[Element]:
        for device in self._scopes.get(scope, ()):
            nets = tuple(self._net(node, around, pins) for node in device.nodes)
            model = device.model.lower()
            if self._is_call(device):
                if model not in open_:
                    inner = dict(zip(self._pins(device), nets, strict=False))
                    called = (*around, device.name)
                    yield from self._inside(model, called, inner, (*open_, model))
                continue
            last = (f"m{model}",) if device.is_transistor and device.letter == "x" else ()
            yield Element(
                ".".join((*around, device.name, *last)), self._kind(device), model, nets,
                self._sizes(device), (device.scope, device.name), _is_wire(device),
                device.card, tuple(self._control(device, around, pins)),
            )  # fmt: skip

    def _control(
        self, device: Device, around: tuple[str, ...], pins: Mapping[str, str]
    ) -> Iterator[str]:
        words = [word.text.strip("()").lower() for word in device.card.words[3:]]
        if device.letter in "eg" and len(words) > 1:
            yield from (self._net(word, around, pins) for word in words[:2])
        elif device.letter in "fh" and words:
            yield ".".join((*around, words[0]))

    def _kind(self, device: Device) -> str:
        if not device.is_transistor:
            return device.letter
        known = self._types.get(device.model.lower())
        return known or (PMOS if device.is_p else NMOS)

    def _sizes(self, device: Device) -> dict[str, float]:
        if device.is_transistor:
            found = {key: self._size(device, key) for key in ("w", "l")}
            counts = self._counts(device, _COUNTS)
            # fingers share the width that is written
            return {**found, "m": math.prod(counts[:1]) if counts else 1.0}
        if device.letter == "q":
            return {VALUE: math.prod(self._counts(device, ("area", "m")) or [1.0])}
        if device.letter in _PASSIVES:
            words = [word for _, _, word in value_of(device)]
            return {VALUE: self._number(words[0], device, VALUE) if words else math.nan}
        if device.letter in _SOURCES and (word := dc_of(device.card)):
            return {VALUE: self._number(word, device, VALUE)}
        return {}

    def _counts(self, device: Device, keys: Sequence[str]) -> list[float]:
        assigned = device.card.assigned
        return [self._number(assigned[key], device, key) for key in keys if key in assigned]

    def _size(self, device: Device, key: str) -> float:
        """A width or length in m."""
        word = device.card.assigned.get(key)
        if word is None:
            return math.nan
        unit = self._unit if self._unit is not None else metres(self._circuit, device, word)
        return self._number(word, device, key) * unit

    def _number(self, word: Word, device: Device, key: str) -> float:
        """As it is written."""
        if word.value is not None:
            return word.value
        slot = self._slots.at(device, key)
        return math.nan if slot is None else slot.value / slot.written_in


def _is_wire(device: Device) -> bool:
    if device.letter != "v":
        return False
    given = [word for word in device.card.words[3:] if word.text.lower() != "dc"]
    given += device.card.assigned.values()
    return all(word.value == 0.0 for word in given)


def _unit(technology: Technology | None) -> float | None:
    """The length in m that `w=1` stands for; None where a technology does not tell."""
    instance = technology.data.get("instance", {}) if technology else {}
    return parse(str(instance["unit"])) if "unit" in instance else None


_MODEL = re.compile(r"^\s*\.model\s+(\S+)\s+([np]mos)\b", re.IGNORECASE | re.MULTILINE)
_LARGEST = 2_000_000
"""Bytes of a file that is looked through for models."""


def _written_types(circuit: Circuit) -> dict[str, str]:
    """Model in lower case -> nmos or pmos, of model cards of the deck and the files it names."""
    cards = "\n".join(card.text for card in circuit.cards if card.head == ".model")
    found = dict(_MODEL.findall(cards))
    for each in circuit.libraries:
        found |= dict(_models_in(each.path))
    return {name.lower(): kind.lower() for name, kind in found.items()}


@lru_cache(maxsize=32)
def _models_in(path: Path) -> tuple[tuple[str, str], ...]:
    try:
        if path.stat().st_size > _LARGEST:
            return ()
        return tuple(_MODEL.findall(path.read_text("latin-1")))
    except OSError:
        return ()


def _types(technology: Technology | None) -> dict[str, str]:
    """Model in lower case -> nmos or pmos."""
    entries = (technology.data.get("devices") or {}).values() if technology else ()
    kinds = {"n": NMOS, "p": PMOS}
    known = [each for each in entries if isinstance(each, Mapping) and each.get("type") in kinds]
    return {str(each.get("model", "")).lower(): kinds[str(each["type"])] for each in known}
