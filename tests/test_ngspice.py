"""ngspice as a simulator: what decks become, what results are called, failures."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from m3eda_plugins.ngspice import ngspice
from m3eda_plugins.ngspice.names import canonical, save_name, sources

from m3eda.errors import DesignError, SimulatorMissing
from m3eda.plugins import Plugins
from m3eda.simulate.types import Deck, SimulationFailed, State, Waveforms
from m3eda.testing.fake import FakeSimulator, ac, operating_point, transient
from tests.bad_decks import FAILURES, NMOS, START

AMPLIFIER = (
    "common source in a subcircuit\nvdd vdd 0 dc 1.8\nvin in 0 dc 0.7 ac 1\nx1 in out vdd stage\n"
    ".subckt stage g d s\nrd s d 20k\nm1 d g b b nch w=10u l=1u\nvs b 0 0\n.ends\n" + NMOS
)

FILTER = (
    "low pass\nv1 in 0 dc 1 ac 1 pulse(0 1 0 1n 1n 1 2)\nr1 in out 1k\nc1 out 0 1n\n"
    "b1 far 0 i=v(out)*1m\nr2 far 0 1\nl1 out coil 1m\nr3 coil 0 1meg\ni1 0 out 0\n"
)


@pytest.fixture
def simulator():
    return ngspice({})


def failure(simulator, rundir, text, timeout=20.0, **wanted) -> SimulationFailed:
    with pytest.raises(SimulationFailed) as caught:
        simulator.run(Deck(text, **wanted), rundir, timeout)
    assert "\n" not in caught.value.reason
    assert len(caught.value.log) <= 2100
    return caught.value


def results(simulator, rundir, text, **wanted):
    """The analyses by kind, the first of each."""
    waveforms = simulator.run(Deck(text, **wanted), rundir, 20.0)
    return {analysis.kind: analysis for analysis in reversed(waveforms.analyses)}


def test_registered_by_the_public_door():
    assert Plugins().simulators["ngspice"] is ngspice


@pytest.mark.simulator
def test_version():
    assert ngspice({}).available().startswith("ngspice-")


# names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("v(out)", ("v(out)",)),
        ("V(X1.Net)", ("v(x1.net)",)),
        ("i(vdd)", ("i(vdd)",)),
        ("vdd#branch", ("i(vdd)",)),
        ("i(x1.vs)", ("i(v.x1.vs)",)),
        ("i(l1)", ("i(l1)",)),
        ("i(e1)", ("i(e1)",)),
        ("i(b1)", ("i(b1)", "@b1[i]")),
        ("i(r1)", ("@r1[i]",)),
        ("i(x1.r1)", ("@r.x1.r1[i]",)),
        ("i(m1)", ("@m1[id]",)),
        ("i(q1)", ("@q1[ic]",)),
        ("i(i1)", ("@i1[current]",)),
        ("@m1[gm]", ("@m1[gm]",)),
        ("@x1.m1[gm]", ("@m.x1.m1[gm]",)),
        ("@x1.x2.m1[gm]", ("@m.x1.x2.m1[gm]",)),
        ("@m.x1.m1[gm]", ("@m.x1.m1[gm]",)),
        ("onoise_spectrum", ("onoise_spectrum",)),
    ],
)
def test_sources_of_a_name(name, expected):
    assert sources(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("i(@r1[i])", "@r1[i]"),
        ("v(@m1[vth])", "@m1[vth]"),
        ("v(onoise_total)", "onoise_total"),
        ("v(v-sweep)", "v-sweep"),
        ("V(Out)", "v(out)"),
        ("i(v1)", "i(v1)"),
    ],
)
def test_names_of_raw_files_lose_their_wrapping(name, expected):
    assert canonical(name) == expected


def test_save_asks_for_branches_by_ngspices_name():
    assert save_name("i(v.x1.vs)") == "v.x1.vs#branch"


@pytest.mark.simulator
def test_currents_of_every_kind_of_element(simulator, tmp_path):
    wanted = ("i(v1)", "i(r1)", "i(l1)", "i(b1)", "i(i1)")
    op = results(simulator, tmp_path, FILTER + ".op\n", vectors=wanted)["op"]
    assert set(op.vectors) == set(wanted)
    through = 1.0 / 1.001e6
    assert op.vectors["i(v1)"][0] == pytest.approx(-through)
    assert op.vectors["i(r1)"][0] == pytest.approx(through)
    assert op.vectors["i(l1)"][0] == pytest.approx(through)
    assert op.vectors["i(b1)"][0] == pytest.approx(1e-3 * 1e6 * through)


@pytest.mark.simulator
def test_resistor_current_is_there_in_time_but_not_in_ac(simulator, tmp_path):
    text = FILTER + ".ac dec 2 1k 1meg\n.tran 10n 1u\n"
    found = results(simulator, tmp_path, text, vectors=("v(out)", "i(r1)"))
    tran = found["tran"].vectors
    assert "i(r1)" not in found["ac"].vectors
    drop = np.interp(0.5e-6, tran["time"], tran["i(r1)"]) * 1e3
    assert drop == pytest.approx(1 - np.interp(0.5e-6, tran["time"], tran["v(out)"]), rel=1e-3)


@pytest.mark.simulator
def test_subcircuit_names(simulator, tmp_path):
    wanted = {
        "vectors": ("v(x1.b)", "i(x1.vs)", "v(out)"),
        "device_values": ("@x1.m1[gm]", "@m.x1.m1[id]"),
    }
    op = results(simulator, tmp_path, AMPLIFIER + ".op\n", **wanted)["op"].vectors
    assert set(op) == {*wanted["vectors"], *wanted["device_values"]}
    assert op["@m.x1.m1[id]"][0] == pytest.approx(op["i(x1.vs)"][0], rel=1e-6)
    assert op["@x1.m1[gm]"][0] == pytest.approx(2 * op["@m.x1.m1[id]"][0] / 0.2, rel=1e-6)


@pytest.mark.simulator
def test_asked_in_upper_case_named_in_upper_case(simulator, tmp_path):
    op = results(simulator, tmp_path, FILTER + ".op\n", vectors=("V(OUT)",))["op"]
    assert set(op.vectors) == {"V(OUT)"}


# analyses


@pytest.mark.simulator
def test_operating_point_beside_ac_equals_a_separate_one(simulator, tmp_path):
    values = ("@x1.m1[gm]", "@x1.m1[gds]")
    both = []
    for name, cards in (("beside", ".ac dec 1 1 10\n"), ("alone", ".op\n")):
        (tmp_path / name).mkdir()
        found = results(simulator, tmp_path / name, AMPLIFIER + cards, device_values=values)
        both.append({k: v.tolist() for k, v in found["op"].vectors.items()})
    assert both[0] == both[1]


@pytest.mark.simulator
def test_sizes_of_a_device_are_no_voltages(simulator, tmp_path):
    text = (
        "* sizes\n.model nb nmos level=54 version=4.5\nm1 d d 0 0 nb w=1u l=1u m=2\n"
        "vd d 0 1\nr1 d 0 1k\nl1 d x 1n\nrx x 0 1k\n.op\n.end\n"
    )
    expected = {
        "@m1[w]": "m", "@m1[l]": "m", "@m1[m]": "", "@m1[vth]": "V", "@m1[gm]": "S",
        "@m1[id]": "A", "@r1[resistance]": "ohm", "@l1[inductance]": "H", "@vd[dc]": "V",
    }  # fmt: skip
    deck = Deck(text, vectors=("v(d)",), device_values=tuple(expected))
    [analysis] = simulator.run(deck, tmp_path, 20.0).analyses
    assert {name: analysis.units.get(name, "") for name in expected} == expected


@pytest.mark.simulator
def test_dc_sweep(simulator, tmp_path):
    text = AMPLIFIER + ".dc vin 0 1.8 0.1\n"
    dc = results(simulator, tmp_path, text, vectors=("v(out)", "v(in)"))["dc"]
    assert dc.scale == "sweep"
    np.testing.assert_allclose(dc.vectors["sweep"], np.linspace(0, 1.8, 19), atol=1e-12)
    np.testing.assert_allclose(dc.vectors["v(in)"], dc.vectors["sweep"], atol=1e-12)
    assert dc.units["sweep"] == "V"


@pytest.mark.simulator
def test_temperature_sweep(simulator, tmp_path):
    dc = results(simulator, tmp_path, AMPLIFIER + ".dc temp 0 50 25\n")["dc"]
    assert dc.vectors["sweep"].tolist() == [0.0, 25.0, 50.0]
    assert dc.units["sweep"] == "degC"


@pytest.mark.simulator
def test_noise_of_a_resistor(simulator, tmp_path):
    text = "divider\nv1 in 0 dc 0 ac 1\nr1 in out 1k\nr2 out 0 1k\n.noise v(out) v1 dec 10 1 1k\n"
    wanted = ("onoise_spectrum", "inoise_spectrum", "onoise_total")
    waveforms = simulator.run(Deck(text, vectors=wanted), tmp_path, 20)
    spectrum, total = waveforms.of_kind("noise")
    expected = np.sqrt(4 * 1.380649e-23 * 300.15 * 500)
    np.testing.assert_allclose(spectrum.vectors["onoise_spectrum"], expected, rtol=1e-5)
    np.testing.assert_allclose(spectrum.vectors["inoise_spectrum"], 2 * expected, rtol=1e-5)
    assert spectrum.vectors["frequency"].size == 31
    assert spectrum.units["onoise_spectrum"] == "V/sqrt(Hz)"
    assert total.scale == ""
    assert total.vectors["onoise_total"][0] == pytest.approx(expected * np.sqrt(999), rel=1e-5)


@pytest.mark.simulator
def test_all_analyses_in_one_run(simulator, tmp_path):
    cards = ".ac dec 5 1k 1meg\n.dc v1 0 1 0.5\n.tran 10n 1u\n.noise v(out) v1 dec 5 1k 1meg\n"
    found = results(simulator, tmp_path, FILTER + cards)
    assert set(found) == {"op", "ac", "dc", "tran", "noise"}
    assert len(list(tmp_path.glob("*.raw"))) == 1


@pytest.mark.simulator
def test_a_save_card_of_the_netlist_restricts_what_is_written(simulator, tmp_path):
    text = FILTER + ".ac dec 5 1k 1meg\n.save v(in)\n"
    found = results(simulator, tmp_path, text, vectors=("v(out)", "i(v1)"))
    assert set(found["ac"].vectors) == {"frequency", "v(out)", "i(v1)"}
    assert b"v(coil)" not in (tmp_path / "deck.raw").read_bytes()


@pytest.mark.simulator
def test_transient_from_initial_conditions_needs_no_operating_point(simulator, tmp_path):
    text = "tangent\nc1 out 0 1n ic=0\nb1 0 out i=1m*(1+v(out)*v(out))\n.tran 1n 1u uic\n"
    tran = results(simulator, tmp_path, text, vectors=("v(out)",))["tran"].vectors
    assert tran["v(out)"][-1] == pytest.approx(np.tan(1.0), rel=1e-3)


# .meas


@pytest.mark.simulator
def test_meas_of_two_analyses(simulator, tmp_path):
    text = FILTER + (
        ".ac dec 20 1k 10meg\n.tran 10n {10 * tau}\n.param tau=1u\n"
        ".meas ac F3 when vdb(out)=-3.0103\n.meas tran t50 when v(out)=0.5 rise=1\n"
        ".meas tran later param='t50 * 2'\n.meas tran never when v(out)=3\n"
    )
    deck = Deck(text, vectors=("v(out)",), meas=("F3", "t50", "later", "never", "nowhere"))
    waveforms = simulator.run(deck, tmp_path, 20)
    assert set(waveforms.meas) == {"F3", "t50", "later"}
    assert waveforms.meas["F3"] == pytest.approx(1 / (2 * np.pi * 1e-6), rel=2e-2)
    assert waveforms.meas["t50"] == pytest.approx(np.log(2) * 1e-6, rel=1e-2)
    assert waveforms.meas["later"] == pytest.approx(2 * waveforms.meas["t50"], rel=1e-14)
    assert {analysis.kind for analysis in waveforms.analyses} == {"op", "ac", "tran"}


@pytest.mark.simulator
def test_meas_has_all_digits(simulator, tmp_path):
    text = FILTER + ".tran 10n 5u\n.meas tran half find v(out) at=1u\n"
    waveforms = simulator.run(Deck(text, vectors=("v(out)",), meas=("half",)), tmp_path, 20)
    tran = next(waveforms.of_kind("tran")).vectors
    expected = np.interp(1e-6, tran["time"], tran["v(out)"])
    assert waveforms.meas["half"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.simulator
@pytest.mark.parametrize("cards", [".ac dec 5 1k 1meg\n", ".tran 10n 1u\n", ".dc vin 0 1 0.1\n"])
def test_device_values_beside_meas(simulator, tmp_path, cards):
    kind = cards[1:].split()[0]
    text = f"{AMPLIFIER}{cards}.meas {kind} top max v(out)\n"
    deck = Deck(text, vectors=("v(out)",), device_values=("@x1.m1[gm]",), meas=("top",))
    waveforms = simulator.run(deck, tmp_path, 20)
    op = next(waveforms.of_kind("op")).vectors
    assert op["@x1.m1[gm]"][0] == pytest.approx(2e-4, rel=0.1)
    assert set(waveforms.meas) == {"top"}


@pytest.mark.simulator
def test_missing_device_beside_meas(simulator, tmp_path):
    text = AMPLIFIER + ".tran 10n 1u\n.meas tran top max v(out)\n"
    error = failure(simulator, tmp_path, text, device_values=("@m9[gm]",), meas=("top",))
    assert error.state is State.VECTOR_MISSING
    assert "@m9[gm]" in error.reason


# failures


@pytest.mark.simulator
@pytest.mark.parametrize("name", FAILURES)
def test_failure(simulator, tmp_path, name):
    text, state, words = FAILURES[name]
    error = failure(simulator, tmp_path, START + text)
    assert error.state is state
    assert words in error.reason
    assert error.rundir in (None, tmp_path)


@pytest.mark.simulator
def test_missing_section_of_a_library(simulator, tmp_path):
    (tmp_path / "models.lib").write_text("* models\n.lib tt\n.param x=1\n.endl\n")
    text = f"{START}.lib {tmp_path}/models.lib slow\nr1 in 0 1k\n.op\n"
    error = failure(simulator, tmp_path, text)
    assert error.state is State.MODEL_MISSING
    assert "section definition slow not found" in error.reason


@pytest.mark.simulator
def test_error_in_an_included_file_is_quoted(simulator, tmp_path):
    (tmp_path / "stage.inc").write_text("* stage\n\nm1 in in 0 0 absent w=1u l=1u\n")
    error = failure(simulator, tmp_path, f"{START}.include {tmp_path}/stage.inc\n.op\n")
    assert error.state is State.MODEL_MISSING
    assert error.reason.startswith("could not find a valid modelname: m1 in in 0 0 absent")


@pytest.mark.simulator
@pytest.mark.parametrize(
    "harmless",
    [
        ".subckt cc a b\nc1 a b 1p\n.ends\nx9 in 0 cc\ncc in 0 1p\n",
        "c9 in floating 1p\n",
        "l9 in 0 1u\n",
        ".option nosuchoption=3\n",
    ],
    ids=["a model's name in a line", "floating node", "gmin stepping", "unknown option"],
)
def test_notes_are_no_failures(simulator, tmp_path, harmless):
    text = f"{START}r1 in out 1k\nr2 out 0 1k\n{harmless}.ac dec 1 1 10\n"
    found = results(simulator, tmp_path, text, vectors=("v(out)",))
    np.testing.assert_allclose(found["ac"].vectors["v(out)"], 0.5, rtol=1e-9)


@pytest.mark.simulator
def test_timeout_says_how_far_the_transient_came(simulator, tmp_path):
    text = START + "r1 in out 1k\nc1 out 0 1p\n.tran 1p 1 0 1p\n"
    error = failure(simulator, tmp_path, text, timeout=0.7)
    assert error.state is State.TIMEOUT
    assert error.reason.startswith("no result within 0.7 s: the transient had reached t = ")


@pytest.mark.simulator
def test_missing_vectors_are_named_with_their_nearest(simulator, tmp_path):
    wanted = {"vectors": ("v(uot)", "i(v2)", "v(out)"), "device_values": ("@r9[i]",)}
    error = failure(simulator, tmp_path, FILTER + ".op\n", **wanted)
    assert error.state is State.VECTOR_MISSING
    assert "v(uot) (nearest: v(out)" in error.reason
    assert "i(v2) (nearest: i(v1)" in error.reason
    assert "@r9[i] (nearest: @r" in error.reason


def test_title_line_that_hides_a_card(simulator, tmp_path):
    with pytest.raises(SimulationFailed, match="stands in the title line") as caught:
        simulator.run(Deck(".include models.lib\nr1 in 0 1k\n.op\n"), tmp_path, 20)
    assert caught.value.state is State.PARSE_ERROR


# the program


def program(folder: Path, script: str, version: str = "ngspice-0 : fake") -> Path:
    """A shell script that tells a version and does `script` as a simulator."""
    path = folder / "ngspice"
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && {{ echo "{version}"; exit; }}\n{script}\n')
    path.chmod(0o755)
    return path


def rundir(tmp_path: Path) -> Path:
    path = tmp_path / "rundir"
    path.mkdir()
    return path


def test_no_ngspice_on_path(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SimulatorMissing) as caught:
        ngspice({}).available()
    for words in ("apt install ngspice", "dnf install ngspice", "brew install ngspice"):
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_something_else_called_ngspice(tmp_path):
    path = program(tmp_path, "exit 0", version="hello")
    with pytest.raises(SimulatorMissing, match="is not ngspice"):
        ngspice({"program": str(path)}).available()


def test_program_that_goes_away_between_runs(tmp_path):
    path = program(tmp_path, "exit 0")
    simulator = ngspice({"program": str(path)})
    simulator.available()
    path.unlink()
    with pytest.raises(SimulatorMissing, match="is gone"):
        simulator.run(Deck(START + "r1 in 0 1k\n.op\n"), rundir(tmp_path), 20)


def test_death_by_signal(tmp_path):
    simulator = ngspice({"program": str(program(tmp_path, "echo working; kill -SEGV $$"))})
    error = failure(simulator, rundir(tmp_path), START + "r1 in 0 1k\n.op\n")
    assert error.state is State.CRASH
    assert "SIGSEGV" in error.reason
    assert "working" in error.log


@pytest.mark.parametrize("code", [0, 1])
def test_an_exit_code_is_not_a_verdict(tmp_path, code):
    simulator = ngspice({"program": str(program(tmp_path, f"exit {code}"))})
    error = failure(simulator, rundir(tmp_path), START + "r1 in 0 1k\n.op\n")
    assert error.state is State.CRASH
    assert "the operating point did not arrive" in error.reason


def test_raw_file_of_garbage(tmp_path):
    simulator = ngspice({"program": str(program(tmp_path, "echo garbage > deck.raw"))})
    error = failure(simulator, rundir(tmp_path), START + "r1 in 0 1k\n.op\n")
    assert error.state is State.CRASH


@pytest.mark.simulator
def test_results_count_even_where_the_exit_code_is_bad(tmp_path):
    real = shutil.which("ngspice")
    simulator = ngspice({"program": str(program(tmp_path, f'{real} "$@"; exit 7'))})
    found = results(simulator, rundir(tmp_path), START + "r1 in 0 1k\n.op\n")
    assert found["op"].vectors["v(in)"].tolist() == [1.0]


def test_one_thread(tmp_path):
    simulator = ngspice({"program": str(program(tmp_path, "env > environment"))})
    failure(simulator, rundir(tmp_path), START + "r1 in 0 1\n.op\n")
    assert "OMP_THREAD_LIMIT=1\n" in (tmp_path / "rundir/environment").read_text()
    assert ".option num_threads=1\n" in (tmp_path / "rundir/deck.cir").read_text()


# options


@pytest.mark.simulator
def test_options_reach_ngspice(tmp_path):
    text = "clipped\nv1 in 0 1\nr1 in out 1g\nd1 0 out dd\n.model dd d is=1e-30\n.op\n"
    drops = []
    for name, options in (("a", {}), ("b", {"gmin": 1e-9})):
        (tmp_path / name).mkdir()
        found = results(ngspice(options), tmp_path / name, text, vectors=("v(out)",))
        drops.append(1.0 - found["op"].vectors["v(out)"][0])
    assert drops[1] == pytest.approx(0.5, rel=1e-3)
    assert drops[0] == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize(
    "options",
    [
        {"reltol": "1e-3\n.include /etc/passwd"},
        {"rel tol": 1.0},
        {"memory": "much"},
        {"memory": "500m"},
        {"spiceinit": "/no/such/file"},
    ],
)
def test_options_that_are_none(options):
    with pytest.raises(DesignError, match=r"simulator\.options"):
        ngspice(options)


@pytest.mark.simulator
@pytest.mark.parametrize("option", ["", "none", "own"])
def test_spiceinit(tmp_path, monkeypatch, option):
    (tmp_path / ".spiceinit").write_text("* home\necho read from home\n")
    own = tmp_path / "own"
    own.write_text("* own\necho read from own\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    place = rundir(tmp_path)
    options = {"": {}, "none": {"spiceinit": "none"}, "own": {"spiceinit": str(own)}}[option]
    ngspice(options).run(Deck(START + "r1 in 0 1k\n.op\n"), place, 20)
    printed = (place / "deck.out").read_text()
    assert ("read from home" in printed) == (option == "")
    assert ("read from own" in printed) == (option == "own")


@pytest.mark.simulator
def test_a_spiceinit_that_writes_ascii_changes_nothing(tmp_path, monkeypatch):
    (tmp_path / ".spiceinit").write_text("* ascii\nset filetype=ascii\nset appendwrite\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    text = FILTER + ".ac dec 5 1k 1meg\n.meas ac g find vdb(out) at=10k\n"
    waveforms = ngspice({}).run(Deck(text, meas=("g",)), rundir(tmp_path), 20)
    assert next(waveforms.of_kind("ac")).vectors["v(out)"].size == 16


@pytest.mark.simulator
def test_bsim4_writes_its_notes_into_the_run_directory(simulator, shared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    card = shared / "models/ptm/45nm_bulk.txt"
    text = (
        f"bsim4\n.include {card}\nvdd d 0 1.2\nvg g 0 0.6\nm1 d g 0 0 nmos w=1u l=90n\n"
        ".ac dec 1 1 10\n"
    )
    place = rundir(tmp_path)
    values = ("@m1[gm]", "@m1[gds]", "@m1[vdsat]", "@m1[vds]")
    op = results(simulator, place, text, device_values=values)["op"].vectors
    assert op["@m1[gm]"][0] > 10 * op["@m1[gds]"][0] > 0
    assert op["@m1[vds]"][0] == pytest.approx(1.2)
    assert [path.name for path in tmp_path.iterdir()] == ["rundir"]


@pytest.mark.simulator
def test_size_that_a_process_design_kit_refuses(simulator, shared, tmp_path):
    text = (
        f"short\n.lib {shared}/models/sky130/sky130_min.lib tt\nvdd d 0 1.8\n"
        "xm1 d d 0 0 sky130_fd_pr__nfet_01v8 w=1 l=0.1\n.op\n"
    )
    error = failure(simulator, tmp_path, text)
    assert error.state is State.MODEL_MISSING
    assert "could not find a valid modelname: m.xm1.msky130_fd_pr__nfet_01v8" in error.reason


@pytest.mark.simulator
def test_run_directory_may_have_blanks_in_its_path(simulator, tmp_path):
    place = tmp_path / "a run (1)"
    place.mkdir()
    assert "op" in results(simulator, place, START + "r1 in 0 1k\n.op\n")


def test_rundir_that_is_gone_is_an_oserror(tmp_path):
    simulator = ngspice({"program": str(program(tmp_path, "exit 0"))})
    with pytest.raises(OSError, match="gone"):
        simulator.run(Deck(START + "r1 in 0 1k\n.op\n"), tmp_path / "gone", 20)


# the fake


def test_fake_simulator_answers_from_values(tmp_path):
    fake = FakeSimulator(lambda values: _answer(float(values["r"])))
    deck = Deck("text", values={"r": 2.0})
    assert next(fake.run(deck, tmp_path, 1).of_kind("op")).vectors["v(out)"].tolist() == [4.0]
    assert fake.decks == [deck]
    with pytest.raises(SimulationFailed, match="no convergence"):
        fake.run(Deck("text", values={"r": -1.0}), tmp_path, 1)


def _answer(r: float):
    if r < 0:
        return SimulationFailed(State.NO_CONVERGENCE, "negative")
    return Waveforms((operating_point({"v(out)": 2 * r}), ac([1, 2], {"v(out)": [1, 1j]}),
                      transient([0, 1], {"v(out)": [0, r]})))  # fmt: skip


def test_fake_simulator_can_be_late_and_missing(tmp_path):
    with pytest.raises(SimulationFailed, match="no result within"):
        FakeSimulator(lambda _: _answer(1.0), delay=9.0).run(Deck("text"), tmp_path, 0.05)
    with pytest.raises(SimulatorMissing):
        FakeSimulator(lambda _: _answer(1.0), missing=True).available()
