"""The contract of a measure, as a test-case class.

    from m3eda.testing.measures import MeasureContract

    class TestPeakFrequency(MeasureContract):
        @pytest.fixture
        def function(self):
            return peak_frequency

The function is called on waveforms in closed form (`m3eda.testing.waveforms`), with numbers that
suit them. One that wants other arguments names its calls:

        calls = ("peak_frequency(v(out), edge='rise')",)
"""

from __future__ import annotations

import functools
import inspect
import math
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest

from m3eda.design.compiled import CONSTANTS, MATH_FUNCTIONS, Scope
from m3eda.design.expressions import Expression, ExpressionError, explained
from m3eda.design.functions import FunctionTable, MeasureFunction
from m3eda.design.types import Measure
from m3eda.errors import cause
from m3eda.plugins import Plugins
from m3eda.simulate.measures import MeasureUndefined, Plan
from m3eda.simulate.signals import Signal, VectorMissing, Vectors
from m3eda.simulate.types import Waveforms
from m3eda.testing.waveforms import DEVICES, WAVES, copied, dense, good, odd, without

NUMBERS = (1e5, 0.5, 1.0, 2e-6, 25.0)
"""What is tried for arguments that are numbers: in each of the good waveforms one is fit."""
WINDOWS = ((-1.0, 1e12), (1.0, 1.0), (2e-6, 1e-6), (1e-6, 9e-6), (1e3, 1e6), (0.1, 1.5))
"""Of frequencies, times and volts, and some that are none."""

_PREFIXED = re.compile(r"[fpnumkMGT](V|A|Hz|s|W|F|H|ohm|Ohm)")
_ANALYSES = {"", "op", "dc", "ac", "tran", "noise", "sp"}


class MeasureContract:
    """Give a fixture `function` with what `m3eda.simulate.measures.measure` made of yours."""

    calls: tuple[str, ...] = ()
    """Expressions that use the measure, where the contract cannot guess its arguments."""
    most_seconds = 1.0
    """Processor time for a waveform of 100 000 points."""

    @pytest.fixture
    def function(self) -> MeasureFunction:
        raise NotImplementedError("give a fixture `function` that returns the measure")

    def runs(self, function: MeasureFunction) -> Mapping[str, Waveforms]:
        """Waveforms by name; in one of them at least the measure exists."""
        return good(function.device_values)

    def expressions(self, function: MeasureFunction) -> tuple[str, ...]:
        """Expressions that may have a value on the waveforms."""
        return self.calls or tuple(guessed_calls(function))

    def value(self, function: MeasureFunction, expression: str, run: Waveforms) -> float:
        """The value of `expression`, as a design has it. Raises MeasureUndefined and its kin."""
        parsed = Expression.parse(expression, _table(function))
        plan = Plan({"m": Measure("m", "testbench", expression)}, {"m": parsed}, _table(function))
        scope = Scope({}, plan.called(run), Vectors(run).__getitem__, {})
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error")
            found = parsed.compute(scope)
            if isinstance(found, Signal):
                found = float(found)
        assert isinstance(found, (int, float, np.number)), f"{found!r} is no number"
        assert not isinstance(found, (complex, np.complexfloating)), f"{found!r} is complex"
        return float(found)

    def outcome(
        self, function: MeasureFunction, expression: str, run: Waveforms, name: str = "waveforms"
    ) -> float | str:
        """The value, or in words why there is none. Fails where anything else is raised."""
        try:
            return self.value(function, expression, run)
        except (MeasureUndefined, VectorMissing, ExpressionError) as error:
            reason = error.reason if isinstance(error, VectorMissing) else str(error)
        except (ZeroDivisionError, OverflowError) as error:
            reason = str(explained(error))
        except Exception as error:  # noqa: BLE001  a stranger's function may raise anything
            pytest.fail(f"{expression} on {name}: {cause(error)}")
        assert reason, f"{expression} on {name}: a measure that does not exist says why"
        assert "\n" not in reason, f"{expression} on {name}: a reason is one line"
        return reason

    def existing(self, function: MeasureFunction) -> tuple[str, Waveforms, float]:
        """An expression, the waveforms on which it has a finite value, and the value."""
        reasons: dict[str, None] = {}
        for expression in self.expressions(function):
            for run in self.runs(function).values():
                found = self.outcome(function, expression, run)
                if isinstance(found, float) and math.isfinite(found):
                    return expression, run, found
                reasons[f"{expression}: {found}"] = None
        listed = "\n".join(reasons)
        pytest.fail(f"no waveform gives a number; set `calls` or `runs`. Tried:\n{listed}")

    def test_is_made_by_the_decorator(self, function: MeasureFunction) -> None:
        assert isinstance(function, MeasureFunction), "decorate it with `measure`"
        assert function.name.isidentifier()
        assert function.name not in {*MATH_FUNCTIONS, *CONSTANTS}, "the name is taken"
        assert function.analysis in _ANALYSES

    def test_is_documented(self, function: MeasureFunction) -> None:
        assert function.summary, "the docstring's first line is what a designer reads"

    def test_its_unit_has_no_prefix(self, function: MeasureFunction) -> None:
        assert function.unit == function.unit.strip()
        assert not _PREFIXED.fullmatch(function.unit), f"{function.unit}: give SI units"

    def test_gives_a_number(self, function: MeasureFunction) -> None:
        self.existing(function)

    def test_gives_the_same_again(self, function: MeasureFunction) -> None:
        expression, run, first = self.existing(function)
        assert self.value(function, expression, run) == first
        assert self.value(function, expression, copied(run)) == first

    def test_leaves_the_waveforms_as_they_are(self, function: MeasureFunction) -> None:
        expression, run, _ = self.existing(function)
        given = copied(run)
        self.outcome(function, expression, given)
        for one, other in zip(run.analyses, given.analyses, strict=True):
            for name, y in one.vectors.items():
                np.testing.assert_array_equal(y, other.vectors[name])

    def test_names_what_is_missing(self, function: MeasureFunction) -> None:
        expression, run, _ = self.existing(function)
        nothing = self.outcome(function, expression, replace(run, analyses=()))
        assert isinstance(nothing, str), "without any waveform there is no value"
        wrong = expression.replace(WAVES[0], "v(nowhere)").replace(DEVICES[0], "m77")
        if wrong != expression:
            reason = self.outcome(function, wrong, run)
            assert isinstance(reason, str), f"{wrong} has no value"
            assert "nowhere" in reason or "m77" in reason, reason

    def test_wants_its_own_analysis(self, function: MeasureFunction) -> None:
        expression, run, _ = self.existing(function)
        if not function.analyses:
            pytest.skip("it takes waveforms from any analysis")
        reason = self.outcome(function, expression, without(run, *function.analyses))
        assert isinstance(reason, str), f"{function.name} has no {' or '.join(function.analyses)}"

    def test_odd_waveforms_give_a_number_or_a_reason(self, function: MeasureFunction) -> None:
        expression, run, _ = self.existing(function)
        for name, waveforms in odd(run).items():
            self.outcome(function, expression, waveforms, name)

    def test_windows_give_a_number_or_a_reason(self, function: MeasureFunction) -> None:
        expression, run, _ = self.existing(function)
        if function.device_values or not expression.endswith(")"):
            pytest.skip("it takes no window")
        for start, stop in WINDOWS:
            window = f"start={start:g}, stop={stop:g}"
            self.outcome(function, f"{expression[:-1]}, {window})", run)

    def test_takes_little_time(self, function: MeasureFunction) -> None:
        expression, run, _ = self.existing(function)
        long = dense(run, 100_000)
        start = time.process_time()
        self.outcome(function, expression, long)
        spent = time.process_time() - start
        assert spent < self.most_seconds, f"{spent:.1f} s for 100 000 points"


def guessed_calls(function: MeasureFunction) -> Iterator[str]:
    """Calls with a number for each argument that is one, a waveform or device for each other."""
    if function.device_values:
        yield f"{function.name}({DEVICES[0]})"
        yield f"{function.name}({', '.join(DEVICES)})"
        return
    waves = iter(WAVES)
    arguments: list[str] = []
    for each in inspect.signature(function.function).parameters.values():
        if each.kind is each.VAR_POSITIONAL:
            arguments += list(waves)[:2]
        elif each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD:
            plain = each.annotation in ("float", "int", float, int)
            arguments.append("NUMBER" if plain else next(waves, WAVES[0]))
    text = f"{function.name}({', '.join(arguments)})"
    calls = [text.replace("NUMBER", f"{number:g}") for number in NUMBERS]
    yield from dict.fromkeys(calls)
    # of one that gives a waveform again
    yield from (f"{other}({calls[0]})" for other in ("dc_gain", "average"))


@functools.cache
def _registered() -> FunctionTable:
    return dict(Plugins(silent=True).measures)


def _table(function: MeasureFunction) -> FunctionTable:
    """What the expressions of a design may call: every registered measure, and this one."""
    return {**_registered(), function.name: function}
