"""`m3eda learn` and the agent `m3`: a circuit is learnt once, then sized by a few simulations."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from m3eda import library
from m3eda.agents.auto import Auto
from m3eda.design.space import Space
from m3eda.errors import DesignError, SimulatorBroken, StorageError
from m3eda.flow import Project
from m3eda.ledger import Ledger
from m3eda.places import learnt_file
from m3eda.policy.agent import M3
from m3eda.policy.known import circuit_of, translated
from m3eda.policy.response import (
    Response,
    Scale,
    answers_of,
    inputs,
    read_response,
    write_response,
)
from tests.helpers import hide_module, m3eda, only_line
from tests.learning_samples import CLOSED, DESIGN, write_filter

NOMINAL = DESIGN.partition("corners:")[0].replace("f3db: {min: 10k}", "f3db: {min: 40k}")


def nominal_filter(folder: Path, closed: bool = True) -> Path:
    """The filter without its corners, as they are not learnt."""
    path = write_filter(folder, closed)
    path.write_text(NOMINAL + (CLOSED if closed else ""))
    return path


def learn(path: Path, simulations: int = 400, **words):
    pytest.importorskip("torch")
    from m3eda.policy import fitting
    from m3eda.policy.learn import LearnOptions, learn_command

    given = {"quiet": True, **words}
    small = fitting.Fitting(width=32, blocks=2, batch=128, steps=2500)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "FITTING", small)
        return learn_command(Project.load(path), LearnOptions(simulations=simulations, **given))


@pytest.fixture(scope="module")
def learnt(tmp_path_factory) -> Path:
    path = nominal_filter(tmp_path_factory.mktemp("learnt"))
    learn(path)
    return path


def response_of(path: Path) -> Response:
    return read_response(learnt_file(Project.load(path).design))


def given_to(path: Path, learnt: Path, to: Path | None = None) -> Path:
    """The file of `learnt` as if the design at `path` had been learnt: its model lies elsewhere."""
    project, response = Project.load(path), response_of(learnt)
    kept = to or learnt_file(project.design)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_response(
        kept, replace(response, facts={**response.facts, "circuit": circuit_of(project)})
    )
    return kept


def test_a_learnt_circuit_is_sized_by_a_few_simulations(learnt, tmp_path):
    result = library.size(learnt, agent="m3", seed=1)
    assert result.met
    assert len(result.trials) <= 3
    agent = Project.load(learnt, agent="m3").agent(Project.load(learnt, agent="m3").design)
    assert agent.describe() == "known circuit: networks that have learnt 400 simulations of it"


def test_answers_are_near_what_a_simulation_gives(learnt):
    response, project = response_of(learnt), Project.load(learnt)
    rng, space = np.random.default_rng(5), Space(project.design)
    points = space.snap(rng.random((40, space.dimension)))
    evaluator = project.evaluator()
    sizings = [evaluator.complete(space.sizing(point)) for point in points]
    results = [each["nominal"].measures for each in evaluator.evaluate(sizings)]
    evaluator.close()
    answer = response.answer(points, ["f3db"])
    wanted = np.array([each["f3db"] for each in results])
    there = np.isfinite(wanted)
    assert 0 < there.sum() < 40, "some sizings fail, which is learnt as well"
    said = response.scales[response.measures.index("f3db")].backward(answer.mean[:, 0])
    assert np.median(np.abs(said[there] / wanted[there] - 1.0)) < 0.05
    chances = np.exp(answer.exists[:, 0])
    assert chances[there].mean() > 0.9
    assert chances[~there].mean() < 0.5
    error = response.errors[response.measures.index("f3db")]
    assert 0.0 < error < 0.2


def test_numpy_answers_as_torch_does(learnt):
    torch = pytest.importorskip("torch")
    from m3eda.policy.fitting import outputs_of

    response = response_of(learnt)
    x = np.random.default_rng(1).random((7, len(response.axes)))
    given = torch.from_numpy(np.array(inputs(response.axes, x)))
    weights = {name: torch.from_numpy(array) for name, array in response.weights.items()}
    count = weights["first.weight"].shape[0]
    expected = outputs_of(weights, given.expand(count, *given.shape)).numpy()
    assert np.allclose(answers_of(response.weights, given.numpy()), expected, atol=1e-5)


def test_the_same_command_goes_on_and_then_finds_all_done(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    from m3eda.policy import fitting
    from m3eda.simulate.evaluator import Evaluator

    path = nominal_filter(tmp_path)
    fit = fitting.fit_response

    def interrupted(*given, **words):
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "fit_response", interrupted)
    with pytest.raises(KeyboardInterrupt):
        learn(path, 200)
    monkeypatch.setattr(fitting, "fit_response", fit)
    monkeypatch.setattr(Evaluator, "evaluate", lambda self, sizings: pytest.fail("simulated anew"))
    learn(path, 200)
    first = response_of(path)
    monkeypatch.setattr(fitting, "fit_response", interrupted)
    learn(path, 200)  # nothing to do
    monkeypatch.setattr(fitting, "fit_response", fit)
    torch.manual_seed(7)
    learn(path, 200, fresh=True)
    again = response_of(path)
    for name, array in first.weights.items():
        assert np.array_equal(array, again.weights[name]), "the same seed gives the same networks"


def test_a_changed_circuit_is_learnt_anew_beside_the_old(tmp_path):
    path = nominal_filter(tmp_path)
    learn(path, 100)
    first = response_of(path).facts
    old = path.read_text()
    path.write_text(old.replace("cload: 1n}", "cload: 2n}"))
    learn(path, 100)
    assert response_of(path).facts["circuit"] != first["circuit"]
    path.write_text(old.replace("max: 20n", "max: 5n"))
    learn(path, 100)
    assert response_of(path).facts["parameters"] != first["parameters"]
    assert len(list((tmp_path / "runs" / "filter" / "learning").iterdir())) == 3


def test_seconds_end_it_and_less_time_means_fewer_simulations(tmp_path):
    path = nominal_filter(tmp_path)
    learn(path, 20_000, seconds=2.0)
    facts = response_of(path).facts
    assert 500 <= facts["simulations"] < 20_000
    assert facts["by_time"]
    assert facts["seconds_simulating"] < 10.0


def test_auto_goes_by_what_was_learnt_which_is_part_of_the_recipe(learnt, tmp_path):
    path = nominal_filter(tmp_path)
    assert Project.load(path).agent_files() == []
    first = library.size(path, run_dir=tmp_path / "run")
    kept = given_to(path, learnt)
    assert Project.load(path).agent_files() == [kept]
    assert Project.load(path, agent="cma").agent_files() == []
    second = library.size(path, run_dir=tmp_path / "run")
    agent = Project.load(path).agent(Project.load(path).design)
    assert "known circuit" in agent.describe()
    assert len(second.trials) <= len(first.trials)
    with Ledger(tmp_path / "run", read_only=True) as ledger:
        assert len(ledger.segments()) == 2, "one that has learnt is another run"
    again = library.size(path, run_dir=tmp_path / "run")
    assert [t.sizing for t in again.trials] == [t.sizing for t in second.trials]


def test_changed_specs_and_ranges_are_known_and_a_changed_circuit_is_new(learnt, tmp_path):
    path = nominal_filter(tmp_path)
    given_to(path, learnt)
    changes = {
        "far: {max: 0.1}": "far: {max: 0.03}",
        "c: {min: 100p, max: 20n, scale: log": "c: {min: 200p, max: 10n, scale: linear",
    }
    for old, new in changes.items():
        path.write_text(path.read_text().replace(old, new))
        design = Project.load(path).design
        assert M3(design, 1).relying, new
        assert len(M3(design, 1).ask(1)) == 1
    path.write_text(path.read_text().replace("cload: 1n}", "cload: 2n}"))
    design = Project.load(path).design
    assert M3(design, 1).describe().startswith("new circuit: its equations")
    agent, auto = M3(design, 1, {"policy": "none"}), Auto(design, 1)
    assert not agent.relying
    assert "new circuit" in agent.describe()
    assert agent.ask(2) == auto.ask(2)


def test_translated_points_are_the_same_sizings(tmp_path):
    design = Project.load(nominal_filter(tmp_path)).design
    c = replace(design.parameters["c"], minimum=1e-10, maximum=1e-8, scale="linear")
    other = replace(design, parameters={**design.parameters, "c": c})
    space, narrow = Space(design), Space(other)
    points = narrow.snap(np.random.default_rng(1).random((20, 3)))
    moved = translated(points, narrow.axes, space.axes)
    for mine, theirs in zip(narrow.sizings(points), space.sizings(moved), strict=True):
        assert mine["c"] == pytest.approx(theirs["c"], rel=1e-6)
        assert (mine["r"], mine["n"]) == (theirs["r"], theirs["n"])


def test_from_some_trials_on_gaussian_processes_help_and_then_take_over(learnt):
    project = Project.load(learnt)
    far = project.design.specs["far"]
    hard = project.design.with_spec(replace(far, limits=replace(far.limits, maximum=1e-9)))
    options = {"alone": 2, "patience": 8}
    chosen = replace(hard.agent, name="m3", budget=12, options=options)
    result = library.size(replace(hard, agent=chosen))
    assert len(result.trials) == 12
    assert len({json.dumps(t.sizing, sort_keys=True) for t in result.trials}) == 12
    agent = M3(hard, 1, options)
    agent.tell(result.trials)  # of before: they correct the networks, and do not use them up
    for _ in range(7):
        agent.ask(1)
        assert agent.relying
    agent.ask(1)
    assert "8 trials by networks led nowhere" in agent.describe()


def test_a_run_is_reproducible_and_changed_specs_are_taken_on(learnt):
    design = Project.load(learnt).design
    first, second = M3(design, 3), M3(design, 3)
    asked = first.ask(3)
    assert second.ask(3) == asked
    assert len(asked) == 3
    harder = design.with_spec(replace(design.specs["far"], limits=replace(
        design.specs["far"].limits, maximum=0.02)))  # fmt: skip
    assert first.retarget(harder, [])
    assert first.ask(1) == M3(harder, 3).ask(1)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "is damaged"),
        (lambda path: path.write_bytes(b""), "is damaged"),
        (lambda path: write_response(path, _with_nan(read_response(path))), "no numbers"),
        (lambda path: _rewritten(path, version=9), "of version 9"),
        (lambda path: _rewritten(path, checksum="0"), "not those that were written"),
    ],
)
def test_a_file_that_is_no_good_is_told_in_one_line(learnt, tmp_path, harm, words):
    path = tmp_path / "learned.npz"
    path.write_bytes(learnt_file(Project.load(learnt).design).read_bytes())
    harm(path)
    with pytest.raises(StorageError, match=words) as told:
        read_response(path)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


def _with_nan(response: Response) -> Response:
    weights = {name: array.copy() for name, array in response.weights.items()}
    weights["last.bias"][0, 0, 0] = math.nan
    return replace(response, weights=weights)


def _rewritten(path: Path, **words) -> None:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    head = {**json.loads(arrays["head"].tobytes()), **words}
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    np.savez(path, **arrays)


def test_a_policy_of_another_circuit_or_none_is_refused(learnt, tmp_path):
    path = nominal_filter(tmp_path)
    design = Project.load(path).design
    with pytest.raises(DesignError, match=r"there is no .*other\.npz"):
        M3(design, 1, {"policy": "other.npz"})
    kept = given_to(path, learnt, tmp_path / "kept.npz")
    assert M3(design, 1, {"policy": "kept.npz"}).relying
    path.write_text(path.read_text().replace("cload: 1n}", "cload: 2n}"))
    with pytest.raises(DesignError, match="has learnt another circuit"):
        M3(Project.load(path).design, 1, {"policy": str(kept)})


def test_what_cannot_be_learnt_is_told(tmp_path):
    path = nominal_filter(tmp_path)
    path.write_text(path.read_text().replace("bandwidth_3db", "unity_gain_frequency"))
    with pytest.raises(DesignError, match="f3db exists at 0 of 200 sizings"):
        learn(path, 200)
    broken = nominal_filter(tmp_path / "broken")
    broken.write_text(broken.read_text().replace("c: {min: 100p", "c: {min: 15n"))
    with pytest.raises(SimulatorBroken, match="points failed"):
        learn(broken, 200)


@pytest.mark.parametrize("log", [True, False])
def test_a_scale_is_undone(log):
    rng = np.random.default_rng(1)
    values = np.exp(3.0 * rng.normal(size=50)) if log else 10.0 * rng.normal(size=50)
    scale = Scale.of(values)
    assert scale.log == log
    assert np.allclose(scale.backward(scale.forward(values)), values)
    assert scale.forward(np.array([math.inf, -math.inf])).tolist() == [math.inf, -math.inf]
    assert Scale.of(np.full(9, 2.0)).forward(np.array([2.0])) == 0.0


@pytest.mark.simulator
def test_the_command_on_ngspice(tmp_path):
    pytest.importorskip("torch")
    path = nominal_filter(tmp_path, closed=False)
    done = m3eda("learn", path, "--seconds", "3", "--json", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    said = json.loads(done.stdout)
    assert said["simulations"] >= 500
    assert set(said["errors"]) == {"f3db", "far", "double"}
    sized = m3eda("size", path, "--agent", "m3", "--json", "-q", cwd=tmp_path)
    assert sized.returncode == 0, sized.stderr
    assert "known circuit" in json.loads(sized.stdout)["run"]["method"]


def test_without_torch_learning_says_so_and_sizing_goes_on(learnt, tmp_path):
    hide_module(tmp_path, "torch")
    path = nominal_filter(tmp_path / "design")
    done = m3eda("learn", path, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "m3eda learn needs torch: pip install 'm3eda[m3]'" in only_line(done)
    given_to(path, learnt)
    done = m3eda(
        "size", path, "--agent", "m3", "-q", "--json", cwd=tmp_path, PYTHONPATH=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert "known circuit" in json.loads(done.stdout)["run"]["method"]
