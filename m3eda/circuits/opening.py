"""A circuit of the library as a project that is ready to be simulated or sized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from m3eda.circuits.catalogue import Catalogue, Circuit
from m3eda.circuits.instance import Limits, instance
from m3eda.circuits.technology import own_file, technology_of
from m3eda.design.load import design_of
from m3eda.design.types import Design
from m3eda.design.yamlfile import Document
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

    `technology` may be the path of a technology.yaml as well. `overrides` are those of
    `Project.load`. Raises DesignError with every mistake, PluginError.
    """
    plugins = plugins or Plugins()
    found = catalogue(plugins).circuit(circuit) if isinstance(circuit, str) else circuit
    named = technology or found.technologies[0]
    models = technology_of(named, plugins)
    document = instance(found, models, specs, own_file(named, plugins))
    return Project.of(design_in(found, document, plugins), **overrides)


def design_in(circuit: Circuit, document: Document, plugins: Plugins) -> Design:
    """The design that the `instance` of a circuit describes. Raises DesignError with every
    mistake."""

    def names(template: Path, _: object) -> set[str]:
        return template_names(template, template_folders(template, circuit.path))

    return design_of(document, plugins.measures, plugins.technologies, names)
