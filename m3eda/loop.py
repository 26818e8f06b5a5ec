"""size(): the only loop. Asks the agent, simulates, stores, tells, and yields every trial.

A run is reproducible: trials are told in the order of their numbers whatever finishes first, so the
same recipe gives the same trials with any number of jobs, and after any interruption. Going on is
replaying: the agent is asked again, and what the ledger holds is answered from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import reduce

from m3eda.agents.earlier import anew, belongs, key_of
from m3eda.agents.guard import foretold, remark, retargeted
from m3eda.agents.types import Agent
from m3eda.design.space import Space
from m3eda.design.types import Design, Sizing
from m3eda.ledger import Ledger, StoredTrial
from m3eda.objective.demand import Demand
from m3eda.objective.front import Front
from m3eda.objective.search import make_demand
from m3eda.pvt.choice import make_exploration
from m3eda.pvt.exploration import Results, Specs
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.failures import SystematicFailure, all_alike
from m3eda.simulate.trial import CornerResult, Trial, better_of, score

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

    Trials so far are scored anew and told to a fresh agent. Those that are no sizing of the changed
    design, such as one with another value of a pinned parameter, never count as its result.
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
    first_budget: int = 0
    """The budget this segment was begun with; 0 takes the design's."""
    make_demand: Callable[[Design], Demand | None] = make_demand
    clock: Callable[[], float] = time.monotonic
    trials: list[Trial] = field(default_factory=list)
    """Every trial of this segment, in order."""
    replayed: int = 0
    """Trials answered from the ledger, and the last look at a sizing of before."""
    samples: int = 0
    """Monte Carlo samples that were asked for."""
    note: Callable[[str], object] = lambda line: None
    """Is told what was found of a sizing besides its trial."""
    agent: Agent | None = None
    """The agent of the moment; none before the first is asked."""

    def said(self, method: str) -> str:
        """What the agent says by its `describe` or `doubt`; empty where it has none."""
        return remark(self.agent, method) if self.agent is not None else ""

    def foretold(self, sizing: Sizing) -> Mapping[str, tuple[float, float, float]]:
        """What the agent believes of a sizing that it was not told yet; empty where nothing."""
        return foretold(self.agent, sizing) if self.agent is not None else {}


def size(run: Run) -> Generator[Trial, Command | None, End]:
    """Size `run.design`: yields each trial as it is told, returns why the run ended.

    `send()` takes a `Command` between trials. Without an objective the first trial that meets every
    spec ends the run; with one, the rest of the budget goes to bettering it, and with several to
    their Pareto front. Raises SystematicFailure where every first point fails in the same way, and
    StorageError where the ledger cannot be written; what was simulated before is stored.
    """
    state = _Progress(run)
    agent = state.fresh_agent()
    recalled = state.already_good() or state.already_finished()
    while True:
        ending = state.ending()
        sizings: list[Sizing] = []
        if ending is None:
            sizings = state.affordable(recalled or state.asked(agent))
        recalled = []
        if not sizings:
            state.check_systematic(len(run.trials))
        told: list[Trial] = []
        commands: list[Command] = []
        for trial in state.trials_of(sizings) if sizings else state.last_look():
            told.append(trial)
            command = yield trial
            if command is not None:
                commands.append(command)
            if commands or (trial.met and not state.objective):
                break
        if any(isinstance(command, Stop) for command in commands):
            return End.STOPPED
        changes = [command.design for command in commands if isinstance(command, Change)]
        if changes:
            agent = state.changed(changes[-1])
            continue
        if not sizings:
            good = told and told[-1].met and not state.objective
            return End.SPECS_MET if good else ending or End.EXHAUSTED
        if state.objective or not told[-1].met:  # else nothing is asked any more
            with run.evaluator.spent.time("agent"):
                agent = state.told(agent, told)


class _Progress:
    """The state of one run between batches."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._demand = run.make_demand(run.design)
        self._exploration = make_exploration(run.design, self._varying)
        self._begun_at = self._exploration.active[0]
        """The corner that the agent sizes at."""
        self._moved = False
        """True where the exploration wants the agent told of other specs."""
        self._explore(run.prior)
        self._started = run.clock()
        self._stored = {}
        if run.ledger is not None:
            self._stored = {trial.number: trial for trial in run.ledger.trials(run.segment)}
        self._seen: set[tuple[object, ...]] = set()
        self._repeats = 0
        self._looked = 0
        """Trials from the first on that do not meet every spec."""

    def _varying(self, sizing: Sizing) -> Sequence[str]:
        """The names of what varies in the decks of `sizing`."""
        return self.run.evaluator.renderer.deviations(sizing)

    @property
    def objective(self) -> bool:
        """True where the run goes on once every spec is met."""
        return bool(self.run.design.objective.minimize or self.run.design.objective.maximize)

    def fresh_agent(self) -> Agent:
        """A new agent that has heard every trial of before."""
        run = self.run
        with run.evaluator.spent.time("agent"):
            agent = run.make_agent(self._wanted)
            self._begun_at = self._exploration.active[0]
            run.agent = agent
            if known := self._known():
                agent.tell(known)
        return agent

    def asked(self, agent: Agent) -> Sequence[Sizing]:
        """The sizings that `agent` wants simulated next."""
        with self.run.evaluator.spent.time("agent"):
            return agent.ask(max(self.run.design.agent.batch, 1))

    @property
    def _specs(self) -> Specs:
        """What a sizing is to reach at every corner: the demand is among it."""
        return self.run.design.specs if self._demand is None else self._demand.specs

    @property
    def _wanted(self) -> Design:
        """The design as the agent is to see it."""
        design, specs = self.run.design, self._specs
        return self._exploration.seen(design if specs is design.specs else self._with(specs))

    def _with(self, specs: Specs) -> Design:
        return replace(self.run.design, specs=specs)

    def _explore(self, trials: Sequence[StoredTrial]) -> None:
        inside = [t for t in trials if belongs(self.run.design, t.sizing)]
        self._exploration.hear([self._scored(0, t.sizing, t.results) for t in inside], self._specs)

    def _scored(self, number: int, sizing: Sizing, results: Results) -> Trial:
        """A trial as the user is to see it."""
        design = self.run.design
        return score(number, sizing, results, design.specs, design.required)

    def _known(self) -> list[Trial]:
        """Every trial of before, prior ones included, scored as the agent is to see it."""
        run = self.run
        earlier = [*run.prior, *(StoredTrial(t.number, t.sizing, t.results) for t in run.trials)]
        inside = [stored for stored in earlier if belongs(run.design, stored.sizing)]
        return self._to_tell(replace(trial, number=number) for number, trial in enumerate(inside))

    def _to_tell(self, trials: Iterable[Trial | StoredTrial]) -> list[Trial]:
        """`trials` as the agent is to hear them, but for those that tell it nothing."""
        wanted, specs = self._specs, self._wanted.specs
        heard = [(t, self._exploration.heard(t.sizing, t.results, wanted)) for t in trials]
        return [score(t.number, t.sizing, results, specs) for t, results in heard if results]

    def already_good(self) -> list[Sizing]:
        """Prior sizings that meet every spec of today: the first, or with an objective the best.

        A Pareto front takes up half of the budget at most: of the first one, so that a larger one
        goes on with the same trials.
        """
        run, names = self.run, Space(self.run.design).names
        prior = [
            self._scored(number, stored.sizing, stored.results)
            for number, stored in enumerate(run.prior)
            if belongs(run.design, stored.sizing)
        ]
        good = Front(run.design.objective, prior).trials or [t for t in prior if t.met][:1]
        most = max((run.first_budget or run.design.agent.budget) // 2, 1)
        spread = [good[i * len(good) // most] for i in range(most)] if len(good) > most else good
        return [{name: trial.sizing[name] for name in names} for trial in spread]

    def already_finished(self) -> list[Sizing]:
        """The sizings of a run that the ledger holds to its end: its agent need not think again."""
        run, names = self.run, Space(self.run.design).names
        distinct: set[tuple[object, ...]] = set()
        sizings: list[Sizing] = []
        while (stored := self._stored.get(len(sizings))) is not None:
            sizings.append({name: stored.sizing[name] for name in names})
            distinct.add(key_of(stored.sizing))
            good = self._scored(0, stored.sizing, stored.results).met
            if (good and not self.objective) or len(distinct) >= run.design.agent.budget:
                return sizings
        return []

    def changed(self, design: Design) -> Agent:
        """Go on with `design`; the trials so far are scored anew."""
        run = self.run
        if design is not run.design:
            run.design = design
            run.evaluator = run.evaluator.for_design(design)
            run.trials[:] = [anew(trial, design) for trial in run.trials]
            self._looked = 0
            self._demand = run.make_demand(design)
            self._exploration = make_exploration(design, self._varying)
            self._explore([StoredTrial(t.number, t.sizing, t.results) for t in run.trials])
            if self._demand is not None:
                self._demand.begin(run.trials)
        return self.fresh_agent()

    def told(self, agent: Agent, trials: Sequence[Trial]) -> Agent:
        """Tell `agent` what it asked for; another one goes on where it cannot take other specs."""
        changed, self._moved = self._moved, False
        if self._demand is not None and self._demand.hear(trials):
            changed = True
        if changed:
            # an agent that has begun at another corner knows another circuit
            there = self._exploration.active[0] == self._begun_at
            taken = there and retargeted(agent, self._wanted, self._known())
            return agent if taken else self.fresh_agent()
        as_seen = self._wanted is self.run.design and not self._exploration.widens
        agent.tell(trials if as_seen else self._to_tell(trials))
        return agent

    def ending(self) -> End | None:
        run = self.run
        if not self.objective and self._met():
            return End.SPECS_MET
        if len(self._seen) >= run.design.agent.budget:
            return End.BUDGET
        if self._late:
            return End.TIME
        if self._repeats >= REPEATS_ALLOWED:
            return End.EXHAUSTED
        return None

    @property
    def _late(self) -> bool:
        seconds = self.run.design.agent.seconds
        return seconds is not None and self.run.clock() - self._started >= seconds

    def _met(self) -> bool:
        """True where a trial meets every spec; each is looked at once."""
        trials = self.run.trials
        self._looked = min(self._looked, len(trials))
        while self._looked < len(trials) and not trials[self._looked].met:
            self._looked += 1
        return self._looked < len(trials)

    def affordable(self, sizings: Sequence[Sizing]) -> list[Sizing]:
        """As many of `sizings`, completed, as the budget still pays for."""
        left = self.run.design.agent.budget - len(self._seen)
        chosen: list[Sizing] = []
        fresh: set[tuple[object, ...]] = set()
        for sizing in map(self.run.evaluator.complete, sizings):
            key = key_of(sizing)
            if key not in self._seen and key not in fresh:
                if len(fresh) == left:
                    break
                fresh.add(key)
            chosen.append(sizing)
        return chosen

    def trials_of(self, sizings: Sequence[Sizing]) -> Generator[Trial, None, None]:
        """The trials of `sizings` in order, from the ledger where it holds them."""
        first = len(self.run.trials)
        known = [self._recall(first + i, sizing) for i, sizing in enumerate(sizings)]
        todo = [sizing for sizing, results in zip(sizings, known, strict=True) if results is None]
        fresh = self.run.evaluator.evaluate(todo, self._exploration.at)
        if self._exploration.widens:
            fresh = self._explored(todo, list(fresh))
        try:
            for sizing, results in zip(sizings, known, strict=True):
                replayed = results is not None
                yield self._finish(sizing, next(fresh) if results is None else results, replayed)
        finally:
            fresh.close()

    def last_look(self) -> Generator[Trial, None, None]:
        """The best sizing at every corner, where none was good and it lacks some; not where the
        time is spent. A trial that the ledger holds for a larger budget is not overwritten."""
        run, number = self.run, len(self.run.trials)
        own = [trial for trial in run.trials if trial.held >= 0]  # not those of before a change
        best = reduce(better_of, own) if own and not self._late else None
        if best is None or best.met:
            return
        if not (missing := [c for c in run.design.required if c.name not in best.results]):
            return
        results = self._recall(number, best.sizing) or {}
        if any(corner.name not in results for corner in missing):
            [found] = run.evaluator.evaluate([best.sizing], missing, once=True)
            [results] = self._explored([best.sizing], [{**best.results, **found}])
        run.replayed += number not in self._stored
        yield self._finish(best.sizing, results, number in self._stored)

    def _explored(
        self, sizings: Sequence[Sizing], found: Sequence[dict[str, CornerResult]]
    ) -> Generator[dict[str, CornerResult], None, None]:
        """What is `found` at the active corners, and what the exploration wants to know besides."""
        for sizing, near in zip(sizings, found, strict=True):
            results: Results = near
            while corners := self._exploration.more(sizing, results, self._specs):
                [further] = self.run.evaluator.evaluate([sizing], corners, once=True)
                self.run.samples += sum(corner.sample is not None for corner in corners)
                results = {**results, **further}
            kept = self._exploration.kept(results)
            if said := self._exploration.said:
                self.run.note(f"sizing {len(self.run.trials)}: {said}")
            yield kept

    def _recall(self, number: int, sizing: Sizing) -> Mapping[str, CornerResult] | None:
        stored = self._stored.get(number)
        return stored.results if stored and key_of(stored.sizing) == key_of(sizing) else None

    def _finish(self, sizing: Sizing, results: Mapping[str, CornerResult], replayed: bool) -> Trial:
        run = self.run
        trial = self._scored(len(run.trials), sizing, results)
        run.trials.append(trial)
        if self._exploration.hear([trial], self._specs):
            self._moved = True
        if replayed:
            run.replayed += 1
        elif run.ledger is not None:
            with run.evaluator.spent.time("storing"):
                run.ledger.add_trial(run.segment, StoredTrial(trial.number, sizing, results))
        key = key_of(sizing)
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
        if all_alike(trials):
            raise SystematicFailure(trials)
