"""`.model` cards of ngspice in Xyce's words: types, levels, switches."""

from __future__ import annotations

import re
from collections.abc import Mapping

from m3eda_plugins.xyce.expressions import NO_SCOPE, Scope
from m3eda_plugins.xyce.text import Refused, assignments, listed
from m3eda_plugins.xyce.values import in_braces, number, value

from m3eda.units import NumberError, parse

_MODEL = re.compile(r"(\.model\s+)(\S+)(\s+)([A-Za-z]\w*)(?=[\s(]|$)", re.IGNORECASE)
_LEVEL = re.compile(r"(\blevel\s*=\s*)([^\s),]+)", re.IGNORECASE)
_MOS_LEVELS = {1: "", 2: "", 3: "", 6: "", 8: "9", 49: "", 14: "", 54: "", 57: ""}
"""MOS levels of ngspice that Xyce has, with Xyce's number where it is another."""
_LEVELS = {kind: {1: ""} for kind in ("d", "npn", "pnp", "njf", "pjf", "nmf", "pmf")}
_TYPES = listed("r res c cap l d npn pnp njf pjf nmf pmf nmos pmos sw csw ltra")
_SWITCHED = {"sw": ("vswitch", "v"), "csw": ("iswitch", "i")}
_SPAN = {"v": 1e-3, "i": 1e-6}
"""V or A from off to on of a switch without hysteresis, which Xyce's smooth ones need."""
_RENAMED: Mapping[str, Mapping[str, str]] = {
    "d": {"tref": "tnom", "pb": "vj", "mj": "m", "ib": "ibv"},
    "bjt": {"tref": "tnom", "c4": "isc"}, "njf": {"vt0": "vto"}, "nmf": {"vt0": "vto"},
    "r": {"tc1r": "tc1", "tc2r": "tc2", "w": "defw"},
    "c": {"cox": "cj", "capsw": "cjsw", "w": "defw"},
}  # fmt: skip
"""Names of parameters that Xyce has under another one, and passes over."""
_TEMPERATURE = " ".join(
    f"t{name}1 t{name}2"
    for name in sorted(
        listed("bf br ikf ikr irb nc ne nf nr rb rc re rm vaf var itf tf tr mje mjc mjs ns is ise"
               " isc iss")
    )
)  # fmt: skip
_LACKING: Mapping[str, frozenset[str]] = {
    "d": listed("ik ikf ikr isr ttt1 ttt2 tm1 tm2 tlev tlevc cta ctc ctp tpb tvj tphp jtun jtunsw"
                " tcv lm lp wm wp rth0"),
    "bjt": listed(f"{_TEMPERATURE} trb trc tre ctc cte cts tvjc tvje tvjs ibe ibc iss rco ptf tlev"
                  " tlevc quasimod rth0 subs"),
    "njf": listed("tcv vtotc bex betatce xti eg"), "nmf": listed("cgs cgd"),
    "mos": listed("xl wd xw delvto delvt0 xd alpha input_delta"),
    "r": listed("dw narrow short dlr r res l"),
    "c": listed("narrow short del di thick cap l defl"),
    "l": listed("ind csect dia length nt mu"),
}  # fmt: skip
"""Parameters that change ngspice's results, and which Xyce passes over or means otherwise."""
_LACKING_IN_NOISE: Mapping[str, frozenset[str]] = {
    "njf": listed("kf nlev gdsnoi"), "nmf": listed("kf"), "r": listed("kf"),
}  # fmt: skip
_NEUTRAL = {
    ("bjt", "subs"): 1.0,
    ("njf", "xti"): 3.0,
    ("njf", "eg"): 1.11,
    ("njf", "nlev"): 2.0,
    ("njf", "gdsnoi"): 1.0,
}
"""Values at which such a parameter means nothing, where it is not 0."""
_FAMILIES = {"npn": "bjt", "pnp": "bjt", "pjf": "njf", "pmf": "nmf", "nmos": "mos", "pmos": "mos",
             "res": "r", "cap": "c"}  # fmt: skip
_OLD_MOS = re.compile(r"\blevel\s*=\s*[1236]\b", re.IGNORECASE)
_SUBSTRATE = re.compile(r"\b(?:cjs|csub|ccs)\s*=\s*(?!0\s|0$)", re.IGNORECASE)
_VERTICAL = re.compile(r"\bsubs\s*=\s*1\b", re.IGNORECASE)
_COMMA = re.compile(r"\s*,\s*(?=[A-Za-z_]\w*\s*=)")
_PARAMETER = re.compile(
    r"(?<![\w.])([A-Za-z_][\w]*)(\s*=\s*)(\{[^{}]*\}|'[^']*'|\"[^\"]*\"|[^\s),]+)"
)


def model(text: str, scope: Scope = NO_SCOPE, *, noise: bool = False) -> str:
    """A `.model` card; `noise` is whether the deck has a noise analysis. Raises Refused."""
    match = _MODEL.match(text)
    if match is None:
        raise Refused(f"'{' '.join(text.split()[:4])}' is no model: write .model name type (...)")
    kind = match[4].lower()
    if kind in _SWITCHED:
        return _switch(match, text, scope)
    if kind not in _TYPES:
        raise Refused(f"Xyce has no model of type '{match[4]}'")
    head, body = text[: match.end()], _COMMA.sub(" ", text[match.end() :])
    family = _FAMILIES.get(kind, kind)
    if family != "mos" or _OLD_MOS.search(body):
        body = _parameters(family, match[2], body, noise)
    if kind == "pnp" and _SUBSTRATE.search(body) and not _VERTICAL.search(body):
        raise Refused(f"Xyce's transistors are vertical: write subs=1 into model {match[2]}")
    return head + _values(_level(kind, body), scope)


def _parameters(family: str, name: str, body: str, noise: bool) -> str:
    """The parameters under the names that Xyce knows. Raises Refused where it lacks one."""
    lacking = _LACKING.get(family, frozenset())
    if noise:
        lacking |= _LACKING_IN_NOISE.get(family, frozenset())
    renamed = _RENAMED.get(family, {})

    def one(match: re.Match[str]) -> str:
        key = match[1].lower()
        if key in lacking and not _is_neutral(match[3], _NEUTRAL.get((family, key), 0.0)):
            raise Refused(f"Xyce has no {key}= as ngspice means it: take it out of model {name}")
        return f"{renamed.get(key, match[1])}{match[2]}{match[3]}"

    return _PARAMETER.sub(one, body)


def _is_neutral(word: str, neutral: float) -> bool:
    plain = number(in_braces(word) or word)
    return plain is not None and parse(plain) == neutral


def _level(kind: str, body: str) -> str:
    found = _LEVEL.search(body)
    if found is None:
        return body
    known = _MOS_LEVELS if kind in ("nmos", "pmos") else _LEVELS.get(kind)
    if known is None:
        return body
    try:
        level = int(parse(found[2]))
    except NumberError:
        raise Refused(f"the level of a model must be a number: level={found[2]}") from None
    if level not in known:
        raise Refused(f"Xyce has no {kind} model that is ngspice's level {level}")
    if not known[level]:
        return body
    return f"{body[: found.start()]}{found[1]}{known[level]}{body[found.end() :]}"


def _values(body: str, scope: Scope) -> str:
    """The parameters' values: numbers with units that Xyce knows, expressions in braces."""

    def one(match: re.Match[str]) -> str:
        key, word = match[1].lower(), match[3]
        if key == "version" or (word[0] == '"' and not _is_formula(word[1:-1])):
            return match[0]
        if re.fullmatch(r"[A-Za-z_]\w*", word):
            return f"{match[1]}{match[2]}{{{value(word, scope)}}}".replace("{{", "{").replace(
                "}}", "}"
            )
        return f"{match[1]}{match[2]}{value(word, scope)}"

    return _PARAMETER.sub(one, body)


def _is_formula(text: str) -> bool:
    return number(text.strip()) is not None or bool(re.search(r"[-+*/()]", text))


def _switch(match: re.Match[str], text: str, scope: Scope) -> str:
    """A switch without hysteresis, from threshold to on within `_SPAN`."""
    kind, letter = _SWITCHED[match[4].lower()]
    body = text[match.end() :].strip().strip("()")
    found = {key.lower(): word for key, word in assignments(body)}
    threshold = found.pop(f"{letter}t", "0")
    hysteresis = number(found.pop(f"{letter}h", "0"))
    if hysteresis is None or parse(hysteresis) != 0.0:
        raise Refused(
            f"Xyce's switches have no hysteresis: write {letter}h=0, or a B source",
        )
    on, off = found.pop("ron", "1"), found.pop("roff", "1e12")
    if found:
        raise Refused(f"Xyce knows no '{next(iter(found))}=' of a switch")
    inner = in_braces(threshold)
    at = inner if inner is not None else threshold
    half = f"{_SPAN[letter] / 2:g}"
    return (
        f"{match[1]}{match[2]} {kind} {letter}on={{({at})+{half}}} {letter}off={{({at})-{half}}}"
        f" ron={value(on, scope)} roff={value(off, scope)}"
    )
