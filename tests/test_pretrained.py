"""The networks that come with m3eda: what they know, and what they learn from trials."""

from __future__ import annotations

import contextlib
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from m3eda import library
from m3eda.agents.auto import Auto
from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.circuits.targets import targets_of
from m3eda.design.scoring import margin
from m3eda.design.space import Space
from m3eda.design.types import NOMINAL, Corner, Limits, Objective, Parameter, Spec
from m3eda.errors import StorageError
from m3eda.flow import Execution, Project
from m3eda.learning.splits import circuits_of, split_of
from m3eda.policy.agent import M3, apart
from m3eda.policy.conditions import DeviceTable, conditions_at, device_rows, drawn
from m3eda.policy.known import files_of, knowledge_of
from m3eda.policy.library_points import ROWS, LibraryPoints
from m3eda.policy.pretrained import (
    FOLDER,
    Encoder,
    Placed,
    components,
    read_pretrained,
    write_pretrained,
)
from m3eda.policy.shipped import INDEX, match, placed, write_index
from m3eda.simulate.trial import CornerResult, score
from tests.helpers import changed, hide_module, m3eda, only_line

OTA = "five_transistor_ota"


def design_of(circuit: str, technology: str = "", number: int | None = None):
    found = catalogue().circuit(circuit)
    technology = technology or found.technologies[0]
    listed = targets_of(found, technology)
    limits = listed.limits(number) if listed is not None and number is not None else None
    return open_circuit(found, technology, limits).design


@pytest.fixture(scope="module")
def ota():
    return read_pretrained(FOLDER / f"{OTA}.npz")


@pytest.fixture
def copied(tmp_path) -> Path:
    done = m3eda("new", OTA, "own", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path / "own" / "design.yaml"


def test_every_circuit_to_train_on_and_no_other_comes_with_networks():
    train = {circuit.name for circuit in circuits_of("train", catalogue())}
    found = {path.stem: read_pretrained(path) for path in FOLDER.glob("*.npz")}
    assert set(found) == train
    for name, pretrained in found.items():
        assert pretrained.circuit == name
        assert all(split_of(each) == "train" for each in pretrained.facts["technologies"])
        assert np.isfinite(pretrained.errors).all()
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 6_000_000


def test_the_index_says_what_the_files_hold():
    kept = json.loads((FOLDER / INDEX).read_text())
    assert kept == write_index(FOLDER)


def test_library_circuits_are_known_where_they_were_trained_on():
    assert match(design_of(OTA)).same
    assert match(design_of("folded_cascode_ota")) is None
    same = match(design_of("m3_2soa"))
    assert same.circuit == "m3_2soa"


def test_a_copy_is_known_and_one_that_is_changed_is_similar(copied):
    design = Project.load(copied).design
    assert match(design).same
    assert "in a technology its networks know" in knowledge_of(design).words
    for name in ("open_loop", "rejection", "noise"):
        changed(copied.parent, "* ", "* changed: ", f"{name}.cir.j2")
    design = Project.load(copied).design
    found = match(design)
    assert not found.same
    assert knowledge_of(design).words.startswith("similar to")
    loose, sure = placed(found, design)[0], placed(replace(found, same=True), design)[0]
    assert (loose._spread > sure._spread).all()


def test_other_parameters_are_another_circuit(copied):
    design = Project.load(copied).design
    assert match(design) is not None
    known = dict(design.parameters)
    renamed = replace(known.pop("w_in"), name="w_pair")
    assert match(replace(design, parameters={**known, "w_pair": renamed})) is None


def freed(design, name: str, value: float):
    """The design with a parameter free from `value` to ten times that."""
    own = Parameter(name, minimum=value, maximum=10.0 * value, scale="log")
    return replace(design, parameters={**design.parameters, name: own})


@pytest.mark.usefixtures("networks_alone")
def test_parameters_of_ones_own_beside_those_known_are_learnt_from_the_trials():
    design = design_of("m3_2soa", number=24)
    value = design.parameters["l"].value
    found = match(freed(design, "l", value))
    assert not found.same
    assert "l" not in found.parameters
    assert knowledge_of(freed(design, "l", value)).words.endswith("; l learnt from the trials")
    many = design
    for number in range(len(design.free) + 1):
        many = freed(many, f"own_{number}", 1.0)
    assert match(many) is None


@pytest.mark.usefixtures("networks_alone")
def test_what_networks_do_not_read_begins_where_they_learnt():
    design = design_of("m3_2soa", number=24)
    value = design.parameters["l"].value
    for start in (value, 0.5 * value):
        sizing = M3(freed(design, "l", start), 1, {}).ask(1)[0]
        assert sizing["l"] == pytest.approx(value, rel=0.5)


@pytest.mark.parametrize("choices", [("short", "long"), (1e-6, 2e-6)])
def test_a_choice_that_networks_do_not_read_may_have_other_values_than_theirs(choices):
    design = design_of("m3_2soa", number=24)
    own = {**design.parameters, "l": Parameter("l", choices=choices)}
    assert M3(replace(design, parameters=own), 1, {}).ask(1)[0]["l"] in choices


@pytest.mark.simulator
def test_a_known_circuit_without_specs_is_sized_for_an_objective():
    design = design_of(OTA, number=24)
    design = replace(design, specs={}, objective=Objective(minimize=("ivdd",)))
    result = library.size(design, agent="m3", budget=4, execution=Execution(cache=False))
    assert len(result.trials) == 4
    assert M3(design, 1, {}).ask(1)


@pytest.mark.simulator
def test_a_freed_length_takes_fewer_than_a_search():
    design = design_of("m3_2soa", number=24)
    design = freed(design, "l", design.parameters["l"].value)
    found = {agent: library.size(design, agent=agent, budget=100, execution=Execution(cache=False))
             for agent in ("m3", "search")}  # fmt: skip
    assert found["m3"].met
    assert len(found["m3"].trials) < len(found["search"].trials)


def own_measures(design, *names: str):
    """The design with these measures under names that no networks know."""
    measures, specs = dict(design.measures), {}
    for name, spec in design.specs.items():
        own = f"own_{name}" if name in names else name
        measures[own] = replace(measures[name], name=own)
        specs[own] = replace(spec, measure=own)
    return replace(design, measures=measures, specs=specs)


@pytest.mark.usefixtures("networks_alone")
def test_measures_of_ones_own_beside_those_known_are_learnt_from_the_trials():
    design = design_of(OTA, number=24)
    names = list(design.specs)
    half = len(names) // 2
    found = own_measures(design, *names[:half])
    assert match(found).measures == tuple(names[half:])
    assert match(found).same
    words = knowledge_of(found).words
    assert words.endswith(
        f"{', '.join(f'own_{name}' for name in names[:half])} learnt from the trials"
    )
    most = own_measures(design, *names[: half + 1])
    assert len(match(most).measures) > len(names) - half - 1, "their formulas tell what they are"
    told = {name: replace(measure, expression="op(v(out))", unit="")
            for name, measure in most.measures.items() if name.startswith("own_")}  # fmt: skip
    assert match(replace(most, measures={**most.measures, **told})) is None


def test_a_testbench_of_its_own_measures_does_not_make_it_another_circuit(copied):
    (copied.parent / "own.cir.j2").write_text((copied.parent / "noise.cir.j2").read_text() + "\n")
    changed(copied.parent, "testbenches:\n", "testbenches:\n  own: own.cir.j2\n")
    changed(copied.parent, "measures:\n",
            "measures:\n  hum: {testbench: own, expr: op(v(out)), unit: V}\n")  # fmt: skip
    changed(copied.parent, "specs:\n", "specs:\n  hum: {min: 0.1}\n")
    found = match(Project.load(copied).design)
    assert found.same
    assert "hum" not in found.measures


@pytest.mark.simulator
def test_a_known_circuit_with_measures_of_its_own_takes_fewer_than_a_search():
    design = design_of("m3_2soa", number=24)
    design = own_measures(design, "pm", "swing")
    found = {agent: library.size(design, agent=agent, budget=100, execution=Execution(cache=False))
             for agent in ("m3", "search")}  # fmt: skip
    assert found["m3"].met
    assert len(found["m3"].trials) < len(found["search"].trials)


def test_measures_that_are_not_what_networks_know_are_learnt_from_the_trials():
    design = design_of(OTA, number=24)
    agent, space = M3(design, 1, {}), Space(design)
    points = np.random.default_rng(0).random((8, space.dimension))
    networks = knowledge_of(design).networks
    said = networks.answer(points, list(design.specs)).mean
    values = {name: networks.scales[networks.measures.index(name)].backward(column)
              for name, column in zip(design.specs, said.T, strict=True)}  # fmt: skip

    def trials(wrong):
        return [score(number, space.sizing(point), {NOMINAL: CornerResult(
                    {name: 1e3 if name in wrong else float(column[number])
                     for name, column in values.items()})}, design.specs)
                for number, point in enumerate(points)]  # fmt: skip

    agent.tell(trials({"gain"})[:2])
    assert "gain" not in agent.describe()
    agent.tell(trials({"gain"})[2:])
    assert agent.describe().endswith("; gain not as they know it")
    assert agent.relying
    assert "gain" not in agent.foretell(agent.ask(1)[0])
    # nor does the doubt stay that another measure was in
    hopeless = replace(design, specs={**design.specs, "gain": Spec("gain", Limits(minimum=900.0))})
    agent = M3(hopeless, 1, {})
    assert len(agent.ask(5)) == 5
    assert "most of all gain" in agent.doubt()
    agent.tell(trials({"gain"}))
    assert "gain" not in agent.doubt()
    agent = M3(design, 1, {})
    agent.tell(trials(set(design.specs)))
    assert not agent.relying
    assert agent.ask(1)


@pytest.mark.usefixtures("networks_alone")
def test_measures_of_the_same_name_in_another_unit_are_others(copied):
    changed(copied.parent, "expr: unity_gain_frequency(v(out)), unit: Hz",
            "expr: 6.2832 * unity_gain_frequency(v(out)), unit: rad/s")  # fmt: skip
    design = Project.load(copied).design
    found = match(design)
    assert "ugbw" not in found.measures
    assert "ugbw" in design.specs
    agent = M3(design, 1, {})
    said = agent.foretell(agent.ask(1)[0])
    assert said
    assert "ugbw" not in said


def test_a_ratio_is_read_for_decibels(copied):
    design = Project.load(copied).design
    sizing = M3(design, 1, {}).ask(1)[0]
    decibels = M3(design, 1, {}).foretell(sizing)["gain"]
    changed(
        copied.parent, "expr: db(dc_gain(v(out))), unit: dB", "expr: dc_gain(v(out)), unit: V/V"
    )
    changed(copied.parent, "expr: gain - common, unit: dB", "expr: db(gain) - common, unit: dB")
    ratio = Project.load(copied).design
    gain = ratio.specs["gain"].limits.minimum
    ratio = ratio.with_spec(Spec("gain", Limits(10.0 ** (gain / 20.0))))
    assert "gain" in match(ratio).measures
    assert not match(ratio).same
    said = M3(ratio, 1, {}).foretell(sizing)["gain"]
    assert [20.0 * math.log10(each) for each in said] == pytest.approx(decibels, rel=0.02)
    known = {each: about["log"] for entry in json.loads((FOLDER / INDEX).read_text()).values()
             for each, about in entry["measures"].items() if about["unit"] == "V/V"}  # fmt: skip
    assert all(known.values())
    scale = read_pretrained(FOLDER / "m3_2soa.npz").scales[0]
    assert scale.read_in("V/V", "dB").forward(np.array([46.0])) == pytest.approx(
        scale.forward(np.array([10.0**2.3]))
    )
    assert scale.read_in("V/V", "Hz") is None


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("expr: -i(vdd), unit: A", "expr: -2 * i(vdd), unit: A", "similar to"),
        ("iref: 30u", "iref: 60u", "similar to"),
        ("l: {value: 90n", "l: {value: 180n", "similar to"),
        ("cload: 10p", "cload: 3p", "known circuit"),
        ("vcm: 0.6", "vcm: 0.65", "known circuit"),
    ],
)
def test_what_was_changed_in_a_copy_is_seen(tmp_path, before, after, words):
    assert m3eda("new", "m3_2soa", "own", cwd=tmp_path).returncode == 0
    changed(tmp_path / "own", before, after)
    design = Project.load(tmp_path / "own" / "design.yaml").design
    assert knowledge_of(design).words.startswith(words)


def test_a_frozen_parameter_is_known_at_its_value():
    design = design_of(OTA, number=4)
    axes = Space(design).axes
    value = axes[0].value(0.7)
    pinned = design.pinned(axes[0].name, value)
    whole, part = placed(match(design), design)[0], placed(match(pinned), pinned)[0]
    assert [axis.name for axis in part.axes] == [axis.name for axis in axes[1:]]
    x = np.random.default_rng(1).random((5, len(axes)))
    x[:, 0] = axes[0].unit(value)
    assert (part.answer(x[:, 1:], part.measures).mean == whole.answer(x, part.measures).mean).all()
    agent = M3(pinned, 1, {})
    assert agent.relying
    assert axes[0].name not in agent.ask(1)[0]


def test_conditions_of_a_technology_trained_on_are_known_and_of_another_one_less_so(ota):
    home, new = (placed(match(d), d)[0] for d in (design_of(OTA), design_of(OTA, "generic22")))
    assert (home._spread <= 0.11 * ota.encoder.spread).all()
    assert (new._spread >= 0.49 * ota.encoder.spread).all()
    assert (np.abs(new._centre) <= 2.5 * ota.encoder.spread + 1e-9).all()
    assert not np.allclose(home.code, new.code)


def test_a_technology_of_ones_own_begins_with_nothing_known(copied, ota):
    folder = copied.parent
    source = catalogue().circuit(OTA).folder.parent / "technologies" / "generic65"
    (folder / "house").mkdir()
    for path in source.iterdir():
        (folder / "house" / path.name).write_bytes(path.read_bytes())
    changed(folder / "house", "name: generic65", "name: house", "technology.yaml")
    changed(folder, "technology: generic180", "technology: house/technology.yaml")
    design = Project.load(copied).design
    found = placed(match(design), design)[0]
    assert np.allclose(found._centre, 0.0)
    assert "new to its networks" in knowledge_of(design).words


def test_conditions_are_found_from_trials(ota):
    axes = Space(design_of(OTA)).axes
    rng = np.random.default_rng(1)
    spread = 1.5 * ota.encoder.spread
    there = Placed(
        ota, axes, ota.encoder.spread * rng.uniform(-1, 1, ota.encoder.size), spread / 99
    )
    x, far = rng.random((6, len(axes))), rng.random((200, len(axes)))
    wanted = there.answer(far, ota.measures).mean
    found = Placed(ota, axes, np.zeros(ota.encoder.size), spread)
    before = np.abs(found.answer(far, ota.measures).mean - wanted)
    found.learn(x, there.answer(x, ota.measures).mean, ota.measures)
    after = np.abs(found.answer(far, ota.measures).mean - wanted)
    assert np.median(after) < 0.2 * np.median(before)
    found.learn(np.empty((0, len(axes))), np.empty((0, len(ota.measures))), ota.measures)
    assert np.allclose(np.abs(found.answer(far, ota.measures).mean - wanted), before)


def test_trials_without_a_value_teach_nothing(ota):
    axes = Space(design_of(OTA)).axes
    found = Placed(ota, axes, np.zeros(ota.encoder.size), ota.encoder.spread)
    x = np.full((2, len(axes)), 0.5)
    before = found.answer(x, ota.measures).mean
    found.learn(x, np.full((2, len(ota.measures)), np.nan), ota.measures)
    assert np.allclose(found.answer(x, ota.measures).mean, before, atol=1e-3)


@pytest.mark.simulator
@pytest.mark.parametrize("number", [4, 24, 44])
def test_a_known_circuit_is_sized_at_once_for_specs_it_was_not_trained_on(number):
    result = library.size(design_of(OTA, number=number), budget=5,
                          execution=Execution(cache=False))  # fmt: skip
    assert result.met
    assert len(result.trials) <= 3


@pytest.mark.simulator
def test_a_technology_kept_out_takes_a_few(tmp_path):
    done = m3eda("new", OTA, "own", "--technology", "generic22", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = m3eda("size", "own/design.yaml", "--budget", "30", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in a technology new to its networks" in done.stdout


@pytest.mark.simulator
def test_no_torch_is_needed(tmp_path, copied):
    hide_module(tmp_path, "torch")
    done = m3eda("size", copied, "-q", "--budget", "5", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_policy_none_searches_from_scratch():
    design = design_of(OTA)
    agent = M3(design, 1, {"policy": "none"})
    assert agent.ask(3) == Auto(design, 1, {}).ask(3)
    assert "new circuit" in agent.describe()
    assert knowledge_of(design, "none") is None
    assert files_of(design, "none") == []
    assert files_of(design) == [FOLDER / f"{OTA}.npz"]


def test_a_batch_lies_apart():
    points = np.array([[0.5, 0.5], [0.5, 0.51], [0.9, 0.5], [0.0, 0.0]])
    found = apart(points, np.array([0.0, -0.1, -1.0, -9.0]), 2)
    assert found.tolist() == [[0.5, 0.5], [0.9, 0.5]]
    assert len(apart(points, np.array([0.0, -0.1, -1.0, -9.0]), 4)) == 4
    sizings = M3(design_of(OTA, number=24), 1, {}).ask(4)
    assert len(sizings) == 4
    space = Space(design_of(OTA))
    rows = np.array([space.unit(sizing) for sizing in sizings])
    gaps = np.linalg.norm(rows[:, None] - rows[None], axis=2)[np.triu_indices(4, 1)]
    assert gaps.min() > 0.02


@pytest.mark.simulator
def test_what_was_foretold_is_told(tmp_path, copied):
    done = m3eda("size", copied, "--explain", "--budget", "5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    line = r"trial 0 gain: foretold (\S+) dB \((\S+) dB to (\S+) dB\), simulated (\S+) dB"
    found = re.findall(line, done.stderr)
    middle, low, high, value = (float(number) for number in found[0])
    assert low < middle < high
    assert abs(value - middle) < 10.0 * (high - low)
    done = m3eda("size", copied, "--agent", "random", "--fresh", "--explain", "--budget", "1",
                 cwd=tmp_path)  # fmt: skip
    assert "trial 0: nothing was foretold" in done.stderr


@pytest.mark.simulator
def test_specs_that_exclude_each_other_are_doubted(tmp_path, copied):
    text = copied.read_text()
    gain = re.search(r"gain: \{min: [^}]*\}", text)[0]
    copied.write_text(text.replace(gain, "gain: {min: 75}"))
    done = m3eda("size", copied, "--budget", "12", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert "most of all gain" in done.stdout
    agent = M3(design_of(OTA, number=24), 1, {})
    agent.ask(1)
    assert agent.doubt() == ""


def test_a_retargeted_agent_asks_as_a_fresh_one():
    first, other = design_of(OTA, number=4), design_of(OTA, number=24)
    agent = M3(first, 1, {})
    agent.ask(1)
    agent.retarget(other, [])
    assert agent.ask(1) == M3(other, 1, {}).ask(1)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[: len(data) // 2], "is damaged"),
        (lambda data: b"", "is damaged"),
        (lambda data: data[:-400] + bytes(400), "is damaged"),
    ],
)
def test_damaged_networks_are_refused(tmp_path, damage, words):
    path = tmp_path / "x.npz"
    path.write_bytes(damage((FOLDER / f"{OTA}.npz").read_bytes()))
    with pytest.raises(StorageError, match=words):
        read_pretrained(path)


def test_networks_with_weights_that_are_no_numbers_are_refused(tmp_path, ota):
    weights = {name: array.copy() for name, array in ota.weights.items()}
    weights["last.bias"][0, 0, 0] = math.nan
    write_pretrained(tmp_path / "x.npz", replace(ota, weights=weights))
    with pytest.raises(StorageError, match="no numbers"):
        read_pretrained(tmp_path / "x.npz")


def test_what_is_written_is_read(tmp_path, ota):
    write_pretrained(tmp_path / "x.npz", ota)
    found = read_pretrained(tmp_path / "x.npz")
    axes = Space(design_of(OTA)).axes
    x = np.random.default_rng(2).random((5, len(axes)))
    codes = np.zeros(ota.encoder.size), np.full(ota.encoder.size, 0.1)
    both = [Placed(each, axes, *codes).answer(x, ota.measures).mean for each in (ota, found)]
    assert (both[0] == both[1]).all()
    assert found.facts == ota.facts


def test_a_damaged_index_is_told(tmp_path):
    (tmp_path / INDEX).write_text("{")
    with pytest.raises(StorageError, match=r"index\.json: is damaged"):
        match(design_of(OTA), tmp_path)
    assert match(design_of(OTA), tmp_path / "nothing") is None


@pytest.mark.simulator
def test_transistors_of_a_finer_technology_have_less_capacitance():
    rows = {}
    for technology in ("generic180", "generic22"):
        with contextlib.closing(DeviceTable(technology)) as table:
            rows[technology] = table.at(table.design.nominal)
            hot = Corner("hot", "", {"temp": 125.0})
            assert not np.allclose(table.at(hot), rows[technology])
            names = table.names
    gate = names.index("c_n1")
    assert np.isfinite(rows["generic22"]).all()
    assert rows["generic22"][gate] < rows["generic180"][gate] - 1.0


@pytest.mark.simulator
def test_components_tell_corners_apart():
    rows = device_rows(["generic180", "generic45"], 4, 1)
    assert rows.shape == (8, 27)
    middle, matrix = components(rows)
    codes = (rows - middle) @ matrix
    assert np.allclose(codes.mean(axis=0), 0.0, atol=1e-9)
    assert codes[:, 0].std() == pytest.approx(1.0)


def test_conditions_are_read_relative_to_home():
    encoder = Encoder(np.zeros(2), np.eye(2), np.ones(5),
                      {"vdd": 1.8, "temp": 27.0, "vcm": 0.9, "cload": 1e-12})  # fmt: skip
    given = {"vdd": 0.9, "temp": 77.0, "vcm": 0.45, "cload": 1e-12 * math.exp(0.65)}
    assert encoder.code(np.array([3.0, 4.0]), given) == pytest.approx([3, 4, 1, 0, 1])
    assert encoder.size == 5


def test_corners_are_drawn_within_reach():
    design = design_of(OTA)
    rng = np.random.default_rng(1)
    corners = [drawn(design, rng) for _ in range(200)]
    assert 40 < sum(corner.name == "nominal" for corner in corners) < 120
    for corner in corners:
        found = conditions_at(design, corner)
        assert 0.49 * 1.8 < found["vdd"] < 1.1 * 1.8
        assert -40.0 <= found["temp"] <= 125.0
        assert corner.process in design.technology.sections


@pytest.mark.simulator
def test_points_are_the_same_however_often_they_are_interrupted(tmp_path):
    circuit = catalogue().circuit("passive_filter")

    class Stop(Exception):
        pass

    def once(number):
        raise Stop

    whole = LibraryPoints(circuit, tmp_path / "whole")
    assert whole.simulate(2, Execution(cache=False)) == 2
    with pytest.raises(Stop):
        LibraryPoints(circuit, tmp_path / "parts").simulate(2, Execution(cache=False), once)
    assert len(list((tmp_path / "parts").glob("*.npz"))) == 1
    parts = LibraryPoints(circuit, tmp_path / "parts")
    assert parts.simulate(2, Execution(cache=False)) == 1
    assert parts.simulate(2, Execution(cache=False)) == 0
    for one, other in zip(whole.blocks(), parts.blocks(), strict=True):
        assert one.place == other.place
        assert len(one.x) == ROWS
        assert (one.x == other.x).all()
        assert np.array_equal(one.values, other.values, equal_nan=True)
        assert split_of(one.place.technology) == "train"


@pytest.mark.parametrize(("missing", "alone"), [(0, True), (1, False)])
def test_errors_are_told_by_good_points_where_there_are_enough(missing, alone):
    pytest.importorskip("torch")
    from m3eda.policy.pretraining import LEAST_GOOD, Rows, _judged

    count = LEAST_GOOD - missing

    def rows(good, bad, held):
        size, mask = good + bad, np.arange(good + bad) < good
        return Rows(np.empty((size, 1)), np.empty((size, 1)), np.full(size, held), mask)

    judged = _judged([rows(100, 100, held=False), rows(count, 7, held=True)])
    assert not judged[:200].any()
    assert judged[200 : 200 + count].all()
    assert judged[200 + count :].all() != alone


@pytest.mark.simulator
def test_a_good_point_meets_the_least_that_is_asked_of_the_circuit(tmp_path):
    pytest.importorskip("torch")
    from m3eda.policy.pretraining import Pretraining

    circuit = catalogue().circuit("passive_filter")
    points = LibraryPoints(circuit, tmp_path)
    points.simulate(4, Execution(cache=False))
    found = Pretraining(circuit, points, np.eye(27))
    values = np.concatenate([block.values for block in points.blocks()])
    values = values[:, [points.measures.index(name) for name in found.measures]]
    good = found._good(points.design, values)
    assert 0 < good.sum() < len(good)
    wanted = points.design.specs.items()
    for row, is_good in zip(values, good, strict=True):
        measured = dict(zip(found.measures, row, strict=True))
        assert is_good == all(margin(measured[name], spec.limits) >= 0.0 for name, spec in wanted)


def test_a_damaged_file_ends_a_run_with_one_line(tmp_path, copied):
    own = tmp_path / "broken.npz"
    own.write_bytes(b"no networks")
    changed(copied.parent, "simulator: ngspice",
            f"simulator: ngspice\nagent: {{name: m3, options: {{policy: {own}}}}}")  # fmt: skip
    done = m3eda("size", copied, cwd=tmp_path)
    assert done.returncode == 4
    assert "broken.npz" in only_line(done)
