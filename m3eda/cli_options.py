"""Arguments and kinds of options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

DESIGN = click.argument("design", type=click.Path(path_type=Path, dir_okay=False))
FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
SET = click.option(
    "--set",
    "assignments",
    metavar="NAME=VALUE",
    multiple=True,
    help="Give a parameter this value; may be repeated.",
)
SIZING = click.option(
    "--sizing", type=FILE, help="Take the values of this sizing.json, as a run has written it."
)


def duration(text: str) -> float:
    """A time written as `90`, `90s`, `5m` or `2h`, in seconds. Raises click.BadParameter."""
    factor = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text.strip().lower()[-1:])
    try:
        seconds = float(text.strip()[:-1]) * factor if factor else float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 < seconds < float("inf"):
        raise click.BadParameter(f"'{text}' is no time (expected 90, 90s, 5m or 2h)")
    return seconds


def share(text: str) -> float:
    """A share between 0 and 1, written as `0.997` or `99.7%`. Raises click.BadParameter."""
    bare = text.strip()
    try:
        found = float(bare.removesuffix("%")) * (0.01 if bare.endswith("%") else 1.0)
    except ValueError:
        found = -1.0
    if not 0.0 < found < 1.0:
        raise click.BadParameter(f"'{text}' is no share (expected 99.7% or 0.997)")
    return found


def room(text: str) -> int:
    """A size written as `800k`, `500M` or `2G`, in bytes. Raises click.BadParameter."""
    from m3eda.simulate.cache_place import parse_size

    try:
        return parse_size(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


TIMEOUT = click.option(
    "--timeout", type=duration, metavar="TIME", help="Largest time of one simulator run."
)
JOBS = click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Simulations run at once on this machine.",
)
