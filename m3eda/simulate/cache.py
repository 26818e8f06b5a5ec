"""The cache: results of simulations, shared by all runs of a user.

It holds what is certain to come out the same again, under a key made of everything that decides
it. It is a convenience: whatever happens to it (locked, full, damaged, gone) costs a run its hits
and a note, never its results. Writing is batched and waits for no disk.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from m3eda.errors import StorageError
from m3eda.simulate.cache_place import (
    DEFAULT_SIZE,
    cache_file,
    cache_folder,
    next_file,
    parse_size,
    set_aside,
)
from m3eda.simulate.encoding import pack_result, unpack_result
from m3eda.simulate.salvage import damaged, full
from m3eda.simulate.trial import CornerResult

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, testbench TEXT NOT NULL,
    corner TEXT NOT NULL, result BLOB NOT NULL, used INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""
_MADE = "SELECT 1 FROM sqlite_master WHERE name = 'counts'"
# entries used last have the highest id: used again, an entry gets a new one
_GET = "SELECT id, result, used FROM entries WHERE key = ?"
_ADD = "INSERT OR REPLACE INTO entries (key, testbench, corner, result, used) VALUES (?,?,?,?,?)"
_TOUCH = "UPDATE entries SET id = (SELECT max(id) + 1 FROM entries), used = ? WHERE id = ?"
_DROP = "DELETE FROM entries WHERE id IN (SELECT id FROM entries ORDER BY id LIMIT ?)"
_COUNT = "INSERT INTO counts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + ?2"
_BATCH = 256
_WAIT = 1.0
"""Seconds after which what was added is written at the next occasion."""
_MOMENT = 0.05
"""Seconds a run waits for a file that another process has locked."""
_PATIENCE = 10.0
_STALE = 3600
"""Seconds after which a use is noted once more."""
_MOST_QUEUED = 4096
_MOST_KEYS = 500_000
"""Keys held in memory at most."""


@dataclass(frozen=True)
class CacheStats:
    """What a cache holds, and what it was good for."""

    path: Path
    entries: int
    bytes: int
    """Its file and journal on the disk."""
    aside: int
    """Bytes of damaged files that were set aside."""
    oldest: float | None
    """When the entry longest not used was used, in seconds since the epoch; within an hour."""
    newest: float | None
    hits: int
    misses: int
    since: float
    """When hits and misses began to be counted, in seconds since the epoch."""


class Cache:
    """The cache in `folder`, of at most about `limit` bytes. Used from one thread.

    Only `stats`, `prune` and `clear` raise; `note` says what a user should be told once.
    """

    def __init__(self, folder: Path | None, limit: int = DEFAULT_SIZE, note: str = "") -> None:
        self.limit, self.note = limit, note
        self.path = folder
        self._connection: sqlite3.Connection | None = None
        self._writable = True
        self._renewed = False
        self._queue: dict[bytes, tuple[str, str, CornerResult]] = {}
        self._touched: set[int] = set()
        self._since = 0.0
        self._hits = self._misses = 0
        self._keys: set[int] | None = None
        self._last = 0
        """The highest id that `_keys` knows of."""
        self._missed = 0
        if folder is None or not limit:
            return
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            self._give_up(str(error.strerror or error))
            return
        with self._forgiving():
            self._open(cache_file(folder))

    @classmethod
    def of_user(cls, environment: Mapping[str, str] = os.environ) -> Cache:
        """The user's own, as the environment names it; off where M3EDA_CACHE_SIZE is 0."""
        limit, note = DEFAULT_SIZE, ""
        try:
            limit = parse_size(environment.get("M3EDA_CACHE_SIZE") or str(DEFAULT_SIZE))
        except ValueError as error:
            note = f"M3EDA_CACHE_SIZE: {error}; the cache may take {DEFAULT_SIZE // 10**6} MB"
        folder = cache_folder(environment)
        if folder is None and limit:
            note = "no cache of simulations: HOME is not set; set M3EDA_CACHE to a folder"
        return cls(folder, limit, note)

    @property
    def on(self) -> bool:
        return self._connection is not None

    def get(self, key: str) -> CornerResult | None:
        """The result kept under `key`, if any."""
        if self._connection is None:
            return None
        digest = _digest(key)
        if digest in self._queue:
            return self._queue[digest][2]
        if self._keys is not None and hash(digest) not in self._keys:
            self._misses += 1
            return None
        try:
            found = self._connection.execute(_GET, (digest,)).fetchone()
            if found is not None:
                return self._hit(*found)
            self._miss(self._connection)
        except ValueError:  # a damaged entry: it will be replaced
            return None
        except (sqlite3.Error, OSError) as error:
            self._recover(error)
        return None

    def add(self, key: str, testbench: str, corner: str, result: CornerResult) -> None:
        """Keep `result`, which must be what `key` gives whenever it is simulated."""
        if self._connection is None or not self._writable:
            return
        self._queue[_digest(key)] = (testbench, corner, result)
        now = time.monotonic()
        self._since = self._since or now
        if len(self._queue) % _BATCH == 0 or now - self._since > _WAIT:
            self.flush()

    def flush(self) -> None:
        """Write what was added, and drop what was used least recently where that is too much."""
        with self._forgiving():
            self._write()

    def close(self) -> None:
        """Write what is left, and let the file go."""
        with self._forgiving():
            self._write()
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def stats(self) -> CacheStats | None:
        """What the cache holds; None where it is off. Raises StorageError."""
        if self._connection is None or self.path is None:
            return None
        with self._strict() as connection:
            self._write()
            entries = connection.execute("SELECT count(*) FROM entries").fetchone()[0]
            ends = [
                connection.execute(f"SELECT used FROM entries ORDER BY id {way} LIMIT 1").fetchone()
                for way in ("ASC", "DESC")
            ]
            counts = dict(connection.execute("SELECT name, value FROM counts").fetchall())
        oldest, newest = (float(row[0]) if row else None for row in ends)
        sizes = [_size(Path(f"{self.path}{suffix}")) for suffix in ("", "-wal")]
        aside = sum(map(_size, set_aside(self.path.parent)))
        hits, misses, since = (counts.get(name, 0) for name in ("hits", "misses", "since"))
        return CacheStats(
            self.path, entries, sum(sizes), aside, oldest, newest, hits, misses, float(since)
        )

    def prune(self, size: int) -> None:
        """Drop what was used least recently until `size` bytes are left, and damaged files that
        were set aside. Gives the space back. Raises StorageError."""
        with self._strict() as connection:
            self._write()
            while (used := _pages(connection)) > size:
                entries = connection.execute("SELECT count(*) FROM entries").fetchone()[0]
                excess = int(entries * (1 - size / used)) + 1
                if not _drop(connection, min(excess, 20 * _BATCH)):
                    break
            # as a script: one step of this statement gives back one page only
            connection.executescript("PRAGMA incremental_vacuum")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        for path in set_aside(self.path.parent) if self.path is not None else ():
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Drop everything, the counts of hits too. Raises StorageError."""
        self.prune(0)
        with self._strict() as connection:
            connection.execute("DELETE FROM counts WHERE name <> 'since'")
            connection.execute("UPDATE counts SET value = ?", (int(time.time()),))

    def _open(self, path: Path) -> None:
        self.path = path
        connection = sqlite3.connect(
            path, isolation_level=None, timeout=10 * _MOMENT, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("PRAGMA journal_mode=WAL")
            # a loss of power may damage the file: then it is begun anew, and no run ever waits
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute(f"PRAGMA journal_size_limit={10**7}")
            # the table made last: another process may be making them just now
            if not connection.execute(_MADE).fetchone():
                connection.executescript(_SCHEMA)
            if not connection.execute("SELECT 1 FROM counts WHERE name = 'since'").fetchone():
                now = int(time.time())
                connection.execute("INSERT OR IGNORE INTO counts VALUES ('since', ?)", (now,))
            connection.execute(f"PRAGMA busy_timeout={int(1000 * _MOMENT)}")
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _hit(self, row: int, packed: bytes, used: int) -> CornerResult:
        result = unpack_result(packed)
        self._hits += 1
        if used < time.time() - _STALE:
            self._touched.add(row)
        return result

    def _miss(self, connection: sqlite3.Connection) -> None:
        self._misses += 1
        self._missed += 1
        if self._missed % 1000:
            return
        # the keys are held in memory once more time has gone to misses than reading them takes
        first, last = connection.execute("SELECT min(id), max(id) FROM entries").fetchone()
        if (last or 0) - (first or 0) < min(25 * self._missed, _MOST_KEYS):
            self._keys = set()
            self._hear(connection, self._keys)

    def _hear(self, connection: sqlite3.Connection, keys: set[int]) -> None:
        """Add to `keys` those of entries that are new, other processes' too."""
        last = connection.execute("SELECT max(id) FROM entries").fetchone()[0] or 0
        if last < self._last:  # cleared, and filled again
            self._last = 0
        new = connection.execute("SELECT key FROM entries WHERE id > ?", (self._last,))
        keys.update(hash(key) for (key,) in new)
        self._last = last

    def _write(self) -> None:
        connection = self._connection
        if connection is None or not self._writable:
            return
        now = int(time.time())
        rows = [(key, t, c, pack_result(r), now) for key, (t, c, r) in self._queue.items()]
        counts = [("hits", self._hits), ("misses", self._misses)]
        if rows or self._touched or self._hits or self._misses:
            with _transaction(connection):
                connection.executemany(_TOUCH, [(now, row) for row in self._touched])
                connection.executemany(_ADD, rows)
                connection.executemany(_COUNT, counts)
        self._queue.clear()
        self._touched.clear()
        self._hits = self._misses = 0
        self._since = 0.0
        if self._keys is not None:
            self._hear(connection, self._keys)
        self._trim(connection)

    def _trim(self, connection: sqlite3.Connection) -> None:
        """Keep to the limit, a little at a time: a run must not wait."""
        if _pages(connection) > self.limit:
            _drop(connection, 2 * _BATCH)
        if _pages(connection, free=True) > self.limit:
            connection.executescript(f"PRAGMA incremental_vacuum({_BATCH})")

    @contextlib.contextmanager
    def _forgiving(self) -> Iterator[None]:
        """A fault of the body costs hits, or the cache; it never ends a run."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._recover(error)

    def _recover(self, error: Exception) -> None:
        if damaged(error):
            self._begin_anew()
        elif full(error):
            self._writable = False
            self.note = f"{self.path}: the disk is full; results are not cached any more"
        elif self.on and ("locked" in str(error) or "busy" in str(error)):
            if len(self._queue) >= _MOST_QUEUED:
                self._queue.clear()
        else:
            self._give_up(str(error))

    def _begin_anew(self) -> None:
        """Leave a damaged file behind and go on with a new one."""
        self._disconnect()
        aside = self.path
        if self._renewed or aside is None:
            self._give_up("it is damaged again and again")
            return
        self._renewed = True
        with self._forgiving():
            for path in set_aside(aside.parent):
                path.unlink(missing_ok=True)
            self._open(next_file(aside))
            self.note = f"the cache of simulations was damaged: set aside ({aside}), begun anew"

    def _give_up(self, cause: str) -> None:
        self._disconnect()
        self.note = f"no cache of simulations: {self.path}: {cause}"

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._keys, self._last = None, 0
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    @contextlib.contextmanager
    def _strict(self) -> Iterator[sqlite3.Connection]:
        """The connection for a command that has time to wait, and says what went wrong."""
        if self._connection is None:
            raise StorageError(self.note or "the cache of simulations is off")
        try:
            self._connection.execute(f"PRAGMA busy_timeout={int(1000 * _PATIENCE)}")
            yield self._connection
            self._connection.execute(f"PRAGMA busy_timeout={int(1000 * _MOMENT)}")
        except (sqlite3.Error, OSError) as error:
            if damaged(error):
                self._begin_anew()
                raise StorageError(self.note) from error
            raise StorageError(f"{self.path}: {error}") from error


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.rollback()  # of what an interruption has left open, if any
    with connection:  # commits, and rolls back where the body raises
        connection.execute("BEGIN IMMEDIATE")
        yield


def _drop(connection: sqlite3.Connection, count: int) -> int:
    """Drop so many entries; how many there were to drop."""
    with _transaction(connection):
        return connection.execute(_DROP, (count,)).rowcount


def _pages(connection: sqlite3.Connection, *, free: bool = False) -> int:
    """Bytes of the pages in use, and with `free` of all."""
    size, count, unused = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_size", "page_count", "freelist_count")
    )
    return size * (count if free else count - unused)


def _digest(key: str) -> bytes:
    return blake2b(key.encode(), digest_size=16).digest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
