"""The benchmark of what the points of a sweep cost the measures."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench.measure_accuracy import judged, main, one_pole, peak, pole, sweep, table
from m3eda.simulate import ac


def test_the_errors_of_a_fine_sweep_vanish():
    assert all(error.worst < 1e-3 for error in one_pole([1e5, 1.1e5], per_decade=500))
    assert peak([1e5, 1.01e5], 2.0, 500).worst < 1e-4


def test_an_error_is_that_of_the_worst_place():
    places = [1e5, 10**5.03, 10**5.07]
    expected = max(abs(ac.bandwidth_3db.function(sweep(lambda s, f=f: 1000 * pole(f)(s))) / f - 1)
                   for f in places)  # fmt: skip
    found = {error.measure: error.worst for error in one_pole(places)}
    assert found["bandwidth_3db"] == pytest.approx(expected, rel=0.05)
    assert found["bandwidth_3db"] > 1e-3


def test_a_stable_and_an_unstable_response_are_told_apart():
    stable = lambda s: 1e3 * pole(1e3)(s) * pole(1e7)(s)  # noqa: E731
    unstable = lambda s: 1e3 * pole(1e3)(s) * pole(1e5, -1.0)(s)  # noqa: E731
    weak = lambda s: 0.5 * pole(1e3)(s)  # noqa: E731
    row = judged("three", [stable, unstable, weak])
    assert (row.count, row.refused, row.positive) == (3, 1, 1)
    assert "| three | 3 | 1 | 1 |" in table([], [row])


def test_the_smallest_benchmark_prints_what_it_writes(tmp_path, capsys):
    report = tmp_path / "accuracy.json"
    assert main(["--smallest", "--json", str(report)]) == 0
    printed = capsys.readouterr().out
    data = json.loads(report.read_text())
    assert f"| bandwidth_3db | one pole | 10 | {data['errors'][0]['worst']:.2%} |" in printed
    stable, *unstable = data["guard"]
    assert f"| stable | {stable['count']} | 0 | {stable['positive']} |" in printed
    assert np.all([row["refused"] > 0 for row in unstable])
