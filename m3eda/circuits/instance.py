"""A circuit in a technology: formulas become numbers, and a design file's words come out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m3eda.circuits.catalogue import Circuit
from m3eda.circuits.numbers import Formulas, on_grid, spice_number, technology_names
from m3eda.circuits.technology import entry_of
from m3eda.design.problems import Problems
from m3eda.design.types import Technology
from m3eda.design.yamlfile import Document, KeyPath, Text, nearest
from m3eda.errors import DesignError, Mistake
from m3eda.units import parse

Limits = Mapping[str, Mapping[str, float]]
"""Measure -> {min: limit} or {max: limit}."""

_FORMULAS = ("min", "max", "step", "start", "value")
_DESIGN_WORDS = ("m3eda", "simulator", "netlist", "testbenches", "parameters", "measures",
                 "conditions", "corners")  # fmt: skip
_OVERRIDDEN = (*_DESIGN_WORDS[1:], "targets")
_DEVICE = re.compile(r"\b((?:x\w+\.)+)m([np])(\w*)", re.IGNORECASE)
_SIZES = {"width": "w", "length": "l"}


def instance(
    circuit: Circuit,
    technology: Technology,
    specs: Limits | None = None,
    own_file: Path | None = None,
) -> Document:
    """The document of a design file: `circuit` in `technology`, with `specs`.

    Without `specs` they are the least limits of circuit.yaml. Places are those of circuit.yaml.
    `own_file` is the technology.yaml of a technology that the library does not know, and that no
    circuit can claim. Raises DesignError with every mistake.
    """
    document = circuit.document()
    problems = Problems(document)
    if own_file is None and technology.name not in circuit.technologies:
        hint = f"it does {', '.join(circuit.technologies)}"
        message = f"{circuit.name} does not support the technology {technology.name}"
        raise DesignError([Mistake(message, hint=hint)])
    _override(problems, technology.name)
    formulas = Formulas(technology_names(technology), problems)
    _resolve(document, formulas)
    problems.raise_all()
    limits = _least(document) if specs is None else _given(specs)
    _place_specs(document, limits)
    _fit(document, technology)
    _name_devices(document, technology)
    document.data = {
        **{word: document.data[word] for word in _DESIGN_WORDS if document.data.get(word)},
        "design": circuit.name,
        "description": circuit.file.title,
        "technology": technology.name if own_file is None else str(own_file),
        "specs": limits,
    }
    document.data.setdefault("corners", _corners(document, technology))
    return document


def _override(problems: Problems, technology: str) -> None:
    for section, changes in (
        (problems.document.data.get("overrides") or {}).get(technology, {}).items()
    ):
        origin = ("overrides", technology, section)
        if section not in _OVERRIDDEN:
            hint = nearest(section, _OVERRIDDEN) or f"known: {', '.join(_OVERRIDDEN)}"
            problems.add(origin, "is not a known section", hint, of_key=True)
            continue
        _merge(problems, (section,), changes, origin)
    problems.raise_all()


def _merge(problems: Problems, path: KeyPath, over: Any, origin: KeyPath) -> None:
    """Put `over` at `path`, key by key, and tell its place from `origin`."""
    document = problems.document
    here = document.at(path)
    if isinstance(here, dict) and not isinstance(over, dict):
        problems.add(origin, "must be a mapping, as what it changes")
    elif isinstance(here, dict):
        for key, value in over.items():
            _merge(problems, (*path, key), value, (*origin, key))
    elif len(path) == 1:
        document.data[str(path[0])] = over
        _move_places(document, origin, path)
    else:
        document.at(path[:-1])[path[-1]] = over
        _move_places(document, origin, path)


def _move_places(document: Document, origin: KeyPath, path: KeyPath) -> None:
    """Tell what stands at `path` at the places of `origin`."""
    for places in (document.keys, document.values):
        for known in [each for each in places if each[: len(origin)] == origin]:
            places[path + known[len(origin) :]] = places[known]


def _resolve(document: Document, formulas: Formulas) -> None:
    """Every formula of parameters, conditions and targets, as a number."""
    for name, entry in (document.data.get("parameters") or {}).items():
        if not isinstance(entry, dict):
            formulas.problems.add(("parameters", name), "must be a mapping of keys")
            continue
        for word in _FORMULAS:
            if word in entry:
                formulas.scalar(("parameters", name, word))
        if "choices" in entry:
            formulas.resolve(("parameters", name, "choices"))
    conditions = document.data.get("conditions")
    for name in conditions if isinstance(conditions, dict) else ():
        formulas.scalar(("conditions", name))
    for name in document.data.get("corners") or ():
        if name != "process":
            formulas.resolve(("corners", name))
    formulas.resolve(("targets", "traded"))
    formulas.resolve(("targets", "fixed"))
    for name, entry in document.data["testbenches"].items():
        if isinstance(entry, dict) and "conditions" in entry:
            formulas.resolve(("testbenches", name, "conditions"))


def _least(document: Document) -> dict[str, Any]:
    targets = document.data["targets"]
    return {**targets["traded"], **(targets.get("fixed") or {})}


def _place_specs(document: Document, limits: Mapping[str, Any]) -> None:
    """Tell specs at the places of the targets that they come from."""
    for kind in ("traded", "fixed"):
        for measure in limits:
            if ("targets", kind, measure) in document.values:
                _move_places(document, ("targets", kind, measure), ("specs", measure))


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
        if grid is not None:
            least, largest = on_grid(least, grid, up=True), on_grid(largest, grid, up=False)
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
        if isinstance(entry, dict) and isinstance(entry.get("expr"), str):
            entry["expr"] = Text(_DEVICE.sub(nested, entry["expr"]))


def _corners(document: Document, technology: Technology) -> dict[str, Any]:
    """Every process corner at the ends of supply and temperature, where the design has them."""
    grid: dict[str, Any] = {}
    if technology.sections:
        grid["process"] = [Text(corner) for corner in technology.sections]
    conditions = document.data.get("conditions") or {}
    for name, key in (("vdd", "supply"), ("temp", "temperature")):
        ends = [entry_of(technology, key, end) for end in ("min", "max")]
        if name not in conditions or ends == [None, None]:
            continue
        nominal = parse(conditions[name])
        # a circuit with a supply of its own keeps the technology's ratio
        ratio = nominal / parse(technology.data["supply"]["nominal"]) if name == "vdd" else 1.0
        low, high = (nominal if end is None else parse(end) * ratio for end in ends)
        values = dict.fromkeys(spice_number(each) for each in (low, nominal, high))
        if len(values) > 1:
            grid[name] = [Text(each) for each in values]
    return grid
