"""Designs as people write them: what is sized by equations, and what is left to the search."""

from __future__ import annotations

import pytest

from bench.coarse import compared
from m3eda.coarse.model import Coarse
from m3eda.flow import Project
from m3eda.policy.equations import equations_of

MODELS = """.model nch nmos level=1 vto=0.5 kp=200u lambda=0.05 gamma=0.4 tox=4n
.model pch pmos level=1 vto=-0.5 kp=60u lambda=0.06 gamma=0.4 tox=4n
"""
STAGE = """vdd vdd 0 1.8
vin in 0 dc 0.8 ac 1
m1 out in 0 0 nch w={{ w }}u l={{ l }}u
m2 out out vdd vdd pch w=4u l={{ l }}u
cl out 0 1p
.ac dec 10 1k 10g
"""


def project(folder, deck: str) -> Project:
    (folder / "deck.cir.j2").write_text(f"* deck\n{deck}.end\n")
    path = folder / "design.yaml"
    path.write_text("""m3eda: 1
design: stage
testbenches: {ac: deck.cir.j2}
parameters:
  w: {min: 1, max: 20, scale: log}
  l: {min: 0.2, max: 2, scale: log}
measures:
  gain: {testbench: ac, expr: dc_gain(v(out))}
  bw: {testbench: ac, expr: bandwidth_3db(v(out)), unit: Hz}
specs:
  gain: {min: 2}
  bw: {min: 1meg}
""")
    return Project.load(path)


@pytest.mark.simulator
@pytest.mark.parametrize(
    "deck",
    [
        MODELS + STAGE,
        (MODELS + STAGE).replace("pch", "zz1"),
        MODELS + STAGE.replace("cl out 0 1p", "m3 0 out 0 0 nch w={{ w }}u l={{ l }}u m=10"),
        MODELS + STAGE + "vfar far 0 1000\nrfar far 0 1k\n",
        MODELS + ".option scale=1u\n" + STAGE.replace("}u", "}").replace("4u", "4"),
        MODELS + STAGE.replace("m1", ".param wn={{ w }}u\nm1").replace("w={{ w }}u", "w={wn}", 2)
        .replace(".param w={wn}", ".param wn={{ w }}u"),
        MODELS + "vdd vdd 0 1.8\nvin in 0 dc 0.8 ac 1\nm1 out in vdd vdd pch w={{ w }}u "
        "l={{ l }}u\nr1 out 0 10k\ncl out 0 1p\n.ac dec 10 1k 10g\n",
    ],
    ids=["suffixes", "names", "mos capacitor", "far source", "scale", "parameters", "p alone"],
)  # fmt: skip
def test_ways_to_write_a_stage(tmp_path, deck):
    found = compared(project(tmp_path, deck), 20)
    assert not found.unsupported
    gain, bandwidth = found.agreements
    assert gain.error < 0.1
    assert bandwidth.ranks > 0.95
    assert bandwidth.error < 0.15


@pytest.mark.parametrize(
    ("deck", "why"),
    [
        (MODELS + STAGE.replace("vdd vdd 0 1.8", "idd 0 vdd 1u").replace("dc 0.8", "dc 0"),
         "it has no supply"),
        (MODELS + STAGE + "".join(f"r{k} n{k} n{k + 1} 1k\n" for k in range(2000)),
         "its 2006 unknowns are too many"),
        (MODELS + STAGE + "vp p 0 pulse(0 1 0 1n 1n 10n 20n)\nrp p 0 1k\n.tran 1n 1m\n",
         "vp has too many periods"),
        (MODELS + STAGE + ".dc vin 0 1 1u\n", ".dc vin 0 1 1u has too many values, or none"),
        (MODELS + STAGE + "{% for k in range(w | int) %}r{{ k }} out 0 1k\n{% endfor %}",
         "its deck depends on sizes by more than numbers"),
        (MODELS + STAGE.replace("w={{ w }}u", "w={{ w - 30 }}u"), "m1 has no size"),
    ],
    ids=["supply", "large", "periods", "values", "devices", "size"],
)  # fmt: skip
def test_what_is_left_to_the_search(tmp_path, deck, why):
    made = project(tmp_path, deck)
    assert Coarse(made.design, made.plugins.measures, lambda *_: {}).unsupported == {"ac": why}
    assert equations_of(made.design) is None


@pytest.mark.simulator
def test_models_that_are_not_there_leave_it_to_the_search(tmp_path):
    assert equations_of(project(tmp_path, STAGE).design) is None
