"""Make a list of hard, feasible targets for a circuit from its Pareto front.

    python -m bench.make_targets folded_cascode --evaluations 100000

As the targets of the circuit library are made (m3eda.circuits.calibration), for circuits that only
the benchmarks have. 30 % of the evaluations are random sizings. With --checkpoint an interrupted
search goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.calibrate import Checkpoint
from bench.circuits import Circuit, circuit
from bench.targets import FOLDER, write_list
from m3eda.circuits.calibration import Calibration, Goals
from m3eda.design.space import Space

FloatArray = NDArray[np.float64]

FIXED: Mapping[str, Mapping[str, float]] = {
    "autockt_opamp": {"pm": 60.0},
    "folded_cascode": {"pm": 60.0, "sat": 0.05},
    "five_transistor_ota": {"pm": 60.0, "sat": 0.05},
    "comparator": {"decision": 1.1, "reset": 0.05},
    "ldo": {"pm": 50.0},
}
"""Specs with the same limit in every target; the others trade against each other."""
FLOORS: Mapping[str, Mapping[str, float]] = {
    "folded_cascode": {"gain": 200.0, "ugbw": 5e6},
    "five_transistor_ota": {"gain": 15.0, "ugbw": 5e6},
    "comparator": {"delay": 350e-12, "power": 1e-3, "kickback": 20e-3, "offset": 20e-3},
    "ldo": {"iq": 500e-6, "error": 0.05, "psrr": 20.0, "deviation": 0.2, "recovery": 0.8e-6},
}
"""Points of the front that miss these are nothing anybody wants."""

_RANDOM_SHARE = 0.3
_NO_LIMIT = {"min": 1e-30, "max": 1e30}


def goals_of(made: Circuit) -> Goals:
    """What the columns of a target mean, in the circuit's own order."""
    fixed, floors = FIXED[made.name], FLOORS.get(made.name, {})
    names = list(made.order)
    least = [{**floors, **fixed}.get(name, _NO_LIMIT[side]) for name, side in made.order.items()]
    return Goals(
        names=tuple(names),
        signs=np.array([1.0 if side == "min" else -1.0 for side in made.order.values()]),
        least=np.array(least),
        traded=np.array([i for i, name in enumerate(names) if name not in fixed]),
    )


def make(
    name: str, evaluations: int, count: int, seed: int, path: Path | None = None
) -> dict[str, Any]:
    """The list of `count` targets as it is written; `path` is that of the checkpoint."""
    made = circuit(name)
    space, goals = Space(made.design), goals_of(made)

    def simulate(points: FloatArray) -> FloatArray:
        results = [made.evaluate(space.sizing(point)) for point in points]
        rows = [[measures[name] for name in goals.names] for measures in results]
        return np.array(rows).reshape(len(points), len(goals.names))

    search, random = Calibration(space, goals, simulate, seed), int(evaluations * _RANDOM_SHARE)
    known = None
    if path is not None:
        checkpoint = Checkpoint(path)
        search.keep = lambda samples: checkpoint.keep(samples, goals.names)
        known = checkpoint.known(goals.names)
    samples = search.search(random, evaluations - random, known)
    chosen = search.chosen(samples, random, count)
    note = (
        f"feasible targets from the Pareto front of {len(samples)} evaluations, relaxed by "
        f"5 to 10 %; a random sizing meets one with probability {chosen.probability:.1e} on average"
    )
    return {
        "circuit": name,
        "note": note,
        "order": [f"{measure}_{side}" for measure, side in made.order.items()],
        "constants": [space.sizing(chosen.best)],
        "targets": chosen.targets.tolist(),
        "witnesses": [space.sizing(point) for point in chosen.witnesses],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("circuit", choices=list(FIXED), nargs="?", default="folded_cascode")
    parser.add_argument("--evaluations", type=int, default=100_000)
    parser.add_argument("--count", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--name", help="file name without .json, <circuit>_pareto by default")
    parser.add_argument(
        "--checkpoint", type=Path, help="file.npz to go on from after an interruption"
    )
    parser.add_argument("--smallest", action="store_true", help="few of both, into bench/results/")
    options = parser.parse_args(arguments)
    folder = FOLDER
    if options.smallest:
        options.evaluations, options.count, folder = 1000, 8, FOLDER.parent / "results"
        folder.mkdir(exist_ok=True)
    made = make(
        options.circuit, options.evaluations, options.count, options.seed, options.checkpoint
    )
    path = folder / f"{options.name or options.circuit + '_pareto'}.json"
    write_list(path, made)
    print(f"{path}: {len(made['targets'])} targets; {made['note']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
