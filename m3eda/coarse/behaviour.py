"""Current sources whose current is an expression of voltages, `b1 a 0 i=v(x)*v(y)*1m`."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3eda.coarse.quantities import Quantity, Unsupported, Values
from m3eda.design.ranges import FloatArray
from m3eda.importing.cards import spice_number

_SOURCE = re.compile(r"^\S+\s+\S+\s+\S+\s+i\s*=\s*(.+)$", re.IGNORECASE | re.DOTALL)
_TOKEN = re.compile(
    r"v\(\s*(?P<net>[^\s(),]+)\s*(?:,\s*(?P<other>[^\s(),]+)\s*)?\)"
    r"|(?P<number>(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?[a-z]*)|(?P<sign>\*\*|[-+*/()])|\s+",
    re.IGNORECASE,
)
_ALLOWED: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.Pow: operator.pow, ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}  # fmt: skip
_STEP = 1e-20
"""Of a derivative along the imaginary axis, V."""


@dataclass(frozen=True)
class Behaviour:
    """A current from the first to the second of two nets, by their places."""

    ends: tuple[int, int]
    formula: ast.expr
    """Of names u0, u1 ... for voltages and q0, q1 ... for numbers."""
    voltages: tuple[tuple[int, int], ...]
    numbers: tuple[Quantity, ...]


def behaviour_of(name: str, ends: tuple[int, int], texts: tuple[str, str],
                 place: Callable[[str], int], values: Values) -> Behaviour:  # fmt: skip
    """Of a card as it is in two decks. Raises Unsupported."""
    matches = [_SOURCE.match(text) for text in texts]
    if "." in name or not all(matches):
        raise Unsupported(f"{name} is no current by voltages")
    one, other = (_tokens(name, match[1].strip("{}' ")) for match in matches if match)
    if len(one) != len(other):
        raise Unsupported(f"{name} depends on sizes by more than numbers")
    written, voltages, numbers = [], list[tuple[int, int]](), list[Quantity]()
    for token, twin in zip(one, other, strict=True):
        if token["net"]:
            nets = (token["net"], token["other"] or "0")
            voltages.append((place(nets[0].lower()), place(nets[1].lower())))
            written.append(f"u{len(voltages) - 1}")
        elif token["number"]:
            pair = spice_number(token["number"]), spice_number(twin["number"] or "")
            if pair[0] is None or pair[1] is None:
                raise Unsupported(f"{name} has a number that is none")
            numbers.append(values.of(pair[0], pair[1], name))
            written.append(f"q{len(numbers) - 1}")
        else:
            written.append(token["sign"] or " ")
    try:
        formula = ast.parse("".join(written), mode="eval").body
    except SyntaxError as error:
        raise Unsupported(f"{name} is no expression") from error
    if not all(isinstance(node, ast.Name | ast.BinOp | ast.UnaryOp | ast.expr_context)
               or type(node) in _ALLOWED for node in ast.walk(formula)):  # fmt: skip
        raise Unsupported(f"{name} is an expression that is not read")
    return Behaviour(ends, formula, tuple(voltages), tuple(numbers))


def _tokens(name: str, text: str) -> list[re.Match[str]]:
    found = list(_TOKEN.finditer(text))
    if "".join(each[0] for each in found) != text:
        raise Unsupported(f"{name} goes by more than voltages and numbers")
    return found


def _value(node: ast.expr, known: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    if isinstance(node, ast.BinOp):
        return np.asarray(_ALLOWED[type(node.op)](_value(node.left, known),
                                                  _value(node.right, known)))  # fmt: skip
    if isinstance(node, ast.UnaryOp):
        return np.asarray(_ALLOWED[type(node.op)](_value(node.operand, known)))
    assert isinstance(node, ast.Name)
    return known[node.id]


class Behaviours:
    """Those of n sizings."""

    def __init__(self, given: Sequence[Behaviour], fills: FloatArray) -> None:
        self._given = given
        self._numbers = [{f"q{k}": number.of(fills) for k, number in enumerate(each.numbers)}
                         for each in given]  # fmt: skip

    def __len__(self) -> int:
        return len(self._given)

    def add(self, x: FloatArray, rows: NDArray[np.intp], jacobian: FloatArray | None,
            residual: FloatArray | None) -> None:  # fmt: skip
        """Add derivatives and currents at unknowns `x` of the sizings `rows`, in place."""
        for each, numbers in zip(self._given, self._numbers, strict=True):
            known = {name: number[rows] for name, number in numbers.items()}
            known |= {f"u{k}": x[:, a] - x[:, b] for k, (a, b) in enumerate(each.voltages)}
            if residual is not None:
                current = _value(each.formula, known)
                residual[:, each.ends[0]] += current
                residual[:, each.ends[1]] -= current
            if jacobian is None:
                continue
            for k, own in enumerate(each.voltages):
                moved = {**known, f"u{k}": known[f"u{k}"] + 1j * _STEP}
                slope = np.imag(_value(each.formula, moved)) / _STEP
                for row, sign in zip(each.ends, (1.0, -1.0), strict=True):
                    jacobian[:, row, own[0]] += sign * slope
                    jacobian[:, row, own[1]] -= sign * slope
