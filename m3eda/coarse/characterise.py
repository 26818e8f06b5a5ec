"""What the transistors of a design do: two short decks of the design's own models, and a fit.

As designers make tables of their devices before they size by them (gm/ID): each model at a few
lengths, its current over gate and drain voltage, its capacitances, its noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from m3eda.coarse.netlist import Netlist
from m3eda.coarse.quantities import Unsupported
from m3eda.coarse.transistor import KELVIN, Kind, Numbers, point
from m3eda.design.ranges import FloatArray
from m3eda.importing.devices import Circuit
from m3eda.simulate.types import Deck, Waveforms
from m3eda.structure.elements import PMOS, Devices, Element

KEPT = (".include", ".inc", ".lib", ".param", ".model", ".option", ".options", ".opt", ".global")
"""What of a deck decides what its transistors are."""
LENGTHS, CROWDED = 8, 1.5
"""How many lengths, and the power by which the short ones, where most changes, lie closer."""
GATES, DRAINS = 25, 16
"""Points of the sweeps."""
LOWEST = (0.1, 0.03)
"""Of gate and drain, in units of the supply."""
BULK = 1.0 / 3.0
"""How far the bulk is behind the source, in units of the supply, in one of two sweeps."""
SCALED = frozenset({"ad", "as", "pd", "ps"})
"""Of a card, what goes with the width."""
ALIKE = frozenset({"m", "mult", "nf", "ng", "mf"})
"""What counts transistors that are alike."""
BIAS, QUIET = 0.6, (0.35, 0.7)
"""Of the gate, in units of the supply, where capacitances are found, and where noise; of the drain
the first."""
FREQUENCY = 1e5
"""Where capacitances are found, Hz."""
NOISE = (1.0, 1e3)
"""Hz."""
GUESS = Numbers(*map(np.array, (0.4, 1.3, 0.4, 0.0, 1.0, -1.2, 2.3, 0.5, -4.0, 1.4, -4.6, -1.0)))
SPREAD = Numbers(*map(np.array, (0.3, 0.1, 0.2, 3.0, 2.0, 1.0, 2.0, 1.0, 2.0, 0.5, 1.0, 1.5)))
LOWEST_OF = Numbers(*map(np.array, (-0.5, 1.0, -0.2, -40.0, -2.0, -6.0, -3.0, -4.0, -9.0, 0.0, -7.0,
                                    -5.0)))  # fmt: skip
HIGHEST_OF = Numbers(*map(np.array, (1.5, 2.0, 1.5, 5.0, 5.0, 2.0, 9.0, 4.0, -0.5, 2.5, -2.0, 3.0)))
"""Of `Numbers`, as they are fitted: what is expected, by how much that may be wrong, and bounds."""
FIRST = 9
"""Of `Numbers`, those that are fitted before all are."""
FAINT = 1e-9
"""Currents below this are not looked at, A for each um of width."""
CURRENTS, CONDUCTANCES = 0.03, 0.15
"""Standard deviations of the logarithms of currents and output conductances, in the fit."""


@dataclass(frozen=True)
class Wanted:
    """A model whose transistors are looked at."""

    model: str
    kind: str
    example: Element
    shortest: float
    longest: float
    """Lengths that a design can give it, m."""
    narrowest: float
    widest: float
    unit: float
    """What 1 stands for in the card, m."""

    @property
    def lengths(self) -> FloatArray:
        if self.longest < 1.01 * self.shortest:
            return np.array([self.shortest])
        shares = np.linspace(0.0, 1.0, LENGTHS) ** CROWDED
        return np.asarray(self.shortest * (self.longest / self.shortest) ** shares)

    @property
    def width(self) -> float:
        return float(f"{(self.narrowest * self.widest) ** 0.5:.4g}")

    @property
    def quiet(self) -> float:
        """The length at which noise is looked at, m."""
        return float((self.shortest * self.longest) ** 0.5)

    def joined(self, other: Wanted) -> Wanted:
        """The same model at the lengths of both."""
        return replace(self, shortest=min(self.shortest, other.shortest),
                       longest=max(self.longest, other.longest),
                       narrowest=min(self.narrowest, other.narrowest),
                       widest=max(self.widest, other.widest))  # fmt: skip

    def card(self, name: str, nets: Sequence[str], length: float) -> str:
        """A transistor of unit width and `length`."""
        written = self.example.written
        assert written is not None
        share = self.width / self.example.sizes["w"]
        own = {key: f"{word.value * (share if key in SCALED else 1.0):.6g}"
               for key, word in written.assigned.items()
               if word.value is not None and key not in ALIKE}  # fmt: skip
        own |= {"w": f"{self.width / self.unit:.6g}", "l": f"{length / self.unit:.6g}"}
        letter, model = written.head[0], written.words[-1].text
        sizes = " ".join(f"{key}={text}" for key, text in own.items())
        return f"{letter}{name} {' '.join(nets)} {model} {sizes}"


def wanted_of(netlist: Netlist, devices: Devices, fills: FloatArray) -> list[Wanted]:
    """The models of a deck and the lengths that they have in `fills`, shape (n, holes)."""
    examples = {each.name: each for each in devices.elements() if each.is_transistor}
    found: dict[str, Wanted] = {}
    for each in netlist.transistors:
        length, width, example = each.length.of(fills), each.width.of(fills), examples[each.name]
        if min(length.min(), width.min()) <= 0.0:
            raise Unsupported(f"{each.name} has no size")
        own = Wanted(each.model, each.kind, example, float(length.min()), float(length.max()),
                     float(width.min()), float(width.max()), devices.metre(example))  # fmt: skip
        found[each.model] = own.joined(found.get(each.model, own))
    return list(found.values())


def decks_of(wanted: Sequence[Wanted], text: str, supply: float) -> list[Deck]:
    """What is to be simulated to know the transistors of each model, `text` before each deck."""
    return [_static(wanted, text, supply), *(_noisy(each, text, supply) for each in wanted)]


def kinds_of(wanted: Sequence[Wanted], waves: Sequence[Waveforms], supply: float, celsius: float,
             ) -> dict[str, Kind]:  # fmt: skip
    """What the transistors of each model do, from what `decks_of` gave.

    Raises Unsupported where they are no transistors that the fit can follow.
    """
    static = _vectors(waves[0])
    pairs = zip(wanted, map(_noises, waves[1:]), strict=True)
    return {each.model: _fitted(each, place, static, noise, supply, celsius + KELVIN)
            for place, (each, noise) in enumerate(pairs)}  # fmt: skip


def _vectors(waves: Waveforms) -> dict[str, np.ndarray]:
    return {f"{analysis.kind} {key}": np.asarray(value)
            for analysis in waves.analyses for key, value in analysis.vectors.items()}  # fmt: skip


def _noises(waves: Waveforms) -> list[FloatArray]:
    """Densities of the first and last frequency at each bias, V^2/Hz."""
    found = [np.abs(_pick(dict(each.vectors), "inoise_spectrum")[[0, -1]]) ** 2
             for each in waves.analyses if each.kind == "noise"]  # fmt: skip
    if len(found) != len(QUIET):
        raise Unsupported("the simulator gave no noise")
    # simulators differ in the order of analyses; more current is more noise at the gate
    return sorted(found, key=lambda each: float(each[0]))


def _grids(supply: float) -> tuple[FloatArray, FloatArray]:
    return (np.linspace(LOWEST[0] * supply, supply, GATES),
            np.linspace(LOWEST[1] * supply, supply, DRAINS))  # fmt: skip


def _static(wanted: Sequence[Wanted], text: str, supply: float) -> Deck:
    """Currents and capacitances of every model."""
    gates, drains = _grids(supply)
    lines = ["vg g 0 0", "vd d 0 0", "egp gp 0 g 0 -1", "edp dp 0 d 0 -1"]
    saved = []
    for place, each in enumerate(wanted):
        side, sign = ("p", -1.0) if each.kind == PMOS else ("", 1.0)
        for bulk in (0, 1):
            for k, length in enumerate(each.lengths):
                name = f"{place}_{bulk}_{k}"
                nets = f"x{name}", f"g{side}", "0", f"b{name}"
                lines += [f"vi{name} d{side} x{name} 0",
                          f"vb{name} b{name} 0 {-sign * bulk * BULK * supply:.6g}",
                          each.card(name, nets, length)]  # fmt: skip
                saved.append(f"i(vi{name})")
        level = sign * BIAS * supply
        for driven in "gd":
            for k, length in ((0, each.shortest), (1, each.longest)):
                name = f"{place}{driven}{k}"
                acs = {driven: " ac 1"}
                lines += [f"vc{end}{name} {end}{name} 0 dc {level:.6g}{acs.get(end, '')}"
                          for end in "gd"]  # fmt: skip
                lines.append(each.card(name, (f"d{name}", f"g{name}", "0", "0"), length))
                saved += [f"i(vcg{name})", f"i(vcd{name})"]
    step_d, step_g = drains[1] - drains[0], gates[1] - gates[0]
    lines += [f".dc vd {drains[0]:.9g} {drains[-1] + step_d / 9:.9g} {step_d:.9g} "
              f"vg {gates[0]:.9g} {gates[-1] + step_g / 9:.9g} {step_g:.9g}",
              f".ac lin 1 {FREQUENCY:g} {FREQUENCY:g}"]  # fmt: skip
    return _deck(text, lines, saved)


def _noisy(each: Wanted, text: str, supply: float) -> Deck:
    """Noise of a transistor at two biases, as voltages at their gates."""
    sign = -1.0 if each.kind == PMOS else 1.0
    lines = [f"vd d 0 {sign * BIAS * supply:.6g}"]
    for k, share in enumerate(QUIET):
        lines += [f"vg{k} g{k} 0 dc {sign * share * supply:.6g} ac 1", f"vi{k} d x{k} 0",
                  f"hout{k} out{k} 0 vi{k} 1",
                  each.card(f"{k}", (f"x{k}", f"g{k}", "0", "0"), each.quiet),
                  f".noise v(out{k}) vg{k} dec 1 {NOISE[0]:g} {NOISE[1]:g}"]  # fmt: skip
    return _deck(text, lines, ["inoise_spectrum"])


def _deck(text: str, lines: Sequence[str], saved: Sequence[str]) -> Deck:
    return Deck("\n".join([text, *lines, ".end", ""]), "devices", "nominal", tuple(saved))


def models_of(circuit: Circuit, celsius: float) -> tuple[str, list[Path]]:
    """What of a deck decides what its transistors are at a temperature, a title first, and the
    files it names."""
    cards = [card for file in circuit.files for card in file.cards
             if card.head in KEPT and not card.scope]  # fmt: skip
    kept = [card.text for card in cards]
    kept += [each.card.text for each in circuit.libraries if each.card not in cards]
    text = "\n".join(["* transistors", *dict.fromkeys(kept), f".temp {celsius:g}"])
    return text, [each.path for each in circuit.libraries]


def _fitted(each: Wanted, place: int, swept: Mapping[str, np.ndarray],
            noisy: Sequence[FloatArray], supply: float, kelvin: float) -> Kind:  # fmt: skip
    gates, drains = _grids(supply)
    sign = -1.0 if each.kind == PMOS else 1.0
    lengths, rows = each.lengths, list[FloatArray]()
    for k in reversed(range(len(lengths))):  # long ones are simpler, and lead on to the short ones
        both = [sign * _pick(swept, f"dc i(vi{place}_{bulk}_{k})").real for bulk in (0, 1)]
        seen = np.array(both).reshape(2, GATES, DRAINS)
        guess = rows[0] if rows else None
        rows.insert(0, _fit(seen, gates, drains, supply, kelvin, each.width, guess))
    omega = 2.0 * np.pi * FREQUENCY

    def farads(current: str) -> float:
        return float(abs(_pick(swept, f"ac i({current})")[0].imag)) / omega

    width = each.width
    overlap = farads(f"vcg{place}d0") / width
    junction = max(farads(f"vcd{place}d0") / width - overlap, 0.0)
    gate = farads(f"vcg{place}g1") - 2.0 * overlap * width
    oxide = max(gate, 0.1 * gate) / (width * each.longest * (2.0 / 3.0 + 0.08))
    kind = Kind(sign, np.log(lengths), np.array(rows), width, oxide, overlap, junction, 0.0, 0.0,
                kelvin)  # fmt: skip
    flicker, fluctuation = _flicker(kind, each.quiet, noisy, supply)
    return replace(kind, flicker=flicker, fluctuation=fluctuation)


def _flicker(kind: Kind, length: float, noisy: Sequence[FloatArray], supply: float,
             ) -> tuple[float, float]:  # fmt: skip
    """From densities at the gate at two biases."""
    gates = np.array(QUIET) * supply
    at = point(kind.at(np.array(kind.width), np.array(length)), gates,
               np.full(2, BIAS * supply), np.zeros(2), kind.kelvin)  # fmt: skip
    reach = at.current / at.gm
    volts = np.array([np.sqrt(max(float(first - last), 0.0) * NOISE[0] * kind.width * length)
                      for first, last in noisy])  # fmt: skip
    slope = max(float((volts[1] - volts[0]) / (reach[1] - reach[0])), 0.0)
    least = max(float(volts[0] - slope * reach[0]), 0.1 * float(volts[0]))
    return least**2, slope / least if least else 0.0


def _pick(vectors: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in vectors or not np.isfinite(vectors[name]).all():
        raise Unsupported(f"the simulator gave no {name}")
    return vectors[name]


def _fit(seen: FloatArray, gates: FloatArray, drains: FloatArray, supply: float, kelvin: float,
         width: float, guess: FloatArray | None) -> FloatArray:  # fmt: skip
    """Numbers of one length from currents, shape (2, gates, drains). Raises Unsupported."""
    from scipy.optimize import least_squares

    bulk = np.array([0.0, -BULK * supply])[:, None, None]
    vgs, vds, vbs = np.broadcast_arrays(gates[None, :, None], drains[None, None, :], bulk)
    there = seen > FAINT * width / 1e-6
    if there.sum() < 50:
        raise Unsupported("a model's transistors carry no current")
    slopes = np.diff(seen, axis=2) / np.diff(drains)
    rising = there[..., 1:] & there[..., :-1] & (slopes > 0.0)
    logs = np.log(np.where(there, seen, 1.0))
    log_slopes = np.log(np.where(rising, slopes, 1.0))
    start = np.array(GUESS._replace(current=np.log(seen.max() / 300.0)))
    low, high, spread = np.array(LOWEST_OF), np.array(HIGHEST_OF), np.array(SPREAD)
    found = start if guess is None else guess.copy()

    def misses(moved: FloatArray) -> FloatArray:
        x = np.concatenate([moved, found[len(moved) :]])
        with np.errstate(all="ignore"):
            through = np.maximum(point(Numbers.of(x), vgs, vds, vbs, kelvin).current, 1e-18)
            own = np.maximum(np.diff(through, axis=2) / np.diff(drains), 1e-18)
            missed = np.concatenate([
                (np.log(through) - logs)[there] / CURRENTS,
                (np.log(own) - log_slopes)[rising] / CONDUCTANCES,
                (x - start) / spread,
            ])  # fmt: skip
        return np.asarray(np.nan_to_num(missed, nan=1e3, posinf=1e3, neginf=-1e3))

    for count in (FIRST, len(start)):
        begin = np.clip(found[:count], low[:count] + 1e-3, high[:count] - 1e-3)
        better = least_squares(misses, begin, bounds=(low[:count], high[:count]), loss="soft_l1",
                               max_nfev=60)  # fmt: skip
        found = np.concatenate([better.x, found[count:]])
    return np.asarray(found)
