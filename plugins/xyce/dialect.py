"""A deck in ngspice's dialect in the words of Xyce, for `Xyce -hspice-ext all`.

Users write templates for ngspice; the same templates run on Xyce. What both understand alike stays
as it is; what Xyce would refuse, or take silently for something else, is written in its own words;
what it cannot be told is refused in one line. Every line of the deck keeps its number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from m3eda_plugins.xyce.cards import Cards, Surroundings, first_point
from m3eda_plugins.xyce.conditions import Parameters
from m3eda_plugins.xyce.expressions import Scope
from m3eda_plugins.xyce.includes import Included, Part, included
from m3eda_plugins.xyce.measure import Measure
from m3eda_plugins.xyce.outline import Outline, multiplied, outlines, words_in_use
from m3eda_plugins.xyce.sources import NO_TIMES, Times
from m3eda_plugins.xyce.text import Refused, assignments, put, statements
from m3eda_plugins.xyce.values import number

from m3eda.simulate.cards import Card
from m3eda.simulate.types import SimulationFailed, State


@dataclass(frozen=True)
class Translated:
    """A deck for Xyce without what it is to run and to print."""

    lines: tuple[str, ...]
    """As many as the deck has, the title first: no analysis, measure, option or `.end` is left."""
    analyses: tuple[Card, ...]
    """The analyses that it asks for, their text Xyce's, their indices those of the deck."""
    measures: tuple[Measure, ...]
    options: tuple[str, ...]
    """`.options` cards to add."""
    initial: tuple[str, ...]
    """`.ic` cards to add for transient analyses: Xyce would heed them at any operating point."""
    files: tuple[Path, ...]
    """Translated copies of included files that it reads."""


def translate(text: str, folder: Path, *, uic: bool = False) -> Translated:
    """`text` in Xyce's words; translated copies of included files go to `folder`.

    `uic` is for transients that start from `ic=` of devices, which Xyce would else hold at every
    operating point.

    The folder may be shared by decks: a copy is named after what it holds. Raises SimulationFailed
    (PARSE_ERROR, MODEL_MISSING), its reason `line 7: what is wrong (what would be right)`.
    """
    lines = [line.replace("\t", " ") for line in text.splitlines()]
    try:
        return _translate(lines, folder, uic)
    except Refused as reason:
        raise reason.failure() from reason


def _translate(lines: list[str], folder: Path, uic: bool) -> Translated:
    title = lines[0].strip() if lines else ""
    if title.startswith(".") and not title.lower().startswith(".title"):
        raise Refused(
            f"'{title}' stands in the title line, which SPICE ignores: put a title above it", 0
        )
    declared = list(outlines(lines))
    functions = frozenset(name for outline in declared for name in outline.functions)
    parameters = Parameters(lambda: _parameters(declared))
    scope = Scope(lambda: functions, [], parameters.check)
    around = Surroundings(
        scope,
        _times(lines, uic),
        parameters.evaluate,
        functions,
        _measures(lines),
        multiplied(declared),
        frozenset(name for outline in declared for name in outline.declared),
    )
    cards = Cards(lines, around)
    cards.translate()
    solved = any(c.kind == "tran" and not c.text.endswith("uic") for c in cards.analyses)
    if cards.guesses and cards.initial and solved:
        raise Refused("Xyce takes .ic or .nodeset in a transient, not both", cards.guesses[0])
    found: list[Included] = []
    for statement, head, path, section in cards.references:
        try:
            found.append(included(Part(Path(path), section.lower()), folder, around))
        except Refused as reason:
            raise Refused(reason.reason, statement.first, reason.state) from reason
        put(lines, statement, f'{head}"{found[-1].path}" {section}'.rstrip())
    own = {
        (f"line {line + 1}", names)
        for line, names in zip(cards.drawn, scope.switches or (), strict=True)
    }
    _check_random(frozenset(own).union(*(one.switches for one in found)), parameters)
    _check_models(frozenset[tuple[str, str]]().union(*(one.unusable for one in found)), declared)
    options = (
        *(o for one in found for o in one.options),
        *(o for _, o in cards.options),
        *cards.temperatures,
    )
    return Translated(
        (title or "m3eda", *lines[1:]),
        tuple(cards.analyses),
        tuple(cards.measures),
        options,
        tuple(cards.initial),
        tuple(dict.fromkeys(path for one in found for path in one.written)),
    )


def _times(lines: list[str], uic: bool) -> Times:
    """What the deck's analyses say."""
    runs = [each for each in statements(lines) if each.word in (".tran", ".noise")]
    transient: list[str] = next((run.text.split() for run in runs if run.word == ".tran"), [])
    noise = any(run.word == ".noise" for run in runs)
    if len(transient) < 3:
        return replace(NO_TIMES, noise=noise)
    step, stop = (number(word) or word for word in transient[1:3])
    first = first_point(step) if transient[-1].lower() == "uic" else ""
    return Times(step, stop, uic, first, noise)


def _parameters(declared: Iterable[Outline]) -> dict[str, str]:
    """Values of the parameters that texts declare, the last of one name."""
    found: dict[str, str] = {}
    for outline in declared:
        for card in outline.parameters:
            found.update({key.lower(): word for key, word in assignments(card[6:])})
    return found


def _check_random(switches: Iterable[tuple[str, frozenset[str]]], parameters: Parameters) -> None:
    """Raises SimulationFailed where a random number is not multiplied by a parameter that is 0."""
    for place, names in sorted(switches, key=lambda each: each[0]):
        if not any(parameters.is_zero(name) for name in names):
            factor = f" (set {sorted(names)[0]}=0)" if names else " (write the mean)"
            raise SimulationFailed(
                State.PARSE_ERROR,
                f"{place}: Xyce takes the mean of random numbers: switch them off{factor}",
            )


def _check_models(unusable: Iterable[tuple[str, str]], declared: Sequence[Outline]) -> None:
    """Raises SimulationFailed where a model is used that Xyce cannot be told."""
    if reasons := dict(unusable):
        for word in sorted(words_in_use(declared) & reasons.keys()):
            raise SimulationFailed(State.PARSE_ERROR, reasons[word])


_MEASURE = re.compile(r"\.meas(?:ure)?\s+\w+\s+(\S+)", re.IGNORECASE)


def _measures(lines: list[str]) -> frozenset[str]:
    found = (_MEASURE.match(statement.text) for statement in statements(lines))
    return frozenset(match[1].lower() for match in found if match)
