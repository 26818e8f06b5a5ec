"""A run's summary as text, Markdown or JSON."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from typing import Any, Literal

from m3eda import __version__
from m3eda.design.types import Value
from m3eda.objective.values import Aim, aims
from m3eda.pvt.intervals import percent
from m3eda.report.objective import objective_lines, objective_text
from m3eda.report.summary import Summary
from m3eda.report.tables import (
    Table,
    ascii_safe,
    count_text,
    markdown,
    one_line,
    parameter_table,
    pareto_table,
    plain_text,
    spec_met,
    spec_table,
)
from m3eda.report.timing import timing_json
from m3eda.simulate.trial import CornerResult, Trial

ReportFormat = Literal["text", "markdown", "json"]

SHAPE = 1
"""Version of the JSON shapes; grows when a key is renamed, removed or changes its meaning."""


def versions(summary: Summary) -> dict[str, str]:
    """What made the result, by name."""
    return {
        "m3eda": __version__,
        "simulator": summary.simulator,
        "python": platform.python_version(),
    }


def headline(summary: Summary) -> str:
    """The outcome in one line."""
    design, best = summary.design, summary.best
    if best is None:
        return f"{design.name}: nothing simulated"
    total, corners = len(design.specs), len(design.required)
    if summary.met:
        where = f" at {corners} corners" if corners > 1 else ""
        specs = f"all specs met ({total} of {total}){where}" if total else ""
        parts = (specs, objective_text(summary))
        return f"{design.name}: {'; '.join(part for part in parts if part)}"
    if not total:
        return f"{design.name}: NO VALUE OF THE OBJECTIVE"
    held = sum(spec_met(spec, best) for spec in design.specs.values())
    where = f" at {len(best.results)} of {corners} corners" if corners > 1 else ""
    return f"{design.name}: SPECS NOT MET ({held} of {total}{where})"


def failures_line(summary: Summary) -> str:
    """How many simulations failed, by state; empty where none did."""
    if not summary.failed:
        return ""
    most = sorted(summary.failures.items(), key=lambda item: (-item[1], item[0].value))
    parts = ", ".join(f"{count} {state.value}" for state, count in most if count)
    return f"{summary.failed} of {count_text(summary.trials, 'simulation')} failed: {parts}"


def run_lines(summary: Summary) -> list[str]:
    """Counts, time, and why the run ended."""
    counts = count_text(summary.trials, "simulation")
    if len(summary.design.required) > 1:
        sizings = count_text(summary.trials, "sizing")
        counts = f"{sizings}, {count_text(summary.corners, 'corner')} simulated in all"
    if summary.samples:
        counts += f", {count_text(summary.samples, 'sample')}"
    if summary.simulations != summary.trials:
        counts += f" ({summary.simulations} new)"
    if summary.seconds > 0.0:
        counts += f" in {duration(summary.seconds)}"
        if summary.simulations:
            counts += f", {rate(summary.simulations / summary.seconds)} a second"
    lines = [counts, failures_line(summary)]
    if summary.ending is not None:
        lines.append(f"ended: {summary.ending.value}")
    drawn = summary.design.variation
    if summary.met and drawn is not None and drawn.yield_target is not None:
        target, sure = percent(drawn.yield_target), percent(drawn.confidence)
        lines.append(f"yield at least {target} with {sure} confidence, at the nominal corner")
    others = len(summary.design.corners)
    if summary.met and others and len(summary.design.required) == 1:
        lines.append(f"nominal corner alone: `m3eda verify` tries the other {others}, "
                     "`m3eda size --corner all` sizes for them")  # fmt: skip
    if summary.doubt and not summary.met:
        lines.append(f"agent {summary.agent} doubts the specs: {one_line(summary.doubt)}")
    if summary.method:
        lines.append(f"agent {summary.agent}: {one_line(summary.method)}")
    return [line for line in lines if line]


def origin_lines(summary: Summary) -> list[str]:
    """Where the result comes from: enough to get it again."""
    made = versions(summary)
    lines = [f"agent {summary.agent}, seed {summary.seed}"]
    if summary.best is not None:
        lines[0] += f", trial {summary.best.number}"
    if summary.design_hash:
        lines.append(f"design hash {summary.design_hash}")
    lines.append(f"m3eda {made['m3eda']}, {made['simulator']}, Python {made['python']}")
    return [one_line(line) for line in lines]


def rate(number: float) -> str:
    """`12.1`, `1620`: of something a second."""
    return f"{number:.3g}" if number < 999.5 else f"{number:.0f}"


def duration(seconds: float) -> str:
    """`4.2 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def tables(summary: Summary) -> list[Table]:
    """The spec table, the parameter table of the best trial, and the Pareto front."""
    design, best = summary.design, summary.best
    found = [spec_table(design, best)]
    if best is not None:
        found.append(parameter_table(design, best))
    if len(aims(design.objective)) > 1 and summary.front:
        found.append(pareto_table(design, summary.front, best))
    return found


def text_report(summary: Summary, run: bool = True) -> str:
    """Plain ASCII. `run` adds the counts and times, which differ where the result is the same."""
    blocks = [headline(summary) + "\n", *map(plain_text, tables(summary))]
    lines = [*objective_lines(summary), *(run_lines(summary) if run else [])]
    lines += origin_lines(summary)
    blocks.append("\n".join(lines) + "\n")
    return "\n".join(ascii_safe(block) for block in blocks)


def markdown_report(summary: Summary, run: bool = True) -> str:
    blocks = [f"# {headline(summary)}\n"]
    if summary.design.description:
        blocks.append(one_line(summary.design.description) + "\n")
    blocks += map(markdown, tables(summary))
    lines = [*objective_lines(summary), *(run_lines(summary) if run else [])]
    lines += origin_lines(summary)
    blocks.append("".join(f"- {line}\n" for line in lines))
    return "\n".join(blocks)


def render_report(summary: Summary, format: ReportFormat = "text") -> str:
    """The whole report, as `m3eda report` prints it."""
    if format == "json":
        return json_text(summary_json(summary))
    return markdown_report(summary) if format == "markdown" else text_report(summary)


def sizing_json(summary: Summary) -> dict[str, Any]:
    """The result as data: what `sizing.json` holds. A missing number is null."""
    best, design = summary.best, summary.design
    units = {name: measure.unit for name, measure in design.measures.items()}
    units |= {name: spec.unit for name, spec in design.specs.items() if spec.unit}
    return {
        "format": "m3eda/sizing",
        "version": SHAPE,
        "design": design.name,
        "design_hash": summary.design_hash,
        "met": summary.met,
        "trial": None if best is None else best.number,
        "sizing": {} if best is None else {k: _number(v) for k, v in best.sizing.items()},
        "measures": {} if best is None else _measures(best, units),
        "specs": {} if best is None else _specs(summary, best),
        "corners": {} if best is None else _corners(best),
        "objective": _objective(summary),
        "pareto": _pareto(summary, units),
        "reward": None if best is None else _number(best.reward),
        "agent": summary.agent,
        "seed": summary.seed,
        "batch": max(summary.design.agent.batch, 1),
        "versions": versions(summary),
        "counts": {
            "simulations": summary.trials,
            "corners": summary.corners,
            "failed": {state.value: n for state, n in sorted(summary.failures.items()) if n},
        },
    }


def summary_json(summary: Summary) -> dict[str, Any]:
    """`sizing_json`, and under `run` what differs from call to call: counts and wall time."""
    return {
        **sizing_json(summary),
        "run": {
            "new_simulations": summary.simulations,
            "simulator_runs": summary.runs,
            "seconds": round(summary.seconds, 3),
            "ended": None if summary.ending is None else summary.ending.name.lower(),
            "method": summary.method,
            "doubt": summary.doubt,
            "time": timing_json(summary),
        },
    }


def trial_json(trial: Trial) -> dict[str, Any]:
    """One trial as data, for a stream of JSON lines."""
    return {
        "format": "m3eda/trial",
        "version": SHAPE,
        "number": trial.number,
        "met": trial.met,
        "reward": _number(trial.reward),
        "state": trial.state.value,
        "reason": trial.reason,
        "sizing": {name: _number(value) for name, value in trial.sizing.items()},
        "margins": {name: _number(value) for name, value in trial.margins.items()},
        "corners": _corners(trial),
    }


def json_text(data: Mapping[str, Any], *, indent: int | None = 2) -> str:
    """Strict JSON (no NaN) in UTF-8, with a newline at its end; `indent` None for JSON lines."""
    return json.dumps(data, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"


def _measures(trial: Trial, units: Mapping[str, str]) -> dict[str, Any]:
    swept = _swept(trial.nominal)
    return {
        name: {
            "value": _number(value),
            "unit": units.get(name, ""),
            **({"swept": swept[name]} if name in swept else {}),
        }
        for name, value in trial.measures.items()
    }


def _swept(result: CornerResult) -> dict[str, Any]:
    """Measures over a condition: its name, its points, and a value at each."""
    return {
        name: {
            "condition": sweep.condition,
            "points": list(sweep.points),
            "values": [_number(value) for value in sweep.values],
        }
        for name, sweep in result.swept.items()
    }


def _specs(summary: Summary, best: Trial) -> dict[str, Any]:
    specs = {}
    for name, spec in summary.design.specs.items():
        limits = spec.limits
        specs[name] = {
            "min": limits.minimum,
            "max": limits.maximum,
            "target": limits.target,
            "tolerance": limits.tolerance,
            "margin": _number(best.margins.get(name, math.nan)),
            "met": spec_met(spec, best),
        }
    return specs


def _objective(summary: Summary) -> dict[str, Any]:
    """Each measure of the objective: what it is in the sizing handed over, and was at first."""
    return {
        aim.measure: {
            "wanted": aim.word,
            "value": None if summary.best is None else _aimed(aim, summary.best),
            "first": None if summary.first is None else _aimed(aim, summary.first),
        }
        for aim in aims(summary.design.objective)
    }


def _pareto(summary: Summary, units: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every trial of the front; empty where there are fewer than two measures."""
    wanted = aims(summary.design.objective)
    if len(wanted) < 2:
        return []
    return [
        {
            "trial": trial.number,
            "objective": {aim.measure: _aimed(aim, trial) for aim in wanted},
            "sizing": {name: _number(value) for name, value in trial.sizing.items()},
            "measures": _measures(trial, units),
        }
        for trial in summary.front
    ]


def _aimed(aim: Aim, trial: Trial) -> Value | None:
    return _number(aim.value(aim.cost(trial)))


def _corners(trial: Trial) -> dict[str, Any]:
    return {corner: _corner(result) for corner, result in trial.results.items()}


def _corner(result: CornerResult) -> dict[str, Any]:
    return {
        "state": result.state.value,
        "reason": result.reason,
        "measures": {name: _number(value) for name, value in result.measures.items()},
        "swept": _swept(result),
        "missing": dict(result.reasons),
    }


def _number(value: Value) -> Value | None:
    """`value`, None where JSON has no such number."""
    return value if isinstance(value, str) or math.isfinite(value) else None
