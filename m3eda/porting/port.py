"""A design in another technology, and the sizings that it is begun with."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from m3eda.circuits.instance import instance
from m3eda.circuits.opening import catalogue
from m3eda.circuits.technology import entry_of, own_file, technology_of
from m3eda.design.extends import load_yaml
from m3eda.design.load import design_of
from m3eda.design.schema import EXCLUSIVE
from m3eda.design.space import Space
from m3eda.design.ties import complete
from m3eda.design.types import Design, Parameter, Sizing
from m3eda.design.yamlfile import Document, Text
from m3eda.errors import DesignError, Mistake, SimulatorMissing
from m3eda.flow import Project
from m3eda.plugins import version_of
from m3eda.porting.before import operating_points
from m3eda.porting.devices import Transistor, distinct, traced, transistors
from m3eda.porting.mapping import Carried, Change, Move, Twin, carried
from m3eda.porting.models import check_models, with_devices
from m3eda.porting.rescale import Point, Wanted, device_of, sized, snapped, wanted
from m3eda.porting.tables import Table, tables
from m3eda.simulate.render import Renderer, template_folders, template_names
from m3eda.simulate.trial import Trial, score
from m3eda.simulate.types import State
from m3eda.units import format_engineering

_NEEDED = ("instance.prefix", "instance.unit", "supply.nominal", "sizes.l_min", "sizes.l_max",
           "sizes.w_min", "sizes.w_max")  # fmt: skip
"""What the technology that a design comes from must tell."""


@dataclass(frozen=True)
class DeviceChange:
    """One transistor in both technologies, at the first start."""

    name: str
    sizes: tuple[tuple[float, float], tuple[float, float]]
    """Width of all fingers and copies, and length, m: before and after."""
    points: tuple[Point | None, Point | None]
    why: str
    """Why it does not follow its gm/Id; empty where it does."""


@dataclass
class Ported:
    """A design carried to another technology, not written yet."""

    old: Project
    new: Project
    move: Move
    carried: Carried
    starts: list[Sizing] = field(default_factory=list)
    """Free values in the new technology, the best first."""
    devices: list[DeviceChange] = field(default_factory=list)
    before: Trial | None = None
    """The first sizing in the old technology."""
    after: Trial | None = None
    """The first start in the new one."""

    @property
    def changes(self) -> list[Change]:
        return self.carried.changes


def move_of(project: Project, to: str) -> Move:
    """From the technology of `project` to that called `to`, or at its path. Raises DesignError."""
    design, plugins = project.design, project.plugins
    old = design.technology
    if old is None:
        text, hint = "has no technology to port it from", "give technology: a name or a path"
        raise DesignError([Mistake(text, design.path, key="technology", hint=hint)])
    new = technology_of(to, plugins)
    own = own_file(to, plugins)
    if new.name == old.name and (own is None or new.lib == old.lib):
        raise DesignError([Mistake(f"is in {new.name} already", design.path, key="technology")])
    missing = [key for key in _NEEDED if entry_of(old, *key.split(".")) is None]
    if missing:
        text = f"the technology {old.name} does not tell {', '.join(missing)}"
        hint = "docs/technologies.md has what each key says"
        raise DesignError([Mistake(text, design.path, key="technology", hint=hint)])
    if not design.free:
        text = "has no free parameter: there is nothing to port"
        raise DesignError([Mistake(text, design.path, key="parameters")])
    return Move(old, new, str(own) if own is not None else to)


def port(project: Project, to: str, sizings: Sequence[Sizing]) -> Ported:
    """The design of `project` in the technology `to`, begun with `sizings`, whole ones of the old
    technology, rescaled; without any it is begun at random.

    Raises DesignError where the technology lacks a device, SimulatorMissing.
    """
    move = move_of(project, to)
    design = project.design
    document = load_yaml(design.path, EXCLUSIVE)
    here = sizings[0] if sizings else complete(design, project.nominal_sizing())
    roles = _roles(design, here)
    found = carried(document, design, move, roles, _twin(project, move))
    new = _loaded(project, found)
    ported = Ported(project, new, move, found)
    pairs = _pairs(ported, here)
    _note_short(ported, pairs)
    if _renamed(found, pairs):
        ported.new = new = _loaded(project, found)
    if sizings:
        _rescale(ported, sizings, pairs, roles)
    return ported


def _roles(design: Design, sizing: Sizing) -> dict[str, frozenset[str]]:
    """Which sizes each parameter decides, those with a fixed value too."""
    thawed = {
        name: Parameter(name, minimum=0.5 * p.value, maximum=2.0 * p.value)
        if isinstance(p.value, float) and p.value > 0.0
        else p
        for name, p in design.parameters.items()
    }
    loose = replace(design, parameters=thawed)
    slopes = traced(loose, sizing, lambda moved: complete(loose, moved))
    return {name: frozenset(k for each in own for k in each) for name, own in slopes.items()}


def _twin(project: Project, move: Move) -> Twin | None:
    """The library's circuit of the design's name and parameters, in both technologies."""
    design = project.design
    known = catalogue(project.plugins)
    if design.name not in known.names():
        return None
    circuit = known.circuit(design.name)
    if set(circuit.file.parameters) != set(design.parameters):
        return None
    with contextlib.suppress(DesignError):
        # a technology that the circuit does not claim takes its formulas all the same
        one, other = (
            instance(circuit, each, None,
                     None if each.name in circuit.technologies else circuit.path).data
            for each in (move.old, move.new)
        )  # fmt: skip
        return one, other
    return None


def _loaded(project: Project, found: Carried) -> Project:
    """The project of the new words; files are found where the old design has them."""
    document = Document(
        found.document.path, found.data, found.document.keys, found.document.values,
        list(found.document.sources),
    )  # fmt: skip
    plugins = project.plugins

    def names(template: Any, _: object) -> set[str]:
        return template_names(template, template_folders(template, project.design.path))

    design = design_of(document, plugins.measures, plugins.technologies, names)
    chosen = replace(design, simulator=project.design.simulator)
    return Project(chosen, plugins)


Pair = tuple[Transistor, Transistor]


def _pairs(ported: Ported, sizing: Sizing) -> list[Pair]:
    """Each transistor in both technologies. Raises DesignError for a device that is not there."""
    old, new = ported.old.design, ported.new.design
    before = transistors(old, Renderer(old), sizing)
    begun = _begun(new, sizing, {})
    with with_devices(ported.move.new):
        after = transistors(new, Renderer(new), complete(new, begun))
    check_models(new, ported.move, after)
    if len(before) != len(after):
        ported.carried.notes.append("other transistors there than here: sizes are not rescaled")
        return []
    return list(zip(before, after, strict=True))


def _note_short(ported: Ported, pairs: Sequence[Pair]) -> None:
    """Note channels that are shorter than the technology allows, by the template itself: those that
    a parameter decides are within its limits."""
    least = ported.move.sizes("l_min")[1]
    short = [new.name for _, new in pairs if new.sizes["l"] < least * (1.0 - 1e-6)]
    if short:
        ported.carried.notes.append(
            f"shorter than the {format_engineering(least, 'm')} of {ported.move.new.name} by the "
            f"template itself: {', '.join(short)}"
        )


def _renamed(found: Carried, pairs: Sequence[Pair]) -> bool:
    """Devices in measures by their new names; True where there was one."""
    names = {old.name: new.name for old, new in pairs if old.name != new.name}
    if not names:
        return False
    longest = sorted(names, key=len, reverse=True)
    pattern = re.compile(rf"(?<![\w.])({'|'.join(map(re.escape, longest))})(?![\w.])", re.I)
    changed = False
    for name, entry in found.data["measures"].items():
        text = entry.get("expr") if isinstance(entry, dict) else None
        new = pattern.sub(lambda match: names[match[1].lower()], str(text)) if text else text
        if text and new != text:
            found.put(("measures", name, "expr"), Text(new), "measure", name, "devices")
            changed = True
    return changed


def _begun(design: Design, sizing: Sizing, factors: Mapping[str, float]) -> dict[str, Any]:
    """The free values of `sizing` as `design` allows them, some multiplied by a factor."""
    space = Space(design)
    values = {}
    for axis in space.axes:
        value = sizing.get(axis.name)
        if isinstance(value, float | int):
            values[axis.name] = snapped(axis, float(value) * factors.get(axis.name, 1.0))
        else:
            values[axis.name] = value if value in axis.choices else axis.value(0.5)
    return values


def _rescale(
    ported: Ported, sizings: Sequence[Sizing], pairs: Sequence[Pair],
    roles: Mapping[str, frozenset[str]],
) -> None:  # fmt: skip
    """The starts of the new technology, each with the currents and gm/Id of its old sizing."""
    old, new, move = ported.old, ported.new, ported.move
    known = _tables(ported, pairs)
    places = distinct([each for each, _ in pairs])
    olds = [pairs[place][0] for place in places]
    points = operating_points(old, olds, sizings)
    shorter = {name: move.ratio("l_min") for name, own in roles.items() if "l" in own}
    starts: dict[tuple[Any, ...], Sizing] = {}
    first: list[Wanted] = []
    for sizing, own in zip(sizings, points, strict=True):
        begun = _begun(new.design, sizing, shorter)
        wants = _wants(ported, places, sizing, begun, own, known)
        slopes = {
            name: [every[place] for place in places]
            for name, every in traced(
                new.design, complete(new.design, begun), lambda s: complete(new.design, s)
            ).items()
        }
        start = sized(new.design.free, begun, wants, slopes) if wants else begun
        starts.setdefault(tuple(start.values()), start)
        if not first:
            # where the model of one transistor misleads, the sizes as they are may be better
            starts.setdefault(tuple(begun.values()), begun)
            first = wants
    ported.starts = list(starts.values())
    _look(ported, sizings[0], points[0], places, {each.name: each.why for each in first})


def _tables(ported: Ported, pairs: Sequence[Pair]) -> tuple[dict[str, Table], dict[str, Table]]:
    """The tables of both technologies; none, and a note, where the simulator cannot give them."""
    simulator = ported.old.simulator()
    version = version_of(simulator, ported.old.design.simulator.name)
    found: list[dict[str, Table]] = []
    try:
        for place, technology in enumerate((ported.move.old, ported.move.new)):
            devices = {device_of(technology, pair[place].model) for pair in pairs} - {""}
            found.append(tables(technology, simulator, version, devices))
    except DesignError as error:
        ported.carried.notes.append(f"W/L is kept, as gm/Id is not known: {error}")
        return {}, {}
    return found[0], found[1]


def _wants(
    ported: Ported, places: Sequence[int], sizing: Sizing, begun: Sizing,
    points: Mapping[str, Point], known: tuple[Mapping[str, Table], Mapping[str, Table]],
) -> list[Wanted]:  # fmt: skip
    old, new, move = ported.old.design, ported.new.design, ported.move
    before = transistors(old, Renderer(old), sizing)
    after = transistors(new, Renderer(new), complete(new, begun))
    if len(before) != len(after) or (places and max(places) >= len(after)):
        return []
    found = []
    for place in places:
        one, other = before[place], after[place]
        devices = device_of(move.old, one.model), device_of(move.new, other.model)
        found.append(wanted((one, other), points.get(one.name), devices, known))
    return found


def _look(
    ported: Ported, sizing: Sizing, points: Mapping[str, Point], places: Sequence[int],
    why: Mapping[str, str],
) -> None:  # fmt: skip
    """Simulate the first sizing in the old technology and the first start in the new one."""
    old, new = ported.old.design, ported.new.design
    start = complete(new, ported.starts[0])
    ported.before = _simulated(ported.old, sizing)
    ported.after = _simulated(ported.new, start)
    before = transistors(old, Renderer(old), sizing)
    now = transistors(new, Renderer(new), start)
    if len(now) != len(before) or (places and max(places) >= len(now)):
        return
    [after] = operating_points(ported.new, [now[place] for place in places], [start])
    for one, other in ((before[place], now[place]) for place in places):
        if math.isfinite(one.width * other.width):
            sizes = (one.width, one.sizes["l"]), (other.width, other.sizes["l"])
            both = points.get(one.name), after.get(other.name)
            change = DeviceChange(other.name, sizes, both, why.get(other.name, ""))
            ported.devices.append(change)


def _simulated(project: Project, sizing: Sizing) -> Trial:
    nominal = project.design.nominal.name
    with contextlib.closing(project.evaluator()) as evaluator:
        [results] = evaluator.evaluate([sizing])
    if results[nominal].state is State.SIMULATOR_MISSING:
        raise SimulatorMissing(results[nominal].reason)
    return score(0, sizing, results, project.design.specs)
