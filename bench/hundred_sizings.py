"""A hundred sizings of AutoCkt's two-stage op amp, and what a real Xyce gave for them.

They lie in the shared folder, with the 45 nm card: see `bench.circuits.shared`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from bench.circuits import ROOT, shared
from m3eda.crosscheck.comparison import Results
from m3eda.design.types import NOMINAL, Sizing
from m3eda.simulate.trial import CornerResult

NAME = "AutoCkt's two-stage op amp, AC and operating point"

_FOLDER = "xyce_samples/hundred_sizings"
_DESIGN = """\
m3eda: 1
design: hundred_sizings
testbenches: {{ac: '{template}'}}
conditions: {{models: '{models}'}}
parameters:
  mp1: {{min: 1, max: 100, step: 1}}
  mn1: {{min: 1, max: 100, step: 1}}
  mp3: {{min: 1, max: 100, step: 1}}
  mn3: {{min: 1, max: 100, step: 1}}
  mn4: {{min: 1, max: 100, step: 1}}
  mn5: {{min: 1, max: 100, step: 1}}
  cc: {{min: 0.1p, max: 10p, step: 0.1p, unit: F}}
measures:
  gain: {{expr: dc_gain(v(net6)), unit: V/V}}
  ugbw: {{expr: unity_gain_frequency(v(net6)), unit: Hz}}
  pm: {{expr: phase_margin(v(net6)), unit: deg}}
  supply: {{expr: -i(vdd), unit: A}}
specs: {{gain: {{min: 1}}}}
"""


def write_design(folder: Path) -> Path:
    """The circuit as a design file in `folder`. Raises MissingFile."""
    template = ROOT / "bench" / "netlists" / "autockt_opamp.cir.j2"
    models = shared("models/ptm/45nm_bulk.txt").absolute()
    path = folder / "design.yaml"
    path.write_text(_DESIGN.format(template=template, models=models))
    return path


def sizings() -> list[Sizing]:
    """Raises MissingFile."""
    data = json.loads(shared(f"{_FOLDER}/sizings.json").read_text())
    return [dict(zip(data["order"], row, strict=True)) for row in data["sizings"]]


def of_xyce() -> list[Results]:
    """Xyce's answer to each of `sizings`, as measures of the design. Raises MissingFile."""
    return [
        {
            NOMINAL: CornerResult(
                {
                    "gain": row["gain"],
                    "ugbw": _number(row["ugbw"]),
                    "pm": 180.0 + _number(row["phase_at_ugbw_unwrapped_deg"]),
                    "supply": row["ibias"],
                }
            )
        }
        for row in json.loads(shared(f"{_FOLDER}/results.json").read_text())
    ]


def _number(value: float | None) -> float:
    return math.nan if value is None else value
