"""A simulator that is a Python function, for tests of all that stands around a simulator."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from m3eda.design.types import Value
from m3eda.errors import SimulatorMissing
from m3eda.simulate.closed_form import ac, operating_point, transient
from m3eda.simulate.types import Deck, SimulationFailed, State, Waveforms

__all__ = ["Answer", "FakeSimulator", "Script", "ac", "operating_point", "transient"]

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
