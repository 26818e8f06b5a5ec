"""Netlists written in Python: the same door as a template's, and one line for each mistake."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from pathlib import Path

import pytest

from m3eda.design.types import Corner, Technology, Testbench
from m3eda.errors import DesignError
from m3eda.simulate.render import Renderer
from tests.conftest import ROOT
from tests.helpers import RC, changed, divider, m3eda, only_line, trials, write_rc

SIZES = {"r1": 1e3, "r2": 3e3}
TEXT = """\
def circuit(r, c):
    return f'''* RC low-pass filter
v1 in 0 dc 0 ac 1
r1 in out {r}
c1 out 0 {c}
.ac dec 20 1 10meg
'''
"""
PYSPICE = """\
from PySpice.Spice.Netlist import Circuit
from PySpice.Unit import *

def circuit({arguments}):
    made = Circuit("bench")
    made.V(1, "a", made.gnd, 1 @ u_V)
    {line}
    return made
"""


def rendered(folder: Path, code: str, corner: Corner | None = None, **changes) -> str:
    """The deck of a Python file with `code` at SIZES; keywords change the design."""
    design = divider(folder, **changes)
    (folder / "bench.py").write_text(code)
    testbench = Testbench("bench", folder / "bench.py")
    return Renderer(design).deck(testbench, corner or design.nominal, SIZES).text


def with_pyspice(folder: Path, line: str, arguments: str = "", **changes) -> str:
    pytest.importorskip("PySpice", reason="PySpice is not installed")
    return rendered(folder, PYSPICE.format(line=line, arguments=arguments), **changes)


def mistake_of(folder: Path, code: str):
    with pytest.raises(DesignError) as caught:
        rendered(folder, code)
    (only,) = caught.value.mistakes
    return only


@pytest.fixture
def python_rc(tmp_path) -> Path:
    """The RC filter of the other tests, its netlist in Python."""
    write_rc(tmp_path)
    (tmp_path / "rc.cir.j2").unlink()
    (tmp_path / "rc.py").write_text(TEXT)
    changed(tmp_path, "rc.cir.j2", "rc.py")
    return tmp_path


# ---- the text ------------------------------------------------------------------------------


def test_a_function_may_give_text(tmp_path):
    text = rendered(tmp_path, "def circuit(r1):\n    return f'* t\\nr1 a 0 {r1}'\n")
    assert text == "* t\nr1 a 0 1000.0\n.temp 27\n.end\n"


def test_it_sees_conditions_corner_temperature_and_technology(tmp_path):
    code = (
        "def circuit(r1, vdd, temp, corner, technology):\n"
        "    return f'* {vdd} {temp} {corner} {technology.name} {technology.l_min}\\n'\n"
    )
    text = rendered(
        tmp_path, code, Corner("hot", conditions={"temp": 125.0}), conditions={"vdd": 1.2},
        technology=Technology("mine", data={"l_min": 4}),
    )  # fmt: skip
    assert text == "* 1.2 125.0 hot mine 4\n"


def test_all_values_come_by_two_asterisks(tmp_path):
    code = "def circuit(**values):\n    return '* ' + ' '.join(sorted(values)) + '\\n'\n"
    assert rendered(tmp_path, code).startswith("* corner r1 r2 temp\n")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("made.R(1, 'a', 0, r1)", "R1 a 0 1000.0\n"),
        ("made.R(1, 'a', 0, r1 @ u_Ohm)", "R1 a 0 1000.0\n"),
        ("made.R(1, 'a', 0, 2.2 @ u_MOhm)", "R1 a 0 2200000.0\n"),
        ("made.C(1, 'a', 0, 10 @ u_pF)", "C1 a 0 1e-11\n"),
        ("made.C(1, 'a', 0, 1e-14 @ u_F)", "C1 a 0 1e-14\n"),
        ("made.M(1, 'a', 'b', 0, 0, model='n', w=1e-6 @ u_m, l=90 @ u_nm)", "l=9e-08 w=1e-06\n"),
        ("made.I(1, 'a', 0, 1 @ u_A)", "I1 a 0 1.0\n"),
        ("made.parameter('x', 10 @ u_kOhm)", ".param x=10000.0\n"),
        ("made.X(1, 'amp', 'a', 0, c=1 @ u_pF)", "c=1e-12\n"),
        ("made.model('d', 'D', is_=1e-14)", ".model d D (is=1e-14)\n"),
        ("made.raw_spice += f'.tran {1 @ u_us} {2 @ u_ms}'", ".tran 1e-06 0.002\n"),
    ],
)
def test_pyspice_values_are_written_as_bare_numbers(tmp_path, line, expected):
    assert expected in with_pyspice(tmp_path, line, "r1")


def test_pyspice_writes_units_as_before_outside(tmp_path):
    with_pyspice(tmp_path, "pass")
    from PySpice.Unit import u_kOhm

    assert str(10 @ u_kOhm) == "10 kΩ"


def test_pyspice_imported_only_in_the_function_is_no_different(tmp_path, monkeypatch):
    pytest.importorskip("PySpice", reason="PySpice is not installed")
    for name in [name for name in sys.modules if name.startswith("PySpice")]:
        monkeypatch.delitem(sys.modules, name)
    code = (
        "def circuit():\n"
        "    from PySpice.Unit import u_kOhm\n"
        "    return f'* t\\nr1 a 0 {10 @ u_kOhm}\\n'\n"
    )
    assert "r1 a 0 10000.0\n" in rendered(tmp_path, code)


def test_a_circuit_ends_once_and_after_its_elements(tmp_path):
    text = with_pyspice(tmp_path, "made.raw_spice = '.op\\n.end\\n'", "temp")
    assert text == ".title bench\n.op\nV1 a 0 1.0\n.end\n"


def test_a_subcircuit_is_handed_over_alone(tmp_path):
    pytest.importorskip("PySpice", reason="PySpice is not installed")
    (tmp_path / "dut.py").write_text(
        "from PySpice.Spice.Netlist import SubCircuit\n"
        "def circuit(r1):\n"
        "    made = SubCircuit('dut', 'a', 'b')\n"
        "    made.R(1, 'a', 'b', r1)\n"
        "    return made\n"
    )
    text = Renderer(divider(tmp_path, netlist=tmp_path / "dut.py")).netlist(SIZES)
    assert text.split() == [".subckt", "dut", "a", "b", "R1", "a", "b", "1000.0", ".ends", "dut"]


def test_remarks_of_pyspice_are_not_printed(tmp_path, capfd):
    with_pyspice(tmp_path, "made.R(2, 'in', 0, 1)")  # it remarks on a node called `in`
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("PySpice").handlers


# ---- files ---------------------------------------------------------------------------------


def test_includes_are_taken_relative_to_the_design_and_quoted(tmp_path, monkeypatch):
    folder, elsewhere = tmp_path / "a folder", tmp_path / "elsewhere"
    for place in (folder, elsewhere):
        place.mkdir()
        (place / "models.lib").write_text("* models\n")
    monkeypatch.chdir(elsewhere)
    text = with_pyspice(
        folder, "made.include('models.lib'); made.lib('models.lib', 'tt')"
    ).splitlines()
    assert text[:3] == [
        ".title bench",
        f'.include "{folder}/models.lib"',
        f'.lib "{folder}/models.lib" tt',
    ]


def test_an_include_that_is_not_there_is_found_in_the_python_file(tmp_path):
    pytest.importorskip("PySpice", reason="PySpice is not installed")
    told = mistake_of(tmp_path, PYSPICE.format(line="made.include('no.lib')", arguments=""))
    assert (told.file, told.line) == (tmp_path / "bench.py", 7)
    assert "includes 'no.lib', which is not there" in told.message


def test_modules_beside_the_file_belong_to_it(tmp_path):
    code = "import part\ndef circuit():\n    import later\n    return part.TEXT + later.TEXT\n"
    (tmp_path / "later.py").write_text("TEXT = '* later\\n'\n")
    design = divider(tmp_path)
    testbench = Testbench("bench", tmp_path / "bench.py")
    for number in range(2):  # two designs in one process may each have a `part`
        (tmp_path / "part.py").write_text(f"TEXT = '* part {number}\\n'\n")
        (tmp_path / "bench.py").write_text(code)
        renderer = Renderer(design)
        for _ in range(2):
            deck = renderer.deck(testbench, design.nominal, SIZES)
            assert deck.text.startswith(f"* part {number}\n* later\n")
        assert {path.name for path in deck.files} == {"bench.py", "part.py", "later.py"}
    assert not {"part", "later"} & set(sys.modules)
    assert str(tmp_path) not in sys.path
    assert not (tmp_path / "__pycache__").exists()


def test_several_threads_render_one_file(tmp_path):
    code = (
        "now = []\n"
        "def circuit(r1):\n"
        "    now.append(r1); text = f'* {now}\\n'; now.clear()\n"
        "    return text\n"
    )
    (tmp_path / "bench.py").write_text(code)
    design = divider(tmp_path)
    renderer, texts = Renderer(design), []

    def work(number: int) -> None:
        for _ in range(50):
            sizes = {**SIZES, "r1": number}
            bench = Testbench("bench", tmp_path / "bench.py")
            text = renderer.deck(bench, design.nominal, sizes).text
            texts.append(text.startswith(f"* [{number}]\n"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [True] * 200


# ---- mistakes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "line", "text"),
    [
        ("x = 1\n", None, "defines no function 'circuit'"),
        ("def circuit(:\n", 1, "is not Python: "),
        ("\n\ndef circuit(*values): ...\n", 3, "circuit is given its values by name"),
        ("def circuit(r1, /): ...\n", 1, "circuit is given its values by name"),
        ("def circuit(r9): ...\n", None, "needs r9, which nobody gives"),
        ("def circuit(r1):\n    return 1 / (r1 - r1)\n", 2,
         "circuit() raised: ZeroDivisionError: float division by zero"),
        ("import json\ndef circuit():\n    x = 1\n    return json.loads('')\n", 4,
         "circuit() raised: JSONDecodeError: Expecting value"),
        ("def circuit():\n    raise SystemExit\n", 2, "circuit() raised: SystemExit"),
        ("y = 1\nundefined\ndef circuit(): ...\n", 2, "does not load: NameError: name 'undefined'"),
        ("import nowhere\ndef circuit(): ...\n", 1, "does not load: ModuleNotFoundError: "),
        ("x = 1\ndef circuit(): x\n", 2, "circuit() gave None"),
        ("def circuit():\n    return 5\n", 1, "circuit() gave a int"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_at_its_line(tmp_path, code, line, text):
    told = mistake_of(tmp_path, code)
    assert (told.file, told.line) == (tmp_path / "bench.py", line)
    assert told.message.startswith(text)


def test_a_mistake_in_a_module_beside_is_told_there(tmp_path):
    (tmp_path / "part.py").write_text("def text():\n    return {}['r']\n")
    told = mistake_of(tmp_path, "import part\ndef circuit():\n    return part.text()\n")
    assert (told.file, told.line) == (tmp_path / "part.py", 2)
    assert told.message == "circuit() raised: KeyError: 'r'"


def test_missing_pyspice_is_told_with_what_to_install(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("PySpice")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "PySpice", None)
    told = mistake_of(tmp_path, PYSPICE.format(line="pass", arguments=""))
    place = f"{tmp_path / 'bench.py'}:1"
    message = "needs PySpice, which is not installed (pip install 'm3eda[pyspice]')"
    assert str(told) == f"{place}: {message}"


@pytest.mark.parametrize(
    "line", ["made.lib('m.lib')", "made.R(1, 'a', 0, 1); made.R(1, 'a', 0, 1)"]
)
def test_what_pyspice_cannot_say_is_a_mistake(tmp_path, line):
    pytest.importorskip("PySpice", reason="PySpice is not installed")
    (tmp_path / "m.lib").write_text("* models\n")
    told = mistake_of(tmp_path, PYSPICE.format(line=line, arguments=""))
    assert "names no section" in told.message or "R1 is already defined" in told.message


def test_names_are_compared_with_the_design_file(python_rc):
    changed(python_rc, "def circuit(r, c)", "def circuit(r, c, rload)", "rc.py")
    changed(python_rc, "measures:", "  spare: {value: 1}\nmeasures:")
    done = m3eda("check", "design.yaml", cwd=python_rc)
    assert done.returncode == 2
    assert "rc.py needs 'rload', which nobody gives" in done.stderr
    assert "spare: is used by no template and no expression" in done.stderr


def test_a_function_that_takes_everything_uses_everything(python_rc):
    text = (python_rc / "rc.py").read_text().replace("{r}", "{v['r']}").replace("{c}", "{v['c']}")
    (python_rc / "rc.py").write_text(text.replace("circuit(r, c)", "circuit(**v)"))
    changed(python_rc, "measures:", "  spare: {value: 1}\nmeasures:")
    assert m3eda("render", "design.yaml", cwd=python_rc).returncode == 0


def test_a_file_that_is_not_there_is_told_with_the_nearest(python_rc):
    changed(python_rc, "{ac: rc.py}", "{ac: rcc.py}")
    done = m3eda("check", "design.yaml", cwd=python_rc)
    assert "the template 'rcc.py' is not there (did you mean rc.py?)" in only_line(done)


def test_checking_a_design_file_runs_no_code(python_rc):
    (python_rc / "rc.py").write_text(f"open('ran', 'w')\n{TEXT}")
    changed(python_rc, "measures:", "measuers:")
    assert m3eda("check", "design.yaml", cwd=python_rc).returncode == 2
    assert not (python_rc / "ran").exists()


# ---- a run ---------------------------------------------------------------------------------


@pytest.mark.simulator
def test_it_is_sized_as_the_template_is(python_rc, tmp_path):
    other = tmp_path / "template"
    other.mkdir()
    write_rc(other)
    assert (other / "rc.cir.j2").read_text() == RC
    for folder in (python_rc, other):
        done = m3eda("size", "design.yaml", "-o", "o.cir", "--depfile", "o.d", cwd=folder)
        assert done.returncode == 0, done.stderr
    assert trials(python_rc / "runs" / "rc") == trials(other / "runs" / "rc")
    assert "  rc.py" in (python_rc / "o.d").read_text()


@pytest.mark.simulator
def test_the_circuit_of_the_guide_is_sized(python_rc):
    pytest.importorskip("PySpice", reason="PySpice is not installed")
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/design_file.md").read_text(), re.S)
    (python_rc / "rc.py").write_text(code)
    done = m3eda("size", "design.yaml", "--json", cwd=python_rc)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trial"] == 23, "as with the same netlist as a template"


@pytest.mark.simulator
def test_numbers_that_spice_would_misread_are_simulated_right(python_rc):
    """Without help `4.7e3@u_K` is read as 4.7e6, and `{x}` of `10 kOhm` as 10."""
    pytest.importorskip("PySpice", reason="PySpice is not installed")
    (python_rc / "rc.py").write_text(
        PYSPICE.format(
            arguments="r, c",
            line="made.parameter('x', 10 @ u_kOhm); made.VCVS(1, 'in', 0, 'a', 0, 1e-3 @ u_km); "
            "made.R(1, 'in', 'out', '{x}'); made.R(2, 'out', 0, r @ u_K); "
            "made.raw_spice += f'.ac dec 20 {1 @ u_Hz} {10 @ u_MHz}'",
        ).replace("1 @ u_V", "'dc 1 ac 1'")
    )
    changed(python_rc, "  f3db: {testbench: ac, expr: bandwidth_3db(v(out)), unit: Hz}\n", "")
    changed(python_rc, "  f3db: {target: 10k, tolerance: 200}\n", "")
    done = m3eda("check", "design.yaml", "--json", "--set", "r=4.7k", cwd=python_rc)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["measures"]["far"] == pytest.approx(4.7 / 14.7, rel=1e-6)


@pytest.mark.simulator
def test_a_change_of_the_file_is_another_circuit(python_rc):
    def size() -> dict:
        done = m3eda("size", "design.yaml", "--budget", 2, "--json", cwd=python_rc)
        return json.loads(done.stdout)

    first, again = size(), size()
    changed(python_rc, "dc 0 ac 1", "dc 0 ac 2", "rc.py")
    changed_now = size()
    assert (first["run"]["new_simulations"], again["run"]["new_simulations"]) == (2, 0)
    assert changed_now["run"]["new_simulations"] == 2
    assert changed_now["design_hash"] != first["design_hash"]


@pytest.mark.simulator
def test_a_change_of_what_the_file_reads_is_not_answered_from_trials(python_rc):
    code = TEXT.replace("def circuit", "from pathlib import Path\n\ndef circuit").replace(
        "ac 1", "ac {Path(__file__).with_name('level').read_text()}"
    )
    (python_rc / "rc.py").write_text(code)
    new = []
    for level in ("1", "1", "2"):
        (python_rc / "level").write_text(level)
        done = m3eda("size", "design.yaml", "--budget", 2, "--json", cwd=python_rc)
        new.append(json.loads(done.stdout)["run"]["new_simulations"])
    assert new == [2, 0, 2]


@pytest.mark.simulator
def test_a_fault_while_sizing_ends_the_run_with_its_line(python_rc):
    (python_rc / "rc.py").write_text(TEXT.replace("    return", "    assert r < 0\n    return"))
    done = m3eda("size", "design.yaml", cwd=python_rc)
    assert done.returncode == 2
    assert only_line(done) == f"{python_rc / 'rc.py'}:2: circuit() raised: AssertionError"
