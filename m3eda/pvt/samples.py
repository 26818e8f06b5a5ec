"""Monte Carlo samples: by its number and the seed alone each can be drawn again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np

from m3eda.design.space import FloatArray
from m3eda.design.types import Corner, Design, Sample, Sampling, Variation

_NAME = re.compile(r"#[0-9]+$")
_NORMAL = NormalDist()
_WORD = 2.0**64


class Samples:
    """The samples of one seed, over everything that varies.

    `random` draws each deviation by the seed, the sample's number and the deviation's name, so that
    another device in the netlist changes none of the others. `latin-hypercube` and `sobol`
    (scipy.stats.qmc, scrambled) spread `count` samples evenly.
    """

    def __init__(
        self, names: Sequence[str], seed: int, count: int, sampling: Sampling = "random"
    ) -> None:
        self.names = tuple(names)
        self.count = count
        self._seed = seed
        self._sampling = sampling
        self._spread: dict[int, FloatArray] = {}

    def deviations(self, number: int) -> Mapping[str, float]:
        """Of sample `number`, from 1, in standard deviations by name."""
        if self._sampling != "random" and self.names:
            # sample 1 of another attempt is drawn by another seed
            attempt, row_number = divmod(number - 1, self.count)
            row = self._rows(attempt)[row_number]
            return {name: float(value) for name, value in zip(self.names, row, strict=True)}
        return {name: self._normal(number, name) for name in self.names}

    def at(self, number: int, corner: Corner) -> Corner:
        """`corner` as it is in sample `number`."""
        seed = self._word(number, "seed") % (2**31 - 1) + 1
        sample = Sample(number, corner.name, self.deviations(number), seed)
        return replace(corner, name=sample_name(corner.name, number), sample=sample)

    def name(self, number: int, corner: Corner) -> str:
        """What sample `number` is called at `corner`."""
        return sample_name(corner.name, number)

    def _rows(self, attempt: int) -> FloatArray:
        """Samples `attempt` * `count` + 1 and on, shape (count, names)."""
        if attempt not in self._spread:
            seed = self._word(attempt, "spread") % 2**31
            self._spread[attempt] = _spread(len(self.names), seed, self.count, self._sampling)
        return self._spread[attempt]

    def _normal(self, number: int, name: str) -> float:
        return _NORMAL.inv_cdf((self._word(number, name) + 0.5) / _WORD)

    def _word(self, number: int, name: str) -> int:
        text = f"{self._seed}/{number}/{name}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 11 << 11


def samples_of(design: Design, names: Sequence[str]) -> Samples:
    """The samples of `names` that the design's `variation` draws."""
    of = design.variation or Variation()
    return Samples(names, of.seed, of.samples, of.sampling)


def sample_name(corner: str, number: int) -> str:
    """What sample `number` is called at `corner`."""
    return f"{corner}#{number}"


def is_sample(name: str) -> bool:
    """True for the name of a sample, False for that of a corner."""
    return bool(_NAME.search(name))


def sample_number(name: str) -> int:
    """The number of the sample of that name. Raises ValueError."""
    return int(name.rpartition("#")[2])


def _spread(width: int, seed: int, count: int, sampling: Sampling) -> FloatArray:
    from scipy.special import ndtri
    from scipy.stats import qmc

    if sampling == "sobol":
        points = qmc.Sobol(width, seed=seed).random(1 << (count - 1).bit_length())[:count]
    else:
        points = qmc.LatinHypercube(width, seed=seed).random(count)
    found: FloatArray = ndtri(np.clip(points, 1e-12, 1.0 - 1e-12))
    return found
