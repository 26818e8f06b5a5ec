"""How fast the simulation engine is, beside ngspice by subprocess and bare libngspice loops.

    python -m bench.engine [--smallest] [--memory N] [--rounds N] [--json FILE]

Circuits: the two-stage op amp with its AC testbench, the same with its transient testbench too, the
OTA in sky130, and banks of R, C and MOS devices of growing size. All ways run in turn within a
round, and ratios are medians of those of a round. `reset` is `alterparam` of each value, `reset`
and `run`; `alter` is `alter` of each device and `run`; `load` reads the whole deck anew. The engine
is compared with `reset` where it is `strict`, else with `alter` where the circuit allows it. Every
simulation has one thread. A ratio that does not reach its bar is marked with `<`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.engine_circuits import Circuit, op_amp, sky130_ota
from bench.engine_costs import TRIAL_BAR, Growth, Memory, TrialCost, growth, memory, trial_cost
from bench.engine_rates import Bars, Effort, Row, rows
from m3eda.errors import M3edaError

_OP_AMP = Bars(strict=6.0, default=10.0)
_SKY130 = Bars(strict=25.0, default=25.0)
_SHAPES = [(10, 10), (100, 10), (1000, 10), (1000, 100), (1000, 1000)]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    began = time.perf_counter()
    report: dict[str, Any] = {"machine": machine(), "circuits": {}}
    print(f"{report['machine']['processors']} processors, load {_load()}")
    (_small if options.smallest else _whole)(report, options)
    report["machine"]["load_after"] = _load()
    print(f"\n{time.perf_counter() - began:.0f} s, load afterwards {_load()}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _whole(report: dict[str, Any], options: argparse.Namespace) -> None:
    rounds = options.rounds or 30
    alone = op_amp(["open_loop"])
    _rates(report, alone, _OP_AMP, Effort(rounds, 8, 60))
    _rates(report, op_amp(["open_loop", "step"]), Bars(), Effort(rounds, 3, 6))
    try:
        ota = sky130_ota()
    except M3edaError as error:
        print(f"\nsky130 OTA: not measured: {error}")
    else:
        _rates(report, ota, _SKY130, Effort(max(rounds // 3, 1), 1, 20))
    _trial(report, alone, 2000)
    _memory(report, alone, options.memory or 100_000, (True, False))
    _growth(report, _SHAPES, Effort(max(rounds // 4, 1), 3, 10, pairs=False))


def _small(report: dict[str, Any], options: argparse.Namespace) -> None:
    rounds = options.rounds or 1
    alone = op_amp(["open_loop"])
    _rates(report, alone, _OP_AMP, Effort(rounds, 2, 10))
    both = op_amp(["open_loop", "step"])
    _rates(report, both, Bars(), Effort(rounds, 1, 2, pairs=False))
    print("\nsky130 OTA: left out by --smallest: every process reads its models for a second")
    _trial(report, alone, 100)
    _memory(report, alone, options.memory or 200, (False,))
    _growth(report, _SHAPES[1:2], Effort(1, 1, 3, pairs=False))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--smallest", action="store_true", help="all of it in a few seconds")
    parser.add_argument("--memory", type=int, help="simulations to watch the memory over")
    parser.add_argument("--rounds", type=int, help="turns that each way takes on a circuit")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args(arguments)


def machine() -> dict[str, Any]:
    name = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {"processor": name, "processors": os.cpu_count(), "load": _load()}


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


def _rates(report: dict[str, Any], circuit: Circuit, bars: Bars, effort: Effort) -> None:
    found = rows(circuit, bars, effort)
    each = len(circuit.loops)
    report["circuits"][circuit.name] = [
        {**asdict(row), "per_second": row.per_second, "met": row.met} for row in found
    ]
    print(f"\n{circuit.title} ({each} simulation{'s' if each > 1 else ''} a sizing)")
    print(rates_table(found), flush=True)


def rates_table(found: Sequence[Row]) -> str:
    """One line a way; a ratio below its bar is marked."""
    lines = [f"{'way':22} {'ms':>8} {'ms cpu':>8} {'1/s':>8} {'x subprocess':>19} {'of bare':>19}"]
    for row in found:
        over = _beside(row.over_subprocess, row.bar_subprocess)
        bare = "" if row.of_bare is None else _beside(row.of_bare, row.bar_bare)
        lines.append(
            f"{row.way:22} {row.milliseconds:8.3f} {row.processor:8.3f} {row.per_second:8.0f} "
            f"{over:>19} {bare:>19}"
        )
    return "\n".join(lines)


def _beside(ratio: float, bar: float) -> str:
    if not bar:
        return f"{ratio:.2f}"
    return f"{ratio:.2f} {'>=' if ratio >= bar else '<'} {bar:g}"


def _trial(report: dict[str, Any], circuit: Circuit, trials: int) -> None:
    cost = trial_cost(circuit, trials)
    report["trial"] = {
        **asdict(cost),
        "outside_wall": cost.outside_wall,
        "outside_processor": cost.outside_processor,
    }
    print(_trial_table(cost), flush=True)


def _memory(
    report: dict[str, Any], circuit: Circuit, simulations: int, ways: Sequence[bool]
) -> None:
    watched = [memory(circuit, strict, simulations) for strict in ways]
    report["memory"] = [asdict(each) for each in watched]
    print(_memory_table(watched), flush=True)


def _growth(report: dict[str, Any], shapes: Sequence[tuple[int, int]], effort: Effort) -> None:
    found = list(growth(shapes, effort))
    report["growth"] = [asdict(each) for each in found]
    print(_growth_table(found))


def _trial_table(cost: TrialCost) -> str:
    parts = ", ".join(f"{name} {ms:.3f}" for name, ms in cost.spent.items())
    return "\n".join(
        [
            f"\na trial of {cost.trials}, ms        all  simulator    outside",
            _trial_line("wall time", cost.wall, cost.simulator_wall),
            _trial_line("processor time", cost.processor, cost.simulator_processor),
            f"counted by the run: {parts}",
        ]
    )


def _trial_line(name: str, whole: float, simulator: float) -> str:
    outside = whole - simulator
    sign = "<=" if outside <= TRIAL_BAR else ">"
    return f"{name:20} {whole:8.3f} {simulator:10.3f} {outside:10.3f} {sign} {TRIAL_BAR}"


def _memory_table(watched: Sequence[Memory]) -> str:
    lines = ["\nmemory of all processes     simulations  first MB   last MB  kB a simulation"]
    lines += [
        f"engine {each.way:20} {each.simulations:11} {each.first:9.1f} {each.last:9.1f} "
        f"{each.slope:16.4f}"
        for each in watched
    ]
    return "\n".join(lines)


def _growth_table(found: Sequence[Growth]) -> str:
    ways = [row.way for row in found[0].rows]
    lines = ["\nms a simulation".ljust(24) + "".join(f"{way:>18}" for way in ways)]
    lines.append(f"{'devices':>9} {'parameters':>12}")
    for each in found:
        numbers = "".join(f"{row.milliseconds:18.3f}" for row in each.rows)
        lines.append(f"{each.devices:9} {each.parameters:12} {numbers}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
