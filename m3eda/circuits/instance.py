"""A circuit in a technology: formulas become numbers, and a design file's words come out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from m3eda.circuits.catalogue import Circuit
from m3eda.circuits.numbers import Formulas, on_grid, spice_number, technology_names
from m3eda.design.problems import Problems
from m3eda.design.types import Technology
from m3eda.design.yamlfile import Document, Text
from m3eda.errors import DesignError, Mistake
from m3eda.units import parse

Limits = Mapping[str, Mapping[str, float]]
"""Measure -> {min: limit} or {max: limit}."""

_FORMULAS = ("min", "max", "step", "start", "value", "choices")
_DESIGN_WORDS = ("m3eda", "simulator", "netlist", "testbenches", "parameters", "measures",
                 "conditions", "corners")  # fmt: skip
_NEEDED = ("instance.prefix", "instance.unit", "devices.nmos.model", "devices.pmos.model",
           "supply.nominal", "sizes.l_min", "sizes.l_max", "sizes.w_min",
           "sizes.w_max")  # fmt: skip
"""What circuits are written with."""
_DEVICE = re.compile(r"\b((?:x\w+\.)+)m([np])(\w*)", re.IGNORECASE)
_SIZES = {"width": "w", "length": "l"}


def instance(
    circuit: Circuit,
    technology: Technology,
    specs: Limits | None = None,
    *,
    foreign: bool = False,
) -> Document:
    """The document of a design file: `circuit` in `technology`, with `specs`.

    Without `specs` they are the least limits of circuit.yaml. Places are those of circuit.yaml.
    A `foreign` technology is one that the library does not know and no circuit can claim. Raises
    DesignError with every mistake.
    """
    document = circuit.document()
    problems = Problems(document)
    if not foreign and technology.name not in circuit.technologies:
        hint = f"it does {', '.join(circuit.technologies)}"
        message = f"{circuit.name} does not support the technology {technology.name}"
        raise DesignError([Mistake(message, hint=hint)])
    _check_data(technology)
    _override(document, technology.name)
    formulas = Formulas(technology_names(technology), problems)
    _resolve(document, formulas)
    limits = _least(document) if specs is None else _given(specs)
    problems.raise_all()
    _fit(document, technology)
    _name_devices(document, technology)
    document.data = {
        **{word: document.data[word] for word in _DESIGN_WORDS if document.data.get(word)},
        "design": circuit.name,
        "description": circuit.file.title,
        "technology": technology.name,
        "specs": limits,
    }
    document.data.setdefault("corners", _corners(document, technology))
    return document


def _check_data(technology: Technology) -> None:
    """Raise DesignError where the technology does not say what circuits are written with."""
    missing = []
    for path in _NEEDED:
        here: Any = technology.data
        for key in path.split("."):
            here = here.get(key) if isinstance(here, Mapping) else None
        missing += [path] if here is None else []
    if missing:
        message = f"the technology {technology.name} lacks {', '.join(missing)}"
        raise DesignError([Mistake(message, hint="docs/technologies.md has what each key says")])


def _override(document: Document, technology: str) -> None:
    for section, changes in (document.data.get("overrides") or {}).get(technology, {}).items():
        _merge(document, (section,), changes, ("overrides", technology, section))


def _merge(document: Document, path: tuple[Any, ...], over: Any, origin: tuple[Any, ...]) -> None:
    """Put `over` at `path`, key by key, and tell its place from `origin`."""
    here = document.at(path)
    if isinstance(here, dict) and isinstance(over, dict):
        for key, value in over.items():
            _merge(document, (*path, key), value, (*origin, key))
        return
    document.at(path[:-1])[path[-1]] = over
    for places in (document.keys, document.values):
        for known in [each for each in places if each[: len(origin)] == origin]:
            moved = path + known[len(origin) :]
            places[moved] = places[known]


def _resolve(document: Document, formulas: Formulas) -> None:
    """Every formula of parameters, conditions and targets, as a number."""
    for name, entry in (document.data.get("parameters") or {}).items():
        for word in _FORMULAS:
            if word in entry:
                formulas.resolve(("parameters", name, word))
    formulas.resolve(("conditions",))
    formulas.resolve(("corners",))
    formulas.resolve(("targets", "traded"))
    formulas.resolve(("targets", "fixed"))
    for name, entry in document.data["testbenches"].items():
        if isinstance(entry, dict) and "conditions" in entry:
            formulas.resolve(("testbenches", name, "conditions"))


def _least(document: Document) -> dict[str, Any]:
    targets = document.data["targets"]
    return {**targets["traded"], **(targets.get("fixed") or {})}


def _given(specs: Limits) -> dict[str, Any]:
    return {
        measure: {side: Text(spice_number(value, 6)) for side, value in limit.items()}
        for measure, limit in specs.items()
    }


def _fit(document: Document, technology: Technology) -> None:
    """Widths and lengths within what the technology has, and on its grid."""
    sizes = technology.data.get("sizes", {})
    for entry in document.data["parameters"].values():
        letter = _SIZES.get(str(entry.get("kind", "")))
        if letter is None:
            continue
        least, largest = parse(sizes[f"{letter}_min"]), parse(sizes[f"{letter}_max"])
        grid = parse(sizes["grid"]) if "grid" in sizes else None
        for word in ("min", "max", "start", "value"):
            if word not in entry:
                continue
            value = min(max(parse(entry[word]), least), largest)
            if grid is not None:
                value = on_grid(value, grid, up=word == "min")
            entry[word] = Text(spice_number(value))
        if grid is not None and "min" in entry:
            entry.setdefault("step", Text(spice_number(grid)))


def _name_devices(document: Document, technology: Technology) -> None:
    """Transistors in expressions, called `x1.mn3` in circuit.yaml, as the technology nests them."""
    instance, devices = technology.data["instance"], technology.data["devices"]
    if instance["prefix"] == "m":
        return
    models = {"n": devices["nmos"]["model"], "p": devices["pmos"]["model"]}

    def nested(match: re.Match[str]) -> str:
        around, kind, rest = match.groups()
        return f"{around}{instance['prefix']}m{kind}{rest}.m{models[kind.lower()]}"

    for entry in document.data["measures"].values():
        if "expr" in entry:
            entry["expr"] = Text(_DEVICE.sub(nested, entry["expr"]))


def _corners(document: Document, technology: Technology) -> dict[str, Any]:
    """Every process corner at the ends of supply and temperature, where the design has them."""
    grid: dict[str, Any] = {}
    if technology.sections:
        grid["process"] = [Text(corner) for corner in technology.sections]
    conditions = document.data.get("conditions") or {}
    for name, key in (("vdd", "supply"), ("temp", "temperature")):
        ends = technology.data.get(key, {})
        if name in conditions and ends:
            nominal = parse(conditions[name])
            low, high = parse(ends["min"]), parse(ends["max"])
            if name == "vdd":  # a circuit with a supply of its own keeps the technology's ratio
                usual = parse(ends["nominal"])
                low, high = nominal * low / usual, nominal * high / usual
            grid[name] = [Text(spice_number(each)) for each in (low, nominal, high)]
    return grid
