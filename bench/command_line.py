"""Time from typing a command to its result, and the share of it outside the simulator.

    python -m bench.command_line [--smallest] [--json FILE]

Prints a table: `m3eda --help`, and `m3eda size examples/two_stage_opamp/design.yaml` for several
seeds, each in a run directory of its own. Simulator time is the wall time of the simulator's
processes, their start included, as kept in the ledger.
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
TIMEOUT = 600.0


@dataclass(frozen=True)
class Row:
    command: str
    seconds: float
    """Wall time, median over repeats for --help."""
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
    return Row("--help", statistics.median(times))


def size_row(seed: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["size", str(DESIGN), "--run-dir", folder, "--seed", str(seed), "--quiet"]
        seconds, code = timed(arguments)
        with Ledger(Path(folder), read_only=True) as ledger:
            trials = ledger.trials(ledger.segments()[-1].id)
    spent = sum(result.seconds for trial in trials for result in trial.results.values())
    return Row(f"size --seed {seed}", seconds, len(trials), spent, code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--smallest", action="store_true", help="one seed, few repeats")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    rows = [help_row(3 if options.smallest else 15)]
    rows += [size_row(seed) for seed in range(1, 2 if options.smallest else 6)]
    print(
        f"{'command':16} {'seconds':>8} {'simulations':>12} {'outside simulator':>18} {'exit':>5}"
    )
    for row in rows:
        share = f"{row.outside:.0%}" if row.simulations else "-"
        print(
            f"{row.command:16} {row.seconds:8.2f} {row.simulations or '-':>12} {share:>18} "
            f"{row.exit_code:>5}"
        )
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
