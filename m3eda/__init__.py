"""m3eda: a SPICE decorator that sizes analog circuits on the designer's own simulator.

    from m3eda import load_design, size
    result = size(load_design("design.yaml"), budget=200)

`m3eda.library` tells the rest. Names are imported when first used: `m3eda --help` needs none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from m3eda.design.types import Design, Limits, Spec, Variation
    from m3eda.errors import DesignError, M3edaError
    from m3eda.flow import Execution
    from m3eda.library import Sizer, evaluate, load_design, monte_carlo, size, start
    from m3eda.loop import End
    from m3eda.result import Result
    from m3eda.simulate.trial import Trial
    from m3eda.simulate.types import State

__version__ = "0.1.0"

__all__ = [
    "Design",
    "DesignError",
    "End",
    "Execution",
    "Limits",
    "M3edaError",
    "Result",
    "Sizer",
    "Spec",
    "State",
    "Trial",
    "Variation",
    "__version__",
    "evaluate",
    "load_design",
    "monte_carlo",
    "size",
    "start",
]

_HOMES = {
    "Design": "design.types",
    "DesignError": "errors",
    "End": "loop",
    "Execution": "flow",
    "Limits": "design.types",
    "M3edaError": "errors",
    "Result": "result",
    "Sizer": "library",
    "Spec": "design.types",
    "State": "simulate.types",
    "Trial": "simulate.trial",
    "Variation": "design.types",
    "evaluate": "library",
    "load_design": "library",
    "monte_carlo": "library",
    "size": "library",
    "start": "library",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'm3eda' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(f"m3eda.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
