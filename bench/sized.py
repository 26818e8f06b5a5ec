"""One target of a benchmark's circuit, sized by the agent `m3` with given networks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.circuits import Circuit
from m3eda.policy.agent import M3
from m3eda.policy.response import Networks


@dataclass(frozen=True)
class Sized:
    """One target."""

    met: bool
    simulations: int
    seconds: float
    """The agent's own, of the CPU."""


def sized(
    made: Circuit, target: Sequence[float], networks: Networks, seed: int, budget: int
) -> Sized:
    """The agent on one target, from nothing but what was learnt."""
    design = made.targeted(target)
    began = time.process_time()
    agent = M3(design, seed, {}, networks)
    spent, count = time.process_time() - began, 0
    while count < budget:
        began = time.process_time()
        sizings = agent.ask(1)
        spent += time.process_time() - began
        for sizing in sizings[: budget - count]:
            trial = made.trial(count, sizing, design.specs)
            count += 1
            if trial.met:
                return Sized(True, count, spent)
            began = time.process_time()
            agent.tell([trial])
            spent += time.process_time() - began
    return Sized(False, count, spent)
