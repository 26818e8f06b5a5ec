"""From a deck in ngspice's words to the passes of Xyce: translation, then one analysis a deck."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from m3eda_plugins.xyce.deck import Netlist, Pass, passes, starts_from_conditions
from m3eda_plugins.xyce.dialect import translate
from m3eda_plugins.xyce.saturation import with_saturation_voltages

from m3eda.design.types import Value
from m3eda.simulate.types import Deck


def prepare(deck: Deck, options: Mapping[str, Value], rundir: Path) -> tuple[Pass, ...]:
    """The passes that give all that `deck` asks for; `options` become `.options` cards.

    Translated copies of included files go to `rundir`. Raises SimulationFailed.
    """
    said = translate(deck.text, rundir)
    wanted = {name.lower() for name in deck.meas}
    measures = tuple(
        (each.kind, each.name, each.card if each.name in wanted else each.text)
        for each in said.measures
        if each.text or each.name in wanted
    )
    lines: tuple[str, ...] = said.lines
    started: tuple[str, ...] = ()
    noise_lines: tuple[str, ...] = ()
    if any(starts_from_conditions(card) for card in said.analyses):
        started = translate(deck.text, rundir, uic=True).lines
    if any(name.lower().endswith("[vdsat]") for name in (*deck.vectors, *deck.device_values)):
        noise_lines = lines
        lines = with_saturation_voltages(lines, rundir)
        started = with_saturation_voltages(started, rundir) if started else ()
    netlist = Netlist(
        lines,
        tuple(card for card in said.analyses if card.kind != "op"),
        any(card.kind == "op" for card in said.analyses),
        measures,
        said.initial,
        noise_lines,
        started,
        said.options,
    )
    planned: tuple[Pass, ...] = passes(deck, netlist, options)
    return planned
