"""Target lists: sets of specs for one circuit, kept as JSON in bench/targets/."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.circuits import Circuit, circuit
from m3eda.design.types import Sizing

FOLDER = Path(__file__).resolve().parent / "targets"


@dataclass(frozen=True)
class TargetList:
    """Targets of one circuit, each one limit a spec in the order of `Circuit.order`."""

    name: str
    circuit: str
    targets: tuple[tuple[float, ...], ...]
    constants: tuple[Sizing, ...] = ()
    """Single sizings tried against every target, for the constant-design row."""
    witnesses: tuple[Sizing, ...] = ()
    """A sizing that meets each target, where known."""
    note: str = ""

    def best_constant(self) -> tuple[Sizing, int]:
        """The constant sizing that meets most targets, and how many it meets."""
        made = circuit(self.circuit)
        counts = [
            (count_met(made, made.evaluate(sizing), self.targets), -index)
            for index, sizing in enumerate(self.constants)
        ]
        count, index = max(counts)
        return self.constants[-index], count


def count_met(
    made: Circuit, measures: Mapping[str, float], targets: Iterable[Sequence[float]]
) -> int:
    """How many targets these measures meet, strictly."""
    return sum(
        all(
            measures[name] >= limit if side == "min" else measures[name] <= limit
            for (name, side), limit in zip(made.order.items(), target, strict=True)
        )
        for target in targets
    )


@cache
def target_list(name: str) -> TargetList:
    """The list bench/targets/<name>.json. Raises FileNotFoundError."""
    data: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return TargetList(
        name=name,
        circuit=data["circuit"],
        targets=tuple(tuple(target) for target in data["targets"]),
        constants=tuple(data.get("constants", ())),
        witnesses=tuple(data.get("witnesses", ())),
        note=data.get("note", ""),
    )


def known_lists() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def write_list(path: Path, data: Mapping[str, Any]) -> None:
    """Write a list as JSON, one target and one sizing a line."""
    parts = []
    for key, value in data.items():
        if isinstance(value, list) and value and not isinstance(value[0], (str, int)):
            rows = ",\n".join(f"  {json.dumps(row)}" for row in value)
            parts.append(f" {json.dumps(key)}: [\n{rows}\n ]")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value)}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")
