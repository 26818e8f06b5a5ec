"""Plugins that break while a run is on: nothing simulated is lost, and nothing hangs for ever."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time

import pytest

from m3eda.design.types import SimulatorChoice
from m3eda.errors import ExitCode
from m3eda.plugin_guard import Overdue, limited
from m3eda.plugins import Plugins
from m3eda.simulate import threads
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.types import State
from tests.helpers import DividerSimulator, divider, only_line, plugin
from tests.plugin_site import GOOD, OBSERVER

# ---- observers -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("raise RuntimeError('late')", "raised RuntimeError: late (observer.py:5)"),
        ("exit(3)", "raised SystemExit: 3 (observer.py:5)"),
        ("import time; time.sleep(60)", "takes longer than 0.3 s (M3EDA_PLUGIN_TIMEOUT)"),
    ],
)
def test_an_observer_that_fails_is_told_no_more(rc, sized, site, fault, words):
    text = f"{OBSERVER}with open('heard', 'a') as file: file.write(f'{{trial.number}} ')\n"
    site.install("observer", f"{text}    if trial.number == 2: {fault}\n")
    done = sized("--json")
    line = only_line(done)
    assert line.startswith(f"plugin observer (observer 1.0): trial_finished {words}")
    assert line.endswith("; it is not called again")
    assert done.returncode == ExitCode.SPECS_MET
    assert (rc / "heard").read_text() == "0 1 2 "
    assert json.loads(done.stdout)["run"]["new_simulations"] > 3


def test_an_observer_writes_where_it_likes(rc, sized, site):
    site.install("observer", f"{OBSERVER}print('heard')\n")
    assert sized("--quiet").stdout.startswith("heard\nheard\n")


# ---- a time limit --------------------------------------------------------------------------


def test_an_earlier_alarm_rings_all_the_same():
    heard = []
    earlier = signal.signal(signal.SIGALRM, lambda *_: heard.append(time.monotonic()))
    try:
        began = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(Overdue):
            limited(lambda: time.sleep(60), 0.05)
        assert not heard
        while not heard and time.monotonic() < began + 5:
            time.sleep(0.01)
        assert 0.15 < heard[0] - began < 1.0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)


def test_a_limit_outside_the_main_thread():
    told = []

    def work():
        told.append(limited(lambda: 7, 5.0))
        try:
            limited(lambda: time.sleep(2), 0.05)
        except Overdue:
            told.append("overdue")
        try:
            limited(lambda: 1 / 0, 5.0)
        except ZeroDivisionError:
            told.append("raised")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(1.0)
    assert told == [7, "overdue", "raised"]


# ---- a simulator that does not return ------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(threads, "_GRACE", 0.1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_simulator_that_does_not_return_costs_one_trial(tmp_path, impatient, jobs):
    hang = threading.Event()

    def before(deck):
        if deck.values["r1"] == 2e3:
            hang.wait(60)

    design = divider(tmp_path, simulator=SimulatorChoice("fake", timeout=0.1))
    evaluator = Evaluator(design, DividerSimulator(before), Plugins().measures, jobs=jobs)
    sizings = [{"r1": r1, "r2": 1e3} for r1 in (1e3, 2e3, 3e3, 4e3)]
    results = [result["nominal"] for result in evaluator.evaluate(sizings)]
    evaluator.close()
    hang.set()
    assert [result.state for result in results] == [
        State.COMPLETE, State.TIMEOUT, State.COMPLETE, State.COMPLETE,
    ]  # fmt: skip
    assert results[1].reason == "op: simulator fake did not return within its timeout of 0.1 s"


def test_a_loop_in_python_is_ended(tmp_path, impatient):
    ended = threading.Event()

    def before(deck):
        try:
            while True:
                pass
        finally:
            ended.set()

    design = divider(tmp_path, simulator=SimulatorChoice("fake", timeout=0.1))
    evaluator = Evaluator(design, DividerSimulator(before), Plugins().measures)
    result = next(evaluator.evaluate([{"r1": 1e3, "r2": 1e3}]))["nominal"]
    assert result.state is State.TIMEOUT
    assert ended.wait(5.0)
    evaluator.close()


HANGING = """\
import sys, threading, time
from m3eda.simulate import threads
threads._GRACE = 0.2
from m3eda.cli import run
code = run(sys.argv[1:])
print("left behind:", [each.name for each in threading.enumerate()][1:])
sys.exit(code)
"""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_simulator_that_never_returns_ends_the_run_and_not_the_patience(rc, jobs):
    text = GOOD.replace("        r, c =", "        __import__('time').sleep(600)\n        r, c =")
    plugin(rc, text.replace('"good"', '"stuck"'))
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HANGING, "size", "design.yaml", "--simulator", "stuck",
         "--timeout", "0.1", "--jobs", jobs, "--quiet"],
        cwd=rc, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert time.monotonic() - began < 30
    assert "simulator stuck did not return within its timeout of 0.1 s" in done.stderr
    assert done.returncode == ExitCode.SIMULATOR
    assert "left behind: ['m3eda-simulator'" in done.stdout
