"""The coarse model of circuits that are linear: closed forms, and sources in time as ngspice has
them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.coarse_samples import only, solved, spice

RC = "v1 in 0 dc 0 ac 1 {}\nr1 in out 1k\nc1 out 0 1n\n"


def op(text, *vectors, fills=((),)):
    return [[float(only(each, "op").vectors[name][0]) for name in vectors]
            for each in solved(text + "\n.op", vectors, fills)]  # fmt: skip


def test_a_divider_in_many_sizes():
    rows = [(1e3, 1e3), (1e3, 3e3), (10.0, 90.0)]
    found = op("v1 in 0 1\nr1 in out <0>\nr2 out 0 <1>", "v(out)", "i(v1)", fills=rows)
    assert np.allclose([each[0] for each in found], [0.5, 0.75, 0.9])
    assert np.allclose([each[1] for each in found], [-0.5e-3, -0.25e-3, -0.01], rtol=1e-6)


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ("v1 a 0 2\ne1 out 0 a 0 3", 6.0),
        ("v1 a 0 2\ng1 0 out a 0 1m\nr1 out 0 1k", 2.0),
        ("v1 a 0 2\nr1 a 0 1k\nf1 0 out v1 5\nr2 out 0 1k", -10.0),
        ("v1 a 0 2\nr1 a 0 1k\nh1 out 0 v1 500", -1.0),
        ("i1 0 out 1m\nr1 out 0 2k", 2.0),
        ("v1 a 0 2\nr1 a out 0\nr2 out 0 1k", 2.0),
        ("v1 a 0 2\nl1 a out 1m\nr2 out 0 1k", 2.0),
        ("v1 a 0 2\nr1 a out 1k m=2\nr2 out 0 500", 1.0),
        ("v1 a 0 2\nv2 b 0 3\nb1 0 out i=v(a)*v(b,a)*1m + 1m\nr1 out 0 1k", 3.0),
        ("v1 a 0 2\nr1 a out 1k\nb1 out 0 i=v(out)**2*1m", 1.0),
        ("v1 a 0 2\nr1 a out 1k tc1=10m\nr2 out 0 2k\n.temp 127", 1.0),
    ],
)
def test_operating_points(cards, expected):
    [[found]] = op(cards, "v(out)")
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_low_pass_over_frequency():
    [waves] = solved(RC.format("") + ".ac dec 20 1k 10meg", ["v(out)"])
    found = only(waves, "ac").vectors
    f = found["frequency"].real
    expected = 1.0 / (1.0 + 2j * np.pi * f * 1e-6)
    assert len(f) == 81
    assert np.abs(found["v(out)"] / expected - 1.0).max() < 5e-3


def test_a_low_pass_in_time():
    card = RC.format("pulse(0 1 1u 1n 1n 10u 20u)") + ".tran 10n 8u"
    [waves] = solved(card, ["v(out)"])
    found = only(waves, "tran").vectors
    t = found["time"]
    expected = np.where(t > 1e-6, 1.0 - np.exp(-(t - 1.0005e-6) / 1e-6), 0.0)
    assert np.abs(found["v(out)"] - expected).max() < 3e-3


def test_a_resonance():
    text = "i1 0 out dc 0 ac 1\nl1 out 0 1u\nc1 out 0 1n\nr1 out 0 1k\n.ac lin 401 4meg 6meg"
    [waves] = solved(text, ["v(out)"])
    found = only(waves, "ac").vectors
    size = np.abs(found["v(out)"])
    at = found["frequency"].real[size.argmax()]
    assert at == pytest.approx(1.0 / (2.0 * np.pi * np.sqrt(1e-15)), rel=0.01)
    assert size.max() == pytest.approx(1e3, rel=0.02)


@pytest.mark.parametrize("celsius", [27.0, 127.0])
def test_noise_of_a_resistor(celsius):
    text = f"v1 in 0 dc 0 ac 1\nr1 in out 10k\n.noise v(out) v1 dec 5 1 1k\n.temp {celsius}"
    [waves] = solved(text, ["v(out)"])
    found = only(waves, "noise").vectors
    expected = np.sqrt(4.0 * 1.380649e-23 * (celsius + 273.15) * 1e4)
    assert np.allclose(found["onoise_spectrum"], expected, rtol=1e-4)
    assert np.allclose(found["inoise_spectrum"], expected, rtol=1e-4)


def test_a_sweep_of_a_source_and_of_the_temperature():
    text = "v1 in 0 1\nr1 in out 1k tc1=1m\nr2 out 0 1k\n"
    [waves] = solved(text + ".dc v1 0 2 0.5", ["v(out)"])
    assert np.allclose(only(waves, "dc").vectors["v(out)"], [0.0, 0.25, 0.5, 0.75, 1.0])
    [waves] = solved(text + ".dc temp 27 127 50", ["v(out)"])
    expected = [1.0 / (2.0 + 1e-3 * warmer) for warmer in (0.0, 50.0, 100.0)]
    assert np.allclose(only(waves, "dc").vectors["v(out)"], expected)


@pytest.mark.simulator
@pytest.mark.parametrize(
    "source",
    [
        "pulse(0.1 1 1u 0.2u 0.3u 1u 3u)",
        "pulse(0 1 1u 0.2u 0.3u 1u)",
        "pwl(0 0.1 1u 0.2 2u 1 4u 0.5)",
        "sin(0.5 0.4 500k)",
        "sin(0.5 0.4 500k 1u 300k)",
        "exp(0.1 1 1u 0.5u 4u 1u)",
    ],
)
def test_sources_in_time_are_those_of_ngspice(source):
    text = f"v1 in 0 {source}\nr1 in out 1k\nc1 out 0 0.2n\n.tran 10n 8u 0 20n"
    [waves] = solved(text, ["v(in)", "v(out)"])
    ours, theirs = only(waves, "tran").vectors, only(spice(text, ["v(in)", "v(out)"]), "tran")
    t = np.asarray(theirs.vectors["time"]).real
    for name in ("v(in)", "v(out)"):
        there = np.asarray(theirs.vectors[name]).real
        assert np.abs(np.interp(t, ours["time"], ours[name]) - there).max() < 0.01, name


def test_lengths_of_steps_are_told_apart_however_short():
    """A fast edge after slow steps, all far below a nanosecond."""
    text = ("v1 in 0 pulse(0 1 100p 0.1p 0.1p 200p 1n)\nr1 in out 1k\nc1 out 0 10f\n"
            ".tran 1p 400p")  # fmt: skip
    [waves] = solved(text, ["v(out)"])
    found = only(waves, "tran").vectors
    expected = 1.0 - np.exp(-(found["time"] - 100e-12) / 10e-12)
    during = (found["time"] > 101e-12) & (found["time"] < 300e-12)
    assert np.abs(found["v(out)"] - expected)[during].max() < 0.02
