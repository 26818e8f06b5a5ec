"""What a failed simulation tells its user: which file is at fault, where, and the exit code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from m3eda.design import mistake_at
from m3eda.design.types import Design, Measure
from m3eda.errors import DesignError, ExitCode, M3edaError, Mistake, SimulatorBroken
from m3eda.simulate.trial import Trial
from m3eda.simulate.types import State

_INPUT_FAULTS = {State.PARSE_ERROR, State.MODEL_MISSING, State.VECTOR_MISSING}
_VECTOR = re.compile(r"\w+\([^()\s]*\)|@[\w.]+\[\w+\]")


class SystematicFailure(SimulatorBroken):
    """Every first point fails in the same way."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self.trial = trials[0]
        """The first of them."""
        count = len(trials)
        self.points = "the first point" if count == 1 else f"each of the first {count} points"
        text = f"{self.points} failed with {self.trial.state.value}: {self.trial.reason}"
        super().__init__(text)
        self.exit_code = exit_code_of(self.trial.state)

    def located(self, design: Design, failed: Path) -> M3edaError:
        """The same error at the place in the file that is at fault; `failed` keeps the decks."""
        trial = self.trial
        testbench = trial.reason.partition(": ")[0]
        place = failed / kept_name(testbench, trial.state)
        hint = f"so failed {self.points}"
        if place.is_dir():
            hint += f"; the deck and its log: {place}"
        error = DesignError(explain(design, trial.state, trial.reason, hint))
        error.exit_code = self.exit_code
        return error


def all_alike(trials: Sequence[Trial]) -> bool:
    """True where every one of `trials` failed, and all in the same way."""
    first = trials[0]
    return first.state is not State.COMPLETE and all(_same_failure(first, t) for t in trials)


def _same_failure(one: Trial, other: Trial) -> bool:
    # a reason may hold the time a run stopped at; a time-out is the same whatever its words
    return one.state is other.state and (
        one.state is State.TIMEOUT or _words(one.reason) == _words(other.reason)
    )


def _words(reason: str) -> str:
    return "".join(c for c in reason if not (c.isdigit() or c in ".-+"))


def exit_code_of(state: State) -> ExitCode:
    """Where points fail with `state`, is it the input or the simulator?"""
    return ExitCode.BAD_INPUT if state in _INPUT_FAULTS else ExitCode.SIMULATOR


def kept_name(testbench: str, state: State) -> str:
    """The directory that keeps the first deck of `testbench` to fail with `state`."""
    return f"{testbench}-{state.value.replace(' ', '-')}"


def explain(design: Design, state: State, reason: str, hint: str = "") -> list[Mistake]:
    """One mistake for each measure that asks for a vector that is not there; else the template.

    `reason` is a result's: the testbench, a colon, and what went wrong.
    """
    testbench, _, why = reason.partition(": ")
    if state is State.VECTOR_MISSING:
        if told := _by_measure(design, testbench, why):
            return [
                mistake_at(design.path, ("measures", name, "expr"), text, hint)
                for name, text in told.items()
            ]
        lost = _VECTOR.findall(why.partition(" (nearest")[0].lower())
        users = [
            measure
            for measure in design.measures.values()
            if measure.testbench == testbench and any(_uses(measure, name) for name in lost)
        ]
        if users:
            return [mistake_at(design.path, ("measures", m.name, "expr"), why, hint) for m in users]
    known = design.testbenches.get(testbench)
    template = known.template if known else design.path
    return [Mistake(f"{state.value}: {why}", template, key=testbench, hint=hint)]


def _by_measure(design: Design, testbench: str, why: str) -> dict[str, str]:
    """The parts of `why` that name the measure they are about, by its name."""
    parts = (part.partition(": ") for part in why.split("; "))
    return {
        name: text
        for name, _, text in parts
        if name in design.measures and design.measures[name].testbench == testbench
    }


def _uses(measure: Measure, vector: str) -> bool:
    text = "".join(measure.expression.lower().split())
    if vector in text:
        return True
    device = re.match(r"@([\w.]+)\[", vector)
    return device is not None and re.search(rf"\b{re.escape(device[1])}\b", text) is not None
