"""A CACE template as a template of m3eda: `CACE{vdd}` becomes `{{ vdd }}`.

Sheets of xschem are read as far as they tell their netlist. Control blocks become cards and
comments, and what they compute with `let` from `.meas` results becomes formulas.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from m3eda.errors import DesignError
from m3eda.importing.cards import names_in
from m3eda.importing.control import card_of, computed_in
from m3eda.importing.datasheet import TEMPERATURES
from m3eda.importing.devices import Circuit
from m3eda.importing.measures import Candidate, candidates
from m3eda.importing.reader import netlist_of, text_of
from m3eda.importing.slots import Slots
from m3eda.importing.surroundings import Surroundings
from m3eda.importing.templates import MODELS, escaped
from m3eda.importing.xschem import netlist_of_sheet

_VARIABLE = re.compile(r"CACE\{([^{}]*)\}")
_FORMULA = re.compile(r"CACE\[((?:[^\[\]]|\[[^\[\]]*\])*)\]")
_HOLD = re.compile("\ue000(\\d+)\ue001")
_RESERVED = frozenset({"filename", "simpath", "DUT_path", "DUT_name", "netlist_source", "PDK_ROOT",
                       "PDK", "N", "random", "root", "jobs"})  # fmt: skip
_MODELS = re.compile(r"^\s*\.(?:lib|include)\b.*(?:CACE\{PDK|\$(?:env\()?PDK|::)", re.IGNORECASE)
_DUT = re.compile(r"^\s*\.include\b.*CACE\{DUT_path\}", re.IGNORECASE)
_ECHO = re.compile(r"echo\s+(.*?)\s*>+", re.IGNORECASE)
_VALUE = re.compile(r"\$&?\{?(\w+)\}?")
_MEAS_NAME = re.compile(r"\.meas(?:ure)?\s+\w+\s+(\S+)", re.IGNORECASE)
_SIMPLE = re.compile(r"[\w\s.+\-*/^()]+")
_LOG = re.compile(r"\blog\s*\(")


@dataclass
class Template:
    """A template of m3eda."""

    text: str
    names: set[str] = field(default_factory=set)
    """Conditions that it uses, by the names of the datasheet."""
    defaults: dict[str, str] = field(default_factory=dict)
    """Values of conditions where the datasheet gives none."""
    ends: set[tuple[str, str]] = field(default_factory=set)
    """(condition, minimum or maximum) where it takes the ends of a range."""
    columns: list[str] = field(default_factory=list)
    """Lower-case names of what it writes into its result file, in order."""
    meas: set[str] = field(default_factory=set)
    computed: dict[str, str] = field(default_factory=dict)
    """Formulas of `let`s by lower-case name."""
    guesses: Sequence[Candidate] = ()
    """Measures that its analyses suggest."""
    notes: list[str] = field(default_factory=list)

    def formula(self, name: str, depth: int = 0) -> str | None:
        """`name` as a formula of `.meas` results and numbers; None where it is none."""
        name = name.lower()
        if name in self.meas:
            return name
        text = _VALUE.sub(r"\1", self.computed.get(name, "")).strip()
        if not text or not _SIMPLE.fullmatch(text) or depth > _DEEPEST:
            return None
        # ngspice's log is that of base 10
        text = _LOG.sub("log10(", text)
        for each in dict.fromkeys(names_in(text)):
            if each in ("log10", "ln", "abs", "sqrt", "exp", "pi", "e"):
                continue
            inner = self.formula(each, depth + 1) if each != name else None
            if inner is None:
                return None
            text = re.sub(rf"\b{re.escape(each)}\b", inner if inner == each else f"({inner})", text,
                          flags=re.IGNORECASE)  # fmt: skip
        return text


_DEEPEST = 10


def read_template(
    path: Path,
    folders: Sequence[Path],
    dut: str,
    nominal: Mapping[str, float | str],
    pins: Mapping[str, Sequence[str]],
) -> Template:
    """The template at `path`; `folders` hold symbols, `dut` is the template of the circuit.

    `nominal` are the values of conditions, with which the netlist is looked at, `pins` those of
    known subcircuits in their order, by lower-case names. Raises DesignError where the file cannot
    be read.
    """
    if path.suffix == ".sch":
        sheet = netlist_of_sheet(path, folders, pins)
        lines, notes = sheet.lines, sheet.notes
    else:
        lines, notes = text_of(path)[0].splitlines(), []
    made = Template("", notes=notes)
    plain = _plain(lines, nominal)
    lines = _without_control(lines, made)
    text = [_line(line, dut, made) for line in lines]
    if not text or not text[0].startswith("*"):
        text.insert(0, f"* {path.stem}")
    text = [line for line in text if line.strip().lower() != ".end"]
    made.text = "\n".join([*text, ".end"]) + "\n"
    made.guesses = _guesses(path, plain)
    return made


def _line(line: str, dut: str, made: Template) -> str:
    """One line, its variables in Jinja's braces."""
    if line.lstrip().startswith("*"):
        return escaped(line)
    if _MODELS.match(line):
        return MODELS
    if _DUT.match(line):
        return f'{{% include "{dut}" %}}' if dut else f"* TODO the circuit: {line.strip()}"
    held: list[str] = []

    def hold(text: str) -> str:
        held.append(text)
        return f"\ue000{len(held) - 1}\ue001"

    line = _FORMULA.sub(lambda match: hold(_formula(match[1], made)), line)
    line = _VARIABLE.sub(lambda match: hold(f"{{{{ {_name(match[1], made)} }}}}"), line)
    return _HOLD.sub(lambda match: held[int(match[1])], escaped(line))


def _formula(text: str, made: Template) -> str:
    inner = _VARIABLE.sub(lambda match: _name(match[1], made), text)
    return f"{{{{ {inner.strip()} }}}}"


def _name(text: str, made: Template) -> str:
    """The name, or the default value, that stands for `CACE{text}`."""
    name, equals, default = text.partition("=")
    name, bar, end = name.strip().partition("|")
    if name == "random":
        return "1"
    if name in _RESERVED:
        made.notes.append(f"TODO: CACE{{{name}}} has no counterpart; it is an empty word")
        return "''"
    if bar:
        made.ends.add((name, end))
        return f"{renamed(name)}_{end}"
    if equals:
        made.defaults[name] = default.strip() or "0"
    made.names.add(name)
    return renamed(name)


def renamed(name: str) -> str:
    """The name of a condition in the design."""
    if name in TEMPERATURES:
        return "temp"
    word = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "value"
    return word if word[0].isalpha() else f"c_{word}"


def _without_control(lines: list[str], made: Template) -> list[str]:
    """The lines with control blocks as comments, their analyses and measurements as cards."""
    kept: list[str] = []
    block: list[str] | None = None
    for line in lines:
        bare = line.strip()
        if bare.lower().startswith(".control"):
            block = []
        if block is None:
            kept.append(line)
            continue
        block.append(bare)
        if bare.lower().startswith(".endc"):
            kept += [f"* {each.lstrip('* ')}" for each in block if each]
            kept += _cards([each for each in block if each and each[0] != "*"], made)
            block = None
    return kept


def _cards(commands: list[str], made: Template) -> list[str]:
    # a `let` of the name of a measurement is what counts where the measurement fails
    measured = {words[2].lower() for c in commands if len(words := c.split()) > 2
                and words[0].lower() in ("meas", "measure")}  # fmt: skip
    computed = computed_in(commands)
    made.computed |= {name: text for name, text in computed.items() if name not in measured}
    found = []
    for command in commands:
        if echo := _ECHO.match(command):
            made.columns = [match.lower() for match in _VALUE.findall(echo[1])]
        text = card_of(command, computed)
        if text:
            found.append(text)
            if match := _MEAS_NAME.match(text):
                made.meas.add(match[1].lower())
    return found


def _plain(lines: Sequence[str], nominal: Mapping[str, float | str]) -> str:
    """The netlist with numbers, to be looked at."""

    def value(match: re.Match[str]) -> str:
        name, _, default = match[1].partition("=")
        return str(nominal.get(name.partition("|")[0], default or "1"))

    kept = [line for line in lines if not re.match(r"\s*\.(?:include|lib|end\b)", line, re.I)]
    text = "\n".join(["* looked at", *kept])
    return _FORMULA.sub("1", _VARIABLE.sub(value, text))


def _guesses(path: Path, text: str) -> Sequence[Candidate]:
    """Measures that the analyses of a testbench suggest; none where it cannot be read."""
    try:
        around = Surroundings(Circuit(netlist_of(path, text)), Slots())
    except DesignError:
        return ()
    taken: Callable[[str], str] = str
    return [each for each in candidates(around, taken) if each.is_guess]
