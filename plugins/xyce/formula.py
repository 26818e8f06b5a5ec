"""The tree of an expression in ngspice's dialect, by ngspice's precedence.

`^` and `**` bind from left to right and stronger than a sign before them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from m3eda_plugins.xyce.text import Refused

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[ed][+-]?\d+)?\w*)"
    r"|(?P<probe>[vi][rimp]?(?:db)?)\s*\(\s*(?P<inside>[^()]*)\)"
    r"|(?P<name>[a-z_@#$][\w.@#$]*(?:\[\w+\])?)"
    r"|(?P<sign>\*\*|&&|\|\||==|!=|<>|<=|>=|[-+*/^%\\?:<>!&|(){},'\"=~]))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Node:
    """A part of an expression: a `leaf` has text, an `operator` or `call` has arguments."""

    kind: str
    text: str
    inner: tuple[Node, ...] = ()


_LEVELS: tuple[tuple[str, ...], ...] = (
    ("||", "|"), ("&&", "&"), ("==", "!=", "<>"), ("<", ">", "<=", ">="), ("+", "-"),
    ("*", "/", "%", "\\"),
)  # fmt: skip


def parsed(text: str) -> Node:
    """The tree of an expression by ngspice's precedence. Raises Refused."""
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = " ".join(text.split())
        self._tokens: list[re.Match[str]] = []
        place, text = 0, self._text
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise self._unread(text[place:].split()[0])
            self._tokens.append(match)
            place = match.end()
        self._place = 0

    def whole(self) -> Node:
        node = self._ternary()
        if self._place < len(self._tokens):
            raise self._unread(self._tokens[self._place].group(0).strip())
        return node

    def _unread(self, what: str) -> Refused:
        return Refused(f"the expression '{self._text}' cannot be read at '{what}'")

    def _next(self, *signs: str) -> str:
        """Take the next token where it is one of these signs."""
        if self._place < len(self._tokens):
            sign = self._tokens[self._place]["sign"]
            if sign in signs:
                self._place += 1
                return sign
        return ""

    def _need(self, sign: str) -> None:
        if not self._next(sign):
            at = self._tokens[self._place].group(0) if self._place < len(self._tokens) else "end"
            raise self._unread(at.strip())

    def _ternary(self) -> Node:
        condition = self._level(0)
        if not self._next("?"):
            return condition
        yes = self._ternary()
        self._need(":")
        return Node("call", "?", (condition, yes, self._ternary()))

    def _level(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        left = self._level(level + 1)
        while sign := self._next(*_LEVELS[level]):
            left = Node("operator", sign, (left, self._level(level + 1)))
        return left

    def _unary(self) -> Node:
        sign = self._next("-", "+", "!", "~")
        if sign:
            inner = self._unary()
            return inner if sign == "+" else Node("unary", sign, (inner,))
        left = self._atom()
        while self._next("^", "**"):
            left = Node("operator", "^", (left, self._exponent()))
        return left

    def _exponent(self) -> Node:
        sign = self._next("-", "+", "!")
        if sign:
            inner = self._exponent()
            return inner if sign == "+" else Node("unary", sign, (inner,))
        return self._atom()

    def _atom(self) -> Node:
        for opening, closing in (("(", ")"), ("{", "}"), ("'", "'"), ('"', '"')):
            if self._next(opening):
                inner = self._ternary()
                self._need(closing)
                return Node("numparam", "", (inner,)) if opening == "{" else inner
        if self._place == len(self._tokens):
            raise self._unread("its end")
        token = self._tokens[self._place]
        self._place += 1
        if token["sign"]:
            raise self._unread(token["sign"])
        if token["number"]:
            return Node("number", token["number"])
        if token["probe"]:
            return Node("probe", token["probe"], (Node("name", token["inside"]),))
        if not self._next("("):
            return Node("name", token["name"])
        arguments: list[Node] = []
        if not self._next(")"):
            arguments.append(self._ternary())
            while self._next(","):
                arguments.append(self._ternary())
            self._need(")")
        return Node("call", token["name"], tuple(arguments))
