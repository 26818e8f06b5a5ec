"""The circuits that come with m3eda, registered by the public door."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import m3eda_templates

from m3eda.hookspecs import hookimpl


@hookimpl
def register_circuits(register: Callable[[str, Path], None]) -> None:
    for path in sorted(Path(m3eda_templates.__file__ or "").parent.glob("*/circuit.yaml")):
        register(path.parent.name, path)
