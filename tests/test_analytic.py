"""The op amp in closed form: against ngspice on the same netlist, and at the edges of its range."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from m3eda_plugins.analytic.contract import VALUES, AnalyticContract
from m3eda_plugins.analytic.models import frequencies, simulator_of
from m3eda_plugins.analytic.square_law import Device

from m3eda.design.space import Space
from m3eda.errors import DesignError, PluginError
from m3eda.flow import Project
from m3eda.simulate.closed_form import ClosedForm
from m3eda.simulate.types import Deck, SimulationFailed, State, Waveforms
from tests.conftest import ROOT
from tests.helpers import changed, m3eda, only_line

EXAMPLE = ROOT / "examples" / "analytic_opamp"


CARDS = "* any text\n.op\n.ac dec 10 1 10g\n.noise v(out) vin dec 1 1 1meg\n.end\n"


def run(text: str = CARDS, *, vectors=(), options=None, **changes) -> Waveforms:
    deck = Deck(text, vectors=vectors, values={**VALUES, **changes})
    return simulator_of(options or {}).run(deck, ROOT, 1.0)


def point(**changes) -> dict[str, float]:
    [op] = run("*\n.op\n", **changes).analyses
    return {name: float(value[0]) for name, value in op.vectors.items()}


class TestContract(AnalyticContract):
    """The contract, as far as it applies."""

    @pytest.fixture
    def simulator(self):
        return simulator_of({})


# ---- against ngspice -----------------------------------------------------------------------


@pytest.mark.simulator
def test_the_equations_agree_with_ngspice():
    """On 40 sizings from all of the example's space, level 1 transistors.

    The operating point agrees to 1e-4. Of the small signals those of amplifiers are compared: where
    the gain is below 30 a mirror that does not mirror is beyond the model.
    """
    found = {}
    for name in ("analytic", "ngspice-batch"):
        project = Project.load(EXAMPLE / "design.yaml", simulator=name)
        space, evaluator = Space(project.design), project.evaluator()
        points = np.random.default_rng(3).random((40, space.dimension))
        sizings = [evaluator.complete(space.sizing(x)) for x in points]
        found[name] = [result["nominal"].measures for result in evaluator.evaluate(sizings)]
        evaluator.close()
    pairs = list(zip(found["analytic"], found["ngspice-batch"], strict=True))
    for own, theirs in pairs:
        for name in ("power", "slew", "headroom"):
            assert own[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-6)
    amplifiers = [pair for pair in pairs if pair[1]["gain"] > 30.0]
    assert len(amplifiers) >= 15
    for name, tolerance in (("gain", 0.05), ("noise", 0.1)):
        for own, theirs in amplifiers:
            assert own[name] == pytest.approx(theirs[name], rel=tolerance)
    ugbw = [own["ugbw"] / theirs["ugbw"] - 1.0 for own, theirs in amplifiers]
    pm = [own["pm"] - theirs["pm"] for own, theirs in amplifiers]
    assert np.median(np.abs(ugbw)) < 0.02
    assert np.quantile(np.abs(ugbw), 0.9) < 0.10
    assert np.median(np.abs(pm)) < 0.7
    assert np.quantile(np.abs(pm), 0.9) < 4.0


# ---- textbook ------------------------------------------------------------------------------


def test_gain_is_that_of_two_stages():
    op = point()
    waveforms = run()
    gain = abs(waveforms.analyses[1].vectors["v(out)"][0])
    first = op["@m1[gm]"] / (op["@m2[gds]"] + op["@m4[gds]"])
    second = op["@m6[gm]"] / (op["@m6[gds]"] + op["@m7[gds]"])
    assert gain == pytest.approx(first * second, rel=0.05)


def test_gain_bandwidth_is_gm_over_cc():
    ac = run(rz=10.0, cc=4e-12).analyses[1]
    frequency, gain = ac.vectors["frequency"], np.abs(ac.vectors["v(out)"])
    at = int(np.argmax(frequency > 1e5))
    m1 = point(rz=10.0, cc=4e-12)["@m1[gm]"]
    wanted = m1 / (2.0 * math.pi * 4e-12)
    assert gain[at] * frequency[at] == pytest.approx(wanted, rel=0.05)


def test_a_nulling_resistor_of_1_over_gm_removes_the_zero():
    gm = point()["@m6[gm]"]
    without, nulled, lead = (
        np.unwrap(np.angle(run(rz=rz).analyses[1].vectors["v(out)"]))[80]
        for rz in (1e-3, 1 / gm, 3 / gm)
    )
    assert without < nulled < lead


def test_currents_add_up_at_every_node():
    op = point()
    assert op["@m5[id]"] == pytest.approx(2.0 * op["@m1[id]"], rel=1e-6)
    assert op["@m3[id]"] == pytest.approx(op["@m1[id]"], rel=1e-6)
    assert op["@m6[id]"] == pytest.approx(op["@m7[id]"], rel=1e-6)
    assert op["@m8[id]"] == pytest.approx(10e-6, rel=1e-6)
    total = 10e-6 + 2.0 * op["@m1[id]"] + op["@m6[id]"]
    assert op["i(vdd)"] == pytest.approx(-total, rel=1e-9)


@pytest.mark.parametrize(
    ("changes", "device"),
    [
        ({"w7": 400e-6}, "m7"),  # more current than M6 gives
        ({"w6": 800e-6}, "m6"),  # and less
        ({"vcm": 0.55}, "m5"),  # no room below the pair
    ],
)
def test_what_has_no_headroom_leaves_saturation_and_gain(changes, device):
    op = point(**changes)
    assert op[f"@{device}[vds]"] < op[f"@{device}[vdsat]"]
    good = abs(run().analyses[1].vectors["v(out)"][0])
    assert abs(run(**changes).analyses[1].vectors["v(out)"][0]) < 0.3 * good


@pytest.mark.parametrize("changes", [{"vcm": 0.2}, {"vdd": 0.3}, {"w1": 1e-2}, {"iref": 1e-15}])
def test_circuits_that_do_nothing_have_finite_results(changes):
    waveforms = run(**changes)
    for analysis in waveforms.analyses:
        for name, values in analysis.vectors.items():
            if name != "inoise_spectrum":  # there is no input where there is no gain
                assert np.isfinite(values).all(), name


@pytest.mark.parametrize("vds", [0.05, 0.2, 0.29999, 0.3, 0.6])
def test_conductances_are_slopes_of_the_current(vds):
    device = Device(10e-6, 1e-6, 180e-6, 0.45, 0.08)
    at, step = device.at(0.75, vds), 1e-7
    gm = (device.current(0.75 + step, vds) - device.current(0.75 - step, vds)) / (2 * step)
    gds = (device.current(0.75, vds + step) - device.current(0.75, vds - step)) / (2 * step)
    assert at.gm == pytest.approx(gm, rel=1e-4)
    assert at.gds == pytest.approx(gds, rel=1e-2, abs=1e-9)
    assert at.saturated == (vds >= at.vdsat)


def test_noise_at_low_frequency_is_that_of_the_first_stage():
    op = point()
    noise = run().analyses[2]
    factor = 8.0 * 1.380649e-23 * 300.15 * 2.0 / 3.0
    wanted = math.sqrt(factor / op["@m1[gm]"] * (1.0 + op["@m3[gm]"] / op["@m1[gm]"]))
    assert noise.vectors["inoise_spectrum"][3] == pytest.approx(wanted, rel=0.02)
    assert noise.units["onoise_spectrum"] == "V/sqrt(Hz)"


@pytest.mark.parametrize(
    ("sweep", "first", "last", "count"),
    [
        (("dec", "10", "1", "1k"), 1.0, 1e3, 31),
        (("oct", "1", "1", "8"), 1.0, 8.0, 4),
        (("lin", "5", "0.5k", "1k"), 500.0, 1e3, 5),
    ],
)
def test_sweeps_are_those_of_the_deck(sweep, first, last, count):
    made = frequencies(*sweep)
    assert (made[0], made[-1], made.size) == (pytest.approx(first), pytest.approx(last), count)


# ---- options and mistakes ------------------------------------------------------------------


def test_options_rename_and_give_values():
    renamed = {name: value for name, value in VALUES.items() if name != "cload"}
    deck = Deck("*\n.op\n.ac dec 1 1 10\n", values={**renamed, "cl": 5e-12})
    options = {"cload": "cl", "kpn": "200u", "lambda_n": 0.05}
    waveforms = simulator_of(options).run(deck, ROOT, 1.0)
    wanted = run("*\n.op\n.ac dec 1 1 10\n", kpn=200e-6, lambda_n=0.05)
    for own, other in zip(waveforms.analyses, wanted.analyses, strict=True):
        np.testing.assert_array_equal(own.vectors["v(out)"], other.vectors["v(out)"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"cloads": "cl"}, "cloads: the model two_stage_opamp has no value 'cloads' (did you mean "
         "cload?)"),
        ({"model": "two_stage_opmap"}, "model: there is no model 'two_stage_opmap' (did you mean "
         "two_stage_opamp?)"),
        ({"model": "nowhere/mine.py:amp"}, "nowhere/mine.py (the path is from the working"),
    ],
)  # fmt: skip
def test_wrong_options_are_told_in_one_line(options, told):
    with pytest.raises(DesignError) as caught:
        simulator_of(options)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_value_that_nobody_gives_is_named():
    values = {name: value for name, value in VALUES.items() if name != "w6"}
    with pytest.raises(DesignError, match="needs 'w6', which nobody gives"):
        simulator_of({}).run(Deck(CARDS, values=values), ROOT, 1.0)


@pytest.mark.parametrize(
    ("text", "changes", "state", "told"),
    [
        ("*\n.tran 1n 1u\n", {}, State.PARSE_ERROR, "has no .tran analysis (op, ac, noise)"),
        ("*\n.ac dec ten 1 1k\n", {}, State.PARSE_ERROR, "dec ten 1 1k: 'ten' is not a number"),
        (CARDS, {"cc": 0.0}, State.PARSE_ERROR, "cc is 0, and has to be positive"),
    ],
)
def test_what_it_cannot_do_fails_in_one_line(text, changes, state, told):
    with pytest.raises(SimulationFailed) as caught:
        run(text, **changes)
    assert caught.value.state is state
    assert told in caught.value.reason


def test_a_vector_that_is_not_there_is_named_with_the_nearest():
    with pytest.raises(SimulationFailed, match=r"no v\(outt\) \(nearest: v\(out\)"):
        run(vectors=("v(outt)",))


# ---- models of one's own -------------------------------------------------------------------

MODEL = """\
import numpy as np
from m3eda.simulate.closed_form import ac

def low_pass(values):
    f = np.logspace(0, 7, 141)
    return ac(f, {"v(out)": 1 / (1 + 2j * np.pi * f * values["r"] * values["c"])})

def word(values):
    return "nothing"
"""


@pytest.fixture
def own_model(rc):
    """The RC filter by a function in a file beside its design."""
    (rc / "my_model.py").write_text(MODEL)
    option = 'simulator: {name: analytic, options: {model: "{folder}/my_model.py:low_pass"}}\n'
    changed(rc, "testbenches:", f"{option}testbenches:")
    return rc


def test_a_model_of_ones_own_is_sized(own_model, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = m3eda("size", own_model / "design.yaml", "--json", cwd=elsewhere, PATH="/nowhere")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["versions"]["simulator"] == "analytic-1"


def test_a_changed_model_has_results_of_its_own(own_model):
    option = {"model": f"{own_model}/my_model.py:low_pass"}
    before = simulator_of(option).start_file()
    changed(own_model, "1 + 2j", "1 + 1j", "my_model.py")
    assert simulator_of(option).start_file() != before


def test_a_model_that_gives_a_word_is_named(own_model):
    simulator = simulator_of({"model": f"{own_model}/my_model.py:word"})
    with pytest.raises(SimulationFailed, match="the model word gave a str, not Waveforms"):
        simulator.run(Deck("*\n"), own_model, 1.0)


def test_a_function_that_is_not_there_is_named(own_model):
    changed(own_model, "my_model.py:low_pass", "my_model.py:lowpass")
    done = m3eda("check", "design.yaml", cwd=own_model)
    assert done.returncode == 2
    assert "has no function 'lowpass' (did you mean low_pass?)" in only_line(done)


def test_a_model_that_does_not_load_is_named(own_model):
    (own_model / "my_model.py").write_text("import nowhere_at_all\n")
    with pytest.raises(PluginError, match=r"my_model\.py: does not load: ModuleNotFoundError"):
        simulator_of({"model": f"{own_model}/my_model.py:low_pass"})


# ---- the engine ----------------------------------------------------------------------------


@pytest.mark.simulator
def test_sizings_of_one_deck_text_are_told_apart(rc):
    """One template uses c and the other does not: what goes by the values differs in both."""
    (rc / "other.cir.j2").write_text((rc / "rc.cir.j2").read_text())
    changed(rc, "c1 out 0 {{ c }}", "c1 out 0 1n", "rc.cir.j2")
    changed(rc, "{ac: rc.cir.j2}", "{ac: rc.cir.j2, other: other.cir.j2}")
    changed(rc, "far: {testbench: ac", "far: {testbench: other")
    keys = {}
    for name in ("ngspice-batch", "analytic"):
        evaluator = Project.load(rc / "design.yaml").evaluator()
        if name == "analytic":
            evaluator = replace(evaluator, simulator=ClosedForm(name, lambda deck: Waveforms()))
        decks = [evaluator.decks({"r": 1e3, "c": c})["ac"] for c in (1e-9, 2e-9)]
        assert decks[0].text == decks[1].text
        keys[name] = {evaluator._key(deck) for deck in decks}
        evaluator.close()
    assert {name: len(each) for name, each in keys.items()} == {"ngspice-batch": 1, "analytic": 2}


def test_no_directory_is_made_for_a_closed_form(tmp_path, monkeypatch):
    """A run that succeeds and one that fails; the deck of the latter is kept all the same."""
    monkeypatch.setattr("m3eda.simulate.runner._run_directory", lambda: pytest.fail("made one"))
    project = Project.load(EXAMPLE / "design.yaml")
    evaluator = project.evaluator(keep_failed=tmp_path)
    sizing = evaluator.complete(project.nominal_sizing())
    good, bad = evaluator.evaluate([sizing, {**sizing, "cc": 0.0}])
    assert good["nominal"].state is State.COMPLETE
    assert bad["nominal"].reason == "open_loop: cc is 0, and has to be positive"
    assert (tmp_path / "open_loop-parse-error" / "deck.cir").is_file()
    evaluator.close()
