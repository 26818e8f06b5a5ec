"""`m3eda dataset`: click only, the work is done elsewhere."""

from __future__ import annotations

from typing import Any

import click

from m3eda import cli_plugins
from m3eda.cli_options import FOLDER, JOBS, TIMEOUT
from m3eda.errors import ExitCode


@click.command()
@click.argument("circuit", nargs=-1, required=True)
@click.option(
    "--technology",
    "technologies",
    metavar="NAME",
    multiple=True,
    help="Take circuits of the library in this technology (default: each in its own; `all`: every "
    "one it supports); may be repeated.",
)
@click.option(
    "--points",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    help="Points each dataset is to have in the end.",
)
@click.option(
    "-o", "--out", type=FOLDER, required=True, help="Below it each dataset gets its folder."
)
@click.option(
    "--sampling",
    type=click.Choice(["sobol", "random", "log"]),
    default="sobol",
    show_default=True,
    help="How points are spread: over each parameter's own scale, or over logarithmic ones.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the points.")
@click.option(
    "--corners", is_flag=True, help="Simulate each point at one corner, the nominal or another."
)
@JOBS
@TIMEOUT
@click.option("--simulator", help="Use this simulator in place of the design's.")
@click.option(
    "--strict", is_flag=True, help="Simulate in no way that could differ from a fresh simulator's."
)
@click.option(
    "--repair", is_flag=True, help="Simulate the points of damaged and missing shards anew."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def dataset(circuit: tuple[str, ...], **options: Any) -> ExitCode:
    """Simulate points of each CIRCUIT, of the library or a design.yaml, into compressed files.

    The same command goes on where it was stopped, by whatever.
    """
    from m3eda.learning.command import DatasetOptions, dataset_command

    if options["quiet"]:
        cli_plugins.hush()
    return dataset_command(circuit, DatasetOptions(**options))
