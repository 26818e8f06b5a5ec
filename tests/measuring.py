"""Measures of a netlist through real ngspice, as a design has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from m3eda_plugins.ngspice import ngspice

from m3eda.design.expressions import Expression
from m3eda.design.types import Measure
from m3eda.plugins import Plugins
from m3eda.simulate.measures import evaluate_measures, required
from m3eda.simulate.types import Deck


def measured(
    netlist: str,
    folder: Path,
    expressions: Mapping[str, str],
    meas: tuple[str, ...] = (),
    options: Mapping[str, str] | None = None,
) -> tuple[dict[str, float], dict[str, str]]:
    """Values of `expressions` and of the `.meas` results named, and the reasons for each nan."""
    functions = Plugins().measures
    parsed = {name: Expression.parse(text, functions) for name, text in expressions.items()}
    measures = {name: Measure(name, "tb", text) for name, text in expressions.items()}
    measures |= {name: Measure(name, "tb", meas=name) for name in meas}
    wanted = required(measures, parsed)["tb"]
    deck = Deck(
        netlist, vectors=wanted.vectors, device_values=wanted.device_values, meas=wanted.meas
    )
    waveforms = ngspice(options).run(deck, folder, 60.0)
    return evaluate_measures(measures, parsed, {"tb": waveforms}, {}, functions)
