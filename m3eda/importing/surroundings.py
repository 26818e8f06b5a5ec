"""What stands around a circuit: supplies, stimuli, loads, temperature and the output.

These become conditions; what they are is told from names and connections, and so guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from m3eda.importing.cards import Card, Word, bare
from m3eda.importing.control import cards_of, temperature_of
from m3eda.importing.devices import Circuit, Device, is_analysis, is_ground, is_rail, names_used
from m3eda.importing.slots import Slot, Slots, dc_of, parameters_of, value_of

_OUTPUT = re.compile(r"/?(?:v?out(?:put)?|vo|o|z|y)(?:[_+]?p|\+|_?1)?", re.IGNORECASE)
_PROBE = re.compile(r"\bv(?:db|m|p|r|i)?\(\s*([^\s(),]+)\s*\)", re.IGNORECASE)
_STIMULI = ("pulse", "sin", "pwl", "exp", "sffm", "am", "trnoise", "trrandom")


@dataclass
class Condition:
    """A value of the surroundings: supply, bias, load or temperature."""

    name: str
    value: float
    words: list[tuple[Card, Word]]
    """Where it stands in the netlist."""
    is_guess: bool = True


@dataclass(frozen=True)
class Surroundings:
    """The circuit with what is around it."""

    circuit: Circuit
    slots: Slots
    lifted: tuple[Card, ...] = field(init=False)
    """Cards that control blocks ask for."""

    def __post_init__(self) -> None:
        lifted = [c for f in self.circuit.files for block in f.controls for c in cards_of(block, f)]
        object.__setattr__(self, "lifted", tuple(lifted))

    @cached_property
    def analyses(self) -> list[Card]:
        """Every analysis, those of control blocks too."""
        return [*self.circuit.analyses, *(card for card in self.lifted if is_analysis(card))]

    def has(self, kind: str) -> bool:
        """Whether there is an analysis of this kind; without any there will be an operating
        point."""
        if not self.analyses:
            return kind == "op"
        return any(card.head == f".{kind}" for card in self.analyses)

    @cached_property
    def sources(self) -> list[Device]:
        """Independent sources outside of every subcircuit."""
        return [device for device in self.circuit.top if device.letter in "vi"]

    @cached_property
    def supplies(self) -> list[tuple[Device, str]]:
        """Voltage sources between a supply node and ground, and that node."""
        found = []
        for source in self.sources:
            rails = [node for node in source.nodes if is_rail(node) and not is_ground(node)]
            if source.letter == "v" and rails and any(is_ground(node) for node in source.nodes):
                found.append((source, rails[0]))
        return found

    @cached_property
    def inputs(self) -> list[Device]:
        """Sources of two inputs or more at one DC level: a common mode."""
        supplies = [source for source, _ in self.supplies]
        levels: dict[float, list[Device]] = {}
        for source in self.sources:
            word = dc_of(source.card) if source not in supplies and source.letter == "v" else None
            if word is not None and word.value:
                levels.setdefault(word.value, []).append(source)
        return next((each for each in levels.values() if len(each) > 1), [])

    @cached_property
    def stimuli(self) -> set[str]:
        """Kinds of time functions among the sources: pulse, sin..."""
        return {kind for source in self.sources for kind in _STIMULI
                if re.search(rf"\b{kind}\b", source.card.text, re.IGNORECASE)}  # fmt: skip

    @cached_property
    def excitation(self) -> float:
        """Sum of the AC magnitudes of all sources, V or A; 0 without any."""
        return sum(abs(_ac_of(source.card)) for source in self.sources)

    @cached_property
    def is_bench(self) -> bool:
        """Whether the top is a testbench around subcircuits that are sized."""
        flat = any(device.is_transistor or device.letter in "qj" for device in self.circuit.top)
        return bool(self.circuit.called - self.circuit.macros) and not flat

    @cached_property
    def loads(self) -> list[Device]:
        """Capacitors and resistors from a node of the testbench to ground."""
        found = []
        for device in self.circuit.top:
            grounded = sum(is_ground(node) for node in device.nodes) == 1
            named = device.name.startswith(("cl", "rl", "cout", "rout"))
            if device.letter in "cr" and grounded and (self.is_bench or named):
                found.append(device)
        return found

    @cached_property
    def fixed(self) -> list[Device]:
        """Passives of a testbench around a circuit in a subcircuit, which nobody sizes."""
        top = [device for device in self.circuit.top if device.letter in "rcl"]
        return top if self.is_bench else list(self.loads)

    @cached_property
    def output(self) -> str:
        """The node that is most likely the output; empty where none is."""
        nodes = {node for device in self.circuit.top for node in device.nodes}
        usable = {n for n in nodes if not is_ground(n) and not re.search(r"[()\[\],]", n)}
        for node in self._probed():
            if node in usable and not is_rail(node):
                return node
        named = sorted(node for node in usable if _OUTPUT.fullmatch(node))
        if named:
            return next((node for node in named if "out" in node), named[0])
        for load in self.loads:
            found = [node for node in load.nodes if node in usable and not is_rail(node)]
            if load.letter == "c" and found:
                return found[0]
        return ""

    def _probed(self) -> Iterator[str]:
        """Nodes that measurements and prints look at, outputs by their names first."""
        driven = {node for source in self.sources for node in source.nodes}
        looking = (".noise", ".meas", ".measure", ".print", ".plot", ".save")
        found = [match.lower() for card in (*self.circuit.cards, *self.lifted)
                 if card.head in looking for match in _PROBE.findall(card.text)]  # fmt: skip
        yield from (node for node in found if _OUTPUT.fullmatch(node))
        yield from (node for node in found if node not in driven)

    def conditions(self) -> list[Condition]:
        """Supplies, biases, loads and the temperature, each with its places."""
        found: dict[str, Condition] = {}
        params = parameters_of(self.circuit)
        for source in self.sources:
            word = dc_of(source.card)
            if word is None:
                continue
            rail = next((node for each, node in self.supplies if each is source), "")
            name = "vcm" if source in self.inputs else rail.strip("/!") or source.name
            self._add(found, name, source.card, word)
            for name in names_used(word):
                for owner in params.roots(params.owner("", name)):
                    for card, value, _ in params.found[owner]:
                        self._add(found, owner[1], card, value)
        for load in self.loads:
            slot = self.slots.at(load, "value")
            if slot is not None and set(slot.devices) <= {each.name for each in self.loads}:
                self._add_load(found, slot, load)
        self._add_temperature(found)
        return list(found.values())

    def _add(self, found: dict[str, Condition], name: str, card: Card, word: Word) -> None:
        value = word.value
        if not value or any(word is other for c in found.values() for _, other in c.words):
            return
        if name in found and found[name].value == value:
            found[name].words.append((card, word))
            return
        unique = name if name not in found else f"{name}_{len(found)}"
        found[unique] = Condition(unique, value, [(card, word)])

    def _add_load(self, found: dict[str, Condition], slot: Slot, load: Device) -> None:
        word = next((w for _, _, w in value_of(load)), None)
        if word is not None and word.value is not None:
            self._add(found, load.name, load.card, word)
            return
        for name in names_used(word) if word else ():
            params = parameters_of(self.circuit)
            for card, value, _ in params.found.get(("", name), ()):
                self._add(found, name, card, value)

    def _add_temperature(self, found: dict[str, Condition]) -> None:
        for card in self.circuit.cards:
            words = [card.words[1]] if card.head == ".temp" and len(card.words) == 2 else []
            if card.head.startswith(".opt") and "temp" in card.assigned:
                words = [card.assigned["temp"]]
            for word in words:
                if word.value is not None:
                    found["temp"] = Condition("temp", word.value, [(card, word)], is_guess=False)
        text = temperature_of([block for file in self.circuit.files for block in file.controls])
        value = Word(text, 0, 0).value if text else None
        if value is not None and "temp" not in found:
            found["temp"] = Condition("temp", value, [], is_guess=False)


def _ac_of(card: Card) -> float:
    """The AC magnitude of a source."""
    if "ac" in card.assigned:
        return card.assigned["ac"].value or 0.0
    words = [word.text.lower() for word in card.words]
    if "ac" not in words[3:]:
        return 0.0
    at = words.index("ac", 3)
    value = Word(bare(words[at + 1]), 0, 0).value if at + 1 < len(words) else None
    return 1.0 if value is None else value
