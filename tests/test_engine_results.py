"""Results are kept under all that decides them, and what fails is told wherever it was found."""

from __future__ import annotations

import errno
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from m3eda import Execution, start
from m3eda.design.types import Measure, Parameter, SimulatorChoice
from m3eda.flow import Project
from m3eda.ledger import Ledger
from m3eda.plugins import Plugins
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.pool import Pool
from m3eda.simulate.runner import Recipe
from m3eda.simulate.types import Deck, State, Waveforms
from tests import warm_simulator as warm
from tests.helpers import DividerSimulator, changed, divider

GOOD = {"r1": 3e4, "r2": 1e4}


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "run") as ledger:
        yield ledger


def nominal(evaluator, *sizings):
    return [result["nominal"] for result in evaluator.evaluate(sizings)]


def test_sizings_of_one_deck_differ_where_a_measure_uses_what_it_lacks(tmp_path, ledger):
    design = divider(tmp_path)
    times = Measure("times", "op", "factor * v(out)")
    factor = Parameter("factor", 1.0, 10.0)
    design = replace(
        design,
        parameters={**design.parameters, "factor": factor},
        measures={**design.measures, "times": times},
    )
    simulator = DividerSimulator()
    evaluator = Evaluator(design, simulator, Plugins([]).measures, store=ledger)
    found = nominal(evaluator, *({**GOOD, "factor": f} for f in (1.0, 2.0, 2.0)))
    assert [each.measures["times"] for each in found] == pytest.approx([0.25, 0.5, 0.5])
    assert len(simulator.runs) == 2


@pytest.mark.parametrize("raised", [OSError(errno.ENOMEM, "no more"), MemoryError()], ids=repr)
def test_a_simulator_that_lacks_memory_has_crashed(tmp_path, raised):
    def lack(_deck):
        raise raised

    evaluator = Evaluator(divider(tmp_path), DividerSimulator(lack), Plugins([]).measures)
    [fell] = nominal(evaluator, GOOD)
    assert fell.state is State.CRASH
    assert "memory" in fell.reason


def test_what_ran_while_an_include_changed_is_not_kept(tmp_path, ledger):
    design = divider(tmp_path)
    models = tmp_path / "models.lib"
    models.write_text("* one\n")
    template = design.testbenches["op"].template
    template.write_text(f'* title\n.include "{models}"\n{template.read_text()}')

    def edit(_deck):
        models.write_text("* edited\n")
        time.sleep(0.6)  # files are looked at once in half a second at the least

    simulator = DividerSimulator(edit)
    measures = Plugins([]).measures
    [first] = nominal(Evaluator(design, simulator, measures, store=ledger), GOOD)
    assert first.runs == 1
    assert ledger.count_simulations() == 0
    [again] = nominal(Evaluator(design, simulator, measures, store=ledger), GOOD)
    assert again.runs == 1
    assert ledger.count_simulations() == 1


def test_a_parameter_that_no_measure_uses_costs_no_simulation(tmp_path, ledger):
    design = divider(tmp_path)
    factor = Parameter("factor", 1.0, 10.0)
    design = replace(design, parameters={**design.parameters, "factor": factor})
    simulator = DividerSimulator()
    evaluator = Evaluator(design, simulator, Plugins([]).measures, store=ledger)
    nominal(evaluator, {**GOOD, "factor": 1.0}, {**GOOD, "factor": 2.0})
    assert len(simulator.runs) == 1


def test_another_start_file_is_another_result(tmp_path, ledger):
    design, simulator = divider(tmp_path), DividerSimulator()
    for setup in ("", "a", "b", "a"):
        nominal(Evaluator(design, simulator, Plugins([]).measures, ledger, setup=setup), GOOD)
    assert len(simulator.runs) == 3


@pytest.mark.simulator
def test_what_stands_in_the_start_file_counts(rc):
    (rc / "start").write_text("option gmin=1e-9\n")
    options = f"simulator: {{name: ngspice, options: {{spiceinit: '{rc / 'start'}'}}}}\n"
    changed(rc, "agent:", f"{options}agent:")
    before = Project.load(rc / "design.yaml").evaluator().setup
    (rc / "start").write_text("option gmin=1e-6\n")
    after = Project.load(rc / "design.yaml").evaluator().setup
    assert before
    assert before != after


@pytest.mark.simulator
def test_failed_decks_are_kept_in_every_run_directory(here, rc, monkeypatch):
    """Also where it is named from the working directory, and where the cache knew of them."""
    monkeypatch.setenv("M3EDA_CACHE_SIZE", "10M")
    monkeypatch.setenv("M3EDA_CACHE", str(rc / "cache"))
    changed(rc, "c1 out 0", "m1 out in 0 0 nothing\nc1 out 0", "rc.cir.j2")
    for folder in ("one", "two"):
        done = here("size", "design.yaml", "--run-dir", folder)
        assert done.returncode == 2
        kept = Path(folder) / "failed" / "ac-model-missing"
        assert str(kept) in done.stderr
        assert "nothing" in (rc / kept / "deck.cir").read_text()
        assert "nothing" in (rc / kept / "log").read_text()


@pytest.mark.simulator
def test_a_comparison_of_what_fails_in_every_way(here, rc):
    good = here("check", "design.yaml", "--strict", "--json")
    assert good.returncode == 0
    assert json.loads(good.stdout)["differences"]["strict"]["f3db"] < 1e-9
    changed(rc, "c1 out 0", "m1 out in 0 0 nothing\nc1 out 0", "rc.cir.j2")
    bad = here("check", "design.yaml", "--strict", "--json")
    assert bad.returncode == 2
    assert json.loads(bad.stdout, parse_constant=pytest.fail)["referee"]["f3db"] is None
    assert "model missing" in bad.stderr


@pytest.mark.parametrize("wrong", [{"jobs": 0}, {"jobs": -1, "cold": True}, {"licences": -1}])
def test_counts_that_cannot_be(tmp_path, wrong):
    with pytest.raises(ValueError, match="is right"):
        start(divider(tmp_path), execution=Execution(**wrong))


class Unready(warm.WarmDivider):
    """Its sessions take longer than any timeout to make a circuit ready."""

    def open(self, rundir, *, strict):
        return UnreadySession()


class UnreadySession:
    broken = False

    def run(self, deck: Deck) -> Waveforms:
        time.sleep(3600.0)
        raise AssertionError

    def close(self) -> None:
        return


def _unready(design):
    return Unready(), Plugins([]).measures


def _pooled(design, tools):
    simulator, functions = tools(design)
    return Evaluator(design, simulator, functions, make_executor=lambda d: Pool(Recipe(d, tools)))


def test_what_a_session_never_makes_ready_is_run_without(tmp_path):
    design = divider(tmp_path, simulator=SimulatorChoice("fake", timeout=1.0))
    evaluator = _pooled(design, _unready)
    began = time.monotonic()
    try:
        found = nominal(evaluator, *({**GOOD, "r2": 1e4 + n} for n in range(5)))
        assert [each.state for each in found] == [State.COMPLETE] * 5
        assert time.monotonic() - began < 8.0  # one timeout, not five
        assert "not made ready in a session" in evaluator.executor.note
    finally:
        evaluator.close()


def test_a_simulation_that_was_killed_counts_as_run(tmp_path):
    design = divider(tmp_path, simulator=SimulatorChoice("fake", timeout=1.0))
    evaluator = _pooled(design, warm.tools)
    try:
        _, hung, dead = nominal(
            evaluator, GOOD, {**GOOD, "r1": warm.HANG}, {**GOOD, "r1": warm.DEADLY}
        )
    finally:
        evaluator.close()
    assert (hung.state, hung.runs) == (State.TIMEOUT, 1)
    assert (dead.state, dead.runs) == (State.CRASH, 2)
