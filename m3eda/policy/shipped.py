"""The networks that come with m3eda: which of them, if any, knows a design, and where it stands."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.design.space import Space
from m3eda.design.ties import testbenches_of
from m3eda.design.types import Design
from m3eda.errors import M3edaError, StorageError
from m3eda.plugins import Plugins
from m3eda.policy.pretrained import FOLDER, OWN, VARIED, Placed, Pretrained, read_pretrained
from m3eda.policy.response import Networks, Scale
from m3eda.policy.similar import Laid, Overlaid, devices_of, laid

INDEX = "index.json"
KNOWN, NEW, LOOSE = 0.1, 0.5, 1.0
"""Standard deviations of conditions, in units of those learnt from: in a technology learnt from, in
another one whose transistors are known, and beyond what was learnt."""
REACH = 2.5
"""Conditions further out than this are taken as lying there: beyond it networks know nothing."""
UNKNOWN = 1.5
"""Standard deviation of conditions of which nothing is known."""


SHARE = 0.5
"""Of a design's specs, and of its free parameters, that networks know, from which they are of
use."""


@dataclass(frozen=True)
class Match:
    """A circuit that networks know, and how a design is like it."""

    circuit: str
    path: Path
    same: bool
    """True where testbenches and measures are those learnt from; else names and units agree."""
    measures: tuple[str, ...]
    """Those with a spec that the networks know; others are the design's own."""
    parameters: tuple[str, ...]
    """The free ones that the networks know."""
    others: tuple[str, ...] = ()
    """Measures of the design that networks know by name in another unit, but for decibels and
    ratios."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Of the measures that networks know."""
    laid: Laid | None = None
    """How it lies over the design, where that is known by its devices and not by names."""

    @property
    def share(self) -> int:
        """How much of the design networks know."""
        return len(self.measures) + len(self.parameters)

    def whole(self, design: Design) -> bool:
        """True where networks know every measure with a spec and every free parameter of `design`,
        and all devices of their circuit are there."""
        part = self.laid is not None and (self.laid.bare or self.laid.mirrored)
        return self.share == len(design.specs) + len(design.free) and not part

    @cached_property
    def pretrained(self) -> Pretrained:
        """Raises StorageError where the file is damaged or not the one that was indexed."""
        return read_pretrained(self.path)

    def words(self, design: Design, same: bool) -> str:
        """What an agent says of it."""
        technology = design.technology.name if design.technology else ""
        name = f"{self.circuit} of the library"
        text = f"known circuit: {name}" if same else f"similar to {name}"
        if self.laid:
            text += " by its transistors" if self.laid.bare else " by its devices"
        if self.laid and self.laid.mirrored:
            text += ", n for p and p for n"
        else:
            new = technology not in self.pretrained.facts["technologies"]
            text += f", in a technology {'new to its networks' if new else 'its networks know'}"
        own = [each.name for each in design.free if each.name not in self.parameters]
        own += [each for each in design.specs if each not in self.measures]
        return f"{text}; {', '.join(own)} learnt from the trials" if own else text


def match(design: Design, folder: Path = FOLDER) -> Match | None:
    """The networks in `folder` that know most of `design`: a share `SHARE` at least of its free
    parameters and of its measures with a spec, by their names or, where these do not tell it all,
    by how the devices of its deck are connected. None where none does. Raises StorageError where
    the index is damaged."""
    index = index_of(folder)
    by_name = max(_by_names(design, index, folder), key=lambda m: (m.share, m.same), default=None)
    if by_name and (by_name.same or by_name.share == len(design.specs) + len(design.free)):
        return by_name
    by_devices = max(_by_devices(design, index, folder), key=_rank, default=None)
    found = [each for each in (by_name, by_devices) if each]
    return max(found, key=lambda each: each.share, default=None)


def _rank(found: Match) -> tuple[int, bool, float]:
    """The better, the greater: of circuits that lie over a design in like manner."""
    assert found.laid is not None
    return found.share, found.laid.here, -found.laid.fit.miss


def _by_names(design: Design, index: Mapping[str, Any], folder: Path) -> Iterator[Match]:
    """Those whose parameters the design has all."""
    for name, entry in index.items():
        if not _has_parameters(design, entry["axes"]):
            continue
        known = tuple(each for each in design.specs if _is_read(design, entry, each))
        if len(known) < SHARE * len(design.specs):
            continue
        free = tuple(each.name for each in design.free if each.name in entry["axes"])
        same = len(free) == len(design.free)
        same = same and template_hashes(design, known) <= set(entry["templates"])
        same = same and all(
            design.measures[each].expression == entry["measures"][each]["expr"] for each in known
        )
        others = tuple(each for each in entry["measures"] if each in design.measures
                       and not _is_read(design, entry, each))  # fmt: skip
        units = {each: about["unit"] for each, about in entry["measures"].items()}
        yield Match(name, folder / f"{name}.npz", same, known, free, others, units)


_LAID: dict[tuple[int, tuple[str, ...]], tuple[Design, list[Match]]] = {}
"""What was found last of a design, by its identity and the circuits there are: decks are traced for
it, and it is asked for more than once."""


def _by_devices(design: Design, index: Mapping[str, Any], folder: Path) -> list[Match]:
    """Those that lie over the design most closely and know enough of it."""
    key = id(design), tuple(index)
    if key not in _LAID:
        _LAID.clear()
        levels = (_of_use(design, level, folder) for level in laid(design, index))
        _LAID[key] = design, next(filter(None, levels), [])
    return _LAID[key][1]


def _of_use(design: Design, found: Iterable[tuple[str, Laid]], folder: Path) -> list[Match]:
    matches = []
    for name, over in found:
        known, free = tuple(over.names), over.parameters
        if len(known) < SHARE * len(design.specs) or len(free) < SHARE * len(design.free):
            continue
        if known and free:
            matches.append(Match(name, folder / f"{name}.npz", False, known, free, laid=over))
    return matches


def placed(found: Match, design: Design) -> tuple[Networks, bool] | None:
    """The networks where the design stands, and whether the circuit is the very one that they have
    learnt; None where the range of a frozen parameter is not known. Raises StorageError."""
    if found.laid:
        return _placed_over(found.pretrained, found.laid, design), False
    pretrained, library = found.pretrained, _in_library(found, design)
    encoder, names = pretrained.encoder, pretrained.axes
    axes = {axis.name: axis for axis in Space(library or design).axes}
    if not set(names) <= set(axes):
        return None
    fixed = {name: axes[name].unit(value) for name in names
             if (value := design.parameters[name].value) is not None}  # fmt: skip
    ordered, conditions = [axes[name] for name in names], _conditions(design)
    scales = _scales(found, design)
    usual = {name: value for name, each in (library.parameters if library else {}).items()
             if name not in names and (value := each.value) is not None}  # fmt: skip
    if library is None or not set(encoder.home) <= set(conditions):
        loose = UNKNOWN * encoder.spread
        return Placed(
            pretrained, ordered, np.zeros(encoder.size), loose, fixed, usual, scales
        ), found.same
    assert design.technology is not None
    technology, same = design.technology.name, found.same and _alike(design, library, names)
    code = encoder.code(pretrained.devices[technology], conditions)
    ends = REACH * encoder.spread
    assert library.technology is not None
    sure = same and technology in pretrained.facts["technologies"]
    sure = sure and design.technology.nominal == library.technology.nominal
    sure = sure and all(_near(conditions[each], _conditions(library)[each])
                        for each in encoder.home if each in OWN)  # fmt: skip
    spread = np.where(np.abs(code) > ends, LOOSE, KNOWN if sure else NEW) * encoder.spread
    return Placed(
        pretrained, ordered, np.clip(code, -ends, ends), spread, fixed, usual, scales
    ), same


def _placed_over(pretrained: Pretrained, over: Laid, design: Design) -> Overlaid:
    """The networks where a design stands that their circuit is laid over."""
    encoder, library = pretrained.encoder, over.library
    axes = {axis.name: axis for axis in Space(library).axes}
    ordered = [axes[name] for name in pretrained.axes]
    centre, spread = np.zeros(encoder.size), UNKNOWN * encoder.spread
    technology = library.technology.name if library.technology else ""
    own, usual = _conditions(design), _conditions(library)
    if (
        over.here
        and not over.mirrored
        and technology in pretrained.devices
        and set(encoder.home) <= set(usual)
    ):
        given = {name: own.get(name, usual[name]) for name in encoder.home}
        code = encoder.code(pretrained.devices[technology], given)
        ends = REACH * encoder.spread
        told = np.array([name in own for name in encoder.read])
        sure = np.concatenate([np.full(encoder.size - len(told), True), told])
        loose = np.where(sure & (np.abs(code) <= ends), NEW, LOOSE)
        centre, spread = np.clip(code, -ends, ends), loose * encoder.spread
    reached = set(itertools.compress(over.fit.other.parameters, over.fit.reached))
    unknown = [axis.name for axis in ordered if axis.name not in reached and not axis.categorical]
    return Overlaid(Placed(pretrained, ordered, centre, spread, loose=unknown), over, design)


def _in_library(found: Match, design: Design) -> Design | None:
    """The library's circuit in the design's technology, where networks know its transistors."""
    technology = design.technology.name if design.technology else ""
    if technology not in found.pretrained.devices:
        return None
    plugins = Plugins(silent=True)  # what there is to tell was told when the design was loaded
    try:
        return open_circuit(found.circuit, technology, plugins=plugins).design
    except M3edaError:  # the circuit is of another library, or not in this technology
        return None


def _alike(design: Design, library: Design, free: Sequence[str]) -> bool:
    """True where all that networks do not read is as the library has it."""
    for name, parameter in library.parameters.items():
        own = design.parameters.get(name)
        if name in free or own is None:
            continue
        if (
            own.expression != parameter.expression
            or own.free
            or not _near(own.value, parameter.value)
        ):
            return False
    known = library.conditions
    return all(_near(design.conditions.get(name, value), value)
               for name, value in known.items() if name not in VARIED)  # fmt: skip


def _near(one: object, other: object) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-3)
    return one == other


def template_hashes(design: Design, measures: Iterable[str] | None = None) -> set[str]:
    """Of the text of the circuit itself and of each testbench, or of those of `measures` only."""
    used = set(design.testbenches) if measures is None else testbenches_of(design, measures)
    paths = [design.testbenches[name].template for name in sorted(used)]
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
            "measures": {
                each: {
                    "unit": design.measures[each].unit,
                    "log": scale.log,
                    "expr": design.measures[each].expression,
                }
                for each, scale in zip(pretrained.measures, pretrained.scales, strict=True)
            },
            **devices_of(design),
            "templates": sorted(template_hashes(design)),
        }
    return found


def _is_read(design: Design, entry: Mapping[str, Any], measure: str) -> bool:
    """True where networks know a measure of this name in a unit that they can be read in."""
    known = entry["measures"].get(measure)
    scale = Scale(known["log"], 0.0, 1.0) if known else None
    own = design.measures[measure].unit
    return scale is not None and scale.read_in(known["unit"], own) is not None


def _scales(found: Match, design: Design) -> list[Scale]:
    """Of the networks' measures, in the units of the design where it has them."""
    scales = []
    for name, scale in zip(found.pretrained.measures, found.pretrained.scales, strict=True):
        own = design.measures.get(name)
        scales.append((scale.read_in(found.units[name], own.unit) if own else None) or scale)
    return scales


def _has_parameters(design: Design, names: Sequence[str]) -> bool:
    """True where the design has `names`, each free or frozen, and no more free ones besides than
    a share `SHARE` of all."""
    known = design.parameters
    free = {each.name for each in design.free}
    if len(free & set(names)) < SHARE * len(free):
        return False
    return all(name in known and (known[name].free or known[name].frozen) for name in names)


def index_of(folder: Path) -> Mapping[str, Any]:
    """What is known of each circuit that has networks in `folder`. Raises StorageError."""
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


def _conditions(design: Design) -> dict[str, float]:
    found = {}
    for name, value in {"temp": 27.0, **design.conditions}.items():
        if isinstance(value, int | float):
            found[name] = float(value)
    return found
