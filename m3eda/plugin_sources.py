"""Where plugins come from: installed distributions, M3EDA_PLUGINS, and the design itself.

`M3EDA_PLUGINS` is a list separated by commas. A path (with a slash, or ending in .py) is loaded
besides; names restrict the entry points to these, and an empty value to none.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from m3eda.errors import PluginError, cause
from m3eda.hookspecs import API_VERSION
from m3eda.plugin_guard import PluginFault, guarded

GROUP = "m3eda"
OWN = "m3eda"
"""The distribution whose names no other plugin can take."""
NOT_LOADED = (" did not load:", " did not load: it takes")
"""What follows a plugin's name where its code raises, and where it hangs."""


@dataclass(frozen=True)
class Source:
    """One plugin before it is loaded: an entry point of a distribution, or a file."""

    name: str
    """Of the entry point; of a file its path."""
    distribution: str = ""
    """Empty for a file."""
    version: str = ""
    entry: EntryPoint | None = None
    file: Path | None = None
    of_design: bool = False
    """True for a file that the design names: without it the design cannot be right."""

    @property
    def built_in(self) -> bool:
        return self.distribution == OWN

    def __str__(self) -> str:
        """How messages name it: `nodal (m3eda-nodal 1.0)`, or the file's path."""
        if self.file is not None:
            return str(self.file)
        return f"{self.name} ({f'{self.distribution} {self.version}'.strip()})"


def find(files: Iterable[Path] = ()) -> tuple[list[Source], list[str]]:
    """Every plugin that is to be loaded, m3eda's own first, the design's `files` last; and a line
    on what is odd about them. Raises PluginError where M3EDA_PLUGINS names what is not there."""
    found, notes = _installed(tuple(sys.path))
    installed, odd = list(found), list(notes)
    installed.sort(key=lambda source: (not source.built_in, source.distribution.lower()))
    asked = os.environ.get("M3EDA_PLUGINS")
    items = [item.strip() for item in (asked or "").split(",") if item.strip()]
    paths = [item for item in items if _is_path(item)]
    names = [item for item in items if not _is_path(item)]
    if names or (asked is not None and not items):
        installed = _chosen(installed, names)
    odd += _namesakes(installed)
    of_design = [Source(str(path), file=path, of_design=True) for path in files]
    known = {path.resolve() for source in of_design if (path := source.file) is not None}
    extra = dict.fromkeys(_existing(path) for path in paths)
    besides = [Source(str(path), file=path) for path in extra if path not in known]
    return [*installed, *besides, *of_design], odd


def fingerprints(sources: Iterable[Source]) -> dict[str, str]:
    """What tells one set of plugins from another: distribution -> version, those of m3eda and of
    the design apart; for a file of M3EDA_PLUGINS its contents."""
    found = {}
    for source in sources:
        if source.file is None and not source.built_in and source.distribution:
            found[source.distribution] = source.version
        elif source.file is not None and not source.of_design:
            digest = hashlib.sha256(source.file.read_bytes()).hexdigest()
            found[f"{source.file.name}:{digest}"] = "file"
    return found


def load(source: Source) -> Any:
    """The module or object of a plugin.

    Raises PluginFault in words that follow its name, and PluginError for a file of the design.
    """
    what = f"load {source}"
    if source.entry is not None:
        entry = source.entry
        return guarded(lambda: _of_entry(entry), *NOT_LOADED, what)
    assert source.file is not None
    path = source.file
    if not source.of_design:
        return guarded(lambda: _of_file(path), *NOT_LOADED, what)
    if not path.is_file():
        raise PluginError(f"{path}: no such plugin file")
    try:
        return guarded(lambda: _of_file(path), "", " it takes", what)
    except PluginFault as fault:
        error = fault.__cause__
        if isinstance(error, SyntaxError) and error.filename == str(path):
            place = f"{path}:{error.lineno}:{error.offset}"
            raise PluginError(f"{place}: does not load: {error.msg}") from error
        raise PluginError(f"{path}: does not load:{fault}") from error


def api_version(plugin: Any) -> int:
    """The version of the hooks that `plugin` was written for. Raises PluginFault for another."""
    version = getattr(plugin, "m3eda_api", API_VERSION)
    if not isinstance(version, int):
        raise PluginFault(f": m3eda_api is {version!r} (expected a number such as {API_VERSION})")
    if version != API_VERSION:
        remedy = "m3eda" if version > API_VERSION else "the plugin"
        raise PluginFault(
            f" was written for plugin API {version}; this m3eda has {API_VERSION}: upgrade {remedy}"
        )
    return version


def _of_entry(entry: EntryPoint) -> Any:
    module_name, _, attributes = entry.value.partition("[")[0].partition(":")
    plugin = import_module(module_name.strip())
    for attribute in filter(None, attributes.strip().split(".")):
        if not hasattr(plugin, attribute):
            raise PluginFault(f" did not load: {entry.value} is not there: no '{attribute}'")
        plugin = getattr(plugin, attribute)
    return plugin


def _of_file(path: Path) -> Any:
    name = f"m3eda_local_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError("not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


@cache
def _installed(path: tuple[str, ...]) -> tuple[list[Source], list[str]]:
    """The entry points of every distribution on `path`, that of this process, and a line on each
    whose metadata is damaged."""
    odd: list[str] = []
    try:
        entries: Iterable[EntryPoint] = metadata.entry_points(group=GROUP)
    except Exception:  # noqa: BLE001  one damaged file in any distribution: ask each by itself
        entries = _one_by_one(odd)
    found: dict[tuple[str, str], EntryPoint] = {}
    for entry in entries:
        found.setdefault((entry.name, entry.value), entry)
    owners: dict[int, tuple[str, str]] = {}
    return [_source(entry, owners) for entry in found.values()], odd


def _one_by_one(odd: list[str]) -> Iterator[EntryPoint]:
    for distribution in metadata.distributions():
        try:
            yield from distribution.entry_points.select(group=GROUP)
        except Exception as error:  # noqa: BLE001  importlib raises what its parser comes upon
            place = getattr(distribution, "_path", "a distribution")
            odd.append(f"{place}: entry_points.txt cannot be read: {cause(error)}")


def _source(entry: EntryPoint, owners: dict[int, tuple[str, str]]) -> Source:
    """`owners`: name and version by distribution, whose METADATA takes long to parse."""
    key = id(entry.dist)
    if key not in owners:
        distribution = version = ""
        try:
            if entry.dist is not None:
                distribution, version = str(entry.dist.name or ""), str(entry.dist.version or "")
        except Exception:  # noqa: BLE001  its METADATA is missing or damaged
            distribution = distribution or str(getattr(entry.dist, "_path", entry.value))
        owners[key] = distribution, version
    distribution, version = owners[key]
    return Source(entry.name, distribution or entry.value, version, entry)


def _chosen(installed: list[Source], names: list[str]) -> list[Source]:
    """The entry points of these names. Raises PluginError for one unknown or ambiguous."""
    found: dict[Source, None] = {}
    missing = []
    for name in names:
        called = [s for s in installed if name in {s.name, f"{s.name}@{s.distribution}"}]
        # a bare name that m3eda has itself means m3eda's own
        called = [s for s in called if s.built_in] or called
        if len(called) > 1:
            ways = " or ".join(f"{s.name}@{s.distribution}" for s in called)
            raise PluginError(f"M3EDA_PLUGINS names {name}, which is ambiguous: write {ways}")
        if called:
            found[called[0]] = None
        else:
            missing.append(name)
    if missing:
        known = ", ".join(sorted({source.name for source in installed}))
        raise PluginError(
            f"M3EDA_PLUGINS names {', '.join(missing)}, which is not installed (known: {known})"
        )
    return list(found)


def _namesakes(installed: list[Source]) -> list[str]:
    """A line on each name that several distributions give to a plugin: all are loaded."""
    called: dict[str, list[str]] = {}
    for source in installed:
        called.setdefault(source.name, []).append(f"{source.distribution} {source.version}")
    return [
        f"plugins of one name '{name}' are in {' and '.join(owners)}; all of them are loaded"
        for name, owners in called.items()
        if len(owners) > 1
    ]


def _is_path(item: str) -> bool:
    return item.endswith(".py") or "/" in item or os.sep in item


def _existing(item: str) -> Path:
    path = Path(item).expanduser().resolve()
    if not path.is_file():
        raise PluginError(f"M3EDA_PLUGINS names {item}, which is not there")
    return path
