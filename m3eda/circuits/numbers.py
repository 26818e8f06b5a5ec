"""Formulas of a technology (`4 * w_min`, `vdd / 2`) as numbers of a design file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from m3eda.circuits.technology import entry_of
from m3eda.design.expressions import ExpressionError
from m3eda.design.problems import Problems
from m3eda.design.types import Technology
from m3eda.design.yamlfile import KeyPath, nearest
from m3eda.units import NumberError, format_engineering, parse

DIGITS = 4
"""Significant digits of a number that a formula gives."""


def technology_names(technology: Technology) -> dict[str, float]:
    """What formulas may use: supply, temperature, size limits and matching of `technology`.

    V, degrees Celsius, m, and Pelgrom's coefficients in V m.
    """
    sizes = ("l_min", "l_max", "w_min", "w_max")
    found = {
        "vdd": entry_of(technology, "supply", "nominal"),
        "vdd_min": entry_of(technology, "supply", "min"),
        "vdd_max": entry_of(technology, "supply", "max"),
        "temp_min": entry_of(technology, "temperature", "min"),
        "temp_max": entry_of(technology, "temperature", "max"),
        **{name: entry_of(technology, "sizes", name) for name in sizes},
        "a_vt_n": entry_of(technology, "mismatch", "a_vt", "nmos"),
        "a_vt_p": entry_of(technology, "mismatch", "a_vt", "pmos"),
    }
    return {name: parse(value) for name, value in found.items() if value is not None}


class Formulas:
    """Puts numbers in the place of formulas, and notes what is none at its place."""

    def __init__(self, names: Mapping[str, float], problems: Problems) -> None:
        self.names = names
        self.problems = problems

    def resolve(self, path: KeyPath) -> None:
        """Every scalar at and below `path` in the document: numbers and formulas become numbers."""
        value = self.problems.document.at(path)
        if isinstance(value, dict):
            for key in value:
                self.resolve((*path, key))
        elif isinstance(value, list):
            for index in range(len(value)):
                self.resolve((*path, index))
        elif value is not None:
            self.put(path, self.written(path, value))

    def scalar(self, path: KeyPath) -> None:
        """As `resolve`, of what must be one number."""
        value = self.problems.document.at(path)
        if value is None or isinstance(value, (dict, list)):
            self.problems.add(path, "must be a number or a formula")
        else:
            self.resolve(path)

    def put(self, path: KeyPath, value: Any) -> None:
        holder = self.problems.document.at(path[:-1])
        holder[path[-1]] = value

    def written(self, path: KeyPath, value: Any) -> Any:
        """`value` as a design file's number; itself where it cannot be read, with the mistake."""
        try:
            parse(value)
        except NumberError:
            number = self.number(path)
            return value if number is None else spice_number(number)
        return value

    def number(self, path: KeyPath) -> float | None:
        """The value of the formula at `path`; None, with a mistake noted, where it has none."""
        expression = self.problems.expression(path, {})
        if expression is None:
            return None
        for name in expression.names:
            if name not in self.names:
                hint = nearest(name, self.names) or f"known: {', '.join(self.names)}"
                self.problems.add(path, f"the technology gives no '{name}'", hint)
                return None
        try:
            value = float(expression.evaluate(self.names, {}, _no_vector))
        except ExpressionError as error:
            self.problems.add(path, str(error))
            return None
        if not math.isfinite(value):
            self.problems.add(path, "is no finite number")
            return None
        return value


def spice_number(value: float, digits: int = DIGITS) -> str:
    """`value` as a designer writes it: `45n`, `0.6`, `12`, `1.8meg`."""
    if value == 0.0 or 1e-2 <= abs(value) < 1e4:
        return f"{value:.{digits}g}"
    return format_engineering(value, digits=digits)


def on_grid(value: float, grid: float, up: bool) -> float:
    """`value` on the grid, upwards or downwards."""
    steps = value / grid
    whole = round(steps)
    if abs(steps - whole) > 1e-6:
        whole = math.ceil(steps) if up else math.floor(steps)
    return whole * grid


def _no_vector(name: str) -> Any:
    raise ExpressionError(f"{name} is no number of a technology")
