"""What the points of an AC sweep cost the measures, and how well poles on the right are seen.

    python -m bench.measure_accuracy [--smallest] [--json FILE]

Prints two tables. The first: the largest error of each measure of a response in closed form, over
the places of its pole between two points of the sweep. The second: of random responses, how many
`phase_margin` refuses as unstable: none of the stable ones should be, all of the others should.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from m3eda.simulate import ac
from m3eda.simulate.signals import MeasureUndefined, Trace

GAINS = (1.05, 1.2, 2.0, 10.0, 1000.0)
"""DC gains of the one-pole responses."""
SEED = 1

Transfer = Callable[[Any], Any]


@dataclass(frozen=True)
class Error:
    measure: str
    response: str
    per_decade: int
    worst: float
    """Largest error: relative, or in degrees where `unit` is deg."""
    unit: str = ""


@dataclass(frozen=True)
class Guard:
    responses: str
    count: int
    refused: int
    """Called unstable."""
    positive: int
    """Shown with a margin above 0."""


def sweep(transfer: Transfer, per_decade: int = 10) -> Trace:
    """The response of `transfer(s)`, s in rad/s, from 1 Hz to 10 GHz."""
    f = 10.0 ** np.linspace(0.0, 10.0, 10 * per_decade + 1)
    return Trace(f, transfer(2j * np.pi * f) + 0j, "ac", "v(out)")


def pole(frequency: float, q: float = 0.0) -> Transfer:
    """1 / (1 + s/w), or a pair of quality factor `q`, which lies on the right where negative."""
    w = 2 * math.pi * frequency
    if not q:
        return lambda s: 1 / (1 + s / w)
    return lambda s: 1 / (1 + s / w / q + (s / w) ** 2)


def one_pole(places: Sequence[float], per_decade: int = 10) -> list[Error]:
    """Errors beside the pole of A / (1 + s/w), with its corner at each of `places` in Hz."""
    bandwidth, unity, margin = 0.0, 0.0, 0.0
    for corner in places:
        for gain in GAINS:
            response = sweep(lambda s, a=gain, f=corner: a * pole(f)(s), per_decade)  # type: ignore[misc]
            crossing = corner * math.sqrt(gain**2 - 1)
            exact = 180.0 - math.degrees(math.atan(crossing / corner))
            bandwidth = max(bandwidth, abs(ac.bandwidth_3db.function(response) / corner - 1))
            unity = max(unity, abs(ac.unity_gain_frequency.function(response) / crossing - 1))
            margin = max(margin, abs(ac.phase_margin.function(response) - exact))
    name = "one pole"
    return [
        Error("bandwidth_3db", name, per_decade, bandwidth),
        Error("unity_gain_frequency", name, per_decade, unity),
        Error("phase_margin", name, per_decade, margin, "deg"),
    ]


def peak(places: Sequence[float], q: float, per_decade: int) -> Error:
    """Error of the peaking of a pole pair."""
    exact = q / math.sqrt(1 - 1 / (4 * q * q))
    found = (ac.peaking.function(sweep(pole(f, q), per_decade)) for f in places)
    worst = max(abs(value / exact - 1) for value in found)
    return Error("peaking", f"pole pair, Q = {q:g}", per_decade, worst)


def judged(name: str, transfers: Sequence[Transfer]) -> Guard:
    """What `phase_margin` says of the responses."""
    refused = positive = 0
    for transfer in transfers:
        try:
            positive += ac.phase_margin.function(sweep(transfer)) > 0.0
        except MeasureUndefined as error:
            refused += "unstable" in str(error)
    return Guard(name, len(transfers), refused, positive)


def network(rng: np.random.Generator, unstable: tuple[float, float] | None) -> Transfer:
    """A random amplifier of gain 100 to 1e5: one to four poles, fewer zeros of either side.

    With `unstable`, a pole pair on the right besides, of a quality factor in these limits and below
    a third of the highest frequency.
    """
    gain, first = 10 ** rng.uniform(2, 5), 10 ** rng.uniform(1, 5)
    poles = [first, *(first * 10 ** rng.uniform(1, 4, rng.integers(0, 4)))]
    signs = rng.choice([-1.0, 1.0], len(poles) - 1)
    zeros = [sign * first * 10 ** rng.uniform(2, 5) for sign in signs]
    inner = pole(10 ** rng.uniform(3, 8.5), -(rng.uniform(*unstable))) if unstable else None

    def transfer(s: Any) -> Any:
        value = gain * np.ones_like(s)
        for place in poles:
            value = value * pole(place)(s)
        for place in zeros:
            value = value * (1 + s / (2 * math.pi * place))
        return value * inner(s) if inner else value

    return transfer


def guards(count: int) -> list[Guard]:
    rows: list[Guard] = []
    kinds: dict[str, tuple[float, float] | None] = {
        "stable": None,
        "unstable pair, Q 0.5 to 3": (0.5, 3.0),
        "unstable pair, Q 3 to 10": (3.0, 10.0),
    }
    for name, limits in kinds.items():
        rng = np.random.default_rng(SEED)
        rows.append(judged(name, [network(rng, limits) for _ in range(count)]))
    return rows


def errors(places_count: int) -> list[Error]:
    places = [10 ** (5 + 0.1 * i / places_count) for i in range(places_count)]
    found = one_pole(places) + one_pole(places, 20)
    found += [peak(places, q, n) for q in (1.0, 2.0) for n in (10, 20, 50)]
    return found


def table(rows: Sequence[Error], guarded: Sequence[Guard]) -> str:
    lines = ["| measure | response | points a decade | largest error |", "|---|---|---|---|"]
    for row in rows:
        shown = f"{row.worst:.2f} degrees" if row.unit else f"{row.worst:.2%}"
        lines.append(f"| {row.measure} | {row.response} | {row.per_decade} | {shown} |")
    lines += [
        "",
        "| responses at 10 points a decade | count | refused as unstable | margin above 0 |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row.responses} | {row.count} | {row.refused} | {row.positive} |" for row in guarded
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--smallest", action="store_true", help="few places and responses")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args(arguments)
    rows = errors(4 if options.smallest else 50)
    guarded = guards(20 if options.smallest else 1000)
    print(table(rows, guarded))
    if options.json:
        data = {"errors": [asdict(r) for r in rows], "guard": [asdict(g) for g in guarded]}
        options.json.write_text(json.dumps(data, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
