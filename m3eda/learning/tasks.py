"""Tasks to learn from: size this circuit in this technology, at this corner, for these specs.

A task is a function of the generator's seed and the task's number alone: whichever process draws
it, and in whatever order, it is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from m3eda.circuits.catalogue import Catalogue
from m3eda.design.types import Corner, Sizing, Spec
from m3eda.errors import DesignError, Mistake
from m3eda.learning.settings import Part, Setting, library_settings


@dataclass(frozen=True)
class Task:
    """What is to be sized, where, and for what."""

    number: int
    """Of the generator that drew it."""
    setting: Setting
    corner: Corner
    target: int
    """The number of its target in the setting, from 0."""

    @property
    def circuit(self) -> str:
        return self.setting.circuit

    @property
    def technology(self) -> str:
        return self.setting.technology

    @property
    def specs(self) -> Mapping[str, Spec]:
        """By measure, SI units."""
        return self.setting.targets[self.target]

    @property
    def witness(self) -> Sizing | None:
        """A sizing that meets the specs at the nominal corner, where one is known."""
        return self.setting.witnesses[self.target] if self.setting.witnesses else None


class TaskGenerator:
    """Draws tasks: a circuit, one of its technologies, a corner and a target, each uniformly.

    `split`, `circuits`, `technologies`, `targets` and `catalogue` are those of `library_settings`,
    which raises DesignError; `settings` takes their place. With `corners` a task stands at the
    nominal corner or at any of its design's, though targets are known to be feasible at the
    nominal one only.
    """

    def __init__(
        self,
        split: str = "train",
        seed: int = 1,
        *,
        circuits: Sequence[str] | str | None = None,
        technologies: Sequence[str] | str | None = None,
        targets: Part = "all",
        corners: bool = False,
        catalogue: Catalogue | None = None,
        settings: Sequence[Setting] | None = None,
    ) -> None:
        self.settings: tuple[Setting, ...] = tuple(
            library_settings(split, circuits=circuits, technologies=technologies,
                             targets=targets, catalogue=catalogue)
            if settings is None else settings
        )  # fmt: skip
        if not self.settings or not all(each.targets for each in self.settings):
            raise DesignError([Mistake("there is nothing to draw a task from", hint="give settings "
                                       "with targets")])  # fmt: skip
        self.seed = seed
        self.corners = corners
        self._by_circuit: dict[str, list[Setting]] = {}
        for setting in self.settings:
            self._by_circuit.setdefault(setting.circuit, []).append(setting)

    @property
    def circuits(self) -> tuple[str, ...]:
        """Names of the circuits, in order; a task's place there is its circuit's index."""
        return tuple(self._by_circuit)

    def task(self, number: int) -> Task:
        """Task `number`, from 0. Raises DesignError where its circuit cannot be opened."""
        rng = np.random.default_rng([self.seed, number])
        circuit = self.circuits[rng.integers(len(self.circuits))]
        settings = self._by_circuit[circuit]
        setting = settings[rng.integers(len(settings))]
        target = int(rng.integers(len(setting.targets)))
        # a project is opened only where more than its nominal corner is wanted
        corners = setting.corners if self.corners else (setting.project.design.nominal,)
        return Task(number, setting, corners[rng.integers(len(corners))], target)

    def tasks(self, count: int, start: int = 0) -> list[Task]:
        """`count` tasks from number `start` on."""
        return [self.task(number) for number in range(start, start + count)]

    def __iter__(self) -> Iterator[Task]:
        number = 0
        while True:
            yield self.task(number)
            number += 1
