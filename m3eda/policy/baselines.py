"""PPO, A2C and TRPO of Stable-Baselines3 and sb3-contrib, behind the same switch as M3.

They learn on the library's gymnasium environments. Layers are those of section IV-B of the M3 paper
(arXiv 2411.16019); everything else is Stable-Baselines3's default: see docs/training.md.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile, ZipFile

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor

from m3eda.learning.environment import MultiCircuitEnv, SizingEnv
from m3eda.learning.episodes import World
from m3eda.policy.checkpoint import Checkpoint, write_checkpoint
from m3eda.policy.experience import Failures, Score, evaluate
from m3eda.policy.run import Run, make_worlds
from m3eda.policy.settings import TrainFile
from m3eda.policy.trainer import Clock, Step, TrainingDiverged, examinations
from m3eda.simulate.types import State

WIDTH = 512
"""Of both layers where `network.d_model` says nothing (section IV-B)."""


class Followed(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that can be brought back to where it stands, whose time is counted, and that
    is given up where every simulation of a circuit fails."""

    def __init__(self, env: gymnasium.Env[Any, Any], clock: Clock) -> None:
        super().__init__(env)
        self.task = 0
        self.actions: list[NDArray[np.float32]] = []
        """Since the episode began."""
        self._clock, self._failures = clock, Failures()

    def reset(self, **given: Any) -> tuple[Any, dict[str, Any]]:
        began = time.perf_counter()
        seen, info = super().reset(**given)
        self._clock.spent("simulator", began)
        self.task, self.actions = info["task"], []
        return seen, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        began = time.perf_counter()
        stepped = super().step(action)
        self._clock.spent("simulator", began)
        self.actions.append(action)
        info = stepped[-1]
        name = " in ".join(filter(None, (info["circuit"], info["technology"])))
        self._failures.note(name, State(info["state"]), info["reason"])
        return stepped


class BaselineTrainer:
    """A training by one algorithm of Stable-Baselines3; a checkpoint is taken between rollouts."""

    def __init__(
        self,
        settings: TrainFile,
        world: World,
        examined: World,
        device: str = "cpu",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """`examined` has the tasks of evaluations; `options` go before the algorithm's own."""
        self.settings, self.world, self.examined = settings, world, examined
        self.clock = Clock()
        self.scores: list[dict[str, Any]] = []
        self.step = -settings.agent.exploration
        """Environment steps so far; those that the paper counts off are below 0."""
        self.examinations = examinations(examined.tasks, settings.evaluation.episodes)
        several = len(world.tasks.circuits) > 1
        kind = MultiCircuitEnv if several else SizingEnv
        rules = asdict(world.rules)
        own = kind(tasks=world.tasks, simulations=world.simulations, **rules)
        self.env = Followed(own, self.clock)
        width = settings.network.d_model or WIDTH
        given: dict[str, Any] = {"policy_kwargs": {"net_arch": [width, width]}, "device": device}
        if "learning_rate" in settings.agent.model_fields_set:
            given["learning_rate"] = settings.agent.learning_rate
        policy = "MultiInputPolicy" if several else "MlpPolicy"
        given |= {"seed": settings.seed, **(options or {})}
        self.model = _silent(_algorithm(settings.method)(policy, self.env, **given))
        self._random: dict[str, Any] | None = None
        """Random states to go on with."""

    @property
    def updates(self) -> int:
        """As the algorithm counts them: epochs of PPO."""
        count: int = self.model._n_updates
        return count

    def train(self, heard: Callable[[Step], None], boundary: Callable[[], None]) -> None:
        """Tell `heard` of every step to the last, and `boundary` of each rollout's beginning.

        Raises TrainingDiverged, SimulatorBroken.
        """
        total = self.settings.steps + self.settings.agent.exploration
        if self.step >= self.settings.steps:
            return
        if self._random is not None:
            restore_random(self._random)
        try:
            self.model.learn(
                total - self.model.num_timesteps,
                _Listener(self, heard, boundary),
                reset_num_timesteps=False,
            )
        except ValueError as error:
            # a policy of no numbers is told by torch's distributions
            self.check_finite()
            raise error

    def check_finite(self) -> None:
        """Raises TrainingDiverged."""
        if not all(bool(each.isfinite().all()) for each in self.model.policy.parameters()):
            text = f"step {self.step}, update {self.updates}: the policy's weights are no numbers"
            raise TrainingDiverged(text)

    def act(
        self, circuits: NDArray[np.int64], observations: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The policy's mean, shape (B, N), of padded observations, shape (B, N + 2 K)."""
        several = len(self.world.tasks.circuits) > 1
        seen: Any = {"circuit": circuits, "numbers": observations} if several else observations
        actions: NDArray[np.float32] = self.model.predict(seen, deterministic=True)[0]
        return actions

    def evaluate(self) -> dict[str, Score]:
        """Deterministic episodes of every circuit."""
        return evaluate(self.examined, self.act, self.examinations)

    def checkpoint(self) -> Checkpoint:
        """All that it goes on from, to the bit, where a rollout begins."""
        file = io.BytesIO()
        self.model.save(file)
        tensors = {
            "model": torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8),
            "generator": torch.get_rng_state(),
        }
        facts = {
            "settings": self.settings.model_dump(mode="json"),
            "step": self.step,
            "reached": self.step,
            "task": self.env.task,
            "actions": [np.asarray(each).tolist() for each in self.env.actions],
            "random": _numpy_state(),
            "scores": list(self.scores),
            "seconds": dict(self.clock.seconds),
        }
        return Checkpoint(tensors, facts)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where `checkpoint()` was taken. Raises ValueError where the model is damaged."""
        facts = checkpoint.facts
        file = io.BytesIO(checkpoint.tensors["model"].numpy().tobytes())
        env = self.model.get_env()
        assert env is not None, "it was made with one"
        if not _is_sound(file):
            raise ValueError("its model is damaged")
        load = type(self.model).load
        self.model = _silent(load(file, env=env, device=self.model.device, force_reset=False))
        # the environment has no state but its task and what was done in it
        (monitored,) = env.envs  # type: ignore[attr-defined]
        monitored.reset(options={"task": facts["task"]})
        for action in facts["actions"]:
            monitored.step(np.array(action, np.float32))
        self._random = {"numpy": facts["random"], "torch": checkpoint.tensors["generator"]}
        ended = facts["reached"] >= self.settings.steps
        self.step = facts["reached"] if ended else facts["step"]
        self.scores = [each for each in facts["scores"] if ended or each["step"] <= self.step]
        # in place, as the environment counts on it
        self.clock.seconds.update(facts["seconds"])


class _Listener(BaseCallback):
    """Between the algorithm and a training."""

    def __init__(
        self,
        trainer: BaselineTrainer,
        heard: Callable[[Step], None],
        boundary: Callable[[], None],
    ) -> None:
        super().__init__()
        self._trainer, self._heard, self._boundary = trainer, heard, boundary
        self._scored: tuple[int, dict[str, Score]] | None = None
        self._mark = time.perf_counter()
        self._simulated = trainer.clock.seconds["simulator"]

    def _on_rollout_start(self) -> None:
        self._trainer.check_finite()
        self._boundary()

    def _on_step(self) -> bool:
        trainer, settings = self._trainer, self._trainer.settings
        trainer.step = self.num_timesteps - settings.agent.exploration
        self._count()
        step = Step(trainer.step, float(self.locals["rewards"][0]))
        due = trainer.step % settings.evaluation.every == 0 or trainer.step == settings.steps
        if trainer.step > 0 and due:
            step = replace(step, scores=self._scores())
        self._heard(step)
        self._mark = time.perf_counter()
        return trainer.step < settings.steps

    def _scores(self) -> dict[str, Score]:
        """Evaluations of the policy; it changes between rollouts only."""
        trainer, began = self._trainer, time.perf_counter()
        if self._scored is None or self._scored[0] != trainer.updates:
            self._scored = trainer.updates, trainer.evaluate()
        scores = self._scored[1]
        told = {name: score.as_json() for name, score in scores.items()}
        trainer.scores.append({"step": trainer.step, "circuits": told})
        trainer.clock.spent("evaluation", began)
        return scores

    def _count(self) -> None:
        """What is not the simulator's time is the algorithm's."""
        seconds, now = self._trainer.clock.seconds, time.perf_counter()
        simulated = seconds["simulator"] - self._simulated
        seconds["networks"] += max(now - self._mark - simulated, 0.0)
        self._mark, self._simulated = now, seconds["simulator"]


class BaselineRun(Run):
    """Around a `BaselineTrainer`."""

    def __init__(self, trainer: BaselineTrainer, folder: Path, *, fresh: bool = False) -> None:
        """As `Run`."""
        self.trainer = trainer
        self._kept: Checkpoint | None = None
        super().__init__(trainer, folder, fresh=fresh)

    def _train(self, heard: Callable[[Step], None]) -> None:
        self.trainer.train(heard, self._keep)
        if self._kept is not None:
            # the last rollout may be cut off: a longer training begins it again
            ended = {"reached": self.trainer.step, "scores": self.trainer.scores,
                     "seconds": self.trainer.clock.seconds}  # fmt: skip
            kept = replace(self._kept, facts={**self._kept.facts, **ended})
            write_checkpoint(self.path, kept)

    def _keep(self) -> None:
        last = None if self._kept is None else self._kept.facts["step"]
        if last is None or self.trainer.step - last >= self.settings.checkpoint.every:
            self._kept = self.trainer.checkpoint()
            write_checkpoint(self.path, self._kept)

    def _weights(self) -> Mapping[str, Tensor]:
        weights: Mapping[str, Tensor] = self.trainer.model.policy.state_dict()
        return weights


def make_baseline(settings: TrainFile, jobs: int = 1, device: str = "cpu") -> BaselineTrainer:
    """A trainer on what the configuration names, `jobs` simulations at once. Raises DesignError."""
    return BaselineTrainer(settings, *make_worlds(settings, jobs), device)


def _algorithm(method: str) -> type[OnPolicyAlgorithm]:
    if method == "trpo":
        from sb3_contrib import TRPO

        return TRPO
    others: dict[str, type[OnPolicyAlgorithm]] = {"ppo": PPO, "a2c": A2C}
    return others[method]


def _silent(model: OnPolicyAlgorithm) -> OnPolicyAlgorithm:
    """Without the logger that would make a folder in the system's temporary one."""
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def _is_sound(file: IO[bytes]) -> bool:
    try:
        with ZipFile(file) as archive:
            return archive.testzip() is None
    except BadZipFile:
        return False
    finally:
        file.seek(0)


def _numpy_state() -> list[Any]:
    """Of NumPy's global generator, which the algorithms shuffle by, as JSON has it."""
    name, keys, *rest = np.random.get_state()
    return [name, np.asarray(keys).tolist(), *rest]


def restore_random(random: Mapping[str, Any]) -> None:
    """Set what `checkpoint()` has of the global generators."""
    name, keys, *rest = random["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), *rest))
    torch.set_rng_state(random["torch"])
