"""Evaluating the measures of a design, and making functions for them."""

from __future__ import annotations

import inspect
import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from m3eda_plugins.measures import register_measures

from m3eda.design.expressions import Expression
from m3eda.design.types import Measure
from m3eda.simulate.measures import MeasureUndefined, Trace, evaluate_measures, measure, required
from m3eda.simulate.signals import VectorMissing
from m3eda.simulate.types import Analysis, State, Waveforms

FUNCTIONS = {}
REFERENCE = Path(__file__).parents[1] / "docs" / "measures.md"
register_measures(FUNCTIONS.__setitem__)
F = 10.0 ** np.linspace(0, 8, 81)
RESPONSE = 1000 / (1 + 1j * F / 1e3)
OPEN_LOOP = Waveforms(
    (
        Analysis(
            "ac",
            {"frequency": F, "v(out)": RESPONSE, "v(in)": np.full(81, 2.0 + 0j)},
            "frequency",
        ),
        Analysis(
            "op",
            {
                "v(out)": np.array([0.6]),
                "v(vdd)": np.array([1.2]),
                "i(vdd)": np.array([-2e-3]),
                "@m1[vds]": np.array([0.5]),
                "@m1[vdsat]": np.array([0.1]),
                "@m1[gm]": np.array([1e-3]),
                "@m.x1.m2[vds]": np.array([-0.3]),
                "@m.x1.m2[vdsat]": np.array([-0.25]),
            },
        ),
    )
)
STEP = Waveforms(
    (
        Analysis(
            "tran",
            {
                "time": np.array([0.0, 1.0, 2.0, 10.0]),
                "v(out)": np.array([0.0, 0.0, 1.0, 1.0]),
                "v(vdd)": np.full(4, 1.2),
                "i(vdd)": np.full(4, -1e-3),
            },
            "time",
        ),
    ),
    meas={"slew": 5.0, "broken": math.inf},
)
WAVEFORMS = {"open_loop": OPEN_LOOP, "step": STEP}
NAMES = {"cload": 10e-12, "model": "nmos", "zero": 0.0}


def evaluate(waveforms=WAVEFORMS, **lines):
    """Measures given as "testbench: expression", "testbench: .meas name" or "expression"."""
    measures = {}
    for name, line in lines.items():
        testbench, _, text = line.rpartition(": ")
        meas = text.removeprefix(".meas ") if text.startswith(".meas ") else ""
        measures[name] = Measure(name, testbench, "" if meas else text, meas)
    expressions = {
        each.name: Expression.parse(each.expression, FUNCTIONS)
        for each in measures.values()
        if each.expression
    }
    return evaluate_measures(measures, expressions, waveforms, NAMES, FUNCTIONS)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("open_loop: dc_gain(v(out))", 1000.0),
        ("open_loop: dc_gain(v(out) / v(in))", 500.0),
        ("open_loop: db(dc_gain(v(out)))", 60.0),
        ("open_loop: -i(vdd)", 2e-3),
        ("open_loop: 2 * -i(vdd)", 4e-3),
        ("open_loop: op(v(out))", 0.6),
        ("open_loop: op(v(vdd) - v(out))", 0.6),
        ("open_loop: max(v(vdd), v(out))", 1.2),
        ("open_loop: v(vdd, out)", 0.6),
        ("open_loop: @m1[gm] / -i(vdd)", 0.5),
        ("open_loop: saturation_margin(m1)", 0.4),
        ("open_loop: saturation_margin(m1, x1.m2)", 0.05),
        ("open_loop: power(v(vdd) * -i(vdd))", 2.4e-3),
        ("step: power(v(vdd) * -i(vdd))", 1.2e-3),
        ("step: slew_rate(v(out), edge='rise')", 1.0),
        ("step: settling_time(v(out), tolerance=1%, start=1)", 0.99),
        ("step: average(v(out), start=2)", 1.0),
        ("step: max(v(out))", 1.0),
        ("step: .meas slew", 5.0),
        ("step: .meas SLEW", 5.0),
        ("cload * 2", 20e-12),
    ],
)
def test_what_an_expression_means(line, expected):
    values, reasons = evaluate(x=line)
    assert reasons == {}
    assert values["x"] == pytest.approx(expected, rel=1e-5)
    assert type(values["x"]) is float


def test_measures_of_measures_in_any_order():
    values, reasons = evaluate(
        fom="ugbw * cload / ibias",
        gbw_at_ten="open_loop: gain_at(v(out), ugbw / 10)",
        ugbw="open_loop: unity_gain_frequency(v(out))",
        ibias="open_loop: -i(vdd)",
    )
    assert list(values) == ["fom", "gbw_at_ten", "ugbw", "ibias"]
    assert values["fom"] == pytest.approx(values["ugbw"] * 10e-12 / 2e-3, rel=1e-12)
    assert values["gbw_at_ten"] == pytest.approx(10.0, rel=1e-3)
    assert reasons == {}


def test_nan_propagates_with_the_reason():
    values, reasons = evaluate(
        fom="2 * bw", bw="open_loop: gain_at(v(out), 1G)", gain="open_loop: dc_gain(v(out))"
    )
    assert math.isnan(values["fom"])
    assert math.isnan(values["bw"])
    assert values["gain"] == pytest.approx(1000.0, rel=1e-5)
    assert reasons == {
        "fom": "needs bw: 1e+09 Hz is outside the sweep, 1 to 1e+08",
        "bw": "1e+09 Hz is outside the sweep, 1 to 1e+08",
    }


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1 / zero", "divides by zero"),
        ("1e300 * 1e300", "the result is infinite"),
        ("10 ** 400", "too large"),
        ("(0 - 8) ** 0.5", "complex|does not exist"),
        ("1e300 * 1e300 - 1e300 * 1e300", "the result is not a number"),
        ("model", "the result is no number: 'nmos'"),
        ("ln(zero)", "log"),
        ("unheard_of", "'unheard_of' has no value"),
        ("step: .meas nothing", "the netlist's .meas 'nothing' gave no result"),
        ("step: .meas broken", "the result is infinite"),
        ("absent: v(out)", "testbench 'absent' gave no result"),
        ("open_loop: dc_gain(3)", r"dc_gain wants a waveform such as v\(out\), and got 3.0"),
        ("open_loop: dc_gain(v(out) / (v(in) - v(in)))", "is not finite at every point"),
        ("open_loop: dc_gain(v(out), 1, 2)", "takes 1 positional argument"),
        ("open_loop: gain_at(v(out), 1k, colour=3)", "unexpected keyword argument"),
        ("step: settling_time(v(out), start=20)", "the window 20 to 10 is empty"),
    ],
)
def test_no_number_is_nan_with_a_reason_and_never_a_crash(line, reason):
    values, reasons = evaluate(x=line)
    assert math.isnan(values["x"])
    assert re.search(reason, reasons["x"])
    assert "\n" not in reasons["x"]


def test_cyclic_measures_end():
    values, reasons = evaluate(a="b + 1", b="a + 1")
    assert all(math.isnan(value) for value in values.values())
    assert "depends on itself" in reasons["b"]


def test_missing_vectors_are_raised_all_at_once_with_what_the_others_gave():
    with pytest.raises(VectorMissing) as caught:
        evaluate(
            pm="open_loop: phase_margin(v(outt))",
            ibias="step: -i(vdd)",
            gain="open_loop: dc_gain(v(out))",
            fom="2 * pm",
        )
    error = caught.value
    assert error.state is State.VECTOR_MISSING
    assert "pm: the AC analysis has no v(outt) (nearest: v(out)" in error.reason
    assert "ibias: i(vdd) is wanted from the operating point" in error.reason
    values, reasons = error.measured
    assert values["gain"] == pytest.approx(1000.0, rel=1e-5)
    assert math.isnan(values["pm"])
    assert reasons["fom"].startswith("needs pm: ")


def test_required_tells_what_each_deck_must_save():
    measures = {
        "gain": Measure("gain", "ac", "dc_gain(v(out, 0) / v(IN))"),
        "sat": Measure("sat", "ac", "saturation_margin(m1, x1.m2)"),
        "gmid": Measure("gmid", "ac", "@m1[gm] / i(vdd)"),
        "slew": Measure("slew", "tran", meas="SR"),
        "fom": Measure("fom", "", "gain * 2"),
    }
    expressions = {
        name: Expression.parse(each.expression, FUNCTIONS)
        for name, each in measures.items()
        if each.expression
    }
    wanted = required(measures, expressions)
    assert set(wanted) == {"ac", "tran"}
    assert wanted["ac"].vectors == ("v(out)", "v(in)", "i(vdd)")
    assert wanted["ac"].device_values == (
        "@m1[vds]", "@m1[vdsat]", "@m.x1.m2[vds]", "@m.x1.m2[vdsat]", "@m1[gm]",
    )  # fmt: skip
    assert wanted["tran"].meas == ("SR",)


def test_a_plugin_makes_a_function_with_one_decorator():
    @measure(analysis="tran", unit="V")
    def span(wave: Trace, factor: float = 1.0) -> float:
        """Largest less smallest value."""
        return factor * float(np.ptp(wave.y))

    assert (span.name, span.analysis, span.unit) == ("span", "tran", "V")
    assert span.summary == "Largest less smallest value."
    assert list(inspect.signature(span.function).parameters) == ["wave", "factor", "start", "stop"]
    measures = {"x": Measure("x", "step", "span(v(out), factor=3)")}
    functions = {"span": span}
    expressions = {"x": Expression.parse("span(v(out), factor=3)", functions)}
    values, _ = evaluate_measures(measures, expressions, WAVEFORMS, {}, functions)
    assert values == {"x": 3.0}


def test_a_function_may_take_any_number_of_waveforms():
    @measure(analysis="tran")
    def total(*waves: Trace) -> float:
        """Sum of the last values."""
        return float(sum(wave.y[-1] for wave in waves))

    text = "total(v(out), v(vdd), i(vdd))"
    expressions = {"x": Expression.parse(text)}
    measures = {"x": Measure("x", "step", text)}
    values, _ = evaluate_measures(measures, expressions, WAVEFORMS, {}, {"total": total})
    assert values["x"] == pytest.approx(2.199)


def test_a_plugin_function_that_fails_costs_one_measure():
    @measure()
    def bad(wave: Trace) -> float:
        """Fails."""
        return {}["lost"]

    expressions = {"x": Expression.parse("bad(v(out))"), "y": Expression.parse("1 + 1")}
    measures = {"x": Measure("x", "step", "bad(v(out))"), "y": Measure("y", "", "1 + 1")}
    values, reasons = evaluate_measures(measures, expressions, WAVEFORMS, {}, {"bad": bad})
    assert values["y"] == 2.0
    assert reasons == {"x": "KeyError: 'lost'"}


def test_a_function_without_an_analysis_takes_any():
    @measure()
    def points(wave: Trace) -> float:
        """Number of points."""
        return float(wave.x.size)

    for testbench, expected in (("step", 4.0), ("open_loop", 81.0)):
        expressions = {"x": Expression.parse("points(v(out))")}
        measures = {"x": Measure("x", testbench, "points(v(out))")}
        values, _ = evaluate_measures(measures, expressions, WAVEFORMS, {}, {"points": points})
        assert values["x"] == expected


def test_a_waveform_given_for_a_number_is_its_operating_point():
    at = FUNCTIONS["value_at"].function
    with pytest.raises(MeasureUndefined, match="wants a waveform"):
        at(3.0, 1.0)
    values, _ = evaluate(x="open_loop: gain_at(v(out), v(vdd) * 10)")
    assert values["x"] == pytest.approx(abs(1000 / (1 + 0.012j)), rel=1e-5)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_is_summed_up_and_documented(name):
    function = FUNCTIONS[name]
    assert function.name == name
    assert function.summary.endswith(".")
    assert f"\n### {name}\n" in REFERENCE.read_text()


def test_every_example_line_of_the_reference_can_be_read():
    blocks = re.findall(r"```yaml\n(.*?)```", REFERENCE.read_text(), re.DOTALL)
    assert len(blocks) > len(FUNCTIONS)
    seen = set()
    for block in blocks:
        lines = yaml.safe_load(block)
        for each in lines.get("measures", lines).values():
            if "expr" in each:
                seen.update(Expression.parse(each["expr"], FUNCTIONS).calls)
    assert seen >= set(FUNCTIONS)
