"""Small designs and simulators for tests that need no real simulator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from m3eda.design.types import (
    AgentChoice,
    Design,
    Limits,
    Measure,
    Parameter,
    SimulatorChoice,
    Spec,
    Testbench,
)
from m3eda.simulate.types import Analysis, Deck, Waveforms

TEMPLATE = "* divider\nv1 in 0 1\nr1 in out {{ r1 }}\nr2 out 0 {{ r2 }}\n.op\n.end\n"


def divider(folder: Path, **changes) -> Design:
    """A resistive divider: v(out) = r2 / (r1 + r2), i = 1 / (r1 + r2)."""
    template = folder / "divider.cir.j2"
    template.write_text(TEMPLATE)
    design = {
        "name": "divider",
        "path": folder / "design.yaml",
        "testbenches": {"op": Testbench("op", template)},
        "parameters": {
            "r1": Parameter("r1", 1e3, 1e6, scale="log"),
            "r2": Parameter("r2", 1e3, 1e6, scale="log"),
        },
        "measures": {
            "ratio": Measure("ratio", "op", "v(out)", unit="V"),
            "current": Measure("current", "op", "-i(v1)", unit="A"),
        },
        "specs": {
            "ratio": Spec("ratio", Limits(target=0.25, tolerance=0.02)),
            "current": Spec("current", Limits(maximum=5e-5)),
        },
        "simulator": SimulatorChoice("fake"),
        "agent": AgentChoice("random", budget=200),
    }
    return Design(**{**design, **changes})


class DividerSimulator:
    """Solves the divider from the deck's values, and can be told to misbehave."""

    name = "fake"

    def __init__(self, before: Callable[[Deck], None] | None = None) -> None:
        self.runs: list[Mapping[str, object]] = []
        self.before = before

    def available(self) -> str:
        return "fake-1"

    def run(self, deck: Deck, rundir: Path, timeout: float) -> Waveforms:
        if self.before is not None:
            self.before(deck)
        self.runs.append(dict(deck.values))
        r1, r2 = float(deck.values["r1"]), float(deck.values["r2"])
        vectors = {
            "v(out)": np.array([r2 / (r1 + r2)]),
            "i(v1)": np.array([-1.0 / (r1 + r2)]),
        }
        return Waveforms((Analysis("op", vectors),), seconds=1e-6)
