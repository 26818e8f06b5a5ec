"""Who uses whom: names in expressions, functions and their arguments, cycles."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Iterable, Mapping

from m3eda.design.expressions import CONSTANTS, MATH_FUNCTIONS, Expression
from m3eda.design.functions import FunctionTable, absence
from m3eda.design.problems import Problems
from m3eda.design.tokens import NOISE_VECTORS
from m3eda.design.yamlfile import KeyPath, nearest

RESERVED = frozenset({"corner", "technology", "true", "false", "none", *CONSTANTS, *NOISE_VECTORS})

_SECTIONS = ("parameters", "conditions", "measures")


def check_name(name: str, path: KeyPath, taken: Mapping[str, str], problems: Problems) -> None:
    """Note a name that expressions or templates could not use, or that something else has."""
    if name in RESERVED or keyword.iskeyword(name):
        problems.add(path, f"'{name}' is a reserved word", "choose another name", of_key=True)
    elif name in taken:
        problems.add(path, f"'{name}' is already the name of a {taken[name]}",
                     "choose another name", of_key=True)  # fmt: skip


def check_names(
    expression: Expression, path: KeyPath, known: Iterable[str], problems: Problems
) -> None:
    """Note each name in the expression at `path` that is not among `known`."""
    if any(problems.is_broken(section) for section in _SECTIONS):
        return
    names = set(known)
    for name in expression.names:
        if name in names or any(problems.is_broken(section, name) for section in _SECTIONS):
            continue
        hint = nearest(name, names) or "a parameter, condition or measure"
        problems.add(path, f"'{name}' is not known here", hint,
                     shift=problems.shift(path, expression.columns.get(name)))  # fmt: skip


def check_calls(
    expression: Expression, path: KeyPath, functions: FunctionTable, problems: Problems
) -> None:
    """Note each function in the expression at `path` that is unknown or called wrongly."""
    for name, count, keywords in expression.shapes:
        shift = problems.shift(path, expression.columns.get(name))
        if name not in functions and name not in MATH_FUNCTIONS:
            hint = nearest(name, {**functions, **MATH_FUNCTIONS}) or "see the list of measures"
            hint = "; ".join(filter(None, [hint, absence(functions, name)]))
            problems.add(path, f"no function is called '{name}'", hint, shift=shift)
            continue
        function = functions[name].function if name in functions else MATH_FUNCTIONS[name]
        try:
            signature = inspect.signature(function)
            signature.bind(*[None] * count, **dict.fromkeys(keywords))
        except TypeError as error:
            problems.add(path, f"{name}: {error}", f"{name}{_shown(signature)}", shift=shift)


def _shown(signature: inspect.Signature) -> str:
    """The arguments as the designer writes them, without types."""
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(plain))


def check_cycles(
    uses: Mapping[str, Iterable[str]], section: str, key: str, problems: Problems
) -> None:
    """Note each cycle among the entries of `section` once, at its first member's `key`."""
    done: set[str] = set()
    for start in uses:
        chain: list[str] = []
        cycle = _cycle(start, uses, chain, done)
        if cycle:
            problems.add((section, cycle[0], key), f"depends on itself: {' -> '.join(cycle)}")
            done.update(cycle)


def _cycle(
    name: str, uses: Mapping[str, Iterable[str]], chain: list[str], done: set[str]
) -> list[str]:
    """The first cycle reached from `name`, closed (a, b, a); empty where there is none."""
    if name in chain:
        loop = chain[chain.index(name) :]
        first = min(range(len(loop)), key=lambda i: list(uses).index(loop[i]))
        return [*loop[first:], *loop[:first], loop[first]]
    if name in done or name not in uses:
        return []
    chain.append(name)
    for other in uses[name]:
        cycle = _cycle(other, uses, chain, done)
        if cycle:
            return cycle
    chain.pop()
    done.add(name)
    return []
