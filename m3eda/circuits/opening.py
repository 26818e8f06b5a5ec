"""A circuit of the library as a project that is ready to be simulated or sized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import m3eda_templates

from m3eda.circuits.catalogue import Catalogue, Circuit
from m3eda.circuits.instance import Limits, instance
from m3eda.design.load import design_of
from m3eda.design.problems import Problems
from m3eda.design.technology import build_technology
from m3eda.design.types import Technology
from m3eda.flow import Project
from m3eda.plugins import Plugins
from m3eda.simulate.render import template_folders, template_names


def catalogue() -> Catalogue:
    """The circuits that come with m3eda."""
    folder = Path(m3eda_templates.__file__ or "").parent
    return Catalogue({path.parent.name: path for path in folder.glob("*/circuit.yaml")})


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
    found = catalogue().circuit(circuit) if isinstance(circuit, str) else circuit
    plugins = plugins or Plugins()
    models = technology_of(found, technology or found.technologies[0], plugins)
    document = instance(found, models, specs)

    def names(template: Path, _: object) -> set[str]:
        return template_names(template, template_folders(template, found.path))

    design = design_of(document, plugins.measures, plugins.technologies, names)
    return Project.of(design, **overrides)


def technology_of(circuit: Circuit, name: str, plugins: Plugins) -> Technology:
    """The technology called `name`. Raises DesignError."""
    from m3eda.design.schema import TechnologyEntry

    problems = Problems(circuit.document())
    technology = build_technology(TechnologyEntry(name=name), problems, plugins.technologies)
    problems.raise_all()
    assert technology is not None, "without a mistake there is a technology"
    return technology
