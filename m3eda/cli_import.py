"""`m3eda init` and `m3eda import`: click only, the work is done elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from m3eda.cli_options import FILE, FOLDER, TIMEOUT
from m3eda.errors import ExitCode

OUTPUT = click.option(
    "-o", "--output", type=FOLDER, help="The folder to make (default: named after the file)."
)


@click.command()
@click.argument("netlist", type=FILE)
@OUTPUT
@click.option(
    "--technology", default="", metavar="NAME", help="Take the models of this technology."
)
@click.option("--no-simulation", is_flag=True, help="Do not look what the circuit gives today.")
@TIMEOUT
def init(
    netlist: Path, output: Path | None, technology: str, no_simulation: bool, timeout: float | None
) -> ExitCode:
    """Make a design folder from NETLIST, a SPICE netlist; what is guessed is marked."""
    from m3eda.importing.command import InitOptions, init_command

    options = InitOptions(output, technology, not no_simulation, timeout)
    return init_command(netlist, options, sys.stdout)


@click.group("import")
def import_designs() -> None:
    """Make designs from the files of other tools."""


@import_designs.command()
@click.argument("datasheet", type=FILE)
@OUTPUT
@click.option("--netlist", type=FILE, help="The circuit's netlist (default: where DATASHEET says).")
@click.option("--templates", type=FOLDER, help="Folder with the templates, or their netlists.")
def cace(
    datasheet: Path, output: Path | None, netlist: Path | None, templates: Path | None
) -> ExitCode:
    """Make a design folder from DATASHEET, a CACE datasheet with its templates."""
    from m3eda.importing.cace import cace_command

    return cace_command(datasheet, output, netlist, templates, sys.stdout)
