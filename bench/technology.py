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
from itertools import pairwise
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
    return "\n".join(
        [
            *lines,
            ".control",
            "set num_threads=1",
            "set filetype=ascii",
            *saves,
            "op",
            "write op.raw",
            f"ac lin 1 {AC_FREQUENCY:g} {AC_FREQUENCY:g}",
            "write ac.raw",
            ".endc",
            ".end",
            "",
        ]
    )


def measure(load: str, biases: list[Bias], temperature: float = 27.0) -> tuple[list[Reading], str]:
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


def figures(load: str, model: str) -> Figures:
    """Measure the compared figures of one polarity of a card.

    The threshold is the gate voltage that gives 100 nA W/L at |Vds| = 0.6 V and L = 90 nm, the
    same for every card; the gain is taken 0.2 V above it.  The gate capacitance is that of a
    device of minimum length at |Vgs| = 1 V and |Vds| = 0.6 V.
    """
    singles = [
        Bias(model, WIDTH, L_MIN, *bias)
        for bias in ((1.0, 1.0), (1.2, 1.2), (0.0, 1.0), (1.0, 0.6))
    ]
    sweep = [Bias(model, WIDTH, 2 * L_MIN, vgs, 0.6) for vgs in SWEEP]
    readings, _ = measure(load, singles + sweep)
    swept = readings[len(singles) :]
    level = THRESHOLD_CURRENT * WIDTH / (2 * L_MIN)
    threshold = crossing(SWEEP, [reading.current for reading in swept], level)
    gain = interpolate(
        SWEEP, [reading.gm / reading.gds for reading in swept], threshold + OVERDRIVE
    )
    return Figures(
        ion_1v0=readings[0].current,
        ion_1v2=readings[1].current,
        ioff=readings[2].current,
        threshold_90n=threshold,
        gain_90n=gain,
        gate_capacitance=readings[3].gate_capacitance,
    )


def corner_currents(library: Path = LIBRARY) -> dict[str, dict[str, float]]:
    """Return Ion (A, at 1.0 V, 1 um by 45 nm) of each polarity in each section."""
    table = {}
    for section in SECTIONS:
        biases = [Bias(model, WIDTH, L_MIN, 1.0, 1.0) for model in POLARITIES]
        readings, _ = measure(library_line(section, library), biases)
        table[section] = {
            model: reading.current for model, reading in zip(POLARITIES, readings, strict=True)
        }
    return table


def compare(reference: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return the figures of both cards and their ratio (ours over the reference)."""
    table = {}
    for model in POLARITIES:
        ours = asdict(figures(library_line("tt"), model))
        theirs = asdict(figures(reference, model))
        ratio = {name: ours[name] / theirs[name] for name in ours}
        table[model] = {"generic45": ours, "reference": theirs, "ratio": ratio}
    return table


def unavailable() -> str | None:
    """Return why the comparison cannot run here, or None where it can."""
    if shutil.which("ngspice") is None:
        return "ngspice is not installed"
    if reference_line() is None:
        return "no models/ptm/45nm_bulk.txt in $M3EDA_SHARED or in ../shared beside the checkout"
    return None


def print_tables(
    compared: dict[str, dict[str, dict[str, float]]], corners: dict[str, dict[str, float]]
) -> None:
    """Print the comparison and the corners as two plain tables."""
    print(f"{'device':8}{'figure':18}{'generic45':>12}{'reference':>12}{'ratio':>8}")
    for model, columns in compared.items():
        for name, ours in columns["generic45"].items():
            print(
                f"{model:8}{name:18}{ours:12.4g}{columns['reference'][name]:12.4g}"
                f"{columns['ratio'][name]:8.3f}"
            )
    print(f"\n{'corner':8}{'nmos Ion (A)':>14}{'of tt':>8}{'pmos Ion (A)':>14}{'of tt':>8}")
    for section, currents in corners.items():
        cells = "".join(
            f"{currents[model]:14.4g}{currents[model] / corners['tt'][model]:8.3f}"
            for model in POLARITIES
        )
        print(f"{section:8}{cells}")


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison; return 0, also where it has to be skipped."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    options = parser.parse_args(arguments)
    reason = unavailable()
    if reason is not None:
        print(f"skipped: {reason}")
        return 0
    compared, corners = compare(reference_line() or ""), corner_currents()
    print_tables(compared, corners)
    if options.json is not None:
        document = {"figures": compared, "corner_ion": corners}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
