"""`m3eda explain`: what each spec depends on, against what is known in closed form."""

from __future__ import annotations

import json
import math

import pytest

from m3eda.flow import Execution, Project
from m3eda.signoff.sensitivity import (
    SHOWN,
    Effect,
    Sensitivity,
    cheapest,
    one_at_a_time,
    regression,
    variables,
)
from m3eda.simulate.trial import CornerResult, score
from tests.helpers import changed, m3eda, only_line
from tests.learning_samples import write_filter

SIZING = {"r": 1000.0, "c": 1e-9, "n": 2.0}


def moved(path, sizing=SIZING):
    project = Project.load(path)
    return project, one_at_a_time(project, sizing, Execution(cache=False), path.parent / "run")


def test_slopes_are_those_of_the_formula(tmp_path):
    project, found = moved(write_filter(tmp_path))
    effects = {effect.name: effect for effect in found.parameters}
    # f3db = 1 / (2 pi r (c + 1n)): r to the power of -1, half of c
    assert effects["r"].elasticity["f3db"] == pytest.approx(-1.0, abs=0.03)
    assert effects["c"].elasticity["f3db"] == pytest.approx(-0.5, abs=0.02)
    assert effects["n"].elasticity["f3db"] == pytest.approx(0.0, abs=1e-9)
    f3db = found.trial.measures["f3db"]
    change = effects["c"].values["f3db"]
    assert change == pytest.approx(-0.5 * f3db * math.log(SHOWN), rel=0.03)
    assert effects["c"].margins["f3db"] == pytest.approx(change / 10e3)
    # far wants to be small: less of it is more margin
    assert effects["c"].margins["far"] > 0.0
    # two steps a parameter, but for r, which stands at its limit
    assert found.simulations == 1 + 2 * 3 - 1 + 2
    assert found.binding(project.design).measure == "far"


def test_corner_variables_are_moved_alone(tmp_path):
    path = write_filter(tmp_path)
    changed(
        tmp_path, "- " if False else "conditions: {cload: 1n}", "conditions: {cload: 1n, temp: 27}"
    )
    changed(tmp_path, "{name: heavy, cload: 3n}", "{name: heavy, cload: 3n, temp: 125}")
    design = Project.load(path).design
    assert [each.name for each in variables(design)] == ["cload 1e-10", "cload 3e-09", "temp 125"]
    _, found = moved(path)
    light, heavy, hot = found.corners
    assert light.values["f3db"] > 0.0 > heavy.values["f3db"]
    assert hot.values["f3db"] == pytest.approx(0.0, abs=1e-6)
    assert math.isnan(light.elasticity["f3db"])


def test_a_regression_over_trials_of_the_formula_finds_its_powers(tmp_path):
    path = write_filter(tmp_path)
    changed(tmp_path, "far: {max: 0.1}", "far: {max: 0.001}")
    m3eda("size", path, "-q", "--agent", "random", "--budget", 400, cwd=tmp_path)
    done = m3eda("explain", path, "--method", "regression", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["simulations"] == 0
    assert found["explained"]["f3db"] > 0.98
    assert found["parameters"]["r"]["elasticity"]["f3db"] == pytest.approx(-1.0, abs=0.15)
    assert found["corners"] == {}


def test_trials_of_the_netlist_before_an_edit_are_left_out(tmp_path):
    path = write_filter(tmp_path)
    m3eda("size", path, "-q", "--agent", "random", "--budget", 60, cwd=tmp_path)
    solve = (tmp_path / "filter.cir.j2").read_text()
    (tmp_path / "filter.cir.j2").write_text("* edited\n" + solve)
    m3eda("size", path, "-q", "--budget", 60, cwd=tmp_path)
    done = m3eda("explain", path, "--method", "regression", cwd=tmp_path)
    assert done.returncode == 2
    assert "holds no 9 trials of this design" in only_line(done)


def test_a_regression_needs_trials(tmp_path):
    path = write_filter(tmp_path)
    m3eda("size", path, "-q", cwd=tmp_path)
    done = m3eda("explain", path, "--method", "regression", "--set", "c=3n", cwd=tmp_path)
    assert done.returncode == 2
    assert "holds no 9 trials of this design" in only_line(done)
    project = Project.load(path)
    trial = score(0, SIZING, {"nominal": CornerResult({"f3db": 1e4, "far": 0.1})},
                  project.design.specs)  # fmt: skip
    assert regression(project.design, trial, []) is None


def test_cheap_is_what_gains_much_and_takes_little(tmp_path):
    design = Project.load(write_filter(tmp_path)).design
    results = {"nominal": CornerResult({"f3db": 10.1e3, "far": 0.05})}
    trial = score(0, SIZING, results, design.specs)
    nothing = {"f3db": math.nan, "far": math.nan}
    effects = (
        Effect("r", nothing, {"f3db": -0.10, "far": 0.25}, nothing),
        Effect("c", nothing, {"f3db": -0.05, "far": 0.01}, nothing),
        Effect("n", nothing, {"f3db": 0.01, "far": 0.01}, nothing),
    )
    found = Sensitivity(trial, effects, (), {}, 0)
    assert found.binding(design).measure == "f3db"
    n, c, r = cheapest(found, "f3db")
    assert (n.parameter, n.up, n.price, n.payer) == ("n", True, 0.0, "")
    assert (c.parameter, c.up, c.gain, c.payer) == ("c", False, 0.05, "far")
    assert c.price == pytest.approx(0.01 / 0.5)
    assert (r.parameter, r.price) == ("r", pytest.approx(0.5))


def test_the_report_names_what_binds(tmp_path):
    path = write_filter(tmp_path)
    assert m3eda("size", path, "-q", cwd=tmp_path).returncode == 0
    done = m3eda("explain", path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert " binds, with a margin of +" in lines[0]
    assert "margin is had most cheaply by: " in done.stdout
    assert "change of each margin where a parameter grows by 10 %:" in lines
    assert "change of each margin at other conditions:" in lines
    marked = m3eda("explain", path, "--format", "markdown", cwd=tmp_path)
    assert "| parameter | value | f3db | far |" in marked.stdout
    # what was simulated is kept
    found = json.loads(m3eda("explain", path, "--format", "json", cwd=tmp_path).stdout)
    assert found["simulations"] == 0


def test_a_spec_that_is_lost_on_the_way_is_said_to_be(tmp_path):
    path = write_filter(tmp_path)
    changed(tmp_path, "n: {min: 1, max: 9, step: 1}", "n: {min: 1, max: 9, step: 1, start: 2}")
    changed(tmp_path, "cload: 3n}", "cload: 3n}, {name: broken, cload: 50n}")
    before, after = 'values["c"] > 10e-9', 'values["c"] + values["cload"] > 20e-9'
    solve = (tmp_path / "solve.py").read_text()
    (tmp_path / "solve.py").write_text(solve.replace(before, after))
    _, found = moved(path)
    assert math.isnan(found.corners[-1].margins["f3db"])
    sizing = json.dumps({"sizing": SIZING})
    (tmp_path / "own.json").write_text(sizing)
    done = m3eda("explain", path, "--sizing", "own.json", cwd=tmp_path)
    assert "lost" in done.stdout
    assert "of the corner variables cload 5e-08 takes most of it" in done.stdout


def test_a_choice_moves_to_its_neighbours_and_a_word_not_at_all(tmp_path):
    path = write_filter(tmp_path)
    _, found = moved(path, {**SIZING, "r": 2200.0})
    effects = {effect.name: effect for effect in found.parameters}
    assert effects["r"].elasticity["f3db"] == pytest.approx(-1.0, abs=0.05)


def test_bad_input_is_one_line(tmp_path):
    path = write_filter(tmp_path)
    done = m3eda("explain", path, cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no sizing to explain" in only_line(done)
    text = path.read_text()
    a, b = text.index("specs:"), text.index("conditions:")
    path.write_text(text[:a] + "objective: {maximize: f3db}\n" + text[b:])
    (tmp_path / "own.json").write_text(json.dumps({"sizing": SIZING}))
    done = m3eda("explain", path, "--sizing", "own.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "has no specs to explain" in only_line(done)
