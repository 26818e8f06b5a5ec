"""From a design file to a checked `Design`, every mistake reported at once and at its place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from m3eda.design.corners import Corners, signed_off
from m3eda.design.datasheet import Measures, Specs, build_objective
from m3eda.design.expressions import Expression
from m3eda.design.extends import load_yaml
from m3eda.design.functions import FunctionTable
from m3eda.design.parameters import build_parameters, build_starts, plain
from m3eda.design.problems import Problems
from m3eda.design.references import check_calls, check_cycles, check_name, check_names
from m3eda.design.scalars import Number
from m3eda.design.schema import EXCLUSIVE, REQUIRED, DesignFile
from m3eda.design.technology import build_technology
from m3eda.design.templates import TemplateNames, Templates
from m3eda.design.testbenches import build_testbench
from m3eda.design.types import (
    ALL_CORNERS,
    NOMINAL,
    AgentChoice,
    Corner,
    Design,
    FailurePolicy,
    Measure,
    Signoff,
    SimulatorChoice,
    Spec,
    Technology,
    Testbench,
    Value,
)
from m3eda.design.variation import build_variation
from m3eda.design.yamlfile import Document, KeyPath, nearest

TEMPERATURE = "temp"
ROOM_TEMPERATURE = 27.0
"""Degrees Celsius, where the design gives no `temp`."""
FOLDER = "{folder}"
"""In an option of the simulator: the folder of the file that gives it."""


def load_design(
    path: Path,
    functions: FunctionTable,
    technologies: Mapping[str, Path],
    template_names: TemplateNames | None = None,
) -> Design:
    """Read and check the design file at `path`.

    `functions` are callable in measures, `technologies` maps names to technology.yaml files.
    `template_names` tells which names a template needs; without it, names are not compared with
    templates. Raises DesignError with every mistake, sorted by place.
    """
    return design_of(load_yaml(Path(path), EXCLUSIVE), functions, technologies, template_names)


def design_of(
    document: Document,
    functions: FunctionTable,
    technologies: Mapping[str, Path],
    template_names: TemplateNames | None = None,
) -> Design:
    """The design that `document` describes, else as `load_design`."""
    for key in [key for key in document.data if key.startswith("x-")]:
        del document.data[key]
    problems = Problems(document)
    file = problems.validated(DesignFile)
    design = _Loader(file, problems, functions, technologies, template_names).design()
    problems.raise_all()
    return design


def local_plugins(path: Path) -> tuple[Path, ...]:
    """The plugin files that the design at `path` names, absolute; those that exist.

    A first look, before plugins and so functions are known. Raises DesignError where the file is
    not YAML; all else is left to `load_design`.
    """
    document = load_yaml(Path(path), EXCLUSIVE)
    names = document.data.get("plugins") or []
    names = [names] if isinstance(names, str) else names
    found = []
    for index, name in enumerate(names if isinstance(names, list) else []):
        if isinstance(name, str):
            file = document.place(("plugins", index)).file.parent / name
            found += [file.resolve()] if file.is_file() else []
    return tuple(found)


class _Loader:
    """Builds the parts of a design in an order in which each finds what it refers to."""

    def __init__(
        self,
        file: DesignFile,
        problems: Problems,
        functions: FunctionTable,
        technologies: Mapping[str, Path],
        template_names: TemplateNames | None,
    ) -> None:
        self.file = file
        self.problems = problems
        self.functions = functions
        self.technologies = technologies
        self.templates = Templates(problems, template_names)
        self.used: set[str] = set()
        """Names that some template or expression uses."""

    def design(self) -> Design:
        file = self.file
        self._check_required()
        self._check_all_names()
        conditions = {TEMPERATURE: Number(ROOM_TEMPERATURE), **file.conditions}
        if isinstance(conditions[TEMPERATURE], str):
            self.problems.add(("conditions", TEMPERATURE), "must be a number of degrees Celsius")
        technology = self._technology()
        testbenches = self._testbenches()
        parameters = build_parameters(file.parameters, self.problems)
        self._check_ties({*file.parameters, *conditions})
        measures, expressions = self._measures({*file.parameters, *conditions}, testbenches)
        corners = self._corners(conditions, technology)
        specs = self._specs(measures, corners, technology)
        objective = build_objective(file.objective, measures, self.problems)
        netlist = self.templates.find(file.netlist, ("netlist",)) if file.netlist else None
        self._check_templates(testbenches, netlist, conditions, measures, expressions)
        document = self.problems.document
        return Design(
            name=file.design or "",
            path=document.path.resolve(),
            testbenches=testbenches,
            parameters=parameters,
            measures=measures,
            specs=specs,
            description=file.description,
            netlist=netlist,
            technology=technology,
            conditions={name: plain(value) for name, value in conditions.items()},
            corners=corners,
            signoff=self._signoff(corners),
            objective=objective,
            variation=build_variation(self.file, self.problems),
            simulator=self._simulator(),
            agent=AgentChoice(**dict(file.agent)),
            failures=self._failures(),
            plugins=self._plugins(),
            starts=build_starts(file.starts, parameters, self.problems),
            sources=tuple(dict.fromkeys(document.sources)),
        )

    def _check_required(self) -> None:
        for key in REQUIRED:
            if getattr(self.file, key) in (None, {}) and not self._section_broken(key):
                hint = "m3eda: 1" if key == "m3eda" else ""
                self.problems.add((key,), "is missing", hint)
        nothing = not self.file.specs and not self._section_broken("specs")
        if nothing and not self.file.objective.minimize and not self.file.objective.maximize:
            self.problems.add(("specs",), "is missing", "give specs, an objective, or both")

    def _section_broken(self, key: str) -> bool:
        return any(path[0] == key for path in self.problems.broken)

    def _check_all_names(self) -> None:
        """No two things that templates and expressions see may share a name."""
        file = self.file
        taken: dict[str, str] = {TEMPERATURE: "condition"}
        for name in file.conditions:
            if name != TEMPERATURE:
                check_name(name, ("conditions", name), taken, self.problems)
                taken[name] = "condition"
        for testbench, entry in file.testbenches.items():
            for name in entry.conditions:
                known = {k: v for k, v in taken.items() if k not in {*file.conditions, TEMPERATURE}}
                path = ("testbenches", testbench, "conditions", name)
                check_name(name, path, known, self.problems)
        for section, word in (("parameters", "parameter"), ("measures", "measure")):
            for name in getattr(file, section):
                check_name(name, (section, name), taken, self.problems)
                taken[name] = word

    def _technology(self) -> Technology | None:
        if self.file.technology is None:
            return None
        technology = build_technology(self.file.technology, self.problems, self.technologies)
        if technology is None:
            self.problems.broken.add(("technology",))
        return technology

    def _testbenches(self) -> dict[str, Testbench]:
        built = {}
        document = self.problems.document
        for name, entry in self.file.testbenches.items():
            path: KeyPath = ("testbenches", name)
            whole = (*path, "template") if isinstance(document.at(path), dict) else path
            template = self.templates.find(entry.template, whole)
            if template is None:
                self.problems.broken.add(path)
                continue
            built[name] = build_testbench(name, template, entry, self.problems)
        return built

    def _check_ties(self, known: set[str]) -> None:
        uses = {}
        for name, entry in self.file.parameters.items():
            if entry.expr is None:
                continue
            path: KeyPath = ("parameters", name, "expr")
            expression = self.problems.expression(path, {})
            if expression is None:
                continue
            self.used.update(expression.names)
            uses[name] = expression.names
            if expression.vectors:
                self.problems.add(path, f"a tied parameter cannot use {expression.vectors[0]}",
                                  "use parameters and conditions")  # fmt: skip
            check_names(expression, path, known, self.problems)
            check_calls(expression, path, {}, self.problems)
        check_cycles(uses, "parameters", "expr", self.problems)

    def _measures(
        self, common: set[str], testbenches: Mapping[str, Testbench]
    ) -> tuple[dict[str, Measure], dict[str, Expression]]:
        visible = {
            name: common | set(entry.conditions) for name, entry in self.file.testbenches.items()
        }
        builder = Measures(
            self.file.measures, {"": common, **visible}, self.functions, self.problems
        )
        measures = builder.build()
        for expression in builder.expressions.values():
            self.used.update(expression.names)
        return measures, builder.expressions

    def _corners(
        self, conditions: Mapping[str, Number | str], technology: Technology | None
    ) -> tuple[Corner, ...]:
        own = {
            key: value[0] if isinstance(value, list) else value
            for each in self.file.testbenches.values()
            for key, value in each.conditions.items()
            if value != []
        }
        processes: Mapping[str, str] | None = technology.sections if technology else {}
        if self._section_broken("technology"):
            processes = None
        return Corners({**own, **conditions}, processes, self.problems).build(self.file.corners)

    def _signoff(self, corners: tuple[Corner, ...]) -> Signoff:
        entry = self.file.signoff
        known = [NOMINAL, *(corner.name for corner in corners)]
        if not self.problems.is_broken("corners"):
            for index, name in enumerate(entry.corners):
                if name not in {ALL_CORNERS, *known}:
                    hint = nearest(name, known) or f"known: {ALL_CORNERS}, {', '.join(known[:20])}"
                    listed = isinstance(self.problems.document.at(("signoff", "corners")), list)
                    path: KeyPath = ("signoff", "corners", *([index] if listed else []))
                    self.problems.add(path, f"no corner is called '{name}'", hint)
        return signed_off(corners, entry.corners, entry.strategy)

    def _specs(
        self,
        measures: Mapping[str, Measure],
        corners: tuple[Corner, ...],
        technology: Technology | None,
    ) -> dict[str, Spec]:
        sections = technology.sections if technology else {}
        nominal = technology.nominal if technology else ""
        return Specs(measures, corners, sections, nominal, self.problems).build(self.file.specs)

    def _check_templates(
        self,
        testbenches: Mapping[str, Testbench],
        netlist: Path | None,
        conditions: Mapping[str, object],
        measures: Mapping[str, Measure],
        expressions: Mapping[str, Expression],
    ) -> None:
        """What templates need and nobody gives, and what is given and nobody uses."""
        if self.templates.template_names is None:
            return
        common = {*self.file.parameters, *conditions, "corner", TEMPERATURE}
        if self.file.technology is not None or self._section_broken("technology"):
            common.add("technology")
        for name, testbench in testbenches.items():
            path: KeyPath = ("testbenches", name)
            needed = self.templates.names(testbench.template, path)
            given = {*common, *self.file.testbenches[name].conditions}
            self.templates.check(path, testbench.template, needed, given)
            self.used.update(needed)
            seen = needed.union(
                *(expressions[m].names for m in expressions
                  if m in measures and measures[m].testbench == name)
            )  # fmt: skip
            own = self.file.testbenches[name].conditions
            self._check_unused((*path, "conditions"), own, seen | {TEMPERATURE})
        if netlist is not None:
            needed = self.templates.names(netlist, ("netlist",))
            first = next(iter(testbenches), None)
            given = {*common, *(self.file.testbenches[first].conditions if first else ())}
            self.templates.check(("netlist",), netlist, needed, given)
            self.used.update(needed)
        self._check_unused(("parameters",), self.file.parameters, self.used)
        self._check_unused(("conditions",), self.file.conditions, self.used | {TEMPERATURE})

    def _check_unused(self, section: KeyPath, names: Mapping[str, object], used: set[str]) -> None:
        # a template that could not be read may be the one that uses a name
        if not self.templates.complete or self._section_broken("testbenches"):
            return
        for name in names:
            if name not in used and name not in self.problems.mentioned:
                self.problems.add((*section, name), "is used by no template and no expression",
                                  "remove it, or use it in a template", of_key=True)  # fmt: skip

    def _simulator(self) -> SimulatorChoice:
        entry = self.file.simulator
        options: dict[str, Value] = {}
        for name, value in entry.options.items():
            path: KeyPath = ("simulator", "options", name)
            if isinstance(value, (dict, list)) or value is None:
                self.problems.add(path, "must be a number or a word")
            elif isinstance(value, str):
                folder = self.problems.document.place(path).file.resolve().parent
                options[name] = value.replace(FOLDER, str(folder))
            else:
                options[name] = str(value).lower() if isinstance(value, bool) else value
        return SimulatorChoice(entry.name, options, entry.timeout, entry.licences)

    def _failures(self) -> FailurePolicy:
        entry = self.file.failures
        return FailurePolicy(entry.retries, tuple(entry.ladder), entry.stop_after_same_error)

    def _plugins(self) -> tuple[Path, ...]:
        found = []
        for index, name in enumerate(self.file.plugins):
            path: KeyPath = ("plugins", index)
            file = self.problems.document.place(path).file.parent / name
            if not file.is_file():
                self.problems.add(path, f"the plugin file '{name}' is not there",
                                  f"looked for {file.resolve()}")  # fmt: skip
            found.append(file.resolve())
        return tuple(found)
