"""A circuit of the library as a project that is ready to be simulated or sized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from m3eda.circuits.catalogue import Catalogue, Circuit
from m3eda.circuits.instance import Limits, instance
from m3eda.design.load import design_of
from m3eda.design.technology import read_technology
from m3eda.design.types import Technology
from m3eda.errors import DesignError, Mistake
from m3eda.flow import Project
from m3eda.plugins import Plugins
from m3eda.simulate.render import template_folders, template_names


def catalogue(plugins: Plugins | None = None) -> Catalogue:
    """The circuits that come with m3eda and with plugins."""
    found = (plugins or Plugins()).circuits
    return Catalogue({name: Path(path) for name, path in found.items()})


def open_circuit(
    circuit: Circuit | str,
    technology: str = "",
    specs: Limits | None = None,
    *,
    plugins: Plugins | None = None,
    **overrides: Any,
) -> Project:
    """`circuit` in `technology` (its own where none is named), with `specs` as its data sheet.

    `overrides` are those of `Project.load`. Raises DesignError with every mistake, PluginError.
    """
    plugins = plugins or Plugins()
    found = catalogue(plugins).circuit(circuit) if isinstance(circuit, str) else circuit
    models = technology_of(technology or found.technologies[0], plugins)
    foreign = models.name not in plugins.technologies
    document = instance(found, models, specs, foreign=foreign)

    def names(template: Path, _: object) -> set[str]:
        return template_names(template, template_folders(template, found.path))

    design = design_of(document, plugins.measures, plugins.technologies, names)
    return Project.of(design, **overrides)


def technology_of(name: str, plugins: Plugins) -> Technology:
    """The technology called `name`, or that of a technology.yaml by its path. Raises DesignError
    with every mistake."""
    known = plugins.table("technologies")
    if name in known:
        return read_technology(Path(known[name]))
    if "/" not in name and not name.endswith((".yaml", ".yml")):
        text, hint = known.missing(name)
        raise DesignError([Mistake(text, hint=hint)])
    path = Path(name).expanduser().resolve()
    path = path / "technology.yaml" if path.is_dir() else path
    if not path.is_file():
        raise DesignError([Mistake("there is no such technology", path)])
    return read_technology(path)
