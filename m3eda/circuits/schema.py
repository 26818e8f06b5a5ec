"""The words of a circuit.yaml, as pydantic models.

A circuit.yaml has the words of a design file, but its numbers may be formulas of a technology
(`min: 4 * w_min`), and some words of its own. Parameters, testbenches and conditions are checked
once their formulas are numbers, as those of a design file.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from m3eda.design.kinds import Name, Natural, Version, Whole, Word, Words
from m3eda.design.schema import Entry, MeasureEntry

GROUPS = ("amplifier", "regulator", "reference", "comparator", "oscillator", "rf", "filter",
          "building block")  # fmt: skip
SPLITS = ("train", "validation", "test")


class TargetsEntry(Entry):
    """What a data sheet of the circuit asks for: `{measure: {min: limit}}` or `{max: limit}`."""

    traded: dict[Name, dict[Literal["min", "max"], Word]] = Field(
        description="Measures that trade against each other; the limit is the least that anybody "
        "would want, and each target's own lies beyond it."
    )
    fixed: dict[Name, dict[Literal["min", "max"], Word]] = Field(
        default={}, description="Measures with the same limit in every target."
    )
    samples: Whole = Field(
        default=20_000, ge=1, description="Random sizings to calibrate with; fewer where slow."
    )


class PaperEntry(Entry):
    """What a publication says of the circuit, beside the ranges that were found by simulation."""

    source: Word = Field(description="Where it is written.")
    specs: dict[Name, list[Word]] = Field(description="Measure -> smallest and largest target.")
    found: dict[Name, list[Word]] = Field(
        default={},
        description="Measure -> smallest and largest target of a range found by simulation, in "
        "place of one that is out of reach or is not given.",
    )
    note: Word = Field(default="", description="What was found when it was simulated.")


class CircuitFile(Entry):
    """A circuit of the library."""

    m3eda: Version = Field(description="Version of the format: 1.")
    circuit: Name = Field(description="Name of the circuit, that of its folder.")
    title: Word = Field(description="One line: what it is.")
    group: Literal[GROUPS] = Field(description="What kind of circuit it is.")  # type: ignore[valid-type]
    description: Word = Field(description="A paragraph: how it works, and what it is good for.")
    source: Word = Field(default="", description="Where the topology is described.")
    keywords: Words = Field(default=[], description="Words that `m3eda library search` finds.")
    pins: dict[Word, Word] = Field(description="Pins of the subcircuit, in order, with meanings.")
    sketch: Word = Field(default="", description="A drawing in characters.")
    split: Literal[SPLITS] = Field(  # type: ignore[valid-type]
        description="Where a policy may meet it: train, validation or test."
    )
    technologies: Words = Field(description="Technologies it simulates in; the first is its own.")
    extends: Words = Field(default=[], description="A circuit.yaml that this one builds on.")
    netlist: Word = Field(description="Template of the circuit, a subcircuit.")
    testbenches: dict[Name, Any] = Field(description="As in a design file.")
    parameters: dict[Name, dict[str, Any]] = Field(description="As in a design file.")
    measures: dict[Name, MeasureEntry] = Field(description="As in a design file.")
    conditions: dict[Name, Any] = Field(default={}, description="As in a design file.")
    corners: dict[Name, Any] = Field(default={}, description="In place of the technology's grid.")
    simulator: dict[str, Any] = Field(default={}, description="As in a design file.")
    targets: TargetsEntry = Field(description="What its data sheets ask for.")
    overrides: dict[Word, dict[str, Natural]] = Field(
        default={}, description="Technology -> sections that differ there, merged key by key."
    )
    paper: PaperEntry | None = Field(default=None, description="Published ranges.")
