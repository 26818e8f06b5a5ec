"""What every agent must do, as a pytest class for plugin authors.

    from m3eda.testing.agents import AgentContract

    class TestMyAgent(AgentContract):
        @pytest.fixture
        def factory(self):
            return MyAgent

The simulator is a closed form, so that the whole contract takes seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from m3eda.agents.types import Agent, AgentFactory
from m3eda.design.space import Space
from m3eda.design.types import (
    NOMINAL,
    AgentChoice,
    Design,
    Limits,
    Measure,
    Parameter,
    Sizing,
    Spec,
    Value,
)
from m3eda.simulate.trial import CornerResult, Trial, score
from m3eda.simulate.types import State

MIXED = (
    Parameter("w", minimum=1e-6, maximum=1e-4, scale="log"),
    Parameter("m", minimum=1, maximum=20, step=1),
    Parameter("v", minimum=-0.5, maximum=0.5),
    Parameter("r", choices=(1e3, 1.5e3, 2.2e3, 3.3e3, 4.7e3, 6.8e3), series="E6"),
    Parameter("model", choices=("nmos_lvt", "nmos_svt", "nmos_hvt")),
)
FINITE = (
    Parameter("m", minimum=1, maximum=4, step=1),
    Parameter("r", choices=(1e3, 2.2e3, 4.7e3), series="E3"),
)


def continuous(dimension: int) -> tuple[Parameter, ...]:
    return tuple(
        Parameter(f"p{i}", minimum=1.0, maximum=1e3, scale="log") for i in range(dimension)
    )


def design_of(parameters: Sequence[Parameter], gain: float = 1e9) -> Design:
    """A design with two measures: `gain`, by default out of reach, and `power`, at most 1."""
    return Design(
        name="contract",
        path=Path("contract.yaml"),
        testbenches={},
        parameters={parameter.name: parameter for parameter in parameters},
        measures={name: Measure(name) for name in ("gain", "power")},
        specs={
            "gain": Spec("gain", Limits(minimum=gain)),
            "power": Spec("power", Limits(maximum=1.0)),
        },
        agent=AgentChoice(seed=1),
    )


def bowl(design: Design, sizing: Sizing) -> dict[str, float]:
    """Closed-form measures: `gain` falls from 1000 with the distance from 0.7 in every unit
    coordinate and is nan in one corner; `power` is their mean."""
    x = Space(design).unit(sizing)
    power = float(x.mean())
    distance = float(((x - 0.7) ** 2).mean())
    return {"gain": math.nan if power < 0.2 else 1e3 * math.exp(-8.0 * distance), "power": power}


def simulate(design: Design, sizings: Sequence[Sizing], first: int = 0) -> list[Trial]:
    """Trials of `sizings`, numbered from `first`."""
    return [
        score(first + i, sizing, {NOMINAL: CornerResult(bowl(design, sizing))}, design.specs)
        for i, sizing in enumerate(sizings)
    ]


def failed(design: Design, sizings: Sequence[Sizing], first: int = 0) -> list[Trial]:
    """Trials of `sizings` that gave nothing at all."""
    lost = CornerResult(
        dict.fromkeys(design.specs, math.nan), state=State.NO_CONVERGENCE, reason="no result"
    )
    return [
        score(first + i, sizing, {NOMINAL: lost}, design.specs) for i, sizing in enumerate(sizings)
    ]


def drive(agent: Agent, design: Design, count: int, batch: int = 1) -> list[Sizing]:
    """Ask and tell until `count` sizings are simulated, or the agent has no more."""
    done: list[Sizing] = []
    while len(done) < count:
        sizings = agent.ask(batch)
        if not sizings:
            break
        agent.tell(simulate(design, sizings, len(done)))
        done += sizings
    return done[:count]


def frozen(sizing: Mapping[str, Value]) -> tuple[Value, ...]:
    return tuple(sizing.values())


class AgentContract:
    """Give a fixture `factory` that returns the agent's factory."""

    resumes_exactly = True
    """Whether an agent told all earlier trials at once goes on as if it had never been stopped."""

    @pytest.fixture
    def factory(self) -> AgentFactory:
        raise NotImplementedError("give a fixture `factory` that returns the agent's factory")

    @pytest.mark.parametrize("batch", [1, 5])
    def test_sizings_are_distinct_and_on_their_ranges_and_grids(
        self, factory: AgentFactory, batch: int
    ) -> None:
        design = design_of(MIXED)
        done = drive(factory(design, 1, {}), design, 60, batch)
        assert len({frozen(sizing) for sizing in done}) == 60
        for sizing in done:
            assert list(sizing) == ["w", "m", "v", "r", "model"]
            assert 1e-6 <= float(sizing["w"]) <= 1e-4
            assert sizing["m"] in range(1, 21)
            assert -0.5 <= float(sizing["v"]) <= 0.5
            assert sizing["r"] in MIXED[3].choices
            assert sizing["model"] in MIXED[4].choices

    def test_asks_for_five_distinct_points_before_any_result(self, factory: AgentFactory) -> None:
        sizings = factory(design_of(MIXED), 1, {}).ask(5)
        assert len({frozen(sizing) for sizing in sizings}) == len(sizings) >= 5

    def test_goes_on_asking_while_results_are_pending(self, factory: AgentFactory) -> None:
        agent = factory(design_of(MIXED), 1, {})
        sizings = [sizing for _ in range(10) for sizing in agent.ask(3)]
        assert len({frozen(sizing) for sizing in sizings}) == len(sizings) >= 10

    def test_the_same_seed_and_trials_give_the_same_sizings(self, factory: AgentFactory) -> None:
        design = design_of(MIXED)
        whole = drive(factory(design, 5, {}), design, 30)
        if not self.resumes_exactly:
            assert drive(factory(design, 5, {}), design, 30) == whole
            return
        for stopped_at in (3, 20):
            resumed = factory(design, 5, {})
            resumed.tell(simulate(design, whole[:stopped_at]))
            assert drive(resumed, design, 30 - stopped_at) == whole[stopped_at:]

    def test_another_seed_gives_other_sizings(self, factory: AgentFactory) -> None:
        design = design_of(MIXED)
        first, other = (drive(factory(design, seed, {}), design, 15) for seed in (1, 2))
        assert first != other

    def test_the_start_of_the_designer_goes_first(self, factory: AgentFactory) -> None:
        parameters = (Parameter("w", minimum=1.0, maximum=9.0, start=2.5), *continuous(2))
        [first, *_] = factory(design_of(parameters), 1, {}).ask(1)
        assert first["w"] == 2.5

    def test_welcomes_trials_it_did_not_ask_for(self, factory: AgentFactory) -> None:
        design = design_of(MIXED)
        foreign = drive(factory(design, 99, {}), design, 25)
        agent = factory(design, 1, {})
        agent.tell(simulate(design, foreign))
        done = drive(agent, design, 20)
        agent.tell(simulate(design, drive(factory(design, 98, {}), design, 5)))
        done += drive(agent, design, 5)
        new = {frozen(sizing) for sizing in done}
        assert len(new) == 25
        assert new.isdisjoint(frozen(sizing) for sizing in foreign)

    def test_welcomes_trials_of_another_design(self, factory: AgentFactory) -> None:
        design, other = design_of(MIXED), design_of(continuous(3))
        agent = factory(design, 1, {})
        agent.tell(simulate(other, drive(factory(other, 1, {}), other, 5)))
        assert agent.ask(1)

    @pytest.mark.parametrize("batch", [1, 5])
    def test_survives_trials_that_all_failed(self, factory: AgentFactory, batch: int) -> None:
        design = design_of(MIXED)
        agent = factory(design, 1, {})
        done: list[Sizing] = []
        while len(done) < 60:
            sizings = agent.ask(batch)
            agent.tell(failed(design, sizings, len(done)))
            done += sizings
        assert len({frozen(sizing) for sizing in done}) == len(done)

    @pytest.mark.parametrize("dimension", [1, 60])
    def test_works_in_any_dimension(self, factory: AgentFactory, dimension: int) -> None:
        design = design_of(continuous(dimension))
        assert len(drive(factory(design, 1, {}), design, 40)) == 40

    @pytest.mark.parametrize("batch", [1, 5])
    def test_works_out_a_finite_space_and_stops(self, factory: AgentFactory, batch: int) -> None:
        design = design_of(FINITE)
        agent = factory(design, 1, {})
        done = drive(agent, design, 100, batch)
        assert len(done) == len({frozen(sizing) for sizing in done}) == 12
        assert agent.ask(batch) == []

    def test_goes_on_after_every_spec_is_met(self, factory: AgentFactory) -> None:
        design = design_of(continuous(2), gain=1.0)
        assert len(drive(factory(design, 1, {}), design, 30)) == 30
