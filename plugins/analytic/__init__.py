"""Circuits in closed form: a simulator that is a Python function, and needs nothing installed.

Options in the design file: `model` (`two_stage_opamp`, or `my_model.py:function`, the file from the
working directory); every other key is a value that the model reads and the design does not give, or
the name under which the design gives it, such as `cload: cl`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from m3eda.hookspecs import hookimpl

if TYPE_CHECKING:
    from m3eda.design.types import Value
    from m3eda.simulate.types import Simulator


def analytic(options: Mapping[str, Value] | None = None) -> Simulator:
    """The simulator analytic. Raises DesignError where an option is not one."""
    from m3eda_plugins.analytic.models import simulator_of  # numpy: not for `m3eda --help`

    simulator: Simulator = simulator_of(options or {})
    return simulator


@hookimpl
def register_simulators(register: Callable[[str, Callable[..., Simulator]], None]) -> None:
    register("analytic", analytic)


def contract(kind: str, name: str) -> type:
    """What `m3eda plugins check` runs."""
    from m3eda_plugins.analytic.contract import AnalyticContract  # pytest: not needed to simulate

    found: type = AnalyticContract
    return found
