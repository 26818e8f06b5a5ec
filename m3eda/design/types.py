"""What the designer wrote, as frozen values: the result of loading a design file.

All electrical quantities are plain floats in SI units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from m3eda.errors import DesignError, Mistake

Value = float | str
"""A parameter's or condition's value: a number in SI units, or a word (a model name, a section)."""

Sizing = Mapping[str, Value]
"""A value for every parameter of a design, by name."""

NOMINAL = "nominal"
"""Name of the corner made of the nominal conditions."""

Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class Parameter:
    """One size the designer lists. Exactly one of the five forms is set.

    Range: `minimum` and `maximum`, with an optional grid `step`. Choices: `choices` (an E-series
    arrives as its values, `series` keeps its name). Frozen: `value`. Tied: `expression`.
    """

    name: str
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    scale: Scale = "linear"
    choices: tuple[Value, ...] = ()
    series: str = ""
    value: Value | None = None
    expression: str = ""
    start: Value | None = None
    """A sizing the designer already has: simulated first, and what `m3eda check` runs."""
    kind: str = ""
    """The designer's own word for what it is: multiplier, width, length, capacitance..."""
    unit: str = ""
    description: str = ""

    @property
    def frozen(self) -> bool:
        return self.value is not None

    @property
    def tied(self) -> bool:
        return bool(self.expression)

    @property
    def free(self) -> bool:
        """True where an agent may choose the value."""
        return not (self.frozen or self.tied)


@dataclass(frozen=True)
class Limits:
    """The limits of one spec. A measure meets them when every limit that is set holds."""

    minimum: float | None = None
    maximum: float | None = None
    target: float | None = None
    tolerance: float | None = None
    """Half width of the window around `target`, in the measure's unit."""


@dataclass(frozen=True)
class Spec:
    """What a measure must be. `corners` holds limits that replace `limits` at a named corner."""

    measure: str
    limits: Limits
    weight: float = 1.0
    unit: str = ""
    corners: Mapping[str, Limits] = field(default_factory=dict)
    description: str = ""
    failed: float | None = None
    """What the measure counts as in margin and reward where it does not exist; never as met."""

    def at(self, corner: str) -> Limits:
        """The limits at a corner, or in a sample at one (`nominal#17`)."""
        found = self.corners.get(corner)
        return found or self.corners.get(corner.partition("#")[0], self.limits)


def _short(value: float) -> str:
    """`value` in six digits where they say it all: no two values give the same text."""
    text = f"{value:g}"
    return text if float(text) == value else repr(value)


@dataclass(frozen=True)
class Testbench:
    """One netlist template to render and simulate. `template` is an absolute path."""

    __test__ = False  # the field's word begins with Test, which pytest would collect

    name: str
    template: Path
    conditions: Mapping[str, Value] = field(default_factory=dict)
    """Conditions of this testbench alone, over those of the design."""
    sweep: str = ""
    """A condition the testbench is simulated over: its measures are waveforms of it."""
    points: tuple[float, ...] = ()
    """The values of `sweep`, ascending."""
    point: Mapping[str, float] = field(default_factory=dict)
    """Where one of `at_points` stands in its sweep; over all other conditions, a corner's too."""

    @property
    def label(self) -> str:
        """Its name, with the point of its sweep where it stands at one: `load_cload1e-12`."""
        return "_".join([self.name, *(f"{name}{_short(v)}" for name, v in self.point.items())])

    def at_points(self) -> tuple[Testbench, ...]:
        """One testbench for each point of the sweep; this one alone where it has none."""
        if not self.sweep:
            return (self,)
        return tuple(
            replace(self, sweep="", points=(), point={self.sweep: value}) for value in self.points
        )


@dataclass(frozen=True)
class Measure:
    """A number taken from a testbench's waveforms, from its `.meas` lines, or from other measures.

    `expression` is set, or `meas` (the name of a `.meas` in the netlist). `testbench` is empty for
    a measure computed from other measures, parameters and conditions.
    """

    name: str
    testbench: str = ""
    expression: str = ""
    meas: str = ""
    unit: str = ""
    description: str = ""


@dataclass(frozen=True)
class Sample:
    """One Monte Carlo draw, of mismatch, process and tolerances."""

    number: int
    """From 1; the same number with the same seed is the same draw."""
    corner: str
    """Name of the corner that it is simulated at."""
    deviations: Mapping[str, float]
    """In standard deviations, by name: `opamp.mn1:vt`, `process.nmos:vt`, `r1:value`."""
    seed: int = 0
    """For models that draw by themselves (`agauss`)."""


@dataclass(frozen=True)
class Corner:
    """One set of conditions. `process` names a section of the technology, empty for its nominal;
    `conditions` holds only what differs from the design's."""

    name: str
    process: str = ""
    conditions: Mapping[str, Value] = field(default_factory=dict)
    sample: Sample | None = None
    """One draw of all that varies, at the corner that the sample names; else nothing varies."""


@dataclass(frozen=True)
class Technology:
    """Device models by path: a shipped technology, or one given by the design file."""

    name: str
    lib: Path | None = None
    sections: Mapping[str, str] = field(default_factory=dict)
    """Process corner name -> section of `lib`."""
    nominal: str = ""
    """The process corner used where none is asked for."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """The rest of technology.yaml: devices, supply, sizes, mismatch; templates may read it."""
    includes: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    """Process corner name -> model files loaded before `lib`; those under "" at every corner."""


@dataclass(frozen=True)
class SimulatorChoice:
    name: str = "ngspice"
    options: Mapping[str, Value] = field(default_factory=dict)
    timeout: float = 60.0
    """Seconds one simulator run may take."""
    licences: int = 0
    """Largest number of simulators at once, wherever they run; 0 for no limit."""


@dataclass(frozen=True)
class AgentChoice:
    name: str = "auto"
    budget: int = 500
    """Largest number of simulated sizings."""
    seconds: float | None = None
    """Largest wall time, or None."""
    seed: int = 1
    batch: int = 0
    """Sizings asked from the agent at once, part of the recipe; 0 until the run begins with as many
    as its jobs keep busy."""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FailurePolicy:
    retries: int = 0
    ladder: tuple[str, ...] = ()
    stop_after_same_error: int = 5
    """Stop when this many first points in a row fail with the same reason; 0 never stops."""


@dataclass(frozen=True)
class Objective:
    """What to minimise or maximise once every spec holds."""

    minimize: tuple[str, ...] = ()
    maximize: tuple[str, ...] = ()


Sampling = Literal["random", "latin-hypercube", "sobol"]
"""How samples are drawn."""


@dataclass(frozen=True)
class Variation:
    """What varies from chip to chip, and the share of chips that must be good."""

    mismatch: bool = False
    """Devices differ from each other."""
    process: bool = False
    """All devices of a kind differ together."""
    samples: int = 200
    """Largest number of Monte Carlo samples of one sizing."""
    yield_target: float | None = None
    """Share of samples that must meet every spec."""
    sigma: Mapping[str, float] = field(default_factory=dict)
    """Relative standard deviation of parameters and conditions, by name."""
    confidence: float = 0.95
    sampling: Sampling = "random"
    seed: int = 1


ALL_CORNERS = "all"
"""The word that stands for every corner of a design."""
STRATEGIES = ("auto", "brute-force", "progressive-hardest", "progressive-random")
"""Ways to find a sizing that holds at several corners; `pvt/exploration.py` tells of each."""


@dataclass(frozen=True)
class Signoff:
    """What a sizing must hold at besides the nominal corner, and how one is found."""

    corners: tuple[str, ...] = ()
    """Names of corners; empty for the nominal one alone."""
    strategy: str = "auto"
    """One of `STRATEGIES`."""


@dataclass(frozen=True)
class Design:
    """A whole design file, checked. Mappings keep the order of the file."""

    name: str
    path: Path
    """The design file, absolute."""
    testbenches: Mapping[str, Testbench]
    parameters: Mapping[str, Parameter]
    measures: Mapping[str, Measure]
    specs: Mapping[str, Spec]
    description: str = ""
    netlist: Path | None = None
    """Template of the device under test alone, written sized to `-o`; else the first testbench."""
    technology: Technology | None = None
    conditions: Mapping[str, Value] = field(default_factory=dict)
    corners: tuple[Corner, ...] = ()
    objective: Objective = Objective()
    variation: Variation | None = None
    simulator: SimulatorChoice = SimulatorChoice()
    agent: AgentChoice = AgentChoice()
    failures: FailurePolicy = FailurePolicy()
    plugins: tuple[Path, ...] = ()
    """Local plugin files the design names, absolute."""
    sources: tuple[Path, ...] = ()
    """Every YAML file read: the design file, what it extends, the technology."""
    signoff: Signoff = Signoff()
    starts: tuple[Sizing, ...] = ()
    """Sizings that are good elsewhere, such as in another technology, best first: simulated first,
    and searched around."""

    @property
    def required(self) -> tuple[Corner, ...]:
        """The corners that a sizing must hold at, the nominal one first."""
        wanted = set(self.signoff.corners)
        return (self.nominal, *(each for each in self.corners if each.name in wanted))

    @property
    def free(self) -> tuple[Parameter, ...]:
        """Parameters an agent chooses, in file order."""
        return tuple(p for p in self.parameters.values() if p.free)

    @property
    def nominal(self) -> Corner:
        return Corner(NOMINAL, self.technology.nominal if self.technology else "")

    def pinned(self, name: str, value: Value) -> Design:
        """The same design with parameter `name` frozen at `value`. Raises DesignError for a name
        that is no parameter."""
        if name not in self.parameters:
            hint = f"known: {', '.join(self.parameters)}"
            raise DesignError([Mistake(f"no parameter is called '{name}'", self.path, hint=hint)])
        parameter = Parameter(name, value=value, unit=self.parameters[name].unit)
        return replace(self, parameters={**self.parameters, name: parameter})

    def with_spec(self, spec: Spec) -> Design:
        """The same design with the spec on `spec.measure` replaced or added."""
        return replace(self, specs={**self.specs, spec.measure: spec})
