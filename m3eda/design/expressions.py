"""Expressions of the design file: arithmetic over names, waveforms and functions, never `eval`.

`Expression.parse` reads SPICE's spelling (`tokens.py`) into Python's syntax tree, of which only
arithmetic is allowed; simpleeval evaluates it.
"""

from __future__ import annotations

import ast
import math
import operator
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import simpleeval

from m3eda.design.functions import FunctionTable
from m3eda.design.tokens import WAVE, ExpressionError, Translation

__all__ = ["CONSTANTS", "MATH_FUNCTIONS", "Expression", "ExpressionError"]

MAX_LENGTH = 2000
MAX_DEPTH = 150

_ALLOWED = (ast.BinOp, ast.UnaryOp, ast.Call, ast.keyword, ast.Name, ast.Constant, ast.Add,
            ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.UAdd, ast.USub)  # fmt: skip
_NO_FUNCTIONS: FunctionTable = MappingProxyType({})


def _elementwise(name: str, scalar: Callable[[float], float]) -> Callable[[Any], Any]:
    """A function of a number by `math`, of anything else (a waveform) by NumPy's ufunc `name`."""

    def function(x: Any) -> Any:
        if not isinstance(x, (int, float)):
            import numpy as np

            return getattr(np, name)(x)
        try:
            return scalar(x)
        except ValueError as error:
            raise ExpressionError(f"{name} of {x:g} does not exist") from error

    return function


def _extreme(name: str, scalar: Callable[..., float]) -> Callable[..., Any]:
    """Least or largest of several numbers, or of one waveform by its method `name`."""

    def function(*values: Any) -> Any:
        if len(values) == 1 and not isinstance(values[0], (int, float)):
            return getattr(values[0], name)()
        return scalar(values)

    return function


def _power(base: Any, exponent: Any) -> Any:
    real = isinstance(base, (int, float)) and isinstance(exponent, (int, float))
    if real and base < 0.0 and not float(exponent).is_integer():
        raise ExpressionError(f"{base:g} to the power of {exponent:g} does not exist")
    return base**exponent


_LOG10 = _elementwise("log10", math.log10)

MATH_FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "abs": abs,
        "min": _extreme("min", min),
        "max": _extreme("max", max),
        "sqrt": _elementwise("sqrt", math.sqrt),
        "exp": _elementwise("exp", math.exp),
        "ln": _elementwise("log", math.log),
        "log": _elementwise("log", math.log),
        "log10": _LOG10,
        "db": lambda x: 20.0 * _LOG10(abs(x)),
    }
)
"""Functions every expression has: `log` is natural, `db` is 20 log10 |x|."""

CONSTANTS: Mapping[str, float] = MappingProxyType({"pi": math.pi})

_OPERATORS: Mapping[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: _power,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


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
    _tree: ast.expr = field(compare=False, repr=False)
    _waves: Mapping[str, tuple[str, ...]] = field(compare=False, repr=False)

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
            _tree=tree,
            _waves=waves,
        )

    def evaluate(
        self,
        names: Mapping[str, Any],
        functions: Mapping[str, Callable[..., Any]],
        vector: Callable[[str], Any],
    ) -> Any:
        """The expression's value: a float, or what `vector` and `functions` made of it.

        `vector(name)` gives a waveform that supports arithmetic. Raises ExpressionError where
        arithmetic has no result (a division by zero, the root of a negative number); what
        `vector` and `functions` raise passes through, TypeError excepted.
        """
        known = {**CONSTANTS, **{name: names[name] for name in self.names if name in names}}
        for placeholder, nodes in self._waves.items():
            wave = vector(nodes[0])
            known[placeholder] = wave - vector(nodes[1]) if len(nodes) > 1 else wave
        called = {}
        for name in self.calls:
            called[name] = functions[name] if name in functions else MATH_FUNCTIONS.get(name)
            if called[name] is None:
                raise ExpressionError(f"no function is called '{name}'", self.columns[name])
        return self._run(known, called)

    def _run(self, names: dict[str, Any], functions: dict[str, Any]) -> Any:
        evaluator = _evaluator()
        outer = evaluator.names, evaluator.functions  # a function may evaluate another expression
        evaluator.names, evaluator.functions = names, functions
        try:
            result = evaluator.eval(self.text, self._tree)
            return float(result) if type(result) is int else result
        except ZeroDivisionError as error:
            raise ExpressionError("divides by zero") from error
        except OverflowError as error:
            raise ExpressionError("the result is too large") from error
        except simpleeval.NameNotDefined as error:
            raise ExpressionError(f"'{error.name}' has no value") from error
        except (simpleeval.InvalidExpression, TypeError) as error:
            raise ExpressionError(f"cannot be evaluated: {error}") from error
        finally:
            evaluator.names, evaluator.functions = outer


class _ThreadState(threading.local):
    evaluator: Any = None


_STATE = _ThreadState()


def _evaluator() -> Any:
    """This thread's evaluator: simpleeval keeps the names in itself, and is slow to build."""
    if _STATE.evaluator is None:
        evaluator = simpleeval.SimpleEval(operators=_OPERATORS, functions={}, names={})
        kept = (ast.BinOp, ast.UnaryOp, ast.Call, ast.keyword, ast.Name, ast.Constant)
        evaluator.nodes = {node: evaluator.nodes[node] for node in kept}
        _STATE.evaluator = evaluator
    return _STATE.evaluator


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
