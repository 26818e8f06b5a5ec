"""Pretrain the networks that come with m3eda, from nothing, into m3eda/policy/weights.

    python -m bench.pretrain                        # every circuit to train on (hours; resumes)
    python -m bench.pretrain lna --blocks 160       # one of them

Each circuit of the library's split `train` is simulated in the technologies of that split, at
random corners, 64 sizings each (bench/results/pretraining; a circuit goes on where it was stopped),
then two networks are fitted. Samples of bench.calibrate at home are taken as well where they are
there; `python -m bench.calibrate --all` makes them. A circuit that was fitted to the same points is
left as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bench.calibrate import CHECKPOINTS
from m3eda.circuits.catalogue import Circuit
from m3eda.circuits.opening import catalogue
from m3eda.design.ranges import FloatArray
from m3eda.errors import M3edaError, StorageError
from m3eda.flow import Execution
from m3eda.learning.splits import circuits_of, technologies_of
from m3eda.policy.conditions import device_rows
from m3eda.policy.library_points import LibraryPoints
from m3eda.policy.pretrained import FOLDER, read_pretrained, write_pretrained
from m3eda.policy.pretraining import FITTING, Pretraining
from m3eda.policy.shipped import write_index
from m3eda.report.atomic import write_atomic

RESULTS = Path(__file__).resolve().parent / "results" / "pretraining"
CORNERS = 60
"""Corners of each technology, from which the components of conditions are found."""


class _OutOfTime(Exception):
    """The seconds given to one circuit are spent."""


def simulated(points: LibraryPoints, blocks: int, seconds: float, jobs: int) -> int:
    """Simulate until there are `blocks` blocks, or the seconds are spent; how many there are."""
    began = time.monotonic()

    def heard(number: int) -> None:
        if time.monotonic() - began > seconds:
            raise _OutOfTime

    with contextlib.suppress(_OutOfTime):
        points.simulate(blocks, Execution(jobs=jobs, cache=False), heard)
    return sum(1 for _ in points.blocks())


def corners(folder: Path, count: int, seed: int) -> FloatArray:
    """What transistors do at random corners; simulated once."""
    technologies = technologies_of("train")
    path = folder / f"devices_{count}_{seed}.npy"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        np.save(path, device_rows(technologies, count, seed))
    found: FloatArray = np.load(path)
    return found


def pretrain(circuit: Circuit, options: argparse.Namespace) -> str:
    """Simulate, fit and write one circuit; a line about it. Raises M3edaError."""
    began = time.monotonic()
    points = LibraryPoints(circuit, options.points / circuit.name, options.seed)
    there = simulated(points, options.blocks, options.seconds, options.jobs)
    simulating = time.monotonic() - began
    samples = options.samples / f"{circuit.name}_{circuit.technologies[0]}_{options.seed}.npz"
    given = {"blocks": there, "steps": options.steps, "samples": _hash(samples)}
    path = options.out / f"{circuit.name}.npz"
    if path.is_file() and not options.anew:
        try:
            if read_pretrained(path).facts.get("given") == given:
                return f"{circuit.name}: as it is"
        except StorageError as error:
            print(error, file=sys.stderr)
    rows = corners(options.points, options.corners, options.seed)
    pretraining = Pretraining(circuit, points, rows, samples)
    found = pretraining.run(options.seed, replace(FITTING, steps=options.steps))
    found = replace(found, facts={**found.facts, "given": given})
    write_pretrained(path, found)
    fitting = time.monotonic() - began - simulating
    worst = max(zip(found.errors, found.measures, strict=True))
    facts, size = found.facts, path.stat().st_size / 1024
    return (f"{circuit.name}: {facts['simulations']} simulations, {facts['at_home']} at home; "
            f"{simulating:.0f} s simulating now, {fitting:.0f} s fitting; {size:.0f} KiB; largest "
            f"error {worst[0]:.3f}, of {worst[1]}")  # fmt: skip


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("circuits", nargs="*", metavar="CIRCUIT", help="else every one to train on")
    parser.add_argument("--blocks", type=int, default=160, help="of 64 sizings, a circuit at most")
    parser.add_argument("--seconds", type=float, default=1e9, help="of simulating, a circuit")
    parser.add_argument("--steps", type=int, default=FITTING.steps)
    parser.add_argument("--corners", type=int, default=CORNERS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--points", type=Path, default=RESULTS / "points")
    parser.add_argument("--samples", type=Path, default=CHECKPOINTS)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--anew", action="store_true", help="fit again what was fitted")
    parser.add_argument("--smallest", action="store_true")
    options = parser.parse_args(arguments)
    if options.smallest:
        options.circuits = options.circuits or ["passive_filter"]
        options.blocks, options.steps, options.corners = 4, 20, 3
        small = RESULTS.with_name("pretraining_smallest")
        options.points, options.out, options.samples = small / "points", small, small
    torch.set_num_threads(options.threads)
    known, failed = catalogue(), 0
    train = circuits_of("train", known)
    for circuit in [known.circuit(n) for n in options.circuits] if options.circuits else train:
        try:
            print(pretrain(circuit, options), flush=True)
        except M3edaError as error:
            failed += 1
            print(f"{circuit.name}: {error}", file=sys.stderr, flush=True)
    write_atomic(options.out / "index.json", json.dumps(write_index(options.out), indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
