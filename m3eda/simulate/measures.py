"""Measures: from waveforms to the numbers that specs are about.

`measure` makes a function callable in `design.yaml`; `required` tells what each deck must save;
`evaluate_measures` computes every measure of a design from what the testbenches gave.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from m3eda.design.compiled import Scope
from m3eda.design.expressions import Expression, ExpressionError, explained
from m3eda.design.functions import FunctionTable, MeasureFunction
from m3eda.design.types import Measure, Value
from m3eda.simulate.signals import (
    Device,
    MeasureUndefined,
    Signal,
    Swept,
    Trace,
    VectorMissing,
    Vectors,
    to_save,
)
from m3eda.simulate.types import AnalysisKind, Waveforms

if TYPE_CHECKING:
    from m3eda.simulate.render import Wanted

__all__ = ["MeasureUndefined", "Plan", "Trace", "evaluate_measures", "measure", "required"]

NOTHING_ABSENT: Mapping[str, str] = MappingProxyType({})
NO_NAMES: Mapping[str, Any] = MappingProxyType({})

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
    does not exist. It must depend on its arguments alone: what it gives is used again where another
    measure of the same run asks for the same.
    """
    kinds = (analysis,) if isinstance(analysis, str) and analysis else tuple(analysis)
    look_in: tuple[Any, ...] = kinds or ANY_ANALYSIS

    def make(function: Callable[..., float]) -> MeasureFunction:
        wrapped = function if device_values else _taking_signals(function, look_in)
        only = str(kinds[0]) if len(kinds) == 1 else ""
        kept = ("op",) if device_values else kinds
        return MeasureFunction(function.__name__, wrapped, only, unit, device_values, kept)

    return make


def _taking_signals(
    function: Callable[..., float], kinds: tuple[AnalysisKind, ...]
) -> Callable[..., float]:
    """`function` with Signals resolved to Traces, and the keywords `start` and `stop`."""
    signature = inspect.signature(function)
    names = tuple(signature.parameters)
    variadic = [n for n, p in signature.parameters.items() if p.kind is p.VAR_POSITIONAL]
    traces = {name for name, p in signature.parameters.items() if p.annotation in ("Trace", Trace)}
    in_place = tuple(name in traces for name in names)
    beyond = bool(variadic) and variadic[0] in traces
    only = in_place == (True,) and not variadic
    called = function.__name__

    def resolve(wave: bool, given: Any, start: float | None, stop: float | None) -> Any:
        if wave:
            return _as_trace(given, kinds, called, start, stop)
        return float(given) if isinstance(given, Signal) else given

    @functools.wraps(function)
    def resolved(
        *args: Any, start: float | None = None, stop: float | None = None, **kwargs: Any
    ) -> float:
        if only and len(args) == 1 and not kwargs:
            wave = args[0]
            trace = wave.known.get((kinds, start, stop)) if isinstance(wave, Signal) else None
            return function(trace or _as_trace(wave, kinds, called, start, stop))
        places = (*in_place, *(beyond,) * len(args))
        given = [resolve(wave, arg, start, stop) for wave, arg in zip(places, args, strict=False)]
        named = {name: resolve(name in traces, arg, start, stop) for name, arg in kwargs.items()}
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
        return given.taken(kinds, start, stop)
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
    return Plan(measures, expressions, functions).evaluate(waveforms, names, absent)


class Plan:
    """How measures are computed: all that is the same from one trial to the next."""

    def __init__(
        self,
        measures: Mapping[str, Measure],
        expressions: Mapping[str, Expression],
        functions: FunctionTable,
    ) -> None:
        self.measures = measures
        self.expressions = expressions
        self.plain: dict[str, Callable[..., float]] = {}
        """Functions that take what is written."""
        self.of_devices: dict[str, MeasureFunction] = {}
        """Functions that take devices, whose values lie in the results."""
        for name in {name for each in measures for name in self._calls(each)}:
            known = functions.get(name)
            if known is not None and known.device_values:
                self.of_devices[name] = known
            elif known is not None:
                self.plain[name] = known.function

    def _calls(self, name: str) -> tuple[str, ...]:
        return self.expressions[name].calls if name in self.expressions else ()

    def called(self, results: Waveforms) -> Mapping[str, Callable[..., float]]:
        """Every function by name, for expressions on `results`."""
        if not self.of_devices:
            return self.plain
        return {
            **self.plain,
            **{name: _on_devices(known, results) for name, known in self.of_devices.items()},
        }

    def evaluate(
        self,
        waveforms: Mapping[str, Waveforms],
        names: Mapping[str, Value | Swept],
        absent: Mapping[str, str] = NOTHING_ABSENT,
    ) -> tuple[dict[str, float | Swept], dict[str, str]]:
        """As `evaluate_measures`."""
        evaluation = _Evaluation(self, waveforms, names, absent)
        with np.errstate(all="ignore"):
            values = {name: evaluation.value(name) for name in self.measures}
        known = evaluation.reasons
        reasons = {name: known[name] for name in self.measures if name in known} if known else {}
        if evaluation.missing:
            error = VectorMissing("; ".join(dict.fromkeys(evaluation.missing)))
            plain = {name: value for name, value in values.items() if not isinstance(value, Swept)}
            error.measured = plain, reasons
            raise error
        return values, reasons


class _Run:
    """What the expressions on one testbench's results share."""

    __slots__ = ("meas", "scope")

    def __init__(self, plan: Plan, results: Waveforms) -> None:
        self.meas = results.meas
        self.scope = Scope(NO_NAMES, plan.called(results), Vectors(results).__getitem__, {})


class _Evaluation:
    """One pass over the measures of a plan, each computed when it is first asked for."""

    def __init__(
        self,
        plan: Plan,
        waveforms: Mapping[str, Waveforms],
        names: Mapping[str, Value | Swept],
        absent: Mapping[str, str],
    ) -> None:
        self.plan = plan
        self.measures = plan.measures
        self.waveforms = waveforms
        self.names = names
        self.absent = absent
        self.values: dict[str, float | Swept] = {}
        self.reasons: dict[str, str] = {}
        self.missing: list[str] = []
        self._underway: set[str] = set()
        self._runs: dict[str, _Run] = {}

    def value(self, name: str) -> float | Swept:
        if name in self.values:
            return self.values[name]
        if name in self._underway:
            raise MeasureUndefined(f"{name} depends on itself")
        self._underway.add(name)
        value: float | Swept = math.nan
        try:
            each = self.measures[name]
            run = self._runs.get(each.testbench) or self._begun(each.testbench)
            if each.meas:
                result = _from_netlist(run.meas, each.meas)
            else:
                expression, scope = self.plan.expressions[each.name], run.scope
                scope.names = self._known(expression.names) if expression.names else NO_NAMES
                result = expression.compute(scope)
            plain = type(result) is float and math.isfinite(result)
            value = result if plain else _usable(result)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin's may raise anything
            self._note(name, explained(error))
        self.values[name] = value
        return value

    def _note(self, name: str, error: BaseException) -> None:
        """Keep why the measure `name` does not exist."""
        if isinstance(error, VectorMissing):
            self.reasons[name] = error.reason
            self.missing.append(f"{name}: {error.reason}")
        elif isinstance(error, (MeasureUndefined, ExpressionError)):
            self.reasons[name] = str(error)
        else:
            self.reasons[name] = f"{type(error).__name__}: {error}"

    def _known(self, names: tuple[str, ...]) -> dict[str, Any]:
        known: dict[str, Any] = {}
        for name in names:
            if name in self.absent:
                raise MeasureUndefined(f"needs {name}: {self.absent[name]}")
            known[name] = self._needed(name) if name in self.measures else self.names.get(name)
            if known[name] is None:
                raise MeasureUndefined(f"'{name}' has no value")
        return known

    def _begun(self, testbench: str) -> _Run:
        if testbench and testbench not in self.waveforms:
            raise MeasureUndefined(f"testbench '{testbench}' gave no result")
        results = self.waveforms[testbench] if testbench else Waveforms()
        run = self._runs[testbench] = _Run(self.plan, results)
        return run

    def _needed(self, name: str) -> float | Swept:
        value = self.value(name)
        if name in self.reasons:
            raise MeasureUndefined(f"needs {name}: {self.reasons[name]}")
        return value


def _on_devices(known: MeasureFunction, results: Waveforms) -> Callable[..., float]:
    """A function of devices that takes their names."""

    def function(*args: Any, **kwargs: Any) -> float:
        devices = [Device(arg, results) if isinstance(arg, str) else arg for arg in args]
        return float(known.function(*devices, **kwargs))

    return function


def _from_netlist(meas: Mapping[str, float], name: str) -> float:
    """The result of a `.meas`. Raises MeasureUndefined."""
    given = meas.get(name, meas.get(name.lower()))
    if given is None:
        raise MeasureUndefined(f"the netlist's .meas '{name}' gave no result")
    return given


def _usable(result: Any) -> float | Swept:
    """`result` as a finite float, or as a waveform of numbers. Raises MeasureUndefined."""
    if not isinstance(result, Swept):
        return _number(result)
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
