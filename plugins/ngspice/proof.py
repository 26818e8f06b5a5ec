"""Which way is right for the decks of a skeleton, shown at its probes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from m3eda_plugins.ngspice.alter import Assignment, assignments, is_binned
from m3eda_plugins.ngspice.circuit import Circuit
from m3eda_plugins.ngspice.deck import Pass, prepare
from m3eda_plugins.ngspice.expressions import number
from m3eda_plugins.ngspice.parameters import HOLE, Unfit, marker, parametrise
from m3eda_plugins.ngspice.prune import NotPruned, Pruner
from m3eda_plugins.ngspice.texts import has_bins, included_names, includes_random, is_random
from m3eda_plugins.ngspice.ways import (
    AlterWay,
    FilledWay,
    LoadedWay,
    ParameterWay,
    PrunedWay,
    TextWay,
    Way,
)
from m3eda_plugins.probes import CLOSE, EXACT, Plain, between, plain_runs

from m3eda.design.types import Value
from m3eda.simulate.difference import difference
from m3eda.simulate.types import Deck, SimulationFailed, Skeleton, Waveforms

_PROOFS = 2
_FEW = 100
"""Parameters set one by one in less time than their text is loaded in; each costs the more, the
more there are: `python -m bench.engine` measures it."""
_LARGE, _WORTH = 2000, 2.0
"""Lines of a library from which on it is pruned, and to what part of them."""


def proved_way(
    deck: Deck,
    skeleton: Skeleton,
    circuit: Circuit,
    options: Mapping[str, Value],
    *,
    strict: bool,
) -> Way | None:
    """The fastest way that gives at the probes what their text gives; None where none does.

    Raises OnlyCold.
    """
    if is_random(deck):
        return None  # they may come to nothing at the probes, and not at others
    try:
        one = _marked_pass(deck, skeleton, options)
        text = TextWay(circuit, options)
        if pruned := _pruned_way(one, deck, skeleton, circuit, text):
            return pruned
        plain = plain_runs(deck, skeleton, text.run, _PROOFS)
    except (Unfit, SimulationFailed):
        circuit.drop()
        return None
    way = _loaded_way(one, plain, circuit, strict=strict)
    if way is None:
        return _filled_way(one, plain, circuit)
    if not includes_random(deck):
        way.seed = 0
    return way


def _pruned_way(
    one: Pass, deck: Deck, skeleton: Skeleton, circuit: Circuit, text: TextWay
) -> PrunedWay | None:
    """For netlists with large libraries, whose whole text is loaded once only. Raises Unfit."""
    try:
        pruner = Pruner(skeleton.text(skeleton.probes[0]))
        if pruner.lines < _LARGE or pruner.saves < _WORTH:
            return None
        # a switch of random numbers may be off at one probe
        count = _PROOFS if includes_random(deck) else 1
        (probe, plain), *_ = plain_runs(deck, skeleton, text.run, count)
        way = PrunedWay(circuit, pruner, one)
        return way if difference(plain, way.run(probe)) <= EXACT else None
    except (NotPruned, SimulationFailed):
        circuit.drop()
        return None


def _filled_way(one: Pass, plain: Plain, circuit: Circuit) -> FilledWay | None:
    try:
        way = FilledWay(circuit, one)
        found = [way.run(probe) for probe, _ in plain]
    except SimulationFailed:
        circuit.drop()
        return None
    return way if _apart([each for _, each in plain], found) == 0.0 else None


def _loaded_way(one: Pass, plain: Plain, circuit: Circuit, *, strict: bool) -> LoadedWay | None:
    """A way to keep the circuit loaded, where it is right and faster than loading the text."""
    probes = [probe for probe, _ in plain]
    assert probes[0].skeleton is not None
    try:
        way = ParameterWay(circuit, parametrise(one.text, probes[0].skeleton.probes), one)
        found = [way.run(probe) for probe in probes]
        if lines := circuit.standins():
            way = ParameterWay(circuit, way.netlist.with_lines(lines), one)
            found = [way.run(probe) for probe in probes]
    except (Unfit, SimulationFailed):
        circuit.drop()
        return None
    if _apart([each for _, each in plain], found) > EXACT:
        return None
    altered = None if strict else _alter_way(way, probes)
    return altered or (way if way.netlist.changing <= _FEW else None)


def _marked_pass(deck: Deck, skeleton: Skeleton, options: Mapping[str, Value]) -> Pass:
    """The run of a skeleton's decks, with its holes marked. Raises Unfit."""
    holes = [marker(number) for number in range(len(skeleton.parts) - 1)]
    marked = replace(deck, text=skeleton.text(holes))
    one, *more = prepare(marked, options, in_process=True, only_wanted=True)
    if more or len(skeleton.probes) != _PROOFS:
        raise Unfit("it takes several runs, or has no probes")
    if any(HOLE.search(card.text) for card in one.analyses):
        raise Unfit("its analyses change")
    return one


def _alter_way(way: ParameterWay, probes: Sequence[Deck]) -> AlterWay | None:
    """The way by `alter`, where it gives what `way` gives: at the probes, between them, and at
    the first again. `way` is loaded."""
    try:
        assigned = assignments(way.netlist, included_names(probes[0]))
        if is_binned(assigned, way.circuit.models(), bins=has_bins(probes[0])):
            return None
        exact = []
        decks = _more(probes)
        for probe in decks:
            exact.append(way.run(probe))
            if not _are_set(way, assigned, way.netlist.values(probe.fills)):
                return None
        base = way.netlist.values(decks[0].fills)
        other = AlterWay(way.circuit, way.netlist, way.one, assigned, base)
        found = [other.run(probe) for probe in [*decks, decks[0]]]
    except (Unfit, SimulationFailed):
        way.circuit.drop()
        return None
    finally:
        way.leave()
    same = difference(found[0], found[-1]) == 0.0
    return other if same and _apart(exact, found[:-1]) <= CLOSE else None


def _more(probes: Sequence[Deck]) -> list[Deck]:
    """The probes, and a deck between them."""
    mixed = between(probes[0].fills, probes[1].fills)
    known = [probe.fills for probe in probes]
    fills = next((each for each in mixed if each not in known), None)
    skeleton = probes[0].skeleton
    if fills is None or skeleton is None:
        return [*probes]
    return [*probes, replace(probes[0], text=skeleton.text(fills), fills=fills)]


def _are_set(way: LoadedWay, assigned: Sequence[Assignment], values: Sequence[str]) -> bool:
    """Whether ngspice's own values of the devices are the numbers they are said to be."""
    numbers = [number(value.strip('"')) for value in values]
    for each in assigned:
        data = way.circuit.library.data(each.name.encode())
        wanted = number(each.text(values, numbers))
        if data is None or data.size != 1 or not math.isclose(data[0].real, wanted, rel_tol=EXACT):
            return False
    return True


def _apart(some: Sequence[Waveforms], others: Sequence[Waveforms]) -> float:
    apart: list[float] = [difference(a, b) for a, b in zip(some, others, strict=True)]
    return max(apart)
