"""What the networks that come with m3eda are worth: `m3` beside the search from scratch.

    python -m bench.pretrained --case known          # circuits and technologies trained on
    python -m bench.pretrained --case technology     # circuits trained on, a technology kept out
    python -m bench.pretrained --case circuit        # circuits kept out
    python -m bench.pretrained --case similar        # AutoCkt's op amp on its own published card
    python -m bench.pretrained --case partial        # every third spec on a measure of one's own
    python -m bench.pretrained --case freed          # a length that was frozen is free as well
    python -m bench.pretrained --case renamed        # parameters and measures under other names
    python -m bench.pretrained --case relative       # so, by networks of one like it alone
    python -m bench.pretrained --case equations      # by its equations alone, without any networks

Ten targets of each list: of those that are held out where the list was trained on, else spread over
it. ERT is all simulations over the targets met. Sizings that have ended are kept in
bench/results/pretrained.json; a row goes by the networks' hash as well.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from bench.circuits import MissingFile, circuit
from bench.library import Runs, chosen, unchanged
from bench.sized import sized
from bench.targets import target_list
from m3eda.circuits.catalogue import Circuit
from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.circuits.targets import TargetList, targets_of
from m3eda.design.types import Design, Parameter
from m3eda.learning.settings import HELD_OUT
from m3eda.learning.splits import split_of
from m3eda.policy import shipped
from m3eda.policy.known import knowledge_of
from m3eda.policy.pretrained import FOLDER

KEPT = Path(__file__).resolve().parent / "results" / "pretrained.json"
CASES = (
    "known",
    "technology",
    "circuit",
    "similar",
    "partial",
    "freed",
    "renamed",
    "relative",
    "equations",
)
OWN_EVERY = 3
"""Of the specs of the case `partial`, one in so many is on a measure that no networks know."""
FREED, UP_TO = "l", 10.0
"""The parameter of the case `freed`, and the end of its range, from the value that it had, in units
of that."""
OTHERWISE = {
    "gain": "a0", "ugbw": "gbw", "pm": "phase_margin", "ivdd": "i_supply", "ibias": "i_supply",
    "idd": "i_total", "iq": "i_q", "area": "gate_area", "noise": "vn", "sat": "sat_margin",
    "cmrr": "cmrr_dc", "psrr": "psr", "swing": "output_swing", "slew": "slew_rate",
    "settling": "t_settle", "offset": "v_os", "delay": "t_d", "bw": "f3db", "bandwidth": "f3db",
    "tc": "tempco", "line": "line_regulation", "dropout": "v_dropout", "fosc": "freq",
}  # fmt: skip
"""What else designers call measures, in the case `renamed`; others are called by a number."""
LEFT_OUT = {
    "m3_2soa": ("m3_2soa", "two_stage_miller", "two_stage_miller_rz"),
    "m3_r2soa": ("m3_r2soa",),
    "two_stage_miller": ("two_stage_miller", "m3_2soa"),
    "two_stage_miller_rz": ("two_stage_miller_rz", "sallen_key_filter"),
}
"""Circuits of the case `relative` -> the networks left out: its own, and others of this circuit.
The first two are known by each other, whose transistors are of the other polarity, the last two by
each other's transistors, one with a nulling resistor and one without."""
HELD = {"known", "partial", "freed", "renamed", "relative", "equations"}
"""Cases whose targets are those held out of training."""
SIMILAR = "autockt_pareto"
"""A list of a circuit that is like one of the library, in a technology of which nothing is told."""


def lists(case: str, names: Sequence[str]) -> Iterator[tuple[Circuit, TargetList, list[int]]]:
    """The lists of a case, with the numbers of ten targets of each."""
    known = catalogue()
    for name in names or known.names():
        circuit = known.circuit(name)
        trained = circuit.file.split == "train"
        for technology in circuit.technologies:
            listed = targets_of(circuit, technology)
            home = split_of(technology) == "train"
            here = trained and home
            if case in {"technology", "circuit"}:
                here = trained and not home if case == "technology" else not trained and home
            if listed is None or not here or (case == "freed" and not has_frozen_length(circuit)):
                continue
            if case == "relative" and name not in LEFT_OUT:
                continue
            count = len(listed.targets)
            held = [n for n in range(count) if n % HELD_OUT == HELD_OUT - 1]
            yield circuit, listed, held[:10] if case in HELD else chosen(listed, 10)


def with_own_measures(design: Design) -> Design:
    """Every third spec on a measure of another name, which is unknown to the networks."""
    measures, specs = dict(design.measures), {}
    for number, (name, spec) in enumerate(design.specs.items()):
        own = f"own_{name}" if number % OWN_EVERY == OWN_EVERY - 1 else name
        measures[own] = replace(measures[name], name=own)
        specs[own] = replace(spec, measure=own)
    return replace(design, measures=measures, specs=specs)


def with_freed_length(design: Design) -> Design:
    """The frozen parameter `FREED` is free."""
    value = design.parameters[FREED].value
    assert isinstance(value, float)
    freed = Parameter(FREED, minimum=value, maximum=UP_TO * value, scale="log", unit="m")
    return replace(design, parameters={**design.parameters, FREED: freed})


def renamed(design: Design) -> Design:
    """Every free number as a multiple of its start, and every measure, under other names."""
    parameters, measures, specs = dict(design.parameters), dict(design.measures), {}
    for number, each in enumerate(design.free, 1):
        name, start = f"x{number}", each.start
        if each.choices or not isinstance(start, float) or each.minimum is None or not start:
            own, factor = replace(each, name=name), 1.0
        else:
            assert each.maximum is not None
            own, factor = replace(
                each, name=name, minimum=each.minimum / start, maximum=each.maximum / start,
                start=1.0, step=each.step and each.step / start, unit="",
            ), start  # fmt: skip
        parameters[name] = own
        parameters[each.name] = Parameter(each.name, expression=f"{name} * {factor!r}")
    for number, (name, spec) in enumerate(design.specs.items(), 1):
        own_name = OTHERWISE.get(name, f"result_{number}")
        measures[own_name] = replace(measures[name], name=own_name)
        specs[own_name] = replace(spec, measure=own_name)
    return replace(design, parameters=parameters, measures=measures, specs=specs)


CHANGES = {"partial": with_own_measures, "freed": with_freed_length, "renamed": renamed,
           "relative": renamed}  # fmt: skip
"""Case -> what its designs have otherwise than the library."""
LIKE_SEARCH = {"partial", "renamed", "relative"}
"""Cases in which a search has what it has of the library's own design."""


@contextlib.contextmanager
def networks_without(names: Sequence[str]) -> Iterator[None]:
    """Nothing knows that there are networks of the circuits `names`."""
    every = shipped.index_of

    def others(folder: Path) -> dict[str, Any]:
        return {name: entry for name, entry in every(folder).items() if name not in names}

    with mock.patch.object(shipped, "index_of", others):
        yield


def hidden_from(case: str, name: str) -> Sequence[str]:
    """The circuits whose networks are left out where `name` is sized."""
    if case == "equations":
        return catalogue().names()
    return LEFT_OUT[name] if case == "relative" else ()


def has_frozen_length(each: Circuit) -> bool:
    length = open_circuit(each).design.parameters.get(FREED)
    return length is not None and length.frozen


def similar(options: argparse.Namespace) -> int:
    """Every target of `SIMILAR`, from the networks that come with m3eda alone."""
    listed = target_list(SIMILAR)
    try:
        made = circuit(listed.circuit)
        known = [knowledge_of(made.targeted(target)) for target in listed.targets]
    except MissingFile as error:
        print(error, file=sys.stderr)
        return 0 if options.smallest else 1
    rows = []
    for target, there in zip(listed.targets, known, strict=True):
        if there is None:
            raise SystemExit(f"no networks know {listed.circuit}")
        found = sized(made, target, there.networks, 1, options.budget)
        rows.append(vars(found))
    print(f"{known[0].words if known[0] else ''}: {words(figures(rows, options.within))}")
    return 0


def figures(rows: Sequence[dict[str, Any]], within: int) -> dict[str, float]:
    met = sorted(row["simulations"] for row in rows if row["met"])
    spent = sum(row["simulations"] for row in rows)
    return {
        "of": len(rows), "met": len(met), "within": sum(count <= within for count in met),
        "ert": spent / len(met) if met else float("inf"),
        "median": float(np.median(met)) if met else float("inf"),
        "p90": float(np.percentile(met, 90)) if met else float("inf"),
        "seconds": float(np.median([row["seconds"] for row in rows])),
    }  # fmt: skip


def words(found: dict[str, float]) -> str:
    return (f"{found['met']:.0f}/{found['of']:.0f} | {found['within']:.0f} | {found['ert']:.1f} | "
            f"{found['median']:.0f} | {found['p90']:.0f} | {found['seconds']:.1f}")  # fmt: skip


def networks_of(circuit: str) -> str:
    """A word on the networks that a row goes by."""
    path = FOLDER / f"{circuit}.npz"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8] if path.is_file() else "none"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("circuits", nargs="*", metavar="CIRCUIT")
    parser.add_argument("--case", choices=CASES, default="known")
    parser.add_argument("--agents", default="m3,search")
    parser.add_argument("--targets", type=int, default=10)
    parser.add_argument("--budget", type=int, default=500)
    parser.add_argument("--within", type=int, default=30)
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    parser.add_argument("--smallest", action="store_true")
    options = parser.parse_args(arguments)
    kept = KEPT
    if options.smallest:
        options.circuits, options.targets, options.budget = ["five_transistor_ota"], 1, 3
        kept = KEPT.with_name("pretrained_smallest.json")
    if options.case == "similar":
        return similar(options)
    runs, agents = Runs(kept), options.agents.split(",")
    head = [f"{a}: met | within {options.within} | ERT | median | 90 % | s" for a in agents]
    print(f"| circuit | technology | {' | '.join(head)} |\n|{'---|' * (2 + 6 * len(agents))}")
    every: dict[str, list[dict[str, Any]]] = {agent: [] for agent in agents}
    for each, listed, numbers in lists(options.case, options.circuits):
        cells = []
        for agent in agents:
            note = f"{agent} {networks_of(each.name)}" if agent == "m3" else agent
            changed = unchanged
            if options.case == "freed" or (options.case in LIKE_SEARCH and agent == "m3"):
                note, changed = f"{note} {options.case}", CHANGES[options.case]
            hidden = hidden_from(options.case, each.name)
            if options.case == "equations" and agent == "m3":
                note = "m3 equations"
            with networks_without(hidden):
                rows = [runs.sized(each, listed, number, agent, options.budget, note, changed)
                        for number in numbers[: options.targets]]  # fmt: skip
            every[agent] += rows
            cells.append(words(figures(rows, options.within)))
        print(f"| {each.name} | {listed.technology} | {' | '.join(cells)} |", flush=True)
    if any(every.values()):
        total = [words(figures(rows, options.within)) for rows in every.values()]
        print(f"| all | | {' | '.join(total)} |")
    if options.json:
        options.json.write_text(json.dumps(every, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
