"""The ledger keeps what was paid for, whatever happens to the process or the file."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from m3eda.errors import StorageError
from m3eda.ledger import AT_RISK, Ledger, Segment, StoredTrial
from m3eda.simulate.encoding import encode_result
from m3eda.simulate.trial import CornerResult
from m3eda.simulate.types import State
from tests.helpers import mount

RESULT = CornerResult({"gain": 12.5, "pm": float("nan")}, {"pm": "no unity crossing"}, runs=1)
FAILED = CornerResult({"gain": float("nan")}, {}, State.TIMEOUT, "60 s", "log tail", 60.0, 2)


def segment(recipe: str = "r1") -> Segment:
    return Segment(0, recipe, "c1", "{}", "random", 1, "ngspice ngspice-39", 1.5)


def same(one: CornerResult, other: CornerResult) -> bool:
    return repr(one) == repr(other)  # nan is not equal to itself


def test_a_trial_comes_back_as_it_was(tmp_path):
    with Ledger(tmp_path) as ledger:
        number = ledger.begin(segment()).id
        ledger.add_trial(number, StoredTrial(0, {"w": 1e-6, "model": "nmos"}, {"nominal": RESULT}))
        ledger.add_trial(number, StoredTrial(1, {"w": 2e-6, "model": "pmos"}, {"nominal": FAILED}))
    with Ledger(tmp_path, read_only=True) as ledger:
        first, second = ledger.trials(number)
    assert first.sizing == {"w": 1e-6, "model": "nmos"}
    assert same(first.results["nominal"], RESULT)
    assert same(second.results["nominal"], FAILED)


def test_a_simulation_is_found_by_its_key(tmp_path):
    with Ledger(tmp_path) as ledger:
        assert ledger.simulation("k") is None
        ledger.add_simulation("k", "ac", "nominal", RESULT)
        found = ledger.simulation("k")
    assert found is not None
    assert same(found, RESULT)


def test_segments_keep_their_order_and_recipes(tmp_path):
    with Ledger(tmp_path) as ledger:
        ids = [ledger.begin(segment(recipe)).id for recipe in ("a", "b")]
        assert [(s.id, s.recipe) for s in ledger.segments()] == list(zip(ids, "ab", strict=True))


def test_two_runs_on_one_ledger_are_refused(tmp_path):
    with Ledger(tmp_path), pytest.raises(StorageError, match=f"process {os.getpid()}"):
        Ledger(tmp_path)
    Ledger(tmp_path).close()  # free again once the first has ended


def test_a_reader_may_look_while_a_run_goes_on(tmp_path):
    with Ledger(tmp_path) as writer:
        number = writer.begin(segment()).id
        slow = CornerResult({"gain": 1.0}, seconds=1.0, runs=1)
        writer.add_trial(number, StoredTrial(0, {"w": 1.0}, {"nominal": slow}))
        with Ledger(tmp_path, read_only=True) as reader:
            assert len(reader.trials(number)) == 1


def test_an_unwritable_place_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write there"):
        Ledger(tmp_path / "file" / "run")


def test_reading_a_run_that_is_not_there(tmp_path):
    with pytest.raises(StorageError, match="no ledger there"):
        Ledger(tmp_path, read_only=True)


def test_another_format_is_refused(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger._connection.execute("UPDATE meta SET value = '99'")
    with pytest.raises(StorageError, match="format 99"):
        Ledger(tmp_path)


ENDLESS = """
import sys, time
from pathlib import Path
from m3eda.ledger import Ledger, Segment, StoredTrial
from m3eda.simulate.trial import CornerResult
seconds = float(sys.argv[2])
ledger = Ledger(Path(sys.argv[1]))
number = ledger.begin(Segment(0, "r", "c", "{}", "random", 1, "s", 0.0)).id
for i in range(100000):
    time.sleep(min(seconds, 0.001))
    result = CornerResult({"gain": float(i)}, seconds=seconds, runs=1)
    ledger.add_simulation(f"k{i}", "ac", "nominal", result)
    ledger.add_trial(number, StoredTrial(i, {"w": float(i)}, {"nominal": result}))
    ledger.flush()
    print(i, flush=True)
    if i == 100:
        time.sleep(60)  # what waits is not written by itself
"""


@pytest.mark.parametrize(("seconds", "lost"), [(0.0004, 25), (0.5, 0), (0.0, 0)])
def test_a_kill_loses_at_most_a_moment_of_simulating(tmp_path, seconds, lost):
    # a simulator that does not tell its time counts as slow
    child = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(tmp_path), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )
    last = 100
    assert child.stdout is not None
    with child.stdout:
        for line in child.stdout:
            if int(line) >= last:
                child.send_signal(signal.SIGKILL)
                break
    child.wait(timeout=20)
    assert lost * 0.0004 <= AT_RISK
    with Ledger(tmp_path) as ledger:
        trials = ledger.trials(1)
        numbers = [trial.number for trial in trials]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= last + 1 - lost
        assert all(ledger.simulation(f"k{n}") is not None for n in numbers)
        assert not ledger.salvaged


def test_what_waits_to_be_written_is_read_all_the_same(tmp_path):
    fast = CornerResult({"gain": 1.5}, seconds=1e-4, runs=1)
    with Ledger(tmp_path) as ledger:
        number = ledger.begin(segment()).id
        ledger.add_simulation("k", "ac", "nominal", fast)
        assert ledger._simulations, "it waits"
        assert ledger.simulation("k") == fast
        ledger.add_trial(number, StoredTrial(0, {"w": 1.0}, {"nominal": fast}))
        assert ledger.count_simulations() == 1
        ledger.add_trial(number, StoredTrial(1, {"w": 2.0}, {"nominal": fast}))
        assert [trial.number for trial in ledger.trials(number)] == [0, 1]
        ledger.add_trial(number, StoredTrial(1, {"w": 3.0}, {"nominal": fast}))
    with Ledger(tmp_path) as ledger:
        assert ledger.simulation("k") == fast
        assert [trial.sizing["w"] for trial in ledger.trials(number)] == [1.0, 3.0]


def test_quick_simulations_share_a_transaction(tmp_path):
    fast = CornerResult({"gain": 1.5}, seconds=AT_RISK / 10, runs=1)
    with Ledger(tmp_path) as ledger:
        ledger.simulation("k")
        statements: list[str] = []
        ledger._connection.set_trace_callback(statements.append)
        for i in range(100):
            ledger.add_simulation(f"k{i}", "ac", "nominal", fast)
            ledger.flush()
        commits = [text for text in statements if text == "COMMIT"]
        assert 10 <= len(commits) <= 40  # fewer than 100, however slow the machine is just now


def fill(ledger: Ledger, result: CornerResult, words: str) -> int:
    """Adds `result` until the disk is full, which is told by `words`; the number of the last."""

    def endless() -> None:
        while True:
            numbers.append(len(numbers))
            ledger.add_simulation(f"k{numbers[-1]}", "ac", "nominal", result)
            ledger.trials(1)

    numbers: list[int] = []
    with pytest.raises(StorageError, match=words):
        endless()
    return numbers[-1]


def test_what_cannot_be_written_is_told_until_it_is(disk):
    slow = CornerResult({"gain": 1.5}, seconds=1.0, runs=1)
    ledger = Ledger(disk)
    stored = fill(ledger, slow, rf"{ledger.path}: the disk is full")
    with pytest.raises(StorageError, match="the disk is full"):
        ledger.add_simulation("another", "ac", "nominal", slow)
    assert mount("-o", "remount,size=8m", str(disk)) == 0
    ledger.close()  # with room, nothing is lost
    with pytest.raises(StorageError, match="closed"):
        ledger.add_simulation("late", "ac", "nominal", slow)
    with Ledger(disk) as again:
        assert all(again.simulation(f"k{i}") == slow for i in range(stored + 1))
        assert again.simulation("another") == slow


def test_closing_tells_what_cannot_be_written_and_lets_the_directory_go(disk):
    fast = CornerResult({f"m{i}": 1.5 for i in range(5000)}, seconds=1e-6, runs=1)
    ledger = Ledger(disk)
    fill(ledger, fast, "the disk is full")
    with pytest.raises(StorageError, match="the disk is full"):
        ledger.close()
    assert mount("-o", "remount,size=8m", str(disk)) == 0
    Ledger(disk).close()


FORMAT_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE segments (
    id INTEGER PRIMARY KEY, recipe TEXT NOT NULL, circuit TEXT NOT NULL, design TEXT NOT NULL,
    agent TEXT NOT NULL, seed INTEGER NOT NULL, simulator TEXT NOT NULL, started REAL NOT NULL);
CREATE TABLE trials (
    segment INTEGER NOT NULL REFERENCES segments(id), number INTEGER NOT NULL,
    sizing TEXT NOT NULL, results TEXT NOT NULL, finished REAL NOT NULL,
    PRIMARY KEY (segment, number));
CREATE TABLE simulations (
    key TEXT PRIMARY KEY, testbench TEXT NOT NULL, corner TEXT NOT NULL, result TEXT NOT NULL,
    finished REAL NOT NULL);
INSERT INTO meta VALUES ('format', '1');
INSERT INTO segments VALUES (1, 'r1', 'c1', '{}', 'random', 1, 'ngspice ngspice-39', 1.5);
"""


def test_a_ledger_of_format_1_is_read_and_gone_on_with(tmp_path):
    text = json.dumps(encode_result(FAILED))
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as old, old:
        old.executescript(FORMAT_1)
        results = f'{{"nominal": {text}}}'
        old.execute("INSERT INTO trials VALUES (1, 0, '{\"w\": 1e-06}', ?, 1.5)", (results,))
        old.execute("INSERT INTO simulations VALUES ('k', 'ac', 'nominal', ?, 1.5)", (text,))
    with Ledger(tmp_path, read_only=True) as ledger:
        [trial] = ledger.trials(1)
        assert trial.sizing == {"w": 1e-6}
        assert same(trial.results["nominal"], FAILED)
    with Ledger(tmp_path) as ledger:
        assert same(ledger.simulation("k"), FAILED)
        for number in (0, 1):  # 0 once more, as after damage
            ledger.add_trial(1, StoredTrial(number, {"w": 2.0}, {"nominal": RESULT}))
        ledger.add_simulation("k2", "ac", "nominal", RESULT)
    with Ledger(tmp_path) as ledger:
        assert [(t.number, t.sizing["w"]) for t in ledger.trials(1)] == [(0, 2.0), (1, 2.0)]
        assert same(ledger.simulation("k"), FAILED)
        assert same(ledger.simulation("k2"), RESULT)
        found = ledger._connection.execute("SELECT value FROM meta").fetchone()
        assert found == ("2",), "an m3eda that cannot read it must refuse it"


def test_a_damaged_record_is_simulated_again(tmp_path):
    with Ledger(tmp_path) as ledger:
        number = ledger.begin(segment()).id
        for i in range(3):
            ledger.add_simulation(f"k{i}", "ac", "nominal", RESULT)
            ledger.add_trial(number, StoredTrial(i, {"w": 1.0}, {"nominal": RESULT}))
        ledger.flush()
    with closing(sqlite3.connect(ledger.path)) as file, file:
        for table, column in (("simulations", "result"), ("trials", "results")):
            file.execute(
                f"UPDATE {table} SET {column} = CAST(replace(hex({column}), '00', '01') AS BLOB)"
                " WHERE rowid = (SELECT max(rowid) - 1 FROM {table})".format(table=table)
            )
    with Ledger(tmp_path) as ledger:
        assert [t.number for t in ledger.trials(number)] == [0, 2]
        assert ledger.simulation("k1") is None
        assert same(ledger.simulation("k2"), RESULT)


@pytest.mark.parametrize("kept", [0.98, 0.6, 0.0])
def test_a_ledger_cut_off_is_salvaged_and_set_aside(tmp_path, kept):
    with Ledger(tmp_path) as ledger:
        number = ledger.begin(segment()).id
        for i in range(300):
            ledger.add_trial(number, StoredTrial(i, {"w": float(i)}, {"nominal": RESULT}))
        path = ledger.path
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(max(int(size * kept), 10))
    with Ledger(tmp_path) as ledger:
        assert ledger.salvaged
        trials = ledger.trials(1)
        assert all(trial.results["nominal"].measures["gain"] == 12.5 for trial in trials)
        if kept > 0.9:
            assert len(trials) > 200
        ledger.add_simulation("new", "ac", "nominal", RESULT)
    assert path.with_suffix(".damaged-1").exists()


def test_a_file_that_is_no_ledger_is_set_aside(tmp_path):
    (tmp_path / "ledger.sqlite").write_text("this is not a database, but it is long enough " * 50)
    with Ledger(tmp_path) as ledger:
        assert ledger.salvaged
        assert ledger.segments() == []


def test_a_transaction_that_an_interruption_left_open_is_no_obstacle(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger._connection.execute("BEGIN IMMEDIATE")
        ledger.begin(Segment(0, "r", "c", "{}", "random", 1, "fake", 0.0))
    with Ledger(tmp_path, read_only=True) as ledger:
        assert len(ledger.segments()) == 1
