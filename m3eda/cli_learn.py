"""`m3eda learn`: click only, the work is done elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from m3eda import cli_plugins
from m3eda.cli_options import DESIGN, FOLDER, JOBS, TIMEOUT, duration
from m3eda.errors import ExitCode


@click.command()
@DESIGN
@click.option(
    "--simulations",
    type=click.IntRange(100),
    default=20_000,
    show_default=True,
    help="Sizings to learn from.",
)
@click.option(
    "--seconds",
    "seconds",
    type=duration,
    metavar="TIME",
    help="Wall time for all of it, such as 60s, in which at most --simulations are made.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the sizings."
)
@click.option("--run-dir", type=FOLDER, help="The run's folder (default: runs/<design>).")
@click.option("--fresh", is_flag=True, help="Fit the networks anew; simulations are kept.")
@click.option(
    "--ledger/--no-ledger",
    default=True,
    help="Take along what earlier runs have simulated of the circuit (default: --ledger).",
)
@click.option(
    "--add",
    type=FOLDER,
    metavar="RUN",
    multiple=True,
    help="Take along what this run of the same circuit has simulated, from now on.",
)
@click.option(
    "--from",
    "begin",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Begin with the networks of this file: of a circuit like it, by an earlier `m3eda learn`.",
)
@JOBS
@TIMEOUT
@click.option("--json", "as_json", is_flag=True, help="Print what was learnt as JSON on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def learn(design: Path, timeout: float | None, **options: Any) -> ExitCode:
    """Learn the circuit of DESIGN by simulating all over its space, for the agent `m3`.

    Afterwards any specs on its measures take about one simulation each. The same command goes on
    where it was stopped, by whatever.
    """
    from m3eda.flow import Project
    from m3eda.policy.learn import LearnOptions, learn_command

    if options["add"] and not options["ledger"]:
        raise click.UsageError("--add and --no-ledger exclude each other")
    if options["quiet"]:
        cli_plugins.hush()
    return learn_command(Project.load(design, timeout=timeout), LearnOptions(**options))
