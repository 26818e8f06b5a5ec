"""Whether networks know a circuit: what they have learnt, and its parameters."""

from __future__ import annotations

from collections.abc import Sequence

from m3eda.design.ranges import FloatArray, Ranges
from m3eda.design.snapshot import circuit_hash
from m3eda.design.space import Axis
from m3eda.design.types import Design
from m3eda.flow import Project
from m3eda.policy.response import Response
from m3eda.simulate.files import content_hash


def circuit_of(project: Project) -> str:
    """Hash of what decides a sizing's measures, ranges and specs aside."""
    sizing = project.nominal_sizing()
    files = [path for path in project.files(sizing) if path.suffix not in {".yaml", ".yml"}]
    contents = [content_hash(path) for path in files]
    return circuit_hash(project.design, [*contents, *project.built(sizing)])


def same_circuit(response: Response, design: Design) -> bool:
    """True where the networks have learnt this very circuit, in whatever ranges."""
    if {axis.name for axis in response.axes} != {each.name for each in design.free}:
        return False
    return bool(response.facts.get("circuit") == circuit_of(Project.of(design)))


def translated(x: FloatArray, axes: Sequence[Axis], to: Sequence[Axis]) -> FloatArray:
    """Unit points, shape (n, d), of some axes as those of others of the same names."""
    found = x.copy()
    names = [axis.name for axis in axes]
    for place, axis in enumerate(to):
        other = axes[column := names.index(axis.name)]
        found[:, place] = x[:, column]
        if axis.choices or other.choices:
            if axis.choices != other.choices:
                values = [other.value(number) for number in x[:, column]]
                found[:, place] = [axis.unit(value) for value in values]
        elif _range(axis) != _range(other):
            numbers = Ranges([other.parameter]).numbers(x[:, column : column + 1])
            found[:, place] = Ranges([axis.parameter]).units(numbers)[:, 0]
    return found


def _range(axis: Axis) -> tuple[object, ...]:
    each = axis.parameter
    return each.minimum, each.maximum, each.scale
