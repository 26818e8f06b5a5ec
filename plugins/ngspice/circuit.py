"""The circuit that stands loaded in libngspice: loading, running, and leaving nothing behind.

What a circuit gives must not depend on those before it. ngspice 39 keeps some things beyond a
circuit's end: variables that `.option cshunt`, `.probe` and, for HSPICE's dialect, `.option scale`
set; the state of its random numbers; and the name of the BSIM4 model that was checked last, whose
next namesake goes unchecked, so that `Fatal` sizes pass and negative capacitances are not mended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from m3eda_plugins.ngspice.deck import Pass
from m3eda_plugins.ngspice.library import Library
from m3eda_plugins.ngspice.log import meas_results, tail, unrecognized
from m3eda_plugins.ngspice.plots import read_plots
from m3eda_plugins.ngspice.results import Result, analyses, invented, missing
from m3eda_plugins.ngspice.verdict import judge

from m3eda.simulate.types import Deck, SimulationFailed, State, Waveforms

STANDINS: Mapping[str, tuple[str, ...]] = {
    family: (
        f"mzz_m3_{number} 0 0 0 0 zz_m3_{number} w=1u l=1u",
        f".model zz_m3_{number} nmos level=54 version={version}",
    )
    for number, (family, version) in enumerate({"BSIM4v5": "4.5", "BSIM4": "4.8"}.items())
}
"""By the families whose models ngspice checks by name: a device of one, all at ground."""

_CHECKER = (
    "models checked last",
    *(line for lines in STANDINS.values() for line in lines),
    "v1 1 0 1",
    "r1 1 0 1",
    ".op",
    ".end",
)
SHOWN = 20
"""Characters of a model's name that `showmod` shows."""

_LEFTOVERS = ("cshunt_value", "probe_is_given", "scale", "scalm", "width")
_FAMILY = re.compile(r"^(\S+) models \(")
_NAMES = re.compile(r"^model\s+(.*)")


@dataclass
class Ran:
    """What one pass gave."""

    found: list[Result]
    stdout: str
    stderr: str


class Circuit:
    """At most one circuit of ours is loaded at a time."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.broken = False
        """True where ngspice cannot be used any more."""
        self._occupied = self._used = False
        self._leftovers = [name for name in _LEFTOVERS if not self._is_set(name)]

    def _is_set(self, name: str) -> bool:
        self.library.clear_log()
        self.library.command(f"echo $?{name}")
        printed: str = self.library.log()[0]
        return printed.strip() == "1"

    def load(self, lines: Iterable[str]) -> None:
        """Put this netlist in the place of the one before."""
        self.drop()
        for name in self._leftovers:
            self.library.command(f"unset {name}")
        if self._used:
            self.library.load(_CHECKER)
            self.library.run()
            self.library.command("remcirc")
        self._used = self._occupied = True
        self.begin()
        self.library.load(lines)

    def drop(self) -> None:
        """Take the circuit away, as after a failure, where it is not to be trusted."""
        self.broken |= self.library.exited
        if self._occupied and not self.broken:
            self.library.command("remcirc")
        self._occupied = False

    def begin(self, seed: int | None = None) -> None:
        """Before a run's first command: its plots, random numbers and log start afresh.

        `seed` is another start of its random numbers than usual, 0 none at all. Raises
        SimulationFailed where ngspice is no more.
        """
        self.broken |= self.library.exited
        if self.broken:
            raise SimulationFailed(State.CRASH, "ngspice had stopped before")
        self.library.command("destroy all")
        if seed != 0:
            self.library.command(f"setseed {seed or self.library.seed}")
        self.library.clear_log()

    def run(self, one: Pass, deck_text: str) -> Ran:
        """Run what is loaded. Raises SimulationFailed where it does not give all of its pass."""
        self.start(one)
        return self.result(one, deck_text)

    def start(self, one: Pass) -> None:
        """Run what is loaded, whatever comes of it."""
        if not self.library.exited:
            self.library.run()
        for command in one.then:
            self.library.command(command)

    def result(self, one: Pass, deck_text: str) -> Ran:
        """What the pass gave. Raises SimulationFailed where that is not all of it."""
        library = self.library
        found = [] if library.exited else read_plots(library, newest_first=one.newest_first)
        ran = Ran(found, *library.log())
        try:
            judge(one, found, deck_text, ran.stdout, ran.stderr)
        except SimulationFailed as failure:
            failure.log = tail(ran.stdout, ran.stderr)
            raise
        return ran

    def standins(self) -> tuple[str, ...]:
        """Lines this circuit needs so that each of its runs checks its models, as the first does.

        One circuit run again and again checks a model where another one was checked before it.
        """
        names = self._families()
        return tuple(
            line
            for family, lines in STANDINS.items()
            if family in names and not _takes_turns(names[family])
            for line in lines
        )

    def models(self) -> list[str]:
        """Names of the models in use; long ones are cut."""
        return [name for names in self._families().values() for name in names]

    def _families(self) -> dict[str, list[str]]:
        """The models in use by their families, in the order in which they are checked."""
        self.library.clear_log()
        self.library.command("showmod all : level")
        names: dict[str, list[str]] = {}
        family = ""
        for line in self.library.log()[0].splitlines():
            if match := _FAMILY.match(line):
                family = match[1]
            elif match := _NAMES.match(line):
                names.setdefault(family, []).extend(match[1].split())
        return names


def _takes_turns(names: list[str]) -> bool:
    """Whether the model checked first is surely another one than that checked last."""
    first, last = names[0], names[-1]
    if ":" in first and ":" in last:
        return first.partition(":")[0] != last.partition(":")[0]
    if any(len(name) >= SHOWN or re.search(r"\.\d+$", name) for name in names):
        return False
    return not last.startswith(first)


def waveforms(deck: Deck, passes: Iterable[Ran]) -> Waveforms:
    """What all passes gave, under the names it was asked for. Raises SimulationFailed."""
    found: list[Result] = []
    bad: set[str] = set()
    meas: dict[str, float] = {}
    log = ""
    wanted = [name.lower() for name in deck.meas]
    for ran in passes:
        log = tail(ran.stdout, ran.stderr)
        found += ran.found
        bad |= invented(ran.found, unrecognized(ran.stderr))
        meas.update(meas_results(ran.stdout, wanted) if wanted else {})
    made = analyses(found, deck, bad)
    if lost := missing(deck, made, found):
        raise SimulationFailed(State.VECTOR_MISSING, lost, log)
    named = {name: meas[name.lower()] for name in deck.meas if name.lower() in meas}
    return Waveforms(tuple(made), named, log=log)
