"""The wheel, installed where the checkout is not: it has all it needs and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.helpers import build_flags

pytestmark = [pytest.mark.slow, pytest.mark.simulator]

PARTS = ("m3eda", "templates", "plugins", "pyproject.toml", "README.md", "LICENSE")


def program(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        list(map(str, arguments)), cwd=cwd, env=environment, capture_output=True, text=True,
        timeout=300, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def pip(python: str | Path, *arguments: object, cwd: Path) -> None:
    """Run pip; skip the test where no index can be reached."""
    done = program(
        python, "-m", "pip", "--disable-pip-version-check", "--retries", 1, "--timeout", 20,
        *arguments, cwd=cwd,
    )  # fmt: skip
    unreachable = ("No matching distribution", "Connection", "Max retries", "resolve")
    if done.returncode and any(words in done.stderr for words in unreachable):
        pytest.skip(f"no package index can be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy: a build leaves its own folders beside the sources."""
    place = tmp_path_factory.mktemp("wheel")
    (place / "source").mkdir()
    junk = shutil.ignore_patterns("__pycache__", "*.pyc")
    for part in PARTS:
        whole = ROOT / part
        if whole.is_dir():
            shutil.copytree(whole, place / "source" / part, ignore=junk)
        else:
            shutil.copy(whole, place / "source")
    pip(sys.executable, "wheel", "--no-deps", *build_flags(), "-w", "dist", "./source", cwd=place)
    (built,) = (place / "dist").glob("m3eda-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The programs of a clean environment that has the wheel and what it depends on."""
    place = tmp_path_factory.mktemp("installed")
    done = program(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=place)
    if done.returncode:
        pytest.skip(f"no virtual environment can be made: {done.stdout.strip()}")
    into = ("--python", place / "venv/bin/python", "install", "--quiet", "--no-compile")
    pip(sys.executable, *into, wheel, cwd=place)
    return place / "venv" / "bin"


def test_the_wheel_holds_every_module_template_and_plugin(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    for folder, package in (("m3eda", "m3eda"), ("plugins", "m3eda_plugins")):
        for path in (ROOT / folder).rglob("*.py"):
            assert f"{package}/{path.relative_to(ROOT / folder).as_posix()}" in inside
    for path in (ROOT / "templates").rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            assert f"m3eda_templates/{path.relative_to(ROOT / 'templates').as_posix()}" in inside
    for path in (ROOT / "m3eda" / "scaffold").rglob("*.j2"):
        assert f"m3eda/{path.relative_to(ROOT / 'm3eda').as_posix()}" in inside
    assert "m3eda/py.typed" in inside
    assert any(name.endswith("licenses/LICENSE") for name in inside)


def test_the_wheel_holds_nothing_else(wheel):
    inside = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in inside}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "m3eda", "m3eda_plugins", "m3eda_templates",
    }  # fmt: skip
    assert not [name for name in inside if name.endswith(".pyc")]


def test_the_installed_program_knows_its_plugins(installed, tmp_path):
    done = program(installed / "m3eda", "plugins", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "simulators: ngspice" in done.stdout
    assert "technologies: generic130, generic180, generic22, generic45, generic65" in done.stdout
    assert "sky130" in done.stdout


def test_the_installed_program_sizes_the_example_elsewhere(installed, tmp_path):
    example = tmp_path / "copy"
    shutil.copytree(
        ROOT / "examples/two_stage_opamp", example, ignore=shutil.ignore_patterns("runs")
    )
    done = program(
        installed / "m3eda", "size", "design.yaml", "-o", "sized.cir", "--depfile", "sized.d",
        "--json", cwd=example,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["met"] is True
    assert (example / "sized.cir").exists()
    read = (example / "sized.d").read_text()
    assert "site-packages/m3eda_templates/technologies/generic45/generic45.lib" in read
    assert str(ROOT) not in read
