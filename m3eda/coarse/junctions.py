"""Diodes and bipolar transistors: the direct current of Gummel and Poon, and shot noise.

Gummel and Poon, "An integral charge control model of bipolar transistors", 1970, as SPICE has it.
Series resistances and capacitances are left out. A diode is a transistor whose collector is its
base and whose current gain has no end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3eda.coarse.quantities import Quantity, Unsupported
from m3eda.coarse.transistor import KELVIN, THERMAL
from m3eda.design.ranges import FloatArray
from m3eda.importing.cards import spice_number
from m3eda.importing.devices import Circuit

CHARGE = 1.602176634e-19
LARGEST = 0.1
"""Current from which on an exponential goes on as a straight line, A."""
_MODEL = re.compile(r"\.model\s+(\S+?)\s+(npn|pnp|d)\b(.*)", re.IGNORECASE | re.DOTALL)
_PAIR = re.compile(r"(\w+)\s*=\s*([^\s()=,]+)")
_DEFAULTS = {"is": 1e-16, "bf": 100.0, "br": 1.0, "nf": 1.0, "nr": 1.0, "vaf": np.inf,
             "var": np.inf, "ikf": np.inf, "ikr": np.inf, "ise": 0.0, "ne": 1.5, "isc": 0.0,
             "nc": 2.0, "eg": 1.11, "xti": 3.0, "xtb": 0.0, "tnom": 27.0}  # fmt: skip
_ALSO = {"va": "vaf", "vb": "var", "ik": "ikf", "tref": "tnom", "n": "nf"}
_ENDLESS = ("vaf", "var", "ikf", "ikr")
"""For which 0 stands for none."""

Values = NDArray[Any]


@dataclass(frozen=True)
class Junction:
    """A diode or bipolar transistor by the places of collector, base and emitter."""

    name: str
    places: tuple[int, int, int]
    model: Mapping[str, float]
    sign: float
    """1 for npn, and diodes."""
    count: Quantity
    """Area, and how many are in parallel."""


def models_of(circuit: Circuit) -> dict[str, tuple[float, dict[str, float]]]:
    """Models of diodes and bipolar transistors on cards of a deck: sign and numbers."""
    found = {}
    for card in circuit.cards:
        match = _MODEL.match(card.text) if card.head == ".model" else None
        if match is None:
            continue
        name, kind, rest = match[1].lower(), match[2].lower(), match[3]
        given = {key.lower(): spice_number(text) for key, text in _PAIR.findall(rest)}
        if any(value is None for value in given.values()) or given.get("level", 1.0) != 1.0:
            continue
        numbers = {_ALSO.get(key, key): value for key, value in given.items() if value is not None}
        numbers |= {key: np.inf for key in _ENDLESS if numbers.get(key) == 0.0}
        own = {key: numbers.get(key, value) for key, value in _DEFAULTS.items()}
        if kind == "d":
            own |= {"is": numbers.get("is", 1e-14), "bf": np.inf, "br": np.inf,
                    "vaf": np.inf, "ikf": np.inf}  # fmt: skip
            own |= {key: own[key] / own["nf"] for key in ("eg", "xti")}
        found[name] = (-1.0 if kind == "pnp" else 1.0, own)
    return found


def junction_of(name: str, kind: str, model: str, places: Sequence[int], count: Quantity,
                models: Mapping[str, tuple[float, dict[str, float]]]) -> Junction:  # fmt: skip
    """Of a card that begins with `kind`, d or q. Raises Unsupported."""
    if model not in models:
        raise Unsupported(f"{name} has a model that is on no card of the deck")
    sign, numbers = models[model]
    c, b, e = (places[0], places[0], places[1]) if kind == "d" else places[:3]
    return Junction(name, (c, b, e), numbers, sign, count)


class Junctions:
    """Those of n sizings at one temperature."""

    def __init__(self, given: Sequence[Junction], fills: FloatArray, kelvin: float) -> None:
        self.places = np.array([each.places for each in given], dtype=int).reshape(-1, 3)
        self._sign = np.array([each.sign for each in given])
        self._vt = THERMAL * kelvin
        self._count = np.array([each.count.of(fills) for each in given]).reshape(-1, len(fills)).T
        rows = [_at(each.model, kelvin) for each in given]
        self._numbers = {key: np.array([row[key] for row in rows]) for key in _DEFAULTS}

    def __len__(self) -> int:
        return len(self.places)

    def into(self, x: FloatArray, rows: NDArray[np.intp]) -> FloatArray:
        """Currents into collector, base and emitter at unknowns `x` (r, k) of the sizings `rows`:
        shape (r, m, 3), A."""
        vbe, vbc = self._voltages(x)
        collector, base = self._currents(vbe, vbc)
        both = np.stack([collector, base, -collector - base], axis=-1)
        return np.asarray(both * (self._sign * self._count[rows])[..., None])

    def slopes(self, x: FloatArray, rows: NDArray[np.intp]) -> FloatArray:
        """Derivatives of `into` by the voltages of collector, base and emitter, shape
        (r, m, 3, 3), S."""
        vbe, vbc = self._voltages(x)
        step = 1e-20
        by_be = [each.imag / step for each in self._currents(vbe + 1j * step, vbc)]
        by_bc = [each.imag / step for each in self._currents(vbe, vbc + 1j * step)]
        found = np.empty((*vbe.shape, 3, 3))
        for k in range(2):
            found[..., k, :] = np.stack([-by_bc[k], by_be[k] + by_bc[k], -by_be[k]], axis=-1)
        found[..., 2, :] = -found[..., 0, :] - found[..., 1, :]
        return np.asarray(found * self._count[rows][..., None, None])

    def add(self, x: FloatArray, rows: NDArray[np.intp], jacobian: FloatArray | None,
            residual: FloatArray | None) -> None:  # fmt: skip
        """Add their derivatives and currents to equations, in place."""
        if jacobian is not None:
            slopes = self.slopes(x, rows)
            for k, own in enumerate(self.places):
                for i, row in enumerate(own):
                    for j, column in enumerate(own):
                        jacobian[:, row, column] += slopes[:, k, i, j]
        if residual is not None:
            into = self.into(x, rows)
            for k, own in enumerate(self.places):
                for i, row in enumerate(own):
                    residual[:, row] += into[:, k, i]

    def noise(self, x: FloatArray, rows: NDArray[np.intp]) -> list[tuple[int, int, FloatArray]]:
        """Shot noise: two nets, and the density of the current between them, A^2/Hz, (r,)."""
        into = np.abs(self.into(x, rows))
        return [(int(own[end]), int(own[2]), 2.0 * CHARGE * into[:, k, end])
                for k, own in enumerate(self.places) for end in (0, 1)]  # fmt: skip

    def _voltages(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        v = x[:, self.places] * self._sign[None, :, None]
        return v[..., 1] - v[..., 2], v[..., 1] - v[..., 0]

    def _currents(self, vbe: Values, vbc: Values) -> tuple[Values, Values]:
        """Of the collector and the base, as of an npn transistor of area 1."""
        p, vt = self._numbers, self._vt
        forward = _diode(p["is"], vbe, p["nf"] * vt)
        reverse = _diode(p["is"], vbc, p["nr"] * vt)
        early = 1.0 / np.maximum(1.0 - vbc / p["vaf"] - vbe / p["var"], 0.05)
        strong = np.sqrt(1.0 + 4.0 * np.maximum(forward / p["ikf"] + reverse / p["ikr"], -0.2))
        through = (forward - reverse) / (0.5 * early * (1.0 + strong))
        back = reverse / p["br"] + _diode(p["isc"], vbc, p["nc"] * vt)
        base = forward / p["bf"] + _diode(p["ise"], vbe, p["ne"] * vt) + back
        return through - back, base


def _diode(saturation: FloatArray, v: Values, unit: FloatArray) -> Values:
    """A current that rises by e over `unit`, above LARGEST as a straight line."""
    bend = unit * np.log(LARGEST / np.maximum(saturation, 1e-60))
    over = np.where(v.real > bend, v - bend, 0.0)
    return saturation * (np.exp((v - over) / unit) * (1.0 + over / unit) - 1.0)


def _at(model: Mapping[str, float], kelvin: float) -> dict[str, float]:
    """A model's numbers at a temperature, as SPICE reckons them."""
    usual = KELVIN + model["tnom"]
    ratio = kelvin / usual
    grown = (ratio - 1.0) * model["eg"] / (THERMAL * kelvin) + model["xti"] * np.log(ratio)
    gain = ratio ** model["xtb"]
    return {**model, "is": model["is"] * np.exp(grown), "bf": model["bf"] * gain,
            "br": model["br"] * gain, "ise": model["ise"] * np.exp(grown / model["ne"]) / gain,
            "isc": model["isc"] * np.exp(grown / model["nc"]) / gain}  # fmt: skip
