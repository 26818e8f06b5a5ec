"""Dependency files in Makefile syntax, as compilers write with `-MMD -MP`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from m3eda.errors import StorageError
from m3eda.report.atomic import write_atomic

_SPECIAL = re.compile(r"(\\*)([ \t#:*?\[\]])")


def depfile_text(
    targets: Iterable[str | Path],
    prerequisites: Iterable[str | Path],
    base: Path | None = None,
) -> str:
    """One rule `targets: prerequisites`, and an empty rule for each prerequisite.

    The empty rules keep make going when a prerequisite is deleted. Targets are written as given,
    since make compares names; prerequisites below `base` relative to it, so that they match the
    names a Makefile in that directory gives them. Raises StorageError for a name with a line break.
    """
    names = list(dict.fromkeys(str(target) for target in targets))
    same = {os.path.abspath(os.path.join(base or "", name)) for name in names}
    needed = list(dict.fromkeys(_relative(str(p), base) for p in prerequisites))
    needed = [n for n in needed if os.path.abspath(os.path.join(base or "", n)) not in same]
    rule = " \\\n  ".join(
        [" ".join(map(_target, names)) + ":", *(_escape(name) for name in needed)]
    )
    empty = "".join(f"\n{_target(name)}:\n" for name in needed)
    text = f"{rule}\n{empty}"
    return f"m3eda_equals := =\n{text}" if "$(m3eda_equals)" in text else text


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


def _escape(name: str) -> str:
    """A file name where make reads prerequisites; backslashes before a special sign are doubled."""
    if "\n" in name:
        raise StorageError(f"{name!r}: a dependency file cannot hold a name with a line break")
    escaped = _SPECIAL.sub(lambda match: 2 * match[1] + "\\" + match[2], name.replace("$", "$$"))
    # make reads `a=b` as an assignment, and has no escape for the sign
    return escaped.replace("=", "$(m3eda_equals)")


def _target(name: str) -> str:
    """A file name where make reads targets, in which a `%` would make a pattern rule."""
    return _escape(name).replace("%", r"\%")
