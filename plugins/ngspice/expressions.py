"""numparam's plain arithmetic, as functions of a skeleton's numbers.

ngspice's numparam reckons in double precision from left to right and writes a value into a device's
line with 16 digits: done the same way here, a device gets the very number it gets there. What is
not plain arithmetic (powers, comparisons, random numbers, `temper`) is not read at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from m3eda_plugins.ngspice.parameters import Unfit

Reckon = Callable[[Sequence[float]], float]
"""From the numbers of all tokens to a value."""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(?P<unit>[a-z]*)|(?P<name>[a-z_]\w*)"
    r"|(?P<sign>[-+*/(),]))",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)([a-z]*)", re.IGNORECASE)
_UNITS = {"t": 1e12, "g": 1e9, "k": 1e3, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
_FUNCTIONS: Mapping[str, tuple[int, Callable[..., float]]] = {
    "sqrt": (1, math.sqrt), "exp": (1, math.exp), "ln": (1, math.log), "log": (1, math.log),
    "log10": (1, math.log10), "abs": (1, abs), "int": (1, lambda x: float(math.trunc(x))),
    "floor": (1, lambda x: float(math.floor(x))), "ceil": (1, lambda x: float(math.ceil(x))),
    "sqr": (1, lambda x: x * x), "min": (2, min), "max": (2, max),
}  # fmt: skip


@dataclass(frozen=True)
class Value:
    """A value and the tokens it follows from."""

    reckon: Reckon
    tokens: frozenset[int] = frozenset()

    def text(self, numbers: Sequence[float]) -> str:
        """As numparam writes it. Raises Unfit where there is no such value."""
        try:
            value = self.reckon(numbers)
        except (ArithmeticError, ValueError) as error:
            raise Unfit("an expression has no value") from error
        return f"{value:.15e}"


Lookup = Callable[[str], Value]
"""The value of a name; raises Unfit for one that is not known."""


def number(text: str) -> float:
    """A number with a SPICE suffix as numparam reads it. Raises Unfit."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise Unfit(f"{text} is not a number")
    return float(match[1]) * _unit(match[2])


def compiled(text: str, lookup: Lookup) -> Value:
    """An expression, without its braces or quotes. Raises Unfit."""
    parser = _Parser(text, lookup)
    value = parser.sum()
    if parser.next() is not None:
        raise Unfit(f"no plain arithmetic: {text}")
    return value


def _unit(text: str) -> float:
    text = text.lower()
    return 1e6 if text.startswith("meg") else _UNITS.get(text[:1], 1.0)


class _Parser:
    def __init__(self, text: str, lookup: Lookup) -> None:
        self._lookup = lookup
        self._words: list[re.Match[str]] = []
        place, text = 0, text.strip()
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None or text.startswith("**", match.start("sign")):
                raise Unfit(f"no plain arithmetic: {text}")
            self._words.append(match)
            place = match.end()
        self._place = 0

    def next(self) -> re.Match[str] | None:
        """The token that comes next, left where it is."""
        return self._words[self._place] if self._place < len(self._words) else None

    def _take(self, signs: str) -> str:
        """The next token where it is one of these signs, else nothing."""
        word = self.next()
        if word is None or not word["sign"] or word["sign"] not in signs:
            return ""
        self._place += 1
        return word["sign"]

    def sum(self) -> Value:
        left = self._product()
        while sign := self._take("+-"):
            left = _joined(sign, left, self._product())
        return left

    def _product(self) -> Value:
        left = self._atom()
        while sign := self._take("*/"):
            left = _joined(sign, left, self._atom())
        return left

    def _atom(self) -> Value:
        if sign := self._take("+-"):
            inner = self._atom()
            return _negative(inner) if sign == "-" else inner
        if self._take("("):
            inner = self.sum()
            if not self._take(")"):
                raise Unfit("a bracket is not closed")
            return inner
        word = self.next()
        if word is None or word["sign"]:
            raise Unfit("an expression ends early")
        self._place += 1
        if word["number"]:
            value = float(word["number"]) * _unit(word["unit"])
            return Value(lambda numbers: value)
        if self._take("("):
            return self._call(word["name"].lower())
        return self._lookup(word["name"].lower())

    def _call(self, name: str) -> Value:
        arguments = [self.sum()]
        while self._take(","):
            arguments.append(self.sum())
        count, function = _FUNCTIONS.get(name, (0, abs))
        if not self._take(")") or len(arguments) != count:
            raise Unfit(f"no plain arithmetic: {name}")
        inner = [argument.reckon for argument in arguments]
        tokens = frozenset[int]().union(*(argument.tokens for argument in arguments))
        return Value(lambda numbers: function(*(each(numbers) for each in inner)), tokens)


def _joined(sign: str, left: Value, right: Value) -> Value:
    a, b = left.reckon, right.reckon
    made: Mapping[str, Reckon] = {
        "+": lambda numbers: a(numbers) + b(numbers),
        "-": lambda numbers: a(numbers) - b(numbers),
        "*": lambda numbers: a(numbers) * b(numbers),
        "/": lambda numbers: a(numbers) / b(numbers),
    }
    return Value(made[sign], left.tokens | right.tokens)


def _negative(value: Value) -> Value:
    inner = value.reckon
    return Value(lambda numbers: -inner(numbers), value.tokens)
