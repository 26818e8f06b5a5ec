"""SPICE numbers in, engineering numbers out."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3eda.units import (
    AmbiguousNumber,
    NumberError,
    base_unit,
    format_engineering,
    parse,
    parse_quantity,
    same_unit,
)

SUFFIXES = {
    "t": 1e12, "g": 1e9, "meg": 1e6, "k": 1e3, "m": 1e-3, "mil": 25.4e-6, "u": 1e-6, "µ": 1e-6,
    "n": 1e-9, "p": 1e-12, "f": 1e-15,
}  # fmt: skip

finite = st.floats(allow_nan=False, allow_infinity=False)
everyday = st.floats(1e-17, 9e13) | st.floats(-9e13, -1e-17)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10.0),
        ("-40", -40.0),
        ("+.5", 0.5),
        ("010", 10.0),
        ("1e6", 1e6),
        ("1e-6", 1e-6),
        ("1.0E6", 1e6),
        ("10p", 10e-12),
        ("0.1u", 0.1e-6),
        ("1k", 1e3),
        ("10meg", 1e7),
        ("10MEG", 1e7),
        ("10Meg", 1e7),
        ("5mil", 127e-6),
        ("1m", 1e-3),
        ("2.5K", 2500.0),
        ("1F", 1e-15),
        ("3G", 3e9),
        ("1e3k", 1e6),
        ("1%", 0.01),
        ("50 ppm", 50e-6),
        (" 3 ", 3.0),
        (7, 7.0),
        (0.25, 0.25),
    ],
)
def test_a_number_is_read_by_spices_rules(text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("10pF", 10e-12, "F"),
        ("10megHz", 1e7, "Hz"),
        ("10 MHz", 1e7, "Hz"),
        ("10 mHz", 0.01, "Hz"),
        ("60 deg", 60.0, "deg"),
        ("60deg", 60.0, "deg"),
        ("300 uA", 300e-6, "A"),
        ("1 F", 1.0, "F"),
        ("4.7kohm", 4700.0, "ohm"),
        ("10 kΩ", 1e4, "Ω"),
        ("5 V/us", 5e6, "V/s"),
        ("5V/us", 5e6, "V/s"),
        ("10 fF/um^2", 0.01, "F/m^2"),
        ("0.5 um2", 0.5e-12, "m2"),
        ("10 nV/sqrt(Hz)", 10e-9, "V/sqrt(Hz)"),
        ("10 nV/√Hz", 10e-9, "V/sqrt(Hz)"),
        ("80dB", 80.0, "dB"),
        ("300K", 300e3, ""),
        ("300 K", 300.0, "K"),
        ("99.7%", 0.997, "%"),
    ],
)
def test_a_unit_may_follow(text, value, unit):
    assert parse_quantity(text) == (pytest.approx(value, rel=1e-15), unit)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("1M", "meg or m?"),
        ("10MHz", "meg or m?"),
        ("10 M", "meg or m?"),
        ("10 m", "write 10m for milli"),
        ("1A", "write 1 A for ampere"),
    ],
)
def test_what_spice_and_si_read_differently_is_refused(text, hint):
    with pytest.raises(AmbiguousNumber) as caught:
        parse(text)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    "text",
    ["", "ten", "inf", "-inf", ".inf", "nan", "1e999", "0x10", "1_000", "1,5", "1e", "2n2222",
     "10 k", "10 mhz", "10pf", "1 LSB", "10 V /", "--1", True],
)  # fmt: skip
def test_what_is_no_number_is_refused(text):
    with pytest.raises(NumberError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [("10 mhz", "did you mean MHz or mHz?"), ("10pf", "did you mean pF?"), ("4.7 k", "write 4.7k")],
)
def test_a_misspelt_unit_gets_the_right_one(text, hint):
    with pytest.raises(NumberError) as caught:
        parse(text)
    assert caught.value.hint == hint


@given(finite)
def test_every_float_is_read_back_exactly(value):
    assert parse(repr(value)) == value


@given(st.integers(-99999, 99999), st.sampled_from(sorted(SUFFIXES)), st.booleans())
def test_a_suffix_scales(mantissa, suffix, upper):
    written = suffix.upper() if upper and suffix not in ("m", "µ") else suffix
    assert parse(f"{mantissa}{written}") == pytest.approx(mantissa * SUFFIXES[suffix], rel=1e-14)


@given(everyday, st.sampled_from(["", "V", "Hz", "F", "ohm", "V/s", "deg", "dB", "V/V", "m^2"]))
def test_what_is_formatted_is_read_back(value, unit):
    text = format_engineering(value, unit, digits=15)
    assert parse(text) == pytest.approx(value, rel=1e-13)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.025e7, "Hz", "10.25 MHz"),
        (1e7, "", "10meg"),
        (4700.0, "", "4.7k"),
        (63.2468, "deg", "63.25 deg"),
        (1234.5, "V/V", "1234 V/V"),
        (3e-13, "F", "300 fF"),
        (6e6, "V/s", "6 MV/s"),
        (1e-11, "m^2", "1e-11 m^2"),
        (0.0, "A", "0 A"),
        (0.05, "%", "5 %"),
        (12.0, "LSB", "12 LSB"),
        (math.nan, "V", "nan"),
        (-math.inf, "V", "-inf"),
    ],
)
def test_numbers_are_written_for_reading(value, unit, text):
    assert format_engineering(value, unit) == text


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("S", "A/V", True),
        ("V/V", "%", True),
        ("1/s", "Hz", True),
        ("W", "V*A", True),
        ("ohm", "Ω", True),
        ("V", "A", False),
        ("V/V", "dB", False),
        ("deg", "rad", False),
        ("LSB", "LSB", True),
        ("LSB", "V", False),
    ],
)
def test_units_agree_by_what_they_measure(one, other, same):
    assert same_unit(one, other) is same
    assert same_unit(other, one) is same


@pytest.mark.parametrize("text", ["V", "V/V", "V/sqrt(Hz)", "m^2", "LSB", "deg"])
def test_a_unit_of_a_measure_stays_as_written(text):
    assert base_unit(text) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("MHz", "write Hz"),
        ("V/us", "write V/s"),
        ("%", "write a fraction, without a unit"),
        ("hz", "did you mean Hz?"),
    ],
)
def test_a_scaled_or_misspelt_unit_of_a_measure_is_refused(text, hint):
    with pytest.raises(NumberError) as caught:
        base_unit(text)
    assert caught.value.hint == hint
