"""Stands between the loop and any agent: what breaks the contract becomes one clear error."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from m3eda.agents.types import Agent, AgentFactory, Retargetable
from m3eda.design.types import Design, Parameter, Sizing
from m3eda.errors import M3edaError, PluginError, cause
from m3eda.simulate.trial import Trial

_GOOD_KEPT = 10_000
"""Values of one grid that are known to be on it."""


def make_agent(factory: AgentFactory, design: Design) -> Agent:
    """The agent that `design` names, guarded. Raises PluginError where it cannot be built."""
    if not design.free:
        return OnePoint()
    choice = design.agent
    with _told(f"agent {choice.name} cannot be built:"):
        return GuardedAgent(factory(design, choice.seed, choice.options), design)


@contextlib.contextmanager
def _told(words: str) -> Iterator[None]:
    """Raises PluginError, `words` with what was raised, for anything but an error of m3eda."""
    try:
        yield
    except (M3edaError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a stranger's code may raise anything
        raise PluginError(f"{words} {cause(error)}") from error


class OnePoint:
    """Asks for the only sizing that a design without free parameters has."""

    def __init__(self) -> None:
        self._asked = False

    def ask(self, n: int) -> list[Sizing]:
        first, self._asked = not self._asked, True
        return [{}] if first else []

    def tell(self, trials: Sequence[Trial]) -> None: ...


class GuardedAgent:
    """An agent whose faults are told by its name, and whose proposals are checked."""

    def __init__(self, agent: Agent, design: Design) -> None:
        self._agent = agent
        self._name = design.agent.name
        self._free = {parameter.name: parameter for parameter in design.free}
        self._checks = [(name, _Check(parameter)) for name, parameter in self._free.items()]

    def ask(self, n: int) -> list[Sizing]:
        """The agent's proposals. Raises PluginError where one is no sizing of this design."""
        with _told(f"agent {self._name}: ask() raised"):
            asked: Any = self._agent.ask(n)
        odd = [s for s in asked if not isinstance(s, Mapping)] if _is_list(asked) else [asked]
        if odd:
            within = "a list with " if odd[0] is not asked else ""
            what = f"{within}a {type(odd[0]).__name__}"
            raise self._wrong(what, "a list of mappings, name to value")
        for sizing in asked:
            self._check(sizing)
        return list(asked)

    def tell(self, trials: Sequence[Trial]) -> None:
        with _told(f"agent {self._name}: tell() raised"):
            self._agent.tell(trials)

    def retarget(self, design: Design, trials: Sequence[Trial]) -> bool:
        """Pass other specs on; False where the agent cannot take them."""
        with _told(f"agent {self._name}: retarget() raised"):
            return retargeted(self._agent, design, trials)

    def describe(self) -> str:
        """What the agent does, in its own words; empty where it does not say."""
        return remark(self._agent, "describe")

    def doubt(self) -> str:
        """Why the agent thinks the specs out of reach; empty where it does not."""
        return remark(self._agent, "doubt")

    def foretell(self, sizing: Sizing) -> Mapping[str, tuple[float, float, float]]:
        """What the agent believes of a sizing; empty where it does not say."""
        return foretold(self._agent, sizing)

    def _check(self, sizing: Mapping[str, Any]) -> None:
        if sizing.keys() != self._free.keys():
            given = ", ".join(map(str, sizing)) or "nothing"
            raise self._wrong(f"values for {given}", f"one for each of {', '.join(self._free)}")
        for name, check in self._checks:
            if not check(sizing[name]):
                right = _allowed_text(self._free[name])
                raise self._wrong(f"{name} = {sizing[name]!r}", right)

    def _wrong(self, what: str, right: str) -> PluginError:
        return PluginError(f"agent {self._name}: ask() gave {what} (expected {right})")


def retargeted(agent: Agent, design: Design, trials: Sequence[Trial]) -> bool:
    """Give `agent` other specs and its trials scored anew; False where it cannot take them."""
    return isinstance(agent, Retargetable) and agent.retarget(design, trials) is True


def foretold(agent: Agent, sizing: Sizing) -> Mapping[str, tuple[float, float, float]]:
    """What `agent` says by its optional `foretell`; a remark is worth no failed run."""
    try:
        said = agent.foretell(sizing)  # type: ignore[attr-defined]
        return {str(name): (float(a), float(b), float(c)) for name, (a, b, c) in said.items()}
    except Exception:  # noqa: BLE001  it has none, or a stranger's code raised
        return {}


def remark(agent: Agent, method: str) -> str:
    """What `agent` says by its optional `method`, on one line; a remark is worth no failed run."""
    try:
        said = getattr(agent, method)()
    except Exception:  # noqa: BLE001  # it has none, or a stranger's code raised
        return ""
    return " ".join(said.split()) if isinstance(said, str) else ""


def allowed(parameter: Parameter, value: Any) -> bool:
    """True where `value` is one that the free `parameter` may take, but for rounding."""
    if parameter.choices:
        if not _is_number(value):
            return value in parameter.choices
        numbers = [choice for choice in parameter.choices if not isinstance(choice, str)]
        return any(math.isclose(value, number) for number in numbers)
    low, high = parameter.minimum, parameter.maximum
    if not _is_number(value) or low is None or high is None:
        return False
    room = 1e-9 * max(abs(low), abs(high))
    if not low - room <= value <= high + room:
        return False
    steps = float(value - low) / parameter.step if parameter.step else 0.0
    return abs(steps - round(steps)) < 1e-3


class _Check:
    """`allowed` for one parameter, that takes the usual proposals without a closer look."""

    def __init__(self, parameter: Parameter) -> None:
        self._parameter = parameter
        self._good = set(parameter.choices)
        loose = not parameter.choices and not parameter.step
        self._low = parameter.minimum if loose and parameter.minimum is not None else math.inf
        self._high = parameter.maximum if loose and parameter.maximum is not None else -math.inf

    def __call__(self, value: Any) -> bool:
        # an equal number of another type would be written otherwise
        if type(value) is float and (self._low <= value <= self._high or value in self._good):
            return True
        if not allowed(self._parameter, value):
            return False
        if self._parameter.step and type(value) is float and len(self._good) < _GOOD_KEPT:
            self._good.add(value)
        return True


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_number(value: Any) -> bool:
    # numpy's float64 is a float; its other scalars would be written into decks by their repr
    return isinstance(value, (int, float)) and math.isfinite(value)


def _allowed_text(parameter: Parameter) -> str:
    if parameter.choices:
        return f"one of its {len(parameter.choices)} choices, such as {parameter.choices[0]!r}"
    step = f" in steps of {parameter.step:g}" if parameter.step else ""
    return f"{parameter.minimum:g} to {parameter.maximum:g}{step}"
