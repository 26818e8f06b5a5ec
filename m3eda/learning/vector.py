"""Many environments in step: one batch of simulations a step, on all the engine's workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3eda.learning.environment import (
    Action,
    actions,
    flat_observations,
    padded_observations,
)
from m3eda.learning.episodes import Episode, Rules, World
from m3eda.learning.layouts import layouts_of, padded, widest
from m3eda.learning.settings import Part
from m3eda.learning.simulations import Simulations
from m3eda.learning.tasks import TaskGenerator

try:
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
except ImportError as error:
    text = "gymnasium 1.1 or later is not installed: pip install 'm3eda[gym]'"
    raise ImportError(text) from error

_TOLD = ("task", "circuit", "technology", "corner", "target", "fom", "met", "state")
"""Entries of an episode's info that a batch of them tells."""


class SizingVectorEnv(VectorEnv[Any, Action, NDArray[Any]]):
    """`num_envs` episodes of the tasks of `tasks`, stepped together.

    Environment i works on the tasks i, i + num_envs, ...: the same whatever the others do. Spaces
    are batches of those of `SizingEnv` where there is one circuit, else of `MultiCircuitEnv`. An
    episode that ends is followed by the next within the same step: `infos["final_obs"]` has its
    last observation, and `infos["final_info"]` what there is to know of it, both arrays of objects
    with None where no episode ended. Other arguments as for `MultiCircuitEnv`. Raises DesignError.
    """

    def __init__(
        self,
        num_envs: int,
        tasks: TaskGenerator | None = None,
        *,
        circuits: Sequence[str] | str | None = None,
        technologies: Sequence[str] | str | None = None,
        split: str = "train",
        targets: Part = "all",
        corners: bool = False,
        seed: int = 1,
        jobs: int = 1,
        simulations: Simulations | None = None,
        **rules: Any,
    ) -> None:
        self.num_envs = num_envs
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}
        chosen = tasks or TaskGenerator(
            split, seed, circuits=circuits, technologies=technologies, targets=targets,
            corners=corners,
        )  # fmt: skip
        self.layouts = layouts_of(chosen)
        """By the circuit's index."""
        self._widest = widest(self.layouts)
        one = len(self.layouts) == 1
        self.single_observation_space = (
            flat_observations(self.layouts[0]) if one else padded_observations(self.layouts)
        )
        self.single_action_space = actions(self._widest[0])
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.world = World(chosen, simulations or Simulations(jobs), Rules(**rules))
        self._numbers = list(range(num_envs))
        """The next task of each environment."""
        self._episodes: list[Episode] = []

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in every environment; with `seed` those of that seed's tasks."""
        if isinstance(seed, list):
            raise ValueError("one seed serves all environments: the tasks of each are its own")
        super().reset(seed=seed)
        if seed is not None:
            self.world.reseed(seed)
            self._numbers = list(range(self.num_envs))
        self._episodes = self.world.begin(self._take(range(self.num_envs)))
        return self._shown(self._episodes), self._infos()

    def step(
        self, actions: Action
    ) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """One batch of simulations; `actions` has the shape (num_envs, N)."""
        self.world.step(self._episodes, actions)
        rewards = np.array([each.reward for each in self._episodes])
        terminated = np.array([each.success for each in self._episodes])
        truncated = np.array([each.truncated for each in self._episodes])
        ended = np.flatnonzero(terminated | truncated)
        infos = self._infos()
        if ended.size:
            infos |= self._ended(ended)
            fresh = self.world.begin(self._take(ended))
            for index, episode in zip(ended, fresh, strict=True):
                self._episodes[index] = episode
        return self._shown(self._episodes), rewards, terminated, truncated, infos

    def close_extras(self, **kwargs: Any) -> None:
        """End the simulators."""
        self.world.simulations.close()

    def _take(self, indices: Any) -> list[int]:
        """The next task of each environment of `indices`."""
        taken = [self._numbers[index] for index in indices]
        for index in indices:
            self._numbers[index] += self.num_envs
        return taken

    def _ended(self, indices: NDArray[np.intp]) -> dict[str, Any]:
        finals = np.full(self.num_envs, None, dtype=object)
        infos = finals.copy()
        mask = np.zeros(self.num_envs, dtype=bool)
        mask[indices] = True
        for index in indices:
            finals[index] = self._one(self._episodes[index])
            infos[index] = self._episodes[index].info()
        return {"final_obs": finals, "_final_obs": mask, "final_info": infos, "_final_info": mask}

    def _infos(self) -> dict[str, Any]:
        told = [episode.info() for episode in self._episodes]
        return {name: np.array([each[name] for each in told]) for name in _TOLD}

    def _one(self, episode: Episode) -> Any:
        if len(self.layouts) == 1:
            return episode.observation()
        index = self.world.tasks.circuits.index(episode.task.circuit)
        values = padded(episode.observation(), self.layouts[index], *self._widest)
        return {"circuit": np.int64(index), "numbers": values}

    def _shown(self, episodes: list[Episode]) -> Any:
        every = [self._one(episode) for episode in episodes]
        if len(self.layouts) == 1:
            return np.stack(every)
        return {name: np.stack([each[name] for each in every]) for name in ("circuit", "numbers")}


def one_circuit(
    num_envs: int, circuit: str = "five_transistor_ota", **settings: Any
) -> SizingVectorEnv:
    """The environments of `m3eda/Sizing-v0` in step, for `gymnasium.make_vec`."""
    return SizingVectorEnv(num_envs, circuits=[circuit], **settings)
