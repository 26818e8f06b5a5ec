"""Oscillators and comparators of the library against closed forms and other ways to measure."""

from __future__ import annotations

import math
import re
import subprocess
from pathlib import Path

import pytest

from m3eda.circuits.opening import open_circuit
from m3eda.design.ties import complete
from m3eda.simulate.render import Renderer
from tests.circuit_samples import measured

pytestmark = pytest.mark.simulator


def ramped(circuit: str, low: float, high: float, folder: Path) -> float:
    """Distance in V of the inputs at which the output turns, on a ramp up to `high` and back."""
    project = open_circuit(circuit)
    design = project.design
    sizing = complete(design, project.nominal_sizing())
    deck = Renderer(design).deck(design.testbenches["edges"].at_points()[0], design.nominal, sizing)
    text = re.sub(r"pulse\([^)]*\)", f"pwl(0 {low} 20u {high} 40u {low})", deck.text)
    text = re.sub(r"\.tran.*", ".tran 20n 40u 0 20n", text).replace(".end\n", ".control\n")
    text += "set num_threads=1\nrun\n"
    text += "meas tran first when v(out)=0.9 cross=1\nmeas tran second when v(out)=0.9 cross=2\n"
    path = folder / "ramp.cir"
    path.write_text(text + ".endc\n.end\n")
    # without a plot ngspice ends with 1, whatever it measured
    done = subprocess.run(
        ["ngspice", "-b", path.name],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    times = dict(re.findall(r"^(first|second)\s*=\s*(\S+)", done.stdout, re.MULTILINE))
    return (float(times["first"]) - (40e-6 - float(times["second"]))) / 20e-6 * (high - low)


def test_the_turning_points_of_the_fold_are_the_thresholds_of_a_slow_ramp(tmp_path: Path) -> None:
    [values] = measured("schmitt_trigger", {})
    found = ramped("schmitt_trigger", 0.0, 1.8, tmp_path)
    assert found == pytest.approx(values["hysteresis"], rel=0.02)


def test_hysteresis_comes_of_feedback_wider_than_the_diodes(tmp_path: Path) -> None:
    wide, equal = measured("hysteresis_comparator", {}, {"ratio": 1.0})
    found = ramped("hysteresis_comparator", -0.1, 0.1, tmp_path)
    assert found == pytest.approx(wide["hysteresis"], rel=0.05)
    assert math.isnan(equal["hysteresis"])


def test_the_tank_sets_frequency_and_swing_and_whether_they_start() -> None:
    small = {"w_var": 4.4e-6, "l_var": 0.18e-6, "c_tank": 1e-12, "l_tank": 1e-9}
    too_little = {**small, "i_bias": 50e-6, "k_tail": 1.0}
    one, two, weak = measured("lc_oscillator", small, {**small, "l_tank": 2e-9}, too_little)
    # the varactors are small, and the pair of 22 um adds a tenth to the fixed capacitors
    whole = 1 / ((2 * math.pi * one["f_slow"]) ** 2 * 1e-9)
    assert 1.02e-12 < whole < 1.15e-12
    assert one["f_slow"] / two["f_slow"] == pytest.approx(math.sqrt(2), rel=0.01)
    # the pair switches the whole tail current: its fundamental is 2 / pi of it, across both sides
    loss = 2 * 10 * 2 * math.pi * one["f_slow"] * 1e-9
    tail = one["ivdd"] - 400e-6
    assert one["swing_slow"] == pytest.approx(2 * 2 / math.pi * tail * loss, rel=0.1)
    assert math.isnan(weak["f_slow"])
    assert weak["swing"] < 0.01


def test_the_control_current_charges_the_ring() -> None:
    slow, fast = measured("ring_oscillator", {"i_bias": 5e-6}, {"i_bias": 10e-6})
    # the charge of a period grows with the ring's own supply
    charge = fast["vring"] / slow["vring"]
    assert fast["fosc"] / slow["fosc"] == pytest.approx(2 / charge, rel=0.05)


def test_stages_divide_the_frequency_of_a_starved_ring() -> None:
    five, seven = measured("current_starved_vco", {"stages": 5.0}, {"stages": 7.0})
    assert five["f_mid"] / seven["f_mid"] == pytest.approx(7 / 5, rel=0.03)


def test_a_comparator_that_cannot_decide_in_time_has_no_delay() -> None:
    slow_latch = {"w_in": 0.88e-6, "w_latn": 22e-6, "w_latp": 22e-6, "l_lat": 0.72e-6}
    slow, fast = measured("strongarm_comparator", slow_latch, {})
    assert math.isnan(slow["delay"])
    assert slow["decision"] < 0.95
    assert fast["delay"] < 0.3e-9
