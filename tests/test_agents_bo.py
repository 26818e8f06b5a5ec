"""bo: the contract, the Gaussian process, the probability of all specs and the search."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from scipy.stats import norm, truncnorm

from m3eda.agents import gp
from m3eda.agents.acquisition import AllSpecs, Model, Search, expected_miss, log_interval
from m3eda.agents.bo import Bo
from m3eda.agents.cma import Cma
from m3eda.agents.outputs import outputs, scaled
from m3eda.agents.random import Random
from m3eda.agents.start import latin_hypercube, start_points
from m3eda.design.space import Space
from m3eda.design.types import Limits, Parameter, Spec
from m3eda.errors import DesignError
from m3eda.testing.agents import (
    FINITE,
    AgentContract,
    continuous,
    design_of,
    drive,
    failed,
    simulate,
)


class TestBoContract(AgentContract):
    @pytest.fixture
    def factory(self):
        return Bo


def first_met(factory, design, budget, batch=1):
    agent, done = factory(design, 1, {}), 0
    while done < budget:
        trials = simulate(design, agent.ask(batch), done)
        for trial in trials:
            done += 1
            if trial.met:
                return done
        agent.tell(trials)
    return math.inf


def test_needs_fewer_simulations_than_cma_even_on_a_bowl():
    design = design_of(continuous(8), gain=950.0)
    assert first_met(Bo, design, 200) * 2 <= first_met(Cma, design, 2000)


def test_several_points_at_once_cost_few_more_simulations():
    design = design_of(continuous(8), gain=985.0)
    assert first_met(Bo, design, 120, batch=4) <= 120


def test_a_batch_is_spread_rather_than_one_point_and_its_neighbours():
    design = design_of(continuous(4), gain=999.9)
    agent = Bo(design, 1, {})
    agent.tell(simulate(design, drive(Bo(design, 2, {}), design, 20)))
    space = Space(design)
    points = np.array([space.unit(sizing) for sizing in agent.ask(4)])
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2)[np.triu_indices(4, 1)]
    assert gaps.min() > 0.01


def test_many_foreign_trials_take_the_place_of_the_start_design():
    design = design_of(continuous(6), gain=985.0)
    foreign = simulate(design, drive(Cma(design, 1, {}), design, 40))
    agent = Bo(design, 1, {})
    agent.tell(foreign)
    assert len(agent.ask(1)) == 1


def half_dead(design, sizings, first=0):
    """As `simulate`, but nothing works in the lower half of the first parameter."""
    space = Space(design)
    dead = [space.unit(sizing)[0] < 0.5 for sizing in sizings]
    alive = simulate(design, sizings, first)
    return [
        failed(design, [s], t.number)[0] if d else t
        for s, t, d in zip(sizings, alive, dead, strict=True)
    ]


def test_stays_away_from_where_measures_do_not_exist():
    design = design_of(continuous(4), gain=999.0)
    agent = Bo(design, 1, {})
    agent.tell(half_dead(design, drive(Random(design, 1, {}), design, 20)))
    told = []
    for number in range(20, 40):
        told += half_dead(design, agent.ask(1), number)
        agent.tell(told[-1:])
    assert sum(math.isnan(trial.measures["gain"]) for trial in told) <= 4


def test_an_unknown_option_is_refused_with_the_nearest_word():
    with pytest.raises(DesignError, match="did you mean start"):
        Bo(design_of(FINITE), 1, {"strat": 4})


def test_the_start_option_sets_the_number_of_first_points():
    assert len(Bo(design_of(continuous(3)), 1, {"start": 9}).ask(1)) == 9


def test_a_proposal_takes_milliseconds():
    design = design_of(continuous(10))
    agent = Bo(design, 1, {})
    agent.tell(simulate(design, drive(Cma(design, 1, {}), design, 100)))
    agent.ask(1)
    began = time.process_time()
    for _ in range(3):
        agent.tell(simulate(design, agent.ask(1), 100))
    assert (time.process_time() - began) / 3 < 0.5


# the Gaussian process


def sample(n=40, f=3):
    x = np.random.default_rng(0).random((n, f))
    y = np.sin(4.0 * (x[:, 0] - x[:, 1])) + x[:, 2] ** 2
    return x, (y - y.mean()) / y.std()


@pytest.mark.parametrize("mixing", [0.0, 0.1])
def test_the_gradient_of_the_posterior_agrees_with_differences(mixing):
    x, y = sample()
    cost = gp._Posterior(x, y, gp.Prior(mixing=mixing))
    theta = cost.first + 0.1 * np.random.default_rng(1).normal(size=cost.first.shape)
    if mixing:  # the diagonal is held by the length scales
        theta[4:].reshape(3, 3)[np.diag_indices(3)] = 0.0
    steps = 1e-6 * np.eye(len(theta))
    slope = [(cost(theta + h)[0] - cost(theta - h)[0]) / 2e-6 for h in steps]
    np.testing.assert_allclose(cost(theta)[1], slope, rtol=1e-4, atol=1e-4)


def test_the_process_goes_through_its_points_and_is_unsure_away_from_them():
    x, y = sample()
    hyper, prior = gp.fit(x, y, gp.Prior()), gp.Prior()
    process = gp.GaussianProcess(x, y, hyper, prior)
    mean, deviation = process.predict(x)
    np.testing.assert_allclose(mean, y, atol=0.02)
    assert process.predict(np.full((1, 3), 3.0))[1] > 10 * deviation.max()


def test_the_process_equals_the_textbook_formula():
    x, y = sample(12)
    hyper, prior = gp.Hyper(np.diag([2.0, 3.0, 0.5]), 1e-3), gp.Prior(points=0.0)
    points = np.random.default_rng(2).random((5, 3))

    def kernel(a, b):
        r = math.sqrt(5.0) * np.linalg.norm((a[:, None] - b[None]) @ hyper.mixing, axis=2)
        return (1.0 + r + r**2 / 3.0) * np.exp(-r)

    inverse = np.linalg.inv(kernel(x, x) + 1e-3 * np.eye(12))
    across = kernel(points, x)
    signal = y @ inverse @ y / 12
    mean, deviation = gp.GaussianProcess(x, y, hyper, prior).predict(points)
    np.testing.assert_allclose(mean, across @ inverse @ y, rtol=1e-3)
    known = np.einsum("ij,jk,ik->i", across, inverse, across)
    np.testing.assert_allclose(deviation**2, signal * (1.0 - known), rtol=1e-3)


def test_mixing_finds_that_a_ratio_matters():
    x, y = sample(60)
    new, truth = sample(200)
    new = np.random.default_rng(3).random((200, 3))
    truth = np.sin(4.0 * (new[:, 0] - new[:, 1])) + new[:, 2] ** 2
    errors = {}
    for mixing in (0.0, 0.1):
        prior = gp.Prior(mixing=mixing)
        mean, _ = gp.GaussianProcess(x, y, gp.fit(x, y, prior), prior).predict(new)
        slope, offset = np.polyfit(mean, truth, 1)
        errors[mixing] = np.std(truth - slope * mean - offset)
    assert errors[0.1] < 0.7 * errors[0.0]


def test_repeated_points_do_not_break_the_process():
    x, y = sample(6)
    x, y = np.vstack([x, x, x]), np.concatenate([y, y, y])
    hyper = gp.Hyper(np.eye(3), 0.0)
    mean, _ = gp.GaussianProcess(x, y, hyper, gp.Prior()).predict(x)
    assert np.isfinite(mean).all()


# outputs and their scale


def test_positive_measures_are_modelled_on_a_logarithmic_scale():
    output = scaled(np.array([1.0, 10.0, 100.0]), 10.0, math.inf)
    assert output.values[1] == pytest.approx(output.low)
    assert output.values[2] - output.values[1] == pytest.approx(output.values[1] - output.values[0])


@pytest.mark.parametrize(("low", "high"), [(0.5, math.inf), (-math.inf, 0.5), (0.4, 0.5)])
def test_scaling_never_changes_what_meets_a_spec(low, high):
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=50), np.exp(3.0 * rng.normal(size=50)), 1e6 * rng.random(50)):
        output = scaled(values, low, high)
        met = (low <= values) & (values <= high)
        np.testing.assert_array_equal(
            met, (output.low <= output.values) & (output.values <= output.high)
        )


def test_a_far_value_is_compressed_in_order():
    values = np.array([-1e6, -1e3, 1.0, 2.0, 3.0, 4.0, 5.0, 1e3, 1e6])
    output = scaled(values, 2.0, math.inf)
    assert (np.diff(output.values) > 0.0).all()
    assert np.ptp(output.values) < 10.0


def test_a_measure_that_is_the_same_everywhere_can_be_scaled():
    assert np.isfinite(scaled(np.full(5, 2.0), 1.0, math.inf).values).all()


def test_an_output_that_is_infinite_counts_as_absent():
    design = design_of(continuous(2))
    [trial] = simulate(design, [{"p0": 2.0, "p1": 2.0}])
    trial.worst["gain"] = math.inf
    assert math.isnan(outputs(design)[0].value(trial))


def test_a_target_with_a_tolerance_is_an_interval():
    design = design_of(continuous(2)).with_spec(Spec("gain", Limits(target=5.0, tolerance=1.0)))
    assert (outputs(design)[0].low, outputs(design)[0].high) == (4.0, 6.0)


# the acquisition


@pytest.mark.parametrize(
    ("low", "high"), [(-1.0, 2.0), (1.0, math.inf), (-math.inf, -1.0), (3.0, 3.5), (-4.0, -3.0)]
)
def test_the_log_probability_of_an_interval_is_that_of_the_normal(low, high):
    mean, deviation = np.array([0.0, 0.5, -2.0]), np.array([1.0, 0.3, 2.0])
    exact = norm.cdf(high, mean, deviation) - norm.cdf(low, mean, deviation)
    np.testing.assert_allclose(
        np.exp(log_interval(mean, deviation, low, high)), exact, rtol=1e-6, atol=1e-15
    )


@pytest.mark.parametrize("interval", [(40.0, math.inf), (-math.inf, -40.0), (40.0, 41.0)])
def test_the_log_probability_is_finite_far_in_the_tails(interval):
    value = float(log_interval(np.zeros(1), np.ones(1), *interval)[0])
    assert value == pytest.approx(norm.logsf(40.0), rel=1e-3)


@pytest.mark.parametrize(
    ("low", "high", "side"), [(0.5, math.inf, (-np.inf, 0.5)), (-math.inf, 0.2, (0.2, np.inf))]
)
def test_the_expected_miss_is_the_mean_of_the_truncated_normal(low, high, side):
    exact = truncnorm.mean(side[0], side[1])
    assert expected_miss(0.0, 1.0, low, high) == pytest.approx(exact, rel=1e-6)


def test_a_floor_changes_no_score_above_it():
    x, y = sample()
    design = design_of(continuous(3))
    prior = gp.Prior()
    process = gp.GaussianProcess(x, y, gp.fit(x, y, prior), prior)
    models = [Model(process, 0.5, math.inf), Model(process, -math.inf, 1.0)]
    score = AllSpecs(Space(design), models)
    points = np.random.default_rng(0).random((300, 3))
    free = score(points, -math.inf)
    floor = float(np.median(free))
    held = score(points, floor)
    np.testing.assert_array_equal(held[free > floor], free[free > floor])
    assert (held[free <= floor] == -np.inf).all()


def bowl(goal):
    return lambda points, floor: -((points - goal) ** 2).sum(axis=1)


def test_the_search_comes_near_the_best_point_of_a_grid():
    parameters = [Parameter(f"p{i}", minimum=1, maximum=60, step=1) for i in range(6)]
    space = Space(design_of(parameters))
    goal = space.snap(np.linspace(0.1, 0.9, 6))[0]
    search = Search(space, np.random.default_rng(0))
    points, scores = search.best(bowl(goal), np.full((1, 6), 0.5))
    np.testing.assert_array_equal(points, space.snap(points))
    assert np.abs(points[0] - goal).max() < 0.15
    assert (np.diff(scores) <= 0.0).all()


def test_the_search_finds_the_best_word():
    words = Parameter("model", choices=("a", "b", "c", "d"))
    space = Space(design_of([words, *continuous(3)]))
    goal = space.snap([0.6, 0.2, 0.5, 0.8])[0]
    points, _ = Search(space, np.random.default_rng(0)).best(bowl(goal), np.full((1, 4), 0.9))
    assert space.sizing(points[0])["model"] == "c"


# start designs


def test_a_latin_hypercube_has_one_point_in_every_slice_of_every_axis():
    points = latin_hypercube(7, 4, np.random.default_rng(0))
    for column in points.T:
        assert sorted(np.floor(column * 7)) == list(range(7))


def test_start_points_are_distinct_where_the_space_is_small():
    points = start_points(Space(design_of(FINITE)), 10, 1)
    assert len({row.tobytes() for row in points}) == len(points) <= 10
