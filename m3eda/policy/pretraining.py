"""Pretrains networks of library circuits, on simulations in many technologies."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3eda import __version__
from m3eda.circuits.calibration import limits_of
from m3eda.circuits.catalogue import Circuit
from m3eda.circuits.targets import TargetList, targets_of
from m3eda.design.ranges import FloatArray
from m3eda.design.space import Axis, Space
from m3eda.design.types import NOMINAL, Design
from m3eda.learning.settings import HELD_OUT
from m3eda.learning.splits import TECHNOLOGIES
from m3eda.policy.conditions import DeviceTable, conditions_at
from m3eda.policy.fitting import Fitting, Heard, errors_of, fit_networks, scale_of
from m3eda.policy.library_points import LibraryPoints
from m3eda.policy.pretrained import SUPPLY_NAME, Encoder, Pretrained, components
from m3eda.policy.response import Array, answers_of, inputs

FITTING = Fitting(networks=2, width=96, blocks=2, batch=512, steps=6000, learning_rate=3e-3)
HELD_BLOCKS = 10
"""One block in so many is held back, with its corner."""
HELD_SAMPLES = 50
"""The same of samples at home."""
LEAST_GOOD = 50
"""Good points held back by which errors are told; with fewer, by all that are held back."""
BLOCK_SHARE = 0.5
"""Of what a batch draws, from blocks where there are samples as well."""


@dataclass(frozen=True)
class Rows:
    """What networks learn from."""

    given: Array
    """Inputs of sizings and conditions, shape (n, f)."""
    values: FloatArray
    """Measures in SI units, nan where there is none, shape (n, m)."""
    held: NDArray[np.bool_]
    """Held back, shape (n,)."""
    good: NDArray[np.bool_]
    """Meets the least that anybody asks of the circuit where it stands, shape (n,)."""


class Pretraining:
    """Of one circuit."""

    def __init__(
        self, circuit: Circuit, points: LibraryPoints, rows: FloatArray,
        samples: Path | None = None,
    ) -> None:  # fmt: skip
        """`rows` are those of `device_rows`, the same for all circuits; `samples` is a file of
        `bench.calibrate`: sizings at home, at the nominal corner."""
        self._circuit, self._points, self._samples = circuit, points, samples
        self._rows = rows
        self._home = circuit.technologies[0]
        self.measures = tuple(circuit.sides)
        listed = targets_of(circuit, self._home)
        self._list: TargetList | None = listed
        self._space = Space(points.design)

    def run(
        self, seed: int = 1, fitting: Fitting = FITTING, heard: Heard = lambda done, loss: None
    ) -> Pretrained:
        """Raises FloatingPointError where the loss is no number, SimulatorMissing."""
        encoder = self._encoder()
        devices = self._nominal()
        blocks, samples = self._blocks(encoder), self._at_home(encoder, devices)
        parts = [part for part in (blocks, samples) if len(part.given)]
        values = np.concatenate([part.values for part in parts])
        scales = tuple(scale_of(column) for column in values.T)
        goals = np.stack([s.forward(v) for s, v in zip(scales, values.T, strict=True)], axis=1)
        goals[~np.isfinite(values)] = np.nan
        given = np.concatenate([part.given for part in parts])
        held = _judged(parts)
        weights = fit_networks(given, goals, _balanced(parts), seed, fitting, heard)
        weights = {name: each.astype(np.float16).astype(np.float32)
                   for name, each in weights.items()}  # fmt: skip
        missed = np.abs(answers_of(weights, given[held])[..., : len(scales)].mean(axis=0)
                        - goals[held])  # fmt: skip
        facts: dict[str, Any] = {
            "m3eda": __version__, "seed": seed, "simulations": len(given),
            "at_home": len(samples.given), "blocks": len(blocks.given),
            "technologies": list(self._points.technologies), "home": self._home,
        }  # fmt: skip
        return Pretrained(
            self._circuit.name, self._space.names, self.measures, scales, errors_of(missed),
            encoder, weights, devices, self._anchors(), facts,
        )  # fmt: skip

    def _encoder(self) -> Encoder:
        middle, matrix = components(self._rows)
        home = self._home_conditions()
        codes = (self._rows - middle) @ matrix
        spread = np.concatenate([codes.std(axis=0), np.ones(len(home) - (SUPPLY_NAME in home))])
        return Encoder(middle, matrix, spread, home)

    def _home_conditions(self) -> dict[str, float]:
        design = self._points.design
        return conditions_at(design, design.nominal)

    def _nominal(self) -> dict[str, FloatArray]:
        """What transistors do in each technology at its nominal corner."""
        found = {}
        for technology in TECHNOLOGIES:
            if technology in self._circuit.technologies:
                with contextlib.closing(DeviceTable(technology)) as table:
                    found[technology] = table.at(table.design.nominal)
        return found

    def _blocks(self, encoder: Encoder) -> Rows:
        columns = [self._points.measures.index(name) for name in self.measures]
        found = []
        for block in self._points.blocks():
            if np.isfinite(block.devices).all():
                design = self._points.project(block.place.technology).design
                axes = Space(design).axes
                code = encoder.code(block.devices, block.conditions)
                values = block.values[:, columns]
                # what meets a held-out target where it is a target is nothing to learn from
                at_home = (
                    block.place.technology == self._home and block.place.corner.name == NOMINAL
                )
                kept = ~self._meets_held_out(values) if at_home else np.full(len(values), True)
                held = block.number % HELD_BLOCKS == HELD_BLOCKS - 1
                found.append(Rows(_given(axes, block.x[kept], code), values[kept],
                                  np.full(int(kept.sum()), held),
                                  self._good(design, values[kept])))  # fmt: skip
        return self._joined(found, encoder)

    def _at_home(self, encoder: Encoder, devices: dict[str, FloatArray]) -> Rows:
        """Samples at home, but for those that meet a target that is held out."""
        if self._samples is None or not self._samples.is_file():
            return self._joined([], encoder)
        with np.load(self._samples, allow_pickle=False) as file:
            points, raw = file["points"], file["raw"]
            names = [str(name) for name in file["names"]][: raw.shape[1]]
        values = raw[:, [names.index(name) for name in self.measures]]
        kept = ~self._meets_held_out(values)
        code = encoder.code(devices[self._home], self._home_conditions())
        held = np.arange(int(kept.sum())) % HELD_SAMPLES == HELD_SAMPLES - 1
        return Rows(_given(self._space.axes, points[kept], code), values[kept], held,
                    self._good(self._points.design, values[kept]))  # fmt: skip

    def _meets_held_out(self, values: FloatArray) -> NDArray[np.bool_]:
        """Rows that meet a target nobody may train on, shape (n,)."""
        met = np.zeros(len(values), dtype=bool)
        for number in range(len(self._list.targets) if self._list else 0):
            if number % HELD_OUT == HELD_OUT - 1 and self._list:
                met |= self._met(values, self._list.limits(number))
        return met

    def _good(self, design: Design, values: FloatArray) -> NDArray[np.bool_]:
        """Rows that meet the least that anybody asks, shape (n,)."""
        return self._met(values, limits_of(design, self.measures))

    def _met(
        self, values: FloatArray, wanted: Mapping[str, Mapping[str, float]]
    ) -> NDArray[np.bool_]:
        met = np.ones(len(values), dtype=bool)
        for name, limits in wanted.items():
            for side, limit in limits.items():
                column = values[:, self.measures.index(name)]
                with np.errstate(invalid="ignore"):
                    met &= column >= limit if side == "min" else column <= limit
        return met

    def _anchors(self) -> FloatArray:
        witnesses = self._list.witnesses if self._list else ()
        kept = [w for n, w in enumerate(witnesses) if n % HELD_OUT != HELD_OUT - 1]
        rows = [self._space.unit(witness) for witness in kept]
        rows = rows or [self._space.centre()]
        return np.array(rows, dtype=float).reshape(-1, self._space.dimension)

    def _joined(self, parts: Sequence[Rows], encoder: Encoder) -> Rows:
        if not parts:
            nowhere = np.zeros(encoder.size)
            parts = [Rows(_given(self._space.axes, np.empty((0, self._space.dimension)), nowhere),
                          np.empty((0, len(self.measures))), np.empty(0, bool),
                          np.empty(0, bool))]  # fmt: skip
        return Rows(*(np.concatenate([getattr(part, name) for part in parts])
                      for name in ("given", "values", "held", "good")))  # fmt: skip


def _given(axes: Sequence[Axis], x: FloatArray, code: FloatArray) -> Array:
    return np.hstack([inputs(axes, x), np.tile(code, (len(x), 1))]).astype(np.float32)


def _judged(parts: Sequence[Rows]) -> NDArray[np.bool_]:
    """Rows by which errors are told, shape (n,): those held back, good ones alone where there are
    enough. What is proposed lies there, and where a circuit is dead networks miss far more."""
    held = np.concatenate([part.held for part in parts])
    good = held & np.concatenate([part.good for part in parts])
    return good if good.sum() >= LEAST_GOOD else held


def _balanced(parts: Sequence[Rows]) -> NDArray[np.intp]:
    """Rows to draw from: those of blocks come more than once where there are few."""
    first, found = 0, []
    for part in parts:
        found.append(first + np.flatnonzero(~part.held))
        first += len(part.held)
    if len(found) == 2 and len(found[0]):
        times = BLOCK_SHARE / (1.0 - BLOCK_SHARE) * len(found[1]) / len(found[0])
        found[0] = np.tile(found[0], max(round(times), 1))
    return np.concatenate(found)
