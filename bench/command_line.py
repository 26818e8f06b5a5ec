"""Time from typing a command to its result, and the share of it outside the simulator.

    python -m bench.command_line [--smallest] [--json FILE]

Prints a table: `m3eda --help`; `m3eda size` of the library's `m3_2soa`, which is a known circuit,
and of examples that are similar to circuits of the library, with several seeds; each by the default
agent and by `search`. Each run has a directory of its own and takes nothing from the cache. Seconds
are the median and the least of all runs, simulations the median and the most. Simulator time is the
wall time of the simulator's processes, their start included, as kept in the ledger.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from m3eda.ledger import Ledger

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ("two_stage_opamp", "five_transistor_ota", "ldo", "comparator", "current_reference",
            "flat_opamp", "flat_opamp/ota.yaml")  # fmt: skip
"""Folders, or design files that are not called design.yaml."""
KNOWN = "m3_2soa"
TIMEOUT = 600.0


@dataclass(frozen=True)
class Row:
    command: str
    seconds: float
    """Wall time, median over repeats."""
    least: float
    simulations: float = 0
    """Median."""
    most: int = 0
    outside: float = 0.0
    """Share of the wall time outside the simulator's processes, of all runs."""
    exit_code: int = 0
    """The largest."""


def timed(arguments: list[str]) -> tuple[float, int]:
    """Wall seconds and exit code of one `m3eda` command."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "m3eda", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=TIMEOUT,
        check=False,
    )
    return time.perf_counter() - started, done.returncode


def help_row(repeats: int) -> Row:
    timed(["--help"])  # the first start compiles and fills the file cache
    times = [timed(["--help"])[0] for _ in range(repeats)]
    return Row("--help", statistics.median(times), min(times))


def size_row(name: str, design: Path, runs: Sequence[Sequence[str]]) -> Row:
    """`m3eda size`, once with each of the options in `runs`."""
    times, counts, codes, spent = [], [], [], 0.0
    for options in runs:
        with tempfile.TemporaryDirectory() as folder:
            given = ["size", str(design), "--run-dir", folder, "--quiet", "--no-cache", *options]
            seconds, code = timed(given)
            with Ledger(Path(folder), read_only=True) as ledger:
                trials = ledger.trials(ledger.segments()[-1].id)
        times.append(seconds)
        codes.append(code)
        counts.append(len(trials))
        spent += sum(result.seconds for trial in trials for result in trial.results.values())
    outside = 1.0 - spent / sum(times)
    return Row(
        f"size {name}", statistics.median(times), min(times), statistics.median(counts),
        max(counts), outside, max(codes),
    )  # fmt: skip


def both(name: str, design: Path, runs: Sequence[Sequence[str]]) -> list[Row]:
    """By the default agent and from scratch."""
    searches = [["--agent", "search", *options] for options in runs]
    return [size_row(name, design, runs), size_row(f"{name}, search", design, searches)]


def rows_of(smallest: bool) -> list[Row]:
    rows = [help_row(3 if smallest else 15)]
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / KNOWN
        timed(["new", KNOWN, str(own)])
        rows += both(KNOWN, own / "design.yaml", [[]] * (1 if smallest else 10))
    seeds = [["--seed", str(seed)] for seed in range(1, 2 if smallest else 6)]
    for name in EXAMPLES[: 1 if smallest else None]:
        path = ROOT / "examples" / name
        rows += both(name, path if path.is_file() else path / "design.yaml", seeds)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--smallest", action="store_true", help="one seed, no repeats")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    rows = rows_of(options.smallest)
    print("| command | s: median | least | simulations: median | most | outside simulator | exit |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        share, count = "", ""
        if row.simulations:
            share, count = f"{row.outside:.0%}", f"{row.simulations:g}"
        print(f"| {row.command} | {row.seconds:.2f} | {row.least:.2f} | {count} "
              f"| {row.most or ''} | {share} | {row.exit_code} |")  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
