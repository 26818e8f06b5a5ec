"""The simulator `command`: the contract on a fake simulator, its faults, and the whole flow."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from m3eda_plugins.command.names import canonical
from m3eda_plugins.command.options import PATTERNS, read_options
from m3eda_plugins.command.simulator import CommandSimulator

from m3eda.errors import DesignError, SimulatorMissing
from m3eda.simulate.types import Deck, SimulationFailed, State
from m3eda.testing.simulators import SimulatorContract
from tests.helpers import m3eda, only_line

FAKE = Path(__file__).with_name("fake_spectre.py")
PSF = {
    "command": f"{{python}} -S -E {FAKE} {{deck}} -raw {{rundir}}/psf",
    "deck_name": "input.scs",
    "results": "psf/*",
}
CSV = {
    "command": f"{{python}} -S -E {FAKE} {{deck}} -csv -raw out",
    "results": "out/*.csv",
    "meas": "out/*.ma0",
}
DIVIDER = "// divider\nv1 (in 0) vsource dc=2\nr1 (in out) resistor r1=1e3\n" + (
    "r2 (out 0) resistor r2=3e3\nop dc\n"
)
LOW_PASS = "// low pass\nv1 (in 0) vsource mag=1\nr1 (in out) resistor r1=1e3\n" + (
    "c1 (out 0) capacitor c1=1e-9\nac ac start=1e3 stop=1e7 dec=10\n"
)


class TestSpectreContract(SimulatorContract):
    divider = DIVIDER
    low_pass = LOW_PASS
    step = LOW_PASS.replace("ac ac start=1e3 stop=1e7 dec=10", "tran tran stop=5e-6")
    amplifier = (
        "// common source\nvdd (vdd 0) vsource vdd=1.8\nvin (in 0) vsource vin=0.8\n"
        "rd (vdd out) resistor rd=1e4\nm1 (out in 0 0) nch w=1e-5 l=1e-6\n"
        "model nch mos1 vto=0.5 kp=1e-4\nop dc oppoint=rawfile\n"
    )
    model_missing = "// no model\nv1 (in 0) vsource dc=1\nm1 (in in 0 0) nowhere\nop dc\n"
    nonsense = "// nonsense\nv1 (in 0) vsource dc=1\nr1 (in 0) resistor r=undefined_one\nop dc\n"
    no_convergence = f"// fault: convergence\n{DIVIDER}"
    endless = step.replace("stop=5e-6", "stop=1e3")

    @pytest.fixture
    def simulator(self):
        return CommandSimulator(PSF)


class TestHspiceContract(TestSpectreContract):
    """The same with CSV and magnitude and phase; the fake reads one dialect."""

    @pytest.fixture
    def simulator(self):
        return CommandSimulator(CSV)


def failure(options, text, folder, timeout=20.0, **deck) -> SimulationFailed:
    with pytest.raises(SimulationFailed) as caught:
        CommandSimulator(options).run(Deck(text, **deck), folder, timeout)
    return caught.value


@pytest.mark.parametrize(
    ("fault", "state", "reason"),
    [
        ("partial", State.CRASH, "ac.ac was cut off at freq = "),
        ("crash", State.CRASH, "died of SIGABRT"),
        ("exit", State.CRASH, "ended with exit code 3"),
        ("licence", State.CRASH, "exit code 1: ERROR (LMC-01902): License call failed"),
        ("convergence", State.NO_CONVERGENCE, "No convergence achieved in DC analysis"),
    ],
)
def test_faults_are_told_apart(tmp_path, fault, state, reason):
    error = failure(PSF, f"// fault: {fault}\n{LOW_PASS}", tmp_path)
    assert error.state is state
    assert reason in error.reason
    assert error.rundir == tmp_path


def test_a_transient_that_ends_early_is_no_result(tmp_path):
    text = LOW_PASS.replace("ac ac start=1e3 stop=1e7 dec=10", "tran tran stop=5e-6")
    error = failure(PSF, f"// fault: short\n{text}", tmp_path)
    assert error.reason == "the transient stopped at t = 2.49e-06 s of 5e-06 s"


def test_a_table_that_was_cut_off_is_no_result(tmp_path):
    error = failure(CSV, f"// fault: partial\n{LOW_PASS}", tmp_path)
    assert "ac.csv: row 41 has" in error.reason


def test_what_did_not_come_is_named_with_what_did(tmp_path):
    error = failure({**PSF, "results": "psf/ac.csv"}, LOW_PASS, tmp_path)
    assert error.state is State.CRASH
    assert error.reason == "psf/ac.csv did not come (there is psf/ac.ac)"


def test_exit_codes_that_mean_well_are_the_users_to_name(tmp_path):
    options = {**PSF, "exit_codes": "0 3"}
    waveforms = CommandSimulator(options).run(Deck(f"// fault: exit\n{DIVIDER}"), tmp_path, 20.0)
    assert waveforms.analyses[0].vectors["v(out)"] == [1.5]


def test_patterns_are_the_users_to_change(tmp_path):
    options = {**PSF, "no_convergence": "licen[cs]e call failed"}
    assert failure(options, f"// fault: licence\n{DIVIDER}", tmp_path).state is State.NO_CONVERGENCE


def test_names_are_the_users_to_change(tmp_path):
    options = {**PSF, "names": "v(filtered)=out i(supply)=V1:p"}
    deck = Deck(LOW_PASS, vectors=("v(filtered)", "i(supply)"))
    [ac] = CommandSimulator(options).run(deck, tmp_path, 20.0).analyses
    assert abs(ac.vectors["v(filtered)"][0] - 1.0) < 0.01
    assert ac.units["i(supply)"] == "A"


def test_results_of_measure_lines_arrive_by_name(tmp_path):
    deck = Deck(LOW_PASS, vectors=("v(out)",), meas=("f3dB", "lost"))
    assert CommandSimulator(CSV).run(deck, tmp_path, 20.0).meas == {"f3dB": 1.591549e5}


def test_binary_psf_is_told_from_text(tmp_path):
    (tmp_path / "write.py").write_text("open('ac.ac', 'wb').write(b'\\0\\0\\4\\0' + bytes(99))")
    options = {"command": f"{{python}} {tmp_path}/write.py", "results": "ac.ac"}
    (tmp_path / "run").mkdir()
    error = failure(options, DIVIDER, tmp_path / "run")
    assert error.reason == "ac.ac is not PSF ASCII: ask for it by `-format psfascii`"


def test_words_with_blanks_stay_one_argument(tmp_path):
    (tmp_path / "told.py").write_text("import sys; open('told', 'w').write(repr(sys.argv[1:]))")
    words = "'{rundir}/a b' corner={corner} {testbench} {timeout}"
    options = {"command": f"{{python}} {tmp_path}/told.py {words}", "results": "none.csv"}
    (tmp_path / "run dir").mkdir()
    failure(options, DIVIDER, tmp_path / "run dir", 20.0, testbench="step", corner="ss")
    told = (tmp_path / "run dir" / "told").read_text()
    assert told == repr([f"{tmp_path}/run dir/a b", "corner=ss", "step", "20"])


def test_the_version_is_asked_of_the_program():
    options = {**PSF, "version": f"{{python}} -S -E {FAKE} -W"}
    assert CommandSimulator(options).available().endswith(" 23.1.0")


def test_a_program_that_is_not_there_is_named():
    simulator = CommandSimulator({**PSF, "command": "no_such_simulator {deck}"})
    with pytest.raises(SimulatorMissing, match="there is no program 'no_such_simulator'"):
        simulator.available()


def test_the_scripts_of_the_command_decide_its_results(tmp_path):
    script = tmp_path / "wrapped.py"
    script.write_text("one")
    options = {"command": f"{{python}} {script} {{deck}}", "results": "out.csv"}
    before = CommandSimulator(options).start_file()
    script.write_text("another")
    assert CommandSimulator(options).start_file() != before


def test_a_program_without_a_version_is_known_by_its_size_and_date(tmp_path):
    program = tmp_path / "simulator"
    program.write_bytes(b"\x7fELF\0one")
    program.chmod(0o755)
    options = {"command": f"{program} {{deck}}", "results": "out.csv"}
    before = CommandSimulator(options).start_file()
    program.write_bytes(b"\x7fELF\0another")
    assert CommandSimulator(options).start_file() != before
    assert not CommandSimulator({**options, "version": "env"}).start_file()


def test_retries_add_no_spice_to_another_dialect(rc_house):
    with (rc_house / "design.yaml").open("a") as design:
        design.write("failures: {retries: 2}\n")
    template = rc_house / "rc.scs.j2"
    template.write_text(f"// fault: convergence\n{template.read_text()}")
    arguments = ("crosscheck", "design.yaml", "--simulator", "ngspice", "--against", "command")
    done = m3eda(*arguments, "--points", "1", "--json", "--no-cache", cwd=rc_house)
    told = "failures.retries: nothing is tried again, as command has no such options"
    assert done.stderr.count(told) == 1
    [of_command] = [s for s in json.loads(done.stdout)["simulators"] if s["name"] == "command"]
    assert of_command["runs"] == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({**PSF, "result": "x"}, "result: the simulator command has no option 'result' (did you "
         "mean results?)"),
        ({**PSF, "command": "spectre {dek}"}, "command: there is no placeholder {dek} (did you "
         "mean deck?)"),
        ({**PSF, "command": "spectre 'x"}, "command: cannot be split into words: no closing "
         "quotation"),
        ({**PSF, "command": "{deck} x"}, "command: begins with a placeholder (begin with the name "
         "of the program)"),
        ({"results": "x"}, "command: is missing (such as spectre {deck} -format psfascii -raw "
         "{rundir}/psf)"),
        ({"command": "x"}, "results: is missing (such as psf/*, or op=op.csv ac=ac.csv)"),
        ({**PSF, "results": "acc=x.csv"}, "results: 'acc' is no kind of analysis (did you mean "
         "ac?)"),
        ({**PSF, "format": "psf"}, "format: there is no format 'psf' (did you mean psfascii?)"),
        ({**PSF, "names": "v(out)"}, "names: 'v(out)' is not name=result (such as i(vdd)=VDD:p)"),
        ({**PSF, "complex": "re im"}, "complex: 're im' is not two words with {} in each, such as "
         "re({}) im({})"),
        ({**PSF, "exit_codes": "any"}, "exit_codes: is not a list of exit codes (such as 0 1)"),
        ({**PSF, "parse_error": "("}, "parse_error: is not a regular expression: missing ), "
         "unterminated subpattern at position 0"),
        ({**PSF, "deck_name": "a/b"}, "deck_name: 'a/b' is not a file name (such as input.scs)"),
        ({**PSF, "version": "x {deck}"}, "version: has a placeholder (it is asked before there is "
         "a deck)"),
    ],
)  # fmt: skip
def test_wrong_options_are_told_in_one_line(options, told):
    with pytest.raises(DesignError) as caught:
        read_options(options)
    assert str(caught.value) == f"simulator.options.{told}"


@pytest.mark.parametrize(
    ("name", "kind", "is_current", "wanted"),
    [
        ("OUT", "ac", False, "v(out)"),
        ("I0.net12", "op", False, "v(i0.net12)"),
        ("V0:p", "op", True, "i(v0)"),
        ("VDD:p", "op", False, "i(vdd)"),
        ("V0:i", "dc", False, "i(v0)"),
        ("M1:d", "op", True, "i(m1:d)"),
        ("M1:gm", "op", False, "@m1[gm]"),
        ("X1.M1:gm", "op", False, "@m.x1.m1[gm]"),
        ("V( Out )", "tran", False, "v(out)"),
        ("lx8(x1.m2)", "op", False, "@m.x1.m2[gds]"),
        ("@x1.m1[gm]", "op", False, "@m.x1.m1[gm]"),
        ("out", "noise", False, "onoise_spectrum"),
        ("s21", "sp", False, "s(2,1)"),
        ("s21", "ac", False, "v(s21)"),
    ],
)
def test_results_get_the_names_of_measures(name, kind, is_current, wanted):
    assert canonical(name, kind, is_current=is_current) == wanted


def test_the_usual_words_of_failure_are_known():
    patterns = read_options(PSF).patterns
    assert set(patterns) == set(PATTERNS)
    for state, line in (
        (State.NO_CONVERGENCE, "**error** no convergence in dc sweep curves"),
        (State.NO_CONVERGENCE, "**error** internal timestep too small in transient analysis"),
        (State.MODEL_MISSING, "**error** model name nch in the element m1 is not defined"),
    ):
        assert patterns[state].search(line), line


# ---- the whole flow ------------------------------------------------------------------------

DESIGN = """\
m3eda: 1
design: rc
simulator:
  name: command
  options:
    command: "{python} -S -E {folder}/fake.py {deck} -raw psf"
    results: psf/*
testbenches: {ac: rc.scs.j2}
parameters:
  r: {min: 1k, max: 100k, series: E24, unit: Ohm}
  c: {min: 100p, max: 100n, scale: log, unit: F}
measures:
  f3db: {expr: bandwidth_3db(v(out)), unit: Hz}
specs:
  f3db: {target: 10k, tolerance: 4k}
agent: {name: random, budget: 40, seed: 3}
"""
TEMPLATE = """\
// RC low-pass filter
simulator lang=spectre
include "models.scs"
v1 (in 0) vsource mag=1
r1 (in out) resistor r1={{ r }}
c1 (out 0) capacitor c1={{ c }}
ac ac start=1 stop=1e7 dec=10
"""


@pytest.fixture
def rc_house(tmp_path):
    """A design in Spectre's dialect, with the fake beside it."""
    (tmp_path / "design.yaml").write_text(DESIGN)
    (tmp_path / "rc.scs.j2").write_text(TEMPLATE)
    (tmp_path / "models.scs").write_text("// none\n")
    (tmp_path / "fake.py").write_text(FAKE.read_text())
    return tmp_path


def test_a_design_is_sized_by_command(rc_house, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    arguments = ("size", rc_house / "design.yaml", "--jobs", "2", "--json", "--run-dir", "run")
    done = m3eda(*arguments, cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    sized = result["sizing"]
    pole = 1.0 / (2.0 * math.pi * sized["r"] * sized["c"])
    assert result["measures"]["f3db"]["value"] == pytest.approx(pole, rel=0.01)


def test_the_deck_keeps_its_dialect(rc_house):
    done = m3eda("render", "design.yaml", cwd=rc_house)
    assert ".temp" not in done.stdout
    assert ".end" not in done.stdout
    assert f'include "{rc_house}/models.scs"' in done.stdout


def test_a_wrong_option_ends_a_run_in_one_line(rc_house):
    text = (rc_house / "design.yaml").read_text().replace("    results: psf/*", "    result: psf/*")
    (rc_house / "design.yaml").write_text(text)
    done = m3eda("check", "design.yaml", cwd=rc_house)
    assert done.returncode == 2
    assert "has no option 'result' (did you mean results?)" in done.stderr


def test_a_missing_vector_ends_in_one_line(rc_house):
    text = (rc_house / "design.yaml").read_text().replace("v(out)", "v(outt)")
    (rc_house / "design.yaml").write_text(text)
    done = m3eda("check", "design.yaml", cwd=rc_house)
    assert "the results have no v(outt) (nearest: v(out), v(in))" in only_line(done)


def test_noise_of_a_power_becomes_a_voltage(tmp_path):
    """As Spectre gives `out` in V^2/Hz where it is asked to."""
    text = (
        'HEADER\n"analysis type" "noise"\nTYPE\n"sweep" FLOAT DOUBLE PROP(\n"key" "sweep"\n)\n'
        '"V^2/Hz" FLOAT DOUBLE PROP(\n"units" "V^2/Hz"\n)\nSWEEP\n"freq" "sweep" PROP(\n'
        '"units" "Hz"\n)\nTRACE\n"out" "V^2/Hz"\nVALUE\n"freq" 1e+00\n"out" 4e-16\nEND\n'
    )
    (tmp_path / "noise.noise").write_text(text)
    script = f"import shutil; shutil.copy('{tmp_path}/noise.noise', '.')"
    (tmp_path / "copy.py").write_text(script)
    (tmp_path / "run").mkdir()
    options = {"command": f"{sys.executable} {tmp_path}/copy.py", "results": "noise.noise"}
    deck = Deck("//\n", vectors=("onoise_spectrum",))
    [noise] = CommandSimulator(options).run(deck, tmp_path / "run", 20.0).analyses
    np.testing.assert_allclose(noise.vectors["onoise_spectrum"], [2e-8])
    assert noise.units["onoise_spectrum"] == "V/sqrt(Hz)"
