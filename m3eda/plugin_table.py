"""What plugins registered under one hook, by name; a name that is taken twice is nobody's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from m3eda.errors import PluginError
from m3eda.plugin_guard import PluginFault
from m3eda.plugin_sources import Source

_LONGEST = 80
"""Characters of a name."""
_CALLS = {
    "measures": "register(name, function)",
    "technologies": "register(name, path)",
    "circuits": "register(name, path)",
    "commands": "register(command)",
}
"""How a hook is to call what it is given."""
_FILES = {"technologies": "technology.yaml", "circuits": "circuit.yaml"}
"""What the path that a hook registers leads to."""


class Table(dict[str, Any]):
    """What plugins registered under one hook: name -> thing, with the owner of each name.

    A name that several outsiders register is in `doubled` and not here: none of them is picked.
    m3eda's own names stay its own.
    """

    def __init__(self, word: str, failed: Iterable[str] = ()) -> None:
        super().__init__()
        self.word = word
        self.owners: dict[str, Source] = {}
        self.doubled: dict[str, list[Source]] = {}
        self._failed = failed

    def take(self, owner: Source, things: Mapping[str, Any]) -> Iterator[str]:
        """Add what `owner` registers; gives a line on each name that is taken.

        Raises PluginError where the design names the owner.
        """
        for name, thing in things.items():
            other = self.owners.get(name)
            if other is None:
                self[name] = thing
                self.owners[name] = owner
                continue
            if other.built_in and not owner.of_design:
                yield f"plugin {owner}: the {self.word} '{name}' is m3eda's own and stays so"
                continue
            self.pop(name, None)
            self.doubled.setdefault(name, [other]).append(owner)
            line = self._doubled(name)
            if owner.of_design:
                raise PluginError(line)
            yield line

    def look_up(self, name: str) -> Any:
        """The thing named `name`. Raises PluginError that lists the known names."""
        if name not in self:
            text, hint = self.missing(name)
            raise PluginError(f"{text} ({hint})" if hint else text)
        return self[name]

    def missing(self, name: str) -> tuple[str, str]:
        """That `name` is not to be had, and a hint: the nearest known name, else all of them."""
        from m3eda.design.yamlfile import nearest  # PyYAML: not needed for `m3eda --help`

        if name in self.doubled:
            return self._doubled(name), ""
        hint = nearest(name, self) or f"known: {', '.join(sorted(self)) or 'none'}"
        why = self.absence(name)
        between = " " if hint.endswith("?") else "; "
        return f"no {self.word} is called '{name}'", f"{hint}{between}{why}" if why else hint

    def absence(self, name: str) -> str:
        """Why `name` may not be here: several plugins claim it, or some have failed."""
        return self._doubled(name) if name in self.doubled else "; ".join(self._failed)

    def _doubled(self, name: str) -> str:
        *others, last = map(str, self.doubled[name])
        owners = f"{', '.join(others)} and {last}"
        remedy = "remove one of them"
        if any(owner.built_in for owner in self.doubled[name]):
            remedy = "m3eda has that name itself, choose another"
        elif any(owner.of_design for owner in self.doubled[name]):
            remedy = "take the file out of `plugins:`, or uninstall the other"
        return f"two plugins register the {self.word} '{name}': {owners}; {remedy}"


def registered(hook: str, given: Sequence[Any], named: Mapping[str, Any]) -> tuple[str, Any]:
    """Name and thing of a plugin's call of `register`. Raises PluginFault where it is no such."""
    one = hook == "commands"
    if named or len(given) != (1 if one else 2):
        right = _CALLS.get(hook, "register(name, factory)")
        got = len(given) + len(named)
        how = f"{got} argument{'' if got == 1 else 's'}" + (" by name" if named else "")
        raise PluginFault(f": register_{hook} called `register` with {how} (expected {right})")
    thing = given[-1]
    name: Any = getattr(thing, "name", None) if one else given[0]
    if wanted := _wanted(hook, thing):
        kind = type(thing).__name__
        what = f"a {kind}" if one else f"{kind} for {name!r}"
        raise PluginFault(f": register_{hook} gave {what} (expected {wanted})")
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST or not _is_plain(name):
        raise PluginFault(f": register_{hook} gave {str(name)[:_LONGEST]!r} (expected a name)")
    return name, thing


def _is_plain(name: str) -> bool:
    return name.isprintable() and name == name.strip()


def _wanted(hook: str, thing: Any) -> str:
    """What `thing` should be and is not; empty where it is."""
    if hook == "commands":
        return "" if callable(getattr(thing, "main", None)) else "a click command"
    if hook == "measures":
        from m3eda.design.functions import MeasureFunction

        right = isinstance(thing, MeasureFunction)
        return "" if right else "what `m3eda.simulate.measures.measure` makes"
    if hook in _FILES:
        return "" if isinstance(thing, (str, os.PathLike)) else f"the path of a {_FILES[hook]}"
    return "" if callable(thing) else "a factory"
