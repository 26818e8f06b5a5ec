"""What a netlist becomes for Xyce: one analysis a deck, what it prints, names and their meaning."""

from __future__ import annotations

import numpy as np
import pytest
from m3eda_plugins.xyce.deck import Netlist, option_lines, passes
from m3eda_plugins.xyce.names import Unsupported, canonical, is_branch, source, unflat
from m3eda_plugins.xyce.results import Table
from m3eda_plugins.xyce.waves import Incomplete, Outputs, analyses, names_in

from m3eda.simulate.cards import Card
from m3eda.simulate.types import Deck, SimulationFailed, State

AC, TRAN, DC, NOISE = (
    Card(".ac dec 10 1 1e3", 3, 3),
    Card(".tran 1n 1u", 4, 4),
    Card(".dc v1 0 1 0.25", 5, 5),
    Card(".noise v(out) v1 dec 10 1 1e3", 6, 6),
)
LINES = ("title", "v1 in 0 dc 1 ac 1", "r1 in out 1k", "*", "*", "*", "*")


def plan(deck, *cards, op=False, options=None, measures=()):
    return passes(deck, Netlist(LINES, cards, op, measures), options or {})


def wanting(*vectors, **more):
    return Deck("", vectors=vectors, **more)


# names


@pytest.mark.parametrize(
    ("name", "prints", "kinds"),
    [
        ("v(out)", ("v(out)",), "op dc tran ac"),
        ("V(X1.Net)", ("v(x1.net)",), "op dc tran ac"),
        ("v(a,b)", ("v(a)", "v(b)"), "op dc tran ac"),
        ("v(a, 0)", ("v(a)",), "op dc tran ac"),
        ("i(vdd)", ("i(vdd)",), "op dc tran ac"),
        ("vdd#branch", ("i(vdd)",), "op dc tran ac"),
        ("i(v.x1.vs)", ("i(x1.vs)",), "op dc tran ac"),
        ("i(x1.l1)", ("i(x1.l1)",), "op dc tran ac"),
        ("i(r1)", ("i(r1)",), "op dc tran"),
        ("@r1[i]", ("i(r1)",), "op dc tran"),
        ("i(m1)", ("id(m1)",), "op dc tran"),
        ("@m.x1.m2[gm]", ("n(x1.m2:gm)", "x1.m2.m"), "op dc tran"),
        ("@m1[vgs]", ("n(m1:gm)", "n(m1:vds)", "n(m1:vgs)"), "op dc tran"),
        ("@m1[w]", ("m1.w",), "op dc tran"),
        ("onoise_spectrum", ("onoise",), "noise"),
    ],
)
def test_what_a_name_prints(name, prints, kinds):
    found = source(name)
    assert found.prints == prints
    assert found.kinds == tuple(kinds.split())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("@m1[cgg]", "Xyce gives of a MOSFET: [gm], [gds], [id]"),
        ("@q1[gm]", "Xyce gives of such a device: none"),
        ("@r1[temp]", "of such a device: [i], [r]"),
        ("@x1[gm]", "x1 is a subcircuit: name the device inside it, x1.name"),
        ("i(q1)", "0 V in series"),
        ("s(2,1)", "s(2,1) (Xyce knows no such vector)"),
    ],
)
def test_what_xyce_does_not_give_is_refused(name, says):
    with pytest.raises(Unsupported) as caught:
        source(name)
    assert says in str(caught.value)
    with pytest.raises(SimulationFailed) as failed:
        plan(wanting(name), op=True)
    assert failed.value.state is State.VECTOR_MISSING


def made(name, *columns):
    return source(name).make([np.array(column) for column in columns])


def test_values_of_all_fingers_with_the_signs_of_ngspice():
    assert made("@m1[gm]", [2e-3, -2e-3], [3.0, 3.0]) == pytest.approx([6e-3, 6e-3])
    assert made("@m1[id]", [-5e-6, 5e-6]) == pytest.approx([5e-6, 5e-6])  # a PMOS, an NMOS
    # source and drain exchanged
    assert made("@m1[vds]", [1e-3, -1e-3], [0.5, 0.5]) == pytest.approx([0.5, -0.5])
    assert made("@m1[vgs]", [1e-3, -1e-3], [0.5, 0.5], [0.9, 0.9]) == pytest.approx([0.9, 0.4])


def test_differences_and_densities():
    assert made("v(a,b)", [3 + 1j], [1 + 0j]) == pytest.approx([2 + 1j])
    assert made("v(0,b)", [1.5]) == pytest.approx([-1.5])
    assert made("onoise_spectrum", [4e-18]) == pytest.approx([2e-9])


def test_names_of_columns():
    assert canonical("V(X1.NET)") == "v(x1.net)"
    assert unflat("m.x1.x2.m3") == "x1.x2.m3"
    assert unflat("x1.m3") == "x1.m3"
    assert is_branch("i(x1.vs)")
    assert not is_branch("i(r1)")
    assert not is_branch("v(l1)")


# passes


def test_one_analysis_a_deck_and_the_operating_point_beside_ac():
    ac, tran = plan(wanting("v(out)", device_values=("@m1[gm]",)), AC, TRAN)
    assert (ac.kind, tran.kind) == ("ac", "tran")
    assert (ac.deck_file, tran.deck_file) == ("deck.cir", "deck2.cir")
    assert ac.text.splitlines()[3] == AC.text
    assert TRAN.text not in ac.text
    assert tran.text.splitlines()[4] == TRAN.text
    assert "\n.print ac format=csv precision=15\n+ v(out)\n" in ac.text
    more = "v(out) n(m1:gm) m1.m\n.end\n"
    assert f"\n.op\n.print ac_ic format=csv precision=15\n+ {more}" in ac.text
    assert f".print tran format=csv precision=15\n+ {more}" in tran.text


@pytest.mark.parametrize("name", ["i(r1)", "@m1[id]"])
def test_currents_into_devices_need_a_pass_of_their_own(name):
    op, ac = plan(wanting("v(out)", "i(v1)", name), AC)
    assert (op.kind, ac.kind) == ("op", "ac")
    assert "\n.op\n.print dc format=csv precision=15\n+ v(out) i(v1) " in op.text
    assert ac.beside is None
    assert ac.prints == ("v(out)", "i(v1)")


def test_a_source_of_current_has_no_branch():
    lines = (*LINES[:2], "b1 out 0 i={1m*v(in)}", "b2 far 0 v={v(in)}", *LINES[4:])
    netlist = Netlist(lines, (Card(AC.text, 4, 4),), False)
    deck = wanting("i(b1)", "i(b2)")
    assert passes(deck, netlist, {})[-1].prints == ("i(b2)",)


def test_a_transient_that_skips_the_operating_point_has_none():
    assert [one.kind for one in plan(wanting("v(out)"), Card(".tran 1n 1u uic", 4, 4))] == ["tran"]
    assert [one.kind for one in plan(wanting("v(out)"), TRAN)] == ["op", "tran"]


def test_the_variable_of_a_sweep_is_printed():
    _, dc = plan(wanting("v(out)"), DC)
    assert dc.prints == ("v1", "v(out)")
    assert dc.points == 5
    temperatures = plan(wanting("v(out)"), Card(".dc temp -40 125 5", 5, 5))[1]
    assert temperatures.prints == ("temp", "v(out)")
    assert temperatures.points == 34


def test_noise_prints_densities_only():
    deck = wanting("v(out)", "onoise_spectrum", "inoise_total")
    _, noise = plan(deck, NOISE)
    assert noise.prints == ("onoise",)
    assert noise.totals == ("inoise_total",)


def test_an_analysis_that_nothing_is_wanted_of_does_not_run():
    assert [one.kind for one in plan(wanting("onoise_spectrum"), AC, NOISE)] == ["noise"]


def test_nothing_asked_prints_all():
    op, ac = plan(wanting(device_values=("@m1[id]",)), AC)
    assert op.prints == ("id(m1)", "v(*)", "i(*)")
    assert ac.prints == ("v(*)", "i(*)")


def test_measures_of_the_analysis_alone():
    measures = (("ac", "gain", ".measure ac gain max vm(out)"), ("tran", "rise", ".measure tran x"))
    deck = wanting("v(out)", meas=("Gain",))
    ac, tran = plan(deck, AC, TRAN, measures=measures)
    assert ac.meas == ("gain",)
    assert ".options measure measdgt=15\n.measure ac gain max vm(out)\n" in ac.text
    assert ".measure" in tran.text
    assert tran.meas == ()
    assert (ac.measure_file, tran.measure_file) == ("deck.cir.ma0", "deck2.cir.mt0")


def test_no_analysis():
    with pytest.raises(SimulationFailed, match="no analysis card"):
        plan(wanting("v(out)"))


# options


def test_options_of_packages():
    options = {"timeint.reltol": 1e-4, "nonlin.maxstep": 500.0, "timeint.method": "gear"}
    assert option_lines(options) == [
        ".options nonlin maxstep=500",
        ".options timeint reltol=0.0001 method=gear",
    ]
    (ac,) = plan(wanting("v(out)"), AC, options=options)
    assert ".options timeint reltol=0.0001 method=gear\n.print ac" in ac.text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"reltol": 1e-4}, "names no package of Xyce's .options: write timeint.reltol"),
        ({"gmin": 1e-12}, "write device.gmin"),
        ({"time.reltol": 1e-4}, "no package 'time' of .options (it has device, "),
        ({"timeint.reltol": "1 2"}, "is not an option of Xyce"),
        ({"timeint.re l": 1}, "is not an option of Xyce"),
    ],
)
def test_options_that_are_none(options, says):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        option_lines(options)
    assert says in str(caught.value)


# results


def table(names, *rows, cut=False):
    return Table(tuple(names.split()), np.array(rows, dtype=float), cut)


def test_vectors_as_asked_for_with_units():
    ac = plan(wanting("v(out)", "v(in,out)"), AC, TRAN)[0]
    names = "freq re(v(out)) im(v(out)) re(v(in)) im(v(in))"
    rows = [[10 ** (n / 10), 0.5, -0.5, 1.0, 0.0] for n in range(31)]
    given = Outputs(table(names, *rows), table("time v(out) v(in)", [0.0, 1.0, 3.0]))
    op, response = analyses(ac, given, {})
    assert (op.kind, op.scale, response.scale) == ("op", "", "frequency")
    assert dict(op.units) == {"v(out)": "V", "v(in,out)": "V"}
    assert op.vectors["v(in,out)"] == pytest.approx([2.0])
    assert response.vectors["v(in,out)"][0] == pytest.approx(0.5 + 0.5j)
    assert set(response.vectors) == {"frequency", "v(out)", "v(in,out)"}
    assert names_in(given) == {"v(out)", "v(in)"}


def sweep(rows, names="v1 v(out)"):
    dc = plan(wanting("v(out)"), DC)[1]
    return analyses(dc, Outputs(table(names, *rows)), {})


def test_a_dc_sweep_over_its_variable():
    (dc,) = sweep([[0.25 * n, 2.0 * n] for n in range(5)])
    assert dc.scale == "sweep"
    assert dc.vectors["sweep"] == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])
    assert dict(dc.units) == {"sweep": "V", "v(out)": "V"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (([[0.25 * n, 1.0] for n in range(4)],), "the DC sweep gave 4 of 5 points"),
        (([[0.25 * n, 1.0] for n in range(6)],), "the DC sweep gave 6 of 5 points"),
        (([[0.25 * n] for n in range(5)], "v1"), "the DC sweep gave no column v(out)"),
        (
            ([[0.25 * n, 1.0, 1.0] for n in range(5)], "v1 v(out) v(old)"),
            "the DC sweep gave columns nobody asked for: v(old)",
        ),
        ((np.empty((0, 2)),), "the DC sweep gave no points"),
    ],
)
def test_tables_that_are_not_what_was_asked_for(given, says):
    with pytest.raises(Incomplete) as caught:
        sweep(*given)
    assert str(caught.value) == says


def test_a_partial_transient_says_how_far_it_came():
    tran = plan(wanting("v(out)"), TRAN)[1]
    with pytest.raises(Incomplete, match=r"stopped at t = 2e-07 s of 1e-06 s"):
        analyses(tran, Outputs(table("time v(out)", [0.0, 1.0], [2e-7, 1.0])), {})
    with pytest.raises(Incomplete, match="in the middle of a line"):
        analyses(tran, Outputs(table("time v(out)", [0.0, 1.0], [1e-6, 1.0], cut=True)), {})
