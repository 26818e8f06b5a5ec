"""The words of the design file, as pydantic models; their descriptions are its reference.

The models check shapes and scalars. What needs more than one entry (ranges, names, files) is
checked by `load.py`, which places each mistake.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from m3eda.design.kinds import (
    Boolean,
    Condition,
    Includes,
    Name,
    Natural,
    Number,
    Positive,
    Real,
    Scalar,
    Share,
    Unit,
    Version,
    Whole,
    Word,
    Words,
)


class Entry(BaseModel):
    """A mapping of known keys."""

    # a validator is built where one is needed: a command needs few of them
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, defer_build=True)


def _spread(key: str) -> BeforeValidator:
    """A bare word as the mapping it stands for."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


class TestbenchEntry(Entry):
    """One netlist template to render and simulate."""

    __test__ = False

    template: Word = Field(
        description="Jinja template of the netlist, or a Python file that builds it: beside the "
        "design file, else one of the circuit library."
    )
    conditions: dict[Name, Condition] = Field(
        default={},
        description="Conditions of this testbench alone, over those of the design. One of them may "
        "be a list of numbers: the testbench is simulated at each, and its measures are waveforms "
        "over that condition.",
    )


class ParameterEntry(Entry):
    """One size. Exactly one form: min and max (with step or series), choices, value or expr."""

    min: Number | None = Field(default=None, description="Smallest value.")
    max: Number | None = Field(default=None, description="Largest value.")
    step: Number | None = Field(default=None, description="Grid of the values, counted from min.")
    scale: Literal["linear", "log"] | None = Field(
        default=None,
        description="How a range is searched. Left out: log where min is positive and max is at "
        "least 10 times min, else linear.",
    )
    series: Literal["E6", "E12", "E24", "E48", "E96", "E192"] | None = Field(
        default=None, description="Preferred values of IEC 60063 between min and max."
    )
    choices: list[Scalar] | None = Field(
        default=None, description="The values it may take: numbers, or words such as model names."
    )
    value: Scalar | None = Field(
        default=None, description="A fixed value; the parameter stays visible to the templates."
    )
    expr: Word | None = Field(
        default=None,
        description="A formula of other parameters and conditions, for matched and ratioed "
        "devices.",
    )
    start: Scalar | None = Field(
        default=None, description="The value of a sizing the designer has, simulated first."
    )
    kind: Word = Field(
        default="",
        description="What it is, in the designer's word: multiplier, width, capacitance...",
    )
    unit: Unit = Field(
        default="", description="SI unit, without a prefix; numbers with a unit must agree."
    )
    description: Word = Field(default="", description="For reports.")


class MeasureEntry(Entry):
    """A number taken from a testbench, or computed from other measures."""

    testbench: Word | None = Field(
        default=None,
        description="The testbench it is taken from; may be left out where there is only one, and "
        "for a formula of other measures.",
    )
    expr: Word | None = Field(
        default=None,
        description="A formula of waveforms (v(out), i(vdd), @m1[gm]), measure functions, "
        "parameters, conditions and other measures.",
    )
    meas: Word | None = Field(
        default=None, description="Name of a .meas in the netlist, in place of expr."
    )
    unit: Unit = Field(default="", description="SI unit, without a prefix.")
    description: Word = Field(default="", description="For reports.")


class LimitsEntry(Entry):
    """Limits of a measure."""

    min: Number | None = Field(default=None, description="Smallest value that is allowed.")
    max: Number | None = Field(default=None, description="Largest value that is allowed.")
    target: Number | None = Field(
        default=None, description="Wanted value, together with tolerance."
    )
    tolerance: Number | None = Field(
        default=None,
        description="Half width of the window around target; a percentage is of the target.",
    )


class SpecEntry(LimitsEntry):
    """What a measure must be; its key is the measure's name."""

    weight: Real = Field(
        default=1.0, gt=0, description="Weight in the reward that guides the search."
    )
    failed: Number | None = Field(
        default=None,
        description="What the measure counts as where it does not exist, by a failed simulation or "
        "by itself: a value outside the limits. Without it such a spec is wholly missed.",
    )
    corners: dict[Word, LimitsEntry] = Field(
        default={},
        description="Limits of its own at a corner, or at all corners of a process, by name; they "
        "replace the limits of the same word, the others stay.",
    )
    description: Word = Field(default="", description="For reports.")


class ObjectiveEntry(Entry):
    """What to improve once every spec is met; of several measures the Pareto front is kept."""

    minimize: Words = Field(default=[], description="A measure, or a list of them.")
    maximize: Words = Field(default=[], description="A measure, or a list of them.")


class NamedCornerEntry(Entry):
    """One corner by name. Its other keys are conditions."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Scalar] = Field(init=False)

    name: Word = Field(description="Name of the corner.")
    process: Word = Field(default="", description="Process corner of the technology, such as ss.")


class CornersEntry(Entry):
    """A grid of process corners and conditions, named corners, or both."""

    grid: dict[Name, list[Scalar]] = Field(
        default={},
        description="Lists of values under process and names of conditions; every combination "
        "is a corner.",
    )
    named: list[NamedCornerEntry] = Field(default=[], description="Corners by name.")

    @staticmethod
    def spread(value: Any) -> Any:
        """The file's spelling (a list of named corners, or a grid with `named` in it)."""
        if isinstance(value, list):
            return {"named": value}
        if not isinstance(value, dict):
            return value
        grid = {key: item for key, item in value.items() if key != "named"}
        return {"grid": grid, **({"named": value["named"]} if "named" in value else {})}


class TechnologyEntry(Entry):
    """Device models. Its other keys are free data that templates read as technology.<key>."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Natural] = Field(init=False)

    name: Word = Field(
        default="",
        description="A technology that is shipped or registered by a plugin, or a path to a "
        "technology.yaml; beside lib, a name of its own.",
    )
    package: Word = Field(
        default="",
        description="Installed Python package that holds the model files: lib and includes are "
        "then relative to its folder.",
    )
    install: Word = Field(
        default="", description="What pip installs to get package; left out, its own name."
    )
    lib: Word | None = Field(
        default=None, description="Model file; ~ and variables such as $PDK_ROOT are expanded."
    )
    includes: Includes = Field(
        default={},
        description="Model files loaded before lib: a list for every corner, or a mapping of "
        "process corner -> list.",
    )
    sections: dict[Word, Word] = Field(
        default={}, description="Process corner -> section of lib, such as {tt: tt, ss: ss}."
    )
    nominal: Word | None = Field(
        default=None, description="Process corner used where none is asked for; tt, else the first."
    )
    checksum: Word = Field(
        default="",
        description="What the SHA-256 over lib and all it includes begins with: another version "
        "of the kit is refused. Write ? to be told it.",
    )


class SimulatorEntry(Entry):
    """The simulator's back end."""

    name: Word = Field(default="ngspice", description="A registered back end.")
    options: dict[str, Natural] = Field(
        default={}, description="Options of the back end, as reltol: 1e-4."
    )
    timeout: Real = Field(
        default=60.0, gt=0, description="Seconds that one simulator run may take."
    )
    licences: Whole = Field(
        default=0, ge=0, description="Largest number of simulators at once; 0 for no limit."
    )


class AgentEntry(Entry):
    """Who chooses the sizings, and for how long."""

    name: Word = Field(default="auto", description="A registered agent.")
    budget: Whole = Field(default=500, ge=1, description="Largest number of simulated sizings.")
    seconds: Real | None = Field(
        default=None, gt=0, description="Longest time of the run in seconds."
    )
    seed: Whole = Field(default=1, ge=0, description="Seed of all random choices.")
    batch: Whole = Field(
        default=0,
        ge=0,
        description="Sizings proposed at once, part of the recipe; 0 takes as many as --jobs keeps "
        "busy.",
    )
    options: dict[str, Natural] = Field(default={}, description="Options of the agent.")


class FailuresEntry(Entry):
    """What to do about simulations that fail."""

    retries: Whole = Field(default=0, ge=0, description="Runs again with the ladder's next rung.")
    ladder: Words = Field(
        default=[], description="Simulator settings tried in order after a failure: gmin, gear..."
    )
    stop_after_same_error: Whole = Field(
        default=5,
        ge=0,
        description="Stop when so many first points fail for one reason; 0 never stops.",
    )


class SignoffEntry(Entry):
    """Where a sizing must hold, and how one that does is found."""

    corners: Words = Field(
        default=[], description="Names of corners, or `all`; left out, the nominal one alone."
    )
    strategy: Literal["auto", "brute-force", "progressive-hardest", "progressive-random"] = Field(
        default="auto", description="How corners are taken up while sizing."
    )


class VariationEntry(Entry):
    """What varies from chip to chip: Monte Carlo."""

    mismatch: Boolean = Field(default=False, description="Devices differ from each other.")
    process: Boolean = Field(default=False, description="All devices of a kind differ together.")
    sigma: dict[Name, Positive] = Field(
        default={},
        description="Relative standard deviation of parameters and conditions, such as {r1: 1%}.",
    )
    samples: Whole | None = Field(
        default=None,
        ge=2,
        description="Largest number of samples of a sizing; left out, 200, or with a yield as many "
        "as show it with some room.",
    )
    yield_: Share | None = Field(
        default=None,
        alias="yield",
        description="Wanted share of samples that pass every spec, such as 99.7%: `m3eda size` "
        "goes on until it is shown.",
    )
    confidence: Share = Field(default=0.95, description="Confidence of what is said of the yield.")
    sampling: Literal["random", "latin-hypercube", "sobol"] = Field(
        default="random", description="How samples are drawn."
    )
    seed: Whole = Field(default=1, ge=0, description="Seed of the samples.")


class DesignFile(Entry):
    """A design file: what is sized, how it is measured, and what it must reach."""

    m3eda: Version | None = Field(default=None, description="Version of the format: 1.")
    design: Name | None = Field(default=None, description="Name of the design.")
    description: Word = Field(default="", description="One line for reports.")
    extends: Words = Field(
        default=[],
        description="Design files this one builds on, relative to it; later files win, and "
        "null removes a key.",
    )
    technology: Annotated[TechnologyEntry, _spread("name")] | None = Field(
        default=None,
        description="Device models: a name, a path to a technology.yaml, or a mapping.",
    )
    simulator: Annotated[SimulatorEntry, _spread("name")] = Field(
        default=SimulatorEntry(), description="The simulator: a name or a mapping."
    )
    testbenches: dict[Name, Annotated[TestbenchEntry, _spread("template")]] = Field(
        default={}, description="The netlists to simulate, by name."
    )
    netlist: Word | None = Field(
        default=None,
        description="Template of the device under test alone, to be written when sized.",
    )
    parameters: dict[Name, ParameterEntry] = Field(default={}, description="The sizes, by name.")
    measures: dict[Name, MeasureEntry] = Field(default={}, description="What is measured, by name.")
    specs: dict[Word, SpecEntry] = Field(default={}, description="The data sheet, by measure.")
    objective: ObjectiveEntry = Field(
        default=ObjectiveEntry(),
        description="What to improve after every spec is met; without it the first point that "
        "meets all wins.",
    )
    conditions: dict[Name, Scalar] = Field(
        default={},
        description="Nominal conditions (supply, load, temp in degrees Celsius), each visible "
        "to templates and expressions.",
    )
    corners: Annotated[CornersEntry, BeforeValidator(CornersEntry.spread)] = Field(
        default=CornersEntry(),
        description="A grid of lists, a list of named corners, or a grid with "
        "named corners under named.",
    )
    signoff: SignoffEntry = Field(
        default=SignoffEntry(), description="The corners that a sizing must hold at."
    )
    variation: VariationEntry | None = Field(default=None, description="Monte Carlo.")
    agent: Annotated[AgentEntry, _spread("name")] = Field(
        default=AgentEntry(), description="The agent: a name or a mapping."
    )
    failures: FailuresEntry = Field(default=FailuresEntry(), description="Retries and giving up.")
    starts: list[dict[Name, Scalar]] = Field(
        default=[],
        description="Sizings that are good elsewhere, as `m3eda port` writes them, best first: "
        "simulated first, and searched around. A parameter left out has its `start`.",
    )
    plugins: Words = Field(default=[], description="Local plugin files, relative to this file.")


REQUIRED = ("m3eda", "design", "testbenches", "parameters", "measures")
SHORTHANDS = {"TestbenchEntry": "template", "SimulatorEntry": "name", "AgentEntry": "name",
              "TechnologyEntry": "name"}  # fmt: skip
"""The key that a bare word stands for."""
FORMS = (frozenset({"min", "max", "step", "scale", "series"}), frozenset({"choices"}),
         frozenset({"value"}), frozenset({"expr"}))  # fmt: skip
"""The forms of a parameter, which exclude each other."""
EXCLUSIVE = {
    ("parameters", "*"): FORMS,
    ("measures", "*"): (frozenset({"expr"}), frozenset({"meas"})),
}
