"""What the coarse model reads of a deck, and that it says in one sentence what it does not."""

from __future__ import annotations

import numpy as np
import pytest

from m3eda.coarse import limits
from m3eda.coarse.netlist import netlist_of
from m3eda.coarse.quantities import Unsupported
from tests.coarse_samples import circuit, filled, read


def values(text, *fills):
    found = read(text)
    row = np.array([fills], dtype=float)
    return {each.name: float(each.value.of(row)[0]) for each in found.branches}


def test_which_hole_fills_which_value():
    text = "r1 a 0 <0>k\nc1 a b <1>p\nl1 b 0 <0>u\nv1 a 0 <1>"
    assert values(text, 2.0, 3.0) == pytest.approx({"r1": 2e3, "c1": 3e-12, "l1": 2e-6, "v1": 3.0})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (".param rx=<0>k\nr1 a 0 {rx}", 4e3),
        (".param rx=<0>k\nr1 a 0 r=rx", 4e3),
        ("r1 a 0 r=<0>", 4.0),
        ("r1 a 0 <0>k m=2", 2e3),
        ("r1 a 0 10", 10.0),
    ],
)
def test_ways_to_write_a_resistor(text, expected):
    assert values(f"v1 a 0 1\n{text}", 4.0)["r1"] == pytest.approx(expected)


def test_subcircuits_are_opened():
    text = ".subckt cell p\nr1 p m <0>\nr2 m 0 1k\n.ends\nv1 a 0 1\nx1 a cell\nx2 a cell"
    found = read(text)
    assert {each.name for each in found.branches} == {"v1", "x1.r1", "x1.r2", "x2.r1", "x2.r2"}
    assert set(found.nets) == {"a", "x1.m", "x2.m"}
    assert found.size == 4


def test_a_transistor_and_its_fingers():
    text = "m1 d g 0 0 nch w=<0>u l=0.2u m=3\nm2 d g 0 0 nch w=<0>u l=0.2u nf=4\nv1 d 0 1\nv2 g 0 1"
    one, two = read(text).transistors
    row = np.array([[5.0]])
    assert one.width.of(row)[0] == two.width.of(row)[0] == pytest.approx(5e-6)
    assert (one.count.of(row)[0], two.count.of(row)[0]) == (3.0, 1.0)
    assert (one.kind, one.model) == ("nmos", "nch")


def test_analyses_and_temperature():
    found = read("v1 a 0 1\nr1 a 0 1k\n.op\n.ac dec 5 1 <0>k\n.dc v1 0 1 0.1\n.tran 1n 1u\n"
                 ".noise v(a) v1 dec 5 1 1k\n.temp 85")  # fmt: skip
    assert [each.kind for each in found.analyses] == ["op", "ac", "dc", "tran", "noise"]
    assert found.temperature == 85.0
    assert found.analyses[1].numbers[2].of(np.array([[2.0]]))[0] == pytest.approx(2e3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("r1 a 0 {<0>*2+1}", "r1 is no plain number"),
        ("r1 a 0 1k rmodel", "r1 is more than a plain value"),
        ("r1 a 0 1k scale=2", "r1 is more than a plain value"),
        ("c1 a 0 1p tc1=1m", "c1 goes with the temperature"),
        ("l1 a 0 1u\nl2 b 0 1u\nk1 l1 l2 0.9", "k1 is no device that the coarse model knows"),
        ("b1 a 0 v=v(b)*2", "b1 is no current by voltages"),
        ("b1 a 0 i=exp(v(b))", "b1 goes by more than voltages and numbers"),
        ("b1 a 0 i=v(b)*", "b1 is no expression"),
        ("b1 a 0 i=v(c)*2", "there is no net c"),
        ("s1 a 0 b 0 sw", "s1 is no device that the coarse model knows"),
        ("t1 a 0 b 0 z0=50 td=1n", "t1 is no device that the coarse model knows"),
        ("e1 a 0 poly(1) b 0 0 1", "e1 is no plain controlled source"),
        ("f1 a 0 vx 2", "f1 goes by vx, which is no voltage source"),
        ("i1 a 0 am(1 0 1k 1meg)", "i1 is a source of another kind: am"),
        ("x1 a 0 macro w=1u", "x1 is no device that the coarse model knows"),
        (".subckt two p\nr1 p 0 1k\n.ends\nx1 a two m=2", "x1 stands for several subcircuits"),
        (".ic v(a)=1", ".ic is not read"),
        (".nodeset v(a)=1", ".nodeset is not read"),
        ("r1 a 0 1k m=<0>", "how many r1 stands for is no plain number"),
        (".func twice(x) {2*x}", ".func is not read"),
        (".temp <0>", "the temperature depends on sizes"),
        (".dc v0 0 1 0.1 temp 0 50 25", ".dc v0 0 1 0.1 temp 0 50 25 is not read"),
        (".dc r0 1 2 1", "r0 is no source that is swept"),
        (".tran 1n 1u uic", ".tran 1n 1u uic is not read"),
        (".tran 1n", ".tran 1n is not read"),
        (".noise v(a) r0 dec 5 1 1k", "r0 is no source that is swept"),
        ("m1 a b 0 nch w=1u l=1u", "m1 has no four nets"),
        ("m1 a b 0 0 nch", "m1 is no plain number"),
        (".temp", "it has a card that is not read"),
    ],
)
def test_what_is_unsupported_is_said_in_one_sentence(text, said):
    with pytest.raises(Unsupported) as caught:
        read(f"v0 a 0 1\nr0 a b 1k\nr9 b 0 1k\n{text}")
    assert str(caught.value) == said


def test_devices_that_depend_on_sizes():
    def skeleton(fills):
        more = "r2 a 0 1k\n" if float(fills[0]) > 1.0002 else ""
        return filled(f"v1 a 0 {fills[0]}\n{more}", ())

    with pytest.raises(Unsupported, match="which devices there are depends on sizes"):
        netlist_of(skeleton, 1, circuit)


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        (".ac dec 0 1 1k", "no frequencies"),
        (".ac dec 5 0 1k", "no frequencies"),
        (".ac dec 5 1k 1", "no frequencies"),
        ("v2 b 0 dc 0 pwl(0 1 2)\n.tran 1n 1u", "a time without a value"),
    ],
)
def test_analyses_without_an_end_are_left_to_the_simulator(card, expected):
    found = read(f"v1 a 0 1 ac 1\nr1 a 0 1k\n{card}")
    with pytest.raises(Unsupported, match=expected):
        limits.check(found, np.zeros((1, 0)))


@pytest.mark.parametrize("formula", ["v(a)//2", "v(a)(v(a))", "2(3)", "()"])
def test_formulas_that_are_none_are_left_to_the_simulator(formula):
    with pytest.raises(Unsupported, match="an expression that is not read"):
        read(f"v1 a 0 1\nb1 a 0 i={formula}")
