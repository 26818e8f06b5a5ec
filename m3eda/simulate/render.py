"""Sizings to decks. Rendering never runs a simulator.

Paths in `.include` and `.lib` lines become absolute, so that a deck runs from any directory. Where
parameters reach the text by `{{ name }}` alone, as in most netlists, a deck is joined from what the
template engine gave once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from m3eda.design.templates import EVERYTHING
from m3eda.design.ties import at_nominal, conditions_at, values_at
from m3eda.design.types import Corner, Design, Sizing, Testbench, Value
from m3eda.errors import DesignError, Mistake
from m3eda.simulate.files import Contents
from m3eda.simulate.programs import Programs
from m3eda.simulate.python_netlist import PythonNetlist, is_python, python_names
from m3eda.simulate.skeletons import JINJA_PROBES, Probes, Rendered, Structures
from m3eda.simulate.templates import (
    TechnologyView,
    number,
    template_environment,
    template_folders,
    template_mistake,
    template_names,
    template_sources,
)
from m3eda.simulate.tracing import is_traceable
from m3eda.simulate.types import Deck, Skeleton

__all__ = [
    "Renderer",
    "TechnologyView",
    "Wanted",
    "number",
    "resolve_path",
    "template_environment",
    "template_folders",
    "template_names",
]

_INCLUDE = re.compile(
    r"""^(?P<head>\s*\.(?:include|inc|lib)\s+|[ \t]*(?:ahdl_)?include[ \t]+(?="))"""
    r"""(?P<path>"[^"\n]*"|'[^'\n]*'|[^\s"']+)(?P<tail>.*)$""",
    re.IGNORECASE | re.MULTILINE,
)
_TEMPERATURE = re.compile(
    r"^\s*(?:\.temp\b|simulator\s+lang\s*=\s*spectre)", re.IGNORECASE | re.MULTILINE
)
"""A temperature of the template's own, or a dialect that has no such line."""

_PYTHON_PROBES = 2  # a designer's own code may take long
_KEPT = 1024
"""Corners, and combinations of words at one of them, that are kept."""


@dataclass(frozen=True)
class _Compiled:
    """A template ready to render."""

    template: jinja2.Template | PythonNetlist
    names: frozenset[str]
    """The names it needs."""
    sources: tuple[Path, ...]
    traceable: bool
    """True where what it does with numbers can be noted."""


@dataclass(frozen=True)
class Wanted:
    """What the measures of one testbench need from its deck."""

    vectors: tuple[str, ...] = ()
    device_values: tuple[str, ...] = ()
    meas: tuple[str, ...] = ()


_Shape = Programs | Structures
"""How the decks of one testbench, at one corner, with the same words come to their skeletons."""


@dataclass(frozen=True)
class _Frame:
    """One testbench at one corner."""

    testbench: Testbench
    corner: Corner
    wanted: Wanted
    conditions: Mapping[str, Value]
    shapes: dict[tuple[Value, ...], _Shape] = field(default_factory=dict)


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
        self._frames: dict[tuple[object, ...], _Frame] = {}
        self._contents = Contents()
        self._probes = Probes(self.design)

    def deck(self, testbench: Testbench, corner: Corner, sizing: Sizing) -> Deck:
        """The deck of `testbench` at `corner`; `sizing` holds every parameter."""
        frame = self._frame(testbench, corner)
        values = {**frame.conditions, **sizing}
        text, files, skeleton, fills = self._made(frame, sizing, values)
        wanted = frame.wanted
        return Deck(
            text=text,
            testbench=testbench.name,
            corner=corner.name,
            vectors=wanted.vectors,
            device_values=wanted.device_values,
            meas=wanted.meas,
            values=values,
            files=files,
            contents=self._contents.of(files),
            skeleton=skeleton,
            fills=fills,
        )

    def _made(
        self, frame: _Frame, sizing: Sizing, values: Mapping[str, Value]
    ) -> tuple[str, tuple[Path, ...], Skeleton | None, tuple[str, ...]]:
        words = tuple([sizing.get(word, "") for word in self._probes.words])
        shape = frame.shapes.get(words)
        found = shape.find(sizing) if isinstance(shape, Programs) else None
        if found is not None:
            program, fills = found
            text = program.text(fills)
            return text, program.files, program.skeleton, fills if program.skeleton else ()
        text, files = self._render(frame.testbench.template, values, frame.corner)
        if shape is None:
            # after the deck was rendered: what is wrong with it is told about it, not a probe
            shape = self._shape(frame, words)
            if len(frame.shapes) >= _KEPT:
                frame.shapes.clear()
            frame.shapes[words] = shape
        if isinstance(shape, Structures):
            return text, files, *shape.find(text)
        found = shape.find(sizing)
        if found is None:
            shape.add(sizing, (text, files))
            found = shape.find(sizing)
        if found is None or found[0].skeleton is None:
            return text, files, None, ()
        return text, files, found[0].skeleton, found[1]

    def _shape(self, frame: _Frame, words: tuple[Value, ...]) -> _Shape:
        template = frame.testbench.template
        compiled = self._compiled(template)

        def render(sizing: Mapping[str, Any]) -> Rendered:
            return self._render(template, {**frame.conditions, **sizing}, frame.corner)

        if compiled.traceable:
            programs = Programs(self._probes, words, compiled.names | {"temp"}, render)
            if programs.usable:
                return programs
        most = _PYTHON_PROBES if is_python(template) else JINJA_PROBES
        return Structures(self._probes, words, render, most)

    def _frame(self, testbench: Testbench, corner: Corner) -> _Frame:
        key = (testbench.name, corner.name, *testbench.point.values())
        frame = self._frames.get(key)
        if frame is None or frame.testbench != testbench or frame.corner != corner:
            wanted = self.wanted.get(testbench.name, Wanted())
            conditions = conditions_at(self.design, testbench, corner)
            frame = _Frame(testbench, corner, wanted, conditions)
            if len(self._frames) >= _KEPT:
                self._frames.clear()
            self._frames[key] = frame
        return frame

    def is_current(self, deck: Deck) -> bool:
        """False where a file behind `deck` has changed since it was rendered."""
        return self._contents.of(deck.files) == deck.contents

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
    ) -> Rendered:
        compiled = self._compiled(template)
        context: dict[str, Any] = {**values, "corner": corner.process or corner.name}
        if self.design.technology is not None:
            context["technology"] = self._view(corner.process)
        missing = sorted(compiled.names.difference(context) - {EVERYTHING})
        if missing:
            raise DesignError(
                [Mistake(f"needs {', '.join(missing)}, which nobody gives", template)]
            )
        try:
            text = compiled.template.render(context)
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise DesignError([template_mistake(error, template)]) from error
        included: list[Path] = []
        text = _INCLUDE.sub(lambda match: self._absolute(match, template, included), text)
        if add_temperature and "temp" not in compiled.names and not _TEMPERATURE.search(text):
            text = _before_end(text, f".temp {number(values['temp'])}")
        return text, (*compiled.sources, *dict.fromkeys(included))

    def _view(self, process: str) -> TechnologyView:
        assert self.design.technology is not None
        if process not in self._views:
            self._views[process] = TechnologyView(self.design.technology, process)
        return self._views[process]

    def _compiled(self, template: Path) -> _Compiled:
        if template not in self._templates:
            made = self._python(template) if is_python(template) else self._jinja(template)
            self._templates[template] = made
        return self._templates[template]

    def _python(self, template: Path) -> _Compiled:
        names = frozenset(python_names(template))
        netlist = PythonNetlist(template)
        return _Compiled(netlist, names, netlist.sources, traceable=False)

    def _jinja(self, template: Path) -> _Compiled:
        folders = template_folders(template, self.design.path)
        names = frozenset(template_names(template, folders))
        sources = template_sources(template, folders)
        compiled = template_environment(folders).get_template(template.name)
        return _Compiled(compiled, names, tuple(sources), is_traceable(sources.values()))

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
