"""`m3eda new`: a circuit of the library as a folder of the designer's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import m3eda_templates

from m3eda.circuits.catalogue import Circuit
from m3eda.circuits.instance import instance
from m3eda.circuits.opening import design_in
from m3eda.circuits.targets import TargetList, targets_of
from m3eda.circuits.technology import own_file, technology_of
from m3eda.circuits.writing import design_text
from m3eda.design.types import Technology
from m3eda.design.yamlfile import Document, Text
from m3eda.errors import DesignError, Mistake
from m3eda.plugins import Plugins
from m3eda.simulate.files import included_files
from m3eda.simulate.kit import CHECKSUM, checksum_of
from m3eda.simulate.templates import template_folders, template_sources

DESIGN = "design.yaml"


@dataclass(frozen=True)
class Copy:
    """What `m3eda new` is about to write."""

    folder: Path
    texts: dict[str, str]
    """File name -> text."""


def copy_of(
    circuit: Circuit, technology: str, folder: Path, plugins: Plugins, target: int | None = None
) -> Copy:
    """`circuit` in `technology` for `folder`; its specs are target number `target`, counted from
    1, else one of middling hardness. Raises DesignError."""
    models = technology_of(technology, plugins)
    own = own_file(technology, plugins)
    foreign = own is not None
    targets = None if foreign else targets_of(circuit, models.name)
    number = _number(circuit, models.name, targets, target)
    specs = None if targets is None else targets.limits(number)
    # what could not be loaded is told now, at its place, rather than written
    design_in(circuit, instance(circuit, models, specs, own), plugins)
    document = instance(circuit, models, specs, own)
    if own is None and not _comes_with_m3eda(models):
        document.data["technology"] = {
            "name": models.name,
            "checksum": Text(checksum_of(models)[:CHECKSUM]),
        }
    texts = _templates(circuit, document)
    head = [f"{circuit.file.title}, in {models.name}.", *_says(targets, number, models, foreign),
            f"`m3eda library show {circuit.name}` tells more; every range and limit is yours to"
            " change."]  # fmt: skip
    texts[DESIGN] = design_text(_ordered(document.data), head)
    return Copy(folder, texts)


def _comes_with_m3eda(technology: Technology) -> bool:
    """False for a kit that is installed apart, and of which there are several versions."""
    return technology.lib is None or technology.lib.resolve().is_relative_to(_library())


def _library() -> Path:
    return Path(m3eda_templates.__file__ or "").resolve().parent


def _number(
    circuit: Circuit, technology: str, targets: TargetList | None, target: int | None
) -> int:
    if targets is None:
        if target is None:
            return 0
        message = f"{circuit.name} has no targets in {technology}"
        known = [each for each in circuit.technologies if circuit.targets_file(each).is_file()]
        hint = f"it has them in {', '.join(known)}" if known else "leave --target out"
        raise DesignError([Mistake(message, hint=hint)])
    if target is not None and not 1 <= target <= len(targets.targets):
        message = f"{circuit.name} has no target {target} in {technology}"
        raise DesignError([Mistake(message, hint=f"they go from 1 to {len(targets.targets)}")])
    return targets.middle() if target is None else target - 1


def _says(
    targets: TargetList | None, number: int, technology: Technology, foreign: bool
) -> list[str]:
    if targets is not None:
        return [f"The specs are target {number + 1} of {len(targets.targets)}, the easiest first: "
                "a sizing that meets it is known."]  # fmt: skip
    if foreign:
        return [f"Ranges follow the sizes of {technology.name}; nobody has tried it there."]
    return ["Nobody has searched for what is feasible in this technology: the specs are the least",
            "that anybody would want."]  # fmt: skip


def _ordered(data: dict[str, Any]) -> dict[str, Any]:
    words = ("m3eda", "design", "description", "technology", "simulator", "netlist", "testbenches",
             "parameters", "measures", "specs", "conditions", "corners")  # fmt: skip
    found = {word: data[word] for word in words if data.get(word)}
    found.setdefault("simulator", "ngspice")
    return {word: found[word] for word in words if word in found}


def _templates(circuit: Circuit, document: Document) -> dict[str, str]:
    """The circuit's own templates with what they include, by their paths in its folder; parts that
    circuits share stay in the library, where they are found by name."""
    data = document.data
    entries = [each["template"] if isinstance(each, dict) else each
               for each in data["testbenches"].values()]  # fmt: skip
    library = _library()
    folders = [circuit.folder, *(file.resolve().parent for file in document.sources)]
    found: dict[str, str] = {}
    for name in dict.fromkeys(map(str, [data["netlist"], *entries])):
        for source in _sources(circuit, folders, name):
            source = source.resolve()
            home = next((each for each in folders if source.is_relative_to(each)), None)
            if home is not None:
                path = source.relative_to(home).as_posix()
                found.setdefault(path, source.read_text(encoding="utf-8"))
            elif not source.is_relative_to(library):
                message = f"the template {source} is not in the folder of the circuit"
                raise DesignError([Mistake(message, circuit.path, hint="put it there")])
    return found


def _sources(circuit: Circuit, folders: Sequence[Path], name: str) -> list[Path]:
    """The template `name` and all it includes; it lies beside circuit.yaml or what that extends."""
    for folder in dict.fromkeys(folders):
        if (folder / name).is_file():
            template = (folder / name).resolve()
            parsed = template_sources(template, template_folders(template, circuit.path))
            # what a netlist includes by itself is no template, and is copied as it stands
            raw = (file.resolve() for each in parsed for file in included_files(each))
            beside = (file for file in raw if any(file.is_relative_to(home) for home in folders))
            return list(dict.fromkeys([*parsed, *beside]))
    raise DesignError([Mistake(f"the template '{name}' is not there", circuit.path)])
