"""Which values of which devices a skeleton's numbers are, for ngspice's `alter`.

`alter @m.x1.m1[w]=...` changes a device of the circuit that stands, which `reset` would read and
build anew. It knows nothing of parameters: what they come to in every copy of a subcircuit is
reckoned here. A number that reaches anything but plain values of plain devices is not for this.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from m3eda_plugins.ngspice.circuit import SHOWN
from m3eda_plugins.ngspice.expressions import Value, compiled
from m3eda_plugins.ngspice.parameters import Parametrised, Unfit

from m3eda.simulate.cards import Card, cards

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
_DEEPEST = 20
_ASSIGNED = re.compile(r"(\w+)\s*=\s*(\{[^}]*\}|'[^']*'|\"[^\"]*\"|[^\s,]+)")
_PARAMETER = re.compile(r"(\w+)\s*=(?!=)\s*(.*?)(?=\s+\w+\s*=(?!=)|$)")
_FUNCTION = re.compile(r"\w\s*\([^()=]*\)\s*=(?!=)")
_VALUE = re.compile(r"\{([^{}]*)\}|'([^']*)'")
_NAME = re.compile(r"(?<![\w.])[a-z_]\w*")


@dataclass(frozen=True)
class Assignment:
    """A value of one device that follows from tokens."""

    name: str
    """As ngspice has it, such as `@m.x1.m1[w]`."""
    value: Value
    token: int | None = None
    """The token whose digits stand there as they are; None where the value is reckoned."""

    @property
    def tokens(self) -> frozenset[int]:
        tokens: frozenset[int] = self.value.tokens
        return tokens

    def text(self, values: Sequence[str], numbers: Sequence[float]) -> str:
        """The digits that the device reads, of the values of all tokens. Raises Unfit."""
        text: str = self.value.text(numbers) if self.token is None else values[self.token]
        return text.strip('"')


@dataclass
class _Scope:
    """A subcircuit, or the top of the netlist."""

    cards: list[Card] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)


class _Frame:
    """One copy of a subcircuit: where it is, and what its parameters are worth."""

    def __init__(self, path: str, own: Mapping[str, str], given: Mapping[str, Value],
                 outer: _Frame | None) -> None:  # fmt: skip
        self.path = path
        self.depth: int = outer.depth + 1 if outer else 0
        self._own = own
        self._values: dict[str, Value | None] = dict(given)
        self._outer = outer

    def lookup(self, name: str) -> Value:
        """The value of a parameter. Raises Unfit where it is not known, or its own cause."""
        if name in self._values:
            value = self._values[name]
            if value is None:
                raise Unfit(f"{name} follows from itself")
            return value
        if name in self._own:
            self._values[name] = None
            made: Value = compiled(_bare(self._own[name]), self.lookup)
            self._values[name] = made
            return made
        if self._outer is None:
            raise Unfit(f"{name} is not known")
        return self._outer.lookup(name)

    def follows(self, text: str) -> frozenset[int]:
        """The tokens that names in a text follow from, as far as they are known."""
        found: frozenset[int] = frozenset()
        for name in _NAME.findall(text.lower()):
            try:
                found |= self.lookup(name).tokens
            except Unfit:
                if self._reaches(name):
                    raise
        return found

    def reaches(self, names: Iterable[str]) -> bool:
        """Whether one of these names, as it is seen from here, follows from a token."""
        return bool(self.follows(" ".join(names)))

    def _reaches(self, name: str) -> bool:
        """Whether the name is a parameter's: one that cannot be reckoned may follow from all."""
        return name in self._own or (self._outer is not None and self._outer._reaches(name))


def assignments(
    netlist: Parametrised, elsewhere: frozenset[str] = frozenset()
) -> tuple[Assignment, ...]:
    """The values that follow from a netlist's tokens. Raises Unfit where there is more to one.

    `elsewhere` are names that values in included files follow from.
    """
    scopes = _scopes(cards("\n".join(netlist.lines)))
    names = {netlist.name(n): _token_value(n) for n in range(len(netlist.tokens))}
    top = _Frame("", scopes[""].parameters, names, None)
    texts = {netlist.name(n): n for n, token in enumerate(netlist.tokens) if token.as_text}
    if top.reaches(elsewhere):
        raise Unfit("a number reaches an included file")
    found = tuple(_assigned(scopes, "", top, texts, elsewhere))
    reached = frozenset[int]().union(*(each.tokens for each in found))
    if len(reached) < len(netlist.tokens):
        raise Unfit("one of its numbers reaches no device")
    return found


def is_binned(assigned: Sequence[Assignment], models: Iterable[str], *, bins: bool) -> bool:
    """Whether an assignment may ask for another bin of a binned model.

    `models` are names as ngspice shows them, long ones cut; `bins` says whether there are any bins.
    ngspice 39 looks for the bin by a name cut at its first dot, and mixes scaled with plain sizes.
    """
    sizes = any(re.match(rf"@m.*\[(?:{'|'.join(_BINNED)})\]", each.name) for each in assigned)
    return sizes and any(
        re.search(r"\.\d*$", name) or (bins and len(name) >= SHOWN) for name in models
    )


def _token_value(number: int) -> Value:
    return Value(lambda numbers: numbers[number], frozenset({number}))


def _bare(text: str) -> str:
    text = text.strip()
    match = _VALUE.fullmatch(text)
    return (match[1] or match[2] or "") if match else text


def _scopes(netlist: Iterable[Card]) -> Mapping[str, _Scope]:
    """The subcircuits by name, the top under the empty one. Raises Unfit where one is nested."""
    scopes = {"": _Scope()}
    current = ""
    for card in netlist:
        text = card.text.lower()
        words = text.split()
        if words[0] == ".subckt":
            if current or len(words) < 2 or words[1] in scopes:
                raise Unfit("its subcircuits are nested")
            current = words[1]
            scopes[current] = _Scope(parameters=dict(_ASSIGNED.findall(text)))
        elif words[0] == ".ends":
            current = ""
        elif words[0].startswith((".if", ".else", ".func")):
            raise Unfit(f"its netlist has {words[0]}")
        elif words[0].startswith(".param"):
            if _FUNCTION.search(text):
                raise Unfit("its netlist has functions")
            scopes[current].parameters.update(_PARAMETER.findall(text.partition(" ")[2]))
        else:
            scopes[current].cards.append(card)
    return scopes


def _assigned(
    scopes: Mapping[str, _Scope],
    scope: str,
    frame: _Frame,
    texts: Mapping[str, int],
    elsewhere: frozenset[str],
) -> Iterator[Assignment]:
    if frame.depth > _DEEPEST:
        raise Unfit("its subcircuits call themselves")
    for card in scopes[scope].cards:
        text = card.text.lower()
        if text[0] != "x":
            yield from _of_device(text, frame, texts)
            continue
        called = [word for word in re.sub(r"\s*=\s*", "=", text).split() if "=" not in word]
        name = next((word for word in reversed(called) if word in scopes), None)
        if name is None or re.search(r"\sm\s*=", text):
            if frame.follows(text) or (name is None and frame.reaches(elsewhere)):
                raise Unfit(f"a number reaches {text[:60]}")
            if name is None:
                continue
        given = {key: compiled(_bare(value), frame.lookup)
                 for key, value in _ASSIGNED.findall(text)}  # fmt: skip
        path = f"{frame.path}.{called[0]}" if frame.path else called[0]
        inner = _Frame(path, scopes[name].parameters, given, frame)
        yield from _assigned(scopes, name, inner, texts, elsewhere)


def _of_device(text: str, frame: _Frame, texts: Mapping[str, int]) -> Iterator[Assignment]:
    """The values on one card. Raises Unfit where a number reaches anything else on it."""
    rest = text
    for match in reversed(list(_VALUE.finditer(text))):
        inside = match[1] or match[2] or ""
        if not frame.follows(inside):
            continue
        rest = rest[: match.start()] + rest[match.end() :]
        value = compiled(inside, frame.lookup)
        name = text.split()[0]
        device = f"{name[0]}.{frame.path}.{name}" if frame.path else name
        key = _key(text, match)
        yield Assignment(f"@{device}[{key}]", value, texts.get(inside.strip()))
    if frame.follows(re.sub(r"\w+\s*=", " ", rest)):
        raise Unfit(f"a number reaches {text[:60]}")


def _key(text: str, match: re.Match[str]) -> str:
    """ngspice's name of the value that stands there whole. Raises Unfit."""
    kind = text[0]
    before, after = text[: match.start()], text[match.end() :]
    if kind in _KEYS and (not after or after[0] in " \t"):
        if key := re.search(r"(\w+)\s*=\s*$", before):
            name = key[1]
            if name in _KEYS[kind] or (kind, name) in _ALIASES:
                return _ALIASES.get((kind, name), name)
            if kind in "vi" and name in ("dc", "ac"):
                return {"dc": "dc", "ac": "acmag"}[name]
        elif before[-1:] in (" ", "\t"):
            words = before.split()[3:]
            if kind in _MAIN and not words:
                return _MAIN[kind]
            if kind in "vi" and words[-1:] in (["dc"], ["ac"]):
                return {"dc": "dc", "ac": "acmag"}[words[-1]]
    raise Unfit(f"no plain value of a device: {' '.join(text.split())[:80]}")
