"""The page on writing a plugin: its classes and attributes are there, its commands succeed."""

from __future__ import annotations

import importlib
import re

import pytest

from m3eda.cli import run
from m3eda.plugin_new import KINDS
from tests.conftest import ROOT
from tests.test_docs import blocks, load, section

PAGE = (ROOT / "docs" / "plugin_kit.md").read_text()
ROWS = re.findall(r"^\| (`?[\w., `]+`?) \| (.*?) \|", PAGE, re.M)
CONTRACTS = dict(re.findall(r"^\| `(\w+\.\w+Contract)` \| `(\w+)`", PAGE, re.M))
CLASSES = {
    "simulators, sessions": "simulators.Netlists",
    "sessions": "sessions.SessionContract",
    "agents": "agents.AgentContract",
    "measures": "measures.MeasureContract",
    "technologies": "technologies.TechnologyContract",
}


def contract(name: str) -> type:
    module, _, found = name.partition(".")
    return getattr(importlib.import_module(f"m3eda.testing.{module}"), found)


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_contract_takes_the_fixture_of_its_row(name):
    tests = [getattr(contract(name), each) for each in dir(contract(name)) if "test_" in each]
    given = {argument for test in tests for argument in test.__annotations__}
    # the file of a technology is read by a fixture of the contract's own
    assert {CONTRACTS[name], "technology" if "technolog" in name else ""} & given


def test_every_attribute_is_one():
    rows = [(words, told) for words, told in ROWS if words in CLASSES]
    assert {words for words, _ in rows} == set(CLASSES)
    for words, told in rows:
        for attribute in re.findall(r"`(\w+)`", told):
            assert hasattr(contract(CLASSES[words]), attribute), attribute


def test_every_kind_of_skeleton_has_its_row():
    listed = re.findall(r"^\| `(\w+)` \|", section(PAGE, "In ten minutes"), re.M)
    assert tuple(listed) == KINDS


def test_the_commands_are_those_that_new_tells(tmp_path, monkeypatch, capsys):
    """tests/test_plugins_new.py runs them."""
    [script] = blocks(section(PAGE, "In ten minutes"), "sh")
    first, *following = [line.partition("#")[0].strip() for line in script.splitlines()]
    monkeypatch.chdir(tmp_path)
    assert run(first.split()[1:]) == 0
    told = capsys.readouterr().out.partition("next:\n")[2]
    assert following == [line.strip() for line in told.splitlines()]


def test_the_contract_of_the_page_is_found(tmp_path):
    [code] = [each for each in blocks(PAGE, "python") if "def contract(" in each]
    (tmp_path / "own.py").write_text(code)
    found = load(tmp_path / "own.py", "own_contract").contract("simulator", "mine")
    assert found.__name__ == "Linear"
    assert found.test_no_convergence is None
