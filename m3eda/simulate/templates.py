"""Jinja templates: the sandbox they are rendered in, what they include, and what they see.

Undefined names are refused. Numbers are written with plain exponents (`1.2e-06`), never with
suffixes, which simulators read differently.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import jinja2.bccache
import jinja2.meta
import jinja2.nodes
import jinja2.sandbox

from m3eda.design.templates import library_folder
from m3eda.design.types import Technology
from m3eda.design.yamlfile import nearest
from m3eda.errors import DesignError, Mistake
from m3eda.simulate.python_netlist import is_python, python_names
from m3eda.simulate.tracing import FILTERS, Symbol

_KEPT = 256
"""Templates that are kept parsed, and compiled."""


def number(value: Any) -> Any:
    """How a value is written into a deck: floats by `repr`, whole ones without a point."""
    if isinstance(value, bool) or not isinstance(value, float):
        return value.mark() if isinstance(value, Symbol) else value
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(float(value))


class _Bytecode(jinja2.BytecodeCache):
    """What templates were compiled to, for as long as the process lives.

    Every environment has the same settings, and a design is rendered by more than one of them.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], bytes] = {}

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        """Jinja's own refuses a path that is no UTF-8."""
        return f"{filename}|{name}"

    def load_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        kept = self._kept.get((bucket.key, bucket.checksum))
        if kept is not None:
            bucket.bytecode_from_string(kept)

    def dump_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        if len(self._kept) >= _KEPT:
            self._kept.clear()
        self._kept[bucket.key, bucket.checksum] = bucket.bytecode_to_string()


_BYTECODE = _Bytecode()


def template_environment(folders: tuple[Path, ...]) -> jinja2.Environment:
    """The sandbox all templates are rendered in; includes are looked up in `folders`, in order."""
    environment = jinja2.sandbox.SandboxedEnvironment(
        loader=jinja2.FileSystemLoader([str(folder) for folder in folders]),
        undefined=_Missing,
        auto_reload=False,  # a design is rendered from what its files held when it was loaded
        finalize=number,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
        bytecode_cache=_BYTECODE,
    )
    environment.filters.update(FILTERS)
    return environment


def template_folders(template: Path, design_file: Path) -> tuple[Path, ...]:
    """Where a template's includes are looked for: beside it, beside the design, in the library."""
    folders = [template.parent, design_file.parent]
    library = library_folder()
    return tuple(dict.fromkeys([*folders, *([library] if library else [])]))


def template_sources(
    template: Path, folders: tuple[Path, ...]
) -> dict[Path, jinja2.nodes.Template]:
    """`template` and every template it includes by a literal name, parsed.

    Raises DesignError for a syntax error or an include that is not there, with file and line.
    """
    found: dict[Path, jinja2.nodes.Template] = {}
    waiting = [template]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found[path] = _parse(path)
        for node in found[path].find_all(
            (
                jinja2.nodes.Include,
                jinja2.nodes.Import,
                jinja2.nodes.FromImport,
                jinja2.nodes.Extends,
            )
        ):
            waiting += _referenced(node, path, folders)
    return found


def template_names(template: Path, folders: tuple[Path, ...]) -> set[str]:
    """Every name that `template` and what it includes need from outside."""
    if is_python(template):
        return python_names(template)
    names: set[str] = set()
    for tree in template_sources(template, folders).values():
        names |= _undeclared(tree)
    return names - set(jinja2.defaults.DEFAULT_NAMESPACE)


def _parse(path: Path) -> jinja2.nodes.Template:
    try:
        return _parsed(path.read_text(encoding="utf-8"), str(path))
    except jinja2.TemplateSyntaxError as error:
        raise DesignError([Mistake(str(error.message), path, error.lineno)]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DesignError([Mistake(f"cannot be read: {error}", path)]) from error


@functools.lru_cache(_KEPT)
def _parsed(text: str, filename: str) -> jinja2.nodes.Template:
    return template_environment(()).parse(text, filename=filename)


@functools.lru_cache(_KEPT)
def _undeclared(tree: jinja2.nodes.Template) -> frozenset[str]:
    return frozenset(jinja2.meta.find_undeclared_variables(tree))


def _referenced(node: Any, path: Path, folders: tuple[Path, ...]) -> list[Path]:
    """The files a literal include names; none where the name is computed while rendering."""
    if not isinstance(node.template, jinja2.nodes.Const):
        return []
    name = str(node.template.value)
    for folder in folders:
        if (folder / name).is_file():
            return [folder / name]
    if getattr(node, "ignore_missing", False):
        return []
    places = ", ".join(str(folder) for folder in folders)
    raise DesignError([Mistake(f"includes '{name}', which is not in {places}", path, node.lineno)])


class TechnologyTable(dict[str, Any]):
    """A mapping inside a technology; it knows its place, for a message on a name it lacks."""

    def __init__(self, data: Mapping[str, Any], technology: str, path: tuple[str, ...]) -> None:
        super().__init__((key, _table(data[key], technology, (*path, key))) for key in data)
        self._place = (technology, path)

    def lacks(self, name: str) -> str:
        """What is wrong with asking for `name`, and the nearest names there are."""
        technology, path = self._place
        what = f"device '{name}'" if path == ("devices",) else f"'{'.'.join((*path, name))}'"
        hint = nearest(name, self) or f"known: {', '.join(map(str, self)) or 'none'}"
        return f"technology {technology} has no {what} ({hint})"


def _table(value: Any, technology: str, path: tuple[str, ...]) -> Any:
    return TechnologyTable(value, technology, path) if isinstance(value, Mapping) else value


class TechnologyView:
    """What a template sees as `technology` at one corner."""

    def __init__(self, technology: Technology, process: str) -> None:
        self._data = TechnologyTable(technology.data, technology.name, ())
        self.name = technology.name
        self.lib = str(technology.lib) if technology.lib else ""
        corner = process or technology.nominal
        self.section = technology.sections.get(corner, "")
        files = [*technology.includes.get("", ()), *technology.includes.get(corner, ())]
        lines = [f'.include "{file}"' for file in dict.fromkeys(files)]
        if self.lib:
            lines.append(
                f'.lib "{self.lib}" {self.section}' if self.section else f'.include "{self.lib}"'
            )
        self.include = "\n".join(lines)

    def __getattr__(self, name: str) -> Any:
        try:
            return self._data[name]
        except KeyError:
            raise AttributeError(name) from None

    def lacks(self, name: str) -> str:
        """What is wrong with asking for `name`."""
        return self._data.lacks(name)


class _Missing(jinja2.StrictUndefined):
    """A name that nobody gives; inside a technology the message names what is there."""

    @property
    def _undefined_message(self) -> str:
        if isinstance(self._undefined_obj, (TechnologyTable, TechnologyView)):
            return self._undefined_obj.lacks(str(self._undefined_name))
        return str(super()._undefined_message)


def template_mistake(error: Exception, template: Path) -> Mistake:
    """The mistake behind a rendering error, at the template's line where Jinja tells it."""
    line = getattr(error, "lineno", None)
    name = getattr(error, "filename", None)
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "template" in trace.tb_frame.f_code.co_name or file.endswith(template.name):
            line, name = trace.tb_lineno, file
        trace = trace.tb_next
    known = Path(name) if name and Path(name).is_file() else template
    return Mistake(str(error), known, line if known == template or line else None)


def before_end(text: str, line: str) -> str:
    """`text` with `line` added at its end, before a closing `.end`."""
    body = re.sub(r"^\s*\.end\s*$", "", text.rstrip("\n"), flags=re.IGNORECASE | re.MULTILINE)
    return f"{body.rstrip()}\n{line}\n.end\n"
