"""The measures of one design: what each deck must save, and the numbers its waveforms give."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from m3eda.design.expressions import Expression
from m3eda.design.functions import FunctionTable
from m3eda.design.ties import values_at
from m3eda.design.types import Corner, Design, Measure, Sizing, Value
from m3eda.simulate.measures import evaluate_measures, required
from m3eda.simulate.render import Wanted
from m3eda.simulate.types import Waveforms


class Measurer:
    """Computes the measures of a design, first those of each testbench, then those made of them.

    A measure that takes waveforms uses measures of its own testbench alone, as the loader sees to:
    what a testbench gives is stored before the others have run.
    """

    def __init__(self, design: Design, functions: FunctionTable) -> None:
        self._design = design
        self._functions = functions
        self._expressions = {
            name: Expression.parse(measure.expression, functions)
            for name, measure in design.measures.items()
            if measure.expression
        }
        self.wanted: dict[str, Wanted] = required(design.measures, self._expressions)
        self._by_testbench: dict[str, dict[str, Measure]] = {"": {}}
        for name, measure in design.measures.items():
            self._by_testbench.setdefault(measure.testbench, {})[name] = measure

    def names(self, testbench: str) -> list[str]:
        """Measures taken from `testbench`."""
        return list(self._by_testbench.get(testbench, ()))

    def measure(
        self, testbench: str, values: Mapping[str, Value], waveforms: Waveforms
    ) -> tuple[dict[str, float], dict[str, str]]:
        """Measures of `testbench` in SI units, and why some are nan.

        `values` are the parameters and conditions the deck was rendered from. Raises VectorMissing,
        whose `measured` holds what could be computed all the same.
        """
        return evaluate_measures(
            self._by_testbench.get(testbench, {}),
            self._expressions,
            {testbench: waveforms},
            values,
            self._functions,
        )

    def derive(
        self, corner: Corner, sizing: Sizing, measures: dict[str, float], reasons: dict[str, str]
    ) -> None:
        """Add the measures made of others to `measures`, and their reasons to `reasons`."""
        derived = self._by_testbench[""]
        if not derived:
            return
        known = {name: value for name, value in measures.items() if not math.isnan(value)}
        ready = self._ready(derived, known, measures, reasons)
        names = {**values_at(self._design, None, corner, sizing), **known}
        found, why = evaluate_measures(ready, self._expressions, {}, names, self._functions)
        measures.update(found)
        reasons.update(why)

    def fingerprint(self, testbench: str) -> str:
        """Text that changes whenever what is measured on `testbench` does."""
        taken = self._by_testbench.get(testbench, {})
        return json.dumps([[m.name, m.expression, m.meas] for m in taken.values()])

    def _ready(
        self,
        derived: Mapping[str, Measure],
        known: Mapping[str, float],
        measures: dict[str, float],
        reasons: dict[str, str],
    ) -> dict[str, Measure]:
        """Those of `derived` whose inputs exist; the others become nan with their reason."""
        ready: dict[str, Measure] = {}
        for name, measure in derived.items():
            used = [
                other for other in self._expressions[name].names if other in self._design.measures
            ]
            absent = [other for other in used if other not in known and other not in derived]
            if absent:
                measures[name] = math.nan
                reasons[name] = f"needs {absent[0]}: {reasons.get(absent[0], 'not measured')}"
            else:
                ready[name] = measure
        # what is made of a measure that has just become nan is nan as well
        dropped = set(derived) - set(ready)
        for name in list(ready):
            lost = [o for o in self._expressions[name].names if o in dropped]
            if lost:
                return self._ready(
                    {n: m for n, m in derived.items() if n in ready}, known, measures, reasons
                )
        return ready
