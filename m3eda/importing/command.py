"""What `m3eda init` does: a design folder from a netlist."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from m3eda.errors import ExitCode, M3edaError
from m3eda.importing.cell import testbench
from m3eda.importing.control import notes_of
from m3eda.importing.design import DesignText
from m3eda.importing.devices import Circuit, read_circuit
from m3eda.importing.proposal import Names, propose
from m3eda.importing.slots import find_slots
from m3eda.importing.surroundings import Surroundings
from m3eda.importing.technology import Chosen, choose, supply_of
from m3eda.importing.templates import Writing

DESIGN = "design.yaml"
_CARD_LIKE = re.compile(
    r"\.(?!title)[a-z]+\s|[mrcvxi]\w*\s+\S+\s+\S+\s+(?:\S+\s*=|[\d.]+\w*$)", re.IGNORECASE
)
"""A title that looks as if it was meant as a card."""
_LETTER_INSIDE = re.compile(r"^\S+\s+\S+\s+\S+\s+\d+[a-z]\d+(?:\s|$)", re.IGNORECASE)
"""A card with a value such as 4k7."""


@dataclass(frozen=True)
class InitOptions:
    """How a design is made."""

    folder: Path | None = None
    """None makes one beside the caller, called like the netlist."""
    technology: str = ""
    simulate: bool = True
    timeout: float | None = None


@dataclass(frozen=True)
class Made:
    """The files of a design folder by name, and the design file's parts."""

    templates: Mapping[str, str]
    design: DesignText


def init_command(netlist: Path, options: InitOptions, out: IO[str]) -> ExitCode:
    """Write the folder, and say what to do next.

    Raises DesignError with every mistake of the netlist, or where a file is there already;
    StorageError.
    """
    from m3eda.plugins import Plugins
    from m3eda.report.atomic import check_new, write_new

    circuit = read_circuit(netlist)
    folder = options.folder or Path(word_of(netlist.name.split(".")[0]))
    technologies = Plugins().technologies
    made = make(circuit, folder, choose(circuit, options.technology, technologies, folder),
                supply_of(options.technology, technologies))  # fmt: skip
    check_new(folder, [*made.templates, DESIGN])
    values, why = simulated(made, folder, options) if options.simulate else (None, "")
    files = {**made.templates, DESIGN: made.design.text(values)}
    write_new(folder, files)
    out.write(f"wrote {', '.join(str(folder / name) for name in files)}\n")
    for note in made.design.head[1:]:
        out.write(f"note: {note}\n")
    if values is None and why:
        out.write(f"note: not simulated: {why}\n")
    out.write(f"next: confirm what is marked 'guessed', then m3eda check {folder / DESIGN}\n")
    return ExitCode.SPECS_MET


def make(circuit: Circuit, folder: Path, chosen: Chosen, supply: float = 0.0) -> Made:
    """The files of a design that will lie in `folder`. Writes nothing."""
    stem = word_of(circuit.main.path.name.split(".")[0])
    around = Surroundings(circuit, find_slots(circuit))
    proposal = propose(around, chosen.limits or {})
    names = template_names({f.path: word_of(f.path.name.split(".")[0]) for f in circuit.files})
    writing = Writing(
        circuit, folder, proposal.edits, names, chosen.replaces,
        chosen.loads and not chosen.replaces and not circuit.is_cell,
        not circuit.is_cell and not around.analyses,
    )  # fmt: skip
    templates = {names[file.path]: writing.template(file) for file in circuit.files}
    design = DesignText(
        stem,
        _description(circuit),
        _notes(circuit, around, chosen),
        (stem, names[circuit.main.path]),
        chosen.line,
        chosen.is_guess,
        parameters=proposal.parameters,
        has_units=proposal.has_units,
        conditions=proposal.conditions,
        guessed_conditions=proposal.guessed_conditions,
        measures=proposal.measures,
    )
    if circuit.is_cell:
        _add_testbench(circuit, design, templates, chosen, supply)
    return Made(templates, design)


def _add_testbench(
    circuit: Circuit, design: DesignText, templates: dict[str, str], chosen: Chosen, supply: float
) -> None:
    """A testbench of our own for a netlist that has none."""
    names = Names()
    names.taken |= {*design.parameters, *design.conditions}
    design.netlist = design.testbench[1]
    made = testbench(circuit, design.netlist, supply, names.new, models=chosen.loads)
    design.testbench = ("first", f"{design.name}_testbench.cir.j2")
    templates[design.testbench[1]] = "\n".join(made.lines) + "\n"
    design.conditions = {**design.conditions, **made.conditions}
    design.guessed_conditions = [*design.guessed_conditions, *made.conditions]
    design.measures = made.measures
    design.head.append("the netlist is a subcircuit alone: its testbench is guessed from the pins")
    if made.left:
        pins = ", ".join(made.left)
        design.head.append(f"TODO: what these pins need is not known: {pins}; 1 Gohm holds them")


def _description(circuit: Circuit) -> str:
    title = re.sub(r"^\.title\s+", "", circuit.main.title, flags=re.IGNORECASE)
    if circuit.is_cell:
        return circuit.cell.name
    return " ".join(title.split())[:80] or circuit.main.path.name


def _notes(circuit: Circuit, around: Surroundings, chosen: Chosen) -> list[str]:
    name = circuit.main.path.name
    notes = [f"{name} as a design, by m3eda init. Confirm or correct what is marked 'guessed'."]
    notes += notes_of([control for file in circuit.files for control in file.controls])
    if _CARD_LIKE.match(circuit.main.title):
        notes.append("line 1 of the netlist is its title, so SPICE does not read it as a card")
    if circuit.main.encoding == "latin-1":
        notes.append("the netlist is not UTF-8; it was read as Latin-1")
    if chosen.unknown:
        models = ", ".join(chosen.unknown)
        notes.append(f"TODO: nothing loads the models {models}: name a technology, and write "
                     "{{ technology.include }} in the template")  # fmt: skip
    if not around.analyses and not circuit.is_cell:
        notes.append("the netlist has no analysis; the template has an operating point (.op)")
    odd = [d for d in circuit.devices if d.letter in "rcl" and _LETTER_INSIDE.search(d.card.text)]
    if odd:
        notes.append(f"TODO: simulators read {odd[0].card.text.split()[3]} differently (4k7 may be "
                     "4k); it stays as it is until you write 4.7k")  # fmt: skip
    if any(card.head in (".step", ".data") for card in circuit.cards):
        notes.append("sweeps (.step, .data) are comments in the template: m3eda varies the "
                     "parameters itself")  # fmt: skip
    return notes


def simulated(
    made: Made, folder: Path, options: InitOptions
) -> tuple[dict[str, float] | None, str]:
    """What the measures give at the start; None, and why, where the point cannot be simulated.

    Raises StorageError where there is no room for the folder.
    """
    from m3eda.report.atomic import make_directory, storing

    if not made.design.measures or not made.design.parameters:
        return None, ""
    beside = make_directory(folder.resolve().parent)
    with storing(folder):
        trial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=beside))
    try:
        for name, text in {**made.templates, DESIGN: made.design.trial()}.items():
            with storing(folder / name):
                (trial / name).write_text(text, encoding="utf-8")
        return _at_start(trial, options)
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def _at_start(trial: Path, options: InitOptions) -> tuple[dict[str, float] | None, str]:
    from m3eda.flow import Project

    try:
        project = Project.load(trial / DESIGN, timeout=options.timeout)
        evaluator = project.evaluator()
        whole = evaluator.complete(project.nominal_sizing())
        result = next(evaluator.evaluate([whole]))[project.design.nominal.name]
    except M3edaError as error:
        return None, str(error).splitlines()[0].replace(f"{trial}/", "")
    if result.reason:
        return None, result.reason.splitlines()[0]
    return dict(result.measures), ""


def template_names(words: Mapping[Path, str]) -> dict[Path, str]:
    """The template of each file of a circuit, called like its word; each has a name of its own."""
    found: dict[Path, str] = {}
    for path, word in words.items():
        name, count = f"{word}.cir.j2", 1
        while name in found.values():
            count += 1
            name = f"{word}_{count}.cir.j2"
        found[path] = name
    return found


def word_of(text: str) -> str:
    """`text` as the name of a design."""
    word = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lower() or "design"
    return word if word[0].isalpha() else f"d_{word}"
