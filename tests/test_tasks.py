"""Tasks: the same in every process, and nothing of the test met in training."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from m3eda.circuits.catalogue import Catalogue
from m3eda.circuits.opening import catalogue
from m3eda.circuits.targets import TargetList, targets_text
from m3eda.errors import DesignError
from m3eda.learning import TaskGenerator
from m3eda.learning.splits import SPLITS, TECHNOLOGIES, circuits_of, split_of, technologies_of

WHERE = {
    "alpha": ("train", ["generic180", "generic45", "generic22"]),
    "beta": ("train", ["generic180"]),
    "gamma": ("validation", ["generic90", "generic180"]),
    "delta": ("test", ["generic22"]),
}
"""Circuit -> its split, and the technologies it has targets in."""
ORDER = {"gain": "min", "ugbw": "min", "ivdd": "max"}


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> Catalogue:
    """Copies of a circuit of the library, each of its own split, with ten targets."""
    folder = tmp_path_factory.mktemp("circuits")
    source = catalogue().circuit("five_transistor_ota").folder
    for name, (split, technologies) in WHERE.items():
        shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("targets"))
        path = folder / name / "circuit.yaml"
        text = path.read_text().replace("split: train", f"split: {split}")
        path.write_text(text.replace("circuit: five_transistor_ota", f"circuit: {name}"))
        (folder / name / "targets").mkdir()
        for technology in technologies:
            targets = tuple((20.0 + k, 1e6 * (k + 1), 1e-4 / (k + 1)) for k in range(10))
            witnesses = tuple({"w_in": 1e-6 * (k + 1)} for k in range(10))
            listed = TargetList(name, technology, ORDER, targets, witnesses)
            file = folder / name / "targets" / f"{technology}.json"
            file.write_text(targets_text(listed))
    return Catalogue({name: folder / name / "circuit.yaml" for name in WHERE})


def names(generator) -> set[tuple[str, str]]:
    return {(setting.circuit, setting.technology) for setting in generator.settings}


def test_splits_keep_circuits_and_technologies_apart(known):
    found = {split: names(TaskGenerator(split, catalogue=known)) for split in SPLITS}
    assert found == {
        "train": {("alpha", "generic180"), ("alpha", "generic45"), ("beta", "generic180")},
        "validation": {("gamma", "generic90")},
        "test": {("delta", "generic22")},
    }
    new_node = TaskGenerator("train", technologies="test", catalogue=known)
    assert names(new_node) == {("alpha", "generic22")}
    new_circuit = TaskGenerator("validation", technologies="train", catalogue=known)
    assert names(new_circuit) == {("gamma", "generic180")}


def test_one_name_needs_no_list(known):
    one = TaskGenerator(circuits="alpha", technologies="generic45", catalogue=known)
    assert names(one) == {("alpha", "generic45")}
    with pytest.raises(DesignError, match=r"no circuit is called 'alpa' .did you mean alpha"):
        TaskGenerator(circuits="alpa", catalogue=known)
    with pytest.raises(DesignError, match="alpha does not support the technology generic46"):
        TaskGenerator(circuits="alpha", technologies="generic46", catalogue=known)


def test_every_technology_and_circuit_of_the_library_has_a_split():
    shipped = catalogue()
    folder = Path(shipped.circuit("five_transistor_ota").path).parents[1] / "technologies"
    assert {path.name for path in folder.iterdir() if path.is_dir()} == set(TECHNOLOGIES)
    assert sorted(name for split in SPLITS for name in technologies_of(split)) == sorted(
        TECHNOLOGIES
    )
    circuits = [circuit.name for split in SPLITS for circuit in circuits_of(split, shipped)]
    assert sorted(circuits) == shipped.names()
    assert split_of("our_own_kit") == "train"


@pytest.mark.parametrize(
    ("circuits", "technologies"),
    [
        *((split, split) for split in SPLITS),
        *(("train", split) for split in ("validation", "test")),
        *((split, "train") for split in ("validation", "test")),
    ],
)
def test_every_split_draws_from_the_shipped_library(circuits, technologies):
    shipped = catalogue()
    for part in ("all", "train", "held out"):
        generator = TaskGenerator(circuits, technologies=technologies, targets=part)
        assert {shipped.circuit(each).file.split for each in generator.circuits} == {circuits}
        assert {split_of(setting.technology) for setting in generator.settings} == {technologies}
        assert len(generator.circuits) > 1
    task = generator.task(0)
    assert task.specs.keys() == shipped.circuit(task.circuit).sides.keys()
    assert task.witness is not None


def test_a_task_depends_on_seed_and_number_alone(known):
    def told(numbers, seed=4):
        generator = TaskGenerator("train", seed, catalogue=known, corners=True)
        tasks = [generator.task(number) for number in numbers]
        return {
            t.number: (t.circuit, t.technology, t.corner, t.target, tuple(t.specs.items()))
            for t in tasks
        }

    forwards = told(range(60))
    assert told(reversed(range(60))) == forwards
    assert told([37]) == {37: forwards[37]}
    assert told(range(60), seed=5) != forwards
    assert len({(task[0], task[1]) for task in forwards.values()}) == 3
    corners = {task[2].name for task in forwards.values()}
    assert len(corners) > 10
    assert any("ss" in name and "temp-40" in name for name in corners)


def test_a_task_is_a_target_with_its_witness(known):
    task = TaskGenerator("test", catalogue=known).task(0)
    assert (task.circuit, task.technology, task.corner.name) == ("delta", "generic22", "nominal")
    gain, ugbw, ivdd = (task.specs[name].limits for name in ORDER)
    k = task.target
    assert (gain.minimum, ugbw.minimum, ivdd.maximum) == (20.0 + k, 1e6 * (k + 1), 1e-4 / (k + 1))
    assert task.witness == {"w_in": 1e-6 * (k + 1)}
    assert task.setting.normalisers["gain"] == 24.5
    assert "vdd" in task.setting.project.design.conditions


def test_held_out_targets_are_never_trained_on(known):
    def gains(part):
        generator = TaskGenerator("test", catalogue=known, targets=part)
        [setting] = generator.settings
        assert setting.normalisers["gain"] == 24.5, "of the whole list"
        return {target["gain"].limits.minimum for target in setting.targets}

    assert gains("train") & gains("held out") == set()
    assert gains("train") | gains("held out") == gains("all")
    assert gains("held out") == {24.0, 29.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "tests"}, "no split is called 'tests'"),
        ({"targets": "heldout"}, "called 'heldout' (did you mean held out?)"),
        ({"settings": []}, "there is nothing to draw a task from"),
        ({"circuits": ["alpa"]}, "no circuit is called 'alpa' "),
        ({"circuits": ["alpha"], "technologies": ["generic65"]},
         "there are no targets for alpha in generic65 (there are for alpha in generic180, "),
        ({"circuits": ["alpha"], "technologies": ["generic3"]},
         "alpha does not support the technology generic3"),
        ({"circuits": ["delta"]}, "there are no targets for delta in the technologies of train "
                                  "(there are for delta in generic22)"),
    ],
)  # fmt: skip
def test_what_there_is_not_is_told_with_what_there_is(known, options, message):
    with pytest.raises(DesignError) as error:
        TaskGenerator(catalogue=known, **options)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1
