"""`m3eda init`: the first simulation of the design is the netlist as it was."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from m3eda.cli import run
from m3eda.design.ties import complete
from m3eda.flow import Project
from m3eda.simulate.rawfile import read_raw
from m3eda.simulate.render import Renderer
from tests.conftest import ROOT

NETLISTS = ROOT / "tests" / "golden" / "netlists"
CONTROL = re.compile(r"^\.control.*?^\.endc$", re.MULTILINE | re.DOTALL)
INCLUDE = re.compile(r"^(\.(?:include|lib) +\"?)(?=[^/\"])", re.MULTILINE)


def made(netlist: Path, folder: Path, *options: str) -> Project:
    assert run(["init", str(netlist), "-o", str(folder), *options]) == 0
    return Project.load(folder / "design.yaml")


def vectors(text: str, folder: Path) -> dict[str, np.ndarray]:
    """Every vector that ngspice gives for a deck, by plot and name."""
    folder.mkdir()
    (folder / "deck.cir").write_text(text)
    argv = ["ngspice", "-b", "-r", "deck.raw", "deck.cir"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    plots = read_raw(folder / "deck.raw")
    found = {f"{p.name} {n}": p.data[:, i] for p in plots for i, n in enumerate(p.names)}
    # ngspice leaves the imaginary part of a frequency as it was in memory
    return {name: y.real if name.endswith("frequency") else y for name, y in found.items()}


def first_deck(project: Project) -> str:
    """The deck of the first testbench at the start."""
    design = project.design
    first = next(iter(design.testbenches.values()))
    sizing = complete(design, project.nominal_sizing())
    return Renderer(design).deck(first, design.nominal, sizing).text


def assert_same(netlist: Path, project: Project, folder: Path, instead: str = "") -> None:
    """The netlist and the deck at the start give the same; `instead` stands for control blocks."""
    text = CONTROL.sub(instead, os.path.expandvars(netlist.read_text()))
    text = INCLUDE.sub(rf"\1{netlist.parent}/", text)
    here = vectors(first_deck(project), folder / "rendered")
    there = vectors(text, folder / "original")
    assert here.keys() == there.keys()
    for name, values in there.items():
        assert np.abs(here[name] - values).max() <= 1e-9 * np.abs(values).max(), name


@pytest.fixture
def kit(tmp_path, shared, monkeypatch) -> Path:
    """A folder with the sky130 models, named by $PDK_ROOT."""
    for file in (shared / "models" / "sky130").iterdir():
        (tmp_path / file.name).symlink_to(file)
    monkeypatch.setenv("PDK_ROOT", str(tmp_path))
    return tmp_path


@pytest.mark.simulator
@pytest.mark.parametrize("name", ["kicad_filter.cir", "buffer_params.cir"])
def test_the_start_is_the_netlist(name, tmp_path):
    project = made(NETLISTS / name, tmp_path / "design")
    assert_same(NETLISTS / name, project, tmp_path)


@pytest.mark.simulator
def test_a_netlist_of_xschem_with_a_kit(kit):
    netlist = NETLISTS / "xschem_ota.spice"
    project = made(netlist, kit / "design")
    assert_same(netlist, project, kit, ".op\n.ac dec 20 100 1g\n")


@pytest.mark.simulator
def test_a_subcircuit_alone_gets_a_testbench(tmp_path):
    """As Cadence exports it for a layout check; the technology is the user's word."""
    netlist = NETLISTS / "cadence_ota.cdl"
    project = made(netlist, tmp_path / "design", "--technology", "generic180")
    design = project.design
    assert design.netlist is not None
    assert design.netlist.name == "cadence_ota.cir.j2"
    assert set(design.specs) == {"gain", "ugbw", "pm", "ivdd"}
    assert "$[" not in first_deck(project)
    evaluator = project.evaluator()
    sizing = evaluator.complete(project.nominal_sizing())
    measures = next(evaluator.evaluate([sizing]))[design.nominal.name].measures
    # the mirror gives the pair four times the bias of 10 uA
    assert measures["ivdd"] == pytest.approx(5 * 10e-6, rel=0.05)


PAIRS = """* pairs and mirrors
.model n nmos level=1
.model p pmos level=1
m1 a inp t 0 n w=5u l=0.5u
m2 b inn t 0 n w=5u l=0.5u
m3 a a vdd vdd p w=2u l=1u
m4 b a vdd vdd p w=5u l=1u
m5 t g 0 0 n w=1u l=1u m=6
m6 g g 0 0 n w=1u l=1u m=2
m7 o x c 0 n w=3u l=0.5u
m8 x o c2 0 n w=3u l=0.5u
vdd vdd 0 1.2
vp inp 0 0.6
vn inn 0 0.6
ib vdd g 5u
.temp 85
"""


def test_matched_devices_share_parameters_and_ratios(tmp_path):
    netlist = tmp_path / "pairs.cir"
    netlist.write_text(PAIRS)
    command = ["init", str(netlist), "-o", str(tmp_path / "design"), "--no-simulation"]
    assert run(command) == 0
    template = (tmp_path / "design" / "pairs.cir.j2").read_text().splitlines()
    assert template[4] == "m2 b inn t 0 n w={{ w_m1 }} l={{ l_m1 }}"
    assert template[10] == "m8 x o c2 0 n w={{ w_m7 }} l={{ l_m7 }}"
    assert template[-1] == ".op"
    text = (tmp_path / "design" / "design.yaml").read_text()
    for line in ("  w_m4: {expr: 5 * w_m3 / 2, unit: m, kind: width}",
                 "  m_m5: {expr: 3 * m_m6, kind: multiplier}",
                 "  # guessed: m7 and m8 are cross-coupled (each drives the other's gate)",
                 "conditions: {vdd: 1.2, vcm: 0.6, ib: 5u, temp: 85}"):  # fmt: skip
        assert line in text.splitlines(), line


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "bad.cir:1: is empty"),
        (b"* t\n+ r1 a 0 1k\n", "bad.cir:2: a continuation line (+) without a card before it"),
        (b"* t\n.subckt a b\nr1 b 0 1\n", "bad.cir:2: .subckt a has no .ends"),
        (b"* t\nr1 b 0 1\n.ends\n", "bad.cir:3: .ends without a .subckt before it"),
        (b"* t\nr1 a 0 1\n7x a 0\n", "bad.cir:3: '7x' begins with '7', which is no kind of"),
        (b"* t\nr1 a 0\n", "bad.cir:2: 'r1 a 0' is no whole device"),
        (b"* t\nr1 a 0 1\n.include no.lib\n", "bad.cir:3: includes 'no.lib', which is not there"),
        (b"* t\nr1 a 0 1\n.lib $NO_KIT/x tt\n", "bad.cir:3: '$NO_KIT/x' uses $NO_KIT, which is"),
        (b"* t\n\x7fELF\x00\x01\n", "bad.cir:2: is a binary file, not a netlist"),
        (b"* t\nr1 a 0 {{ r }}\n", "bad.cir:2: is a Jinja template already"),
        (b"* t\nr1 a 0 1\n.control\nrun\n", "bad.cir:3: .control has no .endc"),
        (b"* t\nx1 a s\n.subckt s a b\nr1 a b 1\n.ends\n", "bad.cir:2: x1 has 1 nodes, and s 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_with_its_line(tmp_path, capsys, text, told):
    netlist = tmp_path / "bad.cir"
    netlist.write_bytes(text)
    assert run(["init", str(netlist), "-o", str(tmp_path / "design")]) == 2
    assert told in capsys.readouterr().err.splitlines()[0]
    assert not (tmp_path / "design").exists()


def test_utf_16_is_read_and_nothing_is_overwritten(tmp_path, capsys):
    netlist = tmp_path / "wide.cir"
    netlist.write_text("* µ\nr1 a 0 1k\nv1 a 0 1\n.op\n.end\n", encoding="utf-16")
    command = ["init", str(netlist), "-o", str(tmp_path / "design"), "--no-simulation"]
    assert run(command) == 0
    assert "r1 a 0 {{ r1 }}" in (tmp_path / "design" / "wide.cir.j2").read_text()
    assert run(["check", str(tmp_path / "design" / "design.yaml")]) == 2
    assert run(command) == 2
    told = capsys.readouterr().err.splitlines()
    assert any("specs: is missing" in line for line in told)
    assert told[-1].endswith("(choose another folder)")


def test_parts_of_one_name_are_templates_of_their_own(tmp_path):
    for part in ("a", "b"):
        (tmp_path / part).mkdir()
        text = f"* part\nm{part} d g 0 0 nch w=1u l=1u\n"
        (tmp_path / part / "core.sp").write_text(text)
    netlist = tmp_path / "whole.sp"
    netlist.write_text("* whole\n.include a/core.sp\n.include b/core.sp\nvg g 0 1\n.op\n.end\n")
    folder = tmp_path / "made"
    assert run(["init", str(netlist), "-o", str(folder), "--no-simulation"]) == 0
    for part, name in (("a", "core.cir.j2"), ("b", "core_2.cir.j2")):
        assert f'{{% include "{name}" %}}' in (folder / "whole.cir.j2").read_text()
        assert f"m{part} d g 0 0" in (folder / name).read_text()
