"""Sources and devices of ngspice in Xyce's words."""

from __future__ import annotations

import pytest
from m3eda_plugins.xyce.dialect import translate

from m3eda.simulate.types import SimulationFailed


@pytest.fixture
def line(tmp_path):
    """What becomes of one card of a deck with a transient analysis of 1 us."""
    return lambda card: translate(f"title\n{card}\n.tran 1n 1u\n.end\n", tmp_path).lines[1]


@pytest.mark.parametrize(
    ("ngspice", "xyce"),
    [
        ("v1 a 0 dc=0 ac=1", "v1 a 0 dc 0 ac 1"),
        ("vcm c 0 vcm", "vcm c 0 dc {vcm}"),
        ("vcm c 0 dc vcm", "vcm c 0 dc {vcm}"),
        ("ibias a b ibias", "ibias a b dc {ibias}"),
        ("v1 a 0 'x*2'", "v1 a 0 dc 'x*2'"),
        ('v1 a 0 "x*2"', "v1 a 0 dc {x*2}"),
        ("v1 a 0 ac 1 dc 3", "v1 a 0 dc 3 ac 1"),
        ("v1 a 0 1 ac", "v1 a 0 dc 1 ac 1"),
        ("v1 a 0 ac 1 45 dc {x^2}", "v1 a 0 dc {x**2} ac 1 45"),
        ("v1 a 0", "v1 a 0 dc 0"),
        ("i1 a 0 1m ac 2 m=3", "i1 a 0 dc {(1m)*(3)} ac {(2)*(3)}"),
        ("v1 a 0 1 distof1 0.1 0", "v1 a 0 dc 1"),
    ],
)
def test_independent_sources(line, ngspice, xyce):
    assert line(ngspice) == xyce


@pytest.mark.parametrize(
    ("ngspice", "xyce"),
    [
        # without a value ngspice takes that at 0 s for the operating point, Xyce takes 0
        ("v1 a 0 pulse(0.2,1,1n,1n,1n,5n)", "v1 a 0 dc 0.2 pulse ( 0.2 1 1n 1n 1n 5n )"),
        ("v1 a 0 dc 3 pulse 0.2 vh td", "v1 a 0 dc 3 pulse ( 0.2 {vh} {td} )"),
        # by 0 ngspice means the step and the end of .tran
        ("v1 a 0 pulse(0 1 0 0 0 0 0)", "v1 a 0 dc 0 pulse ( 0 1 0 1n 1n 1u 1u )"),
        ("v1 a 0 sin(1 2 0)", "v1 a 0 dc 1 sin ( 1 2 {1/1u} )"),
        ("v1 a 0 exp(1 2 0 0)", "v1 a 0 dc 1 exp ( 1 2 0 1n )"),
        (
            "v1 a 0 sin(1 {x} 1k 0 0 30)",
            "v1 a 0 dc {(1)+(x)*sin((30)*3.141592653589793/180)} sin ( 1 {x} 1k 0 0 30 )",
        ),
        ("v1 a 0 pwl(0 1 1n 2) r=0 td=1n ac 1", "v1 a 0 dc 1 ac 1 pwl ( 0 1 1n 2 ) r = 0 td = 1n"),
        (
            "v1 a 0 pwl(-1n 1 1n 2)",
            "v1 a 0 dc {(1)-((2)-(1))*(-1n)/((1n)-(-1n))} pwl ( -1n 1 1n 2 )",
        ),
        ("v1 a 0 pwl(-2n 1 -1n 2)", "v1 a 0 dc 2 pwl ( -2n 1 -1n 2 )"),
        ("i1 a 0 sffm(0.1 1 1k 2 10) ac 1", "i1 a 0 dc 0.1 ac 1 sffm ( 0.1 1 1k 2 10 )"),
    ],
)  # fmt: skip
def test_functions_of_time(line, ngspice, xyce):
    assert line(ngspice) == xyce


@pytest.mark.parametrize(
    ("ngspice", "xyce"),
    [
        ("e1 a 0 b 0 2", "e1 a 0 b 0 2"),
        ("e1 a 0 (b, c) gain", "e1 a 0 b c {gain}"),
        ("g1 a 0 b 0 1m m=2", "g1 a 0 b 0 {(1m)*(2)}"),
        ("f1 a 0 v1 'k*2'", "f1 a 0 v1 'k*2'"),
        ("e1 a 0 vol='v(b)^2*2'", "e1 a 0 value={v(b)**2*2}"),
        ("g1 a 0 cur='v(b)*1m'", "g1 a 0 value={v(b)*1m}"),
        ("e1 a 0 value={v(b)>0?1:0}", "e1 a 0 value={if(v(b)>0,1,0)}"),
        # a single coefficient is a constant in both
        ("e1 a 0 poly(1) b 0 2", "e1 a 0 poly(1) b 0 2"),
        ("e1 a 0 poly(2) (b,0) (c,0) 0 1 k", "e1 a 0 poly(2) b 0 c 0 0 1 k"),
        # Xyce counts xy and yx apart
        (
            "e1 a 0 poly(2) b 0 c d 0 1 2 3 4 5",
            "e1 a 0 value={0+1*v(b)+2*v(c,d)+3*v(b)*v(b)+4*v(b)*v(c,d)+5*v(c,d)*v(c,d)}",
        ),
        (
            "f1 a 0 poly(2) v1 v2 0 0 0 0 1m",
            "bf1 a 0 i={0+0*i(v1)+0*i(v2)+0*i(v1)*i(v1)+1m*i(v1)*i(v2)}",
        ),
        ("b1 a 0 i = {k}*v(b) m=2", "b1 a 0 i={(k)*v(b)} m=2"),
    ],
)
def test_controlled_sources(line, ngspice, xyce):
    assert line(ngspice) == xyce


@pytest.mark.parametrize(
    ("ngspice", "xyce"),
    [
        ("r1 a b rr", "r1 a b rr"),
        ("r1 a b rr*2", "r1 a b {rr*2}"),
        ('r1 a b "rr*2"', "r1 a b {rr*2}"),
        ("r1 a b r = 1k tc1=1m", "r1 a b r = 1k tc1=1m"),
        ("r1 a b 1k tc=1m 2u", "r1 a b 1k tc=1m,2u"),
        ("r1 a b 1k scale=2 noisy=1 bv_max=5", "r1 a b {(1k)*(2)}"),
        ("r1 a b 1k noisy=0", "gr1 a b a b {(1)/(1k)}"),
        ("r1 a b 'x' m=2 noisy=0", "gr1 a b a b {(2)/(x)}"),
        ("r1 a b r='1k*v(c)^3'", "r1 a b r={1k*abs(v(c))**3}"),
        ("c1 a b 1p ic=0.5", "c1 a b 1p"),
        ("d1 a b dmod 2 off", "d1 a b dmod 2 off"),
        ("d1 a b dmod area=x^2", "d1 a b dmod area={x**2}"),
        ("q1 c b e s qmod 2", "q1 c b e s qmod 2"),
        ("j1 d g s jmod 2 m=3", "j1 d g s jmod area={(2)*(3)}"),
        ("m1 d g s b mod w=k*1u l=0.1u m='n*2' delvto=0", "m1 d g s b mod w={k*1u} l=0.1u m='n*2'"),
        ("m1 d g s b mod w=1u l=1u", "m1 d g s b mod w=1u l=1u"),
        ("k1 l1 l2 kk", "k1 l1 l2 {kk}"),
        ("t1 a 0 b 0 z0=50 td=1n rel=1", "t1 a 0 b 0 z0=50 td=1n"),
        ("s1 a b c d smod off", "s1 a b c d smod off"),
        (
            ".model smod sw(vt=0.5 vh=0 ron=1 roff=1e6)",
            ".model smod vswitch von={(0.5)+0.0005} voff={(0.5)-0.0005} ron=1 roff=1e6",
        ),
        (
            ".model wmod csw it={x} ron=r1",
            ".model wmod iswitch ion={(x)+5e-07} ioff={(x)-5e-07} ron=r1 roff=1e12",
        ),
    ],
)
def test_devices(line, ngspice, xyce):
    assert line(ngspice) == xyce


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ("v1 a", "'v1 a' has no two nodes and a value"),
        ("v1 a 0 1 2", "'2' is no part of a source that Xyce knows"),
        ("v1 a 0 pwl(0 1 2)", "a pwl source needs pairs of a time and a value"),
        ("v1 a 0 pwl file=x.txt", "write the points of the pwl source instead of a file"),
        ("e1 a 0 b 0", "'e1 a 0 b 0' has no gain"),
        ("e1 a 0 poly(2) b 0 c", "poly(2) needs 4 names and a coefficient at least"),
        ("b1 a 0 q=v(b)", "a B source needs v=... or i=... behind its two nodes"),
        ("m1 d g s", "'m1 d g s' has fewer than 4 nodes"),
        ("r1 a b 1k noisy=0 tc1=1m", "a resistor with noisy=0 may have a value and m= only"),
        ("r1 a b 1k ac=2k", "Xyce knows no 'ac=' of an R device"),
        ("t1 a 0 b 0 z0=50 td=1n ic=1,2", "Xyce knows no 'ic=' of an T device"),
        ("u1 a b 0 umod", "Xyce has no URC lines"),
    ],
)
def test_what_cannot_be_said(line, card, reason):
    with pytest.raises(SimulationFailed) as failed:
        line(card)
    assert failed.value.reason.startswith(f"line 2: {reason}")
