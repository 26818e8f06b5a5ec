"""Measures of transients and DC sweeps against ngspice's own `.meas` on the same run."""

from __future__ import annotations

import pytest

from tests.measuring import measured

pytestmark = pytest.mark.simulator

RING = """\
series resonant circuit, stepped
v1 in 0 dc 0 pulse(0 1 1u 10n 10n 40u 80u)
r1 in a 20
l1 a out 10u
c1 out 0 1n
.options reltol=1e-5
.tran 5n 100u 0 5n
"""
SINE = """\
sine with an offset, and what a resistor takes of it
v1 in 0 sin(0.3 2 1k)
r1 in out 1k
c1 out 0 100n
.options reltol=1e-5
.tran 1u 5m 0 1u
"""
SWEEP = """\
inverter of two level-1 MOSFETs, swept
vdd vdd 0 1.8
vin in 0 0
m1 out in 0 0 nch w=10u l=1u
m2 out in vdd vdd pch w=20u l=1u
.model nch nmos level=1 vto=0.5 kp=100u lambda=0.05
.model pch pmos level=1 vto=-0.5 kp=50u lambda=0.05
.dc vin 0 1.8 2m
"""

# ngspice takes a window from the first point inside it to the last, ours ends on straight lines
# netlist, analysis of the .meas line, its text, the measure, relative tolerance
CASES = {
    "max": (RING, "tran", "max v(out)", "maximum(v(out))", 1e-6),
    "min": (RING, "tran", "min v(out)", "minimum(v(out))", 1e-6),
    "pp": (RING, "tran", "pp v(out)", "peak_to_peak(v(out))", 1e-6),
    "pp in a window": (
        RING, "tran", "pp v(out) from=5u to=20u",
        "peak_to_peak(v(out), start=5u, stop=20u)", 1e-3,
    ),
    "avg": (SINE, "tran", "avg v(out)", "average(v(out))", 1e-5),
    "avg in a window": (
        SINE, "tran", "avg v(out) from=1m to=3m", "average(v(out), start=1m, stop=3m)", 2e-3,
    ),
    "rms": (SINE, "tran", "rms v(out)", "rms(v(out))", 1e-5),
    "integ": (SINE, "tran", "integ v(out)", "5e-3 * average(v(out))", 1e-5),
    "trig targ": (
        RING, "tran", "trig v(in) val=0.5 rise=1 targ v(out) val=0.5 rise=1",
        "delay(v(in), v(out), source_level=0.5, response_level=0.5)", 1e-4,
    ),
    "trig targ, falling": (
        RING, "tran", "trig v(in) val=0.5 fall=1 targ v(out) val=0.5 fall=1 td=40u",
        "delay(v(in), v(out), source_level=0.5, response_level=0.5, source_edge='fall', start=30u)",
        1e-4,
    ),
    "rise time": (
        RING, "tran", "trig v(in) val=0.1 rise=1 targ v(in) val=0.9 rise=1",
        "rise_time(v(in))", 1e-5,
    ),
    "when, third crossing": (
        RING, "tran", "when v(out)=1 cross=3", "crossing(v(out), 1, n=3)", 1e-6,
    ),
    "when, second fall": (
        RING, "tran", "when v(out)=1 fall=2", "crossing(v(out), 1, n=2, edge='fall')", 1e-6,
    ),
    "find at": (RING, "tran", "find v(out) at=7.3u", "value_at(v(out), 7.3u)", 1e-5),
    "period": (
        SINE, "tran", "trig v(in) val=0.3 rise=1 targ v(in) val=0.3 rise=2",
        "period(v(in), level=0.3)", 1e-5,
    ),
    "dc max": (SWEEP, "dc", "max i(vdd)", "maximum(i(vdd))", 1e-6),
    "dc pp": (SWEEP, "dc", "pp v(out)", "peak_to_peak(v(out))", 1e-6),
    "dc avg": (SWEEP, "dc", "avg v(out)", "average(v(out))", 1e-5),
    "dc when": (SWEEP, "dc", "when v(out)=0.9 fall=1", "crossing(v(out), 0.9)", 1e-6),
    "dc when, as an offset": (
        SWEEP, "dc", "when v(out)=0.9 fall=1", "offset(v(out), level=0.9)", 1e-6,
    ),
    "dc find at": (SWEEP, "dc", "find v(out) at=0.801", "value_at(v(out), 0.801)", 1e-5),
    # ngspice 39 answers `deriv` with "currently not supported"
    "dc slope": (
        SWEEP + ".meas dc more find v(out) at=0.702\n.meas dc less find v(out) at=0.698\n",
        "dc", "param='(more-less)/4m'", "incremental_gain(v(out), at=0.7)", 1e-5,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_meas(name, tmp_path):
    netlist, analysis, line, expression, tolerance = CASES[name]
    text = f"{netlist}.meas {analysis} theirs {line}\n.end\n"
    values, reasons = measured(text, tmp_path, {"ours": expression}, meas=("theirs",))
    assert reasons == {}
    assert values["ours"] == pytest.approx(values["theirs"], rel=tolerance)
