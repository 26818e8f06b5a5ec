"""m3eda dataset: what its points are, and that nothing which was paid for is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from m3eda.design.space import Space
from m3eda.errors import SimulatorBroken
from m3eda.flow import Execution, Project
from m3eda.learning import Plan, find_datasets, make_dataset, read_dataset
from m3eda.learning.journal import Journal, Row
from m3eda.learning.sampling import SAMPLINGS, Sampler
from tests.conftest import ROOT
from tests.helpers import m3eda, only_line, started
from tests.learning_samples import (
    CLOSED,
    CLOSED_FORM,
    DESIGN,
    TEMPLATE,
    corner_frequency,
    filter_project,
    write_filter,
)

BAD_INPUT, SIMULATOR, STORAGE = 2, 3, 4
simulator = pytest.mark.simulator


def contents(folder):
    """Every file of a dataset but the lock, which holds a process id."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


# ---- points ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_point_depends_on_seed_and_number_alone(tmp_path, sampling):
    design = filter_project(tmp_path).design
    corners = (design.nominal, *design.corners)

    def drawn(numbers, seed=5):
        sampler = Sampler(Space(design), corners, sampling, seed)
        return {n: (tuple(sampler.sizing(n).values()), sampler.corner(n)) for n in numbers}

    forwards = drawn(range(0, 4000, 7))
    assert drawn(reversed(forwards)) == forwards
    assert drawn([3500]) == {3500: forwards[3500]}
    assert drawn(forwards, seed=6) != forwards
    assert {corner for _, corner in forwards.values()} == {0, 1, 2}


def test_log_sampling_favours_no_decade(tmp_path):
    space = Space(filter_project(tmp_path).design)
    sampler = Sampler(space, (None,), "log", 1)
    n = np.array([sampler.sizing(number)["n"] for number in range(2048)])
    assert (n <= 3).mean() == pytest.approx(np.log(3.5) / np.log(9), abs=0.02)


@simulator
def test_columns_hold_what_was_simulated(tmp_path):
    project = filter_project(tmp_path, closed=False)
    made = make_dataset(project, tmp_path / "out", Plan(300, corners=True, rows=128))
    assert made.simulated == 300
    dataset = read_dataset(tmp_path / "out")
    assert (dataset.parameters, dataset.measures) == (("r", "c", "n"), ("f3db", "far", "double"))
    assert [len(part) for part in dataset.parts()] == [128, 128, 44]
    whole = dataset.whole()
    r, c, n = whole.parameters.T
    load = np.array([1e-9, 0.1e-9, 3e-9])[whole.corner]
    good = c <= 10e-9
    assert 20 < (~good).sum() < 60
    assert np.array_equal(whole.complete, good)
    assert np.isnan(whole.measures[~good, :2]).all()
    assert {dataset.states[code] for code in whole.state[~good]} == {"model missing"}
    assert all("rbroken" in reason for reason in np.array(whole.reasons)[~good])
    assert whole.measures[good, 0] == pytest.approx(corner_frequency(r, c + load)[good], rel=0.02)
    assert whole.measures[good, 2] == pytest.approx((2 * whole.measures[:, 1] * n)[good])
    assert {corner.name for corner in dataset.corners} == {"nominal", "light", "heavy"}
    assert sorted(set(whole.corner)) == [0, 1, 2]
    space = Space(project.design)
    again = [tuple(space.sizing(x).values()) for x in whole.x]
    assert np.array(again) == pytest.approx(whole.parameters)
    columns = dataset.columns("far", "r")
    assert np.array_equal(columns["far"], whole.measures[:, 1], equal_nan=True)
    assert np.array_equal(columns["r"], r)


# ---- interruptions ---------------------------------------------------------------------------


class Stopped(Exception):
    pass


def test_a_dataset_stopped_again_and_again_is_that_of_one_go(tmp_path):
    project = filter_project(tmp_path)
    plan = Plan(150, rows=64, corners=True)
    make_dataset(project, tmp_path / "whole", plan)
    cut = tmp_path / "cut"
    counts = []

    def stop_after(limit):
        def heard(done, total, failed):
            counts.append(done)
            if done == limit:
                raise Stopped

        return heard

    for limit, torn in ((30, b"torn"), (64, b""), (101, b"\0" * 200)):
        with pytest.raises(Stopped):
            make_dataset(project, cut, plan, Execution(jobs=2), stop_after(limit))
        for path in cut.glob("*.journal"):
            path.write_bytes(path.read_bytes() + torn)
    made = make_dataset(project, cut, plan, Execution(jobs=2))
    assert made.simulated == 49
    assert counts == [*range(31), *range(30, 65), *range(64, 102)]
    assert contents(cut) == contents(tmp_path / "whole")


@simulator
def test_killed_and_gone_on_with_by_the_same_command(tmp_path):
    write_filter(tmp_path, closed=False)

    command = "dataset", "design.yaml", "--points", "400", "-o", "cut", "-j", "2"
    with started(*command, cwd=tmp_path) as child:
        journal = tmp_path / "cut/filter/no_technology/shard-00000.journal"
        while not journal.exists() or journal.stat().st_size < 2000:
            assert child.poll() is None
            time.sleep(0.005)
        child.kill()
    kept = journal.stat().st_size
    done = m3eda(*command, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [told] = json.loads(done.stdout)["datasets"]
    assert told["points"] == 400
    assert 0 < told["simulated"] <= 400 - kept // 65
    make_dataset(Project.load(tmp_path / "design.yaml"), tmp_path / "whole", Plan(400))
    assert contents(journal.parent) == contents(tmp_path / "whole")


def test_more_points_go_on_with_a_shard_that_was_ended_early(tmp_path):
    project = filter_project(tmp_path)
    for points in (40, 100, 30):
        made = make_dataset(project, tmp_path / "grown", Plan(points, rows=64))
    assert (made.simulated, made.manifest.points) == (0, 100)
    make_dataset(project, tmp_path / "whole", Plan(100, rows=64))
    assert contents(tmp_path / "grown") == contents(tmp_path / "whole")


def test_a_journal_drops_what_is_torn(tmp_path):
    path = tmp_path / "shard.journal"
    journal = Journal(path, 100, 2)
    rows = [Row((float(k), float("nan")), 1, 2, f"why {k % 2}") for k in range(5)]
    for row in rows:
        journal.append(row)
    journal.close()
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        journal = Journal(path, 100, 2)
        assert len(journal) == end * 5 // len(whole)
        journal.close()
    path.write_bytes(whole[:-20] + b"\0" * 20)
    journal = Journal(path, 100, 2)
    journal.append(rows[4])
    assert journal.columns().values[:, 0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert journal.columns().reason.tolist() == [1, 2, 1, 2, 1]
    journal.close()
    assert len(Journal(path, 0, 2)) == 0  # of another shard


# ---- what can be wrong -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "code", "message"),
    [
        (lambda f: f.unlink(), STORAGE, "shard-00000.npz: is missing; `m3eda dataset` with"),
        (lambda f: f.write_bytes(f.read_bytes()[:-9]), STORAGE, "shard-00000.npz: is damaged"),
    ],
)
def test_a_damaged_shard_is_named_and_repaired(tmp_path, here, broken, code, message):
    write_filter(tmp_path)
    command = ("dataset", "design.yaml", "--points", "40", "-o", "out")
    assert here(*command, "-q").returncode == 0
    folder = tmp_path / "out/filter/no_technology"
    before = contents(folder)
    broken(folder / "shard-00000.npz")
    done = here(*command)
    assert done.returncode == code
    assert message in only_line(done)
    done = here(*command, "--repair", "-q")
    assert (done.returncode, done.stdout) == (0, "")
    assert contents(folder) == before


def test_repair_leaves_no_hole_where_fewer_points_are_asked_for(tmp_path):
    project, folder = filter_project(tmp_path), tmp_path / "out"
    make_dataset(project, folder, Plan(50, rows=20))
    before = contents(folder)
    for shard in ("shard-00000.npz", "shard-00002.npz"):
        (folder / shard).write_bytes(b"damaged")
        made = make_dataset(project, folder, Plan(5, rows=20, repair=True))
        assert made.manifest.points == 50
        assert contents(folder) == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("nowhere.yaml", BAD_INPUT, "nowhere.yaml: cannot be read"),
        ("five_transistor_otter", BAD_INPUT, "five_transistor_ota"),
        ("five_transistor_ota --technology generic3", BAD_INPUT, "generic3"),
        ("design.yaml --technology generic45", BAD_INPUT, "--technology is for circuits of"),
        ("design.yaml design.yaml", BAD_INPUT, "another design here is called filter"),
        ("design.yaml --sampling grid", BAD_INPUT, "'grid' is not one of"),
        ("design.yaml --points 0", BAD_INPUT, "0 is not in the range"),
        ("design.yaml --points 9999999999", BAD_INPUT, "are too many"),
        ("plain.yaml --corners", BAD_INPUT, "filter has no corners"),
        ("frozen.yaml", BAD_INPUT, "filter has no free parameter"),
        ("design.yaml -o design.yaml", BAD_INPUT, "is a file"),
        ("design.yaml -o /dev/null/there", STORAGE, "/dev/null/there"),
        ("design.yaml -o half", STORAGE, "manifest.json: is damaged"),
        ("design.yaml -o newer", BAD_INPUT, "is of format 9, this version of m3eda reads 1"),
        ("design.yaml -o lost", STORAGE, "manifest.json: is missing, though there is shard-0"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(tmp_path, here, arguments, code, message):
    write_filter(tmp_path)
    plain = DESIGN.partition("corners:")[0]
    (tmp_path / "plain.yaml").write_text(plain)
    frozen = plain.replace("{min: 1k, max: 100k, series: E24, unit: Ohm}", "{value: 1k}")
    frozen = frozen.replace("{min: 100p, max: 20n, scale: log, unit: F}", "{value: 1n}")
    (tmp_path / "frozen.yaml").write_text(frozen.replace("{min: 1, max: 9, step: 1}", "{value: 1}"))
    for name, file, text in (
        ("half", "manifest.json", '{"format": 1, "par'),
        ("newer", "manifest.json", '{"format": 9}'),
        ("lost", "shard-00000.npz", "x"),
    ):
        folder = tmp_path / name / "filter/no_technology"
        folder.mkdir(parents=True)
        (folder / file).write_text(text)
    out = () if "-o" in arguments else ("-o", "out")
    done = here("dataset", *arguments.split(), *out)
    assert done.returncode == code, done.stderr
    assert message in only_line(done)


@pytest.mark.simulator
def test_a_technology_of_ones_own_has_its_own_folder(tmp_path, here):
    shipped = ROOT / "templates" / "technologies" / "generic45"
    own = Path(shutil.copytree(shipped, tmp_path / "pdk")) / "technology.yaml"
    command = ("dataset", "five_transistor_ota", "--points", "2", "-o", "out", "-q")
    for technology in ("generic45", str(own)):
        done = here(*command, "--technology", technology)
        assert done.returncode == 0, done.stderr
    folders = {path.parent.name for path in (tmp_path / "out").rglob("manifest.json")}
    assert folders == {"generic45", "generic45_own"}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("max: 20n", "max: 30n", "parameters.c.maximum: is 2e-08 in this dataset, and now 3e-08"),
        ("min: 100p", "min: 1n", "parameters.c.minimum"),
        ("cload: 1n}", "cload: 2n}", "conditions.cload"),
        ("double: {expr: 2", "double: {expr: 3", "measures.double.expr"),
    ],
)
def test_another_design_is_not_mixed_in(tmp_path, here, before, after, message):
    path = write_filter(tmp_path)
    command = ("dataset", "design.yaml", "--points", "5", "-o", "out", "-q")
    assert here(*command).returncode == 0
    path.write_text(path.read_text().replace("{min: 10k}", "{min: 20k}"))
    assert here(*command).returncode == 0, "specs decide no point"
    path.write_text((DESIGN + CLOSED).replace(before, after))
    done = here(*command)
    assert done.returncode == BAD_INPUT
    assert message in only_line(done)
    path.write_text(DESIGN + CLOSED)
    done = here(*command, "--seed", "2")
    assert "seed: is 1 in this dataset, and now 2 (take another --out" in only_line(done)


def test_a_changed_netlist_is_another_design(tmp_path, here):
    write_filter(tmp_path)
    command = ("dataset", "design.yaml", "--points", "5", "-o", "out", "-q")
    assert here(*command).returncode == 0
    (tmp_path / "filter.cir.j2").write_text(TEMPLATE.replace("dec 10", "dec 20"))
    assert "design: is " in only_line(here(*command))


def test_a_design_that_always_fails_ends_early(tmp_path):
    project = filter_project(tmp_path)
    (tmp_path / "solve.py").write_text(CLOSED_FORM.replace("> 10e-9", "> 0"))
    for _ in range(2):
        with pytest.raises(SimulatorBroken, match="points failed, the last with crash") as e:
            make_dataset(project, tmp_path / "out", Plan(400))
        assert e.value.exit_code == SIMULATOR


def test_a_full_disk_loses_nothing(tmp_path, disk):
    write_filter(tmp_path)
    command = ("dataset", "design.yaml", "--points", "3000", "-o", str(disk), "-q")
    (disk / "big").write_bytes(b"x" * 100_000)
    done = m3eda(*command, cwd=tmp_path)
    assert done.returncode == STORAGE
    assert only_line(done).endswith("cannot be written: the disk is full")
    (disk / "big").unlink()
    done = m3eda(*command, "--points", "500", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["datasets"][0]["simulated"] < 500
    assert len(read_dataset(disk).whole()) >= 500


def test_only_one_process_makes_a_dataset(tmp_path, here):
    write_filter(tmp_path)
    folder = tmp_path / "out/filter/no_technology"
    folder.mkdir(parents=True)
    program = "import fcntl; fcntl.flock(open('lock', 'w'), 2); print(); input()"
    holder = subprocess.Popen(
        [sys.executable, "-uc", program.replace("open(", "f := open(")],
        cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        done = here("dataset", "design.yaml", "-o", "out")
        holder.kill()
    assert done.returncode == STORAGE
    assert "makes this dataset" in only_line(done)


def test_datasets_are_found_below_a_folder(tmp_path):
    project = filter_project(tmp_path)
    make_dataset(project, tmp_path / "all/one", Plan(3))
    assert read_dataset(tmp_path / "all").circuit == "filter"
    shutil.copytree(tmp_path / "all/one", tmp_path / "all/two")
    assert [path.name for path in find_datasets(tmp_path / "all")] == ["one", "two"]
    with pytest.raises(Exception, match="name one of one, two"):
        read_dataset(tmp_path / "all")
    with pytest.raises(Exception, match="there is no dataset"):
        read_dataset(tmp_path / "none")
    with pytest.raises(Exception, match="no column is called 'gain'"):
        read_dataset(tmp_path / "all/one").columns("gain")
