"""A design as JSON and back, and the hashes that tell whether two runs are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from m3eda.design.types import AgentChoice, Design, Signoff

HASH_LENGTH = 16
"""Hexadecimal digits kept of a hash: 64 bits tell any number of designs apart."""


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[Design]:
    return TypeAdapter(Design)


def dump(design: Design) -> str:
    """`design` as JSON text that `restore` reads."""
    # a whole number where the type says float is no fault
    data = _adapter().dump_python(design, mode="json", warnings=False)
    return json.dumps(data)  # unlike pydantic it can write a path that is not UTF-8


def restore(text: str) -> Design:
    """The design behind the JSON of `dump`."""
    return _adapter().validate_python(json.loads(text))


def design_hash(design: Design, contents: Iterable[str]) -> str:
    """Hash of a design and of its files' `contents` (hashes), wherever the files lie."""
    return _hash(design, contents)


def circuit_hash(design: Design, contents: Iterable[str]) -> str:
    """Hash of what decides a sizing's raw measures: not specs, ranges, objective or agent."""
    ranges = {
        name: parameter for name, parameter in design.parameters.items() if not parameter.free
    }
    bare = replace(
        design,
        specs={},
        parameters=ranges,
        agent=AgentChoice(),
        objective=Design.objective,
        description="",
        sources=(),
        corners=(),
        starts=(),
        signoff=Signoff(),
        variation=None,
    )
    return _hash(bare, contents)


def _hash(design: Design, contents: Iterable[str]) -> str:
    data = _names_only(_adapter().dump_python(design, warnings=False))
    if not design.signoff.corners:
        del data["signoff"]  # a design that is sized at its nominal corner is what it was
    if not design.starts:
        del data["starts"]  # likewise
    for corner in data["corners"]:
        if corner["sample"] is None:
            del corner["sample"]
    text = json.dumps([data, list(contents)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def _names_only(value: Any) -> Any:
    """The same data with each path cut to its file name, so that a moved checkout is the same."""
    if isinstance(value, Path):
        return value.name
    if isinstance(value, dict):
        return {str(key): _names_only(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_names_only(item) for item in value]
    return value
