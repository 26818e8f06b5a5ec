"""The points that policies are pretrained on: circuits of the library, in many technologies.

Points come in blocks, each of one technology at one corner, a function of the seed and the block's
number alone; a block is one file, so that what is simulated stays, whatever stops it. Half of the
points fill the ranges; half lie around sizings that meet some target of the circuit, a target to
train on, because that is where answers must be right.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from m3eda.circuits.catalogue import Circuit
from m3eda.circuits.opening import open_circuit
from m3eda.circuits.targets import targets_of
from m3eda.design.ranges import FloatArray
from m3eda.design.space import Space
from m3eda.design.types import Corner, Design
from m3eda.flow import Execution, Project
from m3eda.learning.sampling import on_log_scale
from m3eda.learning.settings import HELD_OUT
from m3eda.learning.simulations import check_installed
from m3eda.learning.splits import split_of
from m3eda.policy.conditions import DeviceTable, conditions_at, drawn
from m3eda.report.atomic import make_directory, write_atomic
from m3eda.simulate.evaluator import Evaluator

ROWS = 64
"""Points of a block."""
HOME_SHARE = 0.25
"""Of the blocks, in the technology where a circuit is at home."""
NEAR_SHARE = 0.5
"""Of the points, around sizings that meet targets."""
STEP = (0.02, 0.3)
"""Standard deviation of a step from such a sizing, in units of a range: from, to."""
MOVED = (0.2, 1.0)
"""Share of the parameters that such a step moves: from, to."""

Heard = Callable[[int], None]


@dataclass(frozen=True)
class Place:
    """A technology at a corner."""

    technology: str
    corner: Corner


@dataclass(frozen=True)
class Block:
    """Points at one place."""

    number: int
    place: Place
    x: FloatArray
    """Unit points of the circuit's space in this technology, shape (n, d)."""
    values: FloatArray
    """Measures in SI units, nan where one does not exist, shape (n, m)."""
    devices: FloatArray
    """What the transistors do here, shape (f,)."""
    conditions: dict[str, float]


class LibraryPoints:
    """The blocks of one circuit, in a folder."""

    def __init__(self, circuit: Circuit, folder: Path, seed: int = 1) -> None:
        self.circuit, self.folder, self._seed = circuit, folder, seed
        self.technologies = tuple(name for name in circuit.technologies
                                  if split_of(name) == "train")  # fmt: skip
        self._projects: dict[str, Project] = {}
        self._evaluators: dict[str, Evaluator] = {}
        self._devices: dict[str, DeviceTable] = {}

    def project(self, technology: str) -> Project:
        if technology not in self._projects:
            self._projects[technology] = open_circuit(self.circuit, technology, timeout=20.0)
        return self._projects[technology]

    @property
    def design(self) -> Design:
        """Where the circuit is at home."""
        return self.project(self.technologies[0]).design

    @cached_property
    def measures(self) -> tuple[str, ...]:
        return tuple(self.design.measures)

    @cached_property
    def axes(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.design.free)

    @cached_property
    def _good(self) -> FloatArray:
        """Unit points that meet a target to train on, shape (n, d); held-out ones are not met."""
        listed = targets_of(self.circuit, self.technologies[0])
        space = Space(self.design)
        witnesses = listed.witnesses if listed is not None else ()
        kept = [w for n, w in enumerate(witnesses) if n % HELD_OUT != HELD_OUT - 1]
        rows = [space.unit(witness) for witness in kept]
        return np.array(rows, dtype=float).reshape(-1, space.dimension)

    def simulate(self, blocks: int, execution: Execution, heard: Heard = lambda block: None) -> int:
        """Simulate the first `blocks` blocks as far as they are not there; how many were not.

        Raises SimulatorMissing, StorageError.
        """
        make_directory(self.folder)
        made = 0
        try:
            for number in range(blocks):
                if not self._path(number).exists():
                    self._make(number, execution)
                    made += 1
                heard(number)
        finally:
            for evaluator in self._evaluators.values():
                evaluator.close()
            for table in self._devices.values():
                table.close()
            self._evaluators.clear()
            self._devices.clear()
        return made

    def blocks(self) -> Iterator[Block]:
        """Those that are there, in order; one that is damaged is left out."""
        number = 0
        while self._path(number).exists():
            with contextlib.suppress(ValueError, KeyError, EOFError, BadZipFile):
                yield _read(self._path(number), number)
            number += 1

    def _path(self, number: int) -> Path:
        return self.folder / f"block-{number:05d}.npz"

    def _make(self, number: int, execution: Execution) -> None:
        rng = np.random.default_rng([self._seed, number])
        technology = self.technologies[0]
        if len(self.technologies) > 1 and rng.random() >= HOME_SHARE:
            technology = self.technologies[1 + rng.integers(len(self.technologies) - 1)]
        design = self.project(technology).design
        corner = drawn(design, rng)
        space = Space(design)
        x = space.snap(self._points(space, rng))
        values = self._measured(technology, corner, space, x, execution)
        devices = self._devices_of(technology).at(corner)
        head = {
            "technology": technology, "corner": corner.name, "process": corner.process,
            "drawn": dict(corner.conditions), "conditions": conditions_at(design, corner),
        }  # fmt: skip
        file = io.BytesIO()
        np.savez_compressed(
            file, head=np.frombuffer(json.dumps(head).encode(), np.uint8), x=x, values=values,
            devices=devices,
        )  # fmt: skip
        write_atomic(self._path(number), file.getvalue())

    def _points(self, space: Space, rng: np.random.Generator) -> FloatArray:
        wide = rng.random((ROWS, space.dimension))
        logarithmic = rng.random(ROWS) < 0.5
        for column, axis in enumerate(space.axes):
            wide[logarithmic, column] = on_log_scale(axis, wide[logarithmic, column])
        if not len(self._good):
            return wide
        near = rng.random(ROWS) < NEAR_SHARE
        start = self._good[rng.integers(len(self._good), size=ROWS)]
        low, high = np.log(STEP)
        step = np.exp(rng.uniform(low, high, size=(ROWS, 1)))
        moved = rng.random(wide.shape) < rng.uniform(*MOVED, size=(ROWS, 1))
        moves = np.where(moved, step * rng.standard_normal(wide.shape), 0.0)
        return np.where(near[:, None], np.clip(start + moves, 0.0, 1.0), wide)

    def _devices_of(self, technology: str) -> DeviceTable:
        if technology not in self._devices:
            self._devices[technology] = DeviceTable(technology)
        return self._devices[technology]

    def _measured(
        self, technology: str, corner: Corner, space: Space, x: FloatArray, execution: Execution
    ) -> FloatArray:
        if technology not in self._evaluators:
            self._evaluators[technology] = self.project(technology).evaluator(execution)
        evaluator = self._evaluators[technology]
        sizings = [evaluator.complete(sizing) for sizing in space.sizings(x)]
        rows = []
        for results in evaluator.evaluate(sizings, [corner]):
            check_installed(results[corner.name])
            rows.append([results[corner.name].measures[name] for name in self.measures])
        return np.array(rows, dtype=float).reshape(len(x), len(self.measures))


def _read(path: Path, number: int) -> Block:
    with np.load(path, allow_pickle=False) as file:
        head = json.loads(file["head"].tobytes())
        place = Place(head["technology"], Corner(head["corner"], head["process"], head["drawn"]))
        return Block(number, place, file["x"], file["values"], file["devices"], head["conditions"])
