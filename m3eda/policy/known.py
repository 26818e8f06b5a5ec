"""Which networks know the circuit of a design, and how well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m3eda.design.ranges import FloatArray, Ranges
from m3eda.design.snapshot import circuit_hash
from m3eda.design.space import Axis
from m3eda.design.types import Design, Value
from m3eda.errors import DesignError, Mistake
from m3eda.flow import Project
from m3eda.places import learnt_file
from m3eda.policy.equations import equations_of
from m3eda.policy.response import Networks, Response, read_response
from m3eda.policy.shipped import match, placed
from m3eda.simulate.files import content_hash

NOTHING: Mapping[str, Value] = {}
OWN, NONE = "own", "none"
"""Words of the option `policy`: what there is of the design's own or of the library's; nothing."""


@dataclass(frozen=True)
class Knowledge:
    """Networks, and a word on where they come from."""

    networks: Networks
    words: str
    others: tuple[str, ...] = ()
    """Measures of the design that are not what networks know by these names."""


def knowledge_of(design: Design, policy: str = OWN) -> Knowledge | None:
    """What networks know of the design's circuit: those that `m3eda learn` made of it, else those
    that come with m3eda; or those of the file `policy`, relative to the design.

    None where there are none. Raises DesignError where a named file is not there or of another
    circuit, StorageError where a file is damaged.
    """
    if policy == NONE:
        return None
    path = design.path.parent / policy if policy != OWN else learnt_file(design)
    if path.is_file():
        response = read_response(path)
        if same_circuit(response, design):
            count = response.facts["simulations"]
            return Knowledge(response, f"known circuit: networks that have learnt {count} "
                                       "simulations of it")  # fmt: skip
        if policy != OWN:
            text = f"{path.name} has learnt another circuit, or this one before it changed"
            raise _wrong(text, "learn it anew")
    elif policy != OWN:
        raise _wrong(f"there is no {path}", "`m3eda learn` writes one")
    found = match(design)
    there = placed(found, design) if found else None
    if found is None or there is None:
        return _solved(design)
    if not found.whole(design) and (solved := _solved(design, len(found.measures))):
        return solved
    networks, same = there
    return Knowledge(networks, found.words(design, same), found.others)


def _solved(design: Design, most: int = 0) -> Knowledge | None:
    """The design's equations, where they tell of no fewer measures with a spec than `most`."""
    equations = equations_of(design)
    if equations is None:
        return None
    own = [name for name in design.specs if name not in equations.measures]
    if len(design.specs) - len(own) < most:
        return None
    text = "" if most else "new circuit: "
    text += "its equations"
    if count := equations.simulations:
        text += f", transistors from {count} simulations of them alone"
    if own:
        text += f"; {', '.join(own)} learnt from the trials"
    return Knowledge(equations, text)


def files_of(design: Design, policy: str = OWN) -> list[Path]:
    """The files that `knowledge_of` goes by."""
    if policy == NONE:
        return []
    path = design.path.parent / policy if policy != OWN else learnt_file(design)
    if path.is_file() or policy != OWN:
        return [path] if path.is_file() else []
    found = match(design)
    return [found.path] if found else []


def _wrong(text: str, hint: str) -> DesignError:
    return DesignError([Mistake(text, key="agent.options.policy", hint=hint)])


def circuit_of(project: Project) -> str:
    """Hash of what decides a sizing's measures, ranges and specs aside."""
    return circuit_hash(project.design, contents_of(project))


def contents_of(project: Project) -> list[str]:
    """Hashes of the files that decide a sizing's measures."""
    sizing = project.nominal_sizing()
    files = [path for path in project.files(sizing) if path.suffix not in {".yaml", ".yml"}]
    return [*map(content_hash, files), *project.built(sizing)]


def same_circuit(response: Response, design: Design) -> bool:
    """True where the networks have learnt this very circuit, in whatever ranges."""
    if {axis.name for axis in response.axes} != {each.name for each in design.free}:
        return False
    return bool(response.facts.get("circuit") == circuit_of(Project.of(design)))


def translated(
    x: FloatArray, axes: Sequence[Axis], to: Sequence[Axis], usual: Mapping[str, Value] = NOTHING
) -> FloatArray:
    """Unit points, shape (n, d), of some axes as those of others by their names, shape (n, e).

    A coordinate that the points do not have is the `usual` value, else the start, else the middle.
    """
    found = np.full((len(x), len(to)), 0.5)
    names = [axis.name for axis in axes]
    for place, axis in enumerate(to):
        if axis.name not in names:
            found[:, place] = _coordinate(axis, usual.get(axis.name, axis.parameter.start))
            continue
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


def _coordinate(axis: Axis, value: Value | None) -> float:
    """Of `value`; the middle where there is none or it is a word that the axis does not have."""
    if value is None:
        return 0.5
    try:
        return min(max(axis.unit(value), 0.0), 1.0)
    except ValueError:
        return 0.5


def _range(axis: Axis) -> tuple[object, ...]:
    each = axis.parameter
    return each.minimum, each.maximum, each.scale
