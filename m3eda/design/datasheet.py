"""Measures, specs and the objective of a design file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from m3eda.design.expressions import Expression
from m3eda.design.functions import FunctionTable
from m3eda.design.problems import Problems
from m3eda.design.references import check_calls, check_cycles, check_names
from m3eda.design.scalars import Number
from m3eda.design.schema import LimitsEntry, MeasureEntry, ObjectiveEntry, SpecEntry
from m3eda.design.scoring import bounds, met
from m3eda.design.types import NOMINAL, Corner, Limits, Measure, Objective, Spec
from m3eda.design.yamlfile import KeyPath, nearest
from m3eda.units import format_engineering, same_unit


class Measures:
    """Builds the measures. `visible` gives the parameters and conditions each testbench has, by
    its name; under "" those of a measure that needs none."""

    def __init__(
        self,
        entries: Mapping[str, MeasureEntry],
        visible: Mapping[str, set[str]],
        functions: FunctionTable,
        problems: Problems,
    ) -> None:
        self.entries = entries
        self.visible = visible
        self.functions = functions
        self.problems = problems
        self.expressions: dict[str, Expression] = {}
        self.built: dict[str, Measure] = {}

    def build(self) -> dict[str, Measure]:
        for name, entry in self.entries.items():
            measure = self._measure(name, entry)
            if measure is None:
                self.problems.broken.add(("measures", name))
            else:
                self.built[name] = measure
        for name, expression in self.expressions.items():
            self._check(name, expression)
        uses = {
            name: [other for other in expression.names if other in self.expressions]
            for name, expression in self.expressions.items()
        }
        check_cycles(uses, "measures", "expr", self.problems)
        return self.built

    def _measure(self, name: str, entry: MeasureEntry) -> Measure | None:
        path: KeyPath = ("measures", name)
        if path in self.problems.trimmed and entry.expr is None and entry.meas is None:
            return None
        if (entry.expr is None) == (entry.meas is None):
            both = entry.expr is not None
            self.problems.add((*path, "meas") if both else path, "has both expr and meas" if both
                              else "has neither expr nor meas", "give one of them",
                              of_key=True)  # fmt: skip
            return None
        expression = None
        if entry.expr is not None:
            expression = self.problems.expression((*path, "expr"), self.functions)
            if expression is None:
                return None
            self.expressions[name] = expression
        testbench = self._testbench(path, entry, expression)
        if testbench is None:
            return None
        unit = entry.unit or self._unit(expression)
        return Measure(name, testbench, entry.expr or "", entry.meas or "", unit, entry.description)

    def _unit(self, expression: Expression | None) -> str:
        """The unit of the function whose result the measure is."""
        known = self.functions.get(expression.outermost) if expression else None
        return known.unit if known else ""

    def _testbench(
        self, path: KeyPath, entry: MeasureEntry, expression: Expression | None
    ) -> str | None:
        """The testbench it is taken from, "" where it needs none, None where it is wrong."""
        known = [name for name in self.visible if name]
        if entry.testbench is not None:
            if entry.testbench in known or self.problems.is_broken("testbenches", entry.testbench):
                return entry.testbench
            hint = nearest(entry.testbench, known) or f"known: {', '.join(known) or 'none'}"
            self.problems.add((*path, "testbench"), f"no testbench is called '{entry.testbench}'",
                              hint)  # fmt: skip
            return None
        needs = expression is None or bool(expression.vectors or expression.device_values)
        if not needs:
            return ""
        if len(known) == 1:
            return known[0]
        self.problems.add(path, "takes waveforms, but names no testbench",
                          f"give testbench: one of {', '.join(known) or 'those to be written'}",
                          of_key=True)  # fmt: skip
        return None

    def _check(self, name: str, expression: Expression) -> None:
        path: KeyPath = ("measures", name, "expr")
        check_calls(expression, path, self.functions, self.problems)
        measure = self.built.get(name)
        if measure is None:
            return
        testbench = measure.testbench
        known = self.visible.get(testbench, self.visible[""]) | set(self.entries)
        check_names(expression, path, known, self.problems)
        for used in expression.names:
            other = self.built.get(used)
            if testbench and other is not None and other.testbench != testbench:
                self.problems.add(
                    path,
                    f"takes waveforms of '{testbench}' and uses '{used}', which is not measured "
                    "there",
                    f"leave testbench out of {name} and use measures only, or measure both there",
                    shift=self.problems.shift(path, expression.columns.get(used)),
                )
        given = self._unit(expression)
        if given and measure.unit and not same_unit(given, measure.unit):
            self.problems.add(("measures", name, "unit"),
                              f"is {measure.unit}, but {expression.outermost} gives {given}",
                              f"write unit: {given}")  # fmt: skip


class Specs:
    """Builds the specs of known measures at known corners."""

    def __init__(
        self,
        measures: Mapping[str, Measure],
        corners: Sequence[Corner],
        processes: Mapping[str, str],
        nominal_process: str,
        problems: Problems,
    ) -> None:
        self.measures = measures
        self.problems = problems
        self.by_corner = {NOMINAL: nominal_process, **{c.name: c.process for c in corners}}
        self.processes = {*processes, *self.by_corner.values()} - {""}

    def build(self, entries: Mapping[str, SpecEntry]) -> dict[str, Spec]:
        built = {}
        for name, entry in entries.items():
            path: KeyPath = ("specs", name)
            measure = self.measures.get(name)
            if measure is None:
                if not self.problems.is_broken("measures", name) and not self.problems.is_broken(
                    "measures"
                ):
                    hint = nearest(name, self.problems.names("measures")) or "add it under measures"
                    self.problems.add(path, f"no measure is called '{name}'", hint, of_key=True)
                continue
            before = len(self.problems.mistakes)
            limits = self._limits(path, entry, measure.unit)
            if len(self.problems.mistakes) > before:
                continue
            unit = measure.unit or self._written_unit(entry)
            corners = self._at_corners(path, entry, unit)
            built[name] = Spec(name, limits, entry.weight, unit, corners, entry.description,
                               _value(entry.failed))  # fmt: skip
            self._check_failed(path, entry, built[name])
        return built

    def _check_failed(self, path: KeyPath, entry: SpecEntry, spec: Spec) -> None:
        """What does not work must not pass anywhere."""
        if entry.failed is None or spec.failed is None:
            return
        self._check_unit((*path, "failed"), entry.failed, spec.unit)
        for corner, limits in {"": spec.limits, **spec.corners}.items():
            if limits != Limits() and met(spec.failed, limits):
                at = f" at '{corner}'" if corner else ""
                value = format_engineering(spec.failed, spec.unit)
                self.problems.add((*path, "failed"), f"{value} meets the limits{at}, and what does "
                                  "not work would pass", "give a value outside them")  # fmt: skip
                return

    def _at_corners(self, path: KeyPath, entry: SpecEntry, unit: str) -> dict[str, Limits]:
        """Limits by corner name: a process's for each of its corners, then the corners' own."""
        found: dict[str, Limits] = {}
        for key, own in entry.corners.items():
            here: KeyPath = (*path, "corners", key)
            if key not in self.by_corner and key not in self.processes:
                if not self.problems.is_broken("corners") and not self.problems.is_broken(
                    "technology"
                ):
                    known = [*self.processes, *self.by_corner]
                    hint = nearest(key, known) or "give it under corners"
                    self.problems.add(here, f"no corner or process is called '{key}'", hint,
                                      of_key=True)  # fmt: skip
                continue
            merged = LimitsEntry.model_construct(**{
                word: getattr(own, word) if getattr(own, word) is not None else getattr(entry, word)
                for word in LimitsEntry.model_fields
            })  # fmt: skip
            limits = self._limits(here, merged, unit)
            for corner, process in self.by_corner.items():
                if process == key:
                    found.setdefault(corner, limits)
            found[key] = limits
        return found

    @staticmethod
    def _written_unit(entry: LimitsEntry) -> str:
        numbers = (entry.min, entry.max, entry.target)
        return next((n.unit for n in numbers if n is not None and n.unit not in ("", "%")), "")

    def _limits(self, path: KeyPath, entry: LimitsEntry, unit: str) -> Limits:
        wanted = unit or self._written_unit(entry)
        for word in ("min", "max", "target", "tolerance"):
            number = getattr(entry, word)
            relative = word == "tolerance" and number is not None and number.unit == "%"
            own = self.problems.document.at((*path, word)) is not None
            if number is not None and not relative and own:
                self._check_unit((*path, word), number, wanted)
        limits = Limits(_value(entry.min), _value(entry.max), _value(entry.target),
                        self._tolerance(entry))  # fmt: skip
        self._check_limits(path, limits, wanted)
        return limits

    def _check_unit(self, path: KeyPath, number: Number, wanted: str) -> None:
        if number.unit and wanted and not same_unit(number.unit, wanted):
            self.problems.add(path, f"is in {number.unit}, but {path[1]} is in {wanted}",
                              f"write it in {wanted}")  # fmt: skip

    @staticmethod
    def _tolerance(entry: LimitsEntry) -> float | None:
        if entry.tolerance is None or entry.target is None or entry.tolerance.unit != "%":
            return _value(entry.tolerance)
        return entry.tolerance.value * abs(entry.target.value)

    def _check_limits(self, path: KeyPath, limits: Limits, unit: str) -> None:
        if path in self.problems.trimmed or path[:2] in self.problems.trimmed:
            return
        if limits == Limits():
            self.problems.add(path, "has no limit", "give min, max, or target with tolerance",
                              of_key=True)  # fmt: skip
        elif (limits.target is None) != (limits.tolerance is None):
            lone, other = ("target", "tolerance") if limits.tolerance is None else (
                "tolerance", "target")  # fmt: skip
            self.problems.add((*path, lone), f"needs {other} beside it", of_key=True)
        elif limits.tolerance is not None and limits.tolerance <= 0.0:
            self.problems.add((*path, "tolerance"), "must be greater than 0")
        else:
            low, high = bounds(limits)
            if low > high:
                words = ("min", "target", "max", "tolerance")
                # at a corner some are the spec's own
                written = [w for w in words if self.problems.document.at((*path, w)) is not None]
                low_text, high_text = format_engineering(low, unit), format_engineering(high, unit)
                at = f" at '{path[-1]}'" if "corners" in path else ""
                text = f"no value can meet the limits{at}: at least {low_text} and at most "
                self.problems.add((*path, written[0]), text + high_text)


def _value(number: Number | None) -> float | None:
    return None if number is None else number.value


def build_objective(
    entry: ObjectiveEntry, measures: Mapping[str, Measure], problems: Problems
) -> Objective:
    """The objective on known measures."""
    for word, names in (("minimize", entry.minimize), ("maximize", entry.maximize)):
        path: KeyPath = ("objective", word)
        listed = isinstance(problems.document.at(path), list)
        for index, name in enumerate(names):
            place = (*path, index) if listed else path
            if name not in measures and not problems.is_broken("measures", name):
                hint = nearest(name, problems.names("measures")) or "add it under measures"
                problems.add(place, f"no measure is called '{name}'", hint)
            elif name in names[:index] or (word == "maximize" and name in entry.minimize):
                problems.add(place, f"'{name}' is given twice")
    return Objective(tuple(entry.minimize), tuple(entry.maximize))
