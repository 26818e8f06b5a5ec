"""Sizing at every corner: what each strategy simulates, and that none calls good what is not."""

from __future__ import annotations

import json
import math
import re
import signal
from contextlib import closing
from dataclasses import replace
from typing import get_args

import pytest

from m3eda import library
from m3eda.agents.outputs import outputs
from m3eda.design.schema import SignoffEntry
from m3eda.design.types import NOMINAL, STRATEGIES, Limits, Objective, Signoff, Spec
from m3eda.errors import DesignError
from m3eda.flow import Project
from m3eda.ledger import Ledger
from m3eda.loop import Change, End, Run, Stop, size
from m3eda.pvt.choice import make_exploration
from m3eda.pvt.exploration import EXPLORATIONS
from m3eda.pvt.shifts import Shifts
from m3eda.report.summary import Tally, best_of
from m3eda.simulate.trial import CornerResult, score
from m3eda.simulate.types import State
from tests.helpers import changed, m3eda, only_line, started
from tests.learning_samples import write_filter

LOADS = {"nominal": 1e-9, "light": 0.1e-9, "heavy": 3e-9}
SIZING = {"r": 1000.0, "c": 1e-9, "n": 1.0}


def pole(c: float, r: float = 1000.0) -> float:
    return 1.0 / (2.0 * math.pi * r * c)


def many_loads(folder):
    """The filter with a grid of eleven loads."""
    path = write_filter(folder)
    loads = ", ".join(f"{0.1 + 0.29 * step:.2f}n" for step in range(11))
    changed(folder, "corners: [{name: light, cload: 0.1n}, {name: heavy, cload: 3n}]",
            f"corners: {{cload: [{loads}]}}")  # fmt: skip
    changed(folder, "f3db: {min: 10k}", "f3db: {min: 25k}")
    return path


def sized(path, strategy, **overrides):
    project = Project.load(path, corners=("all",), strategy=strategy, batch=1, **overrides)
    with closing(project.evaluator()) as evaluator:
        run = Run(project.design, evaluator, project.agent)
        found = list(size(run))
    return project.design, found


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_sizing_is_good_only_where_every_corner_was_simulated(tmp_path, strategy):
    design, found = sized(many_loads(tmp_path), strategy)
    assert found[-1].met
    assert list(found[-1].results) == [corner.name for corner in design.required]
    assert len(design.required) == 12
    for name, result in found[-1].results.items():
        load = LOADS.get(name) or float(name.removeprefix("cload"))
        c, r = found[-1].sizing["c"], found[-1].sizing["r"]
        assert result.measures["f3db"] == pytest.approx(pole(c + load, r), rel=0.02)
    assert not any(trial.met for trial in found[:-1])


def test_each_strategy_simulates_where_it_says(tmp_path):
    path = many_loads(tmp_path)
    counts = {name: [len(t.results) for t in sized(path, name, agent="search")[1]]
              for name in STRATEGIES}  # fmt: skip
    assert set(counts["brute-force"]) == {12}
    assert counts["progressive-hardest"][0] == 12
    # one corner, or two, until a sizing is good there
    assert min(counts["progressive-random"]) == min(counts["auto"]) == 1
    assert sum(counts["auto"]) < sum(counts["brute-force"])


def test_the_worst_corner_is_taken_up(tmp_path):
    design = Project.load(write_filter(tmp_path), corners=("all",),
                          strategy="progressive-random").design  # fmt: skip
    exploration = make_exploration(replace(design, agent=replace(design.agent, seed=1)))
    [first] = exploration.active
    results = {name: CornerResult({"f3db": pole(1e-9 + load), "far": 0.01 / load * 1e-9})
               for name, load in LOADS.items()}  # fmt: skip
    near = {first: results[first]}
    wanted = dict(design.specs)
    if score(0, SIZING, near, wanted).met:
        missing = {corner.name for corner in exploration.more(SIZING, near, wanted)}
        assert missing == set(LOADS) - {first}
    # far is 0.01 at nominal, 0.1 light and 0.0033 heavy: light fails a limit of 0.02
    wanted["far"] = Spec("far", Limits(maximum=0.02))
    assert exploration.hear([score(0, SIZING, results, wanted)], wanted) == (first != "light")
    assert "light" in exploration.active


def test_the_hardest_corner_is_where_the_first_sizing_does_worst(tmp_path):
    design = Project.load(write_filter(tmp_path), corners=("all",),
                          strategy="progressive-hardest").design  # fmt: skip
    exploration = make_exploration(design)
    nominal = {NOMINAL: CornerResult({"f3db": 20e3, "far": 0.2})}
    assert {c.name for c in exploration.more(SIZING, nominal, design.specs)} == {"light", "heavy"}
    results = {
        **nominal,
        "light": CornerResult({"f3db": 30e3, "far": 0.3}),
        "heavy": CornerResult({"f3db": 1e3, "far": 0.05}),
    }
    assert exploration.hear([score(0, SIZING, results, design.specs)], design.specs)
    assert exploration.active == ("heavy",)


def looked(tmp_path, **heavy):
    """`auto` after one look, at which the heavy corner is the hardest."""
    design = Project.load(write_filter(tmp_path), corners=("all",), strategy="auto").design
    exploration = make_exploration(design)
    assert exploration.active == (NOMINAL,)
    assert exploration.seen(design) is design
    results = {
        "nominal": CornerResult({"f3db": 20e3, "far": 0.05}),
        "light": CornerResult({"f3db": 30e3, "far": 0.08}),
        "heavy": CornerResult({"f3db": 5e3, "far": 0.02, **heavy}),
    }
    assert exploration.hear([score(0, SIZING, results, design.specs)], design.specs)
    return design, exploration, results


def test_the_first_sizing_that_is_good_at_the_nominal_corner_is_simulated_at_every_one(tmp_path):
    design = Project.load(write_filter(tmp_path), corners=("all",), strategy="auto").design
    exploration = make_exploration(design)
    bad, good = ({NOMINAL: CornerResult({"f3db": f3db, "far": 0.05})} for f3db in (9e3, 11e3))
    assert exploration.more(SIZING, bad, design.specs) == []
    assert not exploration.hear([score(0, SIZING, bad, design.specs)], design.specs)
    assert {c.name for c in exploration.more(SIZING, good, design.specs)} == {"light", "heavy"}


def test_the_search_goes_on_at_the_hardest_corner(tmp_path):
    design, exploration, results = looked(tmp_path)
    assert exploration.active == ("heavy",)
    assert exploration.seen(design).conditions["cload"] == 3e-9
    assert exploration.seen(design).specs is design.specs
    assert exploration.heard(SIZING, results, design.specs) == {"heavy": results["heavy"]}
    # a sizing that was not simulated there is heard as the look makes believe: a quarter, 0.4 times
    near = {NOMINAL: CornerResult({"f3db": 44e3, "far": 0.1})}
    told = exploration.heard({**SIZING, "r": 2000.0}, near, design.specs)
    assert set(told) == {"heavy"}
    assert told["heavy"].measures == pytest.approx({"f3db": 11e3, "far": 0.04})


def test_a_good_sizing_is_simulated_elsewhere_until_it_fails(tmp_path):
    design, exploration, _ = looked(tmp_path)
    other = {**SIZING, "r": 2000.0}
    bad = {"heavy": CornerResult({"f3db": 9e3, "far": 0.01})}
    assert exploration.more(other, bad, design.specs) == []
    # f3db is expected to be worst at the heavy corner, far at the light one: four times as much
    near = {"heavy": CornerResult({"f3db": 11e3, "far": 0.02})}
    assert [c.name for c in exploration.more(other, near, design.specs)] == ["light"]
    both = {**near, "light": CornerResult({"f3db": 66e3, "far": 0.08})}
    assert [c.name for c in exploration.more(other, both, design.specs)] == ["nominal"]
    failed = {**near, "light": CornerResult({"f3db": 66e3, "far": 0.11})}
    assert exploration.more(other, failed, design.specs) == []
    # that corner is simulated with each sizing from then on
    assert exploration.hear([score(1, other, failed, design.specs)], design.specs)
    assert exploration.active == ("heavy", "light")
    assert set(exploration.heard(other, near, design.specs)) == {"heavy", "light"}


def test_a_corner_of_which_nothing_is_known_is_simulated_first(tmp_path):
    design = Project.load(many_loads(tmp_path), corners=("all",), strategy="auto").design
    exploration = make_exploration(design)
    first, second = list(exploration.corners)[1:3]
    results = {name: CornerResult({"f3db": f3db, "far": 0.01})
               for name, f3db in ((NOMINAL, 30e3), (first, 20e3))}  # fmt: skip
    assert exploration.hear([score(0, SIZING, results, design.specs)], design.specs)
    assert exploration.active == (first,)
    near = {first: CornerResult({"f3db": 30e3, "far": 0.01})}
    assert [c.name for c in exploration.more(SIZING, near, design.specs)] == [second]


def test_a_measure_that_is_lost_at_a_corner_is_lost(tmp_path):
    design, exploration, results = looked(tmp_path, f3db=math.nan)
    assert exploration.active == ("heavy",)
    told = exploration.heard(SIZING, results, design.specs)
    assert math.isnan(told["heavy"].measures["f3db"])
    assert told["heavy"].measures["far"] == pytest.approx(0.02)
    # and nothing is believed of it at a corner that was not simulated
    assert exploration.heard(SIZING, {NOMINAL: results[NOMINAL]}, design.specs) == {}


@pytest.mark.parametrize("strategy", ["auto", "progressive-hardest", "progressive-random"])
def test_what_fails_at_the_active_corners_says_nothing_of_others(tmp_path, strategy):
    """Trials of an earlier run by brute force do not make every corner an active one."""
    design = Project.load(write_filter(tmp_path), corners=("all",), strategy=strategy).design
    exploration = make_exploration(design)
    trials = [
        score(number, SIZING, {
            name: CornerResult({"f3db": 1.0, "far": 1.0 + (name == worst)}) for name in LOADS
        }, design.specs)
        for number, worst in enumerate(("heavy", "light", "nominal"))
    ]  # fmt: skip
    exploration.hear(trials, design.specs)
    assert len(exploration.active) == 1


def test_trials_of_other_corners_are_heard_and_do_no_harm(tmp_path):
    design, exploration, results = looked(tmp_path)
    elsewhere = {name: results[name] for name in ("nominal", "light")}
    exploration.hear([score(1, SIZING, elsewhere, design.specs)], design.specs)
    assert set(exploration.heard(SIZING, elsewhere, design.specs)) == {"heavy"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_trials_at_none_of_the_corners_of_today_tell_nothing(tmp_path, strategy):
    design = Project.load(write_filter(tmp_path), corners=("all",), strategy=strategy).design
    exploration = make_exploration(design)
    before = exploration.active
    elsewhere = {"ss": CornerResult({"f3db": 1.0, "far": 1.0})}
    assert not exploration.hear([score(0, SIZING, elsewhere, design.specs)], design.specs)
    assert exploration.active == before
    assert not exploration.heard(SIZING, elsewhere, design.specs)


def test_a_measure_moves_by_a_factor_where_it_is_positive_else_by_an_amount(tmp_path):
    design = Project.load(write_filter(tmp_path), corners=("all",)).design
    shifts = Shifts(design)
    results = {
        "nominal": CornerResult({"f3db": 10.0, "far": -2.0}),
        "light": CornerResult({"f3db": 20.0, "far": -3.0}),
    }
    shifts.add(SIZING, results)
    bandwidth, far = Spec("f3db", Limits(minimum=8.0)), Spec("far", Limits(minimum=-4.0))
    known = {"nominal": CornerResult({"f3db": 5.0, "far": -1.0})}
    assert shifts.values(SIZING, known, bandwidth)[:2] == pytest.approx([5.0, 10.0])
    assert shifts.values(SIZING, known, far)[:2] == pytest.approx([-1.0, -2.0])
    assert math.isnan(shifts.values(SIZING, known, far)[2])
    # a sizing between two that were looked at lies between them, near one like that
    shifts.add({**SIZING, "r": 51e3}, {**results, "light": CornerResult({"f3db": 5.0})})
    assert shifts.values(SIZING, known, bandwidth)[1] == pytest.approx(10.0, rel=1e-3)
    middle = shifts.values({**SIZING, "r": 26e3}, known, bandwidth)[1]
    assert 2.5 < middle < 10.0


def test_limits_of_its_own_at_a_corner_are_modelled_apart(tmp_path):
    design = Project.load(write_filter(tmp_path), corners=("all",)).design
    spec = Spec("far", Limits(maximum=0.1), corners={"light": Limits(maximum=0.2)})
    rows = [row for row in outputs(design.with_spec(spec)) if row.measure == "far"]
    assert [(row.high, list(row.specs)) for row in rows] == [
        (0.1, ["nominal", "heavy"]), (0.2, ["light"])
    ]  # fmt: skip
    results = {
        "nominal": CornerResult({"far": 0.05}), "light": CornerResult({"far": 0.19}),
        "heavy": CornerResult({"far": 0.02}),
    }  # fmt: skip
    trial = score(0, SIZING, results, {"far": spec})
    assert [row.value(trial) for row in rows] == [0.05, 0.19]


def test_a_trial_without_a_required_corner_is_not_met(tmp_path):
    design = Project.load(write_filter(tmp_path), corners=("all",)).design
    good = CornerResult({"f3db": 20e3, "far": 0.05})
    some = score(0, SIZING, {"nominal": good, "light": good}, design.specs, design.required)
    assert (some.met, some.reward, some.held) == (False, 0.0, 2)
    every = dict.fromkeys(("nominal", "light", "heavy"), good)
    assert score(0, SIZING, every, design.specs, design.required).met


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_objective_is_that_of_sizings_that_hold_everywhere(tmp_path, strategy):
    path = many_loads(tmp_path)
    project = Project.load(path, corners=("all",), strategy=strategy, batch=1, budget=25)
    design = replace(project.design, objective=Objective(maximize=("f3db",)))
    with closing(project.evaluator()) as evaluator:
        run = Run(design, evaluator.for_design(design), project.agent)
        found = list(size(run))
    good = [trial for trial in found if trial.met]
    assert len(good) > 1
    assert all(len(trial.results) == 12 for trial in good)


def every_result(run):
    with Ledger(run, read_only=True) as ledger:
        return [
            (t.sizing, [(name, repr(r.measures)) for name, r in t.results.items()])
            for t in ledger.trials(1)
        ]


def hopeless(folder):
    path = many_loads(folder)
    changed(folder, "f3db: {min: 25k}", "f3db: {min: 10meg}")
    return path


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_that_meets_nothing_ends_with_its_best_sizing_at_every_corner(tmp_path, strategy):
    design, found = sized(hopeless(tmp_path), strategy, budget=10)
    last = found[-1]
    assert not last.met
    assert list(last.results) == [corner.name for corner in design.required]
    assert len({tuple(sorted(trial.sizing.items())) for trial in found}) == 10
    if strategy == "brute-force":
        assert len(found) == 10
    else:
        before = best_of(found[:-1])
        assert last.sizing == before.sizing
        assert len(before.results) < 12
        assert best_of(found) is last


@pytest.mark.parametrize("end", [End.STOPPED, End.TIME])
def test_what_the_user_ends_is_not_simulated_any_further(tmp_path, end):
    project = Project.load(hopeless(tmp_path), corners=("all",), batch=1, budget=5)
    design = replace(project.design, agent=replace(project.design.agent, seconds=1.0))
    now = [0.0]
    with closing(project.evaluator()) as evaluator:
        run = Run(design, evaluator, project.agent, clock=lambda: now[0])
        trials = size(run)
        for _ in range(5):
            assert len(next(trials).results) == 1
        now[0] = 2.0 * (end is End.TIME)
        with pytest.raises(StopIteration) as stop:
            trials.send(Stop() if end is End.STOPPED else None)
    # the budget is spent as well
    assert stop.value.value is (End.STOPPED if end is End.STOPPED else End.BUDGET)
    assert len(run.trials) == 5


def ended_with(path, change, budget, **overrides):
    """Trials, notes, and why the run ended that hears of a changed design after its last sizing."""
    project = Project.load(path, corners=("all",), batch=1, budget=budget, **overrides)
    notes = []
    with closing(project.evaluator()) as evaluator:
        run = Run(project.design, evaluator, project.agent, note=notes.append)
        trials = size(run)
        for _ in range(budget):
            next(trials)
        try:
            trials.send(Change(change(project.design)))
            next(trials)
        except StopIteration as stop:
            return run.trials, notes, stop.value
    raise AssertionError("the budget is spent")


def softer(design):
    """The design with limits that every sizing meets, so that the last look does."""
    loose = {"f3db": Limits(minimum=1e-9), "far": Limits(maximum=1e9)}
    specs = {name: replace(spec, limits=loose[name]) for name, spec in design.specs.items()}
    return replace(design, specs=specs)


def test_the_last_look_ends_a_run_whose_best_sizing_turns_out_good(tmp_path):
    trials, _, ending = ended_with(hopeless(tmp_path), softer, 3)
    assert trials[-1].met
    assert ending is End.SPECS_MET


def test_what_is_no_sizing_of_a_changed_design_is_not_looked_at(tmp_path):
    trials, _, ending = ended_with(
        hopeless(tmp_path), lambda design: softer(design).pinned("n", 7.5), 3
    )
    assert len(trials) == 3
    assert not any(trial.met for trial in trials)
    assert ending is End.BUDGET


def test_the_last_look_shows_a_yield_that_is_wanted(tmp_path):
    path = hopeless(tmp_path)
    with path.open("a") as file:
        file.write("variation: {sigma: {r: 3%}, yield: 95%, samples: 100}\n")
    trials, notes, _ = ended_with(path, softer, 3)
    assert trials[-1].met
    assert notes[-1].endswith("yield at least 95 %")


def test_a_sizing_that_is_looked_at_again_is_counted_once(tmp_path):
    _, found = sized(hopeless(tmp_path), "auto", budget=6)
    tally = Tally()
    for trial in found:
        tally.add(trial, replayed=True)
    assert len(found) == 7
    assert tally.trials == tally.replayed == 6
    assert tally.corners == 6 + 11
    assert tally.failed == len({t.sizing["c"] for t in found if t.state is not State.COMPLETE})


def test_the_agent_is_told_of_limits_at_the_active_corners_alone(tmp_path):
    design = Project.load(write_filter(tmp_path), corners=("all",), strategy="auto").design
    own = {"light": Limits(minimum=40e3), "heavy": Limits(minimum=5e3)}
    design = design.with_spec(Spec("f3db", Limits(minimum=10e3), corners=own))
    exploration = make_exploration(design)

    def lows():
        rows = outputs(exploration.seen(design))
        return [row.low for row in rows if row.measure == "f3db"]

    assert lows() == [10e3]
    values = {NOMINAL: 12e3, "light": 50e3, "heavy": 4e3}
    results = {name: CornerResult({"f3db": f3db, "far": 0.05}) for name, f3db in values.items()}
    exploration.hear([score(0, SIZING, results, design.specs)], design.specs)
    assert exploration.active == ("heavy",)
    assert lows() == [5e3]
    results |= {"heavy": CornerResult({"f3db": 6e3, "far": 0.05}),
                "light": CornerResult({"f3db": 30e3, "far": 0.05})}  # fmt: skip
    exploration.hear([score(1, SIZING, results, design.specs)], design.specs)
    assert exploration.active == ("heavy", "light")
    assert sorted(lows()) == [5e3, 40e3]


def test_the_last_look_is_no_sizing_of_the_budget(tmp_path):
    command = ("size", hopeless(tmp_path).name, "--corner", "all", "--batch", 1)

    def counts(budget, folder="run"):
        done = m3eda(*command, "--run-dir", folder, "--budget", budget, cwd=tmp_path)
        assert done.returncode == 1, done.stderr
        assert "at 12 of 12 corners" in done.stdout
        found = re.search(r"(\d+) sizings, .* simulated in all(?: \((\d+) new\))?", done.stdout)
        return int(found[1]), int(found[2] or found[1])

    assert counts(6) == (6, 6)
    assert counts(6) == (6, 0)
    # a larger budget goes on with the same trials, a smaller one leaves them as they are
    assert counts(9) == (9, 3)
    whole = every_result(tmp_path / "run")
    assert counts(6) == (6, 0)
    assert every_result(tmp_path / "run") == whole
    assert counts(9) == (9, 0)
    assert counts(9, "straight") == (9, 9)
    assert every_result(tmp_path / "straight") == whole


@pytest.mark.parametrize("strategy", ["auto", "progressive-hardest"])
def test_an_interrupted_run_goes_on_as_it_would_have(tmp_path, strategy):
    path = hopeless(tmp_path)
    command = ("size", path.name, "--corner", "all", "--strategy", strategy, "--budget", 40,
               "--stream")  # fmt: skip
    whole = m3eda(*command, "--run-dir", "whole", cwd=tmp_path)
    with started(*command, "--run-dir", "cut", cwd=tmp_path) as child:
        assert child.stdout is not None
        for _ in range(3):
            child.stdout.readline()
        child.send_signal(signal.SIGINT)
        child.stdout.read()
        assert child.wait(timeout=60) in (130, whole.returncode)
    again = m3eda(*command, "--run-dir", "cut", cwd=tmp_path)
    assert again.returncode == whole.returncode == 1, again.stderr
    assert every_result(tmp_path / "cut") == every_result(tmp_path / "whole")


def test_the_design_file_says_where_it_must_hold(tmp_path):
    path = many_loads(tmp_path)
    path.write_text(path.read_text() + "signoff: {corners: all}\n")
    done = m3eda("size", path, "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert len(found["corners"]) == 12
    assert m3eda("verify", path, cwd=tmp_path).returncode == 0
    report = m3eda("report", tmp_path / "runs" / "filter", cwd=tmp_path)
    assert report.stdout.startswith("filter: all specs met (2 of 2) at 12 corners")
    assert f"{found['counts']['corners']} corners simulated in all" in report.stdout


def test_from_python(tmp_path):
    path = many_loads(tmp_path)
    done = library.size(path, corners=["all"], strategy="auto")
    assert done.met
    assert len(done.best.results) == 12
    again = library.size(library.load_design(path), corners=["cload3e-09"])
    assert list(again.best.results) == ["nominal", "cload3e-09"]
    with pytest.raises(ValueError, match="strategy must be one of auto"):
        library.size(path, corners=["all"], strategy="hardest")
    with pytest.raises(DesignError, match="no corner is called 'heavy'"):
        library.size(library.load_design(path), corners=["heavy"])


def test_one_corner_may_be_written_as_a_word(tmp_path):
    path = write_filter(tmp_path)
    path.write_text(path.read_text() + "signoff: {corners: heavy, strategy: brute-force}\n")
    assert Project.load(path).design.signoff == Signoff(("heavy",), "brute-force")
    # what the command line says replaces it
    assert Project.load(path, corners=("light",)).design.signoff.corners == ("light",)


def test_a_nominal_result_says_that_it_is_one(tmp_path):
    path = write_filter(tmp_path)
    done = m3eda("size", path, cwd=tmp_path)
    assert "nominal corner alone: `m3eda verify` tries the other 2" in done.stdout


def test_what_is_wrong_is_told_at_its_place(tmp_path):
    path = write_filter(tmp_path)
    whole = path.read_text()
    path.write_text(whole + "signoff: {corners: [hevy], strategy: auto}\n")
    done = m3eda("size", path, cwd=tmp_path)
    assert done.returncode == 2
    line = only_line(done)
    assert "signoff.corners" in line
    assert "did you mean heavy" in line
    assert f"design.yaml:{len(path.read_text().splitlines())}" in line
    path.write_text(whole + "signoff: {corners: all, strategy: hardest}\n")
    done = m3eda("size", path, cwd=tmp_path)
    assert done.returncode == 2
    assert "signoff.strategy" in only_line(done)


def test_every_strategy_has_a_name_and_every_name_a_strategy():
    assert sorted(EXPLORATIONS) == sorted(STRATEGIES)
    assert get_args(SignoffEntry.model_fields["strategy"].annotation) == STRATEGIES


def test_trials_outside_the_space_of_today_are_left_out(tmp_path):
    path = many_loads(tmp_path)
    assert m3eda("size", path, "--corner", "all", "-q", cwd=tmp_path).returncode == 0
    changed(tmp_path, "r: {min: 1k, max: 100k, series: E24, unit: Ohm}",
            "r: {min: 5k, max: 100k, series: E24, unit: Ohm}")  # fmt: skip
    done = m3eda("size", path, "--corner", "all", "--resume", "--budget", 30, cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr
