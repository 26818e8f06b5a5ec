"""Measures: from waveforms to the numbers that specs are about.

`measure` makes a function callable in `design.yaml`; `required` tells what each deck must save;
`evaluate_measures` computes every measure of a design from what the testbenches gave.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from m3eda.design.expressions import Expression, ExpressionError
from m3eda.design.functions import FunctionTable, MeasureFunction
from m3eda.design.types import Measure, Value
from m3eda.simulate.signals import (
    Device,
    MeasureUndefined,
    Signal,
    Swept,
    Trace,
    VectorMissing,
    to_save,
    vector,
)
from m3eda.simulate.types import AnalysisKind, Waveforms

if TYPE_CHECKING:
    from m3eda.simulate.render import Wanted

__all__ = ["MeasureUndefined", "Trace", "evaluate_measures", "measure", "required"]

NOTHING_ABSENT: Mapping[str, str] = MappingProxyType({})

ANY_ANALYSIS: tuple[AnalysisKind, ...] = ("tran", "dc", "ac", "noise", "op")
"""Where a function that names no analysis looks, in this order."""


def measure(
    analysis: AnalysisKind | tuple[AnalysisKind, ...] | str = "",
    unit: str = "",
    device_values: tuple[str, ...] = (),
) -> Callable[[Callable[..., float]], MeasureFunction]:
    """Make a function callable in measures, under its own name.

    Arguments annotated `Trace` are given as waveforms, `v(out)`, and arrive from `analysis` (of
    several, the first that has them; where empty, of any). Other arguments are numbers or words;
    a waveform given for one arrives as its operating-point value. Such a function also takes
    `start` and `stop` (s, Hz, or the swept quantity), and then sees only that window. With
    `device_values` the arguments are `Device`s, written as names: `m1`, `x1.m2`.

    The function returns a float in SI units, and raises MeasureUndefined(reason) where the measure
    does not exist.
    """
    kinds = (analysis,) if isinstance(analysis, str) and analysis else tuple(analysis)
    look_in: tuple[Any, ...] = kinds or ANY_ANALYSIS

    def make(function: Callable[..., float]) -> MeasureFunction:
        wrapped = function if device_values else _taking_signals(function, look_in)
        only = str(kinds[0]) if len(kinds) == 1 else ""
        return MeasureFunction(function.__name__, wrapped, only, unit, device_values)

    return make


def _taking_signals(
    function: Callable[..., float], kinds: tuple[AnalysisKind, ...]
) -> Callable[..., float]:
    """`function` with Signals resolved to Traces, and the keywords `start` and `stop`."""
    signature = inspect.signature(function)
    names = tuple(signature.parameters)
    variadic = [n for n, p in signature.parameters.items() if p.kind is p.VAR_POSITIONAL]
    traces = {name for name, p in signature.parameters.items() if p.annotation in ("Trace", Trace)}

    def resolve(name: str, given: Any, start: float | None, stop: float | None) -> Any:
        if name in traces:
            return _as_trace(given, kinds, function.__name__, start, stop)
        return float(given) if isinstance(given, Signal) else given

    @functools.wraps(function)
    def resolved(
        *args: Any, start: float | None = None, stop: float | None = None, **kwargs: Any
    ) -> float:
        places = (*names, *variadic * len(args), *("",) * len(args))
        given = [resolve(name, arg, start, stop) for name, arg in zip(places, args, strict=False)]
        named = {name: resolve(name, arg, start, stop) for name, arg in kwargs.items()}
        return function(*given, **named)

    window = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
        for name in ("start", "stop")
    ]
    parameters = [*signature.parameters.values(), *window]
    resolved.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return resolved


def _as_trace(
    given: Any,
    kinds: tuple[AnalysisKind, ...],
    function: str,
    start: float | None,
    stop: float | None,
) -> Trace:
    if isinstance(given, Trace):
        return given if start is None and stop is None else given.window(start, stop)
    if isinstance(given, Signal):
        return given.trace(*kinds, start=start, stop=stop)
    raise MeasureUndefined(f"{function} wants a waveform such as v(out), and got {given!r}")


def required(
    measures: Mapping[str, Measure], expressions: Mapping[str, Expression]
) -> dict[str, Wanted]:
    """What the deck of each testbench must save for `measures`, by testbench name."""
    from m3eda.simulate.render import Wanted

    found: dict[str, tuple[dict[str, None], dict[str, None], dict[str, None]]] = {}
    for each in measures.values():
        if not each.testbench:
            continue
        vectors, device_values, meas = found.setdefault(each.testbench, ({}, {}, {}))
        if each.meas:
            meas[each.meas] = None
            continue
        expression = expressions[each.name]
        for name in to_save((*expression.vectors, *expression.device_values)):
            (device_values if name.startswith("@") else vectors)[name] = None
    return {name: Wanted(*(tuple(names) for names in sets)) for name, sets in found.items()}


def evaluate_measures(
    measures: Mapping[str, Measure],
    expressions: Mapping[str, Expression],
    waveforms: Mapping[str, Waveforms],
    names: Mapping[str, Value | Swept],
    functions: FunctionTable,
    absent: Mapping[str, str] = NOTHING_ABSENT,
) -> tuple[dict[str, float | Swept], dict[str, str]]:
    """Every measure in SI units, and why the ones that are nan do not exist, by measure name.

    `expressions` holds the parsed expression of each measure that has one, `waveforms` the results
    by testbench (one that failed is absent), `names` the parameters, conditions and measures known
    already, `absent` the measures that do not exist, with the reasons. Values are finite or nan; a
    formula of swept measures that no function makes a number stays swept. Raises VectorMissing,
    which names everything missing, where a measure names a node, device or analysis that is not
    there; its `measured` holds what the others gave.
    """
    evaluation = _Evaluation(measures, expressions, waveforms, names, functions, absent)
    with np.errstate(all="ignore"):
        values = {name: evaluation.value(name) for name in measures}
    reasons = {name: evaluation.reasons[name] for name in measures if name in evaluation.reasons}
    if evaluation.missing:
        error = VectorMissing("; ".join(dict.fromkeys(evaluation.missing)))
        plain = {name: value for name, value in values.items() if not isinstance(value, Swept)}
        error.measured = plain, reasons
        raise error
    return values, reasons


class _Evaluation:
    """One pass over the measures of a design, each computed when it is first asked for."""

    def __init__(
        self,
        measures: Mapping[str, Measure],
        expressions: Mapping[str, Expression],
        waveforms: Mapping[str, Waveforms],
        names: Mapping[str, Value | Swept],
        functions: FunctionTable,
        absent: Mapping[str, str],
    ) -> None:
        self.measures = measures
        self.expressions = expressions
        self.waveforms = waveforms
        self.names = names
        self.functions = functions
        self.absent = absent
        self.values: dict[str, float | Swept] = {}
        self.reasons: dict[str, str] = {}
        self.missing: list[str] = []
        self._underway: set[str] = set()

    def value(self, name: str) -> float | Swept:
        if name in self.values:
            return self.values[name]
        if name in self._underway:
            raise MeasureUndefined(f"{name} depends on itself")
        self._underway.add(name)
        value: float | Swept = math.nan
        reason = ""
        try:
            value = self._compute(self.measures[name])
        except VectorMissing as error:
            reason = error.reason
            self.missing.append(f"{name}: {reason}")
        except (MeasureUndefined, ExpressionError) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001  # a plugin's function may raise anything
            reason = f"{type(error).__name__}: {error}"
        if reason:
            self.reasons[name] = reason
        self.values[name] = value
        return value

    def _compute(self, each: Measure) -> float | Swept:
        results = self._results(each)
        if each.meas:
            given = results.meas.get(each.meas, results.meas.get(each.meas.lower()))
            if given is None:
                raise MeasureUndefined(f"the netlist's .meas '{each.meas}' gave no result")
            return _number(given)
        expression = self.expressions[each.name]
        known: dict[str, Any] = {}
        for name in expression.names:
            if name in self.absent:
                raise MeasureUndefined(f"needs {name}: {self.absent[name]}")
            known[name] = self._needed(name) if name in self.measures else self.names.get(name)
            if known[name] is None:
                raise MeasureUndefined(f"'{name}' has no value")
        called = self._called(expression.calls, results)
        result = expression.evaluate(known, called, functools.partial(vector, results))
        return _finite(result) if isinstance(result, Swept) else _number(result)

    def _results(self, each: Measure) -> Waveforms:
        if not each.testbench:
            return Waveforms()
        if each.testbench not in self.waveforms:
            raise MeasureUndefined(f"testbench '{each.testbench}' gave no result")
        return self.waveforms[each.testbench]

    def _needed(self, name: str) -> float | Swept:
        value = self.value(name)
        if name in self.reasons:
            raise MeasureUndefined(f"needs {name}: {self.reasons[name]}")
        return value

    def _called(self, calls: Iterable[str], results: Waveforms) -> dict[str, Callable[..., float]]:
        called: dict[str, Callable[..., float]] = {}
        for name in calls:
            known = self.functions.get(name)
            if known is not None:
                called[name] = (
                    _on_devices(known, results) if known.device_values else known.function
                )
        return called


def _on_devices(known: MeasureFunction, results: Waveforms) -> Callable[..., float]:
    """A function of devices that takes their names."""

    def function(*args: Any, **kwargs: Any) -> float:
        devices = [Device(arg, results) if isinstance(arg, str) else arg for arg in args]
        return float(known.function(*devices, **kwargs))

    return function


def _finite(result: Swept) -> Swept:
    """`result`, whose trace is a number at each point. Raises MeasureUndefined."""
    if np.iscomplexobj(result.trace().y):
        raise MeasureUndefined("the result is complex, such as the root of a negative number")
    return result


def _number(result: Any) -> float:
    """`result` as a finite float. Raises MeasureUndefined where it is none."""
    if isinstance(result, (complex, np.complexfloating)):
        raise MeasureUndefined("the result is complex, such as the root of a negative number")
    if not isinstance(result, (int, float, np.number, Signal)):
        raise MeasureUndefined(f"the result is no number: {result!r}")
    number = float(result)
    if not math.isfinite(number):
        raise MeasureUndefined(
            "the result is not a number" if math.isnan(number) else "the result is infinite"
        )
    return number
