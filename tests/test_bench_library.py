"""The benchmark of the circuit library: which targets are taken, and rates in every technology."""

from __future__ import annotations

import json

import pytest

import bench.library
from bench.library import held_out, main
from m3eda.circuits.opening import catalogue
from m3eda.circuits.targets import targets_of
from m3eda.learning.settings import library_settings


def test_held_out_targets_are_those_that_nothing_was_fitted_to():
    listed = targets_of(catalogue().circuit("five_transistor_ota"), "generic180")
    [setting] = library_settings(circuits="five_transistor_ota", technologies="generic180",
                                 targets="held out")  # fmt: skip
    numbers = held_out(listed, 100)
    assert [listed.witnesses[number] for number in numbers] == list(setting.witnesses)
    assert held_out(listed, 3) == numbers[:3]


@pytest.mark.simulator
def test_every_technology_of_a_circuit_has_its_rates(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench.library, "TECHNOLOGIES", ["generic180", "sky130"])
    path = tmp_path / "rows.json"
    command = ["passive_filter", "--every", "--points", "5", "--json", str(path)]
    assert main(command) == 0
    *_, row = capsys.readouterr().out.splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:3] == ["passive_filter", "7", "7"]
    assert cells[-1] == "", "sky130 is not claimed"
    assert cells[3].endswith(", 0%, 0%")
    assert len(json.loads(path.read_text())) == 1
