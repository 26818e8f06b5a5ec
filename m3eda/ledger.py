"""The ledger: every simulation and every trial of a run directory, in one SQLite file.

A simulation is stored the moment it ends, under a key made of everything that decides its result
(deck, included files, simulator, measures), so no simulator run is ever paid for twice. Trials are
stored in order, in segments: one segment for each recipe (design, agent, seed...) tried in the run
directory. Measures are kept raw, so changed specs score old trials anew.

WAL with synchronous=NORMAL survives the death of the process at any moment. One process writes at
a time, held by a lock on a file beside it.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from m3eda.design.types import Sizing
from m3eda.errors import StorageError
from m3eda.simulate.trial import CornerResult, Sweep
from m3eda.simulate.types import State

FORMAT = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS segments (
    id INTEGER PRIMARY KEY, recipe TEXT NOT NULL, circuit TEXT NOT NULL, design TEXT NOT NULL,
    agent TEXT NOT NULL, seed INTEGER NOT NULL, simulator TEXT NOT NULL, started REAL NOT NULL);
CREATE TABLE IF NOT EXISTS trials (
    segment INTEGER NOT NULL REFERENCES segments(id), number INTEGER NOT NULL,
    sizing TEXT NOT NULL, results TEXT NOT NULL, finished REAL NOT NULL,
    PRIMARY KEY (segment, number));
CREATE TABLE IF NOT EXISTS simulations (
    key TEXT PRIMARY KEY, testbench TEXT NOT NULL, corner TEXT NOT NULL, result TEXT NOT NULL,
    finished REAL NOT NULL);
"""


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


def encode_result(result: CornerResult) -> dict[str, Any]:
    """A corner's result as JSON-ready data; nan becomes null."""
    data = asdict(result)
    data["state"] = result.state.value
    data["measures"] = {k: _encoded(v) for k, v in result.measures.items()}
    for sweep in data["swept"].values():
        sweep["values"] = [_encoded(value) for value in sweep["values"]]
    return data


def _encoded(value: float) -> float | None:
    return None if math.isnan(value) else value


def _decoded(value: float | None) -> float:
    return math.nan if value is None else float(value)


def decode_result(data: Mapping[str, Any]) -> CornerResult:
    read: dict[str, Any] = {
        "measures": {k: _decoded(v) for k, v in data["measures"].items()},
        "state": State(data["state"]),
        "swept": {
            name: Sweep(
                sweep["condition"], tuple(sweep["points"]), tuple(map(_decoded, sweep["values"]))
            )
            for name, sweep in data.get("swept", {}).items()
        },
    }
    return CornerResult(**{**data, **read})


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
        self._lock = threading.Lock()
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
        connection = getattr(self, "_connection", None)
        if connection is not None:
            connection.close()
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
            values = {**asdict(segment), "id": int(cursor.lastrowid or 0)}
        return Segment(**values)

    def segments(self) -> list[Segment]:
        rows = self._read(
            "SELECT id, recipe, circuit, design, agent, seed, simulator, started"
            " FROM segments ORDER BY id"
        )
        return [Segment(*row) for row in rows]

    def add_trial(self, segment: int, trial: StoredTrial) -> None:
        results = {corner: encode_result(result) for corner, result in trial.results.items()}
        with self._writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO trials VALUES (?, ?, ?, ?, ?)",
                (
                    segment,
                    trial.number,
                    json.dumps(dict(trial.sizing)),
                    json.dumps(results),
                    time.time(),
                ),
            )

    def trials(self, segment: int) -> list[StoredTrial]:
        rows = self._read(
            "SELECT number, sizing, results FROM trials WHERE segment = ? ORDER BY number", segment
        )
        return [
            StoredTrial(
                number,
                json.loads(sizing),
                {c: decode_result(r) for c, r in json.loads(results).items()},
            )
            for number, sizing, results in rows
        ]

    def add_simulation(self, key: str, testbench: str, corner: str, result: CornerResult) -> None:
        with self._writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO simulations VALUES (?, ?, ?, ?, ?)",
                (key, testbench, corner, json.dumps(encode_result(result)), time.time()),
            )

    def simulation(self, key: str) -> CornerResult | None:
        rows = self._read("SELECT result FROM simulations WHERE key = ?", key)
        return decode_result(json.loads(rows[0][0])) if rows else None

    def count_simulations(self) -> int:
        return int(self._read("SELECT COUNT(*) FROM simulations")[0][0])

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
            if read_only or not _damaged(error):
                raise self._storage_error(error) from error
            self._salvage()

    def _connect(self, read_only: bool) -> None:
        mode = "ro" if read_only else "rwc"
        self._connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}",
            uri=True,
            check_same_thread=False,
            isolation_level=None,
            timeout=30,
        )
        if not read_only:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.executescript(_SCHEMA)
            self._connection.execute(
                "INSERT OR IGNORE INTO meta VALUES ('format', ?)", (str(FORMAT),)
            )
        found = self._connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
        if found is None or int(found[0]) != FORMAT:
            raise StorageError(
                f"{self.path}: ledger format {found and found[0]}, "
                f"this m3eda reads format {FORMAT}; name another --run-dir"
            )
        if self._connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("database disk image is malformed")

    def _salvage(self) -> None:
        """Set a damaged file aside and copy every row that can still be read into a new one."""
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
            for row in filter(_whole, _readable_rows(aside, table)):
                places = ", ".join("?" * len(row))
                with self._writing() as connection:
                    connection.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", row)

    def _read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock, self._storing():
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._storing():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _storing(self) -> Iterator[None]:
        """Every storage fault of the body as one StorageError that names the file."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._storage_error(error) from error

    def _storage_error(self, error: Exception) -> StorageError:
        text = str(error)
        if "full" in text or "No space left" in text:
            text = "the disk is full; free some room and run the same command again to go on"
        elif isinstance(error, sqlite3.DatabaseError) and _damaged(error):
            text = "the ledger is damaged; `m3eda size` salvages it"
        return StorageError(f"{self.path}: {text}")


def _damaged(error: Exception) -> bool:
    text = str(error)
    return any(word in text for word in ("malformed", "not a database", "corrupt", "no such table"))


def _whole(row: tuple[Any, ...]) -> bool:
    """True where no value was cut: SQLite may give a row whose end lay on a lost page."""
    try:
        for value in row:
            if isinstance(value, str) and value.startswith(("{", "[")):
                json.loads(value)
            elif isinstance(value, str) and "\0" in value:
                return False
    except ValueError:
        return False
    return True


def _readable_rows(path: Path, table: str) -> Iterator[tuple[Any, ...]]:
    """Rows of `table` until the damage; none where the file is no database at all."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)
    try:
        # without this SQLite reads nothing of a file that is shorter than its header says
        connection.execute("PRAGMA writable_schema=ON")
        # row by row from both ends: damage in the middle then costs only the pages it sits on
        for order in ("ASC", "DESC"):
            try:
                yield from connection.execute(f"SELECT * FROM {table} ORDER BY rowid {order}")
            except sqlite3.Error:
                continue
    except sqlite3.Error:
        return
    finally:
        connection.close()
