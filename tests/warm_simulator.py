"""A simulator with a session that dies, hangs or lies on demand, for tests of the worker pool.

It solves the divider of `tests.helpers`; the value of `r1`, in ohm, says what goes wrong.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from m3eda.design.functions import FunctionTable
from m3eda.design.types import Design
from m3eda.errors import StorageError
from m3eda.plugins import Plugins
from m3eda.simulate.types import Deck, OnlyCold, Session, SimulationFailed, State, Waveforms
from tests.helpers import DividerSimulator

SEGFAULT, HANG, DEADLY, FAILS, BROKEN, COLD, RAISES, DISK, HUNGRY, EXITS, LATE, DEAF = (
    1001.0, 1002.0, 1003.0, 1004.0, 1005.0, 1006.0, 1007.0, 1008.0, 1009.0, 1010.0, 1011.0, 1012.0,
)  # fmt: skip


class WarmDivider(DividerSimulator):
    """`run` solves everything but DEADLY; its sessions misbehave."""

    def run(self, deck: Deck, rundir: Path, timeout: float) -> Waveforms:
        if deck.values["r1"] == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        (rundir / "cold").touch()
        return super().run(deck, rundir, timeout)

    def open(self, rundir: Path, *, strict: bool) -> Session:
        if self.name == "unwilling":
            raise OnlyCold("there is no library")
        return DividerSession(rundir)


class DividerSession:
    def __init__(self, rundir: Path) -> None:
        self.broken = False
        self._rundir = rundir

    def run(self, deck: Deck) -> Waveforms:
        assert Path.cwd() == self._rundir
        fault = deck.values["r1"]
        if fault in (SEGFAULT, DEADLY):
            os.kill(os.getpid(), signal.SIGSEGV)
        if fault == HANG:
            signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
            time.sleep(3600.0)
        if fault == LATE:
            time.sleep(0.5)
        if fault == FAILS:
            raise SimulationFailed(State.NO_CONVERGENCE, "timestep too small", "the log")
        if fault == BROKEN:
            self.broken = True
            raise SimulationFailed(State.PARSE_ERROR, "undefined parameter")
        if fault == COLD:
            raise OnlyCold("not this deck")
        if fault == RAISES:
            raise KeyError("a defect of the plugin")
        if fault == DISK:
            raise StorageError("the disk is full")
        if fault == HUNGRY:
            bytearray(1 << 44)
        if fault == EXITS:
            os._exit(7)
        waveforms = DividerSimulator().run(deck, self._rundir, 1.0)
        # tells the process that ran it, and that it was warm
        return Waveforms(waveforms.analyses, {"pid": float(os.getpid())}, 1e-6, cpu_seconds=1e-6)

    def close(self) -> None:
        return


class BatchingDivider(WarmDivider):
    ahead = 8

    def open(self, rundir: Path, *, strict: bool) -> Session:
        return BatchingSession(rundir)


class BatchingSession(DividerSession):
    """Tells with each result how many decks it knew of when it ran it."""

    def __init__(self, rundir: Path) -> None:
        super().__init__(rundir)
        self._expected: list[Deck] = []

    def expect(self, decks: Sequence[Deck]) -> None:
        if any(deck.values["r1"] == DEAF for deck in decks):
            raise KeyError("a defect of the plugin")
        self._expected += decks

    def run(self, deck: Deck) -> Waveforms:
        known = len(self._expected)
        if known:
            assert self._expected.pop(0) == deck
        time.sleep(0.002)  # more decks come meanwhile
        waveforms = super().run(deck)
        return replace(waveforms, meas={"pid": float(known)})


def tools(design: Design) -> tuple[WarmDivider, FunctionTable]:
    simulator = BatchingDivider() if design.simulator.name == "batching" else WarmDivider()
    simulator.name = design.simulator.name
    return simulator, Plugins([]).measures
