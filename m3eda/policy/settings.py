"""The words of a training configuration; their defaults are Table I of the M3 paper.

Where the paper (arXiv 2411.16019) gives no number the value is Spinning Up's, which it names for
all it leaves open, or one that was measured: docs/training.md says which.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from m3eda.design.kinds import Name, Real, Version, Whole, Word, Words
from m3eda.design.problems import Problems
from m3eda.design.schema import Entry
from m3eda.design.yamlfile import Document, read_yaml
from m3eda.errors import DesignError

BASELINES = ("ppo", "a2c", "trpo")
"""Stable-Baselines3's."""
METHODS = ("m3", "mbrl", "sac", *BASELINES)

Course = Annotated[
    tuple[Real, Real],
    BeforeValidator(lambda value: value if isinstance(value, (list, tuple)) else (value, value)),
]
"""First and last value of a schedule; one number alone is held."""


class EnvironmentEntry(Entry):
    """What is learnt on."""

    circuits: Words = Field(
        default=["m3_2soa", "m3_r2soa", "m3_2stia", "m3_comp"],
        description="Circuits of the library, or one split (train, validation, test).",
    )
    technologies: Words = Field(
        default=[],
        description="Technologies, or one split; left out, each circuit's own.",
    )
    designs: Words = Field(
        default=[],
        description="Designs of one's own, beside the circuits if these are named: paths from the "
        "configuration's folder. Each design's own specs are its target.",
    )
    targets: Literal["ranges", "train", "held out", "all"] = Field(
        default="ranges",
        description="Drawn from the ranges of the circuit's section `paper`, or a part of its list "
        "of Pareto targets.",
    )
    length: Whole = Field(default=30, ge=1, description="Steps of an episode at most (T_ep).")
    move: Real = Field(
        default=0.1, gt=0, description="Share of a range that an action of 1 moves a parameter by."
    )
    tolerance: Real = Field(default=0.02, ge=0, description="A FOM not below minus this succeeds.")
    bonus: Real = Field(default=10.0, gt=0, description="The reward of success.")
    start: Literal["nominal", "random"] = Field(
        default="nominal", description="Where episodes begin."
    )


class NetworkEntry(Entry):
    """Of the actor, the critics and the environment models alike."""

    kind: Literal["mamba", "transformer", "lstm", "mlp"] = Field(
        default="mamba", description="Encoder of sequences."
    )
    d_model: Whole = Field(
        default=0, ge=0, description="Width; 0: 64 for mamba, the paper's of the others."
    )
    d_state: Whole = Field(default=16, ge=1, description="States of a Mamba channel.")
    d_conv: Whole = Field(default=4, ge=1, description="Taps of Mamba's convolution.")
    expand: Whole = Field(default=2, ge=1, description="Channels of Mamba for each of d_model.")


class AgentEntry(Entry):
    """Soft actor-critic (Haarnoja et al. 2018)."""

    batch: Whole = Field(default=100, ge=1, description="Transitions an update.")
    discount: Real = Field(default=0.99, gt=0, lt=1, description="gamma.")
    polyak: Real = Field(
        default=0.995, gt=0, lt=1, description="Share of a target critic that an update keeps."
    )
    temperature: Real | Literal["learnt"] = Field(
        default=0.2, description="alpha, the weight of entropy; or learnt."
    )
    learning_rate: Real = Field(default=3e-4, gt=0, description="Of Adam.")
    gradient_clip: Real = Field(default=1.0, gt=0, description="Largest norm of a gradient.")
    exploration: Whole = Field(
        default=3600, ge=1, description="Random steps before learning, not counted (N_I)."
    )


class ModelsEntry(Entry):
    """The ensemble of environment models."""

    ensemble: Whole = Field(default=7, ge=1, description="Networks (N_total).")
    elites: Whole = Field(default=5, ge=1, description="Of which the best are used (N_elite).")
    every: Whole = Field(default=300, ge=1, description="Steps between trainings (T_model).")
    patience: Whole = Field(
        default=5, ge=1, description="Epochs without a better validation loss that end a training."
    )
    validation: Real = Field(default=0.2, gt=0, lt=1, description="Share of data held back.")
    batch: Whole = Field(default=256, ge=1, description="Transitions an update.")
    epochs: Whole = Field(default=100, ge=1, description="Epochs of one training at most.")
    learning_rate: Real = Field(default=3e-4, gt=0, description="Of Adam.")


class RolloutEntry(Entry):
    """Synthetic experience."""

    every: Whole = Field(default=30, ge=1, description="Steps between new buffers (T_ro).")
    starts: Whole = Field(default=3000, ge=1, description="Real states that rollouts begin at.")
    meaning: Literal["length", "number"] = Field(
        default="length",
        description="What R(t) of equation (3) counts: steps of a rollout, as in MBPO, or rollouts "
        "of one step from each state.",
    )


class ScheduleEntry(Entry):
    """Equations (3) to (5): from the first value to the last over `scale` environment steps."""

    scale: Whole = Field(default=15_000, ge=1, description="Steps until the last value.")
    rollout: Course = Field(default=(1, 7), description="R: length, or number, of rollouts.")
    updates: Course = Field(default=(15, 20), description="T_a: updates of the agent a step.")
    real: Course = Field(default=(0.05, 0.95), description="alpha: share of real data in a batch.")


class EvaluationEntry(Entry):
    """Deterministic episodes."""

    every: Whole = Field(default=300, ge=1, description="Steps between evaluations.")
    episodes: Whole = Field(default=20, ge=1, description="Episodes a circuit.")


class CheckpointEntry(Entry):
    """What a killed training goes on from."""

    every: Whole = Field(default=50, ge=1, description="Steps between checkpoints.")


class TrainFile(Entry):
    """A training configuration."""

    m3eda: Version = Field(default=1, description="Version of the format: 1.")
    train: Name = Field(default="m3", description="Name of the run.")
    method: Literal[METHODS] = Field(  # type: ignore[valid-type]
        default="m3",
        description="m3: models and schedules. mbrl: models, schedules held at 10 rollouts, 20 "
        "updates, 0.05 real. sac: no models, one update a step. The others: Stable-Baselines3's.",
    )
    seed: Whole = Field(default=1, ge=0, description="Of everything random.")
    steps: Whole = Field(default=15_000, ge=1, description="Environment steps.")
    environment: EnvironmentEntry = EnvironmentEntry()
    network: NetworkEntry = NetworkEntry()
    agent: AgentEntry = AgentEntry()
    models: ModelsEntry = ModelsEntry()
    rollouts: RolloutEntry = RolloutEntry()
    schedule: ScheduleEntry = ScheduleEntry()
    evaluation: EvaluationEntry = EvaluationEntry()
    checkpoint: CheckpointEntry = CheckpointEntry()
    note: Word = Field(default="", description="For people.")

    @property
    def model_based(self) -> bool:
        return self.method in ("m3", "mbrl")


PRESETS: dict[str, dict[str, Any]] = {
    # section IV-B: as in MBPO (reference 17)
    "mbrl": {"schedule": {"rollout": 10, "updates": 20, "real": 0.05}},
    "sac": {"schedule": {"rollout": 1, "updates": 1, "real": 1.0}},
}
"""Method -> what it sets where the file says nothing."""


def load_training(path: Path, given: Mapping[str, Any] | None = None) -> TrainFile:
    """The configuration in `path`, with words of the command line over its own.

    Raises DesignError with every mistake at its line.
    """
    document = read_yaml(path)
    document.data.update(given or {})
    problems = Problems(document)
    file = checked(problems.validated(TrainFile), problems)
    problems.raise_all()
    return _placed(file, path.absolute().parent)


def _placed(file: TrainFile, folder: Path) -> TrainFile:
    """`file` with designs as absolute paths, and without the default circuits where it has any."""
    entry = file.environment
    changes: dict[str, Any] = {
        "designs": [str((folder / each).resolve()) for each in entry.designs]
    }
    if entry.designs and "circuits" not in entry.model_fields_set:
        changes["circuits"] = []
    return file.model_copy(update={"environment": entry.model_copy(update=changes)})


def training(**words: Any) -> TrainFile:
    """A configuration made in Python, of the words of the file. Raises pydantic's ValidationError,
    DesignError."""
    file = TrainFile.model_validate(words)
    problems = Problems(Document(Path("<training>"), words, {}, {}))
    found = checked(file, problems)
    problems.raise_all()
    return found


def checked(file: TrainFile, problems: Problems) -> TrainFile:
    """`file` with what its method sets, and every number that does not fit another noted."""
    preset = PRESETS.get(str(file.method), {}).get("schedule", {})
    unset = {k: v for k, v in preset.items() if k not in file.schedule.model_fields_set}
    whole = ScheduleEntry.model_validate({**file.schedule.model_dump(), **unset})
    if file.method in BASELINES and file.network.kind not in ("mlp", NetworkEntry().kind):
        problems.add(("network", "kind"), f"{file.method} has fully connected layers", "mlp")
    if file.models.elites > file.models.ensemble:
        problems.add(("models", "elites"), f"is above the ensemble's {file.models.ensemble}")
    for name, (first, last) in (("rollout", whole.rollout), ("updates", whole.updates)):
        if min(first, last) < 1:
            problems.add(("schedule", name), "is below 1")
    if not all(0.0 <= share <= 1.0 for share in whole.real):
        problems.add(("schedule", "real"), "is a share, from 0 to 1")
    if file.environment.move * file.environment.length < 1.0:
        hint = f"at least {1.0 / file.environment.length:.3g}"
        problems.add(("environment", "move"), "an episode cannot cross a range by such moves", hint)
    return file.model_copy(update={"schedule": whole})


__all__ = ["DesignError", "TrainFile", "load_training", "training"]
