"""Reads what one circuit gives, run after run, in the least time.

The first run is sorted in as a raw file would be. Later ones have the same plots with the same
vectors as long as nothing goes wrong, so these are fetched by name; whatever looks otherwise than
at the first run is sorted in and judged from the beginning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from m3eda_plugins.ngspice.circuit import Circuit, Ran, waveforms
from m3eda_plugins.ngspice.deck import Pass
from m3eda_plugins.ngspice.log import meas_results, unrecognized
from m3eda_plugins.ngspice.plots import LoadedPlot
from m3eda_plugins.ngspice.results import COMPLEX, Result, invented, wanted_columns

from m3eda.simulate.cards import stop_time
from m3eda.simulate.types import Analysis, AnalysisKind, Deck, Waveforms

_LAST_LINES = 20


@dataclass(frozen=True)
class _Shelf:
    """Where the vectors of one analysis are found."""

    kind: AnalysisKind
    scale: str
    vectors: Mapping[str, bytes]
    """ngspice's whole names, such as `ac1.out`, by ours."""
    units: Mapping[str, str]
    points: int
    """As many as there were; 0 where that varies."""


@dataclass(frozen=True)
class _Recipe:
    plots: list[bytes]
    shelves: tuple[_Shelf, ...]
    complaints: tuple[bytes, ...]
    """Lines of the log on device values that are nowhere."""


class Reader:
    """Reads the results of one pass of one circuit, for the wants of one skeleton."""

    def __init__(self, circuit: Circuit, one: Pass) -> None:
        self._circuit = circuit
        self._pass = one
        self._recipe: _Recipe | None = None
        stops = [stop_time(card) for card in one.analyses if card.kind == "tran"]
        self._stop = stops[0] if len(stops) == 1 else None

    def run(self, deck: Deck) -> Waveforms:
        """Run the loaded circuit. Raises SimulationFailed."""
        self._circuit.start(self._pass)
        if self._recipe is not None:
            found = self._read(deck, self._recipe)
            if found is not None:
                return found
        ran = self._circuit.result(self._pass, deck.text)
        result: Waveforms = waveforms(deck, [ran])
        if self._recipe is None:
            self._recipe = self._made(deck, ran, result)
        return result

    def _read(self, deck: Deck, recipe: _Recipe) -> Waveforms | None:
        """The results by the recipe; None where anything is unlike it."""
        library = self._circuit.library
        if library.exited or library.plot_list() != recipe.plots:
            return None
        lines = library.lines()
        if _complaints(lines) != recipe.complaints:
            return None
        analyses = []
        for shelf in recipe.shelves:
            analysis = self._analysis(shelf)
            if analysis is None:
                return None
            analyses.append(analysis)
        last = b"\n".join(lines[-_LAST_LINES:]).decode(errors="replace")
        log = last.replace("stdout ", "").replace("stderr ", "")
        meas = {}
        if deck.meas:
            known = meas_results(library.log()[0], [name.lower() for name in deck.meas])
            meas = {name: known[name.lower()] for name in deck.meas if name.lower() in known}
        return Waveforms(tuple(analyses), meas, log=log)

    def _analysis(self, shelf: _Shelf) -> Analysis | None:
        vectors = {}
        length = shelf.points
        for name, whole in shelf.vectors.items():
            data = self._circuit.library.data(whole)
            if data is None or not data.size or (length and data.size != length):
                return None
            length = data.size
            if data.dtype.kind == "c" and (name == shelf.scale or shelf.kind not in COMPLEX):
                data = np.ascontiguousarray(data.real)
            vectors[name] = data
        if shelf.kind == "tran":
            assert self._stop is not None
            if vectors[shelf.scale][-1] < self._stop * (1.0 - 1e-6):
                return None
        if shelf.kind == "noise" and not any(
            v.any() for k, v in vectors.items() if k != shelf.scale
        ):
            return None
        return Analysis(shelf.kind, vectors, shelf.scale, shelf.units)

    def _made(self, deck: Deck, ran: Ran, result: Waveforms) -> _Recipe | None:
        """A recipe from the first run; None where every run has to be judged anew."""
        bad = invented(ran.found, unrecognized(ran.stderr))
        chosen = [(each, *wanted_columns(each, deck, bad)) for each in ran.found]
        chosen = [(each, scale, columns) for each, scale, columns in chosen if columns]
        if any(
            not isinstance(each.plot, LoadedPlot) or "^2" in each.plot.name for each, *_ in chosen
        ):
            return None
        if self._stop is None and any(each.kind == "tran" for each in ran.found):
            return None
        shelves = tuple(
            _shelf(each, scale, columns, analysis)
            for (each, scale, columns), analysis in zip(chosen, result.analyses, strict=True)
        )
        library = self._circuit.library
        return _Recipe(library.plot_list(), shelves, _complaints(library.lines()))


def _shelf(result: Result, scale: str, columns: Mapping[str, int], analysis: Analysis) -> _Shelf:
    plot = result.plot
    assert isinstance(plot, LoadedPlot)
    names = {
        name: f"{plot.title}.{plot.vectors[column]}".encode() for name, column in columns.items()
    }
    points = 0 if result.kind == "tran" else result.points
    return _Shelf(result.kind, scale, names, analysis.units, points)


def _complaints(lines: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return tuple(line for line in lines if b"unrecognized" in line)
