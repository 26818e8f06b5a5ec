"""`.model` cards of ngspice in Xyce's words: types, levels, switches."""

from __future__ import annotations

import re

from m3eda_plugins.xyce.expressions import NO_SCOPE, Scope
from m3eda_plugins.xyce.text import Refused, assignments, listed
from m3eda_plugins.xyce.values import in_braces, number, value

from m3eda.units import NumberError, parse

_MODEL = re.compile(r"(\.model\s+)(\S+)(\s+)([A-Za-z]\w*)(?=[\s(]|$)", re.IGNORECASE)
_LEVEL = re.compile(r"(\blevel\s*=\s*)([^\s)]+)", re.IGNORECASE)
_MOS_LEVELS = {1: "", 2: "", 3: "", 6: "", 8: "9", 49: "", 14: "", 54: "", 57: ""}
"""MOS levels of ngspice that Xyce has, with Xyce's number where it is another."""
_LEVELS = {kind: {1: ""} for kind in ("d", "npn", "pnp", "njf", "pjf", "nmf", "pmf")}
_TYPES = listed("r res c cap l d npn pnp njf pjf nmf pmf nmos pmos sw csw ltra")
_SWITCHED = {"sw": ("vswitch", "v"), "csw": ("iswitch", "i")}
_SPAN = 1e-3
"""V or A from off to on of a switch without hysteresis, which Xyce's smooth ones need."""
_PARAMETER = re.compile(
    r"(?<![\w.])([A-Za-z_][\w]*)(\s*=\s*)(\{[^{}]*\}|'[^']*'|\"[^\"]*\"|[^\s)]+)"
)


def model(text: str, scope: Scope = NO_SCOPE) -> str:
    """A `.model` card. Raises Refused."""
    match = _MODEL.match(text)
    if match is None:
        raise Refused(f"'{' '.join(text.split()[:4])}' is no model: write .model name type (...)")
    kind = match[4].lower()
    if kind in _SWITCHED:
        return _switch(match, text, scope)
    if kind not in _TYPES:
        raise Refused(f"Xyce has no model of type '{match[4]}'")
    head, body = text[: match.end()], text[match.end() :]
    return head + _values(_level(kind, body), scope)


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
    return (
        f"{match[1]}{match[2]} {kind} {letter}on={{({at})+{_SPAN / 2:g}}}"
        f" {letter}off={{({at})-{_SPAN / 2:g}}} ron={value(on, scope)} roff={value(off, scope)}"
    )
