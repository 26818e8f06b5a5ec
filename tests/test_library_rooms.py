"""The circuit library's machinery: formulas, overrides, targets, copies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from m3eda import library as api
from m3eda.circuits.calibration import Calibration, goals_of, non_dominated, spread
from m3eda.circuits.catalogue import Catalogue, read_circuit
from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.circuits.targets import TargetList, read_targets, targets_text
from m3eda.circuits.writing import design_text
from m3eda.cli import run
from m3eda.design.space import Space
from m3eda.design.writing import scalar
from m3eda.errors import DesignError, PluginWarning
from m3eda.flow import Project
from tests.conftest import ROOT

OTA = ROOT / "templates" / "five_transistor_ota"


def run_cli(*arguments: str) -> int:
    return run(list(arguments))


@pytest.fixture
def own(tmp_path):
    """A copy of a circuit, to be spoilt; its targets left out."""
    folder = tmp_path / "own"
    shutil.copytree(OTA, folder, ignore=shutil.ignore_patterns("targets"))

    def changed(old: str, new: str) -> str:
        path = folder / "circuit.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        return str(folder / "circuit.yaml")

    return changed


def test_formulas_become_numbers_of_the_technology():
    small, large = (open_circuit("five_transistor_ota", t).design for t in ("generic45", "sky130"))
    assert small.parameters["l_in"].minimum == pytest.approx(45e-9)
    assert large.parameters["l_in"].minimum == pytest.approx(150e-9)
    assert large.parameters["l_in"].step == pytest.approx(5e-9), "the grid of the masks"
    assert large.parameters["w_in"].maximum <= 100e-6, "within the models"
    assert (small.conditions["vdd"], large.conditions["vdd"]) == (1.2, 1.8)
    assert {corner.process for corner in large.corners} == {"tt", "ff", "ss", "sf", "fs"}


def test_devices_are_named_as_the_technology_nests_them():
    expression = open_circuit("five_transistor_ota", "sky130").design.measures["sat"].expression
    assert "x1.xmn1.msky130_fd_pr__nfet_01v8" in expression
    assert "x1.xmp2.msky130_fd_pr__pfet_01v8" in expression


def test_an_override_holds_in_its_technology_alone(own):
    path = own("overrides:\n", "overrides:\n  generic65: {conditions: {cload: 3p}}\n")
    circuit = read_circuit(ROOT / path)
    assert open_circuit(circuit, "generic65").design.conditions["cload"] == pytest.approx(3e-12)
    assert open_circuit(circuit, "generic90").design.conditions["cload"] != 3e-12


MISTAKES = [
    ("start: 3 * l_min", "start: 3 * l_mni", "parameters.l_in.start", "did you mean l_min?"),
    ("start: 3 * l_min", "start: 3 *", "parameters.l_in.start", ""),
    ("start: 3 * l_min", "start: 3 / 0", "parameters.l_in.start", "divides by zero"),
    ("group: amplifier", "group: amplifer", "group", "did you mean amplifier?"),
    ("split: train", "splitt: train", "splitt", "did you mean split?"),
    ("    gain: {min:", "    gian: {min:", "targets.traded.gian", "did you mean gain?"),
    ("netlist: ota.cir.j2", "netlist: otta.cir.j2", "netlist", "did you mean ota.cir.j2?"),
    ("start: 3 * l_min", "start: [1, 2]", "parameters.l_in.start", "a number or a formula"),
    ("  generic22:  ", "  generic23:  ", "overrides.generic23", "did you mean generic22?"),
    (
        "overrides:",
        "overrides:\n  generic180: {parametres: {}}",
        "overrides.generic180.parametres",
        "did you mean parameters?",
    ),
    (
        "overrides:",
        "overrides:\n  generic180: {parameters: {l_in: 5}}",
        "overrides.generic180.parameters.l_in",
        "must be a mapping",
    ),
    (
        "overrides:",
        "overrides:\n  generic180: {targets: {fixed: {gian: {min: 1}}}}",
        "specs.gian",
        "did you mean gain?",
    ),
]


@pytest.mark.parametrize(("old", "new", "key", "hint"), MISTAKES)
def test_a_mistake_is_told_at_its_place(own, old, new, key, hint, capsys):
    path = own(old, new)
    assert run_cli("library", "show", path) == 2
    line = next(each for each in capsys.readouterr().err.splitlines() if f"{key}: " in each)
    assert path in line
    assert hint in line
    number = int(line.split("circuit.yaml:")[1].split(":")[0])
    written = new.strip().splitlines()[-1].strip().split(":")[0]
    assert written in (ROOT / path).read_text().splitlines()[number - 1]


BAD = [
    (("new", "two_stage_miler"), "no circuit is called 'two_stage_miler' (did you mean"),
    (("new", "five_transistor_ota", "-t", "generic46"), "did you mean generic"),
    (("new", "five_transistor_ota", "-t", "no/where.yaml"), "no such technology"),
    (("new", "five_transistor_ota", "--target", "999"), "they go from 1 to"),
    (("library", "--group", "amplifer"), "no group is called 'amplifer'"),
    (("library", "--group", "filter", "list"), "stand behind the command's name"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD)
def test_bad_input_is_one_line(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_cli(*arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert words in line
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_a_technology_that_a_circuit_does_not_claim(own, capsys):
    path = own("generic22, sky130]", "generic22]")
    assert run_cli("new", path, "-t", "sky130") == 2
    assert "five_transistor_ota does not support the technology sky130" in capsys.readouterr().err


def test_a_technology_by_path_needs_what_circuits_are_written_with(tmp_path, capsys):
    bare = tmp_path / "technology.yaml"
    (tmp_path / "bare.lib").write_text(".model n nmos\n")
    bare.write_text("name: bare\nlib: bare.lib\nsupply: {nominal: 1}\n")
    assert run_cli("new", "five_transistor_ota", str(tmp_path / "made"), "-t", str(bare)) == 2
    assert "the technology bare lacks instance.prefix" in capsys.readouterr().err


@pytest.fixture
def pdk(tmp_path):
    """A copy of a technology that kept its name, with what is replaced in its technology.yaml."""

    def changed(old: str = "", new: str = "") -> str:
        folder = tmp_path / "pdk"
        shutil.copytree(ROOT / "templates" / "technologies" / "generic45", folder)
        path = folder / "technology.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))
        return str(path)

    return changed


def test_a_changed_copy_of_a_technology_is_not_the_one_of_its_name(pdk, tmp_path, capsys):
    path = pdk("supply: {nominal: 1.2, min: 1.0, max: 1.3}", "supply: {nominal: 1.0, min: 1.0}")
    made = tmp_path / "made"
    assert run_cli("new", "five_transistor_ota", str(made), "-t", path) == 0
    for design in (
        api.load_design(made / "design.yaml"),
        open_circuit("five_transistor_ota", path).design,
    ):
        assert design.technology.lib == tmp_path / "pdk" / "generic45.lib"
        assert design.conditions["vdd"] == 1.0
        assert "vdd" not in design.corners[0].conditions, "both ends are the nominal one"
    assert run_cli("library", "show", "five_transistor_ota", "-t", path, "--targets") == 2
    assert "has no targets" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("l_min: 45n", "l_min: short", "sizes.l_min: 'short' is not a number"),
        ("sizes: {", "sizes: {grid: 0, ", "sizes.grid: is 0 (above 0)"),
    ],
)
def test_a_number_of_a_technology_that_is_none_is_told_at_its_place(pdk, old, new, words, capsys):
    path = pdk(old, new)
    assert run_cli("library", "show", "five_transistor_ota", "-t", path) == 2
    line = capsys.readouterr().err
    assert words in line
    number = int(line.split(f"{path}:")[1].split(":")[0])
    assert new in Path(path).read_text().splitlines()[number - 1]


def test_templates_keep_their_folders(own, tmp_path, capsys):
    path = own("noise: noise.cir.j2", "noise: benches/noise.cir.j2")
    (tmp_path / "own" / "benches").mkdir()
    (tmp_path / "own" / "noise.cir.j2").rename(tmp_path / "own" / "benches" / "noise.cir.j2")
    assert run_cli("new", path, str(tmp_path / "made")) == 0
    assert api.load_design(tmp_path / "made" / "design.yaml").testbenches["noise"]


def test_what_a_template_includes_by_itself_is_copied(own, tmp_path, capsys):
    path = own("split: train", "split: train")
    bench = Path(path).with_name("noise.cir.j2")
    bench.write_text(bench.read_text().replace(".end\n", '.include "parts/load.inc"\n.end\n'))
    (bench.parent / "parts").mkdir()
    (bench.parent / "parts" / "load.inc").write_text('* a load\n.include "more.inc"\n')
    (bench.parent / "parts" / "more.inc").write_text("* more {{ of }} it\n")
    assert run_cli("new", path, str(tmp_path / "made")) == 0
    assert (tmp_path / "made" / "parts" / "load.inc").read_text().startswith("* a load")
    assert (tmp_path / "made" / "parts" / "more.inc").read_text() == "* more {{ of }} it\n"


@pytest.mark.simulator
def test_a_new_design_of_a_foreign_technology_simulates(tmp_path, capsys):
    folder = ROOT / "templates" / "technologies" / "generic65"
    shutil.copytree(folder, tmp_path / "pdk")
    path = tmp_path / "pdk" / "technology.yaml"
    path.write_text(path.read_text().replace("name: generic65", "name: house65"))
    made = tmp_path / "made"
    assert run_cli("new", "five_transistor_ota", str(made), "-t", str(path)) == 0
    assert "nobody has tried it there" in (made / "design.yaml").read_text()
    assert run_cli("check", str(made / "design.yaml")) == 0
    assert "psrr" in capsys.readouterr().out


@pytest.mark.simulator
def test_a_new_design_is_the_circuit_itself(tmp_path, capsys):
    made = tmp_path / "made"
    assert run_cli("new", "five_transistor_ota", str(made)) == 0
    assert str(made / "design.yaml") in capsys.readouterr().out
    copy, circuit = api.load_design(made / "design.yaml"), open_circuit("five_transistor_ota")
    assert copy.parameters == circuit.design.parameters
    assert copy.corners == circuit.design.corners
    one, two = api.evaluate(copy), api.evaluate(circuit.design)
    assert one.results["nominal"].measures == two.results["nominal"].measures
    # a second one would overwrite what is the designer's by now
    assert run_cli("new", "five_transistor_ota", str(made)) == 2
    assert "is there already" in capsys.readouterr().err


def test_search_finds_by_any_word(capsys):
    assert run_cli("library", "search", "OTA", "cascode", "--json") == 0
    names = [each["circuit"] for each in json.loads(capsys.readouterr().out)]
    assert "telescopic_ota" in names
    assert "five_transistor_ota" not in names
    assert run_cli("library", "search", "no such words") == 1


def test_every_value_is_quoted_where_yaml_would_read_it_otherwise():
    assert scalar("max(a, b)") == '"max(a, b)"'
    assert scalar("-i(vdd)") == "-i(vdd)"
    assert scalar("2 * w_in * l_in") == "2 * w_in * l_in"
    assert scalar("yes") == '"yes"'
    assert scalar("a: b") == '"a: b"'
    text = design_text({"m3eda": 1, "parameters": {"w": {"min": "1u", "max": "2u"}}}, ["Title"])
    assert text == "# Title\nm3eda: 1\n\nparameters:\n  w: {min: 1u, max: 2u}\n"


# a closed form in place of a simulator, where more gain takes more current: x0 x1 of 0.1 + x1 + x2
GOALS = goals_of({"gain": {"min": 0.01}, "current": {"max": 1.5}}, {"offset": {"max": 0.9}})


def closed_form(points):
    x0, x1, x2 = points.T
    gain = np.where(x0 < 0.05, np.nan, x0 * x1)
    return np.stack([gain, 0.1 + x1 + x2, x2], axis=1)


@pytest.fixture(scope="module")
def space():
    design = open_circuit("five_transistor_ota").design
    names = list(design.parameters)[:3]
    from dataclasses import replace

    return Space(replace(design, parameters={n: design.parameters[n] for n in names}))


def test_targets_are_feasible_hard_and_spread(space):
    search = Calibration(space, GOALS, closed_form)
    samples = search.search(2000, 1000)
    chosen = search.chosen(samples, 2000, 20)
    assert len(chosen.targets) >= 5
    raw = closed_form(chosen.witnesses)
    for row, target in zip(raw, chosen.targets, strict=True):
        assert GOALS.met(row[None], target)[0]
        slack = np.abs(row[:2] - target[:2]) / row[:2]
        assert np.all((slack >= 0.0499) & (slack <= 0.1001))
    hits = sum(GOALS.met(samples.raw, target) for target in chosen.targets)
    assert hits.max() <= 3, "15 % of 20"
    first = samples.raw[:1000]
    assert sum(GOALS.met(first, t).any() for t in chosen.targets) <= 6, "30 % of 20"
    front = search.front(samples)
    # the true front has x0 = 1 and x2 = 0
    assert np.median(front.raw[:, 0] / (front.raw[:, 1] - 0.1)) > 0.95


def test_an_interrupted_search_goes_on_as_it_would_have(space):
    whole = Calibration(space, GOALS, closed_form).search(600, 400)
    kept = []
    search = Calibration(space, GOALS, closed_form, keep=kept.append)
    search.search(600, 400)
    again = Calibration(space, GOALS, closed_form).search(600, 400, kept[3])
    assert np.array_equal(whole.points, again.points)
    assert np.array_equal(whole.raw, again.raw, equal_nan=True)


def test_front_and_spread():
    heights = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5], [0.4, 0.4], [0.5, 0.5]])
    front = non_dominated(heights)
    assert front[:2].all()
    assert front[2] != front[4], "one of two alike"
    assert not front[3]
    chosen = spread(heights, 3, np.random.default_rng(1))
    assert {0, 1} & set(chosen)
    assert len(set(chosen)) == 3


def test_a_list_of_targets_is_read_as_it_was_written(tmp_path):
    made = TargetList("c", "t", {"gain": "min", "area": "max"}, ((1.5, 2e-12), (2.0, 3e-12)),
                      ({"w": 1e-6}, {"w": 2e-6}), ({"w": 1e-6},), {"seed": 1})  # fmt: skip
    path = tmp_path / "t.json"
    path.write_text(targets_text(made))
    assert read_targets(path) == made
    assert made.limits(1) == {"gain": {"min": 2.0}, "area": {"max": 3e-12}}
    assert made.met({"gain": 1.5, "area": 2e-12}, 0)
    assert not made.met({"gain": 1.5, "area": float("nan")}, 0)
    path.write_text(path.read_text()[:-30])
    with pytest.raises(DesignError, match="is no list of targets"):
        read_targets(path)


def test_a_circuit_sizes_from_python():
    project = open_circuit("five_transistor_ota", agent="random", budget=1)
    assert isinstance(project, Project)
    assert project.design.agent.budget == 1
    assert set(catalogue().names()) >= {"five_transistor_ota"}


def test_a_damaged_circuit_is_left_out_of_the_list(own):
    path = own("group: amplifier", "group: amplifer")
    damaged = Catalogue({"own": ROOT / path, "ota": OTA / "circuit.yaml"})
    with pytest.warns(PluginWarning, match=r"own is left out: .*circuit\.yaml:4"):
        assert [circuit.name for circuit in damaged.circuits()] == ["five_transistor_ota"]
