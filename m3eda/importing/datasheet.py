"""A CACE datasheet: YAML, format 5 of CACE 2.x, and its `parameters` of 2.3 and before.

All values are given in SI units. What cannot be understood is a mistake with file, line and key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from m3eda.design.problems import Problems
from m3eda.design.yamlfile import KeyPath, read_yaml
from m3eda.units import NumberError, parse, parse_quantity

TEMPERATURES = frozenset({"temperature", "temp"})
_SPELLED = {"µ": "u", "μ": "u", "Ohm": "ohm", "ohms": "ohm", "Ohms": "ohm", "volts": "V",
            "Volts": "V", "√Hz": "sqrt(Hz)"}  # fmt: skip
_KEYS = {"name", "description", "PDK", "cace_format", "parameters", "electrical_parameters",
         "default_conditions"}  # fmt: skip
"""Keys of the top that become parts of a design."""
_LIMITS = {"minimum": "min", "maximum": "max"}
_USUAL = {"minimum": ("minimum", "above"), "maximum": ("maximum", "below")}
"""What is calculated, and where it must lie, unless a limit says otherwise."""


@dataclass(frozen=True)
class Condition:
    """Values of a condition in SI units, or words such as corners."""

    name: str
    values: tuple[float | str, ...]
    """In the order minimum, typical, maximum, or as enumerated."""
    nominal: float | str


@dataclass
class Spec:
    """What a result must be."""

    result: str
    title: str
    unit: str
    """SI unit."""
    limits: dict[str, float] = field(default_factory=dict)
    """`min` and `max` in SI units."""
    notes: list[str] = field(default_factory=list)
    """What has no counterpart in a design."""


@dataclass
class Parameter:
    """An electrical parameter: a template, its conditions and the specs of its results."""

    name: str
    template: str
    variables: tuple[str, ...]
    """Result by column of what the simulation writes; empty for one that is ignored."""
    conditions: dict[str, Condition]
    specs: list[Spec]
    notes: list[str]


@dataclass
class Datasheet:
    """What a datasheet says."""

    path: Path
    name: str
    description: str
    pdk: str
    conditions: dict[str, Condition]
    parameters: list[Parameter]
    notes: list[str]
    """What has no counterpart in a design, such as pins and checks of the layout."""
    paths: Mapping[str, str]


def read_datasheet(path: Path) -> Datasheet:
    """The datasheet at `path`. Raises DesignError with every mistake."""
    return _Reader(path).datasheet()


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems = Problems(read_yaml(path))
        self.data: dict[str, Any] = self.problems.document.data
        self.notes: list[str] = []

    def datasheet(self) -> Datasheet:
        self._check_format()
        conditions = self._conditions(("default_conditions",))
        parameters = [
            found
            for section in ("parameters", "electrical_parameters")
            for found in self._parameters(section)
        ]
        for key, value in self.data.items():
            if key not in _KEYS:
                self.notes.append(f"{key}: {shown(value)}")
        if not parameters and not self.problems.mistakes:
            self.problems.add((), "has no parameter that ngspice simulates",
                              "expected parameters: with tool: ngspice:")  # fmt: skip
        self.problems.raise_all()
        paths = {key: str(item) for key, item in self._mapping(("paths",)).items()
                 if isinstance(item, str)}  # fmt: skip
        return Datasheet(self.path, self._word("name") or self.path.stem, self._word("description"),
                         self._word("PDK"), conditions, parameters, self.notes, paths)  # fmt: skip

    def _word(self, key: str) -> str:
        value = self.data.get(key)
        if isinstance(value, (dict, list)):
            self.problems.add((key,), "must be a word")
            return ""
        return str(value or "")

    def _check_format(self) -> None:
        """Notes a file that is no datasheet, or one of a format that is not known."""
        version = self.data.get("cace_format")
        if version is None:
            self.problems.add((), "has no cace_format", "expected a CACE datasheet")
        elif not re.match(r"[45](?:\.|$)", str(version)):
            self.problems.add(("cace_format",), f"'{version}' is not known", "known: 4 and 5")

    def _mapping(self, path: KeyPath) -> Mapping[str, Any]:
        value = self.problems.document.at(path)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.problems.add(path, "must be a mapping of names")
            return {}
        return value

    def _conditions(self, path: KeyPath) -> dict[str, Condition]:
        found = {}
        for name in self._mapping(path):
            entry = self._mapping((*path, name))
            unit = str(entry.get("unit") or "")
            factor = 1.0 if name in TEMPERATURES else self._factor((*path, name, "unit"), unit)[0]
            keys = [key for key in ("minimum", "typical", "maximum") if entry.get(key) is not None]
            values = {key: self._value((*path, name, key), entry[key], factor) for key in keys}
            listed = entry.get("enumerate")
            if listed is not None:
                items = listed if isinstance(listed, list) else str(listed).split()
                each = tuple(self._value((*path, name, "enumerate"), i, factor) for i in items)
            else:
                each = tuple(dict.fromkeys(values.values()))
            if not each:
                self.problems.add((*path, name), "has no value",
                                  "give typical, minimum, maximum or enumerate")  # fmt: skip
                continue
            nominal = values.get("typical", each[(len(each) - 1) // 2])
            found[name] = Condition(name, each, nominal)
            if "step" in entry:
                self.notes.append(f"{'.'.join(map(str, (*path, name)))}.step: a corner is at the "
                                  "ends and the typical value only")  # fmt: skip
        return found

    def _value(self, path: KeyPath, value: Any, factor: float) -> float | str:
        if isinstance(value, (dict, list)):
            self.problems.add(path, "must be a number or a word")
            return 0.0
        try:
            return float(f"{parse(str(value)) * factor:.15g}")
        except NumberError:
            return str(value)

    def _factor(self, path: KeyPath, unit: str) -> tuple[float, str]:
        """The factor to SI units, and the unit; notes a unit that is not known."""
        for written, right in _SPELLED.items():
            unit = unit.replace(written, right)
        plain = unit.replace("°C", "").replace("°", "deg").strip().strip("'")
        if not plain:
            return 1.0, ""
        try:
            return parse_quantity(f"1 {plain}")
        except NumberError:
            key = ".".join(map(str, path))
            self.notes.append(f"{key}: the unit '{unit}' is not known; numbers stay as they are")
            return 1.0, ""

    def _parameters(self, section: str) -> Iterator[Parameter]:
        for name in self._mapping((section,)):
            path: KeyPath = (section, name)
            entry = self._mapping(path)
            tool = self._tool(path, entry)
            if tool is None:
                self.notes.append(f"{section}.{name}: not simulated: {shown(entry)}")
                continue
            template = str(tool.get("template") or "")
            if not template:
                self.problems.add(path, "names no template", "expected tool: ngspice: template:")
                continue
            variables = tool.get("variables")
            listed = variables if isinstance(variables, list) else ["result"]
            columns = tuple("" if v in (None, "null") else str(v) for v in listed)
            notes = [f"{key}: {shown(entry[key])}" for key in ("plot", "variables", "status")
                     if key in entry]  # fmt: skip
            notes += [f"tool.{key}: {shown(item)}" for key, item in tool.items()
                      if key not in ("template", "variables", "format", "suffix")]  # fmt: skip
            conditions = self._conditions((*path, "conditions"))
            specs = list(self._specs(path, entry))
            yield Parameter(name, template, columns, conditions, specs, notes)

    def _tool(self, path: KeyPath, entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The settings of ngspice; None where another tool is used."""
        tool = entry.get("tool")
        if isinstance(tool, dict):
            return self._mapping((*path, "tool", "ngspice")) if "ngspice" in tool else None
        simulate = entry.get("simulate")
        if isinstance(simulate, list) and simulate and isinstance(simulate[0], dict):
            return simulate[0]
        return simulate if isinstance(simulate, dict) else None

    def _specs(self, path: KeyPath, entry: Mapping[str, Any]) -> Iterator[Spec]:
        specs = self._mapping((*path, "spec"))
        plain = specs if set(specs) & {"minimum", "typical", "maximum"} else None
        for result in ["result"] if plain is not None else specs:
            at: KeyPath = (*path, "spec") if plain is not None else (*path, "spec", result)
            one = self._mapping(at)
            unit = str(one.get("unit") or entry.get("unit") or "")
            factor, base = self._factor((*at, "unit"), unit)
            title = one.get("display") or entry.get("display") or one.get("description") or ""
            spec = Spec(result, str(title), base)
            for word in ("minimum", "typical", "maximum"):
                self._limit((*at, word), word, factor, spec)
            yield spec

    def _limit(self, path: KeyPath, word: str, factor: float, spec: Spec) -> None:
        given = self.problems.document.at(path)
        settings = given if isinstance(given, dict) else {}
        value = settings.get("value") if isinstance(given, dict) else given
        value = value[0] if isinstance(value, list) and value else value
        if value is None or str(value).lower() == "any":
            return
        number = self._value(path, value, factor)
        if isinstance(number, str):
            self.problems.add(path, f"'{number}' is not a number", "a number or any")
            return
        rest = {key: str(item) for key, item in settings.items() if key != "value"}
        usual = _USUAL.get(word, ("", ""))
        odd = (rest.get("calculation", usual[0]), rest.get("limit", usual[1])) != usual
        if word in _LIMITS and not odd and rest.get("fail", "true").lower() != "false":
            spec.limits[_LIMITS[word]] = number
        else:
            more = f" ({shown(rest)})" if rest else ""
            spec.notes.append(f"{word} {number:g} {spec.unit}".rstrip() + more)


def shown(value: Any) -> str:
    """A part of a datasheet on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "[" + ", ".join(shown(item) for item in value) + "]"
    return " ".join(str(value if value is not None else "null").split())
