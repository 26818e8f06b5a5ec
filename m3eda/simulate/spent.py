"""Where the time of a run goes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from m3eda.simulate.executor import Outcome

COUNTED = ("simulator", "analysis", "measuring", "rendering", "storing", "agent", "waiting")


@dataclass
class Spent:
    """Seconds by what they went to.

    `simulator`, `analysis` and `measuring` are summed over workers that run side by side;
    `rendering`, `storing`, `agent` and `waiting` are this process's own, one after the other.
    """

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0.0))
    simulations: int = 0
    """Simulations that were run, retries apart."""
    running: set[str] = field(default_factory=set)

    def add(self, what: str, seconds: float) -> None:
        self.seconds[what] += seconds

    def simulated(self, outcome: Outcome) -> None:
        """Count what a simulation's worker says it took."""
        self.simulations += 1
        for what, seconds in outcome.spent.items():
            self.seconds[what] += seconds

    def time(self, what: str) -> _Timer:
        """Counts the time within; of timers within each other, the outermost alone."""
        return _Timer(self, what)


class _Timer:
    """A context manager by hand: one made by `contextlib` takes longer than what is timed."""

    __slots__ = ("_outer", "_spent", "_start", "_what")

    def __init__(self, spent: Spent, what: str) -> None:
        self._spent = spent
        self._what = what

    def __enter__(self) -> None:
        self._outer = self._what not in self._spent.running
        self._spent.running.add(self._what)
        self._start = time.perf_counter()

    def __exit__(self, *exception: object) -> None:
        if self._outer:
            self._spent.running.discard(self._what)
            self._spent.seconds[self._what] += time.perf_counter() - self._start
