"""Measures that cannot be taken, through the real command line: each says why in one line."""

from __future__ import annotations

import json

import pytest

from tests.helpers import m3eda, only_line

pytestmark = pytest.mark.simulator

BAD_INPUT = 2

STAGE = """\
* common-source stage
vdd vdd 0 1.8
vin in 0 dc {{ vgs }} pulse(0 0.7 1u 1n 1n 1 2)
rd vdd out 20k
q1 vdd in 0 qn
m1 out in 0 0 nch w=10u l=1u
x1 in inner vdd stage
.subckt stage g d s
rl s d 20k
m1 d g 0 0 nch w=5u l=1u
.ends
.model nch nmos level=1 vto=0.5 kp=100u
.model qn npn
"""
DESIGN = """\
m3eda: 1
design: stage
testbenches: {tb: stage.cir.j2}
parameters:
  vgs: {min: 0.5, max: 0.7, unit: V}
measures:
  x: {testbench: tb, expr: "EXPRESSION"}
  out: {testbench: tb, expr: op(v(out)), unit: V}
specs:
  x: {min: 0}
agent: {name: random, budget: 2}
"""
TRAN, SWEEP = ".tran 10n 5u\n", ".dc vin 0 1.2 20m\n"


@pytest.fixture
def design(tmp_path):
    def write(analysis: str, expression: str):
        (tmp_path / "stage.cir.j2").write_text(f"{STAGE}{analysis}.end\n")
        (tmp_path / "design.yaml").write_text(DESIGN.replace("EXPRESSION", expression))
        return tmp_path

    return write


REFUSED = {
    "a resistor": (
        ".op\n",
        "saturation_margin(rd)",
        "the netlist gives no @rd[vds], @rd[vdsat] (rd is a resistor)",
    ),
    "a bipolar transistor": (
        ".op\n",
        "saturation_margin(m1, q1)",
        "the netlist gives no @q1[vds], @q1[vdsat] (q1 is a bipolar transistor)",
    ),
    "a resistor in a subcircuit": (
        ".op\n",
        "saturation_margin(x1.m1, x1.rl)",
        "the netlist gives no @x1.rl[vds], @x1.rl[vdsat] (x1.rl is a resistor)",
    ),
    "a subcircuit": (
        ".op\n",
        "saturation_margin(x1)",
        "the netlist gives no @x1[vds], @x1[vdsat] (x1 is a subcircuit: name the device inside it,",
    ),
    "the area of a resistor": (
        ".op\n",
        "gate_area(m1, rd)",
        "measures.x.expr: @rd[w] is no width of a gate: rd is a resistor",
    ),
    "a transient that is not there": (
        SWEEP,
        "thd(v(out))",
        "measures.x.expr: v(out) is wanted from the transient analysis, and the testbench gave ",
    ),
    "a sweep that is not there": (
        TRAN,
        "offset(v(out))",
        "measures.x.expr: v(out) is wanted from the DC sweep, and the testbench gave ",
    ),
}


@pytest.mark.parametrize(
    ("command", "name"),
    [*(("check", name) for name in REFUSED), ("size", "a resistor"),
     ("size", "the area of a resistor"), ("size", "a sweep that is not there")],
)  # fmt: skip
def test_what_no_sizing_would_bring_is_refused(design, command, name):
    analysis, expression, words = REFUSED[name]
    folder = design(analysis, expression)
    done = m3eda(command, "design.yaml", cwd=folder)
    assert words in only_line(done), done.stderr
    assert "design.yaml:7:" in only_line(done)
    assert done.returncode == BAD_INPUT


UNDEFINED = {
    "a window outside the data": (
        TRAN,
        "average(v(out), start=1u, stop=9u)",
        "the window 1e-06 to 9e-06 is empty or not within 0 to 5e-06, where v(out) is known",
    ),
    "a time outside the data": (
        TRAN,
        "value_at(v(out), 6u)",
        "6e-06 is outside 0 to 5e-06, where v(out) is known",
    ),
    "a sweep that never crosses": (
        SWEEP,
        "crossing(v(out), 1.9)",
        "v(out) never crosses 1.9: it covers 0.",
    ),
    "an offset that is not there": (
        SWEEP,
        "offset(v(out), level=2)",
        "v(out) never crosses 2: it covers 0.",
    ),
    "an edge that is not there": (
        TRAN,
        "crossing(v(out), 1, edge='rise')",
        "v(out) never rises through 1: it covers ",
    ),
    "nothing periodic": (
        TRAN,
        "jitter(v(out))",
        "v(out) rises through ",
    ),
}


@pytest.mark.parametrize("name", UNDEFINED)
def test_what_this_sizing_lacks_is_undefined_with_its_reason(design, name):
    analysis, expression, words = UNDEFINED[name]
    done = m3eda("check", "design.yaml", "--json", cwd=design(analysis, expression))
    told = json.dumps(json.loads(done.stdout))
    assert words in told
    assert "Traceback" not in done.stderr
