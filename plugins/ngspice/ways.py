"""Ways to run a deck in libngspice: its text loaded anew, or a loaded circuit with new values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from m3eda_plugins.ngspice.alter import Assignment
from m3eda_plugins.ngspice.circuit import Circuit, Ran, waveforms
from m3eda_plugins.ngspice.deck import Pass, prepare
from m3eda_plugins.ngspice.expressions import number
from m3eda_plugins.ngspice.multipliers import check_multipliers
from m3eda_plugins.ngspice.parameters import HOLE, Parametrised
from m3eda_plugins.ngspice.prune import Pruner
from m3eda_plugins.ngspice.readout import Reader
from m3eda_plugins.ngspice.texts import includes_random, is_random, stays

from m3eda.design.types import Value
from m3eda.simulate.difference import difference
from m3eda.simulate.types import Deck, OnlyCold, SimulationFailed, State, Waveforms

FINAL = (State.NO_CONVERGENCE, State.CRASH)
"""What another way, or other vectors, would not say better."""

_ITS_OWN = "its random numbers are not those of a process of its own"


class TextWay:
    """Loads the text of every deck."""

    def __init__(self, circuit: Circuit, options: Mapping[str, Value]) -> None:
        self._circuit = circuit
        self._options = options

    def run(self, deck: Deck) -> Waveforms:
        """Load the deck and run it; where that fails, again with all vectors, to say why.

        Raises SimulationFailed, and OnlyCold for what a process of its own alone does right.
        """
        if stays(deck):
            raise OnlyCold(
                "its commands, .option interp, .if or LTRA models would change other decks"
            )
        check_multipliers(deck, self._circuit.library.spiceinit)
        try:
            return self._run(deck, only_wanted=True)
        except SimulationFailed as failure:
            self._circuit.drop()
            if failure.state in FINAL or self._circuit.broken:
                raise
        try:
            return self._run(deck, only_wanted=False)
        except SimulationFailed:
            self._circuit.drop()
            raise

    def _run(self, deck: Deck, *, only_wanted: bool) -> Waveforms:
        passes = prepare(deck, self._options, in_process=True, only_wanted=only_wanted)
        found: Waveforms = waveforms(deck, [self._ran(one, deck) for one in passes])
        if only_wanted and (is_random(deck) or includes_random(deck)):
            self._circuit.begin(seed=self._circuit.library.seed + 1)
            self._circuit.library.command("reset")
            again = waveforms(deck, [self._circuit.run(passes[-1], deck.text)])
            if len(passes) > 1 or difference(found, again):
                raise OnlyCold(_ITS_OWN)
        return found

    def _ran(self, one: Pass, deck: Deck) -> Ran:
        self._circuit.load(one.text.splitlines())
        return self._circuit.run(one, deck.text)


class Way:
    """A way for the decks of one skeleton."""

    def run(self, deck: Deck) -> Waveforms:
        """Raises SimulationFailed, and Unfit where this deck cannot be run so."""
        raise NotImplementedError

    def leave(self) -> None:
        """Another circuit takes the place of its own."""


class FilledWay(Way):
    """Loads the text of every deck, which was prepared but for its fills."""

    def __init__(self, circuit: Circuit, one: Pass) -> None:
        """`one` has its holes marked."""
        self._circuit = circuit
        self._pass = one
        self._reader = Reader(circuit, one)

    def run(self, deck: Deck) -> Waveforms:
        text = HOLE.sub(lambda match: deck.fills[int(match[1])], self._pass.text)
        self._circuit.load(self._netlist(text))
        found: Waveforms = self._reader.run(deck)
        return found

    def _netlist(self, text: str) -> list[str]:
        return text.splitlines()


class PrunedWay(FilledWay):
    """Loads every deck with what it uses of its libraries in their place."""

    def __init__(self, circuit: Circuit, pruner: Pruner, one: Pass) -> None:
        super().__init__(circuit, one)
        self._pruner = pruner

    def _netlist(self, text: str) -> list[str]:
        lines: list[str] = self._pruner.netlist(text)
        return lines


class LoadedWay(Way):
    """A circuit of one skeleton that stays loaded."""

    def __init__(self, circuit: Circuit, netlist: Parametrised, one: Pass) -> None:
        self.circuit = circuit
        self.netlist = netlist
        self.one = one
        self.seed: int | None = None
        """0 for a circuit that asks for no random numbers."""
        self._reader = Reader(circuit, one)
        self._settings: list[str] = []

    def leave(self) -> None:
        self._settings = []

    def run(self, deck: Deck) -> Waveforms:
        settings = self._wanted(self.netlist.values(deck.fills))
        if not self._settings:
            base = self._base(settings)
            self.circuit.load(self.netlist.netlist(base))
            self._settings = base
        self.circuit.begin(self.seed)
        self._set(settings)
        self._settings = settings
        found: Waveforms = self._reader.run(deck)
        return found

    def _wanted(self, values: list[str]) -> list[str]:
        return values

    def _base(self, settings: list[str]) -> list[str]:
        """What the parameters are when the circuit is loaded."""
        return settings

    def _set(self, settings: list[str]) -> None:
        """Change what is loaded from `self._settings` to these."""
        raise NotImplementedError


class ParameterWay(LoadedWay):
    """Sets parameters in the loaded circuit, which `reset` then builds anew from its netlist."""

    def _wanted(self, values: list[str]) -> list[str]:
        settings: list[str] = self.netlist.settings(values)
        return settings

    def _set(self, settings: list[str]) -> None:
        command = self.circuit.library.command
        for token, (setting, old) in enumerate(zip(settings, self._settings, strict=True)):
            if setting != old:
                command(self.netlist.command(token, setting))
        command("reset")


class AlterWay(LoadedWay):
    """Sets values of devices in the loaded circuit.

    That circuit is always the one of the skeleton's first probe, so that what is altered in it
    follows from the deck alone.
    """

    def __init__(
        self,
        circuit: Circuit,
        netlist: Parametrised,
        one: Pass,
        assigned: Sequence[Assignment],
        base: Sequence[str],
    ) -> None:
        super().__init__(circuit, netlist, one)
        self._assigned = tuple(assigned)
        self._reckons = any(each.token is None for each in assigned)
        self._reached: list[list[int]] = [[] for _ in base]
        for n, each in enumerate(self._assigned):
            for token in each.tokens:
                self._reached[token].append(n)
        self._first = list(base)
        self._altered = False

    def leave(self) -> None:
        super().leave()
        self._altered = False

    def _base(self, settings: list[str]) -> list[str]:
        return self._first

    def _set(self, settings: list[str]) -> None:
        numbers = [number(text.strip('"')) for text in settings] if self._reckons else []
        changed: set[int] = set()
        if self._altered:
            pairs = zip(settings, self._settings, self._reached, strict=True)
            changed.update(n for new, old, reached in pairs if new != old for n in reached)
        else:
            # after a load even those as they were loaded, which were read in another way
            changed.update(range(len(self._assigned)))
        self._altered = True
        for index in sorted(changed):
            each = self._assigned[index]
            # in brackets ngspice reads a number as on a device's line, to the last bit
            self.circuit.library.command(f"alter {each.name}=[ {each.text(settings, numbers)} ]")
