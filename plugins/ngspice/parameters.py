"""A skeleton's holes as parameters of a netlist, so that a loaded circuit takes new values.

A number with a hole in it becomes a parameter of its own, wherever ngspice's numparam puts values
in: `.param m3_1="2e-6"` behind the title and `{m3_1}` where it stood. A value in quotes is put in
as the text that it is, so that the device reads the very digits it would read in the deck; in
expressions, in `.param` and on X lines, which reckon with it, it is a number as it would be there.
Holes elsewhere (node names, analyses, options, file names) make a skeleton unfit for this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from m3eda.simulate.cards import Card, cards
from m3eda.units import parse

HOLE = re.compile("\ue000(\\d+)\ue001")
"""How a hole is marked in a netlist: characters that no netlist holds."""

_TOKEN = re.compile("[\\w.]*(?:\ue000\\d+\ue001[\\w.]*)+")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?(?:meg|[tgkmunpf])?", re.IGNORECASE)
_REMEMBERED = 1000
_LONGEST = 24  # numparam makes room for 25 characters
_BEHAVIOUR = re.compile(r"=.*\b[vi]\s*\(|'.*\b[vi]\s*\(|\{.*\b[vi]\s*\(", re.IGNORECASE)
_COMMENT = re.compile(r"(?:\s\$|;).*")
_NODES = {"r": 2, "c": 2, "l": 2, "v": 2, "i": 2, "k": 2, "f": 3, "h": 3, "e": 4, "g": 4,
          "d": 3, "b": 99, "m": 99, "q": 99, "j": 99, "z": 99, "x": 99}  # fmt: skip
"""Words behind a device's name at which no value can stand yet, unless it is `key=value`."""
_CARDS = (".param", ".subckt", ".ic", ".nodeset")


class Unfit(Exception):
    """Why a skeleton or a deck cannot be run by its parameters, in a few words."""


def marker(number: int) -> str:
    return f"\ue000{number}\ue001"


@dataclass(frozen=True)
class Token:
    """A number of the netlist with one hole in it or more."""

    text: str
    """With its holes marked, a sign before it included."""
    as_text: bool
    """Whether it is put in as text."""
    in_expression: bool = False
    """Where a negative number may bind otherwise than the parameter would."""
    cut: bool = False
    """In a source's expression ngspice 39 keeps 11 digits of a number."""

    @cached_property
    def only(self) -> int | None:
        """The number of the hole that it consists of; None where there is more to it."""
        match = HOLE.fullmatch(self.text)
        return int(match[1]) if match else None

    def value(self, fills: Sequence[str]) -> str:
        """The number that `fills` make, in quotes where it is put in as text.

        Raises Unfit where it is none.
        """
        if self.only is None:
            return self._checked(HOLE.sub(lambda match: fills[int(match[1])], self.text))
        text = fills[self.only]
        known = self._known.get(text)
        if known is None:
            if len(self._known) > _REMEMBERED:
                self._known.clear()
            known = self._known[text] = self._checked(text)
        return known

    @cached_property
    def _known(self) -> dict[str, str]:
        return {}

    def _checked(self, text: str) -> str:
        signed = self.in_expression and text[:1] in ("+", "-")
        if not _NUMBER.fullmatch(text) or signed or len(text) > _LONGEST:
            raise Unfit(f"{text} is not a plain number")
        if self.cut:
            text = f"{parse(text):.10e}"
        return f'"{text}"' if self.as_text else text


@dataclass(frozen=True)
class Parametrised:
    """A netlist whose tokens are parameters."""

    lines: tuple[str, ...]
    """Without the `.param` lines of the tokens."""
    tokens: tuple[Token, ...]
    twin: tuple[int, ...]
    """For each token the first one that has its values at both probes: most likely the same."""
    prefix: str

    @property
    def changing(self) -> int:
        """Parameters that most likely differ from each other."""
        return len(set(self.twin))

    def name(self, token: int) -> str:
        return f"{self.prefix}{token}"

    def values(self, fills: Sequence[str]) -> list[str]:
        """Numbers for the tokens. Raises Unfit."""
        return [token.value(fills) for token in self.tokens]

    def with_lines(self, lines: tuple[str, ...]) -> Parametrised:
        """The same with these lines before its `.end`."""
        return replace(self, lines=(*self.lines[:-1], *lines, self.lines[-1]))

    def netlist(self, settings: Sequence[str]) -> list[str]:
        """The netlist with its parameters set so."""
        params = [f".param {self.name(n)}={text}" for n, text in enumerate(settings)]
        return [self.lines[0], *params, *self.lines[1:]]

    def command(self, token: int, setting: str) -> str:
        """What sets a parameter in the loaded circuit, for the next `reset`."""
        # single quotes keep the double ones from the command's reader
        quoted = f"'{setting}'" if setting[0] == '"' else setting
        return f"alterparam {self.name(token)}={quoted}"

    def settings(self, values: Sequence[str]) -> list[str]:
        """What each token's parameter is set to: its number, or the name of its twin."""
        return [
            self.name(first) if first != n and values[first] == value else value
            for n, (first, value) in enumerate(zip(self.twin, values, strict=True))
        ]


def parametrise(text: str, probes: Sequence[Sequence[str]]) -> Parametrised:
    """`text`, its holes marked, with a parameter for each number that has one. Raises Unfit.

    Lines may be joined and comments left out; `probes` are fills of two sizings.
    """
    prefix = "m3_"
    while prefix in text.lower():
        prefix = f"m3{prefix}"
    if re.search(r"(?im)^\s*\.control\b", text):
        raise Unfit("it has a control block")
    tokens: list[Token] = []
    lines = [HOLE.sub("", text.partition("\n")[0])]
    for card in cards(_COMMENT.sub("", text)):
        lines.append(_rewritten(card, tokens, prefix) if "\ue000" in card.text else card.text)
    values = [[token.value(fills) for token in tokens] for fills in probes]
    pairs = list(zip(*values, strict=True)) or [() for _ in tokens]
    twin = tuple(pairs.index(pair) for pair in pairs)
    return Parametrised(tuple(lines), tuple(tokens), twin, prefix)


def _rewritten(card: Card, tokens: list[Token], prefix: str) -> str:
    """The card with names for its tokens, which are added to `tokens`. Raises Unfit."""
    text = card.text
    word = text.split(maxsplit=1)[0].lower() if text.strip() else ""
    if HOLE.search(word) or (word[:1] not in _NODES and word not in _CARDS):
        raise Unfit(f"a value changes in: {_plain(card.text)}")
    made, end = [], 0
    for match in _TOKEN.finditer(text):
        bare, quoted = _context(text, match.start())
        if quoted or not _is_value(word, text, match, bare):
            raise Unfit(f"a value changes in: {_plain(card.text)}")
        start = match.start()
        if not bare and text[start - 1] in "+-" and text[start - 2] in " \t=(,":
            start -= 1
        inside, counted = bare or word == ".param", word[0] == "x" or word == ".subckt"
        name = f"{prefix}{len(tokens)}"
        whole = text[start - 1] in "='{" and text[match.end() : match.end() + 1] in ("", *"'} ")
        token = Token(
            text[start : match.end()],
            as_text=not (inside or counted),
            in_expression=inside and not whole,
            cut=word[0] == "b" or (word[0] in "egrcl" and bool(_BEHAVIOUR.search(text))),
        )
        tokens.append(token)
        made += [text[end:start], name if inside else f"{{{name}}}"]
        end = match.end()
    return "".join([*made, text[end:]])


def _context(text: str, place: int) -> tuple[bool, bool]:
    """Whether `place` lies within braces or single quotes, and whether within double quotes."""
    before = text[:place]
    braces = before.count("{") > before.count("}")
    return braces or before.count("'") % 2 == 1, before.count('"') % 2 == 1


def _is_value(word: str, text: str, match: re.Match[str], bare: bool) -> bool:
    """Whether a number may stand where the match does."""
    before, after = text[: match.start()], text[match.end() : match.end() + 1]
    if re.search(r"\d\.?[eE][+-]$", before) or after in ("#", ":", "["):
        return False
    if bare or re.search(r"=\s*[+-]?$", before):
        return True
    if word in _CARDS:
        return word == ".param" and "=" in before
    if re.search(r"=[^\s]*$", before):  # an expression without quotes, as B sources have
        return word[0] in "beg"
    words = list(_words(before))
    return len(words) > _NODES[word[0]] and before[-1] in " \t(,+-*/"


def _words(text: str) -> Iterator[str]:
    return (word for word in re.split(r"[\s(),]+", text.strip()) if word and word not in "+-")


def _plain(text: str) -> str:
    return " ".join(HOLE.sub("?", text).split())[:80]
