"""From ngspice's raw files to named waveforms, and what is missing in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from m3eda_plugins.ngspice.deck import Pass
from m3eda_plugins.ngspice.names import canonical, is_device_value, is_port_parameter, sources
from numpy.typing import NDArray

from m3eda.simulate.cards import Card, expected_points, stop_time
from m3eda.simulate.nearest import not_given
from m3eda.simulate.rawfile import Plot
from m3eda.simulate.types import Analysis, AnalysisKind, Deck

_KINDS: Mapping[str, AnalysisKind] = {
    "ac analysis": "ac",
    "transient analysis": "tran",
    "dc transfer": "dc",
    "noise spectral": "noise",
    "integrated noise": "noise",
    "sp analysis": "sp",
}
_UNITS = {"voltage": "V", "current": "A", "time": "s", "frequency": "Hz", "admittance": "S",
          "capacitance": "F", "charge": "C", "conductance": "S", "power": "W"}  # fmt: skip
_SIZES = {"w": "m", "l": "m", "ad": "m^2", "as": "m^2", "pd": "m", "ps": "m", "r": "ohm",
          "resistance": "ohm", "inductance": "H", "temp": "degC"}  # fmt: skip
_WORDS = {"op": "operating point", "dc": "DC sweep", "ac": "AC analysis",
          "tran": "transient", "noise": "noise analysis", "sp": "S-parameter analysis"}  # fmt: skip
_SWEEP = "sweep"
COMPLEX = ("ac", "sp")
_OVER_FREQUENCY = ("ac", "noise", "sp")


@dataclass(frozen=True)
class Result:
    """One plot of a pass, sorted in."""

    plot: Plot
    kind: AnalysisKind
    has_scale: bool

    @property
    def points(self) -> int:
        return int(self.plot.data.shape[0])


def results(plots: Iterable[Plot]) -> list[Result]:
    """The plots that are one of the six analyses; an operating point once."""
    found: list[Result] = []
    for plot in plots:
        name = plot.name.lower()
        if "operating point" in name:
            if not any(result.kind == "op" for result in found):
                found.append(Result(plot, "op", False))
            continue
        kind = next((kind for start, kind in _KINDS.items() if name.startswith(start)), None)
        if kind is not None:
            found.append(Result(plot, kind, not name.startswith("integrated")))
    return found


def gap(one_pass: Pass, found: Sequence[Result], deck_text: str) -> str:
    """What the pass did not give of what it had to, in words; empty where nothing is missing."""
    if one_pass.op_required and not any(r.kind == "op" and r.points for r in found):
        return "the operating point did not arrive"
    autostop = "autostop" in deck_text.lower()
    left = [r for r in found if r.has_scale]
    # the longest transient first: its plot would do for a shorter one too
    for card in sorted(one_pass.analyses, key=_length, reverse=True):
        candidates = [r for r in left if r.kind == card.kind]
        # several cards of a kind run in ngspice's own order, so any of their plots will do
        match = next((r for r in candidates if not _shortfall(card, r, autostop)), None)
        if match is not None:
            left = [each for each in left if each is not match]
            continue
        word = _WORDS[card.kind or "op"]
        if not candidates or not candidates[0].points:
            return f"the {word} gave no points"
        return f"the {word} {_shortfall(card, candidates[0], autostop)}"
    return ""


def _length(card: Card) -> float:
    return (stop_time(card) or 0.0) if card.kind == "tran" else 0.0


def _shortfall(card: Card, result: Result, autostop: bool) -> str:
    if not result.points:
        return "gave no points"
    last = float(result.plot.data[-1, 0].real)
    stop = stop_time(card) if card.kind == "tran" and not autostop else None
    if stop is not None and last < stop * (1.0 - 1e-6):
        return f"stopped at t = {last:.4g} s of {stop:.4g} s"
    points = expected_points(card) if card.kind in _OVER_FREQUENCY else None
    if points is not None and abs(points - result.points) > 1:
        return f"gave {result.points} of {points} points"
    return "" if result.plot.complete else f"stopped at {last:.4g}"


def invented(found: Iterable[Result], counts: Mapping[str, int]) -> set[str]:
    """Device values ngspice does not know, whose columns it filled with zeros.

    `counts` are its warnings by name. One a plot is normal for AC and noise, where many values
    exist nowhere; more than these have room for means that they are missing elsewhere too.
    """
    small_signal = sum(result.kind in _OVER_FREQUENCY for result in found)
    return {name for name, count in counts.items() if count > small_signal}


def analyses(found: Iterable[Result], deck: Deck, bad: set[str]) -> list[Analysis]:
    """The wanted vectors of each result under the names they were asked for by."""
    made = [_analysis(result, *wanted_columns(result, deck, bad)) for result in found]
    return [analysis for analysis in made if analysis.vectors]


def wanted_columns(result: Result, deck: Deck, bad: set[str]) -> tuple[str, dict[str, int]]:
    """The scale's name, and by the names they were asked for the columns of wanted vectors."""
    wanted = (*deck.vectors, *deck.device_values) if deck.vectors else ()
    extra = () if deck.vectors else deck.device_values
    columns = {canonical(name): i for i, name in enumerate(result.plot.names)}
    # in AC and noise plots ngspice stores no small-signal value of a device but leftovers
    usable = result.kind not in _OVER_FREQUENCY
    names = {
        name: column
        for name, column in columns.items()
        if not is_device_value(name) or (usable and name not in bad)
    }
    if result.kind == "sp":  # its node voltages belong to whichever port was driven last
        names = {name: column for name, column in names.items() if is_port_parameter(name)}
    scale = _scale(result)
    chosen = dict(_chosen(names, wanted or (*names, *extra)))
    if scale:
        first = canonical(result.plot.names[0])
        chosen = {scale: 0, **{k: c for k, c in chosen.items() if k != first}}
    return scale, chosen


def _analysis(result: Result, scale: str, chosen: dict[str, int]) -> Analysis:
    vectors = {name: _column(result, column, name == scale) for name, column in chosen.items()}
    units = {name: _unit(result, name, column) for name, column in chosen.items()}
    return Analysis(result.kind, vectors, scale, {k: unit for k, unit in units.items() if unit})


def _scale(result: Result) -> str:
    if not result.has_scale:
        return ""
    return _SWEEP if result.kind == "dc" else canonical(result.plot.names[0])


def _chosen(names: Mapping[str, int], wanted: Iterable[str]) -> Iterable[tuple[str, int]]:
    for name in wanted:
        source = next((source for source in sources(name) if source in names), None)
        if source is not None:
            yield name, names[source]


def _column(result: Result, column: int, is_scale: bool) -> NDArray[Any]:
    # a copy: the raw file is mapped into memory and goes away
    values = np.ascontiguousarray(result.plot.data[:, column])
    if is_scale or result.kind not in COMPLEX:
        values = np.ascontiguousarray(values.real)
    # a .spiceinit with `set sqrnoise` has noise as a power
    power = result.kind == "noise" and not is_scale and "^2" in result.plot.name
    return np.sqrt(values) if power else values


def _unit(result: Result, name: str, column: int) -> str:
    if name.endswith("noise_spectrum"):
        return "V/sqrt(Hz)"
    if is_port_parameter(name):
        return {"y": "S", "z": "ohm"}.get(name[0], "")
    if name == _SWEEP:
        start = result.plot.names[0].lower().strip("vi(")[:4]
        return {"temp": "degC", "res-": "ohm"}.get(start, _UNITS.get(result.plot.types[0], ""))
    written = _UNITS.get(result.plot.types[column], "")
    if not is_device_value(name):
        return written
    device, _, value = name.rstrip("]").partition("[")
    # ngspice calls whatever it has no word for a voltage
    is_voltage = "v" in (value[:1], device.replace("@", ".").rpartition(".")[2][:1])
    return _SIZES.get(value, "" if written == "V" and not is_voltage else written)


def missing(deck: Deck, made: Iterable[Analysis], known: Sequence[Result]) -> str:
    """Why a requested vector is nowhere, with the nearest names of this run; empty if all are."""
    return not_given(
        deck, made, {canonical(name) for result in known for name in result.plot.names}
    )
