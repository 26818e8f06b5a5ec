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
    "trust-region": "m3eda.agents.trust_region:TrustRegion",
    "turbo": "m3eda.agents.turbo:Turbo",
}
"""Name -> where its class is."""


class _Lazy:
    """A factory that imports its class when the first agent is built."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __call__(self, design: Design, seed: int, options: Mapping[str, Any]) -> Agent:
        module, name = self._where.split(":")
        agent: Agent = getattr(import_module(module), name)(design, seed, options)
        return agent


class _Learnt(_Lazy):
    """One that goes by what `m3eda learn` has learnt of the design's circuit, where it has.

    That is of `design` or, for `m3`, what the option `policy` names.
    """

    def files(self, design: Design) -> list[Path]:
        """What decides its proposals besides the design."""
        from m3eda.loop import learnt_file

        named = design.agent.options.get("policy", "own") if design.agent.name == "m3" else "own"
        path = learnt_file(design) if named == "own" else design.path.parent / str(named)
        return [path] if path.is_file() else []


class _Auto(_Learnt):
    """`m3` where the design's circuit has been learnt, `auto` itself elsewhere."""

    def __call__(self, design: Design, seed: int, options: Mapping[str, Any]) -> Agent:
        if not options and self.files(design):
            return _Lazy(BUILT_IN["m3"])(design, seed, {})
        return super().__call__(design, seed, options)


@hookimpl
def register_agents(register: Callable[[str, AgentFactory], None]) -> None:
    kinds = {"auto": _Auto, "m3": _Learnt}
    for name, where in BUILT_IN.items():
        register(name, kinds.get(name, _Lazy)(where))
