"""`m3eda library` and `m3eda new`: click only, the work is done elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from m3eda.cli_options import FOLDER
from m3eda.errors import ExitCode

TECHNOLOGY = click.option(
    "-t", "--technology", default="", help="A technology's name, or the path of a technology.yaml."
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")


@click.group(invoke_without_command=True)
@click.option("--group", "group", help="Only circuits of this group: amplifier, regulator...")
@AS_JSON
@click.pass_context
def library(context: click.Context, group: str | None, as_json: bool) -> ExitCode:
    """List the circuits of the library: proven designs to begin with."""
    if context.invoked_subcommand is not None:
        if group is not None or as_json:
            raise click.UsageError("--group and --json stand behind the command's name")
        return ExitCode.SPECS_MET
    return _list([], group, as_json)


@library.command("list")
@click.option("--group", "group", help="Only circuits of this group: amplifier, regulator...")
@AS_JSON
def list_(group: str | None, as_json: bool) -> ExitCode:
    """List the circuits, a line each."""
    return _list([], group, as_json)


@library.command()
@click.argument("words", nargs=-1, required=True)
@AS_JSON
def search(words: tuple[str, ...], as_json: bool) -> ExitCode:
    """List the circuits in whose description all WORDS occur."""
    return _list(list(words), None, as_json)


@library.command()
@click.argument("circuit")
@TECHNOLOGY
@click.option("--targets", is_flag=True, help="List the targets in place of all else.")
@AS_JSON
def show(circuit: str, technology: str, targets: bool, as_json: bool) -> ExitCode:
    """Tell all about CIRCUIT: a drawing, parameters, measures, technologies."""
    from m3eda.circuits.opening import catalogue, open_circuit
    from m3eda.circuits.targets import targets_of
    from m3eda.circuits.technology import own_file
    from m3eda.errors import DesignError, Mistake
    from m3eda.plugins import Plugins
    from m3eda.report import library as pages

    plugins = Plugins()
    found = catalogue(plugins).circuit(circuit)
    if as_json and not targets:
        click.echo(json.dumps(pages.circuit_json(found), indent=2))
        return ExitCode.SPECS_MET
    design = open_circuit(found, technology, plugins=plugins).design
    name = design.technology.name if design.technology is not None else ""
    known = targets_of(found, name) if own_file(technology, plugins) is None else None
    if not targets:
        pages.print_page(found, design, technology or name, known, sys.stdout)
    elif known is None:
        raise DesignError([Mistake(f"{found.name} has no targets in {name}")])
    elif as_json:
        click.echo(json.dumps(pages.targets_json(known), indent=2))
    else:
        pages.print_targets(found, design, known, sys.stdout)
    return ExitCode.SPECS_MET


@click.command()
@click.argument("circuit")
@click.argument("folder", type=FOLDER, required=False)
@TECHNOLOGY
@click.option(
    "--target",
    type=int,
    metavar="N",
    help="Take the specs of target N, from 1, the easiest, on (default: the middle one).",
)
def new(circuit: str, folder: Path | None, technology: str, target: int | None) -> ExitCode:
    """Make FOLDER (default: CIRCUIT) with a circuit of the library, ready to size."""
    from m3eda.circuits.copying import copy_of
    from m3eda.circuits.opening import catalogue
    from m3eda.plugins import Plugins
    from m3eda.report.atomic import write_new
    from m3eda.report.library import next_lines

    plugins = Plugins()
    found = catalogue(plugins).circuit(circuit)
    place = folder or Path(found.name)
    models = technology or found.technologies[0]
    copy = copy_of(found, models, place, plugins, target)
    for path in write_new(copy.folder, copy.texts):
        click.echo(f"wrote {path}")
    click.echo("next:")
    for line in next_lines(place):
        click.echo(f"  {line}")
    return ExitCode.SPECS_MET


def _list(words: list[str], group: str | None, as_json: bool) -> ExitCode:
    from m3eda.circuits.opening import catalogue
    from m3eda.circuits.schema import GROUPS
    from m3eda.report import library as pages

    if group is not None and group not in GROUPS:
        raise click.UsageError(f"no group is called '{group}' (known: {', '.join(GROUPS)})")
    known = catalogue()
    found = known.search(words) if words else known.circuits()
    chosen = [each for each in found if group in (None, each.file.group)]
    if as_json:
        data: list[dict[str, Any]] = [pages.circuit_json(each) for each in chosen]
        click.echo(json.dumps(data, indent=2))
    elif chosen:
        pages.print_list(chosen, sys.stdout)
    else:
        click.echo("m3eda: no circuit has all these words", err=True)
    return ExitCode.SPECS_MET if chosen else ExitCode.SPECS_NOT_MET
