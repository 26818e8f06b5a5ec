"""What plugins registered under one hook, by name; a name that is taken twice is nobody's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from m3eda.errors import PluginError
from m3eda.plugin_sources import Source


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
        return f"two plugins register the {self.word} '{name}': {owners}; remove one of them"
