"""Sequences that the networks read: a circuit's token, then numbers of an observation or action.

Circuits have sequences of their own lengths. In a batch they are aligned at the right end, where
the networks read their output, with zeros in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from m3eda.learning.layouts import Layout, widest


@dataclass(frozen=True)
class Tokens:
    """A batch of sequences."""

    values: Tensor
    """Shape (B, L), aligned at the right end; 0 at the circuit's token and in front of it."""
    lengths: Tensor
    """Tokens of each sequence with its circuit's, shape (B,), int64, 1 to L."""
    circuits: Tensor
    """Index of the circuit, shape (B,), int64: what the first token of the sequence stands for,
    the circuit embedding o_e of the paper (section III-A)."""

    @property
    def used(self) -> Tensor:
        """True where a token stands, its circuit's or a number, shape (B, L)."""
        length = self.values.shape[1]
        places = torch.arange(length, device=self.values.device)
        return places >= (length - self.lengths)[:, None]

    @property
    def first(self) -> Tensor:
        """The place of each sequence's first token, its circuit's, shape (B,)."""
        return self.values.shape[1] - self.lengths


class Packing:
    """Takes the sequences of several circuits out of padded observations and actions.

    A padded observation, shape (B, N + 2 K) for the largest N and K, has the parameters of its
    circuit, then from place N on the pairs of its specs (`m3eda.learning.layouts.padded`); a padded
    action has the shape (B, N).
    """

    def __init__(self, layouts: Sequence[Layout]) -> None:
        self.layouts = tuple(layouts)
        parameters, specs = widest(layouts)
        self.action_size = parameters
        self.observation_size = parameters + 2 * specs
        observed = [[*range(len(each.parameters)),
                     *range(parameters, parameters + 2 * len(each.specs))]
                    for each in self.layouts]  # fmt: skip
        acted = [list(range(len(each.parameters))) for each in self.layouts]
        self.observation_mask = _mask(observed, self.observation_size)
        """True at the numbers that a circuit has, shape (circuits, N + 2 K)."""
        self.action_mask = _mask(acted, self.action_size)
        """The same of its actions, shape (circuits, N)."""
        behind = [
            [*own, *(self.observation_size + place for place in moves)]
            for own, moves in zip(observed, acted, strict=True)
        ]
        self._observed, self._both = _places(observed), _places(behind)
        self.observed_length = self._observed[0].shape[1]
        """Tokens of an observation at most, its circuit's among them."""
        self.both_length = self._both[0].shape[1]
        """The same of an observation with an action."""

    def to(self, device: torch.device | str) -> Packing:
        """The same with its tables on `device`."""
        self.observation_mask = self.observation_mask.to(device)
        self.action_mask = self.action_mask.to(device)
        self._observed = tuple(each.to(device) for each in self._observed)  # type: ignore[assignment]
        self._both = tuple(each.to(device) for each in self._both)  # type: ignore[assignment]
        return self

    def observations(self, circuits: Tensor, observations: Tensor) -> Tokens:
        """The sequence that an actor reads."""
        return _taken(self._observed, circuits, observations)

    def with_actions(self, circuits: Tensor, observations: Tensor, actions: Tensor) -> Tokens:
        """The sequence that a critic or an environment model reads: the action behind the
        observation."""
        return _taken(self._both, circuits, torch.cat([observations, actions], dim=1))


def _taken(places: tuple[Tensor, Tensor], circuits: Tensor, numbers: Tensor) -> Tokens:
    columns, lengths = places
    # column 0 is what stands in front of a sequence and at its circuit's token
    wide = torch.nn.functional.pad(numbers, (1, 0))
    return Tokens(wide.gather(1, columns[circuits]), lengths[circuits], circuits)


def _places(columns: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Columns of each circuit's sequence in numbers with a 0 put in front, and its length."""
    longest = max(len(own) for own in columns) + 1
    table = [[0] * (longest - len(own)) + [place + 1 for place in own] for own in columns]
    return torch.tensor(table), torch.tensor([len(own) + 1 for own in columns])


def _mask(columns: list[list[int]], size: int) -> Tensor:
    mask = torch.zeros(len(columns), size, dtype=torch.bool)
    for row, own in enumerate(columns):
        mask[row, own] = True
    return mask
