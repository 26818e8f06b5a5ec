"""What m3eda makes of a netlist so that Xyce gives the wanted results: one analysis a deck.

The user's lines keep their numbers: what must not run in a pass is a comment there, everything new
stands at the end. The operating point comes with an AC analysis where there is one, which has
solved it anyway (`.op` and `.print ac_ic`), else from a pass of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

from m3eda_plugins.xyce.names import TOTALS, Source, Unsupported, needs_leads, source
from m3eda_plugins.xyce.options import merged

from m3eda.design.types import Value
from m3eda.simulate.cards import Card, expected_points, stop_time
from m3eda.simulate.types import AnalysisKind, Deck, SimulationFailed, State
from m3eda.units import NumberError, parse

PACKAGES = ("device", "diagnostic", "dist", "fft", "linsol", "linsol-ac", "loca", "measure",
            "nonlin", "nonlin-tran", "output", "parser", "restart", "timeint")  # fmt: skip
"""Packages of `.options` that bear on an operating point, DC, AC, transient or noise analysis."""

EVERYTHING = ("v(*)", "i(*)")
"""What prints all node voltages and currents."""

_OPTION_VALUE = re.compile(r"[^\s=]+")
_CURRENT_SOURCE = re.compile(r"(b\S*)\s.*\bi\s*=", re.IGNORECASE)
_FORMAT = "format=csv precision=15"
_PER_LINE = 8
_SUFFIXES: Mapping[AnalysisKind, str] = {"op": ".csv", "dc": ".csv", "tran": ".csv",
                                         "ac": ".FD.csv", "noise": ".NOISE.csv"}  # fmt: skip
_MEASURES: Mapping[AnalysisKind, str] = {"dc": ".ms0", "tran": ".mt0", "ac": ".ma0",
                                         "noise": ".ma0"}  # fmt: skip
_SWEPT_UNITS = {"v": "V", "i": "A", "r": "ohm"}


@dataclass(frozen=True)
class Wanted:
    """The vectors to print in one analysis."""

    sources: tuple[tuple[str, Source], ...] = ()
    """By the names they are asked for by."""
    everything: bool = False
    """Whether all node voltages and branch currents are wanted as well."""
    all_names: bool = False
    """Whether they are printed for their names alone."""

    @property
    def prints(self) -> tuple[str, ...]:
        names = dict.fromkeys(each for _, source in self.sources for each in source.prints)
        return (*names, *(EVERYTHING if self.everything or self.all_names else ()))

    def without(self, lost: Iterable[str]) -> Wanted:
        """What is left but for what cannot be printed, and the names of all there is."""
        gone = set(lost)
        kept = tuple((n, s) for n, s in self.sources if not gone.intersection(s.prints))
        return replace(self, sources=kept, all_names=True)


@dataclass(frozen=True)
class Pass:
    """One run of Xyce: its deck, and what must come out of it."""

    stem: str
    kind: AnalysisKind
    body: tuple[str, ...]
    """The deck but for what is printed."""
    wanted: Wanted
    card: Card | None = None
    """The analysis; None where it is the operating point alone."""
    swept: str = ""
    """What prints the variable of a DC sweep."""
    beside: Wanted | None = None
    """What is wanted of the operating point of an AC analysis."""
    meas: tuple[str, ...] = ()
    """Results of `.measure` to look for, lower case."""
    totals: tuple[str, ...] = ()
    """Integrated noise that is wanted, from the log."""

    @property
    def deck_file(self) -> str:
        return f"{self.stem}.cir"

    @property
    def log_file(self) -> str:
        return f"{self.stem}.log"

    @property
    def table_file(self) -> str:
        return f"{self.deck_file}{_SUFFIXES[self.kind]}"

    @property
    def op_file(self) -> str:
        return f"{self.deck_file}.TD.csv"

    @property
    def measure_file(self) -> str:
        return f"{self.deck_file}{_MEASURES.get(self.kind, '.ms0')}"

    @property
    def prints(self) -> tuple[str, ...]:
        """What the table holds, the independent variable apart that Xyce adds by itself."""
        return (*([self.swept] if self.swept else ()), *self.wanted.prints)

    @property
    def text(self) -> str:
        """The deck, its lines ended by newlines."""
        lines = [*self.body, *_print_lines("dc" if self.kind == "op" else self.kind, self.prints)]
        if self.beside is not None:
            lines += [".op", *_print_lines("ac_ic", self.beside.prints)]
        return "\n".join([*lines, ".end", ""])

    def without(self, lost: Iterable[str]) -> Pass:
        """The same pass, asking for the names of all there is but not for what is not there."""
        beside = None if self.beside is None else self.beside.without(lost)
        return replace(self, wanted=self.wanted.without(lost), beside=beside)

    @property
    def points(self) -> int | None:
        """Rows that the analysis must give; None where that is not known beforehand."""
        if self.card is None:
            return 1
        if self.kind == "dc":
            return _sweep_points(self.card)
        return None if self.kind == "tran" else expected_points(self.card)

    @property
    def starts_from_conditions(self) -> bool:
        """Whether it is a transient without an operating point."""
        return self.card is not None and starts_from_conditions(self.card)

    @property
    def stop_time(self) -> float | None:
        """When a transient must have ended, s."""
        return stop_time(self.card) if self.card is not None and self.kind == "tran" else None


def option_lines(options: Mapping[str, Value]) -> list[str]:
    """`.options` cards of options such as `nonlin.reltol`. Raises ValueError."""
    pairs = []
    for key, value in options.items():
        package, _, name = key.lower().partition(".")
        if not name:
            hint = {"reltol": "timeint.reltol", "abstol": "timeint.abstol"}.get(
                key.lower(), f"device.{key}"
            )
            raise ValueError(f"{key} names no package of Xyce's .options: write {hint}, for one")
        if package not in PACKAGES:
            raise ValueError(
                f"{key}: Xyce has no package '{package}' of .options (it has {', '.join(PACKAGES)})"
            )
        text = f"{int(value)}" if isinstance(value, bool) else str(value)
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            text = str(int(value))
        if not re.fullmatch(r"[a-z]\w*", name) or not _OPTION_VALUE.fullmatch(text):
            raise ValueError(f"{key}={value} is not an option of Xyce")
        pairs.append((package, f"{name}={text}"))
    pairs.sort(key=lambda pair: pair[0])
    grouped = groupby(pairs, key=lambda pair: pair[0])
    return [f".options {package} {' '.join(p for _, p in found)}" for package, found in grouped]


def starts_from_conditions(card: Card) -> bool:
    """Whether a transient begins without an operating point."""
    return card.kind == "tran" and card.text.lower().split()[-1] in ("uic", "noop")


def swept_unit(swept: str) -> str:
    """SI unit of what a DC sweep prints."""
    return "degC" if swept == "temp" else _SWEPT_UNITS.get(swept[:1], "")


@dataclass(frozen=True)
class Netlist:
    """A netlist in Xyce's dialect, its analyses and measures taken out."""

    lines: tuple[str, ...]
    analyses: tuple[Card, ...]
    """In Xyce's words, at the lines they had; `.op` apart."""
    operating_point: bool
    """Whether the netlist asks for it."""
    measures: tuple[tuple[AnalysisKind, str, str], ...] = ()
    """Kind, name in lower case, and card in Xyce's words."""
    initial: tuple[str, ...] = ()
    """`.ic` cards, for transient analyses only."""
    noise_lines: tuple[str, ...] = ()
    """What a noise analysis reads instead of `lines`, where it is another text."""
    started_lines: tuple[str, ...] = ()
    """The same for a transient from initial conditions (`uic`)."""
    options: tuple[str, ...] = ()
    """`.options` cards; of what is said twice the last holds."""


def passes(deck: Deck, netlist: Netlist, options: Mapping[str, Value]) -> tuple[Pass, ...]:
    """The passes that give all that `deck` asks for. Raises SimulationFailed."""
    only_op = deck.device_values and not deck.vectors and not deck.meas
    if not netlist.analyses and not netlist.operating_point and not only_op:
        raise SimulationFailed(
            State.PARSE_ERROR,
            "the testbench has no analysis card (.op, .dc, .ac, .tran or .noise)",
        )
    return tuple(_Plan(deck, netlist, options).passes())


class _Plan:
    """Gives each analysis of a netlist a pass of its own."""

    def __init__(self, deck: Deck, netlist: Netlist, options: Mapping[str, Value]) -> None:
        self._deck = deck
        self._netlist = netlist
        self._options = merged([*netlist.options, *option_lines(options)])
        self._sources = _sources(deck)
        sources = (_CURRENT_SOURCE.match(line) for line in netlist.lines)
        self._no_branches = {f"i({match[1].lower()})" for match in sources if match}
        uic = all(starts_from_conditions(card) for card in netlist.analyses)
        required = netlist.operating_point or bool(deck.device_values)
        wanted = self._wanted("op")
        self._op = bool(wanted.prints) and (required or not (uic and netlist.analyses))

    def passes(self) -> Iterator[Pass]:
        # measures read the first analysis of a kind, which is that of the last card in ngspice
        cards = self._netlist.analyses
        kinds = dict.fromkeys(card.kind for card in cards)
        analyses = [card for kind in kinds for card in reversed(cards) if card.kind == kind]
        first_ac = next((c for c in analyses if c.kind == "ac"), None)
        leads = any(needs_leads(name) for name in self._wanted("op").prints if name != "i(*)")
        with_ac = first_ac is not None and self._op and not leads
        number = 0
        for card in (*([None] if self._op and not with_ac else ()), *analyses):
            made = self._pass(card, with_ac and card is first_ac)
            if made.wanted.prints or made.meas or made.totals:
                number += 1
                yield replace(made, stem="deck" if number == 1 else f"deck{number}")

    def _wanted(self, kind: AnalysisKind) -> Wanted:
        found = tuple(
            (name, each)
            for name, each in self._sources
            if kind in each.kinds and (kind != "ac" or name.lower() not in self._no_branches)
        )
        return Wanted(found, not self._deck.vectors and kind != "noise")

    def _lines(self, kind: AnalysisKind, card: Card | None) -> tuple[str, ...]:
        other = self._netlist.noise_lines if kind == "noise" else ()
        if card is not None and starts_from_conditions(card):
            other = self._netlist.started_lines
        return other or self._netlist.lines

    def _pass(self, card: Card | None, beside: bool) -> Pass:
        kind: AnalysisKind = "op" if card is None else card.kind or "op"
        lines = list(self._lines(kind, card))
        measures = [m for m in self._netlist.measures if m[0] == kind]
        asked = {name.lower() for name in self._deck.meas}
        swept = ""
        if card is None:
            lines.append(".op")
        else:
            lines[card.first] = card.text
            swept = _swept(card) if kind == "dc" else ""
        lines += self._options
        lines += self._netlist.initial if kind == "tran" else ()
        if measures:
            lines += [".options measure measdgt=15", *(text for _, _, text in measures)]
        return Pass(
            "deck",
            kind,
            tuple(lines),
            self._wanted(kind),
            card,
            swept,
            self._wanted("op") if beside else None,
            tuple(name for _, name, _ in measures if name in asked),
            tuple(n for n in self._deck.vectors or TOTALS if kind == "noise" and n in TOTALS),
        )


def _sources(deck: Deck) -> tuple[tuple[str, Source], ...]:
    names = [*deck.vectors, *deck.device_values]
    if not deck.vectors:
        names += ["onoise_spectrum", "inoise_spectrum"]
    found, refused = [], []
    for name in dict.fromkeys(names):
        if name.lower() in TOTALS:
            continue
        try:
            found.append((name, source(name)))
        except Unsupported as reason:
            refused.append(str(reason))
    if refused:
        raise SimulationFailed(
            State.VECTOR_MISSING, f"the netlist gives no {'; no '.join(refused)}"
        )
    return tuple(found)


def _print_lines(kind: str, prints: Iterable[str]) -> list[str]:
    names = list(prints)
    lines = [f".print {kind} {_FORMAT}"]
    for start in range(0, len(names), _PER_LINE):
        lines.append(f"+ {' '.join(names[start : start + _PER_LINE])}")
    return lines if names else []


def _swept(card: Card) -> str:
    """What prints the first variable of a `.dc` card: a source or a resistor is its own value."""
    return card.text.split()[1].lower()


def _sweep_points(card: Card) -> int | None:
    points = 1
    words = card.text.split()[1:]
    for at in range(0, len(words) - 3, 4):
        try:
            start, stop, step = (parse(word) for word in words[at + 1 : at + 4])
            points *= math.floor((stop - start) / step * (1.0 + 1e-12) + 1e-9) + 1
        except (NumberError, ValueError, ZeroDivisionError):
            return None
    return points
