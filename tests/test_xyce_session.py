"""The batched session of Xyce: many sizings in one process, and nothing else by it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from m3eda_plugins.xyce import session as xyce_session
from m3eda_plugins.xyce.fit import has_behaviour
from m3eda_plugins.xyce.session import XyceSession
from m3eda_plugins.xyce.simulator import Xyce

from m3eda.design.types import Measure, SimulatorChoice
from m3eda.plugins import Plugins
from m3eda.simulate.difference import difference
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.pool import Pool
from m3eda.simulate.runner import Recipe
from m3eda.simulate.types import BatchSession, Deck, OnlyCold, Skeleton, State, WarmSimulator
from tests import stepping_xyce as fake
from tests.helpers import divider

DIVIDER = """* divider
v1 in 0 dc 1 ac 1
r1 in out @
r2 out 0 @
"""


class Watched(Xyce):
    """Remembers how many rows each process was given; 0 for a plain deck."""

    def __init__(self, program):
        super().__init__({"program": str(program)})
        self.rows = []

    def process(self, deck_file, log_file, rundir, timeout):
        table = (rundir / deck_file).read_text().partition(".data")[2].partition(".enddata")[0]
        self.rows.append(table.count("\n+"))
        return super().process(deck_file, log_file, rundir, timeout)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return fake.install(tmp_path_factory.mktemp("stepping") / "bin")


@pytest.fixture
def simulator(program):
    return Watched(program)


@pytest.fixture
def session(simulator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(xyce_session, "_ENOUGH", 60.0)
    opened = simulator.open(tmp_path, strict=True)
    yield opened
    opened.close()
    assert list(tmp_path.iterdir()) == []


def decks(values, analysis=".op", head=DIVIDER, **settings):
    """Decks of dividers with r1 = value and r2 = 2000 ohm, of one skeleton."""
    parts = tuple(f"{head}{analysis}\n.end\n".split("@"))
    probes = (("3000", "2500"), ("4000", "5000"))
    skeleton = Skeleton(parts, probes)
    settings = {"vectors": ("v(out)",), **settings}
    found = []
    for value in values:
        fills = (f"{value}", "2000")
        found.append(Deck(skeleton.text(fills), skeleton=skeleton, fills=fills, **settings))
    return found


def out(waveforms, kind="op", name="v(out)"):
    [analysis] = [each for each in waveforms.of_kind(kind) if name in each.vectors]
    return analysis.vectors[name]


def ratio(value):
    return 2000.0 / (value + 2000.0)


def ran(session, simulator, many):
    """The results of decks that are expected together, None for what must run cold, and the rows
    of each process that the proof did not need."""
    before = len(simulator.rows)
    session.expect(many)
    found = []
    for deck in many:
        try:
            found.append(session.run(deck))
        except OnlyCold:
            found.append(None)
    return found, simulator.rows[before:]


def proved(session, simulator, **settings):
    """A session that knows how decks of these settings are run."""
    session.run(decks([1500], **settings)[0])
    simulator.rows.clear()


def test_what_the_engine_asks_for(simulator, session):
    assert isinstance(simulator, WarmSimulator)
    assert isinstance(session, BatchSession)
    assert simulator.ahead > 1


def test_decks_run_together(session, simulator):
    values = [1500 + i for i in range(20)]
    found, rows = ran(session, simulator, decks(values))
    assert [out(each)[0] for each in found] == pytest.approx([ratio(v) for v in values], rel=1e-14)
    # two plain decks and four rows for the proof, then all in one process
    assert rows == [0, 0, 4, 20]


def test_a_row_is_what_the_deck_gives_alone(session, simulator, tmp_path):
    many = decks([1700.1, 1800.25, 1900.125])
    found, _ = ran(session, simulator, many)
    for deck, each in zip(many, found, strict=True):
        folder = tmp_path / "cold"
        folder.mkdir()
        assert difference(simulator.run(deck, folder, 10.0), each) == 0.0
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def test_it_does_not_matter_what_a_row_stands_beside(session, simulator):
    proved(session, simulator)
    [alone] = ran(session, simulator, decks([1777]))[0]
    [_, beside] = ran(session, simulator, decks([1666, 1777]))[0]
    assert out(alone)[0] == out(beside)[0] == pytest.approx(ratio(1777), rel=1e-14)


def test_decks_that_were_not_expected(session, simulator):
    for value in (1500, 1600):
        assert out(session.run(decks([value])[0]))[0] == pytest.approx(ratio(value))
    assert simulator.rows[-2:] == [1, 1]


def test_decks_that_do_not_come(session, simulator):
    many = decks([1500 + i for i in range(6)])
    session.expect(many)
    for deck in many[::3]:
        session.run(deck)
    assert simulator.rows == [0, 0, 4, 6]
    session.expect(decks([2100, 2200]))
    assert out(session.run(many[1]))[0] == pytest.approx(ratio(1501))
    assert out(session.run(decks([2200])[0]))[0] == pytest.approx(ratio(2200))


def test_equal_decks_are_one_row(session, simulator):
    proved(session, simulator)
    found, rows = ran(session, simulator, decks([1500, 1600, 1500]))
    assert [out(each)[0] for each in found] == pytest.approx([ratio(v) for v in (1500, 1600, 1500)])
    assert rows == [2, 1]


def test_skeletons_by_turns(session, simulator):
    ac, op = decks([1500, 1600], ".ac dec 1 1 100"), decks([1700, 1800])
    found, rows = ran(session, simulator, [ac[0], op[0], ac[1], op[1]])
    assert rows == [0, 0, 4, 2, 0, 0, 4, 2]
    assert out(found[2], "ac") == pytest.approx(np.full(3, ratio(1600)))
    assert out(found[3])[0] == pytest.approx(ratio(1800))


@pytest.mark.parametrize(
    ("analysis", "fault"),
    [
        (".ac dec 1 1 100", fake.STOPS),
        (".op", fake.LEFT_OUT),
        (".tran 1u 10u", fake.LEFT_OUT),
        (".tran 1u 10u", fake.HALF),
    ],
)
def test_a_row_that_fails_runs_alone_and_the_others_again(session, simulator, analysis, fault):
    proved(session, simulator, analysis=analysis)
    values = [1500, 1600, fault, 1700, 1800]
    found, rows = ran(session, simulator, decks(values, analysis))
    assert found[2] is None
    kind = analysis[1:].split()[0]
    for value, each in zip(values, found, strict=True):
        if each is not None:
            assert out(each, kind)[-1] == pytest.approx(ratio(value), rel=1e-14)
    # a transient has its operating point in a process before it
    assert rows in ([5, 2], [5, 5, 2, 2], [5, 2, 2, 2])


def test_what_stands_behind_gmin_stepping_is_run_anew(session, simulator):
    proved(session, simulator)
    values = [1500, fake.STEPPING, 1600, 1700, fake.STEPPING, 1800]
    found, rows = ran(session, simulator, decks(values))
    assert [out(each)[0] for each in found] == pytest.approx([ratio(v) for v in values], rel=1e-14)
    # the second run is as long as what was of use of the first lets hope for
    assert rows == [5, 4, 1]


@pytest.mark.parametrize("fault", [fake.KILLED, fake.UNCLEAR])
def test_a_run_that_dies(session, simulator, fault):
    proved(session, simulator)
    values = [1500, 1600, fault, 1700]
    found, rows = ran(session, simulator, decks(values))
    assert [each is None for each in found] == [False, False, True, False]
    assert rows == [4, 1, 1, 1, 1]


@pytest.mark.parametrize("fault", [fake.KILLED_IN_BATCH, fake.HANGS_IN_BATCH])
def test_a_run_that_dies_of_its_size(session, simulator, monkeypatch, fault):
    monkeypatch.setattr(xyce_session, "_SLACK", 0.3)
    monkeypatch.setattr(xyce_session, "_PATIENCE", 1.0)
    proved(session, simulator)
    found, rows = ran(session, simulator, decks([1500, fault, 1700]))
    assert [out(each)[0] for each in found] == pytest.approx(
        [ratio(v) for v in (1500, fault, 1700)]
    )
    assert rows[-3:] == [1, 1, 1]


def test_a_table_that_was_cut_off(session, simulator):
    proved(session, simulator, analysis=".ac dec 1 1 100")
    found, _ = ran(session, simulator, decks([1500, 1600, fake.CUT], ".ac dec 1 1 100"))
    assert [each is None for each in found] == [False, False, True]


def test_measures_of_each_row(session, simulator):
    lines = ".ac dec 1 1 100\n.meas ac gain find vm(out) at=10"
    values = [1500, 1600, fake.NO_MEASURE, 1700]
    many = decks(values, lines, meas=("Gain",))
    found, _ = ran(session, simulator, many)
    assert found[2] is None
    assert [found[i].meas for i in (0, 1, 3)] == [
        {"Gain": pytest.approx(ratio(values[i]), rel=1e-14)} for i in (0, 1, 3)
    ]


def test_noise_of_each_row(session, simulator):
    asked = {"vectors": ("onoise_total", "onoise_spectrum")}
    found, _ = ran(session, simulator, decks([1500, 1600], ".noise v(out) v1 dec 1 1 100", **asked))
    totals = [out(each, "noise", "onoise_total")[0] for each in found]
    assert totals == pytest.approx([math.sqrt(ratio(v)) for v in (1500, 1600)], rel=1e-6)
    assert out(found[1], "noise", "onoise_spectrum") == pytest.approx(math.sqrt(ratio(1600)))


def test_the_operating_point_beside_an_ac_analysis(session, simulator):
    found, _ = ran(session, simulator, decks([1500, 1600], ".op\n.ac dec 1 1 100"))
    for value, each in zip((1500, 1600), found, strict=True):
        assert out(each, "op") == pytest.approx(ratio(value))
        assert out(each, "ac") == pytest.approx(ratio(value))


def test_several_analyses(session, simulator):
    proved(session, simulator, analysis=".op\n.tran 1u 10u")
    found, rows = ran(session, simulator, decks([1500, fake.HALF, 1600], ".op\n.tran 1u 10u"))
    assert found[1] is None
    # both passes; then the rest, without the row that failed
    assert rows == [3, 3, 1, 1]
    assert {a.kind for a in found[2].analyses} == {"op", "tran"}


def test_where_a_device_does_not_hear_of_parameters(session, simulator):
    head = DIVIDER.replace("r2 out 0 @", "r2 out 0 2000\nr3 out 0 @")
    with pytest.raises(OnlyCold, match="not give the same"):
        session.run(decks([1500], head=head)[0])
    before = len(simulator.rows)
    with pytest.raises(OnlyCold):  # remembered
        session.run(decks([1600], head=head)[0])
    assert len(simulator.rows) == before


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (".step r2 1k 2k 1k", "steps of its own"),
        (".if (1)\nr4 out 0 1k\n.endif", "depends on values"),
        (".model n.1 nmos level=1", "depends on values"),
        (".include bins.lib", "depends on values"),
        (".include behaviour.lib", "expression of voltages"),
        (".param k=2\nb1 x 0 v=k*v(out)", "expression of voltages"),
        (".param k=2\ne1 x 0 vol='v(out)\n+ *k'", "expression of voltages"),
    ],
)
def test_circuits_that_are_not_stepped(session, tmp_path, lines, reason):
    for name, text in (("bins", ".model n.1 nmos"), ("behaviour", "r1 a b r='k*v(a)'")):
        (tmp_path / f"{name}.lib").write_text(f"{text}\n")
    lines = lines.replace(".include ", f".include {tmp_path}/")
    with pytest.raises(OnlyCold, match=reason):
        session.run(decks([1500], f"{lines}\n.op")[0])
    for path in tmp_path.glob("*.lib"):
        path.unlink()


@pytest.mark.parametrize(
    ("card", "behaves"),
    [
        ("b1 x 0 v=2*v(a)", True),
        ("e1 x 0 a 0 k", False),
        ("e1 x 0 poly(1) a 0 0 1", True),
        ("g1 x 0 value={v(a)*i(v1)}", True),
        ("f1 x 0 v1 2", False),
        ("r1 x 0 r='1k*(1+v(x)*k)'", True),
        ("r1 x 0 {k}", False),
        ("c1 v i 1p", False),
        ("v1 x 0 {k}", False),
    ],
)
def test_devices_that_follow_expressions(card, behaves):
    assert has_behaviour(f"* title\n{card}\n") is behaves


def test_holes_that_are_no_parameters(session):
    parts = ("* sweep\nv1 in 0 ac 1\nr1 in 0 1\n.ac dec 1 1 ", "\n.end\n")
    skeleton = Skeleton(parts, (("10",), ("20",)))
    with pytest.raises(OnlyCold, match="a value changes in"):
        session.run(Deck(skeleton.text(("30",)), skeleton=skeleton, fills=("30",)))


def test_values_that_are_not_stepped(session, simulator):
    proved(session, simulator)
    many = decks([1500, 1600, 1700])
    nothing = replace(many[1], text=many[1].skeleton.text(("0", "2000")), fills=("0", "2000"))
    found, rows = ran(session, simulator, [many[0], nothing, many[2]])
    assert [each is None for each in found] == [False, True, False]
    assert rows == [2]


def test_decks_without_a_skeleton(session):
    [deck] = decks([1500])
    with pytest.raises(OnlyCold, match="no skeleton"):
        session.run(replace(deck, skeleton=None, fills=()))
    with pytest.raises(OnlyCold, match="no skeleton"):
        session.run(replace(deck, text=f"{deck.text}.option reltol=1e-2\n"))


def test_probes_that_fail(session, simulator):
    [deck] = decks([1500])
    bad = Skeleton(deck.skeleton.parts, ((f"{fake.LEFT_OUT}", "2500"), ("4000", "5000")))
    deck = replace(deck, skeleton=bad)
    assert out(session.run(deck))[0] == pytest.approx(ratio(1500))
    worse = Skeleton(bad.parts, ((f"{fake.LEFT_OUT}", "25"), (f"{fake.LEFT_OUT}", "50")))
    with pytest.raises(OnlyCold, match="probes give nothing"):
        session.run(replace(deck, skeleton=worse))


def test_rows_of_a_run_as_many_as_there_is_time_for(session, simulator, monkeypatch):
    proved(session, simulator)
    monkeypatch.setattr(xyce_session, "_ENOUGH", 1e-9)
    _, rows = ran(session, simulator, decks([1500, 1600]))
    assert rows == [1, 1]


def test_never_more_than_the_session_hears_of(session, simulator):
    proved(session, simulator)
    _, rows = ran(session, simulator, decks([1500 + i for i in range(40)]))
    assert rows == [32, 8]


def test_skeletons_that_are_forgotten(session, simulator, monkeypatch, tmp_path):
    monkeypatch.setattr(xyce_session, "_REMEMBERED", 1)
    proved(session, simulator)
    proved(session, simulator, analysis=".ac dec 1 1 100")
    assert len(list(tmp_path.iterdir())) == 1
    ran(session, simulator, decks([1500]))
    assert simulator.rows == [0, 0, 4, 1]


def test_a_prefix_starts_every_simulation(program, tmp_path):
    with pytest.raises(OnlyCold, match="prefix"):
        Xyce({"program": str(program), "prefix": "env"}).open(tmp_path, strict=False)


def test_a_release_that_does_not_tell_of_gmin_stepping(program, tmp_path, monkeypatch):
    monkeypatch.setattr(Xyce, "available", lambda self: "xyce-7.6")
    with pytest.raises(OnlyCold, match=r"from 7\.7 on"):
        Xyce({"program": str(program)}).open(tmp_path, strict=False)


def tools(design):
    return Xyce(design.simulator.options), Plugins([]).measures


def test_sizings_in_worker_processes(program, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    choice = SimulatorChoice("xyce", timeout=1.5, options={"program": str(program)})
    measures = {"ratio": Measure("ratio", "op", "v(out)")}
    design = divider(tmp_path, simulator=choice, measures=measures, specs={})
    design = replace(design, failures=replace(design.failures, retries=0))
    values = [1500.0 + i for i in range(24)]
    values[5], values[9], values[14] = fake.LEFT_OUT, fake.HANGS, fake.KILLED
    pool = Pool(Recipe(design, tools, strict=True, ahead=32), 2)
    evaluator = Evaluator(design, *tools(design), make_executor=lambda given: pool)
    try:
        points = [{"r1": value, "r2": 2000.0} for value in values]
        results = [result["nominal"] for result in evaluator.evaluate(points)]
    finally:
        evaluator.close()
    failed = {5: State.NO_CONVERGENCE, 9: State.TIMEOUT, 14: State.CRASH}
    for number, (value, result) in enumerate(zip(values, results, strict=True)):
        assert result.state is failed.get(number, State.COMPLETE)
        if number not in failed:
            assert result.measures["ratio"] == pytest.approx(ratio(value), rel=1e-12)
    assert "SIGKILL" in results[14].reason


def test_a_session_is_one_of_xyce(session):
    assert isinstance(session, XyceSession)
    assert session.broken is False
