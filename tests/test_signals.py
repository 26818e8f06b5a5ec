"""Signals: lazy waveforms in expressions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from m3eda.simulate.signals import (
    Device,
    MeasureUndefined,
    Trace,
    VectorMissing,
    device_vector,
    to_save,
    vector,
)
from m3eda.simulate.types import Analysis, State, Waveforms

FREQUENCY = np.array([1.0, 10.0, 100.0])
TIME = np.array([0.0, 1.0, 3.0])
AC = Analysis(
    "ac",
    {"frequency": FREQUENCY + 0j, "v(out)": np.array([8j, 4j, 2j]), "v(in)": np.full(3, 2 + 0j)},
    "frequency",
)
OP = Analysis(
    "op",
    {"v(out)": np.array([0.6]), "v(in)": np.array([0.5]), "i(vdd)": np.array([-2e-3])},
)
TRAN = Analysis(
    "tran", {"time": TIME, "v(out)": np.array([0.0, 1.0, 2.0]), "i(vdd)": -np.ones(3)}, "time"
)
RESULTS = Waveforms((AC, OP, TRAN))


def out(name: str = "v(out)"):
    return vector(RESULTS, name)


def test_a_signal_takes_the_analysis_it_is_asked_for():
    assert out().trace("ac").y[0] == 8j
    assert list(out().trace("tran").x) == list(TIME)


def test_a_bare_signal_is_its_operating_point_value():
    assert float(-out("i(vdd)")) == 2e-3


@pytest.mark.parametrize(
    ("combined", "expected"),
    [
        (lambda s: s + 1, [1, 2, 3]),
        (lambda s: 1 + s, [1, 2, 3]),
        (lambda s: s - 1, [-1, 0, 1]),
        (lambda s: 1 - s, [1, 0, -1]),
        (lambda s: 2 * s, [0, 2, 4]),
        (lambda s: s / 4, [0, 0.25, 0.5]),
        (lambda s: 2 / (s + 1), [2, 1, 2 / 3]),
        (lambda s: s**2, [0, 1, 4]),
        (lambda s: 2**s, [1, 2, 4]),
        (lambda s: abs(-s), [0, 1, 2]),
        (lambda s: +s, [0, 1, 2]),
        (lambda s: s * s - s, [0, 0, 2]),
        (lambda s: np.sqrt(s), [0, 1, math.sqrt(2)]),
        (lambda s: np.float64(2) * s, [0, 2, 4]),
        (lambda s: np.float64(2) - s, [2, 1, 0]),
        (lambda s: s / np.float64(2), [0, 0.5, 1]),
    ],
)
def test_arithmetic_is_point_by_point(combined, expected):
    np.testing.assert_allclose(combined(out()).trace("tran").y, expected)


def test_a_ratio_of_complex_signals_stays_complex():
    np.testing.assert_allclose((out() / out("v(in)")).trace("ac").y, [4j, 2j, 1j])


def test_ground_is_zero_everywhere():
    assert list((out() - out("v(0)")).trace("tran").y) == [0.0, 1.0, 2.0]


def test_the_first_analysis_that_has_the_vector_counts():
    other = Analysis("ac", {"frequency": FREQUENCY, "v(x)": np.array([1j, 1j, 1j])}, "frequency")
    assert vector(Waveforms((AC, other)), "v(x)").trace("ac").y[0] == 1j


def test_a_division_by_zero_is_undefined_and_warns_of_nothing():
    with pytest.raises(MeasureUndefined, match=r"v\(out\) - v\(out\)\) is not finite"):
        (out("v(in)") / (out() - out())).trace("op")
    with pytest.raises(MeasureUndefined, match="not finite"):
        (1 / out()).trace("tran")


def test_signals_of_different_sweeps_do_not_mix():
    short = Analysis("ac", {"frequency": FREQUENCY[:2], "v(y)": np.array([1j, 1j])}, "frequency")
    results = Waveforms((AC, short))
    with pytest.raises(MeasureUndefined, match="different analyses"):
        (vector(results, "v(out)") + vector(results, "v(y)")).trace("ac")


def test_a_missing_node_is_reported_with_the_nearest_name():
    with pytest.raises(VectorMissing, match=r"AC analysis has no v\(oout\) \(nearest: v\(out\), "):
        out("v(oout)").trace("ac")


def test_a_missing_analysis_is_reported_with_those_that_are_there():
    with pytest.raises(VectorMissing) as caught:
        vector(Waveforms((AC, OP)), "v(out)").trace("tran")
    assert caught.value.state is State.VECTOR_MISSING
    assert caught.value.reason == (
        "v(out) is wanted from the transient analysis, and the testbench gave "
        "AC analysis, operating point"
    )


def test_of_several_analyses_the_one_with_a_wrong_name_is_reported():
    with pytest.raises(VectorMissing, match=r"operating point has no v\(inn\)"):
        vector(Waveforms((AC, OP)), "v(inn)").trace("tran", "op")


def test_the_order_of_analyses_is_the_order_of_preference():
    assert out().trace("tran", "op").y.size == 3
    assert vector(Waveforms((OP,)), "v(out)").trace("tran", "op").y.size == 1


def test_a_falling_sweep_is_turned_round():
    sweep = Analysis(
        "dc", {"v-sweep": np.array([2.0, 1.0]), "v(a)": np.array([5.0, 7.0])}, "v-sweep"
    )
    trace = vector(Waveforms((sweep,)), "v(a)").trace("dc")
    assert (list(trace.x), list(trace.y)) == ([1.0, 2.0], [7.0, 5.0])


def test_a_nested_sweep_is_refused():
    sweep = Analysis("dc", {"s": np.array([0.0, 1.0, 0.0, 1.0]), "v(a)": np.arange(4.0)}, "s")
    with pytest.raises(MeasureUndefined, match="nested"):
        vector(Waveforms((sweep,)), "v(a)").trace("dc")


def test_a_noise_total_is_a_number_and_a_spectrum_is_not():
    spectrum = Analysis(
        "noise", {"frequency": FREQUENCY, "onoise_spectrum": np.ones(3)}, "frequency"
    )
    total = Analysis("noise", {"onoise_total": np.array([3e-6])})
    results = Waveforms((spectrum, total))
    assert float(vector(results, "onoise_total")) == 3e-6
    with pytest.raises(MeasureUndefined, match="a function must make it a number"):
        float(vector(results, "onoise_spectrum"))


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("m1", "@m1[gm]"),
        ("M1", "@m1[gm]"),
        ("x1.m2", "@m.x1.m2[gm]"),
        ("x1.x2.q3", "@q.x1.x2.q3[gm]"),
        ("x.m2", "@m.x.m2[gm]"),
        ("m.x1.m2", "@m.x1.m2[gm]"),
    ],
)
def test_devices_in_subcircuits_have_the_names_ngspice_gives_them(device, expected):
    assert device_vector(device, "gm") == expected


def test_a_device_reads_its_operating_point():
    results = Waveforms((Analysis("op", {"@m.x1.m2[vds]": np.array([0.4])}),))
    assert Device("x1.m2", results).value("vds") == 0.4
    with pytest.raises(VectorMissing, match="nearest"):
        Device("x1.m2", results).value("vdsat")


def test_what_to_save_leaves_ground_out_and_doubles_too():
    assert to_save(("v(a)", "v(0)", "v(A)", "@x1.m1[gm]")) == ("v(a)", "@m.x1.m1[gm]")


@pytest.mark.parametrize(("start", "stop"), [(-1.0, 2.0), (0.0, 4.0), (2.0, 1.0), (1.0, 1.0)])
def test_a_window_must_lie_within_the_data(start, stop):
    with pytest.raises(MeasureUndefined, match="window"):
        out().trace("tran").window(start, stop)


def test_a_window_interpolates_its_ends():
    trace = out().trace("tran").window(0.5, 2.0)
    assert (list(trace.x), list(trace.y)) == ([0.5, 1.0, 2.0], [0.5, 1.0, 1.5])


def test_an_ac_window_follows_a_power_law_exactly():
    f = np.array([1.0, 100.0])
    trace = Trace(f, 1.0 / (1j * f), "ac").window(10.0, None)
    assert trace.y[0] == pytest.approx(-0.1j, rel=1e-12)


def test_a_window_begins_where_it_is_asked_to_on_a_sweep_over_decades():
    x = np.logspace(0, 10, 101)
    trace = Trace(x, 1.0 / x, "ac", "v(out)")
    assert trace.window(5.0, None).x[0] == 5.0
    assert trace.window(None, 1e10 * (1 + 1e-12)).x[-1] == x[-1]
    with pytest.raises(MeasureUndefined, match="not within"):
        trace.window(0.1, None)
