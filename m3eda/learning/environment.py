"""gymnasium environments: size a circuit of the library, step by step.

`SizingEnv` is one circuit, in one technology or several: a flat observation and action of its own
size. `MultiCircuitEnv` is several circuits: observations and actions are padded with zeros to the
widest, and the circuit's index stands beside them. See docs/learning.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3eda.design.types import Design
from m3eda.errors import DesignError, Mistake
from m3eda.flow import Project
from m3eda.learning.episodes import Episode, Rules, World
from m3eda.learning.layouts import Layout, Observation, layouts_of, padded, widest
from m3eda.learning.settings import Part, Setting
from m3eda.learning.simulations import Simulations
from m3eda.learning.tasks import TaskGenerator

try:
    import gymnasium
    from gymnasium import spaces
except ImportError as error:
    text = "gymnasium is not installed: pip install 'm3eda[gym]'"
    raise ImportError(text) from error

from m3eda.learning import registration as registration

Action = NDArray[np.float32]
Padded = dict[str, Any]
"""`circuit`: its index; `numbers`: the padded numbers."""


def flat_observations(layout: Layout) -> spaces.Box:
    """Unit coordinates in [0, 1], then d(m, g) and d(n, g) of each spec in [-1, 1]."""
    low = np.full(layout.size, -1.0, dtype=np.float32)
    low[: len(layout.parameters)] = 0.0
    return spaces.Box(low, np.ones(layout.size, dtype=np.float32), dtype=np.float32)


def padded_observations(layouts: Sequence[Layout]) -> spaces.Dict:
    """The circuit's index, and its numbers padded: see `padded`."""
    parameters, specs = widest(layouts)
    wide = flat_observations(Layout(("",) * parameters, ("",) * specs))
    return spaces.Dict({"circuit": spaces.Discrete(len(layouts)), "numbers": wide})


def actions(parameters: int) -> spaces.Box:
    """A change of every parameter."""
    return spaces.Box(-1.0, 1.0, (parameters,), np.float32)


class _Sizing(gymnasium.Env[Any, Any]):
    """What both environments do alike; `_shown` says how an episode is observed."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  gymnasium's own form

    def __init__(self, tasks: TaskGenerator, rules: Rules, simulations: Simulations) -> None:
        self.layouts = layouts_of(tasks)
        """By the circuit's index."""
        self.world = World(tasks, simulations, rules)
        self._number = 0
        self._episode: Episode | None = None

    def _shown(self, episode: Episode) -> Any:
        raise NotImplementedError

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin the next task: circuit, technology, corner and target are drawn anew.

        With `seed` the tasks are those of that seed, from the first on; the option `task` asks for
        the task of a number.
        """
        super().reset(seed=seed)
        if seed is not None:
            self.world.reseed(seed)
            self._number = 0
        number = int((options or {}).get("task", self._number))
        self._number = number + 1
        (self._episode,) = self.world.begin([number])
        return self._shown(self._episode), self._episode.info()

    def step(self, action: Action) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Change every parameter, and simulate."""
        episode = self._episode
        if episode is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        self.world.step([episode], np.asarray(action)[None])
        shown = self._shown(episode), episode.reward, episode.success, episode.truncated
        return *shown, episode.info()

    def close(self) -> None:
        """End the simulators."""
        self.world.simulations.close()


class SizingEnv(_Sizing):
    """One circuit: by name, or a loaded design whose own specs are the target.

    `technologies`, `targets`, `split` and `corners` are those of `TaskGenerator`, which `tasks`
    takes the place of; a named circuit is taken whatever its own split. `jobs` simulations run at
    once, `rules` are the fields of `Rules`. Raises DesignError.
    """

    def __init__(
        self,
        circuit: str | Design = "five_transistor_ota",
        *,
        technologies: Sequence[str] | str | None = None,
        split: str = "train",
        targets: Part = "all",
        corners: bool = False,
        seed: int = 1,
        tasks: TaskGenerator | None = None,
        jobs: int = 1,
        simulations: Simulations | None = None,
        **rules: Any,
    ) -> None:
        if tasks is None and isinstance(circuit, Design):
            own = [Setting.of(Project.of(circuit))]
            tasks = TaskGenerator(seed=seed, settings=own, corners=corners)
        elif tasks is None:
            tasks = TaskGenerator(split, seed, circuits=[str(circuit)], technologies=technologies,
                                  targets=targets, corners=corners)  # fmt: skip
        super().__init__(tasks, Rules(**rules), simulations or Simulations(jobs))
        if len(self.layouts) > 1:
            text = f"the tasks are of {len(self.layouts)} circuits"
            raise DesignError([Mistake(text, hint="take MultiCircuitEnv")])
        self.observation_space = flat_observations(self.layouts[0])
        self.action_space = actions(len(self.layouts[0].parameters))

    def _shown(self, episode: Episode) -> Observation:
        return episode.observation()


class MultiCircuitEnv(_Sizing):
    """Several circuits: those of a split, or of `tasks`.

    An observation is `{"circuit": index, "numbers": array}`: the parameters padded with zeros to
    the largest number of them, then the pairs of the specs padded likewise. Actions beyond the
    circuit's parameters do nothing. `layouts[index]` says what a circuit's numbers are. Arguments
    as for `SizingEnv`; `circuits` are names, or a split. Raises DesignError.
    """

    def __init__(
        self,
        circuits: Sequence[str] | str | None = None,
        *,
        technologies: Sequence[str] | str | None = None,
        split: str = "train",
        targets: Part = "all",
        corners: bool = False,
        seed: int = 1,
        tasks: TaskGenerator | None = None,
        jobs: int = 1,
        simulations: Simulations | None = None,
        **rules: Any,
    ) -> None:
        chosen = tasks or TaskGenerator(
            split, seed, circuits=circuits, technologies=technologies, targets=targets,
            corners=corners,
        )  # fmt: skip
        super().__init__(chosen, Rules(**rules), simulations or Simulations(jobs))
        self._widest = widest(self.layouts)
        self.observation_space = padded_observations(self.layouts)
        self.action_space = actions(self._widest[0])

    def _shown(self, episode: Episode) -> Padded:
        index = self.world.tasks.circuits.index(episode.task.circuit)
        values = padded(episode.observation(), self.layouts[index], *self._widest)
        return {"circuit": np.int64(index), "numbers": values}
