"""What of the contract of simulators applies to one that reads values and no netlist."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from m3eda.simulate.types import Deck, SimulationFailed, Simulator, Waveforms
from m3eda.testing.simulators import TIMEOUT, SimulatorContract

VALUES = {
    "w1": 20e-6, "w3": 10e-6, "w5": 10e-6, "w6": 80e-6, "w7": 40e-6, "w8": 5e-6, "l": 0.5e-6,
    "cc": 2e-12, "rz": 1.5e3, "iref": 10e-6, "vdd": 1.8, "vcm": 0.9, "cload": 5e-12,
    "cov": 0.3e-9, "tox": 4e-9, "temp": 27.0,
}  # fmt: skip
"""A balanced op amp, SI units."""


class AnalyticContract(SimulatorContract):
    """Its decks have the values of an op amp, and text that only asks for analyses."""

    divider = low_pass = "* any text\n.op\n.ac dec 10 1e3 1e7\n"

    def run(
        self, simulator: Simulator, rundir: Path, deck: Deck, timeout: float = TIMEOUT
    ) -> Waveforms:
        waveforms: Waveforms = super().run(simulator, rundir, replace(deck, values=VALUES), timeout)
        return waveforms

    def failure(
        self, simulator: Simulator, rundir: Path, deck: Deck, timeout: float = TIMEOUT
    ) -> SimulationFailed:
        return super().failure(simulator, rundir, replace(deck, values=VALUES), timeout)

    # its circuit is always the op amp, it cannot fail to converge, and starts no program
    test_operating_point = test_device_values = test_units = None  # type: ignore[assignment]
    test_ac_is_complex_over_a_real_frequency = None  # type: ignore[assignment]
    test_transient_reaches_its_stop_time = None  # type: ignore[assignment]
    test_nothing_asked_gives_all_nodes_and_branches = None  # type: ignore[assignment]
    test_missing_model = test_undefined_parameter = None  # type: ignore[assignment]
    test_no_convergence = test_timeout_ends_every_process = None  # type: ignore[assignment]
    test_a_failure_leaves_the_next_run_alone = None  # type: ignore[assignment]
    test_two_threads_at_once = None  # type: ignore[assignment]
