"""Everything a user can type has its entry in the docs, and what the docs show works."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import subprocess
import textwrap
import typing
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from m3eda_plugins import agents, analytic, measures, ngspice, pyspice
from m3eda_plugins import command as by_command
from m3eda_plugins.analytic.opamp import DEFAULTS, REQUIRED
from m3eda_plugins.command.options import KEYS, PLACEHOLDERS
from m3eda_plugins.ngspice import batch as ngspice_batch
from pydantic import BaseModel

from m3eda import hookspecs
from m3eda.agents import cma, differential_evolution, extra_trees, turbo
from m3eda.agents.trust_region import Recipe
from m3eda.design.schema import DesignFile
from m3eda.errors import ExitCode
from m3eda.plugins import Plugins
from m3eda.policy import agent as m3
from m3eda.simulate.evaluator import LADDER
from m3eda.simulate.types import State
from tests.conftest import ROOT
from tests.test_examples import EXAMPLES, M3EDA

DOCS = ROOT / "docs"
PAGES = [
    *sorted(DOCS.rglob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    ROOT / "examples" / "README.md",
]
AGENT_OPTIONS = {
    "cma": cma.OPTIONS,
    "differential-evolution": differential_evolution.OPTIONS,
    "extra-trees": extra_trees.OPTIONS,
    "m3": m3.OPTIONS,
    "turbo": turbo.OPTIONS,
}
HOOKS = [name for name, hook in vars(hookspecs).items() if hasattr(hook, "m3eda_spec")]


def registered(register) -> list[str]:
    """The names that a built-in plugin's hook registers."""
    names: list[str] = []
    register(lambda name, thing: names.append(name))
    return names


def page(name: str) -> str:
    return (DOCS / name).read_text()


def blocks(text: str, language: str) -> list[str]:
    """The fenced code blocks of a language, without the indentation of a list around them."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(code) for _, code in found]


def section(text: str, heading: str) -> str:
    """The text below `heading` up to the next heading that is not deeper."""
    start = re.search(rf"^(#+) {re.escape(heading)}\n", text, re.M)
    assert start is not None, f"no heading {heading!r}"
    rest = text[start.end() :]
    end = re.search(rf"^#{{1,{len(start[1])}}} ", rest, re.M)
    return rest[: end.start()] if end else rest


def load(path: Path, name: str):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load(DOCS / "generate.py", "m3eda_docs_generate")


def entry_keys(model: type[BaseModel]) -> set[str]:
    """The keys of `model` and of every model within it."""
    keys = {field.alias or name for name, field in model.model_fields.items()}
    waiting = [field.annotation for field in model.model_fields.values()]
    while waiting:
        kind = waiting.pop()
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            keys |= entry_keys(kind)
        waiting += typing.get_args(kind)
    return keys


# ---- every entry is there ------------------------------------------------------------------


@pytest.mark.parametrize(("name", "command"), list(generate.every_command()))
def test_commands_and_options_are_documented(name, command):
    text = section(page("command_line.md"), f"`m3eda {name}`")
    assert command.help
    for parameter in command.params:
        for spelling in parameter.opts:
            shown = f"`{spelling}`" if spelling.startswith("-") else spelling.upper()
            assert shown in text, f"m3eda {name}: {spelling} is not in command_line.md"


@pytest.mark.parametrize("name", HOOKS)
def test_hooks_and_their_arguments_are_documented(name):
    text = page(f"hooks/{name}.md")
    function = getattr(hookspecs, name)
    assert inspect.cleandoc(function.__doc__) in text
    for argument in inspect.signature(function).parameters:
        assert re.search(rf"[(,] ?{argument}: ", text), f"{name}: argument {argument} is missing"


@pytest.mark.parametrize("key", sorted(entry_keys(DesignFile) - {"grid"}))
def test_keys_of_the_design_file_are_documented(key):
    assert re.search(rf"^\| `{key}` \| \S.* \| .* \| \S.* \|$", page("design_file.md"), re.M)


@pytest.mark.parametrize("measure", registered(measures.register_measures))
def test_measures_are_documented(measure):
    assert f"`{measure}(" in section(page("measures.md"), measure)


@pytest.mark.parametrize("code", list(ExitCode))
def test_exit_codes_are_documented(code):
    assert re.search(rf"^\| {code.value} \| `{code.name}` \| \S", page("exit_codes.md"), re.M)


@pytest.mark.parametrize("agent", registered(agents.register_agents))
def test_agents_are_documented(agent):
    assert len(section(page("agents.md"), f"`{agent}`")) > 20
    assert f"`{agent}`" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("agent", "option"),
    [
        *((agent, key) for agent, defaults in AGENT_OPTIONS.items() for key in defaults),
        *(("trust-region", field.name) for field in fields(Recipe)),
    ],
)
def test_options_of_agents_are_documented(agent, option):
    text = section(page("agents.md"), f"`{agent}`")
    assert re.search(rf"^\| `{option}` \| \S+ \| \S.* \|$", text, re.M)


def test_defaults_of_agent_options_are_as_documented():
    for agent, defaults in (*AGENT_OPTIONS.items(), ("trust-region", vars(Recipe()))):
        text = section(page("agents.md"), f"`{agent}`")
        for option, default in defaults.items():
            shown = str(default).lower() if isinstance(default, bool) else f"{default}"
            shown = f"{default:g}" if isinstance(default, float) else shown
            assert re.search(rf"^\| `{option}` \| `?{shown}`? \|", text, re.M), (agent, option)


@pytest.mark.parametrize(
    "simulator",
    [
        name
        for each in (ngspice, pyspice, by_command, analytic)
        for name in registered(each.register_simulators)
    ],
)
def test_simulators_are_documented(simulator):
    assert len(section(page("simulators.md"), f"`{simulator}`")) > 20


@pytest.mark.parametrize("option", ngspice_batch._OWN_OPTIONS)
def test_options_of_ngspice_are_documented(option):
    assert f"\n| `{option}` | " in page("simulators.md")


@pytest.mark.parametrize("option", KEYS)
def test_options_of_command_are_documented(option):
    assert f"\n| `{option}` | " in section(page("simulators.md"), "`command`")


@pytest.mark.parametrize("name", [*PLACEHOLDERS, *REQUIRED, *DEFAULTS])
def test_placeholders_and_values_are_documented(name):
    word = f"{{{name}}}" if name in PLACEHOLDERS else name
    assert f"`{word}`" in page("simulators.md")


@pytest.mark.parametrize("state", [state for state in State if state is not State.COMPLETE])
def test_states_of_failed_trials_are_documented(state):
    assert f"\n| `{state.value}` | " in page("simulators.md")


@pytest.mark.parametrize("rung", LADDER)
def test_rungs_of_the_ladder_are_documented(rung):
    assert f"`{rung}`" in section(page("design_file.md"), "Failures")


@pytest.mark.parametrize("name", sorted(p.parent.name for p in ROOT.glob("templates/*/*/*.yaml")))
def test_technologies_are_documented(name):
    assert "not for tape-out" in section(page("technologies.md"), f"`{name}`")


@pytest.mark.parametrize("folder", sorted(p.parent for p in ROOT.glob("examples/*/*.yaml")))
def test_examples_are_documented_and_tested(folder):
    assert f"]({folder.name}/) | " in (ROOT / "examples" / "README.md").read_text()
    assert folder.name in EXAMPLES


# ---- nothing is stale ----------------------------------------------------------------------


def test_generated_parts_are_current():
    assert generate.main(["--check"]) == 0, "run docs/generate.py"


def test_stale_parts_are_named_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    stale = page("hooks.md").replace("[`trial_finished`]", "[`trial_done`]")
    (tmp_path / "hooks.md").write_text(stale)
    assert generate.main(["--check"]) == 1
    assert "hooks.md: stale" in capsys.readouterr().err
    assert (tmp_path / "hooks.md").read_text() == stale
    assert generate.main([]) == 0
    assert (tmp_path / "hooks.md").read_text() == page("hooks.md")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_targets_named_are_there(path):
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = re.findall(r"(?:^ {4}|`)make ([a-z][a-z0-9-]*)\b", path.read_text(), re.M)
    assert set(named) <= targets


def test_keys_in_the_guide_are_known():
    known = {field.alias or name for name, field in DesignFile.model_fields.items()}
    for block in blocks(page("design_file.md"), "yaml"):
        assert set(yaml.safe_load(block)) <= known


# ---- what is shown works -------------------------------------------------------------------


@pytest.fixture
def own_netlist(tmp_path) -> Path:
    """A folder with the template and the design file of README's "A netlist of your own"."""
    text = section((ROOT / "README.md").read_text(), "A netlist of your own")
    [template], [design] = blocks(text, "spice"), blocks(text, "yaml")
    (tmp_path / "amp.cir.j2").write_text(template)
    (tmp_path / "design.yaml").write_text(design)
    return tmp_path


@pytest.mark.simulator
def test_the_netlist_of_the_readme_is_sized(own_netlist):
    text = section((ROOT / "README.md").read_text(), "A netlist of your own")
    commands = re.findall(r"^ {7}m3eda (.*)$", text, re.M)
    assert [command.split()[0] for command in commands] == ["check", "size"]
    for command in commands:
        done = subprocess.run(
            [M3EDA, *command.split()], cwd=own_netlist, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "all specs met (4 of 4)" in done.stdout
    assert "{{" not in (own_netlist / "amp.cir").read_text()


def test_the_makefile_of_the_readme_reads(own_netlist):
    [makefile] = blocks((ROOT / "README.md").read_text(), "make")
    (own_netlist / "Makefile").write_text(makefile)
    done = subprocess.run(
        ["make", "--dry-run", "build/amp.cir"],
        cwd=own_netlist,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "m3eda size design.yaml -o build/amp.cir" in done.stdout


def test_the_measure_of_the_readme_loads(tmp_path):
    found = blocks((ROOT / "README.md").read_text(), "python")
    [code] = [block for block in found if "register_measures" in block]
    (tmp_path / "my_measures.py").write_text(code)
    assert "peak_frequency" in Plugins([tmp_path / "my_measures.py"]).measures


@pytest.mark.simulator
def test_the_scripts_of_the_python_page_run(own_netlist, monkeypatch, capsys):
    monkeypatch.chdir(own_netlist)
    names: dict[str, object] = {}
    for block in blocks(page("python.md"), "python"):
        exec(compile(block.replace("budget=200", "budget=4"), "python.md", "exec"), names)
    out = capsys.readouterr().out
    assert re.match(r"(True|False) \{'w': .*'rd': .*\} \{'gain': ", out)
    assert re.search(r"^spec +wanted +measured", out, re.M)
    assert len(re.findall(r"^\d+ (?:True|False) -?\d+\.\d{3}$", out, re.M)) in range(1, 5)
    assert re.search(r"^\{'gain': .*'supply': ", out, re.M)
    assert re.search(r"^error: no agent is called 'bayes'", out, re.M)
    assert (own_netlist / "out" / "sizing.json").is_file()


def test_the_shape_of_sizing_json_is_as_documented():
    from m3eda.report.text import sizing_json
    from tests.report_samples import good_trial, sample_summary

    [documented] = blocks(page("results.md"), "json")
    assert set(json.loads(documented)) == set(sizing_json(sample_summary(good_trial())))
