"""Xyce, for the same netlists as ngspice: m3eda translates them.

Options in the design file: `program` (path, else `Xyce` from PATH), `prefix` (a command that starts
it, such as `mpirun -np 4`), `memory` (largest address space in bytes); every other key is a package
and an option of Xyce's `.options`, such as `timeint.reltol` or `nonlin.maxstep`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from m3eda.hookspecs import hookimpl

if TYPE_CHECKING:
    from m3eda.design.types import Value
    from m3eda.simulate.types import Simulator, WarmSimulator


def xyce(options: Mapping[str, Value] | None = None) -> WarmSimulator:
    """The Xyce simulator. Raises DesignError where an option is not one."""
    from m3eda_plugins.xyce.simulator import Xyce  # numpy: not needed for `m3eda --help`

    simulator: WarmSimulator = Xyce(options)
    return simulator


@hookimpl
def register_simulators(register: Callable[[str, Callable[..., Simulator]], None]) -> None:
    register("xyce", xyce)
