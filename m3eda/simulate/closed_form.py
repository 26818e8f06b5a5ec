"""A simulator that is a function of a deck, and what such functions build their results with.

def filter(values):
    f = np.logspace(1, 7, 121)
    return Waveforms((ac(f, {"v(out)": 1 / (1 + 2j * np.pi * f * values["r"] * values["c"])}),))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from m3eda.simulate.types import Analysis, Deck, SimulationFailed, State, Waveforms

_UNITS = {"v": "V", "i": "A", "f": "Hz", "t": "s"}


class ClosedForm:
    """A simulator that gives what `solve(deck)` does, of which the vectors that were asked for.

    It starts no program and writes no file. `solve` is called from several threads at once, and
    raises SimulationFailed where a sizing gives nothing.
    """

    reads_values = True
    """Results go by `deck.values`, and not by the text alone."""
    needs_rundir = False
    """No directory is made for a run."""
    takes_options = False
    """No `.option` line changes what it gives."""

    def __init__(self, name: str, solve: Callable[[Deck], Waveforms], version: str = "1") -> None:
        self.name = name
        self._solve = solve
        self._version = version

    def available(self) -> str:
        return f"{self.name}-{self._version}"

    def run(self, deck: Deck, rundir: Path, timeout: float) -> Waveforms:
        """What the deck's values give; `rundir` and `timeout` are not used."""
        start = time.perf_counter()
        waveforms = chosen(self._solve(deck), deck)
        seconds = time.perf_counter() - start
        return replace(waveforms, seconds=seconds, cpu_seconds=seconds)


def chosen(waveforms: Waveforms, deck: Deck) -> Waveforms:
    """The vectors that `deck` asks for; all where it asks for none.

    Raises SimulationFailed where one is nowhere, with the nearest names.
    """
    if not deck.vectors:
        return waveforms
    wanted = (*deck.vectors, *deck.device_values)
    there = {name for analysis in waveforms.analyses for name in analysis.vectors}
    if lost := [name for name in wanted if name not in there]:
        near = get_close_matches(lost[0], sorted(there), 3, 0.4)
        hint = f" (nearest: {', '.join(near)})" if near else ""
        raise SimulationFailed(State.VECTOR_MISSING, f"there is no {', '.join(lost)}{hint}")
    kept = tuple(
        replace(analysis, vectors={name: analysis.vectors[name]
                                   for name in dict.fromkeys((analysis.scale, *wanted))
                                   if name in analysis.vectors})
        for analysis in waveforms.analyses
    )  # fmt: skip
    return replace(waveforms, analyses=tuple(each for each in kept if each.vectors))


def operating_point(vectors: Mapping[str, float]) -> Analysis:
    """An operating point, such as `{"v(out)": 0.6, "@m1[gm]": 1e-3}`, in SI units."""
    arrays = {name: np.array([value]) for name, value in vectors.items()}
    return Analysis("op", arrays, units=_units(arrays))


def ac(frequency: ArrayLike, vectors: Mapping[str, ArrayLike]) -> Analysis:
    """An AC analysis: `frequency` in Hz, shape (n,), and complex vectors of the same shape."""
    arrays: dict[str, Any] = {k: np.asarray(v, dtype=complex) for k, v in vectors.items()}
    arrays = {"frequency": np.asarray(frequency, dtype=float), **arrays}
    return Analysis("ac", arrays, "frequency", _units(arrays))


def noise(frequency: ArrayLike, vectors: Mapping[str, ArrayLike]) -> Analysis:
    """A noise analysis: `onoise_spectrum` and `inoise_spectrum` in V/sqrt(Hz), shape (n,)."""
    arrays: dict[str, Any] = {k: np.asarray(v, dtype=float) for k, v in vectors.items()}
    units = {"frequency": "Hz", **dict.fromkeys(arrays, "V/sqrt(Hz)")}
    scale = np.asarray(frequency, dtype=float)
    return Analysis("noise", {"frequency": scale, **arrays}, "frequency", units)


def transient(seconds: ArrayLike, vectors: Mapping[str, ArrayLike]) -> Analysis:
    """A transient analysis: time in s, shape (n,), and vectors of the same shape."""
    arrays: dict[str, Any] = {k: np.asarray(v, dtype=float) for k, v in vectors.items()}
    arrays = {"time": np.asarray(seconds, dtype=float), **arrays}
    return Analysis("tran", arrays, "time", _units(arrays))


def _units(names: Mapping[str, Any]) -> dict[str, str]:
    scales = ("frequency", "time")
    return {name: _UNITS[name[0]] for name in names if name[:2] in ("v(", "i(") or name in scales}
