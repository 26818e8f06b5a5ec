"""The contract of a simulator's sessions, which keep circuits loaded, as a test-case class.

A plugin whose simulator has `open` subclasses `WarmSimulatorContract` in place of
`SimulatorContract`, and gives the same fixture:

    class TestMine(WarmSimulatorContract):
        @pytest.fixture
        def simulator(self):
            return MySimulator({})

Each session lives in a process of its own, as it does in a run of m3eda, and may die with it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

import pytest

from m3eda.simulate.difference import difference
from m3eda.simulate.types import (
    BatchSession,
    Deck,
    OnlyCold,
    Session,
    SimulationFailed,
    Skeleton,
    State,
    WarmSimulator,
    Waveforms,
)
from m3eda.testing.child import ChildDied, in_child
from m3eda.testing.simulators import TIMEOUT, Netlists, SimulatorContract, made, processes_left_in

T = TypeVar("T")

BAD = ("nonsense", "model_missing", "no_convergence")


@dataclass(frozen=True)
class Ran:
    """What became of one deck in a session."""

    waveforms: Waveforms | None = None
    state: State | None = None
    """Of a failure."""
    cold: str = ""
    """Why only `Simulator.run` takes the deck."""
    broken: bool = False
    """Whether the session said afterwards that its process must be given up."""


class SessionContract(Netlists):
    """What m3eda relies on in a session; the simulator's `run` is `SimulatorContract`'s matter."""

    strict_tolerance = 1e-12
    """Largest difference from `run` in strict mode, relative to the largest value of a vector."""
    tolerance = 1e-7
    """The same by default."""
    holes: Mapping[str, str] = MappingProxyType(
        {"divider": "3e3", "low_pass": "1e-9", "step": "1e-9", "amplifier": "1e-5"}
    )
    """The number in each deck that a sizing changes; it stands there once."""
    sized: tuple[str, ...] = ("divider", "low_pass", "step", "amplifier")
    """Decks whose sizes are changed."""

    def family(self, name: str) -> list[Deck]:
        """Decks of one skeleton: the deck `name` in three sizes."""
        before, hole, after = getattr(self, name).partition(self.holes[name])
        assert hole, f"the deck '{name}' has no {self.holes[name]}: override `holes` too"
        sizes = [(repr(float(hole) * factor),) for factor in (1.0, 1.37, 0.61, 2.9, 0.83)]
        skeleton = Skeleton((before, after), tuple(sizes[3:]))
        wanted: dict[str, Any] = {"vectors": ("v(out)",)}
        if name == "amplifier":
            wanted["device_values"] = ("@m1[gm]", "@m1[id]")
        return [
            Deck(skeleton.text(fills), skeleton=skeleton, fills=fills, **wanted)
            for fills in sizes[:3]
        ]

    def with_session(
        self,
        simulator: WarmSimulator,
        rundir: Path,
        use: Callable[[Session], T],
        *,
        strict: bool = False,
        seconds: float = 2.0 * TIMEOUT,
    ) -> T:
        """What `use` makes of a session in a process of its own; skips where none opens."""

        def task() -> tuple[str, T | None]:
            try:
                session = simulator.open(rundir, strict=strict)
            except OnlyCold as reason:
                return f"no session opens here: {reason}", None
            found = use(session)
            session.close()
            return "", found

        reason, found = in_child(task, rundir, seconds)
        if reason:
            pytest.skip(reason)
        return cast("T", found)

    def in_session(
        self,
        simulator: WarmSimulator,
        rundir: Path,
        decks: Sequence[Deck],
        *,
        strict: bool = False,
        expected: Sequence[Deck] = (),
    ) -> list[Ran]:
        """What became of `decks`, one after the other, in a session of a process of its own.

        The list ends where the session broke. A batch session hears of `expected` before.
        """

        def use(session: Session) -> list[Ran]:
            if expected:
                assert isinstance(session, BatchSession)
                session.expect(expected)
            found: list[Ran] = []
            for deck in decks:
                found.append(_ran(session, deck))
                if found[-1].broken:
                    break
            return found

        return self.with_session(simulator, rundir, use, strict=strict)

    def cold(self, simulator: WarmSimulator, folder: Path, decks: Sequence[Deck]) -> list[Ran]:
        """What `run` makes of the same decks."""
        found = []
        for number, deck in enumerate(decks):
            try:
                waveforms = simulator.run(deck, made(folder / f"run{number}"), TIMEOUT)
                found.append(Ran(waveforms))
            except SimulationFailed as failure:
                found.append(Ran(state=failure.state))
        return found

    def agree(self, expected: Ran, found: Ran, tolerance: float, where: str = "") -> None:
        """Fails where a session gave something else than is expected; OnlyCold is no answer."""
        if found.cold:
            return
        told = [ran.state.value if ran.state else "complete" for ran in (found, expected)]
        assert found.state == expected.state, f"{where}it is {told[0]}, and should be {told[1]}"
        if expected.waveforms is None or found.waveforms is None:
            return
        apart = difference(expected.waveforms, found.waveforms)
        assert apart <= tolerance, f"{where}differs by {apart:.3g} of a vector's largest value"
        pairs = zip(expected.waveforms.analyses, found.waveforms.analyses, strict=True)
        for one, other in pairs:
            assert dict(one.units) == dict(other.units)

    def test_opens_a_session(self, simulator: WarmSimulator, tmp_path: Path) -> None:
        assert isinstance(simulator, WarmSimulator)

        def use(session: Session) -> None:
            assert isinstance(session, Session)
            assert session.broken is False

        self.with_session(simulator, made(tmp_path / "session"), use)

    def test_runs_sizings_of_one_circuit(self, simulator: WarmSimulator, tmp_path: Path) -> None:
        decks = [deck for name in self.sized for deck in self.family(name)]
        found = self.in_session(simulator, made(tmp_path / "session"), decks)
        assert any(ran.waveforms for ran in found), f"only `run` takes them: {found[0].cold}"

    @pytest.mark.parametrize("name", ["divider", "low_pass", "step", "amplifier"])
    def test_gives_what_run_gives(
        self, simulator: WarmSimulator, tmp_path: Path, name: str
    ) -> None:
        if name not in self.sized:
            pytest.skip("its sizes are not changed")
        decks = self.family(name)
        expected = self.cold(simulator, tmp_path, decks)
        decks.append(replace(decks[1], skeleton=None, fills=()))
        expected.append(expected[1])
        for mode, limit in (("strict", self.strict_tolerance), ("default", self.tolerance)):
            rundir, strict = made(tmp_path / mode), mode == "strict"
            found = self.in_session(simulator, rundir, decks, strict=strict)
            assert len(found) == len(decks), f"{mode}: the session broke"
            for one, other in zip(expected, found, strict=True):
                self.agree(one, other, limit, f"{mode}: ")

    @pytest.mark.parametrize("strict", [True, False], ids=["strict", "default"])
    def test_what_ran_before_does_not_matter(
        self, simulator: WarmSimulator, tmp_path: Path, strict: bool
    ) -> None:
        decks = [self.family(name)[0] for name in self.sized]
        alone = [
            self.in_session(simulator, made(tmp_path / f"alone{n}"), [deck], strict=strict)[0]
            for n, deck in enumerate(decks)
        ]
        others = [self.family(name)[2] for name in self.sized]
        order = [*others, *decks, *others[::-1], *decks[::-1]]
        together = self.in_session(simulator, made(tmp_path / "all"), order, strict=strict)
        assert len(together) == len(order), "the session broke"
        for deck, ran in zip(order, together, strict=True):
            if deck in decks:
                self.agree(alone[decks.index(deck)], ran, 0.0)

    @pytest.mark.parametrize("bad", [*BAD, "missing_node"])
    def test_fails_as_run_does_and_recovers(
        self, simulator: WarmSimulator, tmp_path: Path, bad: str
    ) -> None:
        missing = Deck(self.divider, vectors=("v(outt)",))
        deck = missing if bad == "missing_node" else Deck(getattr(self, bad))
        good = self.family("low_pass")[0]
        [expected] = self.cold(simulator, tmp_path, [deck])
        found = self.in_session(simulator, made(tmp_path / "session"), [good, deck, good])
        self.agree(expected, found[1], 0.0)
        if not found[1].broken:
            self.agree(found[0], found[2], 0.0)

    def test_a_failing_sizing_leaves_the_others_alone(
        self, simulator: WarmSimulator, tmp_path: Path
    ) -> None:
        good, other, _ = self.family("divider")
        assert good.skeleton is not None
        fills = ("{undefined_parameter}",)
        bad = replace(good, text=good.skeleton.text(fills), fills=fills)
        decks = [good, bad, other]
        expected = self.cold(simulator, tmp_path, decks)
        found = self.in_session(simulator, made(tmp_path / "session"), decks)
        for one, ran in zip(expected, found, strict=False):
            self.agree(one, ran, self.tolerance)

    def test_hearing_of_decks_early_changes_nothing(
        self, simulator: WarmSimulator, tmp_path: Path
    ) -> None:
        if not getattr(simulator, "ahead", 0):
            pytest.skip("its sessions take one deck at a time")
        decks = [deck for name in self.sized for deck in self.family(name)]
        alone = self.in_session(simulator, made(tmp_path / "alone"), decks)
        for number, expected in enumerate((decks, decks[::-1], decks[:7])):
            folder = made(tmp_path / str(number))
            found = self.in_session(simulator, folder, decks[::2], expected=expected)
            for one, ran in zip(alone[::2], found, strict=True):
                self.agree(one, ran, 0.0)

    def test_files_stay_in_its_directory_and_do_not_pile_up(
        self, simulator: WarmSimulator, tmp_path: Path
    ) -> None:
        rundir = made(tmp_path / "session")
        decks = [deck for name in self.sized for deck in self.family(name)]

        def use(session: Session) -> list[int]:
            counts = []
            for _ in range(3):
                for deck in decks:
                    _ran(session, deck)
                counts.append(_open_files() + len(list(rundir.rglob("*"))))
            return counts

        counts = self.with_session(simulator, rundir, use)
        assert counts[2] <= counts[1] + 1, f"open files and files after each round: {counts}"
        beside = {path.name for path in tmp_path.iterdir()} - {"session", "session.log"}
        assert not beside, f"files beside its directory: {', '.join(beside)}"

    def test_a_killed_session_leaves_no_process(
        self, simulator: WarmSimulator, tmp_path: Path
    ) -> None:
        rundir, deck = made(tmp_path / "session"), Deck(self.endless)
        try:
            ran = self.with_session(simulator, rundir, lambda each: _ran(each, deck), seconds=1.0)
        except ChildDied:
            assert not processes_left_in(rundir, patience=5.0)
        else:
            assert ran.cold, "the endless deck ended"

    def test_time_of_a_run(self, simulator: WarmSimulator, tmp_path: Path) -> None:
        start = time.monotonic()
        deck = self.family("low_pass")[0]
        [ran] = self.in_session(simulator, made(tmp_path / "session"), [deck])
        if ran.waveforms is not None:
            assert 0.0 < ran.waveforms.seconds <= time.monotonic() - start


class WarmSimulatorContract(SimulatorContract, SessionContract):
    """All that m3eda relies on in a simulator with sessions."""


def _ran(session: Session, deck: Deck) -> Ran:
    try:
        return Ran(session.run(deck), broken=session.broken)
    except SimulationFailed as failure:
        told = failure
    except OnlyCold as reason:
        return Ran(cold=str(reason) or "it gives no reason", broken=session.broken)
    assert told.reason, "a failure has a reason"
    assert "\n" not in told.reason, "a reason is one line"
    return Ran(state=told.state, broken=session.broken)


def _open_files() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:  # not Linux
        return 0
