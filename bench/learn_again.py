"""What it is worth to begin with networks of a circuit that is alike: points for the same error.

    python -m bench.learn_again

Networks learn the library's two-stage op amp `m3_2soa` at home. Then two circuits like it are
learnt from fewer points, from random weights and from those: the op amp in another technology, and
with three times the load. Errors are those of a thousand sizings beside, on the scales of their
measures, the mean over the measures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from m3eda.circuits.opening import open_circuit
from m3eda.design.ranges import FloatArray
from m3eda.design.space import Space
from m3eda.flow import Execution, Project
from m3eda.learning.sampling import Sampler
from m3eda.policy.fitting import Fitting, fit_response
from m3eda.policy.learn import SAMPLINGS
from m3eda.policy.response import Response, Scale

CIRCUIT, ELSEWHERE = "m3_2soa", "generic65"
LOAD = 3.0
TESTED = 1000


def points(project: Project, count: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Unit points, shape (n, d), in an order of chance, and measures, (n, m), nan where none."""
    design, space = project.design, Space(project.design)
    sizings = []
    for place, sampling in enumerate(SAMPLINGS):
        sampler = Sampler(space, (design.nominal,), sampling, seed)
        sizings += [sampler.sizing(n) for n in range((count + place) // len(SAMPLINGS))]
    evaluator = project.evaluator(Execution(cache=False))
    try:
        found = list(evaluator.evaluate([evaluator.complete(each) for each in sizings]))
    finally:
        evaluator.close()
    rows = [[each["nominal"].measures[name] for name in design.measures] for each in found]
    values, order = np.array(rows, dtype=float), np.random.default_rng(seed).permutation(count)
    x = np.array([space.unit(sizing) for sizing in sizings])
    return x[order], np.where(np.isfinite(values), values, np.nan)[order]


def error(response: Response, x: FloatArray, values: FloatArray) -> str:
    """`median, nine in ten`."""
    said, missed = response.answer(x, response.measures).mean, []
    for column, scale, there in zip(said.T, response.scales, values.T, strict=True):
        own = Scale.of(there[np.isfinite(there)])
        gap = np.abs(own.forward(scale.backward(column)) - own.forward(there))
        missed.append(np.nanpercentile(gap, [50, 90]))
    median, most = np.mean(missed, axis=0)
    return f"{median:.4f}, {most:.4f}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--before", type=int, default=3000, help="points of the networks to begin with"
    )
    parser.add_argument("--counts", default="100,300,1000", help="points of those that are like it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--smallest", action="store_true")
    options = parser.parse_args(arguments)
    fitting, tested = Fitting(width=96, blocks=2), TESTED
    if options.smallest:
        options.before, options.counts, tested = 100, "60", 60
        fitting = replace(fitting, steps=100)
    torch.set_num_threads(1)
    counts = [int(count) for count in options.counts.split(",")]
    home = open_circuit(CIRCUIT).design
    load = {**home.conditions, "cload": LOAD * float(str(home.conditions["cload"]))}
    alike = {f"in {ELSEWHERE}": open_circuit(CIRCUIT, ELSEWHERE),
             f"{LOAD:g} times the load": Project.of(replace(home, conditions=load))}  # fmt: skip

    def fitted(project: Project, x: FloatArray, v: FloatArray, first: Response | None) -> Response:
        axes, names = Space(project.design).axes, tuple(project.design.measures)
        return fit_response(axes, names, x, v, options.seed, {}, fitting, first=first)

    first = fitted(Project.of(home), *points(Project.of(home), options.before, options.seed), None)
    print(
        f"| {CIRCUIT} | points | from random weights | from networks at home |\n|---|---|---|---|"
    )
    for name, project in alike.items():
        x, values = points(project, max(counts) + tested, options.seed + 1)
        beside = x[-tested:], values[-tested:]
        print(f"| {name} | 0 | | {error(first, *beside)} |", flush=True)
        for count in counts:
            some = x[:count], values[:count]
            cells = [error(fitted(project, *some, each), *beside) for each in (None, first)]
            print(f"| {name} | {count} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
