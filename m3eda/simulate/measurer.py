"""The measures of one design: what each deck must save, and the numbers its waveforms give."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from m3eda.design.expressions import Expression
from m3eda.design.functions import FunctionTable
from m3eda.design.ties import nominal_point, values_at
from m3eda.design.types import Corner, Design, Measure, Sizing, Value
from m3eda.simulate.measures import Plan, required
from m3eda.simulate.render import Wanted
from m3eda.simulate.signals import Swept
from m3eda.simulate.trial import CornerResult, Sweep
from m3eda.simulate.types import Waveforms


class Measurer:
    """Computes the measures of a design, first those of each testbench, then those made of them.

    A measure that takes waveforms uses measures of its own testbench alone, as the loader sees to:
    what a testbench gives is stored before the others have run.
    """

    def __init__(self, design: Design, functions: FunctionTable) -> None:
        self._design = design
        self._expressions = {
            name: Expression.parse(measure.expression, functions)
            for name, measure in design.measures.items()
            if measure.expression
        }
        self.wanted: dict[str, Wanted] = required(design.measures, self._expressions)
        self._by_testbench: dict[str, dict[str, Measure]] = {"": {}}
        for name, measure in design.measures.items():
            self._by_testbench.setdefault(measure.testbench, {})[name] = measure
        self._plans = {
            testbench: Plan(measures, self._expressions, functions)
            for testbench, measures in self._by_testbench.items()
        }

    def names(self, testbench: str) -> list[str]:
        """Measures taken from `testbench`."""
        return list(self._by_testbench.get(testbench, ()))

    def values_used(self, testbench: str) -> tuple[str, ...]:
        """Names that expressions on `testbench` use: parameters, conditions, other measures."""
        taken = self._by_testbench.get(testbench, ())
        expressions = [self._expressions[name] for name in taken if name in self._expressions]
        return tuple(sorted({name for each in expressions for name in each.names}))

    def measure(
        self, testbench: str, values: Mapping[str, Value], waveforms: Waveforms
    ) -> tuple[dict[str, float], dict[str, str]]:
        """Measures of `testbench` in SI units, and why some are nan.

        `values` are the parameters and conditions the deck was rendered from. Raises VectorMissing,
        whose `measured` holds what could be computed all the same.
        """
        plan = self._plans.get(testbench)
        if plan is None:
            return {}, {}
        found, reasons = plan.evaluate({testbench: waveforms}, values)
        return {name: float(value) for name, value in found.items()}, reasons

    def derive(self, corner: Corner, sizing: Sizing, taken: Measured) -> None:
        """Add the measures made of others to those `taken` from the testbenches."""
        if not self._by_testbench[""]:
            return
        known: dict[str, float | Swept] = {
            name: value for name, value in taken.measures.items() if name not in taken.swept
        }
        for name, sweep in taken.swept.items():
            known[name] = Swept.of(name, sweep.condition, sweep.points, sweep.values)
        absent = {name: taken.reasons.get(name, "not measured") for name in taken.absent()}
        values = {**values_at(self._design, None, corner, sizing), **known}
        found, why = self._plans[""].evaluate({}, values, absent)
        taken.reasons.update(why)
        for name, value in found.items():
            if isinstance(value, Swept):
                trace = value.trace()
                sweep = Sweep(value.condition, tuple(trace.x.tolist()), tuple(trace.y.tolist()))
                taken.add_sweep(name, sweep, self._design)
            else:
                taken.measures[name] = value

    def fingerprint(self, testbench: str) -> str:
        """Text that changes whenever what is measured on `testbench` does."""
        taken = self._by_testbench.get(testbench, {})
        return json.dumps([[m.name, m.expression, m.meas] for m in taken.values()])


@dataclass
class Measured:
    """What the testbenches of one corner gave so far."""

    measures: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    swept: dict[str, Sweep] = field(default_factory=dict)

    def absent(self) -> list[str]:
        """Measures without a value, or without one at some point of their sweep."""
        values = {**{k: (v,) for k, v in self.measures.items()}, **self.values()}
        return [name for name, each in values.items() if any(map(math.isnan, each))]

    def values(self) -> dict[str, tuple[float, ...]]:
        return {name: sweep.values for name, sweep in self.swept.items()}

    def add_sweep(self, name: str, sweep: Sweep, design: Design) -> None:
        """Add a swept measure; its one value is the one nearest to the design's conditions."""
        self.swept[name] = sweep
        nominal = nominal_point(design, sweep.condition, sweep.points)
        self.measures[name] = sweep.values[sweep.points.index(nominal)]

    def add_points(
        self, condition: str, parts: Mapping[float, CornerResult], design: Design
    ) -> None:
        """Add the results of a testbench at each point of its sweep."""
        first = next(iter(parts.values()))
        for name in first.measures:
            values = tuple(part.measures[name] for part in parts.values())
            self.add_sweep(name, Sweep(condition, tuple(parts), values), design)
        for point, part in parts.items():
            for name, reason in part.reasons.items():
                self.reasons.setdefault(name, f"{reason} (at {condition} = {point:g})")
