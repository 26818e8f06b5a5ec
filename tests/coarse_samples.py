"""Decks for the coarse model, and what it and ngspice give for them."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from m3eda.coarse.netlist import Netlist, netlist_of
from m3eda.coarse.transistor import Kind
from m3eda.coarse.waves import simulated
from m3eda.importing.devices import Circuit, circuit_of
from m3eda.plugins import Plugins
from m3eda.simulate.types import Analysis, Deck, Waveforms

HOLE = re.compile(r"<(\d+)>")
ROOT = Path(__file__).resolve().parent


def circuit(text: str) -> Circuit:
    return circuit_of(ROOT / "deck.cir", text)


def filled(text: str, fills: Sequence[str]) -> str:
    """A deck with its holes, <0> and on, filled."""
    return HOLE.sub(lambda found: fills[int(found[1])], f"* deck\n{text}\n.end\n")


def read(text: str) -> Netlist:
    """The netlist of a deck with holes <0>, <1> ..."""
    holes = len(set(HOLE.findall(text)))
    return netlist_of(lambda fills: filled(text, fills), holes, circuit)


def solved(
    text: str, vectors: Sequence[str], fills: Sequence[Sequence[float]] = ((),),
    kinds: Mapping[str, Kind] | None = None, device_values: Sequence[str] = (),
) -> list[Waveforms]:  # fmt: skip
    """What the coarse model gives for a deck, a row of `fills` each."""
    rows = np.array(fills, dtype=float).reshape(len(fills), -1)
    with np.errstate(all="ignore"):
        waves, _ = simulated(read(text), rows, kinds or {}, vectors, device_values)
    assert all(each is not None for each in waves)
    return [each for each in waves if each is not None]


def spice(text: str, vectors: Sequence[str] = (), device_values: Sequence[str] = ()) -> Waveforms:
    """What ngspice gives for it."""
    deck = Deck(filled(text, ()), vectors=tuple(vectors), device_values=tuple(device_values))
    with tempfile.TemporaryDirectory() as folder:
        simulator = Plugins().simulators["ngspice"]({})
        return simulator.run(deck, Path(folder), 60.0)


def only(waves: Waveforms, kind: str) -> Analysis:
    """The analysis of a kind."""
    [found] = [each for each in waves.analyses if each.kind == kind]
    return found
