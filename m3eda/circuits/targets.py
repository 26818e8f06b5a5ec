"""Targets of a circuit in a technology: data sheets that are known to be feasible, as JSON.

Each was found by simulation: a point of the Pareto front, relaxed by some percent, with the sizing
that meets it, its witness.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from m3eda.circuits.catalogue import Circuit
from m3eda.circuits.instance import Limits
from m3eda.design.types import Sizing
from m3eda.errors import DesignError, Mistake


@dataclass(frozen=True)
class TargetList:
    """Targets of one circuit in one technology."""

    circuit: str
    technology: str
    order: Mapping[str, str]
    """Measure -> `min` or `max`, in the order of a target's numbers."""
    targets: tuple[tuple[float, ...], ...]
    """(targets, specs), SI units; the easiest for a random sizing first."""
    witnesses: tuple[Sizing, ...] = ()
    """A sizing that meets each target."""
    constants: tuple[Sizing, ...] = ()
    """The single sizing that meets most of them."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """How they were found, and how hard they are: see `calibration.Calibration.figures`."""

    def limits(self, number: int) -> Limits:
        """The specs of target `number`, counted from 0."""
        values = zip(self.order.items(), self.targets[number], strict=True)
        return {measure: {side: value} for (measure, side), value in values}

    def met(self, measures: Mapping[str, float], number: int) -> bool:
        """True where `measures` meet target `number`, strictly; one that is missing does not."""
        return all(
            measures[name] >= limit if side == "min" else measures[name] <= limit
            for (name, side), limit in zip(self.order.items(), self.targets[number], strict=True)
        )

    def middle(self) -> int:
        """The number of a target of middling hardness: the data sheet of a new design."""
        return len(self.targets) // 2


def targets_of(circuit: Circuit, technology: str) -> TargetList | None:
    """The calibrated targets of `circuit` in `technology`, None where there are none.

    Raises DesignError where the file is damaged.
    """
    path = circuit.targets_file(technology)
    return read_targets(path) if path.is_file() else None


def read_targets(path: Path) -> TargetList:
    """The list in `path`. Raises DesignError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        order = dict(data["order"])
        found = TargetList(
            circuit=data["circuit"],
            technology=data["technology"],
            order=order,
            targets=tuple(tuple(map(float, target)) for target in data["targets"]),
            witnesses=tuple(data.get("witnesses", ())),
            constants=tuple(data.get("constants", ())),
            figures=data.get("figures", {}),
        )
    except OSError as error:
        raise DesignError([Mistake(f"cannot be read: {error.strerror}", path)]) from error
    except (ValueError, KeyError, TypeError) as error:
        hint = "make it anew with `python -m bench.calibrate`"
        raise DesignError([Mistake(f"is no list of targets: {error}", path, hint=hint)]) from error
    if any(len(target) != len(order) for target in found.targets) or not found.targets:
        raise DesignError([Mistake("has targets of another length than its order", path)])
    return found


def targets_text(found: TargetList) -> str:
    """`found` as JSON, one target and one sizing a line."""
    data: dict[str, Any] = {
        "circuit": found.circuit,
        "technology": found.technology,
        "figures": dict(found.figures),
        "order": dict(found.order),
        "constants": list(found.constants),
        "targets": list(found.targets),
        "witnesses": list(found.witnesses),
    }
    parts = [f" {json.dumps(key)}: {_json(value)}" for key, value in data.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _json(value: Any) -> str:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return json.dumps(value)
    rows = ",\n".join(f"  {json.dumps(row)}" for row in value)
    return f"[\n{rows}\n ]"
