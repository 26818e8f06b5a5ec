"""PSF ASCII as Spectre writes it, one construct a test."""

from __future__ import annotations

import numpy as np
import pytest
from m3eda_plugins.command.psf_ascii import PsfError, is_psf, read_psf

HEADER = """\
HEADER
"PSFversion" "1.00"
"simulator" "spectre"
"version" "23.1.0.063"
"design" "(\\"lib\\" \\"cell\\")"
"analysis type" "{kind}"
"stop" 1.00000e-06
"""
TYPES = """\
TYPE
"sweep" FLOAT DOUBLE PROP(
"key" "sweep"
)
"V" {word} DOUBLE PROP(
"units" "V"
"key" "node"
"tolerance" 1.00000e-06
)
"I" {word} DOUBLE PROP(
"units" "A"
"key" "branch"
)
"mos" STRUCT(
"ids" FLOAT DOUBLE PROP(
"units" "A"
"description" "Drain current (alias=lx4)"
)
"region" INT BYTE
"model" STRING *
) PROP(
"key" "inst"
"master" "mos"
)
"""
SWEEP = 'SWEEP\n"{name}" "sweep" PROP(\n"sweep_direction" 0\n"units" "{unit}"\n"grid" 1\n)\n'


@pytest.fixture
def read(tmp_path):
    def reader(text: str):
        path = tmp_path / "file.psf"
        path.write_text(text)
        return read_psf(path)

    return reader


def head(kind: str, word: str = "FLOAT") -> str:
    return HEADER.format(kind=kind) + TYPES.format(word=word)


def test_operating_point(read):
    psf = read(
        head("dc")
        + 'VALUE\n"V1:p" "I" -1.5e-06 PROP(\n"units" "A"\n)\n'
        + '"net\\<1\\>" "V" 1.8e+00\nEND\n'
    )
    assert psf.header["analysis type"] == "dc"
    assert psf.header["design"] == '("lib" "cell")'
    assert psf.sweep == ""
    assert {name: list(column) for name, column in psf.columns.items()} == {
        "V1:p": [-1.5e-06],
        "net<1>": [1.8],
    }
    assert psf.units == {"V1:p": "A", "net<1>": "V"}


def test_values_of_devices(read):
    body = 'VALUE\n"M1" "mos" (\n1.0e-05\n2\n"nch"\n) PROP(\n"model" "nch.1"\n)\n'
    psf = read(head("info") + body + '"M2" "mos" (\n2.0e-05\n3\n"nch"\n)\nEND\n')
    found = {name: float(column[0]) for name, column in psf.columns.items()}
    assert found == {"M1:ids": 1e-5, "M1:region": 2.0, "M2:ids": 2e-5, "M2:region": 3.0}
    assert psf.units["M1:ids"] == "A"


def ac(separate: bool) -> str:
    names = 'TRACE\n"in" "V"\n"out" "V"\n"V1:p" "I" PROP(\n"units" "A"\n)\n'
    first = ['"in" (1 0)', '"out" (0.5 -0.5)', '"V1:p" (-1e-3 1e-3)']
    second = ['"in" (1 0)', '"out" (0.1 -0.3)', '"V1:p" (-2e-3 2e-3)']
    if not separate:
        names = names.replace("TRACE\n", 'TRACE\n"group" GROUP 3\n')
        first, second = (
            ['"group" ' + "\n".join(row.partition(" ")[2] for row in rows)]
            for rows in (first, second)
        )
    points = ['"freq" 1.0e+03', *first, '"freq" 1.0e+04', *second]
    sweep = SWEEP.format(name="freq", unit="Hz")
    return head("ac", "COMPLEX") + sweep + names + "VALUE\n" + "\n".join(points) + "\nEND\n"


@pytest.mark.parametrize("separate", [True, False])
def test_sweep_of_complex_numbers_alone_and_in_a_group(read, separate):
    psf = read(ac(separate))
    assert list(psf.columns) == ["freq", "in", "out", "V1:p"]
    np.testing.assert_array_equal(psf.columns["freq"], [1e3, 1e4])
    np.testing.assert_array_equal(psf.columns["out"], [0.5 - 0.5j, 0.1 - 0.3j])
    np.testing.assert_array_equal(psf.columns["V1:p"], [-1e-3 + 1e-3j, -2e-3 + 2e-3j])
    assert (psf.sweep, psf.units["freq"], psf.complete) == ("freq", "Hz", True)


def test_structures_in_a_sweep(read):
    text = head("noise").replace('"region" INT BYTE\n"model" STRING *\n', '"total" FLOAT DOUBLE\n')
    text += SWEEP.format(name="freq", unit="Hz") + 'TRACE\n"M1" "mos"\n"out" "V"\nVALUE\n'
    text += '"freq" 1e+00\n"M1" (\n1e-20\n2e-20\n)\n"out" 3e-09\n'
    psf = read(text + '"freq" 2e+00\n"M1" (\n4e-20\n5e-20\n)\n"out" 6e-09\nEND\n')
    assert list(psf.columns) == ["freq", "M1:ids", "M1:total", "out"]
    np.testing.assert_array_equal(psf.columns["M1:total"], [2e-20, 5e-20])
    np.testing.assert_array_equal(psf.columns["out"], [3e-9, 6e-9])


def test_what_a_killed_run_left_has_its_whole_points(read):
    whole = ac(separate=True)
    psf = read(whole[: whole.index("-2e-3 2e-3") + 4])
    assert not psf.complete
    np.testing.assert_array_equal(psf.columns["freq"], [1e3])
    assert psf.columns["out"].size == 1


def test_numbers_that_are_none(read):
    psf = read(head("stb") + 'VALUE\n"a" "V" NaN\n"b" "V" -inf\nEND\n')
    assert np.isnan(psf.columns["a"][0])
    assert psf.columns["b"][0] == -np.inf


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Title: a raw file\n", "is not PSF ASCII: it does not begin with HEADER"),
        (head("dc") + 'VALUE\n"a" "Volt" 1.0\nEND\n', "it lacks 'Volt'"),
        (ac(True).replace('"out" (0.1 -0.3)\n', ""), "numbers for points of 7"),
        (ac(True).replace('"in" (1 0)\n', "", 1), "does not hold what TRACE announces"),
        (head("dc").rstrip(")\n") + "\nVALUE\nEND\n", "it ends within a section"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(read, text, told):
    with pytest.raises(PsfError, match=r"file\.psf") as caught:
        read(text)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_header_alone_holds_nothing(read, tmp_path):
    psf = read(HEADER.format(kind="info") + "END\n")
    assert (dict(psf.columns), psf.complete) == ({}, True)
    assert is_psf(tmp_path / "file.psf")


def test_a_large_file_takes_no_time(read):
    """20 000 points of four vectors: a parser that goes back and forth would take minutes."""
    row = '"in" 1.0e+00\n"out" 5.0e-01\n"mid" 7.0e-01\n'
    names = 'TRACE\n"in" "V"\n"out" "V"\n"mid" "V"\n'
    points = "".join(f'"time" {k:d}e-09\n{row}' for k in range(20_000))
    psf = read(head("tran") + SWEEP.format(name="time", unit="s") + names + f"VALUE\n{points}END\n")
    assert psf.columns["mid"].size == 20_000
