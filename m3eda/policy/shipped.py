"""The networks that come with m3eda: which of them, if any, knows a design, and where it stands."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.design.space import Axis, Space
from m3eda.design.types import Design
from m3eda.errors import M3edaError, StorageError
from m3eda.policy.pretrained import FOLDER, SUPPLY_NAME, Placed, Pretrained, read_pretrained

INDEX = "index.json"
KNOWN, NEW, LOOSE = 0.1, 0.5, 1.0
"""Standard deviations of conditions, in units of those learnt from: in a technology learnt from, in
another one whose transistors are known, and beyond what was learnt."""
REACH = 2.5
"""Conditions further out than this are taken as lying there: beyond it networks know nothing."""
UNKNOWN = 1.5
"""Standard deviation of conditions of which nothing is known."""


@dataclass(frozen=True)
class Match:
    """A circuit that networks know, and how a design is like it."""

    circuit: str
    path: Path
    same: bool
    """True where the testbenches are those learnt from; else names alone agree."""

    @cached_property
    def pretrained(self) -> Pretrained:
        """Raises StorageError where the file is damaged or not the one that was indexed."""
        return read_pretrained(self.path)

    def words(self, design: Design) -> str:
        """What an agent says of it."""
        technology = design.technology.name if design.technology else ""
        name = f"{self.circuit} of the library"
        text = f"known circuit: {name}" if self.same else f"similar to {name}"
        if technology in self.pretrained.facts["technologies"]:
            return f"{text}, in a technology its networks know"
        return f"{text}, in a technology new to its networks"


def match(design: Design, folder: Path = FOLDER) -> Match | None:
    """The networks in `folder` that know the circuit of `design`: all its parameters and every
    measure with a spec; None where none does. Raises StorageError where the index is damaged."""
    found = None
    hashes = template_hashes(design)
    for name, entry in _index(folder).items():
        if not _has_parameters(design, entry["axes"]):
            continue
        if not set(design.specs) <= set(entry["measures"]):
            continue
        same = hashes <= set(entry["templates"])
        if found is None or same:
            found = Match(name, folder / f"{name}.npz", same)
        if same:
            break
    return found


def placed(found: Match, design: Design) -> Placed | None:
    """The networks where the design stands; None where the range of a frozen parameter is not
    known. Raises StorageError."""
    pretrained = found.pretrained
    encoder = pretrained.encoder
    where = _axes(pretrained, design)
    if where is None:
        return None
    axes, technology = where
    fixed = {axis.name: axis.unit(value) for axis in axes
             if (value := design.parameters[axis.name].value) is not None}  # fmt: skip
    conditions = _conditions(design)
    loose = UNKNOWN * encoder.spread
    if not technology or not set(encoder.home) <= set(conditions):
        return Placed(pretrained, axes, np.zeros(encoder.size), loose, fixed)
    code = encoder.code(pretrained.devices[technology], conditions)
    ends = REACH * encoder.spread
    sure = KNOWN if technology in pretrained.facts["technologies"] and found.same else NEW
    spread = np.where(np.abs(code) > ends, LOOSE, sure) * encoder.spread
    if SUPPLY_NAME in encoder.home and not _nominal(pretrained, design, conditions):
        spread = np.maximum(spread, NEW * encoder.spread)
    return Placed(pretrained, axes, np.clip(code, -ends, ends), spread, fixed)


def template_hashes(design: Design) -> set[str]:
    """Of the text of each testbench and of the circuit itself."""
    paths = [each.template for each in design.testbenches.values()]
    paths += [design.netlist] if design.netlist else []
    return {_text_hash(path) for path in paths}


def write_index(folder: Path) -> dict[str, Any]:
    """What the index of the networks in `folder` says. Raises DesignError, StorageError."""
    known, found = catalogue(), {}
    for path in sorted(folder.glob("*.npz")):
        pretrained = read_pretrained(path)
        design = open_circuit(known.circuit(pretrained.circuit)).design
        found[pretrained.circuit] = {
            "axes": list(pretrained.axes),
            "measures": list(pretrained.measures),
            "templates": sorted(template_hashes(design)),
        }
    return found


def _has_parameters(design: Design, names: Sequence[str]) -> bool:
    """True where the free parameters are among `names`, and all others of them are frozen."""
    known = design.parameters
    if not {each.name for each in design.free} <= set(names):
        return False
    return all(name in known and (known[name].free or known[name].frozen) for name in names)


def _index(folder: Path) -> Mapping[str, Any]:
    path = folder / INDEX
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: is damaged ({error})") from error
    return found


def _text_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError:
        return ""


def _axes(found: Pretrained, design: Design) -> tuple[tuple[Axis, ...], str] | None:
    """The axes that unit points are of, and the technology where the networks know it: ranges are
    those of the library there, whatever the design made of them. None where there are none."""
    own = {axis.name: axis for axis in Space(design).axes}
    name = design.technology.name if design.technology else ""
    if name in found.devices:
        with contextlib.suppress(M3edaError):  # a circuit of another library, another technology
            library = open_circuit(catalogue().circuit(found.circuit), name).design
            there = {axis.name: axis for axis in Space(library).axes}
            return tuple(there[each] for each in found.axes), name
    if not set(found.axes) <= set(own):
        return None
    return tuple(own[each] for each in found.axes), ""


def _conditions(design: Design) -> dict[str, float]:
    found = {}
    for name, value in {"temp": 27.0, **design.conditions}.items():
        if isinstance(value, int | float):
            found[name] = float(value)
    return found


def _nominal(pretrained: Pretrained, design: Design, conditions: Mapping[str, float]) -> bool:
    """True where transistors work as the table says: at their nominal supply and temperature."""
    technology = design.technology
    if technology is None:
        return False
    supply = technology.data.get("supply", {}).get("nominal")
    same = supply is None or abs(conditions[SUPPLY_NAME] / float(supply) - 1.0) < 0.02
    return bool(same and abs(conditions["temp"] - 27.0) < 1.0)
