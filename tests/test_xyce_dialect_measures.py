"""`.meas` cards of ngspice in Xyce's words."""

from __future__ import annotations

import pytest
from m3eda_plugins.xyce.dialect import translate

from m3eda.simulate.types import SimulationFailed


@pytest.fixture
def said(tmp_path):
    """What becomes of cards behind a title."""
    return lambda cards: translate(f"title\n{cards}\n.end\n", tmp_path)


@pytest.mark.parametrize(
    ("ngspice", "xyce"),
    [
        (
            "tran tr trig v(a) val=0.1 rise=1 targ v(a) val=0.9 rise=1",
            "tran m3eda_tr trig v(a)=0.1 rise=1 targ v(a)=0.9 rise=1",
        ),
        (
            "tran d trig at=1u targ v(a)=0.5 fall=last",
            "tran m3eda_d trig at=1u targ v(a)=0.5 fall=last",
        ),
        ("tran x find v(a) at=2u", "tran m3eda_x find v(a) at=2u"),
        (
            "tran x find v(a,b) when v(c)='vdd/2' td=1n",
            "tran m3eda_x find v(a,b) when v(c)='vdd/2' td=1n",
        ),
        ("tran x when v(a)=v(b) cross=1", "tran m3eda_x when v(a)=v(b) cross=1"),
        ("tran x avg v(a) from=1n to=2n", "tran m3eda_x avg v(a) from=1n to=2n"),
        ("tran x integral i(v1)", "tran m3eda_x integ i(v1)"),
        ("tran x max par('v(a)-v(b)')", "tran m3eda_x max {v(a)-v(b)}"),
        ("dc x pp v(a)", "dc m3eda_x pp v(a)"),
        # the real part in ngspice, radians in ngspice
        ("ac x find v(a) at=1k", "ac m3eda_x find vr(a) at=1k"),
        ("ac x find vdb(a) at=1k", "ac m3eda_x find vdb(a) at=1k"),
        ("ac x when vp(a)=-1", "ac m3eda_x when {vp(a)*3.141592653589793/180}=-1"),
    ],
)  # fmt: skip
def test_measures(said, ngspice, xyce):
    (found,) = said(f".meas {ngspice}").measures
    assert found.card == f".measure {xyce}"


def test_measures_of_measures(said):
    found = said(".meas tran Before find v(a) at=1n\n.meas tran rise param='2*before-x'").measures
    assert [measure.card for measure in found] == [
        ".measure tran m3eda_before find v(a) at=1n",
        ".measure tran m3eda_rise param={2*m3eda_before-x}",
    ]
    assert [(measure.name, measure.line) for measure in found] == [("before", 1), ("rise", 2)]


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ("tran x max_at v(a)", "line 2: .meas x: Xyce has no max_at"),
        ("noise x avg onoise_spectrum", "line 2: .meas x: Xyce measures noise in V^2/Hz"),
        ("tran x find v(a)", "line 2: .meas x: it ends early"),
        ("tran x avg v(a) through=3", "line 2: .meas x: 'through' is no part of a measure"),
    ],
)
def test_a_measure_that_cannot_be_said_is_refused_where_it_is_wanted(said, card, reason):
    (found,) = said(f".meas {card}").measures
    with pytest.raises(SimulationFailed, match="parse error") as failed:
        _ = found.card
    assert failed.value.reason.startswith(reason)


def test_what_is_no_measure(said):
    for card, reason in (
        (".meas tran x", "line 2: '.meas tran x' is no measure"),
        (".meas sp x max s_1_1", "line 2: ngspice has no measure of a sp analysis"),
    ):
        with pytest.raises(SimulationFailed) as failed:
            said(card)
        assert failed.value.reason.startswith(reason)
