"""From the values an agent chose to a whole sizing, and to everything a template sees."""

from __future__ import annotations

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
    corner's over both. `temp` is 27 degrees C where nobody gives it."""
    own = testbench.conditions if testbench else {}
    return {"temp": 27.0, **design.conditions, **own, **corner.conditions, **sizing}


def _no_vector(name: str) -> float:
    raise ValueError(f"a tied parameter cannot use the waveform {name}")
