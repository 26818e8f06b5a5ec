"""The simulator pyspice: the contract, the same numbers as `ngspice -b`, and what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from m3eda_plugins.ngspice.batch import NgspiceBatch
from m3eda_plugins.pyspice import simulator as pyspice_simulator
from m3eda_plugins.pyspice.simulator import PySpiceNgspice

from m3eda.errors import DesignError, SimulatorMissing
from m3eda.flow import Execution, Project
from m3eda.simulate.types import Deck, SimulationFailed, State, WarmSimulator

pytest.importorskip("PySpice", reason="PySpice is not installed")

PYSPICE = PySpiceNgspice({})
"""One for all: to find out its version is to start a process, which takes as long as a run."""

OP_AMP = Path(__file__).resolve().parent.parent / "examples" / "two_stage_opamp" / "design.yaml"


@pytest.mark.simulator
@pytest.mark.slow
def test_the_contract_holds():
    file = Path(__file__).parent / "pyspice_contract.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    done = subprocess.run(
        command, cwd=file.parent.parent, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.simulator
def test_the_op_amp_gives_what_ngspice_gives(tmp_path):
    project = Project.load(OP_AMP)
    for name, deck in project.evaluator().decks(project.nominal_sizing()).items():
        folders = [tmp_path / f"{name}_{way}" for way in ("ours", "theirs")]
        for folder in folders:
            folder.mkdir()
        ours = PYSPICE.run(deck, folders[0], 60.0)
        theirs = NgspiceBatch({}).run(deck, folders[1], 60.0)
        assert [a.kind for a in ours.analyses] == [a.kind for a in theirs.analyses]
        for one, other in zip(ours.analyses, theirs.analyses, strict=True):
            for vector in one.vectors:
                np.testing.assert_allclose(one.vectors[vector], other.vectors[vector], rtol=1e-12)


@pytest.mark.simulator
def test_a_worker_sizes_with_a_session_of_it():
    project = Project.load(OP_AMP, simulator="pyspice")
    assert isinstance(project.simulator(), WarmSimulator)
    sizing = project.nominal_sizing()
    measured = {}
    for each in (project, Project.load(OP_AMP, simulator="ngspice")):
        evaluator = each.evaluator(Execution(strict=True))
        try:
            [results] = evaluator.evaluate([evaluator.complete(sizing)])
        finally:
            evaluator.close()
        measured[each.design.simulator.name] = results["nominal"].measures
    assert measured["pyspice"] == pytest.approx(measured["ngspice"], rel=1e-12)


@pytest.mark.simulator
def test_a_deck_that_ends_ngspice_is_a_failed_run(tmp_path):
    text = "unbalanced\n.param a={1+\nv1 in 0 {a}\nr1 in 0 1e3\n.op\n.end\n"
    with pytest.raises(SimulationFailed) as caught:
        PYSPICE.run(Deck(text), tmp_path, 30.0)
    assert caught.value.state in (State.PARSE_ERROR, State.CRASH)


def test_without_pyspice_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(pyspice_simulator, "find_spec", lambda name: None)
    with pytest.raises(SimulatorMissing, match=r"pip install 'm3eda\[pyspice\]'"):
        PySpiceNgspice({}).available()


def test_without_libngspice_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setenv("NGSPICE_LIBRARY_PATH", "/nowhere/libngspice.so")
    with pytest.raises(SimulatorMissing, match="apt install libngspice0") as caught:
        PySpiceNgspice({}).available()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"program": "/bin/true"}, {"rel tol": 1}, {"spiceinit": "x"}])
def test_an_option_that_is_none_is_refused(options):
    with pytest.raises(DesignError, match=r"simulator\.options"):
        PySpiceNgspice(options)


def test_the_plugin_imports_neither_pyspice_nor_numpy():
    code = "import sys, m3eda_plugins.pyspice; print({'PySpice', 'numpy', 'cffi'} & {*sys.modules})"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout.strip() == "set()"
