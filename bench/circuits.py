"""The circuits that agents are compared on, evaluated on a warm ngspice.

Each is a `Design` and a function from sizing to measures. Targets are lists of one limit a spec,
in the order of `Circuit.order`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import jinja2
import numpy as np
from numpy.typing import NDArray

from bench.warm import WarmNgspice
from m3eda.design.load import load_design
from m3eda.design.space import Space
from m3eda.design.types import NOMINAL, Design, Limits, Measure, Parameter, Sizing, Spec, Testbench
from m3eda.plugins import Plugins
from m3eda.simulate.measurer import Measured, Measurer
from m3eda.simulate.render import Renderer
from m3eda.simulate.trial import CornerResult, Trial, score
from m3eda.simulate.types import SimulationFailed, Waveforms

ROOT = Path(__file__).resolve().parents[1]

Side = Literal["min", "max"]


class MissingFile(Exception):
    """A circuit cannot be simulated here: a file it needs is not part of the project."""


def shared(path: str) -> Path:
    """A file of the folder named by M3EDA_SHARED, else `shared` beside the checkout."""
    folder = Path(os.environ.get("M3EDA_SHARED") or ROOT.parent / "shared")
    if not (folder / path).exists():
        raise MissingFile(f"{folder / path} is not there: set M3EDA_SHARED to the shared folder")
    return folder / path


@dataclass
class Circuit:
    """A design with its deck: `evaluate` takes about a millisecond."""

    name: str
    design: Design
    order: Mapping[str, Side]
    """Measures with a limit each, in the order of a target's numbers."""
    deck: str
    """Rendered netlist whose `.param` lines bear the names of the design's parameters."""
    measure: Callable[[Waveforms, Sizing], dict[str, float]]
    constants: tuple[Sizing, ...] = ()
    """Sizings worth trying against every target of a list (the constant-design row)."""
    _simulator: WarmNgspice | None = field(default=None, repr=False)

    def evaluate(self, sizing: Sizing) -> dict[str, float]:
        """Measures at a sizing, nan where one does not exist or the simulation failed."""
        if self._simulator is None:
            self._simulator = WarmNgspice(self.deck)
        values = {name: sizing[name] for name in (p.name for p in self.design.free)}
        try:
            return self.measure(self._simulator.run(values), values)
        except SimulationFailed:
            return dict.fromkeys(self.design.measures, math.nan)

    def targeted(self, target: Sequence[float]) -> Design:
        """The design with the specs of one target."""
        design = self.design
        for (name, side), value in zip(self.order.items(), target, strict=True):
            limits = Limits(minimum=value) if side == "min" else Limits(maximum=value)
            design = design.with_spec(Spec(name, limits))
        return design

    def trial(self, number: int, sizing: Sizing, specs: Mapping[str, Spec]) -> Trial:
        """Simulate and score one sizing."""
        return score(number, sizing, {NOMINAL: CornerResult(self.evaluate(sizing), runs=1)}, specs)


def render(template: Path, values: Mapping[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent), undefined=jinja2.StrictUndefined
    )
    return environment.get_template(template.name).render(values)


def unity_crossing(
    frequency: NDArray[np.float64], response: NDArray[np.complex128]
) -> tuple[float, float]:
    """First crossing of |H| = 1 from above, Hz, and the phase there less that at DC, degrees.

    Interpolated in log f; nan where |H| does not start above 1 and fall through it. A step of
    phase between two points is taken to lie in (-270, 90] degrees.
    """
    magnitude = np.log(np.abs(response))
    below = np.flatnonzero(magnitude < 0.0)
    if magnitude[0] <= 0.0 or not below.size:
        return math.nan, math.nan
    k = below[0]
    part = magnitude[k - 1] / (magnitude[k - 1] - magnitude[k])
    octave = np.log(frequency[k] / frequency[k - 1])
    angle = np.degrees(np.angle(response[: k + 1]))
    steps = 90.0 - np.mod(90.0 - np.diff(angle), 360.0)
    start = angle[0] - 180.0 * round(angle[0] / 180.0)
    phase = start + np.concatenate([[0.0], np.cumsum(steps)])
    return (
        float(frequency[k - 1] * np.exp(part * octave)),
        float(phase[k - 1] + part * (phase[k] - phase[k - 1])),
    )


def _vector(waveforms: Waveforms, kind: Any, name: str) -> NDArray[Any] | None:
    for analysis in waveforms.of_kind(kind):
        if name in analysis.vectors:
            return analysis.vectors[name]
    return None


def amplifier_measures(waveforms: Waveforms, output: str) -> dict[str, float]:
    """gain (V/V), ugbw (Hz), pm (deg) and ibias (A) of an amplifier supplied by `vdd`."""
    measures = dict.fromkeys(("gain", "ugbw", "pm", "ibias"), math.nan)
    response = _vector(waveforms, "ac", output)
    frequency = _vector(waveforms, "ac", "frequency")
    current = _vector(waveforms, "op", "i(vdd)")
    if current is not None:
        measures["ibias"] = -float(current[0])
    if response is not None and frequency is not None and np.all(np.abs(response) > 0.0):
        measures["gain"] = float(np.abs(response[0]))
        measures["ugbw"], phase = unity_crossing(frequency, response)
        measures["pm"] = 180.0 + phase
    return measures


_AUTOCKT_NAMES = ("mp1", "mn1", "mp3", "mn3", "mn4", "mn5")


def _autockt_sizing(*values: float) -> Sizing:
    return dict(zip((*_AUTOCKT_NAMES, "cc"), values, strict=True))


def autockt_opamp() -> Circuit:
    """AutoCkt's two-stage op amp on its own grid, about 1e14 sizings."""
    template = ROOT / "bench" / "netlists" / "autockt_opamp.cir.j2"
    parameters = {
        name: Parameter(name, minimum=1, maximum=99, step=1, scale="log", kind="multiplier")
        for name in _AUTOCKT_NAMES
    }
    parameters["cc"] = Parameter(
        "cc", minimum=0.1e-12, maximum=9.9e-12, step=0.1e-12, scale="log", unit="F"
    )
    order: dict[str, Side] = {"gain": "min", "ugbw": "min", "pm": "min", "ibias": "max"}
    units = {"gain": "V/V", "ugbw": "Hz", "pm": "deg", "ibias": "A"}
    design = Design(
        name="autockt_opamp",
        path=template,
        testbenches={"ac": Testbench("ac", template)},
        parameters=parameters,
        measures={name: Measure(name, "ac", unit=unit) for name, unit in units.items()},
        specs={},
    )
    start = _autockt_sizing(10, 10, 10, 10, 10, 10, 1e-12)
    values = {**start, "models": shared("models/ptm/45nm_bulk.txt")}
    return Circuit(
        name=design.name,
        design=design,
        order=order,
        deck=render(template, values),
        measure=lambda waveforms, _: amplifier_measures(waveforms, "v(net6)"),
        constants=(_autockt_sizing(4, 13, 88, 1, 1, 10, 1.3e-12),),
    )


def from_design(path: Path, order: Mapping[str, Side]) -> Circuit:
    """The circuit of a design file with one testbench whose template writes values as they are."""
    plugins = Plugins()
    design = load_design(path, plugins.measures, plugins.technologies)
    [testbench] = design.testbenches.values()
    measurer = Measurer(design, plugins.measures)
    wanted = measurer.wanted[testbench.name]
    # each value becomes a reference to a .param of its name, which a warm deck can change
    references = {name: f"{{{name}}}" for name in design.parameters}
    text = Renderer(design).deck(testbench, design.nominal, references).text
    title, *lines = text.strip().splitlines()
    space = Space(design)
    given = [f".param {name}={value!r}" for name, value in space.sizing(space.centre()).items()]
    saved = f".save {' '.join((*wanted.vectors, *wanted.device_values))}"
    deck = "\n".join([title, *given, *lines[:-1], saved, lines[-1]])

    def measure(waveforms: Waveforms, sizing: Sizing) -> dict[str, float]:
        taken = Measured(*measurer.measure(testbench.name, sizing, waveforms))
        measurer.derive(design.nominal, sizing, taken)
        return taken.measures

    return Circuit(design.name, design, order, deck, measure)


def folded_cascode() -> Circuit:
    """The folded-cascode OTA of examples/, sixteen parameters."""
    order: dict[str, Side] = {
        "gain": "min", "ugbw": "min", "pm": "min", "ibias": "max", "sat": "min", "area": "max",
    }  # fmt: skip
    return from_design(ROOT / "examples" / "folded_cascode" / "design.yaml", order)


CIRCUITS: Mapping[str, Callable[[], Circuit]] = {
    "autockt_opamp": autockt_opamp,
    "folded_cascode": folded_cascode,
}


@cache
def circuit(name: str) -> Circuit:
    """The circuit of that name, one a process."""
    return CIRCUITS[name]()
