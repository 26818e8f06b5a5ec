"""Which trial is best, and the summary as text, Markdown and JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from m3eda.design.types import NOMINAL, Corner, Limits, Objective, Parameter, Spec
from m3eda.report import text
from m3eda.report.summary import Tally, best_of
from m3eda.report.tables import (
    Table,
    ascii_safe,
    margin_text,
    markdown,
    measure_table,
    one_line,
    parameter_table,
    plain_text,
    quantity,
    spec_rows,
    spec_table,
    wanted_text,
)
from m3eda.report.text import duration, failures_line, json_text, rate, render_report, trial_json
from m3eda.simulate.trial import CornerResult, Sweep, score
from m3eda.simulate.types import State
from tests.report_samples import (
    failed_trial,
    good_trial,
    missing_measure_trial,
    sample_design,
    sample_sizing,
    sample_summary,
)

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def fixed_versions(monkeypatch):
    monkeypatch.setattr(text, "__version__", "0.0.0")
    monkeypatch.setattr(text.platform, "python_version", lambda: "3.x")


@pytest.mark.parametrize(
    ("format", "golden"),
    [("text", "report_met.txt"), ("markdown", "report_met.md"), ("json", "report_met.json")],
)
def test_report_of_met_specs(fixed_versions, format, golden):
    summary = sample_summary(failed_trial(0), missing_measure_trial(1), good_trial(2))
    assert render_report(summary, format) == (GOLDEN / golden).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("trials", "golden"),
    [
        ((missing_measure_trial(0), failed_trial(1)), "report_not_met.txt"),
        ((failed_trial(0),), "report_failed.txt"),
        ((), "report_nothing.txt"),
    ],
)
def test_text_report_of_specs_not_met(fixed_versions, trials, golden):
    summary = sample_summary(*trials)
    assert render_report(summary) == (GOLDEN / golden).read_text(encoding="utf-8")


def test_text_without_the_run_holds_no_time_and_no_count(fixed_versions):
    short = sample_summary(good_trial(2))
    long = replace(short, seconds=99.0, simulations=0, trials=40, runs=80)
    assert text.text_report(short, run=False) == text.text_report(long, run=False)
    assert text.text_report(short) != text.text_report(long)


def test_markdown_without_the_run_holds_no_time_and_no_count(fixed_versions):
    short = sample_summary(good_trial(2))
    long = replace(short, seconds=99.0, simulations=0, trials=40, runs=80)
    assert text.markdown_report(short, run=False) == text.markdown_report(long, run=False)


def test_ending_is_told():
    from m3eda.loop import End

    summary = sample_summary(good_trial(), ending=End.BUDGET)
    assert f"ended: {End.BUDGET.value}\n" in render_report(summary)
    assert json.loads(render_report(summary, "json"))["run"]["ended"] == "budget"


def test_new_simulations_are_told_apart_from_those_of_the_ledger():
    summary = sample_summary(good_trial(0), good_trial(1), simulations=1, seconds=2.0)
    assert "2 simulations (1 new) in 2.0 s, 0.5 a second\n" in render_report(summary)


# Which trial is best


def test_met_beats_every_reward():
    spec = Spec("gain", Limits(minimum=300.0))
    design = sample_design(specs={"gain": spec})
    met, missed = good_trial(1, design), good_trial(0, design, gain=299.9999)
    assert best_of([missed, met]) is met


def test_without_objective_the_larger_worst_margin_wins():
    thin, wide = good_trial(0, gain=301.0), good_trial(1, gain=400.0)
    assert best_of([thin, wide]) is wide


@pytest.mark.parametrize(
    ("objective", "winner"),
    [
        (Objective(minimize=("ibias",)), 0),
        (Objective(maximize=("fom",)), 1),
        (Objective(maximize=("absent",)), 0),
    ],
)
def test_objective_decides_among_trials_that_meet_every_spec(objective, winner):
    frugal = good_trial(0, ibias=1e-4, fom=1e5)
    quick = good_trial(1, ibias=4e-4, fom=9e5)
    assert best_of([quick, frugal], objective).number == winner


def pareto_summary(*currents_and_foms, design=None):
    trials = [
        good_trial(k, design, ibias=ibias, fom=fom)
        for k, (ibias, fom) in enumerate(currents_and_foms)
    ]
    return sample_summary(failed_trial(9), *trials, design=design)


FRONT = ((9e-4, 1e5), (1e-4, 1e5), (2e-4, 5e5), (4e-4, 6e5), (5e-4, 5e5))


def test_of_several_objectives_the_knee_of_the_front_is_handed_over():
    summary = pareto_summary(*FRONT)
    assert [trial.number for trial in summary.front] == [1, 2, 3]
    assert summary.best.number == 2
    assert summary.first.number == 0


def test_the_report_holds_the_whole_front_and_what_was_gained():
    shown = render_report(pareto_summary(*FRONT))
    assert "two_stage: all specs met (5 of 5); 3 sizings on the Pareto front\n" in shown
    table = shown[shown.index("trial ") : shown.index("\nibias: ")].splitlines()
    assert [line.split()[:3] for line in table[2:5]] == [
        ["1", "100", "uA"], ["2", "200", "uA"], ["3", "400", "uA"],
    ]  # fmt: skip
    assert [line.endswith("handed over") for line in table[2:5]] == [False, True, False]
    assert "ibias: 100 uA in trial 1, 88.9 % less than 900 uA in the first feasible one\n" in shown
    assert "fom: 600 kHz/A in trial 3, 500 % more than 100 kHz/A in the first" in shown
    assert "Pareto front: 3 sizings; handed over: trial 2, nearest to all the best\n" in shown


def test_the_front_as_data_and_as_markdown():
    summary = pareto_summary(*FRONT)
    data = json.loads(render_report(summary, "json"))
    assert [point["trial"] for point in data["pareto"]] == [1, 2, 3]
    assert data["pareto"][0]["objective"] == {"ibias": 1e-4, "fom": 1e5}
    assert data["pareto"][0]["sizing"] == summary.front[0].sizing
    assert data["pareto"][0]["measures"]["gain"] == {"value": 412.0, "unit": "V/V"}
    assert data["objective"]["ibias"] == {"wanted": "smallest", "value": 2e-4, "first": 9e-4}
    assert "| 2 | 200 uA | 500 kHz/A | handed over |" in render_report(summary, "markdown")


def test_one_objective_has_no_front_but_tells_what_was_gained():
    design = sample_design(objective=Objective(minimize=("ibias",)))
    summary = pareto_summary(*FRONT, design=design)
    shown = render_report(summary)
    assert "two_stage: all specs met (5 of 5); ibias 100 uA\n" in shown
    assert "Pareto" not in shown
    assert json.loads(render_report(summary, "json"))["pareto"] == []
    assert summary.best.number == 1
    only = render_report(pareto_summary((1e-4, 1e5), design=design))
    assert "ibias: 100 uA in trial 0, as in the first feasible one\n" in only


def test_nothing_is_said_of_the_objective_before_a_feasible_trial():
    shown = render_report(sample_summary(good_trial(0, gain=1.0)))
    assert "SPECS NOT MET (4 of 5)" in shown
    assert "feasible" not in shown
    assert "Pareto" not in shown


def test_without_specs_a_run_needs_a_value_of_the_objective():
    design = sample_design(specs={}, objective=Objective(minimize=("ibias",)))
    lost = CornerResult({"ibias": math.nan}, state=State.NO_CONVERGENCE, reason="no")
    failed = score(0, sample_sizing(), {NOMINAL: lost}, {})
    none, some = (sample_summary(*t, design=design) for t in ([failed], [failed, good_trial(1)]))
    assert not none.met
    assert "two_stage: NO VALUE OF THE OBJECTIVE" in render_report(none)
    assert some.met
    assert "two_stage: ibias 420 uA" in render_report(some)
    assert some.best.number == 1


def test_an_objective_tells_why_it_has_no_value_and_where_it_is_worst():
    design = sample_design(specs={}, objective=Objective(minimize=("ibias",)))
    none = CornerResult({"ibias": math.nan}, {"ibias": "no root"})
    swept = CornerResult({"ibias": 1.0}, swept={"ibias": Sweep("vdd", (1.0, 2.0), (1.0, 3.0))})
    notes = [
        spec_rows(design, score(0, sample_sizing(), {NOMINAL: result}, {}))[0].reason
        for result in (none, swept)
    ]
    assert notes == ["no root", "at vdd = 2"]


def test_objective_does_not_decide_where_specs_are_missed():
    near = good_trial(0, gain=299.0, ibias=9e-4)
    far = good_trial(1, gain=1.0, ibias=1e-9)
    assert best_of([far, near], Objective(minimize=("ibias",))) is near


def test_objective_is_taken_at_its_worst_corner():
    design = sample_design()

    def at_corners(number, *currents):
        results = {
            f"c{i}": CornerResult(dict(good_trial().measures) | {"ibias": ibias})
            for i, ibias in enumerate(currents)
        }
        return score(number, sample_sizing(), results, design.specs)

    even, uneven = at_corners(0, 4e-4, 4e-4), at_corners(1, 1e-4, 9e-4)
    assert best_of([uneven, even], design.objective) is even


def test_higher_reward_wins_where_no_trial_meets_every_spec():
    near, far = good_trial(1, gain=299.0), good_trial(0, gain=30.0)
    assert best_of([far, near]) is near


def test_worst_margin_breaks_a_tie_of_rewards():
    clipped = {"gain": 0.0, "ugbw": math.nan, "pm": math.nan, "vout": math.nan}
    one, other = good_trial(0, **clipped, ibias=math.nan), good_trial(1, **clipped, ibias=5e-4)
    assert best_of([one, other]) is other


def test_of_equal_trials_the_first_wins():
    assert best_of([good_trial(4), good_trial(2), good_trial(3)]).number == 2


def test_a_simulated_trial_beats_a_failed_one_of_the_same_reward():
    nothing = score(
        1, sample_sizing(), {"nominal": CornerResult({})}, sample_design().specs
    )  # fmt: skip
    assert best_of([failed_trial(0), nothing]) is nothing


def test_no_trials_have_no_best():
    assert best_of([]) is None


def test_tally_counts_failures_runs_and_the_best():
    tally = Tally()
    better = [tally.add(trial) for trial in (failed_trial(0), good_trial(1), good_trial(2))]
    assert better == [True, True, False]
    assert tally.add(failed_trial(3, State.TIMEOUT, "60 s"), replayed=True) is False
    assert (tally.trials, tally.replayed, tally.runs, tally.failed) == (4, 1, 6, 2)
    assert tally.failures == {State.NO_CONVERGENCE: 1, State.TIMEOUT: 1}
    assert tally.last_failure == "timeout: 60 s"
    assert tally.best.number == 1


def test_most_frequent_failure_comes_first():
    trials = [failed_trial(0), failed_trial(1, State.TIMEOUT), failed_trial(2, State.TIMEOUT)]
    line = failures_line(sample_summary(*trials))
    assert line == "3 of 3 simulations failed: 2 timeout, 1 no convergence"


# Tables


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        (Limits(minimum=1e7), ">= 10 MHz"),
        (Limits(maximum=1e7), "<= 10 MHz"),
        (Limits(minimum=1e6, maximum=1e7), "1 MHz to 10 MHz"),
        (Limits(target=1e7, tolerance=1e5), "10 MHz +- 100 kHz"),
        (Limits(maximum=2e7, target=1e7, tolerance=1e5), "<= 20 MHz, 10 MHz +- 100 kHz"),
    ],
)
def test_limits_in_words(limits, wanted):
    assert wanted_text(limits, "Hz") == wanted


@pytest.mark.parametrize(
    ("value", "limits", "shown"),
    [
        (1.1, Limits(minimum=1.0), "+10 %"),
        (0.99999, Limits(minimum=1.0), "-0.001 %"),
        (1.0, Limits(minimum=1.0), "+0 %"),
        (1.5, Limits(minimum=1.0, maximum=1.6), "+6.25 %"),
        (100.0, Limits(minimum=1.0), "+9900 %"),
        (0.05, Limits(minimum=0.0), "+50 mV"),
        (-0.05, Limits(minimum=0.0), "-50 mV"),
        (0.02, Limits(maximum=0.0), "-20 mV"),
        (0.5, Limits(target=0.0, tolerance=0.1), "-400 %"),
        (-3.0, Limits(minimum=-2.0), "-50 %"),
        (math.inf, Limits(minimum=1.0), "+inf %"),
        (math.nan, Limits(minimum=1.0), "-"),
    ],
)
def test_margin_in_words(value, limits, shown):
    assert margin_text(value, limits, "V") == shown


def test_specs_are_shown_at_their_worst_corner():
    spec = Spec("gain", Limits(minimum=300.0), corners={"ss": Limits(minimum=200.0)})
    design = sample_design(specs={"gain": spec}, objective=Objective(), corners=(Corner("ss"),))
    results = {"nominal": CornerResult({"gain": 330.0}), "ss": CornerResult({"gain": 202.0})}
    row = spec_rows(design, score(0, {}, results, design.specs))[0]
    assert (row.corner, row.wanted, row.margin, row.met) == ("ss", ">= 200 V/V", "+1 %", True)


def test_a_corner_without_a_number_is_the_worst():
    spec = Spec("gain", Limits(minimum=300.0))
    design = sample_design(specs={"gain": spec}, objective=Objective())
    results = {
        "nominal": CornerResult({"gain": 1.0}),
        "ff": CornerResult({}, state=State.TIMEOUT, reason="after 60 s"),
    }
    row = spec_rows(design, score(0, {}, results, design.specs))[0]
    assert (row.corner, row.measured, row.mark) == ("ff", "-", "NO")
    assert row.reason == "after 60 s"


def test_one_corner_needs_no_corner_column():
    assert "corner" not in spec_table(sample_design(), good_trial()).headers


def test_measures_are_listed_with_their_reasons():
    design = sample_design()
    rows = measure_table(design, missing_measure_trial()).rows
    assert rows[1] == ("ugbw", "-", "gain is below 1 at every frequency")
    assert rows[3] == ("ibias", "420 uA", "")


def test_parameters_at_their_limits_are_marked():
    parameters = {
        "low": Parameter("low", minimum=1.0, maximum=2.0),
        "high": Parameter("high", minimum=1.0, maximum=2.0),
        "only": Parameter("only", minimum=1.0, maximum=1.0),
    }
    trial = score(0, {"low": 1.0, "high": 2.0, "only": 1.0}, {"nominal": CornerResult({})}, {})
    table = parameter_table(sample_design(parameters=parameters), trial)
    assert [row[-1] for row in table.rows] == ["at its minimum", "at its maximum", ""]


def test_plain_text_is_aligned_ascii():
    table = Table(("name", "value"), (("r_Ω", "1 µF"), ("long name", "é")), ("value",))
    assert plain_text(table).splitlines() == [
        "name       value",
        "---------  -----",
        "r_Ohm       1 uF",
        "long name      ?",
    ]


def test_markdown_escapes_the_bar():
    assert markdown(Table(("a",), (("x|y",),))) == "| a |\n| --- |\n| x\\|y |\n"


def test_a_reason_cannot_break_a_table():
    assert one_line("first\n\x1b[2Jsecond\tthird\x00") == "first [2Jsecond third"
    assert ascii_safe("50 µV/√Hz ≥ 0 °C") == "50 uV/sqrtHz >= 0 degC"


def test_words_and_missing_numbers_are_quantities_too():
    assert (quantity("lvt", ""), quantity(math.nan, "V")) == ("lvt", "-")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (4.21, "4.2 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"),
     (200.4, "3 min 20 s"), (3599.7, "1 h 00 min"), (7500.0, "2 h 05 min")],
)  # fmt: skip
def test_durations(seconds, shown):
    assert duration(seconds) == shown


def test_rates_are_read_at_a_glance():
    assert [rate(number) for number in (0.5134, 12.14, 999.6, 1621.3)] == [
        "0.513", "12.1", "1000", "1621",
    ]  # fmt: skip


# JSON


def test_json_is_strict_and_nan_is_null():
    data = json.loads(
        json_text(trial_json(missing_measure_trial(3))),
        parse_constant=lambda word: pytest.fail(f"{word} is no JSON"),
    )
    assert data["corners"]["nominal"]["measures"]["ugbw"] is None
    assert data["corners"]["nominal"]["missing"]["ugbw"] == "gain is below 1 at every frequency"
    assert data["margins"]["ugbw"] is None
    assert (data["number"], data["met"], data["state"]) == (3, False, "complete")


def test_infinite_numbers_are_null_in_json():
    data = json.loads(json_text(trial_json(good_trial(0, gain=math.inf))))
    assert data["corners"]["nominal"]["measures"]["gain"] is None


def test_json_lines_are_lines():
    line = json_text(trial_json(failed_trial(0, reason="one\ntwo")), indent=None)
    assert line.count("\n") == 1
    assert line.endswith("}\n")


def test_json_of_no_trials_is_whole():
    data = json.loads(render_report(sample_summary(), "json"))
    assert (data["met"], data["trial"], data["sizing"], data["reward"]) == (False, None, {}, None)


def test_json_says_met_only_where_the_spec_holds_strictly():
    limit = 0.1 + 0.2  # a margin that rounds to 0 must not pass for met
    value = math.nextafter(limit, 0.0)
    spec = Spec("gain", Limits(minimum=limit))
    design = sample_design(specs={"gain": spec}, objective=Objective())
    trial = score(0, {}, {"nominal": CornerResult({"gain": value})}, design.specs)
    data = json.loads(render_report(sample_summary(trial, design=design), "json"))
    assert (data["specs"]["gain"]["met"], data["met"]) == (False, False)
