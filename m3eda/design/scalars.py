"""The scalars of the design file: every number goes through SPICE's rules, whatever YAML thinks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from m3eda.design.yamlfile import Text
from m3eda.units import AmbiguousNumber, NumberError, base_unit, parse, parse_quantity

_NUMERIC = re.compile(r"[+-]?\.?\d")
_INTEGER = re.compile(r"[+-]?\d+")
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")


@dataclass(frozen=True)
class Number:
    """A number in SI units, with the unit it was written with ("" where none)."""

    value: float
    unit: str = ""


def number(value: Any) -> Number:
    """Raises NumberError."""
    return Number(*parse_quantity(_scalar(value, "a number")))


def real(value: Any) -> float:
    """A number, its unit dropped. Raises NumberError."""
    return parse(_scalar(value, "a number"))


def integer(value: Any) -> int:
    """A whole number. Raises NumberError."""
    whole = real(value)
    if not whole.is_integer():
        raise NumberError(f"'{value}' is not a whole number")
    return int(whole)


def boolean(value: Any) -> bool:
    """Raises NumberError."""
    text = str(_scalar(value, "true or false")).lower()
    if text not in _TRUE + _FALSE:
        raise NumberError(f"'{value}' is neither true nor false")
    return text in _TRUE


def word(value: Any) -> str:
    """Text that is not empty. Raises NumberError."""
    text = str(_scalar(value, "a word")).strip()
    if not text:
        raise NumberError("is empty")
    return text


def unit(value: Any) -> str:
    """A unit without a prefix. Raises NumberError."""
    return base_unit(word(value))


def number_or_word(value: Any) -> Number | str:
    """A number; else a word, which may begin like a number only in quotes. Raises NumberError."""
    text = _scalar(value, "a number or a word")
    try:
        return number(text)
    except AmbiguousNumber:
        raise
    except NumberError as error:
        if _NUMERIC.match(str(text)) and not getattr(text, "quoted", False):
            hint = f"{error.hint}; a word that begins with a digit goes in quotes".lstrip("; ")
            raise NumberError(str(error), hint) from error
        return word(text)


def condition(value: Any) -> Number | str | list[Number]:
    """A number, a word, or a list of numbers. Raises NumberError."""
    if not isinstance(value, list):
        return number_or_word(value)
    try:
        return [number(item) for item in value]
    except AmbiguousNumber:
        raise
    except NumberError as error:
        hint = "a list of conditions holds numbers; words take a testbench each"
        raise NumberError(str(error), hint) from error


def natural(value: Any) -> Any:
    """Free data of a file as plain values: whole numbers int, others float, true and false bool.

    What only begins like a number is text. Raises AmbiguousNumber for `1M` and its like.
    """
    if isinstance(value, dict):
        return {str(key): natural(item) for key, item in value.items()}
    if isinstance(value, list):
        return [natural(item) for item in value]
    if not isinstance(value, Text) or value.quoted:
        return str(value) if isinstance(value, Text) else value
    if value in ("true", "false"):
        return value == "true"
    if _INTEGER.fullmatch(value):
        return int(value)
    try:
        return parse(value)
    except AmbiguousNumber:
        raise
    except NumberError:
        return str(value)


def _scalar(value: Any, wanted: str) -> Any:
    if value is None:
        raise NumberError("is empty", f"give {wanted}")
    if isinstance(value, (Text, str, int, float)):
        return value
    raise NumberError(
        f"must be {wanted}, not {'a list' if isinstance(value, list) else 'a mapping'}"
    )
