"""The built-in agents, registered through the public door. Nothing heavy is imported until used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from m3eda.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from m3eda.agents.types import Agent, AgentFactory
    from m3eda.design.types import Design

BUILT_IN = {
    "auto": "m3eda.agents.auto:Auto",
    "bo": "m3eda.agents.bo:Bo",
    "cma": "m3eda.agents.cma:Cma",
    "differential-evolution": "m3eda.agents.differential_evolution:DifferentialEvolution",
    "extra-trees": "m3eda.agents.extra_trees:ExtraTrees",
    "m3": "m3eda.policy.agent:M3",
    "random": "m3eda.agents.random:Random",
    "search": "m3eda.agents.auto:Auto",
    "trust-region": "m3eda.agents.trust_region:TrustRegion",
    "turbo": "m3eda.agents.turbo:Turbo",
}
"""Name -> where its class is."""
FILES_OF = "m3eda.policy.known:files_of"
"""Where it is asked which networks know a circuit."""


def _named(where: str) -> Any:
    module, name = where.split(":")
    return getattr(import_module(module), name)


class _Lazy:
    """A factory that imports its class when the first agent is built."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __call__(self, design: Design, seed: int, options: Mapping[str, Any]) -> Agent:
        agent: Agent = _named(self._where)(design, seed, options)
        return agent


class _Knowing(_Lazy):
    """One that goes by networks that know the design's circuit, where there are any.

    Those that `m3eda learn` made of it, or those that come with m3eda; for `m3`, what the option
    `policy` names.
    """

    def files(self, design: Design) -> list[Path]:
        """What decides its proposals besides the design."""
        options = design.agent.options if design.agent.name == "m3" else {}
        found: list[Path] = _named(FILES_OF)(design, str(options.get("policy", "own")))
        return found


class _Weighted(_Lazy):
    """One whose networks may begin with the weights of a file."""

    def files(self, design: Design) -> list[Path]:
        """What decides its proposals besides the design."""
        name = design.agent.options.get("weights", "")
        path = design.path.parent / str(name)
        return [path] if name and path.is_file() else []


class _Auto(_Knowing):
    """`m3`, which searches where nothing is known of a design; with options of `search`, that."""

    def __call__(self, design: Design, seed: int, options: Mapping[str, Any]) -> Agent:
        if not options:
            return _Lazy(BUILT_IN["m3"])(design, seed, {})
        return super().__call__(design, seed, options)


@hookimpl
def register_agents(register: Callable[[str, AgentFactory], None]) -> None:
    kinds = {"auto": _Auto, "m3": _Knowing, "trust-region": _Weighted}
    for name, where in BUILT_IN.items():
        register(name, kinds.get(name, _Lazy)(where))
