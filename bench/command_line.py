"""Time from typing a command to its result, and the share of it outside the simulator.

    python -m bench.command_line [--smallest] [--json FILE]

Prints a table: `m3eda --help`; `m3eda size` of the library's `m3_2soa`, which is a known circuit,
and of it by the agent `search`; and `m3eda size examples/two_stage_opamp/design.yaml` for several
seeds. Each run has a directory of its own and takes nothing from the cache. Seconds are the median
and the least of the repeats. Simulator time is the wall time of the simulator's processes, their
start included, as kept in the ledger.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from m3eda.ledger import Ledger

ROOT = Path(__file__).resolve().parent.parent
DESIGN = ROOT / "examples" / "two_stage_opamp" / "design.yaml"
KNOWN = "m3_2soa"
TIMEOUT = 600.0


@dataclass(frozen=True)
class Row:
    command: str
    seconds: float
    """Wall time, median over repeats."""
    least: float
    simulations: int = 0
    simulator_seconds: float = 0.0
    exit_code: int = 0

    @property
    def outside(self) -> float:
        """Share of the wall time outside the simulator's processes."""
        return 1.0 - self.simulator_seconds / self.seconds


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


def size_row(name: str, design: Path, repeats: int, *more: str) -> Row:
    """`m3eda size` with options besides; simulations and their time are those of the last run."""
    times = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            given = ["size", str(design), "--run-dir", folder, "--quiet", "--no-cache", *more]
            seconds, code = timed(given)
            times.append(seconds)
            with Ledger(Path(folder), read_only=True) as ledger:
                trials = ledger.trials(ledger.segments()[-1].id)
    spent = sum(result.seconds for trial in trials for result in trial.results.values())
    return Row(f"size {name}", statistics.median(times), min(times), len(trials), spent, code)


def rows_of(smallest: bool) -> list[Row]:
    repeats = 1 if smallest else 10
    rows = [help_row(3 if smallest else 15)]
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / KNOWN
        timed(["new", KNOWN, str(own)])
        rows.append(size_row(KNOWN, own / "design.yaml", repeats))
        searched = size_row(f"{KNOWN} search", own / "design.yaml", repeats, "--agent", "search")
        rows.append(searched)
    for seed in range(1, 2 if smallest else 6):
        rows.append(size_row(f"--seed {seed}", DESIGN, 1, "--seed", str(seed)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--smallest", action="store_true", help="one seed, no repeats")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    rows = rows_of(options.smallest)
    print(
        f"{'command':20} {'seconds':>8} {'least':>6} {'simulations':>12} {'outside simulator':>18} "
        f"{'exit':>5}"
    )
    for row in rows:
        share = f"{row.outside:.0%}" if row.simulations else "-"
        print(
            f"{row.command:20} {row.seconds:8.2f} {row.least:6.2f} {row.simulations or '-':>12} "
            f"{share:>18} {row.exit_code:>5}"
        )
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
