"""Tables of Xyce: headers, complex columns, blocks of a step, files that were cut off; goldens."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from m3eda_plugins.xyce.results import (
    BadTable,
    header_names,
    noise_totals,
    read_measures,
    read_table,
)

from m3eda.simulate import ac
from m3eda.simulate.traces import Trace

NUMBERS = "1.0e+00,2.0e+00,3.0e+00\n"


def table(folder, text):
    (folder / "deck.cir.csv").write_text(text)
    return read_table(folder / "deck.cir.csv")


# headers


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("FREQ,Re(V(NET6)),Im(V(NET6))", ("freq", "re(v(net6))", "im(v(net6))")),
        ("FREQ,Re(V(IN,OUT)),Im(V(IN,OUT))", ("freq", "re(v(in,out))", "im(v(in,out))")),
        ('"FREQ","ONOISE","INOISE"', ("freq", "onoise", "inoise")),
        ("TIME,V(X1.NET),I(X1.VS)", ("time", "v(x1.net)", "i(x1.vs)")),
        ("V1:DCV0,N(M1:GM), {V(A) - V(B)}", ("v1:dcv0", "n(m1:gm)", "{v(a)-v(b)}")),
        ("V(A),V(MAX(1,2),3)", ("v(a)", "v(max(1,2),3)")),
        ("", ("",)),
    ],
)
def test_headers_are_divided_outside_of_brackets(line, names):
    assert header_names(line) == names


def test_the_halves_of_a_complex_column_are_joined(tmp_path):
    read = table(tmp_path, "FREQ,Re(V(A)),Im(V(A))\n" + NUMBERS + "2,-4e-3,inf\n")
    vectors = read.vectors()
    assert set(vectors) == {"freq", "v(a)"}
    assert vectors["v(a)"][0] == 2.0 + 3.0j
    assert vectors["freq"].dtype == np.float64
    assert vectors["v(a)"].dtype == np.complex128


# what is left of a file


def test_a_file_cut_off_in_a_line_is_told(tmp_path):
    whole = "TIME,V(A),V(B)\n" + NUMBERS + NUMBERS
    assert not table(tmp_path, whole).cut
    for end in range(whole.index("\n") + 1, len(whole)):
        read = table(tmp_path, whole[:end])
        assert read.cut == (whole[end - 1] != "\n"), whole[:end]
        assert read.rows == whole[:end].count("\n") - 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no header"),
        ("TIME,V(A", "no header"),
        ("TIME,,V(A)\n1,2,3\n", "no header"),
        ("TIME,V(A)\n1,2\n1\n", "no table of numbers"),
        ("TIME,V(A)\n1,2,3\n", "3 columns under 2 names"),
        ("TIME,V(A)\n1,oops\n", "no table of numbers"),
        ("\x00\x01\x02\n\x03\x04\n", "no table of numbers"),
        ("TIME,V(A)\n1,2\nEnd of Xyce(TM) Simulation\n", "no table of numbers"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path, text, says):
    with pytest.raises(BadTable) as caught:
        table(tmp_path, text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_without_rows(tmp_path):
    assert table(tmp_path, "TIME,V(A)\n").data.shape == (0, 2)


def test_blocks_of_a_step(tmp_path):
    read = table(tmp_path, "TIME,A\n0,1\n1,2\n0,3\n1,4\n2,5\n0,6\n")
    assert [list(block.data[:, 1]) for block in read.blocks()] == [[1, 2], [3, 4, 5], [6]]
    cut = table(tmp_path, "TIME,A\n0,1\n1,2\n0,3\n1,")
    assert [block.cut for block in cut.blocks()] == [False, True]


# measures and totals


def test_a_measure_that_failed_is_absent():
    text = "GAIN = 5.080846e+01\nNEVER = FAILED\nTEMP = nan\n"
    assert read_measures(text, ["Gain", "never", "other"]) == {"Gain": 50.80846}


def test_the_last_of_two_results_counts():
    assert read_measures("A = 1\nA = FAILED\n", ["a"]) == {}


def test_integrated_noise_is_a_root():
    log = "Total Output Noise = 6.250000e-04\nTotal Input Noise = 1.000000e-06\n"
    assert noise_totals(log) == {"onoise_total": 0.025, "inoise_total": 1e-3}
    assert noise_totals("Total Output Noise = \n") == {}


# goldens


@pytest.fixture
def samples(shared):
    return shared / "xyce_samples"


def test_golden_ac_and_operating_point(samples):
    folder = samples / "opamp_ac"
    response = read_table(folder / "deck.cir.FD.csv").vectors()
    assert response["freq"].size == 101
    assert abs(response["v(net6)"][0]) == pytest.approx(347.07467, rel=1e-7)
    point = read_table(folder / "deck.cir.TD.csv").vectors()
    assert point["i(vdd)"] == pytest.approx([-1.011359344e-4], rel=1e-9)
    assert set(point) == {"time", "v(net6)", "v(net5)", "i(vdd)"}


def test_golden_noise(samples):
    folder = samples / "noise"
    vectors = read_table(folder / "deck.cir.NOISE.csv").vectors()
    assert set(vectors) == {"freq", "onoise", "inoise"}
    assert np.sqrt(vectors["onoise"][0]) == pytest.approx(2.5461577e-3, rel=1e-6)
    totals = noise_totals((folder / "run.log").read_text())
    assert totals["onoise_total"] == pytest.approx(7.7624e-3, rel=1e-4)


def test_golden_transient(samples):
    vectors = read_table(samples / "tran" / "deck.cir.csv").vectors()
    assert vectors["time"][-1] == pytest.approx(2e-6)
    assert (np.diff(vectors["time"]) > 0.0).all()


def test_golden_failed_measure(samples):
    text = (samples / "failed_measure" / "deck.cir.ma0").read_text()
    assert read_measures(text, ["gain", "never"]) == {"gain": 50.80846}


def test_golden_four_sizings(samples):
    blocks = read_table(samples / "batch_step_data" / "deck.cir.FD.csv").blocks()
    assert [block.rows for block in blocks] == [101] * 4
    single = read_table(samples / "opamp_ac" / "deck.cir.FD.csv")
    # the first row of the batch has the sizing of the single run
    np.testing.assert_array_equal(blocks[0].data, single.data)


def test_golden_hundred_sizings(samples, tmp_path):
    folder = samples / "hundred_sizings"
    unpacked = tmp_path / "deck.cir.FD.csv"
    unpacked.write_bytes(gzip.decompress((folder / "deck.cir.FD.csv.gz").read_bytes()))
    blocks = read_table(unpacked).blocks()
    points = read_table(folder / "deck.cir.TD.csv").blocks()
    expected = json.loads((folder / "results.json").read_text())
    assert len(blocks) == len(points) == len(expected) == 100
    for block, point, result in zip(blocks, points, expected, strict=True):
        vectors = block.vectors()
        response = Trace(vectors["freq"], vectors["v(net6)"], "ac", "v(net6)")
        assert abs(response.y[0]) == pytest.approx(result["gain"], rel=1e-12)
        assert -point.vectors()["i(vdd)"][0] == pytest.approx(result["ibias"], rel=1e-12)
        if result["ugbw"] is None:
            continue
        crossing = ac.unity_gain_frequency.function(response)
        assert crossing == pytest.approx(result["ugbw"], rel=2e-3)
        margin = ac.phase_margin.function(response)
        lag = 180.0 + result["phase_at_ugbw_unwrapped_deg"]
        assert margin == pytest.approx(lag, abs=0.1)
