"""S-parameters through ngspice's .sp analysis: closed forms, and mistakes in its testbenches."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from m3eda.design.expressions import Expression
from m3eda.simulate import sparameters
from m3eda.simulate.signals import MeasureUndefined, Trace
from tests.helpers import changed, m3eda, only_line
from tests.measuring import measured

return_loss = sparameters.return_loss.function
vswr = sparameters.vswr.function
stability_factor = sparameters.stability_factor.function
stability_mu = sparameters.stability_mu.function

PORTS = "v1 in 0 dc 0 ac 1 portnum 1 z0 50\nv2 out 0 dc 0 ac 0 portnum 2 z0 50\n"
ATTENUATOR = f"""\
matched attenuator of 10 dB
{PORTS}r1 in m 25.97469
r2 m 0 35.13642
r3 m out 25.97469
"""
LOW_PASS = f"""\
Butterworth low pass of the third order, 100 MHz, 50 ohm
{PORTS}c1 in 0 31.8309886p
l1 in out 159.154943n
c2 out 0 31.8309886p
"""
AMPLIFIER = f"""\
one transconductance with loss and feedback
{PORTS}r1 in 0 200
g1 out 0 in 0 40m
r2 out 0 300
r3 in out {{feedback}}
c1 in 0 1p
"""
FOUR = "s(1,1), s(1,2), s(2,1), s(2,2)"


def scattering(admittance: np.ndarray, impedance: float = 50.0) -> np.ndarray:
    """S, shape (2, 2), of a two-port with admittances Y in siemens."""
    y = admittance * impedance
    return np.linalg.solve((np.eye(2) + y).T, (np.eye(2) - y).T).T


@pytest.mark.simulator
def test_a_matched_attenuator(tmp_path):
    names = {
        "loss": "-db(gain_at(s(2,1), 1g))",
        "back": "-db(gain_at(s( 1 , 2 ), 10meg))",
        "match": "return_loss(s(1,1))",
        "vswr": "vswr(S(2,2), frequency=1g)",
        "k": f"stability_factor({FOUR})",
        "z": "gain_at(z(2,1), 1g)",
        "y": "dc_gain(y(1,1))",
    }
    values, reasons = measured(f"{ATTENUATOR}.sp dec 5 1meg 1g\n", tmp_path, names)
    assert reasons == {}
    assert values["loss"] == pytest.approx(10.0, abs=1e-5)
    assert values["back"] == pytest.approx(10.0, abs=1e-5)
    assert values["match"] > 100.0
    assert values["vswr"] == pytest.approx(1.0, abs=1e-5)
    # matched and reciprocal: K = (1 + |s21|^4) / (2 |s21|^2)
    assert values["k"] == pytest.approx((1 + 0.1**2) / 0.2, rel=1e-5)
    assert values["z"] == pytest.approx(35.13642, rel=1e-6)
    assert values["y"] == pytest.approx(
        1 / (25.97469 + 1 / (1 / 35.13642 + 1 / 25.97469)), rel=1e-6
    )


@pytest.mark.simulator
def test_an_lc_low_pass(tmp_path):
    def loss(f):
        return 10 * math.log10(1 + (f / 1e8) ** 6)

    names = {
        "flat": "-db(lowest_gain(s(2,1), stop=50meg))",
        "corner": "bandwidth_3db(s(2,1))",
        "stop": "-db(gain_at(s(2,1), 400meg))",
        "match": "return_loss(s(1,1), frequency=50meg)",
        "worst": "return_loss(s(1,1), stop=50meg)",
        "vswr": "vswr(s(1,1), stop=50meg)",
    }
    values, reasons = measured(f"{LOW_PASS}.sp dec 200 1meg 1g\n", tmp_path, names)
    assert reasons == {}
    assert values["flat"] == pytest.approx(loss(5e7), rel=1e-3)
    assert values["corner"] == pytest.approx(1e8, rel=1e-4)
    assert values["stop"] == pytest.approx(loss(4e8), rel=1e-4)
    reflected = math.sqrt(1 - 10 ** (-loss(5e7) / 10))
    assert values["match"] == pytest.approx(-20 * math.log10(reflected), rel=1e-3)
    assert values["worst"] == pytest.approx(values["match"], rel=1e-3)
    assert values["vswr"] == pytest.approx((1 + reflected) / (1 - reflected), rel=1e-3)


@pytest.mark.simulator
@pytest.mark.parametrize("feedback", [300.0, 2e4])
def test_the_stability_of_an_amplifier(tmp_path, feedback):
    names = {
        "gain": "db(gain_at(s(2,1), 1g))",
        "k": f"stability_factor({FOUR}, frequency=1g)",
        "mu": f"stability_mu({FOUR}, frequency=1g)",
        "worst": f"stability_factor({FOUR})",
    }
    netlist = AMPLIFIER.format(feedback=feedback) + ".sp dec 10 100meg 10g\n"
    values, reasons = measured(netlist, tmp_path, names)
    assert reasons == {}
    bridge = 1 / feedback

    def admittance(f):
        return np.array([[1 / 200 + 2j * math.pi * f * 1e-12 + bridge, -bridge],
                         [40e-3 - bridge, 1 / 300 + bridge]])  # fmt: skip

    def k_of(f):
        y = admittance(f)  # K by the admittances: Rollett, equation 1
        loop = y[0, 1] * y[1, 0]
        return (2 * y[0, 0].real * y[1, 1].real - loop.real) / abs(loop)

    s = scattering(admittance(1e9))
    assert values["gain"] == pytest.approx(20 * math.log10(abs(s[1, 0])), rel=1e-6)
    assert values["k"] == pytest.approx(k_of(1e9), rel=1e-6)
    assert values["worst"] == pytest.approx(min(k_of(f) for f in np.logspace(8, 10, 21)), rel=1e-5)
    assert (values["mu"] > 1.0) == (values["k"] > 1.0)
    assert values["mu"] == pytest.approx(nearest_unstable(s), rel=1e-3)


def nearest_unstable(s: np.ndarray) -> float:
    """Distance from the chart's centre to the nearest load at which |input reflection| is 1."""
    angles = np.exp(1j * np.linspace(0, 2 * np.pi, 2000, endpoint=False))
    radii = np.linspace(0.0, 3.0, 6001)[:, None]
    load = radii * angles
    reflected = np.abs(s[0, 0] + s[0, 1] * s[1, 0] * load / (1 - s[1, 1] * load))
    beyond = reflected.max(axis=1) >= 1.0
    return float(radii[np.argmax(beyond), 0])


@pytest.mark.simulator
def test_ac_and_sp_in_one_testbench_stay_apart(tmp_path):
    names = {
        "ac": "gain_at(v(out), 1g)",
        "s21": "gain_at(s(2,1), 1g)",
        "bias": "op(v(out))",
        "ratio": "gain_at(s(2,1) / s(1,2), 10meg)",
    }
    netlist = f"{ATTENUATOR}.save v(out)\n.ac dec 5 1meg 10g\n.sp dec 5 1meg 1g\n"
    values, reasons = measured(netlist, tmp_path, names)
    assert reasons == {}
    # the port drives 1 V through its 50 ohm: half of it arrives at a matched load
    assert values["s21"] == pytest.approx(10**-0.5, rel=1e-6)
    assert values["ac"] == pytest.approx(0.5 * 10**-0.5, rel=1e-6)
    assert values["bias"] == 0.0
    assert values["ratio"] == pytest.approx(1.0, rel=1e-9)


@pytest.mark.simulator
def test_a_node_called_like_an_s_parameter_is_a_node(tmp_path):
    netlist = f"{ATTENUATOR.replace(' m ', ' s_1_1 ')}.op\n.sp dec 5 1meg 1g\n"
    values, reasons = measured(
        netlist.replace("v2 out 0 dc 0", "v2 out 0 dc 1"), tmp_path,
        {"node": "op(v(s_1_1))", "s": "gain_at(s(1,1), 1meg)"},
    )  # fmt: skip
    assert reasons == {}
    assert values["node"] > 0.1
    assert values["s"] < 1e-5


@pytest.mark.parametrize("text", ["s(2,1)", "S( 2 , 1 )", "s(2, 1)"])
def test_a_port_pair_is_a_vector(text):
    expression = Expression.parse(f"db(gain_at({text}, 1g))")
    assert expression.vectors == ("s(2,1)",)
    assert expression.calls == ("db", "gain_at")


def test_a_function_or_name_that_ends_in_s_is_none():
    expression = Expression.parse("abs(2) + bias * max(2, 1)")
    assert expression.vectors == ()
    assert expression.names == ("bias",)


X = np.array([1e6, 1e9])


def wave(value: complex) -> Trace:
    return Trace(X, np.full(2, value + 0j), "sp", "s")


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: return_loss(wave(0.0)), "s is 0: the return loss is infinite"),
        (lambda: vswr(wave(1.0)), "s reflects all or more: 1"),
        (lambda: return_loss(wave(0.1), 2e9), "2e.09 Hz is outside the sweep"),
        (lambda: return_loss(wave(0.1), start=1e3), "the window 1000 to 1e.09 is empty or not"),
        (lambda: stability_factor(*map(wave, (0.1, 0, 2, 0.1))), "nothing passes one way"),
        (lambda: stability_mu(*map(wave, (0.0, 0, 2, 0.0))), "mu is infinite"),
    ],
)
def test_what_is_infinite_or_outside_is_undefined(call, reason):
    with pytest.raises(MeasureUndefined, match=reason):
        call()


def test_mu_of_a_one_way_amplifier_is_finite():
    # nothing comes back, so the output's reflection alone bounds the loads
    assert stability_mu(*map(wave, (0.5, 0, 2, 0.5))) == pytest.approx(2.0)


PORT = "write two voltage sources or more as `v1 in 0 dc 0 ac 1 portnum 1 z0 50`"
FIRST, SECOND = PORTS.splitlines()
MISTAKES = {
    "no port": ("v1 in 0 dc 0 ac 1", "", f"parse error: the .sp analysis has no port: {PORT}"),
    "one port": (FIRST, "", f"parse error: line 6: the .sp analysis has one port only: {PORT}"),
    "no impedance": (
        FIRST, "v2 out 0 dc 0 portnum 2",
        "parse error: line 3: the port has no impedance (write z0 50 behind portnum)",
    ),
    "a number twice": (
        FIRST, SECOND.replace("portnum 2", "portnum 1"),
        "parse error: v1: duplicate port Index: the ports are numbered 1, 2, 3..., each once",
    ),
    "a number left out": (
        FIRST, SECOND.replace("portnum 2", "portnum 3"),
        "parse error: v2: incorrect port ordering: the ports are numbered 1, 2, 3..., each once",
    ),
    "a .meas": (
        FIRST, f"{SECOND}\n.meas sp x find s_2_1 at=2meg",
        "parse error: line 4: ngspice has no .meas of an .sp analysis: use expr",
    ),
}  # fmt: skip


def as_sp(folder, first: str, second: str) -> None:
    changed(folder, "v1 in 0 dc 0 ac 1", f"{first}\n{second or '* no second port'}", "rc.cir.j2")
    changed(folder, ".ac dec 20 1 10meg", ".sp dec 20 1k 10meg", "rc.cir.j2")
    changed(folder, "bandwidth_3db(v(out))", "bandwidth_3db(s(2,1))")
    changed(folder, "gain_at(v(out), 1meg)", "gain_at(s(2,1), 1meg)")


@pytest.mark.simulator
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_an_sp_testbench_is_one_line(rc, name):
    first, second, line = MISTAKES[name]
    as_sp(rc, first, second)
    done = m3eda("check", "design.yaml", cwd=rc)
    assert only_line(done).startswith(f"{rc}/rc.cir.j2: ac: {line}"), done.stderr
    assert done.returncode == 2


@pytest.mark.simulator
def test_a_port_that_is_not_there(rc):
    as_sp(rc, FIRST, SECOND)
    changed(rc, "bandwidth_3db(s(2,1))", "bandwidth_3db(s(3,1))")
    done = m3eda("check", "design.yaml", cwd=rc)
    assert only_line(done).startswith(
        f"{rc}/design.yaml:8:31: measures.f3db.expr: the netlist gives no s(3,1) (nearest: s(2,1)"
    )


@pytest.mark.simulator
def test_a_node_voltage_is_not_taken_from_an_sp_analysis(rc):
    as_sp(rc, FIRST, SECOND)
    changed(rc, "bandwidth_3db(s(2,1))", "bandwidth_3db(v(out))")
    done = m3eda("check", "design.yaml", cwd=rc)
    assert "measures.f3db.expr: the S-parameter analysis has no v(out)" in only_line(done)


@pytest.mark.simulator
def test_a_design_is_sized_by_its_s_parameters(rc):
    as_sp(rc, FIRST, SECOND)
    done = m3eda("check", "design.yaml", "--set", "r=1k", "--set", "c=1n", "--json", cwd=rc)
    assert json.loads(done.stdout)["measures"]["f3db"] == pytest.approx(
        1 / (2 * math.pi * 1e-9 / (1 / 50 + 1 / 1050)), rel=5e-3
    )
