"""Independent and controlled sources of ngspice in Xyce's words.

An independent source is written anew in the one order that Xyce reads: value, `ac`, function. A
function of time without a value gets its value at 0 s, which ngspice takes for the operating point
and Xyce does not. Times of 0, by which ngspice means the step or the end of `.tran`, are written
out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from m3eda_plugins.xyce.expressions import NO_SCOPE, Scope, translated
from m3eda_plugins.xyce.text import BREAK, Refused, words
from m3eda_plugins.xyce.values import in_braces, value

from m3eda.units import NumberError, parse

_FUNCTIONS = {"pulse": 7, "sin": 6, "exp": 6, "sffm": 5, "pwl": 0}
"""Functions of time that both have, and how many arguments Xyce takes."""
_LOST = {"am": "a B source with sin()", "trnoise": "", "trrandom": "", "external": ""}
_WORDS = ("dc", "ac", "distof1", "distof2", "portnum", "z0", "pwr", "freq", "phase", "m")
_ZERO = re.compile(r"[+-]?0*\.?0*(?:e[+-]?\d+)?[a-z]*", re.IGNORECASE)


@dataclass(frozen=True)
class Times:
    """What `.tran` says: step and end, which 0 stands for in functions of time, '' without one."""

    step: str = ""
    stop: str = ""
    uic: bool = False
    """Whether devices start from their `ic=`."""
    first_point: str = ""
    """s, of a transient with `uic`; '' of another."""
    noise: bool = False
    """Whether there is a noise analysis."""


NO_TIMES = Times()


def independent(text: str, scope: Scope = NO_SCOPE, times: Times = NO_TIMES) -> str:
    """A V or I source. Raises Refused."""
    taken = words(text)
    head, rest = taken[:3], [word for word in taken[3:] if word not in ("=", ",")]
    if len(head) < 3 or "(" in head:
        raise Refused(f"'{text.strip()}' has no two nodes and a value")
    source = _Source(scope, times, head[0])
    made = " ".join([*head, *source.read(rest)])
    return made if made.split() != text.split() else text


class _Source:
    def __init__(self, scope: Scope, times: Times, name: str) -> None:
        self._scope = scope
        self._times = times
        self._name = name
        self._dc = ""
        self._ac: list[str] | None = None
        self._function: list[str] = []
        self._at_zero = ""
        self._many = ""

    def read(self, rest: list[str]) -> list[str]:
        """The words behind the nodes, in Xyce's order."""
        place = 0
        while place < len(rest):
            word = rest[place].lower()
            if word in _FUNCTIONS or word in _LOST:
                place = self._time(word, rest, place + 1)
            elif word == "dc":
                if place + 1 < len(rest) and rest[place + 1].lower() not in (*_WORDS, *_FUNCTIONS):
                    self._dc = self._value(rest[place + 1])
                    place += 1
                place += 1
            elif word == "ac":
                place = self._small_signal(rest, place + 1)
            elif word == "m" and self._name[0] in "iI" and place + 1 < len(rest):
                self._many = self._value(rest[place + 1])
                place += 2
            elif word in ("distof1", "distof2"):
                place = self._values_from(rest, place + 1, 2)[1]
            elif word in ("portnum", "z0", "pwr", "freq", "phase"):
                raise Refused("ports are for .sp analyses, which m3eda runs on ngspice only")
            elif not self._dc and place == 0:
                self._dc = self._value(rest[place])
                place += 1
            else:
                raise Refused(f"'{rest[place]}' is no part of a source that Xyce knows")
        return self._written()

    def _written(self) -> list[str]:
        dc = self._dc or self._at_zero
        if self._many:
            if self._function:
                raise Refused("m= of a current source over time: put it into its values")
            dc = self._times_many(dc or "0")
            self._ac = self._ac and [self._times_many(self._ac[0]), *self._ac[1:]]
        made = ["dc", dc] if dc else []
        if self._ac is not None:
            made += ["ac", *self._ac]
        return [*made, *self._function] or ["dc", "0"]

    def _times_many(self, word: str) -> str:
        factors = (in_braces(factor) or factor for factor in (word, self._many))
        return f"{{{'*'.join(f'({factor})' for factor in factors)}}}"

    def _value(self, text: str) -> str:
        made: str = value(text, self._scope, bare=False)
        return made

    def _values_from(self, rest: list[str], place: int, most: int) -> tuple[list[str], int]:
        """Up to `most` values from `place` on, and where they end."""
        found: list[str] = []
        while place < len(rest) and len(found) < most:
            word = rest[place]
            if word.lower() in (*_WORDS, *_FUNCTIONS, *_LOST) or word in "()":
                break
            found.append(self._value(word))
            place += 1
        return found, place

    def _small_signal(self, rest: list[str], place: int) -> int:
        bracketed = place < len(rest) and rest[place] == "("
        self._ac, place = self._values_from(rest, place + bracketed, 2)
        self._ac = self._ac or ["1"]
        return place + bracketed

    def _time(self, word: str, rest: list[str], place: int) -> int:
        if word in _LOST:
            instead = f" (write {_LOST[word]})" if _LOST[word] else ""
            raise Refused(f"Xyce has no source function {word}{instead}")
        arguments: list[str] = []
        bracketed = place < len(rest) and rest[place] == "("
        place += bracketed
        while place < len(rest) and rest[place] != ")":
            if not bracketed and rest[place].lower() in ("dc", "ac"):
                break
            arguments.append(rest[place])
            place += 1
        if bracketed:
            place += 1
        if word == "pwl":
            place = self._piecewise(arguments, rest, place)
        else:
            self._shape(word, arguments)
        return place

    def _piecewise(self, arguments: list[str], rest: list[str], place: int) -> int:
        extra: list[str] = []
        while place + 1 < len(rest) and rest[place].lower() in ("r", "td"):
            extra += [rest[place], "=", self._value(rest[place + 1])]
            place += 2
        if arguments and arguments[0].lower() == "file":
            raise Refused("write the points of the pwl source instead of a file")
        while len(arguments) > 2 and arguments[-2].lower() in ("r", "td"):
            extra += [arguments[-2], "=", self._value(arguments[-1])]
            arguments = arguments[:-2]
        if len(arguments) < 2 or len(arguments) % 2:
            raise Refused("a pwl source needs pairs of a time and a value")
        points = [self._value(argument) for argument in arguments]
        self._function = ["pwl", "(", *points, ")", *extra]
        self._at_zero = _first_value(points)
        return place

    def _shape(self, word: str, arguments: list[str]) -> None:
        most = _FUNCTIONS[word]
        if any(not _ZERO.fullmatch(argument) for argument in arguments[most:]):
            raise Refused(f"Xyce's {word} source takes {most} values: remove '{arguments[most]}'")
        values = [self._value(argument) for argument in arguments[:most]]
        if not values:
            raise Refused(f"the {word} source has no values")
        defaults = {"pulse": ("", "", "", "step", "step", "stop", "stop"),
                    "sin": ("", "", "1/stop"), "exp": ("", "", "", "step", "", "step"),
                    "sffm": ("", "", "1/stop", "", "1/stop")}[word]  # fmt: skip
        if word == "sin" and len(values) == 2:
            values.append("0")
        for index, meant in enumerate(defaults[: len(values)]):
            if meant and _ZERO.fullmatch(values[index]):
                values[index] = self._meant(meant) or values[index]
        self._function = [word, "(", *values, ")"]
        self._at_zero = values[0]
        if word == "sin" and len(values) == 6 and not _ZERO.fullmatch(values[5]):
            offset, amplitude, phase = (f"({in_braces(values[i]) or values[i]})" for i in (0, 1, 5))
            radians = "3.141592653589793/180"
            self._at_zero = f"{{{offset}+{amplitude}*sin({phase}*{radians})}}"

    def _meant(self, what: str) -> str:
        if not self._times.stop:
            return ""
        if what == "1/stop":
            return f"{{1/{self._times.stop}}}"
        return self._times.step if what == "step" else self._times.stop


def _first_value(points: Sequence[str]) -> str:
    """The value at 0 s of time and value in turn; '' where it is not known here."""
    try:
        times = [parse(time) for time in points[::2]]
    except NumberError:
        return points[1] if _ZERO.fullmatch(points[0]) else ""
    if times[0] >= 0.0:
        return points[1]
    for index in range(len(times) - 1):
        if times[index] <= 0.0 <= times[index + 1]:
            t0, t1, v0, v1 = *points[2 * index :: 2][:2], *points[2 * index + 1 :: 2][:2]
            inner = [f"({in_braces(v) or v})" for v in (v0, v1)]
            return f"{{{inner[0]}-({inner[1]}-{inner[0]})*({t0})/(({t1})-({t0}))}}"
    return points[-1]


_KINDS = ("value", "vol", "cur", "poly", "table", "laplace", "freq", "pwl", "and", "or", "nand",
          "nor", "delay", "vcr", "vccap")  # fmt: skip


def controlled(text: str, scope: Scope = NO_SCOPE) -> str:
    """An E, G, F or H source. Raises Refused."""
    taken = [word for word in words(text) if word != ","]
    letter = taken[0][0].lower()
    kind = next((w.lower() for w in taken[3:5] if w.lower() in _KINDS), "")
    if kind in ("value", "vol", "cur"):
        return _behavioural_value(text, kind, letter, scope)
    if kind == "poly":
        return _polynomial(taken, scope)
    if kind == "table":
        raise Refused("write the table as a B source with pwl(x, x1, y1, x2, y2)")
    if kind:
        raise Refused(f"Xyce has no {kind.upper()} source")
    return _linear(taken, letter, text, scope)


def _linear(taken: list[str], letter: str, text: str, scope: Scope) -> str:
    nodes = 4 if letter in "eg" else 3
    bare = [word for word in taken if word not in "()"]
    rest = bare[nodes + 1 :]
    made = bare[: nodes + 1]
    if not rest:
        raise Refused(f"'{' '.join(bare)}' has no gain")
    made.append(value(rest[0] if rest[0] != "=" else rest[1], scope, bare=False))
    multiplier = rest[rest.index("=") + 1] if "=" in rest[1:] else ""
    if multiplier:
        key = rest[rest.index("=") - 1].lower()
        if key != "m" or letter not in "gf":
            raise Refused(
                f"Xyce knows no '{key}=' of an {letter.upper()} source: put it in the gain"
            )
        gain = in_braces(made[-1]) or made[-1]
        factor = in_braces(multiplier) or multiplier
        made[-1] = f"{{({gain})*({translated(factor, scope)})}}"
    elif len(rest) > 1:
        raise Refused(f"'{rest[1]}' is no part of a controlled source that Xyce knows")
    return " ".join(made) if made != text.split() else text


def _behavioural_value(text: str, kind: str, letter: str, scope: Scope) -> str:
    match = re.match(rf"(\S+\s+\S+\s+\S+)\s+{kind}\s*=?\s*", text, re.IGNORECASE)
    if match is None or letter in "fh":
        raise Refused(f"'{text.strip()}' has no expression where Xyce looks for one")
    return f"{match[1]} value={_formula(text[match.end() :], scope)}"


def _formula(text: str, scope: Scope) -> str:
    """An expression with voltages and currents, in braces."""
    inner = in_braces(text)
    changed = translated(
        inner if inner is not None else text.strip(), scope, behavioural=True
    ).replace(BREAK, " ")
    return f"{{{changed.strip()}}}"


def _polynomial(taken: list[str], scope: Scope) -> str:
    letter = taken[0][0].lower()
    at = next(i for i, word in enumerate(taken) if word.lower() == "poly")
    bare = [word for word in taken[at + 1 :] if word not in "()"]
    if not bare or not bare[0].isdigit():
        raise Refused("POLY needs the number of its inputs: poly(1)")
    controls = int(bare[0]) * (2 if letter in "eg" else 1)
    if len(bare) < controls + 2:
        raise Refused(f"poly({bare[0]}) needs {controls} names and a coefficient at least")
    inputs = bare[1 : controls + 1]
    coefficients = [value(word, scope) for word in bare[controls + 1 :]]
    plain = all("{" not in word or re.fullmatch(r"\{\w+\}", word) for word in coefficients)
    if plain and (bare[0] == "1" or len(coefficients) <= int(bare[0]) + 1):
        return " ".join([*taken[:3], f"poly({bare[0]})", *inputs, *coefficients])
    if letter in "eg":
        variables = [f"v({a},{b})" for a, b in zip(inputs[::2], inputs[1::2], strict=True)]
    else:
        variables = [f"i({source})" for source in inputs]
    return _expanded(taken[:3], letter, variables, coefficients)


def _expanded(head: list[str], letter: str, variables: list[str], coefficients: list[str]) -> str:
    """A polynomial term by term: Xyce counts `xy` and `yx` apart."""
    terms = [
        inputs
        for order in range(len(coefficients))
        for inputs in combinations_with_replacement(variables, order)
    ]
    parts = [
        "*".join([f"({in_braces(word) or word})", *inputs])
        for word, inputs in zip(coefficients, terms, strict=False)
    ]
    formula = translated("+".join(parts), behavioural=True)
    if letter in "eg":
        return f"{' '.join(head)} value={{{formula}}}"
    return f"b{' '.join(head)} {'i' if letter == 'f' else 'v'}={{{formula}}}"


def behavioural(text: str, scope: Scope = NO_SCOPE) -> str:
    """A B source: `b1 a 0 v=...`, `i=...`. Raises Refused."""
    match = re.match(r"(\S+\s+\S+\s+\S+)\s+([vi])\s*=\s*", text, re.IGNORECASE)
    if match is None:
        raise Refused("a B source needs v=... or i=... behind its two nodes")
    body = text[match.end() :]
    options = re.search(
        r"(?<=[\s})'])(?:tc1|tc2|temp|dtemp|reciproctc|reciprocm|m)\s*=(?!=).*", body, re.I | re.S
    )
    tail = ""
    if options:
        found = words(options[0])
        if [word.lower() for word in found[:2]] != ["m", "="] or len(found) > 3:
            raise Refused(f"Xyce knows no '{found[0]}=' of a B source: put it in the expression")
        body, tail = body[: options.start()], f" m={value(found[2], scope)}"
        if match[2].lower() == "v":
            raise Refused("m= of a voltage source means nothing: remove it")
    return f"{match[1]} {match[2]}={_formula(body, scope)}{tail}"
