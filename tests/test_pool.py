"""The pool of worker processes: whatever a simulator does in there, the run goes on."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from m3eda.design.types import Measure, SimulatorChoice, Testbench
from m3eda.errors import PluginError, StorageError
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.executor import Task
from m3eda.simulate.pool import Pool
from m3eda.simulate.runner import Recipe
from m3eda.simulate.types import Deck, State
from tests import warm_simulator as warm
from tests.conftest import ROOT
from tests.helpers import divider

GOOD = {"r1": 3e4, "r2": 1e4}


@pytest.fixture
def design(tmp_path):
    made = divider(tmp_path, simulator=SimulatorChoice("fake", timeout=2.0))
    pid = Measure("pid", "op", meas="pid")
    return replace(made, measures={**made.measures, "pid": pid})


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where directories of workers are made."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def make(design, scratch):
    """Evaluators whose simulations run in pools; all are closed, and must leave nothing."""
    made = []

    def evaluator(changed=design, jobs=1, **settings):
        pool = lambda given: Pool(Recipe(given, warm.tools, **settings), jobs)  # noqa: E731
        simulator, functions = warm.tools(changed)
        made.append(Evaluator(changed, simulator, functions, make_executor=pool))
        return made[-1]

    yield evaluator
    pids = [worker.pid for each in made for worker in each.executor._workers]
    for each in made:
        each.close()
    assert list(scratch.iterdir()) == []
    assert not [pid for pid in pids if _alive(pid)]


def _alive(pid):
    return Path(f"/proc/{pid}").exists()


def run(evaluator, *points):
    """Results at the nominal corner; numbers stand for r1."""
    sizings = [p if isinstance(p, dict) else {**GOOD, "r1": p} for p in points]
    return [result["nominal"] for result in evaluator.evaluate(sizings)]


def good(result):
    return result.state is State.COMPLETE and result.measures["ratio"] == pytest.approx(0.25)


def was_warm(result):
    return not math.isnan(result.measures["pid"])


def test_measures_come_from_another_process(make):
    first, second = run(make(), GOOD, GOOD)
    assert good(first)
    assert was_warm(first)
    assert first.measures["pid"] == second.measures["pid"] != os.getpid()


def test_two_jobs_take_two_processes(make):
    evaluator = make(jobs=2)
    results = run(evaluator, *([warm.LATE] * 2))
    assert len({result.measures["pid"] for result in results}) == 2


@pytest.mark.parametrize("fault", [warm.SEGFAULT, warm.EXITS])
def test_a_deck_that_kills_its_worker_is_run_cold(make, fault):
    before, killed, after = run(make(), GOOD, fault, GOOD)
    assert good(before)
    assert killed.state is State.COMPLETE
    assert not was_warm(killed)
    assert good(after)
    assert was_warm(after)
    assert after.measures["pid"] != before.measures["pid"]


def test_a_deck_that_kills_its_worker_twice_is_not_tried_again(make, scratch):
    evaluator = make()
    [dead] = run(evaluator, warm.DEADLY)
    assert dead.state is State.CRASH
    assert dead.reason == "op: the simulator's process died twice of this deck (SIGKILL)"
    assert math.isnan(dead.measures["ratio"])
    before = evaluator.executor._zygote
    started = []
    evaluator.executor._zygote = type(
        "Watched", (), {"fork": lambda self, f: started.append(f) or before.fork(f),
                        "reap": lambda self, p: before.reap(p), "close": before.close},
    )()  # fmt: skip
    [again] = run(evaluator, warm.DEADLY)
    assert again.state is State.CRASH
    assert started == []
    assert good(run(evaluator, GOOD)[0])


def test_a_worker_that_sleeps_for_ever_is_replaced(make):
    start = time.monotonic()
    before, hung, after = run(make(), GOOD, warm.HANG, GOOD)
    assert hung.state is State.TIMEOUT
    assert hung.reason == "op: no result within 2 s"
    assert time.monotonic() - start < 10.0
    assert good(before)
    assert good(after)
    assert not _alive(int(before.measures["pid"]))


def test_a_failure_is_a_result_like_any_other(make):
    failed, after = run(make(), warm.FAILS, GOOD)
    assert failed.state is State.NO_CONVERGENCE
    assert failed.reason == "op: timestep too small"
    assert failed.log == "the log"
    assert good(after)


def test_a_broken_session_is_replaced(make):
    before, broken, after = run(make(), GOOD, warm.BROKEN, GOOD)
    assert broken.state is State.PARSE_ERROR
    assert after.measures["pid"] != before.measures["pid"]


def test_what_a_session_does_not_take_is_run_cold(make):
    cold, after = run(make(), warm.COLD, GOOD)
    assert cold.state is State.COMPLETE
    assert not was_warm(cold)
    assert was_warm(after)


def test_what_a_session_raises_is_a_crash(make):
    [raised] = run(make(), warm.RAISES)
    assert raised.state is State.CRASH
    assert "KeyError: 'a defect of the plugin'" in raised.reason


def test_runaway_memory_ends_at_the_limit(make):
    hungry, after = run(make(), warm.HUNGRY, GOOD)
    assert hungry.state is State.CRASH
    assert "memory" in hungry.reason
    assert good(after)


def test_what_ends_a_run_is_raised_here(make):
    with pytest.raises(StorageError, match="the disk is full"):
        run(make(), warm.DISK)


def test_a_simulator_without_its_library_runs_cold(make, design):
    evaluator = make(replace(design, simulator=SimulatorChoice("unwilling")))
    [result] = run(evaluator, GOOD)
    assert good(result)
    assert not was_warm(result)
    assert evaluator.executor.note == "there is no library"


def test_killed_from_outside(make):
    evaluator = make(jobs=2)
    results = []
    for count, result in enumerate(evaluator.evaluate([GOOD] * 40)):
        results.append(result["nominal"])
        if count == 5:  # a second one might hit the same deck again
            process = int(results[-1].measures["pid"])
            os.kill(process, signal.SIGKILL)
    assert len(results) == 40
    assert all(good(result) for result in results)


def test_the_zygote_killed_from_outside(make):
    evaluator = make()
    first = run(evaluator, GOOD)[0]
    os.kill(evaluator.executor._zygote._process.pid, signal.SIGKILL)
    os.kill(int(first.measures["pid"]), signal.SIGKILL)
    assert good(run(evaluator, GOOD)[0])


def test_enough_is_known_and_the_rest_is_dropped(make):
    evaluator = make()
    results = evaluator.evaluate([GOOD] + [{**GOOD, "r1": warm.LATE}] * 20)
    assert good(next(results)["nominal"])
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 0.4
    assert good(run(evaluator, GOOD)[0])


def test_one_process_a_circuit(make, design):
    both = {name: Testbench(name, design.testbenches["op"].template) for name in ("op", "load")}
    more = Measure("pid2", "load", meas="pid")
    evaluator = make(replace(design, testbenches=both, measures={**design.measures, "pid2": more}))
    results = run(evaluator, *[GOOD] * 5)
    assert {result.measures["pid"] for result in results} == {results[0].measures["pid"]}
    assert {result.measures["pid2"] for result in results} == {results[0].measures["pid2"]}
    assert results[0].measures["pid"] != results[0].measures["pid2"]


def test_more_circuits_than_processes(make, design, monkeypatch):
    monkeypatch.setattr("m3eda.simulate.pool._MOST_WORKERS", 2)
    pool = make(jobs=1).executor
    for number in range(12):
        deck = Deck("* deck", "op", values=GOOD)
        pool.submit(Task(number, deck, f"circuit {number % 4}"))
    done = []
    while len(done) < 12:
        done += pool.completed()
    assert sorted(number for number, _ in done) == list(range(12))
    assert len(pool._workers) <= 2


def test_the_first_failed_deck_is_kept(make, tmp_path):
    run(make(keep_failed=tmp_path / "failed"), warm.FAILS, warm.HANG)
    kept = tmp_path / "failed" / "op-no-convergence"
    assert "r1 in out 1004" in (kept / "deck.cir").read_text()
    assert "the log" in (kept / "log").read_text()
    assert (tmp_path / "failed" / "op-timeout" / "deck.cir").is_file()


def test_a_recipe_that_cannot_be_built(design, scratch):
    pool = Pool(Recipe(design, _no_tools), 1)
    try:
        with pytest.raises(PluginError, match="no tools today"):
            pool.submit(Task(1, Deck("* deck", "op", values=GOOD), "op"))
    finally:
        pool.close()


def _no_tools(design):
    raise PluginError("no tools today")


ORPHANS = """
import sys
from pathlib import Path
from tests import warm_simulator as warm
from tests.test_pool import GOOD, Pool, Recipe, divider
from m3eda.simulate.evaluator import Evaluator
design = divider(Path(sys.argv[1]))
simulator, functions = warm.tools(design)
pool = lambda given: Pool(Recipe(given, warm.tools), 1)
evaluator = Evaluator(design, simulator, functions, make_executor=pool)
list(evaluator.evaluate([GOOD]))
print(evaluator.executor._workers[0].pid, evaluator.executor._zygote._process.pid, flush=True)
list(evaluator.evaluate([{**GOOD, "r1": warm.HANG}]))
"""


def test_workers_die_with_the_process_that_has_them(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", ORPHANS, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:  # fmt: skip
        pids = [int(word) for word in process.stdout.readline().split()]
        time.sleep(0.3)
        process.kill()
    end = time.monotonic() + 10.0
    while any(_running(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(_running(pid) for pid in pids)
    assert list(tmp_path.glob("m3eda-*")) == []


def _running(pid):
    """True for a process that is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def batches(make, design, points, ahead=8, **settings):
    """Results, and how many decks the session knew of at each."""
    batching = replace(design, simulator=SimulatorChoice("batching"))
    results = run(make(batching, ahead=ahead, **settings), *points)
    return results, [result.measures["pid"] for result in results]


def test_a_session_hears_of_the_decks_to_come(make, design):
    points = [5e3 + i for i in range(40)]
    results, known = batches(make, design, points)
    assert [r.measures["ratio"] for r in results] == pytest.approx(
        [1e4 / (1e4 + p) for p in points]
    )
    assert max(known) > 4


def test_decks_to_come_are_shared_out(make, design):
    results, known = batches(make, design, [5e3 + i for i in range(60)], jobs=2)
    assert all(result.state is State.COMPLETE for result in results)
    assert 2 < max(known) <= 8


def test_no_session_hears_of_more_than_it_makes_use_of(make, design):
    _, known = batches(make, design, [5e3 + i for i in range(20)], ahead=0)
    assert max(known) <= 2


def test_a_session_that_does_not_want_to_hear(make, design):
    points = [1e3, warm.DEAF, *(2e3 + i for i in range(5))]
    results, _ = batches(make, design, points)
    assert all(result.state is State.COMPLETE for result in results)
