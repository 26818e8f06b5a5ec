"""Corners of a design file: a grid, named corners, or both."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from m3eda.design.parameters import plain
from m3eda.design.problems import Problems
from m3eda.design.scalars import Number
from m3eda.design.schema import CornersEntry
from m3eda.design.types import ALL_CORNERS, NOMINAL, Corner, Signoff, Value
from m3eda.design.yamlfile import KeyPath, nearest
from m3eda.units import same_unit

PROCESS = "process"


class Corners:
    """Builds the corners. `conditions` are the nominal ones as written, `processes` the
    technology's corners, None where the technology could not be read."""

    def __init__(
        self,
        conditions: Mapping[str, Number | str],
        processes: Mapping[str, str] | None,
        problems: Problems,
    ) -> None:
        self.conditions = conditions
        self.processes = processes
        self.problems = problems

    def build(self, entry: CornersEntry) -> tuple[Corner, ...]:
        """The grid's corners, named like `ss_vdd1.08_temp-40`, then the named ones."""
        before = len(self.problems.mistakes)
        grid = self._grid(entry)
        corners = (*grid, *self._named(entry, {NOMINAL, *(corner.name for corner in grid)}))
        if len(self.problems.mistakes) > before:
            self.problems.broken.add(("corners",))
        return corners

    def _grid(self, entry: CornersEntry) -> list[Corner]:
        if not entry.grid:
            return []
        axes: list[list[tuple[str, Value]]] = []
        for axis, values in entry.grid.items():
            path: KeyPath = ("corners", axis)
            if not values:
                self.problems.add(path, "is empty", "give one value or more")
            if axis != PROCESS and not self._known(axis, path):
                continue
            points = [self._value(axis, v, (*path, i)) for i, v in enumerate(values)]
            if len(set(points)) < len(points):
                self.problems.add(path, "holds a value twice")
            axes.append([(axis, point) for point in points])
        axes.sort(key=lambda axis: bool(axis) and axis[0][0] != PROCESS)
        return [grid_corner(dict(point)) for point in itertools.product(*axes)]

    def _named(self, entry: CornersEntry, taken: set[str]) -> list[Corner]:
        listed = isinstance(self.problems.document.at(("corners",)), list)
        base: KeyPath = ("corners",) if listed else ("corners", "named")
        corners = []
        for index, each in enumerate(entry.named):
            path: KeyPath = (*base, index)
            if each.name in taken:
                self.problems.add((*path, "name"), f"another corner is called '{each.name}'",
                                  "choose another name")  # fmt: skip
            taken.add(each.name)
            if each.process:
                self._value(PROCESS, each.process, (*path, PROCESS))
            conditions = {
                name: self._value(name, value, (*path, name))
                for name, value in (each.model_extra or {}).items()
                if self._known(name, (*path, name))
            }
            corners.append(Corner(each.name, each.process, conditions))
        return corners

    def _known(self, name: str, path: KeyPath) -> bool:
        if name in self.conditions or self.problems.is_broken("conditions", name):
            return True
        if not self.problems.is_broken("conditions"):
            known = [PROCESS, *self.conditions]
            hint = nearest(name, known) or f"known: {', '.join(known)}"
            self.problems.add(path, "is neither process nor a condition", hint, of_key=True)
        return False

    def _value(self, axis: str, value: Number | str, path: KeyPath) -> Value:
        found = plain(value)
        if axis == PROCESS:
            self._check_process(str(found), path)
            return str(found)
        nominal = self.conditions.get(axis)
        if isinstance(nominal, Number):
            if isinstance(value, str):
                self.problems.add(path, f"'{value}' is not a number")
            elif value.unit and nominal.unit and not same_unit(value.unit, nominal.unit):
                self.problems.add(path, f"is in {value.unit}, but {axis} is in {nominal.unit}")
        return found

    def _check_process(self, name: str, path: KeyPath) -> None:
        if self.processes is None or name in self.processes:
            return
        if not self.processes:
            self.problems.add(path, "the technology has no process corners",
                              "give sections under technology")  # fmt: skip
            return
        hint = nearest(name, self.processes) or f"known: {', '.join(self.processes)}"
        self.problems.add(path, f"no process corner is called '{name}'", hint)


def signed_off(corners: Sequence[Corner], names: Sequence[str], strategy: str) -> Signoff:
    """The sign-off at the corners of `names`, each once; `all` stands for every one."""
    chosen = [corner.name for corner in corners] if ALL_CORNERS in names else names
    distinct = dict.fromkeys(name for name in chosen if name != NOMINAL)
    return Signoff(tuple(distinct), strategy)


def grid_corner(point: dict[str, Value]) -> Corner:
    """A corner of the grid; its name tells every axis."""
    process = str(point.pop(PROCESS, ""))
    parts = [f"{axis}{value:.12g}" if isinstance(value, float) else f"{axis}{value}"
             for axis, value in point.items()]  # fmt: skip
    return Corner("_".join([process, *parts] if process else parts), process, dict(point))
