"""The benchmarks: the warm simulator gives what a fresh one does, lists and tables are right."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from bench import agents as bench_agents
from bench.agents import Checkpoint, Outcome, Task, constant_row, summarise, table
from bench.circuits import amplifier_measures, circuit, unity_crossing
from bench.make_targets import make
from bench.targets import count_met, known_lists, target_list
from bench.warm import WarmNgspice
from m3eda.design.space import Space
from m3eda.plugins import Plugins
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.types import Analysis, Deck, SimulationFailed, Waveforms

OF_EXAMPLES = ["folded_cascode", "five_transistor_ota", "comparator", "ldo"]
PARETO_LISTS = [f"{name}_pareto" for name in OF_EXAMPLES]

RC = """* low pass
.param r=1e3 c=1e-9
v1 in 0 dc 1 ac 1
r1 in out {r}
c1 out 0 {c}
.save v(out) i(v1)
.ac dec 10 1 1e9
.end
"""
DIVIDER = "* divider\n.param r=1e3\nv1 in 0 1\nr1 in out {r}\nr2 out 0 1e3\n.op\n.end\n"


@pytest.mark.simulator
@pytest.mark.parametrize("resistance", [1e3, 47e3, 2.2])
def test_a_warm_circuit_follows_its_parameters(resistance):
    waveforms = WarmNgspice(RC).run({"r": resistance})
    [response] = waveforms.of_kind("ac")
    frequency, out = response.vectors["frequency"], response.vectors["v(out)"]
    np.testing.assert_allclose(out, 1 / (1 + 2j * np.pi * frequency * resistance * 1e-9), rtol=1e-9)


@pytest.mark.simulator
def test_the_operating_point_is_kept_beside_the_ac_analysis():
    [point] = WarmNgspice(RC).run({"r": 1e3}).of_kind("op")
    assert point.vectors["v(out)"] == pytest.approx([1.0])


@pytest.mark.simulator
def test_two_decks_take_turns():
    low_pass, divider = WarmNgspice(RC), WarmNgspice(DIVIDER)
    for ratio in (1.0, 3.0):
        low_pass.run({"r": 1e3})
        [point] = divider.run({"r": ratio * 1e3}).of_kind("op")
        assert point.vectors["v(out)"] == pytest.approx([1 / (1 + ratio)])


@pytest.mark.simulator
def test_a_deck_that_does_not_load_is_refused_and_the_next_one_works():
    WarmNgspice(DIVIDER).run({"r": 1e3})
    broken = WarmNgspice(DIVIDER.replace("r2 out 0 1e3", "m1 out out 0 0 missing w=1u l=1u"))
    for _ in range(2):
        with pytest.raises(SimulationFailed, match="model missing: line 5"):
            broken.run({"r": 1e3})
    assert list(WarmNgspice(DIVIDER).run({"r": 1e3}).of_kind("op"))


@pytest.mark.simulator
def test_a_value_the_model_refuses_fails_and_the_next_one_works():
    amplifier = WarmNgspice(circuit("folded_cascode").decks["open_loop"])
    good = dict(target_list("folded_cascode_pareto").witnesses[0])
    amplifier.run(good)
    with pytest.raises(SimulationFailed):
        amplifier.run({**good, "l_in": -1e-6})
    assert list(amplifier.run(good).of_kind("ac"))


@pytest.mark.simulator
@pytest.mark.parametrize("name", OF_EXAMPLES)
def test_a_circuit_gives_what_the_evaluator_does(name):
    made, plugins = circuit(name), Plugins()
    fresh = Evaluator(made.design, plugins.simulators["ngspice"]({}), plugins.measures)
    space, rng = Space(made.design), np.random.default_rng(1)
    points = [space.sizing(rng.random(space.dimension)) for _ in range(3)]
    if f"{name}_pareto" in known_lists():
        points.append(dict(target_list(f"{name}_pareto").witnesses[0]))
    for point in points:
        [result] = fresh.evaluate([fresh.complete(point)])
        expected = result["nominal"].measures
        assert made.evaluate(point) == pytest.approx(expected, rel=1e-6, nan_ok=True)


@pytest.mark.simulator
@pytest.mark.parametrize("card", [".tran 2n 1u", ".tran 50n 1u 0 4n", ".tran 2n 1u uic"])
def test_a_warm_transient_is_that_of_a_fresh_process(card, tmp_path):
    netlist = f"* decay\nr1 out 0 {{r}}\nc1 out 0 1n\n.ic v(out)=2\n{card}\n.end\n"
    title, rest = netlist.split("\n", 1)
    warm = WarmNgspice(f"{title}\n.param r=1e3\n.save v(out)\n{rest}")
    warm.run({"r": 5e3})
    [decay] = warm.run({"r": 200.0}).of_kind("tran")
    time, out = decay.vectors["time"], decay.vectors["v(out)"]
    np.testing.assert_allclose(out, 2 * np.exp(-time / 2e-7), rtol=0.02, atol=2e-3)

    deck = Deck(netlist.replace("{r}", "200"), vectors=("v(out)",))
    waveforms = Plugins().simulators["ngspice"]({}).run(deck, tmp_path, 60.0)
    [fresh] = waveforms.of_kind("tran")
    np.testing.assert_array_equal(time, fresh.vectors["time"])
    np.testing.assert_array_equal(out, fresh.vectors["v(out)"])


@pytest.mark.simulator
def test_a_transient_that_stops_early_has_failed():
    # dv/dt = 1e6 v^3 from 1 V is infinite after 0.5 us
    growth = "* growth\n.param c=1e-9\nb1 0 out i=1e-3*v(out)^3\nc1 out 0 {c}\n"
    growth += ".ic v(out)=1\n.save v(out)\n.tran 1n 1u uic\n.end\n"
    with pytest.raises(SimulationFailed, match=r"stopped at t = (4\.9|5).*e-07 s of 1e-06 s"):
        WarmNgspice(growth).run({"c": 1e-9})
    assert list(WarmNgspice(DIVIDER).run({"r": 1e3}).of_kind("op"))


@pytest.mark.simulator
def test_a_testbench_that_fails_leaves_the_measures_of_the_others():
    made = circuit("ldo")
    broken = {**made.decks, "light": made.decks["light"].replace("mn1 ", "mn1 nowhere ")}
    measures = replace(made, decks=broken, _simulators={}).evaluate(
        Space(made.design).sizing(Space(made.design).centre())
    )
    assert math.isnan(measures["vout_light"])
    assert math.isnan(measures["pm"])  # the smaller of two, one of which is not known
    assert measures["vout_full"] == pytest.approx(0.923, abs=1e-3)


@pytest.mark.simulator
def test_the_autockt_amplifier_is_the_one_of_the_published_figures(shared):
    sizing = dict(
        zip(("mp1", "mn1", "mp3", "mn3", "mn4", "mn5"), (18, 22, 70, 22, 28, 36), strict=True)
    )
    measures = circuit("autockt_opamp").evaluate({**sizing, "cc": 9.8e-12})
    assert measures == pytest.approx(
        {"gain": 347.0756, "ugbw": 3.53634e6, "pm": 61.6444, "ibias": 1.0113586e-4}, rel=1e-5
    )


@pytest.mark.simulator
def test_one_constant_design_meets_49_of_the_50_uniform_targets(shared):
    assert constant_row("autockt_uniform").met == 49


@pytest.mark.simulator
@pytest.mark.parametrize("name", PARETO_LISTS)
def test_every_target_has_a_witness_and_no_sizing_meets_more_than_15_percent(name):
    chosen = target_list(name)
    made = circuit(chosen.circuit)
    measured = [made.evaluate(sizing) for sizing in chosen.witnesses]
    assert len(chosen.targets) == len(measured) == 25
    for target, measures in zip(chosen.targets, measured, strict=True):
        assert count_met(made, measures, [target]) == 1
    measured += [made.evaluate(sizing) for sizing in chosen.constants]
    counts = [count_met(made, measures, chosen.targets) for measures in measured]
    assert max(counts) <= 0.15 * len(chosen.targets)


@pytest.mark.parametrize("name", known_lists())
def test_lists_have_one_limit_a_spec(name):
    data = json.loads((bench_agents.RESULTS.parent / "targets" / f"{name}.json").read_text())
    assert {len(target) for target in data["targets"]} == {len(data["order"])}


def test_a_unity_crossing_equals_the_closed_form():
    frequency = np.logspace(0, 10, 101)
    response = 1e3 / (1 + 1j * frequency / 1e3) / (1 + 1j * frequency / 1e7)
    crossing, phase = unity_crossing(frequency, response)
    assert crossing == pytest.approx(1e6, rel=6e-3)
    assert phase == pytest.approx(-90 - math.degrees(math.atan(0.1)), abs=0.6)


def test_an_amplifier_without_unity_crossing_has_no_bandwidth():
    ac = Analysis("ac", {"frequency": np.ones(3), "v(o)": np.full(3, 0.5 + 0j)}, "frequency")
    measures = amplifier_measures(Waveforms((ac,)), "v(o)")
    assert measures["gain"] == 0.5
    assert math.isnan(measures["ugbw"])
    assert math.isnan(measures["pm"])


def outcome(target: int, met: bool, simulations: int) -> Outcome:
    task = Task("random", "some_list", target, seed=1, budget=500)
    return Outcome(task, met, simulations, cpu=1.0, wall=2.0)


def test_ert_counts_the_simulations_of_targets_that_were_not_met():
    row = summarise("random", "some_list", [outcome(0, True, 40), outcome(1, False, 500)])
    assert (row.met, row.runs, row.median, row.ert) == (1, 2, 40.0, 540.0)
    assert "| some_list | random | 1 of 2 | 40 | 540 | 1.00 | 2.00 |" in table([row])


def test_ert_is_infinite_where_nothing_was_met():
    assert summarise("random", "some_list", [outcome(0, False, 500)]).ert == math.inf


def test_a_line_cut_off_in_the_checkpoint_is_forgotten(tmp_path):
    path = tmp_path / "agents.jsonl"
    checkpoint = Checkpoint(path)
    checkpoint.add(outcome(0, True, 40))
    checkpoint.add(outcome(1, False, 500))
    path.write_text(path.read_text()[:-20])
    assert list(Checkpoint(path).outcomes.values()) == [outcome(0, True, 40)]


@pytest.mark.simulator
def test_the_smallest_benchmark_runs_and_resumes(tmp_path, capsys, monkeypatch):
    checkpoint, report = tmp_path / "agents.jsonl", tmp_path / "agents.json"
    arguments = ["--smallest", "--agents", "random,cma", "--lists", "folded_cascode_pareto"]
    arguments += ["--checkpoint", str(checkpoint), "--json", str(report)]
    assert bench_agents.main(arguments) == 0
    first = capsys.readouterr().out
    assert "| folded_cascode_pareto | cma | 0 of 1 |" in first
    assert len(json.loads(report.read_text())["rows"]) == 3

    monkeypatch.setattr(bench_agents, "search", None)
    assert bench_agents.main(arguments) == 0
    assert capsys.readouterr().out == first


@pytest.mark.simulator
def test_targets_of_a_circuit_of_the_bench_are_met_by_their_witnesses(tmp_path):
    made = make("five_transistor_ota", 700, 3, 1, tmp_path / "kept.npz")
    ota = circuit("five_transistor_ota")
    assert made["targets"]
    for target, witness in zip(made["targets"], made["witnesses"], strict=True):
        assert count_met(ota, ota.evaluate(witness), [target]) == 1
        assert target[2] == 60.0
    assert make("five_transistor_ota", 700, 3, 1, tmp_path / "kept.npz") == made
