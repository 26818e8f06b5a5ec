"""What `m3eda plugins` prints: every plugin, what it brings, and what is wrong with it."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator
from typing import IO, Any

from m3eda.errors import ExitCode
from m3eda.hookspecs import API_VERSION
from m3eda.plugins import WORDS, Plugin, Plugins

_HEAD = (("plugin", "from", "API"), ["registers"])

_LEAST_WIDTH = 30
"""Characters left for the last column, however narrow the terminal."""


def list_command(out: IO[str], *, as_json: bool) -> ExitCode:
    """Print every plugin of this process; one that fails is no failure of the list."""
    found = Plugins(silent=True)
    for hook in WORDS:
        found.table(hook)  # what is wrong may show only here
    entries = [_entry(plugin, found) for plugin in found.found.values()]
    if as_json:
        data = {"api": API_VERSION, "plugins": entries, "problems": found.odd}
        out.write(f"{json.dumps(data, indent=2)}\n")
        return ExitCode.SPECS_MET
    rows = [_HEAD, *map(_row, entries)]
    widths = [max(len(cells[column]) for cells, _ in rows) for column in range(3)]
    width = shutil.get_terminal_size().columns if out.isatty() else 0
    for cells, lines in rows:
        head = "".join(cell.ljust(wide + 2) for cell, wide in zip(cells, widths, strict=True))
        for line in lines:
            for part in _wrapped(line, width - len(head) if width else 0):
                out.write(f"{head}{part}".rstrip() + "\n")
                head = " " * len(head)
    for line in found.odd:
        out.write(f"{line}\n")
    return ExitCode.SPECS_MET


def _entry(plugin: Plugin, found: Plugins) -> dict[str, Any]:
    source = plugin.source
    registers = {
        hook: sorted(n for n, owner in found.table(hook).owners.items() if owner == source)
        for hook in WORDS
        if f"register_{hook}" in plugin.hooks
    }
    return {
        "name": source.file.name if source.file is not None else source.name,
        "distribution": source.distribution,
        "version": source.version,
        "file": str(source.file or ""),
        "api": plugin.api,
        "hooks": list(plugin.hooks),
        "registers": registers,
        "problems": [
            line.removeprefix(f"plugin {source}").lstrip(": ") for line in plugin.problems
        ],
    }


def _row(entry: dict[str, Any]) -> tuple[tuple[str, str, str], list[str]]:
    where = entry["file"] or f"{entry['distribution']} {entry['version']}".strip()
    api = "-" if entry["api"] is None else str(entry["api"])
    return (entry["name"], where, api), list(_lines(entry))


def _lines(entry: dict[str, Any]) -> Iterator[str]:
    for hook, names in entry["registers"].items():
        yield f"{hook}: {', '.join(names) or 'none'}"
    yield from (hook for hook in entry["hooks"] if not hook.startswith("register_"))
    yield from entry["problems"]


def _wrapped(line: str, width: int) -> list[str]:
    """`line` in parts of at most `width` characters; whole where that is 0."""
    if not width:
        return [line]
    return textwrap.wrap(line, max(width, _LEAST_WIDTH), subsequent_indent="  ")
