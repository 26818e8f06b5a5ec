"""Objectives: the best value, the Pareto front, and what the agent is asked for."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest

from m3eda.agents.guard import GuardedAgent
from m3eda.agents.random import Random
from m3eda.design.types import NOMINAL, AgentChoice, Limits, Objective, Spec
from m3eda.errors import PluginError
from m3eda.ledger import Ledger, Segment
from m3eda.loop import Change, End, Run, size
from m3eda.objective.demand import held
from m3eda.objective.front import Front, dominates, hypervolume
from m3eda.objective.search import Directions, Gaps, Tighter, direction, make_demand
from m3eda.objective.values import Aim, Scale
from m3eda.plugins import Plugins
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.trial import CornerResult, Sweep, score
from m3eda.simulate.types import SimulationFailed, State
from tests.helpers import DividerSimulator, changed, divider, m3eda, write_rc

BOTH = Objective(minimize=("current",), maximize=("ratio",))
WIDE = {"ratio": Spec("ratio", Limits(minimum=0.05, maximum=0.95))}


def trial(number, specs=None, **measures):
    return score(number, {"x": float(number)}, {NOMINAL: CornerResult(measures)}, specs or {})


def points(*pairs, objective=None, specs=None):
    """Trials with measures a and b."""
    return [trial(k, specs, a=a, b=b) for k, (a, b) in enumerate(pairs)]


TWO = Objective(minimize=("a", "b"))


# Values


@pytest.mark.parametrize(("sign", "worst"), [(1.0, 5.0), (-1.0, 2.0)])
def test_an_aim_takes_the_worst_corner_and_the_worst_point_of_a_sweep(sign, worst):
    swept = Sweep("temp", (-40.0, 27.0, 125.0), (3.0, 4.0, 5.0))
    results = {
        NOMINAL: CornerResult({"a": 4.0}, swept={"a": swept}),
        "ss": CornerResult({"a": 2.0}),
    }
    aim = Aim("a", sign)
    assert aim.value(aim.cost(score(0, {}, results, {}))) == worst


def test_an_aim_has_no_cost_where_one_corner_has_no_value():
    results = {NOMINAL: CornerResult({"a": 4.0}), "ss": CornerResult({"a": math.nan})}
    assert math.isnan(Aim("a", 1.0).cost(score(0, {}, results, {})))


@pytest.mark.parametrize("values", [(1e-6, 3e-5, 2e-4), (-3.0, 0.0, 7.0), (5.0,), (0.0,), (-2.0,)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_scale_runs_from_the_best_to_the_worst_and_back(values, sign):
    aim = Aim("a", sign)
    scale = Scale.of(aim, [sign * value for value in values])
    units = sorted(scale.unit(sign * value) for value in values)
    assert units[0] == pytest.approx(0.0, abs=1e-9)
    assert len(values) == 1 or units[-1] == pytest.approx(1.0)
    for unit in (-0.3, 0.0, 0.4, 1.0):
        assert scale.unit(scale.cost(unit)) == pytest.approx(unit, abs=1e-9)


# The front


def test_the_front_is_what_no_other_feasible_trial_dominates():
    rng = random.Random(1)
    specs = {"a": Spec("a", Limits(minimum=0.1))}
    trials = points(*((rng.random(), rng.random()) for _ in range(200)), specs=specs)
    front = Front(TWO, trials)
    feasible = [t for t in trials if t.met]
    costs = {t.number: (t.measures["a"], t.measures["b"]) for t in feasible}
    expected = {
        t.number
        for t in feasible
        if not any(dominates(costs[o.number], costs[t.number]) for o in feasible)
    }
    assert {t.number for t in front.trials} == expected
    assert all(one[0] < other[0] and one[1] > other[1] for one, other in pairwise(front.costs))


def test_of_equal_trials_the_first_is_kept():
    assert [t.number for t in Front(TWO, points((1, 2), (1, 2), (2, 1))).trials] == [0, 2]


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_trial_without_a_number_is_never_on_the_front(odd):
    assert [t.number for t in Front(TWO, points((odd, 0.0), (1, 1), (0.0, odd))).trials] == [1]


def test_the_knee_is_nearest_to_the_best_of_both_on_logarithmic_scales():
    # halfway on both logarithmic scales; on linear ones trial 3 would be nearer
    front = Front(TWO, points((1, 1e4), (1e4, 1), (10, 10), (90, 2)))
    assert front.knee().number == 2


def test_mixed_senses():
    objective = Objective(minimize=("a",), maximize=("b",))
    front = Front(objective, points((1, 1), (2, 2), (2, 1), (1, 0)))
    assert [t.number for t in front.trials] == [0, 1]


@pytest.mark.parametrize(
    ("rows", "volume"),
    [
        ([], 0.0),
        ([(0.5,)], 0.5),
        ([(0.0, 0.5), (0.5, 0.0)], 0.75),
        ([(0.0, 0.5), (0.5, 0.0), (0.6, 0.6), (2.0, -1.0)], 0.75),
        ([(0.5, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 0.0, 0.5)], 0.875),
    ],
)
def test_hypervolume_of_known_fronts(rows, volume):
    size_ = len(rows[0]) if rows else 2
    assert hypervolume(rows, [1.0] * size_) == pytest.approx(volume)


# Demands


def design_with(tmp_path, objective, specs=WIDE, **agent):
    chosen = AgentChoice("random", **{"budget": 60, **agent})
    return divider(tmp_path, specs=specs, objective=objective, agent=chosen)


def answers(number, design, r1, r2):
    measures = {"ratio": r2 / (r1 + r2), "current": 1.0 / (r1 + r2)}
    return score(number, {"r1": r1, "r2": r2}, {NOMINAL: CornerResult(measures)}, design.specs)


def test_no_demand_before_a_feasible_trial(tmp_path):
    design = design_with(tmp_path, Objective(("current",)))
    demand = Tighter(design)
    assert not demand.hear([answers(0, design, 1e6, 1e3)])
    assert demand.specs is design.specs


def test_a_demand_grows_where_it_is_met_and_shrinks_where_it_is_not(tmp_path):
    design = design_with(tmp_path, Objective(("current",)))
    demand = Tighter(design)

    def step():
        return 1.0 - demand.specs["current"].limits.maximum / demand.front.costs[0][0]

    assert demand.hear([answers(0, design, 1e4, 1e4)])
    first = step()
    assert demand.hear([answers(1, design, 2e4, 2e4)])
    assert step() > 1.3 * first
    assert not any(
        demand.hear([answers(2 + k, design, 1e4, 1e4)]) for k in range(demand.patience - 1)
    )
    grown = step()
    assert demand.hear([answers(9, design, 1e4, 1e4)])
    assert step() < 0.7 * grown


def test_a_step_is_a_share_of_the_range_where_values_cross_zero():
    demand = Tighter(replace(divider_stub(), objective=Objective(maximize=("a",))))
    demand.begin([trial(k, a=a) for k, a in enumerate((-40.0, 0.0, -7.0))])
    assert demand.specs["a"].limits.minimum == pytest.approx(demand.first * 40.0)


def test_a_better_trial_short_of_the_demand_leaves_it_alone(tmp_path):
    design = design_with(tmp_path, Objective(("current",)))
    demand = Tighter(design)
    demand.hear([answers(0, design, 1e4, 1e4)])
    assert not demand.hear([answers(1, design, 1.0001e4, 1e4)])
    assert len(demand.front) == 1
    assert demand.front.trials[0].number == 1


@pytest.mark.parametrize("sense", ["minimize", "maximize"])
def test_a_demand_never_leaves_what_a_spec_on_the_measure_allows(tmp_path, sense):
    specs = {"ratio": Spec("ratio", Limits(target=0.5, tolerance=0.01))}
    demand = Tighter(design_with(tmp_path, Objective(**{sense: ("ratio",)}), specs))
    demand.most = demand.first = demand._step = 0.5
    demand.hear([answers(0, demand._design, 1e4, 1.0001e4)])
    limits = demand.specs["ratio"].limits
    assert 0.49 < (limits.maximum or limits.minimum) < 0.51
    assert (limits.target, limits.tolerance) == (0.5, 0.01)


def test_a_demand_holds_at_every_corner_beside_the_spec():
    spec = Spec("a", Limits(maximum=9.0), 2.0, "A", {"ss": Limits(maximum=3.0), "ff": Limits(1.0)})
    tight = held(spec, Aim("a", 1.0), 5.0)
    assert (tight.limits, tight.weight, tight.unit) == (Limits(maximum=5.0), 2.0, "A")
    assert tight.corners == {"ss": Limits(maximum=3.0), "ff": Limits(1.0, 5.0)}
    assert held(None, Aim("a", -1.0), -5.0).limits == Limits(minimum=5.0)


def test_a_box_in_the_largest_gap_beats_both_its_neighbours(tmp_path):
    demand = Gaps(design_with(tmp_path, BOTH, specs={}))
    demand._beyond, demand._advancing = {0: 0.0, 1: 0.0}, False
    design = demand._design
    # ratio 0.1, 0.2 and 0.9 at currents that grow with it
    demand.begin([
        answers(0, design, 9e4, 1e4), answers(1, design, 4e4, 1e4), answers(2, design, 1e3, 9e3),
    ])  # fmt: skip
    limits = {name: spec.limits for name, spec in demand.specs.items()}
    assert 1 / 5e4 < limits["current"].maximum < 1 / 1e4
    assert 0.2 < limits["ratio"].minimum < 0.9


def test_the_knee_is_to_be_beaten_in_every_measure_until_that_fails(tmp_path):
    demand = Gaps(design_with(tmp_path, BOTH, specs={}))
    design = demand._design
    demand.begin([answers(0, design, 5e4, 5e4)])
    for number, value in ((1, 6e4), (2, 8e4)):
        limits = {name: spec.limits for name, spec in demand.specs.items()}
        best = demand.front.knee().measures
        assert limits["current"].maximum < best["current"]
        assert limits["ratio"].minimum > best["ratio"]
        assert demand.hear([answers(number, design, value, 1.2 * value)]) is (number == 1)
    for _ in range(3 * demand.patience):
        demand.hear([answers(3, design, 9e4, 1e4)])
    assert len(demand.specs) == 1


def test_places_take_turns_where_demands_fail(tmp_path):
    demand = Gaps(design_with(tmp_path, BOTH, specs={}))
    design, seen = demand._design, set()
    demand.begin([answers(0, design, 9e4, 1e4), answers(1, design, 1e3, 9e3)])
    for _ in range(12 * demand.patience):
        demand.hear([answers(2, design, 9e4, 1e4)])
        seen.add(tuple(sorted(demand.specs)))
    assert seen == {("current",), ("ratio",), ("current", "ratio")}


def test_directions_are_shares_that_differ():
    seen = [direction(k, 3, 0.05) for k in range(50)]
    assert all(sum(d) == pytest.approx(1.0) and min(d) >= 0.05 for d in seen)
    assert len(set(seen)) == 50


def test_three_measures_are_demanded_by_directions_and_ends():
    objective = Objective(minimize=("a", "b", "c"))
    rows = [
        trial(0, a=1.0, b=5.0, c=3.0),
        trial(1, a=4.0, b=2.0, c=3.0),
        trial(2, a=4.0, b=5.0, c=1.0),
    ]
    design = replace(divider_stub(), objective=objective)
    demand = make_demand(design)
    assert isinstance(demand, Directions)
    demand.begin(rows)
    seen = set()
    for _ in range(12 * demand.patience):
        costs = demand.front.costs
        levels = demand._levels
        assert not any(all(row[k] <= level for k, level in levels.items()) for row in costs)
        seen.add(tuple(levels))
        demand.hear([trial(3, a=9.0, b=9.0, c=9.0)])
    assert {(0,), (1,), (0, 1, 2)} <= seen


def divider_stub():
    from pathlib import Path

    from m3eda.design.types import Design

    return Design("stub", Path("stub.yaml"), {}, {}, {}, {})


# The loop


@pytest.fixture(scope="module")
def functions():
    return Plugins().measures


def agent_named(name, **options):
    return lambda design: Plugins().look_up("agents", name)(design, design.agent.seed, options)


def make_run(design, functions, ledger=None, simulator=None, segment=1, **settings):
    evaluator = Evaluator(design, simulator or DividerSimulator(), functions, store=ledger)
    if ledger is not None and not any(s.id == segment for s in ledger.segments()):
        ledger.begin(Segment(0, f"r{segment}", "c", "{}", "random", 1, "fake", 0.0))
    make_agent = settings.pop("make_agent", agent_named(design.agent.name))
    return Run(design, evaluator, make_agent, ledger, segment if ledger else 0, **settings)


def finish(run):
    trials, generator = [], size(run)
    while True:
        try:
            trials.append(next(generator))
        except StopIteration as stop:
            return trials, stop.value


def sizings(trials):
    return [dict(t.sizing) for t in trials]


def test_demands_better_one_objective_beyond_what_random_finds(tmp_path, functions):
    """The least current within the specs is that of twice 1 MOhm, at a ratio of 0.5."""
    specs = {"ratio": Spec("ratio", Limits(minimum=0.45, maximum=0.55))}
    best = {}
    for agent in ("random", "bo"):
        design = replace(
            design_with(tmp_path, Objective(("current",)), specs, budget=40),
            agent=AgentChoice(agent, budget=40),
        )
        trials, end = finish(make_run(design, functions))
        assert end is End.BUDGET
        best[agent] = Front(design.objective, trials).costs[0][0]
    assert best["bo"] < 1.05 * 5e-7 < best["random"]


def test_demands_spread_a_front_wider_than_random_does(tmp_path, functions):
    """Least current at a ratio x is 1e-6 max(x, 1 - x), so the whole front lies at x > 0.5."""
    volumes = {}
    for agent in ("random", "bo"):
        design = replace(design_with(tmp_path, BOTH), agent=AgentChoice(agent, budget=40))
        trials, _ = finish(make_run(design, functions))
        front = Front(BOTH, trials)
        volumes[agent] = hypervolume(
            [(math.log(current), -ratio) for current, ratio in ((c, -r) for c, r in front.costs)],
            (math.log(1e-5), 0.0),
        )
    ideal = (math.log(1e-5) - math.log(5e-7)) * 0.95
    assert volumes["random"] < volumes["bo"]
    assert volumes["bo"] > 0.8 * ideal


@pytest.mark.parametrize(
    ("objective", "agent", "cuts"),
    [(Objective(("current",)), "random", [37]), (Objective(("current",)), "cma", [1, 13]),
     (BOTH, "random", [13]), (BOTH, "cma", [37])],
)  # fmt: skip
def test_a_run_cut_anywhere_goes_on_as_if_left_alone(tmp_path, functions, objective, agent, cuts):
    design = replace(design_with(tmp_path, objective), agent=AgentChoice(agent, budget=45, batch=3))
    whole, _ = finish(make_run(design, functions))
    for cut in cuts:
        with Ledger(tmp_path / f"run{cut}") as ledger:
            generator = size(make_run(design, functions, ledger))
            for _ in range(cut):
                next(generator)
            generator.close()
            again = make_run(design, functions, ledger)
            resumed, _ = finish(again)
        assert again.replayed == cut
        assert sizings(resumed) == sizings(whole)


@pytest.mark.parametrize("objective", [Objective(("current",)), BOTH])
def test_a_bigger_budget_goes_on_with_the_same_trials(tmp_path, functions, objective):
    design = design_with(tmp_path, objective, budget=50)
    whole, _ = finish(make_run(design, functions))
    with Ledger(tmp_path / "run") as ledger:
        finish(make_run(replace(design, agent=replace(design.agent, budget=20)), functions, ledger))
        again = make_run(design, functions, ledger)
        more, _ = finish(again)
    assert again.replayed == 20
    assert sizings(more) == sizings(whole)


@pytest.mark.parametrize("objective", [Objective(("current",)), BOTH])
def test_a_budget_of_one(tmp_path, functions, objective):
    trials, end = finish(make_run(design_with(tmp_path, objective, {}, budget=1), functions))
    assert (len(trials), end) == (1, End.BUDGET)
    assert Front(objective, trials).knee() is trials[0]


def test_what_other_recipes_found_is_where_a_resumed_search_begins(tmp_path, functions):
    design = design_with(tmp_path, BOTH, budget=40)
    with Ledger(tmp_path / "run") as ledger:
        first, _ = finish(make_run(design, functions, ledger))
        found = Front(BOTH, first).trials
        assert 1 < len(found) < 20
        simulator = DividerSimulator()
        stricter = {"ratio": Spec("ratio", Limits(minimum=0.06, maximum=0.95))}
        run = make_run(
            replace(design, specs=stricter), functions, ledger, simulator, segment=2,
            prior=ledger.trials(1),
        )  # fmt: skip
        generator = size(run)
        told = [next(generator) for _ in found]
        assert simulator.runs == []
        generator.close()
    assert sizings(told) == sizings(found)


def test_a_front_of_before_takes_half_of_the_budget_at_most(tmp_path, functions):
    design = design_with(tmp_path, BOTH, budget=60)
    with Ledger(tmp_path / "run") as ledger:
        finish(make_run(design, functions, ledger))
        small = replace(design, agent=replace(design.agent, budget=4, seed=2))
        simulator = DividerSimulator()
        run = make_run(small, functions, ledger, simulator, segment=2, prior=ledger.trials(1))
        trials, _ = finish(run)
    assert len(trials) == 4
    assert len(simulator.runs) == 2


def test_a_spec_changed_in_between_scores_the_front_anew(tmp_path, functions):
    design = design_with(tmp_path, BOTH)
    run = make_run(design, functions)
    generator = size(run)
    for _ in range(30):
        next(generator)
    before = Front(BOTH, run.trials).trials
    low = Spec("ratio", Limits(minimum=0.05, maximum=0.5))
    later = [generator.send(Change(design.with_spec(low))), *generator]
    assert max(t.measures["ratio"] for t in before) > 0.5
    assert len(run.trials) == 60
    assert later[-1].number == 59
    assert all(t.measures["ratio"] <= 0.5 for t in Front(BOTH, run.trials).trials)


def test_trials_are_scored_by_the_design_and_agents_hear_the_demand(tmp_path, functions):
    heard = []

    class Listener(Random):
        def tell(self, trials):
            heard.extend((t.number, t.met) for t in trials)
            super().tell(trials)

    design = design_with(tmp_path, Objective(("current",)), {})
    run = make_run(design, functions, make_agent=lambda d: Listener(d, 1, {}))
    trials, _ = finish(run)
    assert all(t.met for t in trials)
    assert any(not good for _, good in heard)


class Retargeted(Random):
    """Counts how often it is built and retargeted."""

    built = 0
    answer = True

    def __init__(self, design, seed, options):
        type(self).built += 1
        self.calls = []
        super().__init__(design, seed, options)

    def retarget(self, design, trials):
        self.calls.append((dict(design.specs), [t.number for t in trials]))
        return self.answer


@pytest.mark.parametrize("answer", [True, False])
def test_an_agent_may_keep_what_it_has_learned(tmp_path, functions, answer):
    kinds = type("Kind", (Retargeted,), {"built": 0, "answer": answer})
    agents = []

    def make_agent(design):
        agents.append(kinds(design, 1, {}))
        return GuardedAgent(agents[-1], design)

    design = design_with(tmp_path, Objective(("current",)))
    finish(make_run(design, functions, make_agent=make_agent))
    calls = [call for agent in agents for call in agent.calls]
    assert len(calls) >= 2
    assert (len(agents) == 1) is answer
    limits = [specs["current"].limits.maximum for specs, _ in calls]
    assert limits[0] != limits[1]
    assert all(numbers == list(range(len(numbers))) for _, numbers in calls)


def test_a_fault_while_retargeting_names_the_agent(tmp_path, functions):
    class Broken(Random):
        def retarget(self, design, trials):
            raise ValueError("no")

    design = design_with(tmp_path, Objective(("current",)))
    run = make_run(design, functions, make_agent=lambda d: GuardedAgent(Broken(d, 1, {}), d))
    with pytest.raises(PluginError, match=r"agent random: retarget\(\) raised ValueError: no"):
        finish(run)


def test_a_measure_that_is_often_missing(tmp_path, functions):
    """Failed trials meet an empty list of specs, and are never the best."""

    def sometimes(deck):
        if float(deck.values["r1"]) > 1e5:
            raise SimulationFailed(State.NO_CONVERGENCE, "no")

    design = design_with(tmp_path, Objective(("current",)), {})
    trials, end = finish(make_run(design, functions, simulator=DividerSimulator(sometimes)))
    [best] = Front(design.objective, trials).trials
    assert end is End.BUDGET
    assert best.state is State.COMPLETE
    assert any(t.state is State.NO_CONVERGENCE for t in trials)


# The command line


@pytest.mark.simulator
def test_a_pareto_run_from_the_command_line_and_again(tmp_path):
    write_rc(tmp_path)
    specs = "  f3db: {target: 10k, tolerance: 200}\n  far: {max: 0.011}\n"
    front = "  f3db: {min: 1k, max: 1meg}\nobjective: {minimize: far, maximize: f3db}\n"
    changed(tmp_path, specs, front)
    done = m3eda("size", "design.yaml", "--budget", 25, "--stream", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *lines, last = map(json.loads, done.stdout.splitlines())
    assert (len(lines), last["run"]["ended"]) == (25, "budget")
    pareto = [(p["objective"]["far"], p["objective"]["f3db"]) for p in last["pareto"]]
    assert len(pareto) > 1
    assert pareto == sorted(pareto)
    assert last["trial"] in [point["trial"] for point in last["pareto"]]
    stored = json.loads((tmp_path / "runs/rc/sizing.json").read_text())
    again = json.loads(m3eda("report", "runs/rc", "--format", "json", cwd=tmp_path).stdout)
    assert again["pareto"] == stored["pareto"] == last["pareto"]
    (tmp_path / "end.json").write_text(json.dumps(last["pareto"][0]))
    deck = m3eda("render", "design.yaml", "--sizing", "end.json", cwd=tmp_path).stdout
    assert f"r1 in out {last['pareto'][0]['sizing']['r']:g}" in deck.replace(".0", "")
    more = m3eda("size", "design.yaml", "--budget", 40, "--json", cwd=tmp_path)
    data = json.loads(more.stdout)
    assert data["run"]["new_simulations"] == 15
    costs = [(p["objective"]["far"], -p["objective"]["f3db"]) for p in data["pareto"]]
    assert not any(dominates(tuple(old), new) for old in costs for new in costs)


def test_the_benchmark_of_objectives_tells_a_longer_search_from_a_shorter_one(tmp_path):
    from bench import objectives as bench

    given, known = bench.problem("closed_form_front"), bench.reference("closed_form_front", 4, 50)
    assert bench.share(known, known) == pytest.approx(1.0)
    trials = bench.search(given, "random", "new", 60, 1)
    assert len(trials) == 60
    assert 0.0 <= bench.figure(given, trials, known) < 1.0
    assert bench.search(given, "random", "old", 60, 1)[0].sizing == trials[0].sizing


def test_the_smallest_benchmark_of_objectives_takes_a_moment(tmp_path, capsys):
    from bench import objectives as bench

    bench.main(["--smallest", "--output", str(tmp_path / "objectives.json")])
    rows = json.loads((tmp_path / "objectives.json").read_text())
    assert [row["rule"] for row in rows] == ["old", "new"]
    assert capsys.readouterr().out.count("| random |") == 2
