"""`m3eda port`: a design in another technology, and a report of what changed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from m3eda.crosscheck.tables import finite
from m3eda.design.ties import complete
from m3eda.design.types import Sizing
from m3eda.errors import ExitCode
from m3eda.flow import Project
from m3eda.places import run_directory
from m3eda.porting.before import best_sizings, kept_trials
from m3eda.porting.port import DeviceChange, Ported, move_of, port
from m3eda.porting.rescale import Point
from m3eda.porting.weights import check_alike, learnt_weights
from m3eda.porting.writing import DESIGN, check_free, files_of, folder_for, write_files
from m3eda.report.tables import NOTHING, Table, markdown, plain_text, quantity, spec_rows, table_of

FORMAT, VERSION = "m3eda/port", 1


def port_command(
    project: Project, to: str, folder: Path | None, strategy: str, given: Sizing | None,
    run_dir: Path | None, count: int, force: bool, form: str, out: IO[str],
) -> ExitCode:  # fmt: skip
    """Write the design of `project` in the technology `to` into `folder`, and report.

    It is begun with `given`, else with `count` sizings of the run in `run_dir`, else with the
    designer's start. Raises DesignError, SimulatorMissing, StorageError.
    """
    design = project.design
    move = move_of(project, to)
    place = folder or folder_for(design, move.new.name)
    if not force:
        check_free(place)
    trials = kept_trials(design, run_dir or run_directory(design))
    sizings = [] if strategy == "baseline" else _sizings(project, trials, given, count)
    ported = port(project, to, sizings)
    weights = b""
    if strategy == "weights":
        check_alike(design, ported.new.design)
        weights = learnt_weights(design, trials)
    written = write_files(place, files_of(ported, strategy, weights), force=force)
    Project.load(written[-1])  # what was written is a design
    if form == "json":
        out.write(json.dumps(_json(ported, strategy, place, written), indent=2) + "\n")
    else:
        out.write(_text(ported, strategy, place, marked=form == "markdown"))
    return ExitCode.SPECS_MET


def _sizings(
    project: Project, trials: Sequence[Any], given: Sizing | None, count: int
) -> list[Sizing]:
    """The old sizings to begin with, whole ones: what is given, the best of the run, the start."""
    design = project.design
    if given is not None:
        return [complete(design, {**project.nominal_sizing(), **given})]
    return best_sizings(trials, count) or [complete(design, project.nominal_sizing())]


def _text(ported: Ported, strategy: str, place: Path, *, marked: bool) -> str:
    write = markdown if marked else plain_text
    move, name = ported.move, ported.old.design.name
    head = f"{name}: from {move.old.name} to {move.new.name}, strategy {strategy}"
    parts = [f"{head}, written to {os.path.relpath(place)}\n"]
    parts.append(write(_changes(ported)))
    if ported.devices:
        head = "transistors, at the sizing of before and at the first start:\n"
        parts += [head, write(_devices(ported.devices))]
    if ported.after is not None:
        head = "the first start, not sized yet, beside the sizing of before:\n"
        parts += [head, write(_specs(ported))]
        if ported.after.nominal.reason:
            parts.append(f"the first start does not simulate: {ported.after.nominal.reason}\n")
    if len(ported.starts) > 1:
        parts.append(f"{len(ported.starts)} sizings are simulated first and searched around\n")
    parts += [f"{note}\n" for note in ported.carried.notes]
    parts.append(f"next: m3eda size {os.path.relpath(place / DESIGN)}\n")
    return "\n".join(parts)


def _changes(ported: Ported) -> Table:
    rows = [(each.kind, each.name, each.old, each.new, each.note) for each in ported.changes]
    start = ported.starts[0] if ported.starts else {}
    for name, value in start.items():
        parameter = ported.new.design.parameters[name]
        before = ported.before.sizing.get(name) if ported.before is not None else None
        old = "" if before is None else quantity(before, parameter.unit)
        rows.append(("start", name, old, quantity(value, parameter.unit), ""))
    return table_of(("what", "name", "old", "new", "why"), rows, ())


def _devices(devices: Sequence[DeviceChange]) -> Table:
    rows = []
    for each in devices:
        (w1, l1), (w2, l2) = each.sizes
        cells = [quantity(value, "m") for value in (w1, w2, l1, l2)]
        rows.append([each.name, *cells, *map(_gm_id, each.points), each.why])
    headers = ("transistor", "W old", "W new", "L old", "L new", "gm/Id old", "gm/Id new", "note")
    return table_of(headers, rows, headers[1:7])


def _gm_id(point: Point | None) -> str:
    if point is None or not math.isfinite(point.efficiency):
        return NOTHING
    return f"{point.efficiency:.3g} 1/V"


def _specs(ported: Ported) -> Table:
    before = {row.name: row for row in spec_rows(ported.old.design, ported.before)}
    rows = [
        (row.name, row.wanted, before[row.name].measured, row.measured, row.mark, row.reason)
        for row in spec_rows(ported.new.design, ported.after)
    ]
    headers = ("spec", "wanted", "old", "new", "met", "note")
    return table_of(headers, rows, ("old", "new"))


def _json(ported: Ported, strategy: str, place: Path, written: Sequence[Path]) -> dict[str, Any]:
    before, after = ported.before, ported.after
    return {
        "format": FORMAT,
        "version": VERSION,
        "design": ported.old.design.name,
        "from": ported.move.old.name,
        "to": ported.move.new.name,
        "strategy": strategy,
        "folder": str(place),
        "paths": [str(path) for path in written],
        "changes": [vars(change) for change in ported.changes],
        "notes": list(ported.carried.notes),
        "sizing": {} if before is None else dict(before.sizing),
        "starts": [dict(start) for start in ported.starts],
        "transistors": [_device(each) for each in ported.devices],
        "measures": {} if before is None or after is None else {
            name: {"old": finite(before.nominal.measures[name]),
                   "new": finite(after.nominal.measures[name])}
            for name in ported.new.design.measures
        },
        "met": None if after is None else after.met,
        "reason": "" if after is None else after.nominal.reason,
    }  # fmt: skip


def _device(each: DeviceChange) -> Mapping[str, Any]:
    points = [None if p is None else finite(p.efficiency) for p in each.points]
    return {
        "name": each.name,
        "width": {"old": each.sizes[0][0], "new": each.sizes[1][0]},
        "length": {"old": each.sizes[0][1], "new": each.sizes[1][1]},
        "gm_id": {"old": points[0], "new": points[1]},
        "note": each.why,
    }
