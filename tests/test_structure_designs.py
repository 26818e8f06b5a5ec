"""Decks of all kinds held against the library: in time, alike in each process, whatever fails."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from m3eda.circuits.opening import open_circuit
from m3eda.design.types import Limits, Measure, Parameter, Spec
from m3eda.flow import Project
from m3eda.policy import shipped, similar
from m3eda.policy.agent import M3
from m3eda.policy.known import knowledge_of
from m3eda.policy.shipped import match
from m3eda.policy.similar import names_of
from tests.test_structure import FLAT, cells_of, flat_in

ORDER = """
from m3eda.structure.alike import overlays
from tests.test_structure import cells_of
lines = ["* bridged", "rx a b 1"] + [f"m{k} {'ab'[k % 2]} i{k} t 0 nch w=1u l=1u" for k in range(4)]
[cell] = cells_of("\\n".join(lines))
print([sorted(each.items()) for each in overlays(cell, cell)])
"""


def test_a_deck_of_parasitics_is_read_in_no_time():
    lines = ["* extracted", "m1 a0 a0 0 0 nch w=1u l=1u"]
    for k in range(1000):
        lines += [f"r{k} a{k} b{k} 10", f"c{k} b{k} 0 1f", f"w{k} a{k} a{k + 1} 1"]
    begun = time.process_time()
    [cell] = cells_of("\n".join(lines).replace("\nw", "\nrw"))
    assert time.process_time() - begun < 5.0
    assert dict(cell.counts) == {"nmos": 1, "cr": 1000, "r": 1000}


def test_ways_to_lie_over_come_in_one_order_in_every_process():
    found = {
        subprocess.run([sys.executable, "-c", ORDER], env={**os.environ, "PYTHONHASHSEED": seed},
                       capture_output=True, text=True, check=True, timeout=60).stdout
        for seed in ("0", "1", "2")
    }  # fmt: skip
    assert len(found) == 1
    assert found.pop().count("[(") == 8


def test_a_range_from_zero_or_below_has_an_answer():
    design = Project.load(FLAT).design
    loose = {"Iref": Parameter("Iref", minimum=-1e-5, maximum=1e-4, unit="A"),
             "Wdiff": Parameter("Wdiff", minimum=0.0, maximum=2e-4, unit="m")}  # fmt: skip
    networks = knowledge_of(replace(design, parameters={**design.parameters, **loose})).networks
    assert {"Iref", "Wdiff"} <= {axis.name for axis in networks.axes}
    for x in (np.zeros((1, len(networks.axes))), networks.good([(0.0, 1.0)], ["GBW"])):
        assert np.isfinite(networks.answer(x, ["GBW", "power"]).mean).all()


@pytest.mark.parametrize("changed", [{"vcm": 0.0}, {"cload": 0.0}, {"vdd": 0.0}])
def test_a_condition_without_a_logarithm_is_far_off(changed, monkeypatch):
    design = open_circuit("five_transistor_ota").design
    design = replace(design, conditions={**design.conditions, **changed})
    by_name = knowledge_of(design)
    monkeypatch.setattr(shipped, "_by_names", lambda *_: iter(()))
    by_devices = knowledge_of(design)
    assert "by its devices" in by_devices.words
    for known in (by_name, by_devices):
        x = np.full((1, len(known.networks.axes)), 0.5)
        assert np.isfinite(known.networks.answer(x, ["gain", "ugbw"]).mean).all()


KNOWN = {"ugbw": {"unit": "Hz", "log": True, "expr": "unity_gain_frequency(v(out))"},
         "ivdd": {"unit": "A", "log": True, "expr": "-i(vdd)"},
         "rl": {"unit": "dB", "log": False, "expr": "db(s(1, 1))"}}  # fmt: skip


@pytest.mark.parametrize(("name", "unit", "limits", "other"), [
    ("f3db", "Hz", Limits(minimum=1e4), None),  # a bandwidth is no unity-gain frequency
    ("f_own", "Hz", Limits(minimum=1e4), "ugbw"),
    ("idd", "A", Limits(minimum=-1e-4), None),  # counted into the supply
    ("idd", "A", Limits(maximum=1e-4), "ivdd"),
    ("s11", "dB", Limits(maximum=-10.0), "rl"),
])  # fmt: skip
def test_a_measure_is_not_taken_for_another(name, unit, limits, other):
    design = replace(
        Project.load(FLAT).design,
        measures={name: Measure(name, expression="v(x)", unit=unit)},
        specs={name: Spec(name, limits)},
    )
    assert names_of(design, KNOWN).get(name) == other


def test_a_circuit_in_a_file_of_its_own_is_read_with_the_parameters_of_the_deck(tmp_path):
    deck = flat_in(tmp_path)
    lines = deck.read_text().replace("vcc", "vdd!").replace(" 0 ", " gnd ").splitlines()
    inside = [line for line in lines if line.startswith(("M", "IREF", "RZ", "CM"))]
    names = [each.name for each in Project.load(FLAT).design.free]
    text = "\n".join(inside).replace("{{ technology.devices.pmos.model }}", "pmos")
    text = text.replace("{{ technology.devices.nmos.model }}", "nmos")
    for name in names:
        text = text.replace(f"{{{{ {name} }}}}", f"{{{name}}}")
    cell = f"* an op amp\n.subckt amp minus plus vo vdd!\n{text}\n.ends\n"
    (tmp_path / "amp.spice").write_text(cell)
    rest = [line for line in lines if line not in inside]
    params = ".param " + " ".join(f"{name}={{{{ {name} }}}}" for name in names)
    rest[2:2] = ['.include "amp.spice"', params, "XA minus plus vo vdd! amp"]
    deck.write_text("\n".join(rest) + "\n")
    design = Project.load(tmp_path / "design.yaml").design
    found = match(design)
    assert found.circuit == "two_stage_miller_rz"
    assert found.laid.mirrored
    assert set(found.parameters) == {each.name for each in design.free}


def test_decibels_need_no_unit():
    design = Project.load(FLAT).design
    bare = replace(design.measures["A0"], unit="")
    design = replace(design, measures={**design.measures, "A0": bare})
    agent = M3(design, 1, {})
    said = agent.foretell(agent.ask(1)[0])["A0"]
    assert 40.0 < said[0] < 120.0


def test_another_circuit_of_a_known_name_is_not_held_against(monkeypatch):
    other = open_circuit("five_transistor_ota").design
    monkeypatch.setattr(similar, "opened", lambda name, design, shortest: (other, True))
    assert match(Project.load(FLAT).design) is None
