"""What a paper's ranges of specifications are worth: how many random sizings reach their ends.

    python -m bench.paper_ranges [--sizings N] [--card FILE] [--smallest] [--json FILE]

For each circuit of the library with a section `paper`: random sizings of its whole space in its own
technology, half of them uniform in the parameters themselves and half in their logarithms. `--card`
takes the models from a file with devices nmos and pmos instead. Prints two tables.

The first has a row a specification: the share of sizings that reach the near (easy) and the far end
of the published range by itself, and a range found by simulation. That one keeps an end of the
published range where it means something among the sizings that meet the near ends of all other
specifications, and is otherwise the median of these sizings (near) or their best percentile (far).

The second has a row a circuit: of targets drawn uniformly from the published ranges, the share that
some random sizing met, the share that the best single one met, and the share that a sizing from the
literature meets. A search goes further than random sizings, so the shares are lower bounds. Sizings
are kept in `--checkpoint`, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from m3eda.circuits.catalogue import Circuit
from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.design.snapshot import circuit_hash
from m3eda.design.space import Space
from m3eda.design.types import Design, Sizing
from m3eda.flow import Execution, Project
from m3eda.simulate.files import content_hash
from m3eda.units import format_engineering, parse

CHECKPOINT = Path(__file__).resolve().parent / "results" / "paper_ranges"
SIZINGS, TARGETS, SEED, CHUNK = 20_000, 10_000, 1, 500
RARE, NEAR_SHARE, FAR_SHARE = 1e-3, 0.9, 0.5
"""An end of a range says something of a sizing where at least a share RARE of them reach it, and at
most the other share."""

LITERATURE: dict[str, Sizing] = {
    "m3_2soa": {"mp1": 4, "mn1": 13, "mp3": 88, "mn3": 1, "mn4": 1, "mn5": 10, "cc": 1.3e-12}
}
"""A sizing that meets 984 of AutoCkt's own 1000 test targets."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Range:
    """A published range, from its near end, which is easy to meet, to its far end."""

    measure: str
    side: str
    """`min` or `max`: what the target is to the measure."""
    near: float
    far: float

    def met(self, values: Floats, limit: float | Floats) -> Flags:
        """Where `values` meet `limit`; a measure without a value never does."""
        found: Flags = values >= limit if self.side == "min" else values <= limit
        return found


@dataclass(frozen=True)
class Row:
    """One specification of one circuit."""

    circuit: str
    measure: str
    side: str
    published: tuple[float, float]
    """Near end, far end."""
    near: tuple[float, float]
    """Share of sizings that reach it alone: uniform in the parameters, in their logarithms."""
    far: tuple[float, float]
    best: float
    """The best value seen."""
    found: tuple[float, float]
    """The range found by simulation: near end, far end."""


@dataclass(frozen=True)
class Reach:
    """All specifications of one circuit together."""

    circuit: str
    sizings: int
    failed: float
    """Share of sizings where a simulation failed."""
    near: float
    """Share of sizings that meet the near ends of all specifications."""
    targets: float
    """Share of uniformly drawn targets that some sizing met."""
    single: float
    """Share that the best single sizing met."""
    literature: float | None = None
    """Share that the sizing of LITERATURE meets, where there is one."""


def published(circuit: Circuit) -> list[Range]:
    """The ranges in its section `paper`, in order."""
    assert circuit.file.paper is not None
    ranges = []
    for measure, (low, high) in circuit.file.paper.specs.items():
        ends = parse(low), parse(high)
        side = circuit.sides[measure]
        ranges.append(Range(measure, side, *(ends if side == "min" else ends[::-1])))
    return ranges


def project(circuit: Circuit, card: Path | None) -> Project:
    """`circuit` in its own technology, or with the models of `card` in the place of that one's."""
    made = open_circuit(circuit)
    if card is None:
        return made
    assert made.design.technology is not None
    models = replace(made.design.technology, lib=card.resolve(), sections={}, nominal="")
    return Project.of(replace(made.design, technology=models, corners=()))


def sizings(design: Design, count: int, seed: int) -> list[Sizing]:
    """Random ones: the first and every second uniform in the parameters, the others in their
    logarithms. More of them begin with the same ones."""
    linear = {name: replace(each, scale="linear") for name, each in design.parameters.items()}
    spaces = Space(replace(design, parameters=linear)), Space(design)
    points = np.random.default_rng(seed).random((count, spaces[0].dimension))
    return [spaces[index % 2].sizing(point) for index, point in enumerate(points)]


def name_of(made: Project) -> str:
    """A name for what decides its measures: models, templates, expressions, ranges."""
    files = [path for path in made.files(made.nominal_sizing()) if path.suffix != ".yaml"]
    contents = [*map(content_hash, files), repr(made.design.free)]
    return f"{made.design.name}-{circuit_hash(made.design, contents)[:12]}"


def simulated(made: Project, wanted: list[Sizing], jobs: int, kept: Path) -> Floats:
    """Measures of each sizing, shape (n, k); rows already in the file `kept` are taken from it."""
    done: Floats = np.load(kept) if kept.is_file() else np.empty((0, len(made.design.measures)))
    kept.parent.mkdir(parents=True, exist_ok=True)
    evaluator = made.evaluator(Execution(jobs=jobs, cache=False))
    try:
        rows = _rows(made, evaluator.evaluate(map(evaluator.complete, wanted[len(done) :])))
        while chunk := list(islice(rows, CHUNK)):
            done = np.concatenate([done, chunk])
            partial = kept.with_suffix(".part.npy")
            np.save(partial, done)
            partial.replace(kept)
    finally:
        evaluator.close()
    return done[: len(wanted)]


def _rows(made: Project, results: Iterator[Mapping[str, object]]) -> Iterator[list[float]]:
    for result in results:
        measures = result["nominal"].measures  # type: ignore[attr-defined]
        yield [float(measures[name]) for name in made.design.measures]


def rows(name: str, ranges: Sequence[Range], values: Mapping[str, Floats]) -> list[Row]:
    """The first table's rows of one circuit."""
    near = {each.measure: each.met(values[each.measure], each.near) for each in ranges}
    found = []
    for each in ranges:
        mine = values[each.measure]
        # a near end that nothing reaches would leave no sizing for the others to be judged by
        others = [near[other.measure] for other in ranges if other is not each]
        able = [flags for flags in others if flags.mean() >= RARE]
        working = mine[np.isfinite(mine) & np.logical_and.reduce([*able, np.isfinite(mine)])]
        found.append(
            Row(
                name,
                each.measure,
                each.side,
                (each.near, each.far),
                _halves(near[each.measure]),
                _halves(each.met(mine, each.far)),
                float(np.nanmax(mine) if each.side == "min" else np.nanmin(mine)),
                recalibrated(each, working),
            )
        )
    return found


def _halves(flags: Flags) -> tuple[float, float]:
    return float(flags[::2].mean()), float(flags[1::2].mean())


def recalibrated(published: Range, working: Floats) -> tuple[float, float]:
    """Near and far end: the published one where it means something among `working`."""
    if not working.size:
        return published.near, published.far
    sign = 1.0 if published.side == "min" else -1.0

    def end(limit: float, most: float, share: float) -> float:
        if RARE <= published.met(working, limit).mean() <= most:
            return limit
        return round_off(sign * float(np.quantile(sign * working, 1.0 - share)))

    if published.near == published.far:  # one limit for all targets
        only = end(published.near, 1.0, 0.5)
        return only, only
    near = end(published.near, NEAR_SHARE, 0.5)
    far = end(published.far, FAR_SHARE, 0.01)
    return near, sign * max(sign * near, sign * far)


def round_off(value: float) -> float:
    """To two digits, as a data sheet has it."""
    return float(f"{value:.2g}")


def reach(
    name: str, ranges: Sequence[Range], values: Mapping[str, Floats], targets: int, seed: int
) -> Reach:
    """The second table's row of one circuit."""
    rng = np.random.default_rng(seed)
    wanted = {
        each.measure: rng.uniform(min(each.near, each.far), max(each.near, each.far), targets)
        for each in ranges
    }
    candidates = np.logical_and.reduce(
        [each.met(values[each.measure], each.near) for each in ranges]
    )
    met = np.zeros(targets, bool)
    best = 0.0
    for index in np.flatnonzero(candidates):
        mine = np.ones(targets, bool)
        for each in ranges:
            mine &= each.met(values[each.measure][index], wanted[each.measure])
        met |= mine
        best = max(best, float(mine.mean()))
    failed = np.logical_and.reduce([np.isnan(column) for column in values.values()])
    return Reach(name, len(failed), float(failed.mean()), float(candidates.mean()),
                 float(met.mean()), best)  # fmt: skip


def tables(found: Sequence[Row], together: Sequence[Reach]) -> str:
    lines = [
        "| circuit | spec | published: near, far | reach the near end: linear, log "
        "| reach the far end: linear, log | best seen | range found: near, far |",
        "|---" * 7 + "|",
    ]
    for row in found:
        sign = ">=" if row.side == "min" else "<="
        lines.append(
            f"| {row.circuit} | {row.measure} {sign} | {_ends(row.published)} "
            f"| {_shares(row.near)} | {_shares(row.far)} | {_number(row.best)} "
            f"| {_ends(row.found)} |"
        )
    lines += [
        "",
        "| circuit | sizings | failed | all near ends met | targets some sizing met "
        "| targets the best single sizing met | targets the sizing from the literature meets |",
        "|---" * 7 + "|",
    ]
    lines += [
        f"| {each.circuit} | {each.sizings} | {each.failed:.2%} | {each.near:.2%} "
        f"| {each.targets:.1%} | {each.single:.1%} "
        f"| {'' if each.literature is None else f'{each.literature:.1%}'} |"
        for each in together
    ]
    return "\n".join(lines)


def _number(value: float) -> str:
    return format_engineering(value, digits=3)


def _ends(ends: tuple[float, float]) -> str:
    return _number(ends[0]) if ends[0] == ends[1] else f"{_number(ends[0])}, {_number(ends[1])}"


def _shares(shares: tuple[float, float]) -> str:
    return ", ".join(f"{share:.2%}" for share in shares)


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    known = [each.name for each in catalogue().circuits() if each.file.paper]
    parser.add_argument("--circuits", type=lambda text: text.split(","), default=known)
    parser.add_argument("--sizings", type=int, default=SIZINGS)
    parser.add_argument("--targets", type=int, default=TARGETS)
    parser.add_argument("--card", type=Path, help="model file with devices nmos and pmos")
    parser.add_argument("--jobs", type=int, default=1, help="simulations at once")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--smallest", action="store_true", help="a few sizings")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args(arguments)
    if options.smallest:
        options.sizings, options.targets = 40, 200
    return options


def judged(name: str, options: argparse.Namespace) -> tuple[list[Row], Reach]:
    """Both tables' rows of one circuit."""
    circuit = catalogue().circuit(name)
    made, ranges = project(circuit, options.card), published(circuit)
    kept = options.checkpoint / f"{name_of(made)}-{options.seed}.npy"

    def measured(wanted: list[Sizing], file: Path) -> dict[str, Floats]:
        columns = simulated(made, wanted, options.jobs, file).T
        return dict(zip(made.design.measures, columns, strict=True))

    values = measured(sizings(made.design, options.sizings, options.seed), kept)
    together = reach(name, ranges, values, options.targets, options.seed)
    if name in LITERATURE:
        alone = measured([LITERATURE[name]], kept.with_stem(f"{kept.stem}-literature"))
        share = reach(name, ranges, alone, options.targets, options.seed).single
        together = replace(together, literature=share)
    return rows(name, ranges, values), together


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(arguments)
    found: list[Row] = []
    together: list[Reach] = []
    for name in options.circuits:
        specifications, circuit = judged(name, options)
        found += specifications
        together.append(circuit)
    models = options.card.name if options.card else "the circuits' own technologies"
    print(f"models: {models}\n\n{tables(found, together)}")
    if options.json:
        report = {"models": models, "specs": [asdict(row) for row in found],
                  "circuits": [asdict(each) for each in together]}  # fmt: skip
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
