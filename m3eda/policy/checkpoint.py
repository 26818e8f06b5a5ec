"""Checkpoints of a training: one safetensors file, written whole or not at all.

Tensors are stored under dotted names; what is not a tensor stands as JSON in the file's header.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from m3eda.errors import StorageError
from m3eda.report.atomic import write_atomic

VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """All that a training goes on from."""

    tensors: dict[str, Tensor]
    """By dotted name."""
    facts: dict[str, Any]
    """JSON's own types."""

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below `prefix`, by the rest of their names."""
        start = f"{prefix}."
        return {
            name.removeprefix(start): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(start)
        }


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Put `checkpoint` in the place of what `path` holds. Raises StorageError."""
    header = {"m3eda": str(VERSION), "facts": json.dumps(checkpoint.facts)}
    tensors = {name: tensor.detach().contiguous() for name, tensor in checkpoint.tensors.items()}
    write_atomic(path, save(_apart(tensors), metadata=header))


def read_checkpoint(path: Path) -> Checkpoint:
    """What `write_checkpoint` wrote. Raises StorageError where it is damaged or another's."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        text = f"{path}: is damaged or no checkpoint ({error}); take it away to begin anew"
        raise StorageError(text) from error
    if header.get("m3eda") != str(VERSION):
        found = header.get("m3eda", "none")
        text = f"{path}: is a checkpoint of version {found}, this m3eda reads {VERSION}"
        raise StorageError(text)
    return Checkpoint(tensors, json.loads(header["facts"]))


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's moments and counts, by the number of the parameter."""
    return {
        f"{number}.{name}": torch.as_tensor(value)
        for number, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Set what `optimizer_state` told."""
    whole: dict[int, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        number, _, name = key.partition(".")
        whole.setdefault(int(number), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": whole, "param_groups": groups})


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """safetensors refuses tensors that share memory."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        shared = tensor.data_ptr() in seen
        seen.add(tensor.data_ptr())
        found[name] = tensor.clone() if shared else tensor
    return found
