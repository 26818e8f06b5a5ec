"""What can go wrong with the machine: the simulator, the disk, the ledger."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from m3eda.cli import run
from m3eda.ledger import Ledger
from tests.helpers import changed, m3eda, mount, only_line, started, trials

pytestmark = pytest.mark.simulator

NOT_MET, BAD_INPUT, SIMULATOR, STORAGE, INTERRUPTED = 1, 2, 3, 4, 130


# the simulator


@pytest.mark.parametrize("command", ["size", "check"])
def test_without_ngspice_there_is_one_line_that_says_what_to_install(rc, command):
    done = m3eda(command, "design.yaml", cwd=rc, PATH="/nonexistent")
    assert only_line(done).startswith("there is no program 'ngspice'; install it: `apt install ng")
    assert done.returncode == SIMULATOR
    assert not (rc / "runs").exists()


def test_decks_are_rendered_without_ngspice(rc):
    assert m3eda("render", "design.yaml", cwd=rc, PATH="/nonexistent").returncode == 0


def test_another_program_called_ngspice_is_refused(rc):
    (rc / "ngspice").write_text("#!/bin/sh\nexit 0\n")
    (rc / "ngspice").chmod(0o755)
    done = m3eda("size", "design.yaml", cwd=rc, PATH=f"{rc}:{os.environ['PATH']}")
    assert "is not ngspice" in only_line(done)
    assert done.returncode == SIMULATOR


def test_ngspice_that_goes_away_in_mid_run(hopeless, counted):
    program = hopeless / "bin" / "ngspice"
    text = program.read_text().replace(
        "exit $code", f'[ $(wc -l < {counted.log}) -ge 8 ] && rm "$0"\nexit $code'
    )
    program.write_text(text)
    done = m3eda("size", "design.yaml", cwd=hopeless, PATH=f"{program.parent}:/usr/bin:/bin")
    assert "is gone; install it" in only_line(done)
    assert done.returncode == SIMULATOR
    assert len(trials(hopeless / "runs/rc")) == 8


def test_a_user_without_a_home_directory(rc, monkeypatch):
    monkeypatch.delenv("HOME")
    assert m3eda("size", "design.yaml", cwd=rc).returncode == 0


# the disk


def test_a_run_directory_below_a_file(rc, counted):
    done = m3eda("size", "design.yaml", "--run-dir", "rc.cir.j2/x", cwd=rc, PATH=counted.path)
    assert only_line(done) == "rc.cir.j2/x: cannot write there: Not a directory"
    assert done.returncode == STORAGE
    assert not counted.decks


@pytest.mark.parametrize(
    ("option", "path", "words"),
    [
        ("-o", "rc.cir.j2/x.cir", "cannot be written: Not a directory"),
        ("-o", "gone/x.cir", "cannot be written: no directory gone"),
        ("--depfile", "gone/x.d", "cannot be written: no directory gone"),
    ],
)
def test_an_output_that_cannot_be_written_is_told_before_anything_is_simulated(
    rc, counted, option, path, words
):
    done = m3eda("size", "design.yaml", option, path, cwd=rc, PATH=counted.path)
    assert only_line(done) == f"{path}: {words}"
    assert done.returncode == STORAGE
    assert not counted.decks


def test_a_read_only_disk(rc, disk, counted):
    assert mount("-o", "remount,ro", str(disk)) == 0
    done = m3eda("size", "design.yaml", "--run-dir", disk / "run", cwd=rc, PATH=counted.path)
    assert only_line(done) == f"{disk}/run: cannot write there: Read-only file system"
    assert done.returncode == STORAGE
    done = m3eda("size", "design.yaml", "-o", disk / "x.cir", cwd=rc, PATH=counted.path)
    assert only_line(done) == f"{disk}/x.cir: cannot be written: it is read-only"
    assert done.returncode == STORAGE
    assert not counted.decks


def test_a_run_that_fills_the_disk_goes_on_once_there_is_room(hopeless, disk, counted):
    changed(hopeless, "budget: 40", "budget: 70")
    m3eda("size", "design.yaml", "--cold", "--run-dir", "whole", cwd=hopeless)
    command = ("size", "design.yaml", "--cold", "--run-dir", disk / "run")
    for _ in range(2):  # the second finds the disk as full as the first has left it
        done = m3eda(*command, cwd=hopeless, PATH=counted.path)
        assert only_line(done) == (
            f"{disk}/run/ledger.sqlite: the disk is full; free some room and run the same command "
            "again to go on"
        )
        assert done.returncode == STORAGE
    kept = trials(disk / "run")
    assert 0 < len(kept) < 70
    assert kept == trials(hopeless / "whole")[: len(kept)]
    assert mount("-o", "remount,size=8m", str(disk)) == 0
    assert m3eda(*command, cwd=hopeless, PATH=counted.path).returncode == NOT_MET
    assert trials(disk / "run") == trials(hopeless / "whole")
    # each of the two runs that met the full disk may have lost the one it could not store
    assert sum(counted.decks.values()) <= 72


def test_a_warm_simulator_needs_no_room(hopeless, disk):
    (disk / "fill").write_bytes(b"x" * 143_000)
    done = m3eda("size", "design.yaml", "--budget", 3, cwd=hopeless, TMPDIR=str(disk))
    assert done.returncode == NOT_MET
    with Ledger(hopeless / "runs/rc", read_only=True) as ledger:
        assert {t.results["nominal"].state.value for t in ledger.trials(1)} == {"complete"}


def test_no_room_for_the_simulator_is_no_fault_of_the_sizing(hopeless, disk):
    (disk / "fill").write_bytes(b"x" * 134_000)
    command = ("size", "design.yaml", "--budget", 3, "--cold")
    done = m3eda(*command, cwd=hopeless, TMPDIR=str(disk))
    assert only_line(done).startswith(f"{disk}")
    assert "the disk is full" in done.stderr or "No space left" in done.stderr
    assert done.returncode == STORAGE
    (disk / "fill").unlink()
    assert m3eda(*command, cwd=hopeless, TMPDIR=str(disk)).returncode == NOT_MET
    with Ledger(hopeless / "runs/rc", read_only=True) as ledger:
        assert {t.results["nominal"].state.value for t in ledger.trials(1)} == {"complete"}


def test_nowhere_to_simulate(rc, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(rc / "gone"))
    assert run(["size", str(rc / "design.yaml")]) == STORAGE
    line = capsys.readouterr().err
    assert line.startswith(f"m3eda: {rc}/gone/m3eda-")
    assert line.endswith(": cannot be written: No such file or directory\n")


def test_a_full_standard_output(rc):
    for command in (("render", "design.yaml"), ("size", "design.yaml")):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "m3eda", *command],
                cwd=rc, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
            )  # fmt: skip
        assert only_line(done) == "standard output: No space left on device"
        assert done.returncode == STORAGE
    assert (rc / "runs/rc/sizing.json").exists()


def test_an_output_that_is_a_pipe(rc):
    done = m3eda("size", "design.yaml", "--quiet", "-o", "/dev/stdout", cwd=rc)
    assert done.stdout.startswith("* RC low-pass filter\n* Sized by m3eda. rc: all specs met")
    assert done.returncode == 0


def test_names_that_the_locale_cannot_write(rc):
    place = rc / "tür Ω"
    place.mkdir()
    for name in ("design.yaml", "rc.cir.j2"):
        shutil.copy(rc / name, place)
    changed(place, "low-pass", "Tiefpaß", "rc.cir.j2")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = m3eda("size", "design.yaml", "-o", "sized.cir", cwd=place, **ascii_only)
    assert (done.returncode, done.stderr) == (0, "")
    assert (place / "sized.cir").read_text(encoding="utf-8").startswith("* RC Tiefpaß filter\n")
    assert m3eda("report", "runs/rc", cwd=place, **ascii_only).returncode == 0
    done = m3eda("render", "design.yaml", cwd=place, **ascii_only)
    assert (done.returncode, done.stderr) == (0, "")


# the ledger


def cut(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


@pytest.mark.parametrize("part", [0.0, 0.9])
def test_a_ledger_cut_off_is_salvaged_and_the_rest_simulated_again(hopeless, counted, part):
    command = ("size", "design.yaml", "--cold", "--run-dir")
    m3eda(*command, "whole", cwd=hopeless)
    shutil.copytree(hopeless / "whole", hopeless / "run")
    ledger = hopeless / "run" / "ledger.sqlite"
    cut(ledger, int(part * ledger.stat().st_size) // 512 * 512 + 100 * (part > 0))
    done = m3eda(*command, "run", cwd=hopeless, PATH=counted.path)
    assert done.returncode == NOT_MET, done.stderr
    assert trials(hopeless / "run") == trials(hopeless / "whole")
    assert set(counted.decks.values()) <= {1}
    if part > 0.0:
        assert only_line(done).startswith("the ledger was damaged: its readable part is kept")
        assert (hopeless / "run" / "ledger.damaged-1").exists()
        assert sum(counted.decks.values()) < 40


def test_a_ledger_of_rubbish_is_set_aside(hopeless):
    (hopeless / "run").mkdir()
    (hopeless / "run" / "ledger.sqlite").write_bytes(b"rubbish" * 1000)
    done = m3eda("size", "design.yaml", "--run-dir", "run", cwd=hopeless)
    assert done.returncode == NOT_MET
    assert (hopeless / "run" / "ledger.damaged-1").read_bytes() == b"rubbish" * 1000
    assert len(trials(hopeless / "run")) == 40


def test_a_report_of_a_damaged_ledger_is_one_line(hopeless):
    m3eda("size", "design.yaml", "--run-dir", "run", cwd=hopeless)
    cut(hopeless / "run" / "ledger.sqlite", 10_000)
    done = m3eda("report", "run", cwd=hopeless)
    assert only_line(done).endswith(
        "ledger.sqlite: the ledger is damaged; `m3eda size` salvages it"
    )
    assert done.returncode == STORAGE


def test_a_ledger_of_a_later_version_is_left_alone(hopeless):
    m3eda("size", "design.yaml", "--run-dir", "run", cwd=hopeless)
    path = hopeless / "run" / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'format'")
    done = m3eda("size", "design.yaml", "--run-dir", "run", cwd=hopeless)
    assert "ledger format 99, this m3eda reads formats 1 and 2" in only_line(done)
    assert done.returncode == STORAGE


@pytest.mark.parametrize("name", ["ledger.sqlite", "lock"])
def test_a_directory_where_the_ledger_should_be(rc, name):
    (rc / "run" / name).mkdir(parents=True)
    done = m3eda("size", "design.yaml", "--run-dir", "run", cwd=rc)
    assert only_line(done).startswith("run")
    assert done.returncode == STORAGE


def test_two_runs_on_one_ledger(hopeless):
    command = ("size", "design.yaml", "--stream", "--budget", 10**6)
    with started(*command, cwd=hopeless) as first:
        assert first.stdout is not None
        out = first.stdout.readline()
        for more in ((), ("--fresh",), ("--resume",)):
            second = m3eda("size", "design.yaml", *more, cwd=hopeless)
            assert only_line(second) == (
                f"{hopeless}/runs/rc: another run (process {first.pid}) is using this run "
                "directory; wait for it, or name another with --run-dir"
            )
            assert second.returncode == STORAGE
        assert m3eda("report", "runs/rc", cwd=hopeless).returncode in (0, NOT_MET)
        first.send_signal(signal.SIGINT)
        out += first.stdout.read()  # communicate() would lose what readline() has read ahead
        assert first.wait(timeout=60) == INTERRUPTED
    # the result is a line too; the interruption may have come between storing and printing a trial
    assert len(trials(hopeless / "runs/rc")) - len(out.splitlines()) in (-1, 0)


def test_nothing_to_resume(rc):
    done = m3eda("size", "design.yaml", "--resume", cwd=rc)
    line = f"{rc}/runs/rc: nothing to resume there; leave --resume out to begin"
    assert (only_line(done), done.returncode) == (line, STORAGE)
    assert not (rc / "runs").exists()


def test_a_report_of_nothing(tmp_path):
    done = m3eda("report", ".", cwd=tmp_path)
    assert only_line(done) == ".: no ledger there (expected ledger.sqlite)"
    assert done.returncode == STORAGE
