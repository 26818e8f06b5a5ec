"""Faults through the whole engine: design file, evaluator, pool, worker, libngspice."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from m3eda.errors import DesignError
from m3eda.flow import Execution, Project
from m3eda.ledger import Ledger
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.types import State
from tests.bad_decks import FAILURES, START
from tests.conftest import ROOT
from tests.helpers import changed, m3eda, mount, only_line, started, trials

pytestmark = pytest.mark.simulator

NOT_MET, BAD_INPUT, STORAGE = 1, 2, 4

GOOD_DECK = "r1 in out 1k\nc1 out 0 1n\n.ac dec 5 1k 1meg\n"
KINDS = """\
m3eda: 1
design: kinds
testbenches: {ac: kinds.cir.j2}
parameters:
  kind: {choices: [CHOICES]}
measures:
  level: {testbench: ac, expr: "gain_at(v(in), 10k)", unit: V/V}
specs: {level: {min: 0.5}}
agent: random
"""

Make = Callable[..., Evaluator]


def kinds(folder: Path, decks: dict[str, str]) -> Path:
    """A design whose parameter `kind` chooses what follows the title and the source."""
    cases = [
        f'{{% {"el" if number else ""}if kind == "{name}" %}}{text}'
        for number, (name, text) in enumerate(decks.items())
    ]
    (folder / "kinds.cir.j2").write_text(f"{START}{''.join(cases)}{{% endif %}}.end\n")
    (folder / "kinds.yaml").write_text(KINDS.replace("CHOICES", ", ".join(decks)))
    return folder / "kinds.yaml"


@pytest.fixture
def scratch(tmp_path, monkeypatch) -> Path:
    """Where directories of workers are made."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def open_evaluator(scratch) -> Iterator[Make]:
    """Evaluators of a design file as `m3eda size` makes them; they must leave nothing behind."""
    made: list[Evaluator] = []
    before = set(below(os.getpid()))

    def make(design: Path, jobs: int = 1, **settings) -> Evaluator:
        project = Project.load(design, **settings)
        made.append(project.evaluator(Execution(jobs=jobs, cache=False)))
        return made[-1]

    yield make
    for each in made:
        each.close()
    assert set(below(os.getpid())) <= before
    assert list(scratch.iterdir()) == []


def below(pid: int) -> list[int]:
    """Processes started by `pid`."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (place / "stat").read_text().rpartition(")")[2].split()
            if int(words[1]) == pid and words[0] != "Z":
                found.append(int(place.name))
    return found


def alive(pid: int) -> bool:
    """True for a process that is there and no zombie."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def run(evaluator: Evaluator, *sizings):
    """Results at the nominal corner; words stand for `kind`."""
    whole = [{"kind": each} if isinstance(each, str) else each for each in sizings]
    return [result["nominal"] for result in evaluator.evaluate(whole)]


def workers(evaluator: Evaluator) -> list[int]:
    return [worker.pid for worker in evaluator.executor._workers]


# decks


def test_every_bad_deck_is_a_failed_trial_and_the_next_is_good(tmp_path, open_evaluator):
    all_names = {f"d{number}": name for number, name in enumerate(FAILURES)}
    names = {key: name for key, name in all_names.items() if "/no/" not in FAILURES[name][0]}
    decks = {key: FAILURES[name][0] for key, name in all_names.items()}
    evaluator = open_evaluator(kinds(tmp_path, {"good": GOOD_DECK, **decks}))
    for key in all_names.keys() - names.keys():  # told by name before anything is simulated
        with pytest.raises(DesignError, match=r"'/no/x\.lib', which is not there"):
            run(evaluator, key)
    results = run(evaluator, "good", *(each for key in names for each in (key, "good")))
    assert results[0].measures == {"level": 1.0}
    for (key, name), failed, after in zip(names.items(), results[1::2], results[2::2], strict=True):
        _, state, words = FAILURES[name]
        assert (failed.state, failed.runs) == (state, 1), (name, failed.reason)
        assert failed.reason.startswith("ac: "), (key, failed.reason)
        assert words in failed.reason
        assert math.isnan(failed.measures["level"])
        assert (after.state, after.measures) == (State.COMPLETE, {"level": 1.0}), name


def test_a_deck_that_makes_ngspice_quit_costs_one_worker(tmp_path, open_evaluator):
    (tmp_path / "quits.inc").write_text(".control\nquit\n.endc\n")
    decks = {
        "good": GOOD_DECK,
        "brace": FAILURES["unbalanced brace"][0],
        "quits": f".include {tmp_path}/quits.inc\n{GOOD_DECK}",
    }
    evaluator = open_evaluator(kinds(tmp_path, decks))
    [good] = run(evaluator, "good")
    [pid] = workers(evaluator)
    [brace] = run(evaluator, "brace")
    assert brace.state is State.PARSE_ERROR
    after, quits, last = run(evaluator, "good", "quits", "good")
    assert quits.state is State.CRASH
    assert after.measures == last.measures == good.measures
    assert pid not in workers(evaluator)


ENDLESS = "r1 in out 1k\nc1 out 0 1n\nv2 x 0 sin(0 1 1g)\nr2 x out 1k\n.tran 1p 1\n"


@pytest.mark.parametrize("padding", [0, 400_000], ids=["small", "large"])
def test_a_simulation_that_never_ends(tmp_path, open_evaluator, padding):
    """Also with decks so large that a message does not fit between two processes."""
    more = f"* {'x' * padding}\n"
    decks = {
        "good": more + GOOD_DECK,
        "endless": more + ENDLESS,
        "other": more + "r9 in 0 1k\n" + GOOD_DECK,
    }
    evaluator = open_evaluator(kinds(tmp_path, decks), timeout=1.0)
    start = time.monotonic()
    before, endless, after, last = run(evaluator, "good", "endless", "other", "good")
    assert time.monotonic() - start < 8.0
    assert endless.state is State.TIMEOUT
    assert endless.reason.startswith("ac: no result within 1 s")
    assert before.measures == after.measures == last.measures == {"level": 1.0}


WAVES = 20


@pytest.mark.slow
def test_half_a_gigabyte_of_waveforms(tmp_path, open_evaluator, monkeypatch):
    """It does not fit into the memory that a worker may take."""
    monkeypatch.setattr("m3eda.simulate.pool._memory_limit", lambda share: 300 << 20)
    nodes = "".join(f"ra{n} in n{n} 1k\nrb{n} n{n} 0 {n + 1}k\n" for n in range(WAVES))
    large = 2**29 // 16 // (WAVES + 1)
    decks = {
        "good": f"{nodes}.ac lin 10 1k 1meg\n",
        "large": f"{nodes}.ac lin {large} 1k 1meg\n",
    }
    design = kinds(tmp_path, decks)
    measures = "".join(
        f'  m{n}: {{testbench: ac, expr: "gain_at(v(n{n}), 10k)"}}\n' for n in range(WAVES)
    )
    changed(tmp_path, "measures:\n", f"measures:\n{measures}", "kinds.yaml")
    before, fell, after = run(open_evaluator(design, timeout=30.0), "good", "large", "good")
    assert fell.state is State.CRASH, fell.reason
    assert "memory" in fell.reason.lower()
    assert before.measures == after.measures
    assert before.measures["m0"] == pytest.approx(0.5)


LEAK = """\
* a current that only a leaky diode takes
i1 0 out {{ leak }}
b1 out 0 i=v(out)>0.5 ? {{ leak }} : 0
d1 0 out leaky
.model leaky d
.op
.end
"""
LEAKY = """\
m3eda: 1
design: leaky
testbenches: {op: leaky.cir.j2}
parameters:
  leak: {min: 1e-14, max: 1e-3, scale: log, unit: A}
measures:
  level: {testbench: op, expr: v(out), unit: V}
specs: {level: {min: 0.2}}
agent: random
failures: {retries: 2, ladder: [gmin, gear]}
"""


def test_what_converges_with_relaxed_options_only(tmp_path, open_evaluator):
    """With the usual gmin of 1e-12 S there is no operating point at 2.5e-11 A."""
    (tmp_path / "leaky.cir.j2").write_text(LEAK)
    (tmp_path / "leaky.yaml").write_text(LEAKY)
    evaluator = open_evaluator(tmp_path / "leaky.yaml")
    easy, hard, hopeless = ({"leak": each} for each in (1e-13, 2.5e-11, 1e-9))
    results = run(evaluator, easy, hard, easy)
    [pid] = workers(evaluator)
    results += run(evaluator, hopeless, easy, hard)
    assert [each.runs for each in results] == [1, 2, 1, 3, 1, 2]
    assert results[1].measures["level"] == pytest.approx(0.25, rel=1e-3)
    assert results[1].measures == results[5].measures
    assert results[0].measures == results[2].measures == results[4].measures
    assert results[3].state is State.NO_CONVERGENCE
    assert workers(evaluator) == [pid]


# what a designer is told


def test_a_control_block_is_refused_in_one_line(rc):
    changed(rc, ".end\n", ".control\nrun\n.endc\n.end\n", "rc.cir.j2")
    done = m3eda("size", "design.yaml", "--jobs", 2, cwd=rc)
    assert done.returncode == BAD_INPUT
    line = only_line(done)
    assert line.startswith(f"{rc}/rc.cir.j2: ac: parse error: line 6: remove the .control block")
    assert len(trials(rc / "runs/rc")) == 5


def test_the_same_parse_error_on_the_first_points_ends_the_run(hopeless):
    changed(hopeless, "c1 out", ".unheard of\nc1 out", "rc.cir.j2")
    changed(hopeless, "agent:", "failures: {stop_after_same_error: 3}\nagent:")
    done = m3eda("size", "design.yaml", "--jobs", 2, "--batch", 8, cwd=hopeless)
    line = only_line(done)
    assert done.returncode == BAD_INPUT
    assert line.startswith(f"{hopeless}/rc.cir.j2: ac: parse error: line 4: unimplemented"), line
    assert "so failed each of the first 3 points" in line
    assert "runs/rc/failed/ac-" in line
    assert len(trials(hopeless / "runs/rc")) == 3


# kills in mid-run of `m3eda size`

BUDGET = 30
SIZE = ("size", "design.yaml", "--jobs", 2, "--agent", "random", "--budget", BUDGET)


def amplifier(folder: Path) -> Path:
    """An amplifier whose simulations take some time, and whose last digits depend on the way."""
    place = folder / "amplifier"
    shutil.copytree(ROOT / "examples" / "folded_cascode", place)
    changed(place, ".ac dec 10 ", ".ac dec 100 ", "open_loop.cir.j2")
    changed(place, "gain: {min: 500}", "gain: {min: 1e9}")
    return place


@pytest.fixture
def slow(tmp_path) -> Path:
    return amplifier(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> list:
    """The trials of a run that nobody disturbs."""
    folder = amplifier(tmp_path_factory.mktemp("whole"))
    done = m3eda(*SIZE, cwd=folder, M3EDA_CACHE_SIZE="0")
    assert done.returncode == NOT_MET, done.stderr
    found = told(folder / "runs/folded_cascode")
    assert len(found) == BUDGET
    return found


def told(run: Path) -> list[str]:
    """Sizing and measures of each trial; as text, because nan is not equal to itself."""
    return [repr(trial) for trial in trials(run)]


def stream(
    folder: Path, disturb: Callable[[int, int], object], *options: object, **settings: str
) -> subprocess.CompletedProcess[str]:
    """A run to its end; after each trial `disturb(pid, trials so far)`. Nothing may outlive it."""
    place = folder / "tmp"
    place.mkdir(exist_ok=True)
    settings = {"TMPDIR": str(place), **settings}
    seen: set[int] = set()
    with started(*SIZE, *options, "--stream", cwd=folder, **settings) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        lines = []
        for count, line in enumerate(child.stdout, 1):
            lines.append(line)
            if '"run"' in line:
                break
            zygotes = below(child.pid)
            seen.update(zygotes, *(below(pid) for pid in zygotes))
            disturb(child.pid, count)
        errors = child.stderr.read()
        child.wait(timeout=60)
    end = time.monotonic() + 5.0
    while any(map(alive, seen)) and time.monotonic() < end:
        time.sleep(0.02)
    assert not [pid for pid in seen if alive(pid)]
    assert list(place.glob("m3eda-*")) == []
    return subprocess.CompletedProcess(SIZE, child.returncode, "".join(lines), errors)


def kill(pids: list[int], number: int = signal.SIGKILL) -> int:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    return len(pids)


def at_work(pid: int) -> list[int]:
    return [worker for zygote in below(pid) for worker in below(zygote)]


@pytest.mark.parametrize("victims", ["a worker", "zygote", "all"])
def test_kills_in_mid_run_change_no_trial(slow, whole, victims):
    killed = Counter()
    times = [0.0]

    def disturb(pid: int, count: int) -> None:
        # this process may read late: no deck may be hit twice
        if count % 10 != 7 or time.monotonic() - times[-1] < 10.0:
            return
        times.append(time.monotonic())
        zygotes, running = below(pid), at_work(pid)
        if victims in ("zygote", "all"):
            killed["zygote"] += kill(zygotes)
        if victims != "zygote":
            killed["worker"] += kill(running[:1] if victims == "a worker" else running)

    done = stream(slow, disturb)
    assert (done.returncode, done.stderr) == (NOT_MET, "")
    assert told(slow / "runs/folded_cascode") == whole
    assert killed["zygote" if victims == "zygote" else "worker"] >= 1


def test_workers_of_a_dead_zygote_die_one_by_one(slow, whole):
    """The end of one must not take others with it."""
    left: list[int] = []

    def disturb(pid: int, count: int) -> None:
        if count == 7:
            left.extend(at_work(pid))
            kill(below(pid))
        if count in (13, 21) and left:
            kill([left.pop()])

    done = stream(slow, disturb)
    assert (done.returncode, done.stderr, left) == (NOT_MET, "", [])
    assert told(slow / "runs/folded_cascode") == whole


def test_a_stopped_worker_is_killed_at_the_timeout(slow, whole):
    def disturb(pid: int, count: int) -> None:
        if count == 7:
            assert kill(at_work(pid)[:1], signal.SIGSTOP) == 1

    done = stream(slow, disturb, "--timeout", "2s")
    assert done.returncode == NOT_MET
    assert only_line(done) == f"1 of {BUDGET} simulations failed: 1 timeout"
    found = told(slow / "runs/folded_cascode")
    with Ledger(slow / "runs/folded_cascode", read_only=True) as ledger:
        results = [trial.results["nominal"] for trial in ledger.trials(1)]
    late = [number for number, each in enumerate(results) if each.state is State.TIMEOUT]
    assert len(late) == 1
    assert results[late[0]].reason == "open_loop: no result within 2 s"
    others = [(found[n], whole[n]) for n in range(BUDGET) if n not in late]
    assert all(one == other for one, other in others)


# the shared cache


def cached(folder: Path) -> dict[str, str]:
    return {"M3EDA_CACHE": str(folder / "cache"), "M3EDA_CACHE_SIZE": "50M"}


def test_two_runs_at_once_share_a_cache(slow, whole):
    settings = cached(slow)
    both = [started(*SIZE, "--run-dir", name, cwd=slow, **settings) for name in ("a", "b")]
    for child in both:
        _, errors = child.communicate(timeout=60)
        assert (child.returncode, errors) == (NOT_MET, "")
    done = m3eda(*SIZE, "--run-dir", "c", "--json", cwd=slow, **settings)
    assert (done.returncode, done.stderr) == (NOT_MET, "")
    assert told(slow / "a") == told(slow / "b") == told(slow / "c") == whole
    with Ledger(slow / "c", read_only=True) as ledger:
        assert {trial.results["nominal"].runs for trial in ledger.trials(1)} == {0}


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_cache_cut_off_in_mid_run(slow, whole, suffix):
    m3eda(*SIZE, "--budget", 15, "--run-dir", "a", cwd=slow, **cached(slow))
    cut = []

    def disturb(pid: int, count: int) -> None:
        for path in (slow / "cache").glob(f"*.sqlite{suffix}") if count in (5, 21) else ():
            cut.append(path.stat().st_size)
            os.truncate(path, cut[-1] // 3)

    done = stream(slow, disturb, **cached(slow))
    assert done.returncode == NOT_MET
    assert len(done.stderr.splitlines()) <= 1
    assert cut
    assert max(cut) > 3000 or suffix
    assert told(slow / "runs/folded_cascode") == whole
    done = m3eda(*SIZE, "--run-dir", "b", cwd=slow, **cached(slow))
    assert done.returncode == NOT_MET, done.stderr
    assert told(slow / "b") == whole


# the disk


def test_a_run_directory_whose_disk_fills_up(slow, whole, disk):
    command = (*SIZE, "--run-dir", disk / "run")
    done = m3eda(*command, cwd=slow)
    assert only_line(done).startswith(f"{disk}/run/ledger.sqlite: the disk is full; free some room")
    assert done.returncode == STORAGE
    kept = told(disk / "run")
    assert 0 < len(kept) < BUDGET
    assert kept == whole[: len(kept)]
    assert mount("-o", "remount,size=8m", str(disk)) == 0
    done = stream(slow, lambda pid, count: None, "--run-dir", disk / "run")
    assert (done.returncode, done.stderr) == (NOT_MET, "")
    assert told(disk / "run") == whole


@pytest.mark.parametrize("lacking", ["room", "inodes"])
def test_no_room_for_a_worker(slow, whole, disk, lacking):
    """It needs a directory and the user's start file; the sizing is not to blame."""
    (slow / ".spiceinit").write_text("* a start file of the user\n" * 300)
    command = (*SIZE, "--jobs", 1, "--batch", 2)
    settings = {"TMPDIR": str(disk), "HOME": str(slow)}
    if lacking == "room":  # one page, without which Python takes another directory
        (disk / "fill").write_bytes(b"x" * 143_000)
    else:  # one for the directory, none for what belongs into it
        assert mount("-o", "remount,nr_inodes=2", str(disk)) == 0
    done = m3eda(*command, cwd=slow, **settings)
    assert done.returncode == STORAGE, done.stderr
    assert only_line(done).startswith(f"{disk}/m3eda-")
    assert "No space left on device" in done.stderr
    assert list(disk.glob("m3eda-*")) == []
    assert told(slow / "runs/folded_cascode") == []
    assert mount("-o", "remount,nr_inodes=1000,size=1m", str(disk)) == 0
    done = m3eda(*command, cwd=slow, **settings)
    assert (done.returncode, done.stderr) == (NOT_MET, "")
    assert told(slow / "runs/folded_cascode") == whole


# what is left


def test_pools_opened_and_closed_leave_nothing(tmp_path, open_evaluator, scratch):
    design = kinds(tmp_path, {"good": GOOD_DECK, "endless": ENDLESS})

    def once(number: int) -> None:
        evaluator = open_evaluator(design, jobs=2)
        if number % 4 == 0:  # closed before it is ready
            assert evaluator.executor.width == 2
        elif number % 4 == 1:
            run(evaluator, "good")
        else:  # closed in mid-run, after others have been forgotten
            results = evaluator.evaluate([{"kind": "good"}, *[{"kind": "endless"}] * 3])
            next(results)
            if number % 4 == 2:
                results.close()
        evaluator.close()

    once(1)  # imports, and files that stay open
    before = descriptors(), below(os.getpid())
    for number in range(4):
        once(number)
    assert (descriptors(), below(os.getpid())) == before
    assert list(scratch.iterdir()) == []


def descriptors() -> list[str]:
    """The files this process has open."""
    found = []
    for place in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(os.readlink(place).partition(":")[0])
    return sorted(found)
