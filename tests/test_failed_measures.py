"""What a measure that does not exist counts as: the key `failed` of a spec."""

from __future__ import annotations

import json
import math

import pytest

from m3eda import load_design
from m3eda.agents.outputs import Output
from m3eda.design.scoring import judge, margin, met, shortfall
from m3eda.design.types import Limits, Spec
from m3eda.ledger import Ledger
from m3eda.simulate.trial import CornerResult, Sweep, score
from tests.design_samples import edited, load, mistakes, write
from tests.helpers import changed, m3eda

NAN = math.nan
MISSING = {"pm": NAN}
CORNERS = """\
technology: {lib: models.lib, sections: {tt: tt, ss: slow}}
corners:
  vdd: [1.08, 1.2]
  process: [tt, ss]
  temp: [-40, 125]
"""


def one(spec: Spec, *values: float):
    """A trial of one corner a value."""
    names = ["nominal", "ss", "ff"]
    results = {
        name: CornerResult({"pm": value}) for name, value in zip(names, values, strict=False)
    }
    return score(0, {}, results, {"pm": spec})


def test_a_missing_measure_has_margin_and_reward_of_the_value_given():
    limits = Limits(minimum=60.0)
    plain, given = Spec("pm", limits), Spec("pm", limits, weight=2.0, failed=20.0)
    without = one(plain, NAN)
    assert math.isnan(without.margins["pm"])
    assert without.reward == -1.0
    trial = one(given, NAN)
    assert trial.margins == {"pm": pytest.approx(-40.0 / 60.0)}
    assert trial.reward == pytest.approx(2.0 * -40.0 / 80.0)
    assert trial.worst == {"pm": 20.0}
    assert not trial.met


def test_what_was_measured_stays_missing():
    result = CornerResult(MISSING, {"pm": "the gain never reaches 1"})
    trial = score(0, {}, {"nominal": result}, {"pm": Spec("pm", Limits(60.0), failed=0.0)})
    assert math.isnan(trial.measures["pm"])
    assert trial.nominal.reasons == {"pm": "the gain never reaches 1"}


def test_values_that_exist_are_scored_as_they_are():
    limits = Limits(minimum=60.0)
    for value in (-30.0, 0.0, 59.0, 60.0, 75.0):
        assert one(Spec("pm", limits), value) == one(Spec("pm", limits, failed=1.0), value)


def test_a_measure_that_is_not_there_at_all_counts_alike():
    trial = score(
        0, {}, {"nominal": CornerResult({})}, {"pm": Spec("pm", Limits(60.0), failed=0.0)}
    )
    assert trial.margins == {"pm": -1.0}


def test_of_a_sweep_each_point_without_a_value_counts():
    sweep = Sweep("temp", (-40.0, 27.0, 125.0), (70.0, NAN, 50.0))
    result = CornerResult({"pm": NAN}, swept={"pm": sweep})

    def scored(failed: float | None):
        specs = {"pm": Spec("pm", Limits(60.0), failed=failed)}
        return score(0, {}, {"nominal": result}, specs)

    assert math.isnan(scored(None).margins["pm"])
    assert scored(0.0).worst == {"pm": 0.0}
    assert scored(0.0).margins == {"pm": -1.0}
    # a point that is worse than what the missing one counts as is the worst
    assert scored(55.0).worst == {"pm": 50.0}
    assert scored(55.0).reward == pytest.approx(-10.0 / 110.0)
    assert not scored(55.0).met


def test_each_corner_has_limits_of_its_own():
    spec = Spec("pm", Limits(60.0), corners={"ss": Limits(30.0)}, failed=15.0)
    assert one(spec, 70.0, NAN).margins == {"pm": -0.5}
    assert one(spec, NAN, 40.0).margins == {"pm": -0.75}
    assert one(spec, 70.0, NAN).reward == pytest.approx(-15.0 / 45.0)
    assert one(spec, NAN, NAN).margins == {"pm": -0.75}
    assert one(spec, 61.0, 31.0).met


def test_no_value_given_in_code_makes_a_dead_circuit_pass():
    trial = one(Spec("pm", Limits(minimum=60.0), failed=90.0), NAN)
    assert not trial.met


def test_agents_model_what_a_missing_measure_counts_as():
    row = Output("pm", 60.0, math.inf)
    assert row.value(one(Spec("pm", Limits(60.0), failed=5.0), NAN)) == 5.0
    assert math.isnan(row.value(one(Spec("pm", Limits(60.0)), NAN)))


@pytest.mark.parametrize(
    "limits",
    [Limits(2.0), Limits(maximum=2.0), Limits(-2.0), Limits(maximum=-2.0), Limits(0.0),
     Limits(maximum=0.0), Limits(1.0, 3.0), Limits(target=2.0, tolerance=0.5),
     Limits(1.8, target=2.0, tolerance=0.5)],
)  # fmt: skip
def test_a_judge_gives_margin_met_and_shortfall(limits):
    judged = judge(limits)
    for value in (-1e30, -3.0, -2.0, -1e-300, 0.0, 1e-300, 1.7, 2.0, 2.5, 3.0, 1e30):
        given = judged(value)
        wanted = margin(value, limits), met(value, limits), shortfall(value, limits)
        assert repr(given) == repr(wanted)  # 0 is not -0
    nothing, holds, short = judged(NAN)
    assert (math.isnan(nothing), holds, short) == (True, False, -1.0)


@pytest.mark.parametrize(
    ("spec", "value"),
    [("{min: 300, failed: 1}", 1.0), ("{min: 300, failed: 1m V/V}", 1e-3),
     ("{max: 300, failed: 10k}", 1e4), ("{min: 300, failed: 1 %}", 0.01), ("{min: 300}", None)],
)  # fmt: skip
def test_the_key_is_read_in_the_unit_of_the_spec(tmp_path, spec, value):
    text = edited("gain: {min: 300}", f"gain: {spec}")
    assert load(write(tmp_path, text)).specs["gain"].failed == value


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("{min: 300, failed: 301}",
         "12:28: specs.gain.failed: 301 V/V meets the limits, and what does not work would pass "
         "(give a value outside them)"),
        ("{max: 300, failed: 0}", "12:28: specs.gain.failed: 0 V/V meets the limits, and what"),
        ("{target: 3, tolerance: 1, failed: 2}", "12:43: specs.gain.failed: 2 V/V meets"),
        ("{min: 300, failed: 1 mV}", "12:28: specs.gain.failed: is in V, but gain is in V/V "
         "(write it in V/V)"),
        ("{min: 300, failed: nan}", "12:28: specs.gain.failed: 'nan' is not a number"),
        ("{min: 300, failed: yes}", "12:28: specs.gain.failed: 'yes' is not a number"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path, spec, says):
    [mistake] = mistakes(write(tmp_path, edited("gain: {min: 300}", f"gain: {spec}")))
    assert mistake.startswith(f"design.yaml:{says}")


def test_a_value_that_meets_a_corners_own_limits_is_a_mistake(tmp_path):
    own = "{min: 300, failed: 200, corners: {ss: {min: 150}}}"
    text = edited("gain: {min: 300}", f"gain: {own}") + CORNERS
    [mistake] = mistakes(write(tmp_path, text, models__lib=""))
    assert "specs.gain.failed: 200 V/V meets the limits at 'ss" in mistake


NETLIST = "* divider\nv1 in 0 1\nr1 in out 1k\nr2 out 0 {{ r2 }}\n.op\n.end\n"
DESIGN = """\
m3eda: 1
design: divider
testbenches: {plain: divider.cir.j2}
parameters: {r2: {min: 1k, max: 100k, unit: Ohm}}
measures: {high: {expr: "sqrt(v(out) - 2)", unit: V}}
specs:
  high: {min: 2}
agent: {name: random, budget: 2, seed: 1}
"""


@pytest.mark.simulator
def test_tables_say_that_it_is_missing_and_trials_are_scored_anew(tmp_path):
    (tmp_path / "divider.cir.j2").write_text(NETLIST)
    (tmp_path / "design.yaml").write_text(DESIGN)
    first = json.loads(m3eda("size", "design.yaml", "--json", cwd=tmp_path).stdout)
    assert first["specs"]["high"]["margin"] is None
    changed(tmp_path, "high: {min: 2}", "high: {min: 2, failed: 1}")
    done = m3eda("size", "design.yaml", "--json", cwd=tmp_path)
    assert done.returncode == 1
    again = json.loads(done.stdout)
    assert again["specs"]["high"]["margin"] == -0.5
    assert not again["specs"]["high"]["met"]
    assert again["measures"]["high"]["value"] is None
    table = m3eda("report", "runs/divider", cwd=tmp_path).stdout.splitlines()
    [row] = [line for line in table if line.startswith("high") and "NO" in line]
    assert "is not finite" in row
    specs = load_design(tmp_path / "design.yaml").specs
    with Ledger(tmp_path / "runs" / "divider", read_only=True) as ledger:
        stored = [trial for segment in ledger.segments() for trial in ledger.trials(segment.id)]
    anew = [score(t.number, t.sizing, t.results, specs) for t in stored]
    assert len(anew) == 4
    assert {trial.margins["high"] for trial in anew} == {-0.5}
