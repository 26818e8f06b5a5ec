"""Measures of frequency responses against closed forms."""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3eda.simulate import ac, rejection
from m3eda.simulate.signals import MeasureUndefined, Signal, Swept, Trace
from tests.helpers import changed, m3eda
from tests.measuring import measured

SHARED = Path(os.environ.get("M3EDA_SHARED", Path(__file__).parents[2] / "shared"))
GOLDEN = SHARED / "xyce_samples" / "hundred_sizings"

dc_gain = ac.dc_gain.function
gain_at = ac.gain_at.function
peak_gain = ac.peak_gain.function
unity_gain_frequency = ac.unity_gain_frequency.function
bandwidth_3db = ac.bandwidth_3db.function
phase_margin = ac.phase_margin.function
gain_margin = ac.gain_margin.function
peaking = ac.peaking.function
lowest_gain = ac.lowest_gain.function
lower_corner_3db = ac.lower_corner_3db.function
upper_corner_3db = ac.upper_corner_3db.function
psrr = rejection.psrr.function
cmrr = rejection.cmrr.function


def sweep(transfer, start=1.0, stop=1e10, per_decade=10):
    """The AC response of `transfer(s)`, s in rad/s."""
    decades = math.log10(stop / start)
    f = start * 10.0 ** np.linspace(0.0, decades, round(decades * per_decade) + 1)
    return Trace(f, transfer(2j * np.pi * f) + 0j, "ac", "v(out)")


def pole(f, q=None):
    """1 / (1 + s/w), or a pair with quality factor `q`; a negative one is in the right half."""
    w = 2 * np.pi * f
    if q is None:
        return lambda s: 1 / (1 + s / w)
    return lambda s: 1 / (1 + s / w / q + (s / w) ** 2)


FINE = {"start": 1e2, "stop": 1e8, "per_decade": 2000}


def test_one_pole_closed_forms():
    response = sweep(lambda s: 100 * pole(1e4)(s), **FINE)
    assert dc_gain(response) == pytest.approx(100 / math.hypot(1, 1e-2), rel=1e-12)
    assert unity_gain_frequency(response) == pytest.approx(1e4 * math.sqrt(9999), rel=1e-6)
    reference = 2 * (1 + 1e-4) - 1
    assert bandwidth_3db(response) == pytest.approx(1e4 * math.sqrt(reference), rel=1e-6)
    assert phase_margin(response) == pytest.approx(
        180 - math.degrees(math.atan(math.sqrt(9999))), rel=1e-6
    )


def test_two_pole_phase_margin_closed_form():
    a0, f1, f2 = 1000.0, 1e3, 2e6
    response = sweep(lambda s: a0 * pole(f1)(s) * pole(f2)(s), **FINE)
    a, b, c = 1 / (f1 * f2) ** 2, 1 / f1**2 + 1 / f2**2, 1 - a0**2
    fu = math.sqrt((-b + math.sqrt(b * b - 4 * a * c)) / (2 * a))
    expected = 180 - math.degrees(math.atan(fu / f1) + math.atan(fu / f2))
    assert unity_gain_frequency(response) == pytest.approx(fu, rel=1e-6)
    assert phase_margin(response) == pytest.approx(expected, rel=1e-6)


def test_three_equal_poles_gain_margin_closed_form():
    response = sweep(lambda s: 2 * pole(1e5)(s) ** 3, **FINE)
    assert gain_margin(response) == pytest.approx(4.0, rel=1e-6)


@pytest.mark.parametrize("slope", [-1, -2])
def test_a_power_law_is_exact_at_any_grid(slope):
    response = sweep(lambda s: 1e4 * s**slope, start=1.0, stop=1e5, per_decade=1)
    expected = 1e4 ** (-1 / slope) / (2 * math.pi)
    assert unity_gain_frequency(response) == pytest.approx(expected, rel=1e-12)
    assert gain_at(response, 37.0) == pytest.approx(1e4 * (74 * math.pi) ** slope, rel=1e-12)


def test_an_inverting_amplifier_has_the_same_margin():
    plain = sweep(lambda s: 500 * pole(1e3)(s) * pole(1e6)(s))
    turned = Trace(plain.x, -plain.y, "ac")
    assert phase_margin(turned) == pytest.approx(phase_margin(plain), rel=1e-12)
    assert gain_margin(turned) == pytest.approx(gain_margin(plain), rel=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_integrator_has_ninety_degrees(sign):
    response = sweep(lambda s: sign * 1e6 / s, stop=1e8)
    assert phase_margin(response) == pytest.approx(90.0, abs=1e-9)


def test_an_integrator_with_another_pole_has_less_than_ninety_degrees():
    response = sweep(lambda s: 2e6 * np.pi / s * pole(1e6)(s) * pole(10.0)(s) * (1 + s / 62.83))
    assert 0.0 < phase_margin(response) < 90.0


@pytest.mark.parametrize("sign", [1, -1])
def test_a_coupling_capacitor_does_not_turn_the_reference(sign):
    plain = sweep(lambda s: sign * 100 * pole(1e4)(s))
    coupled = sweep(lambda s: sign * 100 * pole(1e4)(s) * (s / 10) * pole(10 / 2 / np.pi)(s))
    assert phase_margin(coupled) == pytest.approx(phase_margin(plain), abs=0.01)


@pytest.mark.parametrize("q", [5, 20, 50])
@pytest.mark.parametrize("shift", [0.0, 0.3, 0.5, 0.8])
def test_a_sharp_pole_pair_on_a_coarse_grid_is_a_drop(q, shift):
    place = 10 ** (5 + shift / 5)

    def transfer(s):
        return 1e4 * pole(1e3)(s) * pole(place, q)(s)

    coarse = sweep(transfer, per_decade=5)
    exact = sweep(transfer, per_decade=2000)
    assert phase_margin(coarse) < 0.0
    assert ac.unwrapped_phase(coarse)[-1] == pytest.approx(ac.unwrapped_phase(exact)[-1], abs=1e-6)


def test_a_plain_unwrap_would_have_shown_a_lead():
    response = sweep(
        lambda s: 1e4 * pole(1e3)(s) * pole(1.2e5, 50)(s) * pole(1.2e5)(s), per_decade=5
    )
    plain = np.degrees(np.unwrap(np.angle(response.y)))
    assert plain[-1] > -90.0
    assert ac.unwrapped_phase(response)[-1] < -340.0


@pytest.mark.parametrize("q", [-0.3, -0.7, -1.5, -3])
@pytest.mark.parametrize("place", [1e4, 1e5, 1e6])
def test_an_unstable_inner_loop_has_no_margin(q, place):
    response = sweep(lambda s: 1000 * pole(1e3)(s) * pole(place, q)(s))
    with pytest.raises(MeasureUndefined, match="unstable: the phase leads by"):
        phase_margin(response)
    with pytest.raises(MeasureUndefined, match="unstable"):
        gain_margin(response)


def test_one_real_pole_in_the_right_half_plane_has_no_margin():
    with pytest.raises(MeasureUndefined, match="unstable"):
        phase_margin(sweep(lambda s: 100 / (1 - s / 1e4)))


@pytest.mark.parametrize("zero", [1e5, 1e6, 1e7])
def test_a_zero_in_the_right_half_plane_only_costs_phase(zero):
    def plain(s):
        return 1000 * pole(1e3)(s) * pole(1e8)(s)

    left = phase_margin(sweep(lambda s: plain(s) * (1 + s / zero / 2 / np.pi)))
    right = phase_margin(sweep(lambda s: plain(s) * (1 - s / zero / 2 / np.pi)))
    assert right < left


def test_the_worst_of_several_crossings_counts():
    response = sweep(lambda s: 100 * pole(1e3)(s) * pole(1e6, 20)(s), per_decade=50)
    crossings = np.flatnonzero(np.diff(np.sign(np.log(np.abs(response.y)))))
    assert crossings.size == 3
    assert unity_gain_frequency(response) < 2e5
    assert phase_margin(response) < 0.0


def test_a_lead_near_180_degrees_is_a_small_margin():
    def lead(s):
        return 0.1 * (1 + s / 1e3) ** 2 / (1 + s / 1e5) ** 3

    response = sweep(lead, per_decade=1000)
    up = math.sqrt(9.0) * 1e3  # |1 + j 3|^2 = 10
    expected = 180.0 - math.degrees(2 * math.atan(3.0) - 3 * math.atan(up / 1e5))
    assert phase_margin(response) == pytest.approx(expected, abs=0.1)


def test_margins_never_exceed_180_degrees():
    band = sweep(lambda s: 30 * (s / 1e4) * pole(1e4 / 6.3)(s) * pole(1e6)(s), start=1e-2)
    assert phase_margin(band) < 180.0


def test_a_low_gain_amplifier_has_its_true_large_margin():
    response = sweep(lambda s: 1.1 * pole(1e6)(s), **FINE)
    expected = 180 - math.degrees(math.acos(1 / 1.1))
    assert phase_margin(response) == pytest.approx(expected, rel=1e-6)


def test_without_a_phase_crossing_the_gain_margin_is_that_of_the_last_point():
    response = sweep(lambda s: 100 * pole(1e3)(s), stop=1e7)
    assert gain_margin(response) == pytest.approx(1 / abs(response.y[-1]), rel=1e-12)


@pytest.mark.parametrize("function", [unity_gain_frequency, phase_margin, gain_margin])
def test_no_unity_crossing_is_undefined_with_the_reason(function):
    with pytest.raises(MeasureUndefined, match=r"never reaches 1: at most 0\.5 at 1 Hz"):
        function(sweep(lambda s: 0.5 * pole(1e4)(s)))
    with pytest.raises(MeasureUndefined, match=r"still 10 at 100 Hz, where the sweep ends"):
        function(sweep(lambda s: 10 * pole(1e4)(s), stop=100.0))


def test_a_flat_response_has_no_bandwidth():
    with pytest.raises(MeasureUndefined, match="does not fall by 3 dB up to"):
        bandwidth_3db(sweep(lambda s: 1.0 + 0 * s))


@pytest.mark.parametrize("frequency", [0.5, 2e10, -1.0])
def test_a_gain_outside_the_sweep_is_undefined(frequency):
    with pytest.raises(MeasureUndefined, match="outside the sweep"):
        gain_at(sweep(pole(1e3)), frequency)


def test_the_peak_of_a_second_order_filter():
    q = 2.0
    response = sweep(pole(1e5, q), **FINE)
    assert peak_gain(response) == pytest.approx(q / math.sqrt(1 - 1 / (4 * q * q)), rel=1e-6)


def test_a_response_already_in_db_is_refused():
    decibel = Trace(np.array([1.0, 10.0]), np.array([40.0, 20.0]), "ac", "db(v(out))")
    for function in (dc_gain, peak_gain, unity_gain_frequency, phase_margin):
        with pytest.raises(MeasureUndefined, match="wants the complex response"):
            function(decibel)


@pytest.mark.parametrize("q", [0.9, 2.0, 5.0])
def test_the_peaking_of_a_second_order_loop(q):
    expected = q / math.sqrt(1 - 1 / (4 * q * q))
    assert peaking(sweep(lambda s: 7 * pole(1e5, q)(s), **FINE)) == pytest.approx(
        expected, rel=1e-5
    )
    coarse = [peaking(sweep(pole(f, q), per_decade=20)) for f in (1e5, 1.06e5)]
    assert coarse == pytest.approx([expected] * 2, rel=0.08)


def test_without_a_peak_the_peaking_is_1():
    assert peaking(sweep(pole(1e4))) == 1.0
    assert peaking(sweep(pole(1e5, 0.6))) == pytest.approx(1.0, abs=1e-9)


def test_a_gain_that_still_rises_where_the_sweep_ends_has_no_peak():
    with pytest.raises(MeasureUndefined, match=r"still rises at 1e\+10 Hz"):
        peaking(sweep(lambda s: 1 + s / 1e9))


def test_corners_and_centre_of_a_band_pass():
    # (s w / q) / (s^2 + s w / q + w^2): the corners' product is w^2, their difference w / q
    w, q = 2e5 * np.pi, 3.0
    response = sweep(lambda s: 5 * (s * w / q) / (s * s + s * w / q + w * w), **FINE)
    low, high = lower_corner_3db(response), upper_corner_3db(response)
    assert math.sqrt(low * high) == pytest.approx(1e5, rel=1e-6)
    assert high - low == pytest.approx(1e5 / q, rel=1e-5)


def test_the_lower_corner_of_a_coupled_amplifier():
    response = sweep(lambda s: 10 * s / (s + 200 * np.pi) * pole(1e7)(s), per_decade=1000)
    assert lower_corner_3db(response) == pytest.approx(100.0, rel=1e-4)


def test_a_low_pass_has_no_lower_corner_and_a_high_pass_no_upper_one():
    with pytest.raises(MeasureUndefined, match="3 dB below its peak down to 1 Hz"):
        lower_corner_3db(sweep(pole(1e4)))
    with pytest.raises(MeasureUndefined, match=r"3 dB below its peak up to 1e\+10 Hz"):
        upper_corner_3db(sweep(lambda s: s / (s + 1e4)))


def test_the_lowest_gain_of_a_band():
    response = sweep(lambda s: 4 * pole(1e5)(s), **FINE)
    windowed = lowest_gain(response, start=1e3, stop=1e5)
    assert windowed == pytest.approx(4 / math.sqrt(2), rel=1e-6)


@pytest.mark.parametrize(
    "function", [dc_gain, peak_gain, lowest_gain, peaking, bandwidth_3db, lower_corner_3db,
                 upper_corner_3db, unity_gain_frequency, phase_margin, gain_margin],
)  # fmt: skip
def test_a_window_outside_the_sweep_is_undefined(function):
    with pytest.raises(MeasureUndefined, match=r"the window 0.1 to 1e\+10 is empty or not within"):
        function(sweep(pole(1e3)), start=0.1)


RATIOS = [psrr, cmrr]
GAIN = Signal("v(out)", lambda kind: sweep(lambda s: 1000 * pole(1e3)(s)))
LEAK = Signal("v(leak)", lambda kind: sweep(lambda s: 0.1 * (1 + s / 2e4 / np.pi)))


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_rejection_of_numbers_is_their_ratio(ratio):
    assert ratio(-1000.0, 0.1) == pytest.approx(1e4)
    with pytest.raises(MeasureUndefined, match="want waveforms, not measures"):
        ratio(1000.0, 0.1, frequency=10.0)
    with pytest.raises(MeasureUndefined, match="gain is 0: its rejection is infinite"):
        ratio(1000.0, 0.0)
    with pytest.raises(MeasureUndefined, match="wants a gain or a waveform"):
        ratio("out", 0.1)


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_rejection_of_waveforms_is_at_dc_at_a_frequency_or_the_worst(ratio):
    def exact(f):
        return 1e4 / math.hypot(1, f / 1e3) / math.hypot(1, f / 1e4)

    assert ratio(GAIN, LEAK) == pytest.approx(exact(1.0), rel=1e-12)
    assert ratio(GAIN, LEAK, frequency=1e5) == pytest.approx(exact(1e5), rel=1e-9)
    assert ratio(GAIN, LEAK, start=10.0, stop=1e6) == pytest.approx(exact(1e6), rel=1e-9)
    assert ratio(1000.0, LEAK, frequency=1e4) == pytest.approx(1e4 / math.sqrt(2), rel=1e-9)
    with pytest.raises(MeasureUndefined, match=r"the window 0.1 to 1e\+10 is empty or not within"):
        ratio(GAIN, LEAK, start=0.1)
    with pytest.raises(MeasureUndefined, match="outside the sweep"):
        ratio(GAIN, LEAK, frequency=1e11)


def test_a_rejection_of_a_leak_with_a_null_is_undefined():
    with pytest.raises(MeasureUndefined, match="the supply gain is 0 at a frequency"):
        psrr(GAIN, LEAK - LEAK)


def test_a_rejection_over_a_condition_stays_over_it():
    gain = Swept.of("gain", "temp", [0, 50], [100.0, 200.0])
    found = psrr(gain, Swept.of("leak", "temp", [0, 50], [1.0, 0.5]))
    np.testing.assert_allclose(found.trace().y, [100.0, 400.0])


COPIES = """\
two copies of a common source stage, the input and the supply driven
v1 in 0 dc 0 ac 1
g1 out1 0 in 0 1m
r1 out1 sup1 10k
v2 sup1 0 1
g2 out2 0 0 0 1m
r2 out2 sup2 10k
r3 out2 0 40k
r4 out1 0 40k
v3 sup2 0 dc 1 ac 1
.ac dec 10 1 1k
"""


@pytest.mark.simulator
def test_the_psrr_of_two_copies_in_one_testbench(tmp_path):
    values, reasons = measured(
        COPIES, tmp_path, {"psrr": "psrr(v(out1), v(out2))", "db": "db(psrr(v(out1), v(out2)))"}
    )
    assert reasons == {}
    assert values["psrr"] == pytest.approx(1e-3 * 8e3 / 0.8, rel=1e-9)  # gm R / (40/50)
    assert values["db"] == pytest.approx(20.0, rel=1e-9)


@pytest.mark.simulator
def test_a_psrr_of_measures_from_two_testbenches(rc):
    changed(rc, "{ac: rc.cir.j2}", "{ac: rc.cir.j2, supply: supply.cir.j2}")
    changed(rc, "  far: {testbench", "  gain: {testbench: ac, expr: dc_gain(v(out))}\n"
            "  leak: {testbench: supply, expr: dc_gain(v(out))}\n"
            "  psrr: {expr: 'psrr(gain, leak)', unit: V/V}\n  far: {testbench")  # fmt: skip
    (rc / "supply.cir.j2").write_text("t\nv1 s 0 ac 1\nr1 s out 1k\nr2 out 0 1\n.ac dec 1 1 10\n")
    done = m3eda("check", "design.yaml", "--json", cwd=rc)
    assert json.loads(done.stdout)["measures"]["psrr"] == pytest.approx(1001.0, rel=1e-3)


@pytest.mark.parametrize("scale", [1e-3, 7.0, 1e6])
@settings(max_examples=20, deadline=None)
@given(st.floats(1e2, 1e5), st.floats(1e5, 1e8), st.floats(2.0, 1e4))
def test_scaling_frequency_scales_the_crossing_and_keeps_the_margin(scale, f1, f2, gain):
    plain = sweep(lambda s: gain * pole(f1)(s) * pole(f2)(s))
    scaled = Trace(plain.x * scale, plain.y, "ac")
    assert unity_gain_frequency(scaled) == pytest.approx(
        scale * unity_gain_frequency(plain), rel=1e-9
    )
    assert phase_margin(scaled) == pytest.approx(phase_margin(plain), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(1.0, 9.0), min_size=1, max_size=5),
    st.lists(st.floats(1.0, 9.0), max_size=4),
    st.floats(1.5, 1e5),
)
def test_a_stable_network_is_never_called_unstable(poles, zeros, gain):
    def transfer(s):
        value = gain + 0 * s
        for place in poles:
            value = value * pole(10**place)(s)
        for place in zeros[: len(poles) - 1]:
            value = value / pole(10**place)(s)
        return value

    try:
        assert phase_margin(sweep(transfer)) <= 180.0
    except MeasureUndefined as error:
        if "unstable" in str(error):
            raise


def golden_responses():
    with gzip.open(GOLDEN / "deck.cir.FD.csv.gz", "rt") as file:
        rows = [row for row in csv.reader(file) if row and row[0][0].isdigit()]
    table = np.array(rows, dtype=float)
    for block in np.split(table, np.flatnonzero(np.diff(table[:, 0]) < 0) + 1):
        yield Trace(block[:, 0], block[:, 1] + 1j * block[:, 2], "ac", "v(net6)")


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no reference results in {GOLDEN}")
def test_a_hundred_amplifiers_simulated_elsewhere():
    expected = json.loads((GOLDEN / "results.json").read_text())
    responses = list(golden_responses())
    assert len(responses) == len(expected) == 100
    for response, result in zip(responses, expected, strict=True):
        assert dc_gain(response) == pytest.approx(result["gain"], rel=1e-6)
        if result["ugbw"] is None:
            with pytest.raises(MeasureUndefined, match="never reaches 1"):
                phase_margin(response)
            continue
        assert unity_gain_frequency(response) == pytest.approx(result["ugbw"], rel=1e-6)
        margin = 180.0 + result["phase_at_ugbw_unwrapped_deg"]
        assert phase_margin(response) == pytest.approx(margin, abs=1e-6)


def test_a_response_of_zeros_has_no_peaking():
    dead = Trace(np.geomspace(1.0, 1e6, 61), np.zeros(61, dtype=complex), "ac", "v(out)")
    with pytest.raises(MeasureUndefined, match=r"v\(out\) is 0 at 1 Hz"):
        ac.peaking.function(dead)
    assert ac.gain_at.function(dead, 1e3) == 0.0


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_margin_of_two_integrators_and_a_zero(sign):
    f = np.geomspace(1e2, 1e8, 121)
    zero, gain = 1e5, 1e11
    loop = Trace(f, sign * gain * (1 + 1j * f / zero) / (1j * f) ** 2, "ac", "loop")
    crossing = ac.unity_gain_frequency.function(loop)
    expected = math.degrees(math.atan(crossing / zero))
    assert ac.phase_margin.function(loop) == pytest.approx(expected, abs=0.2)
