"""The plugin manager: collects what plugins register, and refuses what is wrong or doubled.

Built-in simulators, agents, measures and technologies enter by the same entry-point group as any
outsider's. `M3EDA_PLUGINS` restricts what loads: a comma-separated list of entry-point names, or
empty for none.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from m3eda import hookspecs
from m3eda.errors import PluginError

GROUP = "m3eda"


class Table(dict[str, Any]):
    """What plugins registered under one hook: name -> thing, with the owner of each name."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self.word = word
        self.owners: dict[str, str] = {}

    def register_for(self, owner: str) -> Callable[[str, Any], None]:
        """The `register(name, thing)` callback handed to the plugin `owner`."""

        def register(name: str, thing: Any) -> None:
            if name in self:
                raise PluginError(
                    f"two plugins register the {self.word} '{name}': "
                    f"{self.owners[name]} and {owner}; remove one of them"
                )
            self[name] = thing
            self.owners[name] = owner

        return register

    def look_up(self, name: str) -> Any:
        """The thing named `name`. Raises PluginError that lists the known names."""
        if name not in self:
            known = ", ".join(sorted(self)) or "none"
            raise PluginError(f"no {self.word} is called '{name}' (known: {known})")
        return self[name]


class Plugins:
    """Every plugin of this process. Each table is filled when it is first asked for."""

    def __init__(self, files: Iterable[Path] = ()) -> None:
        self.manager = pluggy.PluginManager(GROUP)
        self.manager.add_hookspecs(hookspecs)
        self._names: dict[Any, str] = {}
        self._tables: dict[str, Table] = {}
        for entry in self._chosen_entries():
            self._add(self._load(entry), f"{entry.name} ({_distribution(entry)})")
        for path in files:
            self._add(_load_file(path), str(path))
        try:
            self.manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(f"a plugin implements an unknown hook: {error}") from error

    @property
    def names(self) -> list[str]:
        return list(self._names.values())

    @property
    def simulators(self) -> Mapping[str, Any]:
        return self._table("simulators", "simulator")

    @property
    def agents(self) -> Mapping[str, Any]:
        return self._table("agents", "agent")

    @property
    def measures(self) -> Mapping[str, Any]:
        return self._table("measures", "measure")

    @property
    def technologies(self) -> Mapping[str, Any]:
        return self._table("technologies", "technology")

    def commands(self) -> list[Any]:
        found: list[Any] = []
        self.manager.hook.register_commands(register=found.append)
        return found

    def look_up(self, hook: str, name: str) -> Any:
        """The simulator, agent, measure or technology of that name. Raises PluginError."""
        table = getattr(self, hook)
        assert isinstance(table, Table)
        return table.look_up(name)

    def _table(self, hook: str, word: str) -> Table:
        if hook not in self._tables:
            table = Table(word)
            caller = getattr(self.manager.hook, f"register_{hook}")
            # one plugin at a time, oldest first, so that each name is known with its owner
            for impl in caller.get_hookimpls():
                impl.function(register=table.register_for(self._names[impl.plugin]))
            self._tables[hook] = table
        return self._tables[hook]

    def _add(self, plugin: Any, name: str) -> None:
        try:
            self.manager.register(plugin, name)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(f"plugin {name}: {' '.join(str(error).split())}") from error
        self._names[plugin] = name

    @staticmethod
    def _chosen_entries() -> list[EntryPoint]:
        found = {entry.name: entry for entry in entry_points(group=GROUP)}
        chosen = os.environ.get("M3EDA_PLUGINS")
        if chosen is None:
            return list(found.values())
        names = [name.strip() for name in chosen.split(",") if name.strip()]
        missing = [name for name in names if name not in found]
        if missing:
            raise PluginError(
                f"M3EDA_PLUGINS names {', '.join(missing)}, which is not installed "
                f"(known: {', '.join(sorted(found))})"
            )
        return [found[name] for name in names]

    @staticmethod
    def _load(entry: EntryPoint) -> Any:
        try:
            return entry.load()
        except Exception as error:  # a stranger's module may raise anything
            raise PluginError(
                f"plugin {entry.name} ({_distribution(entry)}) does not load: "
                f"{type(error).__name__}: {error}"
            ) from error


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value


def _load_file(path: Path) -> ModuleType:
    """Import a local plugin file. Raises PluginError."""
    if not path.is_file():
        raise PluginError(f"{path}: no such plugin file")
    name = f"m3eda_local_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a stranger's module may raise anything
        raise PluginError(f"{path}: does not load: {type(error).__name__}: {error}") from error
    return module
