"""A simulator plugin in one file: linear circuits of R, L, C, V and I by modified nodal analysis.

It reads `.op` and `.ac dec|lin`. One option: `gmin`, a conductance in S from each node to ground.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3eda.errors import DesignError, Mistake
from m3eda.hookspecs import hookimpl
from m3eda.simulate.types import Analysis, Deck, SimulationFailed, State, Waveforms
from m3eda.units import NumberError, parse

IGNORED = (".end", ".temp", ".option", ".options", ".title")


class Nodal:
    """What m3eda asks of a simulator: a name, `available()` and `run()`."""

    name = "nodal"

    def __init__(self, options: Mapping[str, Any]) -> None:
        unknown = sorted(set(options) - {"gmin"})
        if unknown:
            text = f"the simulator nodal has no option '{unknown[0]}'"
            raise DesignError([Mistake(text, key="simulator.options", hint="known: gmin")])
        self.gmin = float(options.get("gmin", 0.0))

    def available(self) -> str:
        return "nodal-1.0"

    def run(self, deck: Deck, rundir: Path, timeout: float) -> Waveforms:
        started = time.monotonic()
        circuit = Circuit(deck.text, self.gmin)
        analyses = tuple(circuit.solve(card) for card in circuit.analyses)
        if not analyses:
            raise SimulationFailed(State.PARSE_ERROR, "the testbench has no .op or .ac card")
        chosen = tuple(wanted(analysis, deck) for analysis in analyses)
        return Waveforms(chosen, seconds=time.monotonic() - started)


class Circuit:
    """The equations (G + j w C) x = b of a netlist; x holds node voltages, then currents."""

    def __init__(self, text: str, gmin: float) -> None:
        elements: list[list[str]] = []
        self.analyses: list[list[str]] = []
        # the first line is the title, as in every SPICE netlist
        for number, line in enumerate(text.splitlines()[1:], 2):
            words = line.lower().split()
            if not words or words[0].startswith("*") or words[0] in IGNORED:
                continue
            if words[0] in (".op", ".ac"):
                self.analyses.append(words)
            elif words[0][0] in "rlcvi" and len(words) >= 4:
                elements.append(words)
            else:
                reason = f"line {number}: nodal does not know '{line.strip()}'"
                raise SimulationFailed(State.PARSE_ERROR, reason)
        nodes = dict.fromkeys(node for words in elements for node in words[1:3])
        self.names = [f"v({node})" for node in nodes if node != "0"]
        self.names += [f"i({words[0]})" for words in elements if words[0][0] in "vl"]
        size = len(self.names)
        self.g = np.diag([gmin if name.startswith("v") else 0.0 for name in self.names])
        self.c = np.zeros((size, size))
        self.sources = {"dc": np.zeros(size), "ac": np.zeros(size)}
        for words in elements:
            self._stamp(words)

    def _stamp(self, words: list[str]) -> None:
        """Add one element; a row or column of ground, which is no unknown, is left out."""
        kind, ends = words[0][0], [(f"v({words[1]})", 1.0), (f"v({words[2]})", -1.0)]
        places = [(self.names.index(name), sign) for name, sign in ends if name != "v(0)"]
        if kind in "rc":
            value = number(words[3])
            matrix, admittance = (self.g, 1.0 / value) if kind == "r" else (self.c, value)
            for row, one in places:
                for column, other in places:
                    matrix[row, column] += one * other * admittance
        elif kind == "i":
            for row, sign in places:
                for analysis, source in self.sources.items():
                    source[row] -= sign * level(words, analysis)
        else:
            branch = self.names.index(f"i({words[0]})")
            for node, sign in places:
                self.g[node, branch] = self.g[branch, node] = sign
            if kind == "l":
                self.c[branch, branch] = -number(words[3])
            else:
                for analysis, source in self.sources.items():
                    source[branch] = level(words, analysis)

    def solve(self, card: list[str]) -> Analysis:
        """One analysis: vectors of shape (points,)."""
        frequency = np.zeros(1) if card[0] == ".op" else sweep(card)
        kind = "dc" if card[0] == ".op" else "ac"
        matrix = self.g + 2j * np.pi * frequency[:, None, None] * self.c
        right = np.broadcast_to(self.sources[kind], (len(frequency), len(self.names)))
        try:
            x = np.linalg.solve(matrix, right[..., None])[..., 0]
        except np.linalg.LinAlgError as error:
            raise SimulationFailed(State.NO_CONVERGENCE, "the matrix is singular") from error
        units = {name: "V" if name.startswith("v") else "A" for name in self.names}
        if kind == "dc":
            return Analysis("op", dict(zip(self.names, x.real.T, strict=True)), units=units)
        vectors = {"frequency": frequency, **dict(zip(self.names, x.T, strict=True))}
        return Analysis("ac", vectors, "frequency", {"frequency": "Hz", **units})


def wanted(analysis: Analysis, deck: Deck) -> Analysis:
    """What the measures asked for; everything where they asked for nothing."""
    if not (deck.vectors or deck.device_values):
        return analysis
    names = [name for name in (analysis.scale, *deck.vectors, *deck.device_values) if name]
    for name in names:
        if name not in analysis.vectors:
            near = ", ".join(get_close_matches(name, analysis.vectors)) or "none"
            reason = f"the netlist gives no {name} (nearest: {near})"
            raise SimulationFailed(State.VECTOR_MISSING, reason)
    vectors = {name: analysis.vectors[name] for name in names}
    units = {name: analysis.units[name] for name in names}
    return Analysis(analysis.kind, vectors, analysis.scale, units)


def level(words: list[str], analysis: str) -> float:
    """A source's `dc` or `ac` value; a bare number is its DC value."""
    found = re.search(rf"\b{analysis}\s+(\S+)", " ".join(words[3:]))
    if found:
        return number(found[1])
    return number(words[3]) if analysis == "dc" and words[3] != "ac" else 0.0


def sweep(card: list[str]) -> NDArray[np.float64]:
    """The frequencies of `.ac dec|lin points start stop`, in Hz."""
    if len(card) != 5 or card[1] not in ("dec", "lin"):
        raise SimulationFailed(State.PARSE_ERROR, f"expected .ac dec|lin, got {' '.join(card)}")
    points, start, stop = (number(word) for word in card[2:])
    if card[1] == "lin":
        return np.linspace(start, stop, int(points))
    steps = np.arange(np.floor(points * np.log10(stop / start) + 1e-9) + 1)
    return start * 10.0 ** (steps / points)


def number(word: str) -> float:
    try:
        return parse(word)
    except NumberError as error:
        raise SimulationFailed(State.PARSE_ERROR, str(error)) from error


@hookimpl
def register_simulators(register: Callable[[str, Callable[..., Any]], None]) -> None:
    register("nodal", Nodal)


def contract(kind: str, name: str) -> type:
    """What `m3eda plugins check` runs: the contract of simulators, as far as it applies here."""
    from m3eda.testing.simulators import SimulatorContract  # pytest: not needed to simulate

    class LinearContract(SimulatorContract):
        nonsense = "nonsense\nv1 in 0 dc 1\nr1 in 0 ohms\n.op\n"
        model_missing = no_convergence = "loop\nv1 in 0 dc 1\nv2 in 0 dc 2\n.op\n"

        # it knows neither transistors nor time, and ends by itself
        test_device_values = test_missing_model = None
        test_transient_reaches_its_stop_time = test_timeout_ends_every_process = None

    return LinearContract
