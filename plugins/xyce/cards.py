"""The cards of one text, of a deck or of a file it includes, in Xyce's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from m3eda_plugins.xyce.conditions import Branches
from m3eda_plugins.xyce.devices import (
    called,
    device,
    function,
    has_multiplier,
    parameters,
    subcircuit,
)
from m3eda_plugins.xyce.expressions import NO_SCOPE, Scope, function_name
from m3eda_plugins.xyce.measure import Measure, measure
from m3eda_plugins.xyce.models import model
from m3eda_plugins.xyce.options import options, temperature
from m3eda_plugins.xyce.sources import Times
from m3eda_plugins.xyce.text import (
    Refused,
    Statement,
    comment_out,
    grounded,
    listed,
    plain_comments,
    put,
    statements,
    words,
)
from m3eda_plugins.xyce.values import in_braces, number, value

from m3eda.simulate.cards import Card
from m3eda.units import NumberError, parse

_DROPPED = listed(
    ".save .print .plot .probe .four .width .end .title .csparam .backanno .protect .unprotect"
    " .prot .unprot .tf .pz .disto .sens .pss .saveop .alter"
)
"""Cards that ask for output, or for analyses whose results m3eda does not read."""
_INCLUDES = (".include", ".inc", ".incl", ".lib")
_OPTIONS = (".option", ".options", ".opt")
_NATIVE = re.compile(
    r"\.options?\s+(?:(?:parser|device|nonlin|nonlin-tran|timeint|linsol)\s|scale\s*=\s*\S+\s*$)",
    re.IGNORECASE,
)
"""`.option` cards that Xyce reads as they are; ngspice passes over the name of a package."""
_REFERENCE = re.compile(
    r"""(\.\w+\s+)(?:"([^"]*)"|'([^']*)'|(\S+))(?:\s+["']?([^\s"']+)["']?)?\s*$"""
)


@dataclass
class Surroundings:
    """What the cards of a text refer to beyond themselves."""

    scope: Scope = NO_SCOPE
    times: Times = field(default_factory=Times)
    evaluate: Callable[[str], float] = lambda expression: _unknown(expression)
    functions: frozenset[str] = frozenset()
    measures: frozenset[str] = frozenset()
    multiplied: bool = False
    """Whether a subcircuit is called with `m=` anywhere: Xyce keeps it for calls without one."""
    declared: frozenset[str] = frozenset()
    """Subcircuits that have a parameter `m` of their own, lower case."""


def _unchecked(expression: str) -> None:
    """Nothing is known of the names in it."""


def _unknown(expression: str) -> float:
    raise Refused(f"the value of '{expression}' is not known while the netlist is read")


@dataclass
class Cards:
    """Translates cards one by one, in place."""

    lines: list[str]
    around: Surroundings
    section: str | None = None
    """The section of a library; its other lines become comments."""
    included: bool = False
    """Whether this is a file that a deck includes."""
    analyses: list[Card] = field(default_factory=list)
    measures: list[Measure] = field(default_factory=list)
    options: list[tuple[int, str]] = field(default_factory=list)
    """`.options` of Xyce with the index of the line that asks for them."""
    temperatures: list[str] = field(default_factory=list)
    """`.options` of `.temp` cards, which hold before those of `.options temp=`."""
    initial: list[str] = field(default_factory=list)
    """`.ic` cards, which Xyce would hold at the operating point of any analysis."""
    guesses: list[int] = field(default_factory=list)
    """Indices of `.nodeset` cards."""
    references: list[tuple[Statement, str, str, str]] = field(default_factory=list)
    """Of each `.include` and `.lib` its text up to the path, the path and the section."""
    drawn: list[int] = field(default_factory=list)
    """Of each random number in `switches` of the scope the index of its line."""
    unusable: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Models of an included file that Xyce cannot be told, which nobody may use: by name in lower
    case the index of the line and the reason."""
    _library: str = ""
    _depth: int = 0
    """How many subcircuits are open: within them names have other values."""
    _ended: str = ""

    def translate(self, start: int = 1) -> None:
        """Raises Refused, its line the index of the card's first."""
        plain_comments(self.lines)
        branches = Branches(self.around.evaluate)
        for statement in statements(self.lines, start):
            try:
                read = not branches.take(statement) and branches.counts
                if statement.word == ".param" and branches.is_open:
                    raise Refused(
                        "ngspice takes the .param of every branch of an .if, the last one holds: "
                        "write .param x={condition ? a : b}"
                    )
                if read and self.is_in_section(statement):
                    self._card(statement)
                    many = len(self.around.scope.switches or ())
                    self.drawn += [statement.first] * (many - len(self.drawn))
                else:
                    comment_out(self.lines, statement)
            except Refused as reason:
                line = reason.line if reason.line >= 0 else statement.first
                raise Refused(reason.reason, line, reason.state) from reason
        branches.check_closed()

    @property
    def _scope(self) -> Scope:
        """Of the card at hand."""
        return replace(self.around.scope, check=_unchecked) if self._depth else self.around.scope

    def is_in_section(self, statement: Statement) -> bool:
        """Whether a card is of the wanted section. Keeps track of the section it is in."""
        if statement.word == ".lib" and len(words(statement.text)) == 2:
            self._library = words(statement.text)[1].strip("\"'").lower()
            return self.section in (None, self._library)
        wanted = self.section in (None, self._library)
        if statement.word == ".endl":
            self._ended, self._library = self._library, ""
        return wanted

    def _card(self, statement: Statement) -> None:
        word = statement.word
        if word == "simulator" or word == "library":
            raise Refused("this is Spectre's language: Xyce reads netlists as ngspice does")
        if not word.startswith("."):
            text = device(grounded(statement.text), self._scope, self.around.times)
            if word[0] == "x" and self.around.multiplied and not has_multiplier(text):
                text += "" if called(text) in self.around.declared else " m=1"
            put(self.lines, statement, text)
        elif word == ".endl":
            put(self.lines, statement, f".endl {self._ended}")
        elif word in _INCLUDES:
            self.refer(statement)
        elif word.startswith((".meas", ".measure")):
            found = measure(
                statement.text,
                statement.first,
                self.around.scope,
                self.around.measures,
                self.around.times.first_point,
            )
            self.measures.append(found)
            comment_out(self.lines, statement)
        elif word in _OPTIONS or word == ".temp":
            if self.included and _NATIVE.match(statement.text):
                return
            if word == ".temp":
                self.temperatures.append(temperature(statement.text, self.around.evaluate))
            else:
                text = options(statement.text, self.around.evaluate)
                self.options += [(statement.first, line) for line in text.splitlines()]
            comment_out(self.lines, statement)
        elif word in _DROPPED:
            comment_out(self.lines, statement)
        else:
            self._other(statement, word)

    def _other(self, statement: Statement, word: str) -> None:
        text, scope = statement.text, self._scope
        self._depth += (word == ".subckt") - (word == ".ends")
        simple: Mapping[str, Callable[[str, Scope], str]] = {
            ".param": parameters, ".subckt": subcircuit,
        }  # fmt: skip
        if word == ".model" and self.included:
            try:
                self._model(statement)
            except Refused as reason:
                self.unusable[_named(text)] = statement.first, reason.reason
        elif word == ".model":
            self._model(statement)
        elif word in simple:
            put(
                self.lines,
                statement,
                simple[word](grounded(text) if word == ".param" else text, scope),
            )
        elif word == ".func":
            renamed = {name: function_name(name) for name in self.around.functions}
            put(self.lines, statement, function(text, renamed, scope))
        elif word in (".ends", ".global"):
            put(self.lines, statement, grounded(text))
        elif word == ".nodeset":
            if self.around.times.uic:
                comment_out(self.lines, statement)
                return
            self.guesses.append(statement.first)
            put(self.lines, statement, _initial(grounded(text), scope))
        elif word == ".ic":
            if self.included:
                raise Refused("write .ic into the testbench, behind what it includes")
            self.initial.append(" ".join(_initial(grounded(text), scope).split()))
            comment_out(self.lines, statement)
        elif word == ".control":
            raise Refused(
                "remove the .control block: m3eda runs the analyses that the netlist's own cards "
                "ask for"
            )
        elif word in (".op", ".dc", ".ac", ".tran", ".noise", ".sp"):
            self._analysis(statement)
        else:
            raise Refused(f"'{word}' is no card that Xyce can be told")

    def _model(self, statement: Statement) -> None:
        made = model(statement.text, self._scope, noise=self.around.times.noise)
        put(self.lines, statement, made)

    def refer(self, statement: Statement) -> None:
        """Take down what an `.include` or `.lib` card names. Raises Refused."""
        text = " ".join(statement.text.split())
        match = _REFERENCE.fullmatch(text)
        if statement.word == ".lib" and len(words(text)) == 2:
            put(self.lines, statement, statement.text)
            return
        if match is None:
            raise Refused(f"'{text}' names no file")
        path = next(part for part in match.groups()[1:4] if part is not None)
        section = match[5] or ""
        if statement.word == ".lib" and not section:
            raise Refused(f"'{text}' names no section: write .lib \"file\" tt")
        self.references.append((statement, match[1], path, section))

    def _analysis(self, statement: Statement) -> None:
        text = " ".join(statement.text.split())
        if statement.word == ".sp":
            raise Refused("Xyce has no .sp analysis that m3eda can run: use ngspice for it")
        made = [text.split()[0]]
        for word in text.split()[1:]:
            made.append(_argument(word, self.around.scope))
        if statement.word == ".tran":
            made = _transient(made)
        if statement.word == ".noise" and "," in text:
            # of two nodes Xyce 7.10 wants the points per summary too
            made += ["1"] * (text.replace(",", " ").count(" ") < _WITH_SUMMARY)
        found = Card(grounded(" ".join(made)), statement.first, statement.lines[-1])
        self.analyses.append(found)
        comment_out(self.lines, statement)


def _named(text: str) -> str:
    """The name that a `.model` card gives, lower case."""
    return "".join(text.split()[1:2]).lower()


def _argument(word: str, scope: Scope) -> str:
    """A word of an analysis card: a number, an expression, or a name."""
    plain: str | None = number(word)
    if plain is not None:
        return plain
    return value(word, scope) if in_braces(word) is not None else word


_FIRST = 100.0
_WITH_SUMMARY = 8
"""Blanks in `.noise v(a b) v1 dec 5 1 1k 1`."""
_POINTS = 50
"""ngspice takes no step longer than the part of the analysis that this makes."""


def _transient(made: list[str]) -> list[str]:
    """A `.tran` card with the longest step that ngspice would take."""
    uic = [word for word in made if word.lower() == "uic"]
    values = [word for word in made if word not in uic]
    if len(values) < 3:
        raise Refused(f"'{' '.join(made)}' needs a step and an end: write .tran 1n 1u")
    if len(values) == 3:
        values.append("0")
    if len(values) == 4:
        try:
            step, stop, start = (parse(word) for word in values[1:4])
        except NumberError as error:
            raise Refused(f"write the times of {values[0]} as numbers: {error}") from error
        values.append(f"{min(step, (stop - start) / _POINTS):.10g}")
    if uic:
        # the first point of ngspice; Xyce writes one more, at 0 s, of what it began to solve with
        values[1] = first_point(values[1])
    return [*values, *uic]


def first_point(step: str) -> str:
    """The time at which a transient with `uic` has its first point."""
    try:
        return f"{parse(step) / _FIRST:.10g}"
    except NumberError as error:
        raise Refused(f"write the step of .tran as a number: {error}") from error


_INITIAL = re.compile(r"(v\s*\([^)]*\)\s*=\s*)(\{[^{}]*\}|'[^']*'|[^\s,]+),?", re.IGNORECASE)


def _initial(text: str, scope: Scope) -> str:
    """`.ic` and `.nodeset`: values of nodes."""
    if not _INITIAL.search(text):
        raise Refused(f"'{' '.join(text.split())}' sets no voltage: write .ic v(out)=0")
    return _INITIAL.sub(lambda match: f"{match[1]}{value(match[2], scope)}", text)
