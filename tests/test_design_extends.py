"""Design files that share parts."""

from __future__ import annotations

import pytest

from tests.design_samples import DESIGN, TEMPLATE, load, mistakes, write


def test_later_files_win_key_by_key(tmp_path):
    path = write(
        tmp_path,
        "extends: [base.yaml, more.yaml]\nspecs: {gain: {min: 500}}\n",
        base__yaml=DESIGN,
        more__yaml="specs: {gain: {min: 400, weight: 3}}\nagent: {seed: 5}\n",
    )
    design = load(path)
    assert design.specs["gain"].limits.minimum == 500.0
    assert design.specs["gain"].weight == 3.0
    assert design.specs["pm"].limits.minimum == 60.0
    assert design.agent.seed == 5
    assert [source.name for source in design.sources] == ["design.yaml", "more.yaml", "base.yaml"]


def test_a_null_takes_away(tmp_path):
    path = write(tmp_path, "extends: base.yaml\nspecs: {pm: null}\n", base__yaml=DESIGN)
    assert list(load(path).specs) == ["gain"]


@pytest.mark.parametrize("form", ["{value: 2k}", "{choices: [1k, 2k]}", "{expr: 2 * c}"])
def test_a_parameter_takes_another_form_whole(tmp_path, form):
    path = write(tmp_path, f"extends: base.yaml\nparameters: {{r: {form}}}\n", base__yaml=DESIGN)
    assert load(path).parameters["r"].minimum is None


def test_a_range_is_narrowed_in_one_place(tmp_path):
    path = write(tmp_path, "extends: base.yaml\nparameters: {r: {max: 5k}}\n", base__yaml=DESIGN)
    parameter = load(path).parameters["r"]
    assert (parameter.minimum, parameter.maximum) == (1e3, 5e3)


def test_files_are_looked_for_beside_the_file_that_names_them(tmp_path):
    (tmp_path / "shared").mkdir()
    write(tmp_path / "shared")
    path = tmp_path / "mine.yaml"
    path.write_text("extends: shared/design.yaml\n")
    assert load(path).testbenches["ac"].template.parent == (tmp_path / "shared").resolve()


def test_mistakes_are_told_in_the_file_where_they_stand(tmp_path):
    base = DESIGN.replace("max: 100k", "max: 1M")
    path = write(tmp_path, "extends: base.yaml\nspecs: {gian: {min: 1}}\n", base__yaml=base)
    assert mistakes(path) == [
        "design.yaml:2:9: specs.gian: no measure is called 'gian' (did you mean gain?)",
        "base.yaml:6:21: parameters.r.max: '1M' is ambiguous: SPICE reads M as milli (meg or m?)",
    ]


def test_a_circle_of_files(tmp_path):
    path = write(tmp_path, "extends: other.yaml\n", other__yaml="extends: design.yaml\n")
    assert mistakes(path) == ["other.yaml:1:10: extends: extends itself through design.yaml"]


def test_a_file_that_is_not_there(tmp_path):
    path = write(tmp_path, "extends: [base.yaml,\n  gone.yaml]\n", base__yaml=DESIGN)
    assert mistakes(path) == [
        f"design.yaml:2:3: extends: 'gone.yaml' is not there (looked in {tmp_path})"
    ]


def test_extends_wants_names(tmp_path):
    path = write(tmp_path, "extends: {a: b}\n", TEMPLATE)
    assert mistakes(path) == [
        "design.yaml:1:10: extends: must be a file name or a list of them"
    ]  # fmt: skip
