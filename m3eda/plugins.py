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
from typing import TYPE_CHECKING, Any

import pluggy

from m3eda import hookspecs
from m3eda.errors import M3edaError, PluginError, cause

if TYPE_CHECKING:
    from m3eda.design.functions import FunctionTable
    from m3eda.design.types import Design
    from m3eda.simulate.types import Simulator

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
            raise PluginError(f"no {self.word} is called '{name}' ({self.hint(name)})")
        return self[name]

    def hint(self, name: str) -> str:
        """The nearest known name, else all of them."""
        from m3eda.design.yamlfile import nearest  # PyYAML: not needed for `m3eda --help`

        return nearest(name, self) or f"known: {', '.join(sorted(self)) or 'none'}"


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
            raise PluginError(self._unknown_hook(error.plugin)) from error

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

    @property
    def executors(self) -> Mapping[str, Any]:
        return self._table("executors", "executor")

    @property
    def versions(self) -> dict[str, str]:
        """Of the installed distributions that bring plugins, m3eda itself apart."""
        found = [entry.dist for entry in self._chosen_entries() if entry.dist is not None]
        return {dist.name: dist.version for dist in found if dist.name != "m3eda"}

    def commands(self) -> list[Any]:
        found: list[Any] = []
        self.call("register_commands", lambda owner: {"register": found.append})
        return found

    def look_up(self, hook: str, name: str) -> Any:
        """What plugins registered under `hook` by that name. Raises PluginError."""
        return self.table(hook).look_up(name)

    def table(self, hook: str) -> Table:
        table = getattr(self, hook)
        assert isinstance(table, Table)
        return table

    def call(self, hook: str, arguments: Callable[[str], Mapping[str, Any]]) -> None:
        """Call a hook on one plugin after the other, the oldest first, with `arguments(owner)`.

        Raises PluginError that names the plugin whose code fails.
        """
        for impl in getattr(self.manager.hook, hook).get_hookimpls():
            owner = self._names[impl.plugin]
            given = arguments(owner)
            try:
                impl.function(**{name: given[name] for name in impl.argnames})
            except M3edaError:
                raise
            except Exception as error:  # a stranger's code may raise anything
                raise PluginError(f"plugin {owner}: {hook} raised {cause(error)}") from error

    def _table(self, hook: str, word: str) -> Table:
        if hook not in self._tables:
            table = Table(word)
            self.call(f"register_{hook}", lambda owner: {"register": table.register_for(owner)})
            self._tables[hook] = table
        return self._tables[hook]

    def _add(self, plugin: Any, name: str) -> None:
        try:
            self.manager.register(plugin, name)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(f"plugin {name}: {' '.join(str(error).split())}") from error
        self._names[plugin] = name

    def _unknown_hook(self, plugin: Any) -> str:
        from m3eda.design.yamlfile import nearest

        known = [name for name, thing in vars(hookspecs).items() if hasattr(thing, "m3eda_spec")]
        wrong = [h.name for h in self.manager.get_hookcallers(plugin) or () if not h.has_spec()]
        hint = nearest(wrong[0], known) or f"known: {', '.join(known)}"
        return f"plugin {self._names[plugin]}: there is no hook '{wrong[0]}' ({hint})"

    @staticmethod
    def _chosen_entries() -> list[EntryPoint]:
        found: dict[str, EntryPoint] = {}
        for entry in entry_points(group=GROUP):
            other = found.setdefault(entry.name, entry)
            if other.value != entry.value:
                raise PluginError(
                    f"two plugins are called '{entry.name}': {_distribution(other)} and "
                    f"{_distribution(entry)}; remove one of them"
                )
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
        except (Exception, SystemExit) as error:  # a stranger's module may raise anything
            raise PluginError(
                f"plugin {entry.name} ({_distribution(entry)}) does not load: {cause(error)}"
            ) from error


def build_simulator(plugins: Plugins, design: Design) -> Simulator:
    """The simulator that `design` names, built with its options. Raises PluginError."""
    choice = design.simulator
    factory = plugins.look_up("simulators", choice.name)
    try:
        built: Simulator = factory(choice.options)
    except M3edaError:
        raise
    except Exception as error:  # a stranger's code may raise anything
        raise PluginError(f"simulator {choice.name} cannot be built: {cause(error)}") from error
    return built


def tools(design: Design) -> tuple[Simulator, FunctionTable]:
    """What a process needs to simulate and measure `design`, from its plugins.

    Raises PluginError, SimulatorMissing.
    """
    plugins = Plugins(design.plugins)
    simulator = build_simulator(plugins, design)
    simulator.available()
    return simulator, plugins.measures


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
    except SyntaxError as error:
        place = f"{path}:{error.lineno}:{error.offset}"
        raise PluginError(f"{place}: does not load: {error.msg}") from error
    except (Exception, SystemExit) as error:  # a stranger's module may raise anything
        raise PluginError(f"{path}: does not load: {cause(error)}") from error
    return module
