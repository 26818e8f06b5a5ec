"""Datasets: points of a design's space, simulated through the engine into compressed shards.

A point is a function of seed and number. Rows of the open shard go to a journal, one by one; a
full one becomes an npz file, then an entry of the manifest, then its journal goes. Whatever kills
the process in between, the next run finds all rows but those on their way, and ends with the same
bytes as a run that was left alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from m3eda.design.types import Design
from m3eda.errors import DesignError, Mistake, StorageError
from m3eda.flow import EXECUTION, Execution, Project
from m3eda.learning.making import Heard, Maker, Plan, unheard
from m3eda.learning.manifest import Manifest
from m3eda.learning.sampling import MOST
from m3eda.report.atomic import make_directory, storing

__all__ = ["Made", "Plan", "dataset_folder", "make_dataset"]


@dataclass(frozen=True)
class Made:
    """What one call of `make_dataset` did."""

    folder: Path
    manifest: Manifest
    simulated: int
    """Points simulated by this call."""
    seconds: float
    """Wall time they took, workers started and shards written included."""


def dataset_folder(out: Path, design: Design, *, own: bool = False) -> Path:
    """Where the dataset of a design goes below `out`: one folder a circuit and technology.

    A technology of one's `own` may be called like one of the library's, and goes beside it.
    """
    technology = design.technology.name if design.technology else "no_technology"
    return out / design.name / (f"{technology}_own" if own else technology)


def make_dataset(
    project: Project,
    folder: Path,
    plan: Plan,
    execution: Execution = EXECUTION,
    heard: Heard = unheard,
) -> Made:
    """Simulate the points of `plan` that `folder` does not hold yet.

    Raises DesignError where it holds another dataset, StorageError where it cannot be written, is
    damaged or in use, SimulatorMissing, and SimulatorBroken where the first points all fail.
    """
    _check(project.design, plan)
    make_directory(folder)
    with _claimed(folder):
        # points are new: to ask the cache for each would cost more than it ever gives
        evaluator = project.evaluator(replace(execution, cache=False))
        with contextlib.closing(evaluator):
            maker = Maker(project, folder, plan, evaluator, heard)
            maker.prepare()
            began = time.perf_counter()
            simulated = maker.simulate()
            return Made(folder, maker.manifest, simulated, time.perf_counter() - began)


def _check(design: Design, plan: Plan) -> None:
    """Raises DesignError with every mistake."""
    mistakes = []
    if not design.free:
        text = f"{design.name} has no free parameter: there is one point only"
        mistakes.append(Mistake(text, design.path))
    if plan.corners and not design.corners:
        text = f"{design.name} has no corners"
        mistakes.append(Mistake(text, design.path, hint="leave --corners out, or add `corners:`"))
    if plan.points > MOST and plan.sampling != "random":
        hint = f"at most {MOST}; --sampling random has no end"
        mistakes.append(Mistake(f"{plan.points} points are too many", hint=hint))
    if mistakes:
        raise DesignError(mistakes)


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Raises StorageError where another process makes this dataset, or nobody may write there."""
    path = folder / "lock"
    with storing(path):
        guard = open(path, "a+", encoding="ascii")  # noqa: SIM115
    with guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            guard.seek(0)
            holder = guard.read().strip() or "unknown"
            text = f"{folder}: another run (process {holder}) makes this dataset; wait for it"
            raise StorageError(text) from error
        with storing(path):
            guard.truncate(0)
            guard.write(str(os.getpid()))
            guard.flush()
        yield
