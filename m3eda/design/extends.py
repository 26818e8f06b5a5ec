"""`extends`: design files that share parts, merged key by key, later ones over earlier ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m3eda.design.yamlfile import Document, KeyPath, read_yaml
from m3eda.errors import DesignError, Mistake

Exclusive = Mapping[tuple[str, str], tuple[frozenset[str], ...]]
"""For (section, "*"): groups of words that exclude each other. Where an extending file uses one
group, the words of the others are dropped from what it extends."""


def load_yaml(path: Path, exclusive: Exclusive | None = None) -> Document:
    """Read `path` and what it `extends`. Raises DesignError with every mistake of the first
    file that is wrong."""
    return _load(path, (), exclusive or {})


def mistake_at(path: Path, where: KeyPath, message: str, hint: str = "") -> Mistake:
    """A mistake that only shows once the design at `path` is loaded, at its place in the file."""
    place = load_yaml(path).place(where)
    key = ".".join(map(str, where))
    return Mistake(message, place.file, place.line, place.column, key, hint)


def _load(path: Path, chain: tuple[Path, ...], exclusive: Exclusive) -> Document:
    document = read_yaml(path)
    here = path.resolve()
    merged = Document(path, {})
    for index, name in enumerate(_extended(document)):
        where = document.place(("extends", index))
        base = path.parent / name
        if base.resolve() in {*chain, here}:
            raise DesignError([Mistake(f"extends itself through {name}", path, where.line,
                                       where.column, "extends")])  # fmt: skip
        if not base.is_file():
            raise DesignError([Mistake(f"'{name}' is not there", path, where.line, where.column,
                                       "extends", f"looked in {base.parent}")])  # fmt: skip
        _merge_documents(merged, _load(base, (*chain, here), exclusive), exclusive)
    document.data.pop("extends", None)
    _merge_documents(merged, document, exclusive)
    return merged


def _extended(document: Document) -> list[str]:
    """The names under `extends`: one, or a list."""
    names = document.data.get("extends") or []
    names = [names] if isinstance(names, str) else names
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return names
    place = document.place(("extends",))
    raise DesignError([Mistake("must be a file name or a list of them", document.path, place.line,
                               place.column, "extends")])  # fmt: skip


def _merge_documents(base: Document, over: Document, exclusive: Exclusive) -> None:
    """Merge `over` into `base`, in place; what is null in `over` is removed."""
    _merge(base.data, over.data, (), exclusive)
    base.keys.update(over.keys)
    base.values.update(over.values)
    base.sources = list(dict.fromkeys([*over.sources, *base.sources]))


def _merge(base: dict[str, Any], over: dict[str, Any], path: KeyPath, exclusive: Exclusive) -> None:
    groups = exclusive.get((str(path[0]), "*"), ()) if len(path) == 2 else ()
    for group in groups:
        if group.isdisjoint(over) and any(not other.isdisjoint(over) for other in groups):
            for word in group:
                base.pop(word, None)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value, (*path, key), exclusive)
        elif value is None and key in base:
            del base[key]
        else:
            base[key] = value
