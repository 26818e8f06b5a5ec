"""What the cards of a netlist are: transistors, passives, sources, instances; and what is used.

A transistor of a process design kit is a subcircuit call with `w=` and `l=`; it counts as a
transistor here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from m3eda.errors import DesignError, Mistake
from m3eda.importing.cards import Card, Word, bare, names_in
from m3eda.importing.reader import (
    NetlistFile,
    Reference,
    Subcircuit,
    netlist_of,
    read_netlist,
)

_MODEL = re.compile(r"^\s*\.model\b", re.IGNORECASE | re.MULTILINE)
_N_TYPE = re.compile(r"n(?:mos|fet|ch)")
_P_TYPE = re.compile(r"p(?:mos|fet|ch)|^p")
_GROUND = re.compile(r"0|\w*gnd\w?|[a-z]{0,2}(?:vss|vee)\w{0,3}|vsub")
_RAIL = re.compile(r"[a-z]{0,2}(?:vdd|vcc)\w{0,3}|vpwr|vpb|vnb|vbat|vpp|\+\d+v\d*")
_LARGEST_PART = 200_000
"""Bytes of an included file that may be a part of the circuit rather than of the models."""
_CONTROLLED = frozenset("egfhba")
_TRANSISTORS = frozenset("mqj")


@dataclass(frozen=True)
class Device:
    """A device of the circuit."""

    card: Card
    nodes: tuple[str, ...]
    """In lower case."""
    model: str
    """Model or subcircuit, as written; empty where it has none."""
    is_transistor: bool = False
    """A field-effect transistor with `w` and `l`."""

    @property
    def name(self) -> str:
        """In lower case."""
        return self.card.head

    @property
    def letter(self) -> str:
        return self.name[0]

    @property
    def scope(self) -> str:
        return self.card.scope

    def value(self, key: str, default: float | None = None) -> float | None:
        """The number assigned to `key`."""
        word = self.card.assigned.get(key)
        return default if word is None else word.value

    @property
    def drain(self) -> str:
        return self.nodes[0]

    @property
    def gate(self) -> str:
        return self.nodes[1]

    @property
    def source(self) -> str:
        return self.nodes[2]

    @property
    def is_p(self) -> bool:
        """Whether its model is called as one of holes."""
        name = self.model.lower().rpartition("__")[2]
        return bool(_P_TYPE.search(name)) and not _N_TYPE.search(name)


def is_ground(node: str) -> bool:
    """Whether a node is called as ground or a negative supply."""
    return bool(_GROUND.fullmatch(_plain(node)))


def is_rail(node: str) -> bool:
    """Whether a node is called as a supply or ground."""
    return is_ground(node) or bool(_RAIL.fullmatch(_plain(node)))


def _plain(node: str) -> str:
    """A node's name without KiCad's `/` and Cadence's `!`."""
    return node.lower().removeprefix("/").rstrip("!")


@dataclass
class Circuit:
    """A netlist with the parts it includes."""

    main: NetlistFile
    parts: dict[Path, NetlistFile] = field(default_factory=dict)
    """Included files that belong to the circuit and get templates of their own."""
    libraries: list[Reference] = field(default_factory=list)
    """References of the main file and its parts to models."""

    @cached_property
    def files(self) -> list[NetlistFile]:
        return [self.main, *self.parts.values()]

    @cached_property
    def cards(self) -> list[Card]:
        return [card for file in self.files for card in file.cards]

    @cached_property
    def subcircuits(self) -> Mapping[str, Subcircuit]:
        found: dict[str, Subcircuit] = {}
        for file in self.files:
            found.update(file.subcircuits)
        return found

    @cached_property
    def all_devices(self) -> list[Device]:
        """Every device, those of subcircuits that nothing calls too."""
        return [device_of(c, self.subcircuits) for c in self.cards if not c.head.startswith(".")]

    @cached_property
    def called(self) -> frozenset[str]:
        """Subcircuits that are reached from the top; all where the top has no device."""
        inside: dict[str, set[str]] = {}
        for device in self.all_devices:
            if device.letter == "x" and device.model.lower() in self.subcircuits:
                inside.setdefault(device.scope, set()).add(device.model.lower())
        waiting = list(inside.get("", ())) if self.top else list(self.subcircuits)
        found: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += inside.get(name, ())
        return frozenset(found)

    @cached_property
    def macros(self) -> frozenset[str]:
        """Subcircuits that describe behaviour: controlled sources and no transistor."""
        kinds: dict[str, set[str]] = {}
        for device in self.all_devices:
            letter = "m" if device.is_transistor else device.letter
            kinds.setdefault(device.scope, set()).add(letter)
        return frozenset(
            scope for scope, letters in kinds.items()
            if scope and letters & _CONTROLLED and not letters & (_TRANSISTORS | {"x"})
        )  # fmt: skip

    @cached_property
    def devices(self) -> list[Device]:
        """Those that are sized: reached from the top, macro models left out."""
        kept = self.called - self.macros
        return [d for d in self.all_devices if d.scope in kept or not d.scope]

    @cached_property
    def top(self) -> list[Device]:
        """The devices outside of every subcircuit."""
        return [device for device in self.all_devices if not device.scope]

    @cached_property
    def analyses(self) -> list[Card]:
        return [card for card in self.cards if is_analysis(card)]

    @property
    def is_cell(self) -> bool:
        """Whether it is a device under test alone: subcircuits, nothing at the top."""
        return bool(self.subcircuits) and not self.top and not self.analyses

    @property
    def cell(self) -> Subcircuit:
        """The device under test of a cell: the last subcircuit that no other one calls."""
        used = {d.model.lower() for d in self.all_devices if d.letter == "x"}
        free = [each for name, each in self.subcircuits.items() if name not in used]
        return (free or list(self.subcircuits.values()))[-1]


def is_analysis(card: Card) -> bool:
    return card.head in (".ac", ".tran", ".op", ".dc", ".noise", ".sp") and not card.scope


def device_of(card: Card, subcircuits: Mapping[str, Subcircuit]) -> Device:
    """The device on a card; which words are nodes depends on its letter."""
    words = [word.text for word in card.words if word.text.lower() not in ("params:", "/")]
    letter = card.head[0]
    sized = {"w", "l"} <= card.assigned.keys()
    if letter == "x":
        kit = sized and words[-1].lower() not in subcircuits and len(words) == 6
        return Device(card, _nodes(words[1:-1]), words[-1], kit)
    if letter == "m":
        words = [word for word in words if word.lower() != "off"]
        nodes = words[1:5] if len(words) > 5 else words[1:-1]
        return Device(card, _nodes(nodes), words[len(nodes) + 1], len(nodes) >= 3)
    if letter in "qj":
        count = 4 if letter == "q" and len(words) > 5 and Word(words[5], 0, 0).value is None else 3
        return Device(card, _nodes(words[1 : count + 1]), words[min(count + 1, len(words) - 1)])
    return Device(card, _nodes(words[1:3]), words[3] if letter == "d" and len(words) > 3 else "")


def _nodes(words: list[str]) -> tuple[str, ...]:
    return tuple(word.strip("()").lower() for word in words)


def read_circuit(path: Path) -> Circuit:
    """The netlist at `path` with what it includes. Raises DesignError with every mistake."""
    circuit = _with_parts(read_netlist(path), path.resolve())
    _check_calls(circuit)
    return circuit


def circuit_of(path: Path, text: str) -> Circuit:
    """The netlist `text` as if it stood at `path`, with what it includes. Raises DesignError."""
    return _with_parts(netlist_of(path, text), path.resolve())


def _with_parts(main: NetlistFile, path: Path) -> Circuit:
    circuit = Circuit(main)
    waiting: list[tuple[NetlistFile, tuple[Path, ...]]] = [(circuit.main, (path,))]
    while waiting:
        file, outer = waiting.pop(0)
        for reference in file.references:
            if reference.path in outer:
                line = reference.card.first + 1
                text = f"includes '{reference.written}', which includes this file"
                raise DesignError([Mistake(text, file.path, line)])
            part = None if reference.section else _part_at(reference.path)
            if part is None:
                circuit.libraries.append(reference)
            elif reference.path not in circuit.parts:
                circuit.parts[reference.path] = part
                waiting.append((part, (*outer, reference.path)))
    return circuit


def _part_at(path: Path) -> NetlistFile | None:
    """As `_part`, read once while the file stays as it is: decks include the same ones."""
    try:
        state = path.stat()
    except OSError:
        return None
    return _part(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def _part(path: Path, changed: int, size: int) -> NetlistFile | None:
    """An included file where it is a part of the circuit: it has transistors and no models."""
    try:
        if size > _LARGEST_PART or _MODEL.search(path.read_text("latin-1")):
            return None
        file = read_netlist(path, included=True)
    except (DesignError, OSError):
        return None
    devices = [device_of(card, file.subcircuits) for card in file.cards if card.head[0] != "."]
    if file.sections or not any(device.is_transistor for device in devices):
        return None
    return file


def _check_calls(circuit: Circuit) -> None:
    """Raises DesignError where an instance has not as many nodes as its subcircuit pins."""
    mistakes = []
    for device in circuit.all_devices:
        called = circuit.subcircuits.get(device.model.lower()) if device.letter == "x" else None
        if called is not None and len(called.pins) != len(device.nodes):
            text = (f"{device.card.words[0].text} has {len(device.nodes)} nodes, and "
                    f"{called.name} {len(called.pins)} pins")  # fmt: skip
            line = device.card.first + 1
            mistakes.append(Mistake(text, device.card.file, line,
                                    hint=f".subckt on line {called.card.first + 1}"))  # fmt: skip
    if mistakes:
        raise DesignError(mistakes)


def names_used(word: Word) -> Iterator[str]:
    """The parameters that a value uses, in lower case; none where it is a number."""
    return iter(()) if word.value is not None else names_in(bare(word.text))
