"""The same sizings on two simulators: what counts as agreement, and what the command tells."""

from __future__ import annotations

import contextlib
import json
import math
import shutil

import pytest

from bench import hundred_sizings
from m3eda.crosscheck.command import rules_of
from m3eda.crosscheck.comparison import compare
from m3eda.crosscheck.sides import chosen_simulators, simulated
from m3eda.crosscheck.sizings import read_sizings
from m3eda.crosscheck.tolerances import KINDS, Rule, Tolerance, with_given
from m3eda.errors import DesignError
from m3eda.flow import Execution, Project
from m3eda.report.tables import quantity
from m3eda.simulate.trial import CornerResult, Sweep
from m3eda.simulate.types import State
from tests.conftest import ROOT
from tests.helpers import changed, only_line, plugin

EXAMPLES = ROOT / "examples"
AGREE, DISAGREE, BAD_INPUT, SIMULATOR = 0, 1, 2, 3

WRAPPED = """\
from dataclasses import replace

from m3eda.hookspecs import hookimpl
from m3eda.simulate.types import SimulationFailed, State
from m3eda_plugins.ngspice.batch import NgspiceBatch


class Wrapped(NgspiceBatch):
    def run(self, deck, rundir, timeout):
        waveforms = super().run(deck, rundir, timeout)
        {body}


@hookimpl
def register_simulators(register):
    register("wrapped", Wrapped)
"""
SCALED = """\
def scaled(analysis):
            vectors = {**analysis.vectors, "v(out)": 1.01 * analysis.vectors["v(out)"]}
            return replace(analysis, vectors=vectors)
        return replace(waveforms, analyses=tuple(map(scaled, waveforms.analyses)))"""
GIVES_UP = """\
if float(deck.values["r"]) > {above}:
            raise SimulationFailed(State.{state}, "no way")
        return waveforms"""


def wrapped(folder, body: str) -> None:
    """Give the design in `folder` the simulator `wrapped`: ngspice, then `body`."""
    plugin(folder, WRAPPED.replace("{body}", body))


def rules(design) -> dict[str, Rule]:
    project = Project.load(design)
    sizing = project.evaluator().complete(project.nominal_sizing())
    return rules_of(project, sizing)


def result(state: State = State.COMPLETE, **measures: float) -> CornerResult:
    return CornerResult(measures, state=state, reason="" if state is State.COMPLETE else "ac: no")


def rows(found, right, **tolerances: Tolerance):
    """Compare single results, one a sizing."""
    given = {name: Rule(tolerance) for name, tolerance in tolerances.items()}
    return compare(given, [{"nominal": r} for r in found], [{"nominal": r} for r in right])


# ---- tolerances ----------------------------------------------------------------------------


def test_a_tolerance_follows_from_analysis_and_unit(simulatorless):
    found = rules(simulatorless)
    tolerances = {name: (rule.analysis, rule.tolerance) for name, rule in found.items()}
    assert tolerances["gain"] == ("ac", Tolerance(2e-3))
    assert tolerances["ugbw"] == ("ac", Tolerance(2e-3))
    assert tolerances["pm"] == ("ac", Tolerance(absolute=0.1))
    assert tolerances["gain_db"] == ("ac", Tolerance(absolute=0.02))
    assert tolerances["supply"] == ("op", Tolerance(1e-5, 1e-12))
    assert tolerances["level"] == ("op", Tolerance(1e-5, 1e-6))
    assert tolerances["top"] == ("tran", Tolerance(2e-2, 1e-3))
    assert tolerances["rise"] == ("tran", Tolerance(2e-2))
    # no unit is known, and it is not that of the waveforms: 1 mV would allow a millisecond
    assert tolerances["slower"] == ("tran", Tolerance(2e-2))
    assert tolerances["duty"] == tolerances["spread"] == ("tran", Tolerance(2e-2, 1e-3))
    assert tolerances["ratio"] == ("tran", Tolerance(2e-2))
    assert tolerances["end"] == ("tran", Tolerance(2e-2, 1e-3))
    assert tolerances["spectrum"] == ("noise", Tolerance(1e-3))


def test_a_measure_made_of_others_is_as_inexact_as_they_are(simulatorless):
    found = rules(simulatorless)
    assert found["merit"].analysis == "ac"
    assert found["both"].analysis == "tran"
    assert found["twice"].tolerance == Tolerance(1e-5, 1e-12)


def test_the_analysis_of_a_meas_is_read_from_its_card(simulatorless):
    found = rules(simulatorless)
    assert found["far"].analysis == "ac"
    assert found["late"].analysis == "tran"


def test_a_function_of_several_analyses_is_of_the_one_that_is_there():
    found = rules(EXAMPLES / "ldo" / "design.yaml")
    assert found["vout_before"].analysis == "tran"
    assert rules(EXAMPLES / "sallen_key" / "design.yaml")["noise"].analysis == "noise"


@pytest.fixture
def simulatorless(tmp_path):
    """A design with a measure of every kind, which is only read."""
    (tmp_path / "all.cir.j2").write_text(
        "* all\nv1 in 0 dc 1 ac 1 pulse(0 1 1n 1n)\nr1 in out {{ r }}\nc1 out 0 1p\n"
        ".op\n.ac dec 5 1 1g\n.noise v(out) v1 dec 5 1 1g\n.tran 1n 20n\n"
        ".meas ac far find vm(out) at=1meg\n.meas TRAN late when\n+ v(out)=0.5\n.end\n"
    )
    (tmp_path / "design.yaml").write_text(
        """\
m3eda: 1
design: all
testbenches: {all: all.cir.j2}
parameters: {r: {min: 1k, max: 100k}}
measures:
  gain: {expr: dc_gain(v(out)), unit: V/V}
  ugbw: {expr: unity_gain_frequency(v(out))}
  pm: {expr: phase_margin(v(out))}
  gain_db: {expr: db(dc_gain(v(out))), unit: dB}
  supply: {expr: -i(v1), unit: A}
  level: {expr: v(out)}
  top: {expr: maximum(v(out)), unit: V}
  rise: {expr: rise_time(v(out))}
  slower: {expr: "max(rise_time(v(out)), 1n)"}
  duty: {expr: "duty_cycle(v(out), level=0.5)"}
  spread: {expr: "jitter(v(out), level=1 / 2) / period(v(out), level=1 / 2)"}
  ratio: {expr: maximum(v(out)) / maximum(v(in))}
  end: {expr: "abs(value_at(v(out), 20n))"}
  spectrum: {expr: "noise_density(onoise_spectrum, 1k)"}
  far: {meas: far}
  late: {meas: late}
  merit: {expr: ugbw / supply}
  both: {expr: merit * rise}
  twice: {expr: 2 * supply, unit: A}
specs: {gain: {min: 1}}
"""
    )
    return tmp_path / "design.yaml"


def test_the_defaults_are_as_documented():
    text = (ROOT / "docs" / "command_line.md").read_text()
    shown = {"op": "operating point", "noise": "noise analysis", "dc": "DC sweep",
             "ac": "AC, S-parameters", "sp": "AC, S-parameters", "tran": "transient"}  # fmt: skip
    assert set(shown) == set(KINDS)
    for kind, name in shown.items():
        known = KINDS[kind]
        sizes = ", ".join(quantity(size, unit) for unit, size in known.absolute.items())
        row = f"| {name} | {known.relative:g} | {sizes} | {known.decibels:g} |"
        assert row.replace("|  |", "| |") in text


def test_what_is_allowed_is_the_larger():
    tolerance = Tolerance(1e-2, 0.5)
    assert tolerance.allowed(10.0) == 0.5
    assert tolerance.allowed(-100.0) == 1.0
    assert tolerance.share(101.0, 100.0) == 1.0
    assert Tolerance(1e-2).share(1e-9, 0.0) == math.inf
    assert Tolerance(0.0).share(3.0, 3.0) == 0.0
    assert tolerance.share(math.nan, math.nan) == 0.0
    assert tolerance.share(math.nan, 1.0) == tolerance.share(1.0, math.nan) == math.inf


def test_given_tolerances_replace_the_defaults(simulatorless):
    design, defaults = Project.load(simulatorless).design, rules(simulatorless)
    given = ["gain=1%", "pm=0.5deg", "top=10mV", "top=1e-3"]
    found = with_given(design, defaults, given)
    assert found["gain"] == Rule(Tolerance(0.01), "ac", given=True)
    assert found["pm"].tolerance == Tolerance(absolute=0.5)
    assert found["top"].tolerance == Tolerance(1e-3, 0.01)
    assert found["supply"] == defaults["supply"]
    strict = with_given(design, defaults, ["1e-9"])
    assert {rule.tolerance for rule in strict.values()} == {Tolerance(1e-9)}


# ---- the comparison ------------------------------------------------------------------------


def test_the_worst_sizing_is_the_farthest_for_its_tolerance():
    found = [result(a=1.0, b=100.0), result(a=2.02, b=101.5), result(a=3.0, b=100.0)]
    right = [result(a=1.0, b=100.0), result(a=2.0, b=100.0), result(a=3.0, b=101.0)]
    comparison = rows(found, right, a=Tolerance(0.005), b=Tolerance(absolute=2.0))
    a, b = comparison.rows
    assert (a.beyond, a.worst.sizing, a.worst.values) == (1, 1, (2.02, 2.0))
    assert a.relative == pytest.approx(0.01)
    assert b.agrees
    assert b.worst.absolute == 1.5
    assert not comparison.agrees
    assert comparison.suspects == [1]


def test_a_measure_in_neither_is_no_difference_and_in_one_alone_is():
    nan = math.nan
    comparison = rows([result(a=nan, b=nan)], [result(a=nan, b=1.0)], a=Tolerance(), b=Tolerance(9))
    a, b = comparison.rows
    assert (a.agrees, a.absent, a.worst) == (True, 1, None)
    assert (b.agrees, b.compared, b.share) == (False, 0, math.inf)
    assert comparison.compared == 0


def test_ways_to_fail_are_compared():
    lost, died = result(State.NO_CONVERGENCE, a=math.nan), result(State.CRASH, a=math.nan)
    alike = rows([lost, result(a=1.0)], [lost, result(a=1.0)], a=Tolerance())
    assert alike.agrees
    assert alike.failed_alike == 1
    apart = rows([lost], [died], a=Tolerance())
    [failure] = apart.failures
    assert failure.states == (State.NO_CONVERGENCE, State.CRASH)
    assert not apart.agrees


def test_a_sweep_is_compared_at_each_of_its_points():
    def swept(*values: float) -> CornerResult:
        sweep = Sweep("temp", (-40.0, 27.0, 125.0), values)
        return CornerResult({"a": values[1]}, swept={"a": sweep})

    comparison = rows([swept(1.0, 2.0, 3.1)], [swept(1.0, 2.0, 3.0)], a=Tolerance(0.01))
    [row] = comparison.rows
    assert (row.pairs, row.beyond, row.worst.at) == (3, 1, "temp = 125")
    failed = result(State.CRASH, a=math.nan)
    [row] = rows([failed], [swept(1.0, 2.0, 3.0)], a=Tolerance(0.01)).rows
    assert (row.pairs, row.beyond) == (3, 3)


# ---- the command ---------------------------------------------------------------------------


@pytest.mark.simulator
def test_ngspice_agrees_with_itself_in_a_process_a_run(here):
    design = str(EXAMPLES / "two_stage_opamp" / "design.yaml")
    done = here("crosscheck", design, "--against", "ngspice-batch", "--points", "3", "--json")
    data = json.loads(done.stdout, parse_constant=pytest.fail)
    assert done.returncode == AGREE, done.stderr
    assert data["agree"] is True
    assert [each["name"] for each in data["simulators"]] == ["ngspice", "ngspice-batch"]
    assert len(data["points"]) == 3
    assert data["points"][0]["sizing"]["l"] == 9e-8
    assert data["measures"]["settling"]["analysis"] == "tran"
    assert data["measures"]["ibias"]["compared"] == 3
    assert data["measures"]["ibias"]["worst"]["relative"] < 1e-6


@pytest.mark.simulator
def test_a_plugin_beside_ngspice_which_solves_the_same_equations_by_itself(here):
    design = str(EXAMPLES / "custom_simulator" / "design.yaml")
    done = here("crosscheck", design, "--points", "3", "--tolerance", "1e-9")
    assert done.returncode == AGREE, done.stdout
    assert done.stdout.splitlines()[-1] == "nodal and ngspice agree in 3 measures"


@pytest.mark.simulator
def test_a_simulator_that_is_wrong_is_found_and_the_measure_named(here, rc):
    wrapped(rc, SCALED)
    done = here("crosscheck", "design.yaml", "--against", "wrapped", "--points", "4")
    assert done.returncode == DISAGREE
    lines = done.stdout.splitlines()
    assert lines[-1] == "ngspice and wrapped do not agree: far"
    [far] = [line.split() for line in lines if line.startswith("far ")]
    assert far[5:] == ["9.9e-03", "0.002", far[7], "NO", "beyond", "in", "4", "of", "4"]
    [again] = [line for line in lines if line.startswith("sizing ")]
    number, _, sizing = again.removeprefix("sizing ").partition(": ")
    assert number == far[7]
    # what it prints finds the same again, and a wider tolerance lets it pass
    given = ("crosscheck", "design.yaml", "--against", "wrapped", *sizing.split())
    assert here(*given).returncode == DISAGREE
    loose = here(*given, "--tolerance", "far=2%", "--quiet")
    assert (loose.returncode, loose.stdout, loose.stderr) == (AGREE, "", "")


@pytest.mark.simulator
def test_a_failure_in_one_alone_is_a_difference(here, rc):
    wrapped(rc, GIVES_UP.format(above=10e3, state="NO_CONVERGENCE"))
    (rc / "sizings.json").write_text('[{"r": 5100}, {"r": "51k"}]')
    done = here("crosscheck", "design.yaml", "--against", "wrapped", "--sizings", "sizings.json")
    assert done.returncode == DISAGREE
    lines = done.stdout.splitlines()
    assert "sizing 1: ngspice complete; wrapped no convergence: ac: no way" in lines
    assert lines[-1].endswith("do not agree: f3db, far, 1 failed simulation")


@pytest.mark.simulator
def test_what_fails_in_both_proves_nothing(here, rc):
    wrapped(rc, GIVES_UP.format(above=0, state="NO_CONVERGENCE"))
    changed(rc, "c1 out 0", "m1 out in 0 0 nothing\nc1 out 0", "rc.cir.j2")
    done = here("crosscheck", "design.yaml", "--against", "wrapped", "--points", "1")
    assert done.returncode == BAD_INPUT
    assert "model missing" in only_line(done)
    assert "so failed the first sizing in both; decks and logs: " in done.stderr


@pytest.mark.simulator
def test_no_measure_anywhere_proves_nothing(here, rc):
    changed(rc, ".ac dec 20 1 10meg", ".ac dec 20 1 10", "rc.cir.j2")
    changed(rc, '  far: {testbench: ac, expr: "gain_at(v(out), 1meg)", unit: V/V}\n', "")
    changed(rc, "  far: {max: 0.011}\n", "")
    done = here("crosscheck", "design.yaml", "--against", "ngspice-batch", "--set", "r=1k")
    assert done.returncode == BAD_INPUT
    assert "no measure exists at any of the 1 sizings" in only_line(done)


@pytest.mark.simulator
def test_running_it_again_simulates_nothing(here, rc, monkeypatch):
    monkeypatch.setenv("M3EDA_CACHE_SIZE", "10M")
    monkeypatch.setenv("M3EDA_CACHE", str(rc / "cache"))
    command = ("crosscheck", "design.yaml", "--against", "ngspice-batch", "--points", "3", "--json")
    first, again = (json.loads(here(*command).stdout) for _ in range(2))
    assert [each["runs"] for each in first["simulators"]] == [3, 3]
    assert [each["runs"] for each in again["simulators"]] == [0, 0]
    assert first["measures"] == again["measures"]
    other = json.loads(here(*command, "--seed", "2", "--jobs", "2").stdout)
    assert [each["runs"] for each in other["simulators"]] == [2, 2]
    assert other["points"][0]["sizing"] == first["points"][0]["sizing"]


@pytest.mark.simulator
def test_options_are_those_of_their_own_simulator(here, rc):
    changed(rc, "agent:", "simulator: {name: ngspice-batch, options: {reltol: 1e-4}}\nagent:")
    command = ("crosscheck", "design.yaml", "--set", "r=1k", "--json")
    [own, other] = json.loads(here(*command).stdout)["simulators"]
    assert (own["name"], own["options"]) == ("ngspice-batch", {"reltol": 1e-4})
    assert (other["name"], other["options"]) == ("ngspice", {})
    more = ("--option", "ngspice.method=gear", "--option", "ngspice.reltol=1e-5")
    [own, other] = json.loads(here(*command, *more).stdout)["simulators"]
    assert own["options"] == {"reltol": 1e-4}
    assert other["options"] == {"method": "gear", "reltol": 1e-5}


@pytest.mark.simulator
@pytest.mark.parametrize("missing", ["ngspice", "ngspice-batch"])
def test_a_program_that_is_missing_stops_it_before_anything_runs(here, counted, missing):
    nowhere = f"{missing}.program=/nowhere/ngspice"
    names = ("--simulator", "ngspice", "--against", "ngspice-batch")
    done = here("crosscheck", "design.yaml", *names, "--option", nowhere)
    assert done.returncode == SIMULATOR
    assert "/nowhere/ngspice" in only_line(done)
    assert not counted.decks


@pytest.mark.simulator
def test_without_xyce_one_line_says_so(here, rc, monkeypatch):
    (rc / "bin").mkdir()
    (rc / "bin" / "ngspice").symlink_to(shutil.which("ngspice"))
    monkeypatch.setenv("PATH", str(rc / "bin"))
    done = here("crosscheck", "design.yaml")
    assert done.returncode == SIMULATOR
    assert "Xyce" in only_line(done)


def test_the_other_simulator_by_default():
    assert chosen_simulators("ngspice", None, None) == ("ngspice", "xyce")
    assert chosen_simulators("xyce", None, None) == ("xyce", "ngspice")
    assert chosen_simulators("pyspice", None, None) == ("pyspice", "ngspice")
    assert chosen_simulators("ngspice", "xyce", None) == ("xyce", "ngspice")
    assert chosen_simulators("ngspice", None, "pyspice") == ("ngspice", "pyspice")


MISTAKES = {
    "unknown simulator": (
        ["--against", "ngspise"],
        "no simulator is called 'ngspise' (did you mean ngspice?)",
    ),
    "the same": (
        ["--against", "ngspice"],
        "--against ngspice: ngspice would be compared with itself "
        "(name another one, or compare its own ways by m3eda check --strict)",
    ),
    "unknown measure": (
        ["--tolerance", "f3bd=1e-3"],
        "--tolerance f3bd=1e-3: no measure is called 'f3bd' (did you mean f3db?)",
    ),
    "a unit that is another": (
        ["--tolerance", "f3db=1mV"],
        "--tolerance f3db=1mV: is in V, but f3db is in Hz (a plain number is relative)",
    ),
    "no number": (
        ["--tolerance", "f3db=tight"],
        "--tolerance f3db=tight: 'tight' is not a number (such as 10p, 4.7k, 10meg or 1e-6)",
    ),
    "a tolerance below zero": (
        ["--tolerance", "-1"],
        "--tolerance -1: is negative (such as 1e-3, 1% or 0.1deg)",
    ),
    "an option of nobody": (
        ["--option", "xycee.program=/bin/Xyce"],
        "--option xycee.program=/bin/Xyce: 'xycee' is not compared "
        "(one of ngspice and ngspice-batch)",
    ),
    "an option without a value": (
        ["--option", "ngspice.reltol"],
        "--option ngspice.reltol: expected SIMULATOR.KEY=VALUE (such as ngspice.reltol=1e-4)",
    ),
    "two ways to choose sizings": (
        ["--points", "3", "--set", "r=1k"],
        "--set or --sizing and --points exclude each other",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(here, mistake):
    arguments, expected = MISTAKES[mistake]
    against = [] if "--against" in arguments else ["--against", "ngspice-batch"]
    done = here("crosscheck", "design.yaml", *against, *arguments)
    assert only_line(done) == expected
    assert done.returncode == BAD_INPUT


# ---- sizings from a file -------------------------------------------------------------------


def test_sizings_of_a_file_in_both_forms(rc):
    project = Project.load(rc / "design.yaml")
    file, nominal = rc / "sizings.json", project.nominal_sizing()
    file.write_text('[{"r": 1000, "c": "10n"}, {"c": 1e-9}]')
    assert read_sizings(project, file) == [
        {"r": 1000.0, "c": pytest.approx(1e-8)},
        {"r": nominal["r"], "c": 1e-9},
    ]
    file.write_text('{"order": ["c", "r"], "sizings": [[1e-9, 2000]]}')
    assert read_sizings(project, file) == [{"r": 2000.0, "c": 1e-9}]


WRONG_FILES = {
    "[": "is no JSON: Expecting value: line 1 column 2 (char 1)",
    "[]": "holds no sizings",
    '{"order": ["r"], "sizings": [[1, 2]]}': "holds no sizings",
    "[1]": "holds no sizings",
    '[{"r": 1}, {"rr": 1}]': "[1].rr: no parameter has this name (did you mean r?)",
    '[{"r": "much"}]': "[0].r: 'much' is not a number (such as 10p, 4.7k, 10meg or 1e-6)",
    '[{"r": true}]': "[0].r: True is not a number",
    '[{"r": NaN}]': "[0].r: 'nan' is not a finite number",
    '[{"r": null}]': "[0].r: is None (a number)",
}


@pytest.mark.parametrize("text", WRONG_FILES)
def test_a_file_that_holds_no_sizings(rc, text):
    (rc / "sizings.json").write_text(text)
    with pytest.raises(DesignError) as caught:
        read_sizings(Project.load(rc / "design.yaml"), rc / "sizings.json")
    [mistake] = caught.value.mistakes
    assert str(mistake).startswith(f"{rc / 'sizings.json'}: {WRONG_FILES[text]}")


# ---- against a real Xyce -------------------------------------------------------------------


@pytest.mark.simulator
def test_ngspice_agrees_with_what_xyce_gave_for_a_hundred_sizings(shared, tmp_path):
    project = Project.load(hundred_sizings.write_design(tmp_path))
    sizings, right = hundred_sizings.sizings(), hundred_sizings.of_xyce()
    evaluator = project.evaluator(Execution(cache=False))
    with contextlib.closing(evaluator):
        side = simulated(evaluator, sizings)
        comparison = compare(rules_of(project, evaluator.complete(sizings[0])), side.results, right)
    assert comparison.sizings == 100
    assert comparison.agrees, comparison.rows
    found = {row.measure: row for row in comparison.rows}
    assert found["supply"].rule.tolerance == Tolerance(1e-5, 1e-12)
    assert found["ugbw"].rule.tolerance == Tolerance(2e-3)
    assert found["pm"].rule.tolerance == Tolerance(absolute=0.1)
    # where there is no unity-gain crossing in one, there is none in the other
    assert found["ugbw"].absent == found["pm"].absent > 0
    assert found["ugbw"].compared + found["ugbw"].absent == 100


@pytest.mark.simulator
@pytest.mark.skipif(shutil.which("Xyce") is None, reason="Xyce is not installed")
def test_a_real_xyce_agrees_with_ngspice_over_the_hundred_sizings(here, shared, rc):
    hundred_sizings.write_design(rc)
    file = shared / "xyce_samples" / "hundred_sizings" / "sizings.json"
    done = here("crosscheck", "design.yaml", "--sizings", str(file), "--json")
    data = json.loads(done.stdout)
    assert done.returncode == AGREE, data["verdict"]
    assert [each["name"] for each in data["simulators"]] == ["ngspice", "xyce"]
    assert data["measures"]["gain"]["compared"] == 100
    assert not data["failures"]
