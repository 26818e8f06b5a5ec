"""Decks made by noted steps are those of the template engine, whatever a template does."""

from __future__ import annotations

import pytest

from m3eda.simulate.programs import Programs
from m3eda.simulate.render import Renderer, template_environment
from m3eda.simulate.templates import template_folders
from tests.test_skeletons import checked, decks, design_of, sizings

NOTED = {
    "arithmetic": "{{ m // 7 }} {{ m % 7 }} {{ -w }} {{ w ** 2 }} {{ 2 ** n }} {{ 1 / (1 + l) }}",
    "rounding": "{{ w | round(8) }} {{ (m / 3) | round }} {{ (m / 3) | round(1, 'ceil') }}",
    "whole": "{{ (m / 3) | int }} {{ (m / 3) | int + 1 }} {{ w | float }} {{ (0 - w) | abs }}",
    "extremes": "{{ [w, l] | max }} {{ [w, l, 2e-6] | min }} {{ [w, l] | sum }}",
    "choice": "{{ w if l > 5e-6 else 2 * w }} {{ l if m is even and n != 2 else 3 * l }} {{ w }}",
    "index": "{{ ['a', 'b', 'c'][n | int - 1] }} {{ 'a' * (n | int) }} {{ w }}",
    "member": "{{ 7 if n in [1, 3] else 8 }} {{ w }}",
    "loop": "{% for k in range(1, n | int + 1) %}r{{ k }}_{{ n | int }} {{ w / k }} {% endfor %}",
    "sum in a loop": "{% set ns = namespace(total=0) %}{% for k in [1, 2] %}"
    "{% set ns.total = ns.total + k * w %}{% endfor %}{{ ns.total }}",
    "macro": "{% macro mos(w, m=1) %}w={{ 2 * w }}{% if m != 1 %} m={{ m }}{% endif %}"
    "{% endmacro %}{{ mos(w, m) }} {{ mos(l) }} {{ mos(w=l, m=n) }}",
    "default": "{{ w | default(3) }} {{ (m - 1) | default(3, true) }}",
    "words": "{{ w > 1e-6 }} {{ w }}",
    "suffix": "{{ w * 1e6 }}u {{ l }}",
}
OTHERS = {
    "text block": "{% set text %}{{ w }} 1{% endset %}{{ text }} {{ text | replace('1', '2') }}",
    "text as a key": "{% macro mac(x) %}{{ x }}{% endmacro %}{{ 1 if mac(m) == '7' else l }}",
    "text set": "{% macro mac(x) %}{{ x }}{% endmacro %}{% set t = mac(m) %}{{ t[:1] }} {{ l }}",
    "format": "{{ '%.3e' | format(w) }}",
    "joined": "{{ w ~ ' x' }} {{ [w, l] | join(' ') }}",
    "kind": "{{ 1 if w is number else 2 }} {{ l }}",
    "filtered": "{{ [w, 'a', l] | select('number') | list | length }} {{ w }}",
    "table": "{{ {1: 'a', 2: 'b'}[n | int] | default('z') }} {{ w }}",
    "written": "{{ w | string }} {{ w | string | length }}",
    "attribute": "{{ w.real | default('none') }} {{ l }}",
    "measured text": "{% macro mac(x) %}{{ x }}{% endmacro %}{{ mac(w) | length }} {{ w }}",
    "padded": "{% macro mac(x) %}{{ x }}{% endmacro %}{{ mac(m) | replace('1', '2') }} {{ l }}",
    "read again": "{% macro mac(x) %}{{ x }}{% endmacro %}{{ mac(w) | float * 2 }}",
}


def by_the_engine(design, sizing) -> str:
    template = design.testbenches["bench"].template
    environment = template_environment(template_folders(template, design.path))
    return environment.get_template(template.name).render({**design.conditions, **sizing})


def shapes_of(design, chosen) -> set[type]:
    renderer, bench = Renderer(design), design.testbenches["bench"]
    for sizing in chosen:
        renderer.deck(bench, design.nominal, sizing)
    [frame] = renderer._frames.values()
    return {type(shape) for shape in frame.shapes.values()}


@pytest.mark.parametrize("line", [*NOTED.values(), *OTHERS.values()], ids=[*NOTED, *OTHERS])
def test_a_deck_is_what_the_template_engine_gives(tmp_path, line):
    design = design_of(tmp_path, f"* t\n.temp 27\nx1 a {line}\n.end\n")
    chosen = sizings(design, 60)
    for deck, sizing in zip(decks(design, chosen), chosen, strict=True):
        assert deck.text == by_the_engine(design, sizing)
        if deck.skeleton is not None:
            assert deck.skeleton.text(deck.fills) == deck.text


@pytest.mark.parametrize("line", NOTED.values(), ids=NOTED)
def test_ordinary_templates_are_noted(tmp_path, line):
    design = design_of(tmp_path, f"* t\n.temp 27\nx1 a {line}\n.end\n")
    chosen = sizings(design, 20)
    assert shapes_of(design, chosen) == {Programs}
    if "}}u" not in line:
        assert all(deck.skeleton is not None for deck in decks(design, chosen))


@pytest.mark.parametrize("line", OTHERS.values(), ids=OTHERS)
def test_what_cannot_be_noted_is_left_to_the_template_engine(tmp_path, line):
    design = design_of(tmp_path, f"* t\n.temp 27\nx1 a {line}\n.end\n")
    assert Programs not in shapes_of(design, sizings(design, 20))


def test_the_template_engine_is_not_asked_again(tmp_path, monkeypatch):
    design = design_of(tmp_path, f"* t\nx1 a {NOTED['macro']}\n.end\n")
    renderer, bench = Renderer(design), design.testbenches["bench"]
    first, *others = sizings(design, 20, model="lvt", m=5.0, n=2.0)
    skeleton = checked(renderer.deck(bench, design.nominal, first))
    monkeypatch.setattr(Renderer, "_render", None)
    for sizing in others:
        assert checked(renderer.deck(bench, design.nominal, sizing)).key == skeleton.key


def test_the_kind_of_a_number_decides_nothing(tmp_path):
    design = design_of(tmp_path, "* t\nr{{ m // 1 }} a 0 {{ w }}\nr2 a 0 {{ m // 2 }}\n.end\n")
    floats = sizings(design, 1, m=40.0, model="lvt")
    integers = sizings(design, 1, m=40, model="lvt")
    for order in (floats + integers, integers + floats):
        one, other = decks(design, order)
        assert one.text == other.text
        assert one.skeleton == other.skeleton


def test_many_ways_through_a_template_are_kept_within_bounds(tmp_path):
    design = design_of(tmp_path, "* t\nr{{ m | int }} a 0 {{ w }}\n.end\n")
    chosen = sizings(design, 300, model="lvt")
    keys = {}
    for deck, sizing in zip(decks(design, chosen), chosen, strict=True):
        keys.setdefault(sizing["m"], set()).add(deck.skeleton.key)
        assert deck.text.startswith(f"* t\nr{int(sizing['m'])} a 0 ")
    assert len(keys) > 64
    assert {len(found) for found in keys.values()} == {1}
