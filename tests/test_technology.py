"""The bundled generic45 cards: their calibration, corners and range, on a real ngspice."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
TROUBLE = re.compile(r"warning|fatal|error|singular|stepping|no convergence|unrecogni", re.I)

pytestmark = pytest.mark.simulator
needs_ngspice = pytest.mark.skipif(
    shutil.which("ngspice") is None, reason="ngspice is not installed"
)


def load_bench() -> ModuleType:
    """Import the benchmark script, which is not part of the package."""
    spec = importlib.util.spec_from_file_location("bench_technology", ROOT / "bench/technology.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


bench = load_bench()
needs_reference = pytest.mark.skipif(
    bench.unavailable() is not None, reason=str(bench.unavailable())
)


@cache
def compared() -> dict[str, dict[str, dict[str, float]]]:
    return bench.compare(bench.reference_line())


@cache
def corners() -> dict[str, dict[str, float]]:
    return bench.corner_currents()


def grid(model: str, lengths: tuple[float, ...]) -> list:
    """Biases in moderate and strong inversion, in saturation."""
    return [
        bench.Bias(model, 1e-6, length, vgs, vds)
        for length in lengths
        for vgs in (0.4, 0.5, 0.6, 0.8, 1.0)
        for vds in (0.6, 0.8, 1.0)
        if vds >= vgs - 0.3
    ]


@needs_reference
@pytest.mark.parametrize("model", bench.POLARITIES)
@pytest.mark.parametrize("figure", ["ion_1v0", "ion_1v2", "gain_90n"])
def test_currents_and_gain_are_within_15_percent(model, figure):
    assert compared()[model]["ratio"][figure] == pytest.approx(1.0, abs=0.15)


@needs_reference
@pytest.mark.parametrize("model", bench.POLARITIES)
def test_leakage_is_within_a_factor_of_two(model):
    assert 0.5 < compared()[model]["ratio"]["ioff"] < 2.0


@needs_reference
@pytest.mark.parametrize("model", bench.POLARITIES)
def test_gate_capacitance_is_within_25_percent(model):
    assert compared()[model]["ratio"]["gate_capacitance"] == pytest.approx(1.0, abs=0.25)


@needs_reference
@pytest.mark.parametrize("model", bench.POLARITIES)
@pytest.mark.parametrize(
    ("figure", "tolerance"),
    [("current", 0.15), ("gm", 0.15), ("gds", 0.35), ("gate_capacitance", 0.15)],
)
def test_other_biases_and_lengths_are_close(model, figure, tolerance):
    biases = grid(model, (45e-9, 90e-9, 180e-9))
    ours, _ = bench.measure(bench.library_line("tt"), biases)
    theirs, _ = bench.measure(bench.reference_line(), biases)
    ratios = [getattr(a, figure) / getattr(b, figure) for a, b in zip(ours, theirs, strict=True)]
    worst = max(zip(ratios, biases, strict=True), key=lambda pair: abs(pair[0] - 1))
    assert worst[0] == pytest.approx(1.0, abs=tolerance), worst


@needs_reference
def test_the_script_writes_its_figures(tmp_path, capsys):
    target = tmp_path / "figures.json"
    assert bench.main(["--json", str(target)]) == 0
    document = json.loads(target.read_text())
    assert set(document) == {"figures", "corner_ion"}
    assert "gain_90n" in capsys.readouterr().out


def test_the_script_says_why_it_skips(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("M3EDA_SHARED", str(tmp_path))
    assert bench.main([]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("skipped: ")
    assert printed.count("\n") == 1


@needs_ngspice
@pytest.mark.parametrize("temperature", [-40.0, 27.0, 125.0])
@pytest.mark.parametrize("section", bench.SECTIONS)
def test_every_section_converges_without_a_complaint(section, temperature):
    biases = [
        bench.Bias(model, w, l, vgs, vds)
        for model in bench.POLARITIES
        for w in (90e-9, 1e-6, 100e-6)
        for l in (45e-9, 90e-9, 1e-6, 10e-6)  # noqa: E741
        for vgs in (0.0, 0.3, 0.6, 1.2)
        for vds in (0.0, 0.05, 0.6, 1.3)
    ]
    readings, printed = bench.measure(bench.library_line(section), biases, temperature)
    complaints = [line for line in printed.splitlines() if TROUBLE.search(line)]
    assert complaints == []
    assert all(reading.gate_capacitance > 0 for reading in readings)
    assert all(
        reading.current > 0 and reading.gm > 0 and reading.gds > 0
        for bias, reading in zip(biases, readings, strict=True)
        if bias.vds > 0 and bias.vgs > 0
    )


@needs_ngspice
@pytest.mark.parametrize("model", bench.POLARITIES)
def test_fast_typical_slow_are_in_order_and_about_ten_percent_apart(model):
    typical = corners()["tt"][model]
    assert 1.07 < corners()["ff"][model] / typical < 1.15
    assert 0.85 < corners()["ss"][model] / typical < 0.93


@needs_ngspice
def test_the_first_letter_of_a_mixed_corner_is_the_nmos():
    table = corners()
    assert table["sf"]["nmos"] < table["tt"]["nmos"] < table["fs"]["nmos"]
    assert table["fs"]["pmos"] < table["tt"]["pmos"] < table["sf"]["pmos"]


@needs_ngspice
@pytest.mark.parametrize("temperature", [-40.0, 27.0, 125.0])
@pytest.mark.parametrize("length", [45e-9, 180e-9, 10e-6])
@pytest.mark.parametrize("model", bench.POLARITIES)
def test_the_current_rises_with_the_gate_and_the_drain(model, length, temperature):
    gates = [bench.Bias(model, 1e-6, length, 0.05 * step, 0.6) for step in range(2, 27)]
    drains = [bench.Bias(model, 1e-6, length, 0.6, 0.05 * step) for step in range(1, 27)]
    readings, _ = bench.measure(bench.library_line("tt"), gates + drains, temperature)
    currents = [reading.current for reading in readings]
    for part in (currents[: len(gates)], currents[len(gates) :]):
        assert part == sorted(part)
        assert part[-1] > part[0]


@needs_ngspice
def test_the_library_loads_from_wherever_it_was_copied(tmp_path):
    copied = tmp_path / "elsewhere" / "generic45.lib"
    copied.parent.mkdir()
    shutil.copy(bench.LIBRARY, copied)
    assert bench.corner_currents(copied) == corners()


def test_the_description_names_what_the_library_has():
    text = (bench.LIBRARY.parent / "technology.yaml").read_text()
    technology = yaml.safe_load(text)
    library = (bench.LIBRARY.parent / technology["lib"]).read_text()
    assert set(technology["sections"]) == set(bench.SECTIONS)
    for section in technology["sections"].values():
        assert f".lib {section}\n" in library
        assert f".endl {section}\n" in library
    for device in technology["devices"].values():
        assert f".model {device['model']} {device['type']}mos " in library
    assert set(technology["mismatch"]["a_vt"]) == set(technology["devices"])
    assert set(technology["mismatch"]["a_beta"]) == set(technology["devices"])
