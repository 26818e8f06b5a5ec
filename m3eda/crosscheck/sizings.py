"""The sizings that are simulated on both simulators."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from m3eda.design.space import Space
from m3eda.design.types import Parameter, Sizing, Value
from m3eda.design.yamlfile import nearest
from m3eda.errors import DesignError, Mistake
from m3eda.flow import Project
from m3eda.units import NumberError, parse

POINTS = 10
"""Sizings compared where nothing is said."""

_SHAPE = 'a list of {"name": value}, or {"order": [names], "sizings": [[values]]}'


def random_sizings(project: Project, count: int, seed: int) -> list[Sizing]:
    """Free parameters anywhere in their ranges, on their grids."""
    space = Space(project.design)
    return space.sizings(np.random.default_rng(seed).random((count, space.dimension)))


def spread_sizings(project: Project, count: int, seed: int) -> list[Sizing]:
    """The nominal sizing and random ones, `count` in all; that one alone of a design without free
    parameters."""
    more = random_sizings(project, count - 1, seed) if project.design.free else []
    return [project.nominal_sizing(), *more]


def read_sizings(project: Project, file: Path) -> list[Sizing]:
    """The sizings of a JSON file; a parameter that one leaves out is nominal. Raises DesignError
    with every mistake."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DesignError([Mistake(f"cannot be read: {error.strerror}", file)]) from error
    except ValueError as error:
        raise DesignError([Mistake(f"is no JSON: {error}", file, hint=_SHAPE)]) from error
    entries = _entries(data)
    if not entries:
        raise DesignError([Mistake("holds no sizings", file, hint=_SHAPE)])
    mistakes: list[Mistake] = []
    nominal = project.nominal_sizing()
    sizings: list[Sizing] = [
        {**nominal, **_checked(project, file, f"[{number}]", entry, mistakes)}
        for number, entry in enumerate(entries)
    ]
    if mistakes:
        raise DesignError(mistakes)
    return sizings


def _entries(data: Any) -> list[Mapping[str, Any]]:
    """The sizings as they are written; none where the shape is another."""
    if isinstance(data, Mapping):
        order, rows = data.get("order"), data.get("sizings")
        if not isinstance(order, list) or not isinstance(rows, list):
            return []
        if not all(isinstance(row, list) and len(row) == len(order) for row in rows):
            return []
        data = [dict(zip(map(str, order), row, strict=True)) for row in rows]
    whole = isinstance(data, list) and all(isinstance(entry, Mapping) for entry in data)
    return data if whole else []


def _checked(
    project: Project, file: Path, key: str, entry: Mapping[str, Any], mistakes: list[Mistake]
) -> dict[str, Value]:
    """The free parameters of one sizing; `mistakes` are added to."""
    found: dict[str, Value] = {}
    parameters = project.design.parameters
    for name, written in entry.items():
        where = f"{key}.{name}"
        if name not in parameters:
            hint = nearest(name, parameters) or f"parameters: {', '.join(parameters)}"
            mistakes.append(Mistake("no parameter has this name", file, key=where, hint=hint))
        elif parameters[name].free:
            try:
                found[name] = _value(parameters[name], written)
            except NumberError as error:
                mistakes.append(Mistake(str(error), file, key=where, hint=error.hint))
    return found


def _value(parameter: Parameter, written: Any) -> Value:
    """Raises NumberError."""
    words: Sequence[Value] = [each for each in parameter.choices if isinstance(each, str)]
    if words:
        if written not in words:
            raise NumberError(f"is {written!r}", f"one of {', '.join(map(str, words))}")
        return str(written)
    if not isinstance(written, (str, int, float)):
        raise NumberError(f"is {written!r}", "a number")
    number = parse(written)
    if not math.isfinite(number):
        raise NumberError(f"is {written!r}", "a finite number")
    return number
