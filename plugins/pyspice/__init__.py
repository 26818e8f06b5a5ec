"""ngspice as a library, driven by PySpice, for the same netlists as the simulator `ngspice`.

Options in the design file: `spiceinit` (a file to use as `.spiceinit`, or `none`); every other key
is written as `.option key=value`. PySpice is the extra `pyspice`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from m3eda.hookspecs import hookimpl

if TYPE_CHECKING:
    from m3eda.design.types import Value
    from m3eda.simulate.types import Simulator


def pyspice(options: Mapping[str, Value] | None = None) -> Simulator:
    """The simulator pyspice. Raises DesignError where an option is not one."""
    from m3eda_plugins.pyspice.simulator import PySpiceNgspice  # numpy: not for `m3eda --help`

    simulator: Simulator = PySpiceNgspice(options)
    return simulator


@hookimpl
def register_simulators(register: Callable[[str, Callable[..., Simulator]], None]) -> None:
    register("pyspice", pyspice)
