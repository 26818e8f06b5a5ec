"""Every size of a circuit as a slot: a number of the netlist that may become a parameter.

A number in a `.param`, in the header of a subcircuit or at its call is one slot with all devices
that use it; a number at a device is a slot of its own. Expressions stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from m3eda.importing.cards import Card, Place, Word, bare, spice_number
from m3eda.importing.devices import Circuit, Device, names_used

MICROMETRE = 1e-6
_COUNTS = {"m": "multiplier", "mult": "multiplier", "mf": "multiplier", "nf": "fingers",
           "ng": "fingers", "area": "multiplier"}  # fmt: skip
_PASSIVES = {"r": ("resistance", "ohm"), "c": ("capacitance", "F"), "l": ("inductance", "H")}
_SCALE = re.compile(r"\bscale\s*=\s*(\S+)", re.IGNORECASE)
_UNSUFFIXED = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)")
_SMALLEST_IN_MICROMETRES = 1e-3
"""A bare `W=1` is no metre: from this number on a width or length without a suffix is in um."""

_DEEPEST = 20
"""Parameters that a parameter may be reckoned from, one behind the other."""

Owner = tuple[str, str]
"""Scope and lower-case name of a parameter of the netlist."""


@dataclass
class Slot:
    """A number that may become a parameter."""

    name: str
    """Suggested name."""
    value: float
    """In SI units."""
    kind: str
    """width, length, multiplier, fingers, resistance, capacitance, inductance, current, voltage,
    or, of a `.param` that is none of these, empty."""
    places: list[Place]
    unit: str = ""
    written_in: float = 1.0
    """What 1 in the netlist stands for, in SI units: 1e-6 where sizes are in micrometres."""
    devices: list[str] = field(default_factory=list)
    """Names of the devices that use it."""
    from_param: bool = False
    """Whether the designer made a parameter of it."""


@dataclass
class Slots:
    """All slots of a circuit, and which one each size of each device is."""

    found: list[Slot] = field(default_factory=list)
    of: dict[tuple[int, str], Slot] = field(default_factory=dict)
    """(identity of the device's card, key) -> slot. Key `value` is a passive's value."""

    def at(self, device: Device, key: str) -> Slot | None:
        return self.of.get((id(device.card), key))


def find_slots(circuit: Circuit) -> Slots:
    """The slots of a circuit, in the order of the netlist; parameters of the netlist first."""
    return _Finder(circuit).slots


def metres(circuit: Circuit, device: Device, word: Word) -> float:
    """What 1 stands for in a width or length, in m."""
    if "sky130_fd_pr__" in device.model.lower() or _scaled(circuit):
        return MICROMETRE
    value, written = word.value, bare(word.text)
    if value is not None and _UNSUFFIXED.fullmatch(written) and value >= _SMALLEST_IN_MICROMETRES:
        return MICROMETRE
    return 1.0


def _scaled(circuit: Circuit) -> bool:
    """Whether `.option scale=1u` is set."""
    for card in circuit.cards:
        match = _SCALE.search(card.text) if card.head.startswith(".opt") else None
        if match and abs((spice_number(match[1]) or 0.0) - MICROMETRE) < 1e-12:
            return True
    return False


@dataclass(frozen=True)
class _Use:
    """One size of one device."""

    device: Device
    key: str
    kind: str
    word: Word
    metre: float
    """What 1 stands for."""


class _Finder:
    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit
        self.slots = Slots()
        self.params = parameters_of(circuit)
        self.uses: dict[Owner, list[_Use]] = {}
        """What each parameter of the netlist is used for."""
        plain: list[_Use] = []
        for device in circuit.devices:
            for key, kind, word in sizes_of(device, circuit):
                metre = metres(circuit, device, word) if kind in ("width", "length") else 1.0
                use = _Use(device, key, kind, word, metre)
                if word.value is not None:
                    plain.append(use)
                for name in names_used(word):
                    for owner in self.params.roots(self.params.owner(device.scope, name)):
                        self.uses.setdefault(owner, []).append(use)
        for owner, uses in self.uses.items():
            self._parameter_slots(owner, uses)
        for use in plain:
            self._literal_slot(use)

    def _parameter_slots(self, owner: Owner, uses: list[_Use]) -> None:
        """A slot for each value that the parameter has: one, unless calls give it several."""
        by_value: dict[float, list[tuple[Card, Word]]] = {}
        for card, word, _ in self.params.found[owner]:
            if word.value is not None:
                by_value.setdefault(word.value, []).append((card, word))
        alone = [use for use in uses if bare(use.word.text).lower() == owner[1]]
        single = len(by_value) == 1
        for value, group in by_value.items():
            card, word = group[0]
            kind, metre = self._meaning([*alone, *uses][0], word, bool(alone))
            called = owner[0] if card.head == ".subckt" else card.head
            slot = Slot(
                owner[1] if single else f"{called}_{owner[1]}", _scaled_by(value, metre), kind,
                [card.place(word) for card, word in group], _unit(kind), metre,
                list(dict.fromkeys(use.device.name for use in uses)), from_param=True,
            )  # fmt: skip
            self.slots.found.append(slot)
            for use in alone if single else ():
                self.slots.of[id(use.device.card), use.key] = slot

    def _meaning(self, use: _Use, word: Word, is_size: bool) -> tuple[str, float]:
        """Kind of a parameter, and what 1 stands for: it may be a factor of a size only."""
        metre = use.metre
        if use.kind in ("width", "length"):
            metre = max(metre, metres(self.circuit, use.device, word), key=lambda m: m != 1.0)
        if is_size:
            return use.kind, metre
        plain = word.value is None or word.value >= _SMALLEST_IN_MICROMETRES
        return ("" if plain else use.kind), 1.0

    def _literal_slot(self, use: _Use) -> None:
        number, device = use.word.value, use.device
        counted = use.kind in ("multiplier", "fingers")
        if number is None or number <= 0.0 or (counted and number == 1.0):
            return
        name = device.name if use.key == "value" else f"{use.key}_{device.name}"
        place = device.card.place(use.word)
        value = _scaled_by(number, use.metre)
        slot = Slot(name, value, use.kind, [place], _unit(use.kind), use.metre, [device.name])
        self.slots.found.append(slot)
        self.slots.of[id(device.card), use.key] = slot


def _scaled_by(value: float, metre: float) -> float:
    """`value` in SI units, without the last bits that a product leaves."""
    return value if metre == 1.0 else float(f"{value * metre:.15g}")


def _unit(kind: str) -> str:
    units = {"width": "m", "length": "m", "current": "A", "voltage": "V"}
    return units.get(kind) or next((unit for k, unit in _PASSIVES.values() if k == kind), "")


Given = tuple[Card, Word, str]
"""A card that gives a parameter its value, the value, and the scope in which it is read."""


@dataclass(frozen=True)
class Parameters:
    """Where each parameter of the netlist gets its value."""

    found: Mapping[Owner, list[Given]]

    def owner(self, scope: str, name: str) -> Owner:
        """The parameter that `name` means in `scope`."""
        return (scope, name) if (scope, name) in self.found else ("", name)

    def roots(self, owner: Owner, outer: tuple[Owner, ...] = ()) -> Iterator[Owner]:
        """The parameters with a number that decide `owner`."""
        if owner in outer or len(outer) > _DEEPEST:
            return
        for _, word, scope in self.found.get(owner, ()):
            if word.value is not None:
                yield owner
                continue
            for name in dict.fromkeys(names_used(word)):
                if name != owner[1] or scope != owner[0]:
                    yield from self.roots(self.owner(scope, name), (*outer, owner))


def parameters_of(circuit: Circuit) -> Parameters:
    """The `.param`s of a circuit, and those of its subcircuits: what their calls give, and where
    one gives nothing, the default."""
    found: dict[Owner, list[Given]] = {}
    for card in circuit.cards:
        if card.head.startswith(".param"):
            for name, word in card.assigned.items():
                found.setdefault((card.scope, name), []).append((card, word, card.scope))
    for key, subcircuit in circuit.subcircuits.items():
        calls = [d for d in circuit.all_devices if d.letter == "x" and d.model.lower() == key]
        for name, word in subcircuit.card.assigned.items():
            given = [(d.card, d.card.assigned[name], d.scope) for d in calls
                     if name in d.card.assigned]  # fmt: skip
            if len(given) < len(calls) or not calls:
                given.append((subcircuit.card, word, key))
            found.setdefault((key, name), []).extend(given)
    return Parameters(found)


def sizes_of(device: Device, circuit: Circuit) -> Iterator[tuple[str, str, Word]]:
    """The sizes on a device's card: key, kind and word."""
    assigned = device.card.assigned
    letter = device.letter
    if letter in _PASSIVES:
        yield from value_of(device)
    kit = letter == "x" and device.model.lower() not in circuit.subcircuits
    lengths = device.is_transistor or kit or letter in "rc"
    for key, word in assigned.items():
        if key in ("w", "l") and lengths:
            yield key, "width" if key == "w" else "length", word
        elif key in _COUNTS and (device.is_transistor or kit or letter in "qm"):
            yield key, _COUNTS[key], word
    if letter == "q" and len(device.card.words) > len(device.nodes) + 2:
        yield "area", "multiplier", device.card.words[len(device.nodes) + 2]
    if letter == "i" and device.scope and (current := dc_of(device.card)):
        yield "value", "current", current


def value_of(device: Device) -> Iterator[tuple[str, str, Word]]:
    """The value of a resistor, capacitor or inductor: the key `value`, its kind and the word."""
    kind = _PASSIVES[device.letter][0]
    words, assigned = device.card.words, device.card.assigned
    for key in (device.letter, "value"):
        if key in assigned:
            yield "value", kind, assigned[key]
            return
    if len(words) > 3 and (words[3].value is not None or words[3].text[0] in "'{\""):
        yield "value", kind, words[3]


def dc_of(card: Card) -> Word | None:
    """The DC value of a source, None where it gives none."""
    if "dc" in card.assigned:
        return card.assigned["dc"]
    words = card.words[3:]
    for index, word in enumerate(words):
        if word.text.lower() == "dc":
            return words[index + 1] if index + 1 < len(words) else None
    first = words[0] if words else None
    plain = first is not None and (first.value is not None or first.text[0] in "'{")
    return first if plain else None
