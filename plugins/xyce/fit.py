"""Which circuits Xyce's `.step` runs as it would run their plain text, one row or another."""

from __future__ import annotations

import re

from m3eda_plugins.ngspice.parameters import Unfit
from m3eda_plugins.ngspice.texts import has_bins, included

from m3eda.simulate.cards import cards
from m3eda.simulate.types import Deck

_BRANCH = re.compile(r"^\s*\.(?:else)?if\b", re.IGNORECASE | re.MULTILINE)
_STEPS = re.compile(r"^\s*\.(?:step|data)\b", re.IGNORECASE | re.MULTILINE)
_BEHAVES = re.compile(r"b|[egfhrcl].*\b[vi]\s*\(|[egfh].*\b(?:poly|table|value|vol|cur)\b")


def check_fit(deck: Deck, marked: str) -> None:
    """Raises Unfit where rows of a stepped run may give what plain decks do not.

    `marked` is the text of `deck` with its holes marked.
    """
    if _STEPS.search(marked):
        raise Unfit("it has steps of its own")
    if has_bins(deck) or _BRANCH.search(marked) or included(deck, _BRANCH.search):
        raise Unfit("which models and lines count depends on values")
    if has_behaviour(marked) or included(deck, _behaves_in_file):
        raise Unfit(
            "it has an expression of voltages or currents, which begins where the last sizing ended"
        )


def has_behaviour(netlist: str) -> bool:
    """Whether a device follows an expression of voltages or currents.

    Xyce 7.10 keeps what it made of it: its results move in the last digits with the rows before.
    """
    return any(_BEHAVES.match(card.text.lower()) for card in cards(netlist))


def _behaves_in_file(text: str) -> bool:
    return has_behaviour(f"\n{text}")  # the first line of a netlist is its title
