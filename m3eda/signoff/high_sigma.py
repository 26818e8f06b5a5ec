"""Yields that plain samples cannot show: worst-case distances and importance sampling.

Deviations are independent and normal, so that the likeliest way to fail is the point of failure
nearest to the origin; its distance in standard deviations is the worst-case distance of a spec
(Antreich, Graeb and Wieser, IEEE TCAD 1994). Samples are drawn around such points and weighed by
how much likelier they are there than in truth (mean-shift importance sampling; Kanj, Joshi and
Nassif, DAC 2006). Where the points lie is found among samples of a widened distribution (scaled
sigma) and bettered by the gradients there (Hasofer and Lind; Rackwitz and Fiessler, 1978).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from m3eda.design.space import FloatArray

Margins = Callable[[FloatArray], FloatArray]
"""Deviations, shape (samples, names), to margins, shape (samples, specs); below 0 the spec fails,
nan where there is no value, which fails too."""

WIDENINGS = (1.0, 2.0, 3.0, 4.0)
"""Standard deviations that ways to fail are looked for with, one after the other."""
LOOKED = 100
"""Samples at each of them; four for each deviation where that is more."""
BEYOND = 8.0
"""Distance from which on a way to fail does not count."""
STEPS = 3
"""Times that a point of failure is bettered by the gradient there."""
APART = 0.5
"""Largest cosine between two ways to fail."""
WAYS = 3
"""Ways to fail of one spec at the most."""
AGAIN = 3
"""Starts that led to nothing new after which no more are tried."""
PLAIN = 0.1
"""Share of samples that are drawn without any shift."""
EDGE = 16
"""Simulations that the edge of failing on a ray takes."""
BATCH = 100
FIRST = 500
"""Weighed samples before it is asked how well the probability is known."""


@dataclass(frozen=True)
class Way:
    """The likeliest way in which one spec fails."""

    spec: int
    point: FloatArray
    """In standard deviations, shape (names,)."""

    @property
    def distance(self) -> float:
        return float(np.linalg.norm(self.point))


@dataclass
class Rare:
    """What is known of the probability to fail."""

    probability: float = math.nan
    error: float = math.nan
    """Its standard deviation."""
    ways: list[Way] = field(default_factory=list)
    simulations: int = 0
    by_spec: FloatArray = field(default_factory=lambda: np.zeros(0))
    """The probability that each spec fails, shape (specs,)."""

    def interval(self, confidence: float) -> tuple[float, float]:
        """Of the probability to fail, by the normal distribution; nan where it is not known."""
        if not self.ways:
            return math.nan, math.nan
        width = NormalDist().inv_cdf(0.5 * (1.0 + confidence)) * self.error
        return max(self.probability - width, 0.0), min(self.probability + width, 1.0)

    @property
    def sigma(self) -> float:
        """The probability as standard deviations of a normal distribution with one limit; nan where
        it is not known."""
        if not 0.0 < self.probability < 1.0:
            return math.nan
        return -NormalDist().inv_cdf(self.probability)


def rare_failures(
    margins: Margins, width: int, seed: int, *, accuracy: float = 0.1, most: int = 20_000
) -> Rare:
    """The probability that any spec fails, to a relative standard deviation of `accuracy`.

    `width` is the number of deviations, `most` the largest number of simulations. Where no way to
    fail is found within `BEYOND` standard deviations there are no `ways`, and the probability is
    not known. Raises TooFew where `most` does not allow to look for a way of every spec that fails
    somewhere.
    """
    search = _Search(margins, width, np.random.default_rng(seed), most)
    found = Rare(ways=search.ways())
    found.simulations = search.spent
    if found.ways:
        _sample(search, found, accuracy)
    return found


class TooFew(Exception):
    """So many simulations are needed at the least: `needed`."""

    def __init__(self, needed: int) -> None:
        super().__init__(f"{needed} simulations are needed at the least")
        self.needed = needed


class _Search:
    """Looks for the points of failure nearest to the origin."""

    def __init__(self, margins: Margins, width: int, rng: np.random.Generator, most: int) -> None:
        self._margins, self.width, self.rng, self.most = margins, width, rng, most
        self.spent = 0

    def margins(self, points: FloatArray) -> FloatArray:
        self.spent += len(points)
        found = self._margins(points)
        return np.where(np.isnan(found), -1.0, found)

    def ways(self) -> list[Way]:
        """Every distinct likely way to fail, the likeliest first."""
        points, values = self._widened()
        specs = np.flatnonzero((values <= 0.0).any(axis=0))
        needed = self.spent + len(specs) * self._cost + FIRST
        if needed > self.most:
            raise TooFew(needed)
        found: list[Way] = []
        for number, spec in enumerate(specs, 1):
            failing = points[values[:, spec] <= 0.0]
            left = self.most - FIRST - (len(specs) - number) * self._cost
            starts = failing[np.argsort(np.linalg.norm(failing, axis=1))]
            found += self._ways_of(int(spec), starts, min(left, self.most // 2))
        return sorted(found, key=lambda way: way.distance)

    @property
    def _cost(self) -> int:
        """Simulations that one way takes at the most."""
        return (STEPS + 1) * EDGE + STEPS * (2 * self.width + 2) + EDGE

    def _ways_of(self, spec: int, starts: FloatArray, most: int) -> list[Way]:
        """Distinct ways of one spec, until `most` simulations are spent; the first in any case."""
        own: list[Way] = []
        waiting, again = list(starts[::-1]), 0
        while waiting and len(own) < WAYS and again < AGAIN:
            if (own or again) and self.spent + self._cost > most:
                break
            start = waiting.pop()
            if any(_cosine(start, way.point) > APART for way in own):
                continue
            way = self._nearest(spec, start)
            if way.distance < BEYOND and not any(
                _cosine(way.point, each.point) > APART for each in own
            ):
                own.append(way)
                waiting.append(-way.point)  # a measure without a sign fails on both sides
            else:
                again += 1
        return own

    def _widened(self) -> tuple[FloatArray, FloatArray]:
        """Samples of wider and wider distributions, until every spec fails or the widest is
        reached."""
        points, values = np.zeros((0, self.width)), None
        for widening in WIDENINGS:
            drawn = widening * self.rng.standard_normal((max(LOOKED, 4 * self.width), self.width))
            found = self.margins(drawn)
            points = np.concatenate([points, drawn])
            values = found if values is None else np.concatenate([values, found])
            if ((values <= 0.0).sum(axis=0) >= 2 * WAYS).all():
                break
        assert values is not None
        return points, values

    def _nearest(self, spec: int, start: FloatArray) -> Way:
        """The point of failure of one spec that is nearest to the origin, from `start` on."""
        point = self._edge(spec, start)
        for _ in range(STEPS):
            slope = self._slope(spec, point)
            size = float(slope @ slope)
            if not size > 0.0:
                break
            # on the tangent of the edge, the point nearest to the origin
            moved = self._edge(spec, slope * float(slope @ point) / size)
            if np.linalg.norm(moved) >= 0.999 * np.linalg.norm(point):
                break
            point = moved
        return Way(spec, point)

    def _edge(self, spec: int, point: FloatArray) -> FloatArray:
        """Where on the ray from the origin through `point` the spec begins to fail; further out
        than `BEYOND` where it does not."""
        if not np.linalg.norm(point) > 0.0:
            return np.full(self.width, BEYOND)
        ray = point / np.linalg.norm(point)
        scan = np.linspace(0.0, BEYOND, 9)[1:]
        values = self.margins(scan[:, None] * ray)[:, spec]
        bad = np.flatnonzero(values <= 0.0)
        if not bad.size:
            return np.asarray(ray * 2.0 * BEYOND)
        high = float(scan[bad[0]])
        low = high - float(scan[0])
        for _ in range(2):
            inner = np.linspace(low, high, 6)[1:-1]
            bad = np.flatnonzero(self.margins(inner[:, None] * ray)[:, spec] <= 0.0)
            first = int(bad[0]) if bad.size else len(inner)
            ends = [low, *inner, high]
            low, high = float(ends[first]), float(ends[first + 1])
        return np.asarray(ray * high)

    def _slope(self, spec: int, point: FloatArray) -> FloatArray:
        """The gradient of the margin, shape (names,), fitted around `point`."""
        around = point + 0.5 * self.rng.standard_normal((2 * self.width + 2, self.width))
        values = self.margins(around)[:, spec]
        columns = np.column_stack([around - point, np.ones(len(around))])
        return np.asarray(np.linalg.lstsq(columns, values, rcond=None)[0][:-1], dtype=float)


def _sample(search: _Search, found: Rare, accuracy: float) -> None:
    """Weighed samples around the ways to fail, until the probability is known well enough."""
    centres = np.array([way.point for way in found.ways])
    shares = np.array([NormalDist().cdf(-way.distance) for way in found.ways])
    # no way is left out that turns out likelier than its distance tells
    shares = (1.0 - PLAIN) * (0.8 * shares / shares.sum() + 0.2 / len(shares))
    weights: list[FloatArray] = []
    fails: list[NDArray[np.bool_]] = []
    count = 0
    while not count or search.spent + BATCH <= search.most:
        chosen = search.rng.choice(len(shares) + 1, BATCH, p=[*shares, PLAIN])
        shifts = np.concatenate([centres, np.zeros((1, search.width))])[chosen]
        points = shifts + search.rng.standard_normal((BATCH, search.width))
        fails.append(search.margins(points) <= 0.0)
        weights.append(_weights(points, centres, shares))
        count += BATCH
        weight, bad = np.concatenate(weights), np.concatenate(fails)
        terms = weight * bad.any(axis=1)
        found.probability = min(float(terms.mean()), 1.0)
        found.error = float(terms.std(ddof=1) / math.sqrt(count))
        found.by_spec = (weight[:, None] * bad).mean(axis=0)
        if count >= FIRST and found.error <= accuracy * found.probability:
            break
    found.simulations = search.spent


def _weights(points: FloatArray, centres: FloatArray, shares: FloatArray) -> FloatArray:
    """How much likelier points are in truth than as they were drawn, shape (points,)."""
    logs = points @ centres.T - 0.5 * (centres**2).sum(axis=1)
    # a plain draw bounds the weight
    drawn = (shares * np.exp(np.minimum(logs, 600.0))).sum(axis=1) + PLAIN
    found: FloatArray = 1.0 / drawn
    return found


def _cosine(one: FloatArray, other: FloatArray) -> float:
    return float(one @ other / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-300))


def distances(found: Rare, specs: Sequence[str]) -> dict[str, float]:
    """The worst-case distance of each spec; infinite where no way to fail was found."""
    nearest = dict.fromkeys(specs, math.inf)
    for way in found.ways:
        nearest[specs[way.spec]] = min(nearest[specs[way.spec]], way.distance)
    return nearest
