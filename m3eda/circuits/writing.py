"""A design file as text that a designer likes to read: one line a parameter, few quotes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from m3eda.design.writing import value

WIDTH = 110
"""Characters of a line, beyond which a mapping takes a line a key; parameters keep to one."""

_SECTIONS = ("testbenches", "parameters", "measures", "specs")
"""Written with a blank line before each, an entry a line."""


def design_text(data: Mapping[str, Any], head: Iterable[str] = ()) -> str:
    """`data`, the words of a design file in order, as YAML; `head` are lines of comment."""
    lines = [f"# {line}".rstrip() for line in head]
    for key, section in data.items():
        if key in (*_SECTIONS, "conditions"):
            lines.append("")
        if key in _SECTIONS:
            lines.append(f"{key}:")
            for name, entry in section.items():
                lines += _entry(name, entry, 2, one_line=key == "parameters")
        else:
            lines += _entry(key, section, 0)
    return "\n".join(lines) + "\n"


def _entry(key: str, entry: Any, indent: int, *, one_line: bool = False) -> Iterator[str]:
    line = f"{' ' * indent}{key}: {value(entry)}"
    if one_line or len(line) <= WIDTH or not isinstance(entry, Mapping):
        yield line
        return
    yield f"{' ' * indent}{key}:"
    for inner, each in entry.items():
        yield from _entry(inner, each, indent + 2)
