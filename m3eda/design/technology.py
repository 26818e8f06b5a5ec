"""Device models by path: a shipped technology, a technology.yaml, or a mapping in the design."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from m3eda.design.problems import Problems
from m3eda.design.schema import TechnologyEntry
from m3eda.design.types import Technology
from m3eda.design.yamlfile import KeyPath, nearest, read_yaml
from m3eda.errors import DesignError

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_SECTION = re.compile(r"^\s*\.lib\s+([^\s\"'./]+)\s*(?:[*$;].*)?$", re.IGNORECASE | re.MULTILINE)
_LARGEST_LIB = 10_000_000
"""Bytes of a model file that is still looked through for its sections."""


def build_technology(
    entry: TechnologyEntry, problems: Problems, known: Mapping[str, Path]
) -> Technology | None:
    """The technology under `technology:`; None, with a mistake noted, where it is wrong."""
    path: KeyPath = ("technology",)
    if not entry.name or entry.lib is not None:
        return _built(entry, problems, path)
    path = ("technology", "name") if ("technology", "name") in problems.document.values else path
    file = _technology_file(entry.name, problems, path, known)
    if file is None:
        return None
    try:
        inner = Problems(read_yaml(file))
    except DesignError as error:
        problems.extend(error.mistakes)
        return None
    read = inner.validated(TechnologyEntry)
    name = entry.name if entry.name in known else read.name or file.resolve().parent.name
    technology = _built(read, inner, (), name)
    problems.extend(inner.mistakes)
    problems.document.sources += inner.document.sources
    return technology and _overridden(technology, entry, problems)


def _overridden(
    technology: Technology, entry: TechnologyEntry, problems: Problems
) -> Technology | None:
    """`technology` with what the design file says beside its name."""
    sections = {**technology.sections, **entry.sections}
    nominal = entry.nominal or technology.nominal
    if entry.nominal and not _check_nominal(nominal, sections, problems, ("technology",)):
        return None
    data = {**technology.data, **(entry.model_extra or {})}
    return replace(technology, sections=sections, nominal=nominal, data=data)


def expanded(text: str, problems: Problems, path: KeyPath) -> str | None:
    """`text` with ~ and $VARIABLES; None, with a mistake noted, where one is not set."""
    for match in _VARIABLE.finditer(text):
        name = match[1] or match[2]
        if name not in os.environ:
            column = problems.shift(path, match.start())
            problems.add(path, f"${name} is not set in the environment", f"export {name}=...",
                         shift=column)  # fmt: skip
            return None
    return os.path.expanduser(os.path.expandvars(text))


def _technology_file(
    name: str, problems: Problems, path: KeyPath, known: Mapping[str, Path]
) -> Path | None:
    if name in known:
        return known[name]
    if "/" not in name and not name.endswith((".yaml", ".yml")):
        hint = nearest(name, known) or f"known: {', '.join(sorted(known)) or 'none'}"
        problems.add(path, f"no technology is called '{name}'", hint)
        return None
    text = expanded(name, problems, path)
    if text is None:
        return None
    file = problems.document.place(path).file.parent / text
    if file.is_dir():
        file = file / "technology.yaml"
    if not file.is_file():
        problems.add(path, f"'{name}' is not there", f"looked for {file}")
        return None
    return file


def _built(
    entry: TechnologyEntry, problems: Problems, path: KeyPath, name: str = ""
) -> Technology | None:
    before = len(problems.mistakes)
    data = dict(entry.model_extra or {})
    for key in data:
        for word in TechnologyEntry.model_fields:
            if key.lower().rstrip("s") == word.rstrip("s"):
                problems.add((*path, key), "is not a known key", f"did you mean {word}?",
                             of_key=True)  # fmt: skip
    sections = dict(entry.sections)
    nominal = entry.nominal or ("tt" if "tt" in sections else next(iter(sections), ""))
    _check_nominal(nominal, sections, problems, path)
    lib = _lib(entry, problems, path)
    if lib is not None:
        _check_sections(lib, sections, problems, (*path, "sections"))
    if len(problems.mistakes) > before:
        return None
    return Technology(name or entry.name or (lib.stem if lib else ""), lib, sections, nominal, data)


def _check_nominal(
    nominal: str, sections: Mapping[str, str], problems: Problems, path: KeyPath
) -> bool:
    if not sections or nominal in sections:
        return True
    hint = nearest(nominal, sections) or f"known: {', '.join(sections)}"
    problems.add((*path, "nominal"), f"'{nominal}' is not among the sections", hint)
    return False


def _lib(entry: TechnologyEntry, problems: Problems, path: KeyPath) -> Path | None:
    if entry.lib is None:
        return None
    where = (*path, "lib")
    text = expanded(entry.lib, problems, where)
    if text is None:
        return None
    lib = Path(os.path.normpath(problems.document.place(where).file.parent.resolve() / text))
    if not lib.is_file():
        problems.add(where, f"the model file '{entry.lib}' is not there", f"looked for {lib}")
        return None
    return lib


def _check_sections(
    lib: Path, sections: Mapping[str, str], problems: Problems, path: KeyPath
) -> None:
    """Note sections that `lib` does not define, where it defines any in SPICE's `.lib name`."""
    if not sections or lib.stat().st_size > _LARGEST_LIB:
        return
    defined = _SECTION.findall(lib.read_text(encoding="utf-8", errors="replace"))
    known = {name.lower() for name in defined}
    for corner, section in sections.items():
        if known and section.lower() not in known:
            hint = nearest(section, defined) or f"it has {', '.join(dict.fromkeys(defined))}"
            problems.add((*path, corner), f"{lib.name} has no section '{section}'", hint)
