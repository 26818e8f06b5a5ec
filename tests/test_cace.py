"""`m3eda import cace`: a datasheet becomes a design that simulates, and nothing is dropped."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from m3eda.cli import run
from m3eda.flow import Project
from tests.conftest import ROOT
from tests.helpers import changed

AMP = ROOT / "tests" / "golden" / "cace"


@pytest.fixture
def amp(tmp_path) -> Path:
    """A copy of the datasheet with its templates."""
    return Path(shutil.copytree(AMP, tmp_path / "cace"))


def imported(amp: Path) -> Path:
    folder = amp.parent / "design"
    command = ["import", "cace", str(amp / "amp.yaml"), "-o", str(folder)]
    assert run([*command, "--netlist", str(amp / "amp.spice")]) == 0
    return folder


def test_the_datasheet_becomes_a_design_in_si_units(amp, capsys):
    design = Project.load(imported(amp) / "design.yaml").design
    assert design.specs["fbw"].limits.minimum == 1e6
    assert design.specs["idd"].limits.maximum == pytest.approx(200e-6)
    assert design.conditions["cl"] == 1e-12
    assert design.conditions["amplitude"] == 1.0
    assert design.testbenches["ac_params"].points == (1.7, 1.8, 1.9)
    assert {corner.conditions["temp"] for corner in design.corners} == {-40.0, 27.0, 125.0}
    assert list(design.parameters) == ["w_m1", "l_m1", "r1"]
    # what a log scale of the template's let means, from its .meas
    assert design.measures["gain"].expression == "a0 + 0"


def test_what_has_no_counterpart_is_in_comments(amp):
    text = (imported(amp) / "design.yaml").read_text()
    comments = "\n".join(line for line in text.splitlines() if line.lstrip().startswith("#"))
    for word in ("magic_area", "maximum value 600", "authorship", "pins: VDD", "ac_params.plot",
                 "typical 12 dB", "fail false", "tt, ss"):  # fmt: skip
        assert word in comments, word


@pytest.mark.simulator
def test_a_drawn_template_simulates(amp):
    """A level 1 transistor: gm 10 kohm, less what its output conductance takes."""
    folder = imported(amp)
    lines = (folder / "ac.cir.j2").read_text().splitlines()
    assert "x1 in out vdd GND amp" in lines
    assert "CL out GND {{ cl * 2 }}" in lines
    project = Project.load(folder / "design.yaml")
    evaluator = project.evaluator()
    sizing = evaluator.complete(project.nominal_sizing())
    measures = next(evaluator.evaluate([sizing]))[project.design.nominal.name].measures
    # id = 45 uA (1 + 0.05 vds) from 1.8 V through 10 kohm
    vout = (1.8 - 0.45) / (1 + 0.0225)
    gds, gm = 45e-6 * 0.05, 2 * 45e-6 * (1 + 0.05 * vout) / 0.15
    assert 10 ** (measures["gain"] / 20) == pytest.approx(gm / (1e-4 + gds), rel=1e-3)
    assert measures["idd"] == pytest.approx((1.8 - vout) / 1e4, rel=1e-3)


@pytest.mark.parametrize(
    ("written", "instead", "told"),
    [
        ("cace_format: 5.2", "cace_format: 9", "5:14: cace_format: '9' is not known"),
        ("minimum: {value: 10}", "minimum: {value: ten}", "spec.gain.minimum: 'ten' is not a num"),
        ("typical: 1.8}", "}", "default_conditions.vdd: has no value"),
        ("template: ac.sch, format: ascii, suffix: .data, variables: [gain", "variables: [gain",
         "parameters.ac_params: names no template"),
        ("name: amp", "\tname: amp", "2:1: a tab, which YAML does not allow here"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(amp, capsys, written, instead, told):
    sheet = amp / "amp.yaml"
    text = sheet.read_text()
    assert written in text
    sheet.write_text(text.replace(written, instead, 1))
    assert run(["import", "cace", str(sheet), "-o", str(amp / "design")]) == 2
    assert told in capsys.readouterr().err
    assert not (amp / "design").exists()


def test_without_the_netlist_the_design_says_what_to_do(amp, capsys):
    sheet = str(amp / "amp.yaml")
    (amp / "amp.spice").unlink()
    assert run(["import", "cace", sheet, "-o", str(amp / "design")]) == 0
    assert "export it with xschem" in capsys.readouterr().out
    assert run(["import", "cace", sheet, "-o", str(amp / "design")]) == 2
    assert "is there already; nothing was written" in capsys.readouterr().err


def test_a_testbench_named_like_the_circuit_is_written_beside_it(amp):
    before = imported(amp)
    circuit, bench = ((before / name).read_text() for name in ("amp.cir.j2", "ac.cir.j2"))
    shutil.rmtree(before)
    (amp / "templates" / "ac.sch").rename(amp / "templates" / "amp.sch")
    changed(amp, "template: ac.sch", "template: amp.sch", "amp.yaml")
    folder = imported(amp)
    assert (folder / "amp.cir.j2").read_text() == circuit
    assert (folder / "amp_tb.cir.j2").read_text() == bench.replace("* ac", "* amp", 1)  # its title
    assert "amp.sch is named like a file of the circuit" in (folder / "design.yaml").read_text()
