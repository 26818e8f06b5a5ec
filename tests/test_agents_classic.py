"""random, cma and trust-region: the contract, and what each promises of its own."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from m3eda.agents.cma import Cma
from m3eda.agents.history import Cost, History
from m3eda.agents.mlp import Ensemble
from m3eda.agents.random import Random
from m3eda.agents.trust_region import TrustRegion
from m3eda.design.space import Space
from m3eda.design.types import Objective, Parameter
from m3eda.errors import DesignError
from m3eda.testing.agents import AgentContract, continuous, design_of, drive, failed, simulate


def quick(design, seed, options, variant):
    return TrustRegion(design, seed, {"variant": variant, "steps": 3, "candidates": 200, **options})


class TestRandomContract(AgentContract):
    @pytest.fixture
    def factory(self):
        return Random


class TestCmaContract(AgentContract):
    @pytest.fixture
    def factory(self):
        return Cma


class TestTrustRegionContract(AgentContract):
    resumes_exactly = False  # its networks learn from point to point; those of a new one are new

    @pytest.fixture
    def factory(self):
        return partial(quick, variant="improved")


class TestPublishedTrustRegionContract(AgentContract):
    resumes_exactly = False  # as above, once its 20 random points are spent

    @pytest.fixture
    def factory(self):
        return partial(quick, variant="published")


def best_gain(design, done):
    return max(t.measures["gain"] for t in simulate(design, done) if t.measures["gain"] > 0)


def test_random_is_uniform_in_the_scale_of_each_parameter():
    design = design_of([Parameter("w", minimum=1e-6, maximum=1e-4, scale="log")])
    done = drive(Random(design, 1, {}), design, 400)
    share = np.mean([sizing["w"] < 1e-5 for sizing in done])
    assert share == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize(
    ("factory", "options"),
    [
        (Cma, {}),
        (TrustRegion, {"steps": 10, "candidates": 500}),
        (TrustRegion, {"variant": "published", "steps": 10, "candidates": 500}),
    ],
    ids=["cma", "trust-region", "published"],
)
def test_a_search_comes_nearer_than_random_does(factory, options):
    design = design_of(continuous(8))
    searched = best_gain(design, drive(factory(design, 1, options), design, 150))
    assert searched > best_gain(design, drive(Random(design, 1, {}), design, 600))


@pytest.mark.parametrize("factory", [Cma, TrustRegion])
def test_a_better_trial_of_others_becomes_the_centre(factory):
    design = design_of(continuous(8))
    space = Space(design)
    agent = factory(design, 1, {})
    drive(agent, design, 30)
    good = np.full(8, 0.7)
    agent.tell(simulate(design, [space.sizing(good)]))
    steps = [np.abs(space.unit(sizing) - good).mean() for sizing in drive(agent, design, 20)[-10:]]
    assert np.mean(steps) < 0.15


@pytest.mark.parametrize(
    ("factory", "options"), [(Cma, {}), (TrustRegion, {"steps": 10, "candidates": 500})]
)
def test_the_objective_is_followed_once_every_spec_is_met(factory, options):
    design = replace(design_of(continuous(6), gain=300.0), objective=Objective(("power",)))
    trials = simulate(design, drive(factory(design, 1, options), design, 120))
    met = [trial.measures["power"] for trial in trials if trial.met]
    assert min(met) < met[0] - 0.1


@pytest.mark.parametrize("factory", [Random, Cma, TrustRegion])
def test_an_unknown_option_is_refused_with_the_nearest_one(factory):
    with pytest.raises(DesignError, match=r"agent\.options\.populaton: .*no such option"):
        factory(design_of(continuous(2)), 1, {"populaton": 8})


def test_an_unknown_variant_names_the_known_ones():
    with pytest.raises(DesignError, match="improved or published"):
        TrustRegion(design_of(continuous(2)), 1, {"variant": "best"})


def test_cma_restarts_with_a_larger_population_when_stuck():
    design = design_of(continuous(3))
    agent = Cma(design, 1, {"population": 6})
    done = []
    while len(done) < 300:
        sizings = agent.ask(6)
        agent.tell(failed(design, sizings, len(done)))
        done += sizings
    assert agent._population > 6


def test_a_trust_region_shrinks_where_its_model_was_wrong():
    design = design_of(continuous(4))
    agent = TrustRegion(design, 1, {})
    drive(agent, design, 20)
    before = agent._radius
    for _ in range(3):
        agent.tell(failed(design, agent.ask(1)))
    assert agent._radius < before


def test_a_stalled_trust_region_draws_a_new_random_start():
    design = design_of(continuous(4))
    agent = TrustRegion(design, 1, {"patience": 5})
    told = []
    while agent._begun == 0 and len(told) < 60:
        sizings = agent.ask(1)
        agent.tell(failed(design, sizings, len(told)))
        told += sizings
    assert 0 < agent._begun <= 20


def test_costs_put_specs_before_the_objective():
    design = replace(design_of(continuous(1), gain=900.0), objective=Objective(("power",)))
    trials = simulate(design, [{"p0": value} for value in (1.0, 10.0, 110.0, 150.0)])
    assert [trial.met for trial in trials] == [False, False, True, True]
    missing, low, met, larger = Cost(design).of(trials)
    assert missing > low > 0.0 >= larger > met > -1.0


def test_every_proposal_is_recognised_when_it_is_told():
    design = design_of(continuous(40))
    history = History(design, 1)
    sizings = history.propose(history.draw(400))
    history.tell(simulate(design, sizings))
    assert history.known == 400


def test_history_lists_what_is_left_of_a_finite_space():
    design = design_of([Parameter("m", minimum=1, maximum=1000, step=1)])
    history = History(design, 1)
    history.tell(simulate(design, [{"m": m} for m in range(1, 1000)]))
    left = history.propose(history.draw(5))
    assert left == [{"m": 1000.0}]
    assert history.exhausted


def quadratic(rows):
    x = np.random.default_rng(0).uniform(-1, 1, (rows, 3))
    return x, np.stack([x[:, 0] * x[:, 1], x[:, 2] ** 2], axis=1)


def test_networks_learn_a_smooth_function():
    x, y = quadratic(300)
    net = Ensemble(3, (3, 32, 32, 2), np.random.default_rng(1))
    net.train(x, y, np.random.default_rng(2).integers(200, size=(2000, 3, 32)))
    errors = np.sqrt(((net.predict(x[200:]) - y[200:]) ** 2).mean(axis=(1, 2)))
    assert errors.max() < 0.1 * y.std()


def test_one_network_predicts_what_the_ensemble_does():
    x, _ = quadratic(10)
    net = Ensemble(3, (3, 8, 8, 2), np.random.default_rng(1))
    np.testing.assert_allclose(net.predict_member(2, x), net.predict(x)[2], rtol=1e-5)


def test_unknown_targets_do_not_bend_the_network():
    x, y = quadratic(50)
    holes = y.copy()
    holes[::2, 1] = np.nan
    nets = [Ensemble(2, (3, 8, 8, 2), np.random.default_rng(1)) for _ in range(2)]
    draws = np.random.default_rng(2).integers(25, size=(50, 2, 16)) * 2
    nets[0].train(x, holes, draws)
    nets[1].train(x, np.where(np.isnan(holes), 1e3, y), draws)
    assert np.abs(nets[0].predict(x)).max() < 3.0 < np.abs(nets[1].predict(x)).max()


def test_gradients_equal_finite_differences():
    x, y = quadratic(8)
    rows = np.arange(8).reshape(1, 1, 8)

    def loss(shift):
        net = Ensemble(1, (3, 4, 4, 2), np.random.default_rng(1))
        net._weights[0][0, 1, 2] += shift
        return 0.5 * ((net.predict(x)[0] - y) ** 2).sum() / 8

    net = Ensemble(1, (3, 4, 4, 2), np.random.default_rng(1))
    net.train(x, y, rows)
    slope = (loss(1e-2) - loss(-1e-2)) / 2e-2
    # after one step Adam's first moment is a tenth of the gradient
    assert net._first[0][0, 1, 2] == pytest.approx(0.1 * slope, rel=1e-2)
