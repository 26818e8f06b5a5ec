"""Where a circuit stands: technology, process corner, supply, temperature and loads, as numbers.

What the transistors of a technology do is simulated on a few of them (`devices/`), so that a
technology nobody has met is told to the networks in the same words as those they have learnt.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from m3eda.circuits.catalogue import read_circuit
from m3eda.circuits.opening import open_circuit
from m3eda.circuits.technology import entry_of
from m3eda.design.ranges import FloatArray
from m3eda.design.types import Corner, Design
from m3eda.flow import Execution
from m3eda.learning.simulations import check_installed
from m3eda.policy.pretrained import LEVELS, OWN, VARIED
from m3eda.units import parse

DEVICES = Path(__file__).parent / "devices"
SUPPLY = (0.5, 1.08)
"""Shares of the nominal supply that training draws from: far below what a technology allows, where
its transistors are like those of another one with a high threshold at its own supply."""
LEVEL = (0.85, 1.15)
"""Factors on voltages that follow the supply."""
LOAD = (1.0 / 3.0, 3.0)
"""Factors on loads."""
NOMINAL_SHARE = 0.4
"""Of the corners drawn."""


def drawn(design: Design, rng: np.random.Generator) -> Corner:
    """A corner to learn at, the nominal one among them. Of two that differ the names differ too."""
    if rng.random() < NOMINAL_SHARE or design.technology is None:
        return design.nominal
    sections = list(design.technology.sections) or [""]
    process = sections[rng.integers(len(sections))]
    share = rng.uniform(*SUPPLY)
    nominal = {name: float(design.conditions[name]) for name in VARIED if name in design.conditions}
    found: dict[str, float] = {}
    for name, value in nominal.items():
        if name == "vdd":
            found[name] = value * share
        elif name == "temp":
            low, high = (parse(str(entry_of(design.technology, "temperature", end) or default))
                         for end, default in (("min", -40), ("max", 125)))  # fmt: skip
            found[name] = rng.uniform(low, high)
        elif name in LEVELS:
            found[name] = value * share * rng.uniform(*LEVEL)
        else:
            found[name] = value * math.exp(rng.uniform(*np.log(LOAD)))
    rounded = {name: float(f"{value:.6g}") for name, value in found.items()}
    label = "_".join([process, *(f"{name}{value:.6g}" for name, value in rounded.items())])
    return Corner(label, process, rounded)


def conditions_at(design: Design, corner: Corner) -> dict[str, float]:
    """The conditions of `VARIED` that the design has, at `corner`."""
    both = {**design.conditions, **corner.conditions}
    return {name: float(both[name]) for name in VARIED if name in design.conditions}


class DeviceTable:
    """What the transistors of one technology do at any corner. Close it after use."""

    def __init__(self, technology: str) -> None:
        """`technology` is a name, or the path of a technology.yaml. Raises DesignError."""
        project = open_circuit(read_circuit(DEVICES), technology)
        self.design, self._sizing = project.design, project.nominal_sizing()
        self._evaluator = project.evaluator(Execution())
        self.names = (*self.design.measures, "log_vdd", "log_l", "log_w")

    def at(self, corner: Corner) -> FloatArray:
        """Shape (names,); nan where the simulation fails. Raises SimulatorMissing."""
        kept = {name: value for name, value in corner.conditions.items() if name in OWN}
        own = Corner(corner.name, corner.process, kept)
        sizing = self._evaluator.complete(self._sizing)
        [results] = self._evaluator.evaluate([sizing], [own])
        result = results[own.name]
        check_installed(result)
        vdd = float({**self.design.conditions, **kept}["vdd"])
        sizes = [math.log(float(sizing[name])) for name in ("l_1", "w")]
        measured = [result.measures[name] for name in self.design.measures]
        return np.array([*measured, math.log(vdd), *sizes], dtype=float)

    def close(self) -> None:
        self._evaluator.close()


def device_rows(technologies: Sequence[str], count: int, seed: int) -> FloatArray:
    """What transistors do at `count` corners of each technology, shape (n, f)."""
    rows = []
    for place, technology in enumerate(technologies):
        with contextlib.closing(DeviceTable(technology)) as table:
            rng = np.random.default_rng([seed, place])
            rows += [table.at(drawn(table.design, rng)) for _ in range(count)]
    found = np.array(rows)
    return np.asarray(found[np.isfinite(found).all(axis=1)])
