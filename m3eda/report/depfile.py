"""Dependency files in Makefile syntax, as compilers write with `-MMD -MP`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from m3eda.errors import StorageError
from m3eda.report.atomic import write_atomic

# a `%` makes a pattern rule of a target, a `|` makes what follows an order-only prerequisite
_IN_TARGET = re.compile(r"(\\*)([ #:*?\[\]%])")
_IN_PREREQUISITE = re.compile(r"(\\*)([ #:*?\[\]|])")
_EQUALS = "$(m3eda_equals)"
"""Stands for `=`: make reads `a=b` as an assignment, and has no escape for the sign."""


def depfile_text(
    targets: Iterable[str | Path],
    prerequisites: Iterable[str | Path],
    base: Path | None = None,
) -> str:
    """One rule `targets: prerequisites`, and an empty rule for each prerequisite.

    The empty rules keep make going when a prerequisite is deleted. Targets are written as given,
    since make compares names; prerequisites below `base` relative to it, so that they match the
    names a Makefile in that directory gives them. Raises StorageError for a name that make
    cannot read, such as one with a semicolon.
    """
    names = list(dict.fromkeys(str(target) for target in targets))
    same = {os.path.abspath(os.path.join(base or "", name)) for name in names}
    needed = list(dict.fromkeys(_relative(str(p), base) for p in prerequisites))
    needed = [n for n in needed if os.path.abspath(os.path.join(base or "", n)) not in same]
    targets_text = " ".join(_escape(name, _IN_TARGET) for name in names)
    rule = " \\\n  ".join([f"{targets_text}:", *(_escape(n, _IN_PREREQUISITE) for n in needed)])
    empty = "".join(f"\n{_escape(name, _IN_TARGET)}:\n" for name in needed)
    text = f"{rule}\n{empty}"
    return f"m3eda_equals := =\n{text}" if _EQUALS in text else text


def write_depfile(
    path: Path,
    targets: Iterable[str | Path],
    prerequisites: Iterable[str | Path],
    base: Path | None = None,
) -> bool:
    """Write `depfile_text` to `path`; True where the file changed. Raises StorageError."""
    return write_atomic(path, depfile_text(targets, prerequisites, base))


def _relative(name: str, base: Path | None) -> str:
    if base is None or not os.path.isabs(name):
        return name
    relative = os.path.relpath(name, base)
    return name if relative.startswith(os.pardir) else relative


def _escape(name: str, special: re.Pattern[str]) -> str:
    """A file name as make reads it; backslashes before a `special` sign are doubled."""
    if ";" in name or not name.isprintable():
        raise StorageError(
            f"{name!a}: a dependency file cannot hold a name with a semicolon, a tab, "
            "a line break or another sign that does not print"
        )
    escaped = special.sub(lambda match: 2 * match[1] + "\\" + match[2], name.replace("$", "$$"))
    return escaped.replace("=", _EQUALS)
