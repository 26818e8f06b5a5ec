"""`.meas` cards of ngspice in Xyce's words.

Xyce has the same measures under the same words, but wants a value behind an equals sign
(`v(a)=0.1`, not `v(a) val=0.1`), no name that is one of its own words, and counts crossings alike.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from m3eda_plugins.xyce.expressions import NO_SCOPE, Scope, translated
from m3eda_plugins.xyce.text import Refused, words
from m3eda_plugins.xyce.values import in_braces, value

from m3eda.simulate.types import AnalysisKind

PREFIX = "m3eda_"
"""Put before the name of a measure, so that none is one of Xyce's words."""

_KINDS: dict[str, AnalysisKind] = {"ac": "ac", "dc": "dc", "tran": "tran", "noise": "noise"}
_STATISTICS = {"avg": "avg", "max": "max", "min": "min", "pp": "pp", "rms": "rms",
               "integ": "integ", "integral": "integ"}  # fmt: skip
_LIMITS = ("from", "to", "td", "rise", "fall", "cross", "at")
_PROBE = re.compile(r"(?:v|i)(?:[rimp]|db)?\s*\([^()]*\)", re.IGNORECASE)
_WHOLE = re.compile(rf"'[^']*'|\"[^\"]*\"|\{{[^{{}}]*\}}|(?<!\w){_PROBE.pattern}", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Measure:
    """A `.meas` card."""

    kind: AnalysisKind
    name: str
    """Lower case, as the netlist has it."""
    line: int
    """Index of its first line."""
    text: str
    """For Xyce, its name with PREFIX; empty where it cannot be said."""
    reason: str = ""
    """Why it cannot be said."""

    @property
    def card(self) -> str:
        """The card. Raises SimulationFailed where Xyce has no such measure."""
        if not self.text:
            raise Refused(self.reason, self.line).failure()
        return self.text


def measure(
    text: str,
    line: int,
    scope: Scope = NO_SCOPE,
    others: Collection[str] = (),
    first_point: str = "",
) -> Measure:
    """A `.meas` card; one that Xyce cannot be told keeps the reason. Raises Refused.

    `others` are the names of all measures, lower case, which `param=` may refer to; what Xyce has
    before `first_point`, s, of a transient does not count.
    """
    taken = text.split()
    if len(taken) < 4 or not _NAME.fullmatch(taken[2].replace(".", "_")):
        raise Refused(f"'{' '.join(taken)}' is no measure: write .meas tran name max v(out)", line)
    kind, name = taken[1].lower(), taken[2].lower()
    if kind not in _KINDS:
        raise Refused(f"ngspice has no measure of a {taken[1]} analysis", line)
    rest = re.split(r"\s+", text.strip(), maxsplit=3)[3]
    try:
        first_point = first_point if kind == "tran" else ""
        body = _Body(rest, kind, scope, others, first_point).text()
        made = f".measure {kind} {PREFIX}{name} {body}"
        return Measure(_KINDS[kind], name, line, made)
    except Refused as reason:
        return Measure(_KINDS[kind], name, line, "", f".meas {name}: {reason.reason}")


class _Body:
    """What stands behind the name, read word by word."""

    def __init__(
        self, text: str, kind: str, scope: Scope, others: Collection[str], first_point: str
    ) -> None:
        self._kind = kind
        self._first_point = first_point
        self._others = others
        self._scope = scope
        self._words = [w for w in _split(text) if w != ","]
        self._place = 0

    def text(self) -> str:
        first = self._take().lower()
        if first in ("param", "par"):
            return self._parameter()
        if first in _STATISTICS:
            word = _STATISTICS[first]
            made = [word, self._quantity(), *self._limits(("from", "to"))]
            return " ".join(self._from(made, "from"))
        if first == "trig":
            trig = self._edge("trig")
            if self._take().lower() != "targ":
                raise Refused("trig needs a targ behind it")
            return f"{trig} {self._edge('targ')}"
        if first in ("find", "deriv", "derivative"):
            word = "find" if first == "find" else "deriv"
            return f"{word} {self._quantity()} {self._where()}"
        if first == "when":
            self._place -= 1
            return self._where()
        if first in ("min_at", "max_at"):
            raise Refused(f"Xyce has no {first}: measure it with an expression (expr)")
        raise Refused(f"Xyce has no measure '{first}'")

    def _take(self) -> str:
        if self._place == len(self._words):
            raise Refused("it ends early")
        self._place += 1
        return self._words[self._place - 1]

    def _peek(self, ahead: int = 0) -> str:
        at = self._place + ahead
        return self._words[at].lower() if at < len(self._words) else ""

    def _parameter(self) -> str:
        if self._peek() == "=":
            self._take()
        whole = self._take()
        inner = in_braces(whole)
        expression = translated(inner if inner is not None else whole, self._scope)
        if self._place < len(self._words):
            raise Refused(f"'{self._words[self._place]}' is too much behind param=")
        named = _NAME.sub(
            lambda m: PREFIX + m[0].lower() if m[0].lower() in self._others else m[0], expression
        )
        return f"param={{{named}}}"

    def _quantity(self) -> str:
        word = self._take()
        if word.lower() == "par" and self._peek() == "(":
            self._take()
            inner = in_braces(self._take())
            if self._take() != ")" or inner is None:
                raise Refused("write par('...')")
            return self._formula(inner)
        if _PROBE.fullmatch(word):
            return self._probe(word)
        if word.lower() in ("onoise_spectrum", "inoise_spectrum"):
            raise Refused("Xyce measures noise in V^2/Hz: use an expression (expr) instead")
        raise Refused(f"'{word}' is no quantity that Xyce measures")

    def _probe(self, word: str) -> str:
        function = word.partition("(")[0].strip().lower()
        said: str = translated(word, self._scope)
        if self._kind == "ac" and function in ("v", "i"):
            # ngspice measures the real part
            return f"{function}r{said[1:]}"
        if self._kind == "ac" and function in ("vp", "ip"):
            # in degrees in Xyce, in radians in ngspice
            return f"{{{said}*3.141592653589793/180}}"
        return said

    def _formula(self, inner: str) -> str:
        """What ngspice measures by a B source: an expression of voltages."""
        if self._kind == "ac":
            raise Refused("an expression in an AC measure is not linear in Xyce: use expr")
        return f"{{{translated(inner, self._scope, behavioural=True)}}}"

    def _edge(self, word: str) -> str:
        if self._peek() == "at":
            return f"{word} {self._limit()}"
        made = [word, self._condition(), *self._limits(("td", "rise", "fall", "cross"))]
        return " ".join(self._from(made, "td"))

    def _where(self) -> str:
        if self._peek() == "at":
            return self._limit()
        if self._take().lower() != "when":
            raise Refused("find needs at=... or when ... behind it")
        made = ["when", self._condition(), *self._limits(("from", "to", "td", *_LIMITS[3:6]))]
        return " ".join(self._from(made, "td"))

    def _from(self, made: list[str], key: str) -> list[str]:
        """The words, with where the transient begins where they do not say so themselves."""
        said = any(word.startswith(("from=", "td=")) for word in made[1:])
        return [*made, f"{key}={self._first_point}"] if self._first_point and not said else made

    def _condition(self) -> str:
        """`v(a)=0.5`, `v(a) val=0.5` or `v(a)=v(b)`."""
        quantity = self._quantity()
        if self._peek() == "val":
            self._take()
        if self._peek() == "=":
            self._take()
        word = self._take()
        if _PROBE.fullmatch(word):
            return f"{quantity}={self._probe(word)}"
        return f"{quantity}={value(word, self._scope, bare=False)}"

    def _limit(self) -> str:
        key = self._take().lower()
        if self._peek() == "=":
            self._take()
        word = self._take()
        if word.lower() == "last":
            return f"{key}=last"
        return f"{key}={value(word, self._scope, bare=False)}"

    def _limits(self, allowed: tuple[str, ...]) -> list[str]:
        found = []
        while self._peek() in allowed:
            found.append(self._limit())
        if self._place < len(self._words) and self._peek() != "targ":
            raise Refused(f"'{self._words[self._place]}' is no part of a measure that Xyce knows")
        return found


def _split(text: str) -> list[str]:
    """Words, a probe such as `v(a, b)` being one."""
    found: list[str] = []
    place = 0
    for match in _WHOLE.finditer(text):
        found += words(text[place : match.start()])
        found.append(match[0] if match[0][0] in "'\"{" else "".join(match[0].split()))
        place = match.end()
    return [*found, *words(text[place:])]
