"""Devices that a designer matches: pairs, mirrors, cross-coupled and cascoded devices.

All of it is guessed from the netlist: from shared nodes, models and sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from m3eda.importing.devices import Circuit, Device, is_rail
from m3eda.importing.slots import Slot, Slots

_KEYS = ("w", "l", "m", "mult", "nf", "ng")
_ALIKE = 1e-9
"""Relative: sizes that differ by less are equal."""
_LARGEST_PART = 64
"""Numerator and denominator of a ratio that somebody chose."""


Sizes = tuple[object, ...]
"""Length, width and counts of a device."""
_SizesOf = Callable[[Device], Sizes]


@dataclass(frozen=True)
class Group:
    """Devices that belong together."""

    why: str
    devices: tuple[Device, ...]
    """Of a mirror the diode-connected one first."""
    is_mirror: bool = False


@dataclass
class Ties:
    """Slots that are one parameter, and slots that keep a ratio to another one."""

    leader: dict[int, Slot] = field(default_factory=dict)
    """Identity of a slot -> the slot whose parameter it shares."""
    ratio: dict[int, tuple[Slot, Fraction]] = field(default_factory=dict)
    """Identity of a leading slot -> (slot that leads it, its share of that)."""
    why: dict[int, str] = field(default_factory=dict)
    """Identity of a leading slot -> why others follow it, or it another one."""

    def of(self, slot: Slot) -> Slot:
        """The slot that leads `slot`, perhaps itself."""
        while id(slot) in self.leader:
            slot = self.leader[id(slot)]
        return slot

    def merge(self, one: Slot, other: Slot, why: str) -> None:
        """Make one parameter of two slots that are equal."""
        first, second = self.of(one), self.of(other)
        if first is second:
            return
        if second.from_param and not first.from_param:
            first, second = second, first
        self.leader[id(second)] = first
        self.why.setdefault(id(first), why)

    def keep_ratio(self, slot: Slot, leader: Slot, ratio: Fraction, why: str) -> None:
        """Tie `slot` to `leader` unless that would go round in a circle."""
        slot, leader = self.of(slot), self.of(leader)
        above: Slot | None = leader
        while above is not None:
            if above is slot or id(slot) in self.ratio:
                return
            above = self.of(self.ratio[id(above)][0]) if id(above) in self.ratio else None
        self.ratio[id(slot)] = leader, ratio
        self.why[id(slot)] = why


def find_groups(circuit: Circuit, slots: Slots) -> list[Group]:
    """The groups of a circuit; a device belongs to one at most."""
    free = [device for device in circuit.devices if device.is_transistor]
    sizes = {id(device): _sizes(device, slots) for device in free}
    groups: list[Group] = []
    for find in (_mirrors, _pairs, _crossed, _cascodes, _rows):
        for group in find(free, lambda device: sizes[id(device)]):
            groups.append(group)
            taken = {id(device) for device in group.devices}
            free = [device for device in free if id(device) not in taken]
    return groups


def find_ties(groups: Sequence[Group], slots: Slots) -> Ties:
    """Parameters that the devices of groups share."""
    ties = Ties()
    for slot_keys in {card for card, _ in slots.of}:
        # PDK devices have their multiplier twice
        pair = [slots.of.get((slot_keys, key)) for key in ("m", "mult")]
        if pair[0] and pair[1] and pair[0].value == pair[1].value:
            ties.merge(pair[0], pair[1], "")
    for group in groups:
        for key in _KEYS:
            found = [slots.at(device, key) for device in group.devices]
            _merge_equal([slot for slot in found if slot is not None], group.why, ties)
    for group in groups:
        if group.is_mirror:
            for key in ("w", "m"):
                _keep_ratios([slots.at(device, key) for device in group.devices], group.why, ties)
    return ties


def _merge_equal(slots: list[Slot], why: str, ties: Ties) -> None:
    for index, slot in enumerate(slots):
        for other in slots[:index]:
            if _equal(slot.value, other.value):
                ties.merge(other, slot, why)
                break


def _keep_ratios(found: list[Slot | None], why: str, ties: Ties) -> None:
    slots = [slot for slot in found if slot is not None]
    if len(slots) < len(found) or not slots:
        return  # a multiplier of 1 stays in the netlist, and the others are the ratio
    least = min(slots, key=lambda slot: slot.value)
    base = least if slots[0].kind == "multiplier" else slots[0]
    for slot in slots:
        ratio = Fraction(slot.value / base.value).limit_denominator(_LARGEST_PART)
        whole = slot.kind != "multiplier" or ratio.denominator == 1
        exact = _equal(float(ratio) * base.value, slot.value) and ratio.numerator <= _LARGEST_PART
        if ties.of(slot) is not ties.of(base) and whole and exact:
            ties.keep_ratio(slot, base, ratio, why)


def _equal(one: float, other: float) -> bool:
    return abs(one - other) <= _ALIKE * max(abs(one), abs(other))


def _by(
    devices: Sequence[Device], key: Callable[[Device], Hashable]
) -> Iterator[tuple[Device, ...]]:
    """Devices of one subcircuit, model and `key`, where there are two or more."""
    found: dict[Hashable, list[Device]] = {}
    for device in devices:
        found.setdefault((device.scope, device.model.lower(), key(device)), []).append(device)
    return (tuple(group) for group in found.values() if len(group) > 1)


def _sizes(device: Device, slots: Slots) -> Sizes:
    """The sizes as far as a netlist tells whether they are equal: numbers, else the text."""
    found: list[object] = []
    for key in ("l", "w", "m", "nf", "ng"):
        slot, word = slots.at(device, key), device.card.assigned.get(key)
        number = slot.value if slot else word.value if word else 1.0
        text = word.text.lower() if word else ""
        found.append(text if number is None else float(f"{number:.9g}"))
    return tuple(found)


def _named(devices: Sequence[Device]) -> str:
    names = [device.card.words[0].text for device in devices]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _mirrors(devices: list[Device], sizes: _SizesOf) -> Iterator[Group]:
    for group in _by(devices, lambda d: (d.gate, d.source, sizes(d)[0])):
        diode = next((d for d in group if d.drain == d.gate), None)
        if diode is not None:
            ordered = (diode, *(d for d in group if d is not diode))
            why = (f"{_named(ordered)} are a current mirror (gate and source shared, "
                   f"{diode.card.words[0].text} diode-connected)")  # fmt: skip
            yield Group(why, ordered, is_mirror=True)


def _pairs(devices: list[Device], sizes: _SizesOf) -> Iterator[Group]:
    for group in _by(devices, lambda d: (d.source, sizes(d))):
        if len(group) != 2 or is_rail(group[0].source) or group[0].drain == group[1].drain:
            continue
        if group[0].gate != group[1].gate and all(d.gate != d.drain for d in group):
            yield Group(f"{_named(group)} are a differential pair (source shared, same sizes)",
                        group)  # fmt: skip


def _crossed(devices: list[Device], sizes: _SizesOf) -> Iterator[Group]:
    for group in _by(devices, sizes):
        for index, one in enumerate(group):
            for other in group[index + 1 :]:
                if one.gate == other.drain != one.drain == other.gate:
                    pair = (one, other)
                    yield Group(f"{_named(pair)} are cross-coupled (each drives the other's gate)",
                                pair)  # fmt: skip


def _cascodes(devices: list[Device], sizes: _SizesOf) -> Iterator[Group]:
    for group in _by(devices, lambda d: (d.gate, sizes(d))):
        apart = len({d.source for d in group}) == 2 == len({d.drain for d in group})
        if len(group) == 2 and apart and not any(is_rail(d.source) for d in group):
            yield Group(f"{_named(group)} are cascodes (gate shared, same sizes)", group)


def _rows(devices: list[Device], sizes: _SizesOf) -> Iterator[Group]:
    for group in _by(devices, lambda d: (d.gate, d.source, sizes(d))):
        if is_rail(group[0].source):
            yield Group(f"{_named(group)} are alike (gate and source shared, same sizes)", group)
