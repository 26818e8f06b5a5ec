"""Which values of which devices a skeleton's numbers are, for ngspice's `alter`.

`alter @m.x1.m1[w]=2e-6` changes a device of the circuit that stands, which `reset` would read and
build anew. It knows nothing of expressions: only a number that is a device's value as it stands is
altered, in every copy of the subcircuit it stands in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from m3eda_plugins.ngspice_deck import Card, cards
from m3eda_plugins.ngspice_parameters import Parametrised, Unfit

_KEYS = {
    "m": ("w", "l", "m", "nf", "as", "ad", "ps", "pd", "nrd", "nrs"),
    "r": ("r", "m", "w", "l"),
    "c": ("c", "m", "w", "l"),
    "l": ("m",),
    "v": (),
    "i": ("m",),
}
_MAIN = {"r": "resistance", "c": "capacitance", "l": "inductance", "v": "dc", "i": "dc"}
_ALIASES = {("r", "r"): "resistance", ("c", "c"): "capacitance"}
_BINNED = ("w", "l", "nf")


@dataclass(frozen=True)
class Assignment:
    """A value of one device that is a token's."""

    token: int
    device: str
    """ngspice's name, such as `m.x1.m1`."""
    value: str
    """Such as `w`."""

    @property
    def name(self) -> str:
        return f"@{self.device}[{self.value}]"


@dataclass
class _Scope:
    """A subcircuit, or the top of the netlist."""

    devices: list[Card] = field(default_factory=list)
    instances: list[tuple[str, str]] = field(default_factory=list)
    """Name of the X line and of the subcircuit it calls."""


def assignments(netlist: Parametrised) -> tuple[Assignment, ...]:
    """The values that a netlist's tokens are. Raises Unfit where one is more than a value."""
    scopes = _scopes(cards("\n".join(netlist.lines)))
    names = re.compile(rf"\{{?\b{netlist.prefix}(\d+)\b\}}?")
    found: list[Assignment] = []
    seen: set[int] = set()
    for path, card in _flat(scopes, "", "", 0):
        for match in names.finditer(card.text):
            token = int(match[1])
            value = _value(card.text, match)
            found.append(Assignment(token, _device(path, card.text.split()[0]), value))
            seen.add(token)
    if missing := set(range(len(netlist.tokens))) - seen:
        raise Unfit(f"{len(missing)} of its numbers stand on no device's line")
    return tuple(found)


def is_binned(assigned: Sequence[Assignment], models: Iterable[str]) -> bool:
    """Whether an assignment may ask for another bin of a binned model.

    ngspice 39 looks for the bin by a name cut at its first dot, and mixes scaled with plain sizes.
    """
    sizes = any(each.device[0] == "m" and each.value in _BINNED for each in assigned)
    return sizes and any(re.search(r"\.\d*$", name) for name in models)


def _scopes(netlist: Iterable[Card]) -> Mapping[str, _Scope]:
    """The subcircuits by name, the top under the empty one. Raises Unfit where one is nested."""
    scopes = {"": _Scope()}
    current = ""
    for card in netlist:
        words = card.text.lower().split()
        if words[0] == ".subckt":
            if current or len(words) < 2 or words[1] in scopes:
                raise Unfit("its subcircuits are nested")
            current = words[1]
            scopes[current] = _Scope()
        elif words[0] == ".ends":
            current = ""
        elif words[0].startswith((".if", ".else")):
            raise Unfit("its netlist has conditions")
        elif words[0][0] == "x":
            plain = re.sub(r"\s*=\s*", "=", card.text.lower()).split()
            called = [word for word in plain if "=" not in word and word != "params:"]
            scopes[current].instances.append((words[0], called[-1]))
            scopes[current].devices.append(card)
        else:
            scopes[current].devices.append(card)
    return scopes


def _flat(
    scopes: Mapping[str, _Scope], scope: str, path: str, depth: int
) -> Iterator[tuple[str, Card]]:
    """Every card of the netlist with the path of the subcircuit it is in, such as `x1.x2`."""
    if depth > 20:
        raise Unfit("its subcircuits call themselves")
    for card in scopes[scope].devices:
        yield path, card
    for name, called in scopes[scope].instances:
        if called in scopes:
            yield from _flat(scopes, called, f"{path}.{name}" if path else name, depth + 1)


def _device(path: str, name: str) -> str:
    return f"{name[0]}.{path}.{name}".lower() if path else name.lower()


def _value(text: str, match: re.Match[str]) -> str:
    """The value of its device that stands there whole. Raises Unfit."""
    kind = text[0].lower()
    before, after = text[: match.start()], text[match.end() :]
    if kind in _KEYS and match[0][0] == "{" and (not after or after[0] in " \t"):
        if key := re.search(r"(\w+)\s*=\s*$", before):
            name = key[1].lower()
            if name in _KEYS[kind] or (kind, name) in _ALIASES:
                return _ALIASES.get((kind, name), name)
            if kind in "vi" and name in ("dc", "ac"):
                return {"dc": "dc", "ac": "acmag"}[name]
        elif before[-1:] in (" ", "\t"):
            words = before.lower().split()[3:]
            if kind in _MAIN and not words:
                return _MAIN[kind]
            if kind in "vi" and words[-1:] in (["dc"], ["ac"]):
                return {"dc": "dc", "ac": "acmag"}[words[-1]]
    raise Unfit(f"no plain value of a device: {' '.join(text.split())[:80]}")
