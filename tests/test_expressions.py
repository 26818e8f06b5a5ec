"""Expressions of the design file."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3eda.design.expressions import Expression, ExpressionError
from m3eda.design.functions import MeasureFunction

NAMES = {"a": 2.0, "b": 3.0, "gain": 100.0, "zero": 0.0, "model": "nch_lvt"}
TABLE = {
    "sat": MeasureFunction("sat", lambda *devices: 0.1, device_values=("vds", "vdsat")),
    "peak": MeasureFunction("peak", lambda signal, start=0.0: 1.0),
}


def no_vector(name):
    raise AssertionError(f"asked for {name}")


def value(text, **functions):
    return Expression.parse(text).evaluate(NAMES, functions, no_vector)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("2 * a + b", 7.0),
        ("a ^ b", 8.0),
        ("a ** -1", 0.5),
        ("-a ^ 2", -4.0),
        ("(a + b) / 2", 2.5),
        ("10p * 1meg", 1e-5),
        ("10pF", 1e-11),
        ("1% * gain", 1.0),
        ("10000meg ^ 2", 1e20),
        ("db(gain)", 40.0),
        ("db(-gain)", 40.0),
        ("sqrt(a * 8)", 4.0),
        ("ln(exp(a))", 2.0),
        ("log(exp(1))", 1.0),
        ("log10(gain)", 2.0),
        ("min(a, b, 1)", 1.0),
        ("max(a, b)", 3.0),
        ("max(a)", 2.0),
        ("abs(-b)", 3.0),
        ("2 * pi", 2.0 * math.pi),
        ("a\n  + b", 5.0),
    ],
)
def test_arithmetic(text, result):
    assert value(text) == pytest.approx(result, rel=1e-14)


def test_what_an_expression_uses_is_known_before_it_is_evaluated():
    expression = Expression.parse(
        "peak(V(Out) - v(in,X1.ref)) * i(VDD) / @M1[gm] + b * a + b", TABLE
    )
    assert expression.names == ("b", "a")
    assert expression.vectors == ("v(out)", "v(in)", "v(x1.ref)", "i(vdd)", "@m1[gm]")
    assert expression.calls == ("peak",)
    assert expression.device_values == ()


@pytest.mark.parametrize(
    "name", ["v(net.1#branch+)", "v(d[3])", "v(3)", "i(x1.v_sense)", "@m.x1.xm1.nfet_01v8[gm]",
             "onoise_spectrum"],
)  # fmt: skip
def test_names_of_nodes_and_devices_as_simulators_have_them(name):
    asked = []
    assert Expression.parse(name).evaluate({}, {}, lambda n: asked.append(n) or 1.5) == 1.5
    assert asked == [name]


def test_the_voltage_between_two_nodes_is_a_difference():
    volts = {"v(a)": 3.0, "v(b)": 1.0}
    assert Expression.parse("v(a, b) * 2").evaluate({}, {}, volts.__getitem__) == 4.0


def test_bare_device_names_are_no_names_of_parameters():
    expression = Expression.parse("sat(m1, X1.m2) + a", TABLE)
    assert expression.names == ("a",)
    assert expression.device_values == ("@m1[vds]", "@m1[vdsat]", "@x1.m2[vds]", "@x1.m2[vdsat]")
    given_devices = []
    expression.evaluate(NAMES, {"sat": lambda *d: given_devices.extend(d) or 0.1}, no_vector)
    assert given_devices == ["m1", "x1.m2"]


def test_functions_take_keywords_and_words():
    seen = {}

    def crossing(level, edge, start):
        seen.update(level=level, edge=edge, start=start)
        return 1.0

    value("crossing(0.6, edge='rise', start=5n)", crossing=crossing)
    assert seen == {"level": 0.6, "edge": "rise", "start": 5e-9}


def test_waveforms_go_through_mathematics_point_by_point():
    wave = np.array([4.0, 9.0])
    result = Expression.parse("sqrt(v(out)) + 1").evaluate({}, {}, lambda _: wave)
    assert result.tolist() == [3.0, 4.0]


def test_the_largest_of_one_waveform_is_its_own():
    wave = np.array([4.0, 9.0])
    assert Expression.parse("max(v(out)) - min(v(out))").evaluate({}, {}, lambda _: wave) == 5.0


def test_the_function_that_gives_the_whole_result():
    assert Expression.parse("peak(v(out))").outermost == "peak"
    assert Expression.parse("2 * peak(v(out))").outermost == ""


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 0, "empty"),
        ("2 *", 3, "breaks off"),
        ("a + 1M", 4, "ambiguous"),
        ("a b", 2, "not an expression at 'b'"),
        ("max(a, b", 3, "not an expression at '(a, b'"),
        ("a ; b", 2, "does not understand ';'"),
        ("a == b", 0, "arithmetic and functions only"),
        ("a < b", 2, "does not understand '<'"),
        ("v(a, b, c)", 0, "not a waveform"),
        ("i(a, b)", 0, "not a waveform"),
        ("2 * x1.m2", 4, "'x1.m2' is not a name"),
        ("a[0]", 1, "does not understand '['"),
        ("a.__class__", 0, "is not a name"),
        ("__import__('os')", 0, "does not understand '_'"),
        ("a if b else c", 0, "arithmetic and functions only"),
        ("(a, b)", 0, "arithmetic and functions only"),
        ("f(*a)", 2, "arithmetic and functions only"),
        ("f(**a)", 0, "not a function"),
        ("f(a)(b)", 0, "not a function"),
        ("f'{a}'", 0, "arithmetic and functions only"),
        ("b'a'", 0, "arithmetic and functions only"),
        ("None", 0, "arithmetic and functions only"),
        ("1 + lambda", 4, "not an expression"),
        ("a" * 3000, 0, "longer than"),
        ("-" * 1900 + "1", 0, "nested too deeply"),
    ],
)
def test_what_is_no_arithmetic_is_refused_at_its_column(text, column, words):
    with pytest.raises(ExpressionError) as caught:
        Expression.parse(text)
    assert words in str(caught.value)
    assert caught.value.column == column


@given(st.text("ab1.+-*/^()[],'\"@=%_: vi~{}\\", max_size=40))
def test_no_text_does_anything_but_give_a_value_or_fail_cleanly(text):
    try:
        expression = Expression.parse(text)
        expression.evaluate({"a": 1.0, "b": 2.0}, {}, lambda _: 1.0)
    except ExpressionError as error:
        column = error.column or 0
    else:
        column = 0
    assert 0 <= column <= len(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a / zero", "divides by zero"),
        ("zero ^ -1", "divides by zero"),
        ("sqrt(-a)", "sqrt of -2"),
        ("ln(zero)", "log of 0"),
        ("(-a) ^ 0.5", "-2 to the power of 0.5"),
        ("10 ^ 1000", "too large"),
        ("exp(1000)", "too large"),
        ("a + model", "cannot be evaluated"),
        ("other + 1", "'other' has no value"),
        ("nothing(a)", "no function is called 'nothing'"),
        ("sqrt(a, b)", "cannot be evaluated"),
    ],
)
def test_what_has_no_value_says_why(text, words):
    with pytest.raises(ExpressionError, match=words.replace("^", "\\^")):
        value(text)


def test_errors_of_functions_pass_through():
    class Undefined(Exception):
        pass

    def missing(x):
        raise Undefined("no unity crossing")

    with pytest.raises(Undefined, match="no unity crossing"):
        value("missing(a) + 1", missing=missing)


def test_a_function_may_evaluate_another_expression():
    def inner(x):
        return Expression.parse("a * 10").evaluate({"a": x}, {}, no_vector)

    assert value("inner(b) + a", inner=inner) == 32.0


def test_threads_do_not_see_each_others_names():
    expression = Expression.parse("slow(a) + a")
    both_inside = threading.Barrier(2, timeout=5)
    results = {}

    def slow(x):
        both_inside.wait()
        return x

    def work(number):
        results[number] = expression.evaluate({"a": number}, {"slow": slow}, no_vector)

    threads = [threading.Thread(target=work, args=(float(n),)) for n in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {1.0: 2.0, 2.0: 4.0}
