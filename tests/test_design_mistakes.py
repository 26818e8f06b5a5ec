"""What is wrong in a design file: each mistake at its file, line and column, with its remedy."""

from __future__ import annotations

import pytest

from m3eda.errors import DesignError, ExitCode
from tests.design_samples import DESIGN, TEMPLATE, edited, load, mistakes, write

R = "  r: {min: 1k, max: 100k}"
GAIN = "  gain: {expr: dc_gain(v(out)), unit: V/V}"
SPEC = "  gain: {min: 300}"


def check(tmp_path, text, *lines, template=TEMPLATE, **files):
    """`lines` are the beginnings of all mistakes of `text`."""
    found = mistakes(write(tmp_path, text, template, **files))
    assert len(found) == len(lines), found
    for mistake, line in zip(found, lines, strict=True):
        assert mistake.startswith(f"design.yaml:{line}")


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("min: 2k, max: 1k", "6:12: parameters.r.min: min 2k is over max 1k (swap them)"),
        ("min: 1k, max: 1k", "6:12: parameters.r.min: min and max are both 1k (write value: 1k)"),
        ("min: 1k, max: 1M", "6:21: parameters.r.max: '1M' is ambiguous: SPICE reads M as milli "
         "(meg or m?)"),
        ("min: 1k, max: 10 mhz", "6:21: parameters.r.max: 'mhz' is not a unit (did you mean MHz"),
        ("min: 1k, max: ten", "6:21: parameters.r.max: 'ten' is not a number"),
        ("min: 1k, max: .inf", "6:21: parameters.r.max: '.inf' is not a number"),
        ("min: 1k, max: ''", "6:21: parameters.r.max: '' is not a number"),
        ("min: 1k, max: null", "6:3: parameters.r: has no max"),
        ("min: 1k, max: [1]", "6:21: parameters.r.max: must be a number, not a list"),
        ("min: 1k", "6:3: parameters.r: has no max (a range needs min and max)"),
        ("min: 1, max: 2, step: 5", "6:29: parameters.r.step: step 5 is larger than the range, 1"),
        ("min: 1, max: 2, step: 0", "6:29: parameters.r.step: must be greater than 0"),
        ("min: 0, max: 2, scale: log", "6:30: parameters.r.scale: log needs a min greater than 0"),
        ("min: 1, max: 2, scale: lgo", "6:30: parameters.r.scale: 'lgo' must be 'linear' or 'log' "
         "(did you mean log?)"),
        ("min: 1, max: 2, series: E25", "6:31: parameters.r.series: 'E25' must be 'E6'"),
        ("min: 110, max: 140, series: E6", "6:35: parameters.r.series: E6 has no value between"),
        ("min: 0, max: 140, series: E6", "6:12: parameters.r.min: must be greater than 0 for"),
        ("min: 1, max: 9, series: E6, step: 1", "6:35: parameters.r.step: has no meaning beside"),
        ("min: 1, max: 2, start: 3", "6:30: parameters.r.start: 3 lies outside of min to max"),
        ("min: 1, max: 2, value: 3", "6:23: parameters.r.value: cannot stand beside another form"),
        ("choices: []", "6:16: parameters.r.choices: is empty (give one value or more)"),
        ("choices: [1, 2, 1.0]", "6:16: parameters.r.choices: holds a value twice"),
        ("choices: [1, 2], start: 3", "6:31: parameters.r.start: is not among the choices"),
        ("choices: [2n2222]", "6:17: parameters.r.choices.0: '2n2222' is not a number"),
        ("value: 3, start: 3", "6:24: parameters.r.start: only a parameter that is free"),
        ("vaule: 3", "6:7: parameters.r.vaule: is not a known key (did you mean value?)"),
        ("", "6:3: parameters.r: has no value (give min and max, choices, value or expr)"),
        ("min: 1 uA, max: 5 mV", "6:23: parameters.r.max: is in V, but r is in A"),
        ("min: 1, max: 5 mV, unit: ohm", "6:20: parameters.r.max: is in V, but r is in ohm"),
        ("min: 1, max: 2, unit: kohm", "6:29: parameters.r.unit: the unit 'kohm' is scaled, but "
         "values are in SI units (write ohm)"),
        ("expr: 2 *", "6:16: parameters.r.expr: breaks off"),
        ("expr: 2 * cc", "6:17: parameters.r.expr: 'cc' is not known here (did you mean c?)"),
        ("expr: 2 * gain", "6:17: parameters.r.expr: 'gain' is not known here"),
        ("expr: 2 * v(out)", "6:13: parameters.r.expr: a tied parameter cannot use v(out)"),
        ("expr: sqr(c)", "6:13: parameters.r.expr: no function is called 'sqr' (did"),
        ("expr: c + r", "6:13: parameters.r.expr: depends on itself: r -> r"),
    ],
)  # fmt: skip
def test_a_parameter(tmp_path, form, line):
    check(tmp_path, edited(R, f"  r: {{{form}}}"), line)


def test_tied_parameters_in_a_circle(tmp_path):
    text = edited(R, "  r: {expr: 2 * s}\n  s: {expr: t + 1}\n  t: {expr: r}")
    check(tmp_path, text, "6:13: parameters.r.expr: depends on itself: r -> s -> t -> r")


@pytest.mark.parametrize(
    ("measure", "line"),
    [
        ("{expr: dc_gan(v(out))}", "9:16: measures.gain.expr: no function is called 'dc_gan' "
         "(did you mean dc_gain?)"),
        ("{expr: 2 * dc_gain()}", "9:20: measures.gain.expr: dc_gain: missing a required argument"),
        ("{expr: gain_at(v(out))}", "9:16: measures.gain.expr: gain_at: missing a required "
         "argument: 'frequency' (gain_at(response, frequency))"),
        ("{expr: 'dc_gain(v(out)) / vd'}", "9:35: measures.gain.expr: 'vd' is not known here "
         "(did you mean vdd?)"),
        ("{expr: v(out}", "9:17: measures.gain.expr: is not an expression at '(out'"),
        ("{expr: dc_gain(v(out)), meas: g}", "9:33: measures.gain.meas: has both expr and meas"),
        ("{unit: V}", "9:3: measures.gain: has neither expr nor meas (give one of them)"),
        ("{testbench: step, expr: v(out)}", "9:21: measures.gain.testbench: no testbench is "
         "called 'step' (known: ac)"),
        ("{expr: phase_margin(v(out)), unit: V}", "9:44: measures.gain.unit: is V, but "
         "phase_margin gives deg (write unit: deg)"),
        ("{expr: v(out), unit: mV}", "9:30: measures.gain.unit: the unit 'mV' is scaled"),
        ("{expr: pm / gain}", "9:16: measures.gain.expr: depends on itself: gain -> gain"),
        ("5", "9:9: measures.gain: must be a mapping of keys (known: testbench, expr, meas"),
    ],
)  # fmt: skip
def test_a_measure(tmp_path, measure, line):
    check(tmp_path, edited(GAIN, f"  gain: {measure}"), line)


def test_measures_in_a_circle(tmp_path):
    text = edited(GAIN, "  gain: {expr: a + 1}\n  a: {expr: b}\n  b: {expr: 2 * gain}")
    check(tmp_path, text, "9:16: measures.gain.expr: depends on itself: gain -> a -> b -> gain")


TWO = edited("  ac: amp.cir.j2", "  ac: amp.cir.j2\n  tran: amp.cir.j2")


def test_a_measure_of_waveforms_names_one_of_several_testbenches(tmp_path):
    check(
        tmp_path,
        TWO,
        "10:3: measures.gain: takes waveforms, but names no testbench (give testbench: one of ac",
        "11:3: measures.pm: takes waveforms, but names no testbench",
    )


def test_a_measure_of_one_testbench_cannot_use_one_of_another(tmp_path):
    text = TWO.replace("{expr: dc_gain(v(out))", "{testbench: ac, expr: dc_gain(v(out)) * pm")
    text = text.replace("{expr: phase", "{testbench: tran, expr: phase")
    check(tmp_path, text, "10:49: measures.gain.expr: takes waveforms of 'ac' and uses 'pm', which "
          "is not measured there")  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("gian: {min: 300}", "12:3: specs.gian: no measure is called 'gian' (did you mean gain?)"),
        ("gain: {min: 3 mV}", "12:15: specs.gain.min: is in V, but gain is in V/V"),
        ("gain: {min: 3, max: 1}", "12:15: specs.gain.min: no value can meet the limits: at least "
         "3 V/V and at most 1 V/V"),
        ("gain: {min: 5, target: 2, tolerance: 1}", "12:15: specs.gain.min: no value can meet"),
        ("gain: {}", "12:3: specs.gain: has no limit (give min, max, or target with tolerance)"),
        ("gain: {target: 3}", "12:10: specs.gain.target: needs tolerance beside it"),
        ("gain: {tolerance: 3}", "12:10: specs.gain.tolerance: needs target beside it"),
        ("gain: {target: 3, tolerance: 0}", "12:32: specs.gain.tolerance: must be greater than 0"),
        ("gain: {min: 3, weight: 0}", "12:26: specs.gain.weight: '0' must be greater than 0"),
        ("gain: {mn: 3}", "12:10: specs.gain.mn: is not a known key (did you mean min?)"),
        ("gain: {min: 3, corners: {ss: {min: 2}}}", "12:28: specs.gain.corners.ss: no corner or "
         "process is called 'ss' (give it under corners)"),
        ("gain: {min: 3, corners: {nominal: {max: 2}}}", "12:43: specs.gain.corners.nominal.max: "
         "no value can meet the limits at 'nominal': at least 3 V/V and at most 2 V/V"),
        ("gain: {min: 3, corners: {nominal: {min: 2 V}}}", "12:43: specs.gain.corners.nominal.min: "
         "is in V, but gain is in V/V"),
    ],
)  # fmt: skip
def test_a_spec(tmp_path, spec, line):
    check(tmp_path, edited(SPEC, f"  {spec}"), line)


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("objective: {minimize: pn}", "15:23: objective.minimize: no measure is called 'pn' "
         "(did you mean pm?)"),
        ("objective: {minimize: [gain, pn]}", "15:30: objective.minimize.1: no measure is called"),
        ("objective: {minimize: gain, maximize: gain}", "15:39: objective.maximize: 'gain' is "
         "given twice"),
        ("agent: {budget: 0}", "15:17: agent.budget: '0' must be greater than or equal to 1"),
        ("agent: {budget: 1.5}", "15:17: agent.budget: '1.5' is not a whole number"),
        ("agent: {nme: bo}", "15:9: agent.nme: is not a known key (did you mean name?)"),
        ("agent: [bo]", "15:8: agent: must be a mapping of keys (known: name, budget"),
        ("simulator: {timeout: 0}", "15:22: simulator.timeout: '0' must be greater than 0"),
        ("simulator: {options: {a: 1M}}", "15:26: simulator.options.a: '1M' is ambiguous"),
        ("simulator: {options: {a: [1]}}", "15:26: simulator.options.a: must be a number or a"),
        ("failures: {retries: -1}", "15:21: failures.retries: '-1' must be greater than or equal"),
        ("variation: {mismatch: maybe}", "15:23: variation.mismatch: 'maybe' is neither true nor"),
        ("variation: {yield: 99.7}", "15:20: variation.yield: '99.7' must be less than 1"),
        ("corners: {temp: [0, hot]}", "15:21: corners.temp.1: 'hot' is not a number"),
        ("corners: {vd: [1, 2]}", "15:11: corners.vd: is neither process nor a condition (did you "
         "mean vdd?)"),
        ("corners: {vdd: []}", "15:16: corners.vdd: is empty (give one value or more)"),
        ("corners: {vdd: 1}", "15:16: corners.vdd: must be a list"),
        ("corners: {process: [tt]}", "15:21: corners.process.0: the technology has no process"),
        ("corners: [{vdd: 1}]", "15:11: corners.0.name: is missing"),
        ("corners: [{name: a, vd: 1}]", "15:21: corners.0.vd: is neither process nor a condition"),
        ("corners: [{name: a}, {name: a}]", "15:29: corners.1.name: another corner is called 'a'"),
        ("corners: [{name: nominal}]", "15:18: corners.0.name: another corner is called 'nominal'"),
        ("plugins: [gone.py]", "15:11: plugins.0: the plugin file 'gone.py' is not there"),
        ("netlist: gone.cir", "15:10: netlist: the template 'gone.cir' is not there"),
        ("simulatr: xyce", "15:1: simulatr: is not a known key (did you mean simulator?)"),
        ("zzz: 1", "15:1: zzz: is not a known key (known: m3eda, design, description"),
    ],
)  # fmt: skip
def test_the_other_sections(tmp_path, line, mistake):
    check(tmp_path, f"{DESIGN}{line}\n", mistake)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("m3eda: 1\n", "", "1:1: m3eda: is missing (m3eda: 1)"),
        ("m3eda: 1", "m3eda: 2", "1:8: m3eda: '2' must be 1"),
        ("design: filter\n", "", "1:1: design: is missing"),
        ("design: filter", "design: my-filter", "2:9: design: is not a name"),
        ("conditions: {vdd", "conditions: {r: 1, vdd", "6:3: parameters.r: 'r' is already the name "
         "of a condition (choose another name)"),
        ("  gain: {expr", "  c: {expr: vdd}\n  gain: {expr", "9:3: measures.c: 'c' is already the "
         "name of a parameter"),
        ("{vdd: 1.2}", "{vdd: 1.2, temp: cold}", "14:30: conditions.temp: must be a number"),
        ("  ac: amp.cir.j2", "  ac: {tmplate: amp.cir.j2}", "4:8: testbenches.ac.tmplate: is not"),
    ],
)  # fmt: skip
def test_the_head_and_the_names(tmp_path, old, new, line):
    found = mistakes(write(tmp_path, edited(old, new)))
    assert any(mistake.startswith(f"design.yaml:{line}") for mistake in found), found


@pytest.mark.parametrize("name", ["if", "corner", "pi", "temp", "lambda"])
def test_words_that_cannot_be_names(tmp_path, name):
    text = edited(R, f"{R}\n  {name}: {{value: 1}}")
    found = mistakes(write(tmp_path, text, f"{TEMPLATE}* {{{{ corner }}}} {{{{ temp }}}}\n"))
    assert found[0].startswith(f"design.yaml:7:3: parameters.{name}: '{name}' is ")


def test_a_design_without_specs_needs_an_objective(tmp_path):
    bare = DESIGN[: DESIGN.index("specs:")] + "conditions: {vdd: 1.2}\n"
    check(tmp_path, bare, "1:1: specs: is missing (give specs, an objective, or both)")
    assert not load(write(tmp_path, bare + "objective: {maximize: gain}\n")).specs


def test_a_template_that_is_not_there(tmp_path):
    check(
        tmp_path,
        edited("amp.cir.j2", "apm.cir.j2"),
        "4:7: testbenches.ac: the template 'apm.cir.j2' is not there (did you mean amp.cir.j2?)",
    )


def test_a_template_of_which_the_library_has_two(tmp_path, monkeypatch):
    for folder in ("one", "two"):
        (tmp_path / "library" / folder).mkdir(parents=True)
        (tmp_path / "library" / folder / "x.cir.j2").write_text(TEMPLATE)
    monkeypatch.setattr("m3eda.design.templates.library_folder", lambda: tmp_path / "library")
    check(
        tmp_path,
        edited("amp.cir.j2", "x.cir.j2"),
        "4:7: testbenches.ac: several templates are called 'x.cir.j2' (write one/x.cir.j2, two/",
    )


def test_what_a_template_needs_and_nobody_gives(tmp_path):
    check(
        tmp_path,
        DESIGN,
        "4:7: testbenches.ac: amp.cir.j2 needs 'cload', which nobody gives (give it under",
        "4:7: testbenches.ac: amp.cir.j2 needs 'technology', which nobody gives (give technology",
        "4:7: testbenches.ac: amp.cir.j2 needs 'vddd', which nobody gives (did you mean vdd?)",
        template=TEMPLATE + "{{ vddd }} {{ cload }} {{ technology.lib }}\n",
    )


def test_what_is_given_and_nobody_uses(tmp_path):
    text = edited(R, f"{R}\n  w: {{value: 1}}").replace("{vdd: 1.2}", "{vdd: 1.2, load: 1p}")
    check(
        tmp_path,
        text,
        "7:3: parameters.w: is used by no template and no expression",
        "15:24: conditions.load: is used by no template and no expression",
    )


def test_a_condition_of_one_testbench_must_be_used_there(tmp_path):
    text = edited("ac: amp.cir.j2", "ac: {template: amp.cir.j2, conditions: {load: 1p}}")
    check(tmp_path, text, "4:43: testbenches.ac.conditions.load: is used by no template")


def test_a_template_with_an_error_hides_no_other_mistake_and_makes_none(tmp_path):
    found = mistakes(write(tmp_path, edited(SPEC, "  gian: {min: 1}"), "*\n* {{ r\n"))
    assert [mistake.split(" ")[0] for mistake in found] == ["design.yaml:12:3:", "amp.cir.j2:2:"]


def test_an_include_that_is_not_there(tmp_path):
    from m3eda.design import load_design
    from m3eda.simulate.render import template_names
    from tests.design_samples import FUNCTIONS

    path = write(tmp_path, template=TEMPLATE + "{% include 'gone.cir.j2' %}\n")
    with pytest.raises(DesignError, match=r"amp\.cir\.j2:6: includes 'gone\.cir\.j2', which is"):
        load_design(path, FUNCTIONS, {}, template_names)


def test_a_broken_entry_makes_no_mistakes_elsewhere(tmp_path):
    text = edited(R, "  r: {min: 1M, max: 2}\n  w: {expr: 2 * r}")
    text = text.replace(GAIN, "  gain: {expr: 'dc_gain(v(out)'}\n  fom: {expr: gain * w}")
    check(
        tmp_path,
        text,
        "6:12: parameters.r.min: '1M' is ambiguous",
        "10:24: measures.gain.expr: is not an expression at '(v(out)'",
    )


def test_a_section_that_is_no_mapping_makes_no_mistakes_elsewhere(tmp_path):
    text = edited(f"{R}\n  c: {{min: 1p, max: 2p, step: 0.1p}}", "  - r")
    check(tmp_path, text, "6:3: parameters: must be a mapping of names")


def test_every_mistake_at_once_in_the_order_of_the_file(tmp_path):
    text = edited(R, "  r: {min: 2k, max: 1k}")
    text = text.replace(SPEC, "  gian: {min: 300}").replace("filter", "my-filter")
    text = text.replace("amp.cir.j2", "apm.cir.j2") + "agent: {budget: 0, nme: x}\nzzz: 1\n"
    found = mistakes(write(tmp_path, text))
    places = [tuple(map(int, line.split(":")[1:3])) for line in found]
    assert places == [(2, 9), (4, 7), (6, 12), (12, 3), (15, 17), (15, 20), (16, 1)]


def test_mistakes_are_bad_input(tmp_path):
    with pytest.raises(DesignError) as caught:
        load(write(tmp_path, ""))
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert caught.value.mistakes[0].file == tmp_path / "design.yaml"
