"""extra-trees, differential-evolution and turbo: the contract, and what each promises."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

from m3eda.agents.differential_evolution import DifferentialEvolution
from m3eda.agents.extra_trees import ExtraTrees
from m3eda.agents.random import Random
from m3eda.agents.start import DESIGNS, latin_hypercube, sobol, start_points
from m3eda.agents.turbo import Process, Turbo, fitted, quiet, refits
from m3eda.design.space import Space
from m3eda.design.types import Objective, Parameter
from m3eda.errors import DesignError
from m3eda.testing.agents import MIXED, AgentContract, continuous, design_of, drive, simulate
from tests.helpers import m3eda, only_line

EXTRAS = {"extra-trees": ("sklearn", "scikit-learn"), "turbo": ("botorch", "botorch")}
"""Agent -> the module and the package of its extra."""


def needs(agent):
    module, package = EXTRAS[agent]
    there = importlib.util.find_spec(module) is not None
    return pytest.mark.skipif(not there, reason=f"{package} is not installed: extra {agent}")


def small_trees(design, seed, options):
    return ExtraTrees(design, seed, {"groups": 2, "trees": 3, "candidates": 60, **options})


def small_turbo(design, seed, options):
    return Turbo(design, seed, {"candidates": 32, "points": 16, **options})


QUICK = [
    pytest.param(small_trees, id="extra-trees", marks=needs("extra-trees")),
    pytest.param(DifferentialEvolution, id="differential-evolution"),
    pytest.param(small_turbo, id="turbo", marks=needs("turbo")),
]
FULL = [
    pytest.param(ExtraTrees, id="extra-trees", marks=needs("extra-trees")),
    pytest.param(DifferentialEvolution, id="differential-evolution"),
    pytest.param(Turbo, id="turbo", marks=needs("turbo")),
]


@needs("extra-trees")
class TestExtraTreesContract(AgentContract):
    @pytest.fixture
    def factory(self):
        return small_trees


class TestDifferentialEvolutionContract(AgentContract):
    @pytest.fixture
    def factory(self):
        return DifferentialEvolution


@needs("turbo")
class TestTurboContract(AgentContract):
    @pytest.fixture
    def factory(self):
        return small_turbo


def best_gain(design, done):
    return max(t.measures["gain"] for t in simulate(design, done) if t.measures["gain"] > 0)


@pytest.mark.parametrize("factory", FULL)
def test_a_search_comes_nearer_than_random_does(factory):
    design = design_of(continuous(6))
    count = 200 if factory is DifferentialEvolution else 60
    found, drawn = (
        best_gain(design, drive(agent(design, 1, {}), design, count)) for agent in (factory, Random)
    )
    assert 1e3 - found < 0.75 * (1e3 - drawn)


@pytest.mark.parametrize("factory", QUICK)
def test_a_batch_is_as_large_as_asked_once_the_start_design_is_told(factory):
    design = design_of(continuous(4))
    agent = factory(design, 1, {})
    agent.tell(simulate(design, drive(Random(design, 2, {}), design, 30)))
    agent.tell(simulate(design, agent.ask(7)))
    assert len(agent.ask(7)) == 7


@pytest.mark.parametrize("factory", QUICK)
def test_more_is_asked_at_once_than_a_start_design_holds(factory):
    design = design_of(continuous(2))
    assert len(factory(design, 1, {}).ask(150)) == 150


@pytest.mark.parametrize("factory", QUICK)
def test_the_objective_counts_once_the_specs_are_met(factory):
    design = replace(design_of(continuous(3), gain=100.0), objective=Objective(minimize=("power",)))
    trials = simulate(design, drive(factory(design, 1, {}), design, 90))
    met = [trial.measures["power"] for trial in trials if trial.met]
    drawn = [t for t in simulate(design, drive(Random(design, 1, {}), design, 90)) if t.met]
    assert np.median(met[-15:]) < 0.9 * np.median([trial.measures["power"] for trial in drawn])


@pytest.mark.parametrize("factory", QUICK)
def test_each_start_design_is_followed(factory):
    design = design_of(continuous(3))
    asked = {name: factory(design, 1, {"start_design": name}).ask(1) for name in DESIGNS}
    assert asked["sobol"] != asked["latin-hypercube"]


@pytest.mark.parametrize("factory", QUICK)
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strat_design": "sobol"}, "strat_design: agent .* no such option .did you mean start_d"),
        ({"start_design": "sobl"}, "start_design: 'sobl' is not known .did you mean sobol?"),
        ({"start_design": ["sobol"]}, "start_design: .'sobol'. is not known .did you mean sobol?"),
    ],
)
def test_a_mistaken_option_is_refused(factory, options, words):
    with pytest.raises(DesignError, match=f"^agent.options.{words}") as refused:
        factory(design_of(continuous(2)), 1, options)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("value", ["many", 2.5, -1, math.nan, True, None])
@pytest.mark.parametrize(
    ("factory", "key"),
    [
        pytest.param(ExtraTrees, "start", marks=needs("extra-trees")),
        (DifferentialEvolution, "population"),
        pytest.param(Turbo, "candidates", marks=needs("turbo")),
    ],
)
def test_an_option_that_is_no_whole_number_is_refused(factory, key, value):
    with pytest.raises(DesignError, match=rf"^agent.options.{key}: .* \(\d or more\)$"):
        factory(design_of(continuous(2)), 1, {key: value})


def test_an_unknown_start_design_is_one_line_on_the_command_line(rc):
    text = (rc / "design.yaml").read_text()
    choice = "agent: {name: differential-evolution, options: {start_design: sobl}}\n"
    kept = [line for line in text.splitlines(keepends=True) if not line.startswith("agent:")]
    (rc / "design.yaml").write_text("".join(kept) + choice)
    done = m3eda("size", "design.yaml", cwd=rc)
    assert "start_design: 'sobl' is not known (did you mean sobol?)" in only_line(done)
    assert done.returncode == 2


@pytest.mark.parametrize("agent", EXTRAS)
def test_a_missing_extra_is_one_line_that_names_it(rc, agent):
    module, package = EXTRAS[agent]
    hidden = rc / "hidden" / module
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text(f"raise ModuleNotFoundError('No module {module}')\n")
    done = m3eda("size", "design.yaml", "--agent", agent, cwd=rc, PYTHONPATH=str(hidden.parent))
    assert only_line(done) == f"agent {agent} needs {package}: pip install 'm3eda[{agent}]'"
    assert done.returncode == 2
    assert done.stdout == ""


@pytest.mark.simulator
@pytest.mark.parametrize(
    "agent", [pytest.param(name, marks=needs(name)) for name in EXTRAS] + ["differential-evolution"]
)
def test_sizes_a_filter_without_a_word_on_stderr_but_the_table(rc, agent):
    done = m3eda("size", "design.yaml", "--agent", agent, "--json", cwd=rc)
    assert json.loads(done.stdout)["measures"]["f3db"]["value"] > 0.0
    assert "arning" not in done.stderr
    assert done.returncode == 0, done.stderr


def test_no_library_is_imported_before_an_agent_is_built():
    program = (
        "import sys; import m3eda.agents.extra_trees, m3eda.agents.turbo;"
        "print(sorted({'torch', 'botorch', 'gpytorch', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


# start designs


def test_the_latin_hypercube_is_the_start_design_unless_another_is_named():
    space = Space(design_of(continuous(3)))
    first = latin_hypercube(9, 3, np.random.default_rng([4, 0]))
    assert np.array_equal(start_points(space, 9, 4), space.snap(first))
    assert np.array_equal(start_points(space, 9, 4), start_points(space, 9, 4, "latin-hypercube"))


@pytest.mark.parametrize("count", [1, 2, 3, 16, 33])
def test_a_sobol_design_has_a_point_in_each_slice_of_a_power_of_two(count):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        points = sobol(count, 4, np.random.default_rng(3))
    slices = 2 ** int(math.log2(count))
    assert points.shape == (count, 4)
    for column in points[:slices].T:
        assert sorted(np.floor(column * slices)) == list(range(slices))


def test_a_sobol_design_is_seeded():
    designs = [start_points(Space(design_of(MIXED)), 8, seed, "sobol") for seed in (1, 1, 2)]
    assert np.array_equal(designs[0], designs[1])
    assert not np.array_equal(designs[0], designs[2])


# differential evolution


def test_a_foreign_point_better_than_all_draws_the_search_to_it():
    design = design_of(continuous(6))
    space = Space(design)
    agent = DifferentialEvolution(design, 1, {})
    done = drive(agent, design, 40)
    near = [space.sizing(np.full(6, 0.7) + 0.01 * k) for k in (-1, 1)]
    agent.tell(simulate(design, near, 40))
    later = np.array([space.unit(s) for s in drive(agent, design, 40)])
    before = np.array([space.unit(s) for s in done])
    assert np.abs(later - 0.7).mean() < 0.8 * np.abs(before - 0.7).mean()


def test_a_population_restarts_larger_once_nothing_improves():
    design = design_of(continuous(2), gain=1.0)
    agent = DifferentialEvolution(design, 1, {"population": 5, "patience": 1, "growth": 2})
    drive(agent, design, 60)
    assert agent._size >= 10


# turbo


@needs("turbo")
def test_the_region_shrinks_while_nothing_improves_and_is_begun_anew():
    design = design_of(continuous(2), gain=1.0)
    agent = small_turbo(design, 1, {"length": 0.02})
    design = replace(design, objective=Objective(minimize=("power",)))
    drive(agent, design, 40)
    assert agent._restarts >= 1


@needs("turbo")
def test_the_process_agrees_with_the_posterior_of_botorch():
    import torch

    rng = np.random.default_rng(0)
    x, points = rng.random((25, 3)), rng.random((6, 3))
    y = np.stack([np.sin(4 * x[:, 0]) + x[:, 1], 100.0 * x[:, 2] ** 2], axis=1)
    with quiet():
        model = fitted(x, y)
        process = Process(model, x, y)
        samples = process.sample(points, rng.standard_normal((4000, 2, 6)))
        posterior = model.posterior(torch.from_numpy(points))
        mean = posterior.mean.detach().numpy() * y.std(axis=0) + y.mean(axis=0)
        deviation = posterior.variance.detach().numpy() ** 0.5 * y.std(axis=0)
    assert np.abs(samples.mean(axis=0) - mean).max() < 0.2 * deviation.max()
    assert samples.std(axis=0) == pytest.approx(deviation, rel=0.15, abs=2e-3 * y.std())


def test_the_schedule_of_refits_grows_geometrically():
    assert refits(60, 14) == [14, 20, 28, 40, 56]
    assert refits(55, 14) == [14, 20, 28, 40]
    assert refits(5, 14) == [5]


@needs("turbo")
def test_the_settings_of_torch_are_as_before():
    import torch

    torch.set_num_threads(2)
    design = design_of(continuous(2))
    drive(small_turbo(design, 1, {}), design, 8)
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (2, torch.float32)


# extra trees


@needs("extra-trees")
def test_exploration_grows_while_nothing_improves():
    design = design_of(continuous(3))
    agent = small_trees(design, 1, {"least": 0.0, "most": 2.0, "patience": 10})
    assert [agent._weight(stalled) for stalled in (0, 5, 10, 50)] == [0.0, 1.0, 2.0, 2.0]


def test_words_come_from_donors_and_not_from_differences():
    space = (*continuous(2), Parameter("kind", choices=("a", "b", "c")))
    design = design_of(space)
    done = drive(DifferentialEvolution(design, 1, {}), design, 80)
    assert {sizing["kind"] for sizing in done} == {"a", "b", "c"}
