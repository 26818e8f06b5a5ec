"""`m3eda plugins check`: what it runs, and that the contracts find what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from m3eda.cli import run
from m3eda.plugin_check import find
from tests.conftest import ROOT

WARM = str(ROOT / "tests" / "warm_nodal.py")


@pytest.fixture
def check(capsys, monkeypatch, tmp_path):
    """Runs the command in this process; gives its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        code = int(run(["plugins", "check", *arguments]))
        return code, *capsys.readouterr()

    return command


@pytest.fixture
def told(check):
    """Runs it with --json; gives what was checked, each as name -> reason of what fails."""

    def command(*arguments):
        code, out, err = check(*arguments, "--json")
        assert not err
        document = json.loads(out)
        assert document["exit_code"] == code
        return {
            f"{each['kind']} {each['name']}": {
                b["name"]: b["reason"] for b in each["behaviours"] if b["state"] == "fails"
            }
            for each in document["checked"]
        }, code

    return command


def plugin(folder: Path, text: str) -> str:
    (folder / "plug.py").write_text("from m3eda.hookspecs import hookimpl\n" + text)
    return "plug.py"


# what a name stands for


def test_an_agent_by_its_name(check):
    code, out, _ = check("random")
    assert code == 0
    assert out.startswith("agent random: 16 of 16 behaviours hold  [AgentContract, plugin agents")
    assert len(out.splitlines()) == 1


def test_several_things_of_one_file_of_which_one_cannot_be_built(check, tmp_path):
    name = plugin(
        tmp_path,
        "from m3eda.agents.random import Random\n"
        "@hookimpl\ndef register_agents(register): register('anything', Random)\n"
        "@hookimpl\ndef register_technologies(register): register('kit', '/nowhere/kit.yaml')\n",
    )
    code, out, _ = check(name)
    lines = out.splitlines()
    assert code == 2
    assert lines[0].startswith("agent anything: 16 of 16 behaviours hold")
    assert lines[1].startswith("technology kit: /nowhere/kit.yaml: cannot be read")
    assert lines[2:] == ["not as it should be: technology kit"]
    document = json.loads(check(name, "--json")[1])
    assert list(document["unbuilt"]) == ["technology kit"]


def test_a_plugin_by_its_name_brings_all_that_it_registers():
    found = [(thing.kind, thing.name) for thing in find("ngspice")]
    assert found == [("simulator", "ngspice"), ("simulator", "ngspice-batch")]
    assert [thing.name for thing in find("ngspice-batch")] == ["ngspice-batch"]
    assert {thing.kind for thing in find("technologies@m3eda")} == {"technology"}


def test_the_simulator_of_the_examples(check):
    code, out, _ = check(str(ROOT / "examples" / "custom_simulator" / "nodal.py"))
    assert code == 0
    assert out.startswith("simulator nodal (nodal-1.0): 14 of 14 behaviours hold  [LinearContract")


def test_a_hook_that_raises(check, tmp_path):
    code, out, err = check(plugin(tmp_path, "@hookimpl\ndef register_agents(register): 1 / 0\n"))
    assert (code, out) == (2, "")
    assert "register_agents raised ZeroDivisionError" in err


def test_verbose_tells_what_holds(check):
    _, out, _ = check("dc_gain", "-v")
    assert "  holds     gives a number, 0." in out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("randon", "is called 'randon' (did you mean random?)"),
        ("executors", "registers nothing that has a contract (simulators, agents, measures, "),
        ("nowhere.py", "nowhere.py: no such plugin file"),
    ],
)
def test_a_name_that_stands_for_nothing(check, name, words):
    code, out, err = check(name)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1


def test_an_option_without_a_value(check):
    code, _, err = check("random", "--option", "width")
    assert (code, err) == (2, "m3eda: --option width: expected key=value\n")


def test_an_option_that_the_agent_lacks(told):
    found, code = told("random", "--option", "width=0.1")
    assert code == 1
    assert (
        "agent random has no such option"
        in found["agent random"]["goes on after every spec is met"]
    )


def test_a_simulator_that_is_not_there(check):
    code, out, err = check("ngspice-batch", "--option", "program=nowhere")
    assert (code, out) == (3, "")
    assert err.startswith("m3eda: there is no program 'nowhere'; install it")


def test_a_plugin_that_does_not_load(check, tmp_path):
    code, _, err = check(plugin(tmp_path, "1 / 0\n"))
    assert code == 2
    assert "ZeroDivisionError" in err


def test_without_pytest_one_line_says_what_to_install(tmp_path):
    program = (
        "import sys; sys.modules['pytest'] = None; from m3eda.cli import run; "
        "sys.exit(int(run(['plugins', 'check', 'random'])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == (
        "m3eda: m3eda plugins check needs pytest, which is not installed: "
        "pip install 'm3eda[test]'\n"
    )


# a plugin's own contract


def test_a_contract_of_the_plugin_is_run(check):
    code, out, _ = check(WARM)
    assert code == 0, out
    assert "behaviours hold, 1 left out  [NodalSessions, plugin" in out
    assert "  left out  hearing of decks early changes nothing: its sessions take one deck" in out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("contract = lambda kind, name: int", "gave <class 'int'> (expected a subclass of Agent"),
        ("def contract(kind, name): 1 / 0", "contract raised ZeroDivisionError"),
    ],
)
def test_a_contract_that_is_none(check, tmp_path, text, words):
    code, _, err = check(plugin(tmp_path, f"{AGENT.format(body=RANDOM)}{text}\n"))
    assert code == 2
    assert words in err
    assert len(err.splitlines()) == 1


# what the contract of sessions finds


@pytest.mark.parametrize(
    ("fault", "behaviour", "words"),
    [
        ("history", "what ran before does not matter [default]", "differs by "),
        ("files", "files stay in its directory and do not pile up", "open files and files after"),
        ("state", "fails as run does and recovers [missing_node]", "crash, and should be vector"),
        ("lines", "fails as run does and recovers [missing_node]", "a reason is one line"),
        ("cold", "runs sizings of one circuit", "only `run` takes them: never"),
        ("dies", "time of a run", "exited within"),
        ("expect", "hearing of decks early changes nothing", "differs by "),
    ],
)
def test_a_session_that_misbehaves_is_found(told, fault, behaviour, words):
    found, code = told(WARM, "--option", f"fault={fault}")
    assert code == 1
    wrong = found["simulator warm-nodal"]
    assert words in wrong[behaviour]
    if fault == "history":
        # within what a session may do by default, and beyond what it may in strict mode
        assert wrong["gives what run gives [divider]"].startswith("strict: differs by ")


def test_sessions_that_do_not_open_are_left_out_with_the_reason(check):
    code, out, _ = check(WARM, "--option", "fault=closed")
    assert code == 0
    assert "behaviours: no session opens here: there is no library" in out


# what the other contracts find

AGENT = """
import numpy as np
from m3eda.design.space import Space

class Agent:
    def __init__(self, design, seed, options):
        self.space, self.random = Space(design), np.random.default_rng(seed)
    def ask(self, n):
        {body}
    def tell(self, trials): pass

@hookimpl
def register_agents(register): register("plain", Agent)
"""
RANDOM = "return self.space.sizings(self.random.random((n, self.space.dimension)))"


def test_an_agent_that_forgets_is_found(told, tmp_path):
    found, code = told(plugin(tmp_path, AGENT.format(body=RANDOM)))
    assert code == 1
    wrong = found["agent plain"]
    assert wrong["the start of the designer goes first"]
    assert wrong["works out a finite space and stops [1]"]
    assert wrong["the same seed and trials give the same sizings"]
    assert "another seed gives other sizings" not in wrong


def test_what_never_ends_is_given_up(told, tmp_path):
    name = plugin(tmp_path, AGENT.format(body="while True: pass"))
    found, code = told(name, "--timeout", "0.1")
    assert code == 1
    assert set(found["agent plain"].values()) == {"it did not end within 0.1 s"}
    assert len(found["agent plain"]) == 3


MEASURE = """
import numpy as np
from m3eda.simulate.measures import measure, Trace, MeasureUndefined

{marks}@measure(analysis="ac", unit="{unit}")
def odd_one(response: Trace) -> float:
    {body}

@hookimpl
def register_measures(register): register("odd_one", odd_one)
"""


@pytest.mark.parametrize(
    ("body", "behaviour", "words"),
    [
        ("return 1.0", "is documented", "the docstring's first line"),
        ("return 1.0", "its unit has no prefix", "MHz: give SI units"),
        ("return float(response.x[1])", "odd waveforms give a number or a reason",
         "odd_one(v(out)) on one point: IndexError"),
        ("return response.y[0]", "gives a number", "is complex"),
        ("return np.random.random()", "gives the same again", "assert "),
        ("response.y *= 2; return 1.0", "leaves the waveforms as they are", "read-only"),
        ("raise MeasureUndefined('')", "gives a number", "says why"),
        ("raise MeasureUndefined('no')", "gives a number", "no waveform gives a number; set"),
        ("import time; t = time.process_time() + 1.2\n"
         "    while time.process_time() < t and response.x.size > 9999: pass\n"
         "    return 1.0", "takes little time", "for 100 000 points"),
    ],
)  # fmt: skip
def test_a_measure_that_misbehaves_is_found(told, tmp_path, body, behaviour, words):
    found, code = told(plugin(tmp_path, MEASURE.format(marks="", unit="MHz", body=body)))
    assert code == 1
    assert words in found["measure odd_one"][behaviour], found


SIMULATOR = """
from m3eda.simulate.types import Waveforms

class Hollow:
    name = "hollow"
    def __init__(self, options): pass
    def available(self): return "1.0"
    def run(self, deck, rundir, timeout): {body}

@hookimpl
def register_simulators(register): register("hollow", Hollow)
"""


def test_a_simulator_that_gives_nothing_is_found(told, tmp_path):
    found, _ = told(plugin(tmp_path, SIMULATOR.format(body="return Waveforms()")))
    wrong = found["simulator hollow"]
    assert "1.0: a name and version" in wrong["answers the protocol"]
    assert wrong["operating point"] == "one op analysis is expected, and there are 0"
    assert "DID NOT RAISE" in wrong["missing model"]


def test_a_simulator_that_raises_is_found(told, tmp_path):
    found, _ = told(plugin(tmp_path, SIMULATOR.format(body="return {}['r']")))
    assert found["simulator hollow"]["operating point"] == "KeyError: 'r'"


TECHNOLOGY = """\
name: kit
description: x
label: x
licence: x
lib: kit.lib
sections: {tt: tt, ff: ff, ss: ss}
instance: {prefix: m, unit: 1}
devices: {nmos: {model: n1, type: n}, pmos: {model: p1, type: p}}
supply: {nominal: 1.8, min: 1.6, max: 2}
temperature: {nominal: 27, min: -40, max: 125}
sizes: {l_min: 180n, l_max: 10u, w_min: 220n, w_max: 100u}
"""
LIB = "* kit\n" + "".join(
    f".lib {corner}\n.model n1 nmos level=1 vto=0.5 kp={kp}\n.model p1 pmos level=1 vto=-0.5 "
    f"kp={kp}\n.endl {corner}\n"
    for corner, kp in (("tt", "1e-4"), ("ff", "2e-4"), ("ss", "5e-5"))
)


@pytest.mark.simulator
@pytest.mark.parametrize(
    ("yaml", "lib", "behaviour", "words"),
    [
        ("", "", "", ""),
        ("licence: x\n>", "", "is named and described", "'licence' is missing"),
        ("nominal: 1.8>nominal: 1.5", "", "supply temperature and sizes are in order", "supply"),
        ("l_min: 180n>l_min: 180", "", "supply temperature and sizes are in order", "in metres"),
        ("pmos: {>other: {", "", "devices say how they are called", "templates use these two"),
        ("type: p>type: n", "", "every transistor conducts and turns off at every corner",
         "pmos at the corner 'tt'"),
        ("", "vto=0.5>vto=-0.5", "every transistor conducts and turns off at every corner", "off"),
        ("", "kp=2e-4>kp=1e-5", "fast and slow corners are what they say", "nmos: "),
        ("", "n1 nmos>n2 nmos", "every size and temperature has a model", "model missing"),
    ],
)  # fmt: skip
def test_a_technology_that_is_wrong_is_found(told, tmp_path, yaml, lib, behaviour, words):
    for file, text, change in (("kit.yaml", TECHNOLOGY, yaml), ("kit.lib", LIB, lib)):
        before, _, after = change.partition(">")
        assert before in text
        (tmp_path / file).write_text(text.replace(before, after) if before else text)
    name = plugin(
        tmp_path,
        "from pathlib import Path\n@hookimpl\ndef register_technologies(register):\n"
        "    register('kit', Path(__file__).parent / 'kit.yaml')\n",
    )
    found, code = told(name)
    assert code == bool(behaviour)
    if behaviour:
        assert words in found["technology kit"][behaviour], found
