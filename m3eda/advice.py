"""A word after a sizing on what would have been quicker: to learn the circuit once.

For one set of specs learning never is: it takes `SIMULATIONS` where a search takes some dozens
(docs/learn.md). With other specs again and again on the same circuit it is, and one line says so,
in the run in which the time spent comes to exceed what learning takes.
"""

from __future__ import annotations

import json
import statistics

from m3eda.design.types import NOMINAL
from m3eda.flow import Prepared
from m3eda.ledger import Segment
from m3eda.report.summary import Summary
from m3eda.report.text import duration

SIMULATIONS = 20_000
"""What `m3eda learn` makes unless it is told otherwise."""
FITTING = 160.0
"""Seconds of one core that networks take (docs/learn.md)."""
SEARCHING = ("auto", "m3")
"""Agents after which it is said."""


def advice(prepared: Prepared, summary: Summary, jobs: int = 1) -> str:
    """The line, without `m3eda:`; empty where there is nothing to say, or it was said before.

    What a trial takes is that of the trials of now; of trials in earlier runs only the number is
    known. Raises StorageError.
    """
    run, design = prepared.run, prepared.run.design
    fresh = run.trials[run.replayed :]
    one_corner = len(design.required) == 1 and design.variation is None
    known = prepared.project.agent_files()
    if known or not (fresh and one_corner and design.agent.name in SEARCHING):
        return ""
    seconds = [t.results[NOMINAL].seconds for t in fresh if NOMINAL in t.results]
    learning = (SIMULATIONS * statistics.median(seconds or [0.0]) + FITTING) / jobs
    segments = prepared.ledger.segments()
    circuit = next(each.circuit for each in segments if each.id == run.segment)
    same = [each for each in segments if each.circuit == circuit]
    counts = {each.id: len(prepared.ledger.trials(each.id)) for each in same}
    before = {**counts, run.segment: run.replayed}
    trial = summary.seconds / len(fresh)
    now, then = (_worth(same, each, trial, learning) for each in (counts, before))
    if not now or then:
        return ""
    spent = duration(trial * sum(counts.values()))
    return (f"runs of this circuit with other specs have taken {spent}; `m3eda learn` would take "
            f"about {duration(learning)}, and each set of specs then one simulation")  # fmt: skip


def _worth(segments: list[Segment], counts: dict[int, int], trial: float, learning: float) -> bool:
    """True where there were several sets of specs, and longer runs than learning takes."""
    specs = {json.dumps(json.loads(each.design)["specs"], sort_keys=True)
             for each in segments if counts[each.id]}  # fmt: skip
    return len(specs) > 1 and trial * sum(counts.values()) > learning
