"""The shipped cards: their form, calibration, corners and range, on a real ngspice."""

from __future__ import annotations

import json
import re
import shutil
from functools import cache
from typing import Any

import pytest

from bench import technology as bench
from m3eda.design.problems import Problems
from m3eda.design.schema import TechnologyEntry
from m3eda.design.yamlfile import read_yaml
from m3eda.simulate.render import TechnologyView

TROUBLE = re.compile(r"warning|fatal|error|singular|stepping|no convergence|unrecogni", re.I)
SHIPPED = sorted(path.parent.name for path in bench.FOLDER.glob("*/technology.yaml"))
GENERIC = [name for name in SHIPPED if name.startswith("generic")]
# generic45 is kept as it was published: its long channels lose transconductance deep in triode
# and their gain levels off
LONG = [name for name in GENERIC if name != "generic45"]
EXTREMES = [("tt", 27.0), ("ff", -40.0), ("ff", 125.0), ("ss", -40.0), ("ss", 125.0), ("sf", 125.0),
            ("fs", -40.0)]  # fmt: skip

needs_ngspice = pytest.mark.skipif(
    shutil.which("ngspice") is None, reason="ngspice is not installed"
)


def needs_card(name: str) -> None:
    if bench.reference(name) is None:
        pytest.skip(f"no models/ptm/{bench.CARDS[name].file} in $M3EDA_SHARED or in ../shared")


@cache
def compared(name: str) -> dict[str, Any]:
    needs_card(name)
    return bench.compare(name)


def ratios(name: str, figure: str) -> list[float]:
    """The figure over the card's, of both devices and all lengths."""
    return [
        ratio
        for device in bench.POLARITIES
        for key, ratio in compared(name)[device]["ratio"].items()
        if key.rpartition("_")[0] == figure or key == figure
    ]


@cache
def readings(name: str, device: str) -> tuple[list, list]:
    """Ours and the card's in saturation and moderate to strong inversion, at several lengths."""
    needs_card(name)
    card = bench.CARDS[name]
    l_min = bench.technology(name).data["sizes"]["l_min"]
    biases = [
        bench.Bias(device, 1e-6, times * l_min, vgs * card.supply, vds * card.supply)
        for times in (1, 2, 4)[: 3 if len(card.lengths) > 1 else 1]
        for vgs in (0.4, 0.5, 0.6, 0.8, 1.0)
        for vds in (0.5, 0.75, 1.0)
    ]
    ours, _ = bench.measure(bench.models(name), biases)
    theirs, _ = bench.measure(bench.reference(name), biases)
    return ours, theirs


def bias_ratios(name: str, device: str, figure: str) -> list[float]:
    pairs = zip(*readings(name, device), strict=True)
    return [getattr(ours, figure) / getattr(theirs, figure) for ours, theirs in pairs]


def entry(name: str) -> TechnologyEntry:
    problems = Problems(read_yaml(bench.FOLDER / name / "technology.yaml"))
    found = problems.validated(TechnologyEntry)
    problems.raise_all()
    return found


def test_every_generation_is_there():
    assert set(GENERIC) == set(bench.CARDS)
    assert "sky130" in SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_every_description_has_one_form(name):
    found = entry(name)
    assert (found.name, found.nominal) == (name, "tt")
    assert set(found.sections) == set(bench.SECTIONS)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_mismatch_is_in_range(name):
    data = entry(name).model_extra
    # 1 to 5 mV um below 1.8 V, more with thick oxides and special implants
    assert all(1e-9 < value < 20e-9 for value in data["mismatch"]["a_vt"].values())


@pytest.mark.parametrize("name", GENERIC)
def test_the_library_has_what_the_description_names(name):
    found = bench.technology(name)
    library = found.lib.read_text()
    for section in found.sections.values():
        assert f".lib {section}\n" in library
        assert f".endl {section}\n" in library
    for device in found.data["devices"].values():
        if "card" in device:
            assert device["card"].startswith(f".model {device['model']} {device['type']}")
        else:
            assert f".model {device['model']} {device['type']}mos " in library


@pytest.mark.simulator
@pytest.mark.parametrize("name", GENERIC)
def test_currents_come_near_the_card(name):
    assert ratios(name, "ion") == pytest.approx([1.0] * 2, abs=0.055)


@pytest.mark.simulator
@pytest.mark.parametrize("name", GENERIC)
def test_thresholds_come_near_the_card(name):
    result = compared(name)
    for device in bench.POLARITIES:
        for key, ours in result[device]["ours"].items():
            if key.startswith("threshold"):
                assert ours == pytest.approx(result[device]["reference"][key], abs=0.015), key


@pytest.mark.simulator
@pytest.mark.parametrize("name", GENERIC)
@pytest.mark.parametrize("figure", ["gain", "gate_capacitance"])
def test_gain_and_capacitance_come_near_the_card(name, figure):
    assert ratios(name, figure) == pytest.approx([1.0] * len(ratios(name, figure)), abs=0.15)


@pytest.mark.simulator
@pytest.mark.parametrize("name", GENERIC)
def test_leakage_is_within_a_factor_of_two(name):
    assert all(0.5 < ratio < 2.0 for ratio in ratios(name, "ioff"))


@pytest.mark.simulator
@pytest.mark.parametrize("name", GENERIC)
@pytest.mark.parametrize("device", bench.POLARITIES)
@pytest.mark.parametrize(
    ("figure", "tolerance"),
    [("current", 0.08), ("gm", 0.15), ("gds", 0.35), ("gate_capacitance", 0.18)],
)
def test_other_biases_and_lengths_are_close(name, device, figure, tolerance):
    ratios = bias_ratios(name, device, figure)
    assert max(ratios) < 1 + tolerance
    assert min(ratios) > 1 - tolerance


@needs_ngspice
@pytest.mark.simulator
@pytest.mark.parametrize("name", GENERIC)
@pytest.mark.parametrize(("section", "temperature"), EXTREMES)
def test_every_section_converges_without_a_complaint(name, section, temperature):
    data = bench.technology(name).data
    sizes, supply = data["sizes"], data["supply"]["max"]
    l_min = sizes["l_min"]
    biases = [
        bench.Bias(device, w, l, vgs * supply, vds)
        for device in bench.POLARITIES
        for w in (sizes["w_min"], 1e-6, sizes["w_max"])
        for l in (l_min, 2 * l_min, 20 * l_min, sizes["l_max"])  # noqa: E741
        for vgs in (0.0, 0.3, 0.6, 1.0)
        for vds in (0.0, 0.05, supply / 2, supply)
    ]
    found, printed = bench.measure(bench.models(name, section), biases, temperature)
    complaints = [line for line in printed.splitlines() if TROUBLE.search(line)]
    assert complaints == []
    assert all(reading.gate_capacitance > 0 for reading in found)
    on = [
        reading
        for bias, reading in zip(biases, found, strict=True)
        if bias.vds > 0 and bias.vgs > 0
    ]
    assert all(reading.current > 0 and reading.gds > 0 for reading in on)
    assert all(reading.gm > 0 for reading in on) or name not in LONG


@needs_ngspice
@pytest.mark.simulator
@pytest.mark.parametrize("name", GENERIC)
def test_corners_are_in_order_and_about_ten_percent_apart(name):
    table = bench.corner_currents(name)
    for device in bench.POLARITIES:
        typical = table["tt"][device]
        assert 1.07 < table["ff"][device] / typical < 1.17
        assert 0.83 < table["ss"][device] / typical < 0.93


@needs_ngspice
@pytest.mark.simulator
@pytest.mark.parametrize("name", GENERIC)
def test_the_first_letter_of_a_mixed_corner_is_the_nmos(name):
    table = bench.corner_currents(name)
    assert table["sf"]["nmos"] < table["tt"]["nmos"] < table["fs"]["nmos"]
    assert table["fs"]["pmos"] < table["tt"]["pmos"] < table["sf"]["pmos"]


@needs_ngspice
@pytest.mark.simulator
@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("temperature", [-40.0, 125.0])
@pytest.mark.parametrize("device", bench.POLARITIES)
def test_the_current_rises_with_the_gate_and_the_drain(name, device, temperature):
    data = bench.technology(name).data
    supply, sizes = data["supply"]["max"], data["sizes"]
    # below about 0.2 V the leakage of the drain edge falls as the gate rises
    steps = [supply * step / 40 for step in range(6, 41)]
    lengths = (sizes["l_min"], 3 * sizes["l_min"], sizes["l_max"])
    biases = [
        bench.Bias(device, 1e-6, length, *pair)
        for length in lengths
        for pair in [*((vgs, supply / 2) for vgs in steps), *((supply / 2, vds) for vds in steps)]
    ]
    found, _ = bench.measure(bench.models(name), biases, temperature)
    currents = [reading.current for reading in found]
    for start in range(0, len(currents), len(steps)):
        part = currents[start : start + len(steps)]
        assert part == sorted(part)
        assert part[-1] > part[0]


@needs_ngspice
@pytest.mark.simulator
@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("device", bench.POLARITIES)
def test_a_longer_channel_has_more_gain(name, device):
    data = bench.technology(name).data
    supply, l_min = data["supply"]["nominal"], data["sizes"]["l_min"]
    lengths = [times * l_min for times in (1, 1.5, 2, 3, 5, 10, 20)]
    gains = [
        bench.threshold_and_gain(bench.models(name), device, length, supply)[1]
        for length in lengths
    ]
    assert gains == sorted(gains)
    assert gains[-1] > 10 * gains[0]


@needs_ngspice
@pytest.mark.simulator
@pytest.mark.parametrize("name", ["generic180", "generic45"])
def test_a_library_loads_from_wherever_it_was_copied(name, tmp_path):
    folder = tmp_path / "elsewhere"
    shutil.copytree(bench.FOLDER / name, folder)
    copied = TechnologyView(bench.read_technology(folder / "technology.yaml"), "ss").include
    assert str(folder) in copied
    here = bench.models(name, "ss")
    biases = [bench.Bias("nmos", 1e-6, 1e-6, 0.6, 0.6)]
    moved = bench.Models(copied, here.names)
    assert bench.measure(moved, biases)[0] == bench.measure(here, biases)[0]


@needs_ngspice
@pytest.mark.simulator
def test_the_script_writes_its_figures(tmp_path, capsys):
    target = tmp_path / "figures.json"
    assert bench.main(["--only", "generic180", "--json", str(target)]) == 0
    document = json.loads(target.read_text())["generic180"]
    assert document["nmos"]["ours"]["ion"] == pytest.approx(738e-6, rel=0.05)
    assert "threshold_1" in capsys.readouterr().out


@needs_ngspice
@pytest.mark.simulator
def test_the_script_measures_alone_without_a_card(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("M3EDA_SHARED", str(tmp_path))
    assert bench.main(["--only", "generic180"]) == 0
    assert "no published card at hand" in capsys.readouterr().out


def test_the_script_says_why_it_skips(monkeypatch, capsys):
    monkeypatch.setattr(bench.shutil, "which", lambda program: None)
    assert bench.main([]) == 0
    assert capsys.readouterr().out == "skipped: ngspice is not installed\n"
