"""Templates to decks: numbers, includes, paths, and every mistake told with its place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from m3eda.design.types import Corner, Technology, Testbench
from m3eda.errors import DesignError
from m3eda.simulate.render import (
    Renderer,
    Wanted,
    number,
    template_folders,
    template_names,
)
from tests.conftest import ROOT
from tests.helpers import divider

SIZES = {"r1": 1.2e-6, "r2": 3e3}


@pytest.fixture
def render(tmp_path):
    """Render a template's text with SIZES; keywords change the design."""

    def render(text: str, corner: Corner | None = None, **changes) -> str:
        design = divider(tmp_path, **changes)
        template = tmp_path / "bench.cir.j2"
        template.write_text(text)
        testbench = Testbench("bench", template)
        return Renderer(design).deck(testbench, corner or design.nominal, SIZES).text

    return render


def mistake(error: pytest.ExceptionInfo[DesignError]):
    (only,) = error.value.mistakes
    return only


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.2e-6, "1.2e-06"),
        (18.0, "18"),
        (0.1, "0.1"),
        (1e-15, "1e-15"),
        (2.5e9, "2500000000"),
        (1e22, "1e+22"),
        (-0.5, "-0.5"),
        ("nmos_lvt", "nmos_lvt"),
    ],
)
def test_numbers_are_written_with_plain_exponents(value, text):
    assert str(number(value)) == text


def test_expressions_in_a_template_are_written_the_same_way(render):
    assert "r1 a 0 2.4e-06" in render("* t\nr1 a 0 {{ 2 * r1 }}\n.end\n")


def test_a_number_is_never_rounded(render):
    assert "0.30000000000000004" in render("* t\n* {{ 0.1 + 0.2 }}\n.end\n")


def test_conditions_are_visible_and_the_corner_wins(render):
    text = "* t\nv1 a 0 {{ vdd }}\n.end\n"
    hot = Corner("hot", conditions={"vdd": 1.32})
    assert "v1 a 0 1.2\n" in render(text, conditions={"vdd": 1.2})
    assert "v1 a 0 1.32\n" in render(text, hot, conditions={"vdd": 1.2})


def test_a_testbench_has_conditions_of_its_own(tmp_path):
    design = divider(tmp_path, conditions={"load": 1.0})
    (tmp_path / "t.cir.j2").write_text("* {{ load }}\n.end\n")
    testbench = Testbench("b", tmp_path / "t.cir.j2", {"load": 5.0})
    assert Renderer(design).deck(testbench, design.nominal, SIZES).text.startswith("* 5\n")


def test_temperature_is_set_where_the_template_does_not(render):
    assert render("* t\nr1 a 0 1\n.end\n").endswith("r1 a 0 1\n.temp 27\n.end\n")
    cold = Corner("cold", conditions={"temp": -40.0})
    assert ".temp -40\n" in render("* t\nr1 a 0 1\n.end\n", cold)


@pytest.mark.parametrize("line", [".temp {{ temp }}", ".TEMP 85", ".option temp={{ temp }}"])
def test_a_template_that_sets_the_temperature_is_left_alone(render, line):
    assert render(f"* t\n{line}\n.end\n").lower().count("temp") == 1


def test_every_missing_name_is_told_at_once(render):
    with pytest.raises(DesignError) as error:
        render("* t\nr1 a 0 {{ r9 }} {{ cload }}\n.end\n")
    assert mistake(error).message == "needs cload, r9, which nobody gives"
    assert mistake(error).file.name == "bench.cir.j2"


def test_a_syntax_error_has_its_line(render):
    with pytest.raises(DesignError) as error:
        render("* t\nr1 a 0 {{ r1 \n.end\n")
    assert (mistake(error).file.name, mistake(error).line) == ("bench.cir.j2", 3)


def test_an_error_while_rendering_has_its_line(render):
    with pytest.raises(DesignError) as error:
        render("* t\n* fine\nr1 a 0 {{ r1 / (r2 - 3000) }}\n.end\n")
    assert mistake(error).line == 3
    assert "zero" in mistake(error).message


def test_templates_are_sandboxed(render):
    with pytest.raises(DesignError, match="unsafe"):
        render("* {{ ''.__class__.__mro__ }}\n.end\n")


def test_a_template_includes_another(render, tmp_path):
    (tmp_path / "core.cir.j2").write_text("rx a b {{ r2 }}\n")
    assert "rx a b 3000\n" in render('* t\n{% include "core.cir.j2" %}\n.end\n')


def test_names_needed_by_an_include_are_found(tmp_path):
    (tmp_path / "core.cir.j2").write_text("rx a b {{ deep }}\n")
    (tmp_path / "top.cir.j2").write_text('* {{ shallow }}\n{% include "core.cir.j2" %}\n')
    folders = template_folders(tmp_path / "top.cir.j2", tmp_path / "design.yaml")
    assert template_names(tmp_path / "top.cir.j2", folders) == {"deep", "shallow"}


def test_a_missing_template_include_is_told_with_its_line(render):
    with pytest.raises(DesignError) as error:
        render('* t\n\n{% include "nowhere.j2" %}\n.end\n')
    assert mistake(error).line == 3
    assert "includes 'nowhere.j2'" in mistake(error).message


@pytest.mark.parametrize(
    "line",
    [
        '.include "models.lib"',
        ".include models.lib",
        ".inc 'models.lib'",
        '.lib "models.lib" tt',
        ".LIB models.lib tt",
        '.include "$MODELS/models.lib"',
        '.include "${MODELS}/models.lib"',
    ],
)
def test_include_paths_become_absolute(render, tmp_path, monkeypatch, line):
    monkeypatch.setenv("MODELS", str(tmp_path))
    (tmp_path / "models.lib").write_text("* models\n")
    assert f'"{tmp_path / "models.lib"}"' in render(f"* t\n{line}\n.end\n")


def test_a_section_of_a_library_is_no_include(render):
    assert ".lib tt\n" in render("* t\n.lib tt\n.endl tt\n.end\n")


def test_an_unset_variable_is_named(render, monkeypatch):
    monkeypatch.delenv("PDK_ROOT", raising=False)
    with pytest.raises(DesignError) as error:
        render('* t\n.include "$PDK_ROOT/a.lib"\n.end\n')
    assert "$PDK_ROOT, which is not set" in mistake(error).message
    assert mistake(error).line == 2


def test_a_missing_include_is_told_with_its_line(render, tmp_path):
    with pytest.raises(DesignError) as error:
        render('* t\n.include "gone.lib"\n.end\n')
    assert mistake(error).line == 2
    assert str(tmp_path) in mistake(error).hint


def test_files_read_are_known(tmp_path):
    design = divider(tmp_path)
    (tmp_path / "core.cir.j2").write_text("rx a b {{ r2 }}\n")
    (tmp_path / "m.lib").write_text("* models\n")
    template = tmp_path / "top.cir.j2"
    template.write_text('* t\n.include "m.lib"\n{% include "core.cir.j2" %}\n.end\n')
    deck = Renderer(design).deck(Testbench("b", template), design.nominal, SIZES)
    assert {path.name for path in deck.files} == {"top.cir.j2", "core.cir.j2", "m.lib"}


def test_a_technology_gives_its_section_of_the_corner(render, tmp_path):
    technology = Technology(
        "demo", tmp_path / "demo.lib", {"tt": "typ", "ss": "slow"}, "tt", {"supply": {"max": 1.3}}
    )
    (tmp_path / "demo.lib").write_text("* models\n")
    text = "* {{ corner }} {{ technology.supply.max }}\n{{ technology.include }}\n.end\n"
    assert f'.lib "{tmp_path / "demo.lib"}" typ\n' in render(text, technology=technology)
    slow = render(text, Corner("ss", "ss"), technology=technology)
    assert slow.startswith("* ss 1.3\n")
    assert '" slow\n' in slow


def test_what_measures_want_travels_with_the_deck(tmp_path):
    design = divider(tmp_path)
    wanted = Wanted(("v(out)",), ("@m1[gm]",), ("slew",))
    renderer = Renderer(design, {"op": wanted})
    deck = renderer.deck(design.testbenches["op"], design.nominal, SIZES)
    assert (deck.vectors, deck.device_values, deck.meas) == (("v(out)",), ("@m1[gm]",), ("slew",))


def test_the_netlist_is_the_device_alone_where_the_design_names_it(tmp_path):
    design = divider(tmp_path)
    (tmp_path / "device.cir.j2").write_text(".subckt dut a b\nr1 a b {{ r1 }}\n.ends\n")
    named = replace(design, netlist=tmp_path / "device.cir.j2")
    assert Renderer(named).netlist(SIZES) == ".subckt dut a b\nr1 a b 1.2e-06\n.ends\n"
    assert "r1 in out 1.2e-06" in Renderer(design).netlist(SIZES)


@pytest.mark.parametrize("testbench", ["open_loop", "step"])
def test_the_example_renders_as_agreed(testbench):
    from m3eda.flow import Project

    project = Project.load(ROOT / "examples" / "two_stage_opamp" / "design.yaml")
    from m3eda.design.ties import complete

    design = project.design
    sizing = complete(design, project.nominal_sizing())
    deck = Renderer(design).deck(design.testbenches[testbench], design.nominal, sizing)
    golden = ROOT / "tests" / "golden" / f"two_stage_opamp_{testbench}.cir"
    text = deck.text.replace(str(ROOT), "ROOT")
    assert text == golden.read_text()
