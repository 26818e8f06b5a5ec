"""ngspice in process: the same results as a process of its own, whatever ran before."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from m3eda_plugins.ngspice import ngspice

from m3eda.design.space import Space
from m3eda.design.technology import package_folder
from m3eda.flow import Project
from m3eda.simulate.difference import difference
from m3eda.simulate.types import Deck, OnlyCold, SimulationFailed, Skeleton, State, WarmSimulator
from tests.bad_decks import FAILURES, NMOS, START
from tests.conftest import ROOT
from tests.session_child import GOOD, fingerprint

pytestmark = pytest.mark.simulator

EXAMPLES = sorted(
    path.relative_to(ROOT / "examples").as_posix()
    for path in (ROOT / "examples").glob("*/*.yaml")
    if path.parent.name not in ("custom_simulator", "sky130_ota", "spectre_style")
)
BSIM4 = ".model nb nmos level=54 version=4.5 toxe=3n cgdo=-1e-10 cgso=-1e-10 vth0=0.4\n"


@pytest.fixture
def simulator():
    return ngspice({})


@pytest.fixture
def opened(simulator, tmp_path):
    """A session, exact or not."""
    place = tmp_path / "session"
    place.mkdir()
    sessions = []

    def open_session(strict=True):
        sessions.append(simulator.open(place, strict=strict))
        return sessions[-1]

    yield open_session
    for session in sessions:
        session.close()


@pytest.fixture
def cold(simulator, tmp_path):
    """What a process of its own makes of a deck."""

    def run(deck):
        place = tmp_path / f"cold{len(list(tmp_path.iterdir()))}"
        place.mkdir()
        return simulator.run(deck, place, 60.0)

    return run


def family(*parts, probes, fills, **wanted) -> list[Deck]:
    """Decks of one skeleton."""
    skeleton = Skeleton(parts, probes)
    return [Deck(skeleton.text(f), skeleton=skeleton, fills=f, **wanted) for f in fills]


def way(session) -> str:
    """How the session runs the skeleton it saw last."""
    return type(next(reversed(session._ways.values()))).__name__


def stage(device: str, model: str = NMOS, cards: str = ".ac dec 3 1k 1g\n") -> tuple[str, str]:
    """Text before and after a hole in a line of a common-source stage within two subcircuits."""
    text = (
        "stage\nvdd vdd 0 1.8\nvin in 0 dc 0.7 ac 1\nx1 in out vdd outer\n"
        ".subckt outer g d s\nx2 g d s inner\n.ends\n.subckt inner g d s\n"
        f"{device}\nrd s d 20k\nc1 d 0 1p\n.ends\n{model}{cards}"
    )
    before, _, after = text.partition("HOLE")
    return before, after


WANTED = {"vectors": ("v(out)", "i(vdd)"), "device_values": ("@x1.x2.m1[gm]",)}
PROBES = (("1.1e-05",), ("2.3e-05",))
FILLS = [("1.234567890123e-05",), ("7e-06",), ("3.3u",), ("1.9999999999999e-05",)]


# every example


def sized(name: str, count: int):
    project = Project.load(ROOT / "examples" / name)
    evaluator = project.evaluator()
    space = Space(project.design)
    points = np.random.default_rng(5).uniform(size=(count, space.dimension))
    return [evaluator.decks(space.sizing(point)) for point in points]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_give_what_a_process_gives(name, opened, cold):
    """Bit for bit in strict mode, transients too; within 1e-7 by default, mostly bit for bit."""
    sizings = sized(name, 2)
    for label in sizings[0]:
        exact, close = opened(strict=True), opened(strict=False)
        for decks in sizings:
            expected = cold(decks[label])
            assert difference(expected, exact.run(decks[label])) == 0.0, label
            exact.close()
            assert difference(expected, close.run(decks[label])) < 1e-7, label
            close.close()


@pytest.mark.skipif(package_folder("sky130") is None, reason="the package sky130 is not installed")
def test_a_process_design_kit(opened, cold):
    decks = [each["open_loop"] for each in sized("sky130_ota/design.yaml", 2)]
    session = opened(strict=True)
    for deck in decks:
        assert difference(cold(deck), session.run(deck)) == 0.0
    assert way(session) == "PrunedWay"


def test_examples_use_the_faster_ways(opened):
    exact, close = opened(strict=True), opened(strict=False)
    deck = sized("two_stage_opamp/design.yaml", 1)[0]["open_loop"]
    exact.run(deck)
    close.run(deck)
    assert (way(exact), way(close)) == ("ParameterWay", "AlterWay")


# where a number stands


@pytest.mark.parametrize(
    ("device", "model", "fast"),
    [
        ("m1 d g 0 0 nch w=HOLE l=1u", NMOS, True),
        ("m1 d g 0 0 nch l=1u w= HOLE m=2", NMOS, True),
        ("m1 d g 0 0 nch w={2*HOLE} l=1u", NMOS, True),
        ("m1 d g 0 0 nch w='HOLE*2' l=1u", NMOS, True),
        ("m1 d g 0 0 nch w={width} l=1u\n.param width=HOLE", NMOS, True),
        ("m1 d g 0 0 nch w={width} l=1u\n.param width='3*HOLE+1e-6'", NMOS, True),
        (
            "x9 d g core w=HOLE\n.ends\n.subckt core d g w=1u\nm1 d g 0 0 nch w={w} l=1u",
            NMOS,
            True,
        ),
        (
            "x9 d g core a='HOLE*1.1'\n.ends\n.subckt core d g a=1u\n.param k={a/3} w={2*k+1u}\n"
            "m1 d g 0 0 nch w={max(w,sqrt(a*1e-6))} l=1u ad='a*2u' m=2",
            NMOS,
            True,
        ),
        (
            "x9 d g core m=2 w=HOLE\n.ends\n.subckt core d g w=1u\nm1 d g 0 0 nch w={w} l=1u",
            NMOS,
            False,
        ),
        ("m1 d g 0 0 nch w={HOLE**2*1meg} l=1u", NMOS, False),
        ("m1 d g 0 0 nch w={HOLE > 1u ? 3u : 2u} l=1u", NMOS, False),
        (
            "m1 d g 0 0 nch w=10u l=1u\n.param res={1m/HOLE}\nr9 d 0 {res} tc1={res*1e-9}",
            NMOS,
            False,
        ),
        ("m1 d g 0 0 nch w=10u l=1u\nr9 d 0 HOLE", NMOS, True),
        ("m1 d g 0 0 nch w=10u l=1u\nr9 d 0 1k tc1=HOLE", NMOS, False),
        ("m1 d g 0 0 nch w=10u l=1u\ni9 d 0 dc HOLE", NMOS, True),
        ("m1 d g 0 0 nch w=10u l=1u\nb9 d 0 i=HOLE*v(d)", NMOS, False),
        ("m1 d g 0 0 nch w=10u l=1u\ng9 d 0 g 0 HOLE", NMOS, False),
    ],
)
def test_numbers_in_a_netlist(device, model, fast, opened, cold):
    wanted = WANTED if "x9" not in device else {"vectors": WANTED["vectors"]}
    decks = family(*stage(device, model), probes=PROBES, fills=FILLS, **wanted)
    exact, close = opened(strict=True), opened(strict=False)
    for deck in decks:
        expected = cold(deck)
        assert difference(expected, exact.run(deck)) == 0.0
        exact.close()
        assert difference(expected, close.run(deck)) < 1e-7
        close.close()
    assert way(exact) == "ParameterWay"
    assert way(close) == ("AlterWay" if fast else "ParameterWay")


@pytest.mark.parametrize(
    ("before", "after", "probes", "fills"),
    [
        ("title\nv1 a 0 1 ac 1\nr1 a b 1k\nc1 b 0 1n\n.ac dec ", " 1 1meg\n", ("2", "3"), "4"),
        (
            "title\nv1 a 0 1 ac 1\nr1 a b 1k\nr2 b 0 1k tc1=1e-3\n.op\n.temp ",
            "\n",
            ("20", "30"),
            "50",
        ),
        ("title\nv1 a 0 1\nr1 a b 1k\nr2 b 0 1k\nr3 ", " 0 1k\n.op\n", ("b", "a"), "b"),
        ("title\nv1 a 0 1\nr1 a b 1k\nr2 b 0 1k m=1", "\n.op\n", ("0", "1"), "2"),
    ],
    ids=["analysis", "temperature", "node", "digit"],
)
def test_where_no_parameter_can_stand(before, after, probes, fills, opened, cold):
    first, second = probes
    (deck,) = family(
        before, after, probes=((first,), (second,)), fills=[(fills,)], vectors=("v(b)",)
    )
    assert difference(cold(deck), opened().run(deck)) == 0.0


def test_a_fill_that_is_no_number(opened, cold):
    parts = ("title\nv1 a 0 1\nr1 a b 1k\nr2 b 0 ", "\n.param x=3k\n.op\n")
    number, name = family(
        *parts, probes=(("1k",), ("2k",)), fills=[("3k",), ("{x}",)], vectors=("v(b)",)
    )
    session = opened()
    for deck in (number, name, number):
        assert difference(cold(deck), session.run(deck)) == 0.0


# what ran before


@pytest.mark.parametrize("strict", [True, False])
def test_results_do_not_depend_on_what_ran_before(strict, opened):
    sizings = sized("two_stage_opamp/design.yaml", 4)
    decks = [each["open_loop"] for each in sizings]
    alone = []
    for deck in decks:
        session = opened(strict)
        alone.append(fingerprint(session.run(deck)))
        session.close()
    session = opened(strict)
    bad = Deck(START + FAILURES["singular matrix"][0])
    for index in (3, 0, 1, 3, 2, 2, 0):
        assert fingerprint(session.run(decks[index])) == alone[index]
    for index in (2, 1):
        session.run(GOOD)
        with pytest.raises(SimulationFailed):
            session.run(bad)
        assert fingerprint(session.run(decks[index])) == alone[index]


@pytest.mark.parametrize("strict", [True, False])
def test_circuits_and_failures_by_turns(strict, opened):
    """Whatever comes before a deck, it gives every bit as in a session that knows nothing else."""
    decks = [each["noise"] for each in sized("folded_cascode/low_noise.yaml", 2)]
    decks += [each["response"] for each in sized("sallen_key/design.yaml", 2)]
    device = "m1 d g 0 0 nb w='2*HOLE' l=1u"
    decks += family(*stage(device, BSIM4), probes=PROBES, fills=FILLS, **WANTED)
    bad = ("missing model", "voltage loop", "fatal model parameter", "unknown card")
    decks += [GOOD, *(Deck(START + FAILURES[name][0]) for name in bad)]

    def outcome(session, deck):
        try:
            return fingerprint(session.run(deck))
        except SimulationFailed as failure:
            return failure.state, failure.reason

    alone = []
    for deck in decks:
        session = opened(strict)
        alone.append(outcome(session, deck))
        session.close()
    session = opened(strict)
    for index in np.random.default_rng(7).integers(0, len(decks), 80):
        assert outcome(session, decks[index]) == alone[index], index
    assert not session.broken


def test_a_model_is_checked_at_every_run(opened, cold):
    """Its check mends negative capacitances, and ngspice leaves it out for a model's namesake."""
    device = "m1 d g 0 0 nb w=HOLE l=1u"
    decks = family(*stage(device, BSIM4), probes=PROBES, fills=FILLS, **WANTED)
    for strict, most in ((True, 0.0), (False, 1e-7)):
        session = opened(strict)
        for deck in (*decks, decks[0]):
            assert difference(cold(deck), session.run(deck)) <= most
            plain = replace(deck, skeleton=None)
            assert difference(cold(plain), session.run(plain)) == 0.0


LEFT = {
    "temperature": ".temp 100\n",
    "shunt": ".option cshunt=1n\n",
    "tolerances": ".option reltol=0.1 abstol=1e-6 gmin=1e-5 method=gear\n",
    "initial": ".ic v(out)=0.1\n.nodeset v(out)=0.2\n",
    "names": ".func f(x) {2*x}\n.param a=3 b={f(2)}\n.global out\n.csparam q=3\n",
    "probe": ".probe alli\n",
    "seed": ".option seed=7\n",
}


@pytest.mark.parametrize("name", LEFT)
def test_a_deck_leaves_nothing_behind(name, opened, cold):
    session = opened()
    session.run(replace(GOOD, text=GOOD.text + LEFT[name]))
    if session.broken:
        pytest.fail("the deck broke the session")
    assert difference(cold(GOOD), session.run(GOOD)) == 0.0


@pytest.mark.parametrize("line", [".option interp\n", "r9 out 0 {1meg*agauss(1,0.1,1)}\n"])
def test_what_only_a_process_of_its_own_does_right(line, opened):
    session = opened()
    with pytest.raises(OnlyCold):
        session.run(replace(GOOD, text=GOOD.text + line))
    assert not session.broken


def test_random_numbers_that_come_to_nothing(opened, cold):
    deck = replace(GOOD, text=GOOD.text + "r9 out 0 {1meg+0*agauss(1,0.1,1)}\n")
    assert difference(cold(deck), opened().run(deck)) == 0.0


# failures


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What became of each bad deck in a session, by its name."""
    folder = tmp_path_factory.mktemp("children")
    done = subprocess.run(
        [sys.executable, "-m", "tests.session_child", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", FAILURES)
def test_bad_decks_end_as_in_a_process_of_their_own(name, told, cold):
    text, state, words = FAILURES[name]
    with pytest.raises(SimulationFailed) as expected:
        cold(Deck(START + text))
    found = told[name]
    assert State[found["state"]] is state
    assert words in found["reason"]
    assert found["reason"] == expected.value.reason
    assert found["broken"] or found["after"] == found["before"]


def test_what_ngspice_does_not_survive(told):
    broken = {name for name, found in told.items() if found["broken"]}
    assert {"undefined parameter", "unbalanced brace"} <= broken
    assert not {"missing model", "voltage loop", "time step too small"} & broken


@pytest.mark.parametrize(
    "wanted",
    [
        {"vectors": ("v(outt)",)},
        {"vectors": ("v(out)", "v(outt)")},
        {"device_values": ("@m1[gmm]", "@m9[gm]")},
        {"vectors": ("v(out)",), "device_values": ("@c1[gm]",)},
    ],
)
def test_a_missing_vector_is_named_alike(wanted, opened, cold):
    deck = Deck(GOOD.text, **wanted)
    reasons = []
    for run in (cold, opened().run):
        with pytest.raises(SimulationFailed) as failure:
            run(deck)
        reasons.append((failure.value.state, failure.value.reason))
    assert reasons[0] == reasons[1]
    assert reasons[0][0] is State.VECTOR_MISSING


def test_a_failing_fill_does_not_end_the_others(opened, cold):
    parts = ("title\nv1 a 0 1\nv2 b 0 1\nr1 a b ", "\nb1 c 0 v=v(c)*v(c)+", "\nr2 c 0 1k\n.op\n")
    probes = (("1k", "-1.0"), ("2k", "-2.0"))
    fills = [("3k", "-3.0"), ("3k", "1.0"), ("4k", "-3.0")]
    good, bad, other = family(*parts, probes=probes, fills=fills, vectors=("v(c)",))
    session = opened()
    session.run(good)
    with pytest.raises(SimulationFailed) as failure:
        session.run(bad)
    assert failure.value.state is State.NO_CONVERGENCE
    assert difference(cold(other), session.run(other)) == 0.0


# what is asked for

WHOLE = (
    "all\nv1 in 0 dc 0.7 ac 1 sin(0.7 0.1 1e8)\nr1 in g 1k\nm1 out g 0 0 nch w=10u l=1u\n"
    f"rd vdd out 20k\nvdd vdd 0 1.8\nc1 out 0 1p\n{NMOS}"
)


@pytest.mark.parametrize(
    "cards",
    [
        ".op\n",
        ".ac dec 5 1k 1g\n",
        ".tran 1n 50n\n",
        ".tran 1n 50n uic\n",
        ".dc v1 0 1.8 0.1\n",
        ".dc temp 0 50 10\n",
        ".noise v(out) v1 dec 2 1k 1g\n",
        ".ac dec 2 1k 1g\n.tran 1n 10n\n.dc v1 0 1 0.5\n.noise v(out) v1 dec 2 1k 1g\n",
    ],
)
@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"vectors": ("v(out)", "V(IN)", "i(vdd)")},
        {"vectors": ("v(out)",), "device_values": ("@m1[gm]", "@m1[cgs]")},
        {"device_values": ("@m1[id]",)},
    ],
    ids=["all", "vectors", "both", "devices"],
)
def test_every_analysis_has_the_same_names_units_and_values(cards, wanted, opened, cold):
    deck = Deck(WHOLE + cards, **wanted)
    try:
        expected = cold(deck)
    except SimulationFailed:
        with pytest.raises(SimulationFailed):
            opened().run(deck)
        return
    found = opened().run(deck)
    assert difference(expected, found) == 0.0
    for one, other in zip(expected.analyses, found.analyses, strict=True):
        assert set(one.vectors) == set(other.vectors)
        assert dict(one.units) == dict(other.units)
        for name, vector in one.vectors.items():
            assert vector.dtype == other.vectors[name].dtype


def test_scattering_parameters(opened, cold):
    text = (
        "ports\nv1 in 0 dc 0 ac 1 portnum 1 z0 50\nv2 out 0 dc 0 portnum 2 z0 50\n"
        "r1 in out 20\nc1 out 0 1p\n.sp dec 5 1meg 1g\n"
    )
    deck = Deck(text, vectors=("s(2,1)", "s(1,1)"))
    assert difference(cold(deck), opened().run(deck)) == 0.0


def test_results_of_meas(opened, cold):
    cards = (
        ".ac dec 5 1k 1g\n.tran 1n 50n\n.meas ac top max vdb(out)\n.meas tran late find v(out) "
        "at=20n\n.meas tran never when v(out)=9\n"
    )
    deck = Deck(WHOLE + cards, meas=("top", "late", "never"), vectors=("v(out)",))
    found = opened().run(deck)
    assert difference(cold(deck), found) == 0.0
    assert set(found.meas) == {"top", "late"}


def test_meas_of_a_loaded_circuit(opened, cold):
    before, after = stage("m1 d g 0 0 nch w=HOLE l=1u", cards=".ac dec 3 1k 1g\n")
    after += ".meas ac top max vdb(out)\n"
    session = opened()
    for deck in family(before, after, probes=PROBES, fills=FILLS, meas=("top",)):
        assert difference(cold(deck), session.run(deck)) == 0.0
    assert way(session) == "ParameterWay"


def test_times(opened):
    found = opened().run(GOOD)
    assert 0.0 < found.cpu_seconds < 1.0
    assert 0.0 < found.seconds < 1.0


# the simulator


def test_only_one_of_the_two_has_sessions(simulator):
    from m3eda.plugins import Plugins

    cold_only = Plugins().simulators["ngspice-batch"]({})
    assert isinstance(simulator, WarmSimulator)
    assert not isinstance(cold_only, WarmSimulator)
    assert cold_only.available() == simulator.available()


@pytest.mark.parametrize("strict", [True, False])
def test_memory_stays_flat(strict, opened):
    session = opened(strict)
    decks = family(
        "rc\nv1 a 0 1 ac 1\nr1 a b ", "\nc1 b 0 1n\n.ac dec 2 1k 1meg\n",
        probes=(("1k",), ("2k",)), fills=[(f"{n + 1}e2",) for n in range(50)], vectors=("v(b)",),
    )  # fmt: skip

    def run(count: int) -> int:
        for number in range(count):
            session.run(decks[number % len(decks)])
        return resident()

    run(500)
    before = run(500)
    assert (run(3000) - before) / 3000 < 100.0


def resident() -> int:
    """Bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
