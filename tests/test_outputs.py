"""Files that a run leaves: whole or not there, untouched where nothing changed, known to make."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from m3eda.errors import StorageError
from m3eda.report import atomic, text
from m3eda.report.atomic import make_directory, write_atomic
from m3eda.report.depfile import depfile_text, write_depfile
from m3eda.report.package import file_stem, param_include, with_provenance, write_outputs
from tests.report_samples import (
    NETLIST,
    failed_trial,
    good_trial,
    missing_measure_trial,
    sample_design,
    sample_summary,
)

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).parent.parent
LONG_AGO = 1_000_000_000


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def age(*paths: Path) -> None:
    for path in paths:
        os.utime(path, (LONG_AGO, LONG_AGO))


def is_aged(path: Path) -> bool:
    return path.stat().st_mtime == LONG_AGO


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 64 kB with one block left."""
    mount = tmp_path / "tiny"
    mount.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64k", "none", str(mount)]
    done = subprocess.run(["mount", *options], capture_output=True, text=True, timeout=10)
    if done.returncode:
        pytest.skip(f"a file system of its own cannot be mounted here: {done.stderr.strip()}")
    (mount / "filler").write_bytes(bytes(60 * 1024))
    yield mount
    subprocess.run(["umount", str(mount)], check=True, timeout=10)


@pytest.fixture
def read_only_disk(tmp_path):
    """A file system mounted read-only, which refuses even root."""
    mount = tmp_path / "fixed"
    mount.mkdir()
    options = ["-t", "tmpfs", "-o", "ro,size=64k", "none", str(mount)]
    done = subprocess.run(["mount", *options], capture_output=True, text=True, timeout=10)
    if done.returncode:
        pytest.skip(f"a file system of its own cannot be mounted here: {done.stderr.strip()}")
    yield mount
    subprocess.run(["umount", str(mount)], check=True, timeout=10)


# One file


def test_new_file_takes_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        assert write_atomic(tmp_path / "a", "text µ\n")
    finally:
        os.umask(before)
    assert (tmp_path / "a").read_bytes() == "text µ\n".encode()
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_replaced_file_keeps_its_mode(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o604)
    assert write_atomic(path, "new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o604)
    assert names(tmp_path) == {"a"}


def test_same_content_keeps_its_time(tmp_path):
    path = tmp_path / "a"
    write_atomic(path, "same")
    age(path)
    assert not write_atomic(path, b"same")
    assert is_aged(path)


def test_content_of_the_same_length_is_still_compared(tmp_path):
    path = tmp_path / "a"
    write_atomic(path, "one")
    assert write_atomic(path, "two")
    assert path.read_text() == "two"


def test_symbolic_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_atomic(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_link_to_a_file_that_is_not_there_yet_makes_it(tmp_path):
    (tmp_path / "link").symlink_to("real")
    write_atomic(tmp_path / "link", "new")
    assert (tmp_path / "real").read_text() == "new"


def test_device_is_written_to_and_stays_a_device():
    assert write_atomic(Path("/dev/null"), "nothing")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_longest_name_can_be_written(tmp_path):
    path = tmp_path / ("n" * 255)
    assert write_atomic(path, "x")


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("missing/a", "no directory "),
        ("file/a", "Not a directory"),
        ("folder", "it is a directory"),
        ("n" * 256, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_told_in_one_line(tmp_path, name, cause):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match=re.escape(f"{name}: cannot be written: {cause}")) as e:
        write_atomic(tmp_path / name, "x")
    assert "\n" not in str(e.value)
    assert names(tmp_path) == {"file", "folder"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_directory_without_permission(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(StorageError, match="Permission denied"):
        write_atomic(tmp_path / "a", "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_file_is_not_replaced(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "a").chmod(0o444)
    with pytest.raises(StorageError, match="it is read-only"):
        write_atomic(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"


def test_read_only_file_system(read_only_disk):
    with pytest.raises(StorageError, match="run: cannot be written: Read-only file system"):
        make_directory(read_only_disk / "run")
    with pytest.raises(StorageError, match="a: cannot be written: Read-only file system"):
        write_atomic(read_only_disk / "a", "x")


def test_full_disk_leaves_the_old_file_whole(tiny_disk):
    path = tiny_disk / "kept"
    write_atomic(path, "old")
    with pytest.raises(StorageError, match="kept: cannot be written: the disk is full"):
        write_atomic(path, "new" * 10_000)
    assert path.read_text() == "old"
    assert names(tiny_disk) == {"filler", "kept"}


def test_full_device_is_told():
    with pytest.raises(StorageError, match="/dev/full: cannot be written: the disk is full"):
        write_atomic(Path("/dev/full"), "x")


def test_interrupt_while_writing_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(descriptor):
        raise KeyboardInterrupt

    (tmp_path / "a").write_text("old")
    monkeypatch.setattr(atomic.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "a", "new")
    assert names(tmp_path) == {"a"}
    assert (tmp_path / "a").read_text() == "old"


WRITER = """
import sys
from pathlib import Path
from m3eda.report.atomic import write_atomic
path, n = Path(sys.argv[1]), 0
while True:
    write_atomic(path, f"{n}\\n" * 20_000 + "end\\n")
    n += 1
    if n == 2:
        sys.stdout.write("going\\n"); sys.stdout.flush()
"""


def assert_whole(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[-1] == "end"
    assert len(lines) == 20_001
    assert len(set(lines[:-1])) == 1


@pytest.mark.parametrize("reads", [0, 1, 7, 50])
def test_file_is_whole_while_it_is_written_and_after_the_writer_was_killed(tmp_path, reads):
    path = tmp_path / "a"
    argv = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT) as writer:
        try:
            assert writer.stdout.readline() == b"going\n"
            for _ in range(reads):
                assert_whole(path)
        finally:
            writer.send_signal(signal.SIGKILL)
    assert_whole(path)


# What a run leaves


def test_netlist_carries_its_origin_below_the_title(monkeypatch):
    monkeypatch.setattr(text, "__version__", "0.0.0")
    monkeypatch.setattr(text.platform, "python_version", lambda: "3.x")
    summary = sample_summary(failed_trial(0), missing_measure_trial(1), good_trial(2))
    golden = (GOLDEN / "report_netlist.cir").read_text()
    assert with_provenance(NETLIST, summary) == golden
    assert param_include(summary) == (GOLDEN / "report_params.param").read_text()


@pytest.mark.parametrize(
    ("netlist", "head"),
    [
        ("title\nr1 a b 1\n", "title\n* Sized"),
        ("title", "title\n* Sized"),
        (".subckt amp in\n+ out vdd\nm1 a b\n", ".subckt amp in\n+ out vdd\n* Sized"),
        ("title\r\nr1 a b 1\r\n", "title\r\n* Sized"),
        ("", "* Sized"),
    ],
)
def test_first_line_stays_first(netlist, head):
    sized = with_provenance(netlist, sample_summary(good_trial()))
    assert sized.startswith(head)
    comments = sized.removeprefix(head).split("\n")
    assert "".join(netlist.splitlines(keepends=True)[2:]) in sized
    assert any(line.startswith("* gain") for line in comments)


def test_every_line_of_the_origin_is_an_ascii_comment():
    design = sample_design(name="zwölf µV\nr1 0 1 1")
    sized = with_provenance("t\n", sample_summary(good_trial(), design=design))
    assert sized.isascii()
    assert all(line.startswith("*") for line in sized.splitlines()[1:])


def test_all_files_of_a_run(tmp_path):
    summary = sample_summary(good_trial(2))
    decks = {"ac": "ac deck\n.end\n", "step": "step deck\n.end\n"}
    written = write_outputs(
        tmp_path / "runs" / "x", summary, decks, NETLIST, output=tmp_path / "amp.cir"
    )
    run_files = {"sizing.json", "specs.txt", "specs.md", "two_stage.cir", "two_stage.param"}
    run_files |= {"two_stage_ac.cir", "two_stage_step.cir"}
    assert names(tmp_path / "runs" / "x") == run_files
    assert set(written.paths) == {tmp_path / "runs" / "x" / n for n in run_files} | {
        tmp_path / "amp.cir"
    }
    assert written.changed == written.paths
    assert written.output == tmp_path / "amp.cir"
    assert (tmp_path / "amp.cir").read_text() == with_provenance(NETLIST, summary)
    assert json.loads((tmp_path / "runs/x/sizing.json").read_text())["sizing"]["w_in"] == 1.2e-6


def test_the_same_result_leaves_every_file_untouched(tmp_path):
    def write(**changes):
        summary = sample_summary(good_trial(2), **changes)
        return write_outputs(
            tmp_path, summary, {"ac": "ac\n"}, NETLIST, output=tmp_path / "o.cir"
        )  # fmt: skip

    first = write(seconds=4.2)
    age(*first.paths)
    again = write(seconds=0.1, simulations=0)
    assert again.changed == ()
    assert again.paths == first.paths
    assert all(is_aged(path) for path in again.paths)


def test_more_trials_with_the_same_best_touch_the_counts_alone(tmp_path):
    write_outputs(tmp_path, sample_summary(good_trial(0)), {}, NETLIST)
    more = sample_summary(good_trial(0), failed_trial(1))
    assert write_outputs(tmp_path, more, {}, NETLIST).changed == (tmp_path / "sizing.json",)


@pytest.mark.parametrize("keep_best", [False, True])
def test_output_where_specs_are_not_met(tmp_path, keep_best):
    summary = sample_summary(missing_measure_trial())
    output = tmp_path / "amp.cir"
    written = write_outputs(
        tmp_path / "run", summary, {}, NETLIST, output=output, keep_best=keep_best
    )
    assert output.exists() is keep_best
    assert written.output == (output if keep_best else None)
    assert "SPECS NOT MET (2 of 5)" in (tmp_path / "run" / "two_stage.cir").read_text()


def test_earlier_output_stays_where_specs_are_not_met(tmp_path):
    output = tmp_path / "amp.cir"
    output.write_text("earlier")
    write_outputs(tmp_path / "run", sample_summary(failed_trial()), {}, NETLIST, output=output)
    assert output.read_text() == "earlier"


def test_without_any_trial_there_is_no_netlist(tmp_path):
    written = write_outputs(
        tmp_path, sample_summary(), {}, "", output=tmp_path / "o.cir", keep_best=True
    )
    assert names(tmp_path) == {"sizing.json", "specs.txt", "specs.md"}
    assert written.output is None


def test_output_is_the_last_to_be_written(tiny_disk, tmp_path):
    output = tmp_path / "amp.cir"
    with pytest.raises(StorageError, match="the disk is full"):
        write_outputs(tiny_disk / "run", sample_summary(good_trial()), {}, NETLIST, output=output)
    assert not output.exists()
    assert not list(tiny_disk.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("name", "stem"),
    [("two_stage", "two_stage"), ("a b/c", "a_b_c"), ("../up", "_up"), ("..", "design")],
)
def test_file_names_stay_in_the_run_directory(name, stem):
    assert file_stem(name) == stem


@pytest.mark.simulator
def test_ngspice_reads_the_netlist_and_its_parameters(tmp_path):
    import shutil

    ngspice = shutil.which("ngspice")
    if ngspice is None:
        pytest.skip("ngspice is not installed")
    summary = sample_summary(good_trial())
    (tmp_path / "sizes.param").write_text(param_include(summary))
    deck = (
        "title\n.include sizes.param\nv1 a 0 {w_in * 1e6}\nr1 a 0 {rz}\n.op\n"
        ".control\nrun\nprint v(a) i(v1)\nquit 0\n.endc\n.end\n"
    )
    (tmp_path / "deck.cir").write_text(with_provenance(deck, summary))
    done = subprocess.run(
        [ngspice, "-b", "deck.cir"], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    found = {k: float(v) for k, v in re.findall(r"^(\S+) = (\S+)$", done.stdout, re.MULTILINE)}
    assert found["v(a)"] == pytest.approx(1.2, rel=1e-6)
    assert found["i(v1)"] == pytest.approx(-1.2 / 1100, rel=1e-6)


# Dependency files

NASTY = [
    "plain.cir", "two words.cir", "dollar$HOME.cir", "hash#1.cir", "col:on.cir", "per%cent.cir",
    "star*.cir", "quest?.cir", "brack[et].cir", "back\\slash.cir", "back\\ space.cir",
    "vdd=1.2.cir", "(paren).cir", "quote'\".cir", "amp&ersand|.cir",
    "~tilde", "-dash", "b\\#s", "@at", "+plus", "!x", "include",
    "ünï.cir",
]  # fmt: skip


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Real make on a Makefile that includes out.d; its recipe counts how often it ran."""
    (folder / "Makefile").write_text(
        "all: out\nout:\n\techo ran >> count; touch out\n-include out.d\n"
    )
    return subprocess.run(
        ["make", *arguments], cwd=folder, capture_output=True, text=True, timeout=20
    )


def runs(folder: Path) -> int:
    count = folder / "count"
    return len(count.read_text().splitlines()) if count.exists() else 0


@pytest.mark.parametrize("name", NASTY)
def test_make_rebuilds_after_a_prerequisite_changed(tmp_path, name):
    (tmp_path / name).write_text("")
    write_depfile(tmp_path / "out.d", ["out"], [name])
    assert make(tmp_path).returncode == 0
    make(tmp_path)
    assert runs(tmp_path) == 1
    age(tmp_path / "out")
    done = make(tmp_path)
    assert (done.returncode, done.stderr, runs(tmp_path)) == (0, "", 2)


@pytest.mark.parametrize("name", NASTY)
def test_make_goes_on_after_a_prerequisite_was_deleted(tmp_path, name):
    write_depfile(tmp_path / "out.d", ["out"], [name])
    (tmp_path / "out").write_text("")
    done = make(tmp_path)
    assert (done.returncode, done.stderr, runs(tmp_path)) == (0, "", 1)


@pytest.mark.parametrize("name", NASTY)
def test_make_knows_a_target_by_any_name(tmp_path, name):
    (tmp_path / "needed").write_text("")
    (tmp_path / name).write_text("")
    age(tmp_path / name)
    write_depfile(tmp_path / "out.d", [name], ["needed"])
    rule = depfile_text(["all"], [name]).partition("\n\n")[0]
    (tmp_path / "Makefile").write_text(
        "include out.d\n.DEFAULT_GOAL := all\n" + rule + "\n\t@echo $(words $?) newer\n"
    )
    done = subprocess.run(
        ["make", "-r", "--debug=b"], cwd=tmp_path, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0
    assert re.search(r"Prerequisite .needed. is newer than target", done.stdout)


def test_several_targets_and_no_repeats():
    text = depfile_text(["a.cir", "a.param"], ["d.yaml", "t.j2", "d.yaml"])
    assert text == "a.cir a.param: \\\n  d.yaml \\\n  t.j2\n\nd.yaml:\n\nt.j2:\n"


def test_prerequisites_below_the_base_are_relative_to_it(tmp_path):
    text = depfile_text(["o"], [tmp_path / "sub" / "t.j2", "/lib/models"], tmp_path)
    assert text.splitlines()[1:3] == ["  sub/t.j2 \\", "  /lib/models"]


def test_a_target_is_no_prerequisite_of_itself(tmp_path):
    text = depfile_text(["o"], [tmp_path / "o", "t.j2"], tmp_path)
    assert text == "o: \\\n  t.j2\n\nt.j2:\n"


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a;b", "a\udcffb"])
def test_name_that_make_cannot_read_is_refused(name):
    with pytest.raises(StorageError, match="cannot hold a name"):
        depfile_text(["o"], [name])


def test_unchanged_depfile_is_untouched(tmp_path):
    path = tmp_path / "out.d"
    assert write_depfile(path, ["o"], ["t"])
    age(path)
    assert not write_depfile(path, ["o"], ["t"])
    assert is_aged(path)
