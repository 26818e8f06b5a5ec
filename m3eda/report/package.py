"""The files of a finished run: sized netlists, parameters, sizing and spec tables.

What the files hold depends on the result alone: no times and no dates, so that a result found
again leaves them untouched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from m3eda.report.atomic import make_directory, write_atomic
from m3eda.report.summary import Summary
from m3eda.report.tables import ascii_safe, one_line, plain_text, spec_table
from m3eda.report.text import (
    headline,
    json_text,
    markdown_report,
    origin_lines,
    sizing_json,
    text_report,
)
from m3eda.simulate.render import number


@dataclass(frozen=True)
class Written:
    """The files that stand after a run."""

    paths: tuple[Path, ...]
    changed: tuple[Path, ...]
    """Those whose content is new."""
    output: Path | None = None
    """The user's own output file, where it was written or held the result already."""


def write_outputs(
    run_dir: Path,
    summary: Summary,
    decks: Mapping[str, str],
    netlist: str,
    *,
    output: Path | None = None,
    keep_best: bool = False,
) -> Written:
    """Write everything a run leaves into `run_dir`, and the sized netlist to `output`.

    `decks` are the rendered decks of the best sizing by testbench, `netlist` what is handed over.
    `output` is written last, and only where every spec is met or `keep_best` is set. Raises
    StorageError, with what was written before standing whole.
    """
    make_directory(run_dir)
    name = file_stem(summary.design.name)
    contents = {
        "sizing.json": json_text(sizing_json(summary)),
        "specs.txt": text_report(summary, run=False),
        "specs.md": markdown_report(summary, run=False),
    }
    if summary.best is not None:
        contents[f"{name}.cir"] = with_provenance(netlist, summary)
        contents[f"{name}.param"] = param_include(summary)
        for testbench, deck in decks.items():
            contents[f"{name}_{file_stem(testbench)}.cir"] = with_provenance(deck, summary)
    files = {run_dir / file: content for file, content in contents.items()}
    handed_over = output if summary.met or (keep_best and summary.best is not None) else None
    if handed_over is not None:
        files[handed_over] = with_provenance(netlist, summary)
    changed = tuple(path for path, content in files.items() if write_atomic(path, content))
    return Written(tuple(files), changed, handed_over)


def with_provenance(netlist: str, summary: Summary) -> str:
    """`netlist` with its origin as comments below the first line, which SPICE takes as the title.

    Lines that continue the first (`+`) stay with it: a bare subcircuit has no title.
    """
    lines = netlist.splitlines(keepends=True)
    head = 1
    while head < len(lines) and lines[head].startswith("+"):
        head += 1
    lines[:head] = [line if line.endswith("\n") else f"{line}\n" for line in lines[:head]]
    return "".join([*lines[:head], provenance(summary), *lines[head:]])


def provenance(summary: Summary) -> str:
    """What was sized, from what and how well, as SPICE comments in ASCII."""
    lines = [f"Sized by m3eda. {one_line(headline(summary))}", *origin_lines(summary), ""]
    lines += plain_text(spec_table(summary.design, summary.best)).splitlines()
    return "".join(f"* {ascii_safe(line)}".rstrip() + "\n" for line in lines)


def param_include(summary: Summary) -> str:
    """Every parameter of the best sizing as a `.param` line; a word as a comment."""
    lines = []
    for name, value in (summary.best.sizing if summary.best else {}).items():
        if isinstance(value, str):
            lines.append(f"* {name} = {one_line(value)} (a word, which .param cannot hold)\n")
        else:
            lines.append(f".param {name}={number(float(value))}\n")
    return provenance(summary) + "".join(lines)


def file_stem(name: str) -> str:
    """`name` with what file names should not hold replaced by `_`."""
    return re.sub(r"[^\w.+-]+", "_", name).lstrip(".") or "design"
