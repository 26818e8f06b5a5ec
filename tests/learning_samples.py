"""A filter with what learning needs: points that fail, corners, targets with known answers."""

from __future__ import annotations

import math
from pathlib import Path

from m3eda.flow import Project
from m3eda.learning.settings import Setting, design_specs

TEMPLATE = """\
* RC low-pass filter
v1 in 0 dc 0 ac 1
r1 in out {{ r }}
c1 out 0 {{ c + cload }}
{% if c > 10 * 1e-9 %}
xbroken out 0 rbroken
{% endif %}
.ac dec 10 1 100meg
.end
"""
DESIGN = """\
m3eda: 1
design: filter
testbenches: {ac: filter.cir.j2}
parameters:
  r: {min: 1k, max: 100k, series: E24, unit: Ohm}
  c: {min: 100p, max: 20n, scale: log, unit: F}
  n: {min: 1, max: 9, step: 1}
measures:
  f3db: {testbench: ac, expr: bandwidth_3db(v(out)), unit: Hz}
  far: {testbench: ac, expr: "gain_at(v(out), 1meg)", unit: V/V}
  double: {expr: 2 * far * n}
specs:
  f3db: {min: 10k}
  far: {max: 0.1}
conditions: {cload: 1n}
corners: [{name: light, cload: 0.1n}, {name: heavy, cload: 3n}]
"""
CLOSED = 'simulator: {name: analytic, options: {model: "{folder}/solve.py:solve"}}\n'
"""Sizings with more than 10 nF fail: an eighth of the scale of c."""


CLOSED_FORM = """\
import numpy as np

from m3eda.simulate.closed_form import ac


def solve(values):
    if values["c"] > 10e-9:
        raise ValueError("rbroken")
    f = np.logspace(0, 8, 81)
    pole = 2j * np.pi * f * values["r"] * (values["c"] + values["cload"])
    return [ac(f, {"v(out)": 1 / (1 + pole)})]
"""
"""The same without a simulator's process, for tests of what stands around one."""


def write_filter(folder: Path, closed: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "filter.cir.j2").write_text(TEMPLATE)
    (folder / "solve.py").write_text(CLOSED_FORM)
    (folder / "design.yaml").write_text(DESIGN + (CLOSED if closed else ""))
    return folder / "design.yaml"


def filter_project(folder: Path, closed: bool = True) -> Project:
    return Project.load(write_filter(folder, closed))


def filter_setting(folder: Path, technology: str = "none", closed: bool = True) -> Setting:
    """The filter with three targets; the last cannot be met."""
    project = filter_project(folder, closed)
    targets = [
        design_specs({"f3db": {"min": low}, "far": {"max": high}})
        for low, high in ((10e3, 0.1), (40e3, 0.05), (1e6, 1e-6))
    ]
    return Setting("filter", technology, tuple(targets), lambda: project)


def corner_frequency(r: float, c: float) -> float:
    """Of a filter of `r` and `c`, in Hz."""
    return 1.0 / (2.0 * math.pi * r * c)
