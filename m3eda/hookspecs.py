"""The public door: every hook a plugin may implement, one screen.

A plugin is one file and three lines of TOML (entry-point group `m3eda`); a design may also name a
local plugin file. The names of the arguments are API: they may be added to, never renamed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    import click

    from m3eda.agents.types import AgentFactory
    from m3eda.design.types import Design
    from m3eda.simulate.executor import Executor
    from m3eda.simulate.trial import Trial
    from m3eda.simulate.types import Simulator

API_VERSION = 1
"""Version of the hooks. It grows where a plugin written for an older one would no longer work; a
plugin says `m3eda_api = 1` for the one it was written for."""

hookspec = pluggy.HookspecMarker("m3eda")
hookimpl = pluggy.HookimplMarker("m3eda")


@hookspec
def register_simulators(register: Callable[[str, Callable[..., Simulator]], None]) -> None:
    """Call `register(name, factory)`; `factory(options)` builds the simulator."""


@hookspec
def register_agents(register: Callable[[str, AgentFactory], None]) -> None:
    """Call `register(name, factory)`; `factory(design, seed, options)` builds the agent."""


@hookspec
def register_measures(register: Callable[[str, Callable[..., Any]], None]) -> None:
    """Call `register(name, function)`; `function` is made by `m3eda.simulate.measures.measure`."""


@hookspec
def register_technologies(register: Callable[[str, Path], None]) -> None:
    """Call `register(name, path)`; a technology.yaml has its models beside it or in a package."""


@hookspec
def register_circuits(register: Callable[[str, Path], None]) -> None:
    """Call `register(name, path)`; a circuit.yaml has its templates and targets beside it."""


@hookspec
def register_executors(register: Callable[[str, Callable[..., Executor]], None]) -> None:
    """Call `register(name, factory)`; `factory(recipe, jobs, options)` builds the executor."""


@hookspec
def register_commands(register: Callable[[click.Command], None]) -> None:
    """Call `register(command)` to add a command to the command line."""


@hookspec
def trial_finished(design: Design, trial: Trial) -> None:
    """Called after each trial has been stored, in order of trial numbers."""
