"""From the tables of a pass of Xyce to the vectors that were asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from m3eda_plugins.xyce.deck import Pass, Wanted, swept_unit
from m3eda_plugins.xyce.names import as_listed, canonical, is_branch
from m3eda_plugins.xyce.results import BadTable, Table, read_table
from numpy.typing import NDArray

from m3eda.simulate.types import Analysis, AnalysisKind

Vectors = Mapping[str, NDArray[Any]]

_WORDS = {"op": "operating point", "dc": "DC sweep", "ac": "AC analysis",
          "tran": "transient", "noise": "noise analysis"}  # fmt: skip
_SCALES = {"ac": "frequency", "noise": "frequency", "tran": "time"}
_FIRST = {"ac": "freq", "noise": "freq", "tran": "time"}
_UNITS = {"frequency": "Hz", "time": "s"}
SWEEP = "sweep"


class Incomplete(Exception):
    """The pass did not give all that it had to; what is missing, in words."""


@dataclass(frozen=True)
class Outputs:
    """The tables that a pass wrote, or those of one step of it."""

    main: Table
    beside: Table | None = None
    """The operating point of an AC analysis."""


def outputs(one: Pass, rundir: Path) -> Outputs:
    """The tables of `one`. Raises Incomplete."""
    main = _table(rundir / one.table_file, one.kind) if one.prints else Table((), np.empty((0, 0)))
    beside = _table(rundir / one.op_file, "op") if one.beside is not None else None
    return Outputs(main, beside)


def analyses(one: Pass, given: Outputs, totals: Mapping[str, float]) -> list[Analysis]:
    """The wanted vectors under the names they were asked for by. Raises Incomplete.

    `totals` are those of `xyce_results.noise_totals`.
    """
    found: list[Analysis] = []
    if one.beside is not None and given.beside is not None:
        _check_rows("op", given.beside, 1)
        vectors = _checked("op", given.beside, one.beside.prints)
        found.append(_analysis("op", vectors, one.beside))
    if one.wanted.prints:
        _check_rows(one.kind, given.main, one.points, one.stop_time)
        vectors = _checked(one.kind, given.main, one.prints)
        if one.starts_from_conditions:
            # at 0 s stands what Xyce began to solve with
            vectors = {name: column[1:] for name, column in vectors.items()}
        found.append(_analysis(one.kind, vectors, one.wanted, one.swept))
    if one.totals:
        if lost := [name for name in one.totals if name not in totals]:
            raise Incomplete(f"the noise analysis gave no {', '.join(lost)}")
        vectors = {name: np.array([totals[name]]) for name in one.totals}
        found.append(Analysis("noise", vectors, "", dict.fromkeys(one.totals, "V")))
    return [analysis for analysis in found if analysis.vectors]


def names_in(given: Outputs) -> set[str]:
    """All vectors that the tables hold, spelt as they are asked for."""
    tables = [table for table in (given.main, given.beside) if table is not None]
    names = {canonical(name) for table in tables for name in table.vectors()}
    return {name for name in names if name[:2] in ("v(", "i(")}


def reached(one: Pass, rundir: Path) -> float | None:
    """How far the transient came that `one` began, s; None where there is nothing of it."""
    if one.kind != "tran":
        return None
    try:
        table = read_table(rundir / one.table_file)
        return float(table.vectors()["time"][-1])
    except (OSError, BadTable, KeyError, IndexError):
        return None


def _table(path: Path, kind: AnalysisKind) -> Table:
    try:
        return read_table(path)
    except FileNotFoundError:
        raise Incomplete(f"the {_WORDS[kind]} gave no points") from None
    except (OSError, BadTable) as error:
        raise Incomplete(f"the {_WORDS[kind]} gave no table: {error}") from error


def _check_rows(
    kind: AnalysisKind, table: Table, points: int | None, stop: float | None = None
) -> None:
    word = _WORDS[kind]
    if not table.rows:
        raise Incomplete(f"the {word} gave no points")
    if stop is not None:
        last = float(table.vectors().get("time", np.zeros(1))[-1])
        if last < stop * (1.0 - 1e-6):
            raise Incomplete(f"the {word} stopped at t = {last:.4g} s of {stop:.4g} s")
    if points is not None and points != table.rows:
        raise Incomplete(f"the {word} gave {table.rows} of {points} points")
    if table.cut:
        raise Incomplete(f"the {word}'s table ends in the middle of a line")


def _checked(kind: AnalysisKind, table: Table, prints: tuple[str, ...]) -> Vectors:
    """The columns by name. Raises Incomplete where one that was printed is not there."""
    vectors: Vectors = table.vectors()
    wanted = {name for name in prints if not name.endswith("(*)")}
    if lost := sorted(wanted - vectors.keys()):
        raise Incomplete(f"the {_WORDS[kind]} gave no column {', '.join(lost)}")
    if len(wanted) == len(prints) and (more := sorted(vectors.keys() - wanted - _by_itself(table))):
        raise Incomplete(f"the {_WORDS[kind]} gave columns nobody asked for: {', '.join(more)}")
    return vectors


def _by_itself(table: Table) -> set[str]:
    return set(table.names[:1]) & {"freq", "time", "index"}


def _analysis(kind: AnalysisKind, vectors: Vectors, wanted: Wanted, swept: str = "") -> Analysis:
    scale = SWEEP if kind == "dc" else _SCALES.get(kind, "")
    made: dict[str, NDArray[Any]] = {}
    units: dict[str, str] = {}
    if scale:
        made[scale] = np.ascontiguousarray(vectors[swept if kind == "dc" else _FIRST[kind]].real)
        units[scale] = swept_unit(swept) if kind == "dc" else _UNITS[scale]
    if wanted.everything:
        for name, column in vectors.items():
            if name.startswith("v("):
                made[name], units[name] = column, "V"
            elif is_branch(name):
                made[as_listed(name)], units[as_listed(name)] = column, "A"
    for name, source in wanted.sources:
        made[name] = np.ascontiguousarray(source.make([vectors[each] for each in source.prints]))
        units[name] = source.unit
    return Analysis(kind, made, scale, {name: unit for name, unit in units.items() if unit})
