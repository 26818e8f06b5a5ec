"""Expressions of ngspice in Xyce's words, for `Xyce -hspice-ext all`.

ngspice reads them in two ways: numparam, which computes parameters and all that stands in braces,
and the B source. They differ in `pow`, `pwr` and in what a unit means. Xyce shares most functions,
but binds `^` weaker than `+`, `&&` no stronger than `||`, raises a negative base to its true power
where ngspice takes the absolute value, and has names of its own (`vt`, `gmin`, `dt`), so that
parameters of these names get others. An expression that means the same to both stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from difflib import get_close_matches

from m3eda_plugins.xyce.formula import Node, parsed
from m3eda_plugins.xyce.text import Refused, listed

SUFFIX = "_m3eda"
"""What a name gets that means something else to Xyce."""

RESERVED = frozenset({"vt", "freq", "gmin", "dt", "ctok", "constctok", "exp", "pi", "temp", "poly",
                      "onoise", "inoise"})  # fmt: skip
"""Names that Xyce reads as its own wherever they stand in an expression."""

_VARIABLES = frozenset({"time", "hertz", "temper"})
"""Names that B sources of ngspice share with Xyce, so that they stay."""

NUMBER = re.compile(r"((?:\d+\.?\d*|\.\d+)(?:[ed][+-]?\d+)?)([a-z_]\w*)?", re.IGNORECASE)
_WORD = re.compile(r"(?<![\w.])(?:\d[\w.]*|\.\d\w*|([A-Za-z_][\w.]*)(\s*\()?)")
_OPEN_EXPONENT = re.compile(r"(?:\d+\.?\d*|\.\d+)e", re.IGNORECASE)
SCALES = ("meg", "mil", "t", "g", "k", "m", "u", "n", "p", "f")
_PLAIN = re.compile(r"(?:t|g|k|meg|m|u|n|p|f)?(?:hz|v|s|h)?", re.IGNORECASE)
_SAFE = re.compile(r"[\w\s.+\-*/(),]*")
_SHARED = listed(
    "sqrt exp ln log log10 abs sin cos tan asin acos atan arctan sinh cosh tanh asinh acosh atanh"
    " floor ceil int sgn uramp ddt"
)
"""Functions of ngspice that Xyce computes alike."""
_RANDOM = frozenset({"agauss", "gauss", "aunif", "unif", "limit"})
_HINTS = {
    "if": "c ? a : b", "table": "pwl(x, x1, y1, ...)", "sign": "abs(x)*sgn(y)", "stp": "u(x)",
    "fmod": "a-b*floor(a/b)", "mod": "a-b*floor(a/b)", "fabs": "abs(x)", "db": "20*log10(x)",
    "round": "nint(x)", "trunc": "int(x)", "log2": "ln(x)/ln(2)",
}  # fmt: skip
_XYCE = listed(
    "v i n m p w r re img db ph if table tablefile fasttable spline akima cubic wodicka bli limit"
    " stp sgn sign fmod nint int rand unif aunif gauss agauss sdt ddt ddx pow pwr pwrs schedule"
    " uramp poly atan2"
)
"""Functions that Xyce has, so that one of the netlist's by such a name must get another."""
_CONSTANTS = {"e": "2.718281828459045", "pi": "3.141592653589793"}
_NEVER_NEGATIVE = frozenset({"sqrt", "exp", "abs", "cosh"})


@dataclass(frozen=True)
class Scope:
    """What an expression may refer to."""

    functions: Callable[[], Collection[str]] = tuple
    """Names of the netlist's own functions, lower case; asked for when one is met."""
    switches: list[frozenset[str]] | None = None
    """Takes of each random number the parameters that it is multiplied by: Xyce computes with its
    mean, so one of them must be 0. Without it random numbers are refused."""
    check: Callable[[str], None] = lambda expression: None
    """Raises Refused for an expression without a value, such as 1/0, for which Xyce takes one."""


NO_SCOPE = Scope()


def translated(text: str, scope: Scope = NO_SCOPE, *, behavioural: bool = False) -> str:
    """An expression, without its outer braces or quotes, as Xyce reads it.

    `behavioural` reads it as a B source does. Raises Refused where Xyce has no word for it.
    """
    flat = _flat(text)
    if not _differs(flat, scope, behavioural):
        return text
    made = _Writer(flat, scope, behavioural).text(parsed(flat))
    return text if _bare(made) == _bare(flat) else made


def _bare(text: str) -> str:
    return "".join(text.split()).lower()


def _flat(text: str) -> str:
    return " ".join(text.split())


def name(text: str) -> str:
    """A parameter's name as Xyce may know it."""
    return text + SUFFIX if text.lower() in RESERVED else text


def declared(text: str) -> str:
    """The name that a parameter is given, as `name` tells it. Raises Refused."""
    if text.lower() in _VARIABLES:
        raise Refused(f"Xyce has a quantity '{text.lower()}' of its own: rename the parameter")
    return name(text)


def function_name(text: str) -> str:
    """The name of a function of the netlist as Xyce may know it."""
    return text + SUFFIX if text.lower() in _XYCE else text


def scaled(match: re.Match[str], scales: tuple[str, ...]) -> str:
    """A number, matched by NUMBER, with one of these scale factors at the most."""
    digits, tail = match[1].lower().replace("d", "e"), match[2] or ""
    if _PLAIN.fullmatch(tail):
        return match[0] if digits == match[1].lower() else digits + tail
    scale = next((scale for scale in scales if tail.lower().startswith(scale)), "")
    return digits + scale


def _differs(text: str, scope: Scope, behavioural: bool) -> bool:
    """Whether the expression must be looked at: most are plain sums and products."""
    if not _SAFE.fullmatch(text) or "**" in text:
        return True
    for match in _WORD.finditer(text):
        word = match[1]
        if word is None:
            found = NUMBER.fullmatch(match[0])
            if (found is None or not _PLAIN.fullmatch(found[2] or "")) and not (
                _OPEN_EXPONENT.fullmatch(match[0])
            ):
                return True
        elif match[2]:
            if word.lower() not in _SHARED:
                return True
        elif word.lower() in RESERVED or (behavioural and word.lower() in _CONSTANTS):
            return True
    return False


_CLOSEST = 5
"""Of words, calls and what is in brackets."""
_LEFT_BOUND = (2, 3)


def _level(node: Node) -> int:
    """How closely the parts of a node are bound, alike in ngspice and in Xyce."""
    if node.kind == "unary":
        return 1
    if node.kind != "operator" or node.text in "%\\":
        return _CLOSEST
    if node.text in "+-":
        return 2
    if node.text in "*/":
        return 3
    return _CLOSEST - 1 if node.text == "^" else 0


def _factors(node: Node) -> list[str]:
    """Names of the parameters that a product has as factors."""
    if node.kind == "name":
        return [node.text.lower()]
    if node.kind == "operator" and node.text in "*/":
        return _factors(node.inner[0]) + (_factors(node.inner[1]) if node.text == "*" else [])
    return []


class _Writer:
    """Writes a tree down in Xyce's words."""

    def __init__(self, whole: str, scope: Scope, behavioural: bool) -> None:
        self._whole = whole
        self._scope = scope
        self._behavioural = behavioural
        self._factors: list[str] = []
        """Parameters that what is being written is multiplied by."""

    def text(self, node: Node) -> str:
        match node.kind:
            case "number":
                return self._number(node.text)
            case "name":
                return self._name(node.text)
            case "probe":
                return self._probe(node.text, node.inner[0].text)
            case "numparam":
                inner = _Writer(self._whole, self._scope, behavioural=False)
                return f"({inner.text(node.inner[0])})"
            case "unary":
                return self._unary(node)
            case "operator":
                return self._operator(node)
        return self._call(node)

    def _part(self, node: Node, level: int = _CLOSEST) -> str:
        """A part of a larger expression, in brackets where it binds no closer than `level`."""
        text = self.text(node)
        return text if _level(node) >= level else f"({text})"

    def _refuse(self, reason: str) -> Refused:
        return Refused(f"{reason} in '{self._whole}'")

    def _number(self, text: str) -> str:
        match = NUMBER.fullmatch(text)
        if match is None:
            hint = " (write u for micro)" if text[-1:] in "\u00b5\u03bc" else ""
            raise self._refuse(f"'{text}' is no number{hint}")
        # numparam takes mil for milli
        scales = SCALES if self._behavioural else ("meg", *SCALES[2:])
        return scaled(match, scales)

    def _name(self, text: str) -> str:
        if self._behavioural and text.lower() in _CONSTANTS:
            return _CONSTANTS[text.lower()]
        if not re.fullmatch(r"[A-Za-z_][\w.]*", text):
            raise self._refuse(f"'{text}' is no value that Xyce can compute with")
        return name(text)

    def _probe(self, kind: str, inside: str) -> str:
        names = ["0" if n.lower() == "gnd" else n for n in re.split(r"[\s,]+", inside.strip())]
        if kind.lower() == "i":
            return f"{kind}({re.sub(r'^[a-zA-Z][.](?=x)', '', names[0])})"
        if names[0] == "0":
            return f"(-{kind}({names[1]}))" if len(names) > 1 and names[1] != "0" else "0"
        return f"{kind}({names[0]})" if names[1:] == ["0"] else f"{kind}({','.join(names)})"

    def _unary(self, node: Node) -> str:
        if node.text == "-":
            return f"-{self._part(node.inner[0], _CLOSEST - 1)}"
        return f"if({self._part(node.inner[0])}==0,1,0)"

    def _operator(self, node: Node) -> str:
        left, right = node.inner
        if node.text == "^":
            return self._power(left, right)
        known = len(self._factors)
        self._factors += _factors(node) if node.text in "*/" else []
        level = _level(node)
        if left.kind == "unary" and level in _LEFT_BOUND:
            a = self.text(left)
        else:
            a = self._part(left, level if level in _LEFT_BOUND else _CLOSEST)
        b = self._part(right, level + 1 if level in _LEFT_BOUND else _CLOSEST)
        del self._factors[known:]
        if node.text == "\\":
            return f"int(({a})/({b}))"
        if node.text == "%":
            return f"fmod({a},{b})"
        sign = {"<>": "!=", "&": "&&", "|": "||"}.get(node.text, node.text)
        return f"{a}{sign}{b}"

    def _power(self, base: Node, exponent: Node) -> str:
        """ngspice takes the absolute value of the base."""
        even = exponent.kind == "number" and re.fullmatch(r"\d*[02468]", exponent.text)
        known = base.kind == "number" or (
            base.kind == "call" and base.text.lower() in _NEVER_NEGATIVE
        )
        left = self._part(base) if even or known else f"abs({self.text(base)})"
        return f"{left}**{self._part(exponent)}"

    def _call(self, node: Node) -> str:
        word = node.text.lower()
        if word not in self._scope.functions():
            made = self._known(word, node.inner)
            if made is not None:
                return made
            raise self._unknown(word)
        return f"{function_name(node.text)}({','.join(map(self.text, node.inner))})"

    def _known(self, word: str, inner: tuple[Node, ...]) -> str | None:
        """A call of a function of ngspice; None where it is none."""
        a = [self.text(node) for node in inner]
        if word in _SHARED and len(a) == 1:
            return f"{word}({a[0]})"
        if word == "?" or (word == "ternary_fcn" and len(a) == 3):
            return f"if({a[0]},{a[1]},{a[2]})"
        if word in ("min", "max") and len(a) > 1:
            return self._nested(word, a)
        if word in ("pow", "pwr") and len(a) == 2:
            # the B source and numparam have them the other way round
            if word == ("pow" if self._behavioural else "pwr"):
                return self._power(*inner)
            return f"{'pwrs' if word == 'pwr' else 'pow'}({a[0]},{a[1]})"
        if word == "pwl" and len(a) > 4 and len(a) % 2:
            return self._table(a)
        if word in _RANDOM and self._scope.switches is not None and not self._behavioural:
            self._scope.switches.append(frozenset(self._factors))
            return f"{word}({','.join(a)})"
        return self._of_one(word, a[0]) if len(a) == 1 else None

    @staticmethod
    def _nested(word: str, a: list[str]) -> str:
        made = a[-1]
        for argument in reversed(a[:-1]):
            made = f"{word}({argument},{made})"
        return made

    @staticmethod
    def _table(a: list[str]) -> str:
        """ngspice goes on along the first and the last line, Xyce stays at the end points."""
        x, points = a[0], [f"({p})" for p in a[1:]]
        ends = []
        for function, (x0, y0, x1, y1), at in (
            ("min", points[:4], points[0]),
            ("max", points[-4:], points[-2]),
        ):
            ends.append(f"{function}(({x})-{at},0)*({y1}-{y0})/({x1}-{x0})")
        return f"(table({','.join(a)})+{'+'.join(ends)})"

    @staticmethod
    def _of_one(word: str, a: str) -> str | None:
        compared = {"eq0": "==", "ne0": "!=", "gt0": ">", "lt0": "<", "ge0": ">=", "le0": "<="}
        if word in compared:
            return f"if(({a}){compared[word]}0,1,0)"
        half_up = f"floor(({a})+0.5)"
        # a half goes to the even neighbour in ngspice, away from zero in Xyce
        odd = f"({half_up}-2*floor({half_up}/2))"
        return {
            "sqr": f"(({a})**2)",
            "u": f"(stp({a})+if(({a})==0,0.5,0))",
            "u2": f"limit({a},0,1)",
            "nint": f"({half_up}-if(({a})+0.5=={half_up},{odd},0))",
        }.get(word)

    def _unknown(self, word: str) -> Refused:
        if word == "limit" and self._behavioural:
            return self._refuse("ngspice draws limit() at random: write min(max(x, a), b)")
        if word in _RANDOM:
            return self._refuse(f"Xyce takes the mean of a random number: remove {word}()")
        if word in _HINTS:
            return self._refuse(f"ngspice has no function {word} (write {_HINTS[word]})")
        known = [*_SHARED, "min", "max", "pow", "pwr", "nint", *self._scope.functions()]
        near = get_close_matches(word, known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        return self._refuse(f"no function {word} is known{hint}")
