"""The executor of a cluster: Dask's schedulers and workers in processes of their own, or killed."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from m3eda.design.types import Design, SimulatorChoice
from m3eda.errors import ClusterError, ExitCode, PluginError
from m3eda.plugins import tools
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.executor import Task
from m3eda.simulate.runner import Recipe
from tests.helpers import changed, divider, m3eda, only_line, plugin, started, trials, write_rc

distributed = pytest.importorskip("distributed", reason="needs Dask: the extra m3eda[dask]")

from m3eda.simulate.cluster import DaskExecutor  # noqa: E402  it imports Dask

TIMES = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s",
    "DASK_DISTRIBUTED__SCHEDULER__LOCKS__LEASE_TIMEOUT": "2s",
    "DASK_DISTRIBUTED__SCHEDULER__LOCKS__LEASE_VALIDATION_INTERVAL": "200ms",
}
"""Dask waits as long as a data centre may need; here it need not."""

SLOW = """\
import os
import time
from pathlib import Path

import numpy as np

from m3eda.hookspecs import hookimpl
from m3eda.simulate.types import Analysis, Waveforms

class Slow:
    name = "slow"

    def __init__(self, options):
        self.log, self.seconds = options["log"], float(options["seconds"])

    def available(self):
        return "slow-1"

    def note(self, step):
        with open(self.log, "a") as log:
            log.write(f"{time.monotonic()} {step} {os.getpid()}\\n")

    def run(self, deck, rundir, timeout):
        self.note(1)
        end = time.monotonic() + self.seconds
        while time.monotonic() < end and not Path(self.log + ".at_once").exists():
            time.sleep(min(self.seconds, 0.05))
        r1, r2 = float(deck.values["r1"]), float(deck.values["r2"])
        vectors = {"v(out)": np.array([r2 / (r1 + r2)]), "i(v1)": np.array([-1 / (r1 + r2)])}
        self.note(-1)
        return Waveforms((Analysis("op", vectors),), seconds=self.seconds)

@hookimpl
def register_simulators(register):
    register("slow", Slow)
"""

DAWDLING = """\
import time
from m3eda.agents.random import Random
from m3eda.hookspecs import hookimpl

class Dawdling(Random):
    def tell(self, trials):
        time.sleep(0.02)
        super().tell(trials)

@hookimpl
def register_agents(register):
    register("dawdling", Dawdling)
"""


SETTINGS = ("--no-cache", "--batch", "4")


class Farm:
    """A scheduler and workers of one thread, each a process of its own."""

    def __init__(self, folder: Path, workers: int, port: int = 0) -> None:
        self.file = str(folder / "scheduler.json")
        self.log = (folder / "farm.log").open("w")
        common = ["--scheduler-file", self.file, "--no-dashboard"]
        at = ["--host", "127.0.0.1", "--port", str(port)]
        self.scheduler = self.start("dask_scheduler", *common, *at)
        more = ["--nworkers", str(workers), "--nthreads", "1", "--memory-limit", "0"]
        place = ["--local-directory", str(folder)]
        self.workers = None
        if not workers:
            until(Path(self.file).exists)
        else:
            self.workers = self.start("dask_worker", *common, *more, *place)
            with self.client() as client:
                client.wait_for_workers(workers, timeout=60)

    def start(self, program: str, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{program}", *arguments],
            env={**os.environ, **TIMES}, stdin=subprocess.DEVNULL, stdout=self.log,
            stderr=self.log, start_new_session=True,
        )  # fmt: skip

    def client(self) -> distributed.Client:
        return distributed.Client(scheduler_file=self.file, set_as_default=False, timeout=60)

    def pids(self) -> list[int]:
        """The processes in which Dask runs tasks."""
        with self.client() as client:
            return list(client.run(os.getpid).values())

    def simulating(self) -> set[int]:
        """Every process that workers of Dask have started to simulate."""
        below = [psutil.Process(pid).children(recursive=True) for pid in self.pids()]
        return {process.pid for processes in below for process in processes}

    def close(self) -> None:
        for process in filter(None, (self.workers, self.scheduler)):
            with process:
                if process.poll() is None:
                    process.terminate()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
        self.log.close()


@pytest.fixture(scope="module")
def farm(tmp_path_factory) -> Iterator[Farm]:
    """Two workers that several tests use."""
    made = Farm(tmp_path_factory.mktemp("farm"), 2)
    yield made
    made.close()


@pytest.fixture
def small_farm(tmp_path) -> Iterator[Farm]:
    """One worker, to be killed."""
    (tmp_path / "farm").mkdir()
    made = Farm(tmp_path / "farm", 1)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch) -> Iterator[None]:
    for name, value in TIMES.items():
        monkeypatch.setenv(name, value)
    import dask

    keys = {name.removeprefix("DASK_").lower().replace("__", "."): name for name in TIMES}
    with dask.config.set({key.replace("_", "-"): TIMES[name] for key, name in keys.items()}):
        yield


def _dawdling(folder: Path) -> Path:
    """A design whose agent takes its time, so that there is some to kill something."""
    plugin(write_rc(folder), DAWDLING)
    changed(folder, "far: {max: 0.011}", "far: {max: 1u}")
    changed(folder, "name: random, budget: 400", "name: dawdling, budget: 40")
    return folder


@pytest.fixture
def dawdling(tmp_path) -> Path:
    return _dawdling(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> list:
    """The trials of the dawdling design, on this machine."""
    folder = _dawdling(tmp_path_factory.mktemp("whole"))
    m3eda("size", "design.yaml", *SETTINGS, cwd=folder)
    found = trials(folder / "runs/rc")
    assert len(found) == 40
    return found


@pytest.fixture
def slow(tmp_path) -> Design:
    return slow_design(tmp_path, 0.05)


def slow_design(folder: Path, seconds: float, name: str = "slow") -> Design:
    """A divider on a simulator that notes when it begins and ends."""
    (folder / "plug.py").write_text(SLOW)
    choice = SimulatorChoice("slow", {"log": str(folder / "slow.log"), "seconds": seconds})
    return divider(folder, name=name, simulator=choice, plugins=(folder / "plug.py",))


def executor(design: Design, farm: Farm | None = None, **settings) -> DaskExecutor:
    settings.setdefault("scheduler", farm.file if farm else "")
    return DaskExecutor(Recipe(design, tools), **settings)


def evaluator(design: Design, made: DaskExecutor | None = None) -> Evaluator:
    simulator, functions = tools(design)
    make = None if made is None else lambda design: made
    return Evaluator(design, simulator, functions, make_executor=make)


def points(count: int, seed: int = 1) -> list[dict[str, float]]:
    rng = random.Random(seed)
    return [{"r1": rng.uniform(1e3, 1e6), "r2": rng.uniform(1e3, 1e6)} for _ in range(count)]


def measures(results) -> list[dict[str, float]]:
    return [dict(result["nominal"].measures) for result in results]


def expected(sizings) -> list[dict[str, float]]:
    return [
        {"ratio": s["r2"] / (s["r1"] + s["r2"]), "current": 1 / (s["r1"] + s["r2"])}
        for s in sizings
    ]


def tasks_of(design: Design, count: int, first: int = 0) -> list[Task]:
    made = evaluator(design)
    decks = [deck for sizing in points(count) for deck in made.decks(sizing).values()]
    return [Task(first + number, deck, "op@nominal") for number, deck in enumerate(decks)]


def notes(design: Design) -> list[tuple[float, int]]:
    """When simulations began (1) and ended (-1)."""
    log = Path(str(design.simulator.options["log"]))
    lines = log.read_text().splitlines() if log.exists() else []
    return [(float(line.split()[0]), int(line.split()[1])) for line in lines]


def simulator_pids(design: Design) -> list[int]:
    lines = Path(str(design.simulator.options["log"])).read_text().splitlines()
    return [int(line.split()[2]) for line in lines]


def most_at_once(*designs: Design) -> int:
    steps = sorted(step for design in designs for step in notes(design))
    return max(itertools.accumulate(step for _, step in steps))


def gone(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked for its exit code yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def until(condition, seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.02)


# ---- results ----------------------------------------------------------------------------------


@pytest.mark.simulator
def test_a_local_cluster_that_is_interrupted_gives_the_same_trials(dawdling, whole):
    before = set(Path("/proc").glob("[0-9]*"))
    size = ("size", "design.yaml", *SETTINGS, "--executor", "dask", "--jobs", "2")
    with subprocess.Popen(
        [sys.executable, "-m", "m3eda", *size, "--stream"], cwd=dawdling, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    ) as child:  # fmt: skip
        for _ in range(8):
            child.stdout.readline()
        os.killpg(child.pid, signal.SIGINT)  # as from a terminal: to Dask's processes too
        _, errors = child.communicate(timeout=60)
    assert child.returncode == ExitCode.INTERRUPTED
    assert [line.partition(";")[0] for line in errors.splitlines()] == ["m3eda: interrupted"]
    done = m3eda(*size, cwd=dawdling)
    assert done.returncode == ExitCode.SPECS_NOT_MET, done.stderr
    assert "distributed" not in done.stderr
    assert "Traceback" not in done.stderr
    assert trials(dawdling / "runs/rc") == whole
    until(lambda: not _dask_processes(before))


def _dask_processes(before: set[Path]) -> list[str]:
    """Processes that a local cluster of ours has left."""
    found = []
    for path in set(Path("/proc").glob("[0-9]*")) - before:
        try:
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if "multiprocessing.spawn" in command and parent == "1":
            found.append(command)
    return found


def test_small_simulations_travel_in_groups(farm, tmp_path):
    design = slow_design(tmp_path, 0.0)
    sizings = points(400)
    made = executor(design, farm)
    with_dask = evaluator(design, made)
    assert (made.width, made.depth) == (2, 1)
    assert measures(with_dask.evaluate(sizings)) == expected(sizings)
    assert made.depth > 1
    assert made._count < 300
    assert len(notes(design)) == 800
    with_dask.close()


def test_a_group_never_leaves_a_worker_idle(farm, slow):
    made = executor(slow, farm)
    made._seconds["op@nominal"] = 0.001
    for task in tasks_of(slow, 6):
        made.submit(task)
    made._send()
    assert [len(sent.tasks) for sent in made._sent.values()] == [3, 3]
    found = []
    while len(found) < 6:
        found += made.completed()
    assert sorted(number for number, _ in found) == list(range(6))
    assert made.completed() == []
    made.close()


def test_two_runs_share_a_cluster_and_leave_nothing_behind(farm, tmp_path):
    others = farm.simulating()
    designs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        designs.append(slow_design(tmp_path / name, 0.01, name))
    both = [evaluator(design, executor(design, farm)) for design in designs]
    runs = [each.evaluate(points(60, seed)) for seed, each in enumerate(both)]
    found = [measures(results) for results in zip(*zip(*runs, strict=True), strict=True)]
    assert found == [expected(points(60, seed)) for seed in (0, 1)]
    assert farm.simulating() > others
    for each in both:
        each.close()
    until(lambda: farm.simulating() <= others)


def test_the_same_run_twice_on_one_cluster_shares_its_processes(farm, slow):
    others = farm.simulating()
    one, two = executor(slow, farm), executor(slow, farm)
    assert measures(evaluator(slow, one).evaluate(points(6))) == expected(points(6))
    assert measures(evaluator(slow, two).evaluate(points(6))) == expected(points(6))
    one.close()
    assert measures(evaluator(slow, two).evaluate(points(9))) == expected(points(9))
    two.close()
    until(lambda: farm.simulating() <= others)
    again = executor(slow, farm)
    assert measures(evaluator(slow, again).evaluate(points(3))) == expected(points(3))
    again.close()


# ---- losses -----------------------------------------------------------------------------------


@pytest.mark.simulator
def test_a_killed_worker_costs_no_trial(farm, dawdling, whole):
    size = ("size", "design.yaml", *SETTINGS, "--scheduler", farm.file, "--stream")
    with started(*size, cwd=dawdling) as child:
        assert child.stdout is not None
        for _ in range(8):
            child.stdout.readline()
        os.kill(farm.pids()[0], signal.SIGKILL)
        _, errors = child.communicate(timeout=60)
    assert child.returncode == ExitCode.SPECS_NOT_MET, errors
    assert trials(dawdling / "runs/rc") == whole


def test_what_a_killed_worker_was_at_is_run_again(farm, tmp_path):
    """And so is its licence free again."""
    design = slow_design(tmp_path, 60.0)
    made = executor(design, farm, licences=1)
    [task] = tasks_of(design, 1)
    made.submit(task)
    until(lambda: notes(design))
    [simulating] = simulator_pids(design)
    zygote, worker, *_ = psutil.Process(simulating).parents()
    assert worker.pid in farm.pids()
    worker.kill()
    until(lambda: gone(simulating))
    Path(f"{design.simulator.options['log']}.at_once").touch()
    [(number, outcome)] = made.completed()
    assert number == task.number
    assert [dict(outcome.result.measures)] == expected(points(1))
    assert [step for _, step in notes(design)] == [1, 1, -1]
    until(lambda: gone(zygote.pid), 15)
    made.close()


@pytest.mark.simulator
def test_a_killed_scheduler_ends_the_run_which_goes_on_later(small_farm, dawdling, whole):
    size = ("size", "design.yaml", *SETTINGS)
    with started(*size, "--scheduler", small_farm.file, "--stream", cwd=dawdling) as child:
        assert child.stdout is not None
        for _ in range(8):
            child.stdout.readline()
        small_farm.scheduler.kill()
        _, errors = child.communicate(timeout=60)
    assert child.returncode == ExitCode.SIMULATOR
    [line] = errors.splitlines()
    assert "the Dask scheduler is lost" in line
    assert "the same command goes on" in line
    assert 8 <= len(trials(dawdling / "runs/rc")) < 40
    done = m3eda(*size, cwd=dawdling)
    assert done.returncode == ExitCode.SPECS_NOT_MET, done.stderr
    assert trials(dawdling / "runs/rc") == whole


def test_a_scheduler_that_does_not_answer_is_no_hang(farm, tmp_path):
    design = slow_design(tmp_path, 30.0)
    made = executor(design, farm, timeout=1.0)
    made.submit(tasks_of(design, 1)[0])
    until(lambda: notes(design))
    [sleeper] = simulator_pids(design)
    farm.scheduler.send_signal(signal.SIGSTOP)
    start = time.monotonic()
    try:
        with pytest.raises(ClusterError, match="scheduler is lost"):
            made.completed()
        made.close()
        assert time.monotonic() - start < 15
    finally:
        farm.scheduler.send_signal(signal.SIGCONT)
    # the scheduler notices that its client is gone, and workers that nobody waits for them
    until(lambda: gone(sleeper), 15)
    assert [step for _, step in notes(design)] == [1]


@pytest.mark.slow
def test_a_scheduler_started_anew_is_told_again(tmp_path):
    design = slow_design(tmp_path, 0.3)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old = Farm(tmp_path / "old", 1)
    address = json.loads(Path(old.file).read_text())["address"]
    made = executor(design, scheduler=address, timeout=60.0)
    results = evaluator(design, made).evaluate(points(4))
    found = [next(results)]
    old.scheduler.kill()
    os.killpg(old.workers.pid, signal.SIGKILL)
    old.close()
    new = Farm(tmp_path / "new", 1, int(address.rpartition(":")[2]))
    found += results
    assert measures(found) == expected(points(4))
    made.close()
    new.close()


def test_a_cluster_without_workers_is_no_hang(tmp_path, slow):
    empty = Farm(tmp_path, 0)
    try:
        with pytest.raises(ClusterError, match="no worker has been there for 1 s"):
            executor(slow, empty, patience=1.0)
    finally:
        empty.close()


def test_nobody_listens(tmp_path, slow):
    with pytest.raises(ClusterError, match=r"tcp://127\.0\.0\.1:1: no Dask scheduler"):
        executor(slow, scheduler="tcp://127.0.0.1:1", timeout=0.5)
    with pytest.raises(ClusterError, match=r"nothing\.json: no Dask scheduler"):
        executor(slow, scheduler=str(tmp_path / "nothing.json"), timeout=0.5)


# ---- cancellation and licences ----------------------------------------------------------------


def test_cancel_kills_what_runs_and_the_executor_goes_on(farm, tmp_path):
    others = farm.simulating()
    design = slow_design(tmp_path, 60.0)
    made = executor(design, farm)
    for task in tasks_of(design, 9):
        made.submit(task)
    made._send()
    until(lambda: len(notes(design)) == 2)
    sleepers = set(simulator_pids(design))
    made.cancel()
    until(lambda: all(map(gone, sleepers)))
    time.sleep(0.3)
    assert len(notes(design)) == 2
    made.submit(tasks_of(design, 1, first=100)[0])
    made._send()
    until(lambda: len(notes(design)) == 3)
    made.close()
    until(lambda: farm.simulating() <= others)


def test_licences_hold_over_all_runs_of_a_cluster(farm, tmp_path):
    designs, found = [], {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        designs.append(slow_design(tmp_path / name, 0.05, name))
    ours = [evaluator(design, executor(design, farm, licences=1)) for design in designs]

    def run(number: int) -> None:
        found[number] = measures(ours[number].evaluate(points(20, number)))

    threads = [threading.Thread(target=run, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {number: expected(points(20, number)) for number in (0, 1)}
    assert all(each.executor.width == 1 for each in ours)
    assert most_at_once(*designs) == 1
    for each in ours:
        each.close()


def test_licences_counted_differently(farm, tmp_path):
    design = slow_design(tmp_path, 60.0)
    one = executor(design, farm, licences=1)
    one.submit(tasks_of(design, 1)[0])
    one._send()
    until(lambda: len(notes(design)) == 1)
    with pytest.raises(ClusterError, match="another number than 2"):
        executor(design, farm, licences=2)
    one.close()
    two = executor(replace(design, name="other"), farm, licences=2)  # nobody holds any now
    assert two.width == 2
    two.close()


# ---- what is wrong is said --------------------------------------------------------------------


def test_a_worker_that_does_not_see_a_file_says_so(farm, slow):
    made = executor(slow, farm)
    gone = slow.path.parent / "gone.lib"
    [task] = tasks_of(slow, 1)
    deck = replace(task.deck, text=f"* x\n.include {gone}\n", files=(gone,), skeleton=None)
    made.submit(replace(task, deck=deck))
    with pytest.raises(ClusterError, match=rf"worker tcp://.*{gone} is not there; the files"):
        made.completed()
    made.close()


def test_a_worker_without_the_designs_plugin_says_so(farm, slow):
    made = executor(slow, farm)
    [task] = tasks_of(slow, 1)
    slow.plugins[0].unlink()
    made.submit(task)
    with pytest.raises(PluginError, match=r"worker tcp://.*plug\.py: no such plugin file"):
        made.completed()
    made.close()


def test_without_dask_the_extra_is_named(rc):
    program = (
        "import sys; sys.modules['distributed'] = None\n"
        "from m3eda.cli import main; sys.argv = ['m3eda', *sys.argv[1:]]; main()"
    )
    arguments = ["size", "design.yaml", "--executor", "dask"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=rc, capture_output=True,
        text=True, timeout=60, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == ExitCode.BAD_INPUT
    assert "pip install 'm3eda[dask]'" in only_line(done)


def test_an_unknown_option(slow):
    from m3eda_plugins.executors import dask, local

    for factory in (dask, local):
        with pytest.raises(PluginError, match="no option 'speed'"):
            factory(Recipe(slow, tools), 1, {"speed": 3})
