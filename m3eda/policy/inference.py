"""The actor in NumPy, from exported weights: an answer without the seconds that torch takes.

For Mamba networks. The weights are those of `actor.safetensors`, which `m3eda train` writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3eda.errors import StorageError
from m3eda.learning.layouts import Layout

Array = NDArray[np.float32]


@dataclass(frozen=True)
class NumpyActor:
    """The deterministic policy of one training."""

    weights: Mapping[str, Array]
    """As in the state dict of `m3eda.policy.networks.Actor`."""
    layouts: tuple[Layout, ...]
    """By the circuit's index."""
    facts: Mapping[str, Any]
    """What the training said of it: its configuration, step and scores."""

    def best(self, circuit: int, observation: Array) -> Array:
        """The action, shape (N,), at an observation of the circuit, shape (N + 2 K,), unpadded."""
        weights = self.weights
        tokens = observation.astype(np.float32)[:, None] * weights["encoder.embed.weight"].T
        tokens = tokens + weights["encoder.embed.bias"]
        hidden = np.concatenate([weights["encoder.circuits.weight"][circuit][None], tokens])
        last = _block(hidden, {name.removeprefix("encoder.block."): array
                               for name, array in weights.items()})  # fmt: skip
        outputs = weights["linear.weight"] @ _silu(last) + weights["linear.bias"]
        action: Array = np.tanh(outputs[: len(self.layouts[circuit].parameters)])
        return action


def read_actor(path: Path) -> NumpyActor:
    """The actor in a file of `m3eda train`. Raises StorageError where it is damaged or no actor's,
    or not of a Mamba network."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            facts = json.loads((file.metadata() or {})["m3eda"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise StorageError(f"{path}: is damaged or no actor of `m3eda train` ({error})") from error
    if "encoder.block.A_log" not in weights:
        raise StorageError(f"{path}: its network is no Mamba network, which is all NumPy serves")
    if not all(np.isfinite(array).all() for array in weights.values()):
        raise StorageError(f"{path}: has weights that are no numbers")
    return NumpyActor(weights, _layouts(facts["circuits"]), facts)


def _layouts(words: Sequence[Mapping[str, Sequence[str]]]) -> tuple[Layout, ...]:
    return tuple(Layout(tuple(each["parameters"]), tuple(each["specs"])) for each in words)


def _block(hidden: Array, weights: Mapping[str, Array]) -> Array:
    """The last output of a Mamba block, shape (d,), for inputs (L, d): the closed form of
    `m3eda.policy.mamba.Mamba.last`."""
    inner, states = weights["A_log"].shape
    channels = hidden @ weights["in_proj.weight"][:inner].T
    gate = weights["in_proj.weight"][inner:] @ hidden[-1]
    taps = weights["conv1d.weight"][:, 0].T
    wide = np.concatenate([np.zeros((len(taps) - 1, inner), np.float32), channels])
    mixed = sum(wide[k : k + len(hidden)] * tap for k, tap in enumerate(taps))
    convolved = _silu(mixed + weights["conv1d.bias"])
    chosen = convolved @ weights["x_proj.weight"].T
    rank = weights["dt_proj.weight"].shape[1]
    raw = chosen[:, :rank] @ weights["dt_proj.weight"].T + weights["dt_proj.bias"]
    steps = np.logaddexp(0.0, raw, dtype=np.float32)
    behind = np.cumsum(steps[::-1], axis=0)[::-1] - steps
    inputs, outputs = chosen[:, rank : rank + states], chosen[-1, rank + states :]
    decay = np.exp(behind[..., None] * -np.exp(weights["A_log"]))
    kernel = decay @ (inputs * outputs)[..., None]
    found = (kernel[..., 0] * steps * convolved).sum(axis=0) + weights["D"] * convolved[-1]
    last: Array = weights["out_proj.weight"] @ (found * _silu(gate))
    return last


def _silu(values: Any) -> Any:
    return values / (1.0 + np.exp(-values))
