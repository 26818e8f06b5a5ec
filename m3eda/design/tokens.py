"""The spelling of expressions: SPICE's numbers and waveforms translated into Python's syntax."""

from __future__ import annotations

import ast
import re
from bisect import bisect_right

from m3eda.units import NumberError, parse

WAVE = "_wave"
DEVICE = "_device"

NOISE_VECTORS = frozenset(
    {"onoise_spectrum", "inoise_spectrum", "onoise_total", "inoise_total"}
)  # fmt: skip
"""Vectors of a noise analysis, which stand without `v(...)`."""

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<device>@[^\s\[\]@(),]+\[\w+\])
    |(?P<wave>[viVI]\s*\([^()]*\))
    |(?P<port>[syzSYZ]\s*\(\s*\d+\s*,\s*\d+\s*\))
    |(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[%°\w]*)
    |(?P<name>[A-Za-z]\w*(?:[.:\#]\w+)*)
    |(?P<text>'[^'"\\\n]*'|"[^'"\\\n]*")
    |(?P<operator>\*\*|[-+*/^(),=])""",
    re.VERBOSE,
)
_NODE = re.compile(r"[^\s()\[\],]+(?:\[\w+\])?")


class ExpressionError(ValueError):
    """An expression that cannot be read or evaluated; `column` is 0-based, None where unknown."""

    def __init__(self, message: str, column: int | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.column = column
        self.hint = hint


class Translation:
    """`text` in Python's syntax. Raises ExpressionError with the column of what is not a token.

    Waveforms and dotted device names become placeholders: `waves` and `devices` tell what each
    stands for; `v(a,b)` stands for the difference of its two vectors.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.waves: dict[str, tuple[str, ...]] = {}
        self.devices: dict[str, str] = {}
        self._starts: list[int] = []
        self._origins: list[int] = []
        self._python = ""
        position = len(text) - len(text.lstrip())
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise ExpressionError(f"does not understand '{text[position]}'", position)
            self._starts.append(len(self._python))
            self._origins.append(position)
            self._python += self._translated(match)
            position = match.end()

    def tree(self) -> ast.expr:
        """Python's syntax tree of the whole. Raises ExpressionError with the column."""
        try:
            return ast.parse(self._python, mode="eval").body
        except SyntaxError as error:
            column = self._column(error.offset - 1) if error.offset else len(self.text)
            found = self.text[column : column + 12].split("\n")[0]
            message = f"is not an expression at '{found}'" if found else "breaks off"
            raise ExpressionError(message, column) from error
        except (RecursionError, MemoryError) as error:
            raise ExpressionError("is nested too deeply", 0) from error

    def column_of(self, node: ast.expr) -> int:
        """0-based column in the text where `node` begins."""
        return self._column(node.col_offset)

    def _column(self, offset: int) -> int:
        if offset >= len(self._python):
            return len(self.text)
        return self._origins[bisect_right(self._starts, offset) - 1]

    def _translated(self, match: re.Match[str]) -> str:
        """One token in Python's spelling."""
        kind, token = match.lastgroup, match[0]
        if kind == "wave":
            return self._wave(self._vectors(match))
        if kind == "port":
            return self._wave(("".join(token.lower().split()),))
        if kind == "device":
            return self._wave((token.lower(),))
        if kind == "number":
            try:
                return repr(parse(token))
            except NumberError as error:
                raise ExpressionError(str(error), match.start(), error.hint) from error
        if kind == "name" and token.lower() in NOISE_VECTORS:
            return self._wave((token.lower(),))
        if kind == "name" and not token.isidentifier():
            placeholder = f"{DEVICE}{len(self.devices)}"
            self.devices[placeholder] = token
            return placeholder
        if kind == "space":
            return " "
        return "**" if token == "^" else token

    def _wave(self, vectors: tuple[str, ...]) -> str:
        for placeholder, known in self.waves.items():
            if known == vectors:
                return placeholder
        placeholder = f"{WAVE}{len(self.waves)}"
        self.waves[placeholder] = vectors
        return placeholder

    @staticmethod
    def _vectors(match: re.Match[str]) -> tuple[str, ...]:
        letter, _, inside = match[0].lower()[:-1].partition("(")
        letter, nodes = letter.strip(), [node.strip() for node in inside.split(",")]
        if len(nodes) > (2 if letter == "v" else 1) or not all(map(_NODE.fullmatch, nodes)):
            raise ExpressionError(
                f"'{match[0]}' is not a waveform", match.start(),
                "v(node), v(node, node), i(device) or @device[value]",
            )  # fmt: skip
        return tuple(f"{letter}({node})" for node in nodes)
