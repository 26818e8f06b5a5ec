"""`m3eda learn` takes along what earlier runs have simulated; `m3eda size --policy`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from m3eda import library
from m3eda.design.space import Space
from m3eda.flow import Project
from m3eda.places import learnt_file
from m3eda.policy.earlier import points_of
from m3eda.policy.response import read_response
from tests.helpers import changed, m3eda, only_line
from tests.test_learn import given_to, learn, learnt, nominal_filter, response_of  # noqa: F401

MEASURES = ("f3db", "far", "double")


def run(path: Path, folder: str, budget: int = 6, seed: int = 1) -> Path:
    """A run of random sizings; its specs are out of reach."""
    design = Project.load(path).design
    far = design.specs["far"]
    hard = design.with_spec(replace(far, limits=replace(far.limits, maximum=1e-9)))
    where = path.parent / folder
    library.size(hard, agent="random", budget=budget, seed=seed, run_dir=where)
    return where


def test_simulations_of_earlier_runs_are_points_whatever_their_specs(tmp_path):
    path = nominal_filter(tmp_path)
    where = run(path, "one")
    run(path, "one", seed=2)
    project = Project.load(path)
    x, values = points_of(project, (where, tmp_path / "nothing"), MEASURES)
    assert len(x) == 12
    space, evaluator = Space(project.design), project.evaluator()
    sizings = [evaluator.complete(space.sizing(point)) for point in x]
    results = [each["nominal"].measures for each in evaluator.evaluate(sizings)]
    evaluator.close()
    expected = np.array([[each[name] for name in MEASURES] for each in results])
    assert np.allclose(values, expected, equal_nan=True)
    again, _ = points_of(project, (where, where), MEASURES)
    assert len(again) == 12, "each sizing once"


def test_points_beyond_the_ranges_and_of_other_circuits_are_left_out(tmp_path):
    path = nominal_filter(tmp_path)
    where = run(path, "one", budget=30)
    text = path.read_text()
    path.write_text(text.replace("c: {min: 100p, max: 20n", "c: {min: 1n, max: 10n"))
    narrow, _ = points_of(Project.load(path), (where,), MEASURES)
    assert 0 < len(narrow) < 30
    assert ((narrow >= 0.0) & (narrow <= 1.0)).all()
    path.write_text(text.replace("cload: 1n}", "cload: 2n}"))
    other, values = points_of(Project.load(path), (where,), MEASURES)
    assert other.shape == (0, 3)
    assert values.shape == (0, 3)


def test_learning_takes_earlier_runs_along_unless_told_not_to(tmp_path, capsys):
    path = nominal_filter(tmp_path)
    run(path, "runs/filter")
    learn(path, 100, quiet=False)
    assert "learnt from 100 simulations" in (said := capsys.readouterr().out)
    assert " and 6 of earlier runs: " in said
    assert len(response_of(path).x) == 106
    learn(path, 100, ledger=False, quiet=False)
    assert "earlier runs" not in capsys.readouterr().out
    assert len(response_of(path).x) == 100


def test_runs_of_other_folders_are_added_once_and_kept(tmp_path):
    path = nominal_filter(tmp_path)
    where = run(path, "elsewhere")
    learn(path, 100, add=(where, where))
    assert response_of(path).facts["earlier"] == 6
    run(path, "elsewhere", budget=8)
    learn(path, 100, add=(where,))
    assert response_of(path).facts["earlier"] == 8
    learn(path, 100, fresh=True)
    assert response_of(path).facts["earlier"] == 8, "they stay"


def test_a_run_of_another_circuit_a_damaged_one_and_none_are_refused_in_one_line(tmp_path):
    pytest.importorskip("torch")
    path = nominal_filter(tmp_path)
    where = run(path, "elsewhere")
    changed(tmp_path, "cload: 1n}", "cload: 2n}")
    done = m3eda("learn", path, "--add", where, cwd=tmp_path)
    assert done.returncode == 2
    assert "no trial there is of this circuit" in only_line(done)
    ledger = where / "ledger.sqlite"
    ledger.write_bytes(ledger.read_bytes()[:5000])
    done = m3eda("learn", path, "--add", where, cwd=tmp_path)
    assert done.returncode == 4
    assert "damaged" in only_line(done)
    done = m3eda("learn", path, "--add", tmp_path / "none", cwd=tmp_path)
    assert done.returncode == 4
    assert "no ledger there" in only_line(done)
    done = m3eda("learn", path, "--add", where, "--no-ledger", cwd=tmp_path)
    assert done.returncode == 2
    assert "exclude each other" in only_line(done)


def test_size_goes_by_the_networks_of_a_file(learnt, tmp_path):  # noqa: F811
    path = nominal_filter(tmp_path)
    given_to(path, learnt, tmp_path / "kept.npz")
    done = m3eda("size", path, "--policy", "kept.npz", "--json", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    method = json.loads(done.stdout)["run"]["method"]
    assert "networks that have learnt 400 simulations" in method


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (["--policy", "none.npz"], 2, "there is no"),
        (["--policy", "design.yaml"], 4, "is damaged or nothing that `m3eda learn` wrote"),
        (
            ["--policy", "none.npz", "--agent", "cma"],
            2,
            "--policy is for the agent m3, not for cma",
        ),
    ],
)
def test_a_policy_that_cannot_be_used_is_told_in_one_line(tmp_path, given, code, words):
    done = m3eda("size", nominal_filter(tmp_path), *given, cwd=tmp_path)
    assert done.returncode == code
    assert words in only_line(done)


def test_learning_begins_with_the_networks_of_a_circuit_like_it(learnt, tmp_path):  # noqa: F811
    path = nominal_filter(tmp_path)
    changed(tmp_path, "cload: 1n}", "cload: 2n}")
    kept = learnt_file(Project.load(learnt).design)
    learn(path, 100)
    bare = response_of(path)
    learn(path, 100, begin=kept)
    begun, first = response_of(path), read_response(kept)
    assert begun.facts["circuit"] != first.facts["circuit"]
    assert begun.scales == first.scales
    rng, space = np.random.default_rng(5), Space(Project.load(path).design)
    points = space.snap(rng.random((200, space.dimension)))
    evaluator = Project.load(path).evaluator()
    sizings = [evaluator.complete(sizing) for sizing in space.sizings(points)]
    results = [each["nominal"].measures["f3db"] for each in evaluator.evaluate(sizings)]
    evaluator.close()
    missed = []
    for each in (bare, begun):
        scale = each.scales[each.measures.index("f3db")]
        said = scale.backward(each.answer(points, ["f3db"]).mean[:, 0])
        missed.append(np.nanmedian(np.abs(np.log(said / np.array(results)))))
    assert missed[1] < missed[0]


@pytest.mark.parametrize(
    ("harm", "code", "words"),
    [
        ("parameter", 2, "has other parameters or measures than the design"),
        ("damage", 4, "is damaged or nothing that `m3eda learn` wrote"),
        ("none", 2, "does not exist"),
    ],
)
def test_networks_that_learning_cannot_begin_with_are_refused(
    learnt,  # noqa: F811
    tmp_path,
    harm,
    code,
    words,
):
    path, file = nominal_filter(tmp_path), tmp_path / "kept.npz"
    if harm != "none":
        file.write_bytes(learnt_file(Project.load(learnt).design).read_bytes())
    if harm == "parameter":
        changed(tmp_path, "n: {min: 1, max: 9, step: 1}", "n: {value: 3}")
    if harm == "damage":
        file.write_bytes(file.read_bytes()[:-40])
    done = m3eda("learn", path, "--from", file, cwd=tmp_path)
    assert done.returncode == code
    assert words in only_line(done)
