"""Circuits by their devices: cells of a deck, what decides their sizes, and which are alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from m3eda import library
from m3eda.circuits.opening import open_circuit
from m3eda.design.quantities import quantity_of
from m3eda.design.types import Measure, Parameter
from m3eda.flow import Execution, Project
from m3eda.importing.devices import Circuit
from m3eda.importing.reader import netlist_of
from m3eda.policy.agent import M3
from m3eda.policy.known import knowledge_of
from m3eda.policy.response import Scale
from m3eda.policy.shipped import match
from m3eda.policy.similar import Core, devices_of, names_of, scale_in
from m3eda.structure.alike import overlays
from m3eda.structure.cell import LENGTH, VALUE, WIDTH, cells
from m3eda.structure.elements import Devices
from m3eda.structure.fit import Fit
from m3eda.structure.sizes import Decks
from tests.conftest import ROOT

FLAT = ROOT / "examples" / "flat_opamp" / "design.yaml"
PAIR = """* a pair and its load
m1 a in1 t 0 nch w=2u l=0.2u
m2 b in2 t 0 nch w=2u l=0.2u
m3 a a vdd vdd pch w=4u l=0.4u
m4 b a vdd vdd pch w=4u l=0.4u
it t 0 10u
cc b z 1p
rz z out 1k
"""
OTHERWISE = """* the same, its pair in halves, its series elements the other way round
.subckt core left right load sum
xn1 load right foot 0 nfet_kit w=1 l=0.2
m8 sum left foot 0 nch w=1u l=0.2u m=2
m9 load right foot 0 nfet_kit w=1u l=0.2u
ib 0 foot dc 10u
.ends
x5 p q n1 n2 core
mpa n1 n1 top top pch w=4u l=0.4u
mpb n2 n1 top top pch w=4u l=0.4u
rser n2 mid 1k
cser mid n3 1p
cload n3 0 5p
vtop top 0 1.8
"""


def flat_in(folder: Path) -> Path:
    """The example in `folder`; gives its netlist."""
    for path in FLAT.parent.glob("*.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder / "opamp.cir.j2"


def cells_of(text: str):
    return cells(Devices(Circuit(netlist_of(Path("deck.cir"), text))))


def test_a_flat_deck_is_a_cell_of_its_own():
    [cell] = cells_of(PAIR)
    assert cell.transistors == (2, 2)
    assert dict(cell.counts) == {"nmos": 2, "pmos": 2, "i": 1, "cr": 1}
    assert dict(cell.parts[0].sizes) == {WIDTH: 2e-6, LENGTH: 2e-7}
    assert cell.parts[4].sizes[VALUE] == 1e-5
    assert cell.steady == {"0"}


def test_dummies_and_decoupling_are_no_part():
    [cell] = cells_of(PAIR + "md b t t 0 nch w=1u l=1u\nmc vdd 0 vdd vdd pch w=9u l=9u\n")
    assert cell.transistors == (2, 2)


def test_sources_of_zero_volts_are_wires():
    metered = PAIR.replace("it t 0", "it foot vss") + "vss vss 0 0\nvmeter t foot dc 0V\n"
    [one], [other] = cells_of(PAIR), cells_of(metered)
    assert list(overlays(one, other))
    inputs = metered + "vp in1 0 0\nvn in2 0 dc 0\n"
    [standing] = cells_of(inputs)
    assert list(overlays(one, standing))
    assert {"in1", "in2"} <= standing.steady
    driven = metered.replace("vmeter t foot dc 0V", "vmeter t foot dc 0 ac 1")
    assert list(overlays(one, cells_of(driven)[0])) == []


def test_transistors_alone_tell_a_circuit_where_its_passives_differ():
    text = PAIR.replace("cc b z 1p\nrz z out 1k\n", "m5 out b vdd vdd pch w=1u l=1u\ncc b out 1p\n")
    [full] = cells_of(text)
    [less] = cells_of(text.replace("it t 0 10u", "rt t 0 1k").replace("cc b out", "cx b t"))
    assert list(overlays(full, less)) == []
    [found] = overlays(full, less, bare=True)
    assert {full.parts[low].name for low in found} == {"m1", "m2", "m3", "m4", "m5"}
    [found] = overlays(full, full, bare=True)
    assert len(found) == len(full.parts)


def test_transistors_in_parallel_are_one():
    split = PAIR.replace(
        "m2 b in2 t 0 nch w=2u", "m2x b in2 t 0 nch w=0.5u m=2\nm2 b in2 t 0 nch w=1u"
    )
    [cell] = cells_of(split)
    assert cell.transistors == (2, 2)
    assert cell.parts[1].sizes[WIDTH] == pytest.approx(2e-6)


@pytest.mark.parametrize("change", [
    ("m4 b a vdd", "m4 b b vdd"),  # no mirror
    ("nch w=2u l=0.2u\nm2", "pch w=2u l=0.2u\nm2"),
    ("it t 0", "it a 0"),
    ("cc b z", "cc a z"),
    ("m1 a in1 t", "m1 in1 a t"),
])  # fmt: skip
def test_what_is_connected_otherwise_is_another_circuit(change):
    [one], [other] = cells_of(PAIR), cells_of(PAIR.replace(*change))
    assert len(list(overlays(one, one))) == 1
    assert list(overlays(one, other)) == []


def test_names_order_and_subcircuits_do_not_matter():
    [one] = cells_of(PAIR)
    text = OTHERWISE.replace("xn1 load right foot 0 nfet_kit w=1 l=0.2\n",
                             "m7 load right foot 0 nfet_kit w=1u l=0.2u\n")  # fmt: skip
    [whole] = cells_of(text)
    assert whole.steady == {"0", "top"}
    [found] = overlays(one, whole)
    named = {one.parts[low].name: whole.parts[high].name for low, high in found.items()}
    assert named == {"m1": "x5.m7", "m2": "x5.m8", "m3": "mpa", "m4": "mpb", "it": "x5.ib",
                     "cc": "rser"}  # fmt: skip
    assert whole.parts[found[1]].sizes[WIDTH] == pytest.approx(2e-6)
    assert dict(whole.parts[found[5]].sizes) == {"c": 1e-12, "r": 1e3}
    assert list(overlays(one, whole.complement)) == []


def test_a_subcircuit_stands_by_itself_whatever_connects_its_pins():
    text = PAIR.replace("* a pair and its load", "* buffer\n.subckt amp in1 in2 vdd b out")
    text += ".ends\nvdd s 0 1.8\nx1 o i s o o amp\nvi i 0 0.9\ncl o 0 1p\n"
    inner, whole = cells_of(text)
    [own] = cells_of(PAIR)
    assert list(overlays(own, inner))
    assert list(overlays(own, whole)) == []
    assert {"0", "x1.vdd", "x1.in2"} == inner.steady


def test_calls_without_end_are_left():
    text = "* endless\n.subckt a p\nm1 p p 0 0 nch w=1u l=1u\nx2 p a\nx3 p a\n.ends\nx1 q a\n"
    assert [cell.transistors for cell in cells_of(text)] == [(1, 0), (1, 0)]


def test_sizes_go_with_the_parameters_that_decide_them():
    design = Project.load(FLAT).design
    decks = Decks(design)
    [(bench, place, _)] = decks.cells()
    sized = decks.sized(bench, place)
    names = {part.name: number for number, part in enumerate(sized.cell.parts)}
    row = sized.keys.index((names["m5a"], WIDTH))
    assert sized.slopes[row].tolist() == pytest.approx(
        [float(name == "Wbias") for name in sized.parameters]
    )
    start = float(decks.start["Wbias"])
    assert np.exp(sized.logs[row]) == pytest.approx(2.0 * start, rel=1e-6)


def test_a_circuit_of_the_library_lies_over_itself_in_other_units():
    design = open_circuit("two_stage_miller_rz").design
    core = Core(design, devices_of(design)["core"]).sized
    identity = {place: place for place in range(len(core.cell.parts))}
    fit = Fit.of(core, core, identity)
    assert all(fit.known)
    assert all(fit.reached)
    assert fit.miss == pytest.approx(0.0, abs=1e-9)
    logs = core.at + np.random.default_rng(0).normal(0.0, 0.3, (5, len(core.at)))
    assert fit.there(logs) == pytest.approx(logs, abs=1e-3)
    assert fit.back(logs) == pytest.approx(logs, abs=1e-3)


@pytest.mark.usefixtures("networks_alone")
def test_an_amplifier_with_a_p_pair_is_that_with_an_n_pair():
    design = Project.load(FLAT).design
    found = match(design)
    assert found.circuit == "two_stage_miller_rz"
    assert found.laid.mirrored
    assert found.laid.names == {"A0": "gain", "GBW": "ugbw", "phase_margin": "pm", "power": "ivdd"}
    assert set(found.parameters) == {each.name for each in design.free}
    words = knowledge_of(design).words
    assert words == ("similar to two_stage_miller_rz of the library by its devices, "
                     "n for p and p for n")  # fmt: skip


def test_of_two_circuits_the_one_that_is_not_its_complement_is_taken():
    design = open_circuit("m3_r2soa").design
    first = design.free[0]
    own = replace(first, name="own")
    tied = Parameter(first.name, expression="own * 1")
    found = match(replace(design, parameters={**design.parameters, first.name: tied, "own": own}))
    assert found.circuit == "m3_r2soa"
    assert not found.laid.mirrored


@pytest.mark.usefixtures("networks_alone")
def test_a_bias_voltage_stands_for_a_current_and_its_diode():
    design = Project.load(FLAT.with_name("ota.yaml")).design
    found = match(design)
    assert found.circuit == "five_transistor_ota"
    assert found.laid.bare
    assert set(found.parameters) == {each.name for each in design.free}
    fit = found.laid.fit
    place = fit.other.parameters.index("i_bias")
    assert not fit.reached[place]
    assert fit.guessed.tolist() == [name == "i_bias" for name in fit.other.parameters]
    own = np.tile(fit.own.at, (4, 1))
    for row, name in enumerate(("W5", "L5", "Vb"), 1):
        own[row, fit.own.parameters.index(name)] += 0.1
    there = fit.there(own)[:, place]
    assert there - there[0] == pytest.approx([0.0, 0.1, -0.1, 0.5], abs=1e-3)
    agent = M3(design, 1, {})
    assert agent.relying
    assert "by its transistors" in agent.describe()


def test_networks_answer_in_the_design_s_own_words():
    design = Project.load(FLAT).design
    networks = knowledge_of(design).networks
    assert {axis.name for axis in networks.axes} == {each.name for each in design.free}
    x = np.random.default_rng(0).random((6, len(networks.axes)))
    said = networks.answer(x, ["GBW", "power"])
    assert said.mean.shape == (6, 2)
    assert np.isfinite(said.mean).all()
    good = networks.good([(0.0, 1.0)], ["GBW"])
    assert good.shape[1] == len(networks.axes)
    assert ((good >= 0.0) & (good <= 1.0)).all()
    # more current takes more power, by whatever name
    place = [axis.name for axis in networks.axes].index("Iref")
    low, high = np.full((2, len(networks.axes)), 0.5)
    low[place], high[place] = 0.1, 0.9
    power = networks.answer(np.array([low, high]), ["power"]).mean[:, 0]
    assert power[1] > power[0]


@pytest.mark.simulator
def test_names_of_ones_own_take_fewer_than_a_search():
    found = {agent: library.size(FLAT, agent=agent, budget=200, execution=Execution(cache=False))
             for agent in ("m3", "search")}  # fmt: skip
    assert found["m3"].met
    assert len(found["m3"].trials) < len(found["search"].trials)


def test_other_passives_are_learnt_from_the_trials(tmp_path):
    deck = flat_in(tmp_path)
    deck.write_text(deck.read_text().replace("RZ n2 nz", "RZ n1 nz"))
    found = match(Project.load(tmp_path / "design.yaml").design)
    assert found.laid.bare
    assert not {"Cmiller", "Rnull"} & set(found.parameters)
    assert "by its transistors" in found.words(Project.load(tmp_path / "design.yaml").design, False)


def test_a_changed_connection_makes_it_new(tmp_path):
    deck = flat_in(tmp_path)
    deck.write_text(deck.read_text().replace("M7 vo n2 0 0", "M7 vo n2 n9 0\nRS n9 0 100"))
    assert match(Project.load(tmp_path / "design.yaml").design) is None


def test_more_parameters_of_ones_own_than_known_make_it_new():
    design = Project.load(FLAT).design
    own = {f"own{n}": Parameter(f"own{n}", minimum=1.0, maximum=2.0) for n in range(12)}
    assert match(replace(design, parameters={**design.parameters, **own})) is None


def test_decks_that_are_no_netlists_are_not_known(tmp_path):
    deck = flat_in(tmp_path)
    deck.write_text(deck.read_text().replace(".ac dec", ".subckt open a b\n.ac dec"))
    assert match(Project.load(tmp_path / "design.yaml").design) is None
    assert match(Project.load(ROOT / "examples" / "spectre_style" / "design.yaml").design) is None


@pytest.mark.parametrize(("name", "expression", "unit", "quantity"), [
    ("GBW", "unity_gain_frequency(v(o))", "Hz", "unity-gain frequency"),
    ("result_1", "db(dc_gain(v(o)))", "dB", "gain"),
    ("cmrr", "dc_gain(v(d)) / dc_gain(v(c))", "V/V", "cmrr"),
    ("I_supply", "-i(vdd)", "A", "supply current"),
    ("ibias", "v(x) / 1k", "V", ""),
    ("result_2", "slew_rate(v(o)) / settling_time(v(o))", "", ""),
])  # fmt: skip
def test_what_a_measure_is(name, expression, unit, quantity):
    assert quantity_of(Measure(name, expression=expression, unit=unit)) == quantity


def test_units_are_read_where_they_can_be():
    current = Scale(True, np.log(1e-4), 0.5)
    power = scale_in(current, "A", "W", 1.8)
    assert power.backward(np.array(0.0)) == pytest.approx(1.8e-4)
    assert scale_in(power, "W", "A", 1.8).middle == pytest.approx(current.middle)
    assert scale_in(current, "A", "", 1.8) == current
    assert scale_in(current, "A", "V", 1.8) is None
    gain = scale_in(Scale(False, 60.0, 10.0), "dB", "", 1.8)
    assert gain.backward(np.array(0.0)) == pytest.approx(1e3)


def test_two_measures_of_one_quantity_are_not_told_apart():
    design = Project.load(FLAT).design
    known = {"gain": {"unit": "dB", "log": False, "expr": "db(dc_gain(v(out)))"},
             "ivdd": {"unit": "A", "log": True, "expr": "-i(vdd)"}}  # fmt: skip
    assert names_of(design, known) == {"A0": "gain", "power": "ivdd"}
    second = replace(design.measures["A0"], name="av0")
    both = replace(design, measures={**design.measures, "av0": second},
                   specs={**design.specs, "av0": design.specs["A0"]})  # fmt: skip
    assert names_of(both, known) == {"power": "ivdd"}
