"""What can still be read of a damaged SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from m3eda.simulate.encoding import is_whole


def damaged(error: Exception) -> bool:
    """True where SQLite says that the file is at fault, not the disk or a right."""
    text = str(error)
    return any(word in text for word in ("malformed", "not a database", "corrupt", "no such table"))


def full(error: Exception) -> bool:
    """True where SQLite or the system says that the disk is full."""
    return "full" in str(error) or "No space left" in str(error)


def whole_rows(path: Path, table: str) -> Iterator[tuple[Any, ...]]:
    """Rows of `table` that are whole, once by their first column but for `trials`; none where the
    file is no database at all."""
    seen = set()
    for row in filter(_whole, _readable_rows(path, table)):
        key = row[:2] if table == "trials" else row[0]
        if key not in seen:
            seen.add(key)
            yield row


def _whole(row: tuple[Any, ...]) -> bool:
    """True where no value was cut: SQLite may give a row whose end lay on a lost page."""
    try:
        for value in row:
            if isinstance(value, bytes) and not is_whole(value):
                return False
            if isinstance(value, str) and value.startswith(("{", "[")):
                json.loads(value)
            elif isinstance(value, str) and "\0" in value:
                return False
    except ValueError:
        return False
    return True


def _readable_rows(path: Path, table: str) -> Iterator[tuple[Any, ...]]:
    """Rows of `table`, some of them twice, but for those that the damage has taken."""
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
