"""Device models named by a design file."""

from __future__ import annotations

import sys

import pytest

from m3eda.design.technology import read_technology
from m3eda.design.types import Technology
from m3eda.errors import DesignError
from m3eda.simulate.render import TechnologyView
from tests.design_samples import DESIGN, load, mistakes, write

LIB = ".lib tt\n.model nch nmos\n.endl tt\n.lib ss\n.model nch nmos\n.endl\n"
YAML = """\
name: demo
lib: models.lib
sections: {tt: tt, ss: ss}
supply: {nominal: 1.2}
level: 54
l_min: 45n
label: '54'
binned: false
"""


@pytest.fixture
def technologies(tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "models.lib").write_text(LIB)
    (folder / "technology.yaml").write_text(YAML)
    return {"demo": folder / "technology.yaml"}


def test_a_registered_technology(tmp_path, technologies):
    design = load(write(tmp_path, DESIGN + "technology: demo\n"), technologies)
    technology = design.technology
    assert technology.name == "demo"
    assert technology.lib == tmp_path / "demo" / "models.lib"
    assert dict(technology.sections) == {"tt": "tt", "ss": "ss"}
    assert technology.nominal == design.nominal.process == "tt"
    assert design.sources[-1] == tmp_path / "demo" / "technology.yaml"


def test_free_data_keeps_its_kind(tmp_path, technologies):
    data = load(write(tmp_path, DESIGN + "technology: demo\n"), technologies).technology.data
    assert data == {"supply": {"nominal": 1.2}, "level": 54, "l_min": 45e-9, "label": "54",
                    "binned": False}  # fmt: skip
    assert type(data["level"]) is int


@pytest.mark.parametrize("written", ["demo/technology.yaml", "./demo", "$M3EDA_TEST_PDK/demo"])
def test_a_technology_by_its_path(tmp_path, technologies, monkeypatch, written):
    monkeypatch.setenv("M3EDA_TEST_PDK", str(tmp_path))
    assert load(write(tmp_path, DESIGN + f"technology: {written}\n")).technology.name == "demo"


def test_a_technology_in_the_design_itself(tmp_path, technologies, monkeypatch):
    monkeypatch.setenv("M3EDA_TEST_PDK", str(tmp_path / "demo"))
    text = "technology: {lib: '${M3EDA_TEST_PDK}/models.lib', sections: {slow: ss}, vth: 0.4}\n"
    technology = load(write(tmp_path, DESIGN + text)).technology
    assert technology.lib == tmp_path / "demo" / "models.lib"
    assert technology.name == "models"
    assert technology.nominal == "slow"
    assert technology.data == {"vth": 0.4}


def test_a_design_may_choose_another_nominal_corner(tmp_path, technologies):
    path = write(tmp_path, DESIGN + "technology: {name: demo, nominal: ss, level: 14}\n")
    technology = load(path, technologies).technology
    assert (technology.nominal, technology.data["level"]) == ("ss", 14)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("dmo", "17:13: technology: no technology is called 'dmo' (did you mean demo?)"),
        ("sky130", "17:13: technology: no technology is called 'sky130' (known: demo)"),
        ("gone/technology.yaml", "17:13: technology: 'gone/technology.yaml' is not there"),
        (
            "$M3EDA_UNSET/technology.yaml",
            "17:13: technology: $M3EDA_UNSET is not set in the environment",
        ),
        (
            "{lib: models/$M3EDA_UNSET/x.lib}",
            "17:26: technology.lib: $M3EDA_UNSET is not set in the environment",
        ),
        ("{lib: gone.lib}", "17:19: technology.lib: the model file 'gone.lib' is not there"),
        (
            "{lib: demo/models.lib, section: {tt: tt}}",
            "17:36: technology.section: is not a known key (did you mean sections?)",
        ),
        (
            "{lib: demo/models.lib, sections: {ff: ff}}",
            "17:51: technology.sections.ff: models.lib has no section 'ff' (it has tt, ss)",
        ),
        (
            "{lib: demo/models.lib, sections: {tt: tt}, nominal: t}",
            "17:65: technology.nominal: 't' is not among the sections (did you mean tt?)",
        ),
        ("{name: demo, nominal: ff}", "17:35: technology.nominal: 'ff' is not among"),
        (
            "{includes: [demo/models.lib, gone.inc]}",
            "17:42: technology.includes.1: the model file 'gone.inc' is not there",
        ),
        (
            "{includes: {tt: demo/models.lib, ss: gone.inc}}",
            "17:50: technology.includes.ss: the model file 'gone.inc' is not there",
        ),
        (
            "{lib: demo/models.lib, sections: {tt: tt}, includes: {ff: demo/models.lib}}",
            "17:67: technology.includes.ff: 'ff' is not among the sections (known: tt)",
        ),
        (
            "{name: demo, includes: {st: demo/models.lib}}",
            "17:37: technology.includes.st: 'st' is not among the sections (did you mean tt?)",
        ),
        (
            "{package: m3eda_no_such_package, lib: models.lib}",
            "17:23: technology.package: needs the package m3eda_no_such_package (pip install m3eda",
        ),
        (
            "{package: email, lib: models.lib}",
            "17:35: technology.lib: the model file 'models.lib' is not there (looked for ",
        ),
    ],
)
def test_what_is_wrong_with_a_technology(tmp_path, technologies, monkeypatch, text, line):
    monkeypatch.delenv("M3EDA_UNSET", raising=False)
    text = DESIGN + f"# the models\n\ntechnology: {text}\n"
    found = mistakes(write(tmp_path, text), technologies)
    assert len(found) == 1
    assert found[0].startswith(f"design.yaml:{line}")


def test_a_mistake_in_a_technology_file_is_told_there(tmp_path, technologies):
    technologies["demo"].write_text(YAML + "lib: other.lib\n")
    found = mistakes(write(tmp_path, DESIGN + "technology: demo\n"), technologies)
    assert len(found) == 1
    assert found[0].startswith("demo/technology.yaml:9:1: lib: the key is given twice")


def test_the_models_of_a_technology_file_must_be_there(tmp_path, technologies):
    (tmp_path / "demo" / "models.lib").unlink()
    found = mistakes(write(tmp_path, DESIGN + "technology: demo\n"), technologies)
    assert len(found) == 1
    assert found[0].startswith("demo/technology.yaml:2:6: lib: the model file 'models.lib' is not")


def include(technology: Technology, process: str = "") -> list[str]:
    return TechnologyView(technology, process).include.splitlines()


def test_files_of_each_corner_in_place_of_sections(tmp_path):
    for name in ("n_nom.inc", "p_nom.inc", "n_ss.inc", "p_ss.inc"):
        (tmp_path / name).write_text("* models\n")
    text = "technology: {includes: {nom: [n_nom.inc, p_nom.inc], ss: [n_ss.inc, p_ss.inc]}}\n"
    design = load(write(tmp_path, DESIGN + text + "corners: {process: [nom, ss]}\n"))
    assert design.technology.nominal == "nom"
    assert [corner.process for corner in design.corners] == ["nom", "ss"]
    assert include(design.technology) == [
        f'.include "{tmp_path / name}"' for name in ("n_nom.inc", "p_nom.inc")
    ]
    assert include(design.technology, "ss") == [
        f'.include "{tmp_path / name}"' for name in ("n_ss.inc", "p_ss.inc")
    ]


def test_files_of_every_corner_come_before_the_section(tmp_path, technologies):
    (tmp_path / "extra.inc").write_text("* diodes\n")
    technology = load(
        write(tmp_path, DESIGN + "technology: {name: demo, includes: extra.inc}\n"), technologies
    ).technology
    library = tmp_path / "demo" / "models.lib"
    extra = f'.include "{tmp_path / "extra.inc"}"'
    assert include(technology, "ss") == [extra, f'.lib "{library}" ss']


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An importable package of model files, which must not be imported."""
    folder = tmp_path / "installed" / "m3eda_test_pdk"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('the package was imported')\n")
    (folder / "data" / "models.lib").write_text(LIB)
    monkeypatch.syspath_prepend(str(folder.parent))
    return folder


PACKAGED = "package: m3eda_test_pdk\nlib: data/models.lib\nsections: {tt: tt, ss: ss}\n"


def test_models_in_an_installed_package(tmp_path, package):
    file = tmp_path / "technology.yaml"
    file.write_text(f"name: packaged\n{PACKAGED}includes: data/models.lib\n")
    technology = load(write(tmp_path, DESIGN + "technology: pdk\n"), {"pdk": file}).technology
    assert technology.lib == package / "data" / "models.lib"
    assert technology.includes == {"": (package / "data" / "models.lib",)}
    assert "m3eda_test_pdk" not in sys.modules


def test_a_missing_package_is_told_where_the_design_names_the_technology(tmp_path):
    file = tmp_path / "technology.yaml"
    file.write_text(f"name: packaged\ninstall: m3eda[pdk]\n{PACKAGED}")
    assert mistakes(write(tmp_path, DESIGN + "technology: pdk\n"), {"pdk": file}) == [
        "design.yaml:15:13: technology: technology pdk needs the package m3eda_test_pdk "
        "(pip install 'm3eda[pdk]')"
    ]


def test_a_technology_file_on_its_own(tmp_path, technologies):
    technology = read_technology(technologies["demo"])
    assert (technology.name, technology.nominal) == ("demo", "tt")
    technologies["demo"].write_text(YAML.replace("tt: tt", "tt: typ"))
    with pytest.raises(DesignError, match=r"models\.lib has no section 'typ'"):
        read_technology(technologies["demo"])
