"""The benchmark of porting: its targets are met by their witnesses, its table says what was run."""

from __future__ import annotations

from contextlib import closing

import pytest

from bench.agents import Outcome, Task
from bench.port_targets import CIRCUIT, NEW, OLD, port_targets
from bench.porting import main, old_project, ratio, table
from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.design.scoring import met


@pytest.mark.simulator
@pytest.mark.parametrize("place", [0, 1], ids=[OLD, NEW])
def test_a_witness_of_each_technology_meets_its_target(place):
    targets = port_targets()
    assert len(targets.targets) == 20
    project = open_circuit(catalogue().circuit(CIRCUIT), (OLD, NEW)[place])
    with closing(project.evaluator()) as evaluator:
        whole = [evaluator.complete(pair[place]) for pair in targets.witnesses]
        for number, results in enumerate(evaluator.evaluate(whole)):
            measures = results["nominal"].measures
            for name, spec in targets.specs(number).items():
                assert met(measures[name], spec.limits), (number, name)


def test_the_old_design_knows_no_start(tmp_path):
    design = old_project(tmp_path, 3).design
    assert all(each.start is None for each in design.parameters.values())
    assert design.specs["gain"].limits.minimum == pytest.approx(port_targets().targets[3][0])


def test_the_table_compares_the_same_seeds():
    def outcome(method, seed, simulations):
        return Outcome(Task(method, NEW, seed, seed, 500), True, simulations, 0.0, 0.0)

    base = [outcome("a/baseline", seed, 40) for seed in (1, 2, 3)]
    start = [outcome("a/start", seed, 10 * seed) for seed in (1, 2)]
    assert ratio(start, base) == "0.38"
    found = {each.task: each for each in (*base, *start)}
    text = table(list(found), found)
    assert "| a / start | 2 of 2 | 15.0 | 15 | 10 to 20 | 0.38 |" in text


@pytest.mark.simulator
def test_one_seed_from_end_to_end(tmp_path, capsys):
    arguments = ["--seeds", "1", "--budget", "4", "--results", str(tmp_path / "kept.jsonl")]
    assert main([*arguments, "--methods", "trust-region/weights,search/start"]) == 0
    assert "| trust-region / weights |" in capsys.readouterr().out
    assert len((tmp_path / "kept.jsonl").read_text().splitlines()) == 2
