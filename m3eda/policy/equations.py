"""A design's equations in the place of networks: what a coarse model gives for its sizings."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m3eda.agents.bo import one_thread
from m3eda.coarse.model import Coarse
from m3eda.coarse.quantities import Unsupported
from m3eda.design.ranges import FloatArray
from m3eda.design.ties import testbenches_of
from m3eda.design.types import Design, Value
from m3eda.errors import M3edaError
from m3eda.plugins import tools
from m3eda.policy.response import FAR, Answer, Scale
from m3eda.policy.shipped import SHARE
from m3eda.policy.transistors import SimulatedTransistors
from m3eda.simulate.types import SimulationFailed

POOL, TRIED, TRIED_HEAVY = 300, 40, 16
"""Random sizings that are solved at first, and those in time as well; so where that is heavy."""
LEAST = 0.02
"""Share of them that must have a measure, for it to be taken as known."""
LEAST_ERROR, EXACT = 0.02, 1e-4
"""Standard deviations on a measure's scale: of one that is solved for, at least, and of one that
follows from the sizes alone."""
PERTURBED, PERTURBED_HEAVY = 6, 3
"""Ways in which transistors are taken to be otherwise, to know how sure the measures are; so where
solving is heavy."""
SOLVED, UNSOLVED = math.log(0.98), math.log(0.02)
"""Log probability that a measure exists where it does in the coarse model, and where not."""
CHUNK = 256
"""Sizings that are solved at once."""
_log = logging.getLogger(__name__)


class Equations:
    """A coarse model as `Networks`; what was solved once is kept."""

    def __init__(self, coarse: Coarse, seed: int, simulations: int = 0) -> None:
        """`simulations` were made to know the transistors."""
        self.simulations = simulations
        self._coarse, self.axes = coarse, tuple(coarse.space.axes)
        self._stages = coarse.stages()
        self._known: tuple[dict[bytes, FloatArray], ...] = ({}, {})
        rng = np.random.default_rng([seed, 7])
        self._pool = coarse.space.snap(rng.random((POOL, coarse.space.dimension)))
        names, scales, errors = [], [], []
        tried = self._pool[: TRIED_HEAVY if self.heavy else TRIED]
        for stage, points in enumerate((self._pool, tried)):
            solved, own = self._solved(points, stage), self._stages[stage]
            there = np.isfinite(solved).mean(axis=0) >= LEAST
            known = [Scale.of(column[np.isfinite(column)]) for column in solved.T[there]]
            kept = [name for name, ok in zip(own, there, strict=True) if ok]
            names += kept
            scales += known
            here = _on_scales(known, solved[: len(tried), there])
            errors += self._doubts(tried, kept, known, here, rng)
        self.measures, self.scales, self.errors = tuple(names), tuple(scales), np.array(errors)

    def _doubts(
        self, points: FloatArray, names: Sequence[str], scales: Sequence[Scale],
        here: FloatArray, rng: np.random.Generator,
    ) -> list[float]:  # fmt: skip
        """By how much each measure may be missed, on its scale: what it changes by, from `here` at
        `points`, shape (n, m), where transistors are otherwise by as much as their fits miss."""
        moves = [np.full((1, len(names)), 0.0)]
        if self._coarse.kinds and names:
            moves.clear()
            for _ in range(PERTURBED_HEAVY if self.heavy else PERTURBED):
                kinds = {name: kind.perturbed(rng) for name, kind in self._coarse.kinds.items()}
                found = self._coarse.measures(points, names, kinds)
                rows = [[each.get(name, math.nan) for name in names] for each in found]
                moves.append(_on_scales(scales, np.array(rows)) - here)
        squares = np.where(np.isfinite(moves), np.minimum(np.abs(moves), 1.0) ** 2, np.nan)
        with np.errstate(all="ignore"):
            typical = np.sqrt(np.nanmean(squares, axis=(0, 1)))
        return [EXACT if not testbenches_of(self._coarse.design, [name])
                else max(float(np.nan_to_num(each, nan=1.0)), LEAST_ERROR)
                for name, each in zip(names, typical, strict=True)]  # fmt: skip

    def stages(self, measures: Sequence[str]) -> list[list[int]]:
        """Places of `measures` that are answered together, the quick ones first."""
        every = ([k for k, name in enumerate(measures) if name in stage] for stage in self._stages)
        return [each for each in every if each]

    @property
    def heavy(self) -> bool:
        """True where NumPy must do what a kernel does elsewhere, and there are transients."""
        return self._coarse.heavy

    @property
    def facts(self) -> Mapping[str, Any]:
        return {}

    @property
    def local(self) -> bool:
        """False: it is off everywhere alike."""
        return False

    @property
    def usual(self) -> Mapping[str, Value]:
        return {}

    def _solved(self, x: FloatArray, stage: int) -> FloatArray:
        """The measures of a stage in SI units, shape (n, m), nan where there is none."""
        keys, names, known = self._coarse.space.keys(x), self._stages[stage], self._known[stage]
        new = {key: k for k, key in enumerate(keys) if key not in known}
        places = list(new.values())
        for first in range(0, len(places) if names else 0, CHUNK):
            some = places[first : first + CHUNK]
            for k, found in zip(some, self._coarse.measures(x[some], names), strict=True):
                known[keys[k]] = np.array([found.get(name, math.nan) for name in names])
        return np.array([known[key] for key in keys] if names else []).reshape(len(x), len(names))

    def answer(self, x: FloatArray, measures: Sequence[str]) -> Answer:
        """For unit points of these axes, shape (n, d)."""
        mean = np.full((len(x), len(measures)), np.nan)
        for stage, names in enumerate(self._stages):
            own = [k for k, name in enumerate(measures) if name in names]
            if own:
                values = self._solved(x, stage)
                for k in own:
                    scale = self.scales[self.measures.index(measures[k])]
                    mean[:, k] = scale.forward(values[:, names.index(measures[k])])
        there = np.isfinite(mean)
        return Answer(np.where(there, mean, 0.0), np.zeros(mean.shape),
                      np.where(there, SOLVED, UNSOLVED) / max(len(measures), 1))  # fmt: skip

    def good(self, ends: Sequence[tuple[float, float]], measures: Sequence[str]) -> FloatArray:
        """Points solved, the best first by what is quickly found, shape (n, d)."""
        quick = [k for k, name in enumerate(measures) if name in self._stages[0]]
        answer = self.answer(self._pool, [measures[k] for k in quick])
        short = np.zeros(len(self._pool))
        for column, k in enumerate(quick):
            low, high = ends[k]
            z = answer.mean[:, column]
            gap = np.maximum(np.maximum(low - z, z - high), 0.0)
            lost = answer.exists[:, column] <= UNSOLVED / len(quick)
            short += np.where(lost, FAR, np.minimum(gap, FAR))
        return self._pool[np.argsort(short, kind="stable")]

    def learn(self, x: FloatArray, values: FloatArray, measures: Sequence[str]) -> None:
        """Nothing: what it misses is for others to correct."""


def _on_scales(scales: Sequence[Scale], values: FloatArray) -> FloatArray:
    """Values in SI units on the scales of their measures, shape (n, m)."""
    columns = [scale.forward(column) for scale, column in zip(scales, values.T, strict=True)]
    return np.stack(columns, axis=1) if columns else np.empty((len(values), 0))


def equations_of(design: Design, seed: int = 1) -> Equations | None:
    """What the equations of a design's decks tell; None where they tell too little of its specs,
    or its decks hold what the coarse model does not know."""
    try:
        simulator, functions = tools(design)
        timeout = design.simulator.timeout
        transistors = SimulatedTransistors(simulator, simulator.available(), timeout)
        with one_thread(), np.errstate(all="ignore"):
            coarse = Coarse(design, functions, transistors)
            if not coarse.benches:
                return None
            found = Equations(coarse, seed, transistors.simulations)
    except (M3edaError, SimulationFailed, Unsupported) as error:
        _log.debug("no equations: %s", error)
        return None
    except Exception:  # noqa: BLE001  a deck that nobody foresaw is sized without them
        _log.debug("no equations", exc_info=True)
        return None
    wanted = [name for name in design.specs if testbenches_of(design, [name])]
    known = [name for name in wanted if name in found.measures]
    return found if known and len(known) >= SHARE * len(wanted) else None
