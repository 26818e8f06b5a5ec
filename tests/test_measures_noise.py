"""Noise measures against closed forms and ngspice's own totals; mistakes in noise testbenches."""

from __future__ import annotations

import math

import numpy as np
import pytest

from m3eda.simulate import noise
from m3eda.simulate.signals import MeasureUndefined, Trace
from tests.helpers import changed, m3eda, only_line
from tests.measuring import measured

integrated_noise = noise.integrated_noise.function
noise_density = noise.noise_density.function
noise_corner = noise.noise_corner.function
noise_figure = noise.noise_figure.function
noise_bandwidth = noise.noise_bandwidth.function

KT4 = 4 * 1.380649e-23 * 300.15
F = np.logspace(0, 7, 141)


def density(power) -> Trace:
    return Trace(F, np.sqrt(power + 0 * F), "noise", "inoise_spectrum")


def test_white_and_flicker_noise_integrate_exactly():
    f = np.array([1.0, 10.0, 1e4])
    assert integrated_noise(Trace(f, np.full(3, 2e-9), "noise")) == pytest.approx(
        2e-9 * math.sqrt(1e4 - 1), rel=1e-12
    )
    assert integrated_noise(Trace(f, 1e-6 / np.sqrt(f), "noise")) == pytest.approx(
        1e-6 * math.sqrt(math.log(1e4)), rel=1e-12
    )


def test_a_window_limits_the_noise_band():
    f = np.array([1.0, 10.0, 1e4])
    value = integrated_noise(Trace(f, np.full(3, 1e-9), "noise"), start=100.0, stop=1100.0)
    assert value == pytest.approx(1e-9 * math.sqrt(1000.0), rel=1e-12)


def test_a_density_between_two_points_is_a_power_law():
    f = np.array([1.0, 1e4])
    assert noise_density(Trace(f, 1e-6 / np.sqrt(f), "noise"), 50.0) == pytest.approx(
        1e-6 / math.sqrt(50.0), rel=1e-12
    )


@pytest.mark.parametrize("corner", [30.0, 1e3, 5e4])
def test_the_corner_of_flicker_noise(corner):
    found = noise_corner(density(1e-16 * (1 + corner / F)))
    # the white floor is taken at the last point, where 1/f noise still adds to it
    assert found == pytest.approx(corner / (1 + 2 * corner / F[-1]), rel=2e-3)


@pytest.mark.parametrize(
    ("power", "reason"),
    [
        (1e-16 / F, "still falls at 1e.07 Hz"),
        (1e-16, "lowest where the sweep begins"),
        (1e-16 * (1 + F / 1e3), "lowest where the sweep begins"),
        (1e-16 * (1 + 0.1 / F), "below the white noise from 1 Hz on"),
    ],
)
def test_no_corner_is_undefined(power, reason):
    with pytest.raises(MeasureUndefined, match=reason):
        noise_corner(density(power))


def test_a_noise_figure_replaces_the_sources_temperature_by_290_kelvin():
    added, resistance = 3e-18, 50.0
    for celsius in (-40.0, 27.0, 125.0):
        own = 4 * 1.380649e-23 * (celsius + 273.15) * resistance
        expected = 10 * math.log10(1 + added / (4 * 1.380649e-23 * 290 * resistance))
        found = noise_figure(density(own + added), resistance, temperature=celsius)
        assert found == pytest.approx(expected, rel=1e-9)


def test_a_noise_figure_at_a_frequency_and_the_worst_of_a_window():
    wave = density(KT4 * 50 + 1e-18 * (1 + 1e3 / F))

    def exact(f):
        return 10 * math.log10(1 + 1e-18 * (1 + 1e3 / f) / (4 * 1.380649e-23 * 290 * 50))

    assert noise_figure(wave, 50.0, 27.0) == pytest.approx(exact(1.0), rel=1e-9)
    assert noise_figure(wave, 50.0, 27.0, frequency=1e4) == pytest.approx(exact(1e4), rel=1e-9)
    assert noise_figure(wave, 50.0, 27.0, start=100.0) == pytest.approx(exact(100.0), rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((5000.0, 27.0), "is below 9.1.* of the source resistor alone"),
        ((0.0, 27.0), "must exceed 0"),
        ((50.0, 27.0, 1e9), "outside the sweep"),
    ],
)
def test_no_noise_figure_is_undefined(arguments, reason):
    with pytest.raises(MeasureUndefined, match=reason):
        noise_figure(density(KT4 * 50), *arguments)


@pytest.mark.parametrize(
    "function", [integrated_noise, noise_corner, lambda w, **k: noise_figure(w, 50.0, 27.0, **k)]
)
def test_a_window_outside_the_analysis_is_undefined(function):
    with pytest.raises(MeasureUndefined, match=r"the window 1 to 1e\+08 is empty or not within"):
        function(density(1e-16), stop=1e8)


def test_one_pole_passes_pi_over_2_of_its_corner():
    f = np.logspace(0, 9, 9001)
    response = Trace(f, 10 / (1 + 1j * f / 1e4), "ac", "v(out)")
    assert noise_bandwidth(response) == pytest.approx(1e4 * math.pi / 2, rel=1e-4)


RC = """\
RC low pass with a noiseless gain of 10
v1 in 0 dc 0 ac 1
r1 in a 1k
c1 a 0 159.154943p
e1 out 0 a 0 10
.noise v(out) v1 dec 50 1 1g
.ac dec 50 1 1g
"""


@pytest.mark.simulator
def test_noise_of_a_resistor_and_a_capacitor(tmp_path):
    names = {
        "onoise": "noise_density(onoise_spectrum, 100)",
        "inoise": "noise_density(inoise_spectrum, 1meg)",
        "kt_c": "integrated_noise(onoise_spectrum)",
        "total": "onoise_total",
        "input": "integrated_noise(inoise_spectrum, start=10, stop=1meg)",
        "bandwidth": "noise_bandwidth(v(out))",
        "nf": "noise_figure(inoise_spectrum, 1k, 27, frequency=1k)",
    }
    values, reasons = measured(RC, tmp_path, names)
    assert reasons == {}
    thermal = math.sqrt(KT4 * 1e3)
    assert values["onoise"] == pytest.approx(10 * thermal, rel=1e-5)
    assert values["inoise"] == pytest.approx(thermal, rel=1e-5)
    kt_c = 10 * math.sqrt(1.380649e-23 * 300.15 / 159.154943e-12)
    assert values["kt_c"] == pytest.approx(kt_c, rel=1e-3)
    assert values["kt_c"] == pytest.approx(values["total"], rel=1e-3)
    assert values["input"] == pytest.approx(thermal * math.sqrt(1e6 - 10), rel=1e-5)
    assert values["bandwidth"] == pytest.approx(1e6 * math.pi / 2, rel=2e-3)
    assert values["nf"] == pytest.approx(0.0, abs=1e-3)


ATTENUATOR = """\
matched attenuator of 10 dB behind a source of 50 ohm
v1 s 0 dc 0 ac 1
rs s in 50
r1 in m 25.9747
r2 m 0 35.1364
r3 m out 25.9747
rl out 0 50 noisy=0
.temp {temp}
.noise v(out) v1 dec 10 1k 1meg
"""


@pytest.mark.simulator
@pytest.mark.parametrize("temp", [16.85, 100.0])
def test_the_noise_figure_of_an_attenuator_is_its_loss_at_290_kelvin(tmp_path, temp):
    values, reasons = measured(
        ATTENUATOR.format(temp=temp), tmp_path,
        {"nf": f"noise_figure(inoise_spectrum, 50, temperature={temp})"},
    )  # fmt: skip
    assert reasons == {}
    expected = 10 * math.log10(1 + (10 - 1) * (temp + 273.15) / 290)
    assert values["nf"] == pytest.approx(expected, abs=1e-3)


FLICKER = """\
current source with 1/f noise
vdd d 0 1
vg g 0 dc 1 ac 1
m1 x g 0 0 nch w=10u l=1u
vs d y 0
r1 y x 1k noisy=0
.model nch nmos level=1 vto=0.5 kp=100u kf=1e-32 af=1
.noise v(x) vg dec 20 1 1g
"""


@pytest.mark.simulator
def test_the_corner_of_a_transistor_simulated(tmp_path):
    values, reasons = measured(
        FLICKER, tmp_path,
        {"corner": "noise_corner(inoise_spectrum)",
         "low": "noise_density(inoise_spectrum, 1)", "high": "noise_density(inoise_spectrum, 1g)"},
    )  # fmt: skip
    assert reasons == {}
    # S = white (1 + corner / f)
    white = values["high"] ** 2
    expected = (values["low"] ** 2 / white - 1) * 1.0
    assert values["corner"] == pytest.approx(expected, rel=0.01)


NOISE = ".noise v(out) v1 dec 10 1 1meg"
MISTAKES = {
    "no AC value": (
        "ac 1\n", "\n", NOISE,
        "ac: parse error: line 5: the noise analysis's source v1 has no AC value "
        "(write `ac 1` on its line)",
    ),
    "no such source": (
        "", "", NOISE.replace("v1", "vin"),
        "ac: parse error: line 5: the noise analysis's source vin not in circuit "
        "(name a voltage or current source of the netlist)",
    ),
    "a resistor as source": (
        "", "", NOISE.replace("v1", "r1"),
        "ac: parse error: line 5: the noise analysis's source r1 is not of proper type "
        "(it must be a voltage or current source)",
    ),
    "no source": (
        "", "", NOISE.replace("v1 ", ""),
        "ac: parse error: line 5: expected an output, a source and a sweep, such as "
        "v(out) vin dec 10 1 1meg: .noise v(out) dec 10 1 1meg",
    ),
    "no such node": (
        "", "", NOISE.replace("v(out)", "v(outt)"),
        "ac: vector missing: line 5: the netlist has no node outt (did you mean out?): "
        ".noise v(outt) v1 dec 10 1 1meg",
    ),
    "no such reference": (
        "", "", NOISE.replace("v(out)", "v(0, cm)"),
        "ac: vector missing: line 5: the netlist has no node cm: .noise v(0, cm) v1 dec 10 1 1meg",
    ),
}  # fmt: skip


@pytest.mark.simulator
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_noise_testbench_is_one_line(rc, name):
    before, after, card, line = MISTAKES[name]
    changed(rc, before or ".ac dec 20 1 10meg", after or card, "rc.cir.j2")
    if before:
        changed(rc, ".ac dec 20 1 10meg", card, "rc.cir.j2")
    changed(rc, "bandwidth_3db(v(out)), unit: Hz", "integrated_noise(onoise_spectrum), unit: V")
    changed(rc, "gain_at(v(out), 1meg)", "noise_density(inoise_spectrum, 1k)")
    changed(rc, "unit: V/V", "unit: V/sqrt(Hz)")
    changed(rc, "specs:\n  f3db: {target: 10k, tolerance: 200}", "specs:\n  f3db: {max: 1}")
    done = m3eda("check", "design.yaml", cwd=rc)
    assert only_line(done).startswith(f"{rc}/rc.cir.j2: {line} ("), done.stderr
    assert done.returncode == 2


@pytest.mark.simulator
def test_an_output_that_carries_no_noise_is_no_mistake(tmp_path):
    netlist = "t\nv1 in 0 ac 1\nr1 in 0 1k\n.noise v(in) v1 dec 2 1 100\n"
    values, reasons = measured(netlist, tmp_path, {"noise": "integrated_noise(onoise_spectrum)"})
    assert reasons == {}
    assert values["noise"] == pytest.approx(0.0, abs=1e-100)


def test_a_response_of_zeros_has_no_bandwidth():
    dead = Trace(np.geomspace(1.0, 1e6, 61), np.zeros(61, dtype=complex), "ac", "v(out)")
    with pytest.raises(MeasureUndefined, match="is 0 at every frequency"):
        noise_bandwidth(dead)


@pytest.mark.simulator
@pytest.mark.parametrize("line", ["", "set sqrnoise\n"])
def test_noise_is_in_volts_whatever_the_spiceinit_says(tmp_path, line):
    (tmp_path / "own").write_text(line)
    values, reasons = measured(
        "kT/C\nv1 a 0 ac 1\nr1 a out 1k\nc1 out 0 1p\n.noise v(out) v1 dec 20 1k 1t\n",
        tmp_path,
        {"spectrum": "integrated_noise(onoise_spectrum)", "total": "onoise_total"},
        options={"spiceinit": str(tmp_path / "own")},
    )
    expected = math.sqrt(1.380649e-23 * 300.15 / 1e-12)
    assert reasons == {}
    assert values["spectrum"] == pytest.approx(expected, rel=2e-3)
    assert values["total"] == pytest.approx(expected, rel=2e-3)
