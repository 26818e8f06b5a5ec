"""Periods, jitter, duty cycle and ripple against closed forms, and on ngspice."""

from __future__ import annotations

import math

import numpy as np
import pytest

from m3eda.simulate import oscillation, transient
from m3eda.simulate.signals import MeasureUndefined, Trace
from tests.measuring import measured

period = oscillation.period.function
jitter = oscillation.jitter.function
duty_cycle = oscillation.duty_cycle.function
ripple = oscillation.ripple.function
frequency = oscillation.frequency.function
undershoot = transient.undershoot.function
settling_time = transient.settling_time.function


def wave(x, y):
    return Trace(np.asarray(x, dtype=float), np.asarray(y, dtype=float), "tran", "v(out)")


def train(rises, high=0.3, edge=1e-3):
    """Pulses that pass half way at `rises`, and again `high` later."""
    rises = np.asarray(rises, dtype=float)
    corners = np.add.outer(rises, [-edge, edge, high - edge, high + edge]).ravel()
    return wave(np.append(corners, rises[-1] + 1.0), [*np.tile([0, 1, 1, 0], rises.size), 0])


def test_a_train_of_known_periods():
    rises = np.cumsum([1.0, 1.0, 1.2, 0.9, 1.1, 1.0])
    pulses = train(rises)
    periods = np.diff(rises)
    assert period(pulses) == pytest.approx(periods.mean(), rel=1e-9)
    assert frequency(pulses) == pytest.approx(1 / periods.mean(), rel=1e-9)
    assert jitter(pulses) == pytest.approx(np.std(periods, ddof=1), rel=1e-9)
    assert jitter(pulses, statistic="peak_to_peak") == pytest.approx(0.3, rel=1e-9)
    assert duty_cycle(pulses) == pytest.approx(0.3 / periods.mean(), rel=1e-9)
    with pytest.raises(MeasureUndefined, match="no statistic is called 'max'"):
        jitter(pulses, statistic="max")


@pytest.mark.parametrize("level", [0.0, 0.5, -0.8])
def test_the_duty_cycle_of_a_sine(level):
    t = np.linspace(0.0, 10.0, 20_001)
    expected = 0.5 - math.asin(level) / math.pi
    assert duty_cycle(wave(t, np.sin(2 * np.pi * t)), level=level) == pytest.approx(expected, 1e-5)


@pytest.mark.simulator
def test_a_clean_source_shows_the_floor(tmp_path):
    netlist = (
        "sources of 1 MHz\nv1 a 0 sin(0 1 1meg)\nr1 a 0 1k\n"
        "v2 b 0 pulse(0 1 0 10n 10n 240n 1u)\nr2 b 0 1k\n.tran 5n 20u 0 10n\n"
    )
    values, reasons = measured(
        netlist,
        tmp_path,
        {
            "period": "period(v(a))",
            "sine": "jitter(v(a))",
            "pulse": "jitter(v(b), statistic='peak_to_peak')",
            "duty": "duty_cycle(v(b))",
        },
    )
    assert reasons == {}
    assert values["period"] == pytest.approx(1e-6, rel=1e-6)
    # no source of jitter is here: what is left is the time step and straight lines
    assert values["sine"] < 1e-6 * 1e-4
    assert values["pulse"] < 1e-6 * 1e-6
    assert values["duty"] == pytest.approx(0.25, rel=1e-6)


RECTIFIER = (
    "full-wave rectifier of ideal switches, as a source\n"
    "b1 a 0 v=abs(10*sin(6.283185307179586*50*time))\n"
    "d1 a out ideal\nc1 out 0 100u\nr1 out 0 {r}\n.model ideal d is=1e-9 n=0.05 rs=1m\n"
    ".options reltol=1e-4\n.tran 20u 0.2 0 20u\n"
)


@pytest.mark.simulator
def test_the_ripple_of_a_rectifier_between_its_bounds(tmp_path):
    values, reasons = measured(
        RECTIFIER.format(r="10k"),
        tmp_path,
        {"ripple": "ripple(v(out), frequency=100)", "found": "ripple(v(out), start=50m)",
         "plain": "peak_to_peak(v(out), start=190m)", "top": "maximum(v(out), start=0.1)"},
    )  # fmt: skip
    assert reasons == {}
    # discharged for less than a period of 10 ms, for more than 8.5 ms, with a time constant of 1 s
    assert 0.0085 < values["ripple"] / values["top"] < 1 - math.exp(-0.010)
    assert values["ripple"] == pytest.approx(values["plain"], rel=1e-3)
    assert values["found"] == pytest.approx(values["ripple"], rel=1e-2)


@pytest.mark.simulator
def test_what_still_charges_has_no_ripple(tmp_path):
    slow = "charging\nv1 a 0 dc 1 sin(1 0.1 1k)\nr1 a out 1k\nc1 out 0 10u ic=0\n.tran 10u 5m uic\n"
    _, reasons = measured(slow, tmp_path, {"r": "ripple(v(out), frequency=1k)"})
    assert "v(out) is not steady: its mean moves by" in reasons["r"]


def test_the_ripple_needs_two_periods():
    t = np.linspace(0.0, 1.5, 1501)
    sine = wave(t, np.sin(2 * np.pi * t))
    with pytest.raises(MeasureUndefined, match=r"lasts 1\.5 s, and two periods need 2 s"):
        ripple(sine, frequency=1.0)
    t = np.linspace(0.0, 2.0, 2001)
    assert ripple(wave(t, 3 + np.sin(2 * np.pi * t)), frequency=1.0) == pytest.approx(2.0, 1e-5)


@pytest.mark.simulator
def test_the_undershoot_of_a_resonant_circuit(tmp_path):
    r, inductance, c = 20.0, 10e-6, 1e-9
    netlist = (
        "series resonant circuit\nv1 in 0 pulse(0 1 0 1p 1p 1 2)\n"
        f"r1 in a {r}\nl1 a out {inductance}\nc1 out 0 {c}\n"
        ".options reltol=1e-6\n.tran 1n 40u 0 1n\n"
    )
    values, _ = measured(netlist, tmp_path, {"over": "overshoot(v(out))",
                                             "under": "undershoot(v(out))"})  # fmt: skip
    zeta = 0.5 * r * math.sqrt(c / inductance)
    once = math.exp(-math.pi * zeta / math.sqrt(1 - zeta**2))
    assert values["over"] == pytest.approx(once, rel=1e-4)
    assert values["under"] == pytest.approx(once**2, rel=1e-4)


def test_the_end_of_a_pulse_is_no_undershoot():
    assert undershoot(wave([0, 1, 2, 3, 4, 8, 9, 12], [0, 1.2, 0.9, 1, 1, 1, 0, 0])) == (
        pytest.approx(0.1)
    )
    assert undershoot(wave([0, 1, 8, 9, 12], [0, 1, 1, 0, 0])) == 0.0
    assert undershoot(wave([0, 1, 2, 9], [1, 0, 0, 0])) == 0.0
    t = np.linspace(0, 30, 3001)
    assert undershoot(wave(t, 1 - np.exp(-t))) == 0.0


REGULATOR = """\
ideal source behind 1 ohm and 1 mH, a load step of 10 mA, and back to the same level
v1 s 0 1.2
r1 s a 1
l1 a out 1u
c1 out 0 10u
i1 out 0 pulse(0 10m 10u 10n 10n 1 2)
.options reltol=1e-5
.tran 50n 150u 0 50n
"""


@pytest.mark.simulator
def test_the_droop_and_recovery_of_a_load_step(tmp_path):
    values, reasons = measured(
        REGULATOR,
        tmp_path,
        {
            "droop": "value_at(v(out), 10u) - minimum(v(out), start=10u)",
            "recovery": "settling_time(v(out), band=1m, start=10u)",
        },
    )
    assert reasons == {}
    # R = 1, C = 10u, L = 1u: nearly one pole at 10 us, and 10 mV lower in the end
    assert values["droop"] == pytest.approx(10e-3, rel=1e-3)
    assert values["recovery"] == pytest.approx(10e-6 * math.log(10), rel=0.15)


def test_an_absolute_band_needs_no_step():
    dip = wave([0, 1, 2, 3, 20], [1.2, 1.2, 1.0, 1.2, 1.2])
    with pytest.raises(MeasureUndefined, match="ends where it began"):
        settling_time(dip, start=1.0)
    assert settling_time(dip, band=0.1, start=1.0) == pytest.approx(1.5)


@pytest.mark.simulator
@pytest.mark.parametrize(("gm", "starts"), [("0.45m", False), ("0.6m", True)])
def test_what_rings_down_is_no_oscillation(tmp_path, gm, starts):
    netlist = (
        "resonator of 2 kohm\nl1 out 0 10n\nc1 out 0 1p ic=1\nr1 out 0 2k\n"
        f"b1 0 out i=0.45m*tanh({gm}*v(out)/0.45m)\n.tran 5p 40n 0 5p uic\n"
    )
    values, reasons = measured(netlist, tmp_path, {"f": "frequency(v(out), level=0)"})
    if starts:
        assert values["f"] == pytest.approx(1 / (2 * math.pi * math.sqrt(1e-20)), rel=1e-2)
    else:
        assert "v(out) dies away: it moves by 1." in reasons["f"]
