"""The command line: click only, one function a command, and the one place that catches errors."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from m3eda import __version__, cli_library, cli_plugins
from m3eda.cli_crosscheck import crosscheck
from m3eda.cli_dataset import dataset
from m3eda.cli_import import import_designs, init
from m3eda.cli_learn import learn
from m3eda.cli_options import DESIGN, FILE, FOLDER, JOBS, SET, SIZING, TIMEOUT, duration, room
from m3eda.cli_signoff import explain, port, verify
from m3eda.cli_train import train
from m3eda.design.types import STRATEGIES
from m3eda.errors import ExitCode, M3edaError
from m3eda.report.atomic import silence

if TYPE_CHECKING:
    from m3eda.flow import Execution


class Interrupted(Exception):
    """Ctrl-C or SIGTERM, on its way past click, which would print an empty line."""


class ReaderGone(Exception):
    """Nobody reads standard output any more; on its way past click, which would exit with 1."""


@contextlib.contextmanager
def _past_click() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted from error
    except BrokenPipeError as error:
        raise ReaderGone from error


class Commands(click.Group):
    """The built-in commands, and those of plugins, which are loaded only when asked for."""

    def make_context(self, *arguments: Any, **settings: Any) -> click.Context:
        with _past_click():
            return super().make_context(*arguments, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        with _past_click():
            return super().invoke(ctx)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return super().get_command(ctx, name) or cli_plugins.command(ctx, name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *cli_plugins.commands(ctx)})


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Size analog circuits on your own SPICE simulator.

    Exit codes: 0 specs met, 1 specs not met, 2 bad input, 3 simulator missing or broken,
    4 files that cannot be written, 130 interrupted.
    """


@cli.command()
@DESIGN
@click.option("-o", "--output", type=FILE, help="Write the sized netlist here when specs are met.")
@click.option("--run-dir", type=FOLDER, help="Keep the run here (default: runs/ beside DESIGN).")
@click.option("--agent", help="Use this agent in place of the design's.")
@click.option("--policy", type=FILE, help="Go by the networks of this file of `m3eda learn`.")
@click.option("--simulator", help="Use this simulator in place of the design's.")
@click.option("--budget", type=click.IntRange(1), help="Largest number of simulated sizings.")
@click.option(
    "--time", "seconds", type=duration, metavar="TIME", help="Largest wall time: 90s, 5m, 2h."
)
@click.option("--seed", type=click.IntRange(0), help="Seed of the agent.")
@click.option(
    "--corner",
    "corners",
    metavar="NAME",
    multiple=True,
    help="Specs must hold at this corner too (`all`: at every one); may be repeated.",
)
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    help="How corners are taken up while sizing (default: auto).",
)
@click.option(
    "--batch",
    type=click.IntRange(1),
    help="Sizings asked from the agent at once; else as many as --jobs keeps busy.",
)
@TIMEOUT
@JOBS
@click.option(
    "--strict", is_flag=True, help="Simulate in no way that could differ from a fresh simulator's."
)
@click.option("--cold", is_flag=True, help="Start a simulator process for every run.")
@click.option("--executor", help="Where simulations run: local, dask, or a plugin's.")
@click.option(
    "--scheduler", metavar="ADDRESS", help="Join the Dask cluster whose scheduler listens here."
)
@click.option(
    "--licences", type=click.IntRange(1), help="Largest number of simulators at once, anywhere."
)
@click.option("--no-cache", is_flag=True, help="Neither take results from other runs, nor give.")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the run directory, and learn from its runs with other specs.",
)
@click.option("--fresh", is_flag=True, help="Set an earlier ledger aside and begin anew.")
@click.option(
    "--keep-best", is_flag=True, help="Write -o with the best found if specs are not met."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
@click.option("--stream", is_flag=True, help="Print each trial, then the result, as JSON lines.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Tell where the time went.")
@click.option("--explain", is_flag=True, help="Tell what the agent foretold of each sizing.")
@click.option("--depfile", type=FILE, help="Write what the result depends on, for make.")
@click.option("-n", "--dry-run", is_flag=True, help="Print the decks and the cost; run nothing.")
def size(design: Path, dry_run: bool, as_json: bool, **options: Any) -> ExitCode:
    """Find sizes that meet every spec of DESIGN, a design.yaml."""
    from m3eda import commands, inspection
    from m3eda.flow import Project

    if options["resume"] and options["fresh"]:
        raise click.UsageError("--resume and --fresh exclude each other")
    if options["quiet"]:
        cli_plugins.hush()
    if options["policy"] and options["agent"] not in {None, "auto", "m3"}:
        raise click.UsageError(f"--policy is for the agent m3, not for {options['agent']}")
    own = ("agent", "policy", "simulator", "budget", "seconds", "seed", "batch", "timeout",
           "corners", "strategy")  # fmt: skip
    project = Project.load(design, **{key: options.pop(key) for key in own})
    execution = _execution(options)
    if dry_run:
        inspection.dry_run(project, sys.stdout)
        return ExitCode.SPECS_MET
    chosen = commands.SizeOptions(json=as_json, execution=execution, **options)
    return commands.size_command(project, chosen)


def _execution(options: dict[str, Any]) -> Execution:
    """Takes the options on where and how simulations run out of `options`."""
    from m3eda.flow import Execution

    scheduler = options.pop("scheduler") or ""
    return Execution(
        jobs=options.pop("jobs"),
        strict=options.pop("strict"),
        cold=options.pop("cold"),
        executor=options.pop("executor") or ("dask" if scheduler else "local"),
        scheduler=scheduler,
        licences=options.pop("licences") or 0,
        cache=not options.pop("no_cache"),
    )


@cli.command()
@DESIGN
@SET
@SIZING
@click.option("--simulator", help="Use this simulator in place of the design's.")
@TIMEOUT
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option(
    "--strict", is_flag=True, help="Compare every way to simulate with a fresh simulator process."
)
def check(
    design: Path,
    assignments: tuple[str, ...],
    sizing: Path | None,
    simulator: str | None,
    timeout: float | None,
    as_json: bool,
    strict: bool,
) -> ExitCode:
    """Check DESIGN, simulate one point, and print what each measure gave."""
    from m3eda import inspection
    from m3eda.flow import Project

    project = Project.load(design, simulator=simulator, timeout=timeout)
    values = inspection.given_sizing(project, assignments, sizing)
    look = inspection.compare_command if strict else inspection.check_command
    return look(project, sys.stdout, as_json=as_json, sizing=values)


@cli.command()
@DESIGN
@SET
@SIZING
@click.option("--testbench", help="Only this testbench.")
@click.option("--sample", type=click.IntRange(1), help="As this Monte Carlo sample varies them.")
@click.option("--samples", type=click.IntRange(2), help="Of so many samples, with --sample.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the samples, with --sample.")
def render(
    design: Path,
    assignments: tuple[str, ...],
    sizing: Path | None,
    testbench: str | None,
    sample: int | None,
    samples: int | None,
    seed: int | None,
) -> ExitCode:
    """Print the decks of DESIGN as a simulator will read them."""
    from m3eda import inspection
    from m3eda.flow import Project

    project = Project.load(design)
    if sample is None and (samples or seed is not None):
        raise click.UsageError("--samples and --seed need --sample")
    if sample is not None:
        from m3eda.design.variation import with_variation

        varied = with_variation(project.design, samples=samples, seed=seed)
        project = replace(project, design=varied)
    values = inspection.given_sizing(project, assignments, sizing)
    inspection.render_command(project, sys.stdout, values, testbench, sample)
    return ExitCode.SPECS_MET


@cli.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "json"]),
    default="text",
    show_default=True,
    help="How to print it.",
)
def report(run: Path, form: str) -> ExitCode:
    """Print the report of RUN, a run directory, again."""
    from m3eda import commands

    return commands.report_command(run, form, sys.stdout)


@cli.command()
@click.option(
    "--prune", type=room, metavar="SIZE", help="Drop what was used least recently down to SIZE."
)
@click.option("--clear", is_flag=True, help="Drop everything.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def cache(prune: int | None, clear: bool, as_json: bool) -> ExitCode:
    """Show the cache of simulations that all runs share, or make room in it."""
    from m3eda import caching

    return caching.cache_command(sys.stdout, prune=prune, clear=clear, as_json=as_json)


@cli.command()
def schema() -> ExitCode:
    """Print the JSON Schema of design.yaml, for editors that complete and check."""
    import json

    from m3eda.design import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
    return ExitCode.SPECS_MET


cli.add_command(crosscheck)
cli.add_command(dataset)
cli.add_command(learn)
cli.add_command(train)
cli.add_command(verify)
cli.add_command(explain)
cli.add_command(port)
cli.add_command(cli_library.library)
cli.add_command(cli_library.new)
cli.add_command(cli_plugins.plugins)
cli.add_command(import_designs)
cli.add_command(init)


def main() -> None:
    """Entry point: runs the command line and exits with a documented code."""
    _open_standard_streams()
    signal.signal(signal.SIGTERM, _interrupt)
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        # an agent's matrices are small: a second thread only spins on the simulator's core
        os.environ.setdefault(variable, "1")
    code = int(run(sys.argv[1:]))
    cli_plugins.end_in_time(code)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; every error becomes text on stderr."""
    try:
        with cli_plugins.told_once():
            code = int(cli.main(arguments, prog_name="m3eda", standalone_mode=False) or 0)
        sys.stdout.flush()
        return code
    except M3edaError as error:
        if os.environ.get("M3EDA_TRACEBACK"):
            traceback.print_exc()
        for line in str(error).splitlines():
            click.echo(f"m3eda: {line}", err=True)
        return error.exit_code
    except click.ClickException as error:
        _show(error)
        return ExitCode.BAD_INPUT
    except (click.Abort, Interrupted, KeyboardInterrupt):
        click.echo("m3eda: interrupted", err=True)
        return ExitCode.INTERRUPTED
    except (ReaderGone, BrokenPipeError):
        # as with `| head`: nobody is left to be told
        silence(sys.stdout)
        return ExitCode.SPECS_MET
    except OSError as error:
        silence(sys.stdout)
        where = error.filename or "standard output"
        click.echo(f"m3eda: {where}: {error.strerror or error}", err=True)
        return ExitCode.STORAGE
    except Exception:  # noqa: BLE001  the last resort: a defect of m3eda itself, told in full
        traceback.print_exc()
        click.echo("m3eda: this is a defect; please report the lines above", err=True)
        return ExitCode.INTERNAL


def _show(error: click.ClickException) -> None:
    """A mistake on the command line as one line; the help where nothing was asked for."""
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        error.show()
        return
    context = getattr(error, "ctx", None)
    help_line = f" (see '{context.command_path} --help')" if context else ""
    click.echo(f"m3eda: {' '.join(error.format_message().split())}{help_line}", err=True)


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def _open_standard_streams() -> None:
    """Give closed standard streams to the null device.

    Else the next file opened, such as the ledger, would get the number of standard output or
    error, and what is printed would be written into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(descriptor)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        # a sign that the locale lacks is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
