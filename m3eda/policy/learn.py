"""What `m3eda learn` does: simulate a design's own space, and fit networks to what it answers.

Points go to datasets below the run folder (`m3eda.learning.dataset`), so that no simulation is lost
whatever stops it; the networks to a file beside them, which the agent `m3` reads.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from m3eda import __version__
from m3eda.design.ranges import FloatArray
from m3eda.design.space import Space
from m3eda.errors import DesignError, ExitCode, M3edaError, Mistake, PluginError, StorageError
from m3eda.flow import Execution, Project
from m3eda.learning.dataset import Plan, make_dataset
from m3eda.learning.manifest import parameter_words
from m3eda.learning.reader import Dataset
from m3eda.learning.sampling import Sampling
from m3eda.places import LEARNT, run_directory
from m3eda.policy.earlier import added, points_of
from m3eda.policy.known import circuit_of
from m3eda.policy.response import Response, Scale, fits, read_response, write_response
from m3eda.report.points import PointsDisplay
from m3eda.report.progress import ProgressDisplay
from m3eda.report.screen import emit
from m3eda.report.text import duration
from m3eda.simulate.files import content_hash

POINTS = "learning"
"""Folder of the datasets below that of the run; in it one for each circuit, ranges and seed."""
SAMPLINGS: tuple[Sampling, ...] = ("sobol", "log")
"""Half of the points each: small values are as frequent as large ones in the second."""
SIMULATIONS = 20_000
FIRST = 500
"""Simulations from which the rest's time is told."""
SIMULATING = 0.5
"""Share of a given time that goes to simulations."""
LEAST = 50
"""Points with a value of a measure without which nothing is learnt."""


class LearningDiverged(M3edaError):
    """A loss is no number."""


@dataclass(frozen=True)
class LearnOptions:
    """The options of `m3eda learn`."""

    run_dir: Path | None = None
    simulations: int = SIMULATIONS
    seconds: float | None = None
    seed: int = 1
    fresh: bool = False
    ledger: bool = True
    """Take simulations of earlier runs along."""
    add: tuple[Path, ...] = ()
    """Folders of runs whose simulations are to be taken along from now on."""
    begin: Path | None = None
    """A file of networks to begin with."""
    jobs: int = 1
    as_json: bool = False
    quiet: bool = False


class LearningDisplay(ProgressDisplay):
    """Shows how far the fitting is; nothing where quiet."""

    def __init__(self, title: str, quiet: bool) -> None:
        super().__init__(title, sys.stderr, os.environ, quiet)
        self._share, self._loss = 0.0, math.nan

    def heard(self, share: float, loss: float) -> None:
        self._share, self._loss = share, loss
        self._refresh()

    def progress(self) -> str:
        """`opamp: networks 45 %, loss 0.0032`."""
        return f"{self._title}: networks {self._share:.0%}, loss {self._loss:.2g}"

    def _done(self) -> tuple[int, int]:
        return round(1000 * self._share), 1000


def learn_command(project: Project, options: LearnOptions) -> ExitCode:
    """Learn the design's circuit, going on where an earlier command was stopped.

    Raises DesignError, also where a run to add has no trial of this circuit, StorageError,
    PluginError without torch, SimulatorMissing, SimulatorBroken where every first point fails,
    LearningDiverged.
    """
    if find_spec("torch") is None:
        raise PluginError("m3eda learn needs torch: pip install 'm3eda[m3]'")
    folder = options.run_dir or run_directory(project.design)
    first = read_response(options.begin) if options.begin else None
    path, wanted = folder / LEARNT, _wanted(project, options)
    if first is not None and not fits(first, project.design):
        text = "has other parameters or measures than the design, or ranges of another kind"
        raise DesignError([Mistake(text, options.begin, hint="leave --from out")])
    new = sum(added(project, run, folder / POINTS) for run in options.add)
    found = None if options.fresh or options.seconds or new else _kept(path, wanted)
    if found is None:
        found = _learn(project, folder, wanted, options, first)
        write_response(path, found)
    if options.as_json:
        emit(sys.stdout, json.dumps(_json(found, path), indent=2) + "\n")
    elif not options.quiet:
        emit(sys.stdout, _text(project, found, path))
    return ExitCode.SPECS_MET


def _wanted(project: Project, options: LearnOptions) -> dict[str, Any]:
    """What decides the networks, the seconds they are given aside."""
    design = project.design
    return {
        "circuit": circuit_of(project),
        "parameters": {p.name: parameter_words(p) for p in design.free},
        "simulations": options.simulations,
        "seed": options.seed,
        "ledger": options.ledger,
        "from": content_hash(options.begin) if options.begin else "",
        "m3eda": __version__,
    }


def _key(wanted: Mapping[str, Any]) -> str:
    """A name for what decides the points."""
    deciding = {key: wanted[key] for key in ("circuit", "parameters", "seed")}
    return hashlib.sha256(json.dumps(deciding).encode()).hexdigest()[:8]


def _kept(path: Path, wanted: dict[str, Any]) -> Response | None:
    """What was learnt before, where it is just that."""
    try:
        found = read_response(path)
    except StorageError:
        return None  # none, or damaged: it is made anew
    same = all(found.facts.get(key) == json.loads(json.dumps(each)) for key, each in wanted.items())
    return found if same and not found.facts.get("by_time") else None


def _learn(
    project: Project, folder: Path, wanted: dict[str, Any], options: LearnOptions,
    first: Response | None,
) -> Response:  # fmt: skip
    began = time.perf_counter()
    points = folder / POINTS / _key(wanted)
    counts = _simulated(project, points, options)
    x, values, measures = _points(points, counts)
    own = len(x)
    if options.ledger:
        more = points_of(project, (folder, folder / POINTS), measures)
        x, values = np.concatenate([x, more[0]]), np.concatenate([values, more[1]])
    _check(project, values, measures)
    simulating = time.perf_counter() - began
    import torch

    from m3eda.policy import fitting

    torch.set_num_threads(options.jobs)
    left = math.inf if options.seconds is None else max(options.seconds - simulating, 1.0)
    facts = {
        **wanted, "design": project.design.name, "simulations": own, "earlier": len(x) - own,
        "by_time": options.seconds is not None, "seconds_simulating": round(simulating, 3),
    }  # fmt: skip
    display = LearningDisplay(project.design.name, options.quiet)
    with display:
        try:
            return fitting.fit_response(
                Space(project.design).axes, measures, x, values, options.seed, facts,
                replace(fitting.FITTING, seconds=left), display.heard, first,
            )  # fmt: skip
        except FloatingPointError as error:
            raise LearningDiverged(f"{project.design.name}: {error}") from error


def _simulated(project: Project, folder: Path, options: LearnOptions) -> dict[Sampling, int]:
    """Simulate; the points of each sampling."""
    display = PointsDisplay(project.design.name, sys.stderr, os.environ, options.quiet)
    with display:
        made = _Making(project, folder, options, display.heard)
        if options.seconds is None:
            return made.up_to(options.simulations)
        return made.within(SIMULATING * options.seconds, max(options.simulations, FIRST))


@dataclass
class _Making:
    """The datasets of one design."""

    project: Project
    folder: Path
    options: LearnOptions
    heard: Callable[[int, int, int], None]
    simulating: float = 0.0
    """Seconds between the first and the last point of each dataset: workers were started before."""

    def within(self, seconds: float, most: int) -> dict[Sampling, int]:
        """As many points as fit into `seconds`, `FIRST` at least and `most` at most."""
        began, count = time.perf_counter(), FIRST
        counts = self.up_to(count)
        left = seconds - (time.perf_counter() - began)
        more = int(count * left / max(self.simulating, 1e-9))
        return self.up_to(min(count + more, most)) if more > 0 and count < most else counts

    def up_to(self, count: int) -> dict[Sampling, int]:
        """`count` points in all; those of each sampling."""
        counts: dict[Sampling, int] = {}
        before = 0
        for place, sampling in enumerate(SAMPLINGS):
            counts[sampling] = own = (count + place) // len(SAMPLINGS)
            plan = Plan(own, self.options.seed, sampling)

            seen: list[float] = []

            def told(
                done: int, total: int, lost: int, before: int = before, seen: list[float] = seen
            ) -> None:
                seen.append(time.perf_counter())
                self.heard(before + done, count, lost)

            execution = Execution(jobs=self.options.jobs)
            make_dataset(self.project, self.folder / sampling, plan, execution, told)
            self.simulating += seen[-1] - seen[min(1, len(seen) - 1)]
            before += own
        return counts


def _points(
    folder: Path, counts: dict[Sampling, int]
) -> tuple[FloatArray, FloatArray, tuple[str, ...]]:
    """Unit points, shape (n, d), measures, (n, m), and their names."""
    parts = [(Dataset(folder / name), count) for name, count in counts.items() if count]
    measures = parts[0][0].measures
    wholes = [(dataset.whole(), count) for dataset, count in parts]
    x = np.concatenate([whole.x[:count] for whole, count in wholes])
    values = np.concatenate([whole.measures[:count] for whole, count in wholes])
    return x, values, measures


def _check(project: Project, values: FloatArray, measures: Sequence[str]) -> None:
    """Raises DesignError where too few points have a value of a measure that has a spec."""
    values[~np.isfinite(values)] = np.nan
    for spec in project.design.specs.values():
        there = int(np.isfinite(values[:, measures.index(spec.measure)]).sum())
        if there < LEAST:
            count = f"{there} of {len(values)} sizings"
            text = f"{spec.measure} exists at {count}: too few to learn from"
            hint = "more simulations, or ranges in which the circuit works"
            raise DesignError([Mistake(text, project.design.path, key=spec.measure, hint=hint)])


def _json(response: Response, path: Path) -> dict[str, Any]:
    names = dict(zip(response.measures, response.errors.tolist(), strict=True))
    return {"file": str(path), **response.facts, "errors": names}


def _text(project: Project, response: Response, path: Path) -> str:
    facts = response.facts
    took = duration(facts["seconds_simulating"])
    count, title = facts["simulations"], project.design.name
    earlier = f" and {more} of earlier runs" if (more := facts.get("earlier")) else ""
    lines = [f"{title}: learnt from {count} simulations ({took}){earlier}: {path}"]
    for name, scale, error in zip(response.measures, response.scales, response.errors, strict=True):
        lines.append(f"  {name}: nine in ten within {_width(scale, error)}")
    lines.append("`m3eda size` goes by it from now on")
    return "\n".join(lines) + "\n"


def _width(scale: Scale, error: float) -> str:
    """Of an error, in the middle of what was seen."""
    if scale.log:
        return f"{math.expm1(scale.spread * error):.2%}"
    return f"{scale.spread * error:.3g}"


__all__ = ["LearnOptions", "LearningDiverged", "learn_command"]
