"""The Xyce back end with programs that misbehave: each way a run can end, and what is said."""

from __future__ import annotations

import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from m3eda_plugins.xyce import xyce

from m3eda.errors import DesignError, SimulatorMissing
from m3eda.plugins import Plugins
from m3eda.simulate.process import kill_running
from m3eda.simulate.types import Deck, SimulationFailed, State, WarmSimulator
from tests.helpers import changed, only_line

RC = "title\nv1 in 0 dc 1 ac 1\nr1 in out 1k\nc1 out 0 1n\n"
OP, AC, TRAN = RC + ".op\n", RC + ".ac dec 1 1 100\n", RC + ".tran 1n 1u uic\n"
RELEASE = "Xyce Release 7.8-opensource"
HEADER = "FREQ,Re(V(OUT)),Im(V(OUT))"
ROWS = "1e0,1,0\n1e1,1,0\n1e2,1,0\n"
GOOD = f"printf '{HEADER}\\n1e0,1,0\\n1e1,0.5,-0.5\\n1e2,0,0\\n' > $deck.FD.csv\n" \
       "printf 'TIME,V(OUT)\\n0,0.25\\n' > $deck.TD.csv\n"  # fmt: skip


@pytest.fixture
def scripted(tmp_path):
    """Makes a simulator of a program that does what a shell script says, given a deck."""

    def made(script, version=RELEASE, **options):
        program = tmp_path / "bin" / "Xyce"
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f"#!/bin/sh\n[ \"$1\" = -v ] && {{ echo '{version}'; exit 0; }}\n"
            f'while [ $# -gt 2 ]; do shift; [ "$1" = -l ] && log=$2; done\ndeck=$2\n{script}\n'
        )
        program.chmod(0o755)
        return xyce({"program": str(program), **options})

    return made


def failure(simulator, rundir, text=AC, timeout=20.0, **wanted) -> SimulationFailed:
    with pytest.raises(SimulationFailed) as caught:
        simulator.run(Deck(text, **(wanted or {"vectors": ("v(out)",)})), rundir, timeout)
    assert "\n" not in caught.value.reason
    assert caught.value.rundir == rundir
    return caught.value


def test_registered_by_the_public_door():
    assert Plugins().simulators["xyce"] is xyce
    assert isinstance(xyce({}), WarmSimulator)


def test_a_good_run(scripted, tmp_path):
    given = scripted(GOOD).run(Deck(AC, vectors=("v(out)",)), tmp_path, 20.0)
    op, ac = given.analyses
    assert op.vectors["v(out)"] == pytest.approx([0.25])
    assert list(ac.vectors["v(out)"]) == [1.0, 0.5 - 0.5j, 0.0]
    assert given.seconds > 0.0
    assert given.cpu_seconds > 0.0


# versions and options


@pytest.mark.parametrize(
    ("told", "version"),
    [
        ("Xyce Release 7.8-opensource", "xyce-7.8"),
        ("Xyce Release 7.10.0-opensource", "xyce-7.10.0"),
        ("Xyce Release 7.4", "xyce-7.4"),
        ("Xyce DEVELOPMENT-202611200936-(UNKNOWN)-opensource", "xyce-development-202611200936"),
        (
            "Xyce DEVELOPMENT-202611211850-(Release-7.10.0-94-ga790eca8)-opensource",
            "xyce-7.10.0-development-202611211850",
        ),
    ],
)
def test_versions(scripted, told, version):
    assert scripted("", told).available() == version


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("Xyce Release 7.3-opensource", "is Xyce 7.3; m3eda needs 7.4 or later, which names nodes"),
        ("Xyce Release 6.12.0-opensource", "is Xyce 6.12.0; m3eda needs 7.4"),
        ("Xyce DEVELOPMENT-201901010000-(Release-6.11.1-3-gabc)-opensource", "is Xyce 6.11.1;"),
        ("Some other program 3.0", "is not Xyce: it does not tell its version"),
    ],
)
def test_programs_that_will_not_do(scripted, told, says):
    with pytest.raises(SimulatorMissing) as caught:
        scripted("", told).available()
    assert says in str(caught.value)
    assert "xyce.sandia.gov" in str(caught.value)


def test_no_program(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SimulatorMissing, match=r"there is no program 'Xyce'; get it from https://"):
        xyce({}).available()


def test_a_program_that_goes_away(scripted, tmp_path):
    simulator = scripted(GOOD)
    simulator.available()
    (tmp_path / "bin" / "Xyce").unlink()
    with pytest.raises(SimulatorMissing, match="is gone"):
        simulator.run(Deck(AC, vectors=("v(out)",)), tmp_path, 20.0)


def test_a_prefix_starts_it(scripted, tmp_path):
    simulator = scripted(GOOD, prefix="env 'WORDS=two words'")
    assert simulator.command[:2] == ("env", "WORDS=two words")
    assert simulator.run(Deck(AC, vectors=("v(out)",)), tmp_path, 20.0).analyses


def test_a_prefix_that_is_not_there(scripted):
    with pytest.raises(SimulatorMissing, match="no program 'mpirun-of-nowhere', which simulator"):
        scripted(GOOD, prefix="mpirun-of-nowhere -np 4").available()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"reltol": 1e-4}, "write timeint.reltol"),
        ({"prefix": "mpirun 'a"}, "No closing quotation"),
        ({"memory": "much"}, "much"),
        ({"memory": "500m"}, "memory: 500m is too little: write 2g, or 500meg"),
    ],
)
def test_options_that_are_none(options, says):
    with pytest.raises(DesignError, match=says):
        xyce(options)


def test_options_reach_the_deck(scripted, tmp_path):
    simulator = scripted(GOOD, **{"nonlin.maxstep": 500})
    simulator.run(Deck(AC, vectors=("v(out)",)), tmp_path, 20.0)
    assert "\n.options nonlin maxstep=500\n" in (tmp_path / "deck.cir").read_text()


# runs that fail

NO_SOLUTION = r"""
printf '\n***** Solution Summary *****\n\tFailed DC sweep steps:\t\t\n\t\tDC Step # 1\n' > $log
exit 1"""
ABORTED = r"""
printf 'Netlist error: Solving for DC operating point failed! Cannot continue\n AC\n' > $log
exit 1"""
SMALL_STEP = r"""
printf ' *** Transient failure history: \nTime step too small near step number: 7\n' > $log
printf 'TIME,V(OUT)\n0,0\n2.5e-07,1\n' > $deck.csv
exit 1"""
PARTIAL = r"printf 'TIME,V(OUT)\n0,0\n2.5e-07,1\n' > $deck.csv"


@pytest.mark.parametrize(
    ("script", "deck", "state", "reason"),
    [
        (
            NO_SOLUTION,
            OP,
            State.NO_CONVERGENCE,
            "no operating point: Newton did not converge (the operating point gave no points)",
        ),
        (
            ABORTED,
            AC,
            State.NO_CONVERGENCE,
            "no operating point: Newton did not converge (the AC analysis gave no points)",
        ),
        (
            SMALL_STEP,
            TRAN,
            State.NO_CONVERGENCE,
            "time step too small (the transient stopped at t = 2.5e-07 s of 1e-06 s)",
        ),
        (
            PARTIAL,
            TRAN,
            State.CRASH,
            "the transient stopped at t = 2.5e-07 s of 1e-06 s, and Xyce did not say why",
        ),
        (
            "kill -9 $$",
            AC,
            State.CRASH,
            "Xyce died of SIGKILL: the AC analysis gave no points",
        ),
        (
            "kill -SEGV $$",
            AC,
            State.CRASH,
            "Xyce died of SIGSEGV: the AC analysis gave no points",
        ),
        (
            "echo \"terminate called after throwing an instance of 'std::bad_alloc'\" >&2; exit 1",
            AC,
            State.CRASH,
            "Xyce ran out of memory",
        ),
        (
            "exit 0",
            AC,
            State.CRASH,
            "the AC analysis gave no points, and Xyce did not say why",
        ),
        (
            GOOD + "exit 3",
            AC,
            State.CRASH,
            "exit code 3, and Xyce did not say why",
        ),
        (
            GOOD + "rm $deck.TD.csv",
            AC,
            State.CRASH,
            "the operating point gave no points, and Xyce did not say why",
        ),
        (
            GOOD + f"printf '{HEADER}\\n1e0,1,0\\n1e1,1,0\\n1e2,1,' > $deck.FD.csv",
            AC,
            State.CRASH,
            "the AC analysis gave 2 of 3 points, and Xyce did not say why",
        ),
        (
            GOOD + f"printf '{HEADER}\\n1e0,1,0\\n' > $deck.FD.csv",
            AC,
            State.CRASH,
            "the AC analysis gave 1 of 3 points, and Xyce did not say why",
        ),
        (
            GOOD + f"printf '{HEADER}\\n{ROWS}{ROWS}' > $deck.FD.csv",
            AC,
            State.CRASH,
            "the AC analysis gave 6 of 3 points, and Xyce did not say why",
        ),
        (
            GOOD + f"printf 'FREQ,Re(V(IN)),Im(V(IN))\\n{ROWS}' > $deck.FD.csv",
            AC,
            State.CRASH,
            "the AC analysis gave no column v(out), and Xyce did not say why",
        ),
        (
            GOOD + "printf '\\177ELF,\\001\\n\\002\\003\\n' > $deck.FD.csv",
            AC,
            State.CRASH,
            "the AC analysis gave no table: deck.cir.FD.csv holds no table of numbers",
        ),
    ],
)
def test_runs_that_fail(scripted, tmp_path, script, deck, state, reason):
    failed = failure(scripted(script), tmp_path, deck)
    assert failed.state is state
    assert failed.reason.startswith(reason)


def test_memory_that_is_limited(scripted, tmp_path):
    greedy = f"exec {sys.executable} -S -c 'x = bytearray(4 << 30)'"
    failed = failure(scripted(greedy, memory="1g"), tmp_path)
    assert failed.state is State.CRASH
    script = "echo 'std::bad_alloc' >&2; exit 1"
    failed = failure(scripted(script, memory="1g"), tmp_path)
    assert failed.reason == "Xyce ran out of memory (simulator.options.memory is 1 GB)"


def test_a_stale_result_is_no_result(scripted, tmp_path):
    scripted(GOOD).run(Deck(AC, vectors=("v(out)",)), tmp_path, 20.0)
    assert "no points" in failure(scripted("exit 0"), tmp_path).reason


def test_no_log(scripted, tmp_path):
    assert scripted(GOOD + "rm -f $log").run(Deck(AC, vectors=("v(out)",)), tmp_path, 20.0).analyses


def test_a_timeout_ends_all_it_started(scripted, tmp_path):
    script = "printf 'TIME,V(OUT)\\n0,0\\n2e-07,1\\n' > $deck.csv\nsleep 60 & sleep 60"
    start = time.monotonic()
    failed = failure(scripted(script), tmp_path, TRAN, timeout=0.3)
    assert failed.state is State.TIMEOUT
    assert failed.reason == "no result within 0.3 s: the transient had reached t = 2e-07 s"
    assert time.monotonic() - start < 5.0


def test_all_is_killed_with_m3eda(scripted, tmp_path):
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(failure, scripted("sleep 60"), tmp_path)
        while not (tmp_path / "deck.out").exists():
            time.sleep(0.01)
        while not running.done():
            kill_running()
            time.sleep(0.02)
    assert signal.SIGKILL.name in running.result().reason


# measures


def test_a_measure_that_failed_is_absent(scripted, tmp_path):
    measures = "printf 'M3EDA_GAIN = 5.080846e+01\\nM3EDA_NEVER = FAILED\\n' > $deck.ma0\n"
    deck = Deck(
        AC + ".meas ac gain max vm(out)\n.meas ac never when vm(out)=300\n",
        vectors=("v(out)",),
        meas=("gain", "never"),
    )
    given = scripted(GOOD + measures).run(deck, tmp_path, 20.0)
    assert given.meas == {"gain": 50.80846}
    (tmp_path / "again").mkdir()
    assert scripted(GOOD).run(deck, tmp_path / "again", 20.0).meas == {}


# the retry that finds out what is there

ASKING = r"""
if grep -q 'v(outt)' $deck; then
  printf 'Netlist error in file %s at or near line 9\n There was 1 undefined symbol in .PRINT command: V(OUTT)\n' $deck > $log
  exit 1
fi
printf 'FREQ,Re(V(OUT)),Im(V(OUT)),Re(V(IN)),Im(V(IN))\n1e0,1,0,1,0\n1e1,1,0,1,0\n1e2,1,0,1,0\n' > $deck.FD.csv
printf 'TIME,V(OUT),V(IN)\n0,0.25,1\n' > $deck.TD.csv"""  # noqa: E501


def test_a_missing_node_is_named_with_the_nearest(scripted, tmp_path):
    failed = failure(scripted(ASKING), tmp_path, vectors=("v(outt)", "v(in)"))
    assert failed.state is State.VECTOR_MISSING
    assert failed.reason == "the netlist gives no v(outt) (nearest: v(out), v(in))"


def test_a_sweep_of_no_source(scripted, tmp_path):
    said = "Netlist error: There was 1 undefined symbol in .PRINT command: V9"
    point = "grep -q '^.dc' $deck || { printf 'V(OUT)\\n1\\n' > $deck.csv; exit 0; }\n"
    script = f"{point}echo '{said}' > $log\nexit 1"
    failed = failure(scripted(script), tmp_path, RC + ".dc v9 0 1 1\n")
    assert failed.state is State.PARSE_ERROR
    assert failed.reason == "line 5: there is no v9 to sweep: .dc v9 0 1 1"


# the whole flow


def test_a_design_says_what_is_missing(rc, here, monkeypatch):
    (rc / "empty").mkdir()
    monkeypatch.setenv("PATH", str(rc / "empty"))
    done = here("check", "design.yaml", "--simulator", "xyce")
    assert done.returncode == 3
    assert only_line(done).startswith("there is no program 'Xyce'; get it from https://xyce.")


def test_a_design_on_an_option_of_ngspice(rc, here):
    changed(rc, "agent:", "simulator: {name: xyce, options: {reltol: 1e-4}}\nagent:")
    done = here("check", "design.yaml")
    assert done.returncode == 2
    assert "timeint.reltol" in only_line(done)
