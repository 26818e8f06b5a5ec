"""The protocol between the loop and an agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from m3eda.design.types import Design, Sizing
from m3eda.simulate.trial import Trial


@runtime_checkable
class Agent(Protocol):
    """Proposes sizings and hears what they gave.

    Built by a factory `factory(design, seed, options)`. It must be deterministic: the same design,
    seed and options, and the same calls, give the same sizings, so that a run can be reproduced
    and resumed.
    """

    def ask(self, n: int) -> list[Sizing]:
        """Propose at least one sizing for the free parameters (`Space.sizing` makes one).

        `n` is how many the loop would like at once. More may be returned where the next points do
        not depend on results (a start design), fewer where they do. An empty list ends the run:
        the agent has nothing left to try.
        """
        ...

    def tell(self, trials: Sequence[Trial]) -> None:
        """Hear finished trials, in order of their numbers, failed ones included.

        Trials that were never asked for (an earlier run, another agent, changed specs) are told
        in the same way and must be welcome at any time.
        """
        ...


@runtime_checkable
class Retargetable(Protocol):
    """What an agent may have besides: to go on with other specs, and keep what it has learned.

    With an objective the loop demands ever better values of its measures, as limits among the
    specs. An agent without this is built anew for each demand and told every trial.
    """

    def retarget(self, design: Design, trials: Sequence[Trial]) -> bool:
        """Go on with `design`, which differs from the one of before in its specs alone.

        `trials` are all so far, scored by the new specs, in the order of a new agent's `tell`; they
        replace those told before, and what is asked next must depend on them as a new agent's
        would, or on the calls so far. False where it cannot: a new one is built then.
        """
        ...


class Remarking(Protocol):
    """What an agent may have besides: a word for the report, each method alone or both."""

    def describe(self) -> str:
        """What it does at present and why, in one line."""
        ...

    def doubt(self) -> str:
        """Why the specs look out of reach, naming the worst; empty where they do not."""
        ...


class Foretelling(Protocol):
    """What an agent may have besides: what it believes a sizing to give, before it is told."""

    def foretell(self, sizing: Sizing) -> Mapping[str, tuple[float, float, float]]:
        """Measure -> what is expected at worst, and the ends between which it is as often as not;
        SI units. Empty where nothing is believed."""
        ...


class AgentFactory(Protocol):
    """It may have `files(design)` besides: paths of files that decide what its agent asks, so that
    a run with others is another run."""

    def __call__(self, design: Design, seed: int, options: Mapping[str, Any]) -> Agent: ...
