"""What a dataset is: circuit, technology, simulator, ranges, seed, and the shards there are.

manifest.json is written whole or not at all. Everything in it but the shards says what the points
are, and must be the same for the dataset to be gone on with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from m3eda import __version__
from m3eda.design.snapshot import circuit_hash
from m3eda.design.types import Corner, Design, Parameter
from m3eda.errors import DesignError, Mistake, StorageError
from m3eda.flow import Project
from m3eda.learning.shards import ShardEntry
from m3eda.report.atomic import write_atomic
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.files import content_hash
from m3eda.simulate.types import State

FORMAT = 1
FILE = "manifest.json"
STATES = tuple(state.value for state in State)


@dataclass(frozen=True)
class Manifest:
    """The manifest of one dataset."""

    identity: Mapping[str, Any]
    """What the points are; see `identity_of`."""
    shards: Mapping[int, ShardEntry] = field(default_factory=dict)
    """By number; each is whole."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The free parameters, a column each."""
        return tuple(self.identity["parameters"])

    @property
    def measures(self) -> tuple[str, ...]:
        return tuple(self.identity["measures"])

    @property
    def rows_a_shard(self) -> int:
        return int(self.identity["rows_a_shard"])

    @property
    def points(self) -> int:
        """Points in whole shards."""
        return sum(entry.rows for entry in self.shards.values())

    @property
    def counts(self) -> dict[str, int]:
        """Points by what became of them."""
        found: dict[str, int] = {}
        for entry in self.shards.values():
            for state, count in entry.states.items():
                found[state] = found.get(state, 0) + count
        return found

    def with_shard(self, entry: ShardEntry) -> Manifest:
        return replace(self, shards=dict(sorted({**self.shards, entry.number: entry}.items())))

    def without(self, number: int) -> Manifest:
        return replace(self, shards={k: v for k, v in self.shards.items() if k != number})

    def save(self, folder: Path) -> None:
        """Raises StorageError."""
        shards = [
            f"  {json.dumps({'file': each.file, **asdict(each)})}" for each in self.shards.values()
        ]
        data = {**self.identity, "points": self.points, "counts": self.counts}
        text = json.dumps(data, indent=1)[:-2]
        lines = "[\n" + ",\n".join(shards) + "\n ]" if shards else "[]"
        write_atomic(folder / FILE, f'{text},\n "shards": {lines}\n}}\n')


def identity_of(
    project: Project,
    evaluator: Evaluator,
    *,
    corners: Sequence[Corner],
    seed: int,
    sampling: str,
    rows_a_shard: int,
    fingerprint: str,
) -> dict[str, Any]:
    """All that decides the points of a dataset and what they give."""
    design = project.design
    sizing = project.nominal_sizing()
    files = [path for path in project.files(sizing) if path.suffix not in {".yaml", ".yml"}]
    contents = [*map(content_hash, files), *project.built(sizing), evaluator.setup]
    return {
        "format": FORMAT,
        "circuit": design.name,
        "technology": design.technology.name if design.technology else "",
        "design": circuit_hash(design, contents),
        "simulator": {
            "name": design.simulator.name, "version": evaluator.version, "mode": evaluator.mode,
        },
        "m3eda": __version__,
        "seed": seed,
        "sampling": sampling,
        "first_points": fingerprint,
        "rows_a_shard": rows_a_shard,
        "parameters": {p.name: parameter_words(p) for p in design.free},
        "frozen": {p.name: p.value for p in design.parameters.values() if p.frozen},
        "tied": {p.name: p.expression for p in design.parameters.values() if p.tied},
        "conditions": dict(design.conditions),
        "measures": _measures(design),
        "corners": [
            {"name": each.name, "process": each.process, "conditions": dict(each.conditions)}
            for each in corners
        ],
        "states": list(STATES),
    }  # fmt: skip


def parameter_words(parameter: Parameter) -> dict[str, Any]:
    """What is set of it; a column holds SI units, of words the place among the choices."""
    data = {key: value for key, value in asdict(parameter).items() if value not in (None, "", ())}
    del data["name"]
    data.pop("description", None)
    if parameter.choices:
        data["choices"] = list(parameter.choices)
    return data


def _measures(design: Design) -> dict[str, Any]:
    return {
        each.name: {
            "unit": each.unit, "testbench": each.testbench,
            **({"expr": each.expression} if each.expression else {"meas": each.meas}),
        }
        for each in design.measures.values()
    }  # fmt: skip


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in `folder`, None where there is none.

    Raises StorageError where it cannot be read, and DesignError where it is of another format.
    """
    path = folder / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        version = data.pop("format")
        if version != FORMAT:
            text = f"is of format {version}, this version of m3eda reads {FORMAT}"
            raise DesignError([Mistake(text, path, hint="take another folder")])
        listed = data.pop("shards")
        del data["points"], data["counts"]
        shards = {
            each["number"]: ShardEntry(**{k: v for k, v in each.items() if k != "file"})
            for each in listed
        }
        found = Manifest({"format": version, **data}, shards)
        _ = found.parameters, found.measures, found.rows_a_shard
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path}: is damaged: it is no manifest of a dataset") from error
    return found


def check_same(folder: Path, there: Manifest, wanted: Mapping[str, Any]) -> None:
    """Raise DesignError where the dataset in `folder` is of other points than those `wanted`."""
    # through JSON, as the manifest has gone
    fresh = json.loads(json.dumps(wanted))
    for key, old, new in _differences("", there.identity, fresh):
        hint = "take another --out, or the same design and options as before"
        text = f"is {_said(old)} in this dataset, and now {_said(new)}"
        raise DesignError([Mistake(text, folder / FILE, key=key, hint=hint)])


def _differences(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """What differs, ranges and options first, hashes last: the first says most."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*dict.fromkeys([*old, *new])]
        for key in sorted(keys, key=lambda each: each in ("design", "first_points")):
            below = f"{path}.{key}" if path else key
            yield from _differences(below, old.get(key), new.get(key))
    elif old != new:
        yield path, old, new


def _said(value: Any) -> str:
    text = "not there" if value is None else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
