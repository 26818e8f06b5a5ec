"""The contract of a simulator, as a test-case class.

A plugin author subclasses `SimulatorContract` in a test file and gives one fixture:

    class TestMine(SimulatorContract):
        @pytest.fixture
        def simulator(self):
            return MySimulator({})

The netlists are plain SPICE: R, C, V and M with a level 1 model, B sources where something must
go wrong. A dialect that differs overrides the class attributes.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from m3eda.simulate.types import Analysis, Deck, SimulationFailed, Simulator, State, Waveforms

R, C = 1e3, 1e-9
"""Resistance in ohm and capacitance in F of the filter that the contract measures."""

TIMEOUT = 30.0


class Netlists:
    """The netlists of the contracts; a dialect that differs overrides them."""

    divider = "divider\nv1 in 0 dc 2\nr1 in out 1e3\nr2 out 0 3e3\n.op\n"
    low_pass = "low pass\nv1 in 0 dc 0 ac 1\nr1 in out 1e3\nc1 out 0 1e-9\n.ac dec 10 1e3 1e7\n"
    step = (
        "step\nv1 in 0 pulse(0 1 0 1e-12 1e-12 1 2)\nr1 in out 1e3\nc1 out 0 1e-9\n"
        ".tran 1e-8 5e-6 0 1e-8\n"
    )
    amplifier = (
        "common source\nvdd vdd 0 dc 1.8\nvin in 0 dc 0.8\nrd vdd out 1e4\n"
        "m1 out in 0 0 nch w=1e-5 l=1e-6\n.model nch nmos level=1 vto=0.5 kp=1e-4 lambda=0\n.op\n"
    )
    model_missing = "no model\nv1 in 0 dc 1\nm1 in in 0 0 nowhere w=1e-6 l=1e-6\n.op\n"
    nonsense = "nonsense\nv1 in 0 dc 1\nr1 in 0 {undefined_parameter}\n.op\n"
    no_convergence = (
        "no solution\nv1 in 0 dc 1\nr1 in 0 1e3\nb1 out 0 v=v(out)*v(out)+1\nr2 out 0 1e3\n.op\n"
    )
    endless = (
        "endless\nv1 in 0 sin(0 1 1e9)\nr1 in out 1e3\nc1 out 0 1e-12\n.tran 1e-12 1e3 0 1e-12\n"
    )


class SimulatorContract(Netlists):
    """What m3eda relies on, one behaviour a test."""

    def run(
        self, simulator: Simulator, rundir: Path, deck: Deck, timeout: float = TIMEOUT
    ) -> Waveforms:
        return simulator.run(deck, rundir, timeout)

    def only(self, waveforms: Waveforms, kind: str) -> Analysis:
        found = [analysis for analysis in waveforms.analyses if analysis.kind == kind]
        assert len(found) == 1, f"one {kind} analysis is expected, and there are {len(found)}"
        return found[0]

    def failure(
        self, simulator: Simulator, rundir: Path, deck: Deck, timeout: float = TIMEOUT
    ) -> SimulationFailed:
        with pytest.raises(SimulationFailed) as caught:
            simulator.run(deck, rundir, timeout)
        assert caught.value.reason, "a failure has a reason"
        assert "\n" not in caught.value.reason, "a reason is one line"
        return caught.value

    def test_answers_the_protocol(self, simulator: Simulator) -> None:
        assert isinstance(simulator, Simulator)
        assert simulator.name
        version = simulator.available()
        assert version.startswith(simulator.name), f"{version}: a name and version, as xyce-7.8"

    def test_operating_point(self, simulator: Simulator, tmp_path: Path) -> None:
        deck = Deck(self.divider, vectors=("v(out)", "i(v1)"))
        op = self.only(self.run(simulator, tmp_path, deck), "op")
        assert op.scale == ""
        assert op.vectors["v(out)"] == pytest.approx([1.5], rel=1e-6)
        assert op.vectors["i(v1)"] == pytest.approx([-0.5e-3], rel=1e-6)

    def test_device_values(self, simulator: Simulator, tmp_path: Path) -> None:
        wanted = ("@m1[gm]", "@m1[id]")
        deck = Deck(self.amplifier, vectors=("v(out)",), device_values=wanted)
        op = self.only(self.run(simulator, tmp_path, deck), "op")
        assert op.vectors["@m1[gm]"] == pytest.approx([3e-4], rel=1e-3)
        assert op.vectors["@m1[id]"] == pytest.approx([4.5e-5], rel=1e-3)

    def test_ac_is_complex_over_a_real_frequency(
        self, simulator: Simulator, tmp_path: Path
    ) -> None:
        waveforms = self.run(simulator, tmp_path, Deck(self.low_pass, vectors=("v(out)",)))
        ac = self.only(waveforms, "ac")
        frequency = ac.vectors[ac.scale]
        assert ac.scale == "frequency"
        assert frequency.dtype == np.float64
        assert frequency.size == 41
        expected = 1.0 / (1.0 + 2j * np.pi * frequency * R * C)
        np.testing.assert_allclose(ac.vectors["v(out)"], expected, rtol=1e-9)

    def test_transient_reaches_its_stop_time(self, simulator: Simulator, tmp_path: Path) -> None:
        waveforms = self.run(simulator, tmp_path, Deck(self.step, vectors=("v(out)",)))
        tran = self.only(waveforms, "tran")
        seconds = tran.vectors["time"]
        assert tran.scale == "time"
        assert seconds[-1] == pytest.approx(5e-6, rel=1e-6)
        expected = 1.0 - np.exp(-seconds / (R * C))
        np.testing.assert_allclose(tran.vectors["v(out)"], expected, atol=2e-3)

    def test_results_are_named_as_asked(self, simulator: Simulator, tmp_path: Path) -> None:
        waveforms = self.run(simulator, tmp_path, Deck(self.low_pass, vectors=("v(out)",)))
        assert set(self.only(waveforms, "ac").vectors) == {"frequency", "v(out)"}

    def test_nothing_asked_gives_all_nodes_and_branches(
        self, simulator: Simulator, tmp_path: Path
    ) -> None:
        op = self.only(self.run(simulator, tmp_path, Deck(self.divider)), "op")
        assert set(op.vectors) >= {"v(in)", "v(out)", "i(v1)"}

    def test_units(self, simulator: Simulator, tmp_path: Path) -> None:
        deck = Deck(self.low_pass, vectors=("v(out)", "i(v1)"))
        units = self.only(self.run(simulator, tmp_path, deck), "ac").units
        assert (units["frequency"], units["v(out)"], units["i(v1)"]) == ("Hz", "V", "A")

    def test_missing_node_is_named(self, simulator: Simulator, tmp_path: Path) -> None:
        error = self.failure(simulator, tmp_path, Deck(self.divider, vectors=("v(outt)",)))
        assert error.state is State.VECTOR_MISSING
        assert "v(outt)" in error.reason
        assert "v(out)" in error.reason, "the nearest name is given"

    def test_missing_model(self, simulator: Simulator, tmp_path: Path) -> None:
        error = self.failure(simulator, tmp_path, Deck(self.model_missing))
        assert error.state is State.MODEL_MISSING

    def test_undefined_parameter(self, simulator: Simulator, tmp_path: Path) -> None:
        assert self.failure(simulator, tmp_path, Deck(self.nonsense)).state is State.PARSE_ERROR

    def test_no_convergence(self, simulator: Simulator, tmp_path: Path) -> None:
        error = self.failure(simulator, tmp_path, Deck(self.no_convergence))
        assert error.state is State.NO_CONVERGENCE

    def test_timeout_ends_every_process(self, simulator: Simulator, tmp_path: Path) -> None:
        start = time.monotonic()
        error = self.failure(simulator, tmp_path, Deck(self.endless), timeout=1.0)
        assert error.state is State.TIMEOUT
        spent = time.monotonic() - start
        assert spent < 5.0, f"a run with a timeout of 1 s took {spent:.1f} s"
        assert not processes_left_in(tmp_path), "a process still runs in the run directory"

    def test_a_failure_leaves_the_next_run_alone(
        self, simulator: Simulator, tmp_path: Path
    ) -> None:
        for name, deck in (("bad", Deck(self.nonsense)), ("worse", Deck(self.model_missing))):
            self.failure(simulator, made(tmp_path / name), deck)
        op = self.only(self.run(simulator, made(tmp_path / "good"), Deck(self.divider)), "op")
        assert op.vectors["v(out)"] == pytest.approx([1.5], rel=1e-6)

    def test_stays_in_its_run_directory(
        self, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here, rundir = made(tmp_path / "here"), made(tmp_path / "rundir")
        monkeypatch.chdir(here)
        self.run(simulator, rundir, Deck(self.divider, vectors=("v(out)",)))
        left = [path.name for path in here.iterdir()]
        assert left == [], "files in the caller's directory; rundir is the place for them"

    def test_two_threads_at_once(self, simulator: Simulator, tmp_path: Path) -> None:
        def output(ohms: float) -> float:
            text = self.divider.replace("3e3", repr(ohms))
            rundir = made(tmp_path / str(ohms))
            deck = Deck(text, vectors=("v(out)",))
            return float(self.only(self.run(simulator, rundir, deck), "op").vectors["v(out)"][0])

        ohms = [1e3 * n for n in range(1, 5)]
        with ThreadPoolExecutor(2) as pool:
            outputs = list(pool.map(output, ohms))
        assert outputs == pytest.approx([2.0 * r / (r + 1e3) for r in ohms], rel=1e-6)

    def test_equal_decks_give_equal_results(self, simulator: Simulator, tmp_path: Path) -> None:
        deck = Deck(self.low_pass, vectors=("v(out)",))
        one, other = (
            self.only(self.run(simulator, made(tmp_path / name), deck), "ac").vectors["v(out)"]
            for name in ("one", "other")
        )
        np.testing.assert_array_equal(one, other)

    def test_time_in_the_simulator(self, simulator: Simulator, tmp_path: Path) -> None:
        start = time.monotonic()
        waveforms = self.run(simulator, tmp_path, Deck(self.divider))
        assert 0.0 < waveforms.seconds <= time.monotonic() - start


def made(path: Path) -> Path:
    path.mkdir()
    return path


def processes_left_in(directory: Path, patience: float = 1.0) -> list[str]:
    """Processes whose working directory is `directory`, by id; none where there is no /proc.

    One that was killed is given `patience` seconds to be gone.
    """
    until = time.monotonic() + patience
    while True:
        links = Path("/proc").glob("[0-9]*/cwd")
        found = [link.parent.name for link in links if _points_to(link, directory)]
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.01)


def _points_to(link: Path, directory: Path) -> bool:
    try:
        return link.resolve(strict=True) == directory.resolve()
    except OSError:  # it ended meanwhile, or belongs to someone else
        return False
