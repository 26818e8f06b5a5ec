"""The Markov decision process of the M3 paper (arXiv 2411.16019, section III-A), in NumPy.

An episode sizes one task. Its point lives in the unit cube and is simulated on the grids of the
parameters: moves smaller than a grid's step add up. Observation: the unit coordinates, then for
each spec d(m, g) and d(n, g) of measured m, target n and normaliser g. Reward: the FOM where it is
below -0.02, else 10.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from m3eda.design.scoring import relative_difference
from m3eda.design.space import FloatArray
from m3eda.errors import DesignError, Mistake
from m3eda.learning.layouts import Observation
from m3eda.learning.settings import upper, wanted
from m3eda.learning.simulations import Request, Simulations
from m3eda.learning.tasks import Task, TaskGenerator
from m3eda.simulate.trial import CornerResult, Trial, score


@dataclass(frozen=True)
class Rules:
    """What the paper fixes of an episode, and what it leaves open."""

    length: int = 30
    """T_ep: steps after which an episode is cut off."""
    move: float = 0.1
    """Share of a parameter's range that an action of 1 moves it by; an episode of full moves must
    be able to cross the range."""
    tolerance: float = 0.02
    """A FOM that is not below minus this ends the episode as a success; 0 for strict success."""
    bonus: float = 10.0
    """The reward of success."""
    start: Literal["nominal", "random"] = "nominal"
    """Where episodes begin: at the designer's start (else the centre of every range), or
    anywhere."""

    def __post_init__(self) -> None:
        if self.length < 1 or not self.move * self.length >= 1.0:
            text = f"{self.length} moves of {self.move:g} cannot cross a range"
            raise DesignError([Mistake(text, hint=f"move at least {1 / max(self.length, 1):.3g}")])
        if self.start not in ("nominal", "random"):
            raise DesignError([Mistake(f"start is '{self.start}'", hint="nominal or random")])


@dataclass
class Episode:
    """One task on its way."""

    task: Task
    rules: Rules
    x: FloatArray
    """Unit coordinates, shape (N,)."""
    steps: int = 0
    trial: Trial | None = None
    """The latest simulation, scored."""

    def request(self) -> Request:
        """The simulation of where it stands."""
        sizing = self.task.setting.space.sizing(self.x)
        return Request(self.task.setting, self.task.corner, sizing)

    def move(self, action: ArrayLike) -> None:
        """Change every parameter by `action`, shape (N or more,), in [-1, 1]."""
        change = np.clip(np.asarray(action, dtype=float)[: len(self.x)], -1.0, 1.0)
        self.x = np.clip(self.x + self.rules.move * np.nan_to_num(change), 0.0, 1.0)
        self.steps += 1

    def hear(self, request: Request, result: CornerResult) -> None:
        """Take what the simulation gave."""
        whole = {self.task.corner.name: _finite(result)}
        self.trial = score(self.steps, request.sizing, whole, self.task.specs)

    @property
    def fom(self) -> float:
        """Equation (2): 0 where every spec is met, -1 for each that has no value."""
        assert self.trial is not None, "a result is heard first"
        worst = -sum(spec.weight for spec in self.task.specs.values())
        return self.trial.reward if math.isfinite(self.trial.reward) else worst

    @property
    def success(self) -> bool:
        return self.fom >= -self.rules.tolerance

    @property
    def reward(self) -> float:
        """Equation (1)."""
        return self.rules.bonus if self.success else self.fom

    @property
    def truncated(self) -> bool:
        return not self.success and self.steps >= self.rules.length

    def observation(self) -> Observation:
        """Shape (N + 2 K,), each in [-1, 1]. A measure that does not exist is as far on the wrong
        side as d goes: -1 below a lower limit, 1 above an upper one."""
        assert self.trial is not None, "a result is heard first"
        numbers = self.x.tolist()
        normalisers = self.task.setting.normalisers
        for name, spec in self.task.specs.items():
            limits, g = spec.at(self.task.corner.name), normalisers[name]
            value = self.trial.worst.get(name, math.nan)
            missing = 1.0 if upper(limits) else -1.0
            numbers.append(relative_difference(value, g) if math.isfinite(value) else missing)
            numbers.append(relative_difference(wanted(limits), g))
        return np.array(numbers, dtype=np.float32)

    def info(self) -> dict[str, Any]:
        """What is going on, for people and for evaluations."""
        assert self.trial is not None, "a result is heard first"
        result = self.trial.nominal
        return {
            "task": self.task.number,
            "circuit": self.task.circuit,
            "technology": self.task.technology,
            "corner": self.task.corner.name,
            "target": self.task.target,
            "fom": self.fom,
            "met": self.trial.met,
            "state": result.state.value,
            "reason": result.reason,
            "measures": dict(result.measures),
            "sizing": dict(self.trial.sizing),
        }


class World:
    """Draws tasks and begins episodes of them; environments step through it."""

    def __init__(self, tasks: TaskGenerator, simulations: Simulations, rules: Rules) -> None:
        self.tasks, self.simulations, self.rules = tasks, simulations, rules
        self._starts: dict[tuple[int, str], CornerResult] = {}

    def reseed(self, seed: int) -> None:
        """Draw other tasks from now on."""
        settings, corners = self.tasks.settings, self.tasks.corners
        self.tasks = TaskGenerator(seed=seed, settings=settings, corners=corners)

    def begin(self, numbers: list[int]) -> list[Episode]:
        """An episode of each task, simulated where it begins."""
        episodes = [self._placed(self.tasks.task(number)) for number in numbers]
        self._hear_starts(episodes)
        return episodes

    def step(self, episodes: list[Episode], actions: ArrayLike) -> None:
        """Move each episode by its action, shape (n, N or more), and simulate where it comes to."""
        for episode, action in zip(episodes, np.asarray(actions, dtype=float), strict=True):
            episode.move(action)
        requests = [episode.request() for episode in episodes]
        results = self.simulations.run(requests)
        for episode, request, result in zip(episodes, requests, results, strict=True):
            episode.hear(request, result)

    def _placed(self, task: Task) -> Episode:
        space = task.setting.space
        x = space.centre()
        if self.rules.start == "random":
            x = np.random.default_rng([self.tasks.seed, task.number, 1]).random(space.dimension)
        return Episode(task, self.rules, x)

    def _hear_starts(self, episodes: list[Episode]) -> None:
        """A task's nominal start is that of every other of its circuit: simulated once."""
        again = self.rules.start == "nominal"
        keys = [(id(each.task.setting), each.task.corner.name) for each in episodes]
        known = self._starts if again else {}
        todo = {
            key if again else number: episode.request()
            for number, (key, episode) in enumerate(zip(keys, episodes, strict=True))
            if key not in known
        }
        results = dict(zip(todo, self.simulations.run(list(todo.values())), strict=True))
        if again:
            self._starts.update({k: v for k, v in results.items() if isinstance(k, tuple)})
        for number, (key, episode) in enumerate(zip(keys, episodes, strict=True)):
            episode.hear(episode.request(), self._starts[key] if again else results[number])


def _finite(result: CornerResult) -> CornerResult:
    """An infinite measure is one that does not exist: nothing can be learnt from it."""
    if all(not math.isinf(value) for value in result.measures.values()):
        return result
    measures: Mapping[str, float] = {
        name: math.nan if math.isinf(value) else value for name, value in result.measures.items()
    }
    return replace(result, measures=measures)
