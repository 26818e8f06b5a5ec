"""The netlist of a testbench drawn with xschem, as far as one sheet tells it.

xschem writes the name of the net on every wire. What is left is to find the wire, or the label, at
each pin: of the common devices, and of symbols whose files are there. All else is told in a note.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from m3eda.importing.reader import text_of

_TWO = ((0.0, -30.0), (0.0, 30.0))
_CONTROLLED = (*_TWO, (-40.0, -20.0), (-40.0, 20.0))
_PINS: Mapping[str, tuple[tuple[float, float], ...]] = {
    "vsource": _TWO, "isource": _TWO, "res": _TWO, "capa": _TWO, "capa-2": _TWO, "ind": _TWO,
    "ammeter": _TWO, "vcvs": _CONTROLLED, "vccs": _CONTROLLED, "bsource": _TWO,
}  # fmt: skip
"""Pins of xschem's own devices, in the order of their netlist."""
_LABELS = {"lab_pin", "lab_wire", "ipin", "opin", "iopin", "lab_show", "gnd", "vdd", "lab_generic"}
_CODE = re.compile(r"code|code_shown|netlist|netlist_not_shown|simulator_commands(?:_shown)?")
_SILENT = re.compile(
    r"title\w*|launcher|noconn|spice_probe\w*|ngspice_\w+|intuitive_\w+|border|graph|bus_\w+"
)
_PROPERTY = re.compile(r'(\w+)\s*=\s*("(?:[^"\\]|\\.)*"|\S*)', re.DOTALL)
_NEAR = 0.5

Point = tuple[float, float]


@dataclass
class Sheet:
    """The netlist of a sheet."""

    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Symbol:
    name: str
    at: Point
    turn: int
    mirrored: bool
    properties: Mapping[str, str]

    def place(self, pin: Point) -> Point:
        """Where a pin of the symbol lies on the sheet."""
        x, y = (-pin[0] if self.mirrored else pin[0]), pin[1]
        x, y = ((x, y), (-y, x), (-x, -y), (y, -x))[self.turn % 4]
        return self.at[0] + x, self.at[1] + y


@dataclass(frozen=True)
class _Wire:
    ends: tuple[Point, Point]
    label: str

    def touches(self, point: Point) -> bool:
        (x1, y1), (x2, y2) = self.ends
        x, y = point
        if abs((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) > _NEAR * (abs(x2 - x1) + abs(y2 - y1)):
            return False
        inside = min(x1, x2) - _NEAR <= x <= max(x1, x2) + _NEAR
        return inside and min(y1, y2) - _NEAR <= y <= max(y1, y2) + _NEAR


def netlist_of_sheet(
    path: Path, folders: Sequence[Path], orders: Mapping[str, Sequence[str]]
) -> Sheet:
    """The netlist of the sheet at `path`; symbols are looked for in `folders`.

    `orders` are the pins of subcircuits by lower-case names, where they are known; else a symbol's
    own order counts. Raises DesignError where the file cannot be read.
    """
    symbols, wires = _records(text_of(path)[0])
    nets = _Nets(symbols, wires)
    sheet, code = Sheet(), list[str]()
    for symbol in symbols:
        kind = Path(symbol.name).stem
        if _CODE.fullmatch(kind):
            code += symbol.properties.get("value", "").strip("\n").split("\n")
        elif kind in _PINS:
            pins = [nets.at(symbol.place(pin)) for pin in _PINS[kind]]
            sheet.lines.append(_device(symbol, kind, pins))
        elif kind not in _LABELS and not _SILENT.fullmatch(kind):
            sheet.lines.append(_instance(symbol, nets, folders, orders, sheet.notes))
    sheet.lines += code
    return sheet


def _device(symbol: _Symbol, kind: str, pins: Sequence[str]) -> str:
    values = symbol.properties
    name = values.get("name", kind)
    value = "0" if kind == "ammeter" else values.get("value", "")
    multiplier = values.get("m", "1")
    words = [name, *pins, value, *([f"m={multiplier}"] if multiplier != "1" else [])]
    return " ".join(filter(None, words))


def _instance(
    symbol: _Symbol,
    nets: _Nets,
    folders: Sequence[Path],
    orders: Mapping[str, Sequence[str]],
    notes: list[str],
) -> str:
    """The call of a subcircuit, with the pins of its symbol's file."""
    kind = Path(symbol.name).stem
    files = [folder / name for folder in folders for name in (symbol.name, f"{kind}.sym")]
    file = next((file for file in files if file.is_file()), None)
    name = symbol.properties.get("name", "x1")
    if file is None:
        notes.append(f"TODO: the symbol {symbol.name} of {name} was not found: write its line")
        return f"* TODO {name} of symbol {symbol.name}, at {symbol.at[0]:g} {symbol.at[1]:g}"
    pins = {pin.lower(): nets.at(symbol.place(place)) for pin, place in _pins_of(file)}
    order = [pin.lower() for pin in orders.get(kind.lower(), ())]
    ordered = order if set(order) == set(pins) else list(pins)
    called = name if name[:1].lower() == "x" else f"x{name}"
    return " ".join([called, *(pins[pin] for pin in ordered), kind])


def _pins_of(file: Path) -> Iterator[tuple[str, Point]]:
    """Name and place of each pin of a symbol."""
    for letter, words, braces in _objects(text_of(file)[0]):
        if letter == "B" and len(words) >= 5 and words[0] == "5" and braces:
            x1, y1, x2, y2 = (_number(word) for word in words[1:5])
            name = _properties(braces[-1]).get("name", f"{x1:g}_{y1:g}")
            yield name, ((x1 + x2) / 2, (y1 + y2) / 2)


class _Nets:
    """Names of nets by points of the sheet."""

    def __init__(self, symbols: Sequence[_Symbol], wires: Sequence[_Wire]) -> None:
        self.wires = wires
        self.labels = [(s.at, s.properties.get("lab", "")) for s in symbols
                       if Path(s.name).stem in _LABELS]  # fmt: skip

    def at(self, point: Point) -> str:
        """The net at `point`: the label there, else its wire's; a name of its own without both."""
        for place, label in self.labels:
            if label and abs(place[0] - point[0]) + abs(place[1] - point[1]) < _NEAR:
                return _net(label)
        for wire in self.wires:
            if wire.label and wire.touches(point):
                return _net(wire.label)
        return _net(f"open_{point[0]:g}_{point[1]:g}")


def _net(label: str) -> str:
    return re.sub(r"[^\w!\[\]<>]", "_", label.lstrip("#"))


def _records(text: str) -> tuple[list[_Symbol], list[_Wire]]:
    symbols: list[_Symbol] = []
    wires: list[_Wire] = []
    for letter, words, braces in _objects(text):
        properties = _properties(braces[-1]) if braces else {}
        if letter == "N" and len(words) >= 4:
            x1, y1, x2, y2 = (_number(word) for word in words[:4])
            wires.append(_Wire(((x1, y1), (x2, y2)), properties.get("lab", "")))
        elif letter == "C" and len(words) >= 4 and braces:
            at = _number(words[0]), _number(words[1])
            turn, mirrored = int(_number(words[2])), words[3] == "1"
            symbols.append(_Symbol(braces[0], at, turn, mirrored, properties))
    return symbols, wires


def _number(word: str) -> float:
    try:
        return max(-1e9, min(1e9, float(word)))
    except ValueError:
        return 0.0


def _properties(text: str) -> dict[str, str]:
    found = {}
    for key, value in _PROPERTY.findall(text):
        plain = value[1:-1] if len(value) > 1 and value[0] == '"' == value[-1] else value
        found[key] = re.sub(r"\\(.)", r"\1", plain)
    return found


def _objects(text: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """The objects of a file: letter, words, and texts in braces with `\\{` and `\\}` undone."""
    words, braces, position = list[str](), list[str](), 0
    for match in re.finditer(r"\{((?:[^{}\\]|\\.)*)\}|(\n)|([^\s{}]+)", text, re.DOTALL):
        if match.start() < position:
            continue
        position = match.end()
        if match[3]:
            words.append(match[3])
        elif match[2]:
            if words:
                yield words[0], words[1:], braces
            words, braces = [], []
        else:
            braces.append(re.sub(r"\\([{}])", r"\1", match[1]))
    if words:
        yield words[0], words[1:], braces
