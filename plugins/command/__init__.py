"""Any simulator by a command template: a netlist in its own dialect in, CSV or PSF ASCII out.

Options in the design file: `command` and `results`, which must be there, `deck_name`, `format`,
`version`, `log`, `names`, `complex`, `polar`, `meas`, `exit_codes`, `no_convergence`,
`model_missing` and `parse_error`; docs/simulators.md has their meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from m3eda.hookspecs import hookimpl

if TYPE_CHECKING:
    from m3eda.design.types import Value
    from m3eda.simulate.types import Simulator


def command(options: Mapping[str, Value] | None = None) -> Simulator:
    """The simulator command. Raises DesignError where an option is not one."""
    from m3eda_plugins.command.simulator import CommandSimulator  # numpy: not for `m3eda --help`

    simulator: Simulator = CommandSimulator(options)
    return simulator


@hookimpl
def register_simulators(register: Callable[[str, Callable[..., Simulator]], None]) -> None:
    register("command", command)
