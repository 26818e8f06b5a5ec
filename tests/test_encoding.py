"""What is packed comes back bit for bit, or is known to be damaged."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3eda.simulate.encoding import (
    pack_result,
    pack_results,
    pack_sizing,
    unpack_result,
    unpack_results,
    unpack_sizing,
)
from m3eda.simulate.trial import CornerResult, Sweep
from m3eda.simulate.types import State

NUMBERS = st.floats()
NAMES = st.text(max_size=8)
MEASURES = st.dictionaries(NAMES, NUMBERS, max_size=4)
POINTS = st.lists(NUMBERS, max_size=3).map(tuple)
SWEEPS = st.tuples(NAMES, POINTS).map(lambda s: Sweep(s[0], s[1], tuple(reversed(s[1]))))
RESULTS = st.builds(
    CornerResult,
    measures=MEASURES,
    reasons=st.just({}) | st.dictionaries(NAMES, NAMES, max_size=2),
    state=st.sampled_from(State),
    reason=NAMES,
    log=NAMES,
    seconds=NUMBERS,
    runs=st.integers(0, 9),
    swept=st.just({}) | st.dictionaries(NAMES, SWEEPS, max_size=2),
)


def bits(result: CornerResult) -> tuple[object, ...]:
    swept = [(n, s.condition, *map(_bits, (s.points, s.values))) for n, s in result.swept.items()]
    words = (result.reasons, result.state, result.reason, result.log, result.runs)
    return list(result.measures), _bits([*result.measures.values(), result.seconds]), words, swept


def _bits(numbers) -> bytes:
    return struct.pack(f"{len(numbers)}d", *numbers)


@given(st.dictionaries(NAMES, RESULTS, max_size=3))
def test_results_come_back_bit_for_bit(results):
    again = unpack_results(pack_results(results))
    assert list(again) == list(results)
    assert [bits(again[name]) for name in results] == [bits(results[name]) for name in results]


@given(st.dictionaries(NAMES, NUMBERS | st.integers() | st.text(max_size=5), max_size=5))
def test_sizings_come_back_as_they_were(sizing):
    again = unpack_sizing(pack_sizing(sizing))
    assert repr(again) == repr(sizing)


def test_numbers_of_numpy_are_packed_too():
    result = CornerResult({"gain": np.float64(2.5)}, seconds=np.float64(0.1))
    assert unpack_result(pack_result(result)) == CornerResult({"gain": 2.5}, seconds=0.1)
    assert unpack_sizing(pack_sizing({"w": np.float64(0.1)})) == {"w": 0.1}


def test_results_do_not_share_what_can_be_changed():
    packed = pack_result(CornerResult({"gain": math.nan}, {"gain": "no crossing"}))
    one, other = unpack_result(packed), unpack_result(packed)
    one.reasons["gain"] = one.measures["gain"] = "changed"
    assert other.reasons == {"gain": "no crossing"}
    assert math.isnan(other.measures["gain"])


@given(RESULTS, st.data())
def test_damage_is_known(result, data):
    packed = bytearray(pack_result(result))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ValueError, match="damaged"):
        unpack_result(bytes(packed))
    with pytest.raises(ValueError, match=r"damaged|no packed"):
        unpack_result(bytes(packed[: data.draw(st.integers(0, len(packed) - 1))]))


@pytest.mark.parametrize("text", ["", "[]", "{}", "3", '{"measures": 1}', "{"])
def test_what_is_no_record_is_a_value_error(text):
    with pytest.raises(ValueError):  # noqa: PT011  json has words of its own
        unpack_result(text)
