"""The words of a design file as they are in another technology.

What stands as the circuit library wrote it follows the library's formulas. Else lengths and widths
go with the shortest channel and the narrowest width, and supplies with the nominal supply. What is
no size, supply or process corner stays as it is: specs above all.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from m3eda.circuits.numbers import on_grid, spice_number
from m3eda.circuits.technology import entry_of
from m3eda.design.corners import PROCESS, grid_corner
from m3eda.design.types import Design, Technology
from m3eda.design.yamlfile import Document, KeyPath, Text
from m3eda.units import NumberError, parse, parse_quantity

_CLOSE = 1e-6
_ALIKE = (("tt", "typ", "typical", "nom", "nominal", "mos_tt"), ("ff", "fast", "mos_ff"),
          ("ss", "slow", "mos_ss"), ("sf", "mos_sf"), ("fs", "mos_fs"))  # fmt: skip
"""Names of process corners that mean the same."""
_SIZED = ("min", "max", "step", "value", "choices")
_STEP_DIGITS = 2


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was."""

    kind: str
    """technology, condition, corners, parameter, measure, agent, spec or file."""
    name: str
    old: str
    new: str
    note: str = ""


@dataclass
class Carried:
    """The words of the new design file, and what was changed in them."""

    document: Document
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def data(self) -> dict[str, Any]:
        return self.document.data

    def put(self, path: KeyPath, value: Any, kind: str, name: str, note: str = "") -> None:
        """`value` at `path`, noted as a change where it is one."""
        old = self.document.at(path)
        self.set(path, value)
        if _text(old) != _text(value):
            self.changes.append(Change(kind, name, _text(old), _text(value), note))

    def set(self, path: KeyPath, value: Any) -> None:
        """`value` at `path`."""
        holder: Any = self.document.at(path[:-1])
        holder[path[-1]] = value


@dataclass(frozen=True)
class Move:
    """From one technology to another."""

    old: Technology
    new: Technology
    written: str
    """The new one as a design file names it: by its name, or by a path."""

    def sizes(self, key: str) -> tuple[float, float]:
        """`sizes.<key>` of both, m."""
        one, other = (parse(str(entry_of(each, "sizes", key))) for each in (self.old, self.new))
        return one, other

    def ratio(self, key: str) -> float:
        one, other = self.sizes(key)
        return other / one

    def supply(self, key: str = "nominal") -> tuple[float | None, float | None]:
        """`supply.<key>` of both, V; None where one does not tell."""
        found = [entry_of(each, "supply", key) for each in (self.old, self.new)]
        one, other = (None if each is None else parse(str(each)) for each in found)
        return one, other

    @property
    def processes(self) -> dict[str, str]:
        """Process corner of the old technology -> that of the new one, where there is one."""
        return {name: found for name in self.old.sections
                if (found := _alike(name, self.new.sections))}  # fmt: skip


Roles = Mapping[str, frozenset[str]]
"""Parameter -> the sizes that it decides: w, l, m."""
Twin = tuple[Mapping[str, Any], Mapping[str, Any]]
"""The words of the library's own circuit in the old and in the new technology."""


def carried(
    document: Document, design: Design, move: Move, roles: Roles, twin: Twin | None
) -> Carried:
    """`document`, which describes `design`, in the new technology; without any start."""
    found = Carried(copy.deepcopy(document))
    found.data.pop("starts", None)
    for entry in found.data["parameters"].values():
        entry.pop("start", None)
    found.changes.append(Change("technology", "technology", move.old.name, move.new.name))
    written = found.data.get("technology")
    own = [key for key in written if key != "name"] if isinstance(written, dict) else []
    if own and "lib" not in own:
        found.notes.append(f"left out of technology, as it is {move.old.name}'s: {', '.join(own)}")
    found.data["technology"] = Text(move.written)
    _conditions(found, move, twin)
    names = _corners(found, design, move)
    _spec_corners(found, move, names)
    for name in found.data["parameters"]:
        _parameter(found, name, move, roles.get(name, frozenset()), twin)
    _measures(found, twin)
    return found


def _conditions(found: Carried, move: Move, twin: Twin | None) -> None:
    places: list[tuple[KeyPath, str, Any]] = [((), "", found.data.get("conditions") or {})]
    for bench, entry in found.data["testbenches"].items():
        if isinstance(entry, dict):
            places.append((("testbenches", bench), f"{bench}.", entry.get("conditions") or {}))
    for path, around, conditions in places:
        for name, value in list(conditions.items()):
            own = (*path, "conditions", name)
            other = _of_twin(twin, own, value)
            note = "by the library" if other is not None else "with the supply"
            if other is None and isinstance(value, list):
                other = [_voltage(name, each, move) or each for each in value]
            elif other is None:
                other = _voltage(name, value, move)
            if other is not None:
                found.put(own, other, "condition", f"{around}{name}", note)


def _voltage(name: str, value: Any, move: Move) -> Text | None:
    """A voltage of the new technology; None for what is none, or does not go with the supply."""
    one, other = move.supply()
    number = _number(value)
    if one is None or other is None or number is None or number[1] not in ("", "V"):
        return None
    if math.isclose(number[0], one, rel_tol=_CLOSE):
        return Text(spice_number(other))
    named = number[1] == "V" or name.lower().startswith("v")
    if named and 0.0 < number[0] < one:
        return Text(spice_number(number[0] * other / one))
    return None


def _corners(found: Carried, design: Design, move: Move) -> dict[str, str]:
    """Map the corners; gives the new name of each that is left."""
    names: dict[str, str] = {}
    written = found.data.get("corners")
    if not written:
        return names
    listed = isinstance(written, list)
    named = written if listed else (written.get("named") or [])
    count = len(design.corners) - len(named)
    scaled = _Scaled(found, design, move)
    for corner in design.corners[:count]:
        process = scaled.process(corner.process)
        point = {name: scaled.condition(name, value) for name, value in corner.conditions.items()}
        if process is not None:
            made = {PROCESS: process} if process else {}
            names[corner.name] = grid_corner({**made, **point}).name
    if not listed:
        scaled.grid(written)
    kept = [each for each in named if scaled.process(str(each.get(PROCESS, ""))) is not None]
    for each in kept:
        names[str(each["name"])] = str(each["name"])
        scaled.named(each)
    named[:] = kept
    if not written:
        del found.data["corners"]
    scaled.tell()
    return names


class _Scaled:
    """Values of corners in the new technology."""

    def __init__(self, found: Carried, design: Design, move: Move) -> None:
        self._found, self._design, self._move = found, design, move
        self._lost: dict[str, None] = {}
        self._before = _text(found.data.get("corners"))

    def process(self, name: str) -> str | None:
        """The new name; empty for none, None for one that the new technology lacks."""
        if not name:
            return ""
        new = self._move.processes.get(name)
        if new is None:
            self._lost[name] = None
        return new

    def condition(self, name: str, value: Any) -> Any:
        """A value of a condition, as a number; itself where it does not go with the supply."""
        nominal = self._design.conditions.get(name)
        moved = _number((self._found.data.get("conditions") or {}).get(name))
        if isinstance(value, str) or not isinstance(nominal, (int, float)) or moved is None:
            return value
        if nominal == moved[0] or not nominal:
            return value
        for end in ("min", "max"):
            one, other = self._move.supply(end)
            at_supply = math.isclose(nominal, self._move.supply()[0] or 0.0, rel_tol=_CLOSE)
            if at_supply and one and other and math.isclose(value, one, rel_tol=_CLOSE):
                return other
        return parse(spice_number(value * moved[0] / nominal))

    def _written(self, name: str, value: Any) -> Any:
        number = _number(value)
        new = value if number is None else self.condition(name, number[0])
        return value if number is None or new == number[0] else Text(spice_number(new))

    def grid(self, written: dict[str, Any]) -> None:
        for axis, values in list(written.items()):
            if axis == PROCESS:
                kept = [new for each in values if (new := self.process(str(each)))]
                written[axis] = [Text(each) for each in dict.fromkeys(kept)]
            elif axis != "named":
                written[axis] = [self._written(axis, each) for each in values]
            if not written[axis]:
                del written[axis]

    def named(self, entry: dict[str, Any]) -> None:
        for key, value in entry.items():
            if key == PROCESS:
                entry[key] = Text(self.process(str(value)) or "")
            elif key != "name":
                entry[key] = self._written(key, value)

    def tell(self) -> None:
        after = _text(self._found.data.get("corners"))
        if after != self._before:
            change = Change("corners", "corners", self._before, after, "with the supply")
            self._found.changes.append(change)
        if self._lost:
            self._found.notes.append(
                f"process corners left out, as {self._move.new.name} does not have them: "
                f"{', '.join(self._lost)}"
            )


def _spec_corners(found: Carried, move: Move, names: Mapping[str, str]) -> None:
    """Limits at corners, and the corners of the sign-off, under the corners' new names."""
    known = {**move.processes, **names}
    lost: dict[str, None] = {}
    for entry in (found.data.get("specs") or {}).values():
        limits = entry.get("corners") if isinstance(entry, dict) else None
        if limits:
            lost.update(dict.fromkeys(name for name in limits if name not in known))
            entry["corners"] = {known[name]: each for name, each in limits.items() if name in known}
    signoff = found.data.get("signoff")
    wanted = signoff.get("corners") if isinstance(signoff, dict) else None
    if isinstance(wanted, list):
        lost.update(dict.fromkeys(str(n) for n in wanted if n not in {**known, "nominal": ""}))
        kept = [Text(known.get(n, n)) for n in wanted if n not in lost]
        found.set(("signoff", "corners"), kept)
    if lost:
        found.notes.append(f"limits and sign-off at corners left out: {', '.join(lost)}")


def _parameter(
    found: Carried, name: str, move: Move, sizes: frozenset[str], twin: Twin | None
) -> None:
    path: KeyPath = ("parameters", name)
    entry = found.document.at(path)
    other = _of_twin(twin, path, entry)
    if other is not None:
        _replace(found, path, name, other, "by the library")
    elif "expr" not in entry and (letter := _letter(entry, sizes)):
        key = f"{letter}_min"
        changed = {**entry, **_scaled(entry, letter, move)}
        note = "with the shortest channel" if letter == "l" else "with the narrowest width"
        if math.isclose(move.ratio(key), 1.0):
            note = "limits of the technology"
        _replace(found, path, name, changed, note)


def _replace(found: Carried, path: KeyPath, name: str, other: Mapping[str, Any], note: str) -> None:
    entry = found.document.at(path)
    before = {key: entry[key] for key in _SIZED if key in entry}
    after = {key: other[key] for key in _SIZED if key in other}
    found.set(path, {key: each for key, each in other.items() if key != "start"})
    if _text(before) != _text(after):
        found.changes.append(Change("parameter", name, _text(before), _text(after), note))


def _letter(entry: Mapping[str, Any], sizes: frozenset[str]) -> str:
    """`l` for a length, `w` for a width in metres, empty for what is neither."""
    kind = str(entry.get("kind", ""))
    if kind == "length" or (not kind and "l" in sizes):
        return "l"
    if kind == "width":
        return "w"
    first = _number(entry.get("max", entry.get("value")))
    in_metres = str(entry.get("unit", "")) == "m" or (first is not None and first[0] < 1e-2)
    return "w" if not kind and "w" in sizes and "m" not in sizes and in_metres else ""


def _scaled(entry: Mapping[str, Any], letter: str, move: Move) -> dict[str, Any]:
    """The numbers of a length or width, within what the new technology has and on its grid."""
    ratio = move.ratio(f"{letter}_min")
    low, high = move.sizes(f"{letter}_min")[1], move.sizes(f"{letter}_max")[1]
    grid = parse(str(entry_of(move.new, "sizes", "grid") or 0))

    def scaled(written: Any, up: bool = True) -> Text:
        number = _number(written)
        value = min(max((number[0] if number else math.nan) * ratio, low), high)
        return Text(spice_number(on_grid(value, grid, up) if grid else value))

    found: dict[str, Any] = {key: scaled(entry[key], key == "min")
                             for key in ("min", "max", "value")
                             if _number(entry.get(key)) is not None}  # fmt: skip
    if isinstance(entry.get("choices"), list) and all(map(_number, entry["choices"])):
        found["choices"] = list(dict.fromkeys(scaled(each) for each in entry["choices"]))
    if (step := _number(entry.get("step"))) is not None:
        finer = float(f"{step[0] * ratio:.{_STEP_DIGITS}g}")
        finer = max(round(finer / grid), 1) * grid if grid else finer
        found["step"] = Text(spice_number(finer))
    if "min" in found and "max" in found and parse(found["min"]) >= parse(found["max"]):
        # nothing is left of the range but one end of what the technology has
        found |= {"min": Text(spice_number(low)), "max": Text(spice_number(min(2 * low, high)))}
    return found


def _measures(found: Carried, twin: Twin | None) -> None:
    for name, entry in list((found.data.get("measures") or {}).items()):
        other = _of_twin(twin, ("measures", name), entry)
        if other is not None:
            found.data["measures"][name] = other


def _of_twin(twin: Twin | None, path: KeyPath, entry: Any) -> Any:
    """What the library says at `path` in the new technology, where `entry` is what it says in the
    old one; else None."""
    if twin is None:
        return None
    one, other = (_at(each, path) for each in twin)
    if one is None or other is None or _plain(one) != _plain(entry):
        return None
    return copy.deepcopy(other)


def _at(data: Any, path: KeyPath) -> Any:
    for step in path:
        data = data.get(step) if isinstance(data, Mapping) else None
    return data


def _plain(entry: Any) -> Any:
    """`entry` without its start, numbers as numbers, for a comparison."""
    if isinstance(entry, Mapping):
        return {key: _plain(each) for key, each in entry.items() if key != "start"}
    if isinstance(entry, list):
        return [_plain(each) for each in entry]
    number = _number(entry)
    return str(entry) if number is None else float(f"{number[0]:.6g}")


def _number(value: Any) -> tuple[float, str] | None:
    if value is None or isinstance(value, (dict, list)):
        return None
    try:
        return parse_quantity(value)
    except NumberError:
        return None


def _alike(name: str, known: Iterable[str]) -> str:
    """The process corner among `known` that is called as `name`, or means the same."""
    lowered = {each.lower(): each for each in known}
    same: Sequence[str] = next((group for group in _ALIKE if name.lower() in group), ())
    return next((lowered[each] for each in (name.lower(), *same) if each in lowered), "")


def _text(value: Any) -> str:
    """A value of a file as a person reads it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(each)}" for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_text, value)) + "]"
    return "" if value is None else str(value)
