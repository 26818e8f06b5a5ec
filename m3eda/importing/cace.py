"""What `m3eda import cace` does: a design folder from a CACE datasheet.

Each template with its own conditions becomes a testbench, each result with a spec a measure. What
has no counterpart in a design is listed in comments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from m3eda.design.writing import comment, flow, listed, scalar, section
from m3eda.errors import ExitCode
from m3eda.importing.cace_measures import Bench, Results
from m3eda.importing.cace_template import Template, read_template, renamed
from m3eda.importing.command import DESIGN, template_names, word_of
from m3eda.importing.datasheet import (
    TEMPERATURES,
    Condition,
    Datasheet,
    Parameter,
    read_datasheet,
)
from m3eda.importing.design import unrepeated
from m3eda.importing.devices import Circuit, read_circuit
from m3eda.importing.proposal import Names, Proposal, propose
from m3eda.importing.slots import find_slots
from m3eda.importing.surroundings import Surroundings
from m3eda.importing.technology import limits_of
from m3eda.importing.templates import Writing

_KITS = {"sky130a": "sky130", "sky130b": "sky130", "sky130": "sky130"}
_CORNERS = ("corner", "process")
_SAMPLES = ("iterations", "seed")


def cace_command(
    datasheet: Path, folder: Path | None, netlist: Path | None, templates: Path | None, out: IO[str]
) -> ExitCode:
    """Write the folder, and say what to do next.

    `netlist` is that of the circuit, `templates` a folder with the templates; without them they are
    looked for where the datasheet says. Raises DesignError with every mistake, StorageError.
    """
    from m3eda.plugins import Plugins
    from m3eda.report.atomic import check_new, write_new

    sheet = read_datasheet(datasheet)
    target = folder or Path(word_of(sheet.name))
    files, notes = _Maker(sheet, target, netlist, templates, Plugins().technologies).files()
    check_new(target, list(files))
    write_new(target, files)
    out.write(f"wrote {', '.join(str(target / name) for name in files)}\n")
    for note in notes:
        out.write(f"note: {note}\n")
    out.write(
        f"next: see what is marked 'TODO' and 'guessed', then m3eda check {target / DESIGN}\n"
    )
    return ExitCode.SPECS_MET


class _Maker:
    def __init__(
        self,
        sheet: Datasheet,
        folder: Path,
        netlist: Path | None,
        templates: Path | None,
        technologies: Mapping[str, Path],
    ) -> None:
        self.sheet = sheet
        self.folder = folder
        self.given = templates
        self.technology = _KITS.get(sheet.pdk.lower(), "")
        self.limits = limits_of(technologies.get(self.technology)) or {}
        self.names, self.bench_names = Names(), Names()
        self.head: list[str] = []
        self.files_made: dict[str, str] = {}
        base = sheet.path.resolve().parent
        self.root = base / sheet.paths.get("root", "..")
        self.circuit = self._circuit(netlist)
        self.proposal = self._parameters()
        self.circuit_files = frozenset(self.files_made)
        self.benches: list[Bench] = []
        self.grid: dict[str, list[float | str]] = {}

    def files(self) -> tuple[dict[str, str], list[str]]:
        """The files by name, and what the user must know."""
        measured = [(p, self._bench(p)) for p in self.sheet.parameters]
        text = "\n".join([*self._top(), *self._body(measured), *self._left()]) + "\n"
        todo = [note for note in self.head if note.startswith("TODO")]
        return {**self.files_made, DESIGN: text}, todo

    def _circuit(self, netlist: Path | None) -> Circuit | None:
        """The circuit under test, None where its netlist is not there."""
        if netlist is not None:
            return read_circuit(netlist)
        folder = self.root / self.sheet.paths.get("netlist", "netlist")
        name = f"{self.sheet.name}.spice"
        for file in (folder / "schematic" / name, folder / name, self.sheet.path.parent / name):
            if file.is_file():
                return read_circuit(file)
        self.head.append(f"TODO: the circuit's netlist {name} was not found: export it with xschem "
                         "as a subcircuit, and import again with --netlist")  # fmt: skip
        return None

    def _parameters(self) -> Proposal:
        if self.circuit is None:
            return Proposal()
        around = Surroundings(self.circuit, find_slots(self.circuit))
        proposal = propose(around, self.limits)
        self.names.taken |= set(proposal.parameters)
        names = template_names({f.path: word_of(f.path.stem) for f in self.circuit.files})
        writing = Writing(self.circuit, self.folder, proposal.edits, names)
        for file in self.circuit.files:
            self.files_made[names[file.path]] = writing.template(file)
        return proposal

    @property
    def pins(self) -> dict[str, tuple[str, ...]]:
        """Pins of the circuit's subcircuits by lower-case names."""
        found = self.circuit.subcircuits if self.circuit else {}
        return {name: each.pins for name, each in found.items()}

    @property
    def dut(self) -> str:
        """The template of the circuit under test."""
        return f"{word_of(self.circuit.main.path.stem)}.cir.j2" if self.circuit else ""

    def _bench(self, parameter: Parameter) -> Bench | None:
        """The testbench of a parameter; one that another parameter has already, if it can be."""
        file = self._find(parameter.template)
        if file is None:
            self.head.append(f"TODO: the template {parameter.template} of {parameter.name} was not "
                             "found: name its folder with --templates")  # fmt: skip
            return None
        nominal = {name: c.nominal for name, c in {**self.sheet.conditions,
                                                   **parameter.conditions}.items()}  # fmt: skip
        folders = [self.root / self.sheet.paths.get("schematic", "xschem"), file.parent]
        template = read_template(file, folders, self.dut, nominal, self.pins)
        own = self._own(parameter, template)
        written = self._file_of(file)
        for bench in self.benches:
            if bench.file == written and bench.conditions == own:
                return bench
        bench = Bench(self.bench_names.new(parameter.name), written, template, own)
        self.files_made[bench.file] = template.text
        self.head += [note for note in template.notes if note not in self.head]
        self.benches.append(bench)
        return bench

    def _file_of(self, template: Path) -> str:
        """What a testbench is written to: not over a file of the circuit."""
        stem = word_of(template.stem)
        if f"{stem}.cir.j2" not in self.circuit_files:
            return f"{stem}.cir.j2"
        note = f"the template {template.name} is named like a file of the circuit: it is {stem}_tb"
        if note not in self.head:
            self.head.append(note)
        return f"{stem}_tb.cir.j2"

    def _find(self, name: str) -> Path | None:
        base = self.sheet.path.resolve().parent
        folders = [base / "templates", base, self.root / "cace" / "templates",
                   self.root / self.sheet.paths.get("schematic", "xschem")]  # fmt: skip
        for folder in [self.given, *folders] if self.given else folders:
            for written in (Path(name).with_suffix(".spice").name, name):
                if folder is not None and (folder / written).is_file():
                    return folder / written
        return None

    def _own(self, parameter: Parameter, template: Template) -> dict[str, object]:
        """The conditions of a testbench over those of the design; corners are put aside."""
        own: dict[str, object] = {}
        wanted = template.names
        for name, end in sorted(template.ends):
            found = parameter.conditions.get(name) or self.sheet.conditions.get(name)
            if found is not None:
                own[f"{renamed(name)}_{end}"] = found.values[0 if end == "minimum" else -1]
        for name, condition in parameter.conditions.items():
            if name in TEMPERATURES or name in _CORNERS:
                self._to_grid(name, condition)
            elif name in _SAMPLES:
                samples = condition.values[-1]
                wanted_line = f"variation: {{mismatch: true, samples: {samples}}}"
                parameter.notes.append(f"conditions.{name}: Monte Carlo, as {wanted_line}")
            elif name not in wanted:
                if not any(name == other for other, _ in template.ends):
                    parameter.notes.append(f"conditions.{name}: the template does not use it")
            else:
                self._add_own(parameter, condition, own)
        return own

    def _add_own(self, parameter: Parameter, condition: Condition, own: dict[str, object]) -> None:
        default = self.sheet.conditions.get(condition.name)
        numbers = [value for value in condition.values if isinstance(value, float)]
        listed = any(isinstance(value, list) for value in own.values())
        if len(set(numbers)) > 1 and not listed:
            own[renamed(condition.name)] = sorted(set(numbers))
            return
        if len(condition.values) > 1:
            shown = ", ".join(map(str, condition.values))
            parameter.notes.append(f"conditions.{condition.name}: only the nominal one of {shown}, "
                                   "since a testbench has one list")  # fmt: skip
        if default is None or default.nominal != condition.nominal:
            own[renamed(condition.name)] = condition.nominal

    def _to_grid(self, name: str, condition: Condition) -> None:
        key = "process" if name in _CORNERS else "temp"
        values = self.grid.setdefault(key, [])
        values += [value for value in condition.values if value not in values]

    def _top(self) -> list[str]:
        sheet = self.sheet
        notes = [f"{sheet.path.name} (CACE) as a design, by m3eda import. Look at what is marked "
                 "'guessed' and 'TODO'.", *self.head]  # fmt: skip
        lines = [line for note in notes for line in comment(note)]
        lines += ["m3eda: 1", f"design: {word_of(sheet.name)}"]
        lines += [f"description: {scalar(sheet.description or sheet.name, flow=False)}"]
        if self.technology:
            lines.append(f"technology: {self.technology}   # guessed: PDK {sheet.pdk}")
        else:
            lines += comment(f"TODO: technology: of the PDK {sheet.pdk or 'that is not named'}")
        return [*lines, "simulator: ngspice", ""]

    def _body(self, measured: Sequence[tuple[Parameter, Bench | None]]) -> list[str]:
        lines = [f"netlist: {self.dut}"] if self.dut else []
        benches = {bench.name: self._bench_line(bench) for bench in self.benches}
        lines += section("testbenches", benches) if benches else ["# testbenches: none was found"]
        entries = {n: (*e.notes, flow(e.value)) for n, e in self.proposal.parameters.items()}
        entries = unrepeated(entries)
        lines += ["", *(section("parameters", entries) if entries else ["# TODO: parameters:"])]
        results = Results(self.names)
        for parameter, bench in measured:
            for spec in parameter.specs:
                results.add(parameter, bench, spec)
        for name, found in (("measures", results.measures), ("specs", results.specs)):
            some = any(not line.startswith("  #") for line in found)
            lines += ["", f"{name}:" if some else f"# {name}:", *found]
        return [*lines, "", *self._conditions(), *self._corners()]

    def _bench_line(self, bench: Bench) -> str:
        if not bench.conditions:
            return bench.file
        return flow({"template": bench.file, "conditions": bench.conditions})

    def _conditions(self) -> list[str]:
        used = {name for bench in self.benches for name in bench.template.names}
        values: dict[str, object] = {}
        unused: list[str] = []
        for name, condition in self.sheet.conditions.items():
            if name in _CORNERS or name in TEMPERATURES:
                self._to_grid(name, condition)
                if name in TEMPERATURES:
                    values["temp"] = condition.nominal
            elif name in _SAMPLES:
                continue
            elif name in used:
                values[renamed(name)] = condition.nominal
                if len(condition.values) > 1:
                    self.grid[renamed(name)] = list(condition.values)
            else:
                unused.append(name)
        values |= self._missing(used, values)
        for bench in self.benches:
            for name, default in bench.template.defaults.items():
                values.setdefault(renamed(name), default)
        values.setdefault("temp", 27.0)
        values["temp"] = values.pop("temp")
        notes = comment(f"conditions that no template uses: {', '.join(unused)}") if unused else []
        return [*notes, f"conditions: {flow(values)}"]

    def _missing(self, used: set[str], known: Mapping[str, object]) -> dict[str, object]:
        """Conditions that some parameter alone gives; the others need a value too."""
        found: dict[str, object] = {}
        for parameter in self.sheet.parameters:
            for name, condition in parameter.conditions.items():
                special = name in TEMPERATURES or name in _CORNERS
                shared = sum(name in bench.template.names for bench in self.benches)
                given = sum(renamed(name) in bench.conditions for bench in self.benches)
                if name in used and renamed(name) not in known and not special and given < shared:
                    found[renamed(name)] = condition.nominal
        return found

    def _corners(self) -> list[str]:
        """The corners; a nominal value that stands alone makes none."""
        known = set(self._sections())
        process = [v for v in self.grid.get("process", []) if not known or str(v) in known]
        if not known:
            process = []
        left = [str(v) for v in self.grid.get("process", []) if v not in process]
        for values in self.grid.values():
            if all(isinstance(value, float) for value in values):
                values.sort()
        text = f"corners that the technology does not have: {', '.join(left)}"
        lines = comment(text) if left else []
        grid = {**self.grid, "process": process}
        rows = {key: listed(values) for key, values in grid.items() if len(values) > 1}
        return [*lines, *(section("corners", rows) if rows else []), "",
                "agent: {name: auto, budget: 500, seed: 1}"]  # fmt: skip

    def _sections(self) -> tuple[str, ...]:
        return ("tt", "ff", "ss", "sf", "fs") if self.technology else ()

    def _left(self) -> list[str]:
        """What has no counterpart, in comments."""
        notes = [f"{p.name}.{note}" for p in self.sheet.parameters for note in p.notes]
        lines = ["", "# What the datasheet says besides, and a design has no place for:"]
        for note in dict.fromkeys([*self.sheet.notes, *notes]):
            lines += comment(f"- {note}")
        return lines if len(lines) > 2 else []
