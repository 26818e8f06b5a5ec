"""m3eda as a library: what a script sees, keeps and catches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

import m3eda
from m3eda import DesignError, End, Limits, M3edaError, Spec, evaluate, load_design, size, start
from m3eda.design.types import Objective
from m3eda.errors import PluginError, PluginWarning, StorageError
from tests.conftest import ROOT
from tests.helpers import changed, only_line, plugin, trials
from tests.helpers import m3eda as command

SIZED_AT = 24
"""Trials that the RC design takes with its own seed."""


@pytest.fixture
def design(rc):
    return load_design(rc / "design.yaml")


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """The system's place for temporary files, empty."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


# ---- the package ---------------------------------------------------------------------------


def test_importing_the_package_imports_nothing_else():
    program = (
        "import sys, m3eda; assert m3eda.__version__;"
        "print([name for name in sys.modules if name.startswith('m3eda.') or "
        "name in {'numpy', 'pydantic', 'click', 'pluggy', 'jinja2', 'yaml'}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", m3eda.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert getattr(m3eda, name) is not None
    assert name in dir(m3eda)
    assert name == "__version__" or getattr(m3eda, name).__doc__
    assert name in (ROOT / "docs" / "python.md").read_text()


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'m3eda' has no attribute 'seize'"):
        _ = m3eda.seize


def test_star_gives_the_public_names():
    names: dict[str, object] = {}
    exec("from m3eda import *", names)
    assert set(m3eda.__all__) <= set(names)


USER = """\
from m3eda import Design, Limits, Result, Spec, Trial, load_design, size, start

def sized(path: str) -> dict[str, float]:
    design: Design = load_design(path).with_spec(Spec("gain", Limits(minimum=10.0)))
    result: Result = size(design, budget=20, seed=3, on_trial=lambda trial: print(trial.number))
    with start(design, jobs=2) as sizer:
        for trial in sizer:
            reveal_type(trial)
    return dict(result.measures)

size(4)
"""


@pytest.mark.slow
@pytest.mark.slow
def test_types_reach_the_user(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed")
    (tmp_path / "user.py").write_text(USER)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "user.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "MYPYPATH": str(ROOT)},
    )  # fmt: skip
    told = [line for line in done.stdout.splitlines() if line.startswith("user.py")]
    assert len(told) == 2, done.stdout
    assert 'Revealed type is "m3eda.simulate.trial.Trial"' in told[0]
    assert told[1].startswith("user.py:11: error: Argument 1")


# ---- sizing --------------------------------------------------------------------------------


@pytest.mark.simulator
def test_a_sized_design_gives_sizing_and_measures_and_leaves_nothing(design, temporary, capfd):
    result = size(design)
    assert result.met
    assert result.ending is End.SPECS_MET
    assert len(result.trials) == SIZED_AT
    assert result.best is result.trials[-1]
    r, c = result.sizing["r"], result.sizing["c"]
    assert result.measures["f3db"] == pytest.approx(1 / (2 * 3.141592653589793 * r * c), rel=1e-3)
    assert result.margins["far"] >= 0.0
    assert result.pareto == []
    assert capfd.readouterr() == ("", "")
    assert list(temporary.iterdir()) == []
    assert not (design.path.parent / "runs").exists()


@pytest.mark.simulator
def test_it_is_the_run_of_the_command_line(rc, design):
    done = command("size", "design.yaml", "--json", "--seed", 5, "--budget", 6, cwd=rc)
    result = size(design, seed=5, budget=6)
    told = json.loads(done.stdout)
    assert told["design_hash"] == result.to_dict()["design_hash"]
    assert told["sizing"] == result.sizing
    assert [sizing for sizing, _ in trials(rc / "runs" / "rc")] == [
        dict(trial.sizing) for trial in result.trials
    ]
    assert str(result).startswith("rc: SPECS NOT MET")
    assert repr(result) == "<Result rc: specs not met, 6 trials>"


@pytest.mark.simulator
def test_a_path_and_any_seed_will_do(rc):
    heard: list[int] = []
    result = size(
        str(rc / "design.yaml"), agent="random", seed=0, budget=3, batch=2, jobs=2,
        on_trial=lambda trial: heard.append(trial.number),
    )  # fmt: skip
    assert heard == [0, 1, 2]
    assert result.ending is End.BUDGET
    assert result.summary.seed == 0


@pytest.mark.simulator
def test_written_files_are_those_of_the_command_line(rc, design, tmp_path):
    command("size", "design.yaml", "-o", "theirs.cir", cwd=rc)
    written = size(design).write(tmp_path / "out", output=tmp_path / "ours.cir")
    assert written.output == tmp_path / "ours.cir"
    assert (tmp_path / "ours.cir").read_text() == (rc / "theirs.cir").read_text()
    names = {path.name for path in (rc / "runs" / "rc").iterdir()}
    theirs = names - {"ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm", "lock", "failed"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == theirs


@pytest.mark.simulator
def test_no_netlist_is_handed_over_where_specs_are_not_met(design, tmp_path):
    result = size(design, budget=2)
    result.write(tmp_path / "out", output=tmp_path / "o.cir")
    assert not (tmp_path / "o.cir").exists()
    result.write(tmp_path / "out", output=tmp_path / "o.cir", keep_best=True)
    assert "r1 in out" in result.netlist()
    assert "SPECS NOT MET" in (tmp_path / "o.cir").read_text()


@pytest.mark.simulator
def test_a_run_directory_is_gone_on_with(design, counted, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", counted.path)
    folder = tmp_path / "kept"
    with start(design, budget=5, run_dir=folder) as sizer:
        next(iter(sizer))
        assert sizer.result().ending is None
    first = len(counted.log.read_text().splitlines())
    assert len(size(design, budget=5, run_dir=folder).trials) == 5
    assert len(size(design, budget=5, run_dir=folder).trials) == 5
    assert first == 1
    assert max(counted.decks.values()) == 1, "a simulation was paid for twice"
    assert size(design, budget=5, run_dir=folder).summary.simulations == 0
    size(design, budget=5, run_dir=folder, fresh=True)
    assert set(counted.decks.values()) == {2}


@pytest.mark.simulator
def test_resuming_learns_from_other_specs(design, tmp_path):
    folder = tmp_path / "kept"
    size(design, run_dir=folder)
    wider = design.with_spec(Spec("far", Limits(maximum=0.1)))
    again = size(wider, run_dir=folder, resume=True)
    assert again.met
    assert len(again.trials) == 1


@pytest.mark.simulator
def test_several_aims_give_a_front(rc):
    changed(rc, "agent:", "objective: {minimize: [far], maximize: [f3db]}\nagent:")
    changed(rc, "f3db: {target: 10k, tolerance: 200}", "f3db: {min: 1k}")
    result = size(rc / "design.yaml", budget=30)
    assert result.met
    front = [(trial.measures["far"], trial.measures["f3db"]) for trial in result.pareto]
    assert len(front) > 1
    assert front == sorted(front), "what lets more of the far through must have more bandwidth"
    feasible = [trial for trial in result.trials if trial.met]
    for far, f3db in front:
        assert not any(t.measures["far"] < far and t.measures["f3db"] > f3db for t in feasible)


# ---- between trials ------------------------------------------------------------------------


@pytest.mark.simulator
def test_a_run_is_changed_and_stopped_between_trials(design, temporary):
    with start(design) as sizer:
        for trial in sizer:
            if trial.number == 2:
                sizer.change(sizer.design.pinned("c", 1e-9))
                sizer.change(sizer.design.with_spec(Spec("far", Limits(maximum=1e-9))))
            if trial.number == 5:
                sizer.stop()
        result = sizer.result()
    assert sizer.ending is result.ending is End.STOPPED
    assert {trial.sizing["c"] for trial in result.trials[3:]} == {1e-9}
    assert all(trial.margins["far"] < 0.0 for trial in sizer.trials), "scored by the spec of today"
    assert result.design.specs["far"].limits.maximum == 1e-9
    assert list(temporary.iterdir()) == []


@pytest.mark.simulator
def test_an_ended_run_gives_no_more_trials(design):
    with start(design, budget=2) as sizer:
        assert len(list(sizer)) == 2
        assert list(sizer) == []
        assert sizer.result().summary.seconds > 0.0


@pytest.mark.simulator
def test_what_the_caller_raises_ends_the_run(design, temporary):
    def enough(trial):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        size(design, on_trial=enough)
    assert list(temporary.iterdir()) == []


@pytest.mark.simulator
def test_plugins_hear_of_trials(rc):
    plugin(rc, "from m3eda.hookspecs import hookimpl\n@hookimpl\ndef trial_finished(trial):\n"
               "    raise ValueError(f'heard {trial.number}')\n")  # fmt: skip
    with pytest.warns(PluginWarning, match="trial_finished raised ValueError: heard 0") as told:
        assert len(size(load_design(rc / "design.yaml")).trials) > 1
    assert len(told) == 1


# ---- one point -----------------------------------------------------------------------------


@pytest.mark.simulator
def test_one_point_is_a_trial(design):
    trial = evaluate(design, {"r": 1e4, "c": 1e-9})
    assert trial.measures["f3db"] == pytest.approx(15915.5, rel=1e-3)
    assert trial.sizing == {"r": 1e4, "c": 1e-9}
    assert not trial.met
    assert evaluate(design.path, {"r": 1e4}).sizing["c"] == pytest.approx(3.162e-9, rel=1e-3)


# ---- errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"budget": 0}, "budget is 0; a whole number from 1 on is right"),
        ({"budget": 2.5}, "budget is 2.5; a whole number"),
        ({"jobs": 0}, "jobs is 0"),
        ({"batch": -1}, "batch is -1"),
        ({"seed": -1}, "seed is -1; a whole number from 0 on is right"),
        ({"seconds": 0}, "seconds is 0; a number of seconds above 0 is right"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"resume": True}, "resume needs a run_dir"),
        ({"resume": True, "fresh": True, "run_dir": "x"}, "no use with fresh"),
    ],
)
def test_arguments_that_cannot_be_are_refused(design, arguments, text):
    with pytest.raises(ValueError, match=text):
        size(design, **arguments)


def test_mistakes_of_a_design_file_are_listed(rc):
    changed(rc, "min: 1k", "min: 1kk")
    changed(rc, "far: {max", "fare: {max")
    with pytest.raises(DesignError) as caught:
        load_design(rc / "design.yaml")
    assert {mistake.line for mistake in caught.value.mistakes} == {5, 12}
    with pytest.raises(M3edaError, match=r"nothing\.yaml"):
        size(rc / "nothing.yaml")


def test_a_changed_design_is_checked_too(design):
    with pytest.raises(DesignError, match=r"no measure is called 'fra' \(did you mean far\?\)"):
        size(design.with_spec(Spec("fra", Limits(maximum=1.0))))
    aimless = replace(design, objective=Objective(minimize=("nope",)))
    with pytest.raises(DesignError, match="no measure is called 'nope'"):
        size(aimless)
    for limits in (Limits(), Limits(target=1.0)):
        with pytest.raises(DesignError, match="the spec on far has no limit"):
            size(design.with_spec(Spec("far", limits)))
    with pytest.raises(DesignError, match="no parameter is called 'rr'"):
        design.pinned("rr", 1.0)
    with pytest.raises(DesignError, match=r"no parameter is called 'rr' \(did you mean r\?\)"):
        evaluate(design, {"rr": 1.0})
    for given in (design, design.path):
        with pytest.raises(PluginError, match="no agent is called 'rand'"):
            size(given, agent="rand")
        with pytest.raises(PluginError, match="no simulator is called 'nspice'"):
            size(given, simulator="nspice")


@pytest.mark.simulator
def test_nothing_to_resume_is_an_error(design, tmp_path):
    with pytest.raises(StorageError, match="nothing to resume"):
        size(design, run_dir=tmp_path / "none", resume=True)


@pytest.mark.simulator
def test_a_fault_of_every_point_names_its_place_and_keeps_the_deck(rc, temporary):
    changed(rc, "c1 out 0 {{ c }}", "c1 out 0 {{ c }}\nd1 out 0 nothing", "rc.cir.j2")
    with pytest.raises(M3edaError) as caught:
        size(rc / "design.yaml")
    told = only_line(command("size", "design.yaml", cwd=rc))
    assert str(caught.value).partition("; the deck")[0] == told.partition("; the deck")[0]
    [folder] = temporary.glob("m3eda-run-*")
    [deck] = folder.glob("failed/ac-*/*.cir")
    assert str(deck.parent) in str(caught.value)
