"""The real environment of a training, one step at a time; and evaluations on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3eda.errors import SimulatorBroken
from m3eda.learning.episodes import Episode, World
from m3eda.learning.layouts import Layout, layouts_of, padded, widest
from m3eda.simulate.types import State

FAILURES = 100
"""Failed simulations of a circuit from the first on after which a training gives up."""

Policy = Callable[[NDArray[np.int64], NDArray[np.float32]], NDArray[np.float32]]
"""Actions, shape (B, N), of circuits, shape (B,), and padded observations, shape (B, N + 2 K)."""


@dataclass(frozen=True)
class Transition:
    """One step: numbers padded, as `Batch` has them."""

    circuit: int
    observation: NDArray[np.float32]
    action: NDArray[np.float32]
    reward: float
    next: NDArray[np.float32]
    terminal: bool


class Failures:
    """Finds out where every simulation of a circuit fails."""

    def __init__(self) -> None:
        self.failed: Counter[str] = Counter()
        """Circuit -> failures in a row from the first on."""
        self.worked: set[str] = set()

    def note(self, name: str, state: State, reason: str) -> None:
        """A simulation of `name` ended so. Raises SimulatorBroken after too many failures."""
        if name in self.worked or state is State.COMPLETE:
            self.worked.add(name)
            return
        self.failed[name] += 1
        if self.failed[name] >= FAILURES:
            text = f"{name}: the first {FAILURES} simulations all failed; the last: {reason}"
            raise SimulatorBroken(text)


class Experience:
    """Steps through the tasks of `world`, each reset to the next."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.layouts: tuple[Layout, ...] = layouts_of(world.tasks)
        self._widest = widest(self.layouts)
        self._number = 0
        """The next task."""
        self._episode: Episode | None = None
        self._seen = np.zeros(0, np.float32)
        self._failures = Failures()

    def observe(self) -> tuple[int, NDArray[np.float32]]:
        """The circuit's index and the padded observation of now."""
        if self._episode is None:
            (self._episode,) = self.world.begin([self._number])
            self._number += 1
            self._seen = self._padded(self._episode)
        return self._index(self._episode), self._seen

    def step(self, action: NDArray[np.float32]) -> Transition:
        """Move by `action`, shape (N,), simulate, and begin the next episode where one ended.

        Raises SimulatorBroken where the simulations of a circuit failed from the first on.
        """
        circuit, before = self.observe()
        episode = self._episode
        assert episode is not None, "observe() has begun one"
        self.world.step([episode], action[None])
        assert episode.trial is not None, "a step simulates"
        result = episode.trial.nominal
        self._failures.note(episode.task.setting.name, result.state, result.reason)
        self._seen = after = self._padded(episode)
        if episode.success or episode.truncated:
            self._episode = None
        return Transition(circuit, before, action, episode.reward, after, episode.success)

    def state(self) -> dict[str, Any]:
        """Where it stands, for a checkpoint: JSON's own types."""
        episode = self._episode
        return {
            "number": self._number,
            "task": None if episode is None else episode.task.number,
            "x": None if episode is None else episode.x.tolist(),
            "steps": 0 if episode is None else episode.steps,
            "seen": self._seen.tolist(),
            "worked": sorted(self._failures.worked),
            "failed": dict(self._failures.failed),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state()` was told; nothing is simulated anew."""
        self._number, self._episode = state["number"], None
        self._seen = np.array(state["seen"], np.float32)
        self._failures.worked = set(state["worked"])
        self._failures.failed = Counter(state["failed"])
        if state["task"] is not None:
            task = self.world.tasks.task(state["task"])
            x = np.array(state["x"], dtype=float)
            self._episode = Episode(task, self.world.rules, x, state["steps"])

    def _index(self, episode: Episode) -> int:
        return self.world.tasks.circuits.index(episode.task.circuit)

    def _padded(self, episode: Episode) -> NDArray[np.float32]:
        return padded(episode.observation(), self.layouts[self._index(episode)], *self._widest)


@dataclass(frozen=True)
class Score:
    """Deterministic episodes on one circuit."""

    episodes: int
    mean_return: float
    """Undiscounted, a success counting its bonus."""
    mean_length: float
    success: float
    """Share of episodes that ended in success."""
    strict: float
    """Share in which every spec was met at the end."""

    def as_json(self) -> dict[str, float]:
        return asdict(self)


def evaluate(world: World, policy: Policy, numbers: Mapping[str, list[int]]) -> dict[str, Score]:
    """Episodes of the tasks `numbers`, by circuit, all stepped together."""
    layouts = layouts_of(world.tasks)
    wide = widest(layouts)
    order = [number for own in numbers.values() for number in own]
    episodes = world.begin(order)
    returns = np.zeros(len(episodes))
    running = list(range(len(episodes)))
    while running:
        some = [episodes[n] for n in running]
        circuits = np.array([world.tasks.circuits.index(each.task.circuit) for each in some])
        seen = np.stack([padded(each.observation(), layouts[circuit], *wide)
                         for each, circuit in zip(some, circuits, strict=True)])  # fmt: skip
        world.step(some, policy(circuits, seen))
        returns[running] += [each.reward for each in some]
        running = [n for n in running if not (episodes[n].success or episodes[n].truncated)]
    found, begun = {}, 0
    for circuit, own in numbers.items():
        rows = slice(begun, begun + len(own))
        begun += len(own)
        found[circuit] = _score(episodes[rows], returns[rows])
    return found


def _score(episodes: list[Episode], returns: NDArray[np.float64]) -> Score:
    return Score(
        len(episodes),
        float(returns.mean()),
        float(np.mean([each.steps for each in episodes])),
        float(np.mean([each.success for each in episodes])),
        float(np.mean([each.trial is not None and each.trial.met for each in episodes])),
    )
