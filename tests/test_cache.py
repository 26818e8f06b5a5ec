"""The cache gives back what it was given, keeps to its size, and never ends a run."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from m3eda.cli import run
from m3eda.errors import StorageError
from m3eda.simulate import cache_place
from m3eda.simulate.cache import Cache
from m3eda.simulate.cache_place import cache_folder, parse_size, size_text
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.trial import CornerResult, Sweep
from m3eda.simulate.types import State
from tests.helpers import DividerSimulator, divider, m3eda, mount, only_line, trials

RICH = CornerResult(
    {"gain": 12.5, "pm": float("nan"), "zero": -0.0},
    {"pm": "no unity crossing"},
    State.VECTOR_MISSING,
    "ac: v(out) is not there",
    "the log's tail\nΩ",
    0.25,
    1,
    {"gain": Sweep("temp", (-40.0, 27.0), (float("inf"), 1e-300))},
)


def result(number: float, width: int = 1) -> CornerResult:
    return CornerResult({f"m{i}": number + i for i in range(width)}, seconds=0.1, runs=1)


def fill(cache: Cache, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        cache.add(f"k{number}", "ac", "nominal", result(number))
    cache.flush()


def kept(cache: Cache, count: int) -> list[int]:
    """Numbers of the entries of `fill` that are there; none gives another's result."""
    there = []
    for number in range(count):
        found = cache.get(f"k{number}")
        if found is not None:
            assert found == result(number)
            there.append(number)
    return there


def in_process(program: str, *arguments: object) -> subprocess.Popen[str]:
    lines = """
        import sys
        from pathlib import Path
        from m3eda.simulate.cache import Cache
        from tests.test_cache import fill, kept, result
    """
    text = textwrap.dedent(lines) + textwrap.dedent(program)
    return subprocess.Popen(
        [sys.executable, "-c", text, *map(str, arguments)],
        cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_result_comes_back_as_it_was(tmp_path):
    cache = Cache(tmp_path / "new" / "folder")
    assert cache.get("k") is None
    cache.add("k", "ac", "nominal", RICH)
    assert repr(cache.get("k")) == repr(RICH)  # nan is not equal to itself
    cache.close()
    again = Cache(tmp_path / "new" / "folder")
    assert repr(again.get("k")) == repr(RICH)
    assert again.get("another") is None
    assert (cache.note, again.note) == ("", "")
    again.close()


def test_what_is_in_the_cache_is_not_simulated_again(tmp_path):
    design = divider(tmp_path)
    sizings = [{"r1": 1e3 * i, "r2": 2e3} for i in range(1, 6)]
    results = []
    for _ in range(2):
        simulator, cache = DividerSimulator(), Cache(tmp_path / "cache")
        evaluator = Evaluator(design, simulator, {}, cache=cache)
        results.append([each["nominal"] for each in evaluator.evaluate(sizings)])
        runs = sum(each.runs for each in results[-1])
        assert len(simulator.runs) == runs == (5 if len(results) == 1 else 0)
        cache.close()
    assert [r.measures for r in results[0]] == [r.measures for r in results[1]]


def test_keys_in_memory_hear_of_what_others_add(tmp_path):
    cache, other = Cache(tmp_path), Cache(tmp_path)
    fill(cache, 300)
    assert kept(cache, 1400) == list(range(300))
    assert cache._keys is not None, "so many misses are answered from memory"
    fill(other, 10, first=500)
    assert cache.get("k505") is None
    fill(cache, 1, first=600)  # writing, it looks for news
    assert cache.get("k505") == result(505)
    assert kept(cache, 700) == [*range(300), *range(500, 510), 600]
    cache.close()
    other.close()


# its size


def test_what_was_used_least_recently_goes_first(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    fill(cache, 2000)
    clock = time.time() + 7200  # a use within the hour is not noted again
    monkeypatch.setattr(time, "time", lambda: clock)
    used = [0, 7, 1000]
    assert [cache.get(f"k{number}") for number in used] == [result(number) for number in used]
    cache.flush()
    cache.prune(150_000)
    there = kept(cache, 2000)
    assert there[:2] == [0, 7]
    assert 1000 in there
    recent = [number for number in there if number not in used]
    assert recent == list(range(2000 - len(recent), 2000))
    assert 100 < len(recent) < 1900
    cache.close()


def test_it_keeps_to_its_limit(tmp_path):
    limit = 200_000
    cache = Cache(tmp_path, limit)
    for first in range(0, 4000, 500):
        fill(cache, 500, first)
    entries = kept(cache, 4000)
    assert 200 < len(entries) < 2000
    assert entries[-1] == 3999
    cache.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1.3 * limit


def test_space_is_given_back(tmp_path):
    cache = Cache(tmp_path)
    fill(cache, 3000)
    cache.prune(150_000)
    after = cache.stats()
    assert 100 < after.entries < 1500
    assert after.bytes <= 150_000
    cache.clear()
    stats = cache.stats()
    assert (stats.entries, stats.oldest, stats.hits, stats.misses) == (0, None, 0, 0)
    assert stats.bytes < 50_000
    cache.close()


# processes at once


def test_processes_write_and_prune_at_once(tmp_path):
    writers = [
        in_process(
            """
            cache = Cache(Path(sys.argv[1]))
            for first in range(int(sys.argv[2]), int(sys.argv[2]) + 1500, 100):
                fill(cache, 100, first)
            cache.close()
            print(cache.note)
            """,
            tmp_path,
            first,
        )
        for first in (0, 1500)
    ]
    pruners = [
        in_process(
            """
            import time
            cache = Cache(Path(sys.argv[1]))
            for _ in range(20):
                cache.prune(10**9)
                time.sleep(0.01)
            cache.close()
            print(cache.note)
            """,
            tmp_path,
        )
        for _ in range(1)
    ]
    for child in (*writers, *pruners):
        out, _ = child.communicate(timeout=60)
        assert (child.returncode, out.strip()) == (0, "")
    cache = Cache(tmp_path)
    # one that had to wait longer than a moment may have lost its last batch
    assert len(kept(cache, 3000)) > 2500
    assert cache._connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    cache.close()


def test_a_locked_file_delays_nobody(tmp_path):
    cache = Cache(tmp_path)
    fill(cache, 100)
    with sqlite3.connect(cache.path) as other:
        other.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        fill(cache, 300, first=100)
        assert kept(cache, 400) == list(range(400))
        assert time.monotonic() - begun < 2
        other.rollback()
    other.close()
    cache.close()
    assert cache.note == ""
    again = Cache(tmp_path)
    assert kept(again, 400) == list(range(400))
    again.close()


def test_a_writer_killed_loses_no_more_than_what_it_was_writing(tmp_path):
    for _ in range(2):
        child = in_process(
            """
            cache = Cache(Path(sys.argv[1]))
            for first in range(0, 10**6, 50):
                fill(cache, 50, first)
                print(first, flush=True)
            """,
            tmp_path,
        )
        assert child.stdout is not None
        with child.stdout:
            told = [int(child.stdout.readline()) for _ in range(20)]
            time.sleep(random.Random(1).random() * 0.01)
            child.send_signal(signal.SIGKILL)
        child.wait(timeout=20)
        cache = Cache(tmp_path)
        assert kept(cache, told[-1]) == list(range(told[-1]))
        assert cache.note == ""
        cache.close()


# damage


@pytest.mark.parametrize("part", [0.0, 0.001, 0.01, 0.3, 0.7, 0.99])
def test_a_file_cut_off_gives_no_wrong_result(tmp_path, part):
    cache = Cache(tmp_path)
    fill(cache, 1500)
    cache.close()
    os.truncate(cache.path, int(cache.path.stat().st_size * part))
    again = Cache(tmp_path)
    there = kept(again, 1500)
    assert len(there) < 1500
    fill(again, 1500)  # what it finds damaged while writing it writes anew
    fill(again, 1500)
    assert kept(again, 1500) == list(range(1500))
    again.close()
    renewed = again.path != cache.path
    assert renewed == ("was damaged: set aside" in again.note)
    assert renewed or part in (0.0, 0.99)  # empty, or with entries replaced one by one
    assert cache.path.exists()
    third = Cache(tmp_path)
    assert (third.path, third.note) == (again.path, "")
    assert kept(third, 1500) == list(range(1500))
    third.prune(10**9)
    assert third.stats().aside == 0
    third.close()


@pytest.mark.parametrize("seed", range(6))
def test_a_file_overwritten_in_places_gives_no_wrong_result(tmp_path, seed):
    cache = Cache(tmp_path)
    fill(cache, 1500)
    cache.close()
    rng = random.Random(seed)
    size = cache.path.stat().st_size
    with cache.path.open("r+b") as file:
        for _ in range(rng.randrange(1, 30)):
            file.seek(rng.randrange(0 if seed % 2 else 4096, size))
            file.write(rng.randbytes(rng.choice((1, 100, 5000))))
    again = Cache(tmp_path)
    kept(again, 1500)  # compares what it gets
    fill(again, 1500)
    kept(again, 1500)
    again.close()


def test_a_file_of_rubbish_is_set_aside(tmp_path):
    place = tmp_path / "simulations-1.1.sqlite"
    place.write_bytes(b"rubbish" * 1000)
    cache = Cache(tmp_path)
    fill(cache, 10)
    assert kept(cache, 10) == list(range(10))
    assert place.read_bytes() == b"rubbish" * 1000
    assert str(place) in cache.note
    cache.close()


def test_processes_that_find_the_same_damage_go_on_together(tmp_path):
    first, second = Cache(tmp_path), Cache(tmp_path)
    fill(first, 1000)
    first.prune(10**9)  # its journal holds nothing any more
    path = first.path
    with path.open("r+b") as file:
        file.write(b"rubbish" * 5000)
    for cache in (first, second):
        cache._connection.execute("PRAGMA shrink_memory")
        fill(cache, 1000)
        fill(cache, 1000)
    assert first.path == second.path != path
    assert kept(second, 1000) == list(range(1000))
    first.close()
    second.close()


# places


def test_a_full_disk_turns_caching_off_with_one_note(disk):
    cache = Cache(disk / "cache")
    for first in range(0, 3000, 250):
        fill(cache, 250, first)
    assert cache.note == f"{cache.path}: the disk is full; results are not cached any more"
    there = kept(cache, 3000)
    assert there == list(range(len(there)))
    cache.close()
    assert not cache.on


def test_a_read_only_disk(disk):
    assert mount("-o", "remount,ro", str(disk)) == 0
    cache = Cache(disk / "cache")
    assert (cache.on, cache.get("k")) == (False, None)
    cache.add("k", "ac", "nominal", RICH)
    cache.close()
    assert cache.note == (f"no cache of simulations: {disk / 'cache'}: {os.strerror(errno.EROFS)}")


def test_a_disk_that_becomes_read_only(disk):
    first = Cache(disk)
    fill(first, 10)
    first.close()
    assert mount("-o", "remount,ro", str(disk)) == 0
    cache = Cache(disk)
    fill(cache, 10, first=10)
    assert "no cache of simulations" in cache.note
    with pytest.raises(StorageError, match="no cache of simulations"):
        cache.prune(0)
    cache.close()


def test_where_it_lies():
    places = [
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x", "M3EDA_CACHE": "/m"}, Path("/m")),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x"}, Path("/x/m3eda")),
        ({"HOME": "/h", "XDG_CACHE_HOME": "x"}, Path("/h/.cache/m3eda")),
        ({"HOME": "/h", "M3EDA_CACHE": ""}, Path("/h/.cache/m3eda")),
        ({"HOME": ""}, None),
        ({}, None),
    ]
    for environment, place in places:
        assert cache_folder(environment) == place


def test_without_a_home_there_is_a_note_and_no_cache():
    cache = Cache.of_user({})
    assert not cache.on
    assert cache.note.startswith("no cache of simulations: HOME is not set; set M3EDA_CACHE")
    assert cache.get("k") is None
    cache.add("k", "ac", "nominal", RICH)
    cache.close()


def test_its_size_is_the_user_s(tmp_path):
    place = {"M3EDA_CACHE": str(tmp_path / "c")}
    off = Cache.of_user({**place, "M3EDA_CACHE_SIZE": "0"})
    assert (off.on, off.note, (tmp_path / "c").exists()) == (False, "", False)
    small = Cache.of_user({**place, "M3EDA_CACHE_SIZE": "500M"})
    assert (small.on, small.note, small.limit) == (True, "", 500_000_000)
    odd = Cache.of_user({**place, "M3EDA_CACHE_SIZE": "much"})
    assert (odd.on, odd.limit) == (True, 10**9)
    assert odd.note.startswith("M3EDA_CACHE_SIZE: 'much' is no size (expected bytes, or 800k")
    small.close()
    odd.close()


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("123", 123), ("800k", 800_000), ("1.5G", 1_500_000_000), (" 2 MB ", 2_000_000)],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1x", "1e9", "nan"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)


def test_sizes_as_text():
    sizes = [0, 999, 1000, 4_910_000, 10**9, 25 * 10**11]
    assert [size_text(size) for size in sizes] == [
        "0 bytes", "999 bytes", "1 kB", "4.91 MB", "1 GB", "2.5 TB",
    ]  # fmt: skip


def test_hosts_that_share_a_disk_have_a_file_each(tmp_path, monkeypatch):
    local = Cache(tmp_path)
    monkeypatch.setattr(cache_place, "_on_network", lambda folder: True)
    paths = []
    for host in ("one", "two"):
        monkeypatch.setattr(cache_place.socket, "gethostname", lambda host=host: host)
        cache = Cache(tmp_path)
        fill(cache, 5)
        paths.append(cache.path)
        assert cache.stats().aside == 0, "another host's file is no damaged one"
        cache.close()
    assert len({local.path, *paths}) == 3
    local.close()


# the command


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("M3EDA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("M3EDA_CACHE_SIZE", "50M")
    cache = Cache(tmp_path / "cache")
    fill(cache, 3000)
    cache.get("nothing")
    cache.get("k1")
    cache.close()
    return cache.path


def test_the_command_shows_what_is_there(place, capsys):
    assert run(["cache"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"place    {place}"
    assert lines[1] == "entries  3000"
    assert lines[2].endswith(" kB of 50 MB at most")
    today = time.strftime("%Y-%m-%d")
    assert lines[3].startswith(f"used     {today}")
    assert lines[4].startswith(f"hits     1 and 1 misses since {today}")


def test_the_command_prunes_and_clears(place, capsys):
    assert run(["cache", "--prune", "200k", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert 0 < data["entries"] < 3000
    assert place.stat().st_size <= data["bytes"] <= 200_000
    assert data["limit"] == 50_000_000
    assert run(["cache", "--clear"]) == 0
    assert "entries  0" in capsys.readouterr().out


def test_the_command_shows_one_that_is_off(place, capsys, monkeypatch):
    monkeypatch.setenv("M3EDA_CACHE_SIZE", "0")
    assert run(["cache"]) == 0
    out = capsys.readouterr().out
    assert "entries  3000" in out
    assert "turned off (M3EDA_CACHE_SIZE is 0)" in out


def test_what_the_command_cannot_do_is_one_line(place, capsys, monkeypatch):
    assert run(["cache", "--prune", "lots"]) == 2
    assert "'lots' is no size (expected bytes, or 800k, 500M, 2G)" in capsys.readouterr().err
    monkeypatch.setenv("M3EDA_CACHE", str(place / "below"))
    assert run(["cache"]) == 4
    err = capsys.readouterr().err
    assert err == f"m3eda: no cache of simulations: {place}/below: Not a directory\n"
    monkeypatch.delenv("M3EDA_CACHE")
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert run(["cache", "--clear"]) == 4
    assert "HOME is not set" in capsys.readouterr().err


@pytest.mark.simulator
def test_another_run_directory_simulates_nothing(rc, counted):
    settings = {
        "PATH": counted.path, "M3EDA_CACHE": str(rc / "cache"), "M3EDA_CACHE_SIZE": "50M",
    }  # fmt: skip
    command = ("size", "design.yaml", "--cold", "--budget", 5, "--run-dir")
    simulated = []
    for run_dir, *more in (("a",), ("b",), ("c", "--no-cache")):
        done = m3eda(*command, run_dir, *more, cwd=rc, **settings)
        assert (done.returncode, done.stderr) == (1, "")
        simulated.append(sum(counted.decks.values()))
    assert simulated == [5, 5, 10]
    assert trials(rc / "a") == trials(rc / "b") == trials(rc / "c")


@pytest.mark.simulator
def test_a_damaged_cache_costs_a_run_a_note(rc):
    settings = {"M3EDA_CACHE": str(rc / "cache"), "M3EDA_CACHE_SIZE": "50M"}
    (rc / "cache").mkdir()
    (rc / "cache" / "simulations-1.1.sqlite").write_bytes(b"rubbish" * 1000)
    done = m3eda("size", "design.yaml", "--budget", 2, cwd=rc, **settings)
    assert done.returncode == 1
    assert only_line(done).startswith("the cache of simulations was damaged: set aside")
