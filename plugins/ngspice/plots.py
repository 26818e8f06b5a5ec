"""From the plots in libngspice's memory to results, as if they came from a raw file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from m3eda_plugins.ngspice.library import Library, Vector
from m3eda_plugins.ngspice.results import Result, results

from m3eda.simulate.rawfile import Plot

_NAMES = {"op": "Operating Point", "ac": "AC Analysis", "tran": "Transient Analysis",
          "dc": "DC transfer characteristic", "sp": "SP Analysis"}  # fmt: skip
_SCALES = ("frequency", "time")


@dataclass(frozen=True)
class LoadedPlot(Plot):
    """A plot in memory; its title is ngspice's name for it, such as `ac1`."""

    vectors: tuple[str, ...] = ()
    """ngspice's names of its variables."""


def read_plots(library: Library, *, newest_first: bool = False) -> list[Result]:
    """The plots of the last run that are one of the six analyses."""
    names = library.plots()
    plots = (_plot(library, name) for name in (names[::-1] if newest_first else names))
    found: list[Result] = results(plot for plot in plots if plot is not None)
    return found


def _plot(library: Library, name: str) -> LoadedPlot | None:
    """A plot by ngspice's name for it, such as `ac1`."""
    found = (library.vector(name, each) for each in reversed(library.vectors(name)))
    vectors = [vector for vector in found if vector is not None and vector.data.size]
    scale = next((v for v in vectors if v.name in _SCALES or v.name.endswith("-sweep")), None)
    if scale is not None:
        vectors.remove(scale)
        vectors.insert(0, scale)
    kind = _kind(name.rstrip("0123456789"), vectors, scale)
    if not vectors or not kind:
        return None
    points = vectors[0].data.size
    data = np.full((points, len(vectors)), np.nan, np.result_type(*(v.data for v in vectors)))
    for column, vector in enumerate(vectors):
        size = min(points, vector.data.size)
        data[:size, column] = vector.data[:size]
    names = tuple(_wrapped(vector) for vector in vectors)
    types, own = tuple(v.type for v in vectors), tuple(v.name for v in vectors)
    return LoadedPlot(name, kind, names, types, data, points > 0, own)


def _kind(start: str, vectors: list[Vector], scale: Vector | None) -> str:
    """The name that a raw file gives this kind of plot; empty where it is none of ours."""
    if start != "noise":
        return _NAMES.get(start, "")
    squared = any("^2" in vector.type for vector in vectors)
    name = "Noise Spectral Density Curves" if scale else "Integrated Noise"
    return f"{name} - (V^2 or A^2)" if squared else name


def _wrapped(vector: Vector) -> str:
    """A vector's name as it stands in a raw file: `v(out)`, `i(vdd)`, `frequency`."""
    name = vector.name
    if name.lower().endswith("#branch"):
        return f"i({name[: -len('#branch')]})"
    return name if "(" in name or name in _SCALES else f"v({name})"
