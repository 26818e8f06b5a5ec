"""Whether a run of ngspice gave what it had to, and why not, for every way of running it."""

from __future__ import annotations

from collections.abc import Sequence

from m3eda_plugins.ngspice.checks import noiseless
from m3eda_plugins.ngspice.deck import Pass
from m3eda_plugins.ngspice.log import diagnose
from m3eda_plugins.ngspice.results import Result, gap

from m3eda.simulate.types import SimulationFailed, State


def judge(
    one: Pass, found: Sequence[Result], deck_text: str, stdout: str, stderr: str, died: str = ""
) -> None:
    """Raises SimulationFailed where not all that a pass had to give is in `found`.

    `stdout` and `stderr` are what ngspice printed; `died` says in words how its process ended,
    where it did not end by itself.
    """
    shortfall = gap(one, found, deck_text)
    if not shortfall:
        if reason := noiseless(one.analyses, found, deck_text):
            raise SimulationFailed(State.VECTOR_MISSING, reason)
        return
    if died:
        raise SimulationFailed(State.CRASH, f"{died}: {shortfall}")
    said = diagnose(f"{stdout}\n{stderr}", deck_text, one.meas)
    state, reason = said or (State.CRASH, f"{shortfall}, and ngspice did not say why")
    if state is State.NO_CONVERGENCE:
        reason = f"{reason} ({shortfall})"
    raise SimulationFailed(state, reason)
