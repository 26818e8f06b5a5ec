"""Mistakes in `.sp` and `.noise` testbenches at which ngspice 39 dies or is silent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from m3eda_plugins.ngspice.names import canonical

if TYPE_CHECKING:
    from m3eda_plugins.ngspice.results import Result

    from m3eda.simulate.cards import Card

PORT = "write two voltage sources or more as `v1 in 0 dc 0 ac 1 portnum 1 z0 50`"

_PORT = re.compile(r"\bportnum\s*=?\s*\S+", re.IGNORECASE)
_IMPEDANCE = re.compile(r"\bz0\b", re.IGNORECASE)
_MEAS = re.compile(r"\.meas(?:ure)?\s+sp\b", re.IGNORECASE)
_ELSEWHERE = re.compile(r"\.(?:include|inc|lib)\b", re.IGNORECASE)
_OUTPUT = re.compile(r"\.noise\s+v\s*\(([^)]*)\)", re.IGNORECASE)
_GROUNDS = ("0", "gnd")


def fatal_ports(netlist: Sequence[Card]) -> str:
    """What of a netlist with an `.sp` card ngspice 39 dies of, in one line; empty if nothing."""
    sweep = next((card for card in netlist if card.kind == "sp"), None)
    if sweep is None:
        return ""
    ports = [card for card in netlist if _PORT.search(card.text)]
    for card in ports:
        if not _IMPEDANCE.search(card.text):
            return f"line {card.first + 1}: the port has no impedance (write z0 50 behind portnum)"
    for card in netlist:
        if _MEAS.match(card.text):
            return f"line {card.first + 1}: ngspice has no .meas of an .sp analysis: use expr"
    if len(ports) == 1 and not any(_ELSEWHERE.match(card.text) for card in netlist):
        return f"line {sweep.first + 1}: the .sp analysis has one port only: {PORT}"
    return ""


def noiseless(analyses: Iterable[Card], found: Sequence[Result], deck_text: str) -> str:
    """Why the noise is 0 where the output is no node of the circuit, of which ngspice is silent.

    In one line; empty where there is noise, or the node is there.
    """
    outputs = [(card, match) for card in analyses if (match := _OUTPUT.match(card.text))]
    spectra = [result for result in found if result.kind == "noise" and result.has_scale]
    if not outputs or all(result.plot.data[:, 1:].any() for result in spectra):
        return ""
    wrapped = (canonical(name) for result in found for name in result.plot.names)
    nodes = {name[2:-1] for name in wrapped if name.startswith("v(")}
    # ngspice makes a node of the name on the .noise card, so those of the circuit are its words
    lines = deck_text.lower().splitlines()[1:]
    words = {word for line in lines if line[:1].isalpha() for word in line.split()[1:]}
    for card, match in outputs:
        for node in re.split(r"[\s,]+", match[1].lower().strip()):
            within = "." in node and node in nodes
            if not within and node not in words and node not in _GROUNDS:
                near = get_close_matches(node, sorted(nodes & words), n=1, cutoff=0.4)
                hint = f" (did you mean {near[0]}?)" if near else ""
                return f"line {card.first + 1}: the netlist has no node {node}{hint}: {card.text}"
    return ""
