"""The options of the simulator `command`: read once, every mistake with its key."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import get_args

from m3eda_plugins.command.csv import CONVENTIONS, Parts

from m3eda.design.types import Value
from m3eda.design.yamlfile import nearest
from m3eda.errors import DesignError, Mistake
from m3eda.simulate.types import AnalysisKind, State

PLACEHOLDERS = ("deck", "rundir", "testbench", "corner", "timeout", "python")
PYTHON = "{python}"
"""The interpreter that runs m3eda, for a program that is a Python file."""
FORMATS = ("csv", "psfascii")
KINDS = get_args(AnalysisKind)
_HOLE = re.compile(r"\{(\w*)\}")

PATTERNS: Mapping[State, str] = {
    State.NO_CONVERGENCE: r"no convergence|(did|does) not converge|failed to converge|"
    r"time ?step too small",
    State.MODEL_MISSING: r"undefined model|model .*(not (found|defined)|undefined|missing)|"
    r"unknown (model|subcircuit|master|primitive)",
    State.PARSE_ERROR: r"syntax error|parse error|undefined (parameter|variable)|"
    r"cannot (open|read) input",
}
"""What logs say of each kind of failure; looked for in this order where a run gave nothing."""

_PATTERN_KEYS = {"no_convergence": State.NO_CONVERGENCE, "model_missing": State.MODEL_MISSING,
                 "parse_error": State.PARSE_ERROR}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Files that hold results."""

    pattern: str
    """A name or a glob, below the run directory, with placeholders."""
    kind: AnalysisKind | None = None
    """The analysis they hold, where it was told."""

    @property
    def is_glob(self) -> bool:
        return any(letter in self.pattern for letter in "*?[")


@dataclass(frozen=True)
class Options:
    """The checked options; their meaning is in docs/simulators.md."""

    command: tuple[str, ...]
    results: tuple[Source, ...]
    deck_name: str = "deck.sp"
    format: str = ""
    version: tuple[str, ...] = ()
    log: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    """The user's own, in lower case: name in measures -> name in results."""
    complex: tuple[Parts, ...] = CONVENTIONS
    polar: tuple[Parts, ...] = ()
    meas: tuple[Source, ...] = ()
    exit_codes: tuple[int, ...] = (0,)
    patterns: Mapping[State, re.Pattern[str]] = field(default_factory=dict)

    @property
    def conventions(self) -> tuple[Parts, ...]:
        return (*self.polar, *self.complex)


KEYS = (*(item.name for item in fields(Options) if item.name != "patterns"), *_PATTERN_KEYS)
"""Every option there is."""


def read_options(given: Mapping[str, Value]) -> Options:
    """Check the options of a design file. Raises DesignError with every mistake."""
    return _Reader(given).options()


def filled(text: str, values: Mapping[str, str]) -> str:
    """`text` with its placeholders replaced."""
    return _HOLE.sub(lambda match: values[match[1]], text)


class _Reader:
    def __init__(self, given: Mapping[str, Value]) -> None:
        self._given = {key: _text(value) for key, value in given.items()}
        self._mistakes: list[Mistake] = []

    def options(self) -> Options:
        for key in self._given:
            if key not in KEYS:
                hint = nearest(key, KEYS) or f"known: {', '.join(KEYS)}"
                self._wrong(key, f"the simulator command has no option '{key}'", hint)
        read = Options(
            command=self._words("command", "spectre {deck} -format psfascii -raw {rundir}/psf"),
            results=self._sources("results", "psf/*, or op=op.csv ac=ac.csv"),
            deck_name=self._deck_name(),
            format=self._format(),
            version=self._version(),
            log=self._holes("log", self._given.get("log", "")),
            names=self._names(),
            complex=self._parts("complex") or CONVENTIONS,
            polar=self._parts("polar", polar=True),
            meas=self._sources("meas"),
            exit_codes=self._exit_codes(),
            patterns=self._patterns(),
        )
        if self._mistakes:
            raise DesignError(self._mistakes)
        return read

    def _wrong(self, key: str, text: str, hint: str = "") -> None:
        self._mistakes.append(Mistake(text, key=f"simulator.options.{key}", hint=hint))

    def _holes(self, key: str, text: str) -> str:
        for name in _HOLE.findall(text):
            if name not in PLACEHOLDERS:
                listed = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
                hint = nearest(name, PLACEHOLDERS) or f"known: {listed}"
                self._wrong(key, f"there is no placeholder {{{name}}}", hint)
        return text

    def _words(self, key: str, example: str = "") -> tuple[str, ...]:
        text = self._given.get(key, "")
        if example and not text.strip():
            self._wrong(key, "is missing", f"such as {example}")
        try:
            words = tuple(shlex.split(text))
        except ValueError as error:
            self._wrong(key, f"cannot be split into words: {str(error).lower()}")
            return ()
        if words and words[0] != PYTHON and _HOLE.search(words[0]):
            self._wrong(key, "begins with a placeholder", "begin with the name of the program")
        return tuple(self._holes(key, word) for word in words)

    def _version(self) -> tuple[str, ...]:
        if {*_HOLE.findall(self._given.get("version", ""))} - {"python"}:
            self._wrong("version", "has a placeholder", "it is asked before there is a deck")
            return ()
        return self._words("version")

    def _sources(self, key: str, example: str = "") -> tuple[Source, ...]:
        found = []
        for word in self._words(key, example):
            kind, separator, pattern = word.partition("=")
            known = next((each for each in KINDS if separator and each == kind), None)
            if separator and known is None:
                hint = nearest(kind, KINDS) or f"known: {', '.join(KINDS)}"
                self._wrong(key, f"'{kind}' is no kind of analysis", hint)
            found.append(Source(pattern if separator else word, known))
        return tuple(found)

    def _deck_name(self) -> str:
        name = self._given.get("deck_name", Options.deck_name)
        if not name.strip() or "/" in name or name in (".", ".."):
            self._wrong("deck_name", f"'{name}' is not a file name", "such as input.scs")
        return name

    def _format(self) -> str:
        chosen = self._given.get("format", "")
        if chosen and chosen not in FORMATS:
            hint = nearest(chosen, FORMATS) or f"known: {', '.join(FORMATS)}"
            self._wrong("format", f"there is no format '{chosen}'", hint)
        return chosen

    def _names(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for word in self._words("names"):
            name, separator, result = word.partition("=")
            if not (name and separator and result):
                self._wrong("names", f"'{word}' is not name=result", "such as i(vdd)=VDD:p")
            found[name.lower()] = result.lower()
        return found

    def _parts(self, key: str, *, polar: bool = False) -> tuple[Parts, ...]:
        if key not in self._given:
            return ()
        try:
            return (Parts.of(self._given[key], polar),)
        except ValueError as error:
            self._wrong(key, str(error))
            return ()

    def _exit_codes(self) -> tuple[int, ...]:
        words = self._given.get("exit_codes", "0").replace(",", " ").split()
        if not words or not all(word.isdigit() for word in words):
            self._wrong("exit_codes", "is not a list of exit codes", "such as 0 1")
            return (0,)
        return tuple(int(word) for word in words)

    def _patterns(self) -> dict[State, re.Pattern[str]]:
        found: dict[State, re.Pattern[str]] = {}
        own = {state: key for key, state in _PATTERN_KEYS.items()}
        for state, usual in PATTERNS.items():
            try:
                found[state] = re.compile(self._given.get(own[state], usual), re.IGNORECASE)
            except re.error as error:
                self._wrong(own[state], f"is not a regular expression: {error}")
        return found


def _text(value: Value) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
