"""Models, options and conditions of ngspice that Xyce would pass over without a word."""

from __future__ import annotations

import pytest
from m3eda_plugins.xyce.dialect import translate
from m3eda_plugins.xyce.models import model
from m3eda_plugins.xyce.options import merged
from m3eda_plugins.xyce.plan import prepare
from m3eda_plugins.xyce.text import Refused

from m3eda.simulate.types import Deck, SimulationFailed


@pytest.fixture
def refusal(tmp_path):
    """Why cards behind a title are refused."""

    def why(cards):
        with pytest.raises(SimulationFailed) as caught:
            translate(f"title\n{cards}\n.end\n", tmp_path)
        return caught.value.reason

    return why


@pytest.mark.parametrize(
    ("ngspice", "xyce"),
    [
        ("d (is=1e-14 , mj=0.3,pb=0.6 tref=50)", "d (is=1e-14 m=0.3 vj=0.6 tnom=50)"),
        ("npn bf=100 c4=1e-13 tref=50", "npn bf=100 isc=1e-13 tnom=50"),
        ("njf vt0=-2 kf=1e-17", "njf vto=-2 kf=1e-17"),
        ("r rsh=50 w=2u tc1r=1m", "r rsh=50 defw=2u tc1=1m"),
        ("c cox=1m capsw=1n narrow=0", "c cj=1m cjsw=1n narrow=0"),
        ("nmos level=1,vto=0.5", "nmos level=1 vto=0.5"),
        ("nmos level=54 xl=1n delvto={x}", "nmos level=54 xl=1n delvto={x}"),
        ("d is=1e-15 ik=0 fv_max=3", "d is=1e-15 ik=0 fv_max=3"),
    ],
)
def test_parameters_under_their_other_names(ngspice, xyce):
    assert model(f".model name {ngspice}") == f".model name {xyce}"


@pytest.mark.parametrize(
    ("card", "key"),
    [
        ("d ikf=10m", "ikf"), ("d isr=1n", "isr"), ("pnp ptf=20", "ptf"), ("npn tis1=1m", "tis1"),
        ("njf bex=1", "bex"), ("nmf cgs=1p", "cgs"), ("nmos level=3 xl=10n", "xl"),
        ("r narrow=0.1u", "narrow"), ("r r=2k", "r"), ("c del={d}", "del"), ("l ind=1u", "ind"),
    ],
)  # fmt: skip
def test_parameters_that_xyce_lacks(card, key):
    with pytest.raises(Refused) as caught:
        model(f".model dut {card}")
    assert caught.value.reason == (
        f"Xyce has no {key}= as ngspice means it: take it out of model dut"
    )


def test_a_lateral_transistor_is_none_of_xyce(refusal):
    assert refusal(".model lat pnp is=1e-16 cjs=2p") == (
        "line 2: Xyce's transistors are vertical: write subs=1 into model lat"
    )
    assert model(".model ver pnp cjs=2p subs=1") == ".model ver pnp cjs=2p subs=1"
    assert model(".model npn1 npn cjs=2p") == ".model npn1 npn cjs=2p"


def test_flicker_noise_that_xyce_lacks_counts_in_noise_alone(refusal, tmp_path):
    card = ".model jn njf vto=-2 kf=1e-17"
    assert model(card) == card
    assert refusal(f"{card}\n.noise v(d) vg dec 1 1 10").startswith("line 2: Xyce has no kf=")
    assert translate(f"title\n{card}\n.ac dec 1 1 10\n.end\n", tmp_path).lines[1] == card


LIBRARY = """* diodes
.model fast d is=1e-15 ikf=10m
.model plain d is=1e-15
.subckt clamp a
d1 a 0 fast
.ends
.subckt outer a
x1 a clamp
.ends
"""


@pytest.mark.parametrize(
    ("cards", "refused"),
    [
        ("d1 a 0 plain", False), ("d1 a 0 FAST", True), ("x1 a clamp", True),
        ("x1 a outer", True), (".subckt mine a\nd1 a 0 fast\n.ends", False),
    ],
)  # fmt: skip
def test_a_model_of_a_file_is_refused_where_it_is_used(tmp_path, refusal, cards, refused):
    path = tmp_path / "diodes.lib"
    path.write_text(LIBRARY)
    deck = f'.include "{path}"\n{cards}\nv1 a 0 1'
    if refused:
        assert refusal(deck) == (
            "diodes.lib line 2: Xyce has no ikf= as ngspice means it: take it out of model fast"
        )
    else:
        assert not translate(f"title\n{deck}\n.end\n", tmp_path / "copies").files


@pytest.mark.parametrize(
    ("cards", "reason"),
    [
        (".param hertz=3", "line 2: Xyce has a quantity 'hertz' of its own: rename the parameter"),
        (".subckt c a time=3\n.ends", "line 2: Xyce has a quantity 'time' of its own"),
        (
            ".param k=1\n.if (k==1)\n.param r=2\n.endif",
            "line 4: ngspice takes the .param of every branch of an .if",
        ),
        (
            "r1 a 0 1k\n.nodeset v(a)=1\n.ic v(a)=1\n.tran 1n 1u",
            "line 3: Xyce takes .ic or .nodeset in a transient, not both",
        ),
        ("r1 a 0 1\u00b5", "line 2: '1\u00b5' is no number (write u for micro)"),
        ("b1 a 0 v=limit(v(b),0,1)", "line 2: ngspice draws limit() at random: write min(max("),
    ],
)
def test_what_differs_without_a_word_is_refused(refusal, cards, reason):
    assert refusal(cards).startswith(reason)


def test_the_last_value_of_an_option_holds(tmp_path):
    said = translate(
        "title\n.temp 50\n.options temp=100 gmin=1e-11\n.option gmin=1e-10\n.op\n.end\n", tmp_path
    )
    assert merged(said.options) == (".options device temp=50 gmin=1e-10",)
    deck = Deck("title\nr1 a 0 1\n.option gmin=1e-11 reltol=1e-5\n.op\n.end\n", vectors=("v(a)",))
    [one] = prepare(deck, {"device.gmin": 1e-13, "timeint.reltol": "1e-6"}, tmp_path)
    lines = [line for line in one.text.splitlines() if line.startswith(".options")]
    assert lines == [
        ".options device gmin=1e-13",
        ".options nonlin reltol=1e-5",
        ".options nonlin-tran reltol=1e-5",
        ".options timeint reltol=1e-6",
    ]


@pytest.mark.parametrize(
    ("card", "made"),
    [
        ("q1 c b e 0 2n3904", "q1 c b e 0 2n3904"),
        ("q1 c b e 0 2n3904 {2*a}", "q1 c b e 0 2n3904 {2*a}"),
        ("q1 c b e model '2*a'", "q1 c b e model '2*a'"),
        ("d1 a 0 1n4148 2.5u", "d1 a 0 1n4148 2.5u"),
        ("v1 a 0 sin(0 1)", "v1 a 0 dc 0 sin ( 0 1 {1/1u} )"),
    ],
)
def test_devices(tmp_path, card, made):
    assert translate(f"title\n{card}\n.tran 1n 1u\n.end\n", tmp_path).lines[1] == made


def test_an_end_of_a_section_without_a_name(tmp_path):
    path = tmp_path / "models.lib"
    path.write_text(".lib tt\n.param a=1\n.endl\n.lib dio\n.model dd d is=1e-15\n.endl dio\n")
    [copy] = translate(f'title\n.lib "{path}" dio\n.end\n', tmp_path / "copies").files
    assert copy.read_text().splitlines()[2:5] == ["*.endl", ".lib dio", ".model dd d is=1e-15"]


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("m=2\nr1 a 0 1k m={m}", "the default is held"),
        ("m=1\nr1 a 0 {1k/m}", "not a number of devices"),
        ("m=1\nr1 a 0 1k", "not of all devices"),
        ("m=1\nr1 a 0 1k m=m w={m*2}", "used otherwise too"),
    ],
)
def test_a_multiplier_that_means_something_else(tmp_path, refusal, cell, why):
    cards = f".subckt cell a {cell}\n.ends\nx1 a cell"
    assert refusal(f"{cards} m=3") == (
        "line 5: cell makes its own use of m, which Xyce only multiplies with: "
        "call its parameter otherwise"
    ), why
    assert translate(f"title\n{cards}\n.end\n", tmp_path).lines[4] == "x1 a cell"
