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
from functools import lru_cache, partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from m3eda.simulate.traces import MeasureUndefined, Trace, is_finite
from m3eda.simulate.types import Analysis, AnalysisKind, SimulationFailed, State, Waveforms

__all__ = ["Device", "MeasureUndefined", "Signal", "Swept", "Trace", "VectorMissing", "Vectors",
           "device_vector", "to_save", "vector"]  # fmt: skip

ANALYSIS_WORDS = {
    "op": "operating point",
    "dc": "DC sweep",
    "ac": "AC analysis",
    "tran": "transient analysis",
    "noise": "noise analysis",
    "sp": "S-parameter analysis",
}
FloatArray = NDArray[np.float64]

_ORIGIN: FloatArray = np.zeros(1)
_ORIGIN.setflags(write=False)
"""What an operating point stands over."""

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


class Signal:
    """A waveform still to be taken from an analysis. Made by `vector`, combined by arithmetic."""

    def __init__(self, name: str, take: Callable[[AnalysisKind], Trace]) -> None:
        self.name = name
        self._take = take
        self.known: dict[Any, Trace] = {}
        """Traces by what was asked for, as `taken` has been before."""

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
        return self.taken(kinds, start, stop)

    def taken(
        self,
        kinds: tuple[AnalysisKind, ...],
        start: float | None = None,
        stop: float | None = None,
    ) -> Trace:
        """As `trace`. The same trace is given each time."""
        wanted = (kinds, start, stop)
        found = self.known.get(wanted)
        if found is None:
            found = self.known[wanted] = self._looked_up(kinds, start, stop)
        return found

    def _looked_up(
        self, kinds: tuple[AnalysisKind, ...], start: float | None, stop: float | None
    ) -> Trace:
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
            if trace.x.size == 0 or not is_finite(trace.y):
                raise MeasureUndefined(f"{self.name} is not finite at every point")
            return trace
        # a wrong node name says more than an analysis that was never meant to be there
        raise next((error for error in missing if error.analysis_there), missing[0])

    def __float__(self) -> float:
        """The value at the operating point, or of a noise total. Raises as `trace` does."""
        trace = self.taken(("op", "noise"))
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
        name = f"-{self.name}"

        def take(kind: AnalysisKind) -> Trace:
            trace = self._take(kind)
            return Trace(trace.x, -trace.y, trace.kind, name)

        return self.combined(name, take)

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

    def taken(
        self,
        kinds: tuple[AnalysisKind, ...],
        start: float | None = None,
        stop: float | None = None,
    ) -> Trace:
        return super().taken(("op",), start, stop)

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


class Vectors(dict[str, Signal]):
    """The signals of one run by name, `v(out)` or `@m1[gm]`: each is made once, when asked for."""

    def __init__(self, waveforms: Waveforms) -> None:
        # apart from the signals, which refer to it: a circle would keep the waveforms in memory
        self._reader = _Reader(waveforms)

    def __missing__(self, given: str) -> Signal:
        name = _plain(given)
        signal = self[name] if name != given else Signal(name, partial(self._reader.find, name))
        self[given] = signal
        return signal


class _Reader:
    """Traces from what one run gave."""

    def __init__(self, waveforms: Waveforms) -> None:
        self.waveforms = waveforms
        self._grids: dict[int, FloatArray] = {}
        """By place in the waveforms, the independent variable of an analysis."""

    def find(self, name: str, kind: AnalysisKind) -> Trace:
        analyses = []
        for place, analysis in enumerate(self.waveforms.analyses):
            if analysis.kind != kind or not analysis.vectors:
                continue
            if name in analysis.vectors:
                return self._trace(place, analysis, analysis.vectors[name], name)
            if _is_ground(name):
                some = next(iter(analysis.vectors.values()))
                return self._trace(place, analysis, np.zeros_like(some), name)
            analyses.append(analysis)
        raise VectorMissing(_why_missing(self.waveforms, analyses, kind, name), bool(analyses))

    def _trace(self, place: int, analysis: Analysis, values: NDArray[Any], name: str) -> Trace:
        y = values if values.ndim else np.atleast_1d(values)
        if not analysis.scale:
            x = _ORIGIN if y.size == 1 else np.zeros(y.size)
            return Trace(x, y, analysis.kind, name)
        if place in self._grids:
            x = self._grids[place]
        else:
            given = np.atleast_1d(analysis.vectors[analysis.scale]).real
            x = self._grids[place] = given.astype(np.float64, copy=False)
        if analysis.kind == "dc" and x.size > 1:
            steps = np.diff(x)
            if (steps < 0.0).all():
                x, y = x[::-1], y[::-1]
            elif (steps < 0.0).any():
                raise MeasureUndefined(
                    f"{name} comes from a nested DC sweep, which no measure reads"
                )
        return Trace(x, y, analysis.kind, name)


def vector(waveforms: Waveforms, name: str) -> Signal:
    """The signal called `name`: `v(out)`, `i(vdd)`, `@m1[gm]`, `onoise_spectrum`."""
    return Vectors(waveforms)[name]


@lru_cache(maxsize=4096)
def _plain(name: str) -> str:
    """`name` as back ends spell it: lower case, devices in subcircuits as ngspice has them."""
    name = name.lower()
    if name.startswith("@") and name.endswith("]"):
        device, _, quantity = name[1:-1].partition("[")
        return device_vector(device, quantity)
    return name


def _is_ground(name: str) -> bool:
    return name.startswith("v(") and name[2:-1] in GROUNDS


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
