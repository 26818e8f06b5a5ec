"""Measures over DC sweeps and swept measures: closed forms, on ngspice where a circuit has one."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from m3eda.simulate import sweeps
from m3eda.simulate.signals import MeasureUndefined, Trace
from tests.helpers import m3eda
from tests.measuring import measured

offset = sweeps.offset.function
incremental_gain = sweeps.incremental_gain.function
output_swing = sweeps.output_swing.function
input_range = sweeps.input_range.function
line_regulation = sweeps.line_regulation.function
load_regulation = sweeps.load_regulation.function
temperature_coefficient = sweeps.temperature_coefficient.function
dropout_voltage = sweeps.dropout_voltage.function


def sweep(x, y, kind="dc", name="v(out)"):
    return Trace(np.asarray(x, dtype=float), np.asarray(y, dtype=float), kind, name)


AMPLIFIER = """\
amplifier that limits at 0.1 and 1.7 V, with 3 mV of offset
vin in 0 0.9
b1 out 0 v=0.9+0.8*tanh(50*(v(in)-0.903))
r1 out 0 1k
.dc vin 0.8 1.0 0.1m
"""


@pytest.mark.simulator
def test_a_transfer_curve_with_closed_forms(tmp_path):
    values, reasons = measured(
        AMPLIFIER,
        tmp_path,
        {
            "offset": "offset(v(out), center=0.9)",
            "same": "offset(v(out), level=0.9, center=0.9)",
            "elsewhere": "offset(v(out), level=1.3, center=0.9)",
            "gain": "incremental_gain(v(out))",
            "gain_at": "incremental_gain(v(out), at=0.92)",
            "swing": "output_swing(v(out))",
            "half": "output_swing(v(out), fraction=0.5)",
            "low": "output_swing(v(out), bound='low')",
            "high": "output_swing(v(out), bound='high')",
            "turned": "incremental_gain(0 - v(out))",
        },
    )
    assert reasons == {}
    assert values["offset"] == pytest.approx(3e-3, abs=1e-6)
    assert values["same"] == pytest.approx(3e-3, abs=1e-6)
    assert values["elsewhere"] == pytest.approx(3e-3 + math.atanh(0.5) / 50, abs=1e-6)
    assert values["gain"] == pytest.approx(40.0, rel=1e-4)
    assert values["turned"] == pytest.approx(-40.0, rel=1e-4)
    assert values["gain_at"] == pytest.approx(40.0 / math.cosh(50 * 0.017) ** 2, rel=1e-4)
    # the slope is 1 - tanh^2 of its maximum
    reach = 0.8 * math.sqrt(1 - 0.7071)
    assert values["swing"] == pytest.approx(2 * reach, rel=1e-4)
    assert values["half"] == pytest.approx(2 * 0.8 * math.sqrt(0.5), rel=1e-4)
    assert values["low"] == pytest.approx(0.9 - reach, rel=1e-4)
    assert values["high"] == pytest.approx(0.9 + reach, rel=1e-4)


BUFFER = """\
unity-gain buffer that limits at 0.2 and 1.6 V, 1 mV off
vin in 0 0.9
b1 out 0 v=max(0.2,min(1.6,v(in)+1m))
r1 out 0 1k
.dc vin 0 1.8 1m
.op
"""


@pytest.mark.simulator
def test_the_input_range_of_a_buffer(tmp_path):
    values, reasons = measured(
        BUFFER,
        tmp_path,
        {
            "width": "input_range(v(out) - v(in), tolerance=5m)",
            "low": "input_range(v(out) - v(in), tolerance=5m, bound='low')",
            "high": "input_range(v(out) - v(in), tolerance=5m, reference=1m, bound='high')",
            "offset": "op(v(out) - v(in))",
            "cut": "input_range(v(out) - v(in), tolerance=5m, start=0.5, stop=1)",
        },
    )
    assert reasons == {}
    assert values["low"] == pytest.approx(0.195, abs=1e-6)
    assert values["high"] == pytest.approx(1.604, abs=1e-6)
    assert values["width"] == pytest.approx(1.605 - 0.195, abs=1e-6)
    assert values["offset"] == pytest.approx(1e-3, rel=1e-6)
    assert values["cut"] == pytest.approx(0.5, rel=1e-9)


def test_the_widest_of_several_ranges_counts():
    error = sweep(np.arange(9.0), [0, 0, 9, 0, 0, 0, 9, 9, 0])
    assert input_range(error, tolerance=0.9) == pytest.approx(2 + 2 * 0.1)
    assert input_range(error, tolerance=0.9, bound="low") == pytest.approx(2.9)
    with pytest.raises(MeasureUndefined, match="no bound is called 'top'"):
        input_range(error, tolerance=1.0, bound="top")
    with pytest.raises(MeasureUndefined, match="nowhere within 1 of 5: it covers 0 to 9"):
        input_range(error, tolerance=1.0, reference=5.0)


REGULATOR = """\
regulator: 1.2 V behind 50 mohm, line 2 mV/V, pass device of 5 ohm
vin in 0 3
b1 ideal 0 v=min(1.2+2m*(v(in)-3),v(in))
bdrop want 0 v=min(v(ideal),v(in)-5*v(load))
e1 reg 0 want 0 1
r1 reg out 50m
vl load 0 {load}
g1 out 0 load 0 1
.dc {sweep}
"""


@pytest.mark.simulator
def test_line_regulation_and_dropout(tmp_path):
    netlist = REGULATOR.format(load=0.1, sweep="vin 1 3 10m")
    values, reasons = measured(
        netlist,
        tmp_path,
        {
            "line": "line_regulation(v(out), start=2, stop=3)",
            "worst": "line_regulation(v(out), method='worst')",
            "dropout": "dropout_voltage(v(out), v(in))",
            "tight": "dropout_voltage(v(out), v(in), tolerance=1%)",
            "bound": "dropout_voltage(v(out), v(in), start=2)",
        },
    )
    assert reasons == {}
    assert values["line"] == pytest.approx(2e-3, rel=1e-6)
    assert values["worst"] == pytest.approx(1.0, rel=1e-6)
    # below it the pass device alone is left: 0.1 A through 5.05 ohm
    assert values["dropout"] == pytest.approx(0.505, rel=1e-6)
    assert values["tight"] == pytest.approx(0.505, rel=1e-6)
    assert values["bound"] == pytest.approx(2.0 - (1.198 - 5e-3), rel=1e-6)


@pytest.mark.simulator
def test_load_regulation(tmp_path):
    netlist = REGULATOR.format(load=0.0, sweep="vl 0 0.2 10m")
    values, _ = measured(
        netlist,
        tmp_path,
        {"ends": "load_regulation(v(out))", "worst": "load_regulation(v(out), method='worst')"},
    )
    assert values["ends"] == pytest.approx(50e-3, rel=1e-6)
    assert values["worst"] == pytest.approx(50e-3, rel=1e-6)


@pytest.mark.simulator
def test_the_temperature_coefficient_of_a_resistor(tmp_path):
    netlist = (
        "1 mA through a resistor of 100 ppm/K\ni1 0 out 1m\nr1 out 0 1k tc1=1e-4\n"
        ".options tnom=25\n.dc temp -40 125 5\n"
    )
    values, reasons = measured(
        netlist,
        tmp_path,
        {"tc": "temperature_coefficient(v(out))",
         "hot": "temperature_coefficient(v(out), at=125)",
         "half": "temperature_coefficient(v(out), start=25)"},
    )  # fmt: skip
    assert reasons == {}
    assert values["tc"] == pytest.approx(100e-6, rel=1e-6)
    assert values["hot"] == pytest.approx(100e-6 / 1.01, rel=1e-6)
    assert values["half"] == pytest.approx(100e-6, rel=1e-6)


def test_the_box_of_a_bandgap_is_its_whole_range():
    t = np.array([-40.0, 27.0, 125.0])
    assert temperature_coefficient(sweep(t, [1.199, 1.2, 1.198], "sweep", "vref"), at=27) == (
        pytest.approx(0.002 / 1.2 / 165)
    )


def test_measures_of_a_swept_measure():
    vin, vout = [1.0, 1.3, 1.5, 2.0, 3.0], [0.9, 1.19, 1.2, 1.2, 1.21]
    out, supply = sweep(vin, vout, "sweep", "vout"), sweep(vin, vin, "sweep", "supply")
    assert line_regulation(out) == pytest.approx(0.31 / 2)
    assert line_regulation(out, method="worst") == pytest.approx(0.29 / 0.3)
    edge = 1.21 * 0.98
    at = 1.0 + 0.3 * (edge - 0.9) / 0.29
    assert dropout_voltage(out, supply) == pytest.approx(at - edge, rel=1e-9)


REFERENCE = """\
* 1 mA through a resistor of 100 ppm/K
i1 0 out 1m
r1 out 0 {{ r }} tc1=1e-4
.options tnom=25
ANALYSIS
.end
"""
SUPPLIED = """\
* regulator of 2 mV/V with 0.3 V of dropout
vin in 0 {{ vin }}
b1 out 0 v=min(1.2+2m*(v(in)-3),v(in)-0.3)
r1 out 0 1k
.op
.end
"""
BOTH = """\
m3eda: 1
design: both
testbenches:
  temperatures: {template: points.cir.j2, conditions: {temp: [-40, 27, 125]}}
  sweep: sweep.cir.j2
  supplies: {template: supplied.cir.j2, conditions: {vin: [1.2, 1.4, 1.6, 2, 3]}}
parameters: {r: {min: 1k, max: 2k}}
measures:
  vref: {testbench: temperatures, expr: op(v(out)), unit: V}
  vout: {testbench: supplies, expr: op(v(out)), unit: V}
  vsupply: {testbench: supplies, expr: op(v(in)), unit: V}
  tc_points: {expr: temperature_coefficient(vref), unit: 1/K}
  tc_sweep: {testbench: sweep, expr: temperature_coefficient(v(out)), unit: 1/K}
  line: {expr: "line_regulation(vout, start=2)", unit: V/V}
  dropout: {expr: "dropout_voltage(vout, vsupply)", unit: V}
specs: {tc_points: {max: 150 ppm/K}, line: {max: 0.01}, dropout: {max: 0.4}, tc_sweep: {max: 1}}
agent: {name: random, budget: 1}
"""


@pytest.mark.simulator
def test_a_dc_sweep_and_a_swept_condition_give_the_same(tmp_path):
    (tmp_path / "points.cir.j2").write_text(REFERENCE.replace("ANALYSIS", ".op"))
    (tmp_path / "sweep.cir.j2").write_text(REFERENCE.replace("ANALYSIS", ".dc temp -40 125 5"))
    (tmp_path / "supplied.cir.j2").write_text(SUPPLIED)
    (tmp_path / "design.yaml").write_text(BOTH)
    done = m3eda("size", "design.yaml", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {name: each["value"] for name, each in json.loads(done.stdout)["measures"].items()}
    assert found["tc_points"] == pytest.approx(100e-6, rel=1e-6)
    assert found["tc_sweep"] == pytest.approx(100e-6, rel=1e-6)
    assert found["line"] == pytest.approx(2e-3, rel=1e-6)
    # between 1.4 and 1.6 V the output goes straight from 1.1 to 1.1972 V
    edge = 1.2 * 0.98
    assert found["dropout"] == pytest.approx(1.4 + 0.2 * (edge - 1.1) / 0.0972 - edge, rel=1e-6)


@pytest.mark.simulator
def test_a_window_may_end_where_the_sweep_does(tmp_path):
    """Its last value is a sum of steps, a rounding away from 1.4."""
    netlist = "ramp\nv1 in 0 0\nr1 in 0 1k\n.dc v1 1.0 1.4 10m\n"
    values, reasons = measured(
        netlist,
        tmp_path,
        {"mean": "average(v(in), start=1, stop=1.4)", "last": "value_at(v(in), 1.4)",
         "slope": "incremental_gain(v(in), at=1.4)"},
    )  # fmt: skip
    assert reasons == {}
    assert values == pytest.approx({"mean": 1.2, "last": 1.4, "slope": 1.0})


def test_a_falling_supply_reads_the_same():
    vin = np.linspace(1.0, 3.0, 201)
    out = np.minimum(1.2, vin - 0.3)
    assert dropout_voltage(sweep(vin, out), sweep(vin, vin)) == pytest.approx(0.3)
    turned = sweep(-vin[::-1], out[::-1]), sweep(-vin[::-1], vin[::-1])
    assert dropout_voltage(*turned) == pytest.approx(0.3)


def test_steps_may_be_uneven():
    x = np.concatenate([np.linspace(0, 1, 11), np.linspace(1.01, 2, 100)])
    assert incremental_gain(sweep(x, x**2), at=0.5) == pytest.approx(1.0, rel=1e-9)
    assert incremental_gain(sweep(x, x**2), at=2.0) == pytest.approx(4.0, rel=1e-9)


ONE = sweep([1.0], [1.0])
LINE = sweep([0.0, 1.0, 2.0], [0.0, 1.0, 0.5])


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: offset(LINE, level=3.0), "never crosses 3: it covers 0 to 1"),
        (lambda: offset(LINE, level=0.75), "crosses 0.75 2 times, so no offset is clear"),
        (lambda: incremental_gain(LINE, at=3.0), "3 is outside the sweep, 0 to 2"),
        (lambda: incremental_gain(ONE), "has one point: a sweep of two or more is needed"),
        (lambda: output_swing(sweep([0, 1, 2], [1, 1, 1])), "does not move"),
        (lambda: line_regulation(ONE), "has one point"),
        (lambda: load_regulation(LINE, method="mean"), "no method is called 'mean'"),
        (lambda: temperature_coefficient(LINE), "25 is outside the sweep, 0 to 2"),
        (lambda: temperature_coefficient(LINE, at=0), "is 0 at 0, so nothing is relative to it"),
        (lambda: dropout_voltage(LINE, LINE), "largest value within the sweep"),
        (lambda: dropout_voltage(LINE, sweep([0, 1], [0, 1])), "come from different sweeps"),
        (lambda: output_swing(LINE, start=5.0), "the window 5 to 2 is empty or not within 0 to 2"),
    ],
)
def test_what_does_not_exist_says_why(call, reason):
    with pytest.raises(MeasureUndefined, match=reason):
        call()


@pytest.mark.parametrize("first", [0.0, 1.2])
def test_what_regulates_nothing_has_no_dropout(first):
    vin = np.linspace(first, 3.3, 166)
    supply = sweep(vin, vin)
    with pytest.raises(MeasureUndefined, match=r"follows .* nothing is regulated there"):
        dropout_voltage(sweep(vin, 0.999 * vin), supply)
    with pytest.raises(MeasureUndefined, match="no regulated output"):
        dropout_voltage(sweep(vin, np.full_like(vin, 1.5)), supply)


def test_a_stuck_output_has_no_offset_at_its_centre():
    x = np.linspace(0.0, 1.8, 181)
    stuck = sweep(x, 1.798 + 1e-9 * x)
    with pytest.raises(MeasureUndefined, match=r"is stuck: it covers 1\.798 to 1\.798"):
        offset(stuck, center=0.9)
    # a differential output swings around 0
    assert offset(sweep(x, np.tanh(100 * (x - 0.91))), center=0.9) == pytest.approx(0.01, rel=1e-6)


def test_two_temperatures_do_not_show_a_curve():
    with pytest.raises(MeasureUndefined, match="vref has 2 points: the box needs three or more"):
        temperature_coefficient(sweep([-40, 125], [1.2, 1.2], "sweep", "vref"))
