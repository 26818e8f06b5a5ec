"""A small design file, and what the tests of the loader need around it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import jinja2
from jinja2 import meta

from m3eda.design import Design, load_design
from m3eda.design.functions import MeasureFunction
from m3eda.errors import DesignError, Mistake


def _dc_gain(response: object) -> float:
    return 1.0


def _phase_margin(response: object) -> float:
    return 60.0


def _gain_at(response: object, frequency: float) -> float:
    return 1.0


def _saturation_margin(*devices: str) -> float:
    return 0.1


FUNCTIONS = {
    "dc_gain": MeasureFunction("dc_gain", _dc_gain, "ac"),
    "phase_margin": MeasureFunction("phase_margin", _phase_margin, "ac", "deg"),
    "gain_at": MeasureFunction("gain_at", _gain_at, "ac"),
    "saturation_margin": MeasureFunction(
        "saturation_margin", _saturation_margin, "op", "V", ("vds", "vdsat")
    ),
}

TEMPLATE = (
    "* amplifier\nr1 in out {{ r }}\nc1 out 0 {{ c }}\nv1 in 0 {{ vdd }} ac 1\n.ac dec 10 1 1g\n"
)

DESIGN = """\
m3eda: 1
design: filter
testbenches:
  ac: amp.cir.j2
parameters:
  r: {min: 1k, max: 100k}
  c: {min: 1p, max: 2p, step: 0.1p}
measures:
  gain: {expr: dc_gain(v(out)), unit: V/V}
  pm: {expr: phase_margin(v(out))}
specs:
  gain: {min: 300}
  pm: {min: 60 deg}
conditions: {vdd: 1.2}
"""


def template_names(template: Path, folders: tuple[Path, ...]) -> set[str]:
    """The names a template needs, by jinja2 alone; includes are not followed."""
    try:
        tree = jinja2.Environment(autoescape=True).parse(template.read_text())
    except jinja2.TemplateSyntaxError as error:
        raise DesignError([Mistake(str(error.message), template, error.lineno)]) from error
    return set(meta.find_undeclared_variables(tree))


def write(folder: Path, text: str = DESIGN, template: str = TEMPLATE, **files: str) -> Path:
    """A folder with a design file, its template and `files` (`name__ext` -> text)."""
    (folder / "amp.cir.j2").write_text(template)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(dedent(content))
    path = folder / "design.yaml"
    path.write_text(text)
    return path


def load(path: Path, technologies: Mapping[str, Path] | None = None) -> Design:
    return load_design(path, FUNCTIONS, technologies or {}, template_names)


def edited(old: str, new: str, text: str = DESIGN) -> str:
    """`text` with `old`, which must be there, replaced."""
    assert old in text
    return text.replace(old, new)


def mistakes(path: Path, technologies: Mapping[str, Path] | None = None) -> list[str]:
    """What is wrong with a design, one line a mistake, without the folder."""
    try:
        load(path, technologies)
    except DesignError as error:
        folder = f"{path.parent}/"
        return [str(mistake).replace(folder, "") for mistake in error.mistakes]
    return []
