"""Uniform random search: the baseline that every other agent must beat."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from m3eda.agents.history import History, take_options
from m3eda.design.types import Design, Sizing
from m3eda.simulate.trial import Trial

_AHEAD = 32
"""Sizings made at once: NumPy takes as long for one as for many."""


@dataclass(frozen=True)
class _Drawn:
    """What one turn draws, given how many points are known by then."""

    known: int
    n: int
    keys: list[bytes]
    sizings: list[Sizing]


class Random:
    """Distinct sizings, uniform in each parameter's own scale; the designer's start goes first."""

    def __init__(self, design: Design, seed: int, options: Mapping[str, Any]) -> None:
        take_options("random", options, {})
        self._history = History(design, seed)
        self._ahead: deque[_Drawn] = deque()

    def ask(self, n: int) -> list[Sizing]:
        history = self._history
        start = history.start()
        if len(start):
            points = history.new_of(np.vstack([start, history.draw(n)]))
            return history.propose(points[:n])
        drawn = self._drawn(n)
        if len(drawn.sizings) == n and history.are_new(drawn.keys):
            return history.mark(drawn.keys, drawn.sizings)
        return history.propose(history.draw(n))

    def tell(self, trials: Sequence[Trial]) -> None:
        self._history.hear(trials)

    def _drawn(self, n: int) -> _Drawn:
        """The first points that `History.draw` would look at, made for many turns at once."""
        known = self._history.known
        if not self._ahead or (self._ahead[0].known, self._ahead[0].n) != (known, n):
            self._ahead = self._draw_ahead(known, n)
        return self._ahead.popleft()

    def _draw_ahead(self, known: int, n: int) -> deque[_Drawn]:
        space, turns = self._history.space, max(_AHEAD // max(n, 1), 1)
        rows = [
            self._history.rng_at(known + turn * n, 0, n).random((2 * n, space.dimension))[:n]
            for turn in range(turns)
        ]
        points = space.snap(np.concatenate(rows))
        keys, sizings = space.keys(points), space.sizings(points)
        return deque(
            _Drawn(known + k * n, n, keys[k * n : (k + 1) * n], sizings[k * n : (k + 1) * n])
            for k in range(turns)
        )
