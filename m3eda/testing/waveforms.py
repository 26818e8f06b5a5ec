"""Waveforms in closed form for the contract of measures: of circuits that work, and odd ones.

Each run has every analysis, and in each the vectors of `WAVES`, so that a measure finds whatever
it takes under the same names.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from m3eda.simulate.types import Analysis, AnalysisKind, Waveforms

WAVES = ("v(out)", "v(in)", "v(a)", "v(b)")
DEVICES = ("m1", "m2")

Array = NDArray[Any]
Waves = tuple[Array | float, ...]
"""What the vectors of `WAVES` are in one analysis."""
Change = Callable[[Array, bool], Array]
"""Makes a vector of another; True where that is the scale."""

FREQUENCY: Array = np.logspace(0.0, 9.0, 181)
TIME: Array = np.linspace(0.0, 1e-5, 2001)
SCALES: Mapping[str, str] = {
    "ac": "frequency", "noise": "frequency", "sp": "frequency", "tran": "time", "dc": "sweep",
}  # fmt: skip
_S = 2j * math.pi * FREQUENCY
_AFTER = np.clip(TIME - 1e-6, 0.0, None)


@functools.cache
def good(device_values: tuple[str, ...] = ()) -> Mapping[str, Waveforms]:
    """Runs of circuits that work, by name; their two devices have `device_values`.

    Nothing in them may be written to.
    """
    return {name: _locked(_run(device_values, **each)) for name, each in _CIRCUITS.items()}


def odd(run: Waveforms) -> dict[str, Waveforms]:
    """What becomes of `run` where a simulation went wrong, or nobody thought of it."""
    rng = np.random.default_rng(1)
    values: dict[str, Callable[[Array], Array]] = {
        "zero": lambda y: 0.0 * y,
        "constant": lambda y: np.full_like(y, 0.7),
        "nan": lambda y: np.where(np.arange(y.size) == y.size // 2, np.nan, y),
        "infinite": lambda y: np.where(np.arange(y.size) == y.size // 2, np.inf, y),
        "huge": lambda y: 1e200 * y,
        "tiny": lambda y: 1e-200 * y,
        "negative": lambda y: -y,
        "upside down": lambda y: y[::-1].copy(),
        "random": lambda y: rng.standard_normal(y.size) + 0.0 * y,
        "two levels": lambda y: np.where(np.arange(y.size) % 7 < 3, 0.0, 1.0) + 0.0 * y,
    }
    turned = [
        _changed(each, lambda y, _: y[::-1].copy()) if each.kind == "dc" else each
        for each in run.analyses
    ]
    return {
        **{name: _each(run, _cut(count)) for name, count in _COUNTS.items()},
        **{name: _each(run, _values_only(change)) for name, change in values.items()},
        "each point twice": _each(run, lambda y, _: np.repeat(y, 2)),
        "real": _each(run, lambda y, _: np.ascontiguousarray(y.real)),
        "falling sweep": replace(run, analyses=tuple(turned)),
    }


_COUNTS = {"no point": 0, "one point": 1, "two points": 2, "three points": 3}


def without(run: Waveforms, *kinds: str) -> Waveforms:
    """`run` without its analyses of `kinds`."""
    return replace(run, analyses=tuple(each for each in run.analyses if each.kind not in kinds))


def dense(run: Waveforms, count: int) -> Waveforms:
    """`run` with `count` points in each analysis that has a scale."""

    def change(analysis: Analysis) -> Analysis:
        if not analysis.scale:
            return analysis
        old = np.arange(analysis.vectors[analysis.scale].size)
        new = np.linspace(0.0, old[-1], count)
        vectors = {name: np.interp(new, old, y) for name, y in analysis.vectors.items()}
        return replace(analysis, vectors=vectors)

    return replace(run, analyses=tuple(map(change, run.analyses)))


def copied(run: Waveforms) -> Waveforms:
    """`run` with arrays of its own, which may be written to."""
    return _each(run, lambda y, _: y.copy())


def _locked(run: Waveforms) -> Waveforms:
    for analysis in run.analyses:
        for vector in analysis.vectors.values():
            vector.setflags(write=False)
    return run


def _cut(count: int) -> Change:
    return lambda y, _: y[:count].copy()


def _values_only(change: Callable[[Array], Array]) -> Change:
    def apply(y: Array, is_scale: bool) -> Array:
        with np.errstate(all="ignore"):
            return y.copy() if is_scale else change(y).astype(y.dtype)

    return apply


def _each(run: Waveforms, change: Change) -> Waveforms:
    return replace(run, analyses=tuple(_changed(each, change) for each in run.analyses))


def _changed(analysis: Analysis, change: Change) -> Analysis:
    vectors = {name: change(y, name == analysis.scale) for name, y in analysis.vectors.items()}
    return replace(analysis, vectors=vectors)


def _run(device_values: tuple[str, ...], **waves: Any) -> Waveforms:
    """The analyses of one circuit, from `kind=waves` and the points of its DC sweep."""
    scales = {"ac": FREQUENCY, "noise": FREQUENCY, "sp": FREQUENCY, "tran": TIME}
    scales["dc"] = waves.pop("sweep")
    devices = {
        f"@{device}[{value}]": np.array([_DEVICE.get(value, 0.3) * (n + 1)])
        for n, device in enumerate(DEVICES)
        for value in device_values
    }
    op = dict(zip(WAVES, (np.array([y]) for y in waves.pop("op")), strict=True))
    analyses = [Analysis("op", {**op, **devices})]
    analyses += [_analysis(cast("AnalysisKind", k), scales[k], each) for k, each in waves.items()]
    return Waveforms(tuple(analyses), seconds=1e-3)


def _analysis(kind: AnalysisKind, scale: Array, waves: Waves) -> Analysis:
    dtype = complex if kind in ("ac", "sp") else float
    vectors = {
        name: np.ascontiguousarray(np.broadcast_to(np.asarray(y, dtype), scale.shape))
        for name, y in zip(WAVES, waves, strict=True)
    }
    return Analysis(kind, {SCALES[kind]: scale.copy(), **vectors}, SCALES[kind])


def _poles(gain: float, *frequencies: float) -> Array:
    found = np.full(FREQUENCY.size, complex(gain))
    for frequency in frequencies:
        found /= 1.0 + _S / (2.0 * math.pi * frequency)
    return found


def _ringing(frequency: float, damping: float) -> Array:
    """The unit step at 1 us through a pole pair."""
    w = 2.0 * math.pi * frequency
    wd = w * math.sqrt(1.0 - damping**2)
    decay = np.exp(-damping * w * _AFTER)
    return 1.0 - decay * (np.cos(wd * _AFTER) + damping * w / wd * np.sin(wd * _AFTER))


def _sine(delay: float, harmonic: float = 0.01) -> Array:
    phase = 2.0 * math.pi * 1e6 * (TIME - delay)
    return 0.9 + 0.8 * np.sin(phase) + harmonic * np.sin(2.0 * phase)


_DEVICE = {"vds": 0.6, "vdsat": 0.2, "w": 1e-5, "l": 1e-6, "m": 2.0}
_VOLTS = np.linspace(0.0, 2.0, 201)
_CELSIUS = np.linspace(-40.0, 125.0, 166)
_DENSITY = 1e-8 * np.sqrt(1.0 + 1e4 / FREQUENCY)
_PORTS: Waves = (_poles(0.3, 1e8), 0.05, _poles(2.0, 1e8), 0.2)
_RESONANCE = (_S * 2e5) / (_S**2 + _S * 2e5 + 1e12)

_CIRCUITS: Mapping[str, Mapping[str, Any]] = {
    "amplifier": {
        "op": (1.2, 0.6, 1.8, 0.5),
        "ac": (_poles(1e3, 1e4, 1e8, 2e8), 1.0, 1e-3, 0.5),
        "tran": (_ringing(2e6, 0.5), np.where(_AFTER > 0.0, 1.0, 0.0), 1.0, 0.5),
        "dc": (1.0 - np.tanh(5.0 * (_VOLTS - 1.0)), _VOLTS, 1.8, 0.5),
        "noise": (_DENSITY, 2.0 * _DENSITY, 1e-9, 1e-9),
        "sp": _PORTS,
        "sweep": _VOLTS,
    },
    "oscillator": {
        "op": (0.5, 0.9, 1.2, 0.1),
        "ac": (_RESONANCE, 1.0, 1e-3, 0.5),
        "tran": (_sine(1.3e-7), _sine(0.0), 2.0, 0.5),
        "dc": (np.minimum(_VOLTS - 0.2, 1.2) + 1e-3 * _VOLTS, _VOLTS, 1.8, 0.5),
        "noise": (_DENSITY, 2.0 * _DENSITY, 1e-9, 1e-9),
        "sp": _PORTS,
        "sweep": _VOLTS,
    },
    "filter": {
        "op": (0.2, 0.9, 0.4, 0.1),
        "ac": (_poles(1.0, 1e5), 1.0, 1e-3, 0.5),
        "tran": (np.exp(-_AFTER / 1e-6), np.where(_AFTER > 0.0, 0.0, 1.0), 2.0, 0.5),
        "dc": (1.2 + 1e-4 * _CELSIUS - 1e-6 * _CELSIUS**2, 1.2, 1.8, 0.5),
        "noise": (1e-8, 2e-8, 1e-9, 1e-9),
        "sp": _PORTS,
        "sweep": _CELSIUS,
    },
}
"""Circuits by name: what the vectors of `WAVES` are in each analysis, and the points of the DC
sweep (V, or degrees Celsius)."""
