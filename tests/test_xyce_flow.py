"""Designs checked and sized on recordings of a real Xyce, as a user would."""

from __future__ import annotations

import json
import math
import os
import shutil

import pytest

from tests.conftest import ROOT
from tests.fake_xyce import RECORD, install
from tests.helpers import changed, trials

STEADY, OVER_TIME = 1e-4, 1e-2
"""Largest relative difference of a measure from ngspice's, without and with a transient.

The models here name a version that both have: all that is left is the size of the time steps.
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """The fake Xyce, first on PATH."""
    program = install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


@pytest.mark.simulator
@pytest.mark.parametrize(
    ("example", "tolerance"),
    [
        ("two_stage_opamp", OVER_TIME),
        ("five_transistor_ota", STEADY),
        ("rlc_matching", STEADY),
        ("sallen_key", STEADY),
        ("current_reference", STEADY),
        ("comparator", OVER_TIME),
    ],
)
def test_examples_measure_the_same(example, tolerance, rc, here, fake):
    shutil.copytree(ROOT / "examples" / example, rc / example)
    found = []
    for simulator in ("ngspice", "xyce"):
        done = here("check", f"{example}/design.yaml", "--simulator", simulator, "--json")
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout)["measures"])
    one, other = found
    assert set(one) == set(other)
    for name, value in one.items():
        assert other[name] == pytest.approx(value, rel=tolerance), name


def test_a_design_is_sized(rc, here, fake):
    changed(rc, "f3db: {target: 10k, tolerance: 200}", "f3db: {min: 5k, max: 15k}")
    changed(rc, "far: {max: 0.011}", "far: {max: 0.02}")
    options = ("--simulator", "xyce", "--agent", "random", "--seed", "3", "--cold", "--json")
    done = here("size", "design.yaml", *options)
    assert done.returncode == 0, done.stderr
    found = trials(rc / "runs" / "rc")
    assert 2 < len(found) < 30
    for sizing, measures in found:
        corner = 1.0 / (2.0 * math.pi * sizing["r"] * sizing["c"])
        assert measures["f3db"] == pytest.approx(corner, rel=1e-2)


def test_an_unknown_deck_says_how_to_record_it(rc, here, fake, monkeypatch):
    monkeypatch.delenv(RECORD, raising=False)
    changed(rc, ".ac dec 20 1 10meg", ".ac dec 21 1 10meg", file="rc.cir.j2")
    done = here("check", "design.yaml", "--simulator", "xyce")
    assert done.returncode == 3
    assert "make record-xyce" in done.stderr
