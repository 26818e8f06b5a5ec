"""Bad input through the real command line: one clear line a mistake, at its place, and code 2."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.helpers import changed, m3eda, only_line

pytestmark = pytest.mark.simulator

BAD_INPUT, SIMULATOR, STORAGE = 2, 3, 4


def refused(done, code: int, *lines: str) -> None:
    """Nothing on stdout, and on stderr exactly `lines`, each after the program's name."""
    assert done.stderr.splitlines() == [f"m3eda: {line}" for line in lines]
    assert done.stdout == ""
    assert done.returncode == code


# what is replaced, by what, and the line expected
MISTAKES = {
    "duplicate key": (
        "agent: {name",
        "design: again\nagent: {name",
        "13:1: design: the key is given twice, first on line 2 (remove one of them)",
    ),
    "unknown key": (
        "budget: 400",
        "budgt: 400",
        "13:23: agent.budgt: is not a known key (did you mean budget?)",
    ),
    "bare M": (
        "max: 100k",
        "max: 1M",
        "5:21: parameters.r.max: '1M' is ambiguous: SPICE reads M as milli (meg or m?)",
    ),
    "unit clash": (
        "target: 10k",
        "target: 10 kV",
        "11:18: specs.f3db.target: is in V, but f3db is in Hz (write it in Hz)",
    ),
    "min over max": (
        "min: 1k, max: 100k",
        "min: 100k, max: 1k",
        "5:12: parameters.r.min: min 100 kOhm is over max 1 kOhm (swap them)",
    ),
    "step larger than the range": (
        "series: E24",
        "step: 1meg",
        "5:33: parameters.r.step: step 1 MOhm is larger than the range, 99 kOhm",
    ),
    "unused parameter": (
        "  c: {min",
        "  idle: {min: 1, max: 2}\n  c: {min",
        "6:3: parameters.idle: is used by no template and no expression "
        "(remove it, or use it in a template)",
    ),
    "cyclic ties": (
        "  c: {min",
        "  a: {expr: 2 * b}\n  b: {expr: 2 * a}\n  c: {min",
        "6:13: parameters.a.expr: depends on itself: a -> b -> a",
    ),
    "cyclic measures": (
        "specs:\n",
        "  m1: {expr: m2 + 1}\n  m2: {expr: m1 + 1}\nspecs:\n",
        "10:14: measures.m1.expr: depends on itself: m1 -> m2 -> m1",
    ),
    "spec without a measure": (
        "  far: {max",
        "  fra: {max",
        "12:3: specs.fra: no measure is called 'fra' (did you mean far?)",
    ),
    "measure on no testbench": (
        "f3db: {testbench: ac",
        "f3db: {testbench: a",
        "8:21: measures.f3db.testbench: no testbench is called 'a' (did you mean ac?)",
    ),
    "unknown function": (
        "bandwidth_3db(v",
        "bandwith_3db(v",
        "8:31: measures.f3db.expr: no function is called 'bandwith_3db' "
        "(did you mean bandwidth_3db?)",
    ),
    "code in an expression": (
        "bandwidth_3db(v(out))",
        "__import__('os')",
        "8:31: measures.f3db.expr: does not understand '_'",
    ),
    "testbench given twice": (
        "{ac: rc.cir.j2}",
        "{ac: rc.cir.j2, ac: rc.cir.j2}",
        "3:30: testbenches.ac: the key is given twice, first on line 3 (remove one of them)",
    ),
    "missing template": (
        "rc.cir.j2",
        "rx.cir.j2",
        "3:19: testbenches.ac: the template 'rx.cir.j2' is not there (did you mean rc.cir.j2?)",
    ),
    "no specs": (
        "specs:\n  f3db: {target: 10k, tolerance: 200}\n  far: {max: 0.011}\n",
        "",
        "1:1: specs: is missing (give specs, an objective, or both)",
    ),
    "objective that names no measure": (
        "agent:",
        "objective: {minimize: fare}\nagent:",
        "13:23: objective.minimize: no measure is called 'fare' (did you mean far?)",
    ),
    "wrong type": (
        "budget: 400",
        "budget: many",
        "13:31: agent.budget: 'many' is not a number (such as 10p, 4.7k, 10meg or 1e-6)",
    ),
    "list for a word": (
        "name: random",
        "name: [random]",
        "13:15: agent.name: must be a word, not a list",
    ),
    "number out of range": (
        "budget: 400",
        "budget: 0",
        "13:31: agent.budget: '0' must be greater than or equal to 1",
    ),
    "unknown agent": (
        "name: random",
        "name: randm",
        "13:15: agent.name: no agent is called 'randm' (did you mean random?)",
    ),
    "unknown simulator": (
        "agent:",
        "simulator: ngspcie\nagent:",
        "13:12: simulator.name: no simulator is called 'ngspcie' (did you mean ngspice?)",
    ),
    "unknown technology": (
        "agent:",
        "technology: genric45\nagent:",
        "13:13: technology: no technology is called 'genric45' (did you mean generic45?)",
    ),
    "unknown step of the ladder": (
        "agent:",
        "failures: {ladder: [gmn]}\nagent:",
        "13:21: failures.ladder.0: no step of the ladder is called 'gmn' (did you mean gmin?)",
    ),
    "unset variable": (
        "agent:",
        "technology: {lib: $NO_PDK/models.lib}\nagent:",
        "13:19: technology.lib: $NO_PDK is not set in the environment (export NO_PDK=...)",
    ),
    "missing plugin file": (
        "agent:",
        "plugins: [gone.py]\nagent:",
        "13:11: plugins.0: the plugin file 'gone.py' is not there (looked for {folder}/gone.py)",
    ),
    "extends what is not there": (
        "agent:",
        "extends: gone.yaml\nagent:",
        "13:10: extends: 'gone.yaml' is not there (looked in .)",
    ),
    "extends itself": (
        "agent:",
        "extends: design.yaml\nagent:",
        "13:10: extends: extends itself through design.yaml",
    ),
    "not YAML": (
        "design: rc",
        "design: [",
        "4:1: not valid YAML: while parsing a flow sequence, did not find expected ',' or ']' "
        "(values with @ [ ] { } or : go in quotes)",
    ),
    "Python object": (
        "design: rc",
        "design: !!python/object:os.system x",
        "2:9: design: the tag tag:yaml.org,2002:python/object:os.system is not used here "
        "(write plain values)",
    ),
    "limits of a corner that exclude each other": (
        "specs:\n  f3db: {target: 10k, tolerance: 200}",
        "corners: [{name: ss, temp: 125}]\nspecs:\n"
        "  f3db: {min: 10k, corners: {ss: {min: 8k, max: 5k}}}",
        "12:40: specs.f3db.corners.ss.min: no value can meet the limits at 'ss': at least 8 kHz "
        "and at most 5 kHz",
    ),
    "a limit of a corner that excludes the spec's": (
        "specs:\n  f3db: {target: 10k, tolerance: 200}",
        "corners: [{name: ss, temp: 125}]\nspecs:\n  f3db: {min: 10k, corners: {ss: {max: 5k}}}",
        "12:40: specs.f3db.corners.ss.max: no value can meet the limits at 'ss': at least 10 kHz "
        "and at most 5 kHz",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_the_design_is_one_line_at_its_place(rc, here, name):
    before, after, line = MISTAKES[name]
    changed(rc, before, after)
    line = line.replace("{folder}", str(rc))
    refused(here("size", "design.yaml"), BAD_INPUT, f"design.yaml:{line}")
    assert not (rc / "runs").exists()


CONTENTS = {
    "empty": (b"", "1:1: is empty (begin with `m3eda: 1`)"),
    "only a comment": (b"# nothing\n", "1:1: is empty (begin with `m3eda: 1`)"),
    "tabs": (
        b"m3eda: 1\ntestbenches:\n\tac: rc.cir.j2\n",
        "3:1: a tab, which YAML does not allow here (indent with spaces)",
    ),
    "a list": (b"- 1\n- 2\n", "1:1: is not a mapping of keys (`key: value`)"),
    "not UTF-8": (b"m3eda: 1\ndesign: caf\xe9\n", "2: is not UTF-8 text"),
    "binary": (b"\x7fELF\x00\xff\xfe" * 100, "1: is not UTF-8 text"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_that_is_no_design(rc, here, name):
    content, line = CONTENTS[name]
    (rc / "design.yaml").write_bytes(content)
    refused(here("check", "design.yaml"), BAD_INPUT, f"design.yaml:{line}")


def test_every_mistake_is_told_at_once(rc):
    changed(rc, "max: 100k", "max: 1M")
    changed(rc, "budget: 400", "budgt: 400")
    changed(rc, "  far: {max", "  fra: {max")
    done = m3eda("check", "design.yaml", cwd=rc)
    places = [line.split(" ")[1] for line in done.stderr.splitlines()]
    assert places == ["design.yaml:5:21:", "design.yaml:12:3:", "design.yaml:13:23:"]
    assert done.returncode == BAD_INPUT


@pytest.mark.parametrize("command", ["size", "check", "render"])
def test_every_command_refuses_a_bad_design(rc, here, command):
    changed(rc, "min: 1k, max: 100k", "min: 100k, max: 1k")
    refused(
        here(command, "design.yaml"),
        BAD_INPUT,
        "design.yaml:5:12: parameters.r.min: min 100 kOhm is over max 1 kOhm (swap them)",
    )


def test_a_design_that_is_not_there(tmp_path):
    line = "gone.yaml: cannot be read: No such file or directory"
    refused(m3eda("size", "gone.yaml", cwd=tmp_path), BAD_INPUT, line)


def test_a_design_that_is_a_directory(tmp_path):
    line = "Invalid value for 'DESIGN': File '.' is a directory. (see 'm3eda size --help')"
    refused(m3eda("size", ".", cwd=tmp_path), BAD_INPUT, line)


# templates


def test_a_template_variable_that_nobody_gives(rc):
    changed(rc, "{{ c }}", "{{ c }} ic={{ v0 }}", "rc.cir.j2")
    line = (
        "design.yaml:3:19: testbenches.ac: rc.cir.j2 needs 'v0', which nobody gives "
        "(give it under parameters or conditions)"
    )
    refused(m3eda("render", "design.yaml", cwd=rc), BAD_INPUT, line)


def test_a_missing_include_of_the_netlist(rc, here):
    changed(rc, "v1 in", '.include "gone.lib"\nv1 in', "rc.cir.j2")
    for command in ("render", "check", "size"):
        line = f"{rc}/rc.cir.j2:2: includes 'gone.lib', which is not there (looked in {rc})"
        refused(here(command, "design.yaml"), BAD_INPUT, line)


def test_a_missing_include_of_the_template(rc):
    changed(rc, "v1 in", "{% include 'gone.j2' %}\nv1 in", "rc.cir.j2")
    done = m3eda("check", "design.yaml", cwd=rc)
    assert done.stderr.startswith(f"m3eda: {rc}/rc.cir.j2:2: includes 'gone.j2', which is not in ")
    assert len(done.stderr.splitlines()) == 1
    assert done.returncode == BAD_INPUT


TEMPLATES = {
    "syntax": ("{{ r }}", "{{ r", "4: expected token 'end of print statement', got 'c1'"),
    "wrong types": (
        "{{ r }}",
        "{{ '1' + r }}",
        '3: can only concatenate str (not "float") to str',
    ),
    "forbidden attribute": (
        "{{ r }}",
        "{{ r.__class__ }}",
        "3: access to attribute '__class__' of 'float' object is unsafe.",
    ),
    "endless loop": (
        "{{ r }}",
        "{% for i in range(10**9) %}x{% endfor %}{{ r }}",
        "3: Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).",
    ),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_mistake_in_a_template_has_its_line(rc, here, name):
    before, after, line = TEMPLATES[name]
    changed(rc, before, after, "rc.cir.j2")
    refused(here("check", "design.yaml"), BAD_INPUT, f"{rc}/rc.cir.j2:{line}")


# what only the simulator can tell


def test_a_measure_that_names_a_node_that_is_not_there(rc):
    changed(rc, "bandwidth_3db(v(out))", "bandwidth_3db(v(ouz))")
    for command in ("size", "check"):
        done = m3eda(command, "design.yaml", cwd=rc)
        assert only_line(done).startswith(
            f"{rc}/design.yaml:8:31: measures.f3db.expr: the netlist gives no v(ouz) "
            "(nearest: v(out), v(in)) ("
        )
        assert done.returncode == BAD_INPUT


def test_a_missing_model(rc):
    changed(rc, "v1 in", "d1 out 0 nomodel\nv1 in", "rc.cir.j2")
    for command in ("size", "check"):
        done = m3eda(command, "design.yaml", cwd=rc)
        assert only_line(done).startswith(
            f"{rc}/rc.cir.j2: ac: model missing: line 2: could not find a valid modelname: "
            "d1 out 0 nomodel ("
        )
        assert done.returncode == BAD_INPUT
        assert (
            "nomodel"
            in (Path(done.stderr.strip(")\n").rpartition(" ")[2]) / "deck.cir").read_text()
        )


def test_a_netlist_that_never_converges(rc):
    changed(rc, "v1 in 0 dc 0 ac 1", "v1 in 0 dc 1 ac 1\nv2 in 0 dc 2", "rc.cir.j2")
    for command in ("size", "check"):
        done = m3eda(command, "design.yaml", cwd=rc)
        assert only_line(done).startswith(f"{rc}/rc.cir.j2: ac: no convergence: ")
        assert done.returncode == SIMULATOR


ENDLESS = ".tran 1p 1000\n.ac dec 20 1 10meg"


def test_a_netlist_that_never_ends(rc):
    changed(rc, ".ac dec 20 1 10meg", ENDLESS, "rc.cir.j2")
    changed(rc, "agent:", "failures: {stop_after_same_error: 2}\nagent:")
    for command in ("size", "check"):
        done = m3eda(command, "design.yaml", "--timeout", "0.2", cwd=rc)
        assert only_line(done).startswith(
            f"{rc}/rc.cir.j2: ac: timeout: no result within 0.2 s: the transient had reached t = "
        )
        assert done.returncode == SIMULATOR


def test_a_longer_timeout_is_given_a_chance(rc):
    slow = '#!/bin/sh\n[ "$1" = --version ] || sleep 0.5\nexec {} "$@"\n'
    (rc / "slow").write_text(slow.format(shutil.which("ngspice")))
    (rc / "slow").chmod(0o755)
    changed(rc, "agent:", f"simulator: {{options: {{program: {rc}/slow}}}}\nagent:")
    assert m3eda("size", "design.yaml", "--timeout", "0.2", cwd=rc).returncode == SIMULATOR
    done = m3eda("size", "design.yaml", "--budget", 1, "--json", cwd=rc)
    assert json.loads(done.stdout)["measures"]["f3db"]["value"] is not None


def test_a_check_leaves_nothing_behind(rc):
    (rc / "tmp").mkdir()
    assert m3eda("check", "design.yaml", cwd=rc, TMPDIR=str(rc / "tmp")).returncode == 0
    assert list((rc / "tmp").iterdir()) == []


# the command line


OPTIONS = [
    (["size", "design.yaml", "--budget", "foo"], "Invalid value for '--budget'"),
    (["size", "design.yaml", "--budget", "0"], "Invalid value for '--budget'"),
    (["size", "design.yaml", "--jobs", "0"], "Invalid value for '-j' / '--jobs'"),
    (["size", "design.yaml", "--seed", "-1"], "Invalid value for '--seed'"),
    (["size", "design.yaml", "--time", "soon"], "Invalid value for '--time': 'soon' is no time"),
    (["size", "design.yaml", "--time", "0s"], "Invalid value for '--time': '0s' is no time"),
    (["size", "design.yaml", "--frsh"], "No such option '--frsh'. Did you mean '--fresh'?"),
    (["size", "design.yaml", "--resume", "--fresh"], "--resume and --fresh exclude each other"),
    (["size", "design.yaml", "-o", "."], "Invalid value for '-o' / '--output': File '.' is a dir"),
    (["size", "design.yaml", "--run-dir", "design.yaml"], "Invalid value for '--run-dir'"),
    (["size"], "Missing argument 'DESIGN'."),
    (["siz", "design.yaml"], "No such command 'siz'. Did you mean 'size'?"),
    (["size", "design.yaml", "--agent", "randm"], "no agent is called 'randm' (did you mean ran"),
    (["check", "design.yaml", "--simulator", "spice"], "no simulator is called 'spice'"),
    (["check", "design.yaml", "--set", "r"], "--set r: expected name=value (parameters: r, c)"),
    (["check", "design.yaml", "--set", "q=1"], "--set q=1: no parameter is called 'q'"),
    (["check", "design.yaml", "--set", "r=1M"], "--set r=1M: '1M' is ambiguous: SPICE reads M"),
    (["check", "design.yaml", "--sizing", "gone.json"], "gone.json: cannot be read: No such file"),
    (["check", "design.yaml", "--sizing", "rc.cir.j2"], "rc.cir.j2: is no sizing.json of m3eda"),
    (["check", "design.yaml", "--sizing", "s.json"], "s.json: sizing.r: is 'x' (a number)"),
    (["render", "design.yaml", "--testbench", "dc"], "{folder}/design.yaml: no testbench is call"),
    (["report", "gone"], "Invalid value for 'RUN': Path 'gone' does not exist."),
]


@pytest.mark.parametrize(("arguments", "words"), OPTIONS, ids=lambda value: str(value)[-40:])
def test_a_mistake_on_the_command_line_is_one_line(rc, here, arguments, words):
    (rc / "s.json").write_text('{"sizing": {"r": "x"}}')
    done = here(*arguments)
    assert only_line(done).startswith(words.replace("{folder}", str(rc))), done.stderr
    assert done.stdout == ""
    assert done.returncode == BAD_INPUT
    assert not (rc / "runs").exists()


def test_an_output_never_takes_the_place_of_an_input(rc):
    before = (rc / "design.yaml").read_text()
    for option, name in (("-o", "design.yaml"), ("-o", "rc.cir.j2"), ("--depfile", "rc.cir.j2")):
        line = f"{option} {name}: would overwrite a file that the run reads (name another file)"
        refused(m3eda("size", "design.yaml", option, name, cwd=rc), BAD_INPUT, line)
    assert (rc / "design.yaml").read_text() == before


def test_a_design_without_free_parameters_runs_its_one_point(rc):
    changed(rc, "{min: 1k, max: 100k, series: E24, unit: Ohm}", "{value: 10k}")
    changed(rc, "{min: 100p, max: 100n, scale: log, unit: F}", "{value: 1n}")
    done = m3eda("size", "design.yaml", "--agent", "auto", "--json", cwd=rc)
    data = json.loads(done.stdout)
    assert data["measures"]["f3db"]["value"] == pytest.approx(15.9e3, rel=0.01)
    assert done.returncode == 1
    changed(rc, "target: 10k", "target: 15.9k")
    changed(rc, "max: 0.011", "max: 0.02")
    assert m3eda("size", "design.yaml", cwd=rc).returncode == 0


def test_an_objective_alone_is_enough(rc):
    specs = "specs:\n  f3db: {target: 10k, tolerance: 200}\n  far: {max: 0.011}\n"
    changed(rc, specs, "objective: {minimize: far, maximize: f3db}\n")
    done = m3eda("size", "design.yaml", "--budget", 10, "--json", cwd=rc)
    assert json.loads(done.stdout)["run"]["ended"] == "budget"
    assert done.returncode == 0


def test_one_template_may_serve_two_testbenches(rc):
    changed(rc, "{ac: rc.cir.j2}", "{ac: rc.cir.j2, again: rc.cir.j2}")
    assert m3eda("size", "design.yaml", cwd=rc).returncode == 0
