"""What decks have in common: holes for numbers, structure by words and loops, no history."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3eda.design.space import Space
from m3eda.design.ties import complete
from m3eda.design.types import Corner, Design, Parameter, Testbench
from m3eda.errors import DesignError
from m3eda.flow import Project
from m3eda.simulate.files import Contents
from m3eda.simulate.render import Renderer
from m3eda.simulate.skeletons import fills_of
from m3eda.simulate.types import Deck, Skeleton
from tests.conftest import ROOT

PARAMETERS = (
    Parameter("w", minimum=1e-7, maximum=1e-4, scale="log"),
    Parameter("l", minimum=1e-7, maximum=1e-5),
    Parameter("m", minimum=1, maximum=100, step=1),
    Parameter("n", choices=(1.0, 2.0, 3.0)),
    Parameter("model", choices=("lvt", "svt", "hvt")),
    Parameter("double", expression="2 * w"),
    Parameter("slope", expression="vdd / 2"),
    Parameter("fixed", value=5e-12),
)
EXAMPLES = sorted(
    file for file in (ROOT / "examples").glob("*/*.yaml") if file.name != "installed.yaml"
)


def design_of(folder: Path, text: str, name: str = "bench.cir.j2") -> Design:
    (folder / name).write_text(text)
    return Design(
        "made",
        folder / "design.yaml",
        {"bench": Testbench("bench", folder / name)},
        {parameter.name: parameter for parameter in PARAMETERS},
        {},
        specs={},
        conditions={"vdd": 1.2},
    )


def sizings(design: Design, count: int, seed: int = 0, **given) -> list:
    space, rng = Space(design), np.random.default_rng(seed)
    drawn = (dict(space.sizing(rng.random(space.dimension))) for _ in range(count))
    return [complete(design, {**sizing, **given}) for sizing in drawn]


def decks(design: Design, chosen: list, corner: Corner | None = None) -> list[Deck]:
    renderer = Renderer(design)
    bench = design.testbenches["bench"]
    return [renderer.deck(bench, corner or design.nominal, sizing) for sizing in chosen]


def checked(deck: Deck) -> Skeleton:
    """The skeleton of `deck`, which gives its text back and can be proved on two sizings."""
    skeleton = deck.skeleton
    assert skeleton is not None
    assert skeleton.text(deck.fills) == deck.text
    assert fills_of(skeleton, deck.text) == deck.fills
    first, second = skeleton.probes
    assert all(a != b for a, b in zip(first, second, strict=True))
    assert len(first) == len(deck.fills) == len(skeleton.parts) - 1
    for fill in (*first, *second, *deck.fills):
        float(fill)
    return skeleton


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_deck_of_the_examples_has_a_skeleton(file):
    if file.parent.name == "pyspice_filter":
        pytest.importorskip("PySpice", reason="PySpice is not installed")
    design = Project.load(file).design
    renderer, space, rng = Renderer(design), Space(design), np.random.default_rng(7)
    for testbench in design.testbenches.values():
        point = testbench.at_points()[-1]
        for corner in (design.nominal, *design.corners[-1:]):
            keys, holes = set(), 0
            for _ in range(5):
                sizing = complete(design, space.sizing(rng.random(space.dimension)))
                deck = renderer.deck(point, corner, sizing)
                keys.add(checked(deck).key)
                holes = len(deck.fills)
            assert len(keys) < 4  # stages of an oscillator, a multiplier left out where it is 1
            assert holes


PLAIN = """* {{ model }}
.param half={{ fixed / 2 }}
{% if model == "svt" %}
x1 in out special m={{ m }}
{% else %}
m1 out in 0 0 {{ model }} w={{ w }} l={{ l }} m={{ m }}
{% endif %}
{% for node in ["a", "b"] %}
c{{ node }} {{ node }} 0 {{ double }}
{% endfor %}
r1 out 0 { 2*{{ l }} }
b1 s 0 v={{ slope }}*v(out,in) - {{ n }}
.end
"""


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    point=st.lists(st.floats(0.0, 1.0), min_size=5, max_size=5),
    corner=st.sampled_from([Corner("typical"), Corner("high", "", {"vdd": 1.32, "temp": -40.0})]),
)
def test_a_deck_is_what_the_template_engine_gives(tmp_path, point, corner):
    plain = design_of(tmp_path, PLAIN)
    # a macro is rendered by the template engine for every deck
    slow = design_of(tmp_path, "{% macro unused() %}{% endmacro %}\n" + PLAIN, "slow.cir.j2")
    sizing = complete(plain, Space(plain).sizing(np.array(point)))
    [quick], [rendered] = decks(plain, [sizing], corner), decks(slow, [sizing], corner)
    assert quick.text == rendered.text
    assert quick.fills == rendered.fills
    assert checked(quick).key == checked(rendered).key


def test_only_the_numbers_that_change_are_holes(tmp_path):
    design = design_of(tmp_path, PLAIN)
    [deck] = decks(design, sizings(design, 1, model="lvt"))
    names = ("w", "l", "m", "double", "double", "l", "n")
    assert [float(fill) for fill in deck.fills] == [deck.values[name] for name in names]
    assert ".param half=2.5e-12\n" in checked(deck).parts[0]


def test_words_are_structure(tmp_path):
    design = design_of(tmp_path, PLAIN)
    keys = {}
    for sizing in sizings(design, 40):
        [deck] = decks(design, [sizing])
        keys.setdefault(sizing["model"], set()).add(checked(deck).key)
    assert {word: len(found) for word, found in keys.items()} == {"lvt": 1, "svt": 1, "hvt": 1}
    assert len(set.union(*keys.values())) == 3


BRANCH = """* t
{% if m > 60 %}
r1 a 0 {{ w }}
{% else %}
r1 a 0 {{ w }}
c1 a 0 {{ l }}
{% endif %}
.end
"""
LOOP = """* t
{% for k in range(n | int) %}
r{{ k }} n{{ k }} n{{ k + 1 }} {{ w * (k + 1) }}
{% endfor %}
.end
"""
ODD = """* t
m1 d g s b {{ model }} w={{ (w * 1e6) | round(4) }} l={{ 2 * l }}
{% set area = w * l %}
r1 a 0 { {{ "%.6e" | format(area) }} }
.end
"""


@pytest.mark.parametrize(
    ("text", "structures"), [(BRANCH, 2), (LOOP, 3), (ODD, 3)], ids=["branch", "loop", "formulas"]
)
def test_what_the_template_decides_is_structure(tmp_path, text, structures):
    design = design_of(tmp_path, text)
    assert len({checked(deck).key for deck in decks(design, sizings(design, 40))}) == structures


@pytest.mark.parametrize(
    "line",
    [
        "r1 net{{ m }} 0 1",
        "r1 d[{{ m }}] 0 1",
        "r1 a 0 {{ w }}u",
        "r1 a-{{ m }} 0 1",
        "b1 a 0 v=v(b)-{{ m }}",
    ],
)
def test_a_number_inside_a_word_is_no_hole(tmp_path, line):
    design = design_of(tmp_path, f"* t\n{line}\nc1 a 0 {{{{ l }}}}\n.end\n")
    for deck in decks(design, sizings(design, 10)):
        assert deck.skeleton is None or deck.skeleton.parts[0] + deck.fills[0] in deck.text
        if deck.skeleton is not None:
            assert [float(fill) for fill in deck.fills] == [deck.values["l"]]


def test_a_number_clamped_at_the_probes_is_not_taken_for_a_constant(tmp_path):
    design = design_of(tmp_path, "* t\nr1 a 0 {{ [m, 99.5] | max }}\nc1 a 0 {{ l }}\n.end\n")
    low, high = (sizings(design, 1, m=value)[0] for value in (7.0, 100.0))
    first, second = decks(design, [low, high])
    assert "r1 a 0 99.5\n" in first.text
    assert checked(first).parts[0] == "* t\nr1 a 0 99.5\nc1 a 0 "
    assert "r1 a 0 100\n" in second.text
    assert second.skeleton is not None
    assert second.skeleton.text(second.fills) == second.text
    assert second.fills[0] == "100"
    assert second.skeleton.probes == ()  # no two sizings to prove anything on


def test_another_value_of_a_frozen_parameter_has_no_skeleton(tmp_path):
    design = design_of(tmp_path, PLAIN)
    [sizing] = sizings(design, 1)
    [deck] = decks(design, [{**sizing, "fixed": 7e-12}])
    assert "half=3.5e-12" in deck.text
    assert deck.skeleton is None
    assert deck.fills == ()


def test_integers_and_missing_values_are_left_to_the_template_engine(tmp_path):
    design = design_of(tmp_path, "* t\nr1 a 0 {{ w }}\n.end\n")
    [sizing] = sizings(design, 1)
    known, whole = decks(design, [sizing, {**sizing, "w": 7}])
    assert checked(known).key
    assert "r1 a 0 7\n" in whole.text
    without = {name: value for name, value in sizing.items() if name != "w"}
    with pytest.raises(DesignError, match="needs w, which nobody gives"):
        decks(design, [sizing, without])


def test_a_deck_that_no_size_reaches_is_its_own_skeleton(tmp_path):
    design = design_of(tmp_path, "* t\nr1 a 0 {{ vdd }}\n.end\n")
    [deck] = decks(design, sizings(design, 1))
    assert checked(deck).parts == (deck.text,)


@pytest.mark.parametrize("text", [PLAIN, BRANCH, LOOP, ODD], ids=["plain", "branch", "loop", "odd"])
def test_a_skeleton_does_not_depend_on_what_was_rendered_before(tmp_path, text):
    design = design_of(tmp_path, text)
    chosen = sizings(design, 30)
    order = list(range(30))
    random.Random(1).shuffle(order)
    forward = [deck.skeleton.key if deck.skeleton else "" for deck in decks(design, chosen)]
    mixed = decks(design, [chosen[index] for index in order])
    alone = [decks(design, [sizing])[0] for sizing in chosen[:5]]
    assert any(forward)
    for index, deck in zip(order, mixed, strict=True):
        assert (deck.skeleton.key if deck.skeleton else "") == forward[index]
    for index, deck in enumerate(alone):
        assert (deck.skeleton.key if deck.skeleton else "") == forward[index]


def test_a_python_netlist_is_called_twice_more_for_its_skeleton(tmp_path):
    code = (
        "calls = []\n"
        "def circuit(w, l):\n"
        "    calls.append(w)\n"
        "    return f'* t\\nr1 a 0 {w}\\nc1 a 0 {2 * l}\\n.end\\n'\n"
    )
    design = design_of(tmp_path, code, "bench.py")
    renderer, bench = Renderer(design), design.testbenches["bench"]
    chosen = sizings(design, 10, model="lvt")
    keys = {checked(renderer.deck(bench, design.nominal, sizing)).key for sizing in chosen}
    assert len(keys) == 1
    netlist = renderer._compiled(bench.template).template
    assert len(netlist._function.__globals__["calls"]) == 12


def test_a_python_netlist_that_changes_by_itself_has_no_skeleton(tmp_path):
    code = (
        "calls = []\n"
        "def circuit(w):\n"
        "    calls.append(w)\n"
        "    return f'* t\\nr{len(calls)}x a 0 {w}\\n.end\\n'\n"
    )
    design = design_of(tmp_path, code, "bench.py")
    assert [deck.skeleton for deck in decks(design, sizings(design, 3))] == [None] * 3


def test_the_points_of_a_sweep_and_corners_are_apart(tmp_path):
    design = design_of(tmp_path, "* t\nr1 a 0 {{ w }}\nv1 a 0 {{ vdd }}\n.end\n")
    swept = Testbench("bench", tmp_path / "bench.cir.j2", sweep="vdd", points=(1.0, 1.5))
    renderer, [sizing] = Renderer(design), sizings(design, 1)
    texts = [
        renderer.deck(point, corner, sizing)
        for _ in range(2)
        for point in swept.at_points()
        for corner in (design.nominal, Corner("nominal", "", {"temp": 85.0}))
    ]
    assert len({checked(deck).key for deck in texts}) == 4
    assert [("v1 a 0 1\n" in deck.text, ".temp 85\n" in deck.text) for deck in texts[4:]] == [
        (True, False), (True, True), (False, False), (False, True)]  # fmt: skip


def test_contents_follow_the_disk_but_not_at_every_look(tmp_path):
    inner, outer = tmp_path / "inner.lib", tmp_path / "outer.lib"
    inner.write_text("* one\n")
    outer.write_text('.include "inner.lib"\n')
    now = [0.0]

    def clock():
        now[0] += 0.1
        return now[0]

    contents = Contents(0.5, clock)
    first = contents.of((outer,))
    inner.write_text("* another\n")
    assert contents.of((outer,)) == first
    now[0] = 0.6
    changed = contents.of((outer,))
    assert changed != first
    inner.write_text("* one\n")
    now[0] = 1.2
    assert contents.of((outer,)) == first


def test_contents_that_are_quickly_hashed_are_looked_at_often(tmp_path):
    file = tmp_path / "models.lib"
    file.write_text("* one\n")
    now = [0.0]
    contents = Contents(0.5, lambda: now[0])
    first = contents.of((file,))
    file.write_text("* another\n")
    now[0] = 1e-3
    assert contents.of((file,)) != first


def test_a_deck_says_what_its_files_hold(tmp_path):
    (tmp_path / "m.lib").write_text("* models\n")
    design = design_of(tmp_path, '* t\n.include "m.lib"\nr1 a 0 {{ w }}\n.end\n')
    one, other = decks(design, sizings(design, 2))
    assert one.contents == other.contents != ""
    (tmp_path / "m.lib").write_text("* other models\n")
    [later] = decks(design, sizings(design, 1))
    assert later.contents != one.contents
