"""`m3eda plugins new`: what it writes passes its own tests and its contract, and sizes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from m3eda.cli import run
from m3eda.plugin_new import KINDS, plugin_file, skeleton


def new(*arguments: object) -> int:
    return int(run(["plugins", "new", *map(str, arguments)]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One skeleton of each kind; not the working directory."""
    place = tmp_path_factory.mktemp("written")
    for kind in KINDS:
        assert new(kind, f"my_{kind}", "--dir", place) == 0
    return place


@pytest.fixture(params=KINDS)
def written(request, folder) -> tuple[str, Path]:
    return request.param, folder / f"my_{request.param}"


@pytest.mark.simulator
def test_their_own_tests_pass(folder):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "M3EDA"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "-q"], cwd=folder,
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
    for kind in KINDS:
        assert f"PASSED my_{kind}/test_my_{kind}.py::Test" in done.stdout


@pytest.mark.simulator
def test_its_contract_holds_by_the_path_of_its_file(written, capsys, monkeypatch):
    kind, folder = written
    monkeypatch.chdir(folder)
    assert run(["plugins", "check", plugin_file(kind, folder.name)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{kind} my_{kind}")
    assert "left out" not in out


@pytest.mark.simulator
def test_a_design_uses_it_by_its_file(written, capsys):
    kind, folder = written
    assert run(["size", str(folder / "design.yaml"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["met"] is True
    named = {"simulator": result["versions"]["simulator"], "agent": json.dumps(result)}
    assert f"my_{kind}" in named.get(kind, f"my_{kind}")


def test_it_says_what_was_written_and_what_to_do_next(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert new("agent", "hill_climber") == 0
    first, *following = capsys.readouterr().out.splitlines()
    assert "hill_climber/hill_climber.py" in first
    assert following == [
        "next:",
        "  cd hill_climber",
        "  pytest",
        "  m3eda plugins check hill_climber.py",
        "  m3eda size design.yaml",
    ]
    assert "class HillClimber:" in (tmp_path / "hill_climber" / "hill_climber.py").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_it_has_all_that_is_needed_to_install_it(kind):
    files = dict(skeleton(kind, "abc"))
    assert 'abc = "abc"' in files["pyproject.toml"]
    assert {"README.md", "design.yaml", "test_abc.py", plugin_file(kind, "abc")} <= set(files)
    assert plugin_file(kind, "abc") in files["README.md"]
    for path, text in files.items():
        assert not path.endswith(".j2") or path.endswith(".cir.j2")
        assert "<<" not in text
        assert "<%" not in text
        if path.endswith(".py"):
            compile(text, path, "exec")


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("agent", "hill-climber", "'hill-climber' cannot be the name of a Python module"),
        ("agent", "class", "'class' cannot be the name of a Python module"),
        ("agent", "../up", "'../up' cannot be the name of a Python module"),
        ("agent", "json", "there is a module 'json' already"),
        ("agent", "bo", "the agent 'bo' is there already, from plugin agents (m3eda "),
        ("measure", "sqrt", "'sqrt' has a meaning in every expression"),
        ("plot", "mine", "'plot' is not one of"),
    ],
)
def test_a_name_that_cannot_be_used(tmp_path, capsys, monkeypatch, kind, name, words):
    monkeypatch.chdir(tmp_path)
    assert new(kind, name) == 2
    told = capsys.readouterr().err
    assert words in told
    assert len(told.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path, capsys):
    assert new("measure", "crest", "--dir", tmp_path) == 0
    (tmp_path / "crest" / "crest.py").write_text("mine")
    capsys.readouterr()
    assert new("agent", "crest", "--dir", tmp_path) == 2
    assert capsys.readouterr().err.endswith("crest is there already; nothing was written\n")
    assert (tmp_path / "crest" / "crest.py").read_text() == "mine"
    assert not (tmp_path / "crest" / "low_pass.cir.j2").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    assert new("agent", "mine", "--dir", tmp_path) == 4
    tmp_path.chmod(0o700)


def test_an_installed_plugin_is_checked_by_its_name(tmp_path, capsys):
    """As pip installs it: the module, and the metadata with the entry point."""
    assert new("measure", "crest_of_it", "--dir", tmp_path) == 0
    site = tmp_path / "site"
    info = site / "crest_of_it-0.1.0.dist-info"
    info.mkdir(parents=True)
    shutil.copy(tmp_path / "crest_of_it" / "crest_of_it.py", site)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: crest-of-it\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[m3eda]\ncrest = crest_of_it\n")
    done = subprocess.run(
        [sys.executable, "-m", "m3eda", "plugins", "check", "crest"], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "[MeasureContract, plugin crest (crest-of-it 0.1.0)]" in done.stdout
