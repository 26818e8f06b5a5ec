"""The technology that a circuit is put into: a known one, or a technology.yaml by its path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from m3eda.design.problems import Problems
from m3eda.design.technology import read_technology
from m3eda.design.types import Technology
from m3eda.design.yamlfile import read_yaml
from m3eda.errors import DesignError, Mistake
from m3eda.plugins import Plugins
from m3eda.units import NumberError, parse

_NEEDED = ("instance.prefix", "instance.unit", "devices.nmos.model", "devices.pmos.model",
           "supply.nominal", "sizes.l_min", "sizes.l_max", "sizes.w_min",
           "sizes.w_max")  # fmt: skip
"""What circuits are written with."""
_NUMBERS = ("instance.unit", "supply.nominal", "supply.min", "supply.max", "temperature.min",
            "temperature.max", "sizes.l_min", "sizes.l_max", "sizes.w_min", "sizes.w_max",
            "sizes.grid", "mismatch.a_vt.nmos", "mismatch.a_vt.pmos")  # fmt: skip


def technology_of(name: str, plugins: Plugins) -> Technology:
    """The technology called `name`, or that of a technology.yaml by its path. Raises DesignError
    with every mistake."""
    known = plugins.table("technologies")
    own = own_file(name, plugins)
    if own is None and name not in known:
        text, hint = known.missing(name)
        raise DesignError([Mistake(text, hint=hint)])
    path = own or Path(known[name])
    if not path.is_file():
        raise DesignError([Mistake("there is no such technology", path)])
    technology = read_technology(path)
    _check_data(technology, path)
    return technology if own is not None else replace(technology, name=name)


def own_file(name: str, plugins: Plugins) -> Path | None:
    """The technology.yaml that `name` is the path of; None where `name` is that of a technology.

    What is known by a name counts as one's own where it is named by a path: a copy may have been
    changed, and still be called the same.
    """
    if name in plugins.table("technologies"):
        return None
    if "/" not in name and not name.endswith((".yaml", ".yml")):
        return None
    path = Path(name).expanduser().resolve()
    return path / "technology.yaml" if path.is_dir() else path


def entry_of(technology: Technology, *path: str) -> Any:
    """What the technology.yaml says at `path`, None where it says nothing."""
    here: Any = technology.data
    for key in path:
        here = here.get(key) if isinstance(here, Mapping) else None
    return here


def _check_data(technology: Technology, path: Path) -> None:
    """Raise DesignError where the technology does not say what circuits are written with."""
    missing = [key for key in _NEEDED if entry_of(technology, *key.split(".")) is None]
    if missing:
        message = f"the technology {technology.name} lacks {', '.join(missing)}"
        hint = "docs/technologies.md has what each key says"
        raise DesignError([Mistake(message, path, hint=hint)])
    problems = Problems(read_yaml(path))
    for key, text, hint in _unreadable(technology):
        problems.add(tuple(key.split(".")), text, hint)
    problems.raise_all()


def _unreadable(technology: Technology) -> Iterator[tuple[str, str, str]]:
    """Each number that is none, why, and what would be right."""
    for key in _NUMBERS:
        value = entry_of(technology, *key.split("."))
        if value is None:
            continue
        try:
            number = parse(str(value))
        except NumberError as error:
            yield key, str(error), error.hint
            continue
        if number <= 0.0 and key.startswith(("sizes.", "instance.", "supply.nominal")):
            yield key, f"is {value}", "above 0"
