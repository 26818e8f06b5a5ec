"""Templates to decks. Rendering never runs a simulator.

Jinja2, sandboxed, with undefined names refused. Numbers are written with plain exponents
(`1.2e-06`), never with suffixes, which simulators read differently. Paths in `.include` and `.lib`
lines become absolute, so that a deck runs from any directory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import jinja2.nodes
import jinja2.sandbox

from m3eda.design.templates import EVERYTHING, library_folder
from m3eda.design.ties import at_nominal, values_at
from m3eda.design.types import Corner, Design, Sizing, Technology, Testbench, Value
from m3eda.design.yamlfile import nearest
from m3eda.errors import DesignError, Mistake
from m3eda.simulate.python_netlist import PythonNetlist, is_python, python_names
from m3eda.simulate.types import Deck

_INCLUDE = re.compile(
    r"""^(?P<head>\s*\.(?:include|inc|lib)\s+)(?P<path>"[^"\n]*"|'[^'\n]*'|[^\s"']+)(?P<tail>.*)$""",
    re.IGNORECASE | re.MULTILINE,
)
_TEMPERATURE = re.compile(r"^\s*\.temp\b", re.IGNORECASE | re.MULTILINE)


_Compiled = tuple[jinja2.Template | PythonNetlist, frozenset[str], tuple[Path, ...]]
"""A template ready to render, the names it needs, and the files it is made of."""


@dataclass(frozen=True)
class Wanted:
    """What the measures of one testbench need from its deck."""

    vectors: tuple[str, ...] = ()
    device_values: tuple[str, ...] = ()
    meas: tuple[str, ...] = ()


def number(value: Any) -> Any:
    """How a value is written into a deck: floats by `repr`, whole ones without a point."""
    if isinstance(value, bool) or not isinstance(value, float):
        return value
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def template_environment(folders: tuple[Path, ...]) -> jinja2.Environment:
    """The sandbox all templates are rendered in; includes are looked up in `folders`, in order."""
    return jinja2.sandbox.SandboxedEnvironment(
        loader=jinja2.FileSystemLoader([str(folder) for folder in folders]),
        undefined=_Missing,
        finalize=number,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )


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
    environment = template_environment(folders)
    found: dict[Path, jinja2.nodes.Template] = {}
    waiting = [template]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found[path] = _parse(environment, path)
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
        names |= jinja2.meta.find_undeclared_variables(tree)
    return names - set(jinja2.defaults.DEFAULT_NAMESPACE)


def _parse(environment: jinja2.Environment, path: Path) -> jinja2.nodes.Template:
    try:
        return environment.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except jinja2.TemplateSyntaxError as error:
        raise DesignError([Mistake(str(error.message), path, error.lineno)]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DesignError([Mistake(f"cannot be read: {error}", path)]) from error


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


@dataclass
class Renderer:
    """Renders the testbenches of one design. Safe to use from several threads.

    Raises DesignError for what is wrong in a template, with its file and line.
    """

    design: Design
    wanted: Mapping[str, Wanted] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._templates: dict[Path, _Compiled] = {}
        self._paths: dict[tuple[str, Path], Path] = {}
        self._views: dict[str, TechnologyView] = {}

    def deck(self, testbench: Testbench, corner: Corner, sizing: Sizing) -> Deck:
        """The deck of `testbench` at `corner`; `sizing` holds every parameter."""
        values = values_at(self.design, testbench, corner, sizing)
        text, files = self._render(testbench.template, values, corner)
        wanted = self.wanted.get(testbench.name, Wanted())
        return Deck(
            text=text,
            testbench=testbench.name,
            corner=corner.name,
            vectors=wanted.vectors,
            device_values=wanted.device_values,
            meas=wanted.meas,
            values=values,
            files=files,
        )

    def netlist(self, sizing: Sizing) -> str:
        """The sized netlist that is handed over: the design's `netlist`, else the first
        testbench's deck, at nominal conditions."""
        corner = self.design.nominal
        first = at_nominal(self.design, next(iter(self.design.testbenches.values())))
        if self.design.netlist is None:
            return self.deck(first, corner, sizing).text
        values = values_at(self.design, first, corner, sizing)
        return self._render(self.design.netlist, values, corner, add_temperature=False)[0]

    def netlist_files(self, sizing: Sizing) -> tuple[Path, ...]:
        """The files behind the design's own `netlist`, none where it has none."""
        if self.design.netlist is None:
            return ()
        corner = self.design.nominal
        first = at_nominal(self.design, next(iter(self.design.testbenches.values())))
        return self._render(
            self.design.netlist, values_at(self.design, first, corner, sizing), corner
        )[1]

    def _render(
        self,
        template: Path,
        values: Mapping[str, Value],
        corner: Corner,
        add_temperature: bool = True,
    ) -> tuple[str, tuple[Path, ...]]:
        compiled, names, sources = self._compiled(template)
        context: dict[str, Any] = {**values, "corner": corner.process or corner.name}
        if self.design.technology is not None:
            process = corner.process
            if process not in self._views:
                self._views[process] = TechnologyView(self.design.technology, process)
            context["technology"] = self._views[process]
        missing = sorted(names - {EVERYTHING, *context})
        if missing:
            raise DesignError(
                [Mistake(f"needs {', '.join(missing)}, which nobody gives", template)]
            )
        try:
            text = compiled.render(context)
        except jinja2.TemplateError as error:
            raise DesignError([_template_mistake(error, template)]) from error
        except (TypeError, ValueError, ArithmeticError) as error:
            raise DesignError([_template_mistake(error, template)]) from error
        included: list[Path] = []
        text = _INCLUDE.sub(lambda match: self._absolute(match, template, included), text)
        if add_temperature and "temp" not in names and not _TEMPERATURE.search(text):
            text = _before_end(text, f".temp {number(values['temp'])}")
        return text, (*sources, *dict.fromkeys(included))

    def _compiled(self, template: Path) -> _Compiled:
        if template not in self._templates:
            folders = template_folders(template, self.design.path)
            names = frozenset(template_names(template, folders))
            if is_python(template):
                netlist = PythonNetlist(template)
                self._templates[template] = (netlist, names, netlist.sources)
                return self._templates[template]
            sources = template_sources(template, folders)
            compiled = template_environment(folders).get_template(template.name)
            self._templates[template] = (compiled, names, tuple(sources))
        return self._templates[template]

    def _absolute(self, match: re.Match[str], template: Path, included: list[Path]) -> str:
        """An `.include` or `.lib` line with its path made absolute."""
        head, written, tail = match["head"], match["path"], match["tail"]
        if head.strip().lower() == ".lib" and not tail.strip():
            return match[0]  # the start of a section, not a reference to a file
        path = self._resolve(written.strip("\"'"), template)
        included.append(path)
        return f'{head}"{path}"{tail}'

    def _resolve(self, written: str, template: Path) -> Path:
        key = (written, template)
        if key not in self._paths:
            self._paths[key] = resolve_path(
                written, (self.design.path.parent, template.parent), template
            )
        return self._paths[key]


def resolve_path(written: str, folders: tuple[Path, ...], file: Path) -> Path:
    """An absolute path from one written with `~`, `$VARS` or relative to one of `folders`.

    Raises DesignError that names the unset variable, or where the file was looked for.
    """
    expanded = os.path.expanduser(os.path.expandvars(written))
    unset = re.search(r"\$\{?(\w+)", expanded)
    if unset:
        raise DesignError(
            [
                Mistake(
                    f"'{written}' uses ${unset[1]}, which is not set in the environment",
                    file,
                    _line_of(written, file),
                )
            ]
        )
    candidates = [folder / expanded for folder in folders]
    for candidate in candidates:
        if candidate.is_file():
            return Path(os.path.normpath(candidate))
    looked = ", ".join(dict.fromkeys(str(candidate.parent) for candidate in candidates))
    raise DesignError(
        [
            Mistake(
                f"includes '{written}', which is not there",
                file,
                _line_of(written, file),
                hint=f"looked in {looked}",
            )
        ]
    )


def _line_of(text: str, file: Path) -> int | None:
    """The line of `file` where `text` stands, if it stands there literally."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((n for n, line in enumerate(lines, 1) if text in line), None)


def _before_end(text: str, line: str) -> str:
    """`text` with `line` added at its end, before a closing `.end`."""
    body = re.sub(r"^\s*\.end\s*$", "", text.rstrip("\n"), flags=re.IGNORECASE | re.MULTILINE)
    return f"{body.rstrip()}\n{line}\n.end\n"


def _template_mistake(error: Exception, template: Path) -> Mistake:
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
