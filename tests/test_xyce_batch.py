"""What a row of a stepped run of Xyce gives: on recordings of a real one, and on one on PATH."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from m3eda_plugins.xyce import session as xyce_session
from m3eda_plugins.xyce.simulator import Xyce

from m3eda.simulate.difference import difference
from m3eda.simulate.types import Deck, OnlyCold, SimulationFailed, Skeleton
from tests import fake_xyce
from tests.test_xyce_session import Watched

AMPLIFIER = """bipolar amplifier
vcc vcc 0 5
vin in 0 dc 0 ac 1
cin in b 1u
r1 vcc b @
r2 b 0 @
q1 c b e qn
rc vcc c @
re e 0 @
q2 vcc c o qn
ro o 0 1k
d1 o k dm
rk k 0 @
.model qn npn is=1e-16 bf=120 vaf=60 cje=1p cjc=0.5p tf=0.3n
.model dm d is=1e-14 n=1.1 cjo=2p
"""
AMPLIFIERS = [
    ("60237", "39114", "5804.6", "179.92", "3129.2"),
    ("93237", "28539", "6147.9", "124.13", "1067.4"),
    ("159280", "20067", "5784.7", "100.49", "2788.6"),
    ("52100", "11250", "1250.5", "455.1", "9012.3"),
]
FOLLOWS = """what follows from parameters
.param scale=@ twice={2*scale} width='w0+twice*1u'
.func part(x) {x*scale+1}
.subckt stage g o w=1u fingers=1
.param inner={w*fingers}
m1 o g 0 0 n w={w} l=@ m={fingers}
c1 o 0 {inner*1e-6}
.ends
.param w0=@
v1 i 0 0.9 ac 1
vd d 0 2
rd d o {part(300)}
x1 i o stage w={width} fingers=@
e1 q 0 o 0 @
d1 q 0 dx
.param sat=@
.model dx d is={sat*1e-14}
r4 q 0 {twice*1k}
m2 d q o 0 n w=@ l=2u ad={width*1u}
.ic v(o)=@
.model n nmos level=1 vto={0.3+twice/100} kp=120u lambda=0.02 cj=1m cgso=0.2n
"""
FOLLOWING = [
    ("2", "0.5u", "2u", "2", "0.25", "3", "4u", "0.5"),
    ("3.5", "1u", "5u", "3", "0.5", "5", "8u", "1.5"),
    ("7", "2u", "1.25u", "5", "0.125", "7", "2u", "0.25"),
]
TRAP = """singular where the gain is 1
v1 i 0 1 ac 1
r2 i o @
r3 o 0 1k
c1 o 0 1n
e1 a 0 x 0 @
rx a x 1
"""
TRAPS = [("100", "2"), ("200", "3"), ("300", "1"), ("400", "4"), ("500", "5")]

_REAL = pytest.mark.skipif(shutil.which("Xyce") is None, reason="no Xyce is on PATH")


@pytest.fixture(params=["recorded", pytest.param("real", marks=_REAL)])
def xyce(request, tmp_path_factory):
    if request.param == "real":
        return Watched("Xyce")
    return Watched(fake_xyce.install(tmp_path_factory.mktemp("recorded") / "bin"))


@pytest.fixture
def through(xyce, tmp_path, monkeypatch):
    """Runs decks in a session that hears of all of them; None for one that must run cold."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(xyce_session, "_ENOUGH", 600.0)
    monkeypatch.setattr(xyce_session, "_SLACK", 600.0)

    def run(decks, strict=True):
        session = xyce.open(tmp_path, strict=strict)
        session.expect(decks)
        try:
            return [_tried(lambda deck=deck: session.run(deck), OnlyCold) for deck in decks]
        finally:
            session.close()

    return run


def _tried(run, error):
    try:
        return run()
    except error:
        return None


def cold(xyce, decks, folder):
    found = []
    for number, deck in enumerate(decks):
        rundir = folder / f"cold{number}"
        rundir.mkdir()
        found.append(
            _tried(lambda deck=deck, at=rundir: xyce.run(deck, at, 60.0), SimulationFailed)
        )
    return found


def made(text, rows, analysis, **asked):
    skeleton = Skeleton(tuple(f"{text}{analysis}\n.end\n".split("@")), (rows[0], rows[1]))
    return [Deck(skeleton.text(f), skeleton=skeleton, fills=f, **asked) for f in rows]


def apart(some, others):
    return [difference(one, other) for one, other in zip(some, others, strict=True)]


@pytest.mark.parametrize(
    ("analysis", "asked"),
    [
        (".op", {"vectors": ("v(o)", "i(vcc)"), "device_values": ("@r1[i]",)}),
        (".op\n.ac dec 2 1k 1g\n.meas ac peak max vm(o)", {"meas": ("peak",)}),
        (".dc vcc 4 5 0.5", {"vectors": ("v(o)",)}),
        (".noise v(o) vin dec 2 1k 1g", {"vectors": ("onoise_spectrum", "onoise_total")}),
    ],
)
def test_a_row_gives_what_its_deck_gives_bit_for_bit(xyce, through, tmp_path, analysis, asked):
    decks = made(AMPLIFIER, AMPLIFIERS, analysis, **asked)
    alone = cold(xyce, decks, tmp_path)
    assert min(difference(alone[0], each) for each in alone[1:]) > 1e-3
    xyce.rows.clear()
    assert apart(alone, through(decks)) == [0.0] * 4
    assert max(xyce.rows) == 4
    assert apart(alone[::-1], through(decks[::-1])) == [0.0] * 4


def test_transients_are_the_same_but_for_round_off(xyce, through, tmp_path):
    decks = made(AMPLIFIER, AMPLIFIERS, ".tran 1n 10n", vectors=("v(c)",))
    alone = cold(xyce, decks, tmp_path)
    found = through(decks, strict=False)
    assert max(apart(alone, found)) < 1e-9
    assert apart(found, through(decks[::-1], strict=False)[::-1]) == [0.0] * 4


@pytest.mark.parametrize("analysis", [".op", ".ac dec 1 1k 1g"])
def test_what_follows_from_parameters_is_made_anew(xyce, through, tmp_path, analysis):
    decks = made(FOLLOWS, FOLLOWING, analysis, vectors=("v(o)", "v(q)"))
    alone = cold(xyce, decks, tmp_path)
    assert min(difference(alone[0], each) for each in alone[1:]) > 1e-3
    found = through([*decks, *decks[:2]])
    assert None not in found
    assert apart(alone, found[:3]) == [0.0] * 3
    assert apart(alone[:2], found[3:]) == [0.0] * 2


@pytest.mark.parametrize("analysis", [".op", ".ac dec 1 1 100", ".dc v1 0 1 0.5"])
def test_a_row_without_operating_point(xyce, through, tmp_path, analysis):
    decks = made(TRAP, TRAPS, analysis, vectors=("v(o)",))
    alone = cold(xyce, decks, tmp_path)
    found = through(decks)
    assert alone[2] is None
    assert found[2] is None
    rest = [0, 1, 3, 4]
    assert apart([alone[i] for i in rest], [found[i] for i in rest]) == [0.0] * 4


def opamps(shared, rows, analysis):
    """Decks of the two-stage op amp of the hundred sizings."""
    folder = shared / "xyce_samples" / "hundred_sizings"
    head = (folder / "deck.cir").read_text().partition("\n.ac ")[0]
    head = head.replace("../../models", str(shared / "models"))
    told = json.loads((folder / "sizings.json").read_text())
    for name in told["order"]:
        head = re.sub(rf"(\.param.*\b{name}=)\S+", r"\1@", head)
    order = [told["order"].index(name) for name in re.findall(r"(\w+)=@", head)]
    fills = [tuple(repr(sizing[i]) for i in order) for sizing in told["sizings"]]
    decks = made(f"{head}\n", fills, analysis, vectors=("v(net6)", "i(vdd)"))
    return [decks[row] for row in rows]


def test_rows_behind_gmin_stepping(xyce, through, tmp_path, shared):
    # the 73rd sizing is the one that takes gmin stepping
    decks = opamps(shared, (71, 72, 73, 75), ".ac dec 1 1 1g")
    alone = cold(xyce, decks, tmp_path)
    xyce.rows.clear()
    assert apart(alone, through(decks)) == [0.0] * 4
    assert xyce.rows == [0, 0, 4, 4, 2]


@_REAL
def test_a_hundred_sizings_in_any_order(tmp_path, monkeypatch, shared):
    monkeypatch.chdir(tmp_path)
    xyce = Xyce({})
    decks = opamps(shared, range(100), ".op\n.ac dec 10 1 10G")
    alone = cold(xyce, decks, tmp_path)
    for order in (range(100), range(99, -1, -1)):
        session = xyce.open(tmp_path, strict=True)
        session.expect([decks[i] for i in order])
        assert all(difference(alone[i], session.run(decks[i])) == 0.0 for i in order)
        session.close()
