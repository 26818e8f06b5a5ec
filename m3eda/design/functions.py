"""What the loader must know of a function callable in a measure's expression."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MeasureFunction:
    """A function callable in `design.yaml`, such as `phase_margin(v(out))`.

    Made by the decorator `m3eda.simulate.measures.measure` and registered through the hook
    `register_measures`.
    """

    name: str
    function: Callable[..., Any]
    analysis: str = ""
    """Analysis that its signal arguments are taken from: op, dc, ac, tran, noise; empty for any."""
    unit: str = ""
    """SI unit of the result, empty where it follows the arguments."""
    device_values: tuple[str, ...] = ()
    """Where set, the arguments are device names and these operating-point values of each are
    needed, such as ("vds", "vdsat")."""
    analyses: tuple[str, ...] = ()
    """Analyses that its signal arguments are taken from: of several, the first that is there."""

    @property
    def summary(self) -> str:
        """First line of the function's docstring."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]


FunctionTable = Mapping[str, MeasureFunction]


def absence(table: Mapping[str, Any], name: str) -> str:
    """Why `name` may be missing from a table of what plugins bring, such as one that failed."""
    told = getattr(table, "absence", None)
    return str(told(name)) if callable(told) else ""
