"""`m3eda init` on netlists spoilt at random: a design, or lines that say what is wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from m3eda.cli import run
from m3eda.errors import DesignError, ExitCode, Mistake
from m3eda.flow import Project
from tests.conftest import ROOT

GOLDEN = ROOT / "tests" / "golden" / "netlists"
NETLISTS = sorted(GOLDEN.iterdir())
COUNT = 50
SIGNS = "+*.{}()='\"$;,\\/\t\0µ-0a"

Mutation = Callable[[random.Random, str], str]


def without_a_line(rng: random.Random, text: str) -> str:
    lines = text.splitlines(keepends=True)
    del lines[rng.randrange(len(lines))]
    return "".join(lines)


def with_a_line_elsewhere(rng: random.Random, text: str) -> str:
    lines = text.splitlines(keepends=True)
    lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    return "".join(lines)


def without_a_word(rng: random.Random, text: str) -> str:
    words = text.split(" ")
    del words[rng.randrange(len(words))]
    return " ".join(words)


def with_another_word(rng: random.Random, text: str) -> str:
    words = text.split(" ")
    words[rng.randrange(len(words))] = rng.choice(words)
    return " ".join(words)


def with_another_sign(rng: random.Random, text: str) -> str:
    place = rng.randrange(len(text))
    return text[:place] + rng.choice(SIGNS) + text[place + rng.randrange(2) :]


def cut_off(rng: random.Random, text: str) -> str:
    return text[: rng.randrange(len(text))]


MUTATIONS: tuple[Mutation, ...] = (
    without_a_line, with_a_line_elsewhere, without_a_word, with_another_word, with_another_sign,
    cut_off,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with what the netlists include."""
    for name in ("opamp.lib", "sky130_min.lib"):
        (tmp_path / name).write_text(".lib tt\n.model n nmos\n.endl\n")
    monkeypatch.setenv("PDK_ROOT", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("number", range(COUNT))
def test_a_spoilt_netlist_is_a_design_or_is_refused_by_lines(number, folder, capsys):
    rng = random.Random(number)
    source = rng.choice(NETLISTS)
    text = source.read_text(encoding="utf-8")
    for _ in range(rng.randint(1, 4)):
        text = rng.choice(MUTATIONS)(rng, text) or "*"
    (folder / source.name).write_text(text, encoding="utf-8")
    made = folder / "design"
    code = run(["init", str(folder / source.name), "-o", str(made), "--no-simulation"])
    told = capsys.readouterr().err.splitlines()
    if code == ExitCode.BAD_INPUT:
        assert told
        assert all(line.startswith(f"m3eda: {folder / source.name}") for line in told)
        assert not made.exists()
        return
    assert code == ExitCode.SPECS_MET, told
    # what a netlist does not tell is left to the designer, and nothing else is
    assert {mistake.message for mistake in mistakes(made)} <= {"is missing"}


def mistakes(folder: Path) -> Sequence[Mistake]:
    try:
        Project.load(folder / "design.yaml")
    except DesignError as error:
        return error.mistakes
    return ()
