"""What can go wrong around a run: the machine, the disk, the user, other people's code."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from m3eda.cli import run
from m3eda.ledger import Ledger
from tests.helpers import changed, m3eda, only_line, started

pytestmark = pytest.mark.simulator

NOT_MET, BAD_INPUT, SIMULATOR, STORAGE, INTERRUPTED = 1, 2, 3, 4, 130

COUNTING = """\
#!/bin/sh
[ "$1" = --version ] && exec {real} "$@"
{real} "$@"
code=$?
for deck; do :; done
cksum < "$deck" >> {log}
exit $code
"""


@pytest.fixture
def hopeless(rc: Path) -> Path:
    """A design that spends its budget of 40 points."""
    changed(rc, "far: {max: 0.011}", "far: {max: 1u}")
    changed(rc, "budget: 400", "budget: 40")
    return rc


class CountingNgspice:
    """An `ngspice` first on PATH that notes each deck it has simulated."""

    def __init__(self, folder: Path) -> None:
        (folder / "bin").mkdir()
        self.log = folder / "simulated.log"
        program = folder / "bin" / "ngspice"
        program.write_text(COUNTING.format(real=shutil.which("ngspice"), log=self.log))
        program.chmod(0o755)
        self.path = f"{program.parent}:{os.environ['PATH']}"

    @property
    def decks(self) -> Counter[str]:
        return Counter(self.log.read_text().splitlines() if self.log.exists() else ())


@pytest.fixture
def counted(tmp_path: Path) -> CountingNgspice:
    return CountingNgspice(tmp_path)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of 160 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    if mount("-t", "tmpfs", "-o", "size=160k", "tmpfs", str(place)):
        pytest.skip("needs the right to mount a small tmpfs")
    yield place
    subprocess.run(["umount", str(place)], timeout=10, check=True)


def mount(*arguments: str) -> int:
    try:
        done = subprocess.run(["mount", *arguments], capture_output=True, timeout=10, check=False)
    except OSError:
        return 1
    return done.returncode


def trials(run: Path) -> list[tuple]:
    with Ledger(run, read_only=True) as ledger:
        return [(t.sizing, t.results["nominal"].measures) for t in ledger.trials(1)]


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
    changed(hopeless, "budget: 40", "budget: 120")
    m3eda("size", "design.yaml", "--run-dir", "whole", cwd=hopeless)
    command = ("size", "design.yaml", "--run-dir", disk / "run")
    for _ in range(2):  # the second finds the disk as full as the first has left it
        done = m3eda(*command, cwd=hopeless, PATH=counted.path)
        assert only_line(done) == (
            f"{disk}/run/ledger.sqlite: the disk is full; free some room and run the same command "
            "again to go on"
        )
        assert done.returncode == STORAGE
    kept = trials(disk / "run")
    assert 0 < len(kept) < 120
    assert kept == trials(hopeless / "whole")[: len(kept)]
    assert mount("-o", "remount,size=8m", str(disk)) == 0
    assert m3eda(*command, cwd=hopeless, PATH=counted.path).returncode == NOT_MET
    assert trials(disk / "run") == trials(hopeless / "whole")
    # each of the two runs that met the full disk may have lost the one it could not store
    assert sum(counted.decks.values()) <= 122


def test_no_room_for_the_simulator_is_no_fault_of_the_sizing(hopeless, disk):
    (disk / "fill").write_bytes(b"x" * 148_000)
    command = ("size", "design.yaml", "--budget", 3)
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


@pytest.mark.parametrize("part", [0.0, 0.4, 0.9])
def test_a_ledger_cut_off_is_salvaged_and_the_rest_simulated_again(hopeless, counted, part):
    m3eda("size", "design.yaml", "--run-dir", "whole", cwd=hopeless)
    shutil.copytree(hopeless / "whole", hopeless / "run")
    ledger = hopeless / "run" / "ledger.sqlite"
    cut(ledger, int(part * ledger.stat().st_size) // 512 * 512 + 100 * (part > 0))
    done = m3eda("size", "design.yaml", "--run-dir", "run", cwd=hopeless, PATH=counted.path)
    assert done.returncode == NOT_MET, done.stderr
    assert trials(hopeless / "run") == trials(hopeless / "whole")
    assert set(counted.decks.values()) <= {1}
    if part:
        assert only_line(done).startswith("the ledger was damaged: its readable part is kept")
        assert (hopeless / "run" / "ledger.damaged-1").exists()
    if part == 0.9:
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
    assert "ledger format 99, this m3eda reads format 1" in only_line(done)
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
        first.stdout.readline()
        for more in ((), ("--fresh",), ("--resume",)):
            second = m3eda("size", "design.yaml", *more, cwd=hopeless)
            assert only_line(second) == (
                f"{hopeless}/runs/rc: another run (process {first.pid}) is using this run "
                "directory; wait for it, or name another with --run-dir"
            )
            assert second.returncode == STORAGE
        assert m3eda("report", "runs/rc", cwd=hopeless).returncode in (0, NOT_MET)
        first.send_signal(signal.SIGINT)
        out, _ = first.communicate(timeout=60)
        assert first.returncode == INTERRUPTED
    # the interruption may have come between storing a trial and printing it
    assert len(trials(hopeless / "runs/rc")) - len(out.splitlines()) in (0, 1)


def test_nothing_to_resume(rc):
    done = m3eda("size", "design.yaml", "--resume", cwd=rc)
    line = f"{rc}/runs/rc: nothing to resume there; leave --resume out to begin"
    assert (only_line(done), done.returncode) == (line, STORAGE)
    assert not (rc / "runs").exists()


def test_a_report_of_nothing(tmp_path):
    done = m3eda("report", ".", cwd=tmp_path)
    assert only_line(done) == ".: no ledger there (expected ledger.sqlite)"
    assert done.returncode == STORAGE


# the user


def test_a_run_killed_again_and_again_ends_like_one_left_alone(hopeless, counted):
    changed(hopeless, "budget: 40", "budget: 60")
    m3eda("size", "design.yaml", "--run-dir", "whole", cwd=hopeless)
    command = ("size", "design.yaml", "--run-dir", "cut", "--stream")
    rng, kills, seen = random.Random(1), 0, 0
    for _ in range(5):
        with started(*command, cwd=hopeless, PATH=counted.path) as child:
            assert child.stdout is not None
            for _ in range(seen + rng.randrange(1, 9)):
                child.stdout.readline()
            time.sleep(rng.random() * 0.02)
            child.kill()
        kills += 1
        stored = trials(hopeless / "cut")
        assert seen < len(stored) < 60
        seen = len(stored)
    done = m3eda(*command, cwd=hopeless, PATH=counted.path)
    assert done.returncode == NOT_MET, done.stderr
    assert trials(hopeless / "cut") == trials(hopeless / "whole")
    assert (hopeless / "cut/sizing.json").read_text() == (
        hopeless / "whole/sizing.json"
    ).read_text()
    # one that had ended but was not stored yet may be lost with each kill
    assert len(counted.decks) == 60
    assert sum(counted.decks.values()) <= 60 + kills


SLEEPY = """\
import time
from m3eda.agents.random import Random
from m3eda.hookspecs import hookimpl

class Sleepy(Random):
    def tell(self, trials):
        super().tell(trials)
        if trials[-1].number == 4:
            try:
                time.sleep(60)
            except Exception:
                pass

@hookimpl
def register_agents(register):
    register("sleepy", Sleepy)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_while_the_agent_computes(hopeless, number):
    plugin(hopeless, SLEEPY)
    with started("size", "design.yaml", "--agent", "sleepy", "--stream", cwd=hopeless) as child:
        assert child.stdout is not None
        for _ in range(5):
            child.stdout.readline()
        time.sleep(0.2)
        begun = time.monotonic()
        child.send_signal(number)
        out, err = child.communicate(timeout=30)
    assert time.monotonic() - begun < 5
    assert child.returncode == INTERRUPTED
    assert err.splitlines()[-1].startswith("m3eda: interrupted; run the same command again")
    assert json.loads(out)["run"]["ended"] == "interrupted"
    assert (hopeless / "runs/rc/sizing.json").exists()


def test_an_interruption_before_the_run_begins(rc):
    (rc / "slow.py").write_text("import time\nopen('loading', 'w').close()\ntime.sleep(60)\n")
    changed(rc, "agent:", "plugins: [slow.py]\nagent:")
    with started("size", "design.yaml", cwd=rc) as child:
        while not (rc / "loading").exists():
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    assert (out, err) == ("", "m3eda: interrupted\n")
    assert child.returncode == INTERRUPTED


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("render design.yaml", 0),
        ("schema", 0),
        ("size design.yaml --run-dir a", 0),
        ("size design.yaml --run-dir b --budget 2", NOT_MET),
        ("size design.yaml --run-dir c --json --budget 2", NOT_MET),
        ("size design.yaml --run-dir d --stream", INTERRUPTED),
        ("--help", 0),
    ],
)
def test_a_reader_that_goes_away(rc, command, code):
    program = f"{sys.executable} -m m3eda {command}"
    done = subprocess.run(
        ["bash", "-c", f"{program} | true; exit ${{PIPESTATUS[0]}}"],
        cwd=rc, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode == code


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(rc, closed):
    program = f"{sys.executable} -m m3eda size design.yaml"
    done = subprocess.run(
        ["bash", "-c", f"{program} {closed}"],
        cwd=rc, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(trials(rc / "runs/rc")) == 24


def test_a_time_limit_ends_a_run_of_any_budget(hopeless):
    begun = time.monotonic()
    done = m3eda("size", "design.yaml", "--time", "1s", "--budget", 10**15, "--json", cwd=hopeless)
    assert time.monotonic() - begun < 8
    assert json.loads(done.stdout)["run"]["ended"] == "time"
    assert done.returncode == NOT_MET


def test_more_jobs_than_processors(hopeless):
    for jobs in (1, 8):
        done = m3eda("size", "design.yaml", "-j", jobs, "--run-dir", f"j{jobs}", cwd=hopeless)
        assert done.returncode == NOT_MET
    assert trials(hopeless / "j1") == trials(hopeless / "j8")


# other people's code


def plugin(folder: Path, text: str) -> None:
    (folder / "plug.py").write_text(text)
    if "plugins:" not in (folder / "design.yaml").read_text():
        changed(folder, "agent:", "plugins: [plug.py]\nagent:")


HOOK = "from m3eda.hookspecs import hookimpl\n@hookimpl\n"

PLUGINS = {
    "raises": (
        "raise RuntimeError('two\\nlines')",
        "{plug}: does not load: RuntimeError: two lines (plug.py:1)",
    ),
    "is no Python": ("def broken(:", "{plug}:1:12: does not load: invalid syntax"),
    "exits": ("import sys\nsys.exit(0)", "{plug}: does not load: SystemExit: 0 (plug.py:2)"),
    "doubles a name": (
        f"{HOOK}def register_agents(register):\n    register('random', None)\n",
        "two plugins register the agent 'random': agents (m3eda) and {plug}; remove one of them",
    ),
    "has an unknown hook": (
        f"{HOOK}def register_agent(register):\n    pass\n",
        "plugin {plug}: there is no hook 'register_agent' (did you mean register_agents?)",
    ),
    "has an unknown argument": (
        f"{HOOK}def register_agents(registrar):\n    pass\n",
        "plugin {plug}: ",
    ),
    "fails to register": (
        f"{HOOK}def register_measures(register):\n    raise ValueError('no')\n",
        "plugin {plug}: register_measures raised ValueError: no (plug.py:4)",
    ),
}


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_that(rc, here, name):
    text, line = PLUGINS[name]
    plugin(rc, text)
    done = here("size", "design.yaml")
    assert only_line(done).startswith(line.replace("{plug}", str(rc / "plug.py")))
    assert done.returncode == BAD_INPUT


AGENT = """\
from m3eda.hookspecs import hookimpl
class Mine:
    def __init__(self, design, seed, options):
        {init}
    def ask(self, n):
        {ask}
    def tell(self, trials):
        {tell}
@hookimpl
def register_agents(register):
    register("mine", Mine)
"""

AGENTS = {
    "cannot be built": (
        {"init": "1 / 0"},
        " cannot be built: ZeroDivisionError: division by zero (plug.py:4)",
    ),
    "fails to ask": ({"ask": "{}['x']"}, ": ask() raised KeyError: 'x' (plug.py:6)"),
    "fails to listen": (
        {"tell": "1 / 0"},
        ": tell() raised ZeroDivisionError: division by zero (plug.py:8)",
    ),
    "names nothing known": (
        {"ask": "return [{'rr': 1e3}]"},
        ": ask() gave values for rr (expected one for each of r, c)",
    ),
    "names too little": (
        {"ask": "return [{'r': 1e3}]"},
        ": ask() gave values for r (expected one for each of r, c)",
    ),
    "gives nan": (
        {"ask": "return [{'r': 1e3, 'c': float('nan')}]"},
        ": ask() gave c = nan (expected 1e-10 to 1e-07)",
    ),
    "leaves the range": (
        {"ask": "return [{'r': 1e3, 'c': 1.0}]"},
        ": ask() gave c = 1.0 (expected 1e-10 to 1e-07)",
    ),
    "leaves the grid": (
        {"ask": "return [{'r': 1234.0, 'c': 1e-9}]"},
        ": ask() gave r = 1234.0 (expected one of its 49 choices, such as 1000.0)",
    ),
    "gives a word": (
        {"ask": "return [{'r': 1e3, 'c': '1n'}]"},
        ": ask() gave c = '1n' (expected 1e-10 to 1e-07)",
    ),
    "gives no list": (
        {"ask": "return None"},
        ": ask() gave a NoneType (expected a list of mappings, name to value)",
    ),
    "gives one mapping": (
        {"ask": "return {'r': 1e3, 'c': 1e-9}"},
        ": ask() gave a dict (expected a list of mappings, name to value)",
    ),
}


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_that(rc, here, name):
    parts, line = AGENTS[name]
    usual = {"init": "pass", "ask": "return [{'r': 1e3, 'c': 1e-9}]", "tell": "pass"}
    plugin(rc, AGENT.format(**{**usual, **parts}))
    done = here("size", "design.yaml", "--agent", "mine")
    assert only_line(done) == f"agent mine{line}"
    assert done.returncode == BAD_INPUT


@pytest.mark.parametrize("ask", ["return []", "return [{'r': 1e3, 'c': 1e-9}]"])
def test_an_agent_with_nothing_new_ends_the_run(rc, ask):
    plugin(rc, AGENT.format(init="pass", ask=ask, tell="pass"))
    done = m3eda("size", "design.yaml", "--agent", "mine", "--json", cwd=rc)
    assert json.loads(done.stdout)["run"]["ended"] == "exhausted"
    assert done.returncode == NOT_MET


SIMULATOR_PLUGIN = """\
from m3eda.hookspecs import hookimpl
from m3eda_plugins.ngspice import ngspice
class Mine:
    name = "mine"
    calls = 0
    def __init__(self, options):
        self.inner = ngspice(options)
    def available(self):
        return "mine-1"
    def run(self, deck, rundir, timeout):
        self.calls += 1
        {fault}
        return self.inner.run(deck, rundir, timeout)
@hookimpl
def register_simulators(register):
    register("mine", Mine)
"""


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (
            "1 / 0",
            SIMULATOR,
            "simulator mine raised ZeroDivisionError: division by zero (plug.py:12)",
        ),
        ("return None", SIMULATOR, "simulator mine gave a NoneType, not Waveforms"),
        ("open('/gone/x')", STORAGE, "/gone/x: simulator mine stopped: No such file or directory"),
    ],
)
def test_a_simulator_that_always_fails_is_one_line_with_its_name(rc, fault, code, words):
    plugin(rc, SIMULATOR_PLUGIN.format(fault=fault))
    done = m3eda("size", "design.yaml", "--simulator", "mine", cwd=rc)
    assert words in only_line(done)
    assert done.returncode == code


def test_a_simulator_that_fails_once_costs_one_trial_and_not_the_run(hopeless):
    plugin(hopeless, SIMULATOR_PLUGIN.format(fault="assert self.calls != 7, 'once'"))
    done = m3eda("size", "design.yaml", "--simulator", "mine", "--stream", cwd=hopeless)
    assert done.returncode == NOT_MET
    lines = [json.loads(line) for line in done.stdout.splitlines()[:-1]]
    failed = [line for line in lines if line["state"] != "complete"]
    assert [line["number"] for line in failed] == [6]
    assert "simulator mine raised AssertionError: once (plug.py:12)" in failed[0]["reason"]


def test_a_mended_simulator_is_asked_again(rc):
    plugin(rc, SIMULATOR_PLUGIN.format(fault="1 / 0"))
    command = ("size", "design.yaml", "--simulator", "mine")
    assert m3eda(*command, cwd=rc).returncode == SIMULATOR
    plugin(rc, SIMULATOR_PLUGIN.format(fault="pass"))
    assert m3eda(*command, cwd=rc).returncode == 0


def test_a_hook_that_fails_loses_no_trial(hopeless):
    fault = "    if trial.number == 9:\n        raise RuntimeError('late')\n"
    plugin(hopeless, f"{HOOK}def trial_finished(trial):\n{fault}")
    done = m3eda("size", "design.yaml", cwd=hopeless)
    plug = hopeless / "plug.py"
    assert only_line(done) == f"plugin {plug}: trial_finished raised RuntimeError: late (plug.py:5)"
    assert done.returncode == BAD_INPUT
    assert len(trials(hopeless / "runs/rc")) == 10


def test_a_traceback_is_there_for_plugin_authors(rc):
    plugin(rc, AGENT.format(init="pass", ask="1 / 0", tell="pass"))
    done = m3eda("size", "design.yaml", "--agent", "mine", cwd=rc, M3EDA_TRACEBACK="1")
    assert "ZeroDivisionError" in done.stderr.partition("m3eda: ")[0]
    assert done.returncode == BAD_INPUT
