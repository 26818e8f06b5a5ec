"""Raw files: every form ngspice and Xyce write, and what is left of one that was cut off."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from m3eda.simulate.rawfile import RawFileError, read_raw

needs_ngspice = pytest.mark.skipif(shutil.which("ngspice") is None, reason="no ngspice on PATH")

FREQUENCY = np.array([1.0, 10.0, 100.0])
OUT = np.array([1.0 + 0.0j, 0.5 - 0.25j, 1e-9 - 1e-12j])
TIME = np.array([0.0, 1e-9, 3e-9, 7.25e-9])
STEP = np.array([0.0, 0.1, 1.0 / 3.0, 1.0])


def header(name: str, flags: str, points: int, variables: list[str]) -> bytes:
    table = "".join(f"\t{i}\t{text}\n" for i, text in enumerate(variables))
    return (
        f"Title: a title: with colon\nDate: Fri Nov 20 2026\nPlotname: {name}\nFlags: {flags}\n"
        f"No. Variables: {len(variables)}\nNo. Points: {points:<8d}\nVariables:\n{table}"
    ).encode()


def binary(values: np.ndarray) -> bytes:
    return b"Binary:\n" + np.ascontiguousarray(values).tobytes()


def ascii_real(rows: np.ndarray) -> bytes:
    lines = [
        f" {i}\t" + "\n\t".join(f"{value:.17e}" for value in row) + "\n"
        for i, row in enumerate(rows)
    ]
    return ("Values:\n" + "\n".join(lines)).encode()


def ascii_complex(rows: np.ndarray) -> bytes:
    lines = [
        f" {i}\t" + "\n\t".join(f"{v.real:.17e},{v.imag:.17e}" for v in row) + "\n"
        for i, row in enumerate(rows)
    ]
    return ("Values:\n" + "\n".join(lines)).encode()


AC_TABLE = ["frequency\tfrequency grid=3", "v(out)\tvoltage"]
TRAN_TABLE = ["time\ttime", "v(out)\tvoltage"]
AC = np.column_stack([FREQUENCY, OUT])
TRAN = np.column_stack([TIME, STEP])
AC_BINARY = header("AC Analysis", "complex", 3, AC_TABLE) + binary(AC)
TRAN_BINARY = header("Transient Analysis", "real", 4, TRAN_TABLE) + binary(TRAN)


def plots_of(tmp_path, content: bytes):
    path = tmp_path / "out.raw"
    path.write_bytes(content)
    return read_raw(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (AC_BINARY, AC),
        (TRAN_BINARY, TRAN),
        (header("AC Analysis", "complex", 3, AC_TABLE) + ascii_complex(AC), AC),
        (header("Transient Analysis", "real", 4, TRAN_TABLE) + ascii_real(TRAN), TRAN),
    ],
    ids=["binary complex", "binary real", "ascii complex", "ascii real"],
)
def test_one_plot(tmp_path, content, expected):
    (plot,) = plots_of(tmp_path, content)
    np.testing.assert_array_equal(plot.data, expected)
    assert plot.data.dtype == expected.dtype
    assert plot.complete


def test_names_and_types(tmp_path):
    (plot,) = plots_of(tmp_path, AC_BINARY)
    assert (plot.title, plot.name) == ("a title: with colon", "AC Analysis")
    assert plot.names == ("frequency", "v(out)")
    assert plot.types == ("frequency", "voltage")


def test_windows_line_ends_in_ascii(tmp_path):
    content = header("Transient Analysis", "real", 4, TRAN_TABLE) + ascii_real(TRAN)
    (plot,) = plots_of(tmp_path, content.replace(b"\n", b"\r\n"))
    np.testing.assert_array_equal(plot.data, TRAN)


def test_several_plots_of_mixed_form(tmp_path):
    ascii_plot = header("Transient Analysis", "real", 4, TRAN_TABLE) + ascii_real(TRAN)
    plots = plots_of(tmp_path, AC_BINARY + ascii_plot + TRAN_BINARY)
    assert [plot.data.shape for plot in plots] == [(3, 2), (4, 2), (4, 2)]
    assert all(plot.complete for plot in plots)


SHORT_TABLE = ["time\ttime", "v(out)\tvoltage", "rise\tnotype dims=1"]
SHORT = np.column_stack([TIME, STEP, [5.0, np.nan, np.nan, np.nan]])
UNPADDED = np.array([0.0, 0.0, 5.0, *TRAN[1:].ravel()])


@pytest.mark.parametrize(
    ("flags", "data"),
    [
        ("real", binary(np.nan_to_num(SHORT))),
        ("real unpadded", binary(UNPADDED)),
        ("real", ascii_real(np.nan_to_num(SHORT))),
        (
            "real unpadded",
            b"Values:\n 0\t0\n\t0\n\t5\n 1\t1e-9\n\t0.1\n 2\t3e-9\n\t%.17e\n 3\t7.25e-9\n\t1\n"
            % (1 / 3),
        ),
    ],
    ids=["padded", "unpadded", "ascii padded", "ascii unpadded"],
)
def test_vectors_of_unequal_length(tmp_path, flags, data):
    content = header("Transient Analysis", flags, 4, SHORT_TABLE) + data
    (plot,) = plots_of(tmp_path, content)
    np.testing.assert_allclose(plot.data, SHORT, rtol=1e-15)


@pytest.mark.parametrize("cut", [1, 8, 15, 16, 33])
def test_cut_off_binary_plot_keeps_its_whole_points(tmp_path, cut):
    first, last = plots_of(tmp_path, AC_BINARY + TRAN_BINARY[:-cut])
    there = 4 - -(-cut // 16)
    np.testing.assert_array_equal(last.data, TRAN[:there])
    assert first.complete
    assert not last.complete


def test_cut_off_ascii_plot_keeps_its_whole_points(tmp_path):
    content = header("Transient Analysis", "real", 4, TRAN_TABLE) + ascii_real(TRAN)
    (plot,) = plots_of(tmp_path, content[: content.rindex(b"\t")])
    np.testing.assert_array_equal(plot.data, TRAN[:3])
    assert not plot.complete


def test_number_of_points_never_filled_in(tmp_path):
    unfinished = header("Transient Analysis", "real", 0, TRAN_TABLE) + binary(TRAN)
    one, other = plots_of(tmp_path, unfinished + AC_BINARY)
    np.testing.assert_array_equal(one.data, TRAN)
    np.testing.assert_array_equal(other.data, AC)
    assert not one.complete
    assert other.complete


def test_plot_without_points_is_not_complete(tmp_path):
    (plot,) = plots_of(tmp_path, header("AC Analysis", "complex", 0, AC_TABLE) + b"Binary:\n")
    assert plot.data.shape == (0, 2)
    assert not plot.complete


@pytest.mark.parametrize("content", [b"", AC_BINARY[:60], AC_BINARY[:150]])
def test_nothing_but_a_cut_off_header(tmp_path, content):
    assert plots_of(tmp_path, content) == []


@pytest.mark.parametrize(
    "content",
    [
        b"time,v(out)\n0,1\n",
        AC_BINARY.replace(b"No. Variables: 2", b"No. Variables: 3"),
        AC_BINARY.replace(b"No. Points: 3", b"No. Points: x"),
        AC_BINARY.replace(b"Flags: complex\n", b""),
    ],
    ids=["csv", "variables", "points", "flags"],
)
def test_something_else_is_refused(tmp_path, content):
    with pytest.raises(RawFileError, match=r"out\.raw: not a SPICE raw file"):
        plots_of(tmp_path, content)


DECK = """three analyses
v1 in 0 dc 1 ac 1 pulse(0 1 0 1n 1n 1u 2u)
r1 in out 1k
c1 out 0 1p
.op
.ac dec 1 1 100
.tran 1n 20n
.control
set filetype={form}
run out.raw
quit 0
.endc
.end
"""


@needs_ngspice
@pytest.mark.simulator
def test_ngspice_writes_the_same_in_both_forms(tmp_path):
    read = {}
    for form in ("binary", "ascii"):
        (tmp_path / "deck.cir").write_text(DECK.format(form=form))
        subprocess.run(["ngspice", "-b", "deck.cir"], cwd=tmp_path, capture_output=True, timeout=30)
        read[form] = read_raw(tmp_path / "out.raw")
    assert [plot.name for plot in read["binary"]] == [
        "AC Analysis",
        "Operating Point",
        "Transient Analysis",
    ]
    for one, other in zip(read["binary"], read["ascii"], strict=True):
        assert one.names == other.names
        np.testing.assert_allclose(one.data.real, other.data.real, rtol=1e-14)


def test_a_plot_without_variables(tmp_path):
    """As ngspice writes the poles of a circuit that has none; what follows it is read."""
    path = tmp_path / "a.raw"
    empty = header("Pole-Zero Analysis", "real", 1, []) + b"Binary:\n"
    last = header("Operating Point", "real", 1, ["v(a)\tvoltage"]) + binary(np.array([[1.5]]))
    path.write_bytes(empty + last)
    first, second = read_raw(path)
    assert first.names == ()
    assert second.data.tolist() == [[1.5]]
