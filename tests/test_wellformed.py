"""What a simulator gives in another form than it should is refused, and never measured."""

from __future__ import annotations

import math

import numpy as np
import pytest

from m3eda.simulate.types import Analysis, Waveforms
from m3eda.simulate.wellformed import flaw

F = np.geomspace(1.0, 1e3, 7)
H = 1.0 / (1.0 + 1j * F)


def ac(scale="frequency", kind="ac", **vectors) -> Waveforms:
    named = {"frequency": F, "v(out)": vectors.pop("out", H), **vectors}
    return Waveforms((Analysis(kind, named, scale),))


@pytest.mark.parametrize(
    "good",
    [
        Waveforms(),
        ac(),
        ac(frequency=F + 0j),
        ac(out=np.arange(7)),
        Waveforms((Analysis("op", {"v(out)": np.array([1.0])}),), seconds=1),
        Waveforms((Analysis("op", {}),)),
    ],
)
def test_what_is_well_formed_passes(good):
    assert flaw(good) == ""


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (None, "a NoneType, not Waveforms"),
        (Waveforms, "a type, not Waveforms"),
        (Waveforms(None), "a NoneType as analyses (expected a tuple)"),
        (Waveforms((1,)), "a int as an analysis (expected an Analysis)"),
        (Waveforms(seconds=None), "seconds = None (expected a number from 0)"),
        (Waveforms(seconds=math.nan), "seconds = nan (expected a number from 0)"),
        (Waveforms(cpu_seconds=-1.0), "cpu_seconds = -1.0 (expected a number from 0)"),
        (ac(kind="foo"), "an analysis of kind 'foo' (known: ac, dc, noise, op, sp, tran)"),
        (Waveforms((Analysis("op", None),)), "a NoneType as vectors of op (expected name to arr"),
        (ac(scale="time"), "ac vectors without their scale 'time'"),
        (ac(out=list(H)), "list for v(out) of ac (expected an array of numbers, shape (n,))"),
        (ac(out=H.reshape(1, 7)), "complex128, shape (1, 7), for v(out) of ac (expected an arr"),
        (ac(out=np.array(["a"] * 7)), "<U1, shape (7,), for v(out) of ac (expected an array"),
        (ac(out=H[:5]), "5 points of v(out) in ac, and 7 of the vector before it"),
        (ac(frequency=F * (1 + 1j)), "a frequency in ac that is not real"),
    ],
)
def test_what_is_not_is_told_in_words(bad, words):
    assert flaw(bad).startswith(words)
