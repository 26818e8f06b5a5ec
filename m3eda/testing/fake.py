"""A simulator that is a Python function, for tests of all that stands around a simulator."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from m3eda.design.types import Value
from m3eda.errors import SimulatorMissing
from m3eda.simulate.types import Analysis, Deck, SimulationFailed, State, Waveforms

Answer = Waveforms | SimulationFailed
Script = Callable[[Mapping[str, Value]], Answer]


class FakeSimulator:
    """Answers each deck with `script(deck.values)`: waveforms, or a failure returned or raised.

    `decks` keeps what was run, in order of starting. `delay` seconds pass in each run; where it
    exceeds the timeout, the run fails as one that never ends. `missing` plays a program that is
    not installed.
    """

    name = "fake"

    def __init__(self, script: Script, *, delay: float = 0.0, missing: bool = False) -> None:
        self._script = script
        self._delay = delay
        self._missing = missing
        self._lock = threading.Lock()
        self.decks: list[Deck] = []

    def available(self) -> str:
        if self._missing:
            raise SimulatorMissing("there is no program 'fake'")
        return "fake-1.0"

    def run(self, deck: Deck, rundir: Path, timeout: float) -> Waveforms:
        self.available()
        with self._lock:
            self.decks.append(deck)
        (rundir / "deck.cir").write_text(deck.text, encoding="utf-8")
        time.sleep(min(self._delay, timeout))
        if self._delay > timeout:
            raise SimulationFailed(State.TIMEOUT, f"no result within {timeout:g} s", "", rundir)
        answer = self._script(deck.values)
        if isinstance(answer, SimulationFailed):
            raise answer
        return answer


def operating_point(vectors: Mapping[str, float]) -> Analysis:
    """An operating point, such as `{"v(out)": 0.6, "@m1[gm]": 1e-3}`, in SI units."""
    return Analysis("op", {name: np.array([value]) for name, value in vectors.items()})


def ac(frequency: ArrayLike, vectors: Mapping[str, ArrayLike]) -> Analysis:
    """An AC analysis: `frequency` in Hz, shape (n,), and complex vectors of the same shape."""
    arrays: dict[str, Any] = {k: np.asarray(v, dtype=complex) for k, v in vectors.items()}
    scale = np.asarray(frequency, dtype=float)
    return Analysis("ac", {"frequency": scale, **arrays}, "frequency")


def transient(seconds: ArrayLike, vectors: Mapping[str, ArrayLike]) -> Analysis:
    """A transient analysis: time in s, shape (n,), and vectors of the same shape."""
    arrays: dict[str, Any] = {k: np.asarray(v, dtype=float) for k, v in vectors.items()}
    return Analysis("tran", {"time": np.asarray(seconds, dtype=float), **arrays}, "time")
