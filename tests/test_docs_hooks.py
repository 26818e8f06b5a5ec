"""A page a hook: its signature, when it is called, and an example that works as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from m3eda import hookspecs
from tests.helpers import m3eda
from tests.test_docs import DOCS, HOOKS, blocks, section
from tests.test_examples import M3EDA

FOLDER = DOCS / "hooks"
_NAMED = re.compile(r"[#*] ([\w.]+)\n")
_NEEDS_NOTHING = ("register_simulators", "register_commands")


def write_files(text: str, folder: Path) -> list[str]:
    """The files that a page shows: code blocks that begin with their name as a comment."""
    found = []
    for language in ("python", "yaml", "spice"):
        for block in blocks(text, language):
            if match := _NAMED.match(block):
                (folder / match[1]).write_text(block)
                found.append(match[1])
    return found


def run_commands(text: str, folder: Path) -> str:
    """What the commands of a page print; each ends with 0."""
    printed = ""
    path = f"{Path(M3EDA).parent}:{os.environ['PATH']}"
    for line in "".join(blocks(text, "sh")).splitlines():
        program, *arguments = shlex.split(line, comments=True)
        if program == "m3eda" and not set(line) & set("|<>&;$"):
            done = m3eda(*arguments, cwd=folder, PATH=path)
        else:
            done = subprocess.run(
                ["sh", "-c", line], cwd=folder, env={**os.environ, "PATH": path},
                capture_output=True, text=True, timeout=120,
            )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        printed += done.stdout
    return printed


def test_every_hook_has_its_page():
    assert {path.stem for path in FOLDER.glob("*.md")} == set(HOOKS)


@pytest.mark.parametrize("name", HOOKS)
def test_a_page_says_what_a_plugin_author_asks(name):
    text = (FOLDER / f"{name}.md").read_text()
    assert text.startswith(f"# `{name}`: ")
    assert f"def {name}(" in section(text, text.partition("\n")[0][2:])
    assert section(text, "When it is called").strip()
    assert f"def {name}(" in "".join(blocks(text.partition("## Example\n")[2], "python"))


WRITES = {"trial_finished": "trials.log"}
SAYS = {"register_commands": "r1: 1000 to 100000"}


@pytest.mark.parametrize(
    "name",
    [
        name if name in _NEEDS_NOTHING else pytest.param(name, marks=pytest.mark.simulator)
        for name in HOOKS
    ],
)
def test_the_example_of_a_page_runs(name, tmp_path):
    text = (FOLDER / f"{name}.md").read_text()
    files = write_files(text, tmp_path)
    assert {"design.yaml", "circuit.yaml"} & set(files)
    assert any(file.endswith(".py") for file in files)
    printed = run_commands(text, tmp_path)
    assert SAYS.get(name, "all specs met") in printed
    if name in WRITES:
        assert (tmp_path / WRITES[name]).read_text()


def test_every_hook_says_what_to_do():
    for name in HOOKS:
        assert getattr(hookspecs, name).__doc__.startswith("Call")
