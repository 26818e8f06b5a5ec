"""What a template does with numbers, noted once and done again without the template engine.

While a deck is rendered, each size is a `Symbol`: a number that notes what is computed from it and
what was decided by it. As long as other sizes lead to the same decisions, the same steps give
their deck, to the last digit: the operations are those of Python's floats in both cases.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NoReturn

import jinja2.filters
import jinja2.nodes

MARK = re.compile("\0([0-9]+)\0")

_TESTS = {"defined", "undefined", "none", "odd", "even", "divisibleby", "in", "eq", "==", "ne",
          "!=", "lt", "<", "le", "<=", "gt", ">", "ge", ">="}  # fmt: skip
_BY_TESTS = {"select", "reject", "selectattr", "rejectattr", "map", "random"}


_MAKES_TEXT = (jinja2.nodes.AssignBlock, jinja2.nodes.CallBlock, jinja2.nodes.FilterBlock)
_MAKES_NONE = {"range", "namespace", "dict", "cycler", "joiner"}
"""Functions of Jinja that do not give text with numbers in it."""


def is_traceable(trees: Iterable[jinja2.nodes.Template]) -> bool:
    """False for templates that ask what kind of thing a value is, as a `Symbol` is no float, and
    for those that work on text with numbers in it, as marks stand for them there."""
    return all(_is_traceable(tree) for tree in trees)


def _is_traceable(node: jinja2.nodes.Node) -> bool:
    if isinstance(node, _MAKES_TEXT):
        return False
    if isinstance(node, jinja2.nodes.Test) and node.name not in _TESTS:
        return False
    if isinstance(node, jinja2.nodes.Filter) and node.name in _BY_TESTS:
        return False
    written = isinstance(node, jinja2.nodes.Output)
    return all(
        (written or not _gives_text(child)) and _is_traceable(child)
        for child in node.iter_child_nodes()
    )


def _gives_text(node: jinja2.nodes.Node) -> bool:
    """True for what may be the call of a macro."""
    if not isinstance(node, jinja2.nodes.Call):
        return False
    return not (isinstance(node.node, jinja2.nodes.Name) and node.node.name in _MAKES_NONE)


class Trace:
    """The steps from some named numbers to what a deck holds and depends on."""

    def __init__(self, numbers: Mapping[str, Any]) -> None:
        self.names = tuple(numbers)
        self.values: list[Any] = list(numbers.values())
        """Every number met, at the sizing traced: the named ones, constants, results."""
        self.steps: list[tuple[int, Callable[[Any, Any], Any], int, int]] = []
        """Where the result goes, the operation, and where its operands are."""
        self.decisions: dict[int, Any] = {}
        """What must come out again for the same steps to hold."""
        self.lost = False
        """True where a number went a way that cannot be noted."""
        self._done: dict[tuple[Any, int, int], Symbol] = {}

    def symbols(self) -> dict[str, Symbol]:
        return {name: Symbol(self, index) for index, name in enumerate(self.names)}

    def step(self, operation: Callable[[Any, Any], Any], one: Any, other: Any = None) -> Symbol:
        key = (operation, self._index(one), self._index(other))
        if key not in self._done:
            result = operation(self.values[key[1]], self.values[key[2]])
            self.steps.append((len(self.values), *key))
            self._done[key] = Symbol(self, len(self.values))
            self.values.append(result)
        return self._done[key]

    def decide(self, symbol: Symbol) -> Any:
        value = self.values[symbol.index]
        self.decisions[symbol.index] = value
        return value

    def _index(self, value: Any) -> int:
        if isinstance(value, Symbol):
            return value.index
        self.values.append(value)
        return len(self.values) - 1


def _one(function: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda value, _: function(value)


_ROUND, _TRUTH, _INT, _FLOAT = _one(round), _one(operator.truth), _one(int), _one(float)


def _forward(operation: Callable[[Any, Any], Any]) -> Any:
    return lambda self, other=None: self.trace.step(operation, self, other)


def _reflected(operation: Callable[[Any, Any], Any]) -> Any:
    return lambda self, other: self.trace.step(operation, other, self)


class Symbol:
    """A number that notes what is done with it."""

    __slots__ = ("index", "trace")

    def __init__(self, trace: Trace, index: int) -> None:
        self.trace = trace
        self.index = index

    def mark(self) -> str:
        """What stands for it in the rendered text."""
        return f"\0{self.index}\0"

    def converted(self, to: type) -> Symbol:
        return self.trace.step(_INT if to is int else _FLOAT, self)

    __add__, __radd__ = _forward(operator.add), _reflected(operator.add)
    __sub__, __rsub__ = _forward(operator.sub), _reflected(operator.sub)
    __mul__, __rmul__ = _forward(operator.mul), _reflected(operator.mul)
    __truediv__, __rtruediv__ = _forward(operator.truediv), _reflected(operator.truediv)
    __floordiv__, __rfloordiv__ = _forward(operator.floordiv), _reflected(operator.floordiv)
    __mod__, __rmod__ = _forward(operator.mod), _reflected(operator.mod)
    __pow__, __rpow__ = _forward(operator.pow), _reflected(operator.pow)
    __neg__, __pos__, __abs__ = (_forward(_one(f)) for f in (operator.neg, operator.pos, abs))
    __ceil__, __floor__, __trunc__ = (
        _forward(_one(f)) for f in (math.ceil, math.floor, math.trunc)
    )
    __lt__, __le__ = _forward(operator.lt), _forward(operator.le)
    __gt__, __ge__ = _forward(operator.gt), _forward(operator.ge)
    __eq__, __ne__ = _forward(operator.eq), _forward(operator.ne)

    def __round__(self, digits: int | None = None) -> Symbol:
        return self.trace.step(_ROUND if digits is None else round, self, digits)

    def __bool__(self) -> bool:
        return bool(self.trace.decide(self.trace.step(_TRUTH, self)))

    def __index__(self) -> int:
        return operator.index(self.trace.decide(self))

    def _lost(self, *_: Any) -> NoReturn:
        # who asks may go on all the same: Jinja's filters have defaults
        self.trace.lost = True
        raise TypeError("a traced number was written or converted")

    __int__ = __float__ = __complex__ = __str__ = __format__ = __repr__ = __hash__ = _lost

    def __getattr__(self, name: str) -> NoReturn:
        if not name.startswith("__"):
            self.trace.lost = True
        raise AttributeError(name)


def _converting(to: type, usual: Callable[..., Any]) -> Callable[..., Any]:
    def convert(value: Any, *options: Any, **named: Any) -> Any:
        if isinstance(value, Symbol) and not options and not named:
            return value.converted(to)
        return usual(value, *options, **named)

    return convert


FILTERS: Mapping[str, Callable[..., Any]] = {
    "int": _converting(int, jinja2.filters.do_int),
    "float": _converting(float, jinja2.filters.do_float),
}
"""Filters that must know a `Symbol`."""


class Steps:
    """The steps of a finished trace, to be done with other numbers."""

    def __init__(self, trace: Trace, results: Sequence[int]) -> None:
        self._names = getter(trace.names)
        self._count = len(trace.names)
        self._preset = trace.values
        self._steps = tuple(trace.steps)
        self._results = getter(tuple(results))
        self._decisive = getter(tuple(trace.decisions))
        self._decided = tuple(trace.decisions.values())

    def __call__(self, sizing: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """The results at `sizing`; None where another way is taken there.

        Raises what the operations raise, and KeyError for a number that is not given.
        """
        values = self._preset.copy()
        values[: self._count] = self._names(sizing)
        for place, operation, one, other in self._steps:
            values[place] = operation(values[one], values[other])
        if self._decisive(values) != self._decided:
            return None
        return self._results(values)


def getter(keys: Collection[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """What gives the values at `keys`, always as a tuple."""
    if not keys:
        return lambda _: ()
    if len(keys) == 1:
        [key] = keys
        return lambda values: (values[key],)
    return itemgetter(*keys)
