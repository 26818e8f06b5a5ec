"""Decks of Monte Carlo samples: how the transistors of a deck are made to differ.

Every transistor of a kind that the technology gives coefficients for gets a shift of its threshold
and a factor of its current, as formulas of its own size (Pelgrom et al., "Matching Properties of
MOS Transistors", IEEE JSSC 1989): a device alone has A / sqrt(2 W L), so that the difference of a
matched pair has the standard deviation A / sqrt(W L). A deviation is a number of standard
deviations, so one sample is the same silicon at any sizing. Models that draw by themselves are
given their section and a seed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from m3eda.design.types import Design
from m3eda.design.variation import coefficients, draws_by_itself
from m3eda.errors import DesignError, Mistake
from m3eda.simulate.templates import before_end

_SUBCKT = re.compile(r"^\s*\.subckt\s+(\S+)", re.IGNORECASE)
_ENDS = re.compile(r"^\s*\.ends\b", re.IGNORECASE)
_ASSIGNED = re.compile(r"""([A-Za-z_]\w*)\s*=\s*('[^']*'|"[^"]*"|\{[^}]*\}|[^\s=]+)""")
_PATH = r"""(?:"([^"\n]+)"|'([^'\n]+)'|([^\s"']+))"""
_INCLUDED = re.compile(rf"^([ \t]*\.inc(?:lude)?\s+){_PATH}[^\n]*$", re.IGNORECASE | re.MULTILINE)
_LIBRARY = re.compile(rf"^([ \t]*\.lib\s+){_PATH}(\s+\S[^\n]*)$", re.IGNORECASE | re.MULTILINE)
_PARAMS = re.compile(r"\bparams:", re.IGNORECASE)
_CONTROL = re.compile(r"^\s*\.control\b", re.IGNORECASE)
_ENDC = re.compile(r"^\s*\.endc\b", re.IGNORECASE)
_COMMENT = re.compile(r"(?:[\s,]\$|\$\s|;|//).*$")
_MOST = 10_000
"""Instances of subcircuits that one deck may have."""

_DEEPEST = 50

Drawn = Mapping[str, Any]
"""Deviations by name; numbers, or what stands for them in a deck."""


@dataclass
class _Statement:
    """One statement of a netlist, continuation lines included."""

    lines: list[str]
    raw: bool = False
    """True for what is no part of the circuit: comments, commands to the simulator."""

    @property
    def text(self) -> str:
        """On one line, comments left out."""
        first, *more = (_COMMENT.sub("", line) for line in self.lines)
        return " ".join([first, *(line.lstrip()[1:] for line in more)])

    @property
    def kind(self) -> str:
        """The letter that its name begins with, in lower case; empty for what is no device."""
        return "" if self.raw else self.lines[0].lstrip()[:1].lower()

    @property
    def words(self) -> list[str]:
        """Name, nodes and model, without what is assigned."""
        return _ASSIGNED.sub(" ", _PARAMS.sub(" ", self.text)).split()


@dataclass
class _Block:
    """The statements of one subcircuit, or those outside of all."""

    name: str = ""
    statements: list[_Statement] = field(default_factory=list)


@dataclass(frozen=True)
class _Kind:
    """How the devices of one model vary."""

    name: str
    vt: float = 0.0
    """Pelgrom coefficient of one device, V m."""
    beta: float = 0.0
    """m."""
    process_vt: float = 0.0
    """V."""
    process_beta: float = 0.0

    @property
    def local(self) -> bool:
        return bool(self.vt or self.beta)

    @property
    def together(self) -> bool:
        return bool(self.process_vt or self.process_beta)


class Deviations:
    """What varies in the decks of one design."""

    def __init__(self, design: Design) -> None:
        variation, technology = design.variation, design.technology
        self._path = design.path
        self.sigma = dict(variation.sigma) if variation else {}
        """Relative standard deviation of parameters and conditions."""
        self._kinds: dict[str, _Kind] = {}
        """By the name of the model, in lower case."""
        self.sections: dict[str, str] = {}
        """Process corner -> section whose models draw by themselves."""
        self._models: frozenset[Path] = frozenset()
        """Model files: what they hold are no devices of the deck."""
        if variation is None or technology is None:
            return
        files = {file for each in technology.includes.values() for file in each}
        self._models = frozenset({*files, *([technology.lib] if technology.lib else [])})
        wanted = {"mismatch": variation.mismatch, "process_variation": variation.process}
        for key in (key for key, asked in wanted.items() if asked):
            self.sections |= draws_by_itself(technology, key)
        own = {key for key in wanted if draws_by_itself(technology, key)}
        unit = float(technology.data.get("instance", {}).get("unit", 1.0))
        tables = {
            key: coefficients(technology, key) if asked and key not in own else {}
            for key, asked in wanted.items()
        }
        for name, device in technology.data.get("devices", {}).items():
            vt, beta = tables["mismatch"].get(name, (0.0, 0.0))
            local = 1.0 / (math.sqrt(2.0) * unit)
            process = tables["process_variation"].get(name, (0.0, 0.0))
            kind = _Kind(name, vt * local, beta * local, *process)
            if kind.local or kind.together:
                self._kinds[str(device.get("model", name)).lower()] = kind

    def names(self, text: str) -> list[str]:
        """Everything that varies in the deck `text`, and the design's own tolerances."""
        found: list[str] = [f"{name}:value" for name in self.sigma]

        def note(name: str) -> str:
            found.append(name)
            return "0"

        if self._kinds:
            self._written(text, note)
        return list(dict.fromkeys(found))

    def deck(self, text: str, drawn: Drawn, write: Callable[[Any], str], seed: int) -> str:
        """The deck `text` as it stands for one sample.

        `write` puts a deviation into it. Raises DesignError for a transistor without w or l, or
        without a deviation.
        """
        if self._kinds:
            text = self._written(text, lambda name: write(self._deviation(drawn, name)))
        if self.sections:
            text = before_end(text, f".options seed={seed}")
        return text

    def _deviation(self, drawn: Drawn, name: str) -> Any:
        if name not in drawn:
            text = f"{name.partition(':')[0]} is in the deck at some sizings only"
            hint = "only what the words among the parameters decide may come and go"
            raise DesignError([Mistake(text, self._path, hint=hint)])
        return drawn[name]

    def values(self, values: Mapping[str, Any], drawn: Drawn) -> dict[str, Any]:
        """Parameters and conditions as they are in one sample."""
        return {
            name: value * (1.0 + self.sigma[name] * drawn.get(f"{name}:value", 0.0))
            if name in self.sigma
            else value
            for name, value in values.items()
        }

    def _inlined(self, text: str, within: tuple[Path, ...] = ()) -> str:
        """`text` with the netlists in it that it includes and that hold devices which vary."""

        def content(match: re.Match[str]) -> str:
            file = Path(match[2] or match[3] or match[4])
            if file in self._models or file in within or not file.is_file():
                return match[0]
            found = file.read_text(encoding="utf-8", errors="replace")
            for pattern in (_INCLUDED, _LIBRARY):
                found = pattern.sub(lambda m: _placed(m, file.parent), found)
            whole = self._inlined(found, (*within, file))
            if not any(model in whole.lower() for model in self._kinds):
                return match[0]
            return re.sub(r"(?im)^\s*\.end\s*$", "", whole).rstrip("\n")

        return _INCLUDED.sub(content, text)

    def _written(self, text: str, value: Callable[[str], str]) -> str:
        head, *blocks = _blocks(self._inlined(text), self._path)
        writer = _Writer(self._kinds, {block.name: block for block in blocks}, value, self._path)
        return writer.deck(head, blocks)


class _Writer:
    """Writes one deck with its deviations."""

    def __init__(
        self,
        kinds: Mapping[str, _Kind],
        blocks: Mapping[str, _Block],
        value: Callable[[str], str],
        path: Any,
    ) -> None:
        self._kinds, self._blocks, self._value, self._path = kinds, blocks, value, path
        self._copies: dict[str, dict[str, str]] = {}
        """Of each subcircuit: path of an instance -> the name of its own definition."""
        self._vary: dict[str, bool] = {}
        self._written: dict[str, str] = {}
        self._count = 0

    def deck(self, head: _Block, blocks: Collection[_Block]) -> str:
        title, *others = head.statements
        body = self._block(_Block("", others), "", ())
        # of a subcircuit that is defined twice, by a file included twice, one is enough
        once = {block.name: block for block in blocks}.values()
        own = [self._written.pop(block.name, "") or _plain(block) for block in once]
        rest = "".join([*own, *self._written.values()]).rstrip("\n")
        text = "\n".join([*title.lines, body])
        return before_end(text, rest) if rest else text

    def _block(self, block: _Block, path: str, times: tuple[str, ...]) -> str:
        """The text of `block`, whose devices are found below `path`, `times` over in parallel."""
        out: list[str] = []
        for statement in block.statements:
            lines = statement.lines
            if statement.kind == "m":
                lines = self._transistor(statement, path, times)
            elif statement.kind == "x":
                lines = self._instance(statement, path, times)
            out += lines
        return "".join(f"{line}\n" for line in out)

    def _kind(self, statement: _Statement) -> _Kind | None:
        """How a transistor varies: name, drain, gate, source, bulk, model."""
        models = [word.lower() for word in statement.words[5:]]
        return next((self._kinds[model] for model in models if model in self._kinds), None)

    def _transistor(self, statement: _Statement, path: str, times: tuple[str, ...]) -> list[str]:
        kind = self._kind(statement)
        if kind is None:
            return statement.lines
        size = {name.lower(): each for name, each in _ASSIGNED.findall(statement.text)}
        own = f"{path}{statement.words[0].lower()}"
        if kind.local and not {"w", "l"} <= set(size):
            text = f"transistor {own} has no w or no l, so its mismatch is not known"
            raise DesignError([Mistake(text, self._path, hint=statement.text.strip())])
        factors = [_bare(size[key]) for key in ("w", "l", "m") if key in size]
        area = "*".join(f"({factor})" for factor in (*factors, *times))
        vt = self._terms(f"{own}:vt", kind.vt, area, f"process.{kind.name}:vt", kind.process_vt)
        beta = self._terms(
            f"{own}:beta", kind.beta, area, f"process.{kind.name}:beta", kind.process_beta
        )
        added = [f"delvto={{{vt}}}"] if vt else []
        added += [f"mulu0={{{beta}+1}}"] if beta else []
        return [*statement.lines, "+ " + " ".join(added)]

    def _terms(self, own: str, local: float, area: str, process: str, common: float) -> str:
        terms = [f"{self._value(own)}*{local!r}/sqrt({area})"] if local else []
        terms += [f"{self._value(process)}*{common!r}"] if common else []
        return "+".join(f"({term})" for term in terms)

    def _instance(self, statement: _Statement, path: str, times: tuple[str, ...]) -> list[str]:
        plain = words = statement.words
        name = plain[-1].lower() if plain else ""
        if name not in self._blocks or not self._varies(name):
            return statement.lines
        size = {each.lower(): value for each, value in _ASSIGNED.findall(statement.text)}
        if "m" in size:
            times = (*times, _bare(size["m"]))
        # at the top of a testbench all instances of a device under test are the same silicon
        inner = f"{path}{words[0].lower()}." if path else f"{name}."
        copies = self._copies.setdefault(name, {})
        if inner not in copies:
            self._count += 1
            if self._count > _MOST or inner.count(".") > _DEEPEST:
                text = f"{words[0]}: too many instances of subcircuits, or one that holds itself"
                raise DesignError([Mistake(text, self._path)])
            copies[inner] = plain[-1] if not copies else f"{plain[-1]}__{len(copies) + 1}"
            self._define(name, copies[inner], inner, times)
        if copies[inner] == plain[-1]:
            return statement.lines
        pattern = re.compile(rf"(?<!\S){re.escape(plain[-1])}(?!\S)")
        lines = list(statement.lines)
        for place in reversed(range(len(lines))):
            matches = list(pattern.finditer(_COMMENT.sub("", lines[place])))
            if matches:
                at = matches[-1]
                lines[place] = lines[place][: at.start()] + copies[inner] + lines[place][at.end() :]
                break
        return lines

    def _define(self, name: str, called: str, inner: str, times: tuple[str, ...]) -> None:
        block = self._blocks[name]
        text = self._block(block, inner, times)
        if called.lower() != name:
            text = re.sub(_SUBCKT.pattern, lambda m: m[0][: -len(m[1])] + called, text,
                          count=1, flags=re.IGNORECASE)  # fmt: skip
            text = re.sub(r"(?im)^(\s*\.ends)\b.*$", r"\1", text)
        self._written[called.lower() if called.lower() != name else name] = text

    def _varies(self, name: str) -> bool:
        """True where the subcircuit holds a transistor that varies, itself or further down."""
        if name not in self._vary:
            self._vary[name] = False  # of one that holds itself nothing is found further down
            self._vary[name] = any(
                self._varied(statement) for statement in self._blocks[name].statements
            )
        return self._vary[name]

    def _varied(self, statement: _Statement) -> bool:
        if statement.kind == "m":
            return self._kind(statement) is not None
        inner = statement.words[-1].lower() if statement.kind == "x" else ""
        return inner in self._blocks and self._varies(inner)


def _placed(match: re.Match[str], folder: Path) -> str:
    """An `.include` or `.lib` line of a file in `folder` with its path made absolute."""
    path = Path(match[2] or match[3] or match[4])
    tail = match[5] if match.re is _LIBRARY else ""
    return f'{match[1]}"{path if path.is_absolute() else folder / path}"{tail}'


def _blocks(text: str, path: Any) -> list[_Block]:
    """What stands outside of subcircuits, and each subcircuit."""
    head = _Block()
    blocks: list[_Block] = []
    at = head
    lines = text.split("\n")
    control = False
    for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines):
        if line.lstrip().startswith("+") and not control:
            last = next((each for each in reversed(at.statements) if not each.raw), None)
            if last is not None:
                last.lines.append(line)
                continue
        control = (control or bool(_CONTROL.match(line))) and not _ENDC.match(line)
        opens = _SUBCKT.match(line) if number else None  # the first line of a deck is its title
        if opens:
            if at is not head:
                hint = f"{opens[1]} stands within {at.name}: put it beside"
                text = "subcircuits within subcircuits cannot be told apart for mismatch"
                raise DesignError([Mistake(text, path, hint=hint)])
            at = _Block(opens[1].lower())
            blocks.append(at)
        bare = line.strip()
        at.statements.append(_Statement([line], control or not bare or bare[:1] in "*$;#"))
        if _ENDS.match(line):
            at = head
    return [head, *blocks]


def _plain(block: _Block) -> str:
    return "".join(f"{line}\n" for each in block.statements for line in each.lines)


def _bare(value: str) -> str:
    """A value without its quotes or braces, for a formula."""
    return value[1:-1] if value[:1] in "'\"{" else value
