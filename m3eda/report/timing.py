"""Where the time of a run went, for `m3eda size -v` and the JSON."""

from __future__ import annotations

from typing import Any

from m3eda.report.summary import Summary
from m3eda.units import format_engineering

OWN = ("rendering", "agent", "storing", "waiting")
"""What this process does itself, one after the other; the rest of the wall time is `other`."""

_WORDS = {
    "simulator": "simulator",
    "measuring": "measuring",
    "rendering": "rendering",
    "agent": "agent",
    "storing": "ledger and cache",
    "waiting": "idle, waiting",
    "other": "everything else",
}


def timing_json(summary: Summary) -> dict[str, Any]:
    """Seconds by what they went to; `simulator`, `analysis` and `measuring` are sums over workers
    that run side by side, the others add up to the wall time of this call."""
    spent = summary.spent
    if spent is None:
        return {}
    own = {name: spent.seconds[name] for name in OWN}
    seconds = {**spent.seconds, "other": max(0.0, summary.seconds - sum(own.values()))}
    return {
        "wall": round(summary.seconds, 6),
        "simulations": spent.simulations,
        **{name: round(value, 6) for name, value in seconds.items()},
    }


def timing_lines(summary: Summary) -> list[str]:
    """A table for people, widest words first on each line."""
    data = timing_json(summary)
    if not data:
        return []
    count, wall = data["simulations"], data["wall"]
    lines = [f"{count} simulations in {wall:.3g} s; where the time went:"]
    for name, word in _WORDS.items():
        note = ""
        if name == "simulator" and count:
            each = format_engineering(data["simulator"] / count, "s")
            note = f"{each} a simulation, of it {_share(data['analysis'], data[name])} processor"
        elif name in (*OWN, "other"):
            note = f"{_share(data[name], wall)} of the wall time"
        elif name == "measuring" and count:
            note = f"{format_engineering(data[name] / count, 's')} a simulation, in the workers"
        lines.append(f"  {word:<17} {data[name]:>9.3f} s   {note}".rstrip())
    return lines


def _share(part: float, whole: float) -> str:
    return f"{100.0 * part / whole:.0f} %" if whole else "0 %"
