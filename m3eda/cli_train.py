"""`m3eda train`: click only, the work is done elsewhere."""

from __future__ import annotations

from typing import Any

import click

from m3eda import cli_plugins
from m3eda.cli_options import FILE, FOLDER, JOBS
from m3eda.errors import ExitCode


@click.command()
@click.argument("config", type=FILE)
@click.option(
    "-o", "--out", type=FOLDER, help="The run's folder (default: training/<name> beside CONFIG)."
)
@click.option("--seed", type=click.IntRange(0), help="In place of the configuration's.")
@click.option("--steps", type=click.IntRange(1), help="In place of the configuration's.")
@click.option("--method", help="In place of the configuration's.")
@click.option("--fresh", is_flag=True, help="Set an earlier training in the folder aside.")
@JOBS
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Of the networks; more than one is slower on small machines.",
)
@click.option(
    "--device", default="cpu", show_default=True, help="Of the networks: cpu, cuda, cuda:1."
)
@click.option("--json", "as_json", is_flag=True, help="Print the evaluations as JSON on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def train(config: Any, **options: Any) -> ExitCode:
    """Train a policy over many circuits, as CONFIG says (a line `m3eda: 1` takes every default).

    The same command goes on where it was stopped, by whatever.
    """
    from m3eda.policy.command import TrainOptions, train_command

    if options["quiet"]:
        cli_plugins.hush()
    return train_command(config, TrainOptions(**options))
