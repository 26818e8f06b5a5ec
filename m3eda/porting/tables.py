"""gm/Id and current density of a technology's transistors, simulated once and kept on disk.

Silveira, Flandre and Jespers, "A gm/ID based methodology for the design of CMOS analog circuits",
IEEE J. Solid-State Circuits 31(9), 1996: at a gm/Id a transistor of one length carries one current
a width, whatever its width. Drain at half the supply, no body bias, 27 degrees Celsius.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from m3eda.circuits.technology import entry_of
from m3eda.design.types import Technology
from m3eda.errors import DesignError, Mistake, StorageError
from m3eda.report.atomic import make_directory, write_atomic
from m3eda.simulate.cache_place import TABLES, cache_folder, parse_size
from m3eda.simulate.files import content_hash
from m3eda.simulate.render import TechnologyView
from m3eda.simulate.types import Deck, SimulationFailed, Simulator
from m3eda.units import parse

FloatArray = NDArray[np.float64]

FORMAT = 1
LENGTHS = (1.0, 1.3, 1.7, 2.2, 3.0, 4.5, 7.0, 11.0, 18.0, 30.0)
"""Channel lengths, in shortest ones."""
POINTS = 120
"""Gate voltages from 0 to the supply."""
WIDTH = 20.0
"""In narrowest ones."""
WEAKEST = 0.95
"""Of the largest gm/Id that a length has: in weak inversion it tells no current any more."""
LEAST_CURRENT = 1e-5
"""A a metre of width, below which the last digits of a simulation may be what is seen."""
TIMEOUT = 120.0


@dataclass(frozen=True)
class Table:
    """One transistor of a technology."""

    lengths: FloatArray
    """m, shape (n,)."""
    density: FloatArray
    """Drain current a width, A/m, shape (n, points)."""
    efficiency: FloatArray
    """gm/Id in 1/V, shape (n, points)."""

    def largest(self, length: float) -> float:
        """The largest gm/Id of a length, 1/V: weak inversion."""
        return float(np.exp(np.interp(math.log(length), np.log(self.lengths),
                                      np.log(self.efficiency.max(axis=1)))))  # fmt: skip

    def density_at(self, efficiency: float, length: float) -> float:
        """Drain current a width, A/m, at a gm/Id in 1/V, at most `WEAKEST` of what the length has;
        where it is below what the supply gives, that at the supply."""
        wanted = min(efficiency, WEAKEST * self.largest(length))
        logs = [_log_density(row, gm_id, wanted)
                for row, gm_id in zip(self.density, self.efficiency, strict=True)]  # fmt: skip
        return float(math.exp(np.interp(math.log(length), np.log(self.lengths), logs)))


def _log_density(density: FloatArray, efficiency: FloatArray, wanted: float) -> float:
    peak = int(np.argmax(efficiency))
    # from the peak on gm/Id falls; noise of the last digits must not turn the order
    falling = np.minimum.accumulate(efficiency[peak:])
    return float(np.interp(-wanted, -falling, np.log(density[peak:])))


def tables(
    technology: Technology,
    simulator: Simulator,
    version: str,
    devices: Iterable[str],
    environment: Mapping[str, str] = os.environ,
) -> dict[str, Table]:
    """The tables of those of `devices` that are n or p transistors of `technology`, by name.

    Simulated where the user's cache does not hold them. Raises DesignError where a device does not
    simulate, SimulatorMissing.
    """
    found = {}
    for name in sorted(devices):
        if str(entry_of(technology, "devices", name, "type")) not in ("n", "p"):
            continue
        kept = _place(technology, name, f"{simulator.name} {version}", environment)
        known = _read(kept)
        if known is None:
            known = simulated(technology, name, simulator)
            _keep(kept, known)
        found[name] = known
    return found


def simulated(technology: Technology, device: str, simulator: Simulator) -> Table:
    """Simulate `device` of `technology` now. Raises DesignError, SimulatorMissing."""
    entry = entry_of(technology, "devices", device)
    shortest = max(_size(technology, "l_min"), parse(str(entry.get("l_min", 0))))
    longest = _size(technology, "l_max")
    lengths = [shortest * each for each in LENGTHS if shortest * each <= longest]
    width = min(max(WIDTH * _size(technology, "w_min"), shortest), _size(technology, "w_max"))
    text, names = _deck(technology, device, lengths, width)
    wanted = tuple(f"@{name}[{value}]" for name in names for value in ("gm", "id"))
    folder = Path(tempfile.mkdtemp(prefix="m3eda-tables-"))
    try:
        deck = Deck(text, vectors=wanted)
        [sweep] = simulator.run(deck, folder, TIMEOUT).of_kind("dc")
        columns = [np.abs(np.real(sweep.vectors[name])) for name in wanted]
    except (SimulationFailed, ValueError, KeyError) as error:
        message = f"the device {device} of {technology.name} does not simulate: {error}"
        hint = "gm/Id is read from @device[gm] and @device[id] of a .dc sweep"
        raise DesignError([Mistake(message, technology.lib, hint=hint)]) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    gm, current = np.array(columns[0::2]), np.array(columns[1::2])
    on = current > LEAST_CURRENT * width
    if on.sum(axis=1).min() < POINTS // 4:
        text = f"the device {device} of {technology.name} carries no current up to the supply"
        raise DesignError([Mistake(text, technology.lib)])
    density = np.maximum(current / width, LEAST_CURRENT)
    return Table(np.array(lengths), density, np.where(on, gm / (density * width), 0.0))


def _deck(
    technology: Technology, device: str, lengths: list[float], width: float
) -> tuple[str, list[str]]:
    """A sweep of the gate of one device a length; and the devices' names as measures call them."""
    entry = entry_of(technology, "devices", device)
    instance = technology.data["instance"]
    prefix, unit = str(instance["prefix"]), parse(str(instance["unit"]))
    supply = parse(str(entry.get("v_max", entry_of(technology, "supply", "nominal"))))
    sign = 1.0 if entry["type"] == "n" else -1.0
    lines = [f"* {device} of {technology.name}: gm/Id and current",
             TechnologyView(technology, technology.nominal).include,
             "vg g 0 0", f"vd d 0 {sign * supply / 2:.6g}"]  # fmt: skip
    names = []
    for place, length in enumerate(lengths):
        name, model = f"{prefix}d{place}", str(entry["model"])
        lines.append(f"{name} d g 0 0 {model} w={width / unit:.6g} l={length / unit:.6g}")
        names.append(name if prefix == "m" else f"{name}.m{model}")
    top = sign * supply
    lines += [f".dc vg 0 {top:.6g} {top / POINTS:.6g}", ".temp 27", ".end"]
    return "\n".join(lines) + "\n", [name.lower() for name in names]


def _size(technology: Technology, key: str) -> float:
    return parse(str(entry_of(technology, "sizes", key)))


def _place(
    technology: Technology, device: str, simulator: str, environment: Mapping[str, str]
) -> Path | None:
    """The file of a table; None where the user has turned the cache off, or has none."""
    folder = cache_folder(environment)
    try:
        off = parse_size(environment.get("M3EDA_CACHE_SIZE") or "1") == 0
    except ValueError:
        off = False
    if folder is None or off:
        return None
    files = [technology.lib] if technology.lib else []
    for corner in ("", technology.nominal):
        files += technology.includes.get(corner, ())
    deciding = json.dumps(
        [FORMAT, device, simulator, technology.sections.get(technology.nominal, ""),
         technology.data, [content_hash(path) for path in files], LENGTHS, POINTS, WIDTH],
        sort_keys=True, default=str,
    )  # fmt: skip
    return folder / TABLES / f"{hashlib.sha256(deciding.encode()).hexdigest()[:32]}.npz"


def _read(path: Path | None) -> Table | None:
    """The table in `path`; None where there is none that is whole."""
    if path is None or not path.is_file():
        return None
    try:
        # opened here: of a file that is no archive NumPy would leave it open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            found = Table(kept["lengths"], kept["density"], kept["efficiency"])
    except (OSError, ValueError, KeyError, BadZipFile, EOFError):
        return None
    shapes = found.density.shape, found.efficiency.shape
    whole = shapes[0] == shapes[1] and len(shapes[0]) == 2 and shapes[0][:1] == found.lengths.shape
    return found if whole and found.density.size else None


def _keep(path: Path | None, table: Table) -> None:
    """Write `table` where the cache can be written; without it the next call simulates again."""
    if path is None:
        return
    buffer = io.BytesIO()
    np.savez(buffer, lengths=table.lengths, density=table.density, efficiency=table.efficiency)
    try:
        make_directory(path.parent)
        write_atomic(path, buffer.getvalue())
    except StorageError:
        return
