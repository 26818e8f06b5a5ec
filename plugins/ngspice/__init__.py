"""ngspice, for netlists with .op, .dc, .ac, .tran and .noise cards and .meas lines.

Options in the design file: `program` (path, else `ngspice` from PATH), `spiceinit` (a file to use
as `.spiceinit`, or `none`), `memory` (largest address space in bytes); every other key is written
as `.option key=value`. Where no `spiceinit` is given, ngspice reads the user's own
`~/.spiceinit`, as it does by hand: process design kits need theirs (`set ngbehavior=hsa`).

`ngspice` keeps circuits loaded in libngspice where that is installed; `ngspice-batch` starts a
process for every simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from m3eda.hookspecs import hookimpl

if TYPE_CHECKING:
    from m3eda.design.types import Value
    from m3eda.simulate.types import Simulator, WarmSimulator


def ngspice(options: Mapping[str, Value] | None = None) -> WarmSimulator:
    """The ngspice simulator. Raises DesignError where an option is not one."""
    from m3eda_plugins.ngspice.batch import Ngspice  # numpy: not needed for `m3eda --help`

    simulator: WarmSimulator = Ngspice(options)
    return simulator


def ngspice_batch(options: Mapping[str, Value] | None = None) -> Simulator:
    """The same without sessions. Raises DesignError where an option is not one."""
    from m3eda_plugins.ngspice.batch import NgspiceBatch

    simulator: Simulator = NgspiceBatch(options)
    return simulator


@hookimpl
def register_simulators(register: Callable[[str, Callable[..., Simulator]], None]) -> None:
    register("ngspice", ngspice)
    register("ngspice-batch", ngspice_batch)
