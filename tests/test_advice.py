"""The word on what learning the circuit once would have saved."""

from __future__ import annotations

from dataclasses import replace

import pytest

from m3eda import advice, commands
from m3eda.commands import SizeOptions, size_command
from m3eda.flow import Execution, Project, prepare
from m3eda.loop import size
from tests.test_learn import nominal_filter

LONG = 2.0 * advice.FITTING


@pytest.fixture
def path(tmp_path):
    return nominal_filter(tmp_path)


def said(path, maximum: float, seconds: float, **words) -> str:
    """What is said after a run that took so many seconds; its specs are out of reach."""
    project = Project.load(path, budget=4, **words)
    far = project.design.specs["far"]
    hard = project.design.with_spec(replace(far, limits=replace(far.limits, maximum=maximum)))
    prepared = prepare(replace(project, design=hard), path.parent / "run",
                       execution=Execution(cache=False))  # fmt: skip
    try:
        list(size(prepared.run))
        return advice.advice(prepared, prepared.summary(seconds, None))
    finally:
        prepared.close()


def test_it_is_said_once_where_runs_with_other_specs_took_longer_than_learning(path):
    assert said(path, 1e-9, LONG) == "", "one set of specs is searched sooner than learnt"
    line = said(path, 2e-9, LONG)
    assert line.startswith("runs of this circuit with other specs have taken ")
    assert "`m3eda learn` would take about 2" in line
    assert said(path, 3e-9, LONG) == "", "once"


def test_it_is_not_said_where_runs_were_short_or_another_agent_is_used(path):
    assert said(path, 1e-9, 1.0) == ""
    assert said(path, 2e-9, 1.0) == ""
    assert said(path, 3e-9, LONG, agent="random") == ""


def test_it_is_not_said_where_networks_know_the_circuit(path, monkeypatch):
    said(path, 1e-9, LONG)
    monkeypatch.setattr(Project, "agent_files", lambda self: [path])
    assert said(path, 2e-9, LONG) == ""


@pytest.mark.parametrize(
    ("terminal", "words", "shown"),
    [(True, {}, True), (False, {}, False), (True, {"quiet": True}, False),
     (True, {"json": True}, False)],
)  # fmt: skip
def test_it_is_for_who_sits_at_a_terminal(path, monkeypatch, capsys, terminal, words, shown):
    monkeypatch.setattr(commands, "is_terminal", lambda stream: terminal)
    monkeypatch.setattr(advice, "advice", lambda prepared, summary, jobs: "learn it")
    size_command(Project.load(path, agent="random", budget=2), SizeOptions(**words))
    assert ("m3eda: learn it\n" in capsys.readouterr().err) == shown
