"""Device models by path: a shipped technology, a technology.yaml, or a mapping in the design."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from m3eda.design.functions import absence
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
    of_its_own = bool(entry.includes) and not (entry.name in known or _is_path(entry.name))
    if not entry.name or entry.lib is not None or of_its_own:
        if not _has_package(entry, entry.name, problems, (*path, "package")):
            return None
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
    if not _has_package(read, name, problems, path):
        return None
    technology = _built(read, inner, (), name)
    problems.extend(inner.mistakes)
    problems.document.sources += inner.document.sources
    return technology and _overridden(technology, entry, problems)


def read_technology(file: Path) -> Technology:
    """The technology of a technology.yaml. Raises DesignError with every mistake in it."""
    problems = Problems(read_yaml(file))
    entry = problems.validated(TechnologyEntry)
    technology = None
    if _has_package(entry, entry.name, problems, ("package",)):
        technology = _built(entry, problems, ())
    problems.raise_all()
    assert technology is not None, "without a mistake there is a technology"
    return technology


def _overridden(
    technology: Technology, entry: TechnologyEntry, problems: Problems
) -> Technology | None:
    """`technology` with what the design file says beside its name."""
    sections = {**technology.sections, **entry.sections}
    nominal = entry.nominal or technology.nominal
    if entry.nominal and not _check_nominal(nominal, sections, problems, ("technology",)):
        return None
    includes = _includes(entry, problems, ("technology",))
    if not _check_corners(includes, sections, problems, ("technology",)):
        return None
    merged = {
        corner: (*technology.includes.get(corner, ()), *includes.get(corner, ()))
        for corner in {**technology.includes, **includes}
    }
    data = {**technology.data, **_data(entry)}
    return replace(technology, sections=sections, nominal=nominal, data=data, includes=merged)


def package_folder(package: str) -> Path | None:
    """Where an installed top-level package lies, found without importing it; None without it."""
    if not package.isidentifier():
        return None
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]) if folders else None


def _has_package(entry: TechnologyEntry, name: str, problems: Problems, path: KeyPath) -> bool:
    """False, with a mistake noted at `path`, where the package of the model files is missing."""
    if not entry.package or package_folder(entry.package) is not None:
        return True
    install = entry.install or entry.package
    needs = f"technology {name} needs" if name else "needs"
    quoted = f"'{install}'" if "[" in install else install
    problems.add(path, f"{needs} the package {entry.package}", f"pip install {quoted}")
    return False


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


def _is_path(name: str) -> bool:
    return "/" in name or name.endswith((".yaml", ".yml"))


def _technology_file(
    name: str, problems: Problems, path: KeyPath, known: Mapping[str, Path]
) -> Path | None:
    if name in known:
        return known[name]
    if not _is_path(name):
        hint = nearest(name, known) or f"known: {', '.join(sorted(known)) or 'none'}"
        hint = "; ".join(filter(None, [hint, absence(known, name)]))
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
    data = _data(entry)
    for key in entry.model_extra or {}:
        for word in TechnologyEntry.model_fields:
            if key.lower().rstrip("s") == word.rstrip("s"):
                problems.add((*path, key), "is not a known key", f"did you mean {word}?",
                             of_key=True)  # fmt: skip
    includes = _includes(entry, problems, path)
    by_corner = dict.fromkeys((corner for corner in includes if corner), "")
    sections = dict(entry.sections) or by_corner
    nominal = entry.nominal or ("tt" if "tt" in sections else next(iter(sections), ""))
    _check_nominal(nominal, sections, problems, path)
    _check_corners(includes, sections, problems, path)
    lib = _lib(entry, problems, path)
    if lib is not None:
        _check_sections(lib, entry.sections, problems, (*path, "sections"))
    if len(problems.mistakes) > before:
        return None
    name = name or entry.name or (lib.stem if lib else "")
    return Technology(name, lib, sections, nominal, data, includes)


def _data(entry: TechnologyEntry) -> dict[str, Any]:
    """What templates may read, and the checksum where one is given."""
    checksum = {"checksum": entry.checksum.lower()} if entry.checksum else {}
    return {**(entry.model_extra or {}), **checksum}


def _check_nominal(
    nominal: str, sections: Mapping[str, str], problems: Problems, path: KeyPath
) -> bool:
    if not sections or nominal in sections:
        return True
    hint = nearest(nominal, sections) or f"known: {', '.join(sections)}"
    problems.add((*path, "nominal"), f"'{nominal}' is not among the sections", hint)
    return False


def _check_corners(
    includes: Mapping[str, object], sections: Mapping[str, str], problems: Problems, path: KeyPath
) -> bool:
    """False, with mistakes noted, where `includes` names a corner that is not a section."""
    unknown = [corner for corner in includes if corner and corner not in sections]
    for corner in unknown:
        hint = nearest(corner, sections) or f"known: {', '.join(sections) or 'none'}"
        problems.add((*path, "includes", corner), f"'{corner}' is not among the sections", hint,
                     of_key=True)  # fmt: skip
    return not unknown


def _lib(entry: TechnologyEntry, problems: Problems, path: KeyPath) -> Path | None:
    if entry.lib is None:
        return None
    return _model_file(entry.lib, entry.package, problems, (*path, "lib"))


def _includes(
    entry: TechnologyEntry, problems: Problems, path: KeyPath
) -> dict[str, tuple[Path, ...]]:
    """The files of `includes` by corner, those of every corner under ""."""
    found: dict[str, tuple[Path, ...]] = {}
    for corner, files in entry.includes.items():
        where: KeyPath = (*path, "includes", *([corner] if corner else []))
        listed = isinstance(problems.document.at(where), list)
        places = [(*where, index) if listed else where for index in range(len(files))]
        read = [
            _model_file(written, entry.package, problems, place)
            for written, place in zip(files, places, strict=True)
        ]
        found[corner] = tuple(file for file in read if file is not None)
    return found


def _model_file(written: str, package: str, problems: Problems, path: KeyPath) -> Path | None:
    """The file `written` at `path`, in the package or beside the YAML file; None, with a mistake
    noted, where it is not there."""
    text = expanded(written, problems, path)
    if text is None:
        return None
    base = package_folder(package) if package else problems.document.place(path).file.parent
    file = Path(os.path.normpath((base or Path()).resolve() / text))
    if not file.is_file():
        problems.add(path, f"the model file '{written}' is not there", f"looked for {file}")
        return None
    return file


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
