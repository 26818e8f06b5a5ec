"""`m3eda crosscheck`: click only, the work is done elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from m3eda import cli_plugins
from m3eda.cli_options import DESIGN, FILE, JOBS, SET, SIZING, TIMEOUT
from m3eda.errors import ExitCode


@click.command()
@DESIGN
@click.option("--simulator", help="The one simulator (default: the design's).")
@click.option(
    "--against",
    metavar="NAME",
    help="The other one (default: xyce beside ngspice, else ngspice); its values are the right "
    "ones.",
)
@click.option(
    "--points",
    type=click.IntRange(1),
    help="Sizings to compare: the nominal one, and random ones beside it (default: 10).",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Seed of the random sizings.",
)
@SET
@SIZING
@click.option("--sizings", type=FILE, help="Compare at the sizings of this JSON file.")
@click.option(
    "--tolerance",
    "tolerances",
    metavar="NAME=VALUE",
    multiple=True,
    help="Let this measure differ by 1e-3 or 1% of its value, or by 0.1deg, 1mV...; a VALUE alone "
    "is for all; may be repeated.",
)
@click.option(
    "--option",
    "options",
    metavar="SIMULATOR.KEY=VALUE",
    multiple=True,
    help="Give one of both simulators an option, as under `simulator: options:`; may be repeated.",
)
@TIMEOUT
@JOBS
@click.option("--cold", is_flag=True, help="Start a simulator process for every run.")
@click.option("--no-cache", is_flag=True, help="Neither take results from other runs, nor give.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def crosscheck(
    design: Path, jobs: int, cold: bool, no_cache: bool, timeout: float | None, as_json: bool,
    **given: Any,
) -> ExitCode:  # fmt: skip
    """Simulate sizings of DESIGN on two simulators, and compare what each measure gave.

    Exit codes: 0 they agree, 1 they do not.
    """
    from m3eda.crosscheck.command import CrosscheckOptions, crosscheck_command
    from m3eda.flow import Execution, Project

    if given["quiet"]:
        cli_plugins.hush()
    project = Project.load(design, timeout=timeout)
    execution = Execution(jobs=jobs, cold=cold, cache=not no_cache)
    options = CrosscheckOptions(json=as_json, execution=execution, **given)
    return crosscheck_command(project, options, sys.stdout)
