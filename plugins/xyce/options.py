"""`.option` and `.temp` of ngspice as the option packages of Xyce.

What only concerns how ngspice prints, stores or solves is left out, as are words that ngspice does
not know, which it passes over too. What changes results and has no like in Xyce is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from m3eda_plugins.xyce.text import Refused, assignments
from m3eda_plugins.xyce.values import in_braces, number

from m3eda.units import NumberError, parse

Evaluate = Callable[[str], float]
"""The number that an expression of known parameters is; raises Refused."""

_PACKAGES: dict[str, tuple[str, ...]] = {
    "temp": ("device temp",), "tnom": ("device tnom",), "gmin": ("device gmin",),
    "chgtol": ("device chgtol",), "defl": ("device defl",), "defw": ("device defw",),
    "defad": ("device defad",), "defas": ("device defas",), "scale": ("parser scale",),
    "reltol": ("nonlin reltol", "nonlin-tran reltol", "timeint reltol"),
    "abstol": ("nonlin abstol",), "vntol": ("timeint abstol",),
    "itl1": ("nonlin maxstep",), "itl2": ("nonlin maxstep",), "itl4": ("nonlin-tran maxstep",),
    "maxord": ("timeint maxord",),
}  # fmt: skip
_WHOLE = ("maxstep", "maxord")
_METHODS = {"trap": "7", "trapezoidal": "7", "gear": "8"}
_CHANGING = {
    "rshunt": "write the resistors into the netlist", "gshunt": "write resistors into the netlist",
    "cshunt": "write the capacitors into the netlist", "rseries": "write the resistors",
    "ramptime": "give the sources a slope", "xmu": "remove it, or write method=gear",
}  # fmt: skip
_WITHOUT_EFFECT = {"xmu": 0.5}
_TRUNCATION = 7.0  # trtol of ngspice, where the netlist has none


def options(text: str, evaluate: Evaluate) -> str:
    """The `.options` lines that an `.option` card means, in one text, divided by line ends.

    Empty where nothing is left to say. Raises Refused.
    """
    said: dict[str, dict[str, str]] = {}
    found = dict(_given(text))
    for key, word in found.items():
        if key in _CHANGING:
            _check_harmless(key, word, evaluate)
        elif key == "method":
            _say(said, "timeint method", _method(word))
        for place in _PACKAGES.get(key, ()):
            _say(said, place, _number(key, word, evaluate))
    if "trtol" in found:
        share = parse(_number("trtol", found["trtol"], evaluate)) / _TRUNCATION
        within = parse(said.get("timeint", {}).get("reltol", "1e-3"))
        _say(said, "timeint reltol", f"{within * share:.6g}", replace=True)
    return "\n".join(_written(said))


def _given(text: str) -> Iterator[tuple[str, str]]:
    """Keys in lower case with their values, '' for a flag."""
    for key, whole in assignments(text.partition(" ")[2]):
        value, *flags = [whole] if in_braces(whole) is not None else whole.split() or [""]
        yield key.lower(), value
        yield from ((flag.lower(), "") for flag in flags)


def merged(lines: Iterable[str]) -> tuple[str, ...]:
    """`.options` lines as one a package, the last value of a name in it: Xyce takes the first."""
    said: dict[str, dict[str, str]] = {}
    for line in lines:
        _, package, *pairs = line.split()
        for key, _, word in (pair.partition("=") for pair in pairs):
            said.setdefault(package, {})[key] = word
    return _written(said)


def _written(said: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    return tuple(
        f".options {package} " + " ".join(f"{key}={word}" for key, word in values.items())
        for package, values in said.items()
    )


def temperature(text: str, evaluate: Evaluate) -> str:
    """What a `.temp` card means. Raises Refused."""
    words = text.split()[1:]
    if len(words) != 1:
        raise Refused(f"'{text.strip()}' must name one temperature: write .temp 27")
    return f".options device temp={_number('temp', words[0], evaluate)}"


def _say(said: dict[str, dict[str, str]], place: str, word: str, replace: bool = False) -> None:
    package, key = place.split()
    values = said.setdefault(package, {})
    if key == "maxstep" and not replace:
        word = str(max(int(word), int(values.get(key, "0"))))
    values[key] = word


def _method(word: str) -> str:
    known = next((code for name, code in _METHODS.items() if name.startswith(word.lower())), "")
    if not word or not known:
        raise Refused(f"method={word} is no method of integration (write trap or gear)")
    return known


def _number(key: str, word: str, evaluate: Evaluate) -> str:
    """The value as a number: Xyce takes no expressions in options."""
    plain: str | None = number(word)
    inner = in_braces(word)
    if plain is None:
        if not word:
            raise Refused(f"the option {key} needs a value: write {key}=...")
        plain = f"{evaluate(inner if inner is not None else word):.15g}"
    if key.startswith("itl") or key in _WHOLE:
        return str(int(parse(plain)))
    return plain


def _check_harmless(key: str, word: str, evaluate: Evaluate) -> None:
    try:
        value = parse(_number(key, word, evaluate)) if word else None
    except NumberError:
        value = None
    if value != _WITHOUT_EFFECT.get(key, 0.0):
        raise Refused(f"Xyce has no option {key} ({_CHANGING[key]})")
