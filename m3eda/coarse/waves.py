"""From solutions of a coarse model to waveforms as a simulator would give them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from m3eda.coarse.frequencies import noise, response
from m3eda.coarse.netlist import TEMPERATURE, Analysis, Branch, Netlist
from m3eda.coarse.solve import Batch, BoolArray
from m3eda.coarse.transient import grid, transient
from m3eda.coarse.transistor import Kind, Point
from m3eda.design.ranges import FloatArray
from m3eda.simulate import types
from m3eda.simulate.signals import device_vector
from m3eda.simulate.types import Waveforms

COARSE = 3
"""Frequencies a decade that are solved at first; others are interpolated."""
TURN, ROUNDS = 0.35, 2
"""Change of a phase between two frequencies, in radians, from which there is one more between them,
and how often that is looked at."""
NONE = 1e-20
"""What is as good as 0, in units of the largest at any frequency."""
DENSE, MOST = 40, 400
"""Of a linear sweep at most so many, and of a circuit without transistors."""


def simulated(
    netlist: Netlist, fills: FloatArray, kinds: Mapping[str, Kind], vectors: Sequence[str],
    device_values: Sequence[str], near: FloatArray | None = None,
) -> tuple[list[Waveforms | None], FloatArray]:  # fmt: skip
    """Waveforms of each row of `fills`, None where there is no operating point; and operating
    points, shape (n, k), nan where there is none. `near` are those of sizings like these."""
    batch = Batch(netlist, fills, kinds)
    x, good = batch.operating_point(near)
    x[~good] = np.nan
    swept = [each for each in netlist.analyses if each.kind == "dc"]
    if len(swept) == len(netlist.analyses):
        good = np.ones(len(fills), dtype=bool)  # nothing needs the point itself
    found: Found = [[] for _ in range(len(fills))]
    conductance, storage, at = batch.small_signal(x)
    _operating(batch, x, at, vectors, device_values, found)
    for each in netlist.analyses:
        if each.kind in ("ac", "sp"):
            _ac(batch, each, conductance, storage, vectors, found)
        elif each.kind == "noise":
            _noise(batch, each, conductance, storage, at, found)
        elif each.kind == "dc":
            good = good & _sweep(netlist, fills, kinds, each, vectors, found)
        elif each.kind == "tran":
            _transient(batch, each, x, vectors, found)
    waves = [Waveforms(tuple(each)) if ok else None for each, ok in zip(found, good, strict=True)]
    return waves, x


def _places(netlist: Netlist, vectors: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Of each vector the places of its unknowns, -1 of ground."""
    currents = {each.name: each.place for each in netlist.branches if each.place >= 0}
    for vector in vectors:
        kind, _, inside = vector.partition("(")
        names = [name.strip() for name in inside.rstrip(")").split(",")]
        if kind == "v" and all(name in netlist.nets or name == "0" for name in names):
            first, *rest = (netlist.place(name) for name in names)
            yield vector, first, rest[0] if rest else -1
        elif kind == "i" and (own := _branch(names[0], currents)) is not None:
            yield vector, own, -1


def _branch(name: str, currents: Mapping[str, int]) -> int | None:
    if name in currents:
        return currents[name]
    parts = name.split(".")  # ngspice writes v.x1.vs for the source vs in x1
    return currents.get(".".join(parts[1:])) if len(parts) > 2 else None


Found = list[list[types.Analysis]]
"""Of each sizing what its analyses gave so far."""


def _operating(batch: Batch, x: FloatArray, at: Point, vectors: Sequence[str],
               device_values: Sequence[str], found: Found) -> None:  # fmt: skip
    columns = {name: x[:, one] - x[:, other]
               for name, one, other in _places(batch.netlist, vectors)}  # fmt: skip
    values = _device_values(batch, x, at)
    columns |= {name: values[name] for name in device_values if name in values}
    for k, own in enumerate(found):
        own.append(types.Analysis("op", {name: column[k : k + 1]
                                         for name, column in columns.items()}))  # fmt: skip


def _device_values(batch: Batch, x: FloatArray, at: Point) -> dict[str, FloatArray]:
    values: dict[str, FloatArray] = {}
    for k, each in enumerate(batch.netlist.transistors):
        d, g, s, b = each.places
        sign = batch.sign[k]
        own = {"id": sign * at.current[:, k], "gm": at.gm[:, k], "gds": at.gds[:, k],
               "gmbs": at.gmb[:, k], "vds": x[:, d] - x[:, s], "vgs": x[:, g] - x[:, s],
               "vbs": x[:, b] - x[:, s], "vdsat": sign * at.saturation[:, k],
               "vth": x[:, g] - x[:, s] - sign * at.overdrive[:, k],
               "w": each.width.of(batch.fills), "l": each.length.of(batch.fills),
               "m": each.count.of(batch.fills)}  # fmt: skip
        values |= {device_vector(each.name, key): value for key, value in own.items()}
    return values


def _frequencies(
    batch: Batch, each: Analysis
) -> tuple[list[FloatArray], Callable[..., FloatArray]]:
    """Those that a simulator would give for each sizing; and those at shares, shape (s,), of the
    way from the first to the last, (n, s)."""
    count, first, last = (number.of(batch.fills)[:, None] for number in each.numbers)
    rows = zip(count[:, 0], first[:, 0], last[:, 0], strict=True)
    wanted = [_grid(each.steps, int(c), a, b) for c, a, b in rows]

    def at(shares: FloatArray) -> FloatArray:
        if each.steps == "lin":
            return np.asarray(first + shares * (last - first))
        return np.asarray(first * (last / first) ** shares)

    return wanted, at


def _shares(each: Analysis, wanted: Sequence[FloatArray], simple: bool) -> FloatArray:
    """Of the frequencies that are solved at first; all, of a circuit that is `simple`."""
    most = len(wanted[0])
    if simple:
        return np.linspace(0.0, 1.0, min(most, MOST))
    if each.steps != "lin":
        decades = max(float(np.log10(own[-1] / own[0])) for own in wanted)
        return np.linspace(0.0, 1.0, max(4, min(most, round(COARSE * decades) + 1)))
    return np.linspace(0.0, 1.0, min(most, DENSE))


def _grid(steps: str, count: int, first: float, last: float) -> FloatArray:
    if steps == "lin":
        return np.linspace(first, last, max(count, 1))
    factor = (10.0 if steps == "dec" else 2.0) ** (1.0 / count)
    number = int(np.floor(np.log(last / first) / np.log(factor) + 1e-6)) + 1
    return np.asarray(first * factor ** np.arange(number))


def _ac(batch: Batch, each: Analysis, conductance: FloatArray, storage: FloatArray,
        vectors: Sequence[str], found: Found) -> None:  # fmt: skip
    wanted, at = _frequencies(batch, each)
    places = list(_places(batch.netlist, vectors))
    ports = _ports(batch, vectors) if each.kind == "sp" else {}
    names = list(ports) if each.kind == "sp" else [name for name, _, _ in places]
    if not names:
        return

    def solved(shares: FloatArray) -> FloatArray:
        if each.kind == "sp":
            return _scattered(batch, conductance, storage, at(shares), list(ports.values()))
        x = response(batch, conductance, storage, at(shares))
        return np.stack([x[..., one] - x[..., other] for _, one, other in places], axis=-1)

    shares = _shares(each, wanted, not batch.netlist.transistors)
    given = solved(shares)
    for _ in range(ROUNDS if each.steps != "lin" else 0):
        with np.errstate(all="ignore"):
            turns = np.abs(np.angle(given[:, 1:] / given[:, :-1]))
        gaps = np.flatnonzero((np.nan_to_num(turns) > TURN).any(axis=(0, 2)))
        if not len(gaps):
            break
        more = 0.5 * (shares[gaps] + shares[gaps + 1])
        order = np.argsort(np.concatenate([shares, more]), kind="stable")
        given = np.concatenate([given, solved(more)], axis=1)[:, order]
        shares = np.concatenate([shares, more])[order]
    smooth = _smooth(shares, given, wanted, at(np.array([0.0, 1.0])), each.steps)
    for k, own in enumerate(found):
        columns = {"frequency": wanted[k].astype(complex)}
        columns |= {name: smooth[k][:, j] for j, name in enumerate(names)}
        own.append(types.Analysis("sp" if ports else "ac", columns, "frequency"))


def _ports(batch: Batch, vectors: Sequence[str]) -> dict[str, tuple[Branch, Branch]]:
    """Each S-parameter of `vectors`, `s(2,1)`: the port that is looked at, and the one driven."""
    ports = {each.port: each for each in batch.netlist.branches if each.port}
    found = {}
    for name in vectors:
        match = re.fullmatch(r"s\((\d+),\s*(\d+)\)", name)
        if match and int(match[1]) in ports and int(match[2]) in ports:
            found[name] = ports[int(match[1])], ports[int(match[2])]
    return found


def _scattered(batch: Batch, conductance: FloatArray, storage: FloatArray, at: FloatArray,
               pairs: Sequence[tuple[Branch, Branch]]) -> FloatArray:  # fmt: skip
    """S-parameters at frequencies (n, f), shape (n, f, pairs)."""
    driven = {other.place: response(batch, conductance, storage, at, other.place)
              for _, other in pairs}  # fmt: skip
    found = []
    for one, other in pairs:
        assert one.impedance is not None
        assert other.impedance is not None
        z = one.impedance.of(batch.fills)[:, None]
        z0 = other.impedance.of(batch.fills)[:, None]
        wave = 2.0 * z * driven[other.place][..., one.place] + (one is other)
        found.append(wave * np.sqrt(z0 / z))
    return np.stack(found, axis=-1)


def _smooth(shares: FloatArray, values: FloatArray, wanted: Sequence[FloatArray],
            ends: FloatArray, steps: str) -> list[FloatArray]:  # fmt: skip
    """Complex values (n, f, v) at shares (f,) of the way between `ends` (n, 2) as those at
    `wanted`, each (w, v): magnitude and phase by cubics."""
    from scipy.interpolate import CubicSpline

    v = values.shape[2]
    good = np.asarray(np.isfinite(values).all(axis=1, keepdims=True))
    whole = np.where(good, values, 1.0)
    size = np.abs(whole)
    # between rounding errors and zeros a cubic would go anywhere
    size = np.log(np.maximum(size, NONE * size.max(axis=1, keepdims=True) + 1e-300))
    both = np.concatenate([size, np.unwrap(np.angle(whole), axis=1)], axis=2)
    spline = CubicSpline(shares, both.transpose(1, 0, 2))
    found: list[FloatArray] = []
    known: dict[bytes, FloatArray] = {}
    for k, each in enumerate(wanted):
        where = _share(each, ends[k], steps)
        key = where.tobytes()
        if key not in known:
            known[key] = spline(where)
        own = known[key][:, k]
        found.append(np.where(good[k], np.exp(own[:, :v] + 1j * own[:, v:]), np.nan))
    return found


def _share(wanted: FloatArray, ends: FloatArray, steps: str) -> FloatArray:
    """How far each of `wanted` is on the way between `ends`, from 0 to 1."""
    if steps != "lin":
        wanted, ends = np.log(wanted), np.log(ends)
    share = (wanted - ends[0]) / max(ends[1] - ends[0], 1e-30)
    return np.asarray(np.clip(np.round(share, 9), 0.0, 1.0))


def _noise(batch: Batch, each: Analysis, conductance: FloatArray, storage: FloatArray, at: Point,
           found: Found) -> None:  # fmt: skip
    wanted, at_shares = _frequencies(batch, each)
    solved = at_shares(_shares(each, wanted, False))
    source = next(b.place for b in batch.netlist.branches if b.name == each.source)
    output = [batch.netlist.place(net) for net in each.output]
    densities = noise(batch, conductance, storage, at, solved, output, source)
    names = ("onoise_spectrum", "inoise_spectrum")
    for k, own in enumerate(found):
        columns = {"frequency": wanted[k]}
        for name, density in zip(names, densities, strict=True):
            log = np.log(np.maximum(density[k], 1e-30))
            columns[name] = np.exp(np.interp(np.log(wanted[k]), np.log(solved[k]), log))
        own.append(types.Analysis("noise", columns, "frequency"))


def _sweep(netlist: Netlist, fills: FloatArray, kinds: Mapping[str, Kind], each: Analysis,
           vectors: Sequence[str], found: Found) -> BoolArray:  # fmt: skip
    """Adds DC sweeps; from the first value on that has no operating point, the last one. Gives
    which have one at the first."""
    first, last, step = (number.of(fills) for number in each.numbers)
    count = int(np.max(np.floor((last - first) / step + 1e-6))) + 1
    levels = first[:, None] + step[:, None] * np.arange(count)
    solutions = np.full((len(fills), count, netlist.size + 1), np.nan)
    batch = Batch(netlist, fills, kinds, {each.source: levels[:, 0]})
    x, alive = batch.operating_point()
    begun = alive
    for k in range(count):
        if k:
            if each.source == TEMPERATURE:
                batch = Batch(netlist, fills, kinds, {each.source: levels[:, k]})
            else:
                batch.sweep(each.source, levels[:, k])
            x, alive = batch.next_point(x, alive)
        solutions[:, k] = np.where(alive[:, None], x, solutions[:, max(k - 1, 0)])
    places = list(_places(netlist, vectors))
    scale = f"{each.source}-sweep"
    for n, own in enumerate(found):
        kept = int(np.floor((last[n] - first[n]) / step[n] + 1e-6)) + 1
        columns = {scale: levels[n, :kept]}
        for name, one, other in places:
            columns[name] = (solutions[n, :, one] - solutions[n, :, other])[:kept]
        own.append(types.Analysis("dc", columns, scale))
    return begun


def _transient(batch: Batch, each: Analysis, x: FloatArray, vectors: Sequence[str],
               found: Found) -> None:  # fmt: skip
    """Adds transients; nan from the first step on that was not found."""
    times = grid(batch, each)
    solutions = transient(batch, x, times)
    first = each.numbers[2].of(batch.fills) if len(each.numbers) > 2 else np.zeros(batch.count)
    places = list(_places(batch.netlist, vectors))
    for n, own in enumerate(found):
        kept = times[n] >= first[n]
        kept[1:] &= np.diff(times[n]) > 0.0
        columns = {"time": times[n][kept]}
        for name, one, other in places:
            columns[name] = solutions[n, kept, one] - solutions[n, kept, other]
        own.append(types.Analysis("tran", columns, "time"))
