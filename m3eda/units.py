"""SPICE numbers in, engineering numbers out.

Numbers are read by SPICE's own rules: scale factors T G meg K mil m u n p f a directly after the
digits, in either case, `meg` and `mil` before `m`. A unit may follow the scale factor (`10pF`) or
stand after a space (`10 MHz`, `5 V/us`), where it takes SI prefixes and its exact spelling. What
SPICE and SI read differently is refused: `1M`, `10MHz`, `1A`. Every value is a float in SI units.
"""

from __future__ import annotations

import difflib
import math
import re
from decimal import Decimal, InvalidOperation, Overflow
from functools import lru_cache

_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(\s*)(.*)", re.DOTALL)

_SCALES = {"t": 12, "g": 9, "k": 3, "m": -3, "u": -6, "µ": -6, "μ": -6, "n": -9, "p": -12,
           "f": -15, "a": -18}  # fmt: skip
_PREFIXES = {"T": 12, "G": 9, "meg": 6, "M": 6, "k": 3, "m": -3, "u": -6, "µ": -6, "μ": -6,
             "n": -9, "p": -12, "f": -15, "a": -18}  # fmt: skip
_MIL = Decimal("25.4e-6")

_DIMENSIONS: dict[str, dict[str, float]] = {
    "V": {"V": 1}, "A": {"A": 1}, "s": {"s": 1}, "m": {"m": 1}, "K": {"K": 1},
    "Hz": {"s": -1}, "W": {"V": 1, "A": 1}, "J": {"V": 1, "A": 1, "s": 1}, "C": {"A": 1, "s": 1},
    "S": {"A": 1, "V": -1}, "ohm": {"V": 1, "A": -1}, "Ohm": {"V": 1, "A": -1},
    "Ω": {"V": 1, "A": -1}, "\u2126": {"V": 1, "A": -1},
    "F": {"A": 1, "s": 1, "V": -1}, "H": {"V": 1, "s": 1, "A": -1},
    "deg": {"deg": 1}, "°": {"deg": 1}, "rad": {"rad": 1}, "degC": {"degC": 1}, "°C": {"degC": 1},
    "dB": {"dB": 1}, "dBm": {"dBm": 1}, "dBc": {"dBc": 1}, "dBV": {"dBV": 1}, "bit": {"bit": 1},
    "1": {}, "%": {}, "ppm": {},
}  # fmt: skip
_FRACTIONS = {"%": -2, "ppm": -6}
_UNPREFIXED = frozenset({"deg", "°", "rad", "degC", "°C", "dB", "dBm", "dBc", "dBV", "bit", "1"})
_TERM = re.compile(
    r"\s*([/*·]?)\s*(?:(?:sqrt\(|√\(?)([^()\s]+?)\)?|([^\W\d_]+|°C?|%|\u2126|1))(\^?-?\d+)?"
    r"(?=[/*·\s]|$)"
)


class NumberError(ValueError):
    """A text that is not a number or unit; `hint` says what would be right."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class AmbiguousNumber(NumberError):
    """A number that SPICE and SI read differently, such as `1M`."""


class _Unit:
    """A unit as written: its SI spelling, power of ten and dimensions."""

    def __init__(self, text: str, exponent: float, dimensions: dict[str, float]) -> None:
        self.text = text
        self.exponent = exponent
        self.dimensions = {base: power for base, power in dimensions.items() if power}


def parse(text: str | float) -> float:
    """The number `text` in SI units, its unit dropped. Raises NumberError."""
    return parse_quantity(text)[0]


def parse_quantity(text: str | float) -> tuple[float, str]:
    """The number `text` in SI units, and its unit without prefixes ("" where none is given).

    `10 MHz` gives (1e7, "Hz"), `5 V/us` gives (5e6, "V/s"), `1%` gives (0.01, "%"). Raises
    NumberError for anything else, infinities and nan too.
    """
    if isinstance(text, bool):
        raise NumberError(f"{text} is not a number")
    if isinstance(text, (int, float)):
        return _finite(float(text), str(text)), ""
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise NumberError(f"'{text}' is not a number", "such as 10p, 4.7k, 10meg or 1e-6")
    digits, space, tail = match.groups()
    scale, exponent, unit = _spaced(text, tail) if space else _joined(text, tail)
    try:
        whole = math.floor(exponent)
        value = float(Decimal(digits) * scale * Decimal(1).scaleb(whole))
    except (InvalidOperation, Overflow):
        value = math.inf
    return _finite(value * 10.0 ** (exponent - whole), text), unit


def base_unit(text: str) -> str:
    """`text` checked as the unit of a measure or parameter. Raises NumberError.

    Values are in SI units, so a prefix or percent is refused, and so is a known unit in the wrong
    case. A word that is no known unit (`LSB`) stays as it is.
    """
    unit = _unit(text)
    if unit is None:
        known = [name for name in _DIMENSIONS if name.lower() == text.lower()]
        if known:
            raise NumberError(f"'{text}' is not a unit", f"did you mean {known[0]}?")
        return text
    if unit.exponent:
        right = "write a fraction, without a unit" if text in _FRACTIONS else f"write {unit.text}"
        raise NumberError(f"the unit '{text}' is scaled, but values are in SI units", right)
    return unit.text


def same_unit(one: str, other: str) -> bool:
    """True where two units measure the same thing: `S` and `A/V`, `V/V` and `%`."""
    first, second = _unit(one), _unit(other)
    if first is None or second is None:
        return one == other
    return first.dimensions == second.dimensions


def format_engineering(value: float, unit: str = "", digits: int = 4) -> str:
    """`value` for reading, such as `10.25 MHz`, `63.2 deg`, `4.7 k`; `parse` reads it back.

    A number without a unit takes SPICE's scale factors. Units that take no prefix (deg, dB, V/V)
    get plain numbers.
    """
    if math.isnan(value) or math.isinf(value):
        return str(value)
    known = _unit(unit) if unit else None
    if unit in _FRACTIONS:
        value /= 10.0 ** _FRACTIONS[unit]
    if unit and (known is None or not _takes_prefix(unit, known)):
        return f"{value:.{digits}g} {unit}"
    from quantiphy import Quantity

    number = Quantity(value, unit).render(prec=digits - 1, strip_zeros=True)
    return str(number) if unit else _spice_suffix(str(number))


def _spice_suffix(number: str) -> str:
    return f"{number[:-1]}meg" if number.endswith("M") else number


def _takes_prefix(text: str, unit: _Unit) -> bool:
    first = _TERM.match(text)
    plain = first is not None and first[3] is not None and first[4] is None
    return plain and bool(unit.dimensions) and first is not None and first[3] not in _UNPREFIXED


def _finite(value: float, text: str) -> float:
    if not math.isfinite(value):
        raise NumberError(f"'{text}' is not a finite number")
    return value


def _spaced(text: str, tail: str) -> tuple[Decimal, float, str]:
    """Scale, power of ten and unit of what stands after a space: a unit in its exact spelling."""
    unit = None if tail in ("m", "F") else _unit(tail)
    if unit is not None:
        return Decimal(1), unit.exponent, unit.text
    number = text.strip()[: -len(tail)].rstrip()
    if tail == "F":
        return Decimal(1), 0, "F"
    if tail.lower() == "m":
        right = f"write {number}m for milli" if tail == "m" else "meg or m?"
        raise AmbiguousNumber(f"'{text}' is ambiguous", right)
    if tail.lower() in (*_SCALES, "meg", "mil"):
        raise NumberError(f"'{tail}' after a space is not a unit", f"write {number}{tail}")
    raise NumberError(f"'{tail}' is not a unit", _nearest_unit(tail))


def _joined(text: str, tail: str) -> tuple[Decimal, float, str]:
    """Scale, power of ten and unit of what follows the digits at once, by SPICE's rules."""
    low = tail.lower()
    if low.startswith("mil") and (unit := _unit(tail[3:], prefixed=False)):
        return _MIL, 0, unit.text
    if low.startswith("meg") and (unit := _unit(tail[3:], prefixed=False)):
        return Decimal(1), 6 + unit.exponent, unit.text
    if tail == "A":
        raise AmbiguousNumber(f"'{text}' is atto in SPICE", f"write {text[:-1]} A for ampere")
    if tail and low[0] in _SCALES and (unit := _unit(tail[1:], prefixed=False)):
        if tail[0] == "M":
            raise AmbiguousNumber(f"'{text}' is ambiguous: SPICE reads M as milli", "meg or m?")
        return Decimal(1), _SCALES[low[0]] + unit.exponent, unit.text
    plain = _unit(tail, prefixed=False)
    if plain is None:
        raise NumberError(f"'{text}' is not a number: '{tail}' is neither a scale factor nor a "
                          "unit", _nearest_unit(tail))  # fmt: skip
    return Decimal(1), plain.exponent, plain.text


@lru_cache(maxsize=256)  # formulas are tried as numbers, again and again
def _nearest_unit(text: str) -> str:
    """A hint that names the known unit most like `text`, in its right case if only that is off."""
    spelled = [prefix + base for base in _DIMENSIONS for prefix in ("", *_PREFIXES)
               if base not in ("1", "%") and not (prefix and base in _UNPREFIXED)]  # fmt: skip
    same = sorted({word for word in spelled if word.lower() == text.lower()})
    near = same or difflib.get_close_matches(text, spelled, 1)
    return f"did you mean {' or '.join(near)}?" if near else "units such as V, A, Hz, s, F, ohm"


@lru_cache(maxsize=1024)
def _unit(text: str, prefixed: bool = True) -> _Unit | None:
    """`text` as a unit, None if it is none; `prefixed` allows an SI prefix on its first word."""
    exponent, dimensions, spelled, position = 0.0, dict[str, float](), "", 0
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None or bool(match[1]) != bool(position) or match.end() == position:
            return None
        word, root = match[2] or match[3], bool(match[2])
        found = _word(word, prefixed or bool(position))
        if found is None:
            return None
        power = float((match[4] or "1").lstrip("^")) * (0.5 if root else 1.0)
        sign = -1.0 if match[1] == "/" else 1.0
        base, prefix = found
        exponent += sign * power * prefix
        for name, each in _DIMENSIONS[base].items():
            dimensions[name] = dimensions.get(name, 0.0) + sign * power * each
        spelled += f"{match[1]}{f'sqrt({base})' if root else base}{match[4] or ''}"
        position = match.end()
    return _Unit(spelled, exponent, dimensions)


def _word(word: str, prefixed: bool) -> tuple[str, int] | None:
    """(known unit, power of ten) of one word of a unit."""
    if word in _DIMENSIONS:
        return word, _FRACTIONS.get(word, 0)
    if not prefixed:
        return None
    for prefix, exponent in _PREFIXES.items():
        base = word[len(prefix) :]
        if word.startswith(prefix) and base in _DIMENSIONS and base not in _UNPREFIXED:
            return (base, exponent) if base not in _FRACTIONS else None
    return None
