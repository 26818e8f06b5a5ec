"""The directions of flow: who may import whom, and how large a piece may grow."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SOURCES = sorted((ROOT / "m3eda").rglob("*.py")) + sorted((ROOT / "plugins").rglob("*.py"))

BASE = {"m3eda", "m3eda.errors", "m3eda.units"}
ROOMS = {
    "m3eda.errors": set(),
    "m3eda.units": {"m3eda.errors"},
    "m3eda.design": BASE | {"m3eda.design"},
    "m3eda.simulate": BASE | {"m3eda.design", "m3eda.simulate"},
    "m3eda.objective": BASE | {"m3eda.design", "m3eda.simulate", "m3eda.objective"},
    "m3eda.agents": BASE | {"m3eda.design", "m3eda.simulate", "m3eda.agents"},
    "m3eda.ledger": BASE | {"m3eda.design", "m3eda.simulate"},
    "m3eda.pvt": BASE | {"m3eda.design", "m3eda.simulate", "m3eda.pvt"},
    "m3eda.places": BASE | {"m3eda.design"},
    "m3eda.loop": BASE
    | {
        "m3eda.design",
        "m3eda.simulate",
        "m3eda.objective",
        "m3eda.pvt",
        "m3eda.agents",
        "m3eda.ledger",
    },
    "m3eda.circuits": BASE
    | {"m3eda.design", "m3eda.simulate", "m3eda.plugins", "m3eda.flow", "m3eda.circuits"},
    "m3eda.importing": BASE
    | {
        "m3eda.design",
        "m3eda.simulate",
        "m3eda.plugins",
        "m3eda.flow",
        "m3eda.library",
        "m3eda.report",
        "m3eda.importing",
    },
    "m3eda.structure": BASE
    | {"m3eda.design", "m3eda.simulate", "m3eda.importing", "m3eda.structure"},
    "m3eda.coarse": BASE
    | {"m3eda.design", "m3eda.simulate", "m3eda.importing", "m3eda.structure", "m3eda.coarse"},
    "m3eda.porting": BASE
    | {
        "m3eda.design",
        "m3eda.simulate",
        "m3eda.plugins",
        "m3eda.agents",
        "m3eda.ledger",
        "m3eda.places",
        "m3eda.flow",
        "m3eda.crosscheck",
        "m3eda.circuits",
        "m3eda.importing",
        "m3eda.structure",
        "m3eda.report",
        "m3eda.porting",
    },
    "m3eda.report": BASE
    | {
        "m3eda.design",
        "m3eda.simulate",
        "m3eda.objective",
        "m3eda.loop",
        "m3eda.pvt",
        "m3eda.circuits",
        "m3eda.report",
    },
}
"""Room -> rooms it may import from."""

ONLY_IN = {
    "yaml": ("m3eda/design", "plugins"),
    "rich": ("m3eda/report", "m3eda/cli"),
    "subprocess": ("m3eda/simulate", "plugins"),
    "ctypes": ("m3eda/simulate", "m3eda/policy/kernel.py", "m3eda/coarse/kernel.py", "plugins"),
    "torch": ("m3eda/policy", "m3eda/agents"),
    "click": ("m3eda/cli", "m3eda/hookspecs.py"),
}
"""Library -> the only places that may import it."""


def imports(path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_flow(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    allowed = ROOMS.get(room_of(module))
    used = {room_of(name) for name in imports(path) if name.split(".")[0] == "m3eda"}
    if allowed is not None:
        assert used - allowed - {room_of(module)} == set()
    if room_of(module) not in ("m3eda.policy", "m3eda.cli_train", "m3eda.cli_learn"):
        assert not any(name.startswith("m3eda.policy") for name in used), "only the plugin may"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_libraries_stay_in_their_rooms(path):
    place = path.relative_to(ROOT).as_posix()
    used = {name.split(".")[0] for name in imports(path)}
    for library in used & set(ONLY_IN):
        assert place.startswith(ONLY_IN[library]), f"{place} imports {library}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pieces_stay_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 60, f"{node.name}: {length} lines"


def test_help_starts_without_heavy_libraries():
    program = (
        "import sys; from m3eda.cli import run; run(['--help']);"
        "print(sorted({'torch', 'scipy', 'numpy', 'pydantic', 'rich', 'matplotlib'} "
        "& set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.strip() == "[]"
    assert "Usage: m3eda" in done.stdout
