"""Subcircuits called with `m=`: what ngspice multiplies right is run, the rest is refused."""

from __future__ import annotations

import pytest
from m3eda_plugins.ngspice import ngspice, ngspice_batch
from m3eda_plugins.ngspice.multipliers import check_multipliers

from m3eda.simulate.types import Deck, SimulationFailed, State

HEAD = "* multipliers\nv1 a 0 1\n.op\n"
HSPICE = "set ngbehavior=hsa\n"
R, TWO = "r1 a b 1k\n", "r1 a b 1k m=2\n"


def circuit(body: str, call: str = "x1 a 0 part m=5", header: str = "part a b") -> str:
    return f"{HEAD}{call}\n.subckt {header}\n{body}.ends\n.end\n"


RIGHT = {
    "a device": (circuit(R), 5e-3),
    "nobody multiplies": (circuit(TWO, "x1 a 0 part"), 2e-3),
    "a parameter of its own": (circuit(TWO[:-2] + "{2*m}\n", header="part a b m=1"), 10e-3),
    "as the refusal says": (
        circuit(TWO[:-2] + "{(2)*k}\n", "x1 a 0 part k=5", "part a b k=1"),
        10e-3,
    ),
    "a G source": (circuit("g1 a b a b 1m\n"), 5e-3),
    "a B source of a voltage": (circuit("b1 c b v=v(a,b)\nr1 a c 1k\nr2 a b 1k\n"), 5e-3),
}
WRONG = {
    "a device": (TWO, "forgets m=2 of r1", 10e-3),
    "a call within": ("x2 a b leaf M = {1+2}\n", "forgets m=1+2 of x2", 15e-3),
    "a B source of a current": ("b1 a b i=v(a,b)*1e-3\n", "the B source b1", 5e-3),
    "a switch": ("s1 a b a b sw\n.model sw sw vt=0.5 ron=1k\n", "the switch s1", 5e-3),
    "an F source": ("vs a c 0\nr1 c b 1k\nf1 a b vs 1\n", "all copies to f1", 10e-3),
    "an H source": ("vs a c 0\nr1 c b 1k\nh1 d b vs 1k\nr2 a d 1k\n", "all copies to h1", 5e-3),
}
LEAF = ".subckt leaf a b\nr1 a b 1k\n.ends\n"


def wrong(name: str) -> str:
    return circuit(WRONG[name][0], "x1 a 0 part\n+ m = '2+3'") + LEAF


def current(simulator, deck: Deck, tmp_path) -> float:
    [analysis] = simulator.run(deck, tmp_path, 20.0).analyses
    return -float(analysis.vectors["i(v1)"][0])


@pytest.mark.simulator
@pytest.mark.parametrize("name", RIGHT)
def test_what_is_multiplied_right_runs(name, tmp_path):
    text, expected = RIGHT[name]
    assert current(ngspice_batch({}), Deck(text), tmp_path) == pytest.approx(expected, rel=1e-6)


@pytest.mark.simulator
@pytest.mark.parametrize("name", WRONG)
def test_what_is_multiplied_wrong_is_refused(name, tmp_path, monkeypatch):
    deck = Deck(wrong(name))
    with pytest.raises(SimulationFailed) as failed:
        ngspice_batch({}).run(deck, tmp_path, 20.0)
    assert failed.value.state is State.PARSE_ERROR
    assert WRONG[name][1] in failed.value.reason
    assert "\n" not in failed.value.reason
    # and ngspice would have been silent
    monkeypatch.setattr("m3eda_plugins.ngspice.batch.check_multipliers", lambda *_: None)
    assert current(ngspice_batch({}), deck, tmp_path) != pytest.approx(WRONG[name][2], rel=0.1)


@pytest.mark.simulator
@pytest.mark.parametrize("name", ["a device", "a call within"])
def test_hspices_behaviour_multiplies_both(name, tmp_path):
    start = tmp_path / "start"
    start.write_text(HSPICE)
    simulator = ngspice_batch({"spiceinit": str(start)})
    found = current(simulator, Deck(wrong(name)), tmp_path)
    assert found == pytest.approx(WRONG[name][2], rel=1e-6)


@pytest.mark.simulator
def test_a_session_refuses_it_too(tmp_path):
    session = ngspice({}).open(tmp_path, strict=True)
    with pytest.raises(SimulationFailed, match="line 6: ngspice forgets m=2 of r1"):
        session.run(Deck(wrong("a device").replace("\n+", "")))
    session.close()


def test_a_subcircuit_of_an_included_file(tmp_path):
    library = tmp_path / "parts.inc"
    library.write_text(f"* parts\n.subckt other a b\n{TWO}.ends\n.SUBCKT part a b\n{TWO}.ends\n")
    deck = Deck(f"{HEAD}x1 a 0 part m=5\n.end\n", files=(library,))
    with pytest.raises(SimulationFailed, match=r"parts\.inc: line 6: ngspice forgets m=2 of r1"):
        check_multipliers(deck, "")
    check_multipliers(deck, HSPICE)
