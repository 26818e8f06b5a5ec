"""The text of a design.yaml: flow style, one line an entry, numbers as engineers write them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

_SUFFIXES = {12: "T", 9: "G", 6: "meg", 3: "k", 0: "", -3: "m", -6: "u", -9: "n", -12: "p",
             -15: "f", -18: "a"}  # fmt: skip
_NEVER_PLAIN = re.compile(r"[\[\]{}@%&*!|>'\"`#,?:]|-(?:\s|$|-)")
_WORDS = frozenset({"", "~", "null", "true", "false", "yes", "no", "on", "off", "none", "y", "n"})
WIDTH = 100


def engineering(value: float) -> str:
    """`value` exactly, with SPICE's scale factors: `0.5u`, `1.2`, `10meg`."""
    if value == 0.0:
        return "0"
    number = Decimal(repr(float(value)))
    exponent = 3 * (number.adjusted() // 3)
    hundreds = number.adjusted() - exponent == 2
    written = [
        f"{(number / Decimal(10) ** each).normalize():f}{_SUFFIXES[each]}"
        for each in ((exponent + 3, exponent) if hundreds else (exponent,))
        if each in _SUFFIXES
    ]
    return min(written, key=len, default=repr(value))


def rounded(value: float, digits: int = 2, *, up: bool | None = None) -> float:
    """`value` with so many significant digits; `up` tells to which side."""
    if value == 0.0:
        return 0.0
    number = Decimal(repr(float(value)))
    rounding = {None: "ROUND_HALF_EVEN", True: "ROUND_CEILING", False: "ROUND_FLOOR"}[up]
    place = Decimal(1).scaleb(number.adjusted() - digits + 1)
    return float(number.quantize(place, rounding=rounding))


def scalar(text: str, *, flow: bool = True) -> str:
    """`text` as a YAML scalar, in quotes where it needs them."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    risky = _NEVER_PLAIN.match(text) or ": " in text or " #" in text or text.endswith(":")
    if text.lower() in _WORDS or risky or (flow and re.search(r"[\[\]{},]", text)):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text


def flow(entry: Mapping[str, object]) -> str:
    """`{min: 1u, max: 10u}`; floats with scale factors, lists in brackets, mappings in braces."""
    return "{" + ", ".join(f"{key}: {value(item)}" for key, item in entry.items()) + "}"


def listed(items: Sequence[object]) -> str:
    """`[tt, ff]` or `[1.7, 1.8]`."""
    return value(list(items))


def value(item: object) -> str:
    """Any value in YAML's flow style."""
    if isinstance(item, Mapping):
        return flow(item)
    if isinstance(item, (list, tuple)):
        return "[" + ", ".join(value(each) for each in item) + "]"
    if isinstance(item, bool) or not isinstance(item, (int, float)):
        return str(item).lower() if isinstance(item, bool) else scalar(str(item))
    return engineering(item)


def comment(text: str, indent: str = "") -> list[str]:
    """`text` as comment lines of at most 100 characters."""
    lines, line = list[str](), f"{indent}#"
    for word in "".join(c if c.isprintable() else " " for c in text).split():
        if len(line) + 1 + len(word) > WIDTH and line.strip() != "#":
            lines.append(line)
            line = f"{indent}#"
        line += f" {word}"
    return [*lines, line]


def section(name: str, entries: Mapping[str, Sequence[str] | str]) -> list[str]:
    """A section in block style; an entry is its text, or comment lines and then its text."""
    lines = [f"{name}:"]
    for key, entry in entries.items():
        notes = [] if isinstance(entry, str) else list(entry[:-1])
        text = entry if isinstance(entry, str) else entry[-1]
        for note in notes:
            lines += comment(note, "  ")
        lines.append(f"  {key}: {text}")
    return lines
