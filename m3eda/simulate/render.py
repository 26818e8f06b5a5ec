"""Sizings to decks. Rendering never runs a simulator.

Paths in `.include` and `.lib` lines become absolute, so that a deck runs from any directory. Where
parameters reach the text by `{{ name }}` alone, as in most netlists, a deck is joined from what the
template engine gave once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jinja2

from m3eda.design.templates import EVERYTHING
from m3eda.design.ties import at_nominal, conditions_at, values_at
from m3eda.design.types import Corner, Design, Sample, Sizing, Testbench, Value
from m3eda.errors import DesignError, Mistake
from m3eda.simulate.deviations import Deviations
from m3eda.simulate.files import Contents
from m3eda.simulate.programs import Programs
from m3eda.simulate.python_netlist import PythonNetlist, is_python, python_names
from m3eda.simulate.skeletons import JINJA_PROBES, Probes, Rendered, Structures
from m3eda.simulate.templates import (
    TechnologyView,
    before_end,
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
    """Without the deviations of a sample."""
    wanted: Wanted
    conditions: Mapping[str, Value]
    probes: Probes
    varies: tuple[str, ...] | None = None
    """What varies in the decks of samples; None for decks as they are drawn."""
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
        self._views: dict[tuple[str, bool], TechnologyView] = {}
        self._frames: dict[tuple[object, ...], _Frame] = {}
        self._contents = Contents()
        self._probes: dict[tuple[str, ...], Probes] = {}
        self._deviations = Deviations(self.design)

    def deck(self, testbench: Testbench, corner: Corner, sizing: Sizing) -> Deck:
        """The deck of `testbench` at `corner`; `sizing` holds every parameter."""
        frame = self._frame(testbench, corner)
        values = {**frame.conditions, **sizing}
        if corner.sample is None:
            text, files, skeleton, fills = self._made(frame, sizing, values)
        else:
            text, files, skeleton, fills = self._sampled(frame, corner.sample, sizing, values)
            values = self._deviations.values(values, corner.sample.deviations)
        wanted = frame.wanted
        return Deck(
            text=text,
            testbench=testbench.name,
            corner=corner.name if frame.varies is None else f"{frame.corner.name} varied",
            vectors=wanted.vectors,
            device_values=wanted.device_values,
            meas=wanted.meas,
            values=values,
            files=files,
            contents=self._contents.of(files),
            skeleton=skeleton,
            fills=fills,
        )

    def _sampled(
        self, frame: _Frame, sample: Sample, sizing: Sizing, values: Mapping[str, Value]
    ) -> tuple[str, tuple[Path, ...], Skeleton | None, tuple[str, ...]]:
        values = {**values, **sample.deviations}
        if not self._deviations.sections:
            return self._made(frame, {**sizing, **sample.deviations}, values)
        # models that draw by themselves do so when a deck is loaded, by its own seed
        return *self._rendered(frame, values, sample.seed), None, ()

    def deviations(self, sizing: Sizing) -> tuple[str, ...]:
        """The names of all that varies in the decks of `sizing`, whatever its words are.

        Raises DesignError.
        """
        names: list[str] = []
        for testbench in map(partial(at_nominal, self.design), self.design.testbenches.values()):
            conditions = conditions_at(self.design, testbench, self.design.nominal)
            for changed in ({}, *self._words):
                values = {**conditions, **sizing, **changed}
                text, _ = self._render(testbench.template, values, self.design.nominal)
                names += self._deviations.names(text)
        return tuple(dict.fromkeys(names))

    @property
    def _words(self) -> list[dict[str, Value]]:
        """Each other choice of each parameter that is a word."""
        return [
            {each.name: choice}
            for each in self.design.free
            for choice in each.choices
            if isinstance(choice, str)
        ]

    @property
    def draws_by_itself(self) -> Mapping[str, str]:
        """Process corner -> section, where the models draw samples by themselves."""
        return self._deviations.sections

    def _made(
        self, frame: _Frame, sizing: Sizing, values: Mapping[str, Value]
    ) -> tuple[str, tuple[Path, ...], Skeleton | None, tuple[str, ...]]:
        words = tuple([sizing.get(word, "") for word in frame.probes.words])
        shape = frame.shapes.get(words)
        found = shape.find(sizing) if isinstance(shape, Programs) else None
        if found is not None:
            program, fills = found
            text = program.text(fills)
            return text, program.files, program.skeleton, fills if program.skeleton else ()
        text, files = self._rendered(frame, values)
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
            return self._rendered(frame, {**frame.conditions, **sizing})

        if compiled.traceable:
            names = compiled.names | {"temp"}
            programs = Programs(frame.probes, words, names, render)
            if programs.usable:
                return programs
        most = _PYTHON_PROBES if is_python(template) else JINJA_PROBES
        return Structures(frame.probes, words, render, most)

    def _frame(self, testbench: Testbench, corner: Corner) -> _Frame:
        varies = None
        if corner.sample is not None:
            varies = tuple(corner.sample.deviations)
            corner = replace(corner, name=corner.sample.corner, sample=None)
        key = (testbench.name, corner.name, varies is None, *testbench.point.values())
        frame = self._frames.get(key)
        if (frame is None or frame.testbench != testbench or frame.corner != corner
                or frame.varies != varies):  # fmt: skip
            wanted = self.wanted.get(testbench.name, Wanted())
            conditions = conditions_at(self.design, testbench, corner)
            probes = self._probes_with(varies or ())
            frame = _Frame(testbench, corner, wanted, conditions, probes, varies)
            if len(self._frames) >= _KEPT:
                self._frames.clear()
            self._frames[key] = frame
        return frame

    def _probes_with(self, varies: tuple[str, ...]) -> Probes:
        if varies not in self._probes:
            self._probes[varies] = Probes(self.design, varies)
        return self._probes[varies]

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

    def _rendered(self, frame: _Frame, values: Mapping[str, Any], seed: int = 0) -> Rendered:
        """The deck of `frame`; of a sample, whose deviations are among `values`, as it varies."""
        template, varied = frame.testbench.template, self._deviations
        if frame.varies is None:
            return self._render(template, values, frame.corner)
        known = varied.values(values, values)
        text, files = self._render(template, known, frame.corner, sampled=True)
        return varied.deck(text, values, number, seed), files

    def _render(
        self,
        template: Path,
        values: Mapping[str, Value],
        corner: Corner,
        add_temperature: bool = True,
        sampled: bool = False,
    ) -> Rendered:
        compiled = self._compiled(template)
        context: dict[str, Any] = {**values, "corner": corner.process or corner.name}
        if self.design.technology is not None:
            context["technology"] = self._view(corner.process, sampled)
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
            text = before_end(text, f".temp {number(values['temp'])}")
        return text, (*compiled.sources, *dict.fromkeys(included))

    def _view(self, process: str, sampled: bool) -> TechnologyView:
        technology = self.design.technology
        assert technology is not None
        if (process, sampled) not in self._views:
            if sampled:
                sections = {**technology.sections, **self._deviations.sections}
                technology = replace(technology, sections=sections)
            self._views[process, sampled] = TechnologyView(technology, process)
        return self._views[process, sampled]

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
