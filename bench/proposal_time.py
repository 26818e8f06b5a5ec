"""What a proposal of `bo` costs: CPU milliseconds by number of points and of parameters.

    python -m bench.proposal_time

A closed form stands for the circuit; six specs; hyperparameters are fitted on their schedule.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from m3eda.agents import gp
from m3eda.agents.bo import Bo
from m3eda.design.space import Space
from m3eda.design.types import NOMINAL, Design, Limits, Measure, Parameter, Sizing, Spec
from m3eda.simulate.trial import CornerResult, Trial, score

POINTS = (50, 100, 200, 500)
DIMENSIONS = (7, 14, 30)
PROPOSALS = 12
SPECS = 6
GP_LIBRARY = "sklearn.gaussian_process"
RESULT = Path(__file__).resolve().parent / "results" / "proposal_time.json"


def design_of(dimension: int) -> Design:
    """A design whose specs cannot all be met."""
    parameters = (
        Parameter(f"p{i}", minimum=1.0, maximum=1e3, scale="log") for i in range(dimension)
    )
    names = [f"m{i}" for i in range(SPECS)]
    return Design(
        name="proposal_time",
        path=Path("proposal_time.yaml"),
        testbenches={},
        parameters={parameter.name: parameter for parameter in parameters},
        measures={name: Measure(name) for name in names},
        specs={name: Spec(name, Limits(minimum=100.0)) for name in names},
    )


def simulate(design: Design, number: int, sizing: Sizing) -> Trial:
    """Measures that lean on differences of a few coordinates each; absent in one corner."""
    x = Space(design).unit(sizing)
    measures = {}
    for i, name in enumerate(design.specs):
        a, b = x[i % len(x)], x[(3 * i + 1) % len(x)]
        measures[name] = math.exp(3.0 * math.sin(3.0 * (a - b)) + float(x.mean()))
    if x[0] + x[-1] < 0.4:
        measures["m0"] = math.nan
    return score(number, sizing, {NOMINAL: CornerResult(measures)}, design.specs)


def proposal_milliseconds(points: int, dimension: int) -> float:
    """Mean CPU time of a proposal around `points` trials, its share of the fits included."""
    design = design_of(dimension)
    space, rng = Space(design), np.random.default_rng(0)
    agent = Bo(design, 1, {})
    told = [simulate(design, k, space.sizing(rng.random(dimension))) for k in range(points)]
    agent.tell(told)
    agent.ask(1)
    spent = 0.0
    for number in range(points, points + PROPOSALS):
        began = time.process_time()
        sizings = agent.ask(1)
        spent += time.process_time() - began
        agent.tell([simulate(design, number, sizing) for sizing in sizings])
    return 1e3 * spent / PROPOSALS


def import_seconds() -> float:
    """Wall time to import the agent in a fresh process, without the interpreter's own start."""
    code = (
        "import time; t = time.perf_counter(); import m3eda.agents.bo, scipy.optimize; "
        "print(time.perf_counter() - t)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return float(done.stdout)


def compare_with_library() -> None:
    """Import and one fit of scikit-learn's Gaussian process beside our own, side by side."""
    code = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
    modules = {"m3eda": "m3eda.agents.bo, scipy.optimize", "scikit-learn": GP_LIBRARY}
    imports = {
        name: subprocess.run(
            [sys.executable, "-c", code.format(module)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        ).stdout.strip()
        for name, module in modules.items()
    }
    if not imports["scikit-learn"]:
        print("scikit-learn is not installed: no comparison")
        return
    print("import, s: " + ", ".join(f"{name} {float(s):.2f}" for name, s in imports.items()))
    for points, features in ((100, 7), (500, 14)):
        own, other = fit_seconds(points, features)
        print(f"one fit, {points} points, {features} inputs: m3eda {own:.3f} s, "
              f"scikit-learn {other:.3f} s")  # fmt: skip


def fit_seconds(points: int, features: int) -> tuple[float, float]:
    """Median wall seconds of one fit of hyperparameters: our own, scikit-learn's (Matern 5/2 with
    a length a feature, and noise)."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern, WhiteKernel

    rng = np.random.default_rng(0)
    x = rng.random((points, features))
    y = np.sin(3.0 * x @ rng.normal(size=features)) + 0.1 * rng.normal(size=points)
    y = (y - y.mean()) / y.std()
    times: list[tuple[float, float]] = []
    for _ in range(3):
        began = time.perf_counter()
        gp.fit(x, y, gp.Prior())
        middle = time.perf_counter()
        kernel = Matern(np.ones(features), nu=2.5) + WhiteKernel(1e-3)
        GaussianProcessRegressor(kernel).fit(x, y)
        times.append((middle - began, time.perf_counter() - middle))
    own, other = zip(*times, strict=True)
    return statistics.median(own), statistics.median(other)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--smallest", action="store_true", help="7 parameters, 50 points")
    parser.add_argument("--library", action="store_true", help="compare with scikit-learn only")
    options = parser.parse_args(arguments)
    if options.library:
        compare_with_library()
        return
    smallest = options.smallest
    points, dimensions = (POINTS[:1], DIMENSIONS[:1]) if smallest else (POINTS, DIMENSIONS)
    rows = {d: [proposal_milliseconds(n, d) for n in points] for d in dimensions}
    startup = import_seconds()
    print("CPU ms a proposal, six specs")
    print("parameters " + "".join(f"{n:>8} pts" for n in points))
    for dimension, row in rows.items():
        print(f"{dimension:>10} " + "".join(f"{ms:12.1f}" for ms in row))
    print(f"import {startup:.2f} s")
    RESULT.parent.mkdir(exist_ok=True)
    result = {"points": points, "milliseconds": rows, "import_seconds": startup}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
