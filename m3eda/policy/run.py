"""A training on disk: its folder, its checkpoints, its records; and the tasks it is given."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import save
from torch import Tensor

from m3eda.errors import StorageError
from m3eda.flow import Project
from m3eda.learning.episodes import World
from m3eda.learning.layouts import layouts_of
from m3eda.learning.ranges import range_settings
from m3eda.learning.settings import Setting, library_settings
from m3eda.learning.simulations import Simulations
from m3eda.learning.splits import SPLITS
from m3eda.learning.tasks import TaskGenerator
from m3eda.policy.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from m3eda.policy.experience import Score
from m3eda.policy.settings import EnvironmentEntry, TrainFile
from m3eda.policy.trainer import Clock, Step, Trainer, make_world, same_training
from m3eda.report.atomic import make_directory, write_atomic
from m3eda.report.training import TrainingDisplay

CHECKPOINT = "checkpoint.safetensors"
ACTOR = "actor.safetensors"
"""The actor's weights at the best evaluation so far, to be used without the rest."""
RECORD = "evaluations.json"
EXAMINED = 1_000_000
"""Added to a seed for the tasks of evaluations."""


class Learner(Protocol):
    """What learns, as far as its folder is concerned."""

    settings: TrainFile
    world: World
    clock: Clock
    step: int
    scores: list[dict[str, Any]]

    @property
    def updates(self) -> int: ...

    def checkpoint(self) -> Checkpoint: ...

    def restore(self, checkpoint: Checkpoint) -> None: ...


class Run(ABC):
    """Everything around what learns, by whatever method: one at a time in a folder."""

    def __init__(self, learner: Learner, folder: Path, *, fresh: bool = False) -> None:
        """Begin in `folder`, or go on there. Raises StorageError where a checkpoint is damaged,
        or of another configuration."""
        self.learner, self.settings = learner, learner.settings
        self.folder = make_directory(folder)
        self.path = self.folder / CHECKPOINT
        if fresh:
            set_aside(self.path)
        if self.path.is_file():
            self._resume()
        self._board = _board(self.folder, max(learner.step, 0))

    @abstractmethod
    def _train(self, heard: Callable[[Step], None]) -> None:
        """Learn to the end, telling of every step, and write checkpoints where they are due."""

    @abstractmethod
    def _weights(self) -> Mapping[str, Tensor]:
        """Those of the actor."""

    def go(self, display: TrainingDisplay) -> None:
        """Train to the end. Raises TrainingDiverged, SimulatorBroken, StorageError."""
        try:
            self._train(partial(self._hear, display))
        finally:
            self.learner.world.simulations.close()
            if self._board is not None:
                self._board.close()

    def report(self) -> str:
        """What was seen, as JSON."""
        learner = self.learner
        found = {
            "settings": self.settings.model_dump(mode="json"),
            "steps": max(learner.step, 0),
            "updates": learner.updates,
            "seconds": {name: round(spent, 1) for name, spent in learner.clock.seconds.items()},
            "simulations": learner.world.simulations.count,
            "evaluations": learner.scores,
        }
        return json.dumps(found, indent=1)

    def _hear(self, display: TrainingDisplay, step: Step) -> None:
        settings = self.settings
        display.heard(step.step, settings.steps, settings.agent.exploration, step.reward)
        self._note(step)
        if step.scores is not None:
            display.told(evaluation_line(step.step, step.scores))
            self._record()

    def _resume(self) -> None:
        checkpoint = read_checkpoint(self.path)
        other = same_training(checkpoint, self.settings)
        if other:
            text = f"{self.path}: is of another configuration ({', '.join(other)} differ)"
            raise StorageError(f"{text}; choose another --out, or --fresh to set it aside")
        try:
            self.learner.restore(checkpoint)
        except (KeyError, RuntimeError, ValueError) as error:
            text = f"{self.path}: does not fit its own configuration ({error})"
            raise StorageError(f"{text}; --fresh sets it aside") from error

    def _record(self) -> None:
        """Keep the evaluation, and the actor where it is the best so far."""
        scores = self.learner.scores
        means = [_mean_return(each["circuits"]) for each in scores]
        if means[-1] >= max(means):
            layouts = layouts_of(self.learner.world.tasks)
            facts = {"settings": self.settings.model_dump(mode="json"),
                     "circuits": [each.__dict__ for each in layouts],
                     "step": self.learner.step, "scores": scores[-1]}  # fmt: skip
            header = {"m3eda": json.dumps(facts)}
            write_atomic(self.folder / ACTOR, save(dict(self._weights()), metadata=header))
        write_atomic(self.folder / RECORD, self.report() + "\n")

    def _note(self, step: Step) -> None:
        """Scalars for TensorBoard, by environment step."""
        board = self._board
        if board is None or step.step <= 0:
            return
        for name, value in _scalars(step).items():
            board.add_scalar(name, value, step.step)


class TrainingRun(Run):
    """Around a `Trainer`."""

    def __init__(self, trainer: Trainer, folder: Path, *, fresh: bool = False) -> None:
        """As `Run`."""
        self.trainer = trainer
        super().__init__(trainer, folder, fresh=fresh)

    def _train(self, heard: Callable[[Step], None]) -> None:
        settings = self.settings
        for step in self.trainer.steps():
            heard(step)
            if step.step % settings.checkpoint.every == 0 or step.step == settings.steps:
                write_checkpoint(self.path, self.trainer.checkpoint())

    def _weights(self) -> Mapping[str, Tensor]:
        weights: Mapping[str, Tensor] = self.trainer.agent.actor.state_dict()
        return weights


def make_trainer(settings: TrainFile, jobs: int = 1, device: str = "cpu") -> Trainer:
    """A trainer on what the configuration names, `jobs` simulations at once, its networks on
    torch's `device`. Raises DesignError."""
    return Trainer(settings, *make_worlds(settings, jobs), device)


def make_worlds(settings: TrainFile, jobs: int = 1) -> tuple[World, World]:
    """What the configuration trains on, and what evaluations are made on, which share their
    simulations, `jobs` at once. Raises DesignError."""
    entry = settings.environment
    tasks = TaskGenerator(seed=settings.seed, settings=task_settings(entry))
    # other targets of the same ranges, and the same of the same list
    others = task_settings(entry, seed=EXAMINED)
    examined = TaskGenerator(seed=settings.seed + EXAMINED, settings=others)
    world = make_world(tasks, settings, Simulations(jobs))
    return world, make_world(examined, settings, world.simulations)


def task_settings(entry: EnvironmentEntry, seed: int = 0) -> list[Setting]:
    """What the configuration trains on; `seed` is that of targets drawn from ranges.

    Raises DesignError.
    """
    designs = [Setting.of(Project.load(Path(path))) for path in entry.designs]
    if not entry.circuits:
        return designs
    circuits, technologies = _names(entry.circuits), _names(entry.technologies)
    if entry.targets == "ranges":
        return [*range_settings(list(circuits), list(technologies), seed=seed), *designs]
    own = technologies if entry.technologies else None
    return [*library_settings(circuits=circuits, technologies=own, targets=entry.targets), *designs]


def evaluation_line(step: int, scores: Mapping[str, Score]) -> str:
    """`step 300: m3_2soa -3.1 (25 %), ...`: mean return and share of successes."""
    parts = [f"{name} {score.mean_return:.1f} ({score.success:.0%})"
             for name, score in scores.items()]  # fmt: skip
    return f"step {step}: mean return (successes): {', '.join(parts)}"


def set_aside(path: Path) -> None:
    """Rename an earlier checkpoint, so that nothing is lost."""
    if not path.exists():
        return
    number = 1
    while (aside := path.with_name(f"{path.stem}.old-{number}{path.suffix}")).exists():
        number += 1
    path.rename(aside)


def _names(words: list[str]) -> list[str] | str:
    """Names, or the one word of a split."""
    return words[0] if len(words) == 1 and words[0] in SPLITS else words


def _mean_return(circuits: Mapping[str, Mapping[str, float]]) -> float:
    return sum(each["mean_return"] for each in circuits.values()) / len(circuits)


def _scalars(step: Step) -> dict[str, float]:
    found = {"reward": step.reward, **{f"schedule/{k}": v for k, v in step.values.items()}}
    if step.losses is not None:
        found |= {f"loss/{name}": value for name, value in vars(step.losses).items()}
    if step.fit is not None:
        found |= {"models/training": step.fit.training, "models/validation": step.fit.validation,
                  "models/epochs": step.fit.epochs}  # fmt: skip
    for circuit, score in (step.scores or {}).items():
        found |= {f"{circuit}/{name}": value for name, value in score.as_json().items()}
    return found


def _board(folder: Path, step: int) -> Any:
    """TensorBoard's writer, what it had of later steps taken away; None where it is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
