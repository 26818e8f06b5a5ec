"""ngspice kept running in this process: a circuit stays loaded while its values change.

What a deck gives follows from the deck and its skeleton alone. All decks of a skeleton are run in
one way: its holes become parameters of the loaded circuit, or values of its devices are altered,
where that is proved to give at the skeleton's probes what their plain text gives; else every deck
is loaded as text.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping

from m3eda_plugins.ngspice.circuit import Circuit
from m3eda_plugins.ngspice.library import Library
from m3eda_plugins.ngspice.parameters import Unfit
from m3eda_plugins.ngspice.proof import proved_way
from m3eda_plugins.ngspice.ways import TextWay, Way

from m3eda.design.types import Value
from m3eda.simulate.types import Deck, OnlyCold, SimulationFailed, State, Waveforms

_REMEMBERED = 256
"""Skeletons whose proof is remembered."""


class NgspiceSession:
    """A `Session` of ngspice on the one library of this process."""

    def __init__(
        self, library: Library, options: Mapping[str, Value], *, strict: bool = True
    ) -> None:
        self._circuit = Circuit(library)
        self._options = options
        self._strict = strict
        self._text = TextWay(self._circuit, options)
        self._ways: OrderedDict[tuple[object, ...], Way | OnlyCold | None] = OrderedDict()
        self._current: Way | None = None

    @property
    def broken(self) -> bool:
        """See `Session.broken`."""
        broken: bool = self._circuit.broken
        return broken

    def close(self) -> None:
        """Take the circuit away; the library stays."""
        self._leave()
        self._circuit.drop()

    def run(self, deck: Deck) -> Waveforms:
        """See `Session.run`."""
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            found = self._run(deck)
        except BaseException:
            self._leave()
            self._circuit.drop()
            raise
        wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
        return Waveforms(found.analyses, found.meas, wall, found.log, cpu)

    def _run(self, deck: Deck) -> Waveforms:
        way = self._way(deck)
        if way is not None:
            try:
                return self._warm(way, deck)
            except Unfit:
                pass
            except SimulationFailed as failure:
                self._circuit.drop()
                if failure.state is State.NO_CONVERGENCE or self.broken:
                    raise
        self._leave()
        found: Waveforms = self._text.run(deck)
        return found

    def _warm(self, way: Way, deck: Deck) -> Waveforms:
        if way is not self._current:
            self._leave()
            self._current = way
        found: Waveforms = way.run(deck)
        return found

    def _leave(self) -> None:
        if self._current is not None:
            self._current.leave()
        self._current = None

    def _way(self, deck: Deck) -> Way | None:
        """How this deck is run by parameters, None where it is loaded as text."""
        skeleton = deck.skeleton
        if skeleton is None or skeleton.text(deck.fills) != deck.text:
            return None
        key = (skeleton.key, deck.vectors, deck.device_values, deck.meas, deck.contents)
        if key not in self._ways:
            self._leave()
            try:
                self._ways[key] = proved_way(
                    deck, skeleton, self._circuit, self._options, strict=self._strict
                )
            except OnlyCold as reason:
                self._ways[key] = reason
            while len(self._ways) > _REMEMBERED:
                self._ways.popitem(last=False)
            self._circuit.drop()
        way = self._ways[key]
        if isinstance(way, OnlyCold):
            raise OnlyCold(*way.args)
        if way is not None and way is not self._current:
            way.leave()
        return way
