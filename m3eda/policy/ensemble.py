"""The ensemble of environment models (arXiv 2411.16019, section III-C), and rollouts in it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from m3eda.policy.networks import Actor, EnvironmentModel, make_adam
from m3eda.policy.replay import Batch, ReplayBuffer
from m3eda.policy.settings import ModelsEntry, NetworkEntry
from m3eda.policy.tokens import Packing

IMPROVEMENT = 0.01
"""Relative fall of a validation loss that counts as one (MBPO, Janner et al. 2019)."""
SMALLEST = 1e-3
"""Spread below which a number is taken as constant."""
CHUNK = 1024
"""Rows that are predicted at once."""


@dataclass(frozen=True)
class Fit:
    """How one training of the ensemble went."""

    epochs: int
    training: float
    """Mean loss of the networks in the last epoch; 1 is that of predicting the mean."""
    validation: float
    """Mean of the elites' best losses on data held back."""


@dataclass(frozen=True)
class Prediction:
    """What the models say follows."""

    nexts: Tensor
    """Shape (B, N + 2 K)."""
    foms: Tensor
    """Equation (2): the reward without the bonus of success. Shape (B,)."""


class EnvironmentEnsemble(nn.Module):
    """N_total networks, of which the N_elite with the least validation loss predict.

    Each learns the change of an observation and the FOM from observation and action, in units of
    their spread in the data, by the squared error. The FOM of a success is 0: the jump of the
    reward to its bonus is applied to what they predict, not learnt.
    """

    def __init__(self, network: NetworkEntry, packing: Packing, settings: ModelsEntry) -> None:
        super().__init__()
        self.settings, self.packing = settings, packing
        self.members = nn.ModuleList(
            EnvironmentModel(network, packing) for _ in range(settings.ensemble)
        )
        size = packing.observation_size + 1
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))
        self.register_buffer("elites", torch.arange(settings.elites))
        self.mean: Tensor
        self.spread: Tensor
        self.elites: Tensor
        rate = settings.learning_rate
        self.optimizers = [make_adam(each.parameters(), rate) for each in self.members]

    def fit(
        self,
        data: Batch,
        rng: np.random.Generator,
        clip: float,
        heard: Callable[[float], None] = lambda loss: None,
    ) -> Fit:
        """Train every member on `data` until none has improved for `patience` epochs.

        A part of the data is held back, and each member ends with the weights that did best there.
        Raises FloatingPointError where a loss is not finite.
        """
        order = rng.permutation(len(data))
        held = max(int(len(data) * self.settings.validation), 1)
        self._normalise(data)
        goals, weights = self._goals(data), self._weights(data)
        kept = [_Best(member) for member in self.members]
        tired, epochs, training = 0, 0, float("nan")
        while tired < self.settings.patience and epochs < self.settings.epochs:
            training = self._epoch(data, goals, weights, order[held:], rng, clip)
            losses = self._losses(data, goals, weights, order[:held])
            heard(float(np.mean(losses)))
            better = [best.offer(loss) for best, loss in zip(kept, losses, strict=True)]
            tired = 0 if any(better) else tired + 1
            epochs += 1
        for best in kept:
            best.restore()
        ranked = np.argsort([best.loss for best in kept], kind="stable")
        self.elites.copy_(torch.from_numpy(ranked[: self.settings.elites].copy()))
        elite = [kept[number].loss for number in self.elites.tolist()]
        return Fit(epochs, training, float(np.mean(elite)))

    @torch.no_grad()
    def predict(
        self, circuits: Tensor, observations: Tensor, actions: Tensor, rng: np.random.Generator
    ) -> Prediction:
        """What an elite drawn for each row says."""
        drawn = torch.from_numpy(rng.integers(len(self.elites), size=len(circuits)))
        chosen = self.elites[drawn.to(self.elites.device)]
        size = self.packing.observation_size + 1
        found = torch.zeros(len(circuits), size, device=observations.device)
        for number in self.elites.tolist():
            member = self.members[number]
            for rows in torch.nonzero(chosen == number)[:, 0].split(CHUNK):
                found[rows] = member(circuits[rows], observations[rows], actions[rows])
        changes = found * self.spread + self.mean
        nexts = torch.clamp(observations + changes[:, :-1], -1.0, 1.0)
        nexts = nexts * self.packing.observation_mask[circuits]
        return Prediction(nexts, torch.clamp(changes[:, -1], max=0.0))

    def _normalise(self, data: Batch) -> None:
        changes = _changes(data)
        weights = self._weights(data)
        count = weights.sum(dim=0).clamp(min=1.0)
        mean = (changes * weights).sum(dim=0) / count
        square = ((changes - mean).square() * weights).sum(dim=0) / count
        self.mean.copy_(mean)
        self.spread.copy_(square.sqrt().clamp(min=SMALLEST))

    def _goals(self, data: Batch) -> Tensor:
        return (_changes(data) - self.mean) / self.spread

    def _weights(self, data: Batch) -> Tensor:
        """1 at the numbers that a row's circuit has, shape (rows, N + 2 K + 1)."""
        mask = self.packing.observation_mask[data.circuits].float()
        return torch.cat([mask, torch.ones(len(data), 1, device=mask.device)], dim=1)

    def _epoch(
        self, data: Batch, goals: Tensor, weights: Tensor, rows: NDArray[np.intp],
        rng: np.random.Generator, clip: float,
    ) -> float:  # fmt: skip
        total = []
        for member, optimizer in zip(self.members, self.optimizers, strict=True):
            mixed = torch.from_numpy(rng.permutation(rows))
            for some in mixed.split(self.settings.batch):
                loss = _loss(member, data, goals, weights, some)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(member.parameters(), clip)
                optimizer.step()
                total.append(loss.item())
        found = float(np.mean(total))
        if not np.isfinite(found):
            raise FloatingPointError(f"the loss of the environment models is {found}")
        return found

    @torch.no_grad()
    def _losses(
        self, data: Batch, goals: Tensor, weights: Tensor, rows: NDArray[np.intp]
    ) -> list[float]:
        parts = torch.from_numpy(rows).split(CHUNK)
        return [
            sum(float(_loss(member, data, goals, weights, some)) * len(some) for some in parts)
            / len(rows)
            for member in self.members
        ]


def rollouts(
    ensemble: EnvironmentEnsemble,
    actor: Actor,
    real: ReplayBuffer,
    into: ReplayBuffer,
    *,
    starts: int,
    length: int,
    number: int,
    bonus: float,
    tolerance: float,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> None:
    """Fill `into` with what the models say happens from real states on.

    From each of `starts` states drawn from `real`, `number` rollouts of at most `length` steps by
    the actor's own draws. A FOM of at least -`tolerance` is a success, which is rewarded with
    `bonus` and ends one (equation (1)).
    """
    into.clear()
    begun = real.sample(starts, rng).to(ensemble.mean.device)
    for _ in range(number):
        circuits, seen = begun.circuits, begun.observations
        for _ in range(length):
            with torch.no_grad():
                actions = actor(circuits, seen, generator).actions
            said = ensemble.predict(circuits, seen, actions, rng)
            ended = said.foms >= -tolerance
            rewards = torch.where(ended, bonus, said.foms)
            into.push(circuits=circuits.cpu(), observations=seen.cpu(), actions=actions.cpu(),
                      rewards=rewards.cpu(), nexts=said.nexts.cpu(),
                      terminal=ended.float().cpu())  # fmt: skip
            circuits, seen = circuits[~ended], said.nexts[~ended]
            if not len(circuits):
                break


class _Best:
    """The weights of a network at its least validation loss."""

    def __init__(self, network: nn.Module) -> None:
        self.loss = float("inf")
        self._network = network
        self._weights = copy.deepcopy(network.state_dict())

    def offer(self, loss: float) -> bool:
        """Keep the network's weights if they are the best; True where they are so by a margin."""
        improved = loss < self.loss * (1.0 - IMPROVEMENT)
        if loss < self.loss:
            self.loss = loss
            self._weights = copy.deepcopy(self._network.state_dict())
        return improved

    def restore(self) -> None:
        self._network.load_state_dict(self._weights)


def _changes(data: Batch) -> Tensor:
    foms = torch.clamp(data.rewards, max=0.0)  # a bonus stands for a FOM of about 0
    return torch.cat([data.nexts - data.observations, foms[:, None]], dim=1)


def _loss(member: nn.Module, data: Batch, goals: Tensor, weights: Tensor, rows: Tensor) -> Tensor:
    found = member(data.circuits[rows], data.observations[rows], data.actions[rows])
    own = weights[rows]
    total: Tensor = ((found - goals[rows]).square() * own).sum() / own.sum()
    return total
