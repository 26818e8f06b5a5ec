"""What `m3eda library` prints: the list of circuits, and a page on one."""

from __future__ import annotations

import os
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from m3eda.circuits.catalogue import Circuit
from m3eda.circuits.targets import TargetList, targets_of
from m3eda.design.types import Design, Limits
from m3eda.report.screen import emit, is_fancy, make_console, rich_table
from m3eda.report.tables import (
    NOTHING,
    Table,
    allowed,
    count_text,
    plain_text,
    quantity,
    table_of,
    unit_of,
    wanted_text,
)

_WIDTH = 88


def print_list(circuits: Sequence[Circuit], out: TextIO) -> None:
    """A line a circuit."""
    rows = [(each.name, each.file.group, each.file.title, *_counts(each)) for each in circuits]
    headers = ("circuit", "group", "what it is", "parameters", "technologies", "targets")
    _print_table(table_of(headers, rows, headers[3:]), out)


def _counts(circuit: Circuit) -> tuple[str, str, str]:
    free = [entry for entry in circuit.file.parameters.values()
            if "expr" not in entry and "value" not in entry]  # fmt: skip
    lists = [targets_of(circuit, name) for name in circuit.technologies]
    targets = sum(len(each.targets) for each in lists if each is not None)
    return str(len(free)), str(len(circuit.technologies)), str(targets)


def print_page(
    circuit: Circuit, design: Design, technology: str, targets: TargetList | None, out: TextIO
) -> None:
    """All there is to know of `circuit`, with the ranges of `design`, it in `technology`: a name,
    or the path of a technology.yaml."""
    file = circuit.file
    emit(out, f"{circuit.name}: {file.title}\n\n")
    emit(out, textwrap.fill(" ".join(file.description.split()), _WIDTH) + "\n")
    if file.sketch:
        emit(out, "\n" + textwrap.indent(textwrap.dedent(file.sketch).rstrip("\n"), "  ") + "\n")
    if file.source:
        emit(out, f"\n{file.source}\n")
    pins = [(name, meaning) for name, meaning in file.pins.items()]
    for table in (
        table_of(("pin", "meaning"), pins, ()),
        _parameters(design),
        _measures(circuit, design, targets),
        _technologies(circuit),
    ):
        emit(out, "\n")
        _print_table(table, out)
    command = f"m3eda new {circuit.name} --technology {shlex.quote(technology)}"
    emit(out, f"\n{command}   # a folder ready to size\n")


def _parameters(design: Design) -> Table:
    rows = [(each.name, allowed(each), _start(design, each.name), each.description)
            for each in design.parameters.values()]  # fmt: skip
    name = design.technology.name if design.technology is not None else ""
    return table_of(("parameter", f"allowed in {name}", "start", "what it is"), rows, ("start",))


def _start(design: Design, name: str) -> str:
    parameter = design.parameters[name]
    start = parameter.value if parameter.frozen else parameter.start
    return NOTHING if start is None else quantity(start, parameter.unit)


def _measures(circuit: Circuit, design: Design, targets: TargetList | None) -> Table:
    rows = []
    for name, measure in design.measures.items():
        side = circuit.sides.get(name)
        least = design.specs[name].limits if name in design.specs else Limits()
        rows.append((name, wanted_text(least, unit_of(design, name)),
                     _span(targets, name, side, measure.unit), measure.description))  # fmt: skip
    return table_of(("measure", "least limit", "in the targets", "what it is"), rows, ())


def _span(targets: TargetList | None, name: str, side: str | None, unit: str) -> str:
    """The easiest and the hardest limit on a measure."""
    if targets is None or side is None or name not in targets.order:
        return ""
    column = list(targets.order).index(name)
    limits = sorted(target[column] for target in targets.targets)
    if limits[0] == limits[-1]:
        return ""
    return f"{quantity(limits[0], unit)} to {quantity(limits[-1], unit)}"


def _technologies(circuit: Circuit) -> Table:
    rows = []
    for name in circuit.technologies:
        targets = targets_of(circuit, name)
        rows.append((name, "" if targets is None else count_text(len(targets.targets), "target")))
    return table_of(("technology", "calibrated"), rows, ())


def print_targets(circuit: Circuit, design: Design, targets: TargetList, out: TextIO) -> None:
    """A line a target."""
    rows = []
    for number, target in enumerate(targets.targets, 1):
        values = zip(targets.order, target, strict=True)
        rows.append((str(number), *(quantity(value, unit_of(design, m)) for m, value in values)))
    headers = [f"{name} {side}" for name, side in targets.order.items()]
    _print_table(table_of(("target", *headers), rows, ("target", *headers)), out)


def circuit_json(circuit: Circuit) -> dict[str, Any]:
    """`circuit` as `--json` prints it."""
    file = circuit.file
    lists = {name: targets_of(circuit, name) for name in circuit.technologies}
    return {
        **file.model_dump(include={"circuit", "title", "group", "description", "source",
                                   "keywords", "pins", "split", "technologies"}),
        "parameters": list(file.parameters),
        "measures": list(file.measures),
        "specs": circuit.sides,
        "targets": {name: len(each.targets) for name, each in lists.items() if each is not None},
        "path": str(circuit.path),
    }  # fmt: skip


def targets_json(targets: TargetList) -> dict[str, Any]:
    """The targets of a circuit in a technology as `--json` prints them, SI units."""
    limits = [targets.limits(number) for number in range(len(targets.targets))]
    return {"circuit": targets.circuit, "technology": targets.technology, "targets": limits}


def _print_table(table: Table, out: TextIO) -> None:
    if is_fancy(out, os.environ):
        console = make_console(out, os.environ)
        console.print(rich_table(table, console.options.ascii_only))
        return
    emit(out, plain_text(table))


def next_lines(folder: Path) -> Iterator[str]:
    """What to do with a new folder."""
    design = shlex.quote(str(folder / "design.yaml"))
    yield f"m3eda check {design}   # one simulation"
    yield f"m3eda size {design}"
