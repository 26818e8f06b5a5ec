"""Where simulations run: the protocol of an executor, its tasks and their outcomes.

An executor runs tasks, `width` at once, wherever it likes, and gives their outcomes as they come.
The evaluator alone talks to it, from one thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from m3eda.simulate.trial import CornerResult
from m3eda.simulate.types import Deck


@dataclass(frozen=True)
class Task:
    """One deck to simulate and measure."""

    number: int
    """Its own, for as long as the executor lives."""
    deck: Deck
    circuit: str
    """Testbench and corner: a worker that has run this circuit before has it loaded."""


@dataclass(frozen=True)
class Outcome:
    """What became of a task."""

    result: CornerResult
    spent: Mapping[str, float] = field(default_factory=dict)
    """Seconds by what they went to: `simulator` (wall), `analysis` (its processor time),
    `measuring`."""


class Executor(Protocol):
    """Runs tasks. Its methods are called from one thread."""

    @property
    def width(self) -> int:
        """Tasks it runs at once; it may change from one look to the next."""
        ...

    @property
    def depth(self) -> int:
        """Tasks worth submitting for each that runs at once: 1 where nothing waits in a queue."""
        ...

    def submit(self, task: Task) -> None:
        """Take a task in; it runs as soon as there is room. Raises as `completed` does."""
        ...

    def completed(self) -> list[tuple[int, Outcome]]:
        """Outcomes by number of task, at least one: waits where none is there yet.

        A task is never lost: where its worker is, it runs on another. Raises what ends a run:
        StorageError, SimulatorMissing, PluginError.
        """
        ...

    def cancel(self) -> None:
        """Forget every task, and kill what runs; the executor goes on with new ones."""
        ...

    def close(self) -> None:
        """End every worker. Nothing runs afterwards."""
        ...
