"""Amplifiers of the library against what can be worked out by hand, simulated by ngspice."""

from __future__ import annotations

import math

import pytest

from tests.circuit_samples import measured

pytestmark = pytest.mark.simulator


def test_mirrors_multiply_the_current_and_the_transconductance() -> None:
    single, triple = measured("current_mirror_ota", {"ratio": 1.0}, {"ratio": 3.0})
    bias = 10e-6
    # the reference, the tail, and both outputs of the p mirrors
    assert single["ivdd"] == pytest.approx((1 + 2 + 2) * bias, rel=0.06)
    assert triple["ivdd"] == pytest.approx((1 + 2 + 6) * bias, rel=0.06)
    assert triple["slew"] == pytest.approx(3 * single["slew"], rel=0.01)
    # less what the poles of the mirrors take
    assert triple["ugbw"] == pytest.approx(3 * single["ugbw"], rel=0.05)


@pytest.mark.parametrize(
    ("circuit", "bias"),
    [
        ("telescopic_ota", "vds_in"),
        ("telescopic_ota", "vds_mir"),
        ("folded_cascode_ota", "vds_sink"),
        ("folded_cascode_ota", "vds_mir"),
    ],
)
def test_replicas_pass_the_voltage_of_their_resistor_on(circuit: str, bias: str) -> None:
    narrow, wide = measured(circuit, {bias: 0.25}, {bias: 0.35})
    assert narrow["swing"] - wide["swing"] == pytest.approx(0.1, abs=0.01)


def test_loading_inverters_set_the_gain_of_the_common_mode() -> None:
    long = {"l_n": 1.8e-6, "l_p": 1.8e-6, "k_main": 4.0}
    light, heavy = measured("inverter_amplifier", {**long, "k_load": 2.0}, {**long, "k_load": 8.0})
    # gm of k_main units into 2 k_load units on themselves, or as good as that
    assert light["common"] == pytest.approx(20 * math.log10(4 / (2 * 2)), abs=0.3)
    assert heavy["common"] == pytest.approx(20 * math.log10(4 / (2 * 8)), abs=0.3)


def test_the_loop_of_the_follower_divides_its_output_resistance() -> None:
    one, two = measured("super_source_follower", {"k_out": 2.0}, {"k_out": 4.0})
    # 1 / (gm1 gm2 r): twice the units at the same density have twice the transconductance
    assert one["rout"] == pytest.approx(2 * two["rout"], rel=0.1)
    assert one["error"] == pytest.approx(two["error"], rel=0.02)


def test_class_ab_drives_more_than_its_quiescent_current() -> None:
    small, large = measured("class_ab_amplifier", {"k_out": 5.0}, {"k_out": 10.0})
    assert large["iq"] == pytest.approx(2 * small["iq"], rel=0.03)
    step, load, feedback = 0.4 * 1.8, 5e3, 20e3
    needed = step / 2 / load + step / feedback / 2
    assert small["iq"] < 0.5 * needed
    assert small["settling"] < 300e-9  # to 1 % of the whole step, both ways
