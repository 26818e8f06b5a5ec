"""The ledger keeps what was paid for, whatever happens to the process or the file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from m3eda.errors import StorageError
from m3eda.ledger import Ledger, Segment, StoredTrial
from m3eda.simulate.trial import CornerResult
from m3eda.simulate.types import State

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
        writer.add_trial(number, StoredTrial(0, {"w": 1.0}, {"nominal": RESULT}))
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


def test_what_was_stored_before_a_kill_is_there_after_it(tmp_path):
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from m3eda.ledger import Ledger, Segment, StoredTrial
        from m3eda.simulate.trial import CornerResult
        ledger = Ledger(Path(sys.argv[1]))
        number = ledger.begin(Segment(0, "r", "c", "{}", "random", 1, "s", 0.0)).id
        for i in range(100000):
            result = CornerResult({"gain": float(i)})
            ledger.add_simulation(f"k{i}", "ac", "nominal", result)
            ledger.add_trial(number, StoredTrial(i, {"w": float(i)}, {"nominal": result}))
            print(i, flush=True)
        """
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child.stdout:
        for line in child.stdout:
            last = int(line)
            if last >= 50:
                child.send_signal(signal.SIGKILL)
                break
    child.wait(timeout=20)
    with Ledger(tmp_path) as ledger:
        trials = ledger.trials(1)
        numbers = [trial.number for trial in trials]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > last
        assert all(ledger.simulation(f"k{n}") is not None for n in numbers)
        assert not ledger.salvaged


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
