"""What a right design file becomes."""

from __future__ import annotations

import pytest

from m3eda.design import local_plugins
from m3eda.design.types import (
    AgentChoice,
    Corner,
    FailurePolicy,
    Limits,
    Objective,
    SimulatorChoice,
    Variation,
)
from tests.design_samples import DESIGN, TEMPLATE, edited, load, write


@pytest.fixture
def parameter(tmp_path):
    """The parameter that a form in braces becomes."""

    def build(form):
        text = edited("  r: {min: 1k, max: 100k}", f"  r: {{{form}}}")
        return load(write(tmp_path, text)).parameters["r"]

    return build


def test_a_design_keeps_the_order_and_the_names_of_the_file(tmp_path):
    design = load(write(tmp_path))
    assert design.name == "filter"
    assert list(design.parameters) == ["r", "c"]
    assert list(design.measures) == ["gain", "pm"]
    assert design.path == (tmp_path / "design.yaml").resolve()
    assert design.sources == (design.path,)
    assert design.testbenches["ac"].template == (tmp_path / "amp.cir.j2").resolve()


def test_what_is_left_out_has_its_default(tmp_path):
    design = load(write(tmp_path))
    assert design.simulator == SimulatorChoice()
    assert design.agent == AgentChoice()
    assert design.failures == FailurePolicy()
    assert design.objective == Objective()
    assert (design.technology, design.variation, design.netlist) == (None, None, None)
    assert design.corners == ()


def test_room_temperature_is_a_condition_of_every_design(tmp_path):
    assert load(write(tmp_path)).conditions == {"temp": 27.0, "vdd": 1.2}
    text = edited("{vdd: 1.2}", "{vdd: 1.2, temp: -40}")
    assert load(write(tmp_path, text)).conditions["temp"] == -40.0


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        ("min: 1k, max: 5k", {"minimum": 1e3, "maximum": 5e3, "scale": "linear"}),
        ("min: 1k, max: 10k", {"scale": "log"}),
        ("min: 1k, max: 10k, scale: linear", {"scale": "linear"}),
        ("min: 1, max: 2, scale: log", {"scale": "log"}),
        ("min: 0, max: 10k", {"scale": "linear"}),
        ("min: 0.1p, max: 10p, step: 0.1p", {"step": 1e-13, "minimum": 1e-13}),
        ("min: 1 kohm, max: 4.7 kohm, unit: ohm", {"maximum": 4700.0, "unit": "ohm"}),
        ("choices: [1k, 2.2k, 4.7k]", {"choices": (1e3, 2.2e3, 4.7e3)}),
        ("choices: [nch, nch_lvt]", {"choices": ("nch", "nch_lvt")}),
        ("choices: ['2n2222', bc547]", {"choices": ("2n2222", "bc547")}),
        ("value: 90n", {"value": 90e-9, "frozen": True}),
        ("value: nch_lvt", {"value": "nch_lvt"}),
        ("expr: 2 * c * 1e15", {"expression": "2 * c * 1e15", "tied": True, "free": False}),
        ("min: 1, max: 5, start: 2", {"start": 2.0, "free": True}),
        ("choices: [a, b], start: b", {"start": "b"}),
        ("min: 1, max: 5, kind: width, description: of m1", {"kind": "width"}),
        ("min: 200, max: 500, series: E6",
         {"choices": (220.0, 330.0, 470.0), "series": "E6", "minimum": 200.0}),
    ],
)  # fmt: skip
def test_forms_of_a_parameter(parameter, form, fields):
    built = parameter(form)
    assert {key: getattr(built, key) for key in fields} == fields


@pytest.mark.parametrize(
    ("spec", "limits"),
    [
        ("min: 10meg", Limits(minimum=1e7)),
        ("max: 1m", Limits(maximum=1e-3)),
        ("min: 1, max: 2", Limits(1.0, 2.0)),
        ("target: 0.6, tolerance: 50m", Limits(target=0.6, tolerance=0.05)),
        ("target: -2, tolerance: 5%", Limits(target=-2.0, tolerance=0.1)),
    ],
)
def test_limits_of_a_spec(tmp_path, spec, limits):
    design = load(write(tmp_path, edited("gain: {min: 300}", f"gain: {{{spec}, weight: 2}}")))
    assert design.specs["gain"].limits == limits
    assert design.specs["gain"].weight == 2.0


def test_a_measure_of_waveforms_belongs_to_the_only_testbench(tmp_path):
    text = edited("specs:", "  twice: {expr: 2 * gain * vdd}\n  slew: {meas: sr}\nspecs:")
    measures = load(write(tmp_path, text)).measures
    assert measures["gain"].testbench == "ac"
    assert measures["slew"].testbench == "ac"
    assert measures["twice"].testbench == ""


def test_a_measure_without_a_unit_has_that_of_its_function(tmp_path):
    design = load(write(tmp_path))
    assert design.measures["pm"].unit == "deg"
    assert design.specs["pm"].unit == "deg"


def test_a_spec_has_the_unit_it_is_written_with_where_the_measure_has_none(tmp_path):
    text = edited("gain: {min: 300}", "gain: {min: 3 mV}", edited(", unit: V/V", ""))
    assert load(write(tmp_path, text)).specs["gain"].unit == "V"


def test_an_expression_in_braces_needs_no_quotes(tmp_path):
    text = edited("specs:", "  sat: {expr: saturation_margin(m1, x1.m2,\n    m3), unit: V}\nspecs:")
    measure = load(write(tmp_path, text)).measures["sat"]
    assert measure.expression == "saturation_margin(m1, x1.m2, m3)"
    assert measure.unit == "V"


CORNERS = """\
technology: {lib: models.lib, sections: {tt: tt, ss: slow}}
corners:
  vdd: [1.08, 1.2]
  process: [tt, ss]
  temp: [-40, 125]
"""


def test_a_grid_names_its_corners(tmp_path):
    corners = load(write(tmp_path, DESIGN + CORNERS, models__lib="")).corners
    assert len(corners) == 8
    assert corners[4] == Corner("ss_vdd1.08_temp-40", "ss", {"vdd": 1.08, "temp": -40.0})


def test_a_list_of_corners_has_names_of_its_own(tmp_path):
    text = DESIGN + "corners:\n- {name: hot, temp: 125}\n- {name: low, vdd: 1.08, temp: -40}\n"
    assert load(write(tmp_path, text)).corners == (
        Corner("hot", "", {"temp": 125.0}),
        Corner("low", "", {"vdd": 1.08, "temp": -40.0}),
    )


def test_a_grid_and_named_corners_stand_side_by_side(tmp_path):
    text = DESIGN + "corners:\n  temp: [0, 85]\n  named: [{name: low, vdd: 1.08}]\n"
    assert [corner.name for corner in load(write(tmp_path, text)).corners] == [
        "temp0", "temp85", "low",
    ]  # fmt: skip


def test_limits_at_a_process_hold_at_all_its_corners(tmp_path):
    own = "{min: 300, max: 900, corners: {ss: {min: 200}, ss_vdd1.2_temp125: {min: 150}}}"
    text = edited("gain: {min: 300}", f"gain: {own}") + CORNERS
    spec = load(write(tmp_path, text, models__lib="")).specs["gain"]
    assert spec.at("ss") == spec.at("ss_vdd1.08_temp-40") == Limits(200.0, 900.0)
    assert spec.at("ss_vdd1.2_temp125") == Limits(150.0, 900.0)
    assert spec.at("tt_vdd1.2_temp125") == spec.at("nominal") == Limits(300.0, 900.0)


def test_limits_at_the_nominal_process_hold_at_the_nominal_corner(tmp_path):
    text = edited("gain: {min: 300}", "gain: {min: 300, corners: {tt: {min: 400}}}") + CORNERS
    spec = load(write(tmp_path, text, models__lib="")).specs["gain"]
    assert spec.at("nominal") == Limits(400.0)


def test_choices_of_agent_simulator_and_failures(tmp_path):
    text = (
        DESIGN
        + """\
simulator: {name: xyce, options: {reltol: 1e-4, method: gear, acct: true}, timeout: 90}
agent: {name: bo, budget: 2k, seconds: 1e3, seed: 7, batch: 4, options: {start: 20, deep: true}}
failures: {retries: 2, ladder: [gmin, gear], stop_after_same_error: 0}
variation: {mismatch: yes, samples: 500, yield: 99.7%}
objective: {minimize: pm, maximize: [gain]}
"""
    )
    design = load(write(tmp_path, text))
    options = {"reltol": 1e-4, "method": "gear", "acct": "true"}
    assert design.simulator == SimulatorChoice("xyce", options, 90.0)
    agent_options = {"start": 20, "deep": True}
    assert design.agent == AgentChoice("bo", 2000, 1000.0, 7, 4, agent_options)
    assert design.failures == FailurePolicy(2, ("gmin", "gear"), 0)
    assert design.variation == Variation(True, False, 500, 0.997)
    assert design.objective == Objective(("pm",), ("gain",))


def test_a_bare_word_chooses_agent_and_simulator(tmp_path):
    design = load(write(tmp_path, DESIGN + "simulator: xyce\nagent: random\n"))
    assert (design.simulator.name, design.agent.name) == ("xyce", "random")


def test_a_testbench_may_have_conditions_of_its_own(tmp_path):
    text = edited("ac: amp.cir.j2", "ac: {template: amp.cir.j2, conditions: {vdd: 1.8, load: 2p}}")
    text = edited("dc_gain(v(out))", "dc_gain(v(out)) * load", text)
    design = load(write(tmp_path, text))
    assert design.testbenches["ac"].conditions == {"vdd": 1.8, "load": 2e-12}
    assert design.conditions["vdd"] == 1.2


def test_the_device_under_test_alone_counts_as_a_use(tmp_path):
    text = edited("parameters:", "netlist: dut.cir.j2\nparameters:\n  w: {min: 1u, max: 2u}")
    design = load(write(tmp_path, text, dut__cir__j2="m1 d g s b nch w={{ w }}\n"))
    assert design.netlist == (tmp_path / "dut.cir.j2").resolve()


def test_names_that_templates_always_have(tmp_path):
    template = TEMPLATE + "* {{ corner }} {{ temp }} {{ technology.include }}\n"
    text = DESIGN + "technology: {lib: models.lib}\n"
    assert load(write(tmp_path, text, template, models__lib="")).technology is not None


def test_a_template_that_is_not_beside_the_file_comes_from_the_library(tmp_path, monkeypatch):
    library = tmp_path / "library"
    (library / "rc").mkdir(parents=True)
    (library / "rc" / "lowpass.cir.j2").write_text(TEMPLATE)
    monkeypatch.setattr("m3eda.design.templates.library_folder", lambda: library)
    for name in ("lowpass.cir.j2", "rc/lowpass.cir.j2"):
        design = load(write(tmp_path, edited("amp.cir.j2", name)))
        assert design.testbenches["ac"].template == library / "rc" / "lowpass.cir.j2"


def test_templates_need_not_be_read(tmp_path):
    from m3eda.design import load_design
    from tests.design_samples import FUNCTIONS

    path = write(tmp_path, template="{{ nobody_gives_this }}")
    assert load_design(path, FUNCTIONS, {}).name == "filter"


def test_keys_that_begin_with_x_hold_anchors(tmp_path):
    text = "x-range: &range {min: 1k, max: 5k}\n" + edited("{min: 1k, max: 100k}", "*range")
    assert load(write(tmp_path, text)).parameters["r"].maximum == 5e3


def test_local_plugins_are_known_before_anything_else_is_read(tmp_path):
    text = "plugins: [mine.py, gone.py]\nparameters: 7\n"
    path = write(tmp_path, text, mine__py="")
    assert local_plugins(path) == ((tmp_path / "mine.py").resolve(),)


def test_the_plugins_of_a_design(tmp_path):
    path = write(tmp_path, DESIGN + "plugins: mine.py\n", mine__py="")
    assert load(path).plugins == local_plugins(path) == ((tmp_path / "mine.py").resolve(),)
