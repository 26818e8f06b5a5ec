"""Compare the bundled generic45 cards with a published 45 nm bulk card, on ngspice.

The published card is not part of this project: it is looked for in the folder named by
``M3EDA_SHARED``, else in ``shared`` beside the checkout, and the comparison is skipped in one
line where it is not there.  All figures are per device, in SI units, at 27 degrees Celsius
unless said otherwise; those of the p channel device are magnitudes.
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
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "templates" / "technologies" / "generic45" / "generic45.lib"
SECTIONS = ("tt", "ff", "ss", "sf", "fs")
POLARITIES = ("nmos", "pmos")
WIDTH = 1e-6
L_MIN = 45e-9
SWEEP = [round(0.02 * step, 3) for step in range(51)]
THRESHOLD_CURRENT = 100e-9
OVERDRIVE = 0.2
AC_FREQUENCY = 1e6
TIMEOUT_S = 120.0


class SimulationError(RuntimeError):
    """ngspice failed, ran out of time or did not write its results."""


@dataclass(frozen=True)
class Bias:
    """One transistor held at fixed voltages.

    ``w`` and ``l`` are in metres; ``vgs`` and ``vds`` are magnitudes in volts, applied with the
    sign that turns the device on, and ``vsb`` with the sign that turns it off.
    """

    model: str
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


@dataclass(frozen=True)
class Figures:
    """The compared figures of one polarity, for a device 1 um wide.

    Currents are in A, the capacitance in F, the threshold in V; ``gain`` is gm/gds.
    """

    ion_1v0: float
    ion_1v2: float
    ioff: float
    threshold_90n: float
    gain_90n: float
    gate_capacitance: float


def shared_folder() -> Path | None:
    """Return the folder of material that is not part of the project, or None."""
    named = os.environ.get("M3EDA_SHARED")
    folder = Path(named) if named else ROOT.parent / "shared"
    return folder if folder.is_dir() else None


def reference_line() -> str | None:
    """Return the netlist line that loads the published 45 nm card, or None without it."""
    folder = shared_folder()
    card = folder / "models" / "ptm" / "45nm_bulk.txt" if folder else None
    return f'.include "{card}"' if card and card.is_file() else None


def library_line(section: str, library: Path = LIBRARY) -> str:
    """Return the netlist line that loads one section of a library."""
    return f'.lib "{library}" {section}'


def run_ngspice(deck: str, results: tuple[str, ...]) -> tuple[dict[str, str], str]:
    """Run ``deck`` in batch mode and return the named result files and everything it printed.

    The printed text is followed by the reports of BSIM4's parameter checking, which it writes
    into the folder it runs in.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_THREAD_LIMIT": "1"}
    with tempfile.TemporaryDirectory(prefix="m3eda-bench-") as name:
        folder = Path(name)
        (folder / "deck.cir").write_text(deck)
        try:
            done = subprocess.run(
                ["ngspice", "-b", "deck.cir"],
                cwd=folder, env=environment, timeout=TIMEOUT_S, check=False,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                encoding="utf-8", errors="replace",
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SimulationError(f"ngspice did not finish: {error}") from error
        missing = [result for result in results if not (folder / result).is_file()]
        if missing:
            raise SimulationError(f"ngspice wrote no {missing[0]}:\n{done.stdout}")
        reports = [path.read_text() for path in sorted(folder.glob("bsim4*.out"))]
        files = {result: (folder / result).read_text() for result in results}
        return files, "\n".join([done.stdout, *reports])


def parse_raw(text: str) -> dict[str, complex]:
    """Return the first point of every vector in an ASCII raw file."""
    lines = text.splitlines()
    start, values = lines.index("Variables:"), lines.index("Values:")
    names = [line.split()[1].lower() for line in lines[start + 1 : values]]
    fields = " ".join(lines[values + 1 :]).split()[1:]
    numbers = [complex(*map(float, field.split(","))) for field in fields[: len(names)]]
    return dict(zip(names, numbers, strict=True))


def bias_deck(load: str, biases: list[Bias], temperature: float) -> str:
    """Return a deck that holds every bias at once, each on its own two sources."""
    lines = ["transistors at fixed bias", load, f".options temp={temperature:g}"]
    saves = []
    for index, bias in enumerate(biases):
        sign = -1.0 if bias.model.startswith("p") else 1.0
        lines += [
            f"vg{index} g{index} 0 dc {sign * bias.vgs!r} ac 1",
            f"vd{index} d{index} 0 dc {sign * bias.vds!r}",
            f"vb{index} b{index} 0 dc {-sign * bias.vsb!r}",
            f"m{index} d{index} g{index} 0 b{index} {bias.model} w={bias.w!r} l={bias.l!r}",
        ]
        saves.append(f"save @m{index}[gm] @m{index}[gds] vg{index}#branch vd{index}#branch")
    return "\n".join([
        *lines, ".control", "set num_threads=1", "set filetype=ascii", *saves,
        "op", "write op.raw",
        f"ac lin 1 {AC_FREQUENCY:g} {AC_FREQUENCY:g}", "write ac.raw",
        "quit", ".endc", ".end", "",
    ])


def measure(
    load: str, biases: list[Bias], temperature: float = 27.0
) -> tuple[list[Reading], str]:
    """Return the reading at every bias and everything ngspice printed.

    ``temperature`` is in degrees Celsius.  The current is that of the drain terminal, so it
    includes the leakage of the junctions and, where a card has one, of the gate.
    """
    files, printed = run_ngspice(bias_deck(load, biases, temperature), ("op.raw", "ac.raw"))
    op, ac = parse_raw(files["op.raw"]), parse_raw(files["ac.raw"])
    omega = 2 * math.pi * AC_FREQUENCY
    readings = [
        Reading(
            current=abs(op[f"i(vd{index})"].real),
            gm=abs(op[f"@m{index}[gm]"].real),
            gds=abs(op[f"@m{index}[gds]"].real),
            gate_capacitance=abs(ac[f"i(vg{index})"].imag) / omega,
            miller_capacitance=abs(ac[f"i(vd{index})"].imag) / omega,
        )
        for index in range(len(biases))
    ]
    return readings, printed
