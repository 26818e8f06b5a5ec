"""Filters and matching networks of the library beside closed forms, on the real simulator."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest

from m3eda.circuits.opening import open_circuit

pytestmark = pytest.mark.simulator


def default_of(name: str) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Default sizing, its measures and the nominal conditions of the circuit called `name`."""
    project = open_circuit(name)
    evaluator = project.evaluator()
    sizing = evaluator.complete(project.nominal_sizing())
    [result] = evaluator.evaluate([sizing])
    evaluator.close()
    values = {key: float(value) for key, value in sizing.items()}
    given = {key: float(value) for key, value in project.design.conditions.items()}
    return values, dict(result["nominal"].measures), given


def series(impedance: np.ndarray) -> np.ndarray:
    """Chain matrix of an impedance along the line, one at each frequency."""
    one, zero = np.ones_like(impedance), np.zeros_like(impedance)
    return np.array([[one, impedance], [zero, one]])


def shunt(admittance: np.ndarray) -> np.ndarray:
    """Chain matrix of an admittance to ground, one at each frequency."""
    one, zero = np.ones_like(admittance), np.zeros_like(admittance)
    return np.array([[one, zero], [admittance, one]])


def scattering(
    parts: list[np.ndarray], source: float, load: float
) -> tuple[np.ndarray, np.ndarray]:
    """s11 and s21 in decibels, of chained matrices between a source and a load resistance."""
    (a, b), (c, d) = reduce(lambda left, right: np.einsum("ijf,jkf->ikf", left, right), parts)
    whole = a * load + b + c * source * load + d * source
    s11 = (a * load + b - c * source * load - d * source) / whole
    s21 = 2.0 * np.sqrt(source * load) / whole
    return 20.0 * np.log10(np.abs(s11)), 20.0 * np.log10(np.abs(s21))


def test_the_ladder_is_its_chain_matrix():
    sizing, measures, given = default_of("passive_filter")
    passed = np.geomspace(1e6, given["f_pass"], 200)
    stopped = np.geomspace(given["f_stop"], 300e6, 4000)

    def ladder(frequency: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        s = 2j * np.pi * frequency
        loss = 2.0 * np.pi * given["f_q"] / given["q_l"]

        def trap(inductance: float, capacitance: float) -> np.ndarray:
            return series(1.0 / (1.0 / (inductance * (s + loss)) + s * capacitance))

        parts = [
            shunt(s * sizing["c1"]),
            trap(sizing["l2"], sizing["c2"]),
            shunt(s * sizing["c3"]),
            trap(sizing["l4"], sizing["c4"]),
            shunt(s * sizing["c5"]),
        ]
        return scattering(parts, given["r0"], given["r0"])

    reflected, transmitted = ladder(passed)
    assert measures["rl"] == pytest.approx(-np.max(reflected), abs=0.02)
    assert measures["loss"] == pytest.approx(-np.min(transmitted), abs=0.01)
    assert measures["ripple"] == pytest.approx(np.ptp(transmitted), abs=0.01)
    assert measures["attenuation"] == pytest.approx(-np.max(ladder(stopped)[1]), abs=0.05)
    edge = np.geomspace(1e6, given["f_stop"], 20000)
    response = ladder(edge)[1]
    corner = edge[np.argmax(response < response[0] - 3.0103)]
    assert measures["bandwidth"] == pytest.approx(corner, rel=4e-3)


def test_the_match_is_its_chain_matrix():
    sizing, measures, given = default_of("matching_network")
    omega = 2.0 * np.pi * given["f_q"]

    def match(low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        s = 2j * np.pi * np.linspace(low, high, 400)

        def coil(inductance: float, capacitance: float) -> np.ndarray:
            lossy = s * inductance + omega * inductance / given["q_l"]
            return series(1.0 / (1.0 / lossy + s * capacitance))

        def capacitor(capacitance: float) -> np.ndarray:
            loss = 1.0 / (omega * capacitance * given["q_c"])
            return shunt(1.0 / (1.0 / (s * capacitance) + loss))

        parts = [
            capacitor(sizing["c1"]),
            coil(sizing["l1"], sizing["c_trap"] + given["c_coil"]),
            capacitor(sizing["c2"]),
            coil(sizing["l2"], given["c_coil"]),
            capacitor(sizing["c3"]),
            series(1.0 / (s * given["c_ant"])),
        ]
        return scattering(parts, given["r_source"], given["r_ant"])

    low, high = given["f_low"], given["f_high"]
    reflected, transmitted = match(low, high)
    assert measures["rl"] == pytest.approx(-np.max(reflected), abs=0.03)
    assert measures["loss"] == pytest.approx(-np.min(transmitted), abs=0.01)
    for harmonic, name in ((2.0, "second"), (3.0, "third")):
        passed = match(harmonic * low, harmonic * high)[1]
        assert measures[name] == pytest.approx(-np.max(passed), abs=0.05)


def test_the_sallen_key_filter_has_its_natural_frequency():
    """With an op amp of 8 MHz the corner of 72 kHz is that of an ideal one within 2 %."""
    sizing, measures, _ = default_of("sallen_key_filter")
    natural = 1.0 / np.sqrt(sizing["r1"] * sizing["r2"] * sizing["c1"] * sizing["c2"])
    slope = 1.0 - 0.5 / measures["q"] ** 2
    corner = natural / (2.0 * np.pi) * np.sqrt(slope + np.sqrt(slope**2 + 1.0))
    assert measures["bandwidth"] == pytest.approx(corner, rel=0.02)


def test_the_multiple_feedback_filter_follows_its_transfer_function():
    """The op amp's finite gain moves the centre by less than 2 %, and the skirts with it."""
    sizing, measures, given = default_of("multiple_feedback_filter")
    r1, r2, r3, c1, c2 = (sizing[name] for name in ("r1", "r2", "r3", "c1", "c2"))

    def gain(frequency: float) -> float:
        s = 2j * np.pi * frequency
        below = s**2 * c1 * c2 * r3 + s * (c1 + c2) + 1.0 / r1 + 1.0 / r2
        return 20.0 * float(np.log10(abs(s * c2 * r3 / r1 / below)))

    f_0 = given["f_0"]
    ideal = gain(f_0) - max(gain(f_0 / 2.0), gain(2.0 * f_0))
    assert measures["attenuation"] == pytest.approx(ideal, abs=0.5)
    assert measures["gain"] == pytest.approx(
        min(gain(given["f_low"]), gain(given["f_high"])), abs=0.5
    )


def test_the_capacitors_scale_the_gm_c_filter():
    """Four times both lower the corner fourfold: the transconductors' own poles are far away."""
    project = open_circuit("gm_c_filter")
    evaluator = project.evaluator()
    once = evaluator.complete({**project.nominal_sizing(), "c1": 3e-12, "c2": 3e-12})
    four = evaluator.complete({**project.nominal_sizing(), "c1": 12e-12, "c2": 12e-12})
    fast, slow = (each["nominal"].measures for each in evaluator.evaluate([once, four]))
    evaluator.close()
    assert fast["bandwidth"] / slow["bandwidth"] == pytest.approx(4.0, rel=0.03)
    assert slow["passband"] == pytest.approx(fast["passband"], abs=1e-4)
    # noise is that of kT / c, whatever the transconductance
    assert slow["noise"] / fast["noise"] == pytest.approx(0.5, rel=0.1)
