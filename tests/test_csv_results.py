"""Tables of numbers: separators, complex columns by several conventions, HSPICE's measures."""

from __future__ import annotations

import numpy as np
import pytest
from m3eda_plugins.command.csv import CONVENTIONS, CsvError, Parts, read_csv, read_meas


@pytest.fixture
def file(tmp_path):
    def written(text: str):
        path = tmp_path / "table.csv"
        path.write_text(text)
        return path

    return written


@pytest.mark.parametrize(
    "text",
    [
        "time,V(out)\n0,1.5\n1e-9,2.5\n",
        "# made by a script\n\ntime;V(out)\n0;1.5\n1e-9;2.5\n",
        '"time"\t"V( out )"\n0\t1.5\n1e-9\t2.5\n',
        "  time   v(out)\n  0      1.5\n  1e-9   2.5\n",
        "time,v(out),\n0,1.5,\n1e-9,2.5,\n",
    ],
)
def test_separators_comments_and_blanks(file, text):
    columns = read_csv(file(text))
    assert [name for name in columns if name] == ["time", "v(out)"]
    np.testing.assert_array_equal(columns["v(out)"], [1.5, 2.5])


@pytest.mark.parametrize(
    ("names", "cells"),
    [
        ("re(v(out)),im(v(out))", "3,-4"),
        ("im(v(out)),re(v(out))", "-4,3"),
        ("v(out)_re,v(out)_im", "3,-4"),
        ("v(out).re,v(out).im", "3,-4"),
        ("VR(out),VI(out)", "3,-4"),
        ("VM(out),VP(out)", "5,-53.13010235415598"),
        ("mag(v(out)),phase(v(out))", "5,-53.13010235415598"),
        ("v(out)", '"(3,-4)"'),
        ("v(out)", "3-4j"),
        ("v(out)", "3-4i"),
    ],
)
def test_complex_quantities(file, names, cells):
    columns = read_csv(file(f"freq,{names}\n1e3,{cells}\n"))
    assert set(columns) == {"freq", "v(out)"}
    np.testing.assert_allclose(columns["v(out)"], [3 - 4j], rtol=1e-12)


def test_magnitude_and_phase_of_a_current(file):
    columns = read_csv(file("freq,im(vdd),ip(vdd)\n1e3,5,90\n"))
    np.testing.assert_allclose(columns["i(vdd)"], [5j], atol=1e-12)


def test_conventions_of_ones_own(file):
    own = (Parts.of("real:{} imag:{}"), *CONVENTIONS)
    columns = read_csv(file("freq,real:out,imag:out\n1,3,-4\n"), own)
    np.testing.assert_array_equal(columns["out"], [3 - 4j])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("1,2\n3,4\n", "has no line of names at its head"),
        ("a,b\n", "has no row below its head line"),
        ("a,b\n1,2\n3\n", "row 2 has 1 of 2 values: it was cut off, or is no table"),
        ("a,b\n1,2\n3,x\n", "column b: 'x' is not a number"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(file, text, told):
    with pytest.raises(CsvError) as caught:
        read_csv(file(text))
    assert str(caught.value) == f"table.csv {told}" or str(caught.value) == f"table.csv: {told}"


def test_measure_file_of_hspice_over_several_lines(file):
    path = file(
        "$DATA1 SOURCE='HSPICE' VERSION='Q-2020.03'\n.TITLE '* amplifier'\n"
        " gain             ugbw             pm\n slew             temper           alter#\n"
        "   1.234000e+02     5.600000e+06   failed\n   1.0e+07   27.0000   1\n"
    )
    found = read_meas(path)
    assert found["gain"] == 123.4
    assert found["slew"] == 1e7
    assert "pm" not in found


def test_lines_of_name_and_value(file):
    assert read_meas(file("Delay = 1.5e-9 targ=2n trig=1n\nlost = failed\n"))["delay"] == 1.5e-9


def test_scale_factors_of_spice_are_read(file):
    columns = read_csv(file("time,v(out)\n0,1.5\n2.5n,-3m\n4k,10meg\n"))
    np.testing.assert_allclose(columns["time"], [0.0, 2.5e-9, 4e3])
    np.testing.assert_allclose(columns["v(out)"], [1.5, -3e-3, 1e7])
    found = read_meas(file("delay = 1.23n\nslew=12meg, from=1n\nodd = 1.2.3\nhuge= 1M\n"))
    assert found == {"delay": pytest.approx(1.23e-9), "slew": pytest.approx(12e6)}
    assert read_meas(file("delay alter#\n1.23n 1\n"))["delay"] == pytest.approx(1.23e-9)
