"""A circuit that networks have learnt in many technologies, and their file, in NumPy.

The networks read a sizing and the conditions that the circuit works under: what the transistors of
its technology do at its corner (`m3eda.policy.conditions`), temperature and loads, compressed to a
few numbers. In a technology that they know the numbers are given; in another one they are found
from the design's own trials, as those under which the networks would have foretold them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from m3eda.design.ranges import FloatArray
from m3eda.design.space import Axis
from m3eda.design.types import Value
from m3eda.policy.arrays import WEIGHTS, Kind, read_arrays, starting, write_arrays
from m3eda.policy.response import Answer, Array, Scale, answers_of, inputs

KIND = Kind(1, "no networks of a circuit", "`make pretrain` makes it anew")
FOLDER = Path(__file__).parent / "weights"
"""The networks that come with m3eda, a file a circuit."""
SUPPLY_NAME = "vdd"
OWN = (SUPPLY_NAME, "temp")
"""Conditions that transistors see."""
LEVELS = ("vcm",)
"""Conditions that follow the supply."""
VARIED = (*OWN, *LEVELS, "cload", "cpd")
"""Conditions that networks read, where a circuit has them."""
USUAL: Mapping[str, float] = {"temp": 50.0, "vcm": 0.1, "cload": 0.65, "cpd": 0.65}
"""Usual steps of conditions: degrees, or of a logarithm."""
KEPT = 0.998
DRAWS = 4
"""Conditions that are drawn where they are uncertain."""
DIFFERENCE = 0.02
"""Of conditions, in standard deviations, by which slopes are found."""
MOST_STEPS = 60
OFFSET = 0.3
"""Standard deviation of where a design stands on an axis that it does not have, of its range."""
TRUSTED = 3.0
"""Errors from which a trial counts less in finding conditions: cliffs must not move them."""


@dataclass(frozen=True)
class Encoder:
    """From what the transistors do and the conditions of a design to what networks read."""

    middle: FloatArray
    """Shape (f,)."""
    matrix: FloatArray
    """Shape (f, p): principal components of the corners learnt from."""
    spread: FloatArray
    """Standard deviation of each number that networks read, shape (q,)."""
    home: Mapping[str, float]
    """The conditions that are read, as they are where the circuit is at home, SI units; with them
    `vdd` where it is one, which levels are read relative to."""

    @property
    def size(self) -> int:
        """Numbers that networks read, q."""
        return int(self.matrix.shape[1]) + len(self.read)

    @property
    def read(self) -> list[str]:
        """The conditions beside those of transistors, the last of the numbers."""
        return [name for name in self.home if name != SUPPLY_NAME]

    def code(self, devices: FloatArray, conditions: Mapping[str, float]) -> FloatArray:
        """Shape (q,), of `devices`, shape (f,), and conditions in SI units."""
        own = [self._step(name, conditions) for name in self.read]
        return np.concatenate([(devices - self.middle) @ self.matrix, own])

    def _step(self, name: str, conditions: Mapping[str, float]) -> float:
        """How far a condition is from home, in usual steps; -inf for one of another kind, as no
        load at all, or a common mode at ground."""
        if name == "temp":
            return (conditions[name] - self.home[name]) / USUAL[name]
        ratio = conditions[name] / self.home[name]
        if name in LEVELS and SUPPLY_NAME in self.home:
            supply = conditions[SUPPLY_NAME]
            ratio *= self.home[SUPPLY_NAME] / supply if supply else 0.0
        return math.log(ratio) / USUAL[name] if ratio > 0.0 else -math.inf


def components(rows: FloatArray, kept: float = KEPT) -> tuple[FloatArray, FloatArray]:
    """`middle` and `matrix` of an `Encoder`: the directions in which rows, shape (n, f), vary most,
    with a share `kept` of it; each number weighted alike, the first direction of variance 1."""
    middle, spread = rows.mean(axis=0), rows.std(axis=0)
    used = np.where(spread > 1e-9, 1.0 / np.maximum(spread, 1e-9), 0.0)
    _, values, vectors = np.linalg.svd((rows - middle) * used, full_matrices=False)
    share = np.cumsum(values**2) / max(float((values**2).sum()), 1e-30)
    count = int(np.searchsorted(share, kept)) + 1
    return middle, used[:, None] * vectors[:count].T * (math.sqrt(len(rows)) / values[0])


@dataclass(frozen=True)
class Pretrained:
    """Networks of one circuit."""

    circuit: str
    axes: tuple[str, ...]
    """Names of its free parameters."""
    measures: tuple[str, ...]
    scales: tuple[Scale, ...]
    errors: FloatArray
    """Of each measure: standard deviation in technologies learnt from, on its scale, shape (m,)."""
    encoder: Encoder
    weights: Mapping[str, Array]
    devices: Mapping[str, FloatArray]
    """Technology -> what its transistors do at its nominal corner."""
    anchors: FloatArray
    """Unit points of sizings that meet a target each, shape (n, d)."""
    facts: Mapping[str, Any]


class Placed:
    """A pretrained circuit where a design stands; what the agent `m3` asks, as of a `Response`.

    Conditions begin at `centre` with standard deviation `spread`, and go by the trials told from
    then on.
    """

    def __init__(
        self, pretrained: Pretrained, axes: Sequence[Axis], centre: FloatArray, spread: FloatArray,
        fixed: Mapping[str, float] | None = None, usual: Mapping[str, Value] | None = None,
        scales: Sequence[Scale] = (), loose: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """`axes` are all of the networks', in their order and in the ranges of the design's
        technology; `fixed` are unit coordinates of those that the design has frozen; `usual` are
        the values that others, which networks do not read, had where they learnt; `scales` those
        of the measures where the design has them in other units; `loose` are axes on which the
        design stands somewhere near the point asked for: how far is found from the trials."""
        self.usual = dict(usual or {})
        self.pretrained, self._every, self._fixed = pretrained, tuple(axes), dict(fixed or {})
        self.axes = tuple(axis for axis in axes if axis.name not in self._fixed)
        self.measures = pretrained.measures
        self.scales = tuple(scales) or pretrained.scales
        self.errors, self.facts = pretrained.errors, pretrained.facts
        names = [axis.name for axis in self._every]
        self._loose = [names.index(name) for name in loose]
        self._centre = np.concatenate([centre, np.zeros(len(self._loose))])
        self._spread = np.concatenate([spread, np.full(len(self._loose), OFFSET)])
        self._codes = self._drawn(self._centre, np.diag(self._spread**2))

    local = False

    @property
    def code(self) -> FloatArray:
        """The conditions believed in, shape (q,)."""
        return np.asarray(self._codes.mean(axis=0)[: self.pretrained.encoder.size])

    def answer(self, x: FloatArray, measures: Sequence[str]) -> Answer:
        """For unit points of these axes, shape (n, d)."""
        columns = [self.measures.index(name) for name in measures]
        found = np.stack([self._answers(x, code) for code in self._codes])
        found = found.reshape(-1, *found.shape[2:])
        count = len(self.measures)
        means, chances = found[..., columns], found[..., [count + k for k in columns]]
        exists = -np.logaddexp(0.0, -chances.mean(axis=0))
        return Answer(means.mean(axis=0), means.std(axis=0), exists)

    def learn(self, x: FloatArray, values: FloatArray, measures: Sequence[str]) -> None:
        """Find the conditions from trials: `values`, shape (n, k), on the scales of `measures`, nan
        where one does not exist."""
        if not len(x):
            self._codes = self._drawn(self._centre, np.diag(self._spread**2))
            return
        from scipy.optimize import least_squares  # takes as long to load as a first proposal

        columns = [self.measures.index(name) for name in measures]
        there = np.isfinite(values)
        errors = self.errors[columns]

        def missed(steps: FloatArray) -> FloatArray:
            """Of some steps from the centre, shape (k, q): shape (k, there + q)."""
            codes = self._centre + steps * self._spread
            said = np.stack([self._answers(x, code).mean(axis=0)[:, columns] for code in codes])
            off = np.where(there, (values - said) / errors, 0.0)[:, there]
            return np.hstack([TRUSTED * np.arcsinh(off / TRUSTED), steps])

        def slopes(step: FloatArray) -> FloatArray:
            """Shape (there + q, q); by differences, as networks have few digits."""
            moves = DIFFERENCE * np.eye(len(step))
            both = missed(np.vstack([step + moves, step - moves]))
            return np.asarray((both[: len(step)] - both[len(step) :]).T / (2.0 * DIFFERENCE))

        found = least_squares(lambda step: missed(step[None])[0], np.zeros(len(self._centre)),
                              jac=slopes, method="lm", max_nfev=MOST_STEPS)  # fmt: skip
        covariance = np.linalg.inv(found.jac.T @ found.jac) * np.outer(self._spread, self._spread)
        self._codes = self._drawn(self._centre + found.x * self._spread, covariance)

    def good(self, ends: Sequence[tuple[float, float]], measures: Sequence[str]) -> FloatArray:
        """Unit points to search around, shape (n, d)."""
        free = [axis.name not in self._fixed for axis in self._every]
        return self.pretrained.anchors[:, free]

    def _answers(self, x: FloatArray, code: FloatArray) -> FloatArray:
        whole = np.empty((len(x), len(self._every)))
        columns = iter(x.T)
        for place, axis in enumerate(self._every):
            fixed = self._fixed.get(axis.name)
            whole[:, place] = next(columns) if fixed is None else fixed
        conditions, offsets = np.split(code, [self.pretrained.encoder.size])
        if self._loose:
            whole[:, self._loose] = np.clip(whole[:, self._loose] + offsets, 0.0, 1.0)
        rows = [inputs(self._every, whole), np.tile(conditions, (len(x), 1))]
        given = np.hstack(rows).astype(np.float32)
        return answers_of(self.pretrained.weights, given)

    def _drawn(self, centre: FloatArray, covariance: FloatArray) -> FloatArray:
        """`DRAWS` conditions with this mean and about this covariance, shape (draws, q)."""
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        rng = np.random.default_rng(0)
        half = rng.standard_normal((DRAWS // 2, len(centre))) @ root.T
        return np.vstack([centre + half, centre - half])


def write_pretrained(path: Path, found: Pretrained) -> None:
    """Put `found` in the place of what `path` holds; its weights as half precision.
    Raises StorageError."""
    arrays: dict[str, Any] = {
        "errors": found.errors, "anchors": found.anchors.astype(np.float32),
        "middle": found.encoder.middle, "matrix": found.encoder.matrix,
        "spread": found.encoder.spread,
    }  # fmt: skip
    arrays |= {
        f"{WEIGHTS}{name}": array.astype(np.float16) for name, array in found.weights.items()
    }
    arrays |= {f"devices.{name}": row for name, row in found.devices.items()}
    head = {
        "circuit": found.circuit, "axes": list(found.axes),
        "measures": list(found.measures), "home": dict(found.encoder.home),
        "scales": [[scale.log, scale.middle, scale.spread] for scale in found.scales],
        "facts": dict(found.facts),
    }  # fmt: skip
    write_arrays(path, KIND, head, arrays)


def read_pretrained(path: Path) -> Pretrained:
    """What `write_pretrained` wrote. Raises StorageError where it is damaged or another's."""
    head, arrays = read_arrays(path, KIND)
    encoder = Encoder(arrays["middle"], arrays["matrix"], arrays["spread"], head["home"])
    weights = starting(arrays, WEIGHTS)
    return Pretrained(
        head["circuit"], tuple(head["axes"]), tuple(head["measures"]),
        tuple(Scale(*each) for each in head["scales"]), arrays["errors"], encoder,
        {name: array.astype(np.float32) for name, array in weights.items()},
        starting(arrays, "devices."), arrays["anchors"].astype(float), head["facts"],
    )  # fmt: skip
