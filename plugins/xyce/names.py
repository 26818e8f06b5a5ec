"""What a measure names, by what Xyce prints: node voltages, currents, values of devices.

Printed expressions are those of Xyce's Reference Guide (`.PRINT`) under `-hspice-ext all`, where
`.` separates the levels of a hierarchy. Values of MOSFETs stand there for one finger, and turned
round where source and drain are exchanged; they are given here as ngspice gives them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from m3eda_plugins.ngspice.names import flat
from numpy.typing import NDArray

from m3eda.simulate.types import AnalysisKind

Columns = Sequence[NDArray[Any]]

_REAL: tuple[AnalysisKind, ...] = ("op", "dc", "tran")
_ALL: tuple[AnalysisKind, ...] = (*_REAL, "ac")
_DEVICE = re.compile(r"@(.+)\[(\w+)\]")
_CURRENT = re.compile(r"i\((.+)\)|(.+)#branch")
_LEAD = re.compile(r"i([a-z]?)\((.+)\)")
_VOLTAGE = re.compile(r"v\(([^(),]+)(?:,([^(),]+))?\)")
_FLAT = re.compile(r"[a-z]\.(x.+)")
_GROUND = "0"

NOISE = {"onoise_spectrum": "onoise", "inoise_spectrum": "inoise"}
"""Densities by the column that holds their squares."""
TOTALS = ("onoise_total", "inoise_total")

_BRANCHES = "vlehb"
_TWO_TERMINALS = "rcdfgisw"
# of a MOSFET's instance line
_PARAMETERS = {"w": "m", "l": "m", "m": "", "ad": "m^2", "as": "m^2", "pd": "m", "ps": "m",
               "nrd": "", "nrs": "", "nf": ""}  # fmt: skip
_PLAIN_VALUES = {"r": {"i": "i", "r": "r", "resistance": "r"}, "c": {"i": "i", "capacitance": "c",
                 "c": "c"}, "l": {"i": "i", "inductance": "l", "l": "l"}, "d": {"id": "i"},
                 "i": {"current": "i", "dc": "dcv0"}, "v": {"i": "i", "dc": "dcv0"},
                 "e": {"i": "i"}, "f": {"i": "i"}, "g": {"i": "i"}, "h": {"i": "i"},
                 "b": {"i": "i"}, "s": {"i": "i"}, "w": {"i": "i"}}  # fmt: skip
_VALUE_UNITS = {"i": "A", "r": "ohm", "c": "F", "l": "H"}


class Unsupported(Exception):
    """Xyce has no such vector, or none that means the same; the one-line reason."""


@dataclass(frozen=True)
class Source:
    """How Xyce gives one vector."""

    prints: tuple[str, ...]
    """What to print, in lower case."""
    kinds: tuple[AnalysisKind, ...]
    """Analyses it exists in."""
    unit: str = ""
    make: Callable[[Columns], NDArray[Any]] = lambda columns: columns[0]
    """The vector, shape (n,), of the printed columns."""


@lru_cache(maxsize=1024)
def source(name: str) -> Source:
    """How Xyce gives `name`, spelt as `m3eda.simulate.types` says. Raises Unsupported."""
    name = name.lower().replace(" ", "")
    if name in NOISE:
        return Source((NOISE[name],), ("noise",), "V/sqrt(Hz)", lambda c: np.sqrt(np.real(c[0])))
    if match := _DEVICE.fullmatch(name):
        return _device_value(unflat(match[1]), match[2])
    if match := _CURRENT.fullmatch(name):
        return _current(unflat(match[1] or match[2]))
    if match := _VOLTAGE.fullmatch(name):
        return _voltage(match[1], match[2] or _GROUND)
    raise Unsupported(f"{name} (Xyce knows no such vector)")


def unflat(device: str) -> str:
    """The path of a device as it is written: m.x1.m2 -> x1.m2."""
    match = _FLAT.fullmatch(device)
    return match[1] if match else device


def canonical(column: str) -> str:
    """The vector that a printed column is, where it is one by itself: V(X1.A) -> v(x1.a)."""
    return column.lower().replace(" ", "")


def as_listed(current: str) -> str:
    """A branch current as ngspice calls it where nobody has named it: i(x1.vs) -> i(v.x1.vs)."""
    return f"i({flat(current[2:-1])})"


def needs_leads(printed: str) -> bool:
    """Whether it is a current that Xyce computes in DC and transient runs alone."""
    match = _LEAD.fullmatch(printed)
    return bool(match and (match[1] or _leaf(match[2])[:1] not in _BRANCHES))


def is_branch(name: str) -> bool:
    """Whether `name` is the current of a device that has a branch of its own."""
    match = _CURRENT.fullmatch(name)
    return bool(match and match[1] and _leaf(match[1])[:1] in _BRANCHES)


def _leaf(path: str) -> str:
    return path.rpartition(".")[2]


def _voltage(plus: str, minus: str) -> Source:
    if minus in ("0", "gnd"):
        return Source((f"v({plus})",), _ALL, "V")
    if plus in ("0", "gnd"):
        return Source((f"v({minus})",), _ALL, "V", lambda columns: -columns[0])
    # Xyce prints v(a,b) too, with a comma in the header
    return Source((f"v({plus})", f"v({minus})"), _ALL, "V", lambda columns: columns[0] - columns[1])


def _current(path: str) -> Source:
    letter = _leaf(path)[:1]
    if letter in _BRANCHES:
        return Source((f"i({path})",), _ALL, "A")
    if letter in _TWO_TERMINALS:
        return Source((f"i({path})",), _REAL, "A")
    if letter == "m":
        return _drain_current(path)
    raise Unsupported(f"i({path}): put a voltage source of 0 V in series and measure its current")


def _device_value(path: str, quantity: str) -> Source:
    name, letter = f"@{path}[{quantity}]", _leaf(path)[:1]
    if letter == "m":
        return _mosfet_value(path, quantity)
    if letter == "x":
        raise Unsupported(
            f"{name} ({path} is a subcircuit: name the device inside it, {path}.name)"
        )
    known = _PLAIN_VALUES.get(letter, {})
    if quantity not in known:
        values = ", ".join(f"[{each}]" for each in known) or "none"
        raise Unsupported(f"{name} (Xyce gives of such a device: {values})")
    printed = known[quantity]
    unit = _VALUE_UNITS.get(printed, {"v": "V", "i": "A"}.get(letter, ""))
    if printed == "i":
        return Source((f"i({path})",), _REAL, "A")
    return Source((f"{path}.{printed}",), _REAL, unit)


def _forward(columns: Columns) -> NDArray[Any]:
    """1 where the channel conducts from drain to source, -1 where they are exchanged.

    Xyce turns the sign of gm there (MOSFET_B3, MOSFET_B4); it is 0 without any channel.
    """
    return np.where(columns[0] < 0.0, -1.0, 1.0)


def _drain_current(path: str) -> Source:
    # the lead current is that of all fingers, into the drain: negative for a PMOS; ngspice gives
    # the channel's, of BSIM models whichever of its ends is the drain
    return Source((f"id({path})",), _REAL, "A", lambda columns: np.abs(columns[0]))


def _bias(path: str, quantity: str) -> Source:
    """vds, vgs or vbs between the terminals that are drain and source in the netlist."""

    def make(columns: Columns) -> NDArray[Any]:
        turned = _forward(columns) < 0.0
        if quantity == "vds":
            return np.where(turned, -columns[1], columns[1])
        return np.where(turned, columns[2] - columns[1], columns[1 if len(columns) == 2 else 2])

    prints = [f"n({path}:gm)", f"n({path}:vds)"]
    if quantity != "vds":
        prints.append(f"n({path}:{quantity})")
    return Source(tuple(prints), _REAL, "V", make)


def _mosfet_value(path: str, quantity: str) -> Source:
    if quantity in ("id", "cd"):
        return _drain_current(path)
    if quantity in _PARAMETERS:
        return Source((f"{path}.{quantity}",), _REAL, _PARAMETERS[quantity])
    if quantity in _BIAS:
        return _bias(path, quantity)
    if quantity in ("vth", "vdsat"):
        return Source((f"n({path}:{quantity})",), _REAL, "V")
    if quantity in _PER_FINGER:
        unit, sign = _PER_FINGER[quantity]
        return Source((f"n({path}:{quantity})", f"{path}.m"), _REAL, unit, _of_all_fingers(sign))
    known = ", ".join(f"[{each}]" for each in _MOSFET)
    raise Unsupported(f"@{path}[{quantity}] (Xyce gives of a MOSFET: {known})")


def _of_all_fingers(magnitude: bool) -> Callable[[Columns], NDArray[Any]]:
    def make(columns: Columns) -> NDArray[Any]:
        value = np.abs(columns[0]) if magnitude else columns[0]
        return np.asarray(value * columns[1])

    return make


_BIAS = ("vds", "vgs", "vbs")
_PER_FINGER: Mapping[str, tuple[str, bool]] = {"gm": ("S", True), "gds": ("S", False)}
_MOSFET = (*_PER_FINGER, "id", *_BIAS, "vth", "vdsat", *_PARAMETERS)
