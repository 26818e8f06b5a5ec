"""Which segment of a ledger a run goes on with: the one of the same recipe.

A recipe is all that decides which sizings are asked for and what they give: the design with its
files, the simulator and its settings, what the agent has learnt elsewhere, this very version.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from m3eda import __version__
from m3eda.design.snapshot import circuit_hash, design_hash, dump
from m3eda.design.types import Design
from m3eda.ledger import Ledger, Segment, StoredTrial
from m3eda.pvt.samples import is_sample
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.trial import CornerResult


def segment_of(
    ledger: Ledger,
    design: Design,
    batched: Design,
    contents: Sequence[str],
    evaluator: Evaluator,
    resume: bool,
    learnt: Sequence[str] = (),
) -> tuple[Segment, list[StoredTrial]]:
    """The segment to go on with, or a new one; and the trials its agent hears beforehand.

    `learnt` are hashes of what the agent has learnt elsewhere. `batched` is `design` with the batch
    it would begin with now: where none was asked for, a run that was begun goes on with its own,
    whatever the jobs are today.
    """
    simulator = _simulator(design, evaluator)
    # a larger budget goes on with the same trials, so it is no other recipe
    # and another version may ask for other sizings, which must not be mixed with these
    mode = [evaluator.mode] if evaluator.mode else []
    deciding = [*contents, *_setup(evaluator), simulator, *mode, *learnt, __version__]
    recipe = design_hash(_without_limits(design), deciding)
    circuit = circuit_of_run(design, contents, evaluator)
    known = ledger.segments()
    if resume and known and known[-1].recipe.partition("+")[0] == recipe:
        return known[-1], _trials_of(ledger, known[-1].recipe)
    others = [s.id for s in known if s.circuit == circuit] if resume else []
    if others:
        # with their counts: a segment that grows later has taught this one no more than it held
        heard = [f"{number}:{len(ledger.trials(number))}" for number in others]
        recipe = f"{recipe}+{','.join(heard)}"
    same = [segment for segment in known if segment.recipe == recipe]
    if same:
        return same[-1], _trials_of(ledger, recipe)
    new = Segment(
        0,
        recipe,
        circuit,
        dump(batched),
        design.agent.name,
        design.agent.seed,
        simulator,
        time.time(),
    )
    return ledger.begin(new), _trials_of(ledger, recipe)


def circuit_of_run(design: Design, contents: Sequence[str], evaluator: Evaluator) -> str:
    """`circuit` of a run's segment: hash of what decides a sizing's raw measures. `contents` are
    hashes of the design's files."""
    return circuit_hash(design, [*contents, *_setup(evaluator), _simulator(design, evaluator)])


def _setup(evaluator: Evaluator) -> list[str]:
    return [evaluator.setup] if evaluator.setup else []


def _simulator(design: Design, evaluator: Evaluator) -> str:
    return f"{design.simulator.name} {evaluator.version}"


def _trials_of(ledger: Ledger, recipe: str) -> list[StoredTrial]:
    """Trials that a resumed recipe has learned from: `4f..2a+1:37` from 37 of segment 1."""
    learned: list[StoredTrial] = []
    for part in filter(None, recipe.partition("+")[2].split(",")):
        segment, _, count = part.partition(":")
        learned += ledger.trials(int(segment))[: int(count) if count else None]
    # another recipe may draw its samples by another seed
    return [replace(trial, results=_at_corners(trial)) for trial in learned]


def _at_corners(trial: StoredTrial) -> dict[str, CornerResult]:
    """What a trial gave at corners, without samples."""
    return {name: result for name, result in trial.results.items() if not is_sample(name)}


def _without_limits(design: Design) -> Design:
    agent = replace(design.agent, budget=1, seconds=None)
    simulator = replace(design.simulator, licences=0)
    drawn = design.variation if design.variation and design.variation.yield_target else None
    return replace(design, agent=agent, simulator=simulator, variation=drawn, description="")
