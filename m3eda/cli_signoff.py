"""`m3eda verify`: click only, the work is done in `signoff`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from m3eda.cli_options import DESIGN, FOLDER, JOBS, SET, SIZING, TIMEOUT
from m3eda.errors import DesignError, ExitCode, Mistake


@click.command()
@DESIGN
@SET
@SIZING
@click.option("--run-dir", type=FOLDER, help="The run to verify (default: runs/ beside DESIGN).")
@click.option(
    "--corner", "corners", metavar="NAME", multiple=True, help="Only this one; may be repeated."
)
@click.option("--simulator", help="Use this simulator in place of the design's.")
@TIMEOUT
@JOBS
@click.option(
    "--strict", is_flag=True, help="Simulate in no way that could differ from a fresh simulator's."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "json"]),
    default="text",
    show_default=True,
    help="How to print it.",
)
def verify(
    design: Path,
    assignments: tuple[str, ...],
    sizing: Path | None,
    run_dir: Path | None,
    corners: tuple[str, ...],
    simulator: str | None,
    timeout: float | None,
    jobs: int,
    strict: bool,
    form: str,
) -> ExitCode:
    """Simulate a sizing of DESIGN at every corner and hold it against every spec.

    The sizing is that of the design's last run, or of --sizing, with --set over it. Exit code 0
    where every spec holds at every corner, 1 where one does not.
    """
    from m3eda.flow import Execution, Project
    from m3eda.inspection import given_sizing
    from m3eda.loop import run_directory
    from m3eda.signoff.verify import chosen_corners, verify_command

    project = Project.load(design, simulator=simulator, timeout=timeout)
    chosen = chosen_corners(project.design, corners)
    folder = run_dir or run_directory(project.design)
    file = sizing or folder / "sizing.json"
    if sizing is None and not file.is_file():
        hint = "`m3eda size` makes one, or give --sizing FILE"
        raise DesignError([Mistake(f"there is no sizing to verify: {file}", design, hint=hint)])
    values = {**project.nominal_sizing(), **given_sizing(project, assignments, file)}
    execution = Execution(jobs=jobs, strict=strict)
    return verify_command(project, values, chosen, execution, folder, form, sys.stdout)
