"""Values on the cards of a netlist: numbers, and expressions in braces or quotes."""

from __future__ import annotations

import re

from m3eda_plugins.xyce.expressions import (
    NO_SCOPE,
    NUMBER,
    RESERVED,
    SCALES,
    Scope,
    scaled,
    translated,
)

_MAY_FAIL = re.compile(r"/|\b(?:sqrt|ln|log|log10|asin|acos|pow)\s*\(", re.IGNORECASE)
_VOLTAGE = re.compile(r"(?<![\w.])[vi]\s*\(", re.IGNORECASE)


def number(text: str) -> str | None:
    """A number of a device's line with a scale factor that Xyce knows; None where it is none.

    ngspice reads letters behind the scale factor as a unit, an unknown one as no factor at all:
    `10a` and `10x` are 10, which Xyce takes for atto and mega.
    """
    sign = text[:1] if text[:1] in ("+", "-") else ""
    match = NUMBER.fullmatch(text[len(sign) :])
    return None if match is None else sign + scaled(match, SCALES)


def in_braces(text: str) -> str | None:
    """The expression within braces or quotes; None where the text is not in them."""
    text = text.strip()
    pairs = {"{": "}", "'": "'", '"': '"'}
    if len(text) < 2 or pairs.get(text[0]) != text[-1]:
        return None
    inner = text[1:-1]
    # `{a} + {b}` is an expression with braces, not one in them
    lone = inner.count(text[0]) if text[0] != "{" else not _balanced(inner)
    return None if lone else inner


def _balanced(text: str) -> bool:
    depth = 0
    for char in text:
        depth += (char == "{") - (char == "}")
        if depth < 0:
            return False
    return depth == 0


def value(text: str, scope: Scope = NO_SCOPE, *, bare: bool = True) -> str:
    """A value of a device, a model or a parameter: a number, or an expression in braces.

    Parts of an expression may be in braces or quotes of their own, as numparam takes them.

    `bare` leaves a parameter's name without braces, where Xyce takes it so. Raises Refused.
    """
    inner = in_braces(text)
    # what follows voltages is a B source to ngspice, wherever it stands
    behavioural = bool(_VOLTAGE.search(text))
    expression = inner if inner is not None else text
    if inner is None:
        plain = number(text)
        if plain is not None:
            return plain
        if bare and re.fullmatch(r"[A-Za-z_]\w*", text) and text.lower() not in RESERVED:
            return text
    if not behavioural and _MAY_FAIL.search(expression):
        scope.check(expression)
    changed = translated(expression, scope, behavioural=behavioural)
    if changed == inner and text[0] in "{'":
        return text
    return f"{{{changed.strip()}}}"
