"""What the ngspice back end costs over a bare `ngspice -b -r` process, on the two-stage op amp.

    python -m bench.ngspice_overhead [--smallest] [--json FILE]

Every way runs the same deck (AC and operating point, technology generic45) in turn, so that the
ratios hold on a noisy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from m3eda.flow import Project
from m3eda.simulate.types import Deck, Simulator

ROOT = Path(__file__).resolve().parent.parent
DESIGN = ROOT / "examples" / "two_stage_opamp" / "design.yaml"
TIMEOUT = 120.0
MEAS = ".meas ac far find vm(out) at=1meg\n.end"
DEVICES = tuple(f"@m.x1.m{name}[gm]" for name in ("n1", "n2", "n3", "n4", "n5", "p1", "p2"))


def bare(text: str, folder: Path) -> None:
    """Simulate the netlist `text` in `folder` by a process of its own, and read nothing."""
    (folder / "deck.cir").write_text(text)
    subprocess.run(
        ["ngspice", "-b", "deck.cir", "-r", "out.raw"],
        cwd=folder,
        env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        timeout=TIMEOUT,
        check=True,
    )


def ways(deck: Deck, simulator: Simulator) -> dict[str, Callable[[Path], object]]:
    """Name -> what runs the deck once in a folder."""
    measured = replace(deck, text=deck.text.replace(".end", MEAS), meas=("far",))
    devices = replace(deck, device_values=DEVICES)
    return {
        "ngspice -b -r": lambda folder: bare(deck.text, folder),
        "run()": lambda folder: simulator.run(deck, folder, TIMEOUT),
        "run(), 7 device values": lambda folder: simulator.run(devices, folder, TIMEOUT),
        "run(), a .meas": lambda folder: simulator.run(measured, folder, TIMEOUT),
    }


def medians(repeats: int) -> dict[str, float]:
    """Median wall milliseconds a run, by way."""
    project = Project.load(DESIGN)
    deck = project.evaluator().decks(project.nominal_sizing())["open_loop"]
    chosen = ways(deck, project.simulator())
    times: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(repeats):
        for name, run in chosen.items():
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                run(Path(folder))
                times[name].append(1e3 * (time.perf_counter() - began))
    return {name: statistics.median(each) for name, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--smallest", action="store_true", help="few repeats")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    found = medians(3 if options.smallest else 100)
    first = next(iter(found.values()))
    print(f"{'way':24} {'ms':>7} {'ratio':>6}")
    for name, milliseconds in found.items():
        print(f"{name:24} {milliseconds:7.2f} {milliseconds / first:6.2f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
