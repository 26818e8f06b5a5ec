"""Measure the shipped technologies on ngspice, each beside a published card of its generation.

The published cards are not part of this project: they are looked for in the folder named by
``M3EDA_SHARED``, else in ``shared`` beside the checkout.  Without one a technology is measured
alone.  A technology whose package is not installed is skipped in one line.  All figures are those
of a transistor 1 um wide, in SI units, at 27 degrees Celsius unless said otherwise; those of a p
channel device are magnitudes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from m3eda.design.technology import read_technology
from m3eda.design.types import Technology
from m3eda.errors import DesignError
from m3eda.simulate.render import TechnologyView

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "templates" / "technologies"
SECTIONS = ("tt", "ff", "ss", "sf", "fs")
POLARITIES = ("nmos", "pmos")
WIDTH = 1e-6
THRESHOLD_CURRENT = 100e-9
OVERDRIVE = 0.2
SWEEP_STEPS = 50
AC_FREQUENCY = 1e6
TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Card:
    """A published card: its file below ``models/ptm``, its supply in volts, and the lengths it is
    valid for as multiples of the technology's shortest."""

    file: str
    supply: float
    lengths: tuple[int, ...] = (1, 2)


CARDS = {
    "generic180": Card("180nm_bulk.pm", 1.8, (1,)),
    "generic130": Card("130nm_bulk.pm", 1.3),
    "generic90": Card("90nm_bulk.pm", 1.2),
    "generic65": Card("65nm_bulk.pm", 1.1),
    "generic45": Card("45nm_bulk.txt", 1.0),
    "generic22": Card("22nm_HP.pm", 0.8),
}


class SimulationError(RuntimeError):
    """ngspice failed, ran out of time or did not write its results."""


@dataclass(frozen=True)
class Models:
    """How the transistors of a card are loaded and called.

    ``prefix`` is ``m``, or ``x`` for a subcircuit, ``unit`` the length in metres that a width or
    a length of 1 stands for.
    """

    load: str
    names: Mapping[str, str]
    prefix: str = "m"
    unit: float = 1.0


@dataclass(frozen=True)
class Bias:
    """One transistor held at fixed voltages.

    ``device`` is ``nmos`` or ``pmos``; ``w`` and ``l`` are in metres; ``vgs`` and ``vds`` are
    magnitudes in volts, applied with the sign that turns the device on, and ``vsb`` with the sign
    that turns it off.
    """

    device: str
    w: float
    l: float  # noqa: E741 - the name every SPICE netlist gives the channel length
    vgs: float
    vds: float
    vsb: float = 0.0


@dataclass(frozen=True)
class Reading:
    """What ngspice reports at one bias: A, S, S, F and F, all as magnitudes."""

    current: float
    gm: float
    gds: float
    gate_capacitance: float
    miller_capacitance: float


@cache
def technology(name: str) -> Technology:
    """The shipped technology of that name.  Raises DesignError where its package is missing."""
    return read_technology(FOLDER / name / "technology.yaml")


def models(name: str, section: str = "tt") -> Models:
    """The transistors of a shipped technology in one of its sections."""
    found = technology(name)
    instance, devices = found.data["instance"], found.data["devices"]
    names = {device: devices[device]["model"] for device in POLARITIES}
    return Models(TechnologyView(found, section).include, names,
                  instance["prefix"], float(instance["unit"]))  # fmt: skip


def shared_folder() -> Path | None:
    """Return the folder of material that is not part of the project, or None."""
    named = os.environ.get("M3EDA_SHARED")
    folder = Path(named) if named else ROOT.parent / "shared"
    return folder if folder.is_dir() else None


def reference(name: str) -> Models | None:
    """The published card beside a technology, or None where it is not at hand."""
    folder, card = shared_folder(), CARDS.get(name)
    file = folder / "models" / "ptm" / card.file if folder and card else None
    if file is None or not file.is_file():
        return None
    return Models(f'.include "{file}"', {device: device for device in POLARITIES})


def launch(folder: Path) -> str:
    """Run the ``deck.cir`` of a folder in batch mode there and return what ngspice printed."""
    try:
        done = subprocess.run(
            ["ngspice", "-b", "deck.cir"],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_THREAD_LIMIT": "1"},
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SimulationError(f"ngspice did not finish: {error}") from error
    return done.stdout


def run_ngspice(deck: str, results: tuple[str, ...]) -> tuple[dict[str, str], str]:
    """Run ``deck`` and return the named result files and everything ngspice printed.

    The printed text is followed by the reports of BSIM4's parameter checking, which it writes
    into the folder it runs in.
    """
    with tempfile.TemporaryDirectory(prefix="m3eda-bench-") as name:
        folder = Path(name)
        (folder / "deck.cir").write_text(deck)
        printed = launch(folder)
        missing = [result for result in results if not (folder / result).is_file()]
        if missing:
            raise SimulationError(f"ngspice wrote no {missing[0]}:\n{printed}")
        reports = [path.read_text() for path in sorted(folder.glob("bsim4*.out"))]
        files = {result: (folder / result).read_text() for result in results}
        return files, "\n".join([printed, *reports])


def parse_raw(text: str) -> dict[str, complex]:
    """Return the first point of every vector in an ASCII raw file."""
    lines = text.splitlines()
    start, values = lines.index("Variables:"), lines.index("Values:")
    names = [line.split()[1].lower() for line in lines[start + 1 : values]]
    fields = " ".join(lines[values + 1 :]).split()[1:]
    numbers = [complex(*map(float, field.split(","))) for field in fields[: len(names)]]
    return dict(zip(names, numbers, strict=True))


def element(card: Models, bias: Bias, index: int) -> str:
    """ngspice's name of the transistor of one bias, inside its subcircuit where it has one."""
    if card.prefix == "m":
        return f"m{index}"
    return f"m.{card.prefix}{index}.m{card.names[bias.device]}"


def bias_deck(card: Models, biases: list[Bias], temperature: float) -> str:
    """Return a deck that holds every bias at once, each on its own two sources."""
    lines = ["transistors at fixed bias", card.load, f".options temp={temperature:g}"]
    saves = []
    for index, bias in enumerate(biases):
        sign = -1.0 if bias.device.startswith("p") else 1.0
        w, l = (float(f"{size / card.unit:.9g}") for size in (bias.w, bias.l))  # noqa: E741
        lines += [
            f"vg{index} g{index} 0 dc {sign * bias.vgs!r} ac 1",
            f"vd{index} d{index} 0 dc {sign * bias.vds!r}",
            f"vb{index} b{index} 0 dc {-sign * bias.vsb!r}",
            f"{card.prefix}{index} d{index} g{index} 0 b{index} {card.names[bias.device]} "
            f"w={w!r} l={l!r}",
        ]
        inner = element(card, bias, index)
        saves.append(f"save @{inner}[gm] @{inner}[gds] vg{index}#branch vd{index}#branch")
    frequency = f"{AC_FREQUENCY:g}"
    return "\n".join(
        [
            *lines,
            ".control",
            "set num_threads=1",
            "set filetype=ascii",
            *saves,
            "op",
            "write op.raw",
            f"ac lin 1 {frequency} {frequency}",
            "write ac.raw",
            ".endc",
            ".end",
            "",
        ]
    )


def measure(
    card: Models, biases: list[Bias], temperature: float = 27.0
) -> tuple[list[Reading], str]:
    """Return the reading at every bias and everything ngspice printed.

    ``temperature`` is in degrees Celsius.  The current is that of the drain terminal, so it
    includes the leakage of the junctions and, where a card has one, of the gate.
    """
    files, printed = run_ngspice(bias_deck(card, biases, temperature), ("op.raw", "ac.raw"))
    op, ac = parse_raw(files["op.raw"]), parse_raw(files["ac.raw"])
    omega = 2 * math.pi * AC_FREQUENCY
    names = [element(card, bias, index) for index, bias in enumerate(biases)]
    readings = [
        Reading(
            current=abs(op[f"i(vd{index})"].real),
            gm=op[f"@{name}[gm]"].real,
            gds=op[f"@{name}[gds]"].real,
            gate_capacitance=abs(ac[f"i(vg{index})"].imag) / omega,
            miller_capacitance=abs(ac[f"i(vd{index})"].imag) / omega,
        )
        for index, name in enumerate(names)
    ]
    return readings, printed


def crossing(xs: list[float], ys: list[float], level: float) -> float:
    """Return where rising positive ``ys`` cross ``level``, straight in log(y) between points."""
    for (x0, y0), (x1, y1) in pairwise(zip(xs, ys, strict=True)):
        if y0 < level <= y1:
            return x0 + (x1 - x0) * math.log(level / y0) / math.log(y1 / y0)
    raise SimulationError(f"the current never crosses {level:g} A")


def interpolate(xs: list[float], ys: list[float], x: float) -> float:
    """Return ``ys`` at ``x``, straight between the two points around it."""
    index = max(i for i, known in enumerate(xs[:-1]) if known <= x)
    share = (x - xs[index]) / (xs[index + 1] - xs[index])
    return ys[index] + share * (ys[index + 1] - ys[index])


def threshold_and_gain(card: Models, device: str, length: float, supply: float) -> list[float]:
    """Threshold and gm/gds of a device at half the supply.

    The threshold is the gate voltage that gives 100 nA W/L; the gain is taken 0.2 V above it.
    """
    sweep = [round(supply * step / SWEEP_STEPS, 6) for step in range(SWEEP_STEPS + 1)]
    biases = [Bias(device, WIDTH, length, vgs, supply / 2) for vgs in sweep]
    readings, _ = measure(card, biases)
    currents = [reading.current for reading in readings]
    threshold = crossing(sweep, currents, THRESHOLD_CURRENT * WIDTH / length)
    gains = [reading.gm / reading.gds for reading in readings]
    return [threshold, interpolate(sweep, gains, threshold + OVERDRIVE)]


def figures(
    card: Models, device: str, l_min: float, supply: float, lengths: tuple[int, ...]
) -> dict[str, float]:
    """The compared figures of one device, ``l_min`` in metres, ``supply`` in volts.

    Ion and Ioff are in A at the full supply and the shortest length, the gate capacitance in F
    with the gate at the supply and the drain at half of it; ``threshold`` in V and ``gain``
    (gm/gds) at each of ``lengths``, multiples of ``l_min``.
    """
    singles = [(supply, supply), (0.0, supply), (supply, supply / 2)]
    readings, _ = measure(card, [Bias(device, WIDTH, l_min, *bias) for bias in singles])
    table = {
        "ion": readings[0].current,
        "ioff": readings[1].current,
        "gate_capacitance": readings[2].gate_capacitance,
    }
    for times in lengths:
        threshold, gain = threshold_and_gain(card, device, times * l_min, supply)
        table |= {f"threshold_{times}": threshold, f"gain_{times}": gain}
    return table


def corner_currents(name: str) -> dict[str, dict[str, float]]:
    """Ion (A) of each device of a technology in each of its sections, at its nominal supply."""
    data = technology(name).data
    supply = data["supply"]["nominal"]
    biases = [Bias(device, WIDTH, data["sizes"]["l_min"], supply, supply) for device in POLARITIES]
    table = {}
    for section in SECTIONS:
        readings, _ = measure(models(name, section), biases)
        currents = [reading.current for reading in readings]
        table[section] = dict(zip(POLARITIES, currents, strict=True))
    return table


def seconds_a_run(name: str) -> float:
    """Wall time of a fresh ngspice that reads the models and solves one transistor, best of 3."""
    card = models(name)
    bias = Bias("nmos", WIDTH, technology(name).data["sizes"]["l_min"], 0.5, 0.5)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        measure(card, [bias])
        times.append(time.perf_counter() - start)
    return min(times)


def compare(name: str) -> dict[str, Any]:
    """The figures of a technology and, where it is at hand, of its card and their ratio."""
    data = technology(name).data
    theirs = reference(name)
    card = CARDS.get(name)
    supply = card.supply if card else data["supply"]["nominal"]
    lengths = card.lengths if card else (1, 2)
    arguments = (data["sizes"]["l_min"], supply, lengths)
    table: dict[str, Any] = {"supply": supply, "card": card.file if card and theirs else None}
    for device in POLARITIES:
        ours = figures(models(name), device, *arguments)
        columns = {"ours": ours}
        if theirs is not None:
            columns["reference"] = figures(theirs, device, *arguments)
            columns["ratio"] = {key: ours[key] / columns["reference"][key] for key in ours}
        table[device] = columns
    return {**table, "corner_ion": corner_currents(name), "seconds_a_run": seconds_a_run(name)}


def print_table(name: str, result: dict[str, Any]) -> None:
    """Print what was measured of one technology."""
    against = result["card"] or "no published card at hand"
    print(f"\n{name} at {result['supply']:g} V, beside {against}; "
          f"{result['seconds_a_run']:.2f} s a fresh run")  # fmt: skip
    print(f"{'device':8}{'figure':18}{'ours':>12}{'reference':>12}{'ratio':>8}")
    for device in POLARITIES:
        columns = result[device]
        for key, ours in columns["ours"].items():
            beside = (
                f"{columns['reference'][key]:12.4g}{columns['ratio'][key]:8.3f}"
                if "ratio" in columns
                else f"{'-':>12}{'-':>8}"
            )
            print(f"{device:8}{key:18}{ours:12.4g}{beside}")
    typical = result["corner_ion"]["tt"]
    for section, currents in result["corner_ion"].items():
        parts = [f"{device} {currents[device] / typical[device]:.3f}" for device in POLARITIES]
        print(f"corner {section}: Ion of tt times {', '.join(parts)}")


def main(arguments: list[str] | None = None) -> int:
    """Measure every shipped technology that is at hand; return 0, also where one is skipped."""
    shipped = sorted(path.parent.name for path in FOLDER.glob("*/technology.yaml"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=shipped, metavar="NAME", default=shipped)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    options = parser.parse_args(arguments)
    if shutil.which("ngspice") is None:
        print("skipped: ngspice is not installed")
        return 0
    results = {}
    for name in options.only:
        try:
            results[name] = compare(name)
        except DesignError as error:
            print(f"\nskipped: {error}")
            continue
        print_table(name, results[name])
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
