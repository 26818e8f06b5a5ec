"""What a designer reads where a netlist does not give what he asked for: the nearest there is."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches

from m3eda.simulate.cards import cards
from m3eda.simulate.signals import ELEMENTS
from m3eda.simulate.types import Analysis, Deck

_FLAT = re.compile(r"@([a-z])\.(x[^\[]*\.\1[^.\[]*\[)")


def not_given(deck: Deck, made: Iterable[Analysis], known: Collection[str]) -> str:
    """Why a requested vector is nowhere in `made`, on one line; empty where all are there.

    `known` holds the names of all vectors of the run, for the nearest of them.
    """
    there = {name for analysis in made for name in analysis.vectors}
    lost = [name for name in (*deck.vectors, *deck.device_values) if name not in there]
    if not lost:
        return ""
    elements = {card.text.split()[0].lower() for card in cards(deck.text)}
    words: dict[str, list[str]] = {}
    for name in map(_as_written, lost):
        near = get_close_matches(name.lower(), _candidates(name, elements, known), 3, 0.4)
        hint = _unfit(name, elements) or (f" (nearest: {', '.join(near)})" if near else "")
        words.setdefault(hint or name, []).append(name)
    listed = (", ".join(each) + (hint if hint not in each else "") for hint, each in words.items())
    return f"the netlist gives no {'; no '.join(listed)}"


def _unfit(name: str, elements: set[str]) -> str:
    """What the element of a device value is, where it is there and has no such value."""
    path = name[1:].partition("[")[0]
    leaf = path.rpartition(".")[2]
    kind = ELEMENTS.get(leaf[:1])
    if not name.startswith("@") or leaf not in elements or kind is None:
        return ""
    if leaf.startswith("x"):
        return f" ({path} is a subcircuit: name the device inside it, {path}.name)"
    return f" ({path} is a {kind}{' without it' if kind == 'MOSFET' else ''})"


def _as_written(name: str) -> str:
    """A device value by the path that a designer writes: @m.x1.m2[gm] -> @x1.m2[gm]."""
    return _FLAT.sub(r"@\2", name.lower())


def _candidates(name: str, elements: set[str], names: Collection[str]) -> list[str]:
    if name.startswith("@"):
        value = name.partition("[")[2]
        others = (f"@{element}[{value}" for element in sorted(elements) if element[0].isalpha())
        return [other for other in others if other != name.lower()]
    start = name.lower().replace(" ", "")[:2]
    return sorted(other for other in names if other.startswith(start))
