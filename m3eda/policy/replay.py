"""Replay buffers: transitions of several circuits, padded, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Batch:
    """B transitions."""

    circuits: Tensor
    """Index of the circuit, shape (B,), int64."""
    observations: Tensor
    """Padded, shape (B, N + 2 K)."""
    actions: Tensor
    """Padded, shape (B, N); 0 beyond the circuit's own."""
    rewards: Tensor
    """Shape (B,)."""
    nexts: Tensor
    """The observations that followed, shape (B, N + 2 K)."""
    terminal: Tensor
    """1 where the episode ended in success, so that nothing follows, shape (B,); an episode that
    was cut off goes on as far as learning is concerned."""

    def __len__(self) -> int:
        return len(self.circuits)

    def to(self, device: torch.device | str) -> Batch:
        return Batch(*(getattr(self, each.name).to(device) for each in fields(self)))

    @classmethod
    def joined(cls, parts: list[Batch]) -> Batch:
        """The rows of all `parts`, in order."""
        names = [each.name for each in fields(cls)]
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


class ReplayBuffer:
    """Every transition that it was given, in order."""

    def __init__(self, observation_size: int, action_size: int, capacity: int = 1024) -> None:
        self._sizes = observation_size, action_size
        self._count = 0
        self._rows = self._room(capacity)

    def __len__(self) -> int:
        return self._count

    def push(self, **rows: NDArray[np.generic] | Tensor) -> None:
        """Add B transitions; the arguments are the fields of `Batch`, as arrays."""
        arrays = {name: np.asarray(values) for name, values in rows.items()}
        added = len(arrays["circuits"])
        while self._count + added > len(self._rows["circuits"]):
            self._grow()
        for name, values in arrays.items():
            self._rows[name][self._count : self._count + added] = values
        self._count += added

    def clear(self) -> None:
        """Forget everything."""
        self._count = 0

    def rows(self, numbers: NDArray[np.intp] | slice) -> Batch:
        """The transitions of these numbers."""
        held = {name: values[: self._count][numbers] for name, values in self._rows.items()}
        return Batch(**{name: torch.from_numpy(values.copy()) for name, values in held.items()})

    def everything(self) -> Batch:
        return self.rows(slice(None))

    def sample(self, count: int, rng: np.random.Generator) -> Batch:
        """`count` transitions, each drawn uniformly. Raises ValueError where there are none."""
        return self.rows(rng.integers(self._count, size=count))

    def state(self) -> dict[str, Tensor]:
        """All it holds, for a checkpoint."""
        everything = self.everything()
        return {each.name: getattr(everything, each.name) for each in fields(everything)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Hold what `state()` told, and nothing else."""
        self.clear()
        self.push(**state)

    def _room(self, capacity: int) -> dict[str, Array]:
        seen, acted = self._sizes
        return {
            "circuits": np.zeros(capacity, np.int64),
            "observations": np.zeros((capacity, seen), np.float32),
            "actions": np.zeros((capacity, acted), np.float32),
            "rewards": np.zeros(capacity, np.float32),
            "nexts": np.zeros((capacity, seen), np.float32),
            "terminal": np.zeros(capacity, np.float32),
        }

    def _grow(self) -> None:
        wider = self._room(2 * len(self._rows["circuits"]))
        for name, values in self._rows.items():
            wider[name][: self._count] = values[: self._count]
        self._rows = wider
