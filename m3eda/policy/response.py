"""What a circuit answers: networks from a sizing to its measures, in NumPy, and their file.

A residual network of fully connected layers, a few of them side by side: its mean is the answer,
its spread a part of the doubt. The weights come from `m3eda.policy.fitting`, which needs torch;
nothing here does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from m3eda.design.ranges import FloatArray
from m3eda.design.space import Axis, Space
from m3eda.design.types import Design, Value
from m3eda.learning.manifest import parameter_words
from m3eda.learning.reader import parameter_of
from m3eda.policy.arrays import WEIGHTS, Kind, read_arrays, starting, write_arrays

KIND = Kind(1, "nothing that `m3eda learn` wrote", "learn it anew")
WIDE_RANGE = 10.0
"""Ratio of a linear range's ends from which its logarithm is an input as well."""
FAR = 10.0
"""On the scale of a measure: what misses by more, or does not exist, counts as this."""
DECIBEL = math.log(10.0) / 20.0
"""Of a logarithm."""
RATIOS = frozenset({"V/V", "A/A"})
CHUNK = 2048
"""Sizings that are answered at once: their numbers stay in the processor's cache."""

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Scale:
    """The scale on which a measure is learnt: asinh of its distance from the median.

    In units of the interquartile range, of logarithms where every value seen is positive. It grows
    without end on both sides and is steep in the middle: a dead circuit does not bend it.
    """

    log: bool
    middle: float
    spread: float

    @classmethod
    def of(cls, values: FloatArray) -> Scale:
        """Of finite `values`, shape (n,), at least one."""
        log = bool((values > 0.0).all())
        lower, middle, upper = np.percentile(np.log(values) if log else values, [25, 50, 75])
        return cls(log, float(middle), float(max(upper - lower, 1e-9 * max(abs(middle), 1e-30))))

    def read_in(self, unit: str, own: str) -> Scale | None:
        """The same scale, of values in `unit`, for values in the unit `own`: a ratio for decibels
        and the other way round. None where there is none."""
        if unit == own:
            return self
        if unit == "dB" and own in RATIOS and not self.log:
            return Scale(True, self.middle * DECIBEL, self.spread * DECIBEL)
        if unit in RATIOS and own == "dB" and self.log:
            return Scale(False, self.middle / DECIBEL, self.spread / DECIBEL)
        return None

    def forward(self, values: FloatArray) -> FloatArray:
        """Values in SI units to this scale, same shape; -inf where a logarithm has no number."""
        with np.errstate(invalid="ignore", divide="ignore"):
            numbers = np.log(np.maximum(values, 0.0)) if self.log else values
        return np.asarray(np.arcsinh((numbers - self.middle) / self.spread))

    def backward(self, values: FloatArray) -> FloatArray:
        """From this scale to SI units, same shape."""
        numbers = np.sinh(values) * self.spread + self.middle
        return np.asarray(np.exp(numbers) if self.log else numbers)


def inputs(axes: Sequence[Axis], x: FloatArray) -> Array:
    """What networks read of unit points, shape (n, d): shape (n, f), each about in [-1, 1].

    A word is a column for each choice; a wide linear range is given on a logarithmic scale too.
    """
    columns = []
    for axis, column in zip(axes, x.T, strict=True):
        if axis.categorical:
            columns.append((axis.label(column)[:, None] == np.arange(axis.levels)) * 2.0 - 1.0)
            continue
        columns.append(2.0 * column[:, None] - 1.0)
        low, high = axis.parameter.minimum, axis.parameter.maximum
        if axis.choices or axis.parameter.scale == "log" or low is None or high is None:
            continue
        if low > 0.0 and high > WIDE_RANGE * low:
            values = low + (high - low) * np.maximum(column, 0.0)
            columns.append((2.0 * np.log(values / low) / math.log(high / low) - 1.0)[:, None])
    return np.hstack(columns).astype(np.float32)


@dataclass(frozen=True)
class Answer:
    """What networks say of n sizings and m measures, on the scales of the measures."""

    mean: FloatArray
    """Shape (n, m)."""
    spread: FloatArray
    """Standard deviation between the networks, shape (n, m)."""
    exists: FloatArray
    """Log probability that the measure has a value, shape (n, m)."""


class Networks(Protocol):
    """What networks that know a circuit are asked, wherever they come from."""

    @property
    def axes(self) -> Sequence[Axis]:
        """The parameters that unit points are of."""
        ...

    @property
    def measures(self) -> tuple[str, ...]: ...

    @property
    def scales(self) -> tuple[Scale, ...]: ...

    @property
    def errors(self) -> FloatArray:
        """Of each measure: standard deviation on its scale, shape (m,)."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]: ...

    @property
    def local(self) -> bool:
        """True where what they miss at a sizing tells of its neighbours alone."""
        ...

    @property
    def usual(self) -> Mapping[str, Value]:
        """Values at which parameters stood that they do not read, where they learnt."""
        ...

    def answer(self, x: FloatArray, measures: Sequence[str]) -> Answer:
        """For unit points of these axes, shape (n, d)."""
        ...

    def good(self, ends: Sequence[tuple[float, float]], measures: Sequence[str]) -> FloatArray:
        """Unit points to search around, the best first, shape (n, d), for intervals `ends` of
        `measures` on their scales."""
        ...

    def learn(self, x: FloatArray, values: FloatArray, measures: Sequence[str]) -> None:
        """Go by the trials told so far, all of them: `values`, shape (n, k), on the scales of
        `measures`, nan where one does not exist."""
        ...


@runtime_checkable
class Costly(Networks, Protocol):
    """What takes milliseconds to answer for one sizing."""

    @property
    def heavy(self) -> bool:
        """True where it takes tens of them."""
        ...

    def stages(self, measures: Sequence[str]) -> list[list[int]]:
        """Places of `measures` that are answered together, the quick ones first."""
        ...


@dataclass(frozen=True)
class Response:
    """Networks that have learnt a circuit, with the points that they learnt from."""

    axes: tuple[Axis, ...]
    measures: tuple[str, ...]
    scales: tuple[Scale, ...]
    errors: FloatArray
    """Of each measure: standard deviation on points held back, on its scale, shape (m,)."""
    weights: Mapping[str, Array]
    """Each with the network's number as its first axis; see `make_weights` of `fitting`."""
    x: Array
    """Unit points simulated, shape (n, d)."""
    values: Array
    """Their measures in SI units, nan where one does not exist, shape (n, m)."""
    facts: Mapping[str, Any]
    """Where it comes from: circuit, simulations, seconds, version."""

    @property
    def usual(self) -> Mapping[str, Value]:
        return {}

    @property
    def local(self) -> bool:
        """True: they have learnt this very circuit where it stands."""
        return True

    def answer(self, x: FloatArray, measures: Sequence[str]) -> Answer:
        """For unit points of these axes, shape (n, d)."""
        columns = [self.measures.index(name) for name in measures]
        found, count = answers_of(self.weights, inputs(self.axes, x)), len(self.measures)
        means, chances = found[..., columns], found[..., [count + k for k in columns]]
        exists = -np.logaddexp(0.0, -chances.mean(axis=0))
        return Answer(means.mean(axis=0), means.std(axis=0), exists)

    def good(self, ends: Sequence[tuple[float, float]], measures: Sequence[str]) -> FloatArray:
        """The points learnt from, the best first, shape (n, d).

        By how far they miss the intervals `ends` of `measures`, on the scales of the measures.
        """
        short = np.zeros(len(self.x))
        for name, (low, high) in zip(measures, ends, strict=True):
            k = self.measures.index(name)
            z = self.scales[k].forward(self.values[:, k].astype(float))
            gap = np.maximum(np.maximum(low - z, z - high), 0.0)
            short += np.where(np.isfinite(gap), np.minimum(gap, FAR), FAR)
        return self.x[np.argsort(short, kind="stable")].astype(float)

    def learn(self, x: FloatArray, values: FloatArray, measures: Sequence[str]) -> None:
        """Nothing: what these networks miss is for others to correct."""


def fits(response: Response, design: Design) -> bool:
    """True where networks of a design could begin as these: the same parameters and measures by
    name and order, and as many inputs."""
    axes = Space(design).axes
    names = [axis.name for axis in response.axes] == [axis.name for axis in axes]
    if not names or response.measures != tuple(design.measures):
        return False
    both = [inputs(each, np.full((1, len(axes)), 0.5)).shape[1] for each in (axes, response.axes)]
    return both[0] == both[1]


def answers_of(weights: Mapping[str, Array], given: Array) -> FloatArray:
    """What networks answer to rows, shape (n, f): shape (networks, n, 2 m).

    Standardised measures, then the log odds that each exists.
    """
    starts = range(0, max(len(given), 1), CHUNK)
    parts = [_chunk_of(weights, given[first : first + CHUNK]) for first in starts]
    return np.concatenate(parts, axis=1).astype(float)


def _chunk_of(weights: Mapping[str, Array], given: Array) -> Array:
    hidden = given @ weights["first.weight"] + weights["first.bias"]
    for k in range(weights["inner.weight"].shape[1]):
        inner = _silu(hidden @ weights["inner.weight"][:, k] + weights["inner.bias"][:, k])
        hidden = hidden + inner @ weights["outer.weight"][:, k]
    found: Array = _silu(hidden) @ weights["last.weight"] + weights["last.bias"]
    return found


def write_response(path: Path, response: Response) -> None:
    """Put `response` in the place of what `path` holds. Raises StorageError."""
    arrays = {f"{WEIGHTS}{name}": array for name, array in response.weights.items()}
    arrays |= {"x": response.x, "values": response.values, "errors": response.errors}
    head = {
        "axes": {axis.name: parameter_words(axis.parameter) for axis in response.axes},
        "measures": list(response.measures),
        "scales": [[scale.log, scale.middle, scale.spread] for scale in response.scales],
        "facts": dict(response.facts),
    }
    write_arrays(path, KIND, head, arrays)


def read_response(path: Path) -> Response:
    """What `write_response` wrote. Raises StorageError where it is damaged or another's."""
    head, arrays = read_arrays(path, KIND)
    axes = tuple(Axis(parameter_of(name, words)) for name, words in head["axes"].items())
    scales = tuple(Scale(*each) for each in head["scales"])
    weights = starting(arrays, WEIGHTS)
    return Response(axes, tuple(head["measures"]), scales, arrays["errors"], weights, arrays["x"],
                    arrays["values"], head["facts"])  # fmt: skip


def _silu(values: Array) -> Array:
    with np.errstate(over="ignore"):
        found: Array = values / (1.0 + np.exp(-values))
    return found
