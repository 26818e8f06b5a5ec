"""What its user and the shell do to a run: kills, Ctrl-C, pipes, limits."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.helpers import changed, m3eda, plugin, started, trials

pytestmark = pytest.mark.simulator

NOT_MET, BAD_INPUT, SIMULATOR, STORAGE, INTERRUPTED = 1, 2, 3, 4, 130


def test_a_run_killed_again_and_again_ends_like_one_left_alone(hopeless, counted):
    changed(hopeless, "budget: 40", "budget: 60")
    whole = ("size", "design.yaml", "--cold", "--run-dir", "whole")
    m3eda(*whole, cwd=hopeless, PYTHONHASHSEED="1")
    command = ("size", "design.yaml", "--cold", "--run-dir", "cut", "--stream")
    rng, kills, seen = random.Random(1), 0, 0
    for _ in range(4):
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
        ("size design.yaml --budget 2", NOT_MET),
        ("size design.yaml --json --budget 2", NOT_MET),
        ("size design.yaml --stream", INTERRUPTED),
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


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
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
        common = ("size", "design.yaml", "--batch", 3, "-j", jobs)
        done = m3eda(*common, "--run-dir", f"j{jobs}", cwd=hopeless)
        assert done.returncode == NOT_MET
    assert trials(hopeless / "j1") == trials(hopeless / "j8")


def test_a_batch_is_as_wide_as_the_jobs_a_run_begins_with(hopeless):
    changed(hopeless, "name: random", "name: cma")
    m3eda("size", "design.yaml", "--batch", "3", "--run-dir", "given", cwd=hopeless)
    m3eda("size", "design.yaml", "--jobs", "3", "--budget", "11", "--run-dir", "cut", cwd=hopeless)
    done = m3eda("size", "design.yaml", "--json", "--run-dir", "cut", cwd=hopeless)
    assert json.loads(done.stdout)["batch"] == 3
    assert json.loads(done.stdout)["run"]["new_simulations"] == 40 - 11
    assert trials(hopeless / "cut") == trials(hopeless / "given")
    alone = m3eda("size", "design.yaml", "--json", "--budget", "2", cwd=hopeless)
    assert json.loads(alone.stdout)["batch"] == 1
