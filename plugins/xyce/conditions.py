"""`.if ... .elseif ... .else ... .endif`, which ngspice decides while it reads and Xyce cannot.

A condition is decided by the parameters of the netlist where they are plain numbers at last.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from functools import cached_property

from m3eda_plugins.xyce.formula import Node, parsed
from m3eda_plugins.xyce.text import NoValue, Refused, Statement
from m3eda_plugins.xyce.values import in_braces

from m3eda.units import NumberError, parse

_OPERATORS: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "%": math.fmod, "\\": lambda a, b: float(int(a / b)), "^": lambda a, b: float(abs(a) ** b),
    "==": operator.eq, "!=": operator.ne, "<>": operator.ne, "<": operator.lt, ">": operator.gt,
    "<=": operator.le, ">=": operator.ge, "&&": lambda a, b: float(bool(a) and bool(b)),
    "||": lambda a, b: float(bool(a) or bool(b)), "&": lambda a, b: float(bool(a) and bool(b)),
    "|": lambda a, b: float(bool(a) or bool(b)),
}  # fmt: skip
_FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "sqrt": math.sqrt, "exp": math.exp, "ln": math.log, "log": math.log, "log10": math.log10,
    "abs": abs, "int": lambda x: float(math.trunc(x)), "nint": lambda x: float(round(x)),
    "floor": math.floor, "ceil": math.ceil, "sqr": lambda x: x * x, "min": min, "max": max,
    "pow": math.pow, "pwr": lambda a, b: abs(a) ** b, "sin": math.sin, "cos": math.cos,
    "tan": math.tan, "sgn": lambda x: float((x > 0) - (x < 0)), "?": lambda c, a, b: a if c else b,
    "ternary_fcn": lambda c, a, b: a if c else b,
}  # fmt: skip
_DEEPEST = 100


class Parameters:
    """Parameters of a netlist by name, as expressions; the last of one name holds."""

    def __init__(self, read: Callable[[], Mapping[str, str]]) -> None:
        self._read = read

    @cached_property
    def _values(self) -> Mapping[str, str]:
        return self._read()

    def is_zero(self, name: str) -> bool:
        """Whether a parameter is known to be 0."""
        try:
            return self.evaluate(name) == 0.0
        except Refused:
            return False

    def evaluate(self, expression: str) -> float:
        """The number that an expression is. Raises Refused where it cannot be told here."""
        return self._number(parsed(expression), 0)

    def check(self, expression: str) -> None:
        """Raises Refused where an expression of known parameters has no value."""
        try:
            self.evaluate(expression)
        except NoValue as reason:
            raise Refused(f"'{expression}' has no value: {reason.reason}") from reason
        except Refused:
            return  # said elsewhere, or not known here

    def _number(self, node: Node, depth: int) -> float:
        if depth > _DEEPEST:
            raise Refused("parameters refer to each other in a circle")
        try:
            if node.kind == "number":
                return parse(node.text)
            if node.kind == "name":
                return self._named(node.text, depth)
            inner = [self._number(part, depth + 1) for part in node.inner]
            if node.kind == "numparam":
                return inner[0]
            if node.kind == "unary":
                return -inner[0] if node.text == "-" else float(not inner[0])
            known = _OPERATORS if node.kind == "operator" else _FUNCTIONS
            if node.text.lower() in known:
                return float(known[node.text.lower()](*inner))
        except NumberError as error:
            raise Refused(str(error)) from error
        except (ArithmeticError, ValueError, TypeError) as error:
            raise NoValue(str(error)) from error
        raise Refused(f"the value of '{node.text}' is not known while the netlist is read")

    def _named(self, name: str, depth: int) -> float:
        text = self._values.get(name.lower())
        if text is None:
            raise Refused(f"no parameter {name} is known while the netlist is read")
        inner = in_braces(text)
        return self._number(parsed(inner if inner is not None else text), depth + 1)


class Branches:
    """Which cards count, while the cards of a netlist go by."""

    def __init__(self, evaluate: Callable[[str], float]) -> None:
        self._evaluate = evaluate
        self._open: list[tuple[bool, bool, Statement]] = []
        """Of each `.if`: whether its branch counts, whether one did, and where it began."""

    @property
    def counts(self) -> bool:
        return all(now for now, _, _ in self._open)

    @property
    def is_open(self) -> bool:
        return bool(self._open)

    def take(self, statement: Statement) -> bool:
        """Whether the card is one of a condition, and done with. Raises Refused."""
        word = statement.word.partition("(")[0]
        if word == ".if":
            outer = self.counts
            now = outer and self._true(statement)
            self._open.append((now, now or not outer, statement))
            return True
        if word not in (".elseif", ".else", ".endif"):
            return False
        if not self._open:
            raise Refused(f"{word} stands without an .if before it", statement.first)
        _, done, began = self._open.pop()
        if word != ".endif":
            now = not done and self.counts and (word == ".else" or self._true(statement))
            self._open.append((now, done or now, began))
        return True

    def check_closed(self) -> None:
        """Raises Refused where an `.if` is open at the end."""
        if self._open:
            raise Refused("this .if has no .endif", self._open[-1][2].first)

    def _true(self, statement: Statement) -> bool:
        condition = statement.text.strip()[len(statement.word.partition("(")[0]) :]
        try:
            return bool(self._evaluate(condition.replace("'", " ")))
        except Refused as reason:
            raise Refused(
                f"Xyce has no .if, and this one cannot be decided here: {reason.reason}",
                statement.first,
            ) from reason
