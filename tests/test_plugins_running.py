"""Plugins that break while a run is on: nothing simulated is lost, and nothing hangs for ever."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time

import pytest

from m3eda.design.types import Measure, SimulatorChoice
from m3eda.errors import ExitCode
from m3eda.plugin_guard import Overdue, limited
from m3eda.plugins import Plugins
from m3eda.simulate import threads
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.measures import Trace, measure
from m3eda.simulate.types import State
from tests.helpers import DividerSimulator, divider, m3eda, only_line, plugin
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


def test_a_thread_that_an_observer_leaves_running_does_not_keep_m3eda_from_ending(rc):
    body = (
        "import threading, time; threading.Thread(target=time.sleep, args=(60,), name='x').start()"
    )
    plugin(rc, f"{OBSERVER}{body}\n{GOOD}")
    began = time.monotonic()
    done = m3eda("size", "design.yaml", "--simulator", "good", cwd=rc, M3EDA_PLUGIN_TIMEOUT="0.5")
    assert time.monotonic() - began < 30
    assert only_line(done) == "threads of a plugin do not end and are left behind: x"
    assert done.returncode == ExitCode.SPECS_MET


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


# ---- a simulator that cannot be built, or does not tell its version --------------------------


@pytest.mark.parametrize(
    ("place", "fault", "words"),
    [
        ("__init__(self, options)", "exit(0)", "cannot be built: SystemExit: 0 (plug.py:8)"),
        ("__init__(self, options)", "import time; time.sleep(60)",
         "cannot be built: it takes longer than 0.3 s (M3EDA_PLUGIN_TIMEOUT)"),
        ("available(self)", "1 / 0",
         "available() raised ZeroDivisionError: division by zero (plug.py:9)"),
        ("available(self)", "exit(0)", "available() raised SystemExit: 0 (plug.py:9)"),
        ("available(self)", "import time; time.sleep(60)",
         "available() takes longer than 0.3 s (M3EDA_PLUGIN_TIMEOUT)"),
        ("available(self)", "return None",
         "available() gave None (expected its version, such as mysim-3.1)"),
    ],
)  # fmt: skip
def test_a_simulator_that_cannot_start(rc, here, monkeypatch, place, fault, words):
    monkeypatch.setenv("M3EDA_PLUGIN_TIMEOUT", "0.3")
    head, _, rest = GOOD.partition(f"    def {place}: ")
    plugin(rc, f"{head}    def {place}: {fault}\n{rest.partition(chr(10))[2]}")
    done = here("size", "design.yaml", "--simulator", "good")
    assert done.returncode == ExitCode.BAD_INPUT
    assert only_line(done).replace("good:", "good") == f"simulator good {words}"


OPENS = """\
    {ahead}
    def open(self, rundir, *, strict):
        {body}
@hookimpl
"""


@pytest.mark.parametrize(
    ("ahead", "body", "words"),
    [
        ("ahead = 0", "return 5", ": open() gave a int (expected run, close and broken)"),
        ("ahead = 0", "exit(0)", ": open() raised SystemExit: 0 (plug.py:"),
        ("ahead = None", "pass", ": ahead is None (expected a whole number)"),
    ],
)
def test_a_session_that_cannot_be(rc, here, ahead, body, words):
    plugin(rc, GOOD.replace("@hookimpl\n", OPENS.format(ahead=ahead, body=body)))
    done = here("size", "design.yaml", "--simulator", "good")
    assert done.returncode == ExitCode.BAD_INPUT
    assert only_line(done).startswith(f"simulator good{words}")


def test_a_measure_that_exits_costs_its_value(tmp_path):
    def leave(response: Trace) -> float:
        sys.exit(0)

    functions = {**Plugins().measures, "leave": measure(analysis="op")(leave)}
    measures = {"left": Measure("left", "op", "leave(v(out))")}
    design = divider(tmp_path, measures=measures, specs={})
    evaluator = Evaluator(design, DividerSimulator(), functions)
    result = next(evaluator.evaluate([{"r1": 1e3, "r2": 1e3}]))["nominal"]
    evaluator.close()
    assert result.reasons == {"left": "SystemExit: 0"}


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
