"""What measures of one run share, and that the short ways give what the long ones would."""

from __future__ import annotations

import gc
import math
import weakref

import numpy as np
import pytest

from m3eda.design.expressions import Expression
from m3eda.design.functions import MeasureFunction
from m3eda.design.types import Measure
from m3eda.simulate import ac
from m3eda.simulate.measures import Plan, evaluate_measures, measure
from m3eda.simulate.signals import MeasureUndefined, Vectors
from m3eda.simulate.traces import Trace, is_finite, once_per_trace
from m3eda.simulate.transient import crossing_times, rise_time, slew_rate, step_levels
from m3eda.simulate.types import Analysis, Waveforms

FREQUENCIES = np.logspace(0, 10, 201)


def ac_run(*responses: np.ndarray) -> Waveforms:
    vectors = {f"v({name})": y for name, y in zip("abc", responses, strict=False)}
    return Waveforms((Analysis("ac", {"frequency": FREQUENCIES, **vectors}, "frequency"),))


def poles(*roots: complex, gain: float = 1.0, x: np.ndarray = FREQUENCIES) -> np.ndarray:
    """The response of a product of 1 / (1 - s / root), roots in rad/s."""
    s = 2j * np.pi * x
    response = np.full(x.size, complex(gain))
    for root in roots:
        response /= 1.0 - s / root
    return response


def random_responses(count: int, unstable: float) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    found = []
    for _ in range(count):
        roots: list[complex] = []
        for _ in range(rng.integers(1, 4)):
            size = 10.0 ** rng.uniform(2.0, 10.0)
            sign = 1.0 if rng.random() < unstable else -1.0
            angle = rng.uniform(0.0, 1.55)
            pair = size * complex(sign * math.cos(angle), math.sin(angle))
            roots += [pair, pair.conjugate()] if rng.random() < 0.5 else [complex(sign * size)]
        sign = rng.choice([-1.0, 1.0])
        found.append(poles(*roots, gain=sign * 10.0 ** rng.uniform(-1.0, 5.0)))
    return found


def test_phase_is_unwrapped_as_defined():
    for y in random_responses(200, 0.3):
        angle = np.degrees(np.angle(y))
        steps = 90.0 - np.mod(90.0 - np.diff(angle), 360.0)
        expected = angle[0] + np.concatenate([[0.0], np.cumsum(steps)])
        found = ac.unwrapped_phase(Trace(FREQUENCIES, y, "ac", "v(out)"))
        assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("decade", [3, 10, 30, 70])
def test_a_third_of_the_points_tell_what_all_of_them_do(decade):
    x = np.logspace(0, 10, 10 * decade + 1)
    refused = 0
    for y in random_responses(120, 0.2):
        y = np.interp(np.log(x), np.log(FREQUENCIES), y.real) + 1j * np.interp(
            np.log(x), np.log(FREQUENCIES), y.imag
        )
        bode = ac.Bode(Trace(x, y, "ac", "v(out)"))
        phase = ac.unwrapped_phase(Trace(x, y))
        thin = slice(None, None, bode.grid.thinning)
        log_f, log_m = bode.log_f[thin], bode.log_m[thin]
        lead = phase[thin] - np.degrees(bode.grid.weights @ (np.diff(log_m) / np.diff(log_f)))
        lead = lead[log_f <= log_f[-1] - math.log(3.0)]
        worst = np.minimum(np.minimum(lead[:-2], lead[1:-1]), lead[2:]).max()
        try:
            ac._refuse_unstable(phase, bode.grid, bode.log_m)
        except MeasureUndefined:
            refused += 1
            assert worst > ac.LEAD_LIMIT
        else:
            assert worst <= ac.LEAD_LIMIT
    assert 0 < refused < 120


def test_a_function_is_called_once_for_what_two_measures_ask():
    seen: list[float] = []

    def first(response: Trace, share: float = 1.0) -> float:
        seen.append(share)
        return share * float(abs(response.y[0]))

    functions = {"first": measure(analysis="ac")(first)}
    texts = {
        "one": "first(v(a) / v(b))",
        "two": "2 * first(v(a)/v(b))",
        "other": "first(v(a) / v(b), share=2)",
        "third": "first(v(b) / v(a))",
    }
    measures = {name: Measure(name, "tb", text) for name, text in texts.items()}
    expressions = {name: Expression.parse(text, functions) for name, text in texts.items()}
    plan = Plan(measures, expressions, functions)
    for gain in (3.0, 5.0):
        run = ac_run(poles(gain=gain), poles(gain=2.0))
        values, reasons = plan.evaluate({"tb": run}, {})
        assert not reasons
        assert values == pytest.approx(
            {"one": gain / 2, "two": gain, "other": gain, "third": 2 / gain}
        )
    assert seen == [1.0, 2.0, 1.0] * 2


def test_two_testbenches_share_nothing():
    function = MeasureFunction("first", lambda signal: float(abs(signal.trace("ac").y[0])))
    functions = {"first": function}
    measures = {name: Measure(name, name, "first(v(a))") for name in ("small", "large")}
    parsed = Expression.parse("first(v(a))", functions)
    values, _ = evaluate_measures(
        measures,
        dict.fromkeys(measures, parsed),
        {"small": ac_run(poles(gain=1.0)), "large": ac_run(poles(gain=9.0))},
        {},
        functions,
    )
    assert values == {"small": 1.0, "large": 9.0}


def test_a_signal_is_made_once_and_so_is_its_trace():
    run = ac_run(poles(gain=2.0))
    vectors = Vectors(run)
    assert vectors["V(A)"] is vectors["v(a)"]
    assert vectors["v(a)"].trace("ac") is vectors["v(a)"].trace("ac")
    window = vectors["v(a)"].trace("ac", start=10.0)
    assert window is vectors["v(a)"].trace("ac", start=10.0)
    assert window.x[0] == 10.0


def test_waveforms_are_gone_once_they_are_measured():
    function = MeasureFunction("first", lambda signal: float(abs(signal.trace("ac").y[0])))
    expression = Expression.parse("first(v(a) - v(b))", {"first": function})
    plan = Plan({"m": Measure("m", "tb", "")}, {"m": expression}, {"first": function})
    gc.collect()
    gc.disable()
    try:
        run = ac_run(poles(gain=2.0), poles(gain=3.0))
        watched = weakref.ref(run)
        assert plan.evaluate({"tb": run}, {})[0] == {"m": 1.0}
        del run
        assert watched() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", [float, complex])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # a plan's evaluation ignores them too
def test_what_is_finite(kind):
    values = np.ones(50, kind)
    assert is_finite(values)
    assert is_finite(1e300 * values)
    assert is_finite(values[:0])
    for bad in (math.inf, -math.inf, math.nan):
        worse = values.copy()
        worse[17] = bad
        assert not is_finite(worse)
        assert not is_finite(worse[17:18])
        worse[18] = -bad
        assert not is_finite(worse)


def test_what_is_kept_stays_with_its_trace():
    @once_per_trace
    def largest(trace: Trace) -> float:
        calls.append(trace.name)
        return float(trace.y.max())

    calls: list[str] = []
    one, two = Trace(np.arange(2.0), np.arange(2.0), name="1"), Trace(np.zeros(1), np.ones(1))
    assert [largest(one), largest(one), largest(two)] == [1.0, 1.0, 1.0]
    assert calls == ["1", ""]


def ringing(seed: int, size: int = 400) -> Trace:
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.uniform(0.1, 2.0, size))
    decay, cycles = rng.uniform(0.5, 8.0), rng.uniform(0.0, 40.0)
    t = x / x[-1]
    y = rng.uniform(-2, 2) + rng.uniform(-3, 3) * (
        1.0 - np.exp(-decay * t) * np.cos(2 * np.pi * cycles * t)
    )
    return Trace(x, y, "tran", "v(out)")


def edges_as_defined(wave: Trace, sign: int) -> list[float]:
    first, other = step_levels(wave)
    flipped = Trace(wave.x, sign * wave.y, "tran", "v(out)")
    low, high = sorted((sign * first, sign * other))
    starts = crossing_times(flipped, low + 0.1 * (high - low), "rise")
    found, previous = [], -np.inf
    for end in crossing_times(flipped, low + 0.9 * (high - low), "rise"):
        fresh = starts[(starts > previous) & (starts <= end)]
        if fresh.size:
            found.append(float(end - fresh[-1]))
            previous = end
    return found


def test_edges_are_paired_as_defined():
    several = 0
    for seed in range(150):
        wave = ringing(seed)
        rising, falling = edges_as_defined(wave, 1), edges_as_defined(wave, -1)
        height = 0.8 * abs(np.subtract(*step_levels(wave)))
        slowest = max(rising + falling, default=math.nan)
        several += len(rising) > 1
        if rising:
            assert rise_time.function(wave) == pytest.approx(rising[0], rel=1e-12)
        if rising or falling:
            assert slew_rate.function(wave) == pytest.approx(height / slowest, rel=1e-12)
    assert several > 5


@pytest.mark.parametrize("edge", ["rise", "fall", "any"])
def test_few_crossings_are_computed_as_many_are(edge):
    for seed in range(40):
        wave = ringing(seed)
        level = float(wave.y.mean())
        before, after = wave.y[:-1], wave.y[1:]
        rising, falling = (before < level) & (after >= level), (before > level) & (after <= level)
        i = np.flatnonzero({"rise": rising, "fall": falling, "any": rising | falling}[edge])
        part = (level - wave.y[i]) / (wave.y[i + 1] - wave.y[i])
        expected = wave.x[i] + part * (wave.x[i + 1] - wave.x[i])
        assert crossing_times(wave, level, edge) == pytest.approx(expected, rel=1e-13)


def test_a_window_ends_on_points_given_twice():
    x = np.array([0.0, 1.0, 1.0, 2.0, 3.0])
    wave = Trace(x, np.array([0.0, 1.0, 5.0, 6.0, 7.0]), "tran", "v(out)")
    later = wave.window(1.0, None)
    assert later.x.tolist() == [1.0, 2.0, 3.0]
    assert later.y.tolist() == [5.0, 6.0, 7.0]
    earlier = wave.window(None, 1.0)
    assert earlier.x.tolist() == [0.0, 1.0]
    assert earlier.y.tolist() == [0.0, 5.0]
    within = wave.window(0.5, 2.5)
    assert within.x.tolist() == [0.5, 1.0, 1.0, 2.0, 2.5]
    assert within.y.tolist() == [0.5, 1.0, 5.0, 6.0, 6.5]
