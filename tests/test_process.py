"""Running a program: deadline, process group, bounded output, and what outlives us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from m3eda.simulate import process
from m3eda.simulate.process import kill_running, run_process

SH = ["/bin/sh", "-c"]


def alive(pid: int) -> bool:
    """True where the process runs; a zombie that waits for its parent does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    try:
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def eventually(condition, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def pid_in(path: Path) -> int:
    assert eventually(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def settle() -> None:
    """A program has a moment to run before this process notes it for the watchdog."""
    time.sleep(0.2)


def test_output_and_code(tmp_path):
    done = run_process([*SH, "echo out; echo err >&2; exit 3"], tmp_path, 10)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert not done.timed_out
    assert done.signal == ""


def test_output_stays_in_the_directory(tmp_path):
    run_process([*SH, "echo out"], tmp_path, 10, stem="deck")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deck.err", "deck.out"]


def test_only_the_tail_of_much_output_is_kept(tmp_path):
    done = run_process([*SH, "head -c 3000000 /dev/zero | tr '\\0' a; echo END"], tmp_path, 20)
    assert len(done.stdout) == process.TAIL
    assert done.stdout.endswith("aEND\n")


def test_signal_is_named(tmp_path):
    done = run_process([*SH, "kill -SEGV $$"], tmp_path, 10)
    assert done.signal == "SIGSEGV"


def test_standard_input_is_empty(tmp_path):
    assert run_process(["cat"], tmp_path, 10).returncode == 0


def test_environment_is_the_given_one(tmp_path):
    done = run_process([*SH, "echo $ONE"], tmp_path, 10, {"ONE": "1"})
    assert done.stdout == "1\n"


def test_missing_program_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError):
        run_process(["/no/such/program"], tmp_path, 10)


def test_deadline_kills_grandchildren(tmp_path):
    start = time.monotonic()
    done = run_process([*SH, "sleep 60 & echo $! > pid; wait"], tmp_path, 0.3)
    assert done.timed_out
    assert time.monotonic() - start < 3
    assert eventually(lambda: not alive(pid_in(tmp_path / "pid")))


def test_deadline_kills_what_ignores_sigterm(tmp_path):
    script = "trap '' TERM; while :; do sleep 0.05; done"
    done = run_process([*SH, script], tmp_path, 0.3)
    assert done.timed_out
    assert done.signal == "SIGKILL"


def test_leftovers_of_a_program_that_ended_are_killed(tmp_path):
    done = run_process([*SH, "sleep 60 & echo $! > pid"], tmp_path, 10)
    assert done.returncode == 0
    assert eventually(lambda: not alive(pid_in(tmp_path / "pid")))


def test_the_end_is_seen_at_once(tmp_path):
    fastest = min(run_process(["true"], tmp_path, 10).seconds for _ in range(20))
    assert fastest < 0.02


def test_without_pidfd(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    assert run_process([*SH, "exit 4"], tmp_path, 10).returncode == 4
    assert run_process(["sleep", "60"], tmp_path, 0.2).timed_out


def test_keyboard_interrupt_kills_the_group(tmp_path, monkeypatch):
    def interrupted(*_args):
        pid_in(tmp_path / "pid")
        raise KeyboardInterrupt

    monkeypatch.setattr(process, "_ended", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_process([*SH, "sleep 60 & echo $! > pid; wait"], tmp_path, 60)
    assert eventually(lambda: not alive(pid_in(tmp_path / "pid")))


def test_kill_running_ends_calls_in_other_threads(tmp_path):
    done = []
    thread = threading.Thread(
        target=lambda: done.append(run_process(["sleep", "60"], tmp_path, 60))
    )
    thread.start()
    assert eventually(lambda: bool(process._running))
    kill_running()
    thread.join(5)
    assert done[0].signal == "SIGKILL"
    assert not done[0].timed_out


def test_kill_running_may_spare_other_threads(tmp_path):
    done = {}
    threads = {}
    for name in ("spared", "killed"):
        (tmp_path / name).mkdir()
        threads[name] = threading.Thread(
            target=lambda n: done.update({n: run_process(["sleep", "2"], tmp_path / n, 60)}),
            args=(name,),
        )
        threads[name].start()
    assert eventually(lambda: len(process._running) == 2)
    kill_running({threads["killed"].ident})
    for thread in threads.values():
        thread.join(10)
    assert done["killed"].signal == "SIGKILL"
    assert done["spared"].returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="limits are set from outside, on Linux only")
def test_limits(tmp_path):
    # limits are set a moment after the start: a program that is faster escapes them
    script = "sleep 0.2; exec head -c 3000000 /dev/zero > big"
    big = run_process([*SH, script], tmp_path, 10, file_size=1 << 20)
    assert big.signal == "SIGXFSZ"
    assert (tmp_path / "big").stat().st_size <= 1 << 20
    hungry = [sys.executable, "-c", "import time; time.sleep(0.2); x = bytearray(3 << 30)"]
    assert "MemoryError" in run_process(hungry, tmp_path, 20, memory=2 << 30).stderr


PARENT = """
import sys, threading
from pathlib import Path
from m3eda.simulate.process import run_process

def run(number):
    script = f"sleep 60 & echo $! > pid{number}; wait"
    run_process(["/bin/sh", "-c", script], Path(sys.argv[1]), 60, stem=f"p{number}")

for number in range(2):
    threading.Thread(target=run, args=(number,)).start()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_killed_parent(tmp_path, how):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)])
    try:
        pids = [pid_in(tmp_path / f"pid{number}") for number in range(2)]
        settle()
        assert all(alive(pid) for pid in pids)
    finally:
        parent.send_signal(how)
        parent.wait(10)
    assert eventually(lambda: not any(alive(pid) for pid in pids))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # 3.12, where threads run
def test_a_forked_worker_is_guarded_by_itself(tmp_path):
    run_process(["true"], tmp_path, 10)
    child = os.fork()
    if child == 0:
        run_process([*SH, "sleep 60 & echo $! > pid; wait"], tmp_path, 60, stem="forked")
        os._exit(0)
    pid = pid_in(tmp_path / "pid")
    settle()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert eventually(lambda: not alive(pid))
