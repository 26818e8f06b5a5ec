"""What a run gave, and which of its trials is the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from m3eda.design.types import Design, Objective
from m3eda.objective.front import Front
from m3eda.simulate.spent import Spent
from m3eda.simulate.trial import Trial, better_of, looked_again
from m3eda.simulate.types import State

if TYPE_CHECKING:
    from m3eda.loop import End

_NO_OBJECTIVE = Objective()


def best_of(trials: Iterable[Trial], objective: Objective = _NO_OBJECTIVE) -> Trial | None:
    """The trial to hand over: the knee of the front, else the best one; None without any."""
    tally = Tally(objective)
    for trial in trials:
        tally.add(trial)
    return tally.best


@dataclass
class Tally:
    """Running counts over the trials of a run, and the best so far."""

    objective: Objective = _NO_OBJECTIVE
    best: Trial | None = None
    trials: int = 0
    replayed: int = 0
    """Trials answered from the ledger."""
    runs: int = 0
    """Simulator runs of all trials."""
    corners: int = 0
    """Corners that were simulated, summed over all trials."""
    failures: Counter[State] = field(default_factory=Counter)
    failed: int = 0
    last_failure: str = ""
    first: Trial | None = None
    """The first trial with which the objective had a value and every spec was met."""
    front: Front = field(init=False)

    def __post_init__(self) -> None:
        self.front = Front(self.objective)

    def add(self, trial: Trial, *, replayed: bool = False) -> bool:
        """Count `trial`; True where it is the best so far."""
        # the best sizing at corners that it was not simulated at is no further sizing
        again = self.best if self.best is not None and looked_again(self.best, trial) else None
        results = trial.results
        fresh = [name for name in results if again is None or name not in again.results]
        self.trials += again is None
        self.replayed += replayed and again is None
        self.runs += sum(results[name].runs for name in fresh)
        self.corners += len(fresh)
        failed_before = again is not None and again.state is not State.COMPLETE
        if trial.state is not State.COMPLETE and not failed_before:
            self.failed += 1
            self.failures[trial.state] += 1
            self.last_failure = f"{trial.state.value}: {trial.reason}".removesuffix(": ")
        before = self.best
        if self.front.add(trial):
            self.first = self.first or trial
            self.best = self.front.knee()
        elif not len(self.front):
            self.best = trial if before is None else better_of(before, trial)
        return self.best is not before


@dataclass(frozen=True)
class Summary:
    """A run as it stands: its best trial, its counts, and what they came from."""

    design: Design
    best: Trial | None
    trials: int
    """Sizings tried, those answered from the ledger included."""
    agent: str
    seed: int
    simulator: str
    """Version, such as `ngspice-39.3`."""
    design_hash: str = ""
    simulations: int = 0
    """Sizings simulated by this call."""
    samples: int = 0
    """Monte Carlo samples that this call has drawn of them."""
    runs: int = 0
    """Simulator runs of all trials."""
    corners: int = 0
    """Corners that were simulated, summed over all trials."""
    seconds: float = 0.0
    """Wall time of this call; 0 where unknown."""
    ending: End | None = None
    """Why the run ended; None where unknown."""
    method: str = ""
    """What the agent says it did; empty where unknown."""
    doubt: str = ""
    """Why the agent thinks the specs out of reach; empty where it does not."""
    failures: Mapping[State, int] = field(default_factory=dict)
    front: tuple[Trial, ...] = ()
    """With one objective the best trial, with several the Pareto front, best in the first first."""
    first: Trial | None = None
    """The first trial that met every spec and gave the objective a value."""
    spent: Spent | None = None
    """Where the time of this call went; None where unknown."""

    @property
    def met(self) -> bool:
        """True where the best trial meets every spec; without specs, where the objective exists."""
        return self.best is not None and self.best.met and bool(self.design.specs or self.front)

    @property
    def failed(self) -> int:
        return sum(self.failures.values())


def summarize(
    design: Design,
    trials: Iterable[Trial],
    *,
    agent: str,
    seed: int,
    simulator: str,
    design_hash: str = "",
    simulations: int = 0,
    samples: int = 0,
    seconds: float = 0.0,
    ending: End | None = None,
    method: str = "",
    doubt: str = "",
    spent: Spent | None = None,
) -> Summary:
    """The summary of `trials`, for which everything that can be counted is counted."""
    tally = Tally(design.objective)
    for trial in trials:
        tally.add(trial)
    return Summary(
        design=design,
        best=tally.best,
        trials=tally.trials,
        agent=agent,
        seed=seed,
        simulator=simulator,
        design_hash=design_hash,
        simulations=simulations,
        samples=samples,
        runs=tally.runs,
        corners=tally.corners,
        seconds=seconds,
        ending=ending,
        method=method,
        doubt=doubt,
        failures=dict(tally.failures),
        front=tuple(tally.front.trials),
        first=tally.first,
        spent=spent,
    )
