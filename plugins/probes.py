"""What the plain text of a skeleton's decks gives at its probes, to prove a faster way by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from m3eda_plugins.ngspice.parameters import Unfit

from m3eda.simulate.types import Deck, SimulationFailed, Skeleton, Waveforms

EXACT = 1e-12
"""By how much two ways may differ that count as the same."""

CLOSE = 1e-7
"""By how much they may where the user has not asked for more."""

Plain = list[tuple[Deck, Waveforms]]
"""Decks, and what their text gives."""


def plain_runs(
    deck: Deck, skeleton: Skeleton, run: Callable[[Deck], Waveforms], count: int
) -> Plain:
    """`count` decks at the probes, or between them where these fail, with what `run` gives.

    Raises Unfit where there are not so many.
    """
    found: Plain = []
    for fills in (*skeleton.probes, *between(*skeleton.probes)):
        probe = replace(deck, text=skeleton.text(fills), fills=fills)
        with suppress(SimulationFailed):
            found.append((probe, run(probe)))
        if len(found) == count:
            return found
    raise Unfit("its probes give nothing")


def between(one: Sequence[str], other: Sequence[str]) -> list[tuple[str, ...]]:
    """Fills from two probes by turns."""
    pairs = [*zip(one, other, strict=True)]
    return [tuple(pair[(n + shift) % 2] for n, pair in enumerate(pairs)) for shift in (0, 1)]
