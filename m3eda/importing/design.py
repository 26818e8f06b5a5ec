"""The design.yaml that `m3eda init` writes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from m3eda.design.writing import comment, engineering, flow, rounded, scalar, section
from m3eda.importing.measures import Candidate
from m3eda.importing.proposal import Entry
from m3eda.units import format_engineering

_MOST_ON_A_LINE = 100
_LEAST_OPEN = 10.0
"""dB of gain from which an amplifier is most likely not in a closed loop."""
_SAME = 1e-4
"""Relative: a guessed measure that is so near to a `.meas` is the same."""
_NOTHING = 1e-15
_TODO = "TODO: write the data sheet, such as {gain: {min: 40 dB}}; nothing can be sized without it"


@dataclass
class DesignText:
    """The parts of a design file."""

    name: str
    description: str
    head: list[str]
    """Comments above everything."""
    testbench: tuple[str, str]
    """Name and template."""
    technology: str = ""
    technology_is_guess: bool = False
    netlist: str = ""
    parameters: Mapping[str, Entry] = field(default_factory=dict)
    has_units: bool = False
    """Whether widths are fixed, since multipliers are free."""
    conditions: Mapping[str, float] = field(default_factory=dict)
    guessed_conditions: Sequence[str] = ()
    measures: Sequence[Candidate] = ()

    def text(self, values: Mapping[str, float] | None) -> str:
        """The file. `values` are what the measures give now, None where nothing was simulated."""
        kept = list(self._kept(values))
        lines = [line for note in self.head for line in comment(note)]
        lines += ["m3eda: 1", f"design: {self.name}"]
        lines.append(f"description: {scalar(self.description, flow=False)}")
        if self.technology:
            guess = "   # guessed: from the names of the models" if self.technology_is_guess else ""
            lines.append(f"technology: {self.technology}{guess}")
        lines += ["simulator: ngspice", ""]
        lines += [f"netlist: {scalar(self.netlist)}"] if self.netlist else []
        lines += section("testbenches", {self.testbench[0]: scalar(self.testbench[1])})
        for part in (self._parameters(), self._measures(kept), self._specs(kept, values)):
            lines += ["", *part]
        lines += ["", *self._conditions(), "", "agent: {name: auto, budget: 500, seed: 1}"]
        return "\n".join(lines) + "\n"

    def trial(self) -> str:
        """The file with every measure, no spec and an objective, to see what the circuit gives."""
        whole = self.text({})
        head = whole.partition("\nmeasures:")[0]
        lines = [head, *self._measures(list(self.measures))]
        lines += [f"objective: {{minimize: {self.measures[0].name}}}", *self._conditions()]
        return "\n".join(lines) + "\n"

    def _kept(self, values: Mapping[str, float] | None) -> Iterator[Candidate]:
        """The measures that say something: of guessed ones those that have a value."""
        gain = (values or {}).get("gain", math.inf)
        closed = gain < _LEAST_OPEN or not math.isfinite((values or {}).get("ugbw", math.inf))
        left = ("ugbw", "pm") if closed else ("bandwidth",)
        for each in self.measures:
            if each.is_guess and each.name in left and "ugbw" in self._names:
                continue
            if each.is_guess and values and not self._tells(each, values):
                continue
            yield each

    def _tells(self, guess: Candidate, values: Mapping[str, float]) -> bool:
        """Whether a guessed measure has a value, and one that no `.meas` has."""
        value = values.get(guess.name, math.nan)
        known = [values.get(each.name, math.nan) for each in self.measures if not each.is_guess]
        again = any(math.isclose(value, other, rel_tol=_SAME) for other in known)
        return math.isfinite(value) and (not again or guess.entry.get("unit") == "A")

    @property
    def _names(self) -> set[str]:
        return {each.name for each in self.measures}

    def _parameters(self) -> list[str]:
        if not self.parameters:
            return comment("TODO: parameters: nothing in the netlist is a size that could change; "
                           "write {{ name }} in the template and give its range here")  # fmt: skip
        entries = {n: (*entry.notes, flow(entry.value)) for n, entry in self.parameters.items()}
        lines = section("parameters", unrepeated(entries))
        if self.has_units:
            lines[1:1] = comment("guessed: a width with a value is that of a unit device, fixed "
                                 "since the multiplier is free", "  ")  # fmt: skip
        return lines

    def _measures(self, kept: Sequence[Candidate]) -> list[str]:
        if not kept:
            return comment("TODO: measures: give the netlist a .meas, or an output to look at")
        entries: dict[str, tuple[str, ...]] = {}
        for each in kept:
            notes = ("guessed: from the analyses and the nodes",) if each.is_guess else ()
            entries[each.name] = (*notes, flow({"testbench": self.testbench[0], **each.entry}))
        return section("measures", unrepeated(entries))

    def _specs(self, kept: Sequence[Candidate], values: Mapping[str, float] | None) -> list[str]:
        if not values:
            return [*comment(_TODO), "# specs:"]
        active, left = list[str](), list[str]()
        for each in kept:
            value, unit = values.get(each.name, math.nan), str(each.entry.get("unit", ""))
            if not math.isfinite(value) or abs(value) < _NOTHING:
                left.append(f"  # {each.name}: {{min: , max: }}   # {_shown(value, unit)}")
                continue
            now = format_engineering(value, unit)
            if each.good:
                limit = format_engineering(rounded(value, up=each.good == "max"), unit)
                active.append(f"  {each.name}: {{{each.good}: {limit}}}   # now {now}")
            else:
                left.append(f"  # {each.name}: {{target: {now}, tolerance: 5%}}   # as it is now")
        if not active:
            return [*comment(_TODO), "# specs:", *(line.replace("  #", "#  ", 1) for line in left)]
        lines = comment("guessed: what the circuit gives today, rounded, so that nothing becomes "
                        "worse; put the limits of the data sheet here")  # fmt: skip
        return [*lines, "specs:", *active, *left, *self._objective(kept)]

    def _objective(self, kept: Sequence[Candidate]) -> list[str]:
        """The supply currents, if there are any."""
        currents = [e.name for e in kept if e.good == "max" and e.entry.get("unit") == "A"]
        wanted = currents[0] if len(currents) == 1 else f"[{', '.join(currents)}]"
        return [f"objective: {{minimize: {wanted}}}   # guessed"] if currents else []

    def _conditions(self) -> list[str]:
        conditions = {"temp": 27.0, **self.conditions}
        ordered = {name: conditions[name] for name in sorted(conditions, key="temp".__eq__)}
        lines = [f"conditions: {flow(ordered)}"]
        if len(lines[0]) > _MOST_ON_A_LINE:
            lines = section("conditions", {name: engineering(v) for name, v in ordered.items()})
        if self.guessed_conditions:
            shown = ", ".join(self.guessed_conditions)
            notes = comment(f"guessed: that {shown} are given from outside, and not sized")
            return [*notes, *lines]
        return lines


def _shown(value: float, unit: str) -> str:
    return f"now {format_engineering(value, unit)}" if math.isfinite(value) else "no value now"


def unrepeated(
    entries: Mapping[str, tuple[str, ...]],
) -> dict[str, tuple[str, ...]]:
    """A note that stands above one entry already is not written above the next one."""
    kept: dict[str, tuple[str, ...]] = {}
    before: tuple[str, ...] = ()
    for name, entry in entries.items():
        notes = entry[:-1]
        kept[name] = (*(note for note in notes if note not in before), entry[-1])
        before = notes or ()
    return kept
