"""What each spec depends on: parameters and corner variables moved one at a time, or a regression.

One at a time, a parameter moves a step up and a step down from a sizing, by the same factor, to the
nearest values of its grid; a condition goes to the ends that the design's corners give it, the
process to each of its corners. Each move is a simulation at the nominal corner. The regression is
over the trials that a run has made already: logarithms of measures on logarithms of parameters,
trials near the sizing weighing most; it costs nothing and is coarser.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from m3eda.design.scoring import margin
from m3eda.design.space import Axis, FloatArray, Space
from m3eda.design.types import Corner, Design, Sizing, Spec, Value
from m3eda.errors import SimulatorMissing
from m3eda.flow import Execution, Project
from m3eda.ledger import Ledger, StoredTrial
from m3eda.simulate.trial import CornerResult, Trial, score
from m3eda.simulate.types import State

STEP = 1.05
"""Factor by which a parameter moves."""
SHOWN = 1.1
"""Factor that effects are told for."""
REACH = 0.1
"""Distance on the unit cube, root mean square a parameter, at which a trial weighs exp(-1/2)."""
TRIALS_A_PARAMETER = 3
"""Trials that a regression needs for each parameter."""


@dataclass(frozen=True)
class Effect:
    """What moving one thing does to every spec."""

    name: str
    """Of the parameter, or of the corner variable and where it went, such as `vdd 1.08`."""
    values: Mapping[str, float]
    """Measure -> change of its value, SI units, for a move of `SHOWN`, or to the corner; nan where
    the measure is lost."""
    margins: Mapping[str, float]
    """Measure -> change of its margin."""
    elasticity: Mapping[str, float]
    """Measure -> relative change of it a relative change of the parameter; nan for what has none:
    corner variables, measures that are not positive."""


@dataclass(frozen=True)
class Sensitivity:
    """Every effect at one sizing."""

    trial: Trial
    """The sizing, at the nominal corner."""
    parameters: tuple[Effect, ...]
    corners: tuple[Effect, ...]
    fit: Mapping[str, float]
    """Measure -> the share of its squares that a regression explains; empty one at a time."""
    simulations: int
    """Runs of the simulator spent."""

    def binding(self, design: Design) -> Spec | None:
        """The spec with the least margin; None without specs."""
        known = {m: s for m, s in self.trial.margins.items() if not math.isnan(s)}
        return design.specs[min(known, key=lambda name: known[name])] if known else None


@dataclass(frozen=True)
class Move:
    """A parameter moved for the good of one spec."""

    parameter: str
    up: bool
    gain: float
    """Of the margin."""
    price: float
    """The largest share that it takes of another spec's margin; 0 where all gain."""
    payer: str
    """That spec; empty where all gain."""


def cheapest(found: Sensitivity, measure: str) -> list[Move]:
    """Moves of single parameters that better the spec on `measure`, the cheapest first: by what
    they gain over the share of the margin that the worst off other spec loses."""
    moves = []
    for effect in found.parameters:
        gain = effect.margins[measure]
        if math.isnan(gain) or gain == 0.0:
            continue
        sign = math.copysign(1.0, gain)
        prices = {
            other: -sign * change / max(found.trial.margins[other], 1e-3)
            for other, change in effect.margins.items()
            if other != measure and not math.isnan(change + found.trial.margins[other])
        }
        payer = max(prices, key=lambda name: prices[name], default="")
        price = max(prices.get(payer, 0.0), 0.0)
        moves.append(Move(effect.name, gain > 0.0, abs(gain), price, payer if price else ""))
    return sorted(moves, key=lambda move: -move.gain / max(move.price, 1e-3))


def one_at_a_time(
    project: Project, sizing: Sizing, execution: Execution, run_dir: Path
) -> Sensitivity:
    """Effects by simulation; what is simulated is kept in the ledger of `run_dir`.

    Raises SimulatorMissing, StorageError.
    """
    design = project.design
    evaluator = project.evaluator(execution)
    nominal, axes = design.nominal.name, Space(design).axes
    with contextlib.closing(Ledger(run_dir)) as ledger, contextlib.closing(evaluator):
        evaluator.store = ledger
        sizing = evaluator.complete(sizing)
        ends = {axis.name: _ends(axis, sizing[axis.name]) for axis in axes}
        moved = [{**sizing, name: value} for name, pair in ends.items() for value in pair]
        whole = [sizing, *map(evaluator.complete, moved)]
        first, *results = [found[nominal] for found in evaluator.evaluate(whole)]
        places = variables(design)
        [around] = evaluator.evaluate([sizing], places) if places else [{}]
    every = [first, *results, *around.values()]
    for each in every:
        if each.state is State.SIMULATOR_MISSING:
            raise SimulatorMissing(each.reason)
    parameters = []
    for place, (name, pair) in enumerate(ends.items()):
        three = [results[2 * place], first, results[2 * place + 1]]
        parameters.append(_effect(design, name, first, _slopes(design, pair, sizing[name], three)))
    corners = [_difference(design, each.name, first, around[each.name]) for each in places]
    trial = score(0, sizing, {nominal: first}, design.specs)
    return Sensitivity(trial, tuple(parameters), tuple(corners), {}, sum(e.runs for e in every))


def regression(design: Design, trial: Trial, trials: Sequence[StoredTrial]) -> Sensitivity | None:
    """Effects by weighted least squares over `trials` of the design's own; None where fewer than
    `TRIALS_A_PARAMETER` a parameter gave a measure. Parameters that are words, or not positive,
    are left out."""
    space, nominal = Space(design), design.nominal.name
    rows = [each for each in trials if nominal in each.results]
    names = [name for name in space.names if all(_is_positive(row.sizing[name]) for row in rows)]
    if not names or not rows:
        return None
    logs = np.log([[float(row.sizing[name]) for name in names] for row in rows])
    logs -= np.log([float(trial.sizing[name]) for name in names])
    gaps = np.array([space.unit(row.sizing) for row in rows]) - space.unit(trial.sizing)
    weights = np.exp(-0.25 * (gaps**2).mean(axis=1) / REACH**2)
    slopes: dict[str, FloatArray] = {}
    fit: dict[str, float] = {}
    for measure in design.specs:
        y = np.array([row.results[nominal].measures[measure] for row in rows])
        known = np.isfinite(y)
        if known.sum() < TRIALS_A_PARAMETER * len(names):
            return None
        slopes[measure], fit[measure] = _fitted(logs[known], y[known], weights[known])
    effects = [
        _effect(design, name, trial.nominal, {each: float(slopes[each][place]) for each in slopes})
        for place, name in enumerate(names)
    ]
    return Sensitivity(trial, tuple(effects), (), fit, 0)


def _fitted(x: FloatArray, y: FloatArray, weights: FloatArray) -> tuple[FloatArray, float]:
    """Slopes of `y`, shape (n,), in `x`, shape (n, d), at 0, and the share of its weighted squares
    that they explain. A positive `y` is fitted as a logarithm."""
    log = bool((y > 0.0).all())
    target = np.log(y) if log else y
    table = np.hstack([np.ones((len(x), 1)), x])
    found, *_ = np.linalg.lstsq(weights[:, None] * table, weights * target, rcond=None)
    rest = weights * (target - table @ found)
    total = weights * (target - np.average(target, weights=weights**2))
    explained = 1.0 - float((rest**2).sum()) / max(float((total**2).sum()), 1e-300)
    slopes = np.asarray(found[1:] * (math.exp(float(found[0])) if log else 1.0), dtype=float)
    return slopes, explained


def _is_positive(value: Value) -> bool:
    return not isinstance(value, str) and value > 0.0


def variables(design: Design) -> list[Corner]:
    """The corners that differ from the nominal one in one thing: in process, or in a condition at
    the ends of what the design's corners give it."""
    found = [
        Corner(f"process {process}", process)
        for process in dict.fromkeys(corner.process for corner in design.corners)
        if process and process != design.nominal.process
    ]
    ends: dict[str, list[Value]] = {}
    for corner in design.corners:
        for name, value in corner.conditions.items():
            ends.setdefault(name, []).append(value)
    for name, values in ends.items():
        numbers = [value for value in values if isinstance(value, int | float)]
        for value in dict.fromkeys([min(numbers), max(numbers)] if numbers else values):
            if value != design.conditions.get(name):
                text = f"{value:g}" if isinstance(value, int | float) else value
                found.append(Corner(f"{name} {text}", "", {name: value}))
    return [replace(each, process=each.process or design.nominal.process) for each in found]


def _ends(axis: Axis, own: Value) -> tuple[Value, Value]:
    """The values below and above `own` that a parameter moves to: itself at a limit, and where it
    is a word."""
    if axis.categorical or isinstance(own, str):
        return own, own
    if axis.choices:
        place = axis.choices.index(axis.value(axis.unit(own)))
        return axis.choices[max(place - 1, 0)], axis.choices[min(place + 1, len(axis.choices) - 1)]
    least = axis.parameter.step or 0.0
    if not own:
        assert axis.parameter.maximum is not None
        assert axis.parameter.minimum is not None
        least = max(least, (STEP - 1.0) * (axis.parameter.maximum - axis.parameter.minimum))
    far = max(abs(own) * (STEP - 1.0), least)
    low, high = (axis.value(axis.unit(value)) for value in (own - far, own + far))
    return low, high


def _slopes(
    design: Design, ends: tuple[Value, Value], own: Value, results: Sequence[CornerResult]
) -> dict[str, float]:
    """Measure -> its change a unit of the logarithm of the parameter, between the outermost of
    `results` (below, at and above the sizing) that have it; of a parameter at 0, a unit of it."""
    places = [ends[0], own, ends[1]]
    if any(isinstance(place, str) for place in places):
        return dict.fromkeys(design.specs, math.nan)
    numbers = [float(place) for place in places]
    if min(numbers) > 0.0:
        numbers = [math.log(number) for number in numbers]
    elif own:
        numbers = [number / abs(float(own)) for number in numbers]
    found = {}
    for name in design.specs:
        known = [
            (number, result.measures[name])
            for number, result in zip(numbers, results, strict=True)
            if math.isfinite(result.measures[name])
        ]
        width = known[-1][0] - known[0][0] if known else 0.0
        found[name] = (known[-1][1] - known[0][1]) / width if width else math.nan
    return found


def _effect(design: Design, name: str, here: CornerResult, slopes: Mapping[str, float]) -> Effect:
    """Of a parameter, by how steeply measures change with it."""
    changes = {measure: slope * math.log(SHOWN) for measure, slope in slopes.items()}
    elasticity = {
        measure: slope / here.measures[measure] if here.measures[measure] > 0.0 else math.nan
        for measure, slope in slopes.items()
    }
    return Effect(name, changes, _margins(design, here, changes), elasticity)


def _difference(design: Design, name: str, here: CornerResult, there: CornerResult) -> Effect:
    """Of a corner variable."""
    changes = {each: there.measures[each] - here.measures[each] for each in design.specs}
    nothing = dict.fromkeys(design.specs, math.nan)
    return Effect(name, changes, _margins(design, here, changes), nothing)


def _margins(design: Design, here: CornerResult, changes: Mapping[str, float]) -> dict[str, float]:
    found = {}
    for name, spec in design.specs.items():
        limits, value = spec.at(design.nominal.name), here.measures[name]
        found[name] = margin(value + changes[name], limits) - margin(value, limits)
    return found
