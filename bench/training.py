"""What an update of the networks costs: CPU milliseconds, way by way, side by side.

    python -m bench.training

A forward, a forward with backward, and a whole update of soft actor-critic (actor, twin critics,
their targets) on random transitions of the M3 paper's four circuits, at batch 100 and 256, for the
ways of computing a Mamba block and for the paper's other networks. `beside the loop` is how many
times the plain loop over time takes as long. One thread; memory once taken from the system is kept,
without which the plain loop is slower still.

Then M3 as `m3eda train` runs it on those circuits, from its first step on: environment steps a
second, and the share of the time that each part takes.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from bench.m3_tables import CIRCUITS
from m3eda.learning.layouts import Layout
from m3eda.policy.encoders import Way, computed
from m3eda.policy.replay import ReplayBuffer
from m3eda.policy.run import make_trainer
from m3eda.policy.sac import SoftActorCritic
from m3eda.policy.settings import training
from m3eda.policy.tokens import Packing

RESULT = Path(__file__).resolve().parent / "results" / "training.json"
COUNTS = ((7, 6), (7, 4), (6, 4), (6, 2))
"""Parameters and specs of the four circuits."""
BATCHES = (100, 256)
ROWS = 4000
SHARED_STEPS = 300
"""Environment steps whose time is shared out: from one training of the models to the next."""
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Numbers of glibc's malloc.h."""


WAYS: dict[str, tuple[str, Way]] = {
    "plain loop": ("mamba", "loop"),
    "closed form": ("mamba", "closed"),
    "kernel": ("mamba", "quickest"),
    "transformer": ("transformer", "quickest"),
    "lstm": ("lstm", "quickest"),
    "mlp": ("mlp", "quickest"),
}
"""Way -> kind of network, and what computes a Mamba block."""


@dataclass(frozen=True)
class Row:
    """One way at one batch size; CPU milliseconds, the median of a few."""

    way: str
    batch: int
    forward: float
    both: float
    update: float


def keep_memory() -> None:
    """Have glibc keep what is freed: it gives back each large tensor, to take it anew."""
    with suppress(OSError, AttributeError):  # another system's library
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def transitions(packing: Packing) -> ReplayBuffer:
    """Random transitions of all circuits."""
    rng = np.random.default_rng(1)
    circuits = rng.integers(len(COUNTS), size=ROWS)
    seen, acted = packing.observation_mask.numpy()[circuits], packing.action_mask.numpy()[circuits]
    buffer = ReplayBuffer(packing.observation_size, packing.action_size)
    buffer.push(
        circuits=circuits, observations=rng.uniform(-1, 1, seen.shape) * seen,
        actions=rng.uniform(-1, 1, acted.shape) * acted, rewards=-rng.random(ROWS),
        nexts=rng.uniform(-1, 1, seen.shape) * seen, terminal=np.zeros(ROWS),
    )  # fmt: skip
    return buffer


def measured(way: str, batch: int, repeats: int) -> Row:
    """The costs of `way` at this batch size."""
    names = tuple("abcdefghij")
    packing = Packing([Layout(names[:n], names[:k]) for n, k in COUNTS])
    settings = training(network={"kind": WAYS[way][0]})
    torch.manual_seed(1)
    agent = SoftActorCritic(settings.network, packing, settings.agent, torch.Generator())
    buffer, rng = transitions(packing), np.random.default_rng(2)
    rows = buffer.sample(batch, rng)
    critic = agent.critics[0]

    def forward() -> None:
        with torch.no_grad():
            critic(rows.circuits, rows.observations, rows.actions)

    def both() -> None:
        critic(rows.circuits, rows.observations, rows.actions).square().mean().backward()

    with computed(WAYS[way][1]):
        parts = [forward, both, lambda: agent.update(buffer.sample(batch, rng))]
        return Row(way, batch, *(_milliseconds(part, repeats) for part in parts))


def table(rows: Sequence[Row]) -> str:
    lines = ["| way | batch | forward | forward, backward | update | beside the loop |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for row in rows:
        loop = next(r.update for r in rows if (r.way, r.batch) == ("plain loop", row.batch))
        numbers = (f"{value:.1f}" for value in (row.forward, row.both, row.update))
        lines.append(f"| {row.way} | {row.batch} | {' | '.join(numbers)} | "
                     f"{loop / row.update:.1f} |")  # fmt: skip
    return "\n".join(lines)


def shares(random_steps: int, steps: int) -> str:
    """Where the time of M3's first `steps` environment steps goes, behind `random_steps`."""
    small = {"batch": 4} if steps < SHARED_STEPS else {}
    settings = training(
        steps=steps, agent={"exploration": random_steps, **small},
        environment={"circuits": list(CIRCUITS)}, evaluation={"every": steps, "episodes": 1},
        models={"epochs": 1} if small else {},
    )  # fmt: skip
    trainer = make_trainer(settings)
    began = time.perf_counter()
    for step in trainer.steps():
        if step.step == 0:
            random, began = time.perf_counter() - began, time.perf_counter()
            trainer.clock.seconds = dict.fromkeys(trainer.clock.seconds, 0.0)
    spent = time.perf_counter() - began - trainer.clock.seconds.pop("evaluation")
    parts = [f"{name} {seconds / spent:.0%}" for name, seconds in trainer.clock.seconds.items()]
    return (f"M3: {random_steps / random:.1f} random steps a second, then {steps / spent:.2f} with "
            f"{trainer.updates / steps:.1f} updates each: {', '.join(parts)}")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--smallest", action="store_true", help="a batch of 8, once")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keep_memory()
    batches, repeats = ((8,), 1) if options.smallest else (BATCHES, options.repeats)
    rows = [measured(way, batch, repeats) for batch in batches for way in WAYS]
    print(table(rows))
    print(shares(*((8, 2) if options.smallest else (3600, SHARED_STEPS))))
    if not options.smallest:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    return 0


def _milliseconds(part: Callable[[], object], repeats: int) -> float:
    part()
    found = []
    for _ in range(repeats):
        began = time.process_time()
        part()
        found.append(1e3 * (time.process_time() - began))
    return statistics.median(found)


if __name__ == "__main__":
    sys.exit(main())
