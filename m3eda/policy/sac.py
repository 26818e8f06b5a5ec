"""Soft actor-critic (Haarnoja et al. 2018, reference 16 of the M3 paper) over several circuits.

As in Spinning Up, which the paper names for what it leaves open: twin critics with slowly following
targets, a squashed Gaussian actor. Gradients are clipped by their norm (Table I).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from m3eda.policy.networks import Actor, Critic, make_adam
from m3eda.policy.replay import Batch
from m3eda.policy.settings import AgentEntry, NetworkEntry
from m3eda.policy.tokens import Packing

FIRST_TEMPERATURE = 0.2
"""Of a learnt one; Spinning Up's fixed one."""


@dataclass(frozen=True)
class Losses:
    """Of one update."""

    critic: float
    actor: float
    entropy: float
    """Of the actor, estimated on the batch."""
    temperature: float

    @property
    def finite(self) -> bool:
        return bool(np.isfinite([self.critic, self.actor, self.temperature]).all())


class SoftActorCritic(nn.Module):
    """Actor, twin critics and their targets, with optimizers."""

    def __init__(
        self, network: NetworkEntry, packing: Packing, settings: AgentEntry,
        generator: torch.Generator,
    ) -> None:  # fmt: skip
        super().__init__()
        self.settings, self.packing = settings, packing
        self.generator = generator
        """Of the noise of actions."""
        self.actor = Actor(network, packing)
        self.critics = nn.ModuleList(Critic(network, packing) for _ in range(2))
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(FIRST_TEMPERATURE)))
        rate = settings.learning_rate
        self.optimizers = {
            "actor": make_adam(self.actor.parameters(), rate),
            "critics": make_adam(self.critics.parameters(), rate),
            "temperature": make_adam([self.log_temperature], rate),
        }

    @property
    def temperature(self) -> float:
        """alpha: the weight of entropy."""
        if self.settings.temperature == "learnt":
            return float(self.log_temperature.detach().exp())
        return float(self.settings.temperature)

    def act(
        self, circuits: NDArray[np.int64], observations: NDArray[np.float32], explore: bool
    ) -> NDArray[np.float32]:
        """Actions of shape (B, N): drawn from the policy, or its best."""
        device = self.log_temperature.device
        rows = torch.from_numpy(circuits).to(device)
        seen = torch.from_numpy(observations).to(device)
        with torch.no_grad():
            if explore:
                drawn: Tensor = self.actor(rows, seen, self.generator).actions
            else:
                drawn = self.actor.best(rows, seen)
        return drawn.cpu().numpy()

    def update(self, batch: Batch) -> Losses:
        """One step of every network on `batch`."""
        critic = self._update_critics(batch)
        actor, entropy, per_action = self._update_actor(batch)
        if self.settings.temperature == "learnt":
            self._update_temperature(per_action)
        with torch.no_grad():
            keep = self.settings.polyak
            for mine, slow in zip(self.critics.parameters(), self.targets.parameters(),
                                  strict=True):  # fmt: skip
                slow.mul_(keep).add_(mine, alpha=1.0 - keep)
        return Losses(critic, actor, entropy, self.temperature)

    def _update_critics(self, batch: Batch) -> float:
        with torch.no_grad():
            following = self.actor(batch.circuits, batch.nexts, self.generator)
            least = torch.minimum(*(
                target(batch.circuits, batch.nexts, following.actions) for target in self.targets
            ))  # fmt: skip
            soft = least - self.temperature * following.log_probability
            wanted = batch.rewards + self.settings.discount * (1.0 - batch.terminal) * soft
        loss = torch.zeros((), device=wanted.device)
        for critic in self.critics:
            found = critic(batch.circuits, batch.observations, batch.actions)
            loss = loss + (found - wanted).square().mean()
        self._step("critics", loss, self.critics.parameters())
        return loss.item()

    def _update_actor(self, batch: Batch) -> tuple[float, float, Tensor]:
        self.critics.requires_grad_(False)
        drawn = self.actor(batch.circuits, batch.observations, self.generator)
        least = torch.minimum(*(
            critic(batch.circuits, batch.observations, drawn.actions) for critic in self.critics
        ))  # fmt: skip
        loss = (self.temperature * drawn.log_probability - least).mean()
        self._step("actor", loss, self.actor.parameters())
        self.critics.requires_grad_(True)
        counts = self.packing.action_mask[batch.circuits].sum(dim=1)
        excess = (drawn.log_probability - counts).detach()
        return loss.item(), -drawn.log_probability.mean().item(), excess

    def _update_temperature(self, excess: Tensor) -> None:
        # the target entropy of N actions is -N, so `excess` is log pi + target
        loss = -(self.log_temperature * excess).mean()
        self._step("temperature", loss, [self.log_temperature])

    def _step(self, name: str, loss: Tensor, parameters: Iterable[nn.Parameter]) -> None:
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, self.settings.gradient_clip)
        optimizer.step()
