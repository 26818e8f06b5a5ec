"""What `m3eda dataset` does: circuits opened, their datasets made one after the other."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m3eda.circuits.catalogue import Circuit
from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.circuits.technology import own_file
from m3eda.errors import DesignError, ExitCode, Mistake
from m3eda.flow import Execution, Project
from m3eda.learning.dataset import Made, Plan, dataset_folder, make_dataset
from m3eda.learning.sampling import Sampling
from m3eda.plugins import Plugins
from m3eda.report.points import PointsDisplay
from m3eda.report.screen import emit
from m3eda.report.text import duration

ALL = "all"
"""Every technology that a circuit supports."""


@dataclass(frozen=True)
class DatasetOptions:
    """The options of `m3eda dataset`."""

    technologies: tuple[str, ...]
    points: int
    out: Path
    sampling: Sampling
    seed: int
    corners: bool
    jobs: int
    timeout: float | None
    simulator: str | None
    strict: bool
    repair: bool
    as_json: bool
    quiet: bool


def dataset_command(names: Sequence[str], options: DatasetOptions) -> ExitCode:
    """Make a dataset of each circuit in each technology.

    Raises DesignError, before anything is simulated, where one cannot be opened; StorageError,
    SimulatorMissing, SimulatorBroken.
    """
    projects = list(_projects(names, options))
    _check_distinct(projects)
    plan = Plan(
        options.points, options.seed, options.sampling, options.corners, repair=options.repair
    )
    execution = Execution(jobs=options.jobs, strict=options.strict)
    made = []
    for project, folder in projects:
        display = PointsDisplay(_title(project), sys.stderr, os.environ, options.quiet)
        with display:
            made.append(make_dataset(project, folder, plan, execution, display.heard))
        if not options.quiet and not options.as_json:
            emit(sys.stdout, f"{_line(project, made[-1])}\n")
    if options.as_json:
        emit(sys.stdout, json.dumps({"datasets": [_json(each) for each in made]}, indent=2) + "\n")
    return ExitCode.SPECS_MET


def _projects(names: Sequence[str], options: DatasetOptions) -> Iterator[tuple[Project, Path]]:
    """Each with the folder of its dataset."""
    plugins = Plugins()
    overrides: dict[str, Any] = {"timeout": options.timeout, "simulator": options.simulator}
    known = catalogue()
    for name in names:
        path = Path(name)
        if name not in known.paths and path.suffix in {".yaml", ".yml"} and not _is_circuit(path):
            if options.technologies:
                text = "--technology is for circuits of the library"
                raise DesignError([Mistake(text, path, hint="a design names its own")])
            project = Project.load(path, **overrides)
            yield project, dataset_folder(options.out, project.design)
            continue
        circuit = known.circuit(name)
        for technology in _technologies(circuit, options.technologies):
            project = open_circuit(circuit, technology, plugins=plugins, **overrides)
            own = own_file(technology, plugins) is not None
            yield project, dataset_folder(options.out, project.design, own=own)


def _is_circuit(path: Path) -> bool:
    return path.name == "circuit.yaml"


def _technologies(circuit: Circuit, asked: Sequence[str]) -> Sequence[str]:
    if ALL in asked:
        return circuit.technologies
    return list(dict.fromkeys(asked)) or circuit.technologies[:1]


def _check_distinct(projects: Sequence[tuple[Project, Path]]) -> None:
    """Raises DesignError where two would go to the same folder."""
    seen: dict[Path, Project] = {}
    for project, folder in projects:
        other = seen.setdefault(folder, project)
        if other is not project:
            text = f"another design here is called {project.design.name} too"
            raise DesignError([Mistake(text, project.design.path, hint="give it another --out")])


def _title(project: Project) -> str:
    technology = project.design.technology
    return f"{project.design.name} in {technology.name}" if technology else project.design.name


def _line(project: Project, made: Made) -> str:
    manifest = made.manifest
    failed = manifest.points - manifest.counts.get("complete", 0)
    text = f"{_title(project)}: {manifest.points} points"
    if failed:
        text += f", {failed} of them failed"
    if made.simulated:
        text += f"; {made.simulated} simulated in {duration(made.seconds)}"
    else:
        text += "; all were there"
    return f"{text}: {made.folder}"


def _json(made: Made) -> dict[str, Any]:
    manifest = made.manifest
    return {
        "folder": str(made.folder),
        "circuit": manifest.identity["circuit"],
        "technology": manifest.identity["technology"],
        "points": manifest.points,
        "states": manifest.counts,
        "shards": len(manifest.shards),
        "simulated": made.simulated,
        "seconds": round(made.seconds, 6),
    }
