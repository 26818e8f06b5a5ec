"""Fixtures for all tests: where the shared models are, and whether a simulator is here."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from m3eda import plugin_guard
from m3eda.cli import run
from m3eda.plugins import Plugins
from tests.helpers import CountingNgspice, changed, mount, write_rc
from tests.plugin_site import GOOD, Site

ROOT = Path(__file__).resolve().parent.parent

Command = Callable[..., subprocess.CompletedProcess[str]]


def shared_folder() -> Path | None:
    """The folder of shared device models and reference data, or None where it is not there."""
    named = os.environ.get("M3EDA_SHARED")
    folder = Path(named) if named else ROOT.parent / "shared"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = shared_folder()
    if folder is None:
        pytest.skip("needs the shared models: set M3EDA_SHARED, or lay them beside the checkout")
    return folder


@pytest.fixture
def rc(tmp_path: Path) -> Path:
    """A folder with a small design: an RC low-pass filter."""
    return write_rc(tmp_path)


@pytest.fixture
def hopeless(rc: Path) -> Path:
    """A design that spends its budget of 40 points."""
    changed(rc, "far: {max: 0.011}", "far: {max: 1u}")
    changed(rc, "budget: 400", "budget: 40")
    return rc


@pytest.fixture
def counted(tmp_path: Path) -> CountingNgspice:
    return CountingNgspice(tmp_path)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of 144 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    if mount("-t", "tmpfs", "-o", "size=144k", "tmpfs", str(place)):
        pytest.skip("needs the right to mount a small tmpfs")
    yield place
    subprocess.run(["umount", str(place)], timeout=10, check=True)


@pytest.fixture
def here(
    rc: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in this process, in the folder of `rc`.

    To start Python once for each of many mistakes would take longer than all else.
    """

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(rc)
        code = int(run(list(arguments)))
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return command


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Installed plugins, first on the path: one of them is a simulator that works."""
    Plugins(silent=True).table("measures")  # what is imported already hangs for no time limit
    made = Site(tmp_path / "site")
    made.install("good-sim", GOOD, called="good")
    monkeypatch.syspath_prepend(str(made.folder))
    monkeypatch.setenv("M3EDA_PLUGIN_TIMEOUT", "0.3")
    monkeypatch.setattr(plugin_guard, "_hung", {})
    before = set(sys.modules)
    yield made
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(made.folder)):
            del sys.modules[name]


@pytest.fixture
def sized(here: Command, site: Site) -> Command:
    """Runs `m3eda size` on the working simulator."""

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return here("size", "design.yaml", "--simulator", "good", *arguments)

    return command


@pytest.fixture
def networks_alone(monkeypatch) -> None:
    """Nothing is solved: what networks know of a design is all that is known."""
    monkeypatch.setattr("m3eda.policy.known.equations_of", lambda design: None)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see neither the user's choice of plugins nor his colours nor his cache."""
    for name in ("M3EDA_PLUGINS", "M3EDA_PLUGIN_TIMEOUT", "NO_COLOR", "FORCE_COLOR", "M3EDA_CACHE"):
        monkeypatch.delenv(name, raising=False)
    # what a test simulates must not depend on what ran before it
    monkeypatch.setenv("M3EDA_CACHE_SIZE", "0")


def pytest_configure() -> None:
    # what a script has begun in the background ignores Ctrl-C, and so does what it starts
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # begun last, a long test would keep one process busy and leave the others idle
    items.sort(key=lambda item: "slow" not in item.keywords)
    if shutil.which("ngspice"):
        return
    required = os.environ.get("M3EDA_SIMULATORS") == "required"
    for item in items:
        if "simulator" in item.keywords and not required:
            item.add_marker(pytest.mark.skip(reason="ngspice is not installed"))
