"""The contract of the command line for people and Makefiles, on real ngspice."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from m3eda.ledger import Ledger
from tests.conftest import ROOT
from tests.helpers import RC, changed, m3eda, trials, write_rc

pytestmark = pytest.mark.simulator


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run that met its specs, and what the command said. Nobody may change it."""
    rc = write_rc(tmp_path_factory.mktemp("finished"))
    size = ("size", "design.yaml", "-o", "out/../sized.cir", "--jobs", 2)
    done = m3eda(*size, cwd=rc, M3EDA_CACHE_SIZE="0")
    assert done.returncode == 0, done.stderr
    return rc, done


def test_size_meets_the_specs_and_writes_everything(finished):
    rc, done = finished
    run = rc / "runs" / "rc"
    names = {path.name for path in run.iterdir()}
    assert {"ledger.sqlite", "sizing.json", "rc.cir", "rc.param", "specs.txt", "specs.md"} <= names
    assert "all specs met" in done.stdout
    data = json.loads((run / "sizing.json").read_text())
    assert data["met"] is True
    r, c = data["sizing"]["r"], data["sizing"]["c"]
    assert abs(1 / (2 * 3.141592653589793 * r * c) - 10e3) < 250  # the measure interpolates a grid
    assert f"r1 in out {r:g}" in (rc / "sized.cir").read_text()


def test_the_sized_netlist_runs_as_it_is(finished, tmp_path):
    rc, _ = finished
    text = (rc / "sized.cir").read_text()
    probe = ".control\nrun\nmeas ac far find vm(out) at=1meg\nquit 0\n.endc\n.end\n"
    (tmp_path / "probe.cir").write_text(re.sub(r"\.end\s*$", probe, text))
    done = subprocess.run(
        ["ngspice", "-b", "probe.cir"], cwd=tmp_path, capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
    found = re.search(r"far\s*=\s*(\S+)", done.stdout)
    data = json.loads((rc / "runs" / "rc" / "sizing.json").read_text())
    assert found, done.stdout + done.stderr
    assert float(found[1]) == pytest.approx(data["measures"]["far"]["value"], rel=1e-5)


def test_specs_not_met_is_1_and_leaves_the_output_alone(rc):
    changed(rc, "far: {max: 0.011}", "far: {max: 1u}")
    done = m3eda("size", "design.yaml", "-o", "sized.cir", "--budget", 5, cwd=rc)
    assert done.returncode == 1
    assert not (rc / "sized.cir").exists()
    kept = m3eda("size", "design.yaml", "-o", "sized.cir", "--budget", 5, "--keep-best", cwd=rc)
    assert kept.returncode == 1
    assert (rc / "sized.cir").exists()


def test_a_stream_has_one_line_a_trial(rc):
    done = m3eda("size", "design.yaml", "--stream", cwd=rc)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["number"] for line in lines[:-1]] == list(range(len(lines) - 1))
    assert lines[-1]["met"] is True
    assert len(lines) > 2


def test_quiet_says_nothing(rc):
    done = m3eda("size", "design.yaml", "--quiet", cwd=rc)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_nothing_is_coloured_or_drawn_in_a_pipe(finished):
    _, done = finished
    assert "\x1b" not in done.stdout + done.stderr


def test_a_second_call_simulates_nothing_and_touches_nothing(rc):
    m3eda("size", "design.yaml", "-o", "sized.cir", cwd=rc)
    files = [rc / "sized.cir", *(rc / "runs" / "rc").glob("rc*"), rc / "runs/rc/sizing.json"]
    before = {path: path.stat().st_mtime_ns for path in files}
    done = m3eda("size", "design.yaml", "-o", "sized.cir", "--json", cwd=rc)
    data = json.loads(done.stdout)  # it is alone on stdout
    assert data["run"]["new_simulations"] == 0
    assert data["met"] is True
    assert str(rc / "runs" / "rc" / "sizing.json") in data["paths"]
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_the_same_seed_gives_the_same_result_with_1_and_4_jobs(rc):
    common = ("size", "design.yaml", "--batch", 2, "--run-dir")
    one = m3eda(*common, "one", cwd=rc)
    four = m3eda(*common, "four", "--jobs", 4, cwd=rc, PYTHONHASHSEED="4")
    assert one.returncode == four.returncode == 0
    assert (rc / "one/sizing.json").read_text() == (rc / "four/sizing.json").read_text()
    with Ledger(rc / "one", read_only=True) as a, Ledger(rc / "four", read_only=True) as b:
        assert [t.sizing for t in a.trials(1)] == [t.sizing for t in b.trials(1)]


def test_a_killed_run_goes_on_with_nothing_lost(rc):
    changed(rc, "far: {max: 0.011}", "far: {max: 1u}")
    changed(rc, "budget: 400", "budget: 30")
    whole = m3eda("size", "design.yaml", "--run-dir", "whole", "--json", cwd=rc)
    child = subprocess.Popen(
        [sys.executable, "-m", "m3eda", "size", "design.yaml", "--run-dir", "cut", "--stream"],
        cwd=rc, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    with child.stdout:
        told = [next(child.stdout) for _ in range(10)]
        child.send_signal(signal.SIGKILL)
    child.wait(timeout=20)
    with Ledger(rc / "cut", read_only=True) as ledger:
        stored = len(ledger.trials(1))
        simulated = ledger.count_simulations()
    assert len(told) <= stored <= simulated <= stored + 1
    resumed = m3eda("size", "design.yaml", "--run-dir", "cut", "--resume", "--json", cwd=rc)
    assert resumed.returncode == whole.returncode == 1
    assert json.loads(resumed.stdout)["run"]["new_simulations"] == 30 - stored
    assert (rc / "cut/sizing.json").read_text() == (rc / "whole/sizing.json").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_the_best_and_says_how_to_go_on(rc, number):
    changed(rc, "far: {max: 0.011}", "far: {max: 1u}")
    child = subprocess.Popen(
        [sys.executable, "-m", "m3eda", "size", "design.yaml", "--stream", "--jobs", "2"],
        cwd=rc, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    for _ in range(5):
        child.stdout.readline()
    child.send_signal(number)
    out, err = child.communicate(timeout=30)
    assert child.returncode == 130, err
    assert "run the same command again" in err
    assert json.loads(out.splitlines()[-1])["met"] is False
    assert (rc / "runs" / "rc" / "sizing.json").exists()


def running_below(folder: Path) -> list[str]:
    """Processes whose working directory lies below `folder`, from /proc."""
    found = []
    for process in os.listdir("/proc"):
        link = Path("/proc", process, "cwd")
        try:
            if Path(os.readlink(link)).is_relative_to(folder):
                found.append((link.parent / "comm").read_text().strip())
        except OSError:  # it has ended, or is another user's
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs /proc")
def test_an_interruption_ends_long_simulations_at_once(rc):
    (rc / "rc.cir.j2").write_text(RC.replace(".ac dec 20 1 10meg", ".tran 1p 1000\n.ac dec 5 1 1k"))
    scratch = rc / "scratch"
    scratch.mkdir()
    child = subprocess.Popen(
        [sys.executable, "-m", "m3eda", "size", "design.yaml", "--batch", "2", "--jobs", "2"],
        cwd=rc, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env={**os.environ, "TMPDIR": str(scratch)},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    # the simulator's processes: workers with libngspice in them, or ngspice itself
    while len(running_below(scratch)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(running_below(scratch)) == 2
    time.sleep(0.5)
    began = time.monotonic()
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert running_below(scratch) == []
    assert child.returncode == 130


def test_a_dry_run_prints_decks_and_cost_and_runs_nothing(rc):
    done = m3eda("size", "design.yaml", "--dry-run", cwd=rc, PATH="/nonexistent")
    assert done.returncode == 0, done.stderr
    assert ".ac dec 20 1 10meg" in done.stdout
    assert "400 runs of ngspice" in done.stdout
    assert not (rc / "runs").exists()


def test_a_depfile_names_what_was_read(rc):
    (rc / "models.lib").write_text("* models\n.include inner.lib\n")
    (rc / "inner.lib").write_text("* inner\n")
    (rc / "rc.cir.j2").write_text(RC.replace("v1 in", '.include "models.lib"\nv1 in', 1))
    done = m3eda("size", "design.yaml", "-o", "sized.cir", "--depfile", "sized.d", cwd=rc)
    assert done.returncode == 0, done.stderr
    rule = (rc / "sized.d").read_text().partition("\n\n")[0]
    assert rule.startswith("sized.cir:")
    for name in ("design.yaml", "rc.cir.j2", "models.lib", "inner.lib"):
        assert name in rule


def test_changed_specs_learn_from_old_trials_with_resume(rc):
    changed(rc, "far: {max: 0.011}", "far: {max: 1u}")
    changed(rc, "budget: 400", "budget: 60")
    m3eda("size", "design.yaml", cwd=rc)
    changed(rc, "far: {max: 1u}", "far: {max: 0.9}")
    changed(rc, "tolerance: 200", "tolerance: 5k")
    done = m3eda("size", "design.yaml", "--resume", "--json", cwd=rc)
    data = json.loads(done.stdout)
    assert done.returncode == 0
    assert data["run"]["simulator_runs"] == 0


def test_a_fresh_run_sets_the_old_ledger_aside(rc):
    m3eda("size", "design.yaml", cwd=rc)
    done = m3eda("size", "design.yaml", "--fresh", "--json", cwd=rc)
    assert json.loads(done.stdout)["run"]["new_simulations"] > 0
    assert (rc / "runs" / "rc" / "ledger.old-1.sqlite").exists()


@pytest.mark.parametrize("form", ["text", "markdown", "json"])
def test_a_report_is_printed_again(finished, form):
    rc, _ = finished
    done = m3eda("report", "runs/rc", "--format", form, cwd=rc)
    assert done.returncode == 0
    assert "f3db" in done.stdout
    if form == "json":
        assert json.loads(done.stdout)["met"] is True


def test_check_prints_what_each_measure_gave(rc):
    done = m3eda("check", "design.yaml", "--set", "r=10k", "--set", "c=1n", cwd=rc)
    assert done.returncode == 0, done.stderr
    assert re.search(r"f3db\s+15\.9", done.stdout)
    data = json.loads(m3eda("check", "design.yaml", "--set", "r=10k", "--json", cwd=rc).stdout)
    assert data["state"] == "complete"


def test_check_tells_why_a_measure_is_absent(rc):
    (rc / "rc.cir.j2").write_text(RC.replace("10meg", "1meg"))
    done = m3eda("check", "design.yaml", "--set", "c=100p", "--set", "r=1k", cwd=rc)
    assert done.returncode == 0
    assert re.search(r"f3db\s+-\s+.*does not fall", done.stdout), done.stdout


def test_render_prints_the_deck(rc):
    done = m3eda("render", "design.yaml", "--set", "r=4.7k", "--set", "c=2.2n", cwd=rc)
    assert "r1 in out 4700\n" in done.stdout
    assert "c1 out 0 2.2e-09\n" in done.stdout


def test_schema_is_a_json_schema(tmp_path):
    done = m3eda("schema", cwd=tmp_path)
    data = json.loads(done.stdout)
    assert "parameters" in data["properties"]


def test_plugins_lists_the_built_ins(tmp_path):
    done = m3eda("plugins", cwd=tmp_path)
    assert "simulators: ngspice, ngspice-batch" in done.stdout
    assert "trust-region" in done.stdout


def test_the_installed_program_is_there():
    assert shutil.which("m3eda", path=str(Path(sys.executable).parent)), "pip install -e ."
    assert (ROOT / "pyproject.toml").exists()


def test_a_resumed_run_learns_no_more_when_what_it_learned_from_has_grown(rc):
    common = ("size", "design.yaml", "--agent", "cma", "--json", "--budget")
    hard = (rc / "design.yaml").read_text().replace("far: {max: 0.011}", "far: {max: 1u}")
    harder = hard.replace("far: {max: 1u}", "far: {max: 0.5u}")
    (rc / "design.yaml").write_text(hard)
    m3eda(*common, 12, cwd=rc)
    (rc / "design.yaml").write_text(harder)
    m3eda(*common, 14, "--resume", cwd=rc)
    second = trials(rc / "runs" / "rc", 2)
    assert len(second) == 14
    (rc / "design.yaml").write_text(hard)
    m3eda(*common, 20, cwd=rc)
    (rc / "design.yaml").write_text(harder)
    m3eda(*common, 16, "--resume", cwd=rc)
    assert len(trials(rc / "runs" / "rc")) == 20
    third = trials(rc / "runs" / "rc", 2)
    assert len(third) == 16
    assert third[:14] == second
