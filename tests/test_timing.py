"""Where the time went: what is counted, what is told."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from m3eda.report.timing import OWN, timing_json, timing_lines
from m3eda.simulate.executor import Outcome
from m3eda.simulate.spent import Spent
from m3eda.simulate.trial import CornerResult
from tests.helpers import m3eda
from tests.report_samples import good_trial, sample_summary


def test_timers_within_each_other_count_once():
    spent, began = Spent(), time.perf_counter()
    with spent.time("agent"):
        with spent.time("agent"):
            time.sleep(0.02)
        time.sleep(0.02)
    assert 0.04 <= spent.seconds["agent"] <= time.perf_counter() - began


def test_a_timer_counts_what_fails_too():
    spent = Spent()
    with pytest.raises(ZeroDivisionError), spent.time("storing"):
        time.sleep(0.01 / (spent.simulations or 1)) or 1 / spent.simulations
    assert spent.seconds["storing"] >= 0.01
    assert not spent.running


def test_the_table_adds_up():
    spent = Spent()
    for _ in range(4):
        spent.simulated(
            Outcome(CornerResult({}), {"simulator": 0.5, "analysis": 0.4, "measuring": 0.001})
        )
    spent.add("waiting", 1.5)
    spent.add("agent", 0.25)
    summary = replace(sample_summary(good_trial(0)), spent=spent, seconds=2.0)
    data = timing_json(summary)
    assert sum(data[name] for name in (*OWN, "other")) == data["wall"] == 2.0
    assert data["other"] == 0.25
    lines = timing_lines(summary)
    assert lines[0] == "4 simulations in 2 s; where the time went:"
    assert lines[1].split(maxsplit=3)[1:] == [
        "2.000",
        "s",
        "500 ms a simulation, of it 80 % processor",
    ]
    assert any("12 % of the wall time" in line and "agent" in line for line in lines)


@pytest.mark.simulator
@pytest.mark.parametrize("way", [(), ("--cold",), ("--jobs", "2")])
def test_a_real_run(rc, way):
    done = m3eda("size", "design.yaml", "-v", "--json", *way, cwd=rc)
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)["run"]
    told = run["time"]
    assert told["simulations"] >= run["new_simulations"] > 0
    assert 0.0 < told["analysis"] <= 1.1 * told["simulator"]
    assert told["measuring"] > 0.0
    assert sum(told[name] for name in (*OWN, "other")) == pytest.approx(told["wall"], rel=1e-3)
    assert f"{told['simulations']} simulations in" in done.stderr


@pytest.mark.simulator
def test_a_run_that_repeats_simulates_nothing(rc):
    assert m3eda("size", "design.yaml", cwd=rc).returncode == 0
    done = m3eda("size", "design.yaml", "--json", cwd=rc)
    assert json.loads(done.stdout)["run"]["time"]["simulations"] == 0
