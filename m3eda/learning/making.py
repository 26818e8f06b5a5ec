"""How a dataset comes to be: what is there put in order, what is missing simulated and written."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from m3eda.design.space import Space
from m3eda.design.types import Corner, Sizing
from m3eda.errors import SimulatorBroken, StorageError
from m3eda.flow import Project
from m3eda.learning.journal import Columns, Journal, Row, remove_journal
from m3eda.learning.manifest import FILE, STATES, Manifest, check_same, identity_of, read_manifest
from m3eda.learning.sampling import Sampler, Sampling
from m3eda.learning.shards import checked_bytes, columns_of, read_shard, write_shard
from m3eda.learning.simulations import check_installed
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.failures import exit_code_of
from m3eda.simulate.trial import CornerResult
from m3eda.simulate.types import State

ROWS = 8192
"""Points of a shard."""
_HOPELESS = 50
"""Points, all there are, that may fail before everything is given up."""
_LONGEST = 200
"""Characters of a reason that are kept."""
_COMPLETE = STATES.index(State.COMPLETE.value)

Heard = Callable[[int, int, int], None]
"""Hears of each point: how many there are, of how many, and how many of them failed."""


def unheard(done: int, total: int, failed: int) -> None:
    """Hears nothing."""


@dataclass(frozen=True)
class Plan:
    """Which points are wanted."""

    points: int
    seed: int = 1
    sampling: Sampling = "sobol"
    corners: bool = False
    """Each point at the nominal corner or one of the design's, drawn by the seed."""
    rows: int = ROWS
    """Points of a shard."""
    repair: bool = False
    """Simulate the points of missing and damaged shards anew."""


@dataclass(frozen=True)
class _Item:
    """A point on its way."""

    sizing: Sizing
    corner: int


class Maker:
    """One call of `make_dataset`, in a folder that no other process writes to."""

    def __init__(
        self, project: Project, folder: Path, plan: Plan, evaluator: Evaluator, heard: Heard
    ) -> None:
        design = project.design
        self.manifest = Manifest({})
        self._project, self._folder, self._plan = project, folder, plan
        self._evaluator, self._heard = evaluator, heard
        nominal = (design.nominal,)
        self._corners: tuple[Corner, ...] = (*nominal, *design.corners) if plan.corners else nominal
        self._sampler = Sampler(Space(design), self._corners, plan.sampling, plan.seed)
        self._axes = self._sampler.space.axes
        self._measures = tuple(design.measures)
        self._codes = {state: STATES.index(state.value) for state in State}
        self._lost: dict[int, int] = {}
        """Rows of the damaged shards, by their numbers."""
        self._done = self._failed = self._total = self._first = 0

    def prepare(self) -> None:
        """Look at what is there, and put it in order. Raises as `make_dataset`."""
        identity = identity_of(
            self._project, self._evaluator, corners=self._corners,
            seed=self._plan.seed, sampling=self._plan.sampling, rows_a_shard=self._plan.rows,
            fingerprint=self._sampler.fingerprint(),
        )  # fmt: skip
        there = read_manifest(self._folder)
        if there is None:
            self._check_empty()
            there = Manifest(identity)
            there.save(self._folder)
        check_same(self._folder, there, identity)
        self.manifest = self._sound(there)
        for number in self.manifest.shards:
            remove_journal(self._journal_path(number))
        self._reopen()

    def simulate(self) -> int:
        """Simulate every point that is missing; returns how many there were."""
        shards = max([math.ceil(self._plan.points / self._plan.rows), *(n + 1 for n in self._lost)])
        missing = [shard for shard in range(shards) if shard not in self.manifest.shards]
        known = {shard: self._known(shard) for shard in missing}
        # what an earlier run simulated beyond today's points is kept
        wanted = {
            shard: max(self._rows_of(shard), known[shard][0], self._lost.get(shard, 0))
            for shard in missing
        }
        self._done = self._first = self.manifest.points + sum(rows for rows, _ in known.values())
        whole = self.manifest.points - self.manifest.counts.get(State.COMPLETE.value, 0)
        self._failed = whole + sum(failed for _, failed in known.values())
        self._total = self.manifest.points + sum(wanted.values())
        self._heard(self._done, self._total, self._failed)
        results = self._results(self._items({k: rows for k, (rows, _) in known.items()}, wanted))
        with contextlib.closing(results):
            for shard, rows in wanted.items():
                self._fill(shard, rows, results)
        return self._done - self._first

    def _check_empty(self) -> None:
        found = next(self._folder.glob("shard-*"), None)
        if found is not None:
            text = f"{self._folder / FILE}: is missing, though there is {found.name}"
            raise StorageError(f"{text}; take another folder, or empty this one")

    def _sound(self, there: Manifest) -> Manifest:
        """`there` without the shards that are damaged. Raises StorageError where none may be."""
        for number, entry in there.shards.items():
            try:
                checked_bytes(self._folder, entry)
            except StorageError:
                if not self._plan.repair:
                    raise
                there = there.without(number)
                self._lost[number] = entry.rows
        return there

    def _reopen(self) -> None:
        """Turn a last shard that was ended early into a journal again, where more is wanted."""
        last = max(self.manifest.shards, default=-1)
        if last < 0 or self.manifest.shards[last].rows >= self._rows_of(last):
            return
        names = self.manifest.parameters, self.manifest.measures
        columns = columns_of(read_shard(self._folder, self.manifest.shards[last]), names)
        with self._opened(last) as journal:
            for row in _rows(columns):
                journal.append(row)
        self.manifest = self.manifest.without(last)
        self.manifest.save(self._folder)

    def _rows_of(self, shard: int) -> int:
        """Points that are wanted of a shard."""
        return min(self._plan.rows, self._plan.points - shard * self._plan.rows)

    def _journal_path(self, shard: int) -> Path:
        return self._folder / f"shard-{shard:05d}.journal"

    @contextlib.contextmanager
    def _opened(self, shard: int) -> Generator[Journal, None, None]:
        width = len(self._axes) + len(self._measures)
        journal = Journal(self._journal_path(shard), shard * self._plan.rows, width)
        try:
            yield journal
        finally:
            journal.close()

    def _known(self, shard: int) -> tuple[int, int]:
        """Rows of a shard that is not full, and how many of them failed."""
        if not self._journal_path(shard).exists():
            return 0, 0
        with self._opened(shard) as journal:
            states = journal.columns().state
        return len(states), int(np.count_nonzero(states != _COMPLETE))

    def _items(self, known: Mapping[int, int], wanted: Mapping[int, int]) -> Iterator[_Item]:
        for shard, rows in wanted.items():
            first = shard * self._plan.rows
            for number in range(first + known[shard], first + rows):
                yield _Item(self._sampler.sizing(number), self._sampler.corner(number))

    def _results(self, items: Iterator[_Item]) -> Generator[tuple[_Item, CornerResult], None, None]:
        """The result of each point in order; workers are kept busy ahead of it."""
        evaluator = self._evaluator
        for number, some in groupby(items, lambda item: item.corner):
            corner = self._corners[number]
            ahead: deque[_Item] = deque()
            whole = (evaluator.complete(item.sizing) for item in _noted(some, ahead))
            with contextlib.closing(evaluator.evaluate(whole, [corner])) as results:
                for found in results:
                    yield ahead.popleft(), found[corner.name]

    def _fill(self, shard: int, rows: int, results: Iterator[tuple[_Item, CornerResult]]) -> None:
        with self._opened(shard) as journal:
            while len(journal) < rows:
                item, result = next(results)
                check_installed(result)
                journal.append(self._row(item, result))
                self._count(result)
            names = tuple(axis.name for axis in self._axes), self._measures
            first = shard * self._plan.rows
            entry = write_shard(self._folder, shard, first, names, journal.columns(), STATES)
        self.manifest = self.manifest.with_shard(entry)
        self.manifest.save(self._folder)
        remove_journal(self._journal_path(shard))

    def _row(self, item: _Item, result: CornerResult) -> Row:
        chosen = item.sizing
        values = [
            float(axis.choices.index(chosen[axis.name]) if axis.categorical else chosen[axis.name])
            for axis in self._axes
        ]
        values += [result.measures[name] for name in self._measures]
        reason = result.reason or next(
            (f"{name}: {why}" for name, why in result.reasons.items()), ""
        )
        return Row(tuple(values), item.corner, self._codes[result.state], reason[:_LONGEST])

    def _count(self, result: CornerResult) -> None:
        """Count a point. Raises SimulatorBroken where all that there are have failed."""
        self._done += 1
        self._failed += result.state is not State.COMPLETE
        self._heard(self._done, self._total, self._failed)
        enough = min(_HOPELESS, self._total - self._first)
        if self._failed == self._done and self._done - self._first == enough:
            text = f"each of {self._done} points failed, the last with {result.state.value}"
            error = SimulatorBroken(f"{text}: {result.reason}")
            error.exit_code = exit_code_of(result.state)
            raise error


def _noted(items: Iterator[_Item], ahead: deque[_Item]) -> Iterator[_Item]:
    """`items`, each put into `ahead` as it goes by."""
    for item in items:
        ahead.append(item)
        yield item


def _rows(columns: Columns) -> Iterator[Row]:
    for index in range(len(columns)):
        number = int(columns.reason[index])
        yield Row(
            tuple(columns.values[index].tolist()),
            int(columns.corner[index]),
            int(columns.state[index]),
            columns.reasons[number - 1] if number else "",
        )
