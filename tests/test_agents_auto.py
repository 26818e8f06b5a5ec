"""auto: what it decides, by what it was told; bo's rules for awkward spaces; the test spaces."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from bench import spaces
from bench.synthetic import KINDS, ORDER, synthetic, target, witness
from m3eda.agents import auto, bo, gp, surrogate
from m3eda.agents.acquisition import Model
from m3eda.agents.auto import Auto
from m3eda.agents.bo import Bo
from m3eda.agents.random import Random
from m3eda.agents.start import start_points
from m3eda.agents.surrogate import THOROUGH, THRIFTY, burst, caution
from m3eda.design.space import Space
from m3eda.design.types import NOMINAL, Limits, Parameter, Spec
from m3eda.errors import DesignError
from m3eda.simulate.trial import CornerResult, score
from m3eda.testing.agents import (
    FINITE,
    AgentContract,
    bowl,
    continuous,
    design_of,
    drive,
    failed,
    frozen,
    simulate,
)


class TestAutoContract(AgentContract):
    @pytest.fixture
    def factory(self):
        return Auto


def timed(design, sizings, seconds, first=0):
    """As `simulate`, each taking some seconds."""
    return [
        score(
            first + i,
            sizing,
            {NOMINAL: CornerResult(bowl(design, sizing), seconds=seconds)},
            design.specs,
        )
        for i, sizing in enumerate(sizings)
    ]


def started(design, seconds, **options):
    """An agent that was told its start design."""
    agent = Auto(design, 1, options)
    agent.tell(timed(design, agent.ask(1), seconds))
    return agent


@pytest.mark.parametrize(
    ("seconds", "points"), [(0.0, 1), (0.001, auto.BURST), (0.004, 1), (1.0, 1)]
)
def test_a_search_yields_several_points_where_simulations_are_cheap(seconds, points):
    assert len(started(design_of(continuous(6)), seconds).ask(1)) == points


def test_the_time_of_a_simulation_may_be_given():
    design = design_of(continuous(6))
    assert len(started(design, 1.0, simulation_seconds=0.001).ask(1)) == auto.BURST
    assert len(started(design, 0.001, simulation_seconds=60).ask(1)) == 1


def test_what_a_simulation_took_is_decided_once():
    design = design_of(continuous(6))
    agent = started(design, 1.0)
    agent.ask(1)
    agent.tell(timed(design, drive(Random(design, 1, {}), design, 30), 1e-4, 4))
    assert len(agent.ask(1)) == 1


def test_a_resumed_run_with_cheap_simulations_goes_on_as_if_never_stopped():
    design = design_of(continuous(5))
    whole, told, agent = [], [], Auto(design, 1, {})
    while len(told) < 30:
        asked = agent.ask(1)
        trials = timed(design, asked, 0.001, len(told))
        agent.tell(trials)
        told += trials
        whole.append(asked)
    resumed = Auto(design, 1, {})
    count = sum(map(len, whole[:4]))
    resumed.tell(told[:count])
    assert resumed.ask(1) == whole[4]


@pytest.mark.parametrize(("stall", "taken"), [(12, True), (40, False)])
def test_cma_takes_over_where_the_models_have_stalled(monkeypatch, stall, taken):
    monkeypatch.setattr(auto, "HAND_OVER", stall)
    design = design_of(continuous(3))
    agent = Auto(design, 1, {})
    for done in range(30):
        agent.tell(failed(design, agent.ask(1)[:1], done))
    assert ("CMA-ES" in agent.describe()) is taken
    assert agent.ask(1)


def test_it_says_in_one_line_what_it_does():
    design = design_of(continuous(6))
    assert Auto(design, 1, {}).describe() == "start design, then Gaussian processes"
    agent = started(design, 0.001)
    agent.ask(1)
    assert agent.describe() == "Gaussian processes, 4 points a search, as a sizing takes 1 ms"


def test_an_unknown_option_is_refused_with_the_nearest_word():
    with pytest.raises(DesignError, match="did you mean simulation_seconds"):
        Auto(design_of(FINITE), 1, {"simulation_second": 4})


def test_a_time_that_is_no_number_is_refused():
    with pytest.raises(DesignError, match="'soon' is not a number"):
        Auto(design_of(FINITE), 1, {"simulation_seconds": "soon"})


# a word on hopeless targets


def test_a_target_out_of_reach_is_doubted_by_name(monkeypatch):
    monkeypatch.setattr(bo, "HOPELESS_FOR", 30)
    design = design_of(continuous(3), gain=1e5)
    agent = Auto(design, 1, {})
    drive(agent, design, 30)
    assert agent.doubt() == ""
    drive(agent, design, 60)
    assert agent.doubt().endswith("most of all gain")


def test_a_target_within_reach_is_not_doubted():
    design = design_of(continuous(3), gain=900.0)
    agent = Auto(design, 1, {})
    drive(agent, design, 80)
    assert agent.doubt() == ""


# other specs


@pytest.mark.parametrize("factory", [Bo, Auto])
def test_with_other_specs_it_goes_on_from_what_it_knows(factory):
    design = design_of(continuous(4), gain=500.0)
    agent = factory(design, 1, {})
    done = drive(agent, design, 30)
    harder = design.with_spec(Spec("gain", Limits(minimum=950.0)))
    trials = simulate(harder, done)
    assert agent.retarget(harder, trials)
    further = drive(agent, harder, 30)
    assert {frozen(s) for s in done}.isdisjoint(frozen(s) for s in further)
    assert any(trial.met for trial in simulate(harder, further))


@pytest.mark.parametrize("design", ["latin-hypercube", "sobol"])
def test_the_start_design_may_be_chosen(design):
    made = design_of(continuous(6))
    asked = Bo(made, 1, {"start": 8, "start_design": design}).ask(8)
    expected = start_points(Space(made), 8, 1, design)
    np.testing.assert_allclose([Space(made).unit(s) for s in asked], expected, atol=1e-8)


def test_an_unknown_start_design_is_refused():
    with pytest.raises(DesignError, match="did you mean sobol"):
        Bo(design_of(FINITE), 1, {"start_design": "sobel"})


# validity


def test_caution_doubles_with_each_invalid_point_and_falls_with_valid_ones():
    assert caution(np.zeros(3, dtype=bool)) == 8.0
    assert caution(np.array([False] * 2 + [True] * 5)) == pytest.approx(2.0)
    assert caution(np.ones(9, dtype=bool)) == 1.0
    assert caution(np.zeros(99, dtype=bool)) == 2.0**surrogate.MOST_DOUBLINGS


def mostly_dead(design, sizings, first):
    """As `simulate`, but alive only where the first two parameters are large: one in six."""
    space = Space(design)
    alive = [(space.unit(sizing)[:2] > 0.6).all() for sizing in sizings]
    trials = simulate(design, sizings, first)
    return [
        t if ok else failed(design, [t.sizing], t.number)[0]
        for t, ok in zip(trials, alive, strict=True)
    ]


def test_finds_the_corner_in_which_the_circuit_works():
    design = design_of(continuous(10), gain=970.0)
    agent, told = Bo(design, 1, {}), []
    while len(told) < 80 and not any(trial.met for trial in told):
        trials = mostly_dead(design, agent.ask(1), len(told))
        agent.tell(trials)
        told += trials
    assert any(trial.met for trial in told)
    proposed = told[agent.start_count :]
    assert sum(math.isnan(t.measures["gain"]) for t in proposed) < 0.5 * len(proposed)


# several points of one search


def model_of(y_scale=1.0, n=12):
    rng = np.random.default_rng(0)
    x = rng.random((n, 2))
    y = y_scale * np.sin(3.0 * x[:, 0] + x[:, 1])
    hyper = gp.Hyper(np.eye(2) * 2.0, 1e-6)
    return Model(gp.GaussianProcess(x, y, hyper, gp.Prior()), 1.2, math.inf)


def test_the_joint_distribution_has_the_variances_of_single_points():
    process, points = model_of().process, np.random.default_rng(1).random((6, 2))
    mean, covariance = process.joint(points)
    single, deviation = process.predict(points)
    np.testing.assert_allclose(mean, single)
    np.testing.assert_allclose(np.sqrt(np.diagonal(covariance)), deviation, rtol=1e-4)


def test_a_burst_begins_with_the_best_point_and_avoids_its_neighbours():
    model = model_of()
    points = np.random.default_rng(1).random((40, 2))
    best = int(np.argmax(model.log_probability(points)))
    beside = points[best] + 1e-4
    chosen = burst([model], np.vstack([points, beside]), 4)
    assert chosen[0] in (best, 40)
    assert len(set(chosen)) == 4
    assert not {best, 40} <= set(chosen)


def test_a_thrifty_schedule_fits_less_often():
    dues = {k: {k.last(n) for n in range(1, 101)} for k in (THOROUGH, THRIFTY)}
    assert len(dues[THRIFTY]) < 0.6 * len(dues[THOROUGH])
    assert all(k.last(n) <= n for k in dues for n in range(1, 101))


def test_distrust_widens_deviations_alone():
    process, points = model_of().process, np.random.default_rng(1).random((6, 2))
    mean, deviation = process.predict(points)
    process.distrust(2.0)
    wide_mean, wide = process.predict(points)
    np.testing.assert_allclose(wide, 2.0 * deviation)
    np.testing.assert_allclose(wide_mean, mean)


@pytest.mark.parametrize("stalled", [0, 10**6])
def test_a_stalled_run_keeps_to_new_points(monkeypatch, stalled):
    monkeypatch.setattr(bo, "STALLED", stalled)
    design = design_of([*continuous(2), Parameter("m", minimum=1, maximum=9, step=1)])
    done = drive(Bo(design, 1, {}), design, 30)
    assert len({frozen(sizing) for sizing in done}) == 30


# the test spaces


@pytest.mark.parametrize("name", ["few", "three", "rough", "binned", "series", "ridge"])
def test_the_witness_of_a_target_meets_it(name):
    made = synthetic(name)
    sizing = Space(made.design).sizing(np.array(witness(name, 0)))
    design = made.targeted(target(name, 0))
    assert made.trial(0, sizing, design.specs).met


@pytest.mark.parametrize(("name", "share"), [("invalid", 0.18), ("seven", 1.0)])
def test_a_space_is_as_often_valid_as_it_says(name, share):
    made = synthetic(name)
    points = np.random.default_rng(0).random((4000, KINDS[name].dimension))
    valid = ~np.isnan(made.evaluate(points)[:, list(ORDER).index("gain")])
    assert valid.mean() == pytest.approx(share, abs=0.03)


def test_a_rough_space_jumps_by_its_noise_between_neighbours():
    made = synthetic("rough")
    points = np.full((2, 12), 0.5)
    points[1] += 1e-4
    one, other = made.evaluate(points)
    assert 1e-3 < np.abs(one / other - 1.0).max() < 0.03


def test_the_smallest_comparison_of_spaces_runs_and_resumes(tmp_path, capsys, monkeypatch):
    report = tmp_path / "spaces.json"
    arguments = ["--smallest", "--agents", "random,bo", "--json", str(report)]
    arguments += ["--checkpoint", str(tmp_path / "spaces.jsonl")]
    assert spaces.main(arguments) == 0
    first = capsys.readouterr().out
    assert "| few | bo | 1 of 1 |" in first
    assert len(json.loads(report.read_text())["rows"]) == 4
    monkeypatch.setattr(spaces, "search", None)
    assert spaces.main(arguments) == 0
    assert capsys.readouterr().out == first
