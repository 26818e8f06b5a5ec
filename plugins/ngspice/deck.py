"""What m3eda adds to a netlist so that ngspice gives the wanted results, and nothing else runs.

The user's lines keep their numbers: cards that must not run are turned into comments, everything
new stands at the end. One run of ngspice evaluates `.meas` for the analysis that ran last only, so
a deck with `.meas` results from several analyses is run in several passes, each analysis once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from m3eda_plugins.ngspice.checks import fatal_ports
from m3eda_plugins.ngspice.names import is_device_value, save_name, sources

from m3eda.design.types import Value
from m3eda.simulate.cards import Card, cards
from m3eda.simulate.types import AnalysisKind, Deck, SimulationFailed, State

ECHO = "m3eda_"
"""Prefix of the `.meas` lines that repeat a result with all its digits."""

_NOISE = ("onoise_spectrum", "inoise_spectrum", "onoise_total", "inoise_total")
_NO_MEAS = ("noise", "sp")  # ngspice 39 dies of SIGSEGV at `.meas sp`
_MEAS = re.compile(r"\.meas(?:ure)?\s+(\w+)\s+(\S+)", re.IGNORECASE)
_OPTION_KEY = re.compile(r"[A-Za-z]\w*")
_OPTION_VALUE = re.compile(r"[^\s=]*")


@dataclass(frozen=True)
class Pass:
    """One run of ngspice: its deck, and what must come out of it."""

    stem: str
    text: str
    analyses: tuple[Card, ...]
    """The analysis cards that run, `.op` apart."""
    op_required: bool = False
    meas: tuple[str, ...] = ()
    """Results of `.meas` to look for, lower case."""
    then: tuple[str, ...] = ()
    """Commands behind `run`, where the deck has no control block of its own."""
    newest_first: bool = False
    """Whether results come in the order of ngspice's list of plots, as `write` has them."""

    @property
    def deck_file(self) -> str:
        return f"{self.stem}.cir"

    @property
    def raw_file(self) -> str:
        return f"{self.stem}.raw"


def prepare(
    deck: Deck,
    options: Mapping[str, Value] | None = None,
    *,
    in_process: bool = False,
    only_wanted: bool = False,
) -> tuple[Pass, ...]:
    """The passes that give all that `deck` asks for; `options` become `.option` cards.

    `in_process` leaves out the control blocks that write files, for a library whose vectors can be
    read; `only_wanted` saves no other vectors. Raises SimulationFailed(PARSE_ERROR) where the
    netlist cannot be run as it is.
    """
    netlist = tuple(cards(deck.text))
    _check(deck, netlist)
    plan = _Plan(deck, netlist, dict(options or {}), in_process)
    plan.only_wanted |= only_wanted
    return tuple(plan.passes())


def option_text(options: Mapping[str, Value]) -> str:
    """`reltol=0.0001 method=gear`; an empty value writes the key alone. Raises ValueError."""
    words = []
    for key, value in options.items():
        if not _OPTION_KEY.fullmatch(key) or not _OPTION_VALUE.fullmatch(str(value)):
            raise ValueError(f"{key}={value} is not an .option of ngspice")
        text = str(value)
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            text = str(int(value))  # integer options do not read a decimal point
        words.append(f"{key}={text}" if text else key)
    return " ".join(words)


def _refuse(reason: str) -> SimulationFailed:
    return SimulationFailed(State.PARSE_ERROR, reason)


def _check(deck: Deck, netlist: Iterable[Card]) -> None:
    title = deck.text.partition("\n")[0].strip()
    if title.startswith(".") and not title.lower().startswith(".title"):
        raise _refuse(
            f"line 1: '{title}' stands in the title line, which SPICE ignores: put a title above it"
        )
    control = next((c for c in netlist if c.text.lower().startswith(".control")), None)
    if control is not None:
        raise _refuse(
            f"line {control.first + 1}: remove the .control block: "
            "m3eda runs the analyses that the netlist's own cards ask for"
        )
    if fault := fatal_ports([*netlist]):
        raise _refuse(fault)
    only_op = deck.device_values and not deck.vectors and not deck.meas
    if not only_op and not any(card.kind for card in netlist):
        raise _refuse("the testbench has no analysis card (.op, .dc, .ac, .tran, .noise or .sp)")


class _Plan:
    """Divides the analyses of a netlist into passes and writes their decks."""

    def __init__(
        self, deck: Deck, netlist: tuple[Card, ...], options: dict[str, Value], in_process: bool
    ) -> None:
        self._deck = deck
        self._in_process = in_process
        self._options = options
        self._analyses = [card for card in netlist if card.kind not in (None, "op")]
        self._op_cards = [card for card in netlist if card.kind == "op"]
        self._ends = [card for card in netlist if card.text.lower() == ".end"]
        self.only_wanted = any(re.match(r"\.save\b", c.text, re.IGNORECASE) for c in netlist)
        uic = all(c.kind == "tran" and c.text.lower().split()[-1] == "uic" for c in self._analyses)
        self._op_required = bool(self._op_cards or deck.device_values)
        self._op = self._op_required or not (uic and self._analyses)
        self._meas = _meas_kinds(deck.meas, netlist, self._analyses)

    def passes(self) -> Iterator[Pass]:
        groups: list[tuple[AnalysisKind | None, list[Card]]] = [
            (kind, [c for c in self._analyses if c.kind == kind]) for kind in self._meas
        ]
        rest = [card for card in self._analyses if card.kind not in self._meas]
        if rest or not groups:
            groups.append((None, rest))
        # beside an AC analysis the operating point is free, and it runs in one pass only
        order = sorted(
            range(len(groups)),
            key=lambda i: (not any(c.kind == "ac" for c in groups[i][1]), groups[i][0] is not None),
        )
        for index, (measured, analyses) in enumerate(groups):
            stem = "deck" if index == 0 else f"deck{index + 1}"
            yield self._write(stem, measured, analyses, self._op and index == order[0])

    def _write(
        self, stem: str, measured: AnalysisKind | None, analyses: list[Card], op: bool
    ) -> Pass:
        beside_ac = op and any(card.kind == "ac" for card in analyses)
        names = self._meas.get(measured, ()) if measured else ()
        options = {"num_threads": "1", **self._options}
        if beside_ac:
            options["keepopinfo"] = ""
        values = self._device_values(op)
        added = [f".option {option_text(options)}", self._save(values)]
        added += [f".meas {measured} {ECHO}{name} param='{name}'" for name in names]
        if op and not beside_ac and not measured:
            added.append(".op")
        op_apart = op and not beside_ac
        if not self._in_process:
            added += self._control(stem, measured, values, op_apart)
        off = [c for c in self._analyses if c not in analyses] + self._op_cards + self._ends
        text = "\n".join([*self._without(off), *added, ".end", ""])
        then = ("op",) if self._in_process and measured and op_apart else ()
        required = op and self._op_required
        return Pass(stem, text, tuple(analyses), required, names, then, bool(measured))

    def _without(self, off: Iterable[Card]) -> list[str]:
        lines = self._deck.text.splitlines()
        for card in off:
            for index in range(card.first, card.last + 1):
                lines[index] = f"*{lines[index]}"
        return lines

    def _device_values(self, op: bool) -> list[str]:
        wanted = (*self._deck.vectors, *(self._deck.device_values if op else ()))
        names = (source for name in wanted for source in sources(name))
        return [name for name in dict.fromkeys(names) if is_device_value(name)]

    def _save(self, values: list[str]) -> str:
        """A `.save` of everything, as where there is none, and of device values.

        A netlist with a `.save` of its own means to write less: it gets what measures ask for.
        """
        ports = any(card.kind == "sp" for card in self._analyses)  # S_2_1 cannot be saved alone
        if ports or not self.only_wanted or self._deck.meas or not self._deck.vectors:
            return " ".join([".save all", *values])
        names = [save_name(s) for v in self._deck.vectors for s in sources(v)]
        plain = [name for name in names if not is_device_value(name)]
        quiet = self._in_process and all(card.kind != "noise" for card in self._analyses)
        noise = () if quiet else _NOISE
        return " ".join([".save", *dict.fromkeys(plain), *values, *noise])

    def _control(
        self, stem: str, measured: AnalysisKind | None, values: list[str], op: bool
    ) -> list[str]:
        lines = [".control", "set filetype=binary"]
        if measured is None:
            # streamed to the file while it runs: what a dying simulator had is kept
            lines.append(f"run {stem}.raw")
        else:
            # `.meas` needs the vectors in memory
            lines.append("run")
            lines += ["op"] if op else []
            lines += self._drop(values) if measured == "ac" else []
            lines.append(f"write {stem}.raw all.all")
        return [*lines, "quit 0", ".endc"]

    def _drop(self, values: list[str]) -> list[str]:
        """`write` writes nothing at all where one vector is empty, as `@r1[i]` is in AC plots."""
        count = sum(card.kind == "ac" for card in self._analyses)
        return [
            line
            for number in range(1, count + 1 if values else 1)
            for line in (f"setplot ac{number}", *(f"unlet {value}" for value in values))
        ]


def _meas_kinds(
    wanted: Iterable[str], netlist: Iterable[Card], analyses: Iterable[Card]
) -> dict[AnalysisKind, tuple[str, ...]]:
    """The wanted `.meas` results by the analysis they come from, in the order of the netlist."""
    present = tuple(dict.fromkeys(c.kind for c in analyses if c.kind and c.kind not in _NO_MEAS))
    names = {name.lower() for name in wanted}
    found: dict[AnalysisKind, tuple[str, ...]] = {}
    for card in netlist:
        match = _MEAS.match(card.text)
        if match and match.group(2).lower() in names:
            kind, name = cast(AnalysisKind, match.group(1).lower()), match.group(2).lower()
            if kind in present and name not in found.get(kind, ()):
                found[kind] = (*found.get(kind, ()), name)
    lost = names.difference(*found.values()) if found else names
    if lost and present and not found:
        # their lines may stand in an included file
        found = dict.fromkeys(present, ())
    return found
