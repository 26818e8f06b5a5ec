"""From the values an agent chose to a whole sizing, and to everything a template sees."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from m3eda.design.expressions import Expression
from m3eda.design.space import tidy
from m3eda.design.types import Corner, Design, Sizing, Testbench, Value


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Expression:
    return Expression.parse(text)


def complete(design: Design, sizing: Sizing) -> Sizing:
    """`sizing` with every frozen and tied parameter added, in file order.

    Tied parameters see other parameters and the nominal conditions. Raises KeyError for a free
    parameter without a value.
    """
    known: dict[str, Value] = {}

    def value_of(name: str) -> Value:
        if name in known:
            return known[name]
        parameter = design.parameters.get(name)
        if parameter is None:
            return design.conditions[name] if name != "temp" else design.conditions.get(name, 27.0)
        if parameter.tied:
            expression = _parsed(parameter.expression)
            names = {other: value_of(other) for other in expression.names}
            result: Value = tidy(float(expression.evaluate(names, {}, _no_vector)))
        elif parameter.value is not None:
            result = parameter.value
        else:
            result = sizing[name]
        known[name] = result
        return result

    return {name: value_of(name) for name in design.parameters}


def values_at(
    design: Design, testbench: Testbench | None, corner: Corner, sizing: Sizing
) -> dict[str, Value]:
    """Every condition and parameter by name: the testbench's conditions over the design's, the
    corner's over both, a sweep's point over all. `temp` is 27 degrees C where nobody gives it."""
    own = testbench.conditions if testbench else {}
    point = testbench.point if testbench else {}
    return {"temp": 27.0, **design.conditions, **own, **corner.conditions, **point, **sizing}


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
