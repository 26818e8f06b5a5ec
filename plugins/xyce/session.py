"""Xyce with many sizings a process, behind the session of a worker.

What a deck gives follows from the deck and its skeleton alone: all decks of a skeleton are rows of
a stepped run, beside whichever others, where that is proved to give at the skeleton's probes what
their plain text gives; else each is run by itself. So is a row that failed, for a reason and a log
of its own.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections import OrderedDict, deque
from collections.abc import Sequence
from pathlib import Path

from m3eda_plugins.ngspice.parameters import Unfit, marker, parametrise
from m3eda_plugins.probes import CLOSE, plain_runs
from m3eda_plugins.xyce.batch import Stepped
from m3eda_plugins.xyce.fit import check_fit
from m3eda_plugins.xyce.simulator import Xyce

from m3eda.simulate.difference import difference
from m3eda.simulate.types import Deck, OnlyCold, SimulationFailed, Skeleton, Waveforms

_REMEMBERED = 64
"""Skeletons whose proof is remembered."""
_ENOUGH = 0.6
"""Seconds a run of several rows is meant to take: starting Xyce is little beside it, and the
engine waits for the first row as long as for all."""
_SLACK, _PATIENCE = 0.3, 3.0
"""Seconds, and times the expected time, after which rows are run one by one instead."""

_Key = tuple[object, ...]


class XyceSession:
    """A `BatchSession` of Xyce, which runs decks it expects together."""

    broken = False

    def __init__(self, simulator: Xyce, rundir: Path, *, strict: bool) -> None:
        self._simulator = simulator
        self._rundir = rundir
        self._allowed = 0.0 if strict else CLOSE
        self._expected: deque[tuple[Deck, _Key | None]] = deque()
        self._ways: OrderedDict[_Key, _Rows | str] = OrderedDict()

    def close(self) -> None:
        """Forget all; nothing of Xyce is running between two decks."""
        while self._ways:
            self._forget()

    def expect(self, decks: Sequence[Deck]) -> None:
        """See `BatchSession.expect`."""
        self._expected += [(deck, _key(deck)) for deck in decks]

    def run(self, deck: Deck) -> Waveforms:
        """See `Session.run`."""
        key = self._come(deck)
        if key is None:
            raise OnlyCold("it shares no skeleton with other decks")
        if key not in self._ways:
            self._ways[key] = self._way(deck)
            while len(self._ways) > _REMEMBERED:
                self._forget()
        way = self._ways[key]
        if isinstance(way, str):
            raise OnlyCold(way)
        try:
            return way.run(deck, [each for each, its in self._expected if its == key])
        except Unfit as reason:
            raise OnlyCold(str(reason)) from reason

    def _come(self, deck: Deck) -> _Key | None:
        """The key of `deck`; it, and what was to come before it, are expected no more."""
        for index, (each, key) in enumerate(self._expected):
            if each is deck:
                for _ in range(index + 1):
                    self._expected.popleft()
                return key
        return _key(deck)

    def _forget(self) -> None:
        _, way = self._ways.popitem(last=False)
        if isinstance(way, _Rows):
            way.close()

    def _way(self, deck: Deck) -> _Rows | str:
        """How the decks of a skeleton are run; why by themselves, where they are."""
        assert deck.skeleton is not None
        folder = Path(tempfile.mkdtemp(prefix="batch-", dir=self._rundir))
        try:
            return self._proved(deck, deck.skeleton, folder)
        except (Unfit, SimulationFailed) as reason:
            shutil.rmtree(folder, ignore_errors=True)
            return str(reason)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _proved(self, deck: Deck, skeleton: Skeleton, folder: Path) -> _Rows:
        """Rows, where they give what plain decks give, in any order. Raises Unfit."""
        if len(skeleton.probes) != 2:
            raise Unfit("it has no probes")
        marked = skeleton.text([marker(number) for number in range(len(skeleton.parts) - 1)])
        check_fit(deck, marked)
        netlist = parametrise(marked, skeleton.probes)
        (one, plain_one), (other, plain_other) = plain_runs(deck, skeleton, self._cold, 2)
        stepped = Stepped(self._simulator, one, netlist, folder)
        batch = stepped.run([other, one, one, other], math.inf)
        if len(batch.results) != 4:
            raise Unfit("it does not run with parameters, or not without gmin stepping")
        plain = (plain_other, plain_one, plain_one, plain_other)
        apart = max(map(self._apart, plain, batch.results))
        # a row must not depend on those before it, whatever is allowed
        moved = max(map(difference, batch.results, reversed(batch.results)))
        if apart > self._allowed or moved > 0.0:
            raise Unfit("it does not give the same with parameters")
        return _Rows(stepped, folder, batch.seconds / 4.0, self._simulator.ahead)

    def _apart(self, plain: Waveforms, row: Waveforms) -> float:
        """How far a row is from its plain deck; infinite where more than a transient differs."""
        kinds = [tuple(a for a in each.analyses if a.kind != "tran") for each in (plain, row)]
        here, there = (Waveforms(found) for found in kinds)
        apart: float = difference(plain, row)
        whole = len(here.analyses) == len(plain.analyses)
        return math.inf if difference(here, there) or (whole and apart) else apart

    def _cold(self, deck: Deck) -> Waveforms:
        folder = Path(tempfile.mkdtemp(prefix="plain-", dir=self._rundir))
        try:
            found: Waveforms = self._simulator.run(deck, folder, math.inf)
            return found
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class _Rows:
    """The decks of one skeleton, run as rows, and what is known of those to come."""

    def __init__(self, stepped: Stepped, folder: Path, seconds: float, most: int) -> None:
        """A row takes about `seconds`; a run has `most` rows at most."""
        self._stepped = stepped
        self._folder = folder
        self._seconds = seconds
        self._limit = self._most = most
        """Rows of the next run, fewer where many of the last one were of no use."""
        self._known: dict[tuple[str, ...], Waveforms | None] = {}
        self._alone: set[tuple[str, ...]] = set()
        """Fills that were in a run which died."""

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, deck: Deck, following: Sequence[Deck]) -> Waveforms:
        """What `deck` gives, which those `following` may be run with. Raises Unfit."""
        if deck.fills not in self._known:
            self._stepped.row(deck)
            coming = {each.fills for each in following}
            self._known = {fills: given for fills, given in self._known.items() if fills in coming}
            self._alone &= {*coming, deck.fills}
            self._together(deck, following)
        result = self._known.pop(deck.fills)
        if result is None:
            raise Unfit("its row failed")
        return result

    def _together(self, deck: Deck, following: Sequence[Deck]) -> None:
        """Make `deck` known, and as many of those `following` as there is time for."""
        decks = self._chosen(deck, following)
        patience = _SLACK + _PATIENCE * self._seconds * len(decks)
        batch = self._stepped.run(decks, patience if len(decks) > 1 else math.inf)
        if batch.died and len(decks) > 1:
            self._alone.update(each.fills for each in decks)
            self._together(deck, ())
            return
        given = len(batch.results)
        self._seconds = batch.seconds / len(decks)
        whole = given == len(decks)
        self._most = min(self._limit, max(self._most if whole else 1, 2 * given))
        for each, result in zip(decks, batch.results, strict=False):
            self._known[each.fills] = result
        if not whole and (batch.failed or not given):
            self._known[decks[given].fills] = None

    def _chosen(self, deck: Deck, following: Sequence[Deck]) -> list[Deck]:
        """`deck`, and those that are run with it."""
        if deck.fills in self._alone:
            return [deck]
        most = max(1, min(self._most, int(_ENOUGH / max(self._seconds, 1e-6))))
        chosen = {deck.fills: deck}
        for each in following:
            if len(chosen) == most:
                break
            if each.fills not in self._known and each.fills not in self._alone:
                try:
                    self._stepped.row(each)
                except Unfit:
                    continue
                chosen.setdefault(each.fills, each)
        return [*chosen.values()]


def _key(deck: Deck) -> _Key | None:
    """What decks must share to be rows of one run; None for one that must run by itself."""
    skeleton = deck.skeleton
    if skeleton is None or skeleton.text(deck.fills) != deck.text:
        return None
    return (skeleton.key, deck.testbench, deck.vectors, deck.device_values, deck.meas,
            deck.contents, deck.files)  # fmt: skip
