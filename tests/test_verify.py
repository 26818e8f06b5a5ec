"""`m3eda verify`: one sizing at every corner, against every spec."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from m3eda.design.snapshot import design_hash, dump, restore
from m3eda.design.types import Signoff
from m3eda.errors import DesignError
from m3eda.flow import Execution, Project
from m3eda.signoff.verify import chosen_corners, misses, verify
from tests.helpers import changed, m3eda, only_line
from tests.learning_samples import write_filter

GOOD = {"r": 1000.0, "c": 1e-9, "n": 1.0}
"""79.6 kHz at 2 nF, 145 kHz light, 39.8 kHz heavy."""


def pole(c: float, r: float = 1000.0) -> float:
    return 1.0 / (2.0 * math.pi * r * c)


def verified(path, sizing, names=()):
    project = Project.load(path)
    corners = chosen_corners(project.design, names)
    return project, verify(project, sizing, corners, Execution(cache=False), path.parent / "run")


def set_to(*words: str) -> list[str]:
    return [part for word in words for part in ("--set", word)]


def test_every_corner_is_simulated_and_the_worst_is_what_counts(tmp_path):
    project, trial = verified(write_filter(tmp_path, closed=True), GOOD)
    assert list(trial.results) == ["nominal", "light", "heavy"]
    for name, load in (("nominal", 1e-9), ("light", 0.1e-9), ("heavy", 3e-9)):
        assert trial.results[name].measures["f3db"] == pytest.approx(pole(1e-9 + load), rel=0.02)
    assert trial.worst["f3db"] == trial.results["heavy"].measures["f3db"]
    # 1 MHz is attenuated least with the lightest load: 0.144
    assert not trial.met
    assert {(miss.corner, miss.measure) for miss in misses(project.design, trial)} == {
        ("light", "far")
    }


def test_exit_codes_are_those_of_make(tmp_path):
    path = write_filter(tmp_path, closed=True)
    good = m3eda("verify", path, *set_to("r=1k", "c=2n", "n=1"), "--sizing", given(tmp_path),
                 cwd=tmp_path)  # fmt: skip
    assert good.returncode == 0, good.stderr
    assert "filter: every spec holds at 3 corners" in good.stdout
    bad = m3eda("verify", path, "--sizing", given(tmp_path), cwd=tmp_path)
    assert bad.returncode == 1
    assert "filter: fails at 1 of 3 corners" in bad.stdout
    assert "light" in bad.stdout.splitlines()[-1]


def given(folder):
    path = folder / "own.json"
    path.write_text(json.dumps({"sizing": GOOD}))
    return path


def test_the_limits_of_a_corner_count_there(tmp_path):
    path = write_filter(tmp_path, closed=True)
    changed(tmp_path, "far: {max: 0.1}", "far: {max: 0.1, corners: {light: {max: 0.2}}}")
    done = m3eda("verify", path, "--sizing", given(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_last_run_is_what_is_verified(tmp_path):
    path = write_filter(tmp_path, closed=True)
    assert m3eda("size", path, "-q", cwd=tmp_path).returncode == 0
    done = m3eda("verify", path, "--format", "json", cwd=tmp_path)
    found = json.loads(done.stdout)
    kept = json.loads((tmp_path / "runs" / "filter" / "sizing.json").read_text())
    assert found["sizing"] == kept["sizing"]
    assert found["met"] == (done.returncode == 0)
    assert set(found["corners"]) == {"nominal", "light", "heavy"}


def test_markdown_is_for_a_report(tmp_path):
    path = write_filter(tmp_path, closed=True)
    done = m3eda("verify", path, "--sizing", given(tmp_path), "--format", "markdown", cwd=tmp_path)
    assert "| spec | wanted |" in done.stdout
    assert "| light | far |" in done.stdout


def test_a_corner_that_cannot_be_simulated_fails_with_its_reason(tmp_path):
    path = write_filter(tmp_path, closed=True)
    done = m3eda("verify", path, *set_to("c=15n"), "--sizing", given(tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    assert "fails at 3 of 3 corners" in done.stdout
    assert "rbroken" in done.stdout


def test_what_was_simulated_is_not_simulated_again(tmp_path, monkeypatch):
    path = write_filter(tmp_path, closed=True)
    verified(path, GOOD, ["heavy"])
    _, again = verified(path, GOOD)
    assert again.results["heavy"].runs == 0
    assert again.results["light"].runs == 1


def test_only_the_corners_that_are_named(tmp_path):
    path = write_filter(tmp_path, closed=True)
    done = m3eda("verify", path, "--corner", "heavy", "--sizing", given(tmp_path), cwd=tmp_path)
    assert done.returncode == 0
    assert "every spec holds at 1 corner" in done.stdout


def test_bad_input_is_one_line(tmp_path):
    path = write_filter(tmp_path, closed=True)
    done = m3eda("verify", path, cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no sizing to verify" in only_line(done)
    done = m3eda("verify", path, "--corner", "hevy", "--sizing", given(tmp_path), cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean heavy" in only_line(done)
    with pytest.raises(DesignError, match="no corner is called 'x'"):
        chosen_corners(Project.load(path).design, ["x"])


def test_a_design_without_corners_says_so(tmp_path):
    path = write_filter(tmp_path, closed=True)
    text = path.read_text()
    path.write_text("".join(line for line in text.splitlines(True) if "corners:" not in line))
    done = m3eda("verify", path, "--sizing", given(tmp_path), cwd=tmp_path)
    assert done.returncode == 0
    assert "has no corners" in done.stdout


@pytest.mark.simulator
def test_process_supply_and_temperature_on_real_ngspice(tmp_path):
    assert m3eda("new", "five_transistor_ota", "own", cwd=tmp_path).returncode == 0
    path = tmp_path / "own" / "design.yaml"
    project = Project.load(path)
    known = [corner.name for corner in project.design.corners]
    assert len(known) == 45
    slow = next(name for name in known if name.startswith("ss_vdd1.6") and "temp125" in name)
    fast = next(name for name in known if name.startswith("ff_vdd2") and "temp-40" in name)
    names = ["nominal", slow, fast]
    corners = chosen_corners(project.design, names)
    trial = verify(project, project.nominal_sizing(), corners, Execution(cache=False, jobs=2),
                   tmp_path / "run")  # fmt: skip
    ugbw = {name: result.measures["ugbw"] for name, result in trial.results.items()}
    assert ugbw[slow] < ugbw["nominal"] < ugbw[fast]


def test_sizing_at_corners_counts_the_worst(tmp_path):
    path = write_filter(tmp_path, closed=True)
    done = m3eda("size", path, "--corner", "heavy", "--corner", "light", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert set(found["corners"]) == {"nominal", "light", "heavy"}
    assert m3eda("verify", path, cwd=tmp_path).returncode == 0
    every = m3eda("size", path, "--corner", "all", "--json", cwd=tmp_path)
    assert json.loads(every.stdout)["sizing"] == found["sizing"]
    # another recipe than that of the nominal corner alone: nothing is mixed
    alone = m3eda("size", path, "--json", cwd=tmp_path)
    assert set(json.loads(alone.stdout)["corners"]) == {"nominal"}
    report = m3eda("report", "runs/filter", "--format", "json", cwd=tmp_path)
    assert set(json.loads(report.stdout)["corners"]) == {"nominal"}


def test_a_design_that_is_sized_at_its_nominal_corner_keeps_its_hash(tmp_path):
    design = Project.load(write_filter(tmp_path, closed=True)).design
    assert design_hash(replace(design, signoff=Signoff(("heavy",))), []) != design_hash(design, [])
    assert restore(dump(replace(design, signoff=Signoff(("heavy",))))).signoff.corners == ("heavy",)
    old = json.loads(dump(design))
    del old["signoff"]
    assert restore(json.dumps(old)) == design


def test_sizing_at_a_corner_that_is_none(tmp_path):
    path = write_filter(tmp_path, closed=True)
    done = m3eda("size", path, "--corner", "hevy", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean heavy" in only_line(done)
    done = m3eda("size", path, "--corner", "all", "--dry-run", cwd=tmp_path)
    assert "x 3 corners = 1500 runs" in done.stdout
