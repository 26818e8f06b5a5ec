"""Simulations of earlier runs, which `m3eda learn` takes along: they are paid for.

They stand in ledgers: that of the design's own run folder, and one below it to which runs of other
folders are added. Of each, the trials of the very same circuit on the same simulator are taken, in
whatever ranges, with whatever specs.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from m3eda.agents.earlier import belongs
from m3eda.design.ranges import FloatArray
from m3eda.design.space import Space
from m3eda.design.types import NOMINAL, Sizing
from m3eda.errors import DesignError, Mistake
from m3eda.flow import Project
from m3eda.ledger import Ledger, Segment, StoredTrial
from m3eda.policy.known import contents_of
from m3eda.recipe import circuit_of_run


def added(project: Project, run: Path, store: Path) -> int:
    """Copy the trials of the project's circuit from the ledger of `run` into that of `store`; how
    many sizings are new there.

    Raises DesignError where none is of this circuit, StorageError for a ledger that is damaged,
    not there or in use.
    """
    circuit = _circuit(project)
    with Ledger(run, read_only=True) as source:
        parts = [(segment, source.trials(segment.id)) for segment in _own(source, circuit)]
    if not any(trials for _, trials in parts):
        text = "no trial there is of this circuit on this simulator"
        raise DesignError([Mistake(text, run, hint="see `m3eda report` of it")])
    count = 0
    with Ledger(store) as kept:
        known = {_key(t.sizing) for s in _own(kept, circuit) for t in kept.trials(s.id)}
        for segment, trials in parts:
            fresh = {_key(trial.sizing): trial for trial in trials if NOMINAL in trial.results}
            fresh = {key: trial for key, trial in fresh.items() if key not in known}
            if fresh:
                number = kept.begin(segment).id
                for trial in fresh.values():
                    kept.add_trial(number, trial)
            known |= set(fresh)
            count += len(fresh)
    return count


def points_of(
    project: Project, folders: Sequence[Path], measures: Sequence[str]
) -> tuple[FloatArray, FloatArray]:
    """Unit points, shape (n, d), and measures in SI units, (n, m), nan where one does not exist, of
    the nominal corner's simulations in the ledgers of `folders`; each sizing once, none beyond the
    ranges. Raises StorageError for a ledger that is damaged."""
    space, circuit = Space(project.design), ""
    found: dict[str, tuple[FloatArray, list[float]]] = {}
    for folder in folders:
        if not (folder / "ledger.sqlite").is_file():
            continue
        circuit = circuit or _circuit(project)
        for trial in _trials(folder, circuit):
            result = trial.results.get(NOMINAL)
            if result is not None and belongs(project.design, trial.sizing):
                row = [result.measures.get(name, np.nan) for name in measures]
                found[_key(trial.sizing)] = space.unit(trial.sizing), row
    x = np.array([point for point, _ in found.values()]).reshape(-1, space.dimension)
    values = np.array([row for _, row in found.values()], dtype=float)
    return x, values.reshape(-1, len(measures))


def _circuit(project: Project) -> str:
    with contextlib.closing(project.evaluator()) as evaluator:
        return circuit_of_run(project.design, contents_of(project), evaluator)


def _own(ledger: Ledger, circuit: str) -> list[Segment]:
    return [segment for segment in ledger.segments() if segment.circuit == circuit]


def _trials(folder: Path, circuit: str) -> Iterator[StoredTrial]:
    with Ledger(folder, read_only=True) as ledger:
        for segment in _own(ledger, circuit):
            yield from ledger.trials(segment.id)


def _key(sizing: Sizing) -> str:
    return json.dumps(sizing, sort_keys=True)
