"""What the designer wrote: from YAML to checked, frozen types.

`load_design` and its like are imported when first used: most commands never need pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from m3eda.design.expressions import Expression, ExpressionError
    from m3eda.design.extends import mistake_at
    from m3eda.design.jsonschema import json_schema
    from m3eda.design.load import load_design, local_plugins
    from m3eda.design.types import Design

__all__ = [
    "Design",
    "Expression",
    "ExpressionError",
    "json_schema",
    "load_design",
    "local_plugins",
    "mistake_at",
]

_HOMES = {
    "Design": "types",
    "Expression": "expressions",
    "ExpressionError": "expressions",
    "json_schema": "jsonschema",
    "load_design": "load",
    "local_plugins": "load",
    "mistake_at": "extends",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
