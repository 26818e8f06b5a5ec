"""What learning a circuit once is worth: simulations a target afterwards, by the agent `m3`.

    python -m bench.learn                                  # the two-stage op amp, 25 Pareto targets
    python -m bench.learn --list comparator_pareto --simulations 5000

Simulates random sizings of a circuit, fits the networks of `m3eda learn` to them, then sizes every
target of a list. One core simulates and fits unless `--threads` says more for the fitting.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bench.circuits import Circuit, MissingFile, circuit
from bench.sized import sized
from bench.targets import target_list
from m3eda.design.ranges import FloatArray
from m3eda.design.space import Space
from m3eda.learning.sampling import Sampler
from m3eda.policy.fitting import Fitting, fit_response
from m3eda.policy.learn import SAMPLINGS

RESULT = Path(__file__).resolve().parent / "results" / "learn.json"


def points(made: Circuit, count: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Unit points, shape (n, d), and measures, shape (n, m), nan where one does not exist."""
    space = Space(made.design)
    x, values = [], []
    for place, sampling in enumerate(SAMPLINGS):
        sampler = Sampler(space, (made.design.nominal,), sampling, seed)
        for number in range((count + place) // len(SAMPLINGS)):
            sizing = sampler.sizing(number)
            measures = made.evaluate(sizing)
            x.append(space.unit(sizing))
            values.append([measures[name] for name in made.order])
    found = np.array(values, dtype=float)
    return np.array(x), np.where(np.isfinite(found), found, np.nan)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--list", default="autockt_pareto", help="in bench/targets")
    parser.add_argument("--simulations", type=int, default=20_000)
    parser.add_argument("--budget", type=int, default=100, help="simulations of one target")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smallest", action="store_true", help="a hundred points, two targets")
    options = parser.parse_args(arguments)
    chosen = target_list("five_transistor_ota_pareto" if options.smallest else options.list)
    targets = chosen.targets[:2] if options.smallest else chosen.targets
    if options.smallest:
        options.simulations, options.budget, options.seeds = 100, 3, 1
    torch.set_num_threads(options.threads)
    try:
        made = circuit(chosen.circuit)
        rows = [measured(made, targets, seed, options) for seed in range(1, options.seeds + 1)]
    except MissingFile as error:
        print(error, file=sys.stderr)
        return 0 if options.smallest else 1
    if chosen.constants:
        print(f"best single sizing: {chosen.best_constant()[1]} of {len(chosen.targets)}")
    if not options.smallest:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps({"list": chosen.name, "rows": rows}, indent=1))
    return 0


def measured(
    made: Circuit, targets: Sequence[Sequence[float]], seed: int, options: argparse.Namespace
) -> dict[str, object]:
    """Learn with one seed and size every target; prints the row."""
    began = time.perf_counter()
    x, values = points(made, options.simulations, seed)
    simulated = time.perf_counter()
    fitting = Fitting(steps=20) if options.smallest else Fitting()
    axes = Space(made.design).axes
    response = fit_response(axes, tuple(made.order), x, values, seed, {}, fitting)
    fitted = time.perf_counter()
    found = [sized(made, target, response, seed, options.budget) for target in targets]
    met = sorted(each.simulations for each in found if each.met)
    spent = sum(each.simulations for each in found)
    print(
        f"seed {seed}: {len(x)} simulations in {simulated - began:.1f} s, networks in "
        f"{fitted - simulated:.1f} s; {len(met)} of {len(found)} targets met, "
        f"{met.count(1)} by the first simulation, ERT {spent / max(len(met), 1):.2f}, "
        f"median {np.median(met) if met else float('nan'):g}, most {max(met, default=0)}, "
        f"{np.mean([each.seconds for each in found]):.2f} s of CPU a target", flush=True,
    )  # fmt: skip
    seconds = {"simulating": simulated - began, "fitting": fitted - simulated}
    targeted = [vars(each) for each in found]
    return {"seed": seed, "simulations": len(x), "seconds": seconds, "targets": targeted}


if __name__ == "__main__":
    sys.exit(main())
