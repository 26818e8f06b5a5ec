"""`m3eda verify`, `explain` and `port`: click only, the work is done elsewhere."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from m3eda.cli_options import DESIGN, FOLDER, JOBS, SET, SIZING, TIMEOUT, share
from m3eda.design.types import NOMINAL
from m3eda.errors import DesignError, ExitCode, Mistake

if TYPE_CHECKING:
    from m3eda.design.types import Sizing
    from m3eda.flow import Project

MOST_RARE = 20_000
"""Simulations that --high-sigma may take where --samples does not say."""

RUN_DIR = click.option(
    "--run-dir", type=FOLDER, help="The run whose sizing it is (default: runs/ beside DESIGN)."
)
SIMULATOR = click.option("--simulator", help="Use this simulator in place of the design's.")
STRICT = click.option(
    "--strict", is_flag=True, help="Simulate in no way that could differ from a fresh simulator's."
)
FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "json"]),
    default="text",
    show_default=True,
    help="How to print it.",
)


@click.command()
@DESIGN
@SET
@SIZING
@RUN_DIR
@click.option(
    "--corner", "corners", metavar="NAME", multiple=True, help="Only this one; may be repeated."
)
@click.option(
    "--monte-carlo",
    "drawn",
    is_flag=True,
    help="Draw samples of mismatch, process and tolerances, as the design's `variation` says.",
)
@click.option(
    "--high-sigma",
    "rare",
    is_flag=True,
    help="Find the likeliest ways to fail and how seldom that is, by importance sampling.",
)
@click.option("--samples", type=click.IntRange(2), help="Largest number of samples.")
@click.option(
    "--yield",
    "target",
    type=share,
    metavar="SHARE",
    help="Sample until this yield (99.7%) is shown or refuted.",
)
@click.option("--seed", type=click.IntRange(0), help="Seed of the samples.")
@click.option("--sample", type=click.IntRange(1), help="Simulate this one sample again.")
@SIMULATOR
@TIMEOUT
@JOBS
@STRICT
@FORMAT
def verify(
    design: Path,
    assignments: tuple[str, ...],
    sizing: Path | None,
    run_dir: Path | None,
    corners: tuple[str, ...],
    drawn: bool,
    rare: bool,
    simulator: str | None,
    timeout: float | None,
    jobs: int,
    strict: bool,
    form: str,
    sample: int | None,
    **wanted: Any,
) -> ExitCode:
    """Simulate a sizing of DESIGN at every corner and hold it against every spec.

    The sizing is that of the design's last run, or of --sizing, with --set over it. Exit code 0
    where every spec holds at every corner, 1 where one does not. With --monte-carlo samples are
    drawn at the nominal corner, or at each --corner; exit code 0 where the wanted yield is shown.
    """
    from m3eda.flow import Execution, Project
    from m3eda.signoff.verify import chosen_corners, verify_command

    if not (drawn or rare) and (sample or any(value is not None for value in wanted.values())):
        raise click.UsageError("--samples, --yield, --seed and --sample need --monte-carlo")
    if rare and sample:
        raise click.UsageError("--sample is one of --monte-carlo")
    if drawn and rare:
        raise click.UsageError("--monte-carlo and --high-sigma exclude each other")
    project = Project.load(design, simulator=simulator, timeout=timeout)
    folder, values = _sizing(project, run_dir, sizing, assignments, "verify")
    execution = Execution(jobs=jobs, strict=strict)
    if not (drawn or rare):
        chosen = chosen_corners(project.design, corners)
        return verify_command(project, values, chosen, execution, folder, form, sys.stdout)
    from m3eda.design.variation import with_variation
    from m3eda.signoff.monte_carlo_report import monte_carlo_command

    varied = replace(
        project,
        design=with_variation(
            project.design, samples=wanted["samples"], yield_target=wanted["target"],
            seed=wanted["seed"],
        ),
    )  # fmt: skip
    chosen = chosen_corners(project.design, corners or (NOMINAL,))
    if rare:
        if len(chosen) > 1:
            raise click.UsageError("--high-sigma looks at one corner")
        from m3eda.signoff.high_sigma_report import high_sigma_command

        most = wanted["samples"] or MOST_RARE
        return high_sigma_command(
            varied, values, chosen[0], execution, folder, form, sys.stdout, most
        )
    return monte_carlo_command(varied, values, chosen, execution, folder, form, sys.stdout, sample)


@click.command()
@DESIGN
@SET
@SIZING
@RUN_DIR
@click.option(
    "--method",
    type=click.Choice(["moves", "regression"]),
    default="moves",
    show_default=True,
    help="Simulate moves of each parameter and corner variable, or fit the run's trials.",
)
@SIMULATOR
@TIMEOUT
@JOBS
@STRICT
@FORMAT
def explain(
    design: Path,
    assignments: tuple[str, ...],
    sizing: Path | None,
    run_dir: Path | None,
    method: str,
    simulator: str | None,
    timeout: float | None,
    jobs: int,
    strict: bool,
    form: str,
) -> ExitCode:
    """Tell which spec of a sizing of DESIGN binds, what it depends on, and what betters it.

    The sizing is that of the design's last run, or of --sizing, with --set over it. Each parameter
    is moved a step up and a step down, and each corner variable to its ends, at the nominal corner.
    """
    from m3eda.flow import Execution, Project
    from m3eda.signoff.explain import explain_command

    project = Project.load(design, simulator=simulator, timeout=timeout)
    folder, values = _sizing(project, run_dir, sizing, assignments, "explain")
    execution = Execution(jobs=jobs, strict=strict)
    explain_command(project, values, execution, folder, method, form, sys.stdout)
    return ExitCode.SPECS_MET


@click.command()
@DESIGN
@click.option(
    "--to", required=True, metavar="TECHNOLOGY", help="A technology's name, or a technology.yaml."
)
@click.option(
    "-o",
    "--output",
    "folder",
    type=FOLDER,
    help="The new folder (default: beside that of DESIGN, called after design and technology).",
)
@click.option(
    "--strategy",
    type=click.Choice(["baseline", "start", "weights"]),
    default="start",
    show_default=True,
    help="What is shared with the run of before: nothing, sizings to start from, or these and the "
    "weights of the agent trust-region.",
)
@SET
@SIZING
@RUN_DIR
@click.option(
    "--starts",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Sizings of the run that are carried over at most.",
)
@click.option("--force", is_flag=True, help="Overwrite a design that is there.")
@SIMULATOR
@TIMEOUT
@FORMAT
def port(
    design: Path,
    to: str,
    folder: Path | None,
    strategy: str,
    assignments: tuple[str, ...],
    sizing: Path | None,
    run_dir: Path | None,
    starts: int,
    force: bool,
    simulator: str | None,
    timeout: float | None,
    form: str,
) -> ExitCode:
    """Carry DESIGN to another technology, into a folder of its own, ready to size.

    Supplies, corners and limits of sizes are mapped. The best sizings of the design's last run,
    else its start, or --sizing with --set over it, are rescaled so that each transistor keeps its
    current and its gm/Id.
    """
    from m3eda.flow import Project
    from m3eda.inspection import given_sizing
    from m3eda.porting.command import port_command

    project = Project.load(design, simulator=simulator, timeout=timeout)
    own = bool(sizing or assignments)
    given = given_sizing(project, assignments, sizing) if own else None
    return port_command(
        project, to, folder, strategy, given, run_dir, starts, force, form, sys.stdout
    )


def _sizing(
    project: Project,
    run_dir: Path | None,
    sizing: Path | None,
    assignments: tuple[str, ...],
    what: str,
) -> tuple[Path, Sizing]:
    """The run directory, and the sizing that is meant. Raises DesignError where there is none."""
    from m3eda.inspection import given_sizing
    from m3eda.places import run_directory

    folder = run_dir or run_directory(project.design)
    file = sizing or folder / "sizing.json"
    if sizing is None and not file.is_file():
        text = f"there is no sizing to {what}: {file}"
        hint = "`m3eda size` makes one, or give --sizing FILE"
        raise DesignError([Mistake(text, project.design.path, hint=hint)])
    return folder, {**project.nominal_sizing(), **given_sizing(project, assignments, file)}
