"""Functions made of the syntax trees of expressions: what an expression is computed by.

Each node becomes a closure over those of its operands, so that a tree is walked once for all.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from m3eda.design.tokens import ExpressionError


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

_SIGNS: Mapping[type, str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "^",
    ast.UAdd: "+",
    ast.USub: "-",
}


@dataclass(slots=True)
class Scope:
    """What one evaluation of an expression may see."""

    names: Mapping[str, Any]
    functions: Mapping[str, Callable[..., Any]]
    vector: Callable[[str], Any]
    shared: dict[str, Any]
    """Values of parts that take waveforms, by their text."""


Step = Callable[[Scope], Any]


def compiled(tree: ast.expr, waves: Mapping[str, tuple[str, ...]]) -> Step:
    """What computes `tree`, of arithmetic and calls alone; `waves` tells which vectors its
    placeholders stand for."""
    return _Compiler(waves).part(tree)[0]


class _Compiler:
    """Makes the closures, and beside each the text of its part where that takes waveforms."""

    def __init__(self, waves: Mapping[str, tuple[str, ...]]) -> None:
        self.waves = waves

    def part(self, node: ast.expr) -> tuple[Step, str, bool]:
        """What computes `node`, its text, and whether it takes waveforms."""
        if isinstance(node, ast.Constant):
            return _constant(node.value), repr(node.value), False
        if isinstance(node, ast.Name):
            return self._name(node.id)
        if isinstance(node, ast.UnaryOp):
            step, text, takes = self.part(node.operand)
            return _kept(_unary(type(node.op), step), f"{_SIGNS[type(node.op)]}({text})", takes)
        if isinstance(node, ast.BinOp):
            left, left_text, first = self.part(node.left)
            right, right_text, second = self.part(node.right)
            text = f"({left_text}){_SIGNS[type(node.op)]}({right_text})"
            return _kept(_binary(type(node.op), left, right), text, first or second)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self._call(node.func.id, node)
        raise ExpressionError("allows arithmetic and functions only")

    def _name(self, name: str) -> tuple[Step, str, bool]:
        if name in CONSTANTS:
            return _constant(CONSTANTS[name]), name, False
        if name in self.waves:
            vectors = self.waves[name]
            text = " - ".join(vectors)
            return _kept(_wave(*vectors), text, len(vectors) > 1)[0], text, True

        def named(scope: Scope) -> Any:
            if name not in scope.names:
                raise ExpressionError(f"'{name}' has no value")
            return scope.names[name]

        return named, name, False

    def _call(self, name: str, node: ast.Call) -> tuple[Step, str, bool]:
        given = [self.part(each) for each in node.args]
        words = {str(each.arg): self.part(each.value) for each in node.keywords}
        texts = [text for _, text, _ in given]
        texts += [f"{word}={text}" for word, (_, text, _) in words.items()]
        text = f"{name}({', '.join(texts)})"
        only = node.args[0] if len(given) == 1 and not words else None
        if isinstance(only, ast.Name) and len(self.waves.get(only.id, ())) == 1:
            return _on_one_wave(name, self.waves[only.id][0], text), text, True
        steps = [each for each, _, _ in given]
        named = {word: each for word, (each, _, _) in words.items()}
        takes = any(takes for _, _, takes in (*given, *words.values()))
        return _kept(_calling(name, steps, named), text, takes)


def _kept(step: Step, text: str, takes: bool) -> tuple[Step, str, bool]:
    """`step`, which looks among what is shared first where its part takes waveforms."""
    if not takes:
        return step, text, takes

    def kept(scope: Scope) -> Any:
        shared = scope.shared
        if text in shared:
            return shared[text]
        value = shared[text] = step(scope)
        return value

    return kept, text, takes


def _constant(value: Any) -> Step:
    return lambda scope: value


def _wave(first: str, second: str = "") -> Step:
    if second:
        return lambda scope: scope.vector(first) - scope.vector(second)
    return lambda scope: scope.vector(first)


def _unary(kind: type, step: Step) -> Step:
    apply = _OPERATORS[kind]
    return lambda scope: apply(step(scope))


def _binary(kind: type, left: Step, right: Step) -> Step:
    apply = _OPERATORS[kind]
    return lambda scope: apply(left(scope), right(scope))


def _calling(name: str, steps: list[Step], words: dict[str, Step]) -> Step:
    builtin = MATH_FUNCTIONS.get(name)

    def call(scope: Scope) -> Any:
        function = scope.functions.get(name, builtin)
        if function is None:
            raise ExpressionError(f"no function is called '{name}'")
        given = [step(scope) for step in steps]
        return function(*given, **{word: step(scope) for word, step in words.items()})

    return call


def _on_one_wave(name: str, vector: str, text: str) -> Step:
    """What most measures are, `phase_margin(v(out))`, in one step."""
    builtin = MATH_FUNCTIONS.get(name)

    def call(scope: Scope) -> Any:
        shared = scope.shared
        if text in shared:
            return shared[text]
        function = scope.functions.get(name, builtin)
        if function is None:
            raise ExpressionError(f"no function is called '{name}'")
        value = shared[text] = function(scope.vector(vector))
        return value

    return call
