"""Actor, critic and environment model (arXiv 2411.16019, section III-B, Fig. 2).

Each: a sequence of scalars, an encoder whose last output y_l is read, an activation, one linear
layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from m3eda.policy.encoders import EncoderSettings, make_encoder
from m3eda.policy.settings import NetworkEntry
from m3eda.policy.tokens import Packing

LOG_STD = (-20.0, 2.0)
"""Limits of the logarithm of an action's standard deviation (Spinning Up's)."""


def encoder_settings(network: NetworkEntry, length: int) -> EncoderSettings:
    """Of an encoder of sequences of at most `length` tokens. Raises DesignError."""
    return EncoderSettings(**network.model_dump(), length=length)


def make_adam(parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Adam:
    """In one kernel for all weights of a type: there are many, and small."""
    return torch.optim.Adam(parameters, rate, fused=True)


class Head(nn.Module):
    """L(sigma(y_l)) of the paper."""

    def __init__(self, network: NetworkEntry, circuits: int, length: int, outputs: int) -> None:
        super().__init__()
        self.encoder = make_encoder(encoder_settings(network, length), circuits)
        self.linear = nn.Linear(self.encoder.width, outputs)


@dataclass(frozen=True)
class Drawn:
    """Actions of a policy."""

    actions: Tensor
    """Shape (B, N), in [-1, 1]; 0 beyond the circuit's own."""
    log_probability: Tensor
    """Of each action as a whole, shape (B,)."""


class Actor(Head):
    """A Gaussian squashed by tanh, over the changes of a circuit's parameters."""

    def __init__(self, network: NetworkEntry, packing: Packing) -> None:
        outputs = 2 * packing.action_size
        super().__init__(network, len(packing.layouts), packing.observed_length, outputs)
        self.packing = packing

    def moments(self, circuits: Tensor, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation before squashing, each of shape (B, N)."""
        tokens = self.packing.observations(circuits, observations)
        mean, log_std = self.linear(silu(self.encoder(tokens))).chunk(2, dim=1)
        return mean, torch.exp(torch.clamp(log_std, *LOG_STD))

    def best(self, circuits: Tensor, observations: Tensor) -> Tensor:
        """The deterministic action, shape (B, N)."""
        mean, _ = self.moments(circuits, observations)
        return torch.tanh(mean) * self.packing.action_mask[circuits]

    def forward(self, circuits: Tensor, observations: Tensor, generator: torch.Generator) -> Drawn:
        """Draw an action for each row, differentiable in the networks' weights."""
        mean, deviation = self.moments(circuits, observations)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        raw = mean + deviation * noise
        mask = self.packing.action_mask[circuits]
        normal = -0.5 * noise.square() - torch.log(deviation) - 0.5 * math.log(2.0 * math.pi)
        # log(1 - tanh(x)^2) in a form that does not underflow
        squashed = 2.0 * (math.log(2.0) - raw - softplus(-2.0 * raw))
        return Drawn(torch.tanh(raw) * mask, ((normal - squashed) * mask).sum(dim=1))


class Critic(Head):
    """Q(o, a)."""

    def __init__(self, network: NetworkEntry, packing: Packing) -> None:
        super().__init__(network, len(packing.layouts), packing.both_length, 1)
        self.packing = packing

    def forward(self, circuits: Tensor, observations: Tensor, actions: Tensor) -> Tensor:
        """Shape (B,)."""
        tokens = self.packing.with_actions(circuits, observations, actions)
        found: Tensor = self.linear(silu(self.encoder(tokens)))[:, 0]
        return found


class EnvironmentModel(Head):
    """The next observation's change and its FOM, in units of their spread in the data."""

    def __init__(self, network: NetworkEntry, packing: Packing) -> None:
        outputs = packing.observation_size + 1
        super().__init__(network, len(packing.layouts), packing.both_length, outputs)
        self.packing = packing

    def forward(self, circuits: Tensor, observations: Tensor, actions: Tensor) -> Tensor:
        """Shape (B, N + 2 K + 1), the FOM last."""
        tokens = self.packing.with_actions(circuits, observations, actions)
        found: Tensor = self.linear(silu(self.encoder(tokens)))
        return found
