"""Folders that `new`, `init` and `import cace` make, where the disk is full or read-only."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from m3eda.cli import run
from m3eda.errors import ExitCode
from tests.conftest import ROOT
from tests.helpers import mount

PAGE = 4096
"""Bytes that a disk in memory gives away at once."""
GOLDEN = ROOT / "tests" / "golden"
INIT = ("init", str(GOLDEN / "netlists" / "kicad_filter.cir"), "-o", "FOLDER")
CACE = ("import", "cace", str(GOLDEN / "cace" / "amp.yaml"), "-o", "FOLDER")
COMMANDS = {
    "new": ("new", "five_transistor_ota", "FOLDER"),
    "init": INIT,
    "init unsimulated": (*INIT, "--no-simulation"),
    "import cace": (*CACE, "--netlist", str(GOLDEN / "cace" / "amp.spice")),
}


def ended(name: str, folder: Path) -> int:
    return run([str(folder) if word == "FOLDER" else word for word in COMMANDS[name]])


def told(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    [line] = err.splitlines()
    return line


def fill(disk: Path, left: int) -> None:
    """Leave `left` bytes of room."""
    with (disk / "fill").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * PAGE)
    with (disk / "fill").open("r+b") as file:
        file.truncate((disk / "fill").stat().st_size - left)


@pytest.mark.parametrize(
    ("name", "left"), [*((name, 0) for name in COMMANDS), ("new", PAGE), ("init", PAGE)]
)
def test_a_full_disk_is_one_line_and_the_command_works_once_there_is_room(name, left, disk, capsys):
    fill(disk, left)
    code = ended(name, disk / "made")
    line = told(capsys)
    assert code == ExitCode.STORAGE, line
    assert line.startswith(f"m3eda: {disk / 'made'}")
    assert line.endswith(": cannot be written: the disk is full")
    assert [path for path in disk.rglob("*") if path.is_file()] == [disk / "fill"]
    assert mount("-o", "remount,size=8m", str(disk)) == 0
    assert ended(name, disk / "made") == ExitCode.SPECS_MET
    assert (disk / "made" / "design.yaml").is_file()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_read_only_disk_is_one_line(name, disk, capsys):
    assert mount("-o", "remount,ro", str(disk)) == 0
    assert ended(name, disk / "made") == ExitCode.STORAGE
    line = told(capsys)
    assert line.startswith(f"m3eda: {disk / 'made'}")
    assert line.endswith(": cannot be written: Read-only file system")
    assert not list(disk.iterdir())
