"""Datasets read back: NumPy arrays by column, whole or shard by shard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3eda.design.ranges import FloatArray, Ranges
from m3eda.design.space import Axis
from m3eda.design.types import Corner, Parameter
from m3eda.errors import DesignError, Mistake
from m3eda.learning.manifest import FILE, Manifest, read_manifest
from m3eda.learning.shards import read_shard
from m3eda.simulate.types import State


@dataclass(frozen=True)
class Part:
    """Points of a dataset, n of them in the order of their numbers."""

    first: int
    """Number of the first point."""
    x: FloatArray
    """Unit coordinates of the parameters, shape (n, d): each in its own scale."""
    parameters: FloatArray
    """SI units, shape (n, d); a word is its place among the choices."""
    measures: FloatArray
    """SI units, shape (n, m); nan where one does not exist."""
    corner: NDArray[np.uint16]
    """Place among the dataset's corners, shape (n,)."""
    state: NDArray[np.uint8]
    """Place among the dataset's states, shape (n,)."""
    complete: NDArray[np.bool_]
    """True where the simulation did not fail, shape (n,)."""
    reasons: Sequence[str]
    """Why a simulation failed or its first missing measure does not exist; else empty."""

    def __len__(self) -> int:
        return len(self.state)


class Dataset:
    """A dataset on disk. Shards are read, and their checksums compared, when they are asked for."""

    def __init__(self, folder: Path) -> None:
        """Raises DesignError where there is none, StorageError where its manifest is damaged."""
        found = read_manifest(folder)
        if found is None:
            hint = "`m3eda dataset` makes one"
            raise DesignError([Mistake("there is no dataset", folder, hint=hint)])
        self.folder = folder
        self.manifest: Manifest = found

    def __len__(self) -> int:
        return self.manifest.points

    @property
    def circuit(self) -> str:
        return str(self.manifest.identity["circuit"])

    @property
    def technology(self) -> str:
        return str(self.manifest.identity["technology"])

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the free parameters, in the order of the columns."""
        return self.manifest.parameters

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures, in the order of the columns."""
        return self.manifest.measures

    @property
    def states(self) -> tuple[str, ...]:
        return tuple(self.manifest.identity["states"])

    @property
    def corners(self) -> tuple[Corner, ...]:
        return tuple(Corner(**each) for each in self.manifest.identity["corners"])

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The free parameters, to go from values to unit coordinates and back."""
        entries = self.manifest.identity["parameters"].items()
        return tuple(Axis(parameter_of(name, data)) for name, data in entries)

    def parts(self) -> Iterator[Part]:
        """Shard by shard, one in memory at a time. Raises StorageError where one is damaged."""
        for entry in self.manifest.shards.values():
            yield self._part(read_shard(self.folder, entry))

    def whole(self) -> Part:
        """All points at once. Raises StorageError."""
        parts = list(self.parts())
        if not parts:
            raise DesignError([Mistake("has no whole shard yet", self.folder / FILE)])

        def joined(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(part, name) for part in parts])

        names = ("x", "parameters", "measures", "corner", "state", "complete")
        reasons = [reason for part in parts for reason in part.reasons]
        return Part(parts[0].first, **{name: joined(name) for name in names}, reasons=reasons)

    def columns(self, *names: str) -> dict[str, NDArray[Any]]:
        """Parameters and measures by name, all points, each of shape (n,): of large datasets less
        than `whole`. Raises DesignError for a name that is neither, StorageError."""
        keys = {name: self._key(name) for name in names}
        found: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
        for entry in self.manifest.shards.values():
            arrays = read_shard(self.folder, entry, keys.values())
            for name, key in keys.items():
                found[name].append(arrays[key])
        return {name: np.concatenate(each) if each else np.empty(0) for name, each in found.items()}

    def _key(self, name: str) -> str:
        if name in self.measures:
            return f"measure.{name}"
        if name in self.parameters:
            return f"parameter.{name}"
        if name in ("corner", "state"):
            return name
        hint = f"known: {', '.join([*self.parameters, *self.measures, 'corner', 'state'])}"
        raise DesignError([Mistake(f"no column is called '{name}'", self.folder, hint=hint)])

    def _part(self, arrays: dict[str, Any]) -> Part:
        texts = ["", *(str(text) for text in arrays["reasons"])]
        parameters = _stacked(arrays, "parameter", self.parameters)
        return Part(
            int(arrays["first"]),
            self.units(parameters),
            parameters,
            _stacked(arrays, "measure", self.measures),
            arrays["corner"],
            arrays["state"],
            arrays["state"] == self.states.index(State.COMPLETE.value),
            [texts[number] for number in arrays["reason"]],
        )

    def units(self, parameters: FloatArray) -> FloatArray:
        """Unit coordinates of parameters as columns hold them, shape (n, d)."""
        x = np.empty_like(parameters)
        for column, axis in enumerate(self.axes):
            values = parameters[:, column]
            if axis.categorical:
                x[:, column] = (values + 0.5) / len(axis.choices)
            elif axis.choices:
                ranks = np.searchsorted(np.array(axis.choices, dtype=float), values)
                x[:, column] = (ranks + 0.5) / len(axis.choices)
            else:
                x[:, column] = Ranges([axis.parameter]).units(values[:, None])[:, 0]
        return x


def read_dataset(folder: Path | str) -> Dataset:
    """The dataset in `folder`, or the only one below it.

    Raises DesignError where there is none, or more than one.
    """
    found = find_datasets(Path(folder))
    if len(found) > 1:
        several = ", ".join(str(each.relative_to(folder)) for each in found)
        hint = f"name one of {several}"
        raise DesignError([Mistake("holds several datasets", Path(folder), hint=hint)])
    return Dataset(found[0] if found else Path(folder))


def find_datasets(folder: Path | str) -> list[Path]:
    """Every folder at and below `folder` that has a dataset, in order."""
    return sorted(path.parent for path in Path(folder).rglob(FILE))


def parameter_of(name: str, data: Mapping[str, Any]) -> Parameter:
    """What `parameter_words` of the manifest wrote."""
    return Parameter(name, **{**data, "choices": tuple(data.get("choices", ()))})


def _stacked(arrays: dict[str, Any], kind: str, names: Sequence[str]) -> FloatArray:
    columns: list[FloatArray] = [arrays[f"{kind}.{name}"] for name in names]
    return np.stack(columns, axis=1) if columns else np.empty((len(arrays["state"]), 0))
