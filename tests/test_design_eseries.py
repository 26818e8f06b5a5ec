"""Preferred values of IEC 60063."""

from __future__ import annotations

import pytest

from m3eda.design.eseries import SERIES, mantissas, values_between

E12 = (100, 120, 150, 180, 220, 270, 330, 390, 470, 560, 680, 820)
E48 = (100, 105, 110, 115, 121, 127, 133, 140, 147, 154, 162, 169, 178, 187, 196, 205, 215, 226,
       237, 249, 261, 274, 287, 301, 316, 332, 348, 365, 383, 402, 422, 442, 464, 487, 511, 536,
       562, 590, 619, 649, 681, 715, 750, 787, 825, 866, 909, 953)  # fmt: skip


@pytest.mark.parametrize("series", SERIES)
def test_a_series_has_as_many_values_as_its_name_says(series):
    values = mantissas(series)
    assert len(set(values)) == int(series[1:])
    assert list(values) == sorted(values)
    assert values[0] == 100
    assert values[-1] < 1000


def test_the_standards_own_tables():
    assert mantissas("E6") == (100, 150, 220, 330, 470, 680)
    assert mantissas("E12") == E12
    assert mantissas("E48") == E48
    assert {130, 430, 910} < set(mantissas("E24"))


def test_each_fine_series_holds_the_next_coarser_one():
    assert set(mantissas("E48")) < set(mantissas("E96")) < set(mantissas("E192"))


def test_the_standards_exception_to_its_own_rule():
    assert 920 in mantissas("E192")
    assert 919 not in mantissas("E192")


def test_values_are_the_floats_one_would_write():
    assert values_between("E6", 1e-12, 1e-11) == (
        1e-12, 1.5e-12, 2.2e-12, 3.3e-12, 4.7e-12, 6.8e-12, 1e-11,
    )  # fmt: skip


def test_bounds_belong_to_the_range_in_spite_of_rounding():
    low, high = 0.1e-6 * 2.2, 4.7 * 1000.0 * 0.1 * 10.0
    values = values_between("E12", low, high)
    assert values[0] == 2.2e-7
    assert values[-1] == 4700.0


def test_a_range_between_two_values_holds_none():
    assert values_between("E6", 110.0, 140.0) == ()


def test_an_unknown_series():
    with pytest.raises(KeyError):
        mantissas("E5")
