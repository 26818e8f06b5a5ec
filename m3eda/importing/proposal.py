"""What `m3eda init` proposes for a circuit: parameters with ranges, ties, conditions, measures.

What is guessed carries a note for the designer to confirm.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from jinja2.defaults import DEFAULT_NAMESPACE

from m3eda.design.references import RESERVED
from m3eda.design.writing import rounded
from m3eda.importing.cards import Place
from m3eda.importing.measures import Candidate, candidates
from m3eda.importing.recognise import find_groups, find_ties
from m3eda.importing.slots import Slot
from m3eda.importing.surroundings import Condition, Surroundings
from m3eda.units import NumberError, parse

DECADE = 10.0
_FEWEST = 20
"""Largest multiplier that is proposed at least."""


@dataclass(frozen=True)
class Entry:
    """A line of the design file, and the comments above it."""

    value: Mapping[str, object]
    notes: tuple[str, ...] = ()


@dataclass
class Proposal:
    """What the design file says of a circuit, and what changes in its netlist."""

    parameters: dict[str, Entry] = field(default_factory=dict)
    conditions: dict[str, float] = field(default_factory=dict)
    guessed_conditions: list[str] = field(default_factory=list)
    has_units: bool = False
    """Whether widths are fixed, since the multipliers of their devices are free."""
    measures: list[Candidate] = field(default_factory=list)
    edits: list[tuple[Place, str]] = field(default_factory=list)
    """Places of the netlist and what stands there in the template."""


class Names:
    """Names of a design, each of which means one thing."""

    def __init__(self) -> None:
        self.taken = {"temp", "technology", "corner"}

    def new(self, wanted: str) -> str:
        """A name like `wanted` that templates and expressions can use, and nothing else has."""
        name = re.sub(r"\W+", "_", wanted.lower(), flags=re.ASCII).strip("_") or "value"
        if not name[0].isalpha():
            name = f"p_{name}"
        reserved = name in RESERVED or keyword.iskeyword(name) or name in DEFAULT_NAMESPACE
        unique, count = (f"{name}_1" if reserved else name), 1
        while unique in self.taken:
            count += 1
            unique = f"{name}_{count}"
        self.taken.add(unique)
        return unique


def propose(around: Surroundings, limits: Mapping[str, object]) -> Proposal:
    """The proposal for a circuit; `limits` are a technology's `sizes`, in m."""
    return _Proposer(around, limits).proposal


class _Proposer:
    def __init__(self, around: Surroundings, limits: Mapping[str, object]) -> None:
        self.around = around
        self.limits = {name: _metres(value) for name, value in limits.items()}
        self.names = Names()
        self.proposal = Proposal()
        conditions = around.conditions()
        used = {id(word) for each in conditions for _, word in each.words}
        self.slots = self._own_slots(used)
        shortest = [slot.value for slot in self.slots if slot.kind == "length"]
        self.shortest = min(shortest, default=0.0)
        self.called = self._names_of_slots()
        self._conditions(conditions)
        self.groups = find_groups(around.circuit, around.slots)
        self.ties = find_ties(self.groups, around.slots)
        for slot in sorted(self.slots, key=self._order()):
            self._parameter(slot)
        self.proposal.measures = candidates(around, self.names.new)

    def _own_slots(self, used: set[int]) -> list[Slot]:
        """The slots that are no conditions and no passives of a testbench."""
        fixed = {device.name for device in self.around.fixed}
        places = {
            (card.place(word)) for each in self.around.conditions() for card, word in each.words
        }
        return [
            slot for slot in self.around.slots.found
            if not places & set(slot.places) and not (slot.devices and set(slot.devices) <= fixed)
        ]  # fmt: skip

    def _order(self) -> Callable[[Slot], int]:
        """Slots in the order of the netlist, those of a group together."""
        first: dict[str, int] = {}
        for index, device in enumerate(self.around.circuit.devices):
            first.setdefault(device.name, index)
        for group in self.groups:
            least = min(first[device.name] for device in group.devices)
            first.update((device.name, least) for device in group.devices)
        return lambda slot: min((first.get(name, 0) for name in slot.devices), default=0)

    def _names_of_slots(self) -> dict[int, str]:
        """A name for each slot; those of the designer first, so that they stay as they are."""
        ordered = sorted(self.slots, key=lambda slot: not slot.from_param)
        return {id(slot): self.names.new(slot.name) for slot in ordered}

    def _conditions(self, conditions: Sequence[Condition]) -> None:
        for each in conditions:
            name = "temp" if each.name == "temp" else self.names.new(each.name)
            self.proposal.conditions[name] = each.value
            if each.is_guess:
                self.proposal.guessed_conditions.append(name)
            for card, word in each.words:
                self.proposal.edits.append((card.place(word), f"{{{{ {name} }}}}"))

    def _parameter(self, slot: Slot) -> None:
        leader = self.ties.of(slot)
        own = slot is leader or slot.from_param
        name = self.called[id(slot)] if own else self.called.get(id(leader), "")
        if not name:
            return
        text = written(name, slot.written_in)
        self.proposal.edits += [(place, text) for place in slot.places]
        if slot is not leader:
            if own:
                self._follow(slot, leader, Fraction(1))
        elif id(slot) in self.ties.ratio:
            self._follow(slot, *self.ties.ratio[id(slot)])
        else:
            self.proposal.parameters[name] = self._free(slot)

    def _follow(self, slot: Slot, leader: Slot, ratio: Fraction) -> None:
        """A parameter that is tied to another one."""
        other = self.called[id(self.ties.of(leader))]
        up, down = ratio.numerator, ratio.denominator
        formula = other if up == down else f"{up} * {other}" if down == 1 else f"{other} / {down}"
        if up != 1 and down != 1:
            formula = f"{up} * {other} / {down}"
        why = self.ties.why.get(id(slot)) or self.ties.why.get(id(self.ties.of(slot)), "")
        entry = {"expr": formula, **_unit_and_kind(slot)}
        self.proposal.parameters[self.called[id(slot)]] = Entry(entry, _guess(why))

    def _free(self, slot: Slot) -> Entry:
        notes = _guess(self.ties.why.get(id(slot), ""))
        if slot.kind == "fingers":
            return Entry({"value": slot.value, "kind": "fingers", **self._used_by(slot)}, notes)
        if slot.kind == "multiplier":
            whole = slot.value.is_integer()
            most = max(rounded(DECADE * slot.value), _FEWEST)
            counts: dict[str, object] = {"min": 1.0, "max": most, "step": 1.0}
            counts = counts if whole else _decades(slot.value)
            return Entry({**counts, "start": slot.value, **_unit_and_kind(slot),
                          **self._used_by(slot)}, notes)  # fmt: skip
        low, high = self._range(slot)
        entry: dict[str, object] = {"min": low, "max": high, "start": slot.value}
        if slot.kind == "width" and self._is_multiplied(slot):
            entry = {"value": slot.value}
            self.proposal.has_units = True
        elif high <= low:
            entry = {"value": slot.value}
        elif high >= DECADE * low:
            entry["scale"] = "log"
        return Entry({**entry, **_unit_and_kind(slot), **self._used_by(slot)}, notes)

    def _fingers(self, slot: Slot) -> list[float]:
        """Fingers of the devices with this width."""
        found = [
            device.value("nf", device.value("ng", 1.0)) or 1.0
            for device in self.around.circuit.devices
            if (own := self.around.slots.at(device, "w")) and self.ties.of(own) is slot
        ]
        return found or [1.0]

    def _is_multiplied(self, slot: Slot) -> bool:
        """Whether every device of this width has a multiplier of its own."""
        sized = [
            device for device in self.around.circuit.devices
            if (found := self.around.slots.at(device, "w")) and self.ties.of(found) is slot
        ]  # fmt: skip
        return bool(sized) and all(self.around.slots.at(device, "m") for device in sized)

    def _range(self, slot: Slot) -> tuple[float, float]:
        """A decade below and above, within what the technology allows."""
        low, high = slot.value / DECADE, slot.value * DECADE
        letter = {"width": "w", "length": "l"}.get(slot.kind, "")
        least, most = self.limits.get(f"{letter}_min"), self.limits.get(f"{letter}_max")
        if letter == "w" and least is not None and most is not None:
            # limits of a width are those of one finger
            fingers = self._fingers(slot)
            least, most = least * max(fingers), most * min(fingers)
        if letter == "l" and least is None:
            # what is shorter than the shortest device is most likely not in the process
            low = max(low, min(self.shortest, slot.value))
        if letter and least is not None:
            low = max(low, min(least, slot.value))
        if letter and most is not None:
            high = min(high, max(most, slot.value))
        return _clean(low, slot.value), _clean(high, slot.value)

    def _used_by(self, slot: Slot) -> dict[str, object]:
        """The devices as a description, where the name does not tell."""
        sharing = [each for each in self.slots if self.ties.of(each) is slot]
        devices = list(dict.fromkeys(name for each in sharing for name in each.devices))
        if devices == [slot.name] or (len(devices) == 1 and slot.name.endswith(f"_{devices[0]}")):
            return {}
        shown = ", ".join(devices[:6]) + (" ..." if len(devices) > 6 else "")
        return {"description": shown} if devices else {}


def written(name: str, unit: float) -> str:
    """A parameter as a template writes it where 1 stands for `unit`, in SI units."""
    if unit == 1.0:
        return f"{{{{ {name} }}}}"
    return f"{{{{ ({name} * {1 / unit:.0e}) | round(6) }}}}".replace("e+0", "e")


def _unit_and_kind(slot: Slot) -> dict[str, object]:
    return {key: item for key, item in (("unit", slot.unit), ("kind", slot.kind)) if item}


def _guess(why: str) -> tuple[str, ...]:
    return (f"guessed: {why}",) if why else ()


def _decades(value: float) -> dict[str, object]:
    return {"min": _clean(value / DECADE, value), "max": _clean(value * DECADE, value)}


def _clean(value: float, start: float) -> float:
    """`value` without the last bits that a division leaves."""
    return start if abs(value - start) < 1e-9 * abs(start) else float(f"{value:.6g}")


def _metres(value: object) -> float:
    try:
        return parse(str(value))
    except NumberError:
        return 0.0
