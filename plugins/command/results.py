"""From result files to analyses, and what is missing in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from m3eda_plugins.command.csv import CsvError, read_csv, read_meas
from m3eda_plugins.command.names import canonical, sources
from m3eda_plugins.command.options import Options, Source, filled
from m3eda_plugins.command.psf_ascii import Psf, PsfError, is_psf, read_psf
from numpy.typing import NDArray

from m3eda.simulate.types import Analysis, AnalysisKind, Deck

_SCALES: Mapping[str, tuple[str, str]] = {
    "freq": ("frequency", "Hz"), "frequency": ("frequency", "Hz"), "hertz": ("frequency", "Hz"),
    "f": ("frequency", "Hz"), "time": ("time", "s"), "t": ("time", "s"),
}  # fmt: skip
_SWEEP = "sweep"
_PSF_KINDS: Mapping[str, AnalysisKind] = {"ac": "ac", "tran": "tran", "noise": "noise", "sp": "sp"}
_CURRENTS = ("A", "I")
_COMPLEX = ("ac", "sp")
_BINARY_PSF = b"\x00\x00\x04\x00"


class Unusable(Exception):
    """A result that had to come is not there, or not whole; one line."""


@dataclass(frozen=True)
class Result:
    """One file's results."""

    kind: AnalysisKind
    columns: Mapping[str, NDArray[Any]]
    """By their names in the file; the scale first, where there is one."""
    scale: str
    """The independent variable as measures know it, empty for an operating point."""
    units: Mapping[str, str]
    """By names in the file."""

    def named(self) -> dict[str, str]:
        """Names as measures write them -> names in the file; the scale is not among them."""
        own = list(self.columns)[bool(self.scale) :]
        found: dict[str, str] = {}
        for name in own:
            is_current = self.units.get(name) in _CURRENTS
            found.setdefault(canonical(name, self.kind, is_current=is_current), name)
        return found


def read_results(options: Options, rundir: Path, values: Mapping[str, str]) -> list[Result]:
    """Every result that the files of `options.results` hold. Raises Unusable."""
    found: list[Result] = []
    for source in options.results:
        before = len(found)
        paths = _paths(source, rundir, values)
        if source.is_glob and not options.format and any(map(is_psf, paths)):
            paths = [path for path in paths if is_psf(path)]
        for path in paths:
            found += _file(path, source, options)
        if len(found) == before:
            raise Unusable(f"no results came: {filled(source.pattern, values)} holds none")
    return found


def read_meas_files(options: Options, rundir: Path, values: Mapping[str, str]) -> dict[str, float]:
    """Results of measure lines by name, in lower case; none where a file did not come."""
    found: dict[str, float] = {}
    for source in options.meas:
        for path in _paths(source, rundir, values, required=False):
            found.update(read_meas(path))
    return found


def _paths(
    source: Source, rundir: Path, values: Mapping[str, str], *, required: bool = True
) -> list[Path]:
    pattern = filled(source.pattern, values)
    inner = pattern.removeprefix(f"{rundir}/")
    if source.is_glob:
        return sorted(path for path in rundir.glob(inner) if path.is_file())
    path = rundir / inner
    if required and not path.is_file():
        there = sorted(
            str(each.relative_to(rundir)) for each in rundir.rglob("*") if each.is_file()
        )
        near = get_close_matches(inner, there, 1, 0.6)
        raise Unusable(f"{inner} did not come" + (f" (there is {near[0]})" if near else ""))
    return [path] if path.is_file() else []


def _file(path: Path, source: Source, options: Options) -> list[Result]:
    """The result in one file; none where a glob has found something else."""
    try:
        if options.format != "csv" and is_psf(path):
            return _psf_result(read_psf(path), path, source.kind)
        if options.format == "psfascii" or path.read_bytes()[:4] == _BINARY_PSF:
            if source.is_glob and options.format == "psfascii":
                return []
            raise Unusable(f"{path.name} is not PSF ASCII: ask for it by `-format psfascii`")
        return [_csv_result(path, source.kind, options)]
    except (CsvError, PsfError) as error:
        raise Unusable(str(error)) from error
    except OSError as error:
        raise Unusable(f"{path.name} cannot be read: {error.strerror}") from error


def _psf_result(psf: Psf, path: Path, told: AnalysisKind | None) -> list[Result]:
    kind = told or _psf_kind(psf)
    if kind is None or not psf.columns:
        return []
    if not psf.complete:
        raise Unusable(f"{path.name} was cut off{_reached(psf)}")
    scale = next(iter(psf.columns)) if psf.sweep else ""
    stop = psf.header.get("stop", "")
    if kind == "tran" and stop and psf.columns[scale].size:
        last, end = float(psf.columns[scale][-1]), float(stop)
        if last < end * (1.0 - 1e-6):
            raise Unusable(f"the transient stopped at t = {last:.4g} s of {end:.4g} s")
    return [Result(kind, psf.columns, _scale_name(scale, kind), psf.units)]


def _psf_kind(psf: Psf) -> AnalysisKind | None:
    """What the file holds; None where it is no analysis that measures read."""
    analysis = psf.header.get("analysis type", "")
    if analysis == "info":
        told = psf.header.get("AnalysisType", psf.header.get("analysis name", ""))
        return "op" if told.lower() in ("dcop", "dcopinfo") else None
    if analysis == "dc":
        return "dc" if psf.sweep else "op"
    if analysis in _PSF_KINDS:
        return _PSF_KINDS[analysis]
    if analysis == "stb":
        return "ac"
    return "op" if analysis == "margin.stb" else None


def _reached(psf: Psf) -> str:
    column = psf.columns.get(psf.sweep)
    if column is None or not column.size:
        return ""
    return f" at {psf.sweep} = {float(column[-1].real):.4g}"


def _csv_result(path: Path, told: AnalysisKind | None, options: Options) -> Result:
    columns = read_csv(path, options.conventions)
    first, *others = columns
    known = _SCALES.get(first)
    rows = columns[first].size
    kind = told
    if kind is None and known is not None:
        kind = "tran" if known[0] == "time" else _over_frequency(others)
    elif kind is None:
        kind = "op" if rows == 1 else "dc"
    if kind == "op":
        if rows != 1:
            raise Unusable(f"{path.name}: an operating point of {rows} rows")
        return Result("op", columns, "", _csv_units(columns))
    return Result(kind, columns, _scale_name(first, kind), _csv_units(columns))


def _over_frequency(names: Iterable[str]) -> AnalysisKind:
    is_noise = all("noise" in name for name in names)
    return "noise" if is_noise else "ac"


def _csv_units(columns: Mapping[str, Any]) -> dict[str, str]:
    starts = {"v(": "V", "i(": "A"}
    return {name: starts[name[:2]] for name in columns if name[:2] in starts}


def _scale_name(name: str, kind: AnalysisKind) -> str:
    if not name:
        return ""
    if kind in ("ac", "noise", "sp"):
        return "frequency"
    return "time" if kind == "tran" else _SWEEP


def analyses(found: Iterable[Result], deck: Deck, options: Options) -> list[Analysis]:
    """The wanted vectors of each result under the names that they were asked for by; all where
    none were. Those of one operating point in several files are one analysis."""
    made: list[Analysis] = []
    for result in found:
        analysis = _analysis(result, deck, options)
        at = next((i for i, each in enumerate(made) if each.kind == result.kind == "op"), None)
        if at is not None:
            vectors = {**analysis.vectors, **made[at].vectors}
            units = {**analysis.units, **made[at].units}
            made[at] = Analysis("op", vectors, units=units)
        elif set(analysis.vectors) - {analysis.scale}:
            made.append(analysis)
    return made


def _analysis(result: Result, deck: Deck, options: Options) -> Analysis:
    named = result.named()
    by_file = {name.lower().replace(" ", ""): name for name in result.columns}
    named |= {name: by_file[own] for name, own in options.names.items() if own in by_file}
    wanted = (*deck.vectors, *deck.device_values) if deck.vectors else (*named, *deck.device_values)
    vectors: dict[str, NDArray[Any]] = {}
    units: dict[str, str] = {}
    if result.scale:
        first = next(iter(result.columns))
        vectors[result.scale] = np.ascontiguousarray(result.columns[first].real)
        units[result.scale] = _SCALES.get(first.lower(), ("", result.units.get(first, "")))[1]
    for name in wanted:
        source = next((named[each] for each in sources(name) if each in named), None)
        if source is not None:
            vectors[name], units[name] = _vector(result, source, name)
    return Analysis(
        result.kind, vectors, result.scale, {k: unit for k, unit in units.items() if unit}
    )


def _vector(result: Result, source: str, name: str) -> tuple[NDArray[Any], str]:
    column, unit = result.columns[source], result.units.get(source, "")
    if result.kind in _COMPLEX:
        column = column.astype(complex)
    elif np.iscomplexobj(column):
        column = np.ascontiguousarray(column.real)
    if result.kind == "noise" and unit.endswith("^2/Hz"):
        return np.sqrt(column), unit.replace("^2/Hz", "/sqrt(Hz)")
    guess = {"v": "V", "i": "A"}.get(name[0], "") if name[1] == "(" else ""
    return column, {"I": "A", "C": "degC"}.get(unit, unit) or guess


def missing(deck: Deck, made: Iterable[Analysis], found: Iterable[Result]) -> str:
    """Why a requested vector is nowhere, with the nearest names; empty if all are there."""
    there = {name for analysis in made for name in analysis.vectors}
    lost = [name for name in (*deck.vectors, *deck.device_values) if name not in there]
    if not lost:
        return ""
    known = sorted({name for result in found for name in result.named()})
    near = {name: get_close_matches(name, known, 3, 0.4) for name in lost}
    listed = (
        name + (f" (nearest: {', '.join(near[name])})" if near[name] else "") for name in lost
    )
    return f"the results have no {'; no '.join(listed)}"
