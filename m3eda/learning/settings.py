"""A circuit in a technology with its targets: what tasks are drawn from."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

from m3eda.circuits.catalogue import Catalogue, Circuit
from m3eda.circuits.instance import Limits as GivenLimits
from m3eda.circuits.opening import catalogue as shipped
from m3eda.circuits.opening import open_circuit
from m3eda.circuits.targets import TargetList, targets_of
from m3eda.design.space import Space
from m3eda.design.types import Corner, Limits, Sizing, Spec
from m3eda.design.yamlfile import nearest
from m3eda.errors import DesignError, Mistake
from m3eda.flow import Project
from m3eda.learning.splits import SPLITS, circuits_of, technologies_of

Specs = Mapping[str, Spec]

Part = Literal["all", "train", "held out"]
"""Targets of a list: every one; those to train on; those never trained on."""
HELD_OUT = 5
"""One target in so many is held out: lists are in order of hardness, so both parts have all."""


@dataclass(frozen=True)
class Setting:
    """A circuit in a technology, and the targets it is to be sized for."""

    circuit: str
    technology: str
    """Empty for a design that names none."""
    targets: tuple[Specs, ...]
    """The specs of each target."""
    open: Callable[[], Project] = field(repr=False, compare=False)
    witnesses: tuple[Sizing, ...] = ()
    """A sizing that is known to meet each target; empty where none is."""
    scales: Mapping[str, float] = field(default_factory=dict)
    """Measure -> g of the M3 paper, what it is normalised by; the middle of its limits where it
    is not given."""

    @classmethod
    def of(cls, project: Project, targets: Sequence[Specs] = ()) -> Setting:
        """A design of one's own; its own specs are the one target where none are given.
        Raises DesignError where there are none either."""
        design = project.design
        if not targets and not design.specs:
            hint = "add `specs:`, or give targets"
            raise DesignError([Mistake(f"{design.name} has no specs", design.path, hint=hint)])
        technology = design.technology.name if design.technology else ""
        chosen = tuple(targets) or (design.specs,)
        return cls(design.name, technology, chosen, lambda: project)

    @property
    def name(self) -> str:
        return f"{self.circuit} in {self.technology}" if self.technology else self.circuit

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures that have a spec, in order."""
        return tuple(self.targets[0])

    @cached_property
    def project(self) -> Project:
        """Ready to be simulated, opened when first asked for. Raises DesignError."""
        return self.open()

    @cached_property
    def space(self) -> Space:
        return Space(self.project.design)

    @property
    def corners(self) -> tuple[Corner, ...]:
        """The nominal corner and those of the design."""
        design = self.project.design
        return (design.nominal, *design.corners)

    @cached_property
    def normalisers(self) -> dict[str, float]:
        """g of the M3 paper by measure: the middle of its targets; 1 where that is 0."""
        return {name: self.scales.get(name) or self._middle(name) for name in self.measures}

    def _middle(self, measure: str) -> float:
        # with its sign: d(m, g) says nothing of a measure on the other side of 0
        return statistics.median(wanted(t[measure].limits) for t in self.targets) or 1.0


def wanted(limits: Limits) -> float:
    """n of the M3 paper: the number that stands for `limits`."""
    for value in (limits.target, limits.minimum, limits.maximum):
        if value is not None:
            return value
    return math.nan


def upper(limits: Limits) -> bool:
    """True where a measure is to stay below."""
    return limits.maximum is not None and limits.minimum is None and limits.target is None


def library_settings(
    split: str = "train",
    *,
    circuits: Sequence[str] | str | None = None,
    technologies: Sequence[str] | str | None = None,
    targets: Part = "all",
    catalogue: Catalogue | None = None,
) -> list[Setting]:
    """The circuits of `split` in the technologies of `split`, as far as they have targets.

    `circuits` and `technologies` are names, one name, or that of another split. Raises DesignError
    with the circuits and technologies that have targets where one that is named has none, or none
    has.
    """
    _check_part(targets)
    known = catalogue or shipped()
    circuits, technologies = _names(circuits), _names(technologies)
    chosen = _circuits(split if circuits is None else circuits, known)
    found, missing = [], []
    for circuit in chosen:
        for technology in _technologies(split if technologies is None else technologies, circuit):
            listed = targets_of(circuit, technology)
            # a short list may have none that is held out
            if listed is not None and any(_in_part(n, targets) for n in range(len(listed.targets))):
                found.append(_setting(circuit, listed, targets))
            elif _named(circuits) and _named(technologies):
                missing.append(f"{circuit.name} in {technology}")
    if missing or not found:
        what = " and ".join(missing) or _asked(split, circuits, technologies)
        raise _without_targets(what, chosen)
    return found


def design_specs(limits: GivenLimits) -> Specs:
    """`{measure: {min: limit}}` as specs."""
    return {
        measure: Spec(measure, Limits(minimum=sides.get("min"), maximum=sides.get("max")))
        for measure, sides in limits.items()
    }


def _setting(circuit: Circuit, listed: TargetList, part: Part) -> Setting:
    numbers = [n for n in range(len(listed.targets)) if _in_part(n, part)]
    every = [design_specs(listed.limits(number)) for number in range(len(listed.targets))]
    technology = listed.technology
    return Setting(
        circuit.name,
        technology,
        tuple(every[number] for number in numbers),
        lambda: open_circuit(circuit, technology),
        tuple(listed.witnesses[n] for n in numbers) if listed.witnesses else (),
        # of the whole list, so that held-out targets are seen on the same scale
        Setting(circuit.name, technology, tuple(every), _unopened).normalisers,
    )


def _unopened() -> Project:
    raise NotImplementedError


def _check_part(part: str) -> None:
    """Raises DesignError."""
    if part not in get_args(Part):
        hint = nearest(part, get_args(Part)) or f"known: {', '.join(get_args(Part))}"
        raise DesignError([Mistake(f"no part of the targets is called '{part}'", hint=hint)])


def _in_part(number: int, part: Part) -> bool:
    held_out = number % HELD_OUT == HELD_OUT - 1
    return part == "all" or held_out == (part == "held out")


def _names(choice: Sequence[str] | str | None) -> Sequence[str] | str | None:
    """A list of names where one name is given that is no split's."""
    return [choice] if isinstance(choice, str) and choice not in SPLITS else choice


def _named(choice: Sequence[str] | str | None) -> bool:
    """True where names were given, and not a split."""
    return choice is not None and not isinstance(choice, str)


def _circuits(choice: Sequence[str] | str, known: Catalogue) -> list[Circuit]:
    if isinstance(choice, str):
        return circuits_of(choice, known)
    return [known.circuit(name) for name in choice]


def _technologies(choice: Sequence[str] | str, circuit: Circuit) -> list[str]:
    if isinstance(choice, str):
        return technologies_of(choice, circuit.technologies)
    for name in choice:
        if name not in circuit.technologies:
            hint = nearest(name, circuit.technologies) or f"it does in {_list(circuit)}"
            text = f"{circuit.name} does not support the technology {name}"
            raise DesignError([Mistake(text, circuit.path, hint=hint)])
    return list(choice)


def _list(circuit: Circuit) -> str:
    return ", ".join(circuit.technologies)


def _asked(
    split: str, circuits: Sequence[str] | str | None, technologies: Sequence[str] | str | None
) -> str:
    def words(choice: Sequence[str] | str | None, kind: str) -> str:
        if choice is not None and not isinstance(choice, str):
            return ", ".join(choice)
        return f"the {kind} of {choice or split}"

    return f"{words(circuits, 'circuits')} in {words(technologies, 'technologies')}"


def _without_targets(what: str, circuits: Sequence[Circuit]) -> DesignError:
    there = [
        f"{circuit.name} in {', '.join(having)}"
        for circuit in circuits
        if (having := [t for t in circuit.technologies if circuit.targets_file(t).is_file()])
    ]
    hint = f"there are for {'; '.join(there)}" if there else "none of these circuits has any"
    return DesignError([Mistake(f"there are no targets for {what}", hint=hint)])
