"""size(): the only loop. Asks the agent, simulates, stores, tells, and yields every trial.

A run is reproducible: trials are told in the order of their numbers whatever finishes first, so the
same recipe gives the same trials with any number of jobs, and after any interruption. Going on is
replaying: the agent is asked again, and what the ledger holds is answered from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from m3eda.agents.guard import allowed
from m3eda.agents.types import Agent
from m3eda.design.scoring import bounds
from m3eda.design.space import Space
from m3eda.design.types import Design, Limits, Sizing, Spec
from m3eda.ledger import Ledger, StoredTrial
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.failures import SystematicFailure
from m3eda.simulate.trial import CornerResult, Trial, score
from m3eda.simulate.types import State

REPEATS_ALLOWED = 100
"""Known points an agent may ask for in a row before the run ends."""


class End(str, Enum):
    """Why a run ended."""

    SPECS_MET = "every spec is met"
    BUDGET = "the budget of simulations is spent"
    TIME = "the time is spent"
    EXHAUSTED = "the agent has nothing left to try"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Stop:
    """Command to `size()`: end now, as if the budget were spent."""


@dataclass(frozen=True)
class Change:
    """Command to `size()`: go on with a changed design (a pinned parameter, another spec).

    Trials so far are scored anew and told to a fresh agent.
    """

    design: Design


Command = Stop | Change
MakeAgent = Callable[[Design], Agent]


@dataclass
class Run:
    """What one call of `size()` needs, and what it counts."""

    design: Design
    evaluator: Evaluator
    make_agent: MakeAgent
    ledger: Ledger | None = None
    segment: int = 0
    prior: Sequence[StoredTrial] = ()
    """Trials of earlier recipes on the same circuit, told to the agent before it is asked."""
    clock: Callable[[], float] = time.monotonic
    trials: list[Trial] = field(default_factory=list)
    """Every trial of this segment, in order."""
    replayed: int = 0
    """Trials answered from the ledger."""


def size(run: Run) -> Generator[Trial, Command | None, End]:
    """Size `run.design`: yields each trial as it is told, returns why the run ended.

    `send()` takes a `Command` between trials. Without an objective the first trial that meets every
    spec ends the run; with one, the rest of the budget goes to bettering it. Raises
    SystematicFailure where every first point fails in the same way, and StorageError where the
    ledger cannot be written; what was simulated before is stored.
    """
    state = _Progress(run)
    agent = state.fresh_agent()
    recalled = state.already_good() or state.already_finished()
    while True:
        ending = state.ending()
        sizings: list[Sizing] = []
        if ending is None:
            sizings = state.affordable(recalled or agent.ask(run.design.agent.batch))
        recalled = []
        if not sizings:
            state.check_systematic(len(run.trials))
            return ending or End.EXHAUSTED
        told: list[Trial] = []
        commands: list[Command] = []
        for trial in state.trials_of(sizings):
            told.append(trial)
            command = yield trial
            if command is not None:
                commands.append(command)
            if commands or (trial.met and not state.objective):
                break
        if any(isinstance(command, Stop) for command in commands):
            return End.STOPPED
        changes = [command.design for command in commands if isinstance(command, Change)]
        if changes or state.tightened(told):
            agent = state.changed(changes[-1] if changes else run.design)
        else:
            agent.tell(state.as_told(told))


class _Progress:
    """The state of one run between batches."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.objective = bool(run.design.objective.minimize or run.design.objective.maximize)
        self.scored_with = run.design.specs
        self._started = run.clock()
        self._stored = {}
        if run.ledger is not None:
            self._stored = {trial.number: trial for trial in run.ledger.trials(run.segment)}
        self._seen: set[tuple[object, ...]] = set()
        self._repeats = 0

    def fresh_agent(self) -> Agent:
        """A new agent that has heard every trial of before."""
        run = self.run
        design = replace(run.design, specs=self.scored_with)
        agent = run.make_agent(design)
        earlier = [*run.prior, *(StoredTrial(t.number, t.sizing, t.results) for t in run.trials)]
        known = [
            score(number, stored.sizing, stored.results, self.scored_with)
            for number, stored in enumerate(earlier)
            if _inside(design, stored.sizing)
        ]
        if known:
            agent.tell(known)
        return agent

    def already_good(self) -> list[Sizing]:
        """The first prior sizing that meets every spec of today, if there is one."""
        run = self.run
        for stored in run.prior:
            inside = _inside(run.design, stored.sizing)
            if inside and score(0, stored.sizing, stored.results, run.design.specs).met:
                return [{name: stored.sizing[name] for name in Space(run.design).names}]
        return []

    def already_finished(self) -> list[Sizing]:
        """The sizings of a run that the ledger holds to its end: its agent need not think again."""
        run, names = self.run, Space(self.run.design).names
        distinct: set[tuple[object, ...]] = set()
        sizings: list[Sizing] = []
        while (stored := self._stored.get(len(sizings))) is not None:
            sizings.append({name: stored.sizing[name] for name in names})
            distinct.add(_key(stored.sizing))
            good = score(0, stored.sizing, stored.results, run.design.specs).met
            if (good and not self.objective) or len(distinct) >= run.design.agent.budget:
                return sizings
        return []

    def changed(self, design: Design) -> Agent:
        """Go on with `design`; the trials so far are scored anew."""
        run = self.run
        if design is not run.design:
            run.design = design
            run.evaluator = run.evaluator.for_design(design)
            run.trials[:] = [score(t.number, t.sizing, t.results, design.specs) for t in run.trials]
            self.scored_with = design.specs
            if self.objective and any(trial.met for trial in run.trials):
                self.scored_with = {**design.specs, **tightened_specs(run)}
        return self.fresh_agent()

    def ending(self) -> End | None:
        run = self.run
        if not self.objective and any(trial.met for trial in run.trials):
            return End.SPECS_MET
        if len(self._seen) >= run.design.agent.budget:
            return End.BUDGET
        seconds = run.design.agent.seconds
        if seconds is not None and run.clock() - self._started >= seconds:
            return End.TIME
        if self._repeats >= REPEATS_ALLOWED:
            return End.EXHAUSTED
        return None

    def affordable(self, sizings: Sequence[Sizing]) -> list[Sizing]:
        """As many of `sizings`, completed, as the budget still pays for."""
        left = self.run.design.agent.budget - len(self._seen)
        chosen: list[Sizing] = []
        fresh: set[tuple[object, ...]] = set()
        for sizing in map(self.run.evaluator.complete, sizings):
            key = _key(sizing)
            if key not in self._seen | fresh and len(fresh) == left:
                break
            fresh |= {key} - self._seen
            chosen.append(sizing)
        return chosen

    def trials_of(self, sizings: Sequence[Sizing]) -> Generator[Trial, None, None]:
        """The trials of `sizings` in order, from the ledger where it holds them."""
        first = len(self.run.trials)
        known = [self._recall(first + i, sizing) for i, sizing in enumerate(sizings)]
        todo = [sizing for sizing, results in zip(sizings, known, strict=True) if results is None]
        fresh = self.run.evaluator.evaluate(todo)
        try:
            for sizing, results in zip(sizings, known, strict=True):
                replayed = results is not None
                yield self._finish(sizing, next(fresh) if results is None else results, replayed)
        finally:
            fresh.close()

    def as_told(self, trials: Sequence[Trial]) -> list[Trial]:
        """`trials` scored as the agent knows the specs, an objective's demand included."""
        if self.scored_with is self.run.design.specs:
            return list(trials)
        return [score(t.number, t.sizing, t.results, self.scored_with) for t in trials]

    def tightened(self, told: Sequence[Trial]) -> bool:
        """With an objective: demand of the next points to be better than the best so far."""
        if not self.objective or not any(trial.met for trial in told):
            return False
        demand = {**self.run.design.specs, **tightened_specs(self.run)}
        better = demand != self.scored_with
        self.scored_with = demand
        return better

    def _recall(self, number: int, sizing: Sizing) -> Mapping[str, CornerResult] | None:
        stored = self._stored.get(number)
        return stored.results if stored and _key(stored.sizing) == _key(sizing) else None

    def _finish(self, sizing: Sizing, results: Mapping[str, CornerResult], replayed: bool) -> Trial:
        run = self.run
        trial = score(len(run.trials), sizing, results, run.design.specs)
        run.trials.append(trial)
        if replayed:
            run.replayed += 1
        elif run.ledger is not None:
            run.ledger.add_trial(run.segment, StoredTrial(trial.number, sizing, results))
        key = _key(sizing)
        self._repeats = self._repeats + 1 if key in self._seen else 0
        self._seen.add(key)
        self.check_systematic(self.run.design.failures.stop_after_same_error)
        return trial

    def check_systematic(self, count: int) -> None:
        """Stop where the first `count` points, all there are, fail in the same way.

        Going on would burn the budget. Raises SystematicFailure.
        """
        trials = self.run.trials
        if not count or len(trials) != count or not self.run.design.failures.stop_after_same_error:
            return
        first = trials[0]
        if first.state is not State.COMPLETE and all(_same_failure(first, t) for t in trials):
            raise SystematicFailure(trials)


def tightened_specs(run: Run) -> dict[str, Spec]:
    """Specs that hold the objective's measures 1 % better than the best trial that meets all."""
    best: dict[str, Spec] = {}
    feasible = [trial for trial in run.trials if trial.met]
    for name in run.design.objective.minimize:
        value = min(trial.measures[name] for trial in feasible)
        low, _ = _limits(run.design, name)
        best[name] = Spec(name, Limits(low, value - 0.01 * abs(value)))
    for name in run.design.objective.maximize:
        value = max(trial.measures[name] for trial in feasible)
        _, high = _limits(run.design, name)
        best[name] = Spec(name, Limits(value + 0.01 * abs(value), high))
    return best


def _limits(design: Design, measure: str) -> tuple[float | None, float | None]:
    """Finite limits that a spec already puts on `measure`."""
    if measure not in design.specs:
        return None, None
    low, high = bounds(design.specs[measure].limits)
    return (low if low > float("-inf") else None), (high if high < float("inf") else None)


def _same_failure(one: Trial, other: Trial) -> bool:
    # a reason may hold the time a run stopped at; a time-out is the same whatever its words
    return one.state is other.state and (
        one.state is State.TIMEOUT or _words(one.reason) == _words(other.reason)
    )


def _words(reason: str) -> str:
    return "".join(c for c in reason if not (c.isdigit() or c in ".-+"))


def _key(sizing: Sizing) -> tuple[object, ...]:
    return tuple(sorted(sizing.items()))


def _inside(design: Design, sizing: Sizing) -> bool:
    """True where every free value of `sizing` is one that the design's space has."""
    return all(allowed(parameter, sizing.get(parameter.name)) for parameter in design.free)


def run_directory(design: Design) -> Path:
    """Where a run is kept unless the user names another place: runs/<design> beside the file."""
    return design.path.parent / "runs" / design.name
