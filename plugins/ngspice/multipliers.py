"""Subcircuits that are called with `m=`, within which ngspice 39 silently multiplies wrong.

It writes `m={m}` behind each device and call of a subcircuit that any card calls with `m=`, and of
two `m=` on one card the last counts: the device's own is lost, at every call. With
`set ngbehavior=hsa` (or `hs`) it multiplies both. Controlled switches and B sources get none in
either, and F and H sources see the current of all copies. A subcircuit with a parameter `m` of its
own is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from m3eda.simulate.cards import Card, cards
from m3eda.simulate.types import Deck, SimulationFailed, State

_CALL = re.compile(r"^[ \t]*x[^\n]*(?:\n[ \t]*\+[^\n]*)*?\sm[ \t]*=", re.IGNORECASE | re.MULTILINE)
_OWN = re.compile(r"\sm\s*=\s*(\{[^}]*\}|'[^']*'|\S+)")
_EXPRESSION = re.compile(r"\{[^}]*\}|'[^']*'")
_HSPICE = re.compile(r"^\s*set\s+ngbehavior\s*=\s*\"?\w*hs", re.IGNORECASE | re.MULTILINE)
_MULTIPLIED = "rcldmqjzigfx"
"""Devices, and calls, that get `m={m}`."""
_WRONG = {"s": "does not multiply the switch", "w": "does not multiply the switch",
          "b": "does not multiply the B source", "f": "gives the current of all copies to",
          "h": "gives the current of all copies to"}  # fmt: skip


def check_multipliers(deck: Deck, start_file: str) -> None:
    """Raise SimulationFailed(PARSE_ERROR) where ngspice would multiply wrong, with the cure.

    `start_file` is the text of the `.spiceinit` that ngspice reads. What a model library defines is
    looked at too.
    """
    if not _CALL.search(deck.text):
        return
    netlist = [Card(card.text.lower(), card.first, card.last) for card in cards(deck.text)]
    calls = tuple(dict.fromkeys(_called(netlist)))
    keeps_own = bool(_HSPICE.search(start_file))
    fault = _fault(netlist, calls, keeps_own=keeps_own)
    defined = {name for name, _ in _scopes(netlist)}
    elsewhere = tuple(name for name in calls if name not in defined)
    for file in deck.files if elsewhere else ():
        stat = file.stat() if file.is_file() else None
        if stat is not None and not fault:
            fault = _of_file(file, stat.st_mtime_ns, stat.st_size, elsewhere, keeps_own)
    if fault:
        raise SimulationFailed(State.PARSE_ERROR, fault)


def _called(netlist: Iterable[Card]) -> Iterator[str]:
    """Subcircuits that are called with `m=`."""
    for card in netlist:
        if card.text[0] == "x" and _OWN.search(card.text):
            plain = re.sub(r"\s*=\s*", "=", _EXPRESSION.sub("0", card.text))
            words = [word for word in plain.split() if "=" not in word and word != "params:"]
            yield words[-1]


def _scopes(netlist: Iterable[Card]) -> Iterator[tuple[str, Card]]:
    """Each card within a subcircuit, and that one's name; its `.subckt` card is the first."""
    open_ones: list[str] = []
    for card in netlist:
        words = card.text.split()
        if words[0] == ".subckt" and len(words) > 1:
            open_ones.append(words[1])
        if open_ones:
            yield open_ones[-1], card
        if words[0] == ".ends" and open_ones:
            open_ones.pop()


def _fault(
    netlist: Iterable[Card], calls: Sequence[str], *, keeps_own: bool, first: int = 1
) -> str:
    """What is wrong first in the subcircuits `calls`, in one line; empty where nothing is.

    `first` is the number of the netlist's first line.
    """
    with_own: set[str] = set()
    for name, card in _scopes(netlist):
        text = card.text
        own = _OWN.search(text)
        if own and text.startswith(".subckt"):
            with_own.add(name)
        if text[0] == "." or name not in calls or name in with_own:
            continue
        device = text.split()[0]
        where = f"line {card.first + first}: ngspice"
        if own and text[0] in _MULTIPLIED and not keeps_own:
            factor = own[1].strip("{}'")
            return (
                f"{where} forgets m={factor} of {device}, since {name} is called with m=: write "
                f"k=1 behind its .subckt, m={{({factor})*k}} here, and k= in place of m= in calls; "
                "or `set ngbehavior=hsa` in a spiceinit"
            )
        if text[0] in _WRONG and (text[0] != "b" or re.search(r"\si\s*=", text)):
            return (
                f"{where} {_WRONG[text[0]]} {device}, since {name} is called with m=: call it as "
                "often, or give it a parameter for the factor"
            )
    return ""


@lru_cache(maxsize=256)
def _of_file(file: Path, _mtime: int, _size: int, names: tuple[str, ...], keeps_own: bool) -> str:
    """`_fault` of what an included file says of the subcircuits `names`."""
    text = file.read_text(encoding="utf-8", errors="replace")
    for name in names:
        body = rf"^[ \t]*\.subckt[ \t]+{re.escape(name)}\b.*?^[ \t]*\.ends[^\n]*"
        match = re.search(body, text, re.IGNORECASE | re.MULTILINE | re.DOTALL)
        if match is None:
            continue
        before = text.count("\n", 0, match.start())
        # behind a line that counts as the title
        found = cards("\n" * (before + 1) + match[0].lower())
        if fault := _fault(found, names, keeps_own=keeps_own, first=0):
            return f"{file}: {fault}"
    return ""
