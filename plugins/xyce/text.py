"""Netlist text as statements: lines with their continuations, comments taken off, line for line.

A statement's text holds a vertical tab where a line of it ends. That is white space to whoever
reads it, and tells where to break the text that takes its place: every line of the netlist keeps
its number, and Xyce's "at or near line N" is the user's line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from m3eda.simulate.types import SimulationFailed, State

BREAK = "\v"

_COMMENT = re.compile(r";|//|(?:^|(?<=[\s,]))\$")
_GROUND = re.compile(r"(?<=[\s(,])gnd(?=[\s),]|$)", re.IGNORECASE)
_NESTED = re.compile(
    r"""\{(?:[^{}]|\{[^{}]*\})*\}|'[^']*'|"[^"]*"|\((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*\)"""
)
_WORD = re.compile(r"""\{(?:[^{}]|\{[^{}]*\})*\}|'[^']*'|"[^"]*"|[^\s,={}'"()]+|[(),=]""")
_KEY = re.compile(r"(?<![\w.])([A-Za-z_][\w.\[\]#]*)(\s*=\s*)(?!=)")


class Refused(Exception):
    """What Xyce cannot be told, in a few words; `line` is an index, -1 where not known yet."""

    def __init__(self, reason: str, line: int = -1, state: State = State.PARSE_ERROR) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line
        self.state = state

    def failure(self, file: str = "") -> SimulationFailed:
        """As the failed simulation that it makes: `line 7: ...`, or `models.lib line 7: ...`."""
        where = f"{file} line {self.line + 1}" if file else f"line {self.line + 1}"
        return SimulationFailed(self.state, f"{where}: {self.reason}")


def listed(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


class NoValue(Refused):
    """An expression of known parameters that has no value, such as 1/0."""


@dataclass(frozen=True)
class Statement:
    """A card of the netlist."""

    text: str
    """Without comments and leading `+`, its lines divided by BREAK."""
    lines: tuple[int, ...]
    """Indices of its lines; comments and blank lines between them are not its own."""

    @property
    def word(self) -> str:
        """Its first word, in lower case."""
        return self.text.split(maxsplit=1)[0].lower() if self.text.strip() else ""

    @property
    def first(self) -> int:
        return self.lines[0]


def statements(lines: Sequence[str], start: int = 1) -> Iterator[Statement]:
    """The cards among `lines` from `start` on, without comments and blank lines."""
    parts: list[str] = []
    owned: list[int] = []
    for index in range(start, len(lines)):
        line = lines[index].strip()
        if not line or line[0] == "*":
            continue
        line = without_comment(line)
        if not line:
            continue
        if line[0] == "+" and parts:
            parts.append(line[1:].strip())
            owned.append(index)
            continue
        if parts:
            yield Statement(BREAK.join(parts), tuple(owned))
        parts, owned = [line], [index]
    if parts:
        yield Statement(BREAK.join(parts), tuple(owned))


def without_comment(line: str) -> str:
    """A line without what stands behind `;`, `//`, or a `$` that follows white space."""
    match = _COMMENT.search(line)
    return line[: match.start()].rstrip() if match else line


def plain_comments(lines: list[str]) -> None:
    """Begin with `*` where a line is a comment by ngspice's other signs."""
    for index, line in enumerate(lines):
        if line.lstrip()[:1] in ("$", "/") and not without_comment(line.strip()):
            lines[index] = f"*{line}"


def put(lines: list[str], statement: Statement, text: str) -> None:
    """Write `text` in the statement's place; lines that it does not need become comments.

    A line that says the same to Xyce already stays to the letter.
    """
    pieces = [piece.strip() for piece in text.split(BREAK)]
    pieces += [""] * (len(statement.lines) - len(pieces))
    for number, (index, piece) in enumerate(zip(statement.lines, pieces, strict=True)):
        stands = lines[index].partition(";")[0].rstrip()
        if (stands[1:].strip() if stands[:1] == "+" else stands) != piece:
            lines[index] = (f"+ {piece}" if number else piece) if piece else "*"


def comment_out(lines: list[str], statement: Statement) -> None:
    """Keep the statement's lines for the reader only."""
    for index in statement.lines:
        lines[index] = f"*{lines[index].strip()}"


def grounded(text: str) -> str:
    """The text with `0` for the node `gnd`, by ngspice's own rule."""
    return _GROUND.sub("0", text) if "gnd" in text.lower() else text


def words(text: str) -> list[str]:
    """The text as words: whole expressions in braces or quotes, and `=`, `(`, `)`, `,` alone."""
    return _WORD.findall(text)


def first_key(text: str) -> int:
    """Where the first `key=value` begins; the end of the text where there is none."""
    return next((match.start() for match in _keys(text)), len(text))


def assignments(text: str) -> list[tuple[str, str]]:
    """`key=value` pairs, a value being all up to the next key; words before the first stand alone
    with the value ''."""
    keys = _keys(text)
    if not keys:
        return [(word, "") for word in words(text) if word not in "(),="]
    ends = [match.start() for match in keys[1:]] + [len(text)]
    alone = [(word, "") for word in words(text[: keys[0].start()]) if word not in "(),="]
    return alone + [
        (match[1], text[match.end() : end].strip().strip(",").strip())
        for match, end in zip(keys, ends, strict=True)
    ]


def with_assignments(text: str, change: Callable[[str, str], tuple[str, str]]) -> str:
    """The text with `change` made to each `key=value`; what does not change keeps its lines."""
    keys = _keys(text)
    ends = [match.start() for match in keys[1:]] + [len(text)]
    made, place = [], 0
    for match, end in zip(keys, ends if keys else [], strict=True):
        whole = text[match.end() : end]
        word = whole.strip().strip(",").strip()
        if not word:
            raise Refused(f"'{match[1]}=' has no value")
        key, changed = change(match[1], word)
        if (key, changed) == (match[1], word):
            made.append(text[place:end])
        else:
            trailing = whole[len(whole.rstrip()) :]
            made += [text[place : match.start()], f"{key}={changed}", trailing or " "]
        place = end
    return "".join([*made, text[place:]])


def _keys(text: str) -> list[re.Match[str]]:
    """Where `key=` stands outside of brackets and quotes."""
    masked = _NESTED.sub(lambda match: "\x00" * len(match[0]), text)
    return list(_KEY.finditer(masked))
