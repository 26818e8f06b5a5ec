"""A design file as text that a designer likes to read: one line a parameter, few quotes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

WIDTH = 110
"""Characters of a line, beyond which a mapping takes a line a key; parameters keep to one."""

_PLAIN = re.compile(r"(?!- )[\w.+(/$~-][^,\[\]{}#:\"]*")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "~", ""}
_SECTIONS = ("testbenches", "parameters", "measures", "specs", "objective")
"""Written with a blank line before each."""


def design_text(data: Mapping[str, Any], head: Iterable[str] = ()) -> str:
    """`data`, the words of a design file in order, as YAML; `head` are lines of comment."""
    lines = [f"# {line}".rstrip() for line in head]
    for key, value in data.items():
        if key in _SECTIONS or key == "conditions":
            lines.append("")
        if isinstance(value, Mapping) and key in _SECTIONS:
            lines.append(f"{key}:")
            lines += [line for name, entry in value.items()
                      for line in _entry(name, entry, 2, one_line=key == "parameters")]  # fmt: skip
        else:
            lines += _entry(key, value, 0)
    return "\n".join(lines) + "\n"


def _entry(key: str, value: Any, indent: int, *, one_line: bool = False) -> Iterator[str]:
    line = f"{' ' * indent}{key}: {flow(value)}"
    if one_line or len(line) <= WIDTH or not isinstance(value, Mapping):
        yield line
        return
    yield f"{' ' * indent}{key}:"
    for inner, each in value.items():
        yield from _entry(inner, each, indent + 2)


def flow(value: Any) -> str:
    """`value` in YAML's flow style."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def scalar(value: Any) -> str:
    """One value, in quotes where YAML would read it otherwise."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.9g}"
    text = " ".join(str(value).split())
    plain = _PLAIN.fullmatch(text) is not None and text.lower() not in _WORDS
    return text if plain and not text.endswith(" ") else json.dumps(text, ensure_ascii=False)
