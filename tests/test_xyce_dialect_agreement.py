"""The same decks on ngspice and, in its own words, on recordings of a real Xyce: same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from m3eda_plugins.ngspice import ngspice
from m3eda_plugins.xyce import xyce

from m3eda.simulate.types import Deck
from tests.fake_xyce import install

pytestmark = pytest.mark.simulator


@pytest.fixture
def agree(tmp_path):
    """Compares the vectors of one analysis of a deck."""
    simulators = {"ngspice": ngspice({}), "xyce": xyce({"program": str(install(tmp_path / "bin"))})}

    def run(cards, vectors, tolerance=1e-6, kind="op", wanted=()):
        found = {}
        for name, simulator in simulators.items():
            rundir = tmp_path / name
            rundir.mkdir(exist_ok=True)
            deck = Deck(f"title\n{cards}\n.end\n", vectors=tuple(vectors), meas=tuple(wanted))
            found[name] = simulator.run(deck, rundir, 60.0)
        if wanted:
            here, there = (found[name].meas for name in simulators)
        else:
            here, there = (next(found[name].of_kind(kind)).vectors for name in simulators)
        for name in wanted or vectors:
            one, other = np.ravel(here[name])[-1], np.ravel(there[name])[-1]
            assert one == pytest.approx(other, rel=tolerance, abs=1e-12), name
        return found

    return run


def loaded(card, values):
    """Sources of these values, as cards, and the vectors of their nodes."""
    each = [f"{card.format(n=n, value=value)}\nr{n} n{n} 0 1k" for n, value in enumerate(values)]
    return "\n".join(each), [f"v(n{n})" for n in range(len(values))]


OF_PARAMETERS = """2^3^2 -2^2 2*3^2 -2**2 two^-1 pwr(neg,3) pow(neg,3) neg**3 neg^3 pwr(neg,2)
neg^2.5 int(-2.7) 7%4 nint(2.5) nint(3.5) nint(-2.5) floor(-2.5) sgn(-3) !1 1&&0||1 0||two&&0
ternary_fcn(1,5,6) two>three?1:half log(100) ln(100) log10(100) 1x 10a 10mil 1kohm 1e3k
5<>6 5==5&&3>2 arctan(1) sqr(3) max(1,2,3) min(1,2,0.5) 7\\2 1-2-3 8/4/2 abs(neg)**0.5
two+three^2*half two**three**half three%two+1 vt*2 gmin+freq dt 3--2 asinh(1)"""
OF_VOLTAGES = """v(x)^3 v(x)**2.5 pow(v(x),3) pwr(v(x),3) pwr(v(x),2) 2^3^2 -v(x)^2 log(100)
abs(v(x)) sgn(v(x)) u(v(x)) u(-v(x)) u(0*v(x)) u2(0.5) u2(3) uramp(3) nint(v(x)*0.75) floor(-2.5)
!1 1&&0||1 v(x)>0?5:6 pi*e temper 10a 1mil pwl(v(x),0,0,1,1) pwl(3*abs(v(x)),0,0,1,1,2,5)
max(v(x),1) v(x,0) v(0,x) v(gnd) v(x,gnd) i(vn) 1/v(x) eq0(0) ne0(1) gt0(1) lt0(1) ge0(0)
two*v(x)^2 {two}*3 v(x)*{two^2} tanh(v(x)) exp(v(x)) ternary_fcn(v(x)<0,3,4)"""


def test_expressions_of_parameters(agree):
    cards, vectors = loaded("v{n} n{n} 0 dc {{{value}}}", OF_PARAMETERS.split())
    values = ".param neg=-2 two=2 three=3 half=0.5 vt=0.7 gmin=3 freq=1k dt=4"
    agree(f"{values}\n{cards}\n.op", vectors)


def test_expressions_of_b_sources(agree):
    cards, vectors = loaded("b{n} n{n} 0 v={value}", OF_VOLTAGES.split())
    agree(f".param two=2\nvn x 0 -2\nrx x 0 1k\n{cards}\n.op", vectors)


SOURCES = """.param vv=0.3 ii=1m td=1n k=2
v1 a 0 dc=0.5 ac=1
v2 b 0 vv
v3 c 0 ac 1 dc 3
v4 d 0 pulse(0.7, 1.2, 1n, 0 0 5n 10n)
v5 e 0 pulse vv 1.2 td 0.1n 0.1n 5n 10n
v6 f 0 sin(0.6 0.1 1meg 0 0 90)
v7 g 0 pwl(-1 0 1 2)
v8 h 0 exp(1.5 2 1n 1n)
v9 i 0 dc 0.3 pulse(5 6 1n 1n 1n 5n 10n) ac 1 45
v10 j gnd 10a
v11 l 0 4k7
i1 0 m 'ii*2'
e1 n 0 (a, 0) k
e2 o 0 poly(1) a 0 2
e3 p 0 poly(2) a 0 b 0 0.1 1 2 3 4 5 6 7
e4 q 0 vol='v(a)^3*2'
g1 0 r a 0 1m m=3
g2 0 s cur='v(a)*1m'
vs ss 0 1
rs ss 0 500
f1 0 t poly(2) vs v1 0 2 1 3 1
h1 u 0 vs {k*100}
"""


def test_sources_at_the_operating_point(agree):
    nodes = "abcdefghijlmnopqrstu"
    loads = "\n".join(f"rr{node} {node} 0 1k" for node in nodes)
    agree(f"{SOURCES}{loads}\n.op", [f"v({node})" for node in nodes])


DEVICES = """.param rr=2k
.model rmod r rsh=100 defw=2u
.model dmod d is=1e-15 n=1.1 rs=1
.model qn npn bf=100 is=1e-16
.model jn njf vto=-2 beta=1m
.model m1 nmos level=1 vto=0.5 kp=100u
.model m3 nmos level=3 vto=0.5 kp=100u
.model m8 nmos level=8 version=3.3.0 tox=4n vth0=0.4
.model m14 nmos level=14 version=4.8.2 toxe=2n vth0=0.4
.model swm sw vt=0.5 vh=0 ron=10 roff=1meg
.model csm csw it=0.5m ih=0 ron=10 roff=1meg
.subckt rdiv a b p=1k q='p*2'
 r1 a b {p}  $ upper
 r2 b gnd {q}
.ends rdiv
v1 vdd 0 1.8
v2 vg 0 1
x1 vdd a rdiv
x2 vdd b rdiv p = rr*2 q='1k'
x3 vdd c rdiv params: p={rr} m=2
r4 vdd d 1k tc1=1m
r4b d gnd 1k noisy=0
r5 vdd e rmod l=10u w=1u
r5b e 0 1k m=2
r6 vdd f r=1k scale=2
r6b f 0 r='1k*(1+v(vg)^3)'
d1 g 0 dmod area=2 m=2
rg vdd g 1k
q1 h hb 0 qn 2
rh vdd h 1k
rhb vdd hb 100k
j1 i 0 0 jn m=2
ri vdd i 100
mm1 j vg 0 0 m1 w=10u l=1u m=2
rj vdd j 1k
mm2 k vg 0 0 m3 w=10u l=1u
rk vdd k 1k
mm3 l vg 0 0 m8 w=10u l=1u delvto=0
rl vdd l 1k
mm4 m vg 0 0 m14 w=10u l=1u nf=2
rm vdd m 1k
s1 vdd n vg 0 swm
rn n 0 1k
w1 vdd o v2 csm
ro o 0 1k
c1 vdd 0 1p ic=0.1
.ic v(a)=0.3
.temp 50
.option gmin=1e-13 reltol=1e-6 noacct
.op
"""


def test_devices_at_the_operating_point(agree):
    agree(DEVICES, [f"v({node})" for node in "abcdefghijklmno"], tolerance=1e-4)


def test_conditions_functions_and_files(agree, tmp_path):
    library = tmp_path / "cells.lib"
    library.write_text(
        "* cells\n.lib a\n.param k=2\n.lib 'cells.lib' core\n.endl\n.lib core\n"
        ".func twice(x) {x*2}\n.subckt cell in out\n\tr1 in out {twice(k)^3}\n"
        "r2 out gnd 100 // load\n.ends\n.endl core\n"
    )
    cards = (
        f".lib \"{library}\" a\n.func f(x,y) = 'x^y'\n.param mode=2\n"
        ".if (mode==1)\nr1 b 0 1\n.elseif (mode == 2)\nr1 b 0 {f(5,2)}\n.else\nr1 b 0 9\n.endif\n"
        "v1 a 0 1\nx1 a b cell\n.op"
    )
    agree(cards, ["v(b)"])


def test_functions_of_time(agree):
    cards = (
        "v1 a 0 pulse(0 1 1n 0 0 3n 20n)\nv2 b 0 sin(0.6 0.1 100meg 3n 1e8 90)\n"
        "v3 c 0 pwl(0 0 1n 1 2n 0 4n 0) r=0\nv4 d 0 dc 5 exp(1.5 2 1n 1n 4n 2n)\n"
        "r1 a e 1k\nc1 e 0 1p ic=0.5\nr2 v 0 1k\nl1 v 0 1n\n.ic v(f)=0.7\nr3 d f 1k\nc2 f 0 1p\n"
        "r4 b 0 1k\nr5 c 0 1k\nv5 v 0 0\n.tran 0.02n 3.7n"
    )
    agree(cards, [f"v({node})" for node in "abcdef"], tolerance=2e-3, kind="tran")


def test_measures(agree):
    cards = (
        "v1 in 0 dc 0 ac 1 pulse(0 1 1u 1u 1u 5u 20u)\nr1 in out 1k\nc1 out 0 1n\n"
        ".ac dec 50 1k 10meg\n.tran 0.02u 20u\n"
        ".meas tran tr trig v(in) val=0.5 rise=1 targ v(out) val=0.5 rise=1\n"
        ".meas tran twice param='tr*2'\n.meas tran level find v(out) at=3u\n"
        ".meas tran cross when v(out)=v(in) cross=last\n.meas tran mean rms v(out)\n"
        ".meas tran late trig v(in) val=0.5 td=2u fall=1 targ v(out) val='0.25*2' fall=1\n"
        ".meas ac real find v(out) at=159155\n.meas ac turn find vp(out) at=159155\n"
        ".meas ac corner when vdb(out)=-3\n"
    )
    wanted = ("tr", "twice", "level", "cross", "mean", "late", "real", "turn", "corner")
    agree(cards, [], tolerance=1e-3, wanted=wanted)


CHARGED = """v1 a 0 dc 1 ac 1
r1 a b 1k
c1 b 0 1n ic=0.1
r2 b 0 1k
.nodeset v(b)=0.3
.tran 1n 1u uic
.ac dec 1 1k 1meg
.meas tran least min v(b)
.meas tran mean avg v(a)
.meas tran cross when v(b)=0.2 rise=1
.meas tran below when v(b)=0.05 cross=1
.meas tran between trig v(b) val=0.15 rise=1 targ v(b) val=0.3 rise=1
"""


def test_a_transient_from_initial_conditions(agree):
    agree(CHARGED, ["v(a)", "v(b)"], tolerance=2e-3, kind="tran")


def test_what_stands_at_0_s_is_no_part_of_a_transient_from_initial_conditions(agree):
    agree(CHARGED, [], tolerance=2e-3, wanted=("least", "mean", "cross", "between"))


def test_its_first_point_is_that_of_ngspice(agree):
    first = agree(CHARGED, [], wanted=("least",), tolerance=2e-3)["xyce"]
    [transient] = first.of_kind("tran")
    assert transient.vectors["time"][0] == pytest.approx(1e-11)
    assert transient.vectors["v(b)"][0] == pytest.approx(0.1, rel=1e-3)
    assert "below" not in first.meas


def test_the_operating_point_beside_it_does_not_hold_them(agree):
    agree(CHARGED.replace(" uic", " uic\n.op"), ["v(b)"], tolerance=1e-6)


def test_of_several_analyses_of_a_kind_the_first_is_the_same(agree):
    cards = "v1 a 0 dc 1 ac 1\nr1 a b 1k\nc1 b 0 1n\nr2 b 0 1k\n"
    agree(f"{cards}.dc v1 0 1 0.5\n.dc v1 0 3 1", ["v(b)"], kind="dc")
    agree(f"{cards}.tran 10n 1u\n.tran 10n 2u", ["v(b)"], kind="tran", tolerance=1e-3)
    found = agree(f"{cards}.ac dec 1 1k 10k\n.ac dec 1 1meg 1g", ["v(b)"], kind="ac")
    for waveforms in found.values():
        last = [float(each.vectors["frequency"][-1]) for each in waveforms.of_kind("ac")]
        assert last == pytest.approx([1e9, 1e4])


def test_options_said_twice(agree):
    cards = "v1 a 0 -1\nd1 a b dm\nrb b 0 1k tc1=1m\n.model dm d is=1e-15\n"
    agree(f"{cards}.option temp=100 gmin=1e-11\n.option gmin=1e-5\n.temp 50\n.op", ["v(b)"])
    agree(f"{cards}.temp 50\n.temp 70\n.op", ["v(b)"])


def test_noise_between_two_nodes(agree):
    cards = "v1 a 0 dc 1 ac 1\nr1 a b 1k\nr2 b c 1k\nr3 c 0 1k\n"
    agree(
        f"{cards}.noise v(b,c) v1 dec 2 1k 10k", ["onoise_spectrum"], kind="noise", tolerance=1e-4
    )


def test_parameters_of_models_under_other_names(agree):
    cards = (
        "v1 in 0 dc 0.6 ac 1\nr1 in a 1k\nd1 a 0 1n4148 area=2\n"
        ".model 1n4148 d(is=1e-14, cjo=10p, mj=0.3, pb=0.6, tref=50)\n"
        "vc c 0 3\nvb b 0 0.7\nq1 d b 0 0 2n3904\nr2 c d 1k\n.model 2n3904 npn bf=100 tref=50\n"
        ".temp 80\n.op\n.ac dec 1 1meg 100meg"
    )
    agree(cards, ["v(a)"], kind="ac", tolerance=1e-3)
    agree(cards, ["v(a)", "v(d)"], tolerance=1e-3)
