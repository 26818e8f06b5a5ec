"""Testbenches simulated over a list of values of one condition."""

from __future__ import annotations

import json
import math

import pytest

from m3eda.design.types import Limits, Spec
from m3eda.simulate.encoding import decode_result, encode_result
from m3eda.simulate.trial import CornerResult, Sweep, score
from tests.helpers import changed, m3eda, only_line, trials

pytestmark = pytest.mark.simulator

NETLIST = """\
* A resistor with a temperature coefficient in a divider
v1 in 0 {{ vin }}
r1 in out 1k
r2 out 0 {{ r2 }} tc1=1m
rl out 0 {{ load }}
.op
.end
"""
DESIGN = """\
m3eda: 1
design: divider
testbenches:
  hot: {template: divider.cir.j2, conditions: {temp: [125, -40, 27]}}
  loaded: {template: divider.cir.j2, conditions: {load: [10k, 1meg]}}
  plain: divider.cir.j2
parameters:
  r2: {min: 1k, max: 100k, scale: log, unit: Ohm}
measures:
  vout: {testbench: plain, expr: op(v(out)), unit: V}
  v_temp: {testbench: hot, expr: op(v(out)), unit: V}
  r_temp: {testbench: hot, expr: v(out) / i(v1)}
  v_load: {testbench: loaded, expr: op(v(out)), unit: V}
  rise: {expr: "value_at(v_temp, 125) - value_at(v_temp, -40)"}
  spread: {expr: (max(v_temp) - min(v_temp)) / vout}
  relative: {expr: v_temp / vout}
  middle: {expr: "value_at(relative, 49)"}
  droop: {expr: peak_to_peak(v_load) / vout}
specs:
  v_temp: {min: 0.5, max: 0.9}
  vout: {min: 0.6}
conditions: {vin: 1, load: 1g}
agent: {name: random, budget: 30, seed: 1}
"""


def v_out(r2: float, temp: float, load: float = 1e9) -> float:
    hot = r2 * (1.0 + 1e-3 * (temp - 27.0))
    low = 1.0 / (1.0 / hot + 1.0 / load)
    return low / (1e3 + low)


@pytest.fixture
def divider(tmp_path):
    (tmp_path / "divider.cir.j2").write_text(NETLIST)
    (tmp_path / "design.yaml").write_text(DESIGN)
    return tmp_path


def measured(folder, r2: float = 2e3) -> dict:
    done = m3eda("check", "design.yaml", "--set", f"r2={r2}", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_measures_of_a_sweep_and_of_its_measures(divider):
    found = measured(divider)
    swept = found["swept"]["v_temp"]
    assert swept["condition"] == "temp"
    assert swept["points"] == [-40, 27, 125]
    expected = [v_out(2e3, temp) for temp in (-40, 27, 125)]
    assert swept["values"] == pytest.approx(expected, rel=1e-7)
    value = found["measures"]
    assert value["v_temp"] == pytest.approx(expected[1], rel=1e-7)
    assert value["rise"] == pytest.approx(expected[2] - expected[0], rel=1e-6)
    assert value["spread"] == pytest.approx((expected[2] - expected[0]) / expected[1], rel=1e-6)
    relative = [v / expected[1] for v in expected]
    assert found["swept"]["relative"]["values"] == pytest.approx(relative, rel=1e-6)
    line = relative[1] + (49 - 27) / (125 - 27) * (relative[2] - relative[1])
    assert value["middle"] == pytest.approx(line, rel=1e-6)
    loads = [v_out(2e3, 27.0, load) for load in (1e4, 1e6)]
    assert value["droop"] == pytest.approx((loads[1] - loads[0]) / expected[1], rel=1e-6)
    assert found["runs"] == 6


def test_specs_hold_at_every_point(divider):
    done = m3eda("size", "design.yaml", "--json", cwd=divider)
    assert done.returncode == 0, done.stderr
    for sizing, _ in trials(divider / "runs" / "divider")[-1:]:
        values = [v_out(sizing["r2"], temp) for temp in (-40, 27, 125)]
        assert 0.5 <= min(values) <= max(values) <= 0.9
    result = json.loads(done.stdout)
    assert result["specs"]["v_temp"]["met"]
    [v_temp] = [v for n, v in result["measures"].items() if n == "v_temp"]
    assert v_temp["swept"]["points"] == [-40, 27, 125]


def test_a_point_that_misses_is_the_one_shown(divider):
    changed(divider, "v_temp: {min: 0.5, max: 0.9}", "v_temp: {max: 0.667}")
    done = m3eda("check", "design.yaml", "--set", "r2=2k", cwd=divider)
    [row] = [line for line in done.stdout.splitlines() if line.startswith("v_temp")]
    assert " ".join(row.split()) == "v_temp 666.7 mV 651.1 mV to 687.1 mV over temp = -40 to 125"
    changed(divider, "budget: 30", "budget: 1")
    done = m3eda("size", "design.yaml", cwd=divider)
    assert done.returncode == 1
    [(sizing, _)] = trials(divider / "runs" / "divider")
    [row] = [line for line in done.stdout.splitlines() if line.startswith("v_temp")]
    assert row.endswith("NO   at temp = 125")
    assert f"{1e3 * v_out(sizing['r2'], 125):.4g} mV" in row


def test_killed_run_reads_its_sweeps_back(divider):
    changed(divider, "vout: {min: 0.6}", "vout: {min: 2}")
    first = m3eda("size", "design.yaml", "--json", "--budget", "4", cwd=divider)
    again = m3eda("size", "design.yaml", "--json", "--budget", "4", cwd=divider)
    assert first.returncode == again.returncode == 1
    assert json.loads(again.stdout)["run"]["new_simulations"] == 0
    assert json.loads(again.stdout)["measures"] == json.loads(first.stdout)["measures"]


def test_render_shows_every_point(divider):
    done = m3eda("render", "design.yaml", cwd=divider)
    labels = [line.split()[-2] for line in done.stdout.splitlines() if line.startswith("* ----")]
    assert labels == ["hot_temp-40", "hot_temp27", "hot_temp125", "loaded_load10000",
                      "loaded_load1e+06", "plain"]  # fmt: skip
    assert [line for line in done.stdout.splitlines() if line.startswith(".temp")] == [
        ".temp -40", ".temp 27", ".temp 125", ".temp 27", ".temp 27", ".temp 27"
    ]  # fmt: skip


def test_a_point_without_a_value_says_where(divider):
    changed(divider, "v_temp: {testbench: hot, expr: op(v(out)), unit: V}",
            "v_temp: {testbench: hot, expr: sqrt(v(out) - 0.66), unit: V}")  # fmt: skip
    found = measured(divider)
    assert math.isnan(found["swept"]["v_temp"]["values"][0] or math.nan)
    assert "(at temp = -40)" in found["reasons"]["v_temp"]
    assert found["reasons"]["rise"].startswith("needs v_temp: ")


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("[125, -40, 27]", "[125]", "a list of conditions needs two values or more"),
        ("[125, -40, 27]", "[27, 125, 27]", "holds a value twice"),
        ("[125, -40, 27]", "[27, hot]", "'hot' is not a number"),
        ("{temp: [125, -40, 27]}", "{temp: [27, 125], vin: [1, 2]}",
         "is a second list of conditions beside temp"),
        ("vin: 1,", "vin: [1, 2],", "conditions.vin: must be a number or a word, not a list"),
        ("rise: {expr: ", "rise: {testbench: plain, expr: ", "uses 'v_temp', which is not"),
    ],
)  # fmt: skip
def test_mistakes(divider, before, after, says):
    changed(divider, before, after)
    done = m3eda("check", "design.yaml", cwd=divider)
    assert done.returncode == 2
    assert says in only_line(done)


def test_points_that_lie_close_keep_decks_of_their_own(divider):
    changed(divider, "[10k, 1meg]", "[1000001, 1000002]")
    done = m3eda("render", "design.yaml", cwd=divider)
    labels = [line.split()[-2] for line in done.stdout.splitlines() if line.startswith("* ----")]
    assert labels[3:5] == ["loaded_load1000001.0", "loaded_load1000002.0"]


def test_a_failure_tells_at_which_point(divider):
    bad = "{% if load < 1e5 %}\nb1 out 0 v=nosuch(1)\n{% endif %}\n.op"
    changed(divider, ".op", bad, "divider.cir.j2")
    done = m3eda("check", "design.yaml", cwd=divider)
    assert done.returncode == 2
    assert "loaded: parse error" in only_line(done)
    assert "(at load = 10000)" in only_line(done)
    changed(divider, "{% if load < 1e5 %}", "{% if load > 0 %}", "divider.cir.j2")
    changed(divider, "  plain: divider.cir.j2\n", "")
    changed(divider, "vout: {testbench: plain,", "vout: {testbench: loaded,")
    everywhere = only_line(m3eda("check", "design.yaml", cwd=divider))
    assert "(at " not in everywhere.partition(" (the deck")[0]


def test_a_number_where_a_waveform_is_wanted(divider):
    changed(divider, 'middle: {expr: "value_at(relative, 49)"}', "middle: {expr: vout + sqrt(2)}")
    changed(divider, "relative: {expr: v_temp / vout}", "relative: {expr: value_at(vout, 27)}")
    reason = measured(divider)["reasons"]["relative"]
    assert reason.startswith("value_at wants a waveform such as v(out), and got 0.66666")


def test_scoring_takes_the_worst_point():
    sweep = Sweep("temp", (-40.0, 27.0, 125.0), (1.0, 1.2, math.nan))
    specs = {"v": Spec("v", Limits(minimum=1.1))}
    result = CornerResult({"v": 1.2}, swept={"v": sweep})
    trial = score(0, {}, {"nominal": result}, specs)
    assert not trial.met
    assert math.isnan(trial.margins["v"])
    assert trial.reward == -1.0
    good = CornerResult({"v": 1.2}, swept={"v": Sweep("temp", (1.0, 2.0), (1.15, 1.2))})
    trial = score(0, {}, {"nominal": good}, specs)
    assert trial.met
    assert trial.worst == {"v": 1.15}
    assert trial.margins["v"] == pytest.approx(0.05 / 1.1)
    again = decode_result(json.loads(json.dumps(encode_result(result))))
    assert again.swept["v"].points == sweep.points
    assert again.swept["v"].values[:2] == sweep.values[:2]
    assert math.isnan(again.swept["v"].values[2])
