"""Many sizings of one deck in time, on grids of their own with the same number of points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m3eda.coarse.kernel import Compiled
from m3eda.coarse.netlist import Analysis, Branch
from m3eda.coarse.solve import Batch, BoolArray, IntArray
from m3eda.design.ranges import FloatArray

WEIGHT = 0.52
"""Of the end of a step; a half is the trapezoidal rule, 1 is Euler's."""
POINTS = 160
"""Steps of equal length in a transient, before those at the edges of sources."""
FIRST, GROWTH = 0.05, 1.7
"""Length of the step behind an edge in units of an even one, and by how much the next is longer."""
CLOSE = 1e-5
"""Change of voltages at which a step ends, V."""
ROUNDS, FRESH = 40, frozenset({3, 5, *range(7, 40)})
"""Rounds of Newton's method in a step, and those that begin with new derivatives."""
TIRED = 3
"""Rounds of a step from which on the next one has new derivatives from its beginning."""
SAME = 1e-3
"""Relative difference of steps' lengths below which they are the same."""
STEP = 0.5
"""Largest change of a voltage in one round, V."""
SHORTEST = 1e-9
"""Step in units of the last time."""


def levels(source: Branch, fills: FloatArray, times: FloatArray) -> FloatArray:
    """Of a source at `times` (n, t), shape (n, t)."""
    given = [each.of(fills)[:, None] for each in source.times]
    if source.shape == "pwl":
        at, level = np.hstack(given[0::2]), np.hstack(given[1::2])
        return np.array([np.interp(t, a, v) for t, a, v in zip(times, at, level, strict=True)])
    none = np.zeros((len(fills), 1))
    if source.shape == "sin":
        offset, size, frequency, delay, damping = (given + [none] * 5)[:5]
        since = np.maximum(times - delay, 0.0)
        return offset + size * np.exp(-damping * since) * np.sin(2.0 * np.pi * frequency * since)
    if source.shape == "exp":
        first, second, delay, rise, later, fall = (given + [none] * 6)[:6]
        up = 1.0 - np.exp(-np.maximum(times - delay, 0.0) / np.maximum(rise, 1e-15))
        down = 1.0 - np.exp(-np.maximum(times - later, 0.0) / np.maximum(fall, 1e-15))
        return first + (second - first) * up + (first - second) * down
    return _pulse(source, fills, times)


def _pulse(source: Branch, fills: FloatArray, times: FloatArray) -> FloatArray:
    first, second, delay, rise, fall, width, period = _pulse_numbers(source, fills, times)
    since = np.maximum(times - delay, 0.0)
    since = np.where(np.isfinite(period), since - np.floor(since / period) * period, since)
    up = np.clip(since / rise, 0.0, 1.0)
    down = np.clip((since - rise - width) / fall, 0.0, 1.0)
    return first + (second - first) * (up - down)


def _pulse_numbers(source: Branch, fills: FloatArray, times: FloatArray) -> list[FloatArray]:
    """Each of shape (n, 1), with what SPICE takes where one is not given."""
    given = [each.of(fills)[:, None] for each in source.times]
    step = (times[:, -1:] - times[:, :1]) / POINTS
    infinite = np.full((len(fills), 1), np.inf)
    defaults = [np.zeros_like(step), np.zeros_like(step), np.zeros_like(step), step, step,
                infinite, infinite]  # fmt: skip
    found = given[:7] + defaults[len(given) :]
    for place in (3, 4):
        found[place] = np.where(found[place] > 0.0, found[place], step)
    for place in (5, 6):
        found[place] = np.where(found[place] > 0.0, found[place], np.inf)
    return found


def _edges(source: Branch, fills: FloatArray, end: FloatArray) -> list[FloatArray]:
    """Times (n,) at which a source turns a corner."""
    if source.shape == "pwl":
        return [each.of(fills) for each in source.times[0::2]]
    if source.shape in ("sin", "exp"):
        return [each.of(fills) for each in source.times[2:5:2]]
    numbers = _pulse_numbers(source, fills, np.stack([np.zeros_like(end), end], axis=1))
    _, _, delay, rise, fall, width, period = (each[:, 0] for each in numbers)
    found = []
    repeats = np.where(np.isfinite(period), (end - delay) / period, 0.0)
    for k in range(1 + int(min(max(repeats.max(), 0.0), 20))):
        start = delay + k * np.where(np.isfinite(period), period, 0.0)
        found += [start, start + rise, start + rise + width, start + rise + width + fall]
    return found


def grid(batch: Batch, each: Analysis) -> FloatArray:
    """Times of each sizing, shape (n, t): even, and close behind the edges of sources."""
    fills = batch.fills
    numbers = [number.of(fills) for number in each.numbers]
    end = numbers[1]
    count = POINTS
    if len(numbers) > 3:  # a largest step: the designer's word on what is fine enough
        count = int(np.clip(np.max(end / np.maximum(numbers[3], 1e-18)), POINTS, 6 * POINTS))
    even = end / count
    columns = [end * k / count for k in range(count + 1)]
    for source in batch.netlist.branches:
        if not source.shape:
            continue
        for edge in _edges(source, fills, end):
            step, at = FIRST * even, np.where(np.isfinite(edge), edge, 0.0)
            columns.append(at)
            reach = 0.0
            while reach < 1.0:
                at = at + step
                columns.append(at)
                reach = float(np.max(step / even))
                step = step * GROWTH
    return np.sort(np.clip(np.stack(columns, axis=1), 0.0, end[:, None]), axis=1)


def transient(batch: Batch, x: FloatArray, times: FloatArray) -> FloatArray:
    """Unknowns at `times`, shape (n, t, size + 1), from operating points `x`; nan from the first
    step on that was not found."""
    return _Steps(batch, times).run(x)


class _Steps:
    def __init__(self, batch: Batch, times: FloatArray) -> None:
        self._batch, self._times = batch, times
        self._moving = [
            (each, levels(each, batch.fills, times) - each.value.of(batch.fills)[:, None])
            for each in batch.netlist.branches if each.shape
        ]  # fmt: skip
        self._nets = np.array(sorted(batch.netlist.nets.values()), dtype=int)
        self._old: _Matrices | None = None

    def run(self, x: FloatArray) -> FloatArray:
        batch, times = self._batch, self._times
        if batch.compiled:
            return self._compiled(batch.compiled, x)
        found = np.full((batch.count, times.shape[1], x.shape[1]), np.nan)
        found[:, 0] = x
        rows = np.flatnonzero(np.isfinite(x).all(axis=1))
        x, before = x[rows], self._residual(x[rows], 0, rows)
        for k in range(1, times.shape[1]):
            x, before, ok = self._step(x, before, k, rows)
            if not ok.all():
                rows, x, before = rows[ok], x[ok], before[ok]
                self._old = None
            if not len(rows):
                break
            found[rows, k] = x
        return found

    def _compiled(self, compiled: Compiled, x: FloatArray) -> FloatArray:
        ground = self._batch.netlist.size
        moved, plus, minus = [], [], []
        for source, levels in self._moving:
            moved.append(levels)
            plus.append(ground if source.kind == "v" else source.ends[0])
            minus.append(source.place if source.kind == "v" else source.ends[1])
        return compiled.transient(
            x, self._times, np.array(moved), [k % (ground + 1) for k in plus],
            [k % (ground + 1) for k in minus], FRESH, weight=WEIGHT, close=CLOSE, same=SAME,
            step=STEP, shortest=SHORTEST, rounds=ROUNDS, tired=TIRED,
        )  # fmt: skip

    def _residual(self, x: FloatArray, k: int, rows: IntArray) -> FloatArray:
        """Currents out of nets and voltages missed of the sizings `rows`, shape (r, size + 1)."""
        batch = self._batch
        found: FloatArray = np.matmul(batch.conductance[rows], x[..., None])[..., 0]
        found -= batch.forced[rows]
        for source, moved in self._moving:
            level, (a, b) = moved[rows, k], source.ends
            if source.kind == "v":
                found[:, source.place] -= level
            else:
                found[:, a] += level
                found[:, b] -= level
        if len(batch.places):
            into = batch.devices_at(x, rows).current * batch.sign
            for column, (d, _, s, _) in zip(into.T, batch.places, strict=True):
                found[:, d] += column
                found[:, s] -= column
        if not batch.netlist.plain:
            batch.add_others(x, rows, None, found)
        found[:, -1] = 0.0
        return found

    def _matrices(self, x: FloatArray, length: FloatArray, rows: IntArray) -> _Matrices:
        """With the inverses of the step before, where they still do; `length` not 0."""
        old, (conductance, storage, _) = self._old, self._batch.small_signal(x, rows)
        if old is None or not (np.abs(old.length - length) <= SAME * length).all():
            inverse = _inverted(storage / length[:, None, None] + WEIGHT * conductance)
            old = self._old = _Matrices(length, storage, inverse)
        old.storage = storage
        return old

    def _step(
        self, x: FloatArray, before: FloatArray, k: int, rows: IntArray
    ) -> tuple[FloatArray, FloatArray, BoolArray]:
        """The unknowns one step later, what they miss, and which were found, of `rows`."""
        batch, size = self._batch, self._batch.netlist.size
        length = self._times[rows, k] - self._times[rows, k - 1]
        if not (length > 0.0).any():
            return x, before, np.ones(len(rows), dtype=bool)
        # one that stays where it is takes a step that is too short to matter
        length = np.maximum(length, SHORTEST * self._times[rows, -1])
        now, residual, done = x.copy(), before.copy(), np.zeros(len(rows), dtype=bool)
        left = np.arange(len(rows))
        matrices = self._matrices(x, length, rows)
        for turn in range(ROUNDS):
            residual[left] = self._residual(now[left], k, rows[left])
            moved = np.matmul(matrices.storage[left], (now - x)[left, :size, None])[..., 0]
            missed = (moved / length[left, None] + WEIGHT * residual[left, :size]
                      + (1.0 - WEIGHT) * before[left, :size])  # fmt: skip
            if turn in FRESH:
                conductance, _, _ = batch.small_signal(now[left], rows[left])
                again = matrices.storage[left] / length[left, None, None] + WEIGHT * conductance
                matrices.inverse[left] = _inverted(again)
            change = -np.matmul(matrices.inverse[left], missed[..., None])[..., 0]
            largest = np.abs(change[:, self._nets]).max(axis=1)
            change *= np.minimum(1.0, STEP / np.maximum(largest, 1e-30))[:, None]
            now[left, :size] += change
            done[left] = largest < CLOSE
            left = np.flatnonzero(~done)
            if not len(left):
                break
        if turn >= TIRED:
            self._old = None
        return now, self._residual(now, k, rows), done & np.isfinite(now).all(axis=1)


@dataclass
class _Matrices:
    """Of steps of one length."""

    length: FloatArray
    """s, shape (r,), for which there are inverses."""
    storage: FloatArray
    """Where the step begins."""
    inverse: FloatArray
    """Each (r, size, size)."""


def _inverted(matrices: FloatArray) -> FloatArray:
    try:
        return np.asarray(np.linalg.inv(matrices))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.pinv(np.nan_to_num(matrices)))
