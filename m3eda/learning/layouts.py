"""What the numbers of an observation stand for, circuit by circuit, and how they are padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m3eda.errors import DesignError, Mistake
from m3eda.learning.settings import Setting
from m3eda.learning.tasks import TaskGenerator

Observation = NDArray[np.float32]


@dataclass(frozen=True)
class Layout:
    """What the numbers of an observation stand for, in order."""

    parameters: tuple[str, ...]
    specs: tuple[str, ...]
    """Measures; each has two numbers, of the measured value and of its target."""

    @property
    def size(self) -> int:
        return len(self.parameters) + 2 * len(self.specs)

    @classmethod
    def of(cls, setting: Setting) -> Layout:
        return cls(setting.space.names, setting.measures)


def layouts_of(tasks: TaskGenerator) -> tuple[Layout, ...]:
    """The layout of each circuit of `tasks`, in order of their indices.

    Raises DesignError where a circuit's differ from technology to technology.
    """
    found: dict[str, tuple[Layout, Setting]] = {}
    for setting in tasks.settings:
        layout, first = found.setdefault(setting.circuit, (Layout.of(setting), setting))
        if Layout.of(setting) != layout:
            text = f"{setting.name} has other parameters or specs than {first.name}"
            raise DesignError([Mistake(text, hint="make an environment of each")])
    return tuple(layout for layout, _ in found.values())


def widest(layouts: Sequence[Layout]) -> tuple[int, int]:
    """The largest numbers of parameters and of specs."""
    return (
        max(len(layout.parameters) for layout in layouts),
        max(len(layout.specs) for layout in layouts),
    )


def padded(observation: Observation, layout: Layout, parameters: int, specs: int) -> Observation:
    """`observation` with zeros behind its parameters, up to so many, and behind its specs."""
    wide = np.zeros(parameters + 2 * specs, dtype=np.float32)
    own = len(layout.parameters)
    wide[:own] = observation[:own]
    wide[parameters : parameters + 2 * len(layout.specs)] = observation[own:]
    return wide
