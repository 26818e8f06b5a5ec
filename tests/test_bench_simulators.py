"""The benchmark of the simulators: what it measures, compares, and says of what is not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from bench.engine_process import tree_seconds
from bench.simulators import WAYS, Rate, agreement, chosen_task, found_ways, main, rates_table

pytestmark = pytest.mark.simulator


def test_the_smallest_benchmark_prints_what_it_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("M3EDA_SHARED", str(tmp_path))  # as where the samples are not
    report = tmp_path / "simulators.json"
    assert main(["--smallest", "--xyce", "/nowhere/Xyce", "--json", str(report)]) == 0
    printed = capsys.readouterr().out
    data = json.loads(report.read_text(), parse_constant=pytest.fail)
    assert [rate["way"] for rate in data["rates"]] == [way.name for way in WAYS[:2]]
    assert all(rate["milliseconds"] > 0.0 for rate in data["rates"])
    assert "xyce: not installed: " in printed
    assert list(data["missing"]) == ["xyce"]
    [warm] = data["agreement"].values()
    assert warm["gain"]["compared"] == 10
    assert all(measure["agrees"] for measure in warm.values())


def test_the_hundred_sizings_are_compared_with_xyces_answers(shared, tmp_path):
    task = chosen_task(tmp_path, 6)
    usable = {WAYS[1]: "any"}
    [comparison] = agreement(task, usable, {}).values()
    assert comparison.agrees
    assert {row.measure for row in comparison.rows} == {"gain", "ugbw", "pm", "supply"}
    shifted = replace(task, right=task.right[1:] + task.right[:1])
    [wrong] = agreement(shifted, usable, {}).values()
    assert not wrong.agrees


def test_a_simulator_that_is_not_there_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("M3EDA_SHARED", str(tmp_path))
    usable, missing = found_ways(chosen_task(tmp_path, 1).project, {"program": "/nowhere/Xyce"})
    assert {way.simulator for way in usable} == {"ngspice", "ngspice-batch"}
    assert list(missing) == ["xyce"]


def test_the_table_has_a_line_for_each_way():
    table = rates_table([Rate("one", "one-1", 4.0, 2.0)], {"two": "no program"})
    assert table.splitlines()[1].split() == ["one", "one-1", "4.00", "2.00", "250"]
    assert table.splitlines()[2] == "two: not installed: no program"


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="reads /proc of Linux")
def test_the_time_of_processes_that_have_ended_counts():
    before = tree_seconds(os.getpid())
    code = "sum(range(20_000_000))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert tree_seconds(os.getpid()) > before + 0.1
