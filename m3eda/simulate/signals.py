"""What `v(out)` means in a measure's expression.

A `Signal` is a promise: nothing is read until a measure function asks for the analysis it wants,
and then it becomes a `Trace`. Signals can be added, multiplied and divided before, so that
`power(v(vdd) * -i(vdd))` and `dc_gain(v(out) / v(in))` mean what they say. A signal that is left
over as a whole expression, such as `-i(vdd)`, is its value at the operating point.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from m3eda.simulate.types import Analysis, AnalysisKind, SimulationFailed, State, Waveforms

ANALYSIS_WORDS = {
    "op": "operating point",
    "dc": "DC sweep",
    "ac": "AC analysis",
    "tran": "transient analysis",
    "noise": "noise analysis",
    "sp": "S-parameter analysis",
}
GROUNDS = frozenset({"0", "gnd"})
ELEMENTS = {
    "r": "resistor",
    "c": "capacitor",
    "l": "inductor",
    "v": "voltage source",
    "i": "current source",
    "d": "diode",
    "q": "bipolar transistor",
    "j": "JFET",
    "m": "MOSFET",
    "x": "subcircuit",
}
"""What an element is, by the first letter of its name."""


class MeasureUndefined(Exception):
    """The measure does not exist in these waveforms: it becomes nan, with this one-line reason."""


class VectorMissing(SimulationFailed):
    """A node, device or analysis that a measure names is not in the results.

    Unlike `MeasureUndefined` this is not a matter of the sizing: the design names what is not
    there, so the trial fails with the state VECTOR_MISSING.
    """

    def __init__(self, reason: str, analysis_there: bool = False) -> None:
        super().__init__(State.VECTOR_MISSING, reason)
        self.analysis_there = analysis_there
        """True where the analysis is there and only the vector is not."""
        self.measured: tuple[dict[str, float], dict[str, str]] = {}, {}
        """Values and reasons of every measure, where it ends a whole evaluation."""


@dataclass(frozen=True)
class Trace:
    """One waveform of one analysis.

    `x`, shape (n,), ascending: frequency in Hz, time in s, or the swept quantity; a single 0 for an
    operating point. `y`, shape (n,): complex in an AC analysis, real otherwise; SI units.
    """

    x: NDArray[np.float64]
    y: NDArray[Any]
    kind: str = ""
    name: str = ""

    def window(self, start: float | None, stop: float | None) -> Trace:
        """The part between `start` and `stop`, with interpolated end points.

        Interpolates linearly in x, in log x for frequency sweeps. Raises MeasureUndefined where the
        window is empty or leaves the data.
        """
        low = self.at_end(float(self.x[0] if start is None else start))
        high = self.at_end(float(self.x[-1] if stop is None else stop))
        if not self.x[0] <= low < high <= self.x[-1]:
            raise MeasureUndefined(
                f"the window {low:.4g} to {high:.4g} is empty or not within "
                f"{self.x[0]:.4g} to {self.x[-1]:.4g}, where {self.name} is known"
            )
        inside = (self.x > low) & (self.x < high)
        x = np.concatenate([[low], self.x[inside], [high]])
        ends = self._interpolate(np.array([low, high]))
        y = np.concatenate([ends[:1], self.y[inside], ends[1:]])
        return Trace(x, y, self.kind, self.name)

    def at_end(self, x: float) -> float:
        """`x`, or the first or last point where it misses that by rounding alone.

        A simulator adds up its steps: a sweep to 1.4 ends at 1.3999999999999997.
        """
        first, last = float(self.x[0]), float(self.x[-1])
        for end in (first, last):
            # over decades of frequency the span says nothing about the first point
            if abs(x - end) <= 1e-9 * (abs(end) if first > 0.0 else last - first):
                return end
        return x

    def _interpolate(self, at: NDArray[np.float64]) -> NDArray[Any]:
        x = self.x
        if self.kind in ("ac", "noise", "sp") and x[0] > 0.0:
            at, x = np.log(at), np.log(x)
        i = np.clip(np.searchsorted(x, at, side="right") - 1, 0, x.size - 2)
        part = (at - x[i]) / (x[i + 1] - x[i])
        before, after = self.y[i], self.y[i + 1]
        line: NDArray[Any] = before + part * (after - before)
        if not np.iscomplexobj(self.y):
            return line
        # log magnitude and phase on straight lines, as every AC measure takes them
        with np.errstate(all="ignore"):
            spiral = before * (after / before) ** part
        return np.where(np.isfinite(spiral), spiral, line)


class Signal:
    """A waveform still to be taken from an analysis. Made by `vector`, combined by arithmetic."""

    def __init__(self, name: str, take: Callable[[AnalysisKind], Trace]) -> None:
        self.name = name
        self._take = take

    def combined(self, name: str, take: Callable[[AnalysisKind], Trace]) -> Signal:
        """What arithmetic makes of it: a signal of the same sort."""
        return Signal(name, take)

    def trace(
        self, *kinds: AnalysisKind, start: float | None = None, stop: float | None = None
    ) -> Trace:
        """The waveform in the first analysis of `kinds` that has every vector it needs.

        From `start` to `stop`, where either is given. Raises VectorMissing where no analysis has
        it, MeasureUndefined where the values are not finite.
        """
        missing: list[VectorMissing] = []
        for kind in kinds:
            try:
                trace = self._take(kind)
            except VectorMissing as error:
                missing.append(error)
                continue
            # a ratio may have no value before the window, as 0 / 0 at the time 0
            if start is not None or stop is not None:
                trace = trace.window(start, stop)
            if trace.x.size == 0 or not np.isfinite(trace.y).all():
                raise MeasureUndefined(f"{self.name} is not finite at every point")
            return trace
        # a wrong node name says more than an analysis that was never meant to be there
        raise next((error for error in missing if error.analysis_there), missing[0])

    def __float__(self) -> float:
        """The value at the operating point, or of a noise total. Raises as `trace` does."""
        trace = self.trace("op", "noise")
        if trace.x.size > 1:
            raise MeasureUndefined(f"{self.name} is a waveform: a function must make it a number")
        return float(trace.y[0].real)

    def min(self) -> float:
        """Smallest value over the transient, or over the DC sweep."""
        return float(self.trace("tran", "dc").y.min())

    def max(self) -> float:
        """Largest value over the transient, or over the DC sweep."""
        return float(self.trace("tran", "dc").y.max())

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """NumPy's functions point by point, so that `sqrt(v(out))` is a signal too."""
        if method != "__call__" or kwargs or len(inputs) > 2:
            return NotImplemented
        if len(inputs) == 1:
            return self._map(ufunc, f"{ufunc.__name__}({self.name})")
        first, second = inputs
        text = f"{ufunc.__name__}({{}}, {{}})"
        if isinstance(first, Signal):
            return first._with(second, ufunc, text)
        return self._with(first, lambda a, b: ufunc(b, a), text)

    def _with(self, other: Any, apply: Callable[[Any, Any], Any], text: str) -> Signal:
        if isinstance(other, Signal):
            name = text.format(self.name, other.name)
            return self.combined(
                name, lambda kind: _combine(self._take(kind), other._take(kind), apply)
            )
        if isinstance(other, (int, float)):
            name = text.format(self.name, f"{other:g}")
            return self._map(lambda y: apply(y, other), name)
        return cast("Signal", NotImplemented)

    def _map(self, apply: Callable[[Any], Any], name: str) -> Signal:
        def take(kind: AnalysisKind) -> Trace:
            trace = self._take(kind)
            with np.errstate(all="ignore"):
                return Trace(trace.x, apply(trace.y), trace.kind, name)

        return self.combined(name, take)

    def __add__(self, other: Any) -> Signal:
        return self._with(other, operator.add, "({} + {})")

    def __radd__(self, other: Any) -> Signal:
        return self._with(other, lambda a, b: b + a, "({1} + {0})")

    def __sub__(self, other: Any) -> Signal:
        return self._with(other, operator.sub, "({} - {})")

    def __rsub__(self, other: Any) -> Signal:
        return self._with(other, lambda a, b: b - a, "({1} - {0})")

    def __mul__(self, other: Any) -> Signal:
        return self._with(other, operator.mul, "{} * {}")

    def __rmul__(self, other: Any) -> Signal:
        return self._with(other, lambda a, b: b * a, "{1} * {0}")

    def __truediv__(self, other: Any) -> Signal:
        return self._with(other, np.divide, "{} / {}")

    def __rtruediv__(self, other: Any) -> Signal:
        return self._with(other, lambda a, b: np.divide(b, a), "{1} / {0}")

    def __pow__(self, other: Any) -> Signal:
        return self._with(other, np.power, "{} ** {}")

    def __rpow__(self, other: Any) -> Signal:
        return self._with(other, lambda a, b: np.power(b, a), "{1} ** {0}")

    def __neg__(self) -> Signal:
        return self._map(operator.neg, f"-{self.name}")

    def __pos__(self) -> Signal:
        return self

    def __abs__(self) -> Signal:
        return self._map(np.abs, f"abs({self.name})")

    def __lt__(self, other: Any) -> bool:
        return float(self) < float(other)

    def __gt__(self, other: Any) -> bool:
        return float(self) > float(other)

    def __repr__(self) -> str:
        return f"Signal({self.name})"


class Swept(Signal):
    """A measure over the condition its testbench is simulated at, whatever analysis is asked for.

    Its trace has kind "sweep", the condition's values as x and the measure's as y.
    """

    def __init__(self, name: str, take: Callable[[AnalysisKind], Trace], condition: str) -> None:
        super().__init__(name, take)
        self.condition = condition

    @classmethod
    def of(cls, name: str, condition: str, x: Iterable[float], y: Iterable[float]) -> Swept:
        trace = Trace(np.array([*x], dtype=float), np.array([*y], dtype=float), "sweep", name)
        return cls(name, lambda kind: trace, condition)

    def combined(self, name: str, take: Callable[[AnalysisKind], Trace]) -> Signal:
        return Swept(name, take, self.condition)

    def trace(
        self, *kinds: AnalysisKind, start: float | None = None, stop: float | None = None
    ) -> Trace:
        return super().trace("op", start=start, stop=stop)

    def __float__(self) -> float:
        raise MeasureUndefined(
            f"{self.name} has a value for each {self.condition}: take min(), max(), value_at() or "
            "another function of a waveform"
        )


@dataclass(frozen=True)
class Device:
    """A device of the netlist, whose operating-point values a measure asks for by name."""

    name: str
    waveforms: Waveforms

    def value(self, quantity: str) -> float:
        """`quantity`, such as vds or gm, in SI units. Raises VectorMissing."""
        return float(vector(self.waveforms, device_vector(self.name, quantity)))


def device_vector(device: str, quantity: str) -> str:
    """ngspice's name of an operating-point value: m1 -> @m1[gm], x1.m1 -> @m.x1.m1[gm]."""
    device = device.lower()
    parts = device.split(".")
    if len(parts) > 1 and parts[0].startswith("x") and parts[-1]:
        device = f"{parts[-1][0]}.{device}"
    return f"@{device}[{quantity.lower()}]"


def to_save(names: Iterable[str]) -> tuple[str, ...]:
    """The vectors a simulator must save so that `vector` finds `names`; ground needs none."""
    kept = dict.fromkeys(_plain(name) for name in names)
    return tuple(name for name in kept if not _is_ground(name))


def vector(waveforms: Waveforms, name: str) -> Signal:
    """The signal called `name`: `v(out)`, `i(vdd)`, `@m1[gm]`, `onoise_spectrum`."""
    name = _plain(name)
    return Signal(name, lambda kind: _find(waveforms, kind, name))


def _plain(name: str) -> str:
    """`name` as back ends spell it: lower case, devices in subcircuits as ngspice has them."""
    name = name.lower()
    if name.startswith("@") and name.endswith("]"):
        device, _, quantity = name[1:-1].partition("[")
        return device_vector(device, quantity)
    return name


def _is_ground(name: str) -> bool:
    return name.startswith("v(") and name[2:-1] in GROUNDS


def _find(waveforms: Waveforms, kind: AnalysisKind, name: str) -> Trace:
    analyses = [analysis for analysis in waveforms.of_kind(kind) if analysis.vectors]
    for analysis in analyses:
        if name in analysis.vectors:
            return _trace(analysis, analysis.vectors[name], name)
        if _is_ground(name):
            some = next(iter(analysis.vectors.values()))
            return _trace(analysis, np.zeros_like(some), name)
    raise VectorMissing(_why_missing(waveforms, analyses, kind, name), bool(analyses))


def _trace(analysis: Analysis, values: NDArray[Any], name: str) -> Trace:
    y = np.atleast_1d(values)
    if not analysis.scale:
        return Trace(np.zeros(y.size), y, analysis.kind, name)
    x = np.atleast_1d(analysis.vectors[analysis.scale]).real.astype(float)
    if analysis.kind == "dc" and x.size > 1:
        steps = np.diff(x)
        if (steps < 0.0).all():
            x, y = x[::-1], y[::-1]
        elif (steps < 0.0).any():
            raise MeasureUndefined(f"{name} comes from a nested DC sweep, which no measure reads")
    return Trace(x, y, analysis.kind, name)


def _why_missing(
    waveforms: Waveforms, analyses: Iterable[Analysis], kind: AnalysisKind, name: str
) -> str:
    known = [vector for analysis in analyses for vector in analysis.vectors]
    word = ANALYSIS_WORDS.get(kind, kind)
    if known:
        near = get_close_matches(name, known, n=3, cutoff=0.5)
        return f"the {word} has no {name}" + (f" (nearest: {', '.join(near)})" if near else "")
    there = sorted({analysis.kind for analysis in waveforms.analyses})
    listed = ", ".join(ANALYSIS_WORDS[other] for other in there) or "no analysis"
    return f"{name} is wanted from the {word}, and the testbench gave {listed}"


def _combine(a: Trace, b: Trace, apply: Callable[[Any, Any], Any]) -> Trace:
    if a.x is not b.x and not np.array_equal(a.x, b.x):
        swept = a.kind == "sweep"
        why = "are over different conditions" if swept else "come from different analyses"
        raise MeasureUndefined(f"{a.name} and {b.name} {why}")
    with np.errstate(all="ignore"):
        return Trace(a.x, apply(a.y, b.y), a.kind, a.name)
