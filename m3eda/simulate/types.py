"""Decks, waveforms, and the protocols a simulator plugin answers.

A plugin author writes `available()` and `run()`; a back end that keeps circuits loaded adds
`open()`, and runs in worker processes of its own then. Names of vectors are those of ngspice, in
lower case: `v(out)`, `v(x1.net)`, `i(vdd)`, `@m1[gm]`; S-parameters are `s(2,1)`; the independent
variable is `frequency`, `time` or the sweep's name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from m3eda.design.types import Value

AnalysisKind = Literal["op", "dc", "ac", "tran", "noise", "sp"]


class State(str, Enum):
    """What became of a simulation, judged by whether the requested results arrived."""

    COMPLETE = "complete"
    """Every requested vector arrived."""
    MODEL_MISSING = "model missing"
    """A model, subcircuit or include is not there, or refuses its sizes."""
    PARSE_ERROR = "parse error"
    NO_CONVERGENCE = "no convergence"
    TIMEOUT = "timeout"
    CRASH = "crash"
    """The simulator died of a signal or stopped without saying why."""
    VECTOR_MISSING = "vector missing"
    """The run ended well, but a node, device or analysis that a measure needs is not there."""
    SIMULATOR_MISSING = "simulator missing"


@dataclass(frozen=True)
class Skeleton:
    """A deck with holes: all that stays while the sizes of a design change.

    It follows from the design alone, never from what was simulated before: a back end that keeps
    it loaded gives the same results in every worker and after every interruption.
    """

    parts: tuple[str, ...]
    """The text around the holes, one piece more than there are holes."""
    probes: tuple[tuple[str, ...], ...] = ()
    """Fills of two sizings, different in every hole: to prove a faster way on."""

    @cached_property
    def key(self) -> str:
        """Hash of the skeleton."""
        text = "\0".join((*self.parts, *(fill for probe in self.probes for fill in probe)))
        return hashlib.sha256(text.encode()).hexdigest()

    def text(self, fills: Sequence[str]) -> str:
        """The deck with its holes filled, in order."""
        pieces = [self.parts[0]]
        for fill, part in zip(fills, self.parts[1:], strict=True):
            pieces += (fill, part)
        return "".join(pieces)


@dataclass(frozen=True)
class Deck:
    """A rendered netlist ready for a simulator, with what is wanted from it. Holds no plan to run.

    `text` is what the template gave; a back end adds what its dialect needs to get `vectors`
    and `meas` out.
    """

    text: str
    testbench: str = ""
    corner: str = ""
    vectors: tuple[str, ...] = ()
    """Vectors that measures use, such as `v(out)`; empty asks for all node voltages and branch
    currents."""
    device_values: tuple[str, ...] = ()
    """Operating-point values of devices, such as `@m1[gm]`."""
    meas: tuple[str, ...] = ()
    """Names of `.meas` results that measures use."""
    values: Mapping[str, Value] = field(default_factory=dict)
    """The parameters and conditions it was rendered from."""
    files: tuple[Path, ...] = ()
    """Templates and included files it was read from, absolute."""
    contents: str = ""
    """Hash of what `files` held when it was rendered; a loaded circuit of other contents is old."""
    skeleton: Skeleton | None = None
    """What `text` shares with the decks of other sizings, where that is known."""
    fills: tuple[str, ...] = ()
    """What fills the skeleton's holes: `skeleton.text(fills) == text`."""


@dataclass(frozen=True)
class Analysis:
    """The results of one analysis.

    `vectors` holds arrays of shape (n,), complex for AC and S-parameters and real otherwise, the
    independent variable under `scale`; an operating point has n = 1 and no scale. `units` gives
    SI units by vector name, where known: V, A, Hz, s, V/sqrt(Hz)...
    """

    kind: AnalysisKind
    vectors: Mapping[str, NDArray[Any]]
    scale: str = ""
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Waveforms:
    """All that one run of a deck gave."""

    analyses: tuple[Analysis, ...] = ()
    meas: Mapping[str, float] = field(default_factory=dict)
    """Results of `.meas` by name; one that failed is absent."""
    seconds: float = 0.0
    """Wall time in the simulator."""
    log: str = ""
    """Tail of what the simulator printed."""
    cpu_seconds: float = 0.0
    """Processor time of the simulator, by `getrusage`; 0 where unknown."""

    def of_kind(self, kind: AnalysisKind) -> Iterator[Analysis]:
        return (analysis for analysis in self.analyses if analysis.kind == kind)


class SimulationFailed(Exception):
    """A run did not give what was asked for: becomes a failed trial, never an end of the run."""

    def __init__(
        self, state: State, reason: str, log: str = "", rundir: Path | None = None
    ) -> None:
        super().__init__(f"{state.value}: {reason}")
        self.state = state
        self.reason = reason
        """One line."""
        self.log = log
        """Tail of the simulator's output."""
        self.rundir = rundir


@runtime_checkable
class Simulator(Protocol):
    """The least a simulator plugin must answer. Built by a factory `factory(options: Mapping)`."""

    name: str

    def available(self) -> str:
        """The simulator's version, such as `ngspice-39.3`. Raises SimulatorMissing."""
        ...

    def run(self, deck: Deck, rundir: Path, timeout: float) -> Waveforms:
        """Simulate `deck` in the empty directory `rundir` within `timeout` seconds.

        Called from several threads at once, each with a rundir of its own. Raises
        SimulationFailed with its state and reason; SimulatorMissing where the program is gone.
        """
        ...


class OnlyCold(Exception):
    """This deck cannot be run by a session, for the reason given; `Simulator.run` takes it."""


@runtime_checkable
class Session(Protocol):
    """A simulator that lives in the process that opened it, and keeps circuits loaded."""

    broken: bool
    """True where the process must be given up: the simulator in it cannot be trusted any more."""

    def run(self, deck: Deck) -> Waveforms:
        """Simulate `deck`, within no time of its own: who waits for the process ends it.

        What it gives depends on the deck (its skeleton included) alone, not on decks before it.
        Raises SimulationFailed, and OnlyCold before anything is run.
        """
        ...

    def close(self) -> None: ...


@runtime_checkable
class BatchSession(Session, Protocol):
    """A session that may simulate several decks at once, such as by a program that steps through
    a table of parameters."""

    def expect(self, decks: Sequence[Deck]) -> None:
        """Hear, before a `run`, of decks that `run` will be asked for, in their order.

        Not all of them need to come: the process may be given up before.
        """
        ...


@runtime_checkable
class WarmSimulator(Simulator, Protocol):
    """A simulator that can keep circuits loaded; the engine uses it where it is offered.

    One whose sessions are `BatchSession`s has an attribute `ahead` too: how many decks a session
    is told of at most before it has answered the first.
    """

    def open(self, rundir: Path, *, strict: bool) -> Session:
        """A session in this process, the only one it will have; its files go to `rundir`, the
        working directory. `strict` allows no way that differs from `run` by more than 1e-12.
        """
        ...


SimulatorFactory = Any
"""Callable[[Mapping[str, Value]], Simulator]: the options of the design file -> a simulator."""

Complex = np.complex128
