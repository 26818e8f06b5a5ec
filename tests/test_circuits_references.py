"""Closed forms that references of the library must keep, on the real simulator."""

from __future__ import annotations

import math

import pytest

from m3eda.circuits.opening import open_circuit

THERMAL_VOLTAGE = 1.380649e-23 * 300.15 / 1.602176634e-19  # V, at 27 degrees Celsius

pytestmark = pytest.mark.simulator


def measured(circuit: str, *changes: dict[str, float]) -> list[dict[str, float]]:
    """Measures of the default sizing with each of `changes`."""
    project = open_circuit(circuit)
    evaluator = project.evaluator()
    sizings = [evaluator.complete({**project.nominal_sizing(), **each}) for each in changes]
    results = [result["nominal"] for result in evaluator.evaluate(sizings)]
    evaluator.close()
    return [dict(result.measures) for result in results]


def test_bandgap_adds_the_thermal_voltage():
    # x_out (V_BE + x_ctat kT/q ln k_q): the diode's voltage stays, the other term has its slope
    low, high = measured("bandgap_reference", {"x_ctat": 9.5}, {"x_ctat": 11.5})
    expected = 0.387 * (11.5 - 9.5) * THERMAL_VOLTAGE * math.log(8)
    assert high["vref"] - low["vref"] == pytest.approx(expected, rel=0.05)
    assert low["started"] > 0.97


def test_beta_multiplier_in_weak_inversion_goes_with_the_logarithm_of_its_ratio():
    weak = {"w_n": 44e-6, "w_stop": 11e-6, "l_start": 20e-6}  # and the start-up branch is off
    small, large = measured("current_reference", {**weak, "k_n": 4}, {**weak, "k_n": 16})
    assert large["iref"] / small["iref"] == pytest.approx(2.0, rel=0.04)


def test_charge_pump_current_does_not_hang_on_its_ratio():
    few, many = measured("charge_pump", {"k_out": 2}, {"k_out": 10})
    assert few["idd"] / many["idd"] == pytest.approx(5.0, rel=0.02), (
        "bias branches are unit devices"
    )
    assert few["i_down"] == pytest.approx(many["i_down"], rel=0.03), "and the output a multiple"


@pytest.mark.parametrize("circuit", ["ldo_pmos", "ldo_nmos"])
def test_regulator_that_cannot_carry_its_load_is_seen(circuit):
    [narrow] = measured(circuit, {"m_pass": 5, "l_pass": 0.72e-6})
    assert narrow["error"] > 0.1
