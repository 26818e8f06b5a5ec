"""`m3eda plugins` and its subcommands, the commands that plugins bring, and warnings of plugins.

click only, the work is done elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from m3eda.cli_options import FOLDER, duration
from m3eda.errors import ExitCode, PluginError, PluginWarning

if TYPE_CHECKING:
    from m3eda.plugin_table import Table


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.pass_context
def plugins(context: click.Context, as_json: bool) -> ExitCode:
    """List the plugins: where each comes from, what it registers, and why one does not work."""
    if context.invoked_subcommand is None:
        from m3eda.plugin_list import list_command

        return list_command(sys.stdout, as_json=as_json)
    return ExitCode.SPECS_MET


@plugins.command()
@click.argument("name")
@click.option(
    "--option",
    "pairs",
    metavar="KEY=VALUE",
    multiple=True,
    help="Build it with this option, as a design gives it; may be repeated.",
)
@click.option(
    "--timeout",
    type=duration,
    default="2m",
    show_default=True,
    metavar="TIME",
    help="Largest time of one behaviour.",
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Tell what holds too, and failures in full.")
def check(
    name: str, pairs: tuple[str, ...], timeout: float, as_json: bool, verbose: bool
) -> ExitCode:
    """Run the contract of NAME: a plugin, what one registers, or a plugin's file."""
    from m3eda.plugin_check import CheckOptions, check_command, read_options

    chosen = CheckOptions(read_options(pairs), timeout, as_json, verbose)
    return check_command(name, sys.stdout, chosen)


@plugins.command()
@click.argument("kind", type=click.Choice(["simulator", "agent", "measure", "technology"]))
@click.argument("name")
@click.option(
    "--dir",
    "folder",
    type=FOLDER,
    default=".",
    show_default=True,
    help="Write the folder NAME in this one.",
)
def new(kind: str, name: str, folder: Path) -> ExitCode:
    """Write a plugin that works, with its test, into a new folder NAME."""
    from m3eda.plugin_new import new_command

    return new_command(kind, name, folder, sys.stdout)


def commands(context: click.Context) -> Mapping[str, click.Command]:
    """The commands that plugins bring, loaded when first asked for."""
    table = _table(context)
    return table if table is not None else {}


def command(context: click.Context, name: str) -> click.Command | None:
    """A plugin's command. Raises PluginError where several plugins bring one of that name."""
    table = _table(context)
    if table is None or name not in {**table, **table.doubled}:
        return None
    found: click.Command = table.look_up(name)
    return found


def _table(context: click.Context) -> Table | None:
    """None where M3EDA_PLUGINS is wrong: the help must work then too."""
    kept = context.find_root().meta
    if __name__ not in kept:
        from m3eda.plugins import Plugins

        try:
            table = kept[__name__] = Plugins().table("commands")
            for name in table.keys() & getattr(context.find_root().command, "commands", {}).keys():
                owner = table.owners[name]
                text = f"plugin {owner}: the command '{name}' is m3eda's own and stays so"
                warnings.warn(text, PluginWarning, stacklevel=2)
        except PluginError as error:
            click.echo(f"m3eda: {error}", err=True)
            kept[__name__] = None
    found: Table | None = kept[__name__]
    return found


@contextlib.contextmanager
def told_once() -> Iterator[None]:
    """What is wrong with plugins becomes one line on stderr, once however often they are built."""
    told: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", PluginWarning)
        otherwise = warnings.showwarning

        def show(message: Any, category: Any, *place: Any, **more: Any) -> None:
            if not issubclass(category, PluginWarning):
                otherwise(message, category, *place, **more)
            elif str(message) not in told:
                told.add(str(message))
                click.echo(f"m3eda: {message}", err=True)

        warnings.showwarning = show
        yield


def hush() -> None:
    """Say nothing of plugins that the command does not need, until it ends."""
    warnings.simplefilter("ignore", PluginWarning)


def end_in_time(code: int) -> None:
    """End this process with `code` after a while, though a plugin has left a thread running.

    What ends by itself until then ends as it would.
    """
    from m3eda.plugin_guard import PROGRAM_LIMIT, limit

    def left() -> list[str]:
        main, every = threading.main_thread(), threading.enumerate()
        return sorted({each.name for each in every if not each.daemon and each is not main})

    def end() -> None:
        time.sleep(seconds)
        text = f"m3eda: threads of a plugin do not end and are left behind: {', '.join(left())}"
        click.echo(text, err=True)
        os._exit(code)

    with contextlib.suppress(PluginError):
        if left() and (seconds := limit(PROGRAM_LIMIT)):
            threading.Thread(target=end, daemon=True).start()
