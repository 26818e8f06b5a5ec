"""How much of a circuit's slopes is foretold by those of others: kinds, names, descriptions.

    python -m bench.slopes

The slopes of each measure by each parameter, on their scales, are medians of those of the networks
that come with m3eda, near sizings that meet targets. A ridge regression on words of parameter and
measure is fitted to all circuits but one, and foretells that one's. What is told is the share of
the squares that it explains.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.design.space import Space
from m3eda.policy.conditions import conditions_at
from m3eda.policy.pretrained import FOLDER, Placed, read_pretrained

STEP, AROUND, MOST, RIDGE = 0.05, 0.08, 3.0, 2.0
"""Of a difference and of the points, in units of a range; the largest slope; the penalty."""
SAME = {"idd": "ivdd", "iq": "ivdd", "ibias": "ivdd", "energy": "ivdd", "bandwidth": "ugbw",
        "bw": "ugbw", "gain_margin": "pm"}  # fmt: skip
"""Measures that go by several names."""
LEVELS = ("kind", "kind and name", "kind, name and description")


@dataclass(frozen=True)
class Slope:
    circuit: str
    measure: str
    parameter: str
    kind: str
    description: str
    value: float


def slopes(name: str) -> list[Slope]:
    """Of one circuit, where it is at home."""
    known = read_pretrained(FOLDER / f"{name}.npz")
    circuit = catalogue().circuit(name)
    design = open_circuit(circuit).design
    axes = {axis.name: axis for axis in Space(design).axes}
    home = circuit.technologies[0]
    code = known.encoder.code(known.devices[home], conditions_at(design, design.nominal))
    there = Placed(known, [axes[n] for n in known.axes], code, 1e-3 * known.encoder.spread)
    rng = np.random.default_rng(0)
    x = known.anchors + AROUND * rng.standard_normal(known.anchors.shape)
    x = np.clip(np.vstack([x, known.anchors]), 0.02, 0.98)
    found = []
    for column, parameter in enumerate(known.axes):
        move = STEP * np.eye(len(known.axes))[column]
        ends = [there.answer(x + side * move, known.measures).mean for side in (1.0, -1.0)]
        middle = np.median((ends[0] - ends[1]) / (2.0 * STEP), axis=0)
        own = design.parameters[parameter]
        found += [Slope(name, SAME.get(m, m), parameter, own.kind, own.description, float(value))
                  for m, value in zip(known.measures, middle, strict=True)]  # fmt: skip
    return found


def words(slope: Slope, level: int) -> list[str]:
    """What stands for a pair of measure and parameter."""
    pair = f"{slope.measure}|{slope.kind}"
    found = [pair]
    if level >= 1:
        tokens = [token for token in re.split(r"[_\d]+", slope.parameter) if token]
        found += [f"{pair}|{token}" for token in (tokens[1:] or tokens)]
    if level >= 2:
        found += [f"{pair}|{w}" for w in re.findall(r"[a-z]{4,}", slope.description.lower())]
    return found


def foretold(rows: Sequence[Slope], level: int) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and what is foretold of each by all other circuits, each of shape (n,)."""
    listed = [words(row, level) for row in rows]
    place = {word: n for n, word in enumerate(sorted({w for each in listed for w in each}))}
    x = np.zeros((len(rows), len(place)))
    for n, each in enumerate(listed):
        x[n, [place[word] for word in each]] = 1.0
    y = np.clip([row.value for row in rows], -MOST, MOST)
    circuits, said = np.array([row.circuit for row in rows]), np.zeros(len(rows))
    for circuit in sorted(set(circuits)):
        other = circuits != circuit
        square = x[other].T @ x[other] + RIDGE * np.eye(len(place))
        said[~other] = x[~other] @ np.linalg.solve(square, x[other].T @ y[other])
    return y, said


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--smallest", action="store_true", help="three circuits")
    options = parser.parse_args(arguments)
    names = sorted(path.stem for path in FOLDER.glob("*.npz"))
    rows = [slope for name in (names[:3] if options.smallest else names) for slope in slopes(name)]
    measures = ["area", "ivdd", "ugbw", "noise", "pm", "gain", "cmrr", "sat", "swing"]
    print(f"{len(rows)} slopes of {len({row.circuit for row in rows})} circuits")
    for level, title in enumerate(LEVELS):
        y, said = foretold(rows, level)
        parts = [f"{share(y, said):.0%} of all"]
        for name in measures:
            here = np.array([row.measure == name for row in rows])
            if here.any():
                parts.append(f"{name} {share(y[here], said[here]):.0%}")
        print(f"{title}: {', '.join(parts)}")
    return 0


def share(y: np.ndarray, said: np.ndarray) -> float:
    return float(1.0 - ((y - said) ** 2).sum() / (y**2).sum())


if __name__ == "__main__":
    sys.exit(main())
