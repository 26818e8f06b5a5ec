"""Which parameter decides which size, by decks with one parameter moved.

In logarithms the sizes of a circuit are linear in its parameters where they are products of powers,
as with widths in units of another, multipliers and ratios; else nearly so near the start.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from m3eda.design.ranges import FloatArray
from m3eda.design.space import Space
from m3eda.design.ties import complete
from m3eda.design.types import Design, Parameter, Sizing, Testbench
from m3eda.errors import DesignError
from m3eda.importing.devices import circuit_of
from m3eda.simulate.render import Renderer
from m3eda.structure.cell import Cell, cells
from m3eda.structure.elements import Devices

STEP = 1.25
"""Factor by which a parameter moves to see what it sizes."""


@dataclass(frozen=True)
class Sized:
    """A cell of a design, and how its sizes go with the design's parameters."""

    cell: Cell
    keys: tuple[tuple[int, str], ...]
    """(part, size) of each row."""
    logs: FloatArray
    """Logarithms of the sizes where it was looked at, shape (k,)."""
    slopes: FloatArray
    """Exponents of the parameters, shape (k, p)."""
    parameters: tuple[str, ...]
    """Names of free numbers, those that decide no size among them."""
    at: FloatArray
    """Logarithms of their values where it was looked at, shape (p,)."""

    def only(self, places: Sequence[int]) -> Sized:
        """With the parts at `places` alone."""
        new = {old: place for place, old in enumerate(places)}
        rows = [row for row, (part, _) in enumerate(self.keys) if part in new]
        keys = tuple((new[self.keys[row][0]], self.keys[row][1]) for row in rows)
        cell = self.cell.only(places)
        return replace(self, cell=cell, keys=keys, logs=self.logs[rows], slopes=self.slopes[rows])


def moved(parameter: Parameter, value: float) -> float:
    """Another value than `value`, which need not be in the range."""
    if parameter.choices:
        others = [float(each) for each in parameter.choices
                  if not isinstance(each, str) and each != value]  # fmt: skip
        return min(others, key=lambda each: abs(each - value), default=value)
    step = parameter.step or 0.0
    return value + max(step, round((STEP - 1.0) * value / step) * step) if step else STEP * value


class Decks:
    """The decks of a design."""

    def __init__(self, design: Design) -> None:
        self.design = design
        self._renderer = Renderer(design)
        space = Space(design)
        self.start: Sizing = space.sizing(space.centre()) if space.dimension else {}

    def cells(self) -> Iterator[tuple[Testbench, int, Cell]]:
        """Of each testbench whose deck is a SPICE netlist the cells, and their places among its
        own."""
        for testbench in self.design.testbenches.values():
            for place, cell in enumerate(self._cells(testbench, self.start)):
                yield testbench, place, cell

    def cell(self, testbench: Testbench, place: int) -> Cell:
        """The cell at `place` of a testbench whose deck is a SPICE netlist."""
        return self._cells(testbench, self.start)[place]

    def sized(self, testbench: Testbench, place: int) -> Sized:
        """The cell at `place` of a testbench, with its sizes."""
        cell = self._cells(testbench, self.start)[place]
        numbers = [each for each in self.design.free if self._is_number(each)]
        at = np.log([float(self.start[each.name]) for each in numbers])
        here = cell.logs
        slopes = np.zeros((len(here), len(numbers)))
        for column, parameter in enumerate(numbers):
            slopes[:, column] = self._slopes(parameter, testbench, place, cell)
        names = tuple(each.name for each in numbers)
        return Sized(cell, tuple(here), np.array(list(here.values())), slopes, names, at)

    def _is_number(self, parameter: Parameter) -> bool:
        value = self.start[parameter.name]
        return not isinstance(value, str) and value > 0.0

    def _slopes(
        self, parameter: Parameter, testbench: Testbench, place: int, cell: Cell
    ) -> FloatArray | float:
        value = float(self.start[parameter.name])
        other = moved(parameter, value)
        if other == value or not other > 0.0:
            return 0.0
        found = self._cells(testbench, {**self.start, parameter.name: other})
        if len(found) <= place or not _is_same(found[place], cell):
            return 0.0  # it decides which devices there are, and not how large
        there, here = found[place].logs, cell.logs
        return np.array([there[key] - here[key] for key in here]) / math.log(other / value)

    def _cells(self, testbench: Testbench, sizing: Sizing) -> Sequence[Cell]:
        """None where the deck is no SPICE netlist, or the template fails."""
        try:
            whole = complete(self.design, sizing)
            at = testbench.at_points()[0]
            deck = self._renderer.deck(at, self.design.nominal, whole)
            circuit = circuit_of(testbench.template, deck.text)
            return cells(Devices(circuit, self.design.technology))
        except (DesignError, ArithmeticError, IndexError, KeyError, ValueError):
            return ()


def _is_same(one: Cell, other: Cell) -> bool:
    """True where both have the same parts, and the same sizes are known."""
    return [each.nets for each in one.parts] == [each.nets for each in other.parts] and (
        one.logs.keys() == other.logs.keys()
    )
