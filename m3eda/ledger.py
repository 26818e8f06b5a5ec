"""The ledger: every simulation and every trial of a run directory, in one SQLite file.

A simulation is stored under a key made of everything that decides its result (deck, included
files, simulator, measures), so no simulator run is ever paid for twice. Trials are stored in order,
in segments: one segment for each recipe (design, agent, seed...) tried in the run directory.
Measures are kept raw, so changed specs score old trials anew.

WAL with synchronous=NORMAL survives the death of the process at any moment. What took long to
simulate is written at once. Quick simulations are written several in one transaction, which costs
a fraction: a kill loses those of at most `AT_RISK` seconds of simulating, never more. One process
writes at a time, held by a lock on a file beside it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from m3eda.design.types import Sizing
from m3eda.errors import StorageError
from m3eda.simulate.encoding import (
    pack_result,
    pack_results,
    pack_sizing,
    unpack_result,
    unpack_results,
    unpack_sizing,
)
from m3eda.simulate.salvage import damaged, full, whole_rows
from m3eda.simulate.trial import CornerResult
from m3eda.simulate.types import State

FORMAT = 2
"""Packed records; of format 1, with JSON in their place, all is read."""
_READ = ("1", "2")
AT_RISK = 0.01
"""Seconds of simulating that may wait to be written."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS segments (
    id INTEGER PRIMARY KEY, recipe TEXT NOT NULL, circuit TEXT NOT NULL, design TEXT NOT NULL,
    agent TEXT NOT NULL, seed INTEGER NOT NULL, simulator TEXT NOT NULL, started REAL NOT NULL);
CREATE TABLE IF NOT EXISTS trials (
    segment INTEGER NOT NULL REFERENCES segments(id), number INTEGER NOT NULL,
    sizing BLOB NOT NULL, results BLOB NOT NULL, finished REAL NOT NULL);
CREATE TABLE IF NOT EXISTS simulations (
    key TEXT NOT NULL, testbench TEXT NOT NULL, corner TEXT NOT NULL, result BLOB NOT NULL,
    finished REAL NOT NULL);
"""
# neither table has an index: keys of simulations are random, so each row would rewrite a page of
# it, which took longer than all else; the one process that writes holds them in memory
_ADD_TRIAL = (
    "INSERT OR REPLACE INTO trials (rowid, segment, number, sizing, results, finished)"
    " VALUES (?1 << 40 | ?2, ?1, ?2, ?3, ?4, ?5)"
)
_ADD_SIMULATION = (
    "INSERT OR REPLACE INTO simulations (rowid, key, testbench, corner, result, finished)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)


@dataclass(frozen=True)
class Segment:
    """One recipe tried in a run directory."""

    id: int
    recipe: str
    """Hash of everything that decides the trials."""
    circuit: str
    """Hash of what decides a sizing's raw measures; specs and agent are not in it."""
    design: str
    """The design as JSON."""
    agent: str
    seed: int
    simulator: str
    started: float
    """Seconds since the epoch."""


@dataclass(frozen=True)
class StoredTrial:
    number: int
    sizing: Sizing
    results: Mapping[str, CornerResult]


class Ledger:
    """The ledger of one run directory.

    Raises StorageError where the directory cannot be written, the disk is full, the file is
    damaged beyond reading, or another run holds it.
    """

    def __init__(self, run_dir: Path, *, read_only: bool = False) -> None:
        self.run_dir = run_dir
        self.path = run_dir / "ledger.sqlite"
        self.salvaged = False
        """True where a damaged file was found, set aside, and its readable rows kept."""
        self._lock = threading.RLock()
        self._trials: list[tuple[int, StoredTrial, float]] = []
        self._simulations: list[tuple[int, str, str, str, CornerResult, float]] = []
        self._queued: dict[str, CornerResult] = {}
        self._since = 0.0
        """When the oldest row that waits to be written was added."""
        self._at_risk = 0.0
        self._rows: dict[int, int] | None = None
        """Rows of `simulations` by hash of their key, once they have been asked for."""
        self._next_row = 1
        self._connection: sqlite3.Connection | None = None
        self._guard: IO[str] | None = None
        if read_only and not self.path.is_file():
            raise StorageError(f"{run_dir}: no ledger there (expected {self.path.name})")
        if not read_only:
            self._claim()
        try:
            self._open(read_only)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Write what is left, and let the run directory go. Raises StorageError."""
        try:
            self.write()
        finally:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            if self._guard is not None:
                self._guard.close()
                self._guard = None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def begin(self, segment: Segment) -> Segment:
        """Store a new segment; its `id` is given by the ledger."""
        with self._writing() as connection:
            cursor = connection.execute(
                "INSERT INTO segments (recipe, circuit, design, agent, seed, simulator, started)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    segment.recipe,
                    segment.circuit,
                    segment.design,
                    segment.agent,
                    segment.seed,
                    segment.simulator,
                    segment.started,
                ),
            )
            number = int(cursor.lastrowid or 0)
        return replace(segment, id=number)

    def segments(self) -> list[Segment]:
        rows = self._read(
            "SELECT id, recipe, circuit, design, agent, seed, simulator, started"
            " FROM segments ORDER BY id"
        )
        return [Segment(*row) for row in rows]

    def add_trial(self, segment: int, trial: StoredTrial) -> None:
        """Store a trial. Raises StorageError, also for what was added before and had to wait."""
        # it follows from its simulations: at risk is only that a slow one is not seen at once
        seconds = sum(_seconds(result) for result in trial.results.values())
        with self._lock:
            self._trials.append((segment, trial, time.time()))
            self._waits(seconds if seconds >= AT_RISK else 0.0)

    def trials(self, segment: int) -> list[StoredTrial]:
        """The trials of a segment that are whole, by number."""
        rows = self._read(
            "SELECT number, sizing, results FROM trials WHERE segment = ? ORDER BY number", segment
        )
        return [trial for row in rows if (trial := _stored_trial(*row)) is not None]

    def add_simulation(self, key: str, testbench: str, corner: str, result: CornerResult) -> None:
        """Store a simulation. Raises StorageError, also for what was added before and waited."""
        with self._lock:
            rows = self._known_rows()
            row = self._next_row
            rows[hash(key)] = row
            self._next_row += 1
            self._simulations.append((row, key, testbench, corner, result, time.time()))
            self._queued[key] = result
            self._waits(_seconds(result))

    def simulation(self, key: str) -> CornerResult | None:
        """The result stored under `key`; None where there is none that is whole."""
        with self._lock:
            queued = self._queued.get(key)
            row = None if queued is not None else self._known_rows().get(hash(key))
            if row is None:
                return queued
            found = self._fetch("SELECT key, result FROM simulations WHERE rowid = ?", row)
        try:
            return unpack_result(found[0][1]) if found and found[0][0] == key else None
        except ValueError:
            return None

    def count_simulations(self) -> int:
        return int(self._read("SELECT COUNT(DISTINCT key) FROM simulations")[0][0])

    def flush(self) -> None:
        """A good moment to write, as while simulators are waited for: writes what took a while to
        simulate, or has waited for a while. Raises StorageError.
        """
        with self._lock:
            if self._at_risk >= 0.75 * AT_RISK or self._overdue():
                self.write()

    def _waits(self, seconds: float) -> None:
        """A row more waits, of so many seconds of simulating; write where that is too much."""
        if self._connection is None:
            raise StorageError(f"{self.path}: the ledger is closed")
        if not self._since:
            self._since = time.monotonic()
        self._at_risk += seconds
        if self._at_risk >= AT_RISK or self._overdue():
            self.write()

    def _overdue(self) -> bool:
        return bool(self._since) and time.monotonic() - self._since >= AT_RISK

    def write(self) -> None:
        """Write every row that waits; where that fails they go on waiting. Raises StorageError."""
        with self._lock:
            if not self._since:
                return
            with self._writing() as connection:
                # packed here, many at a time: in warm caches that takes a third of the time
                rows = [(*row[:4], pack_result(row[4]), row[5]) for row in self._simulations]
                connection.executemany(_ADD_SIMULATION, rows)
                connection.executemany(_ADD_TRIAL, map(_trial_row, self._trials))
            self._trials.clear()
            self._simulations.clear()
            self._queued.clear()
            self._since = self._at_risk = 0.0

    def _known_rows(self) -> dict[int, int]:
        if self._rows is None:
            rows = self._fetch("SELECT rowid, key FROM simulations ORDER BY rowid")
            self._rows = {hash(key): row for row, key in rows}
            self._next_row = rows[-1][0] + 1 if rows else 1
        return self._rows

    def _claim(self) -> None:
        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            guard = open(self.run_dir / "lock", "a+", encoding="ascii")  # noqa: SIM115
        except OSError as error:
            raise StorageError(f"{self.run_dir}: cannot write there: {error.strerror}") from error
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            guard.seek(0)
            holder = guard.read().strip() or "unknown"
            guard.close()
            raise StorageError(
                f"{self.run_dir}: another run (process {holder}) is using this run directory; "
                "wait for it, or name another with --run-dir"
            ) from error
        self._guard = guard
        with self._storing():
            guard.truncate(0)
            guard.write(str(os.getpid()))
            guard.flush()

    def _open(self, read_only: bool) -> None:
        try:
            self._connect(read_only)
        except sqlite3.DatabaseError as error:
            if read_only or not damaged(error):
                raise self._storage_error(error) from error
            self._salvage()

    def _connect(self, read_only: bool) -> None:
        mode = "ro" if read_only else "rwc"
        self._connection = connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}",
            uri=True,
            check_same_thread=False,
            isolation_level=None,
            timeout=30,
        )
        if not read_only:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(_SCHEMA)
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('format', ?)", (str(FORMAT),))
        found = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
        if found is None or found[0] not in _READ:
            raise StorageError(
                f"{self.path}: ledger format {found and found[0]}, "
                f"this m3eda reads formats {' and '.join(_READ)}; name another --run-dir"
            )
        if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("database disk image is malformed")
        if not read_only:
            # an m3eda that reads format 1 only must not meet what is written from here on
            connection.execute("UPDATE meta SET value = ? WHERE key = 'format'", (str(FORMAT),))

    def _salvage(self) -> None:
        """Set a damaged file aside and copy every row that can still be read into a new one."""
        if self._connection is not None:
            self._connection.close()
        number = 1
        while (aside := self.path.with_suffix(f".damaged-{number}")).exists():
            number += 1
        with self._storing():
            os.replace(self.path, aside)
            for suffix in ("-wal", "-shm"):
                beside = Path(f"{self.path}{suffix}")
                if beside.exists():
                    os.replace(beside, Path(f"{aside}{suffix}"))
        self._connect(read_only=False)
        self.salvaged = True
        for table in ("segments", "trials", "simulations"):
            with self._writing() as connection:
                for row in whole_rows(aside, table):
                    places = ", ".join("?" * len(row))
                    connection.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", row)

    def _read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a query, with all that was added so far."""
        with self._lock:
            self.write()
            return self._fetch(query, *values)

    def _fetch(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock, self._storing():
            return self._open_connection().execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._storing():
            connection = self._open_connection()
            connection.rollback()  # of what an interruption has left open, if any
            with connection:  # commits, and rolls back where the body raises
                connection.execute("BEGIN IMMEDIATE")
                yield connection

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StorageError(f"{self.path}: the ledger is closed")
        return self._connection

    @contextmanager
    def _storing(self) -> Iterator[None]:
        """Every storage fault of the body as one StorageError that names the file."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._storage_error(error) from error

    def _storage_error(self, error: Exception) -> StorageError:
        text = str(error)
        if full(error):
            text = "the disk is full; free some room and run the same command again to go on"
        elif isinstance(error, sqlite3.DatabaseError) and damaged(error):
            text = "the ledger is damaged; `m3eda size` salvages it"
        return StorageError(f"{self.path}: {text}")


def _seconds(result: CornerResult) -> float:
    """What it would cost to simulate once more; a failure may not know, and counts as slow."""
    if not result.runs:
        return 0.0
    return result.seconds if result.state is State.COMPLETE and result.seconds else AT_RISK


def _trial_row(queued: tuple[int, StoredTrial, float]) -> tuple[int, int, bytes, bytes, float]:
    segment, trial, finished = queued
    sizing, results = pack_sizing(trial.sizing), pack_results(trial.results)
    return segment, trial.number, sizing, results, finished


def _stored_trial(number: int, sizing: bytes | str, results: bytes | str) -> StoredTrial | None:
    """A trial as it was stored; None where it is damaged."""
    try:
        return StoredTrial(number, unpack_sizing(sizing), unpack_results(results))
    except ValueError:
        return None
