"""Measures of transient waveforms and operating points against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3eda.simulate import operating_point, oscillation, transient
from m3eda.simulate.signals import Device, MeasureUndefined, Trace, VectorMissing
from m3eda.simulate.types import Analysis, Waveforms
from tests.measuring import measured

slew_rate = transient.slew_rate.function
rise_time = transient.rise_time.function
fall_time = transient.fall_time.function
settling_time = transient.settling_time.function
delay = transient.delay.function
overshoot = transient.overshoot.function
average = transient.average.function
rms = transient.rms.function
peak_to_peak = transient.peak_to_peak.function
minimum = transient.minimum.function
maximum = transient.maximum.function
value_at = transient.value_at.function
crossing = transient.crossing.function
frequency = oscillation.frequency.function
power = operating_point.power.function
op = operating_point.op.function

TAU = 1e-6


def uneven(stop, n=200_001):
    """Time points that get sparser, as a simulator's do."""
    return stop * np.linspace(0.0, 1.0, n) ** 1.5


def wave(x, y, kind="tran"):
    return Trace(np.asarray(x, dtype=float), np.asarray(y, dtype=float), kind, "v(out)")


def rc_step(stop=40 * TAU):
    t = uneven(stop)
    return wave(t, 1.0 - np.exp(-t / TAU))


TRAPEZE = wave([0, 1, 2, 4, 8, 10], [0, 0, 3, 3, 0, 0])
"""Rises at 3 V/s from t = 1, falls at 0.75 V/s from t = 4."""


def test_rc_step_closed_forms():
    step = rc_step()
    assert rise_time(step) == pytest.approx(TAU * math.log(9), rel=1e-6)
    assert slew_rate(step) == pytest.approx(0.8 / (TAU * math.log(9)), rel=1e-6)
    assert settling_time(step, tolerance=0.01) == pytest.approx(TAU * math.log(100), rel=1e-6)
    assert crossing(step, 0.5) == pytest.approx(TAU * math.log(2), rel=1e-6)
    assert average(step, stop=5 * TAU) == pytest.approx(1 - (1 - math.exp(-5)) / 5, rel=1e-6)
    assert overshoot(step) == 0.0


def test_rc_delay_closed_form():
    t = uneven(40 * TAU)
    source = wave(t, np.where(t > 0.0, 1.0, 0.0))
    assert delay(source, rc_step()) == pytest.approx(TAU * math.log(2), abs=1e-11)
    assert delay(source, rc_step(), response_level=0.9) == pytest.approx(
        TAU * math.log(10), abs=1e-11
    )


def test_a_falling_step_mirrors_a_rising_one():
    step = rc_step()
    falling = wave(step.x, 5.0 - 3.0 * step.y)
    assert fall_time(falling) == pytest.approx(rise_time(step), rel=1e-9)
    assert settling_time(falling) == pytest.approx(settling_time(step), rel=1e-9)
    with pytest.raises(MeasureUndefined, match="no rising edge from 10% to 90%"):
        rise_time(falling)


def test_second_order_overshoot_and_settling():
    zeta, w = 0.3, 1e6
    t = uneven(60e-6)
    wd = w * math.sqrt(1 - zeta**2)
    ring = np.exp(-zeta * w * t) * (np.cos(wd * t) + zeta * w / wd * np.sin(wd * t))
    step = wave(t, 1.0 - ring)
    assert overshoot(step) == pytest.approx(
        math.exp(-math.pi * zeta / math.sqrt(1 - zeta**2)), rel=1e-6
    )
    settled = settling_time(step, tolerance=0.02)
    assert np.all(np.abs(step.y[step.x > settled] - 1.0) <= 0.02 + 1e-7)
    assert abs(np.interp(settled, step.x, step.y) - 1.0) == pytest.approx(0.02, rel=1e-4)
    assert settled > crossing(step, 1.0)


def test_edges_of_a_pulse():
    assert rise_time(TRAPEZE) == pytest.approx(0.8)
    assert fall_time(TRAPEZE) == pytest.approx(3.2)
    assert slew_rate(TRAPEZE, edge="rise") == pytest.approx(3.0)
    assert slew_rate(TRAPEZE, edge="fall") == pytest.approx(0.75)
    assert slew_rate(TRAPEZE) == pytest.approx(0.75)
    assert rise_time(TRAPEZE, lower=0.2, upper=0.8) == pytest.approx(0.6)
    assert overshoot(TRAPEZE) == 0.0


def test_the_top_of_a_pulse_is_where_it_rests():
    pulse = wave([0, 1, 60, 61, 62, 80, 81, 100], [0, 0.1, 0.1, 3.5, 3, 3, 0, 0])
    assert transient.step_levels(pulse) == (0.0, 3.0)
    assert overshoot(pulse) == pytest.approx(0.5 / 3)


def test_a_spike_is_no_slew_rate():
    x = [0, 1, 1.001, 1.002, 11, 20]
    y = [0, 0, 0.6, 0, 1, 1]
    assert slew_rate(wave(x, y)) == pytest.approx(1.0 / (11 - 1.002), rel=1e-9)


def test_ringing_about_the_upper_level_is_one_edge():
    step = wave([0, 1, 2, 3, 4, 9], [0, 1.2, 0.8, 1.1, 1, 1])
    assert rise_time(step) == pytest.approx(0.8 / 1.2)
    assert slew_rate(step) == pytest.approx(1.2)


@pytest.mark.parametrize("edge", ["up", "RISE", ""])
def test_an_unknown_edge_is_undefined(edge):
    for call in (lambda: slew_rate(TRAPEZE, edge=edge), lambda: crossing(TRAPEZE, 1, edge=edge)):
        with pytest.raises(MeasureUndefined, match="no edge is called"):
            call()


@pytest.mark.parametrize("function", [slew_rate, rise_time, overshoot, settling_time, frequency])
def test_a_constant_has_no_step(function):
    with pytest.raises(MeasureUndefined):
        function(wave([0, 1, 2], [0.6, 0.6, 0.6]))


def test_a_band_that_is_left_again_does_not_count():
    step = wave([0, 1, 2, 3, 4, 10], [0, 1, 1.3, 1, 1, 1])
    assert settling_time(step, tolerance=0.1) == pytest.approx(2 + 2 / 3)


def test_settling_is_counted_from_the_window_start():
    step = wave([0, 5, 6, 20], [0, 0, 1, 1])
    assert settling_time(step, tolerance=0.1) == pytest.approx(5.9)
    assert settling_time(step, tolerance=0.1, start=5.0) == pytest.approx(0.9)


def test_what_still_moves_at_the_end_is_not_settled():
    ramp = wave(np.linspace(0, 1, 1001), np.linspace(0, 1, 1001))
    with pytest.raises(MeasureUndefined, match="not settled"):
        settling_time(ramp, tolerance=0.01)


def test_a_wrong_final_value_is_not_settled():
    with pytest.raises(MeasureUndefined, match="not settled"):
        settling_time(rc_step(), tolerance=0.01, final=1.1)
    assert settling_time(rc_step(), tolerance=0.1, final=1.0) == pytest.approx(
        TAU * math.log(10), rel=1e-6
    )


def test_a_pulse_that_returns_has_no_settling_time():
    with pytest.raises(MeasureUndefined, match="ends where it began"):
        settling_time(TRAPEZE)
    assert settling_time(TRAPEZE, tolerance=0.1, stop=4.0) == pytest.approx(1.9)


def test_delay_looks_after_the_source_only():
    source = wave([0, 5, 6, 10], [0, 0, 1, 1])
    early = wave([0, 1, 2, 3, 7, 8, 10], [0, 0, 1, 0, 0, 1, 1])
    assert delay(source, early) == pytest.approx(2.0)
    assert delay(source, early, response_edge="rise") == pytest.approx(2.0)
    with pytest.raises(MeasureUndefined, match="afterwards"):
        delay(source, early, response_edge="fall")


def test_averages_respect_uneven_steps():
    uneven_wave = wave([0, 1, 10], [0, 2, 2])
    assert average(uneven_wave) == pytest.approx((1 + 18) / 10)
    assert rms(wave([0, 3], [0, 3])) == pytest.approx(math.sqrt(3))


def test_sine_closed_forms():
    t = np.linspace(0, 10e-3, 100_001)
    sine = wave(t, 0.5 + 2.0 * np.sin(2 * np.pi * 1e3 * t + 0.3))
    assert average(sine) == pytest.approx(0.5, rel=1e-6)
    assert rms(sine) == pytest.approx(math.sqrt(0.25 + 2.0), rel=1e-6)
    assert peak_to_peak(sine) == pytest.approx(4.0, rel=1e-6)
    assert minimum(sine) == pytest.approx(-1.5, rel=1e-6)
    assert maximum(sine) == pytest.approx(2.5, rel=1e-6)
    assert frequency(sine) == pytest.approx(1e3, rel=1e-6)
    assert frequency(sine, level=1.5) == pytest.approx(1e3, rel=1e-6)


@pytest.mark.parametrize(
    ("y", "reason"),
    [
        (lambda t: 0.6 + 1e-9 * np.sin(20 * t), "does not oscillate"),
        (lambda t: 1 - np.exp(-t), "two periods need three"),
        (lambda t: np.where(t < 3, np.sin(20 * t), 0.0), "stops oscillating"),
    ],
)
def test_what_does_not_oscillate_has_no_frequency(y, reason):
    t = np.linspace(0, 10, 5001)
    with pytest.raises(MeasureUndefined, match=reason):
        frequency(wave(t, y(t)))


def test_value_at_interpolates_in_time_and_in_log_frequency():
    assert value_at(TRAPEZE, 1.5) == pytest.approx(1.5)
    response = Trace(np.array([1.0, 100.0]), np.array([4j, 2j]), "ac", "v(out)")
    assert value_at(response, 10.0) == pytest.approx(3.0)
    with pytest.raises(MeasureUndefined, match="outside 0 to 10"):
        value_at(TRAPEZE, 11.0)


@pytest.mark.parametrize(
    ("n", "edge", "expected"),
    [(1, "any", 1.5), (2, "any", 6.0), (1, "fall", 6.0), (1, "rise", 1.5)],
)
def test_the_nth_crossing(n, edge, expected):
    assert crossing(TRAPEZE, 1.5, n=n, edge=edge) == pytest.approx(expected)


@pytest.mark.parametrize("n", [0, 2, -1])
def test_a_crossing_that_is_not_there_is_undefined(n):
    with pytest.raises(MeasureUndefined, match=f"crosses 1.5 1 times, not {n}"):
        crossing(TRAPEZE, 1.5, n=n, edge="rise")


def test_power_is_the_mean_over_a_transient_or_the_operating_point():
    assert power(wave([0, 1, 10], [0, 2, 2])) == pytest.approx(1.9)
    assert power(wave([0], [3e-3], "op")) == 3e-3
    assert op(wave([0], [0.6], "op")) == 0.6


def test_the_saturation_margin_is_the_worst_device():
    values = {
        "@m1[vds]": 0.4, "@m1[vdsat]": 0.1, "@m2[vds]": -0.15, "@m2[vdsat]": -0.12
    }  # fmt: skip
    results = Waveforms((Analysis("op", {k: np.array([v]) for k, v in values.items()}),))
    saturation_margin = operating_point.saturation_margin.function
    assert saturation_margin(Device("m1", results)) == pytest.approx(0.3)
    assert saturation_margin(Device("m1", results), Device("m2", results)) == pytest.approx(0.03)
    with pytest.raises(VectorMissing, match="m3"):
        saturation_margin(Device("m3", results))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-50, 50), min_size=4, max_size=30),
    st.floats(0.01, 100.0),
    st.floats(-100.0, 100.0),
    st.floats(1e-9, 1e3),
)
def test_scaling_and_shifting_a_waveform_carries_over(y, factor, shift, stretch):
    plain = wave(np.arange(len(y)), y)
    moved = wave(np.arange(len(y)) * stretch, np.asarray(y) * factor + shift)
    assert average(moved) == pytest.approx(factor * average(plain) + shift, rel=1e-9, abs=1e-9)
    assert peak_to_peak(moved) == pytest.approx(factor * peak_to_peak(plain), rel=1e-9, abs=1e-9)
    level = 0.5 * (minimum(plain) + maximum(plain)) + 0.123
    before = transient.crossing_times(plain, level)
    after = transient.crossing_times(moved, level * factor + shift)
    np.testing.assert_allclose(after, before * stretch, rtol=1e-6)


def test_the_overshoot_of_a_known_step():
    t = np.linspace(0.0, 1.23, 1231)
    ringing = Trace(t, 1.0 - np.cos(2 * np.pi * t) * np.exp(-0.1 * t), "tran", "v(out)")
    assert transient.overshoot.function(ringing, final=1.0) == pytest.approx(
        np.exp(-0.05), rel=1e-2
    )
    faint = Trace(t, 1e-3 * t, "tran", "v(out)")
    assert transient.overshoot.function(faint) == 0.0
    for function in (transient.overshoot.function, transient.undershoot.function):
        with pytest.raises(MeasureUndefined, match=r"makes no step to 1: it begins at 0"):
            function(faint, final=1.0)


@pytest.mark.simulator
def test_a_window_leaves_out_where_a_ratio_has_no_value(tmp_path):
    netlist = "divider\nvin in 0 sin(0 1 1meg 1u)\nr1 in out 1k\nr2 out 0 1k\n.tran 5n 3u 0 5n\n"
    ratio = "average(v(out) / v(in){})"
    values, reasons = measured(
        netlist,
        tmp_path,
        {"part": ratio.format(", start=2.1u, stop=2.3u"), "all": ratio.format("")},
    )
    assert values["part"] == pytest.approx(0.5, rel=1e-9)
    assert reasons == {"all": "v(out) / v(in) is not finite at every point"}
