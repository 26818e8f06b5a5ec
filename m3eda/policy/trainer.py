"""Algorithm 1 of the M3 paper (arXiv 2411.16019): training by real and synthetic experience.

Without environment models (`method: sac`) it is soft actor-critic alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from m3eda.errors import M3edaError
from m3eda.learning.episodes import Rules, World
from m3eda.learning.layouts import layouts_of
from m3eda.learning.simulations import Simulations
from m3eda.learning.tasks import TaskGenerator
from m3eda.policy.checkpoint import Checkpoint, optimizer_state, prefixed, restore_optimizer
from m3eda.policy.ensemble import EnvironmentEnsemble, Fit, rollouts
from m3eda.policy.experience import Experience, Score, Transition, evaluate
from m3eda.policy.replay import Batch, ReplayBuffer
from m3eda.policy.sac import Losses, SoftActorCritic
from m3eda.policy.schedule import Schedule
from m3eda.policy.settings import TrainFile
from m3eda.policy.tokens import Packing


class TrainingDiverged(M3edaError):
    """A loss is no finite number any more: learning on would be of no use."""


@dataclass(frozen=True)
class Step:
    """What one environment step brought, for whoever watches."""

    step: int
    """From 1; up to 0 while exploring at random."""
    reward: float
    losses: Losses | None = None
    """Mean over the updates of the step."""
    fit: Fit | None = None
    """Where the environment models were trained."""
    scores: Mapping[str, Score] | None = None
    """Circuit -> evaluation, where one was due."""
    values: Mapping[str, float] = field(default_factory=dict)
    """The schedules."""


@dataclass
class Clock:
    """Seconds spent on each part."""

    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("simulator", "networks", "models", "buffers",
                                               "evaluation"), 0.0)
    )  # fmt: skip

    def spent(self, part: str, since: float) -> float:
        """Count the time from `since` on to `part`; gives the time of now."""
        now = time.perf_counter()
        self.seconds[part] += now - since
        return now


class Trainer:
    """A training, step by step; `steps()` runs it, `checkpoint()` is all it goes on from."""

    def __init__(
        self, settings: TrainFile, world: World, examined: World, device: str = "cpu"
    ) -> None:
        """`examined` has the tasks of evaluations; it may share its simulations with `world`."""
        self.settings, self.world, self.examined = settings, world, examined
        self.device = torch.device(device)
        torch.manual_seed(settings.seed)
        self.packing = Packing(layouts_of(world.tasks)).to(self.device)
        self.rng = np.random.default_rng([settings.seed, 1])
        generator = torch.Generator(self.device)
        generator.manual_seed(settings.seed)
        network = settings.network
        agent = SoftActorCritic(network, self.packing, settings.agent, generator)
        self.agent = agent.to(self.device)
        self.ensemble = None
        if settings.model_based:
            ensemble = EnvironmentEnsemble(network, self.packing, settings.models)
            self.ensemble = ensemble.to(self.device)
        sizes = self.packing.observation_size, self.packing.action_size
        self.real, self.synthetic = ReplayBuffer(*sizes), ReplayBuffer(*sizes)
        self.experience = Experience(world)
        self.step = -settings.agent.exploration
        """Environment steps so far, those of exploration below 0."""
        self.updates = 0
        self.scores: list[dict[str, Any]] = []
        """Every evaluation: its step and its scores by circuit."""
        self.clock = Clock()
        schedule = settings.schedule
        self.rollout = Schedule(*schedule.rollout, schedule.scale)
        self.update_count = Schedule(*schedule.updates, schedule.scale)
        self.real_share = Schedule(*schedule.real, schedule.scale)
        self.examinations = examinations(examined.tasks, settings.evaluation.episodes)

    def steps(self) -> Iterator[Step]:
        """Go on until the last step. Raises TrainingDiverged, SimulatorBroken, DesignError."""
        while self.step < self.settings.steps:
            yield self._explore() if self.step < 0 else self._learn()

    def evaluate(self) -> dict[str, Score]:
        """Deterministic episodes of every circuit."""
        return evaluate(
            self.examined,
            lambda circuits, seen: self.agent.act(circuits, seen, explore=False),
            self.examinations,
        )

    def checkpoint(self) -> Checkpoint:
        """All that it goes on from, to the bit."""
        tensors = prefixed("agent", self.agent.state_dict())
        for name, optimizer in self.agent.optimizers.items():
            tensors |= prefixed(f"optimizer.{name}", optimizer_state(optimizer))
        if self.ensemble is not None:
            tensors |= prefixed("ensemble", self.ensemble.state_dict())
            for number, optimizer in enumerate(self.ensemble.optimizers):
                tensors |= prefixed(f"optimizer.model{number}", optimizer_state(optimizer))
        tensors |= prefixed("real", self.real.state())
        tensors |= prefixed("synthetic", self.synthetic.state())
        tensors["generator"] = self.agent.generator.get_state()
        return Checkpoint(tensors, self._facts())

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where `checkpoint()` was taken, of a training of the same settings."""
        self.agent.load_state_dict(checkpoint.part("agent"))
        for name, optimizer in self.agent.optimizers.items():
            restore_optimizer(optimizer, checkpoint.part(f"optimizer.{name}"))
        if self.ensemble is not None:
            self.ensemble.load_state_dict(checkpoint.part("ensemble"))
            for number, optimizer in enumerate(self.ensemble.optimizers):
                restore_optimizer(optimizer, checkpoint.part(f"optimizer.model{number}"))
        self.real.restore(checkpoint.part("real"))
        self.synthetic.restore(checkpoint.part("synthetic"))
        self.agent.generator.set_state(checkpoint.tensors["generator"])
        facts = checkpoint.facts
        self.rng.bit_generator.state = facts["rng"]
        self.experience.restore(facts["experience"])
        self.step, self.updates = facts["step"], facts["updates"]
        self.scores, self.clock = facts["scores"], Clock(facts["seconds"])

    def _facts(self) -> dict[str, Any]:
        return {
            "settings": self.settings.model_dump(mode="json"),
            "circuits": [str(setting.name) for setting in self.world.tasks.settings],
            "rng": self.rng.bit_generator.state,
            "experience": self.experience.state(),
            "step": self.step,
            "updates": self.updates,
            "scores": self.scores,
            "seconds": self.clock.seconds,
        }

    def _explore(self) -> Step:
        """A random action, not counted (N_I)."""
        began = time.perf_counter()
        circuit, _ = self.experience.observe()
        action = self.rng.uniform(-1.0, 1.0, self.packing.action_size).astype(np.float32)
        moved = self._moved(action * self.packing.action_mask[circuit].cpu().numpy())
        self.clock.spent("simulator", began)
        self.step += 1
        return Step(self.step, moved.reward)

    def _learn(self) -> Step:
        """One environment step with all that Algorithm 1 does at it."""
        settings, began = self.settings, time.perf_counter()
        fit = None
        if self.ensemble is not None:
            fit = self._model_phase(self.ensemble)
            began = self.clock.spent("models", began)
        circuit, seen = self.experience.observe()
        action = self.agent.act(np.array([circuit]), seen[None], explore=True)[0]
        began = self.clock.spent("networks", began)
        moved = self._moved(action)
        began = self.clock.spent("simulator", began)
        self.step += 1
        losses = [self._update() for _ in range(self.update_count.count(self.step))]
        scores = None
        if self.step % settings.evaluation.every == 0 or self.step == settings.steps:
            began = time.perf_counter()
            scores = self.evaluate()
            told = {name: score.as_json() for name, score in scores.items()}
            self.scores.append({"step": self.step, "circuits": told})
            self.clock.spent("evaluation", began)
        return Step(self.step, moved.reward, _mean(losses), fit, scores, self._values())

    def _model_phase(self, ensemble: EnvironmentEnsemble) -> Fit | None:
        """Train the models and roll out, where this step is one for it; at step 0 both."""
        settings, fit = self.settings, None
        if self.step % settings.models.every == 0:
            fit = self._fitted(ensemble)
        if fit is not None or self.step % settings.rollouts.every == 0:
            count = self.rollout.count(self.step)
            by_length = settings.rollouts.meaning == "length"
            rollouts(
                ensemble, self.agent.actor, self.real, self.synthetic,
                starts=settings.rollouts.starts, length=count if by_length else 1,
                number=1 if by_length else count, bonus=settings.environment.bonus,
                tolerance=settings.environment.tolerance,
                rng=self.rng, generator=self.agent.generator,
            )  # fmt: skip
        return fit

    def _fitted(self, ensemble: EnvironmentEnsemble) -> Fit:
        clip = self.settings.agent.gradient_clip
        try:
            return ensemble.fit(self.real.everything().to(self.device), self.rng, clip)
        except FloatingPointError as error:
            raise TrainingDiverged(f"step {self.step}: {error}") from error

    def _moved(self, action: np.ndarray[Any, np.dtype[np.float32]]) -> Transition:
        moved = self.experience.step(action)
        self.real.push(
            circuits=np.array([moved.circuit]), observations=moved.observation[None],
            actions=action[None], rewards=np.array([moved.reward]), nexts=moved.next[None],
            terminal=np.array([moved.terminal]),
        )  # fmt: skip
        return moved

    def _update(self) -> Losses:
        began = time.perf_counter()
        batch = self._batch()
        began = self.clock.spent("buffers", began)
        losses = self.agent.update(batch)
        self.updates += 1
        self.clock.spent("networks", began)
        if not losses.finite:
            text = f"step {self.step}, update {self.updates}: losses are no numbers ({losses})"
            raise TrainingDiverged(text)
        return losses

    def _batch(self) -> Batch:
        """alpha(t) b real transitions and the rest synthetic (equation (4))."""
        size = self.settings.agent.batch
        share = self.real_share.at(self.step) if self.ensemble is not None else 1.0
        count = int(np.floor(share * size + 0.5)) if len(self.synthetic) else size
        parts = [self.real.sample(count, self.rng)] if count else []
        if count < size:
            parts.append(self.synthetic.sample(size - count, self.rng))
        return Batch.joined(parts).to(self.device)

    def _values(self) -> dict[str, float]:
        schedules = {"rollout": self.rollout, "updates": self.update_count,
                     "real_share": self.real_share}  # fmt: skip
        return {name: schedule.at(self.step) for name, schedule in schedules.items()}


def make_world(tasks: TaskGenerator, settings: TrainFile, simulations: Simulations) -> World:
    """Episodes of `tasks` by the configuration's rules."""
    entry = settings.environment
    rules = Rules(entry.length, entry.move, entry.tolerance, entry.bonus, entry.start)
    return World(tasks, simulations, rules)


def same_training(checkpoint: Checkpoint, settings: TrainFile) -> list[str]:
    """The words in which a checkpoint's settings differ, `steps` and the like aside."""
    mine = json.loads(json.dumps(settings.model_dump(mode="json")))
    theirs = checkpoint.facts["settings"]
    free = {"train", "steps", "checkpoint", "note"}
    return [key for key in mine if key not in free and mine[key] != theirs.get(key)]


def examinations(tasks: TaskGenerator, episodes: int) -> dict[str, list[int]]:
    """The first tasks of each circuit, so many each."""
    found: dict[str, list[int]] = {name: [] for name in tasks.circuits}
    for task in tasks:
        own = found[task.circuit]
        if len(own) < episodes:
            own.append(task.number)
        if all(len(numbers) == episodes for numbers in found.values()):
            return found
    raise AssertionError("tasks never end")


def _mean(losses: list[Losses]) -> Losses:
    names = ("critic", "actor", "entropy", "temperature")
    return Losses(*(float(np.mean([getattr(each, name) for each in losses])) for name in names))
