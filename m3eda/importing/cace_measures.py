"""Measures and specs for the results of a CACE datasheet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from m3eda.design.writing import comment, engineering, flow
from m3eda.importing.cace_template import Template
from m3eda.importing.datasheet import Parameter, Spec
from m3eda.importing.measures import Candidate
from m3eda.importing.proposal import Names
from m3eda.units import format_engineering, parse

_GUESSES = (
    ("pm", re.compile(r"phase.?margin|\bpm\b", re.IGNORECASE)),
    ("ugbw", re.compile(r"unity|\bugf\b|\bugbw\b|\bgbw\b|gain.?bandwidth", re.IGNORECASE)),
    ("bandwidth", re.compile(r"bandwidth|3.?db", re.IGNORECASE)),
    ("slew", re.compile(r"slew", re.IGNORECASE)),
    ("settling", re.compile(r"settl", re.IGNORECASE)),
    ("noise", re.compile(r"noise", re.IGNORECASE)),
    ("gain", re.compile(r"gain(?!.?margin)|\ba0\b|\bavo\b", re.IGNORECASE)),
)
"""The measure that a result is by its name."""


@dataclass
class Bench:
    """A testbench: a template, and the conditions that it has for itself."""

    name: str
    file: str
    template: Template
    conditions: dict[str, object]
    parts: dict[str, str] = field(default_factory=dict)
    """Measures of `.meas` results that formulas use, by the names of those."""


class Results:
    """The sections `measures` and `specs`, as lines."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.measures: list[str] = []
        self.specs: list[str] = []

    def add(self, parameter: Parameter, bench: Bench | None, spec: Spec) -> None:
        """The measure and the spec of a result; as comments where no formula is known."""
        several = len(parameter.specs) > 1 or spec.result != "result"
        name = self.names.new(spec.result if several else parameter.name)
        entry, notes = self._entry(parameter, bench, spec)
        self.measures += [line for note in notes for line in comment(note, "  ")]
        unit = {"unit": spec.unit} if spec.unit and spec.unit != "%" else {}
        about = {"description": spec.title} if spec.title else {}
        apart = entry is not None and entry.pop("apart", False)
        place = {"testbench": bench.name} if bench and not apart else {}
        hidden = "" if entry else "# "
        text = flow({**place, **(entry or {"expr": ""}), **unit, **about})
        self.measures.append(f"  {hidden}{name}: {text}")
        if spec.limits:
            limits = {key: _limit(value, spec.unit) for key, value in spec.limits.items()}
            self.specs.append(f"  {hidden}{name}: {flow(limits)}")
        self.specs += [
            line for n in spec.notes for line in comment(f"{name}: {n}, not a spec", "  ")
        ]

    def _entry(
        self, parameter: Parameter, bench: Bench | None, spec: Spec
    ) -> tuple[dict[str, object] | None, list[str]]:
        """What a result is in a design, None where that is not known, and notes."""
        if bench is None:
            return None, [f"TODO: {parameter.name} has no testbench yet"]
        template = bench.template
        at = parameter.variables.index(spec.result) if spec.result in parameter.variables else -1
        column = template.columns[at] if 0 <= at < len(template.columns) else ""
        formula = template.formula(column) if column else None
        if formula == column and column:
            return {"meas": column}, []
        if formula is not None:
            parts = self._parts(template, formula, bench)
            return {"expr": parts, "apart": True}, [f"guessed: as the template computes {column}"]
        how = template.computed.get(column, "vectors of its control block")
        computed = f"the template computes {column or 'it'} from: {how}"
        text = f"{spec.result} {parameter.name} {spec.title}"
        for each in self._fitting(text, spec, template.guesses):
            entry = {"expr": _in_unit(str(each.entry["expr"]), spec.unit)}
            return dict(entry), [f"guessed: from its name; {computed}"]
        return None, [f"TODO: give an expr; {computed}"]

    def _parts(self, template: Template, formula: str, bench: Bench) -> str:
        """`formula` with measures for the `.meas` results that it uses, which are added."""
        for meas in sorted(template.meas, key=len, reverse=True):
            if not re.search(rf"\b{re.escape(meas)}\b", formula):
                continue
            if meas not in bench.parts:
                bench.parts[meas] = self.names.new(meas)
                entry = flow({"testbench": bench.name, "meas": meas})
                self.measures.append(f"  {bench.parts[meas]}: {entry}")
            formula = re.sub(rf"\b{re.escape(meas)}\b", bench.parts[meas], formula)
        return formula

    def _fitting(self, text: str, spec: Spec, guesses: Sequence[Candidate]) -> Iterator[Candidate]:
        """Guessed measures of the testbench that have the result's name and unit."""
        for name, pattern in _GUESSES:
            if pattern.search(text):
                yield from (e for e in guesses if e.name == name and _same(e, spec))
        if spec.unit == "A" and re.search(r"current|idd|icc|supply|iq", text, re.IGNORECASE):
            yield from (e for e in guesses if e.name.startswith("i") and e.entry["unit"] == "A")


def _same(guess: Candidate, spec: Spec) -> bool:
    return not spec.unit or guess.entry.get("unit") in (spec.unit, "") or spec.unit == "V/V"


def _in_unit(formula: str, unit: str) -> str:
    """A gain in dB as V/V where the datasheet has that."""
    return formula.removeprefix("db(").removesuffix(")") if unit == "V/V" else formula


def _limit(value: float, unit: str) -> str:
    """A limit with its unit where that reads well and comes back the same."""
    text = format_engineering(value, unit, 6) if unit != "%" else engineering(value)
    try:
        return text if abs(parse(text) - value) <= 1e-12 * abs(value) else engineering(value)
    except ValueError:
        return engineering(value)
