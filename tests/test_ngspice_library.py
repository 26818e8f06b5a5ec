"""libngspice itself: finding it, its log, its vectors, and what it reads when it starts."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from m3eda_plugins.ngspice import ngspice
from m3eda_plugins.ngspice.library import shared

from m3eda.simulate.types import OnlyCold

pytestmark = pytest.mark.simulator

DIVIDER = ["title", "v1 in 0 dc 2 ac 1", "r1 in out 1k", "r2 out 0 3k", "c1 out 0 1n",
           ".ac dec 1 1k 1meg", ".option keepopinfo", ".end"]  # fmt: skip


@pytest.fixture
def library(tmp_path):
    found = shared(tmp_path, ngspice({}).start_file())
    found.command("destroy all")
    found.clear_log()
    yield found
    found.command("remcirc")
    found.command("destroy all")


def in_a_process(program: str, **environment: str) -> str:
    """What a Python program prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=60, check=True, env={**os.environ, **environment},
    )  # fmt: skip
    return done.stdout.strip()


def test_plots_and_vectors(library):
    library.load(DIVIDER)
    library.run()
    assert library.plots() == ["op1", "ac1"]
    assert set(library.vectors("ac1")) == {"frequency", "in", "out", "v1#branch"}
    found = library.vector("ac1", "out")
    assert found.type == "voltage"
    assert found.data.dtype == np.complex128
    assert found.data.size == 4
    assert library.data(b"op1.out")[0] == pytest.approx(1.5)
    assert library.vector("op1", "nowhere") is None
    assert library.data(b"op1.nowhere") is None


def test_vectors_are_copies(library):
    library.load(DIVIDER)
    library.run()
    kept = library.data(b"op1.out")
    library.command("alter r2=1k")
    library.run()
    library.command("destroy all")
    assert kept[0] == pytest.approx(1.5)


def test_the_log_tells_its_streams_apart(library):
    library.command("echo hello")
    library.command("nonsense")
    out, err = library.log()
    assert out == "hello"
    assert "nonsense" in err
    assert library.lines()[0] == b"stdout hello"
    library.clear_log()
    assert library.log() == ("", "")


def test_a_flood_of_lines_keeps_its_beginning_and_its_end(library):
    library.command("echo first")
    for number in range(6000):
        library._printed(library._ffi.new("char[]", f"stdout {number}".encode()), 0, None)
    lines = library.lines()
    assert lines[0] == b"stdout first"
    assert lines[-1] == b"stdout 5999"
    assert len(lines) <= 5001


def test_version_is_the_program_s(library):
    assert library.version == ngspice({}).available()


def test_without_the_library_there_are_no_sessions():
    program = """
        import sys, tempfile
        from pathlib import Path
        from m3eda_plugins.ngspice import ngspice
        from m3eda.simulate.types import OnlyCold
        try:
            ngspice({}).open(Path(tempfile.mkdtemp()), strict=False)
        except OnlyCold as reason:
            print(reason)
    """
    for path in ("/no/libngspice.so", "/dev/null"):
        told = in_a_process(program, NGSPICE_LIBRARY_PATH=path)
        assert told.startswith("libngspice does not load")
        assert "\n" not in told
        assert "apt install libngspice0" in told


def test_another_version_is_not_mixed_in(library, tmp_path):
    simulator = ngspice({})
    simulator._found = ("/usr/bin/ngspice", "ngspice-12")
    with pytest.raises(
        OnlyCold, match=f"libngspice is {library.version} and the program ngspice-12"
    ):
        simulator.open(tmp_path, strict=False)


@pytest.mark.parametrize("where", ["option", "home", "folder", "none"])
def test_start_files_are_those_of_the_program(where, tmp_path):
    """A start file that changes a result shows whether it was read."""
    home, folder = tmp_path / "home", tmp_path / "folder"
    home.mkdir()
    folder.mkdir()
    place = {"home": home, "folder": folder}.get(where, tmp_path)
    (place / ".spiceinit").write_text("option temp=100\n")
    (home / "spice.rc").write_text("option temp=50\n")
    options = {"option": {"spiceinit": str(tmp_path / ".spiceinit")}, "none": {"spiceinit": "none"}}
    environment = {"HOME": str(home)}
    if where == "folder":
        environment["SPICE_USERINIT_DIR"] = str(folder)
    told = in_a_process(
        f"""
        import tempfile
        from pathlib import Path
        from m3eda_plugins.ngspice import ngspice
        from m3eda.simulate.types import Deck
        simulator = ngspice({options.get(where, {})!r})
        deck = Deck("t\\nv1 a 0 1\\nr1 a 0 1k tc1=0.01\\n.op\\n", vectors=("i(v1)",))
        session = simulator.open(Path(tempfile.mkdtemp()), strict=True)
        for run in (session.run, lambda d: simulator.run(d, Path(tempfile.mkdtemp()), 20.0)):
            print(run(deck).analyses[0].vectors["i(v1)"][0])
        """,
        **environment,
    )
    warm, cold = map(float, told.split())
    assert warm == cold
    expected = {"none": 27.0}.get(where, 100.0)
    assert -1e-3 / warm == pytest.approx(1.0 + 0.01 * (expected - 27.0), rel=1e-6)


def test_an_exit_is_seen(tmp_path):
    told = in_a_process("""
        import tempfile
        from pathlib import Path
        from m3eda_plugins.ngspice.library import shared
        library = shared(Path(tempfile.mkdtemp()), "")
        print(library.exited)
        library.load(["title", "r1 a 0 {undefined}", ".op", ".end"])
        print(library.exited)
    """)
    assert told.split() == ["False", "True"]


def test_one_library_a_process(library, tmp_path):
    assert shared(tmp_path, library.spiceinit) is library
