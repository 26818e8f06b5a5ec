"""The circuits of the M3 paper: as the paper has them, and what its ranges are worth."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest

from bench import paper_ranges
from bench.circuits import circuit as bench_circuit
from bench.paper_ranges import Range, main, project, reach, recalibrated, rows
from m3eda.circuits.catalogue import read_circuit
from m3eda.circuits.opening import catalogue, open_circuit
from tests.helpers import changed

OBSERVED = {"m3_2soa": 19, "m3_r2soa": 15, "m3_2stia": 14, "m3_comp": 10}
"""The paper's dimension of an observation: parameters and twice the specifications."""


def results(made, **values):
    """What the default sizing gives, but for `values`."""
    evaluator = made.evaluator()
    try:
        [result] = evaluator.evaluate([evaluator.complete({**made.nominal_sizing(), **values})])
    finally:
        evaluator.close()
    return result["nominal"]


@pytest.mark.parametrize(("name", "dimension"), OBSERVED.items())
def test_parameters_and_specifications_are_as_many_as_the_papers(name, dimension):
    circuit = catalogue().circuit(name)
    design = open_circuit(circuit).design
    assert len(design.free) + 2 * len(design.specs) == dimension
    assert circuit.file.paper is not None
    assert set(circuit.file.paper.specs) <= set(design.specs)


@pytest.mark.simulator
def test_the_op_amp_is_autockts(shared):
    """With AutoCkt's card: its netlist, as the benchmark of agents has it."""
    autockt = bench_circuit("autockt_opamp")
    sizing = autockt.constants[0]
    card = shared / "models" / "ptm" / "45nm_bulk.txt"
    found = results(project(catalogue().circuit("m3_2soa"), card), **sizing).measures
    expected = autockt.evaluate(sizing)
    assert expected["gain"] > 200
    for measure in ("gain", "ugbw", "pm", "ibias"):
        assert found[measure] == pytest.approx(expected[measure], rel=1e-3), measure


@pytest.mark.simulator
def test_a_wrong_decision_has_no_delay(tmp_path):
    folder = tmp_path / "m3_comp"
    shutil.copytree(catalogue().paths["m3_comp"].parent, folder)
    right = results(open_circuit(read_circuit(folder)))
    assert 10e-12 < right.measures["delay"] < 300e-12
    changed(folder, "overdrive: 10m", "overdrive: -10m", "circuit.yaml")
    wrong = results(open_circuit(read_circuit(folder)))
    assert math.isnan(wrong.measures["delay"])
    assert wrong.reasons["delay"]


@pytest.mark.simulator
def test_the_smallest_benchmark_prints_what_it_writes_and_goes_on(tmp_path, capsys, monkeypatch):
    report, kept = tmp_path / "ranges.json", tmp_path / "kept"
    arguments = ["--smallest", "--circuits", "m3_2soa,m3_2stia", "--checkpoint", str(kept)]
    assert main([*arguments, "--json", str(report)]) == 0
    printed = capsys.readouterr().out
    written = json.loads(report.read_text())
    assert [row["measure"] for row in written["specs"]] == [
        *("gain", "ugbw", "pm", "ibias", "swing"),
        *("gain", "bw", "pm", "ibias"),
    ]
    [current] = [row for row in written["specs"] if (row["circuit"], row["measure"]) ==
                 ("m3_2soa", "ibias")]  # fmt: skip
    assert current["published"] == [10e-3, 0.1e-3]
    assert current["near"] == [1.0, 1.0]
    assert "| m3_2soa | ibias <= | 10m, 100u | 100.00%, 100.00% |" in printed

    # of uniform targets, nearly all are met by one sizing that is known
    [share] = [row["literature"] for row in written["circuits"] if row["circuit"] == "m3_2soa"]
    assert share > 0.9

    # the first rows are there, the others are simulated anew
    [file] = kept.glob("m3_2soa-*-1.npy")
    np.save(file, np.load(file)[:25])
    counted = []
    real = paper_ranges.simulated
    monkeypatch.setattr(
        paper_ranges,
        "simulated",
        lambda made, wanted, jobs, path: (
            counted.append(len(np.load(path))) or real(made, wanted, jobs, path)
        ),
    )
    assert main(arguments) == 0
    assert counted == [25, 1, 40]
    assert capsys.readouterr().out == printed


def test_ends_that_say_something_are_kept():
    """Of 1000 values from 1 to 1000, half are below 500 and one in a hundred above 990."""
    values = np.arange(1.0, 1001.0)
    gain = Range("gain", "min", 200.0, 800.0)
    assert recalibrated(gain, values) == (200.0, 800.0)
    assert recalibrated(replace(gain, far=5000.0), values) == (200.0, 990.0)
    assert recalibrated(replace(gain, near=2.0), values) == (500.0, 800.0)
    current = Range("ibias", "max", 800.0, 200.0)
    assert recalibrated(current, values) == (800.0, 200.0)
    assert recalibrated(replace(current, far=0.5), values) == (800.0, 11.0)
    assert recalibrated(replace(current, near=0.9, far=0.5), values) == (500.0, 11.0)
    margin = Range("pm", "min", 60.0, 60.0)
    assert recalibrated(margin, values) == (60.0, 60.0)
    assert recalibrated(margin, values / 100) == (5.0, 5.0)


def test_a_target_is_met_by_one_sizing_in_all_specifications():
    """Two sizings that are each good in one thing meet no target that asks for both."""
    ranges = [Range("gain", "min", 0.0, 1.0), Range("ibias", "max", 1.0, 0.0)]
    apart = {"gain": np.array([1.0, 0.0, np.nan]), "ibias": np.array([1.0, 0.0, 0.0])}
    assert reach("two", ranges, apart, 2000, 1).targets == 0.0
    half = {"gain": np.array([0.5, 1.0]), "ibias": np.array([0.0, 1.0])}
    together = reach("two", ranges, half, 2000, 1)
    assert together.targets == together.single == pytest.approx(0.5, abs=0.05)
    assert together.near == 1.0
    [gain, current] = rows("two", ranges, half)
    assert gain.far == (0.0, 1.0)
    assert current.near == (1.0, 1.0)
