"""The contract of a technology, as a test-case class.

    from m3eda.testing.technologies import TechnologyContract

    class TestMyTechnology(TechnologyContract):
        @pytest.fixture
        def technology_file(self):
            return Path(__file__).parent / "technology.yaml"

It holds what templates rely on, so that one template serves any technology, and biases every
transistor on a simulator where one is installed.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from m3eda.design.technology import read_technology
from m3eda.design.types import Technology
from m3eda.errors import SimulatorMissing
from m3eda.plugins import Plugins
from m3eda.simulate.templates import TechnologyView
from m3eda.simulate.types import Deck, Simulator

ON_OFF = 30.0
"""Least ratio of a transistor's current at full gate voltage to that at none."""
TIMEOUT = 120.0


@dataclass(frozen=True)
class Bias:
    """A transistor with `gate` and `drain` volts to its source, which turn it on; sizes in m."""

    device: str
    width: float
    length: float
    gate: float
    drain: float


class TechnologyContract:
    """Give a fixture `technology_file` with the path of technology.yaml."""

    simulator_name = "ngspice-batch"
    """The registered simulator that reads the models."""
    simulator_options: Mapping[str, Any] = MappingProxyType({})
    corners: tuple[str, ...] = ()
    """Process corners that are simulated; empty for all."""

    @pytest.fixture
    def technology_file(self) -> Path:
        raise NotImplementedError("give a fixture `technology_file` with the path")

    @pytest.fixture
    def technology(self, technology_file: Path) -> Technology:
        return read_technology(technology_file)

    @pytest.fixture
    def simulator(self) -> Simulator:
        found = Plugins(silent=True).look_up("simulators", self.simulator_name)(
            self.simulator_options
        )
        try:
            found.available()
        except SimulatorMissing as reason:
            pytest.skip(f"it takes a simulator: {reason}")
        simulator: Simulator = found
        return simulator

    def test_loads(self, technology: Technology) -> None:
        assert technology.name
        assert technology.lib or technology.includes, "it names no models: give `lib`"

    def test_is_named_and_described(self, technology: Technology) -> None:
        for key in ("description", "label", "licence"):
            assert technology.data.get(key), f"'{key}' is missing: a designer must know"

    def test_its_nominal_corner_is_one_of_its_corners(self, technology: Technology) -> None:
        if not technology.sections:
            pytest.skip("it has no corners")
        assert technology.nominal in technology.sections

    def test_devices_say_how_they_are_called(self, technology: Technology) -> None:
        instance, devices = technology.data["instance"], technology.data["devices"]
        assert instance["prefix"] in ("m", "x"), "a transistor or a subcircuit"
        assert float(instance["unit"]) > 0.0, "the length in metres that w=1 stands for"
        for name, device in devices.items():
            assert {"model", "type"} <= set(device), f"devices.{name} needs `model` and `type`"
            known = ("n", "p", "npn", "pnp", "resistor", "capacitor")
            assert device["type"] in known, f"devices.{name}.type"
        assert set(_transistors(technology)) >= {"nmos", "pmos"}, "templates use these two names"

    def test_supply_temperature_and_sizes_are_in_order(self, technology: Technology) -> None:
        data = technology.data
        for key in ("supply", "temperature"):
            given = data[key]
            assert given["min"] <= given["nominal"] <= given["max"], key
        sizes = data["sizes"]
        assert 0.0 < sizes["l_min"] < sizes["l_max"] < 1e-2, "sizes are in metres"
        assert 0.0 < sizes["w_min"] < sizes["w_max"] < 1e-1, "sizes are in metres"

    def test_mismatch_is_given_for_its_transistors(self, technology: Technology) -> None:
        if "mismatch" not in technology.data:
            pytest.skip("it says nothing of mismatch")
        for key in ("a_vt", "a_beta"):
            given = technology.data["mismatch"][key]
            assert set(given) == set(_transistors(technology)), f"mismatch.{key}"
            assert all(0.0 <= value < 1e-6 for value in given.values()), "V m and m, not mV um"

    def test_every_transistor_conducts_and_turns_off_at_every_corner(
        self, technology: Technology, simulator: Simulator
    ) -> None:
        for corner in self.corners or tuple(technology.sections) or ("",):
            for device, (on, off) in _switched(technology, simulator, corner).items():
                where = f"{device} at the corner '{corner}'"
                assert on > 0.0, f"{where} conducts the wrong way, or not at all: {on:g} A"
                assert on > ON_OFF * abs(off), f"{where}: {on:g} A turned on, {off:g} A off"

    def test_fast_and_slow_corners_are_what_they_say(
        self, technology: Technology, simulator: Simulator
    ) -> None:
        ordered = ("ss", "tt", "ff")
        if not {*ordered} <= set(self.corners or technology.sections):
            pytest.skip("it has no corners tt, ff and ss")
        found = [_switched(technology, simulator, corner) for corner in ordered]
        for device in _transistors(technology):
            slow, typical, fast = (each[device][0] for each in found)
            assert slow < typical < fast, f"{device}: {slow:g}, {typical:g}, {fast:g} A"

    def test_every_size_and_temperature_has_a_model(
        self, technology: Technology, simulator: Simulator
    ) -> None:
        sizes, volts = technology.data["sizes"], float(technology.data["supply"]["max"])
        biases = tuple(
            Bias(name, width, length, volts, volts)
            for name in _transistors(technology)
            for width in (sizes["w_min"], sizes["w_max"])
            for length in (_shortest(technology, name), sizes["l_max"])
        )
        for key in ("min", "max"):
            degrees = float(technology.data["temperature"][key])
            currents = _currents(technology, simulator, technology.nominal, biases, degrees)
            for bias, current in zip(biases, currents, strict=True):
                assert current > 0.0, f"{bias} gives {current:g} A at {degrees:g} degrees"


def _transistors(technology: Technology) -> dict[str, int]:
    """Sign of the voltages that turn each transistor on, by its name."""
    devices = technology.data["devices"].items()
    return {k: 1 if v["type"] == "n" else -1 for k, v in devices if v["type"] in ("n", "p")}


def _shortest(technology: Technology, device: str) -> float:
    own = technology.data["devices"][device].get("l_min")
    return float(own or technology.data["sizes"]["l_min"])


def _switched(
    technology: Technology, simulator: Simulator, corner: str
) -> dict[str, tuple[float, float]]:
    """Current of each transistor, on and off, at the nominal supply; somewhat above least size."""
    sizes, volts = technology.data["sizes"], float(technology.data["supply"]["nominal"])
    names = list(_transistors(technology))
    biases = tuple(
        Bias(name, 4.0 * sizes["w_min"], 2.0 * _shortest(technology, name), gate, volts)
        for gate in (volts, 0.0)
        for name in names
    )
    found = _currents(technology, simulator, corner, biases)
    return dict(zip(names, zip(found, found[len(names) :], strict=False), strict=True))


def _currents(
    technology: Technology,
    simulator: Simulator,
    corner: str,
    biases: tuple[Bias, ...],
    degrees: float = math.nan,
) -> list[float]:
    """Current into the drain of an n, out of that of a p transistor, in A, one for each bias."""
    data = technology.data
    lines = ["technology", TechnologyView(technology, corner).include]
    lines.append(f".temp {data['temperature']['nominal'] if math.isnan(degrees) else degrees}")
    signs, call = _transistors(technology), data["instance"]
    for number, bias in enumerate(biases):
        sign, unit = signs[bias.device], float(call["unit"])
        model = data["devices"][bias.device]["model"]
        lines += [
            f"vd{number} d{number} 0 {sign * bias.drain!r}",
            f"vg{number} g{number} 0 {sign * bias.gate!r}",
            f"{call['prefix']}{number} d{number} g{number} 0 0 {model} "
            f"w={bias.width / unit!r} l={bias.length / unit!r}",
        ]
    text = "\n".join([*lines, ".op", ".end", ""])
    key = simulator.available(), text
    if key not in _known:
        _known[key] = _operating_point(simulator, text, len(biases))
    return [-signs[bias.device] * i for bias, i in zip(biases, _known[key], strict=True)]


_known: dict[tuple[str, str], list[float]] = {}
"""Currents by simulator and netlist: a large kit takes seconds to load."""


def _operating_point(simulator: Simulator, text: str, count: int) -> list[float]:
    wanted = tuple(f"i(vd{number})" for number in range(count))
    with tempfile.TemporaryDirectory(prefix="m3eda-") as folder:
        run = simulator.run(Deck(text, vectors=wanted), Path(folder), TIMEOUT)
    [op] = run.of_kind("op")
    return [float(op.vectors[name][0]) for name in wanted]
