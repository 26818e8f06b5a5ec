"""Diodes and bipolar transistors of the coarse model, held against ngspice."""

from __future__ import annotations

import numpy as np
import pytest

from m3eda.circuits.opening import open_circuit
from m3eda.coarse.model import Coarse
from m3eda.coarse.quantities import Unsupported
from m3eda.policy.transistors import SimulatedTransistors
from tests.coarse_samples import only, read, solved, spice

MODELS = """.model qn npn(is=2e-16 bf=80 br=2 vaf=40 ikf=2m ise=1e-14 ne=1.8 nf=1.01)
.model qp pnp is=4e-18 bf=4 vaf=80 ikf=0.4m ise=1e-16 ne=1.6 xti=4 eg=1.15 xtb=1
.model dd d(is=1e-15 n=1.2)
"""
DECKS = [
    "v1 a 0 5\nr1 a out 10k\nd1 out 0 dd\n",
    "v1 a 0 5\nr1 a out 10k\nd1 out 0 dd 8\nd2 0 b dd\nr2 a b 1meg\n",
    "v1 a 0 3\nr1 a out 20k\nr2 b 0 1meg\nrb a b 4meg\nq1 out b 0 qn\n",
    "v1 a 0 3\ni1 a out 10u\nq1 0 0 out qp m=8\n",
    "v1 a 0 3\ni1 a out 10u\nq1 0 b out qp area=2\nrb b 0 100k\n",
    "v1 a 0 3\nrb a b 10k\nr1 a out 10k\nq1 out b 0 qn\n",
]


@pytest.mark.simulator
@pytest.mark.parametrize("celsius", [27.0, 110.0])
@pytest.mark.parametrize("deck", DECKS)
def test_operating_points_are_those_of_ngspice(deck, celsius):
    text = f"{MODELS}{deck}.temp {celsius}\n.op"
    [waves] = solved(text, ["v(out)", "i(v1)"])
    theirs = only(spice(text, ["v(out)", "i(v1)"]), "op").vectors
    for name, mine in only(waves, "op").vectors.items():
        assert float(mine[0]) == pytest.approx(float(theirs[name][0].real), rel=2e-3), name


@pytest.mark.simulator
def test_small_signals_and_noise_are_those_of_ngspice():
    text = (MODELS + "v1 a 0 3\nvin in 0 dc 0.65 ac 1\nr0 in b 1k\nr1 a out 10k\nq1 out b 0 qn\n"
            ".ac dec 5 1 10\n.noise v(out) vin dec 5 1 10")  # fmt: skip
    [waves] = solved(text, ["v(out)"])
    theirs = spice(text, ["v(out)", "onoise_spectrum"])
    gain, there = only(waves, "ac").vectors["v(out)"], only(theirs, "ac").vectors["v(out)"]
    assert np.allclose(np.abs(gain), np.abs(there), rtol=5e-3)
    noise = only(waves, "noise").vectors["onoise_spectrum"]
    assert np.allclose(noise, only(theirs, "noise").vectors["onoise_spectrum"].real, rtol=0.02)


@pytest.mark.simulator
def test_a_rectifier_in_time():
    text = MODELS + "v1 in 0 sin(0 3 100k)\nd1 in out dd\nr1 out 0 1k\nc1 out 0 10n\n.tran 50n 20u"
    [waves] = solved(text, ["v(out)"])
    ours, theirs = only(waves, "tran").vectors, only(spice(text, ["v(out)"]), "tran").vectors
    t = theirs["time"].real
    assert np.abs(np.interp(t, ours["time"], ours["v(out)"]) - theirs["v(out)"].real).max() < 0.05


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("d1 a 0 other", "d1 has a model that is on no card of the deck"),
        ("d1 a 0 dd temp=30", "d1 is more than an area and how many there are"),
        ("j1 a 0 0 jj", "j1 is no device that the coarse model knows"),
    ],
)
def test_what_is_unsupported(card, said):
    with pytest.raises(Unsupported, match=said):
        read(f"{MODELS}v1 a 0 1\n{card}")


@pytest.mark.simulator
def test_a_bandgap_reference():
    project = open_circuit("bandgap_reference")
    transistors = SimulatedTransistors(project.simulator(), "")
    coarse = Coarse(project.design, project.plugins.measures, transistors)
    assert not coarse.unsupported
    sizing = project.nominal_sizing()
    [ours] = coarse.measures(coarse.space.unit(sizing)[None], ["vref", "idd"])
    evaluator = project.evaluator()
    try:
        [result] = evaluator.evaluate([evaluator.complete(sizing)])
    finally:
        evaluator.close()
    for name in ("vref", "idd"):
        assert ours[name] == pytest.approx(result["nominal"].measures[name], rel=0.02)
