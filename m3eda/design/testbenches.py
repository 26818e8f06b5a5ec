"""Testbenches of a design file, and the one condition that each may be swept over."""

from __future__ import annotations

from pathlib import Path

from m3eda.design.parameters import plain
from m3eda.design.problems import Problems
from m3eda.design.scalars import Number
from m3eda.design.schema import TestbenchEntry
from m3eda.design.types import Testbench, Value
from m3eda.design.yamlfile import KeyPath


def build_testbench(
    name: str, template: Path, entry: TestbenchEntry, problems: Problems
) -> Testbench:
    """The testbench `name`; mistakes in its conditions are noted."""
    fixed: dict[str, Value] = {}
    swept: dict[str, tuple[float, ...]] = {}
    for key, given in entry.conditions.items():
        if isinstance(given, list):
            path: KeyPath = ("testbenches", name, "conditions", key)
            if swept:
                problems.add(path, f"is a second list of conditions beside {next(iter(swept))}",
                             "write one list a testbench; corners make grids")  # fmt: skip
                continue
            swept[key] = _points(given, path, problems)
        else:
            fixed[key] = plain(given)
    sweep = next(iter(swept), "")
    return Testbench(name, template, fixed, sweep, swept.get(sweep, ()))


def _points(given: list[Number], path: KeyPath, problems: Problems) -> tuple[float, ...]:
    """The values of a sweep, ascending."""
    values = sorted({number.value for number in given})
    units = sorted({number.unit for number in given} - {""})
    if len(values) < 2:
        problems.add(path, "a list of conditions needs two values or more",
                     "write one value without brackets")  # fmt: skip
    elif len(values) < len(given):
        problems.add(path, "holds a value twice", "write each once")
    elif len(units) > 1:
        problems.add(path, f"mixes the units {' and '.join(units)}", "write all in one unit")
    return tuple(values)
