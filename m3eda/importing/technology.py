"""The technology of a design that is made from a netlist: a shipped one, or the models it names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from m3eda.design.technology import read_technology
from m3eda.design.writing import flow
from m3eda.design.yamlfile import nearest
from m3eda.errors import DesignError, Mistake
from m3eda.importing.devices import Circuit
from m3eda.importing.reader import Reference
from m3eda.units import NumberError, parse

_SECTION = re.compile(r"^\s*\.lib\s+([\w-]+)\s*(?:[*$;].*)?$", re.IGNORECASE | re.MULTILINE)
_CORNERS = ("tt", "ff", "ss", "sf", "fs")
_LARGEST = 10_000_000
_SKY130 = "sky130_fd_pr__"


@dataclass(frozen=True)
class Chosen:
    """The technology of a design."""

    line: str = ""
    """What the design file says; empty where it says nothing."""
    is_guess: bool = False
    replaces: tuple[Reference, ...] = ()
    """References of the netlist in place of which it stands."""
    limits: Mapping[str, object] | None = None
    """Its `sizes`, in m."""
    unknown: tuple[str, ...] = ()
    """Models that nothing defines."""

    @property
    def loads(self) -> bool:
        """Whether templates have its models."""
        return bool(self.line)


def choose(circuit: Circuit, name: str, known: Mapping[str, Path], folder: Path) -> Chosen:
    """The technology for a circuit: the one that is asked for, else what the netlist names.

    Raises DesignError where no technology is called `name`.
    """
    models = sorted({device.model.lower() for device in circuit.devices if device.is_transistor})
    if name:
        if name not in known:
            hint = nearest(name, known) or f"known: {', '.join(sorted(known))}"
            raise DesignError([Mistake(f"no technology is called '{name}'", hint=hint)])
        return Chosen(name, False, _of_models(circuit, models), limits_of(known[name]))
    sections = [each for each in circuit.libraries if each.section]
    limits = limits_of(known["sky130"]) if _is_sky130(models) and "sky130" in known else None
    if len(sections) == 1 and sections[0].card.file == circuit.main.path:
        return Chosen(_by_path(sections[0], folder), False, (sections[0],), limits)
    if circuit.libraries or _has_models(circuit):
        return Chosen(limits=limits)
    if _is_sky130(models) and limits is not None:
        return Chosen("sky130", True, limits=limits)
    return Chosen(unknown=tuple(models))


def _is_sky130(models: Sequence[str]) -> bool:
    return any(model.startswith(_SKY130) for model in models)


def _has_models(circuit: Circuit) -> bool:
    return any(card.head == ".model" for card in circuit.cards)


def _of_models(circuit: Circuit, models: Sequence[str]) -> tuple[Reference, ...]:
    """The references that define the circuit's transistors."""
    return tuple(
        reference for reference in circuit.libraries
        if reference.section or any(model in _text(reference.path).lower() for model in models)
    )  # fmt: skip


def _text(path: Path) -> str:
    try:
        return path.read_text("latin-1") if path.stat().st_size < _LARGEST else ""
    except OSError:
        return ""


def limits_of(path: Path | None) -> Mapping[str, object] | None:
    """The `sizes` of a technology.yaml; None without one, or where its models are not there."""
    if path is None:
        return None
    try:
        sizes = read_technology(path).data.get("sizes")
    except DesignError:
        return None
    return sizes if isinstance(sizes, Mapping) else None


def _by_path(reference: Reference, folder: Path) -> str:
    """The technology of a `.lib` line: its file, and the sections that are corners."""
    written = reference.written
    if not written.startswith(("/", "~", "$")):
        written = os.path.relpath(reference.path, folder.resolve())
    found = {name.lower(): name for name in _SECTION.findall(_text(reference.path))}
    used = reference.section
    if used.lower() in _CORNERS:
        sections = {corner: found[corner] for corner in _CORNERS if corner in found}
    else:
        sections = {used: used}
    sections = sections or {used: used}
    nominal = {} if used.lower() == "tt" else {"nominal": used.lower()}
    if used.lower() not in sections:
        sections, nominal = {used: used}, {}
    return flow({"lib": written, "sections": sections, **nominal})


def supply_of(name: str, known: Mapping[str, Path]) -> float:
    """The nominal supply of a technology in V, 0 where it is not known."""
    try:
        supply = read_technology(known[name]).data.get("supply") if name in known else None
        return parse(str(supply["nominal"])) if isinstance(supply, Mapping) else 0.0
    except (DesignError, NumberError, KeyError):
        return 0.0
