"""Netlists made to set a warm ngspice and `ngspice -b` apart, rendered from designs.

Each is sized at both ends of its ranges and between them, in a mixed order with decks that fail, so
that what holds at the probes of a skeleton does not hold everywhere, and what one deck leaves
behind meets the next.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from m3eda_plugins.ngspice import ngspice

from m3eda.design.space import Space
from m3eda.flow import Project
from m3eda.simulate.difference import difference
from m3eda.simulate.render import Renderer, Wanted
from m3eda.simulate.types import Deck, OnlyCold, SimulationFailed
from tests.bad_decks import FAILURES, NMOS, START
from tests.session_child import GOOD, fingerprint

pytestmark = pytest.mark.simulator


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BSIM3 and BSIM4 write what they complain of into the working directory."""
    monkeypatch.chdir(tmp_path)


WIDTH = "{min: 0.5e-6, max: 50e-6, scale: log}"
OHMS = "{min: 100, max: 100e3, scale: log}"
UNIT = "{min: 0, max: 1}"
STAGE = "vdd vdd 0 1.8\nvin in 0 dc 0.7 ac 1\n" + NMOS
AC = ".ac dec 2 1k 1g\n"


def bins(name: str, card: str, *edges: float) -> str:
    """A model's bins between these widths in m, each with another threshold."""
    return "".join(
        f".model {name}.{n} {card} vth0={0.3 + 0.05 * n} lmin=1e-7 lmax=1e-4 wmin={a} wmax={b}\n"
        for n, (a, b) in enumerate(itertools.pairwise(edges))
    )


LONG = "nmos_with_a_very_long_name"
BSIM3, BSIM4 = "nmos level=8 version=3.3.0 tox=4n", "nmos level=54 version=4.5 toxe=3n"

CASES: dict[str, tuple[dict[str, str], str]] = {
    "bins of a model with a long name": (
        {"w": WIDTH},
        f"{STAGE}x1 in out cell w={{{{ w }}}}\nrd vdd out 2k\n.subckt cell g d w=1u\n"
        f"m1 d g 0 0 {LONG} w={{w}} l=1u\n.ends\n{bins(LONG, BSIM3, 1e-7, 15e-6, 1e-3)}{AC}",
    ),
    "bins whose models ngspice mends": (
        {"w": WIDTH},
        f"{STAGE}m1 out in 0 0 nb w={{{{ w }}}} l=1u\nrd vdd out 2k\n"
        f"{bins('nb', f'{BSIM4} cgdo=-1e-10', 1e-7, 2e-6, 18e-6, 1e-3)}{AC}",
    ),
    "a function that matters beyond the probes": (
        {"g": UNIT},
        "v1 in 0 dc 0.5\n.param g={ {{ g }} }\n.param q(z)='z*g'\nr1 in out 1k\nr4 out 0 {1k+g}\n"
        "s1 out d e 0 sw\n.model sw sw vt=0.95 vh=0 ron=1 roff=1e13\nv9 e 0 {g}\n"
        "r3 d 0 {q(1k)+1}\n.op\n",
    ),
    "an included file that matters beyond the probes": (
        {"g": UNIT},
        "v1 in 0 dc 1\n.param g={{ g }}\nr1 in out 1k\nr2 out 0 {1k*(1+g)}\nv9 e 0 {g}\n"
        ".include regime.inc\n.op\n",
    ),
    "random numbers that are on beyond the probes": (
        {"s": UNIT, "r": OHMS},
        "v1 in 0 dc 1 ac 1\n.param s={{ s }}\nr1 in out {{ r }}\n"
        f"r2 out 0 {{1k*(1+max(0,s-0.8)*agauss(0,0.1,3))}}\n{AC}",
    ),
    "a division by zero": (
        {"s": "{min: 0, max: 2, step: 1}", "r": OHMS},
        f"v1 in 0 dc 1 ac 1\n.param s={{{{ s }}}}\nr1 in out {{{{ r }}}}\n"
        f"r2 out 0 {{1k+100/(s-2)}}\n{AC}",
    ),
    "conditions": (
        {"s": UNIT, "r": OHMS},
        "v1 in 0 dc 1 ac 1\n.param s={{ s }} t='s > 0.93 ? 1k : 2k'\nr1 in out {{ r }}\n"
        f"r2 out 0 {{t}}\n{AC}",
    ),
    "one name at every level": (
        {"a": WIDTH, "b": WIDTH},
        f"{STAGE}.param w={{{{ a }}}} x=2\n.global g0\nvg g0 0 0.1\nx1 in out top w={{{{ b }}}}\n"
        "x2 in out top\n.subckt top g d w='3*w'\n.param x=5\nx1 g d in w={w}\n"
        "m1 d g g0 g0 nch w='w' l=1u m={x}\n.ends\n.subckt in g d w=7u\n"
        f"m1 d g 0 0 nch w={{w}} l={{1u*x}}\n.ends\nrd vdd out 5k\n{AC}",
    ),
    "multipliers at every level": (
        {"w": WIDTH, "m": "{min: 1, max: 8, step: 1}"},
        f"{STAGE}x1 in out top w={{{{ w }}}} m={{{{ m }}}}\nrd vdd out 5k\n.subckt top g d w=1u\n"
        "x1 g d in w={w} m=3\n.ends\n.subckt in g d w=7u\nm1 d g 0 0 nch w={w} l=1u m={{ m }}\n"
        f".ends\n{AC}",
    ),
    "comments amid a card": (
        {"w": WIDTH, "r": OHMS},
        f"{STAGE}* a {{{{ w }}}}\nm1 out in 0 0 nch $ {{{{ w }}}}\n+ w={{{{ w }}}} ;{{{{ r }}}}\n"
        f"* amid\n\n+\tL=1u\nRD VDD Out {{{{ r }}}} $ {{{{ r }}}}\n{AC}",
    ),
    "chaos": (
        {"r": "{min: 1600, max: 1900}", "c": "{min: 9.5e-9, max: 10.5e-9}"},
        "l1 b 0 18m ic=0\nc2 b 0 100n ic=0.1\nr1 b out { {{ r }}*1.1/1.1 }\nc1 out 0 {{ c }} ic=0\n"
        "b1 out 0 i=-0.409m*v(out)-0.1735m*(abs(v(out)+1)-abs(v(out)-1))\n.tran 10u 8m uic\n",
    ),
    "a latch": (
        {"w": WIDTH, "r": "{min: 9e3, max: 11e3}"},
        f"vdd vdd 0 1.8\n{NMOS}m1 out b 0 0 nch w={{ 2*{{{{ w }}}}/2 }} l=1u\n"
        "r1 vdd out {{ r }}\nm2 b out 0 0 nch w={{ w }} l=1u\nr2 vdd b { {{ r }}*1.1/1.1 }\n.op\n"
        ".dc vdd 0 1.8 0.2\n",
    ),
}
FASTER = {"comments amid a card": "AlterWay", "chaos": "AlterWay", "a latch": "AlterWay"}
REGIME = "s1 out d e 0 sw\n.model sw sw vt=0.9 vh=0 ron=1 roff=1e14\nr3 d 0 {1k+1k*g}\n"


def made(folder: Path, parameters: dict[str, str], netlist: str, count: int = 5) -> list[Deck]:
    """Decks at both ends of all ranges and between them."""
    listed = "".join(f"  {name}: {given}\n" for name, given in parameters.items())
    (folder / "netlist.cir.j2").write_text(f"title 12 3.5e-6\n{netlist}.end\n")
    (folder / "regime.inc").write_text(REGIME)
    (folder / "design.yaml").write_text(
        "m3eda: 1\ndesign: adversary\nsimulator: ngspice\ntestbenches: {tb: netlist.cir.j2}\n"
        f"parameters:\n{listed}measures:\n  top: {{expr: max(abs(v(out)))}}\nspecs:\n"
        "  top: {min: 0}\n"
    )
    design = Project.load(folder / "design.yaml").design
    renderer = Renderer(design, {"tb": Wanted(("v(out)",))})
    space = Space(design)
    between = np.random.default_rng(len(netlist)).random((count - 2, space.dimension))
    points = [np.zeros(space.dimension), np.ones(space.dimension), *between]
    return [
        renderer.deck(design.testbenches["tb"], design.nominal, space.sizing(point))
        for point in points
    ]


def outcome(run, deck):
    """What `run` gives; of a failure what it is."""
    try:
        return run(deck)
    except SimulationFailed as failure:
        return failure.state, failure.reason


@pytest.fixture
def cold(tmp_path):
    def run(deck):
        place = tmp_path / f"cold{len(list(tmp_path.iterdir()))}"
        place.mkdir()
        return ngspice({}).run(deck, place, 60.0)

    return run


@pytest.fixture
def opened(tmp_path):
    place = tmp_path / "session"
    place.mkdir()
    return lambda strict=True: ngspice({}).open(place, strict=strict)


def ways(session) -> set[str]:
    return {type(way).__name__ for way in session._ways.values()}


def agrees(found, expected, most: float) -> bool:
    if isinstance(found, tuple) or isinstance(expected, tuple):
        return found == expected
    return difference(expected, found) <= most


def test_all_of_them_in_one_session(tmp_path, opened, cold):
    jobs = []
    for name, (parameters, netlist) in CASES.items():
        folder = tmp_path / name.replace(" ", "_")
        folder.mkdir()
        decks = made(folder, parameters, netlist)
        jobs += [(name, deck, outcome(cold, deck)) for deck in decks]
    bad = [Deck(START + FAILURES[name][0]) for name in ("missing model", "voltage loop")]
    for strict, most in ((True, 1e-12), (False, 1e-7)):
        shuffled = random.Random(strict)
        order = jobs * 2
        shuffled.shuffle(order)
        session, known = opened(strict), {}
        for name, deck, expected in order:
            if shuffled.random() < 0.1:
                outcome(session.run, shuffled.choice(bad))
            try:
                found = outcome(session.run, deck)
            except OnlyCold:
                assert name.startswith("random")
                continue
            assert agrees(found, expected, most), (name, strict, deck.fills)
            exactly = found if isinstance(found, tuple) else fingerprint(found)
            assert known.setdefault(deck.text, exactly) == exactly, (name, "history")
        assert not session.broken
        session.close()


@pytest.mark.parametrize("name", FASTER)
def test_the_way_they_are_run(name, tmp_path, opened):
    session = opened(strict=False)
    session.run(made(tmp_path, *CASES[name], count=2)[0])
    assert ways(session) == {FASTER[name]}
    session.close()


def test_a_switch_of_random_numbers_in_a_library(tmp_path, opened):
    """It is off at one of the two probes."""
    filler = "".join(f"* {n}\n" for n in range(2500))
    (tmp_path / "kit.lib").write_text(
        ".lib tt\n.param sw=0\n.subckt res a b r=1k\nr1 a b {r*(1+sw*agauss(0,0.1,3))}\n.ends\n"
        f".model unused d is=1e-14\n{filler}.endl\n"
    )
    netlist = (
        f"v1 in 0 ac 1\nr1 in out 1k\n.lib kit.lib tt\n.param sw={{{{ s }}}}\nx1 out 0 res\n{AC}"
    )
    session = opened()
    for deck in made(tmp_path, {"s": "{min: 0, max: 1, step: 1}"}, netlist + AC, count=2):
        with pytest.raises(OnlyCold):
            session.run(deck)
    session.close()


@pytest.mark.parametrize(
    "text",
    [
        ".option interp\n",
        "*#set sqrnoise\n",
        ".control\nset temp=90\n.endc\n",
        ".if (1)\n.endif\n",
        ".model lossy ltra(r=1 l=250n g=0 c=100p len=0.1)\n",
    ],
)
def test_what_an_included_file_would_leave_behind(text, tmp_path, opened, cold):
    (tmp_path / "settings.inc").write_text(text)
    session = opened()
    with pytest.raises(OnlyCold):
        session.run(Deck(f"{GOOD.text}.include {tmp_path}/settings.inc\n", vectors=("v(out)",)))
    assert difference(cold(GOOD), session.run(GOOD)) == 0.0
    session.close()


def test_a_command_in_a_comment(opened):
    session = opened()
    with pytest.raises(OnlyCold):
        session.run(Deck(f"{GOOD.text}*#quit\n"))
    assert not session.broken


@pytest.mark.parametrize(("count", "way"), [(60, "ParameterWay"), (150, "FilledWay")])
def test_many_parameters(count, way, tmp_path, opened, cold):
    """Setting one costs the more, the more there are: beyond some number the text is loaded."""
    parameters = {f"r{n}": OHMS for n in range(count)}
    ladder = "".join(f"r{n} n{n} n{n + 1} {{{{ r{n} }}}}\n" for n in range(count))
    netlist = f"v1 n0 0 ac 1\n{ladder}rl n{count} out 1\nc1 out 0 1p\n{AC}"
    session = opened()
    for deck in made(tmp_path, parameters, netlist, count=3):
        assert difference(cold(deck), session.run(deck)) == 0.0
    assert ways(session) == {way}
    session.close()
