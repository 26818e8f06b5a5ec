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
from m3eda_plugins.ngspice.names import save_name, sources
from numpy.typing import NDArray

from bench.warm import WarmNgspice
from m3eda.design.load import load_design
from m3eda.design.space import Space
from m3eda.design.ties import complete, values_at
from m3eda.design.types import NOMINAL, Design, Limits, Measure, Parameter, Sizing, Spec, Testbench
from m3eda.plugins import Plugins
from m3eda.simulate.measurer import Measured, Measurer
from m3eda.simulate.render import Renderer, Wanted
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
    decks: Mapping[str, str]
    """Rendered netlist of each testbench, its `.param` lines bear the names of the design's
    parameters."""
    measure: Callable[[Mapping[str, Waveforms], Sizing], dict[str, float]]
    """Measures from the waveforms of each testbench, a failed one left out."""
    constants: tuple[Sizing, ...] = ()
    """Sizings worth trying against every target of a list (the constant-design row)."""
    _simulators: dict[str, WarmNgspice] = field(default_factory=dict, repr=False)

    def evaluate(self, sizing: Sizing) -> dict[str, float]:
        """Measures at a sizing, nan where one does not exist or the simulation failed."""
        if not self._simulators:
            self._simulators = {name: WarmNgspice(deck) for name, deck in self.decks.items()}
        whole = complete(self.design, {p.name: sizing[p.name] for p in self.design.free})
        values = {p.name: whole[p.name] for p in _varying(self.design)}
        waveforms: dict[str, Waveforms] = {}
        for name, simulator in self._simulators.items():
            try:
                waveforms[name] = simulator.run(values)
            except SimulationFailed:
                continue
        return self.measure(waveforms, whole)

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


def amplifier_measures(waveforms: Waveforms | None, output: str) -> dict[str, float]:
    """gain (V/V), ugbw (Hz), pm (deg) and ibias (A) of an amplifier supplied by `vdd`."""
    measures = dict.fromkeys(("gain", "ugbw", "pm", "ibias"), math.nan)
    if waveforms is None:
        return measures
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
        decks={"ac": render(template, values)},
        measure=lambda waveforms, _: amplifier_measures(waveforms.get("ac"), "v(net6)"),
        constants=(_autockt_sizing(4, 13, 88, 1, 1, 10, 1.3e-12),),
    )


def from_design(path: Path, order: Mapping[str, Side]) -> Circuit:
    """The circuit of a design file whose templates write the values of free parameters as they are.

    Measures are those of the design, at its nominal conditions; `.meas` results are not read.
    """
    plugins = Plugins()
    design = load_design(path, plugins.measures, plugins.technologies)
    measurer = Measurer(design, plugins.measures)

    def measure(waveforms: Mapping[str, Waveforms], sizing: Sizing) -> dict[str, float]:
        taken = Measured()
        for name, testbench in design.testbenches.items():
            if name not in waveforms:
                taken.measures.update(dict.fromkeys(measurer.names(name), math.nan))
                continue
            values = values_at(design, testbench, design.nominal, sizing)
            measured, reasons = measurer.measure(name, values, waveforms[name])
            taken.measures.update(measured)
            taken.reasons.update(reasons)
        measurer.derive(design.nominal, sizing, taken)
        return {name: taken.measures[name] for name in design.measures}

    decks = {name: _warm_deck(design, name, wanted) for name, wanted in measurer.wanted.items()}
    return Circuit(design.name, design, order, decks, measure)


def _varying(design: Design) -> list[Parameter]:
    """Parameters that differ from sizing to sizing: free ones, and those tied to others."""
    return [each for each in design.parameters.values() if each.value is None]


def _warm_deck(design: Design, testbench: str, wanted: Wanted) -> str:
    """The deck of `testbench` with a `.param` line for each parameter that varies, referred to."""
    space = Space(design)
    centre = complete(design, space.sizing(space.centre()))
    varying = [parameter.name for parameter in _varying(design)]
    references = {**centre, **{name: f"{{{name}}}" for name in varying}}
    text = Renderer(design).deck(design.testbenches[testbench], design.nominal, references).text
    title, *lines = text.strip().splitlines()
    given = [f".param {name}={centre[name]!r}" for name in varying]
    names = [save_name(s) for v in (*wanted.vectors, *wanted.device_values) for s in sources(v)]
    return "\n".join([title, *given, *lines[:-1], f".save {' '.join(names)}", lines[-1]])


def folded_cascode() -> Circuit:
    """The folded-cascode OTA of examples/, sixteen parameters."""
    order: dict[str, Side] = {
        "gain": "min", "ugbw": "min", "pm": "min", "ibias": "max", "sat": "min", "area": "max",
    }  # fmt: skip
    return from_design(ROOT / "examples" / "folded_cascode" / "design.yaml", order)


def five_transistor_ota() -> Circuit:
    """The five-transistor OTA of examples/, seven parameters."""
    order: dict[str, Side] = {
        "gain": "min", "ugbw": "min", "pm": "min", "ibias": "max", "sat": "min", "area": "max",
    }  # fmt: skip
    return from_design(ROOT / "examples" / "five_transistor_ota" / "design.yaml", order)


def comparator() -> Circuit:
    """The StrongARM comparator of examples/, ten parameters, one transient of two decisions."""
    order: dict[str, Side] = {
        "delay": "max", "power": "max", "kickback": "max", "offset": "max",
        "decision": "min", "reset": "max",
    }  # fmt: skip
    return from_design(ROOT / "examples" / "comparator" / "design.yaml", order)


def ldo() -> Circuit:
    """The low-dropout regulator of examples/, fifteen parameters, three testbenches."""
    order: dict[str, Side] = {
        "iq": "max", "error": "max", "psrr": "min", "pm": "min", "deviation": "max",
        "recovery": "max", "area": "max",
    }  # fmt: skip
    return from_design(ROOT / "examples" / "ldo" / "design.yaml", order)


CIRCUITS: Mapping[str, Callable[[], Circuit]] = {
    "autockt_opamp": autockt_opamp,
    "folded_cascode": folded_cascode,
    "five_transistor_ota": five_transistor_ota,
    "comparator": comparator,
    "ldo": ldo,
}


@cache
def circuit(name: str) -> Circuit:
    """The circuit of that name, one a process."""
    return CIRCUITS[name]()
