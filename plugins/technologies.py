"""The technologies that come with m3eda, registered by the public door."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import m3eda_templates

from m3eda.hookspecs import hookimpl


@hookimpl
def register_technologies(register: Callable[[str, Path], None]) -> None:
    folder = Path(m3eda_templates.__file__ or "").parent / "technologies"
    for path in sorted(folder.glob("*/technology.yaml")):
        register(path.parent.name, path)
