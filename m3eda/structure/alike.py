"""Circuits that are the same but for names, sizes and order, by isomorphism of graphs.

A graph's nodes are parts and nets; an edge is what connects them: drain, gate or source, or either
end of what has two alike. Bulks are left out, and so are ends of a current source at nets of
constant voltage: it may hang at the supply or at ground. Ground is a net like others where there
are transistors, which tell one net from another: a subcircuit may have a pin for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from m3eda.structure.cell import SOURCE, Cell, Part
from m3eda.structure.elements import GROUND

MOST = 24
"""Ways to lay one circuit on the other that are looked at: circuits have few symmetries."""
LARGEST = 120
"""Parts of a cell that is looked at."""
_ENDS = ("d", "g", "s")
_NET = "net"
COUNTED = frozenset({"nmos", "pmos", "q", "j", "d"})
"""Kinds of which both circuits have as many; of others the larger one may have more, as its
testbench has a load."""


LEAST = 5
"""Transistors of a circuit that is known by them alone."""


def may_hold(large: Mapping[str, int], small: Mapping[str, int]) -> bool:
    """Whether a circuit with so many parts of each kind may be one with the fewer ones of another,
    its load beside it."""
    if any(large.get(kind, 0) != small.get(kind, 0) for kind in COUNTED):
        return False
    others = [kind for kind in small if kind not in COUNTED and kind != "v"]
    return all(large.get(kind, 0) >= small[kind] for kind in others)


def may_hold_bare(large: Mapping[str, int], small: Mapping[str, int]) -> bool:
    """The same by transistors and diodes alone, of `Cell.bare_counts`."""
    alike = all(large.get(kind, 0) == small.get(kind, 0) for kind in COUNTED)
    return alike and sum(small.get(kind, 0) for kind in COUNTED) >= LEAST


def overlays(small: Cell, large: Cell, bare: bool = False) -> Iterator[Mapping[int, int]]:
    """How parts of `small` lie on those of `large`: place of a part -> place of a part.

    All transistors and diodes of both, and all passives and current sources of `small` that have
    a free end. Of a `bare` one all transistors but those that generate a bias, and of these, of
    passives and of sources those alone that lie between the same nets in `large`. None where the
    circuits are not alike.
    """
    alike = (may_hold_bare(large.bare_counts, small.bare_counts) if bare
             else may_hold(large.counts, small.counts))  # fmt: skip
    if not alike:
        return
    if max(len(small.parts), len(large.parts)) > LARGEST:
        return
    from networkx.algorithms.isomorphism import GraphMatcher  # nobody else waits for it

    matcher = GraphMatcher(
        _graph(large, bare), _graph(small, bare),
        lambda one, other: one["kind"] == other["kind"],
        lambda one, other: one["ends"] == other["ends"],
    )  # fmt: skip
    for found in itertools.islice(matcher.subgraph_monomorphisms_iter(), MOST):
        overlay = {lower: upper for upper, lower in found.items() if lower < len(small.parts)}
        if bare:
            nets = {lower: upper for upper, lower in found.items() if lower >= len(small.parts)}
            overlay |= _between(small, large, nets)
        yield overlay


def _between(small: Cell, large: Cell, nets: Mapping[int, int]) -> dict[int, int]:
    """What the graphs do not have and lies between the same nets in both; a capacitor for one with
    a resistor in series as well."""
    there: dict[frozenset[int], list[int]] = {}
    for place, part in enumerate(large.parts):
        if part.kind not in COUNTED or place in large.references:
            there.setdefault(_between_nets(part, large), []).append(place)
    found = {}
    for place, part in enumerate(small.parts):
        ends = _between_nets(part, small)
        inside = part.kind in COUNTED and place not in small.references
        if inside or not ends or not ends <= nets.keys():
            continue
        between = there.get(frozenset(nets[net] for net in ends), [])
        alike = [each for each in between if _is_like(large.parts[each], part)]
        if alike:
            found[place] = min(alike, key=lambda each: large.parts[each].kind != part.kind)
            between.remove(found[place])
    return found


def _is_like(one: Part, other: Part) -> bool:
    both_passive = one.is_passive and other.is_passive
    return bool({*one.kind} & {*other.kind}) if both_passive else one.kind == other.kind


def _between_nets(part: Part, cell: Cell) -> frozenset[int]:
    return frozenset(cell.nets[net] for net in _edges(part, cell))


def _graph(cell: Cell, bare: bool) -> Any:
    import networkx

    graph = networkx.Graph()
    for place, part in enumerate(cell.parts):
        if bare:
            counts = part.kind in COUNTED and place not in cell.references
        else:
            counts = part.kind in COUNTED or part.kind == SOURCE or part.is_passive
        if not counts or not (edges := _edges(part, cell)):
            continue
        graph.add_node(place, kind=part.kind)
        for net, ends in edges.items():
            kind = GROUND if net == GROUND and not sum(cell.transistors) else _NET
            graph.add_node(cell.nets[net], kind=kind)
            graph.add_edge(place, cell.nets[net], ends=frozenset(ends))
    return graph


def _edges(part: Part, cell: Cell) -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = {}
    transistor = part.kind in ("nmos", "pmos")
    for number, net in enumerate(part.nets):
        if part.kind == SOURCE and net in cell.steady:
            continue
        alike = part.is_passive or part.kind == SOURCE
        end = "end" if alike else _ENDS[number] if transistor else str(number)
        found.setdefault(net, set()).add(end)
    return found
