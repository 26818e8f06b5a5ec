"""The loop: order, budgets, resuming, changing the design between trials."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace

import pytest

from m3eda.design.types import AgentChoice, FailurePolicy, Limits, Objective, Spec
from m3eda.errors import ExitCode, SimulatorBroken
from m3eda.ledger import Ledger, Segment, StoredTrial
from m3eda.loop import Change, End, Run, Stop, size
from m3eda.objective.front import Front
from m3eda.plugins import Plugins
from m3eda.report.summary import best_of
from m3eda.simulate import process
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.types import SimulationFailed, State
from tests.helpers import DividerSimulator, divider

IMPOSSIBLE = {"ratio": Spec("ratio", Limits(minimum=2.0))}


@pytest.fixture(scope="module")
def functions():

    return Plugins().measures


def random_agent(design):
    return Plugins().look_up("agents", "random")(design, design.agent.seed, {})


def make_run(design, functions, simulator=None, ledger=None, jobs=1, **settings):
    simulator = simulator or DividerSimulator()
    evaluator = Evaluator(design, simulator, functions, store=ledger, jobs=jobs)
    segment = 0
    if ledger is not None:
        known = ledger.segments()
        new = Segment(0, "r", "c", "{}", "random", 1, "fake", 0.0)
        segment = (known[0] if known else ledger.begin(new)).id
    return Run(design, evaluator, random_agent, ledger, segment, **settings)


def finish(run):
    """Every trial of a run, and why it ended."""
    trials, generator = [], size(run)
    while True:
        try:
            trials.append(next(generator))
        except StopIteration as stop:
            return trials, stop.value


def sizings(trials):
    return [dict(trial.sizing) for trial in trials]


def test_the_first_sizing_that_meets_every_spec_ends_the_run(tmp_path, functions):
    trials, end = finish(make_run(divider(tmp_path), functions))
    assert end is End.SPECS_MET
    assert trials[-1].met
    assert not any(trial.met for trial in trials[:-1])
    assert abs(trials[-1].measures["ratio"] - 0.25) <= 0.02


def test_the_budget_counts_distinct_sizings(tmp_path, functions):
    design = divider(tmp_path, specs=IMPOSSIBLE, agent=AgentChoice("random", budget=17, batch=5))
    simulator = DividerSimulator()
    trials, end = finish(make_run(design, functions, simulator))
    assert end is End.BUDGET
    assert len(trials) == len(simulator.runs) == 17


def test_time_ends_a_run(tmp_path, functions):
    design = divider(tmp_path, specs=IMPOSSIBLE, agent=AgentChoice("random", seconds=3.0))
    ticks = iter(range(1000))
    trials, end = finish(make_run(design, functions, clock=lambda: float(next(ticks))))
    assert end is End.TIME
    assert 1 <= len(trials) <= 3


def test_a_finite_space_is_exhausted(tmp_path, functions):
    design = divider(tmp_path, specs=IMPOSSIBLE)
    few = {
        name: replace(p, minimum=1.0, maximum=3.0, step=1.0, scale="linear")
        for name, p in design.parameters.items()
    }
    trials, end = finish(make_run(replace(design, parameters=few), functions))
    assert end is End.EXHAUSTED
    assert len({tuple(trial.sizing.items()) for trial in trials}) == 9


@pytest.mark.parametrize("batch", [1, 3])
def test_the_same_seed_gives_the_same_trials_with_any_number_of_jobs(tmp_path, functions, batch):
    def slow(deck):
        time.sleep(random.random() * 0.004)

    design = divider(tmp_path, agent=AgentChoice("random", budget=60, batch=batch))
    one, _ = finish(make_run(design, functions, DividerSimulator(slow)))
    four, _ = finish(make_run(design, functions, DividerSimulator(slow), jobs=4))
    assert one == four


def test_jobs_run_at_once(tmp_path, functions):
    both = threading.Barrier(4, timeout=20)
    design = divider(tmp_path, specs=IMPOSSIBLE, agent=AgentChoice("random", budget=8, batch=4))
    # the barrier only opens when four simulations wait at it together
    trials, _ = finish(
        make_run(design, functions, DividerSimulator(lambda deck: both.wait() and None), jobs=4)
    )
    assert len(trials) == 8


def test_leaving_a_run_spares_the_simulations_of_another(tmp_path, functions):
    design, codes = divider(tmp_path), []
    slow = DividerSimulator(
        lambda _: codes.append(process.run_process(["sleep", "2"], tmp_path, 10).returncode)
    )
    points = [{"r1": 1e3, "r2": 2e3}, {"r1": 1e3, "r2": 3e3}]
    other = Evaluator(design, slow, functions, jobs=2)
    thread = threading.Thread(target=lambda: list(other.evaluate(points)))
    thread.start()
    while len(process._running) < 2:
        time.sleep(0.01)
    left = Evaluator(design, DividerSimulator(), functions, jobs=2).evaluate(points)
    next(left)
    left.close()
    thread.join(10)
    assert codes == [0, 0]


def test_a_run_goes_on_from_the_ledger_without_simulating_twice(tmp_path, functions):
    design = divider(tmp_path, specs=IMPOSSIBLE, agent=AgentChoice("random", budget=30, batch=4))
    whole, _ = finish(make_run(design, functions))
    with Ledger(tmp_path / "run") as ledger:
        generator = size(make_run(design, functions, ledger=ledger))
        first = [next(generator) for _ in range(10)]
        generator.close()
        simulator = DividerSimulator()
        again = make_run(design, functions, simulator, ledger)
        resumed, end = finish(again)
    assert end is End.BUDGET
    assert first == resumed[:10]
    assert sizings(resumed) == sizings(whole)
    assert again.replayed == 10
    assert len(simulator.runs) == 20


def test_a_simulation_finished_before_a_kill_is_not_paid_for_again(tmp_path, functions):
    """A batch's simulation whose trial was never told is answered from the ledger."""
    design = divider(tmp_path, specs=IMPOSSIBLE, agent=AgentChoice("random", budget=8, batch=8))
    with Ledger(tmp_path / "run") as ledger:
        run = make_run(design, functions, ledger=ledger, jobs=2)
        generator = size(run)
        next(generator)
        generator.close()
        paid = ledger.count_simulations()
        simulator = DividerSimulator()
        finish(make_run(design, functions, simulator, ledger))
    assert paid >= 1
    assert len(simulator.runs) == 8 - paid


def test_old_trials_are_scored_with_new_specs_before_any_simulation(tmp_path, functions):
    strict = divider(tmp_path, specs=IMPOSSIBLE, agent=AgentChoice("random", budget=40))
    with Ledger(tmp_path / "run") as ledger:
        finish(make_run(strict, functions, ledger=ledger))
        prior = ledger.trials(1)
        loose = replace(strict, specs={"ratio": Spec("ratio", Limits(minimum=0.4, maximum=0.6))})
        simulator = DividerSimulator()
        evaluator = Evaluator(loose, simulator, functions, store=ledger)
        second = ledger.begin(Segment(0, "r2", "c", "{}", "random", 1, "fake", 0.0))
        run = Run(loose, evaluator, random_agent, ledger, second.id, prior)
        trials, end = finish(run)
    assert end is End.SPECS_MET
    assert len(trials) == 1
    assert simulator.runs == []


@pytest.mark.parametrize("met", [True, False])
def test_a_finished_run_is_told_again_without_asking_its_agent(tmp_path, functions, met):
    specs = divider(tmp_path).specs if met else IMPOSSIBLE
    design = divider(tmp_path, specs=specs, agent=AgentChoice("random", budget=40))
    with Ledger(tmp_path / "run") as ledger:
        first, ending = finish(make_run(design, functions, ledger=ledger))
        simulator = DividerSimulator()
        again = make_run(design, functions, simulator, ledger)
        asked = []
        agent = random_agent(design)
        agent.ask = lambda n: asked.append(n) or []
        again.make_agent = lambda _: agent
        second, end = finish(again)
    assert (second, end) == (first, ending)
    assert again.replayed == len(first)
    assert (asked, simulator.runs) == ([], [])


def test_a_changed_budget_goes_on(tmp_path, functions):
    design = divider(tmp_path, specs=IMPOSSIBLE, agent=AgentChoice("random", budget=10))
    with Ledger(tmp_path / "run") as ledger:
        finish(make_run(design, functions, ledger=ledger))
        more = replace(design, agent=replace(design.agent, budget=15))
        simulator = DividerSimulator()
        trials, _ = finish(make_run(more, functions, simulator, ledger))
    assert len(trials) == 15
    assert len(simulator.runs) == 5


def test_failed_simulations_are_trials_with_a_state_and_a_reason(tmp_path, functions):
    def sometimes(deck):
        if float(deck.values["r1"]) > 3e4:
            raise SimulationFailed(State.NO_CONVERGENCE, "singular matrix at out")

    design = divider(tmp_path, specs=IMPOSSIBLE, agent=AgentChoice("random", budget=30))
    trials, end = finish(make_run(design, functions, DividerSimulator(sometimes)))
    failed = [trial for trial in trials if trial.state is State.NO_CONVERGENCE]
    assert end is End.BUDGET
    assert 0 < len(failed) < 30
    assert failed[0].reason == "op: singular matrix at out"
    assert failed[0].measures["ratio"] != failed[0].measures["ratio"]  # nan
    assert failed[0].reward == -1.0


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (State.MODEL_MISSING, ExitCode.BAD_INPUT),
        (State.PARSE_ERROR, ExitCode.BAD_INPUT),
        (State.NO_CONVERGENCE, ExitCode.SIMULATOR),
        (State.TIMEOUT, ExitCode.SIMULATOR),
    ],
)
def test_the_same_failure_at_every_first_point_ends_the_run(tmp_path, functions, state, code):
    def always(deck):
        raise SimulationFailed(state, "it is so")

    simulator = DividerSimulator(always)
    design = divider(tmp_path, failures=FailurePolicy(stop_after_same_error=4))
    calls = []
    simulator.before = lambda deck: (calls.append(1), always(deck))
    with pytest.raises(SimulatorBroken, match=f"first 4 points failed with {state.value}") as e:
        finish(make_run(design, functions, simulator))
    assert e.value.exit_code == code
    assert len(calls) == 4


def test_the_ladder_is_climbed_on_non_convergence(tmp_path, functions):
    texts = []

    def stubborn(deck):
        texts.append(deck.text)
        if "method=gear" not in deck.text:
            raise SimulationFailed(State.NO_CONVERGENCE, "no")

    design = divider(
        tmp_path,
        failures=FailurePolicy(retries=2, ladder=("gmin", "gear")),
        agent=AgentChoice("random", budget=1),
    )
    trials, _ = finish(make_run(design, functions, DividerSimulator(stubborn)))
    assert trials[0].state is State.COMPLETE
    assert trials[0].results["nominal"].runs == 3
    assert texts[0] == texts[1].replace(".option gmin=1e-10\n", "")
    assert ".option gmin=1e-10 method=gear\n" in texts[2]


def test_an_objective_spends_the_budget_on_bettering(tmp_path, functions):
    design = divider(
        tmp_path,
        specs={"ratio": Spec("ratio", Limits(minimum=0.2, maximum=0.8))},
        objective=Objective(minimize=("current",)),
        agent=AgentChoice("random", budget=60),
    )
    run = make_run(design, functions)
    trials, end = finish(run)
    assert end is End.BUDGET
    assert len(trials) == 60
    assert sum(trial.met for trial in trials) > 1


def test_stop_between_trials(tmp_path, functions):
    generator = size(make_run(divider(tmp_path, specs=IMPOSSIBLE), functions))
    next(generator)
    with pytest.raises(StopIteration) as stop:
        generator.send(Stop())
    assert stop.value.value is End.STOPPED


def test_a_parameter_is_pinned_between_trials(tmp_path, functions):
    design = divider(tmp_path, specs=IMPOSSIBLE, agent=AgentChoice("random", budget=12))
    run = make_run(design, functions)
    generator = size(run)
    first = [next(generator) for _ in range(4)]
    later = [generator.send(Change(design.pinned("r1", 5e3)))]
    later += list(generator)
    assert all(trial.sizing["r1"] == 5e3 for trial in later)
    assert [t.number for t in first + later] == list(range(12))


def test_a_spec_changed_between_trials_scores_old_ones_anew(tmp_path, functions):
    design = divider(tmp_path, specs=IMPOSSIBLE, agent=AgentChoice("random", budget=50))
    run = make_run(design, functions)
    generator = size(run)
    seen = [next(generator) for _ in range(20)]
    assert not any(trial.met for trial in seen)
    with pytest.raises(StopIteration) as stop:
        generator.send(Change(design.with_spec(Spec("ratio", Limits(minimum=0.3, maximum=0.7)))))
    assert stop.value.value is End.SPECS_MET
    assert any(trial.met for trial in run.trials)


def test_a_trial_without_the_pinned_value_is_no_result(tmp_path, functions):
    run = make_run(divider(tmp_path), functions)
    generator = size(run)
    first = next(trial for trial in generator if trial.met)
    later = [generator.send(Change(run.design.pinned("r1", 5e4))), *generator]
    assert first.sizing["r1"] != 5e4
    assert [t.sizing["r1"] for t in run.trials if t.met] == [5e4]
    assert later[-1].met
    assert best_of(run.trials) is run.trials[-1]


def test_an_objective_given_between_trials_keeps_the_run_going(tmp_path, functions):
    design = divider(tmp_path, specs={"ratio": Spec("ratio", Limits(minimum=0.1))})
    design = replace(design, agent=AgentChoice("random", budget=20))
    run = make_run(design, functions)
    generator = size(run)
    first = next(generator)
    wanted = replace(design, objective=Objective(minimize=("current",)))
    later = [generator.send(Change(wanted)), *generator]
    assert len(run.trials) == 20
    assert any(trial.met for trial in [first, *later][:-1])


def test_a_larger_budget_begins_with_as_many_points_of_the_prior_front(tmp_path, functions):
    design = divider(tmp_path, objective=Objective(minimize=("current",), maximize=("ratio",)))
    design = replace(design, specs={"ratio": Spec("ratio", Limits(minimum=0.01))})
    many = replace(design, agent=AgentChoice("random", budget=60))
    prior, _ = finish(make_run(many, functions))
    stored = [StoredTrial(t.number, t.sizing, t.results) for t in prior]
    small = replace(design, agent=AgentChoice("random", seed=2, budget=4))
    large = replace(small, agent=replace(small.agent, budget=40))
    assert len(Front(design.objective, prior)) > 2
    with Ledger(tmp_path / "run") as ledger:
        begun, _ = finish(make_run(small, functions, None, ledger, prior=stored, first_budget=4))
        run = make_run(large, functions, None, ledger, prior=stored, first_budget=4)
        gone_on, _ = finish(run)
    assert len(begun) == 4
    assert sizings(gone_on[:4]) == sizings(begun)
    assert run.replayed == 4
