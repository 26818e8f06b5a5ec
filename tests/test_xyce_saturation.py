"""Models that keep the saturation voltage: which lines change, in the deck and what it includes."""

from __future__ import annotations

import pytest
from m3eda_plugins.xyce.saturation import with_saturation_voltages

from m3eda.simulate.types import SimulationFailed, State


def changed(folder, *lines):
    return with_saturation_voltages(("title", *lines), folder)[1:]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (".model n nmos level=54 toxe=3n", ".model n nmos tnoimod=1 level=54 toxe=3n"),
        (".model n pmos ( level = 14 )", ".model n pmos ( tnoimod=1 level = 14 )"),
        (".MODEL n NMOS level=54 TNOIMOD=0 vth0=1", ".MODEL n NMOS level=54 tnoimod=1 vth0=1"),
        (".model n nmos level=9 tox=3n", ".model n nmos level=9 tox=3n"),
        (".model n nmos level=1", ".model n nmos level=1"),
        (".model n npn bf=100", ".model n npn bf=100"),
    ],
)
def test_cards(tmp_path, before, after):
    assert changed(tmp_path, before) == (after,)


def test_lines_keep_their_numbers(tmp_path):
    made = changed(tmp_path, ".model n nmos", "* why", "+ level=54", "+ tnoimod=0", "r1 a 0 1")
    assert made == (".model n nmos", "* why", "+ level=54", "+ tnoimod=1", "r1 a 0 1")


def test_included_files_are_copied(tmp_path):
    """A library that includes a section of itself, and a file beside it."""
    models = tmp_path / "models"
    models.mkdir()
    (models / "cards.txt").write_text(".model n nmos level=54\n")
    (models / "corners.lib").write_text(
        ".lib tt\n.include cards.txt\n.lib 'corners.lib' more\n.endl tt\n.lib more\n.param a=1\n"
        ".endl more\n"
    )
    (models / "plain.txt").write_text(".param b=1\n")
    run = tmp_path / "run"
    run.mkdir()
    library, plain, lost = changed(
        run, f'.lib "{models}/corners.lib" tt', f".inc {models}/plain.txt", ".inc lost.txt"
    )
    assert plain == f'.inc "{models}/plain.txt"'
    assert lost == f'.inc "{run}/lost.txt"'
    (corners,) = run.glob("corners.lib.*")
    (cards,) = run.glob("cards.txt.*")
    assert library == f'.lib "{corners}" tt'
    assert cards.read_text() == ".model n nmos tnoimod=1 level=54\n"
    assert corners.read_text().splitlines()[1:3] == [
        f'.include "{cards}"',
        f'.lib "{corners}" more',
    ]


def test_a_model_without_charges_of_its_own_is_refused(tmp_path):
    with pytest.raises(SimulationFailed, match="vdsat of model n: Xyce overwrites it") as caught:
        changed(tmp_path, ".model n nmos level=54 capmod=0")
    assert caught.value.state is State.VECTOR_MISSING
