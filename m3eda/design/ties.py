"""From the values an agent chose to a whole sizing, and to everything a template sees."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from m3eda.design.expressions import Expression
from m3eda.design.space import tidy
from m3eda.design.types import Corner, Design, Sizing, Testbench, Value


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Expression:
    return Expression.parse(text)


class Completion:
    """From the free parameters of one design to all of them, planned once."""

    def __init__(self, design: Design) -> None:
        self.design = design
        every = design.parameters.values()
        self.frozen: Sizing = {p.name: p.value for p in every if p.value is not None}
        self.free = tuple(parameter.name for parameter in design.free)
        self._blank: dict[str, Value] = {**dict.fromkeys(design.parameters, 0.0), **self.frozen}
        """All names in file order, to be filled in."""
        self._tied: list[tuple[str, Expression]] = []
        for parameter in every:
            self._plan(parameter.name)

    def _plan(self, name: str) -> None:
        """Put the tied parameters behind those that they use."""
        parameter = self.design.parameters.get(name)
        if parameter is None or not parameter.tied or any(name == each for each, _ in self._tied):
            return
        expression = _parsed(parameter.expression)
        for other in expression.names:
            self._plan(other)
        self._tied.append((name, expression))

    def __call__(self, sizing: Sizing) -> Sizing:
        """The whole sizing, in file order."""
        known = self._blank.copy()
        for name in self.free:
            known[name] = sizing[name]
        for name, expression in self._tied:
            names = {other: self._value(other, known) for other in expression.names}
            known[name] = tidy(float(expression.evaluate(names, {}, _no_vector)))
        return known

    def _value(self, name: str, known: Sizing) -> Value:
        if name in known:
            return known[name]
        conditions = self.design.conditions
        return conditions[name] if name != "temp" else conditions.get(name, 27.0)


_COMPLETIONS: dict[int, Completion] = {}
"""By the identity of their designs, which they keep alive: no two designs share an entry."""
_COMPLETIONS_KEPT = 16


def completion(design: Design) -> Completion:
    """The plan of `design`, made when it is first asked for."""
    known = _COMPLETIONS.get(id(design))
    if known is None:
        known = Completion(design)
        if len(_COMPLETIONS) >= _COMPLETIONS_KEPT:
            _COMPLETIONS.clear()
        _COMPLETIONS[id(design)] = known
    return known


def complete(design: Design, sizing: Sizing) -> Sizing:
    """`sizing` with every frozen and tied parameter added, in file order.

    Tied parameters see other parameters and the nominal conditions. Raises KeyError for a free
    parameter without a value.
    """
    return completion(design)(sizing)


def conditions_at(design: Design, testbench: Testbench | None, corner: Corner) -> dict[str, Value]:
    """Every condition by name: the testbench's conditions over the design's, the corner's over
    both, a sweep's point over all. `temp` is 27 degrees C where nobody gives it."""
    own = testbench.conditions if testbench else {}
    point = testbench.point if testbench else {}
    return {"temp": 27.0, **design.conditions, **own, **corner.conditions, **point}


def values_at(
    design: Design, testbench: Testbench | None, corner: Corner, sizing: Sizing
) -> dict[str, Value]:
    """Every condition and parameter by name: `conditions_at`, and `sizing` over them."""
    return {**conditions_at(design, testbench, corner), **sizing}


def nominal_point(design: Design, condition: str, points: Sequence[float]) -> float:
    """Of a sweep's `points` the one nearest to the design's own `condition`, else to the middle."""
    nominal = design.conditions.get(condition)
    if not isinstance(nominal, (int, float)):
        nominal = 0.5 * (points[0] + points[-1])
    return min(points, key=lambda point: abs(point - nominal))


def at_nominal(design: Design, testbench: Testbench) -> Testbench:
    """`testbench` at the nominal point of its sweep; itself where it has none."""
    if not testbench.sweep:
        return testbench
    chosen = nominal_point(design, testbench.sweep, testbench.points)
    return next(at for at in testbench.at_points() if at.point[testbench.sweep] == chosen)


def _no_vector(name: str) -> float:
    raise ValueError(f"a tied parameter cannot use the waveform {name}")


def testbenches_of(design: Design, measures: Iterable[str]) -> set[str]:
    """Names of those that `measures`, and what they are computed from, are taken from."""
    waiting, seen = list(measures), set[str]()
    while waiting:
        name = waiting.pop()
        if name in design.measures and name not in seen:
            seen.add(name)
            waiting += re.findall(r"[A-Za-z_]\w*", design.measures[name].expression)
    return {design.measures[name].testbench for name in seen} - {""}
