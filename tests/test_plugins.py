"""Plugins that break while they load: one line that names them, and the tool goes on without."""

from __future__ import annotations

import json
import time

import click
import pytest

from m3eda.errors import ExitCode, PluginError, PluginWarning
from m3eda.flow import Project
from m3eda.plugins import Plugins
from tests.helpers import changed, m3eda, only_line, plugin
from tests.plugin_site import AGENTS, GOOD, HOOK, OBSERVER

BAD_INPUT = 2

BAD = {
    "raises at import": (
        "raise RuntimeError('two\\nlines')",
        " did not load: RuntimeError: two lines (bad.py:1)",
    ),
    "exits at import": ("import sys\nsys.exit(0)", " did not load: SystemExit: 0 (bad.py:2)"),
    "raises what is no Exception": (
        "class Odd(BaseException):\n    def __str__(self): raise self\nraise Odd",
        " did not load: Odd (bad.py:3)",
    ),
    "is no Python": (
        "def broken(:",
        " did not load: SyntaxError: invalid syntax (bad.py, line 1)",
    ),
    "lacks a dependency": (
        "import a_simulator_house",
        " did not load: ModuleNotFoundError: No module named 'a_simulator_house' (bad.py:1)",
    ),
    "spins at import": (
        "while True: pass",
        " did not load: it takes longer than 0.3 s (M3EDA_PLUGIN_TIMEOUT)",
    ),
    "waits at import": (
        "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
        " did not load: it takes longer than 0.3 s (M3EDA_PLUGIN_TIMEOUT)",
    ),
    "catches what ends it": (
        "import time\ntry:\n    time.sleep(60)\nexcept BaseException:\n    time.sleep(60)",
        " did not load: it takes longer than 0.3 s (M3EDA_PLUGIN_TIMEOUT)",
    ),
    "raises in a hook": (
        f"{AGENTS}1 / 0",
        ": register_agents raised ZeroDivisionError: division by zero (bad.py:4)",
    ),
    "exits in a hook": (f"{AGENTS}exit(1)", ": register_agents raised SystemExit: 1 (bad.py:4)"),
    "hangs in a hook": (
        f"{AGENTS}import time; time.sleep(60)",
        ": register_agents takes longer than 0.3 s (M3EDA_PLUGIN_TIMEOUT)",
    ),
    "has an unknown hook": (
        f"{HOOK}def register_agent(register): pass",
        ": there is no hook 'register_agent' (did you mean register_agents?)",
    ),
    "has an unknown argument": (
        f"{HOOK}def register_agents(registrar): pass",
        ": Plugin 'bad (bad-sim 1.0)' for hook 'register_agents' hookimpl definition: ",
    ),
    "wraps a hook": (
        "from m3eda.hookspecs import hookimpl\n"
        "@hookimpl(hookwrapper=True)\ndef register_agents(register): yield",
        ": register_agents is a wrapper, which m3eda does not call",
    ),
    "has no hook": (
        "def register_agents(register): pass",
        " implements no hook (is @hookimpl above its functions?)",
    ),
    "is of a newer API": (
        f"m3eda_api = 2\n{AGENTS}pass",
        " was written for plugin API 2; this m3eda has 1: upgrade m3eda",
    ),
    "is of an older API": (
        f"m3eda_api = 0\n{AGENTS}pass",
        " was written for plugin API 0; this m3eda has 1: upgrade the plugin",
    ),
    "has a word for an API": (
        f"m3eda_api = 'one'\n{AGENTS}pass",
        ": m3eda_api is 'one' (expected a number such as 1)",
    ),
    "takes a name of m3eda": (
        f"{AGENTS}register('random', print)",
        ": the agent 'random' is m3eda's own and stays so",
    ),
    "registers one name twice": (
        f"{AGENTS}register('a', print); register('a', print)",
        ": register_agents registers 'a' twice",
    ),
    "registers no name": (
        f"{AGENTS}register(None, print)",
        ": register_agents gave 'None' (expected a name)",
    ),
    "registers a name of two lines": (
        f"{AGENTS}register('a\\nb', print)",
        ": register_agents gave 'a\\nb' (expected a name)",
    ),
    "registers no factory": (
        f"{AGENTS}register('a', None)",
        ": register_agents gave NoneType for 'a' (expected a factory)",
    ),
    "calls register in another way": (
        f"{AGENTS}register(name='a', factory=print)",
        ": register_agents called `register` with 2 arguments by name (expected register(name, fac",
    ),
    "registers a plain function as a measure": (
        f"{HOOK}def register_measures(register): register('a', print)",
        ": register_measures gave builtin_function_or_method for 'a' (expected what ",
    ),
    "registers no path": (
        f"{HOOK}def register_technologies(register): register('a', 3)",
        ": register_technologies gave int for 'a' (expected the path of a technology.yaml)",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_an_installed_plugin_that(kind, sized, site):
    text, words = BAD[kind]
    site.install("bad-sim", text, module="bad", called="bad")
    done = sized("--json")
    assert only_line(done).startswith(f"plugin bad (bad-sim 1.0){words}")
    assert done.returncode == ExitCode.SPECS_MET
    assert json.loads(done.stdout)["met"] is True


def test_what_a_plugin_raises_is_told_in_a_line_of_some_length(here, site):
    site.install("bad-sim", "raise ValueError('x' * 10_000)", module="bad", called="bad")
    assert len(only_line(here("--help"))) < 1000


def test_a_plugin_that_changes_the_working_directory(rc, sized, site):
    site.install("moving", f"import os\nos.chdir('/')\n{OBSERVER}pass\n")
    done = sized("--quiet")
    assert (done.returncode, done.stderr) == (ExitCode.SPECS_MET, "")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("bad:gone", " did not load: bad:gone is not there: no 'gone'"),
        ("nowhere", " did not load: ModuleNotFoundError: No module named 'nowhere'"),
        ("bad:number", " implements no hook (is @hookimpl above its functions?)"),
        ("two words", " did not load: ModuleNotFoundError: No module named 'two words'"),
    ],
)
def test_an_entry_point_on_nothing(sized, site, entry, words):
    site.install("bad-sim", "number = {}", module="bad", called="bad", entry=entry)
    done = sized()
    assert done.stderr.splitlines()[0] == f"m3eda: plugin bad (bad-sim 1.0){words}"
    assert done.returncode == ExitCode.SPECS_MET


def test_damaged_metadata_costs_one_distribution(sized, site):
    site.install("bad-sim", AGENTS + "pass", module="bad")
    (site.folder / "bad_sim-1.0.dist-info" / "entry_points.txt").write_text("[m3eda]\nnonsense\n")
    site.install("bare-sim", AGENTS + "register('bare', print)", module="bare")
    (site.folder / "bare_sim-1.0.dist-info" / "METADATA").unlink()
    done = sized("--json")
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert "bad_sim-1.0.dist-info: entry_points.txt cannot be read: " in lines[0]
    assert json.loads(done.stdout)["met"] is True


# ---- only what is needed ends a run --------------------------------------------------------

MISSING = "plugin bad (bad-sim 1.0) did not load: RuntimeError: no licence (bad.py:1)"


@pytest.fixture
def broken(site):
    site.install("bad-sim", "raise RuntimeError('no licence')", module="bad", called="bad")


def test_what_a_broken_plugin_would_have_brought_is_said_where_it_is_needed(here, broken):
    for option, word in (("--simulator", "simulator"), ("--agent", "agent")):
        done = here("size", "design.yaml", option, "lost")
        known, last = done.stderr.splitlines()
        assert known == f"m3eda: {MISSING}"
        assert last.startswith(f"m3eda: no {word} is called 'lost' (known: ")
        assert last.endswith(f"; {MISSING})")
        assert done.returncode == BAD_INPUT


@pytest.mark.parametrize(
    ("before", "after", "place"),
    [
        ("agent: {name: random", "agent: {name: lost", "13:15: agent.name: no agent is called"),
        ("gain_at(", "lost(", "measures.far.expr: no function is called"),
        ("agent:", "technology: lost\nagent:", "no technology is called"),
        ("agent:", "simulator: lost\nagent:", "no simulator is called"),
    ],
)
def test_a_design_that_needs_a_broken_plugin(rc, here, broken, before, after, place):
    changed(rc, before, after)
    done = here("size", "design.yaml")
    last = done.stderr.splitlines()[-1]
    assert f"{place} 'lost' (" in last
    assert last.endswith(f"; {MISSING})")
    assert done.returncode == BAD_INPUT


def test_quiet_says_nothing_of_what_is_not_needed(sized, here, broken):
    done = sized("--quiet")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    done = here("size", "design.yaml", "--quiet", "--simulator", "lost")
    assert only_line(done).endswith(f"; {MISSING})")


def test_a_line_comes_once_a_process(rc, site, broken):
    """Workers load plugins too: two of them, and the process that forks them."""
    arguments = ("size", "design.yaml", "--simulator", "good", "--jobs", 2)
    done = m3eda(*arguments, cwd=rc, **site.environment)
    assert done.stderr.count(MISSING) == 1
    assert done.returncode == ExitCode.SPECS_MET


@pytest.mark.simulator
def test_workers_say_nothing_of_broken_plugins(rc, site, broken):
    done = m3eda("size", "design.yaml", "--jobs", 2, cwd=rc, **site.environment)
    assert done.stderr.count(MISSING) == 1
    assert done.returncode == ExitCode.SPECS_MET


def test_what_a_plugin_prints_does_not_spoil_the_json(sized, site):
    site.install("loud", f"print('welcome')\n{AGENTS}print('hello')")
    done = sized("--json")
    assert json.loads(done.stdout)["met"] is True
    assert done.stderr == "welcome\nhello\n"


def test_what_hung_once_is_not_waited_for_again(site, monkeypatch):
    site.install("slow-sim", "import time\ntime.sleep(60)")
    monkeypatch.setenv("M3EDA_PLUGIN_TIMEOUT", "1.5")
    for _ in range(2):
        began = time.monotonic()
        with pytest.warns(PluginWarning, match=r"slow-sim 1\.0\) did not load: it takes longer"):
            Plugins()
        seconds = time.monotonic() - began
    assert seconds < 1.4


# ---- two of one name -----------------------------------------------------------------------


def test_two_plugins_register_one_simulator(here, sized, site):
    for house in ("left", "right"):
        text = GOOD.replace('register("good"', f'register("{house}", Good); register("both"')
        site.install(f"{house}-sim", text, module=house, called=house)
    both = "left (left-sim 1.0) and right (right-sim 1.0)"
    line = f"two plugins register the simulator 'both': {both}; remove one of them"
    done = sized()
    assert done.stderr.splitlines()[0] == f"m3eda: {line}"
    assert done.returncode == ExitCode.SPECS_MET
    done = here("size", "design.yaml", "--simulator", "both", "--quiet")
    assert only_line(done) == line
    assert done.returncode == BAD_INPUT
    done = here("size", "design.yaml", "--simulator", "right", "--quiet", "--run-dir", "r")
    assert done.returncode == ExitCode.SPECS_MET


def test_two_distributions_give_one_name_to_their_plugin(here, sized, site, monkeypatch):
    for house in ("left", "right"):
        text = GOOD.replace('register("good"', f'register("{house}"')
        site.install(f"{house}-sim", text, module=house, called="nodal")
    done = sized("--json")
    assert only_line(done) == (
        "plugins of one name 'nodal' are in left-sim 1.0 and right-sim 1.0; all of them are loaded"
    )
    assert json.loads(done.stdout)["met"] is True
    monkeypatch.setenv("M3EDA_PLUGINS", "measures,nodal")
    done = here("size", "design.yaml")
    ways = "write nodal@left-sim or nodal@right-sim"
    assert only_line(done) == f"M3EDA_PLUGINS names nodal, which is ambiguous: {ways}"
    assert done.returncode == BAD_INPUT
    monkeypatch.setenv("M3EDA_PLUGINS", "measures,nodal@right-sim")
    assert list(Plugins().simulators) == ["right"]


def test_two_plugins_bring_one_command(here, site):
    for house in ("left", "right"):
        text = f"import click\n{HOOK}def register_commands(register):\n"
        text += "    register(click.Command('hello', help='Say hello.'))\n"
        text += f"    register(click.Command('{house}', callback=lambda: 7))\n"
        site.install(f"{house}-sim", text, module=house, called=house)
    done = here("hello")
    assert done.stderr.splitlines()[-1] == (
        "m3eda: two plugins register the command 'hello': left (left-sim 1.0) and "
        "right (right-sim 1.0); remove one of them"
    )
    assert done.returncode == BAD_INPUT
    assert here("left").returncode == 7
    done = here("--help")
    assert "  left" in done.stdout
    assert "hello" not in done.stdout


@pytest.mark.parametrize(
    ("thing", "line"),
    [
        ("'word'", ": register_commands gave a str (expected a click command)"),
        (
            "__import__('click').Command('size')",
            ": the command 'size' is m3eda's own and stays so",
        ),
    ],
)
def test_a_command_that_cannot_be(here, site, thing, line):
    text = f"{HOOK}def register_commands(register):\n    register({thing})\n"
    site.install("bad-sim", text, module="bad", called="bad")
    done = here("--help")
    assert only_line(done) == f"plugin bad (bad-sim 1.0){line}"
    assert "Find sizes that meet every spec" in done.stdout
    assert done.returncode == 0


# ---- files, and M3EDA_PLUGINS --------------------------------------------------------------


def test_a_file_of_the_environment_is_loaded_besides(rc, here, monkeypatch):
    (rc / "mine.py").write_text(GOOD)
    monkeypatch.setenv("M3EDA_PLUGINS", "./mine.py")
    monkeypatch.chdir(rc)
    before = Plugins().versions
    done = here("size", "design.yaml", "--simulator", "good", "--json", "--depfile", "d")
    assert json.loads(done.stdout)["met"] is True
    assert str(rc / "mine.py") in (rc / "d").read_text() or "mine.py" in (rc / "d").read_text()
    (rc / "mine.py").write_text(GOOD + "# changed\n")
    assert Plugins().versions != before
    assert {"random", "bo"} <= Plugins().agents.keys()


def test_names_restrict_entry_points_and_files_are_added(rc, monkeypatch, site):
    (rc / "mine.py").write_text(GOOD.replace('"good"', '"mine"'))
    monkeypatch.chdir(rc)
    for value, simulators, agents in (
        ("good, mine.py", {"good", "mine"}, 0),
        ("agents,mine.py", {"mine"}, 10),
        ("", set(), 0),
    ):
        monkeypatch.setenv("M3EDA_PLUGINS", value)
        found = Plugins()
        assert set(found.simulators) == simulators
        assert len(found.agents) == agents


def test_a_broken_file_of_the_environment_is_a_line(rc, sized, monkeypatch):
    (rc / "mine.py").write_text("def broken(:")
    monkeypatch.setenv("M3EDA_PLUGINS", str(rc / "mine.py"))
    done = sized()
    line = f"m3eda: plugin {rc / 'mine.py'} did not load: SyntaxError: invalid syntax "
    assert done.stderr.startswith(line)
    assert done.returncode == ExitCode.SPECS_MET


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("gone.py", "M3EDA_PLUGINS names gone.py, which is not there"),
        ("gone,agents", "M3EDA_PLUGINS names gone, which is not installed (known: agents, "),
    ],
)
def test_what_the_environment_names_must_be_there(here, monkeypatch, value, line):
    monkeypatch.setenv("M3EDA_PLUGINS", value)
    done = here("size", "design.yaml")
    assert only_line(done).startswith(line)
    assert done.returncode == BAD_INPUT
    done = here("--help")
    assert only_line(done).startswith(line)
    assert "Find sizes that meet every spec" in done.stdout


def test_a_time_that_is_none(here, monkeypatch):
    for text in ("soon", "-1", "inf", "nan"):
        monkeypatch.setenv("M3EDA_PLUGIN_TIMEOUT", text)
        done = here("size", "design.yaml")
        assert only_line(done) == (
            f"M3EDA_PLUGIN_TIMEOUT is '{text}' (expected a number of seconds, 0 for no limit)"
        )
        assert done.returncode == BAD_INPUT


OF_DESIGN = {
    "raises": (
        "raise RuntimeError('two\\nlines')",
        "{plug}: does not load: RuntimeError: two lines (plug.py:1)",
    ),
    "is no Python": ("def broken(:", "{plug}:1:12: does not load: invalid syntax"),
    "exits": ("import sys\nsys.exit(0)", "{plug}: does not load: SystemExit: 0 (plug.py:2)"),
    "hangs": (
        "while True: pass",
        "{plug}: does not load: it takes longer than 0.3 s (M3EDA_PLUGIN_TIMEOUT)",
    ),
    "doubles a name": (
        f"{AGENTS}register('random', print)\n",
        "two plugins register the agent 'random': agents (m3eda ",
    ),
    "has an unknown hook": (
        f"{HOOK}def register_agent(register):\n    pass\n",
        "plugin {plug}: there is no hook 'register_agent' (did you mean register_agents?)",
    ),
    "has an unknown argument": (
        f"{HOOK}def register_agents(registrar):\n    pass\n",
        "plugin {plug}: ",
    ),
    "fails to register": (
        f"{HOOK}def register_measures(register):\n    raise ValueError('no')\n",
        "plugin {plug}: register_measures raised ValueError: no (plug.py:4)",
    ),
    "is of another API": (
        f"m3eda_api = 2\n{AGENTS}pass",
        "plugin {plug} was written for plugin API 2; this m3eda has 1: upgrade m3eda",
    ),
}


@pytest.mark.parametrize("kind", OF_DESIGN)
def test_a_plugin_file_of_the_design_that(kind, rc, here, monkeypatch):
    monkeypatch.setenv("M3EDA_PLUGIN_TIMEOUT", "0.3")
    text, line = OF_DESIGN[kind]
    plugin(rc, text)
    done = here("size", "design.yaml")
    assert only_line(done).startswith(line.replace("{plug}", str(rc / "plug.py")))
    assert done.returncode == BAD_INPUT


# ---- the list ------------------------------------------------------------------------------


def test_the_list_of_plugins(here, site, broken):
    site.install("odd-sim", f"{AGENTS}register('random', print)\n    register('mine', print)")
    done = here("plugins")
    assert (done.returncode, done.stderr) == (0, "")
    rows = {
        line.split()[0]: line.split(None, 4) for line in done.stdout.splitlines() if line[0] != " "
    }
    assert rows["good"][1:] == ["good-sim", "1.0", "1", "simulators: good"]
    assert rows["bad"][1:4] == ["bad-sim", "1.0", "-"]
    assert rows["bad"][4] == "did not load: RuntimeError: no licence (bad.py:1)"
    assert "agents: auto, bo, cma," in done.stdout
    told = json.loads(here("plugins", "--json").stdout)
    assert told["api"] == 1
    found = {entry["name"]: entry for entry in told["plugins"]}
    assert found["good"]["hooks"] == ["register_simulators"]
    assert found["good"]["registers"] == {"simulators": ["good"]}
    assert found["bad"]["problems"] == ["did not load: RuntimeError: no licence (bad.py:1)"]
    assert found["odd-sim"]["registers"] == {"agents": ["mine"]}
    assert found["odd-sim"]["problems"] == ["the agent 'random' is m3eda's own and stays so"]


def test_the_list_tells_observers_and_files(rc, here, monkeypatch):
    (rc / "mine.py").write_text(f"{OBSERVER}pass\n")
    monkeypatch.setenv("M3EDA_PLUGINS", str(rc / "mine.py"))
    row = next(line for line in here("plugins").stdout.splitlines() if line.startswith("mine.py"))
    assert row.split() == ["mine.py", str(rc / "mine.py"), "1", "trial_finished"]


def test_the_help_works_with_broken_plugins(rc, site, broken):
    done = m3eda("--help", cwd=rc, **site.environment)
    assert only_line(done) == MISSING
    assert "Find sizes that meet every spec" in done.stdout
    assert done.returncode == 0


# ---- the library ---------------------------------------------------------------------------


def test_the_library_warns(rc, site, broken):
    with pytest.warns(PluginWarning, match="no licence"):
        project = Project.load(rc / "design.yaml", simulator="good")
    assert project.simulator().name == "good"


def test_what_the_design_names_is_an_error_in_the_library(rc):
    plugin(rc, "1 / 0")
    with pytest.raises(PluginError, match="does not load: ZeroDivisionError"):
        Project.load(rc / "design.yaml")


def test_commands_of_plugins(site):
    text = f"import click\n{HOOK}def register_commands(register):\n"
    site.install("tool", text + "    register(click.Command('hello'))\n")
    assert [type(each) for each in Plugins().commands()] == [click.Command]
