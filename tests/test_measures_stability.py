"""The loop gain by the probes of the circuit library, against closed forms and a transient."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from m3eda_plugins.ngspice import ngspice

from m3eda.design.templates import library_folder
from m3eda.simulate.measures import MeasureUndefined
from m3eda.simulate.render import template_environment
from m3eda.simulate.signals import Trace, vector
from m3eda.simulate.stability import loop_gain
from m3eda.simulate.types import Deck
from tests.conftest import ROOT
from tests.helpers import changed, m3eda
from tests.measuring import measured

PROBE = '{% from "probes/loop_gain.cir.j2" import loop_gain_probe %}\n'
LOOP = "loop_gain(v(probe_va), i(vprobe_v), v(probe_ia), i(vprobe_i))"


def render(text: str, **values) -> str:
    folders = (ROOT / "templates", ROOT / "examples" / "two_stage_opamp")
    return template_environment(folders).from_string(text).render(values)


def probed(body: str, sweep: str = ".ac dec 10 1 1g", circuit: str = "loop") -> str:
    """A netlist with the probe around `body`, which makes the subcircuit `circuit`."""
    text = f"loop gain\n{body}\n{PROBE}{{{{ loop_gain_probe('{circuit}') }}}}\n{sweep}\n.end\n"
    return render(text)


def gains_at(netlist: str, folder, *frequencies: float) -> list[complex]:
    """The complex loop gain at some frequencies, as a design can take it."""
    names = ("v(probe_va)", "i(vprobe_v)", "v(probe_ia)", "i(vprobe_i)")
    waveforms = ngspice({}).run(Deck(netlist, vectors=names), folder, 60.0)
    loop = loop_gain.function(*(vector(waveforms, name) for name in names)).trace("ac")
    return [complex(loop.y[np.argmin(abs(loop.x - f))]) for f in frequencies]


LOADED = """\
.subckt loop {pins}
ga b 0 a 0 2m
gb a 0 b 0 0.3m
ra a 0 1k
ca a 0 10p
rb b 0 3k
cb b 0 2p
rf a b 20k
cf a b 0.1p
.ends
"""
"""Both ends loaded, forward and reverse transconductances, and a bridge across the break."""


def loaded_loop(frequency: float) -> complex:
    """(Y12 + Y21) / (Y11 + Y22) of LOADED."""
    s = 2j * math.pi * frequency
    bridge = 1 / 20e3 + s * 0.1e-12
    forward, back = 2e-3 - bridge, 0.3e-3 - bridge
    own = 1 / 1e3 + s * 10e-12 + 1 / 3e3 + s * 2e-12 + 2 * bridge
    return (forward + back) / own


@pytest.mark.simulator
@pytest.mark.parametrize("pins", ["a b", "b a"])
def test_the_loop_gain_of_a_loaded_bilateral_loop_whichever_way_the_probe_lies(tmp_path, pins):
    points = (1.0, 1e6, 1e8, 1e9)
    found = gains_at(probed(LOADED.format(pins=pins)), tmp_path, *points)
    assert found == pytest.approx([loaded_loop(f) for f in points], rel=1e-8)


POSITIONS = {
    "the amplifier's input": "g1 out 0 p 0 5m\nr2 out 0 4k\nc2 out 0 1n\nr1 out q 6k\nr0 q 0 3k",
    "the amplifier's output": "g1 p 0 in 0 5m\nr2 q 0 4k\nc2 q 0 1n\nr1 q in 6k\nr0 in 0 3k",
    "within the divider": "g1 out 0 q 0 5m\nr2 out 0 4k\nc2 out 0 1n\nr1 out p 6k\nr0 q 0 3k",
}


@pytest.mark.simulator
@pytest.mark.parametrize("position", POSITIONS)
def test_the_probe_may_lie_anywhere_in_a_single_loop(tmp_path, position):
    netlist = probed(f".subckt loop p q\n{POSITIONS[position]}\n.ends")
    points = (1.0, 1e5, 1e7)

    def expected(frequency: float) -> complex:
        load = 1 / (1 / 4e3 + 2j * math.pi * frequency * 1e-9 + 1 / 9e3)
        return 5e-3 * load * 3 / 9

    found = gains_at(netlist, tmp_path, *points)
    assert found == pytest.approx([expected(f) for f in points], rel=1e-8)


THREE_POLES = """\
.subckt loop p q
e1 a 0 p 0 -2000
r1 a b 1k
c1 b 0 159.154943n
e2 c 0 b 0 1
r2 c d 1k
c2 d 0 159.154943p
e3 e 0 d 0 1
r3 e q 1k
c3 q 0 15.9154943p
rq q 0 1g
.ends
"""
"""Poles at 1 kHz, 1 MHz and 10 MHz, 2000 at DC."""


@pytest.mark.simulator
def test_margins_of_the_loop_gain_are_those_of_its_closed_form(tmp_path):
    f = np.logspace(2, 8, 600_001)
    loop = 2000 / (1 + 1j * f / 1e3) / (1 + 1j * f / 1e6) / (1 + 1j * f / 1e7)
    phase = np.degrees(np.unwrap(np.angle(loop)))
    unity, turn = np.argmin(abs(abs(loop) - 1)), np.argmin(abs(phase + 180))
    values, reasons = measured(
        probed(THREE_POLES, ".ac dec 200 100 100meg"),
        tmp_path,
        {
            "pm": f"phase_margin({LOOP})",
            "gm": f"gain_margin({LOOP})",
            "fu": f"unity_gain_frequency({LOOP})",
            "dc": f"dc_gain({LOOP})",
            "windowed": f"peak_gain({LOOP}, start=1k, stop=1meg)",
            "scaled": f"dc_gain(-2 * {LOOP})",
        },
    )
    assert reasons == {}
    assert values["pm"] == pytest.approx(180 + phase[unity], abs=0.01)
    assert values["gm"] == pytest.approx(1 / abs(loop[turn]), rel=1e-4)
    assert values["fu"] == pytest.approx(f[unity], rel=1e-4)
    assert values["dc"] == pytest.approx(2000, rel=0.01)
    assert values["windowed"] == pytest.approx(2000 / math.sqrt(2), rel=1e-3)
    assert values["scaled"] == pytest.approx(2 * values["dc"], rel=1e-9)


@pytest.mark.simulator
def test_a_loop_that_latches_has_no_margin(tmp_path):
    netlist = probed(THREE_POLES.replace("-2000", "2000"))
    values, reasons = measured(netlist, tmp_path, {"pm": f"phase_margin({LOOP})"})
    assert math.isnan(values["pm"])
    assert reasons["pm"].startswith("the feedback is positive: the loop gain is -2000 at 1 Hz")


def four(loop: np.ndarray, x: np.ndarray) -> list[Trace]:
    """Probe waveforms of a one-way loop whose two ends have 1 S each."""
    # Y11 = Y22 = 1, Y21 = 2 loop, Y12 = 0
    total = 2 + 2 * loop
    return [Trace(x, y, "ac") for y in
            (1 / total, -1 / total, 1 / total, (2 * loop + 1) / total)]  # fmt: skip


def test_two_integrators_are_no_positive_feedback():
    x = np.logspace(0, 6, 61)
    loop = (1.1e3 / (1j * x)) ** 2
    found = loop_gain.function(*four(loop, x)).trace("ac")
    np.testing.assert_allclose(found.y, loop, rtol=1e-8)


def test_a_loop_gain_left_over_as_a_measure_says_that_it_is_a_waveform():
    x = np.logspace(0, 6, 61)
    with pytest.raises(MeasureUndefined, match="loop_gain is a waveform: a function must"):
        float(loop_gain.function(*four(100 / (1 + 1j * x), x)))


def test_a_probe_without_an_injection_says_so():
    x = np.logspace(0, 6, 7)
    zero = Trace(x, np.zeros(7) + 0j, "ac")
    one = Trace(x, np.ones(7) + 0j, "ac")
    with pytest.raises(MeasureUndefined, match="not finite: is the probe in a loop, with ac 1"):
        loop_gain.function(zero, zero, zero, one)


OPAMP = """\
{{ technology }}
{% include "opamp.cir.j2" %}
"""
SIZING = {"mn1": 22, "mp1": 18, "mn3": 22, "mp3": 70, "mn4": 28, "mn5": 36, "l": 90e-9,
          "iref": 30e-6}  # fmt: skip


def opamp(body: str, cc: float, **values) -> str:
    library = library_folder() / "technologies" / "generic45" / "generic45.lib"
    sizing = {**SIZING, "cc": cc, "technology": f'.lib "{library}" tt', **values}
    return "op amp\n" + render(OPAMP + PROBE + body, **sizing)


BUFFER_LOOP = """\
.subckt buffer feedback out
vdd vdd 0 1.2
vin inp 0 0.6
x1 inp feedback out vdd opamp
cl out 0 10p
.ends
{{ loop_gain_probe("buffer") }}
.ac dec 50 1 10g
.end
"""
BUFFER = """\
vdd vdd 0 1.2
vin inp 0 dc 0.6 ac 1 pulse(0.6 0.602 10n 10p 10p 1 2)
x1 inp out out vdd opamp
cl out 0 10p
.ac dec 50 1 10g
.tran 0.2n {{ stop }} 0 0.2n
.end
"""


@pytest.mark.simulator
@pytest.mark.parametrize("cc", [0.4e-12, 1e-12, 3e-12])
def test_an_op_amps_ringing_and_peaking_agree_with_its_loop_gain(tmp_path, cc):
    for name in ("loop", "closed"):
        (tmp_path / name).mkdir()
    loop, reasons = measured(
        opamp(BUFFER_LOOP, cc), tmp_path / "loop",
        {"pm": f"phase_margin({LOOP})", "peaking": f"peaking({LOOP} / (1 + {LOOP}))"},
    )  # fmt: skip
    assert reasons == {}
    closed, reasons = measured(
        opamp(BUFFER, cc, stop="3u"), tmp_path / "closed",
        {"overshoot": "overshoot(v(out), start=10n)", "peaking": "peaking(v(out))"},
    )  # fmt: skip
    assert reasons == {}
    assert closed["peaking"] == pytest.approx(loop["peaking"], rel=0.002)
    damping = damping_of(loop["pm"])
    expected = math.exp(-math.pi * damping / math.sqrt(1 - damping**2)) if damping < 1 else 0.0
    assert closed["overshoot"] == pytest.approx(expected, abs=0.03)


def damping_of(margin: float) -> float:
    """Damping of the closed loop around an integrator and one more pole with this margin."""

    def margin_of(z: float) -> float:
        return math.degrees(math.atan(2 * z / math.sqrt(math.sqrt(1 + 4 * z**4) - 2 * z**2)))

    trial = np.linspace(1e-3, 3.0, 30_000)
    return float(trial[np.argmin([abs(margin_of(z) - margin) for z in trial])])


OPEN = """\
vdd vdd 0 1.2
vin inp 0 dc 0.6 ac 1
x1 inp inn out vdd opamp
cl out 0 10p
{% from "probes/dc_feedback.cir.j2" import dc_feedback %}
{{ dc_feedback("out", "inn") }}
.ac dec 50 1 10g
.end
"""


@pytest.mark.simulator
def test_the_open_loop_of_a_dc_feedback_is_the_loop_gain_of_the_buffer(tmp_path):
    for name in ("open", "loop"):
        (tmp_path / name).mkdir()
    opened, reasons = measured(
        opamp(OPEN, 1e-12), tmp_path / "open",
        {"gain": "dc_gain(v(out))", "fu": "unity_gain_frequency(v(out))", "bias": "op(v(out))",
         "pm": "phase_margin(v(out))"},
    )  # fmt: skip
    loop, more = measured(
        opamp(BUFFER_LOOP, 1e-12), tmp_path / "loop",
        {"gain": f"dc_gain({LOOP})", "fu": f"unity_gain_frequency({LOOP})",
         "pm": f"phase_margin({LOOP})"},
    )  # fmt: skip
    assert {**reasons, **more} == {}
    assert opened["bias"] == pytest.approx(0.6, abs=0.01)
    assert opened["gain"] == pytest.approx(loop["gain"], rel=0.01)
    assert opened["fu"] == pytest.approx(loop["fu"], rel=0.01)
    assert opened["pm"] == pytest.approx(loop["pm"], abs=0.5)


@pytest.mark.simulator
def test_a_design_takes_the_probe_from_the_library(rc):
    changed(rc, "r1 in out {{ r }}\nc1 out 0 {{ c }}\n.ac dec 20 1 10meg",
            f".subckt loop p q\ne1 a 0 p 0 -1000\nr1 a q {{{{ r }}}}\nc1 q 0 {{{{ c }}}}\n.ends\n"
            f"{PROBE}{{{{ loop_gain_probe('loop') }}}}\n.ac dec 20 1 1g", "rc.cir.j2")  # fmt: skip
    changed(rc, "bandwidth_3db(v(out)), unit: Hz", f'"unity_gain_frequency({LOOP})", unit: Hz')
    changed(rc, 'gain_at(v(out), 1meg)", unit: V/V', f'phase_margin({LOOP})", unit: deg')
    done = m3eda("check", "design.yaml", "--set", "r=10k", "--set", "c=1n", "--json", cwd=rc)
    assert done.stderr == ""
    found = json.loads(done.stdout)["measures"]
    assert found["f3db"] == pytest.approx(15.9155e6, rel=1e-3)
    assert found["far"] == pytest.approx(90.0, abs=0.1)
