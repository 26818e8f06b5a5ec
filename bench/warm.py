"""The engine's own session of ngspice in this process, for benchmarks: about a millisecond a point.

A deck stays loaded while the values of its `.param` lines change, which equals a fresh `ngspice -b`
to 1e-12 (`strict`). What it gives at a sizing depends on the deck and the sizing alone.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from m3eda_plugins.ngspice.library import shared
from m3eda_plugins.ngspice.names import is_device_value
from m3eda_plugins.ngspice.session import NgspiceSession

from m3eda.design.types import Value
from m3eda.simulate.types import Deck, Skeleton, Waveforms
from m3eda.units import parse

_GIVEN = re.compile(r"(?<==)\S+")
_NAME = re.compile(r"(\w+)=$")
_SAVED = re.compile(r"^\.save (.*)$", re.MULTILINE)
_BRANCH = re.compile(r"(.+)#branch")


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Where the library keeps its files as long as this process lives."""
    return tempfile.TemporaryDirectory(prefix="m3eda-")


@cache
def _session() -> NgspiceSession:
    """The one session of this process; the user's own .spiceinit is not read."""
    return NgspiceSession(shared(Path(_folder().name), ""), {}, strict=True)


class WarmNgspice:
    """A deck kept loaded. One process holds one circuit at a time; others are loaded anew in turn.

    `deck` is a whole netlist with `.param` lines for what changes, its analyses as dot commands
    and `.save` lines for the vectors wanted; a first line `title` and `.end` included.
    """

    def __init__(self, deck: str) -> None:
        parts, self._names, self._given = _divided(deck)
        # from the deck alone, so that nothing depends on which sizing comes first
        other = tuple(
            f"{parse(given) * (1.05 + 0.01 * number):.15g}"
            for number, given in enumerate(self._given)
        )
        self._skeleton = Skeleton(parts, (self._given, other))
        saved = [name for line in _SAVED.findall(deck) for name in line.split()]
        self._devices = tuple(name for name in saved if is_device_value(name))
        nodes = [name for name in saved if not is_device_value(name)]
        self._vectors = tuple(_BRANCH.sub(r"i(\1)", name) for name in nodes)

    def run(self, values: Mapping[str, Value]) -> Waveforms:
        """Simulate with `values` for the deck's `.param` names.

        Raises SimulationFailed where no result arrived, and where the library gave up.
        """
        fills = tuple(
            f"{values[name]:.15g}" if name in values else given
            for name, given in zip(self._names, self._given, strict=True)
        )
        deck = Deck(
            self._skeleton.text(fills),
            vectors=self._vectors,
            device_values=self._devices,
            skeleton=self._skeleton,
            fills=fills,
        )
        waveforms: Waveforms = _session().run(deck)
        return waveforms


def _divided(deck: str) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The text around the values of `.param` lines, their names, and the values given there."""
    parts, names, given = [""], [], []
    for line in deck.strip().splitlines(keepends=True):
        end = 0
        for match in _GIVEN.finditer(line) if line.startswith(".param") else ():
            parts[-1] += line[end : match.start()]
            found = _NAME.search(line[: match.start()])
            names.append(found[1] if found else "")
            given.append(match[0])
            parts.append("")
            end = match.end()
        parts[-1] += line[end:]
    return tuple(parts), tuple(names), tuple(given)
