"""Expressions of the design file: arithmetic over names, waveforms and functions, never `eval`.

`Expression.parse` reads SPICE's spelling (`tokens.py`) into Python's syntax tree, of which only
arithmetic is allowed, and makes functions of that (`compiled.py`).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from m3eda.design.compiled import CONSTANTS, MATH_FUNCTIONS, Scope, compiled
from m3eda.design.functions import FunctionTable
from m3eda.design.tokens import WAVE, ExpressionError, Translation

__all__ = ["CONSTANTS", "MATH_FUNCTIONS", "Expression", "ExpressionError"]

MAX_LENGTH = 2000
MAX_DEPTH = 150

_ALLOWED = (ast.BinOp, ast.UnaryOp, ast.Call, ast.keyword, ast.Name, ast.Constant, ast.Add,
            ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.UAdd, ast.USub)  # fmt: skip
_NO_FUNCTIONS: FunctionTable = MappingProxyType({})


@dataclass(frozen=True)
class Expression:
    """A parsed expression."""

    text: str
    names: tuple[str, ...]
    """Parameters, conditions and measures it uses, in order of appearance."""
    vectors: tuple[str, ...]
    """Vectors it uses, in ngspice's lower-case spelling: `v(out)`, `i(vdd)`, `@m1[gm]`."""
    calls: tuple[str, ...]
    """Functions it calls."""
    device_values: tuple[str, ...]
    """Operating-point values that its functions of devices need: `@m1[vds]`."""
    outermost: str
    """The function whose result it is as a whole, empty for a formula."""
    shapes: tuple[tuple[str, int, tuple[str, ...]], ...]
    """Each call: the function, its number of arguments and its keywords."""
    columns: Mapping[str, int] = field(compare=False)
    """0-based column of the first use of each name and call."""
    compute: Callable[[Scope], Any] = field(compare=False, repr=False)
    """Its value in a scope, as `evaluate` gives it but for what that makes of errors and ints."""

    @classmethod
    def parse(cls, text: str, functions: FunctionTable = _NO_FUNCTIONS) -> Expression:
        """Read `text`. Raises ExpressionError with the column.

        `functions` tells which functions take bare device names (`m1`, `x1.m2`), which are no
        names of parameters.
        """
        if not text.strip():
            raise ExpressionError("is empty", 0)
        if len(text) > MAX_LENGTH:
            raise ExpressionError(f"is longer than {MAX_LENGTH} characters", 0)
        translation = Translation(text)
        visitor = _Visitor(translation, functions)
        tree = translation.tree()
        visitor.visit(tree)
        whole = isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name)
        waves = translation.waves
        return cls(
            text=text,
            names=tuple(visitor.names),
            vectors=tuple(dict.fromkeys(node for wave in waves.values() for node in wave)),
            calls=tuple(visitor.calls),
            device_values=tuple(visitor.device_values),
            outermost=next(iter(visitor.calls)) if whole else "",
            shapes=tuple(visitor.shapes),
            columns=visitor.columns,
            compute=compiled(tree, waves),
        )

    def evaluate(
        self,
        names: Mapping[str, Any],
        functions: Mapping[str, Callable[..., Any]],
        vector: Callable[[str], Any],
        shared: dict[str, Any] | None = None,
    ) -> Any:
        """The expression's value: a float, or what `vector` and `functions` made of it.

        `vector(name)` gives a waveform that supports arithmetic. `shared` keeps what is made of
        waveforms for other expressions that are given the same names, functions and vectors.
        Raises ExpressionError where arithmetic has no result (a division by zero, the root of a
        negative number); what `vector` and `functions` raise passes through, TypeError excepted.
        """
        for name in self.calls:
            if name not in functions and name not in MATH_FUNCTIONS:
                raise ExpressionError(f"no function is called '{name}'", self.columns[name])
        scope = Scope(names, functions, vector, {} if shared is None else shared)
        try:
            result = self.compute(scope)
        except (ArithmeticError, TypeError) as error:
            raise explained(error) from error
        return float(result) if type(result) is int else result


def explained(error: BaseException) -> BaseException:
    """The ExpressionError for what arithmetic raised; other errors are themselves."""
    if isinstance(error, ZeroDivisionError):
        return ExpressionError("divides by zero")
    if isinstance(error, OverflowError):
        return ExpressionError("the result is too large")
    if isinstance(error, TypeError):
        return ExpressionError(f"cannot be evaluated: {error}")
    return error


class _Visitor:
    """Checks a syntax tree and collects what it uses."""

    def __init__(self, translation: Translation, functions: FunctionTable) -> None:
        self.translation = translation
        self.functions = functions
        self.columns: dict[str, int] = {}
        self.names: dict[str, None] = {}
        self.calls: dict[str, None] = {}
        self.device_values: dict[str, None] = {}
        self.shapes: list[tuple[str, int, tuple[str, ...]]] = []

    def visit(self, node: Any, depth: int = 0) -> None:
        if depth > MAX_DEPTH:
            raise ExpressionError("is nested too deeply", 0)
        if isinstance(node, ast.Call):
            self._visit_call(node, depth)
        elif isinstance(node, ast.Name):
            self._visit_name(node)
        elif not isinstance(node, _ALLOWED) or not self._plain_constant(node):
            place = self.translation.column_of(node) if hasattr(node, "col_offset") else 0
            raise ExpressionError("allows arithmetic and functions only", place)
        else:
            for child in ast.iter_child_nodes(node):
                if not isinstance(child, ast.Name) or child.id not in self.translation.waves:
                    self.visit(child, depth + 1)

    @staticmethod
    def _plain_constant(node: ast.AST) -> bool:
        return not isinstance(node, ast.Constant) or isinstance(node.value, (float, str))

    def _visit_name(self, node: ast.Name) -> None:
        if node.id in CONSTANTS or node.id.startswith(WAVE):
            return
        device = self.translation.devices.get(node.id)
        if device is not None:
            raise ExpressionError(
                f"'{device}' is not a name",
                self.translation.column_of(node),
                "v(...) is a node's voltage, @device[value] a device's value",
            )
        self.names.setdefault(node.id)
        self.columns.setdefault(node.id, self.translation.column_of(node))

    def _visit_call(self, node: ast.Call, depth: int) -> None:
        place = self.translation.column_of(node)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if not name or name.startswith("_") or any(word.arg is None for word in node.keywords):
            raise ExpressionError("calls something that is not a function", place)
        self.calls.setdefault(name)
        self.columns.setdefault(name, place)
        self.shapes.append((name, len(node.args), tuple(str(word.arg) for word in node.keywords)))
        function = self.functions.get(name)
        takes_devices = function is not None and function.device_values
        for index, argument in enumerate(node.args):
            if takes_devices and function and isinstance(argument, ast.Name):
                device = self.translation.devices.get(argument.id, argument.id).lower()
                for value in function.device_values:
                    self.device_values.setdefault(f"@{device}[{value}]")
                node.args[index] = ast.copy_location(ast.Constant(device), argument)
            else:
                self.visit(argument, depth + 1)
        for keyword in node.keywords:
            self.visit(keyword.value, depth + 1)
