"""The plugin manager: collects what plugins register, and names those that fail.

Built-in simulators, agents, measures, technologies and circuits enter by the same entry-point
group as any outsider's. A plugin that fails is a line of warning, and missing where it is needed;
one that the design itself names is an error.
"""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from m3eda import hookspecs
from m3eda.errors import PluginError, PluginWarning
from m3eda.plugin_guard import PluginFault, asked, guarded
from m3eda.plugin_sources import GROUP, NOT_LOADED, Source, api_version, find, fingerprints, load
from m3eda.plugin_table import Table, registered

if TYPE_CHECKING:
    from m3eda.design.functions import FunctionTable
    from m3eda.design.types import Design
    from m3eda.simulate.trial import Trial
    from m3eda.simulate.types import Simulator

WORDS = {
    "simulators": "simulator",
    "agents": "agent",
    "measures": "measure",
    "technologies": "technology",
    "circuits": "circuit",
    "executors": "executor",
    "commands": "command",
}
"""What plugins register -> the word for one of it."""

HOOKS = tuple(name for name, thing in vars(hookspecs).items() if hasattr(thing, "m3eda_spec"))


@dataclass
class Plugin:
    """A plugin that was found, and what came of it."""

    source: Source
    api: int | None = None
    """The version of the hooks that it was written for; None where it did not load."""
    hooks: tuple[str, ...] = ()
    problems: list[str] = field(default_factory=list)
    """Lines that name it and say what is wrong."""


class Plugins:
    """Every plugin of this process. Each table is filled when it is first asked for.

    `files` are those that the design names. A plugin that fails is told as a PluginWarning, unless
    `silent`. Raises PluginError where one of `files` fails, or M3EDA_PLUGINS is wrong.
    """

    def __init__(self, files: Iterable[Path] = (), *, silent: bool = False) -> None:
        self.manager = pluggy.PluginManager(GROUP)
        self.manager.add_hookspecs(hookspecs)
        self.found: dict[str, Plugin] = {}
        """Every plugin by how messages name it, those that failed included."""
        self.odd: list[str] = []
        """Lines on what is wrong with no single plugin."""
        self._silent = silent
        self._failed: list[str] = []
        self._muted: set[str] = set()
        self._tables: dict[str, Table] = {}
        sources, odd = find(files)
        for line in odd:
            self.odd.append(line)
            self._warn(line)
        for source in sources:
            self._add(Plugin(source))

    @property
    def names(self) -> list[str]:
        """Of the plugins that loaded."""
        return [name for name, _ in self.manager.list_name_plugin()]

    @property
    def simulators(self) -> Mapping[str, Any]:
        return self.table("simulators")

    @property
    def agents(self) -> Mapping[str, Any]:
        return self.table("agents")

    @property
    def measures(self) -> Mapping[str, Any]:
        return self.table("measures")

    @property
    def technologies(self) -> Mapping[str, Any]:
        return self.table("technologies")

    @property
    def circuits(self) -> Mapping[str, Any]:
        return self.table("circuits")

    @property
    def executors(self) -> Mapping[str, Any]:
        return self.table("executors")

    @property
    def versions(self) -> dict[str, str]:
        """Of what else can decide a result: installed distributions that bring plugins, m3eda
        apart, whether or not they load; files of M3EDA_PLUGINS by their contents."""
        return fingerprints(plugin.source for plugin in self.found.values())

    @property
    def files(self) -> list[Path]:
        """The files of M3EDA_PLUGINS and of the design."""
        sources = [plugin.source for plugin in self.found.values()]
        return [source.file for source in sources if source.file is not None]

    def commands(self) -> list[Any]:
        return list(self.table("commands").values())

    def look_up(self, hook: str, name: str) -> Any:
        """What plugins registered under `hook` by that name. Raises PluginError."""
        return self.table(hook).look_up(name)

    def table(self, hook: str) -> Table:
        """What plugins registered under `register_{hook}`.

        Raises PluginError where a plugin that the design names fails.
        """
        if hook not in self._tables:
            table = Table(WORDS[hook], self._failed)
            for impl in self._implementations(f"register_{hook}"):
                self._fill(table, hook, impl)
            self._tables[hook] = table
        return self._tables[hook]

    def trial_finished(self, design: Design, trial: Trial) -> list[str]:
        """Tell every plugin of a trial; gives a line on each that fails, and is told no more."""
        lines = []
        for impl in self._implementations("trial_finished"):
            if impl.plugin_name in self._muted:
                continue
            given = _arguments(impl, {"design": design, "trial": trial})
            try:
                guarded(lambda: impl.function(**given), *_words("trial_finished"))  # noqa: B023
            except PluginFault as fault:
                self._muted.add(impl.plugin_name)
                lines.append(f"plugin {impl.plugin_name}{fault}; it is not called again")
        return lines

    def _implementations(self, hook: str) -> list[pluggy.HookImpl]:
        found: list[pluggy.HookImpl] = getattr(self.manager.hook, hook).get_hookimpls()
        return found

    def _fill(self, table: Table, hook: str, impl: pluggy.HookImpl) -> None:
        """Have one plugin register; what it has registered counts where the hook returns."""
        plugin = self.found[impl.plugin_name]
        things: dict[str, Any] = {}

        def register(*given: Any, **named: Any) -> None:
            name, thing = registered(hook, given, named)
            if name in things:
                raise PluginFault(f": register_{hook} registers '{name}' twice")
            things[name] = thing

        given = _arguments(impl, {"register": register})
        words, key = _words(f"register_{hook}"), f"register_{hook} {plugin.source}"
        try:
            guarded(lambda: impl.function(**given), *words, key)
        except PluginFault as fault:
            self._fail(plugin, fault)
            return
        for line in table.take(plugin.source, things):
            plugin.problems.append(line)
            self._warn(line)

    def _add(self, plugin: Plugin) -> None:
        name = str(plugin.source)
        if name in self.found:
            self.found[f"{name} again"] = plugin
            self._fail(plugin, PluginFault(" did not load: its distribution has two of this name"))
            return
        self.found[name] = plugin
        try:
            thing = load(plugin.source)
            guarded(lambda: self._register(plugin, thing, name), *NOT_LOADED)
        except PluginFault as fault:
            self._fail(plugin, fault)

    def _register(self, plugin: Plugin, thing: Any, name: str) -> None:
        """Take the hooks of `thing`. Raises PluginFault where one of them is wrong."""
        api = api_version(thing)
        taken = self.manager.get_name(thing)
        if taken is not None:
            raise PluginFault(f" did not load: it is the same as plugin {taken}")
        hooks = self._hooks(thing)
        if not hooks and not plugin.source.of_design:
            raise PluginFault(" implements no hook (is @hookimpl above its functions?)")
        try:
            self.manager.register(thing, name)
        except pluggy.PluginValidationError as error:
            if self.manager.get_name(thing) is not None:
                self.manager.unregister(thing)  # an older pluggy leaves some hooks in place
            raise PluginFault(f": {' '.join(str(error).split())}") from error
        plugin.api, plugin.hooks = api, tuple(hooks)

    def _hooks(self, thing: Any) -> list[str]:
        """Names of the hooks that `thing` implements. Raises PluginFault for an unknown one."""
        found = []
        for name in dir(thing):
            options = self.manager.parse_hookimpl_opts(thing, name)
            if options is None:
                continue
            hook = options.get("specname") or name
            if hook in HOOKS:
                found.append(hook)
            elif not options.get("optionalhook"):
                from m3eda.design.yamlfile import nearest

                hint = nearest(hook, HOOKS) or f"known: {', '.join(HOOKS)}"
                raise PluginFault(f": there is no hook '{hook}' ({hint})")
            if options.get("wrapper") or options.get("hookwrapper"):
                raise PluginFault(f": {hook} is a wrapper, which m3eda does not call")
        return found

    def _fail(self, plugin: Plugin, fault: PluginFault) -> None:
        line = f"plugin {plugin.source}{fault}"
        if plugin.source.of_design:
            raise PluginError(line) from fault
        if os.environ.get("M3EDA_TRACEBACK") and not self._silent:
            traceback.print_exception(fault)
        plugin.problems.append(line)
        self._failed.append(line)
        self._warn(line)

    def _warn(self, line: str) -> None:
        if not self._silent:
            warnings.warn(line, PluginWarning, stacklevel=2)


def build_simulator(plugins: Plugins, design: Design) -> Simulator:
    """The simulator that `design` names, built with its options. Raises PluginError."""
    choice = design.simulator
    factory = plugins.look_up("simulators", choice.name)
    words = f"simulator {choice.name} cannot be built:"
    built: Simulator = asked(lambda: factory(choice.options), words, f"{words} it takes")
    return built


def version_of(simulator: Simulator, name: str) -> str:
    """What `available()` of the simulator `name` tells. Raises SimulatorMissing, PluginError."""
    words = f"simulator {name}: available()"
    version: object = asked(simulator.available, f"{words} raised", f"{words} takes")
    if not isinstance(version, str) or not version.strip():
        raise PluginError(f"{words} gave {version!r} (expected its version, such as mysim-3.1)")
    return version


def tools(design: Design) -> tuple[Simulator, FunctionTable]:
    """What a process needs to simulate and measure `design`, from its plugins.

    Raises PluginError, SimulatorMissing.
    """
    plugins = Plugins(design.plugins, silent=True)
    simulator = build_simulator(plugins, design)
    version_of(simulator, design.simulator.name)
    return simulator, plugins.measures


def _words(hook: str) -> tuple[str, str]:
    """What follows a plugin's name where its hook raises, and where it hangs."""
    return f": {hook} raised", f": {hook} takes"


def _arguments(impl: pluggy.HookImpl, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `given` that a hook of a plugin asks for: it may leave some out."""
    return {name: given[name] for name in impl.argnames if name in given}
