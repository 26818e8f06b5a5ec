"""Measures of devices at the operating point: saturation, gate area, efficiency, on ngspice."""

from __future__ import annotations

import math

import numpy as np
import pytest

from m3eda.simulate import operating_point
from m3eda.simulate.signals import MeasureUndefined, Trace
from m3eda.simulate.types import SimulationFailed, State
from tests.measuring import measured

pytestmark = pytest.mark.simulator

MODELS = """\
.model nch nmos level=1 vto=0.5 kp=100u
.model n3 nmos level=8 version=3.3.0
.model n4 nmos level=14
"""
AMPLIFIERS = (
    """\
common-source stages
vdd vdd 0 1.8
vin in 0 0.7
r1 vdd out 20k
m1 out in 0 0 nch w=10u l=1u m=2
x1 in inner vdd stage
.subckt stage g d s
rd s d 20k
m2 d g 0 0 nch w=5u l=0.5u
.ends
m3 vdd in 0 0 n3 w=4u l=1u m=3
m4 vdd in 0 0 n4 w=8u l=0.5u m=2 nf=4
q1 vdd in 0 qn
.model qn npn
.op
"""
    + MODELS
)


def lost(netlist, folder, expression) -> str:
    with pytest.raises(SimulationFailed) as caught:
        measured(netlist, folder, {"x": expression})
    assert caught.value.state is State.VECTOR_MISSING
    return caught.value.reason


def test_saturation_and_triode_margin_of_level_1(tmp_path):
    values, reasons = measured(
        AMPLIFIERS,
        tmp_path,
        {
            "sat": "saturation_margin(x1.m2)",
            "triode": "triode_margin(m1)",
            "other": "triode_margin(x1.m2)",
            "worst": "saturation_margin(m1, x1.m2)",
            "out": "op(v(out))",
            "inner": "op(v(inner))",
        },
    )
    assert reasons == {}
    # vdsat is vgs - vto = 0.2; m1 would draw 40 uA, 0.8 V in 20 kohm; x1.m2 half of that
    assert values["sat"] == pytest.approx(values["inner"] - 0.2, rel=1e-6)
    assert values["triode"] == pytest.approx(0.2 - values["out"], rel=1e-6)
    assert values["other"] == -values["sat"]
    assert values["worst"] == pytest.approx(min(values["out"], values["inner"]) - 0.2, rel=1e-6)


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ("m1", 10e-6 * 1e-6 * 2),
        ("x1.m2", 5e-6 * 0.5e-6),
        ("m3", 4e-6 * 1e-6 * 3),
        ("m4", 8e-6 * 0.5e-6 * 2),
        ("m1, x1.m2, m3, m4", 20e-12 + 2.5e-12 + 12e-12 + 8e-12),
    ],
)
def test_gate_area_of_levels_1_8_and_14(tmp_path, devices, expected):
    values, reasons = measured(AMPLIFIERS, tmp_path, {"a": f"gate_area({devices})"})
    assert reasons == {}
    assert values["a"] == pytest.approx(expected, rel=1e-9)


SKY130 = """\
a device of the process design kit in a subcircuit
.lib "{models}/sky130_min.lib" tt
vdd d 0 {vdd}
vg g 0 0.9
x1 d g stage
.subckt stage d g
xm1 d g 0 0 sky130_fd_pr__nfet_01v8 w={w} l=0.5 nf={nf} m=3
.ends
.op
"""
PATH = "x1.xm1.msky130_fd_pr__nfet_01v8"


def test_devices_inside_subcircuits_of_sky130(shared, tmp_path):
    models = shared / "models" / "sky130"
    expressions = {
        "sat": f"saturation_margin({PATH})",
        "vds": f"@{PATH}[vds]",
        "vdsat": f"@{PATH}[vdsat]",
        "triode": f"triode_margin({PATH})",
        "area": f"gate_area({PATH})",
        "id": "-i(vdd)",
    }
    text = SKY130.format(models=models, vdd=1.8, w=2, nf=1)
    values, reasons = measured(text, tmp_path, expressions)
    assert reasons == {}
    assert values["sat"] == pytest.approx(values["vds"] - values["vdsat"], rel=1e-9)
    assert 1.4 < values["sat"] < 1.8
    assert values["triode"] == -values["sat"]
    assert values["area"] == pytest.approx(3 * 2e-6 * 0.5e-6, rel=1e-9)
    low, _ = measured(SKY130.format(models=models, vdd=0.05, w=2, nf=1), tmp_path, expressions)
    assert low["sat"] < 0.0


def test_fingers_divide_the_width(shared, tmp_path):
    (tmp_path / "init").write_text("set ngbehavior=hsa\n")
    found = {}
    for nf in (1, 2):
        text = SKY130.format(models=shared / "models" / "sky130", vdd=1.8, w=4, nf=nf)
        found[nf], _ = measured(
            text, tmp_path, {"area": f"gate_area({PATH})", "id": "-i(vdd)"},
            options={"spiceinit": str(tmp_path / "init")},
        )  # fmt: skip
    assert found[1]["area"] == pytest.approx(3 * 4e-6 * 0.5e-6, rel=1e-9)
    assert found[2]["area"] == pytest.approx(found[1]["area"], rel=1e-9)
    assert found[2]["id"] == pytest.approx(found[1]["id"], rel=0.1)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("saturation_margin(r1)", "@r1[vds], @r1[vdsat] (r1 is a resistor)"),
        ("saturation_margin(m1, q1)", "@q1[vds], @q1[vdsat] (q1 is a bipolar transistor)"),
        ("triode_margin(x1.rd)", "@x1.rd[vds], @x1.rd[vdsat] (x1.rd is a resistor)"),
        (
            "saturation_margin(x1)",
            "@x1[vds], @x1[vdsat] (x1 is a subcircuit: name the device inside it, x1.name)",
        ),
        ("gate_area(vdd)", "@vdd[w], @vdd[l], @vdd[m] (vdd is a voltage source)"),
        ("gate_area(m9)", "@m9[w] (nearest: @m4[w], @m3[w], "),
    ],
)
def test_a_device_that_is_no_mosfet(tmp_path, expression, reason):
    assert lost(AMPLIFIERS, tmp_path, expression).startswith(f"the netlist gives no {reason}")


def test_a_resistor_with_a_width_has_no_gate(tmp_path):
    """ngspice answers @r1[w] for every resistor."""
    reason = "x: @r1[w] is no width of a gate: r1 is a resistor"
    assert lost(AMPLIFIERS, tmp_path, "gate_area(m1, r1)") == reason


CONVERTER = """\
divider as a converter: half of the voltage, and half of the power at 1 kohm each
vin in 0 dc 2 sin(2 1 1k)
r1 in out 1k
rl out 0 1k
"""


@pytest.mark.parametrize("card", [".op", ".tran 1u 2m 0 1u", ".dc vin 1 3 10m"])
def test_the_efficiency_of_a_divider(tmp_path, card):
    values, reasons = measured(
        f"{CONVERTER}{card}\n",
        tmp_path,
        {"e": "efficiency(v(out) * i(rl), v(in) * -i(vin))", "turned": "efficiency(v(out) * i(rl), "
         "v(in) * i(vin))"},
    )  # fmt: skip
    assert values["e"] == pytest.approx(0.5, rel=1e-6)
    assert "must be above 0: the current of a source that delivers is negative" in reasons["turned"]


def test_the_efficiency_is_of_the_means():
    time = np.linspace(0.0, 1.0, 1001)
    given = Trace(time, np.sin(2 * math.pi * time) ** 2, "tran", "v(out)^2")
    taken = Trace(time, np.full(1001, 2.0), "tran", "v(in)")
    efficiency = operating_point.efficiency.function
    assert efficiency(given, taken) == pytest.approx(0.25, rel=1e-6)
    with pytest.raises(MeasureUndefined, match="come from different analyses"):
        efficiency(given, Trace(np.zeros(1), np.ones(1), "op", "v(in)"))


@pytest.mark.simulator
def test_a_converter_that_only_discharges_has_no_efficiency(tmp_path):
    netlist = (
        "off\nvin in 0 5\nr1 in out 100meg\nc1 out 0 10u ic=3.3\nrl out 0 10\n.tran 1u 100u uic\n"
    )
    _, reasons = measured(netlist, tmp_path, {"e": "efficiency(v(out) * i(rl), v(in) * -i(vin))"})
    assert "more power comes out, 0.47" in reasons["e"]
